//! Seeded histories through the whole daemon, as users run it: the built program, `simulate`, both databases,
//! both queues, a receiver that verifies. However the events come and whatever ends a process on the way, the
//! state ends equal to the truth, and the receiver has been told all of it (semantics 9).

use crate::support::{
    receiver::{Receiver, Reply},
    services::{TestBroker, TestDatabase, broker, postgres, sqlite},
    wait::eventually,
    world::World,
};
use api::Api;
use customer_sync::{
    simulator::Senders,
    store::progress::{self, Progress},
};
use std::{
    net::SocketAddr,
    process::Output,
    time::{Duration, Instant},
};
use told::Told;

mod api;
mod garbage;
mod silence;
mod told;

/// Whose customers these are.
const ENVIRONMENT: &str = "test";

/// What the receiver's endpoint is signed with.
const ENDPOINT_SECRET: &str = "whsec_dGhlIHNlY3JldCBvZiB0aGUgdGVzdHMnIGVuZHBvaW50";

/// Where the receiver takes them.
const HOOK: &str = "/hook";

/// `shutdown.grace`, by default.
const GRACE: Duration = Duration::from_secs(30);

/// About how many deliveries a history has: enough for every story of the simulator.
const EVENTS: i64 = 400;

/// One database, maybe a broker, a receiver, and the settings that daemons and commands on them share.
struct Stage {
    senders: Senders,
    receiver: Receiver,
    world: World,
    database: TestDatabase,
    broker: Option<TestBroker>,
}

impl Stage {
    /// `more` is configuration beside the sources and the endpoint.
    async fn new(database: TestDatabase, broker: Option<TestBroker>, more: &str) -> Self {
        let (senders, receiver) = (Senders::generated(7), Receiver::start().await);
        let config = format!(
            "[webhooks]\nallow_http = true\nallow_networks = ['127.0.0.0/8']\n{more}\n\
             [[endpoints]]\nname = 'app'\nenvironment = '{ENVIRONMENT}'\nurl = '{}'\nsecret = '{ENDPOINT_SECRET}'\n{}",
            receiver.url(HOOK),
            senders.toml(ENVIRONMENT),
        );
        let mut world = World::new(&database, &config);
        if let Some(broker) = &broker {
            world = world.with_broker(broker);
        }
        Self { senders, receiver, world, database, broker }
    }

    /// Shuffled traffic with duplicates through the queue; exits 0 where all of it was processed and delivered and
    /// the state equals the truth.
    async fn simulate(&self, address: SocketAddr, seed: u64, more: &[&str]) -> Output {
        let (events, seed) = (EVENTS.to_string(), seed.to_string());
        let url = format!("http://{address}/");
        let mut arguments = vec!["simulate", "--events", &events, "--seed", &seed];
        arguments.extend(["--shuffle", "--duplicates", "0.3", "--check", "--patience", "30"]);
        if self.broker.is_some() {
            arguments.extend(["--via", "amqp"]);
        } else {
            arguments.extend(["--via", "http", "--url", &url]);
        }
        arguments.extend(more);
        self.world.run(&arguments).await
    }

    async fn progress(&self) -> Progress {
        let mut tx = self.database.db.snapshot().await.expect("a snapshot");
        progress::progress(&mut tx, ENVIRONMENT).await.expect("it is counted")
    }

    /// Waits until webhooks of the running traffic arrive, and more of it is still to come.
    async fn is_on_the_way(&self) {
        let seen = async || self.receiver.count(HOOK);
        eventually("webhooks arrive", seen, |count| *count > 20).await;
        let received = self.progress().await.received;
        assert!(received < EVENTS, "the traffic was over before anything happened to it");
    }

    /// What must hold in the end, whatever happened on the way.
    async fn holds(&self, address: SocketAddr) -> Told {
        let told = Told::read(&self.receiver.requests(HOOK), ENDPOINT_SECRET);
        let progress = self.progress().await;
        assert_eq!((progress.queued, progress.pending, progress.undelivered), (0, 0, 0));
        assert_eq!(i64::try_from(told.messages).expect("few"), progress.delivered);
        told.has_no_gap();
        told.ends_in(&Api::open(self, address).await).await;
        let doctor = self.world.run(&["doctor"]).await;
        assert!(doctor.status.success(), "{}", text(&doctor));
        told
    }
}

/// All that a command has said.
fn text(output: &Output) -> String {
    let bytes = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn is_clean(output: &Output) {
    assert!(output.status.success(), "{}", text(output));
}

async fn a_history_ends_in_the_truth(stage: Stage, seed: u64) {
    let daemon = stage.world.start().await;
    is_clean(&stage.simulate(daemon.address, seed, &[]).await);
    let told = stage.holds(daemon.address).await;
    assert!(told.messages > 100, "{told:?}");
    assert_eq!(told.requests, told.messages, "without a crash nothing is sent twice");
    assert_eq!(daemon.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_history_ends_in_the_truth_on_sqlite_with_the_embedded_queue() {
    a_history_ends_in_the_truth(Stage::new(sqlite().await, None, "").await, 1).await;
}

#[tokio::test]
async fn a_history_ends_in_the_truth_on_postgres_with_the_embedded_queue() {
    a_history_ends_in_the_truth(Stage::new(postgres().await, None, "").await, 2).await;
}

#[tokio::test]
async fn a_history_ends_in_the_truth_on_postgres_with_rabbitmq() {
    let stage = Stage::new(postgres().await, Some(broker()), "").await;
    a_history_ends_in_the_truth(stage, 3).await;
}

#[tokio::test]
async fn a_history_ends_in_the_truth_on_sqlite_with_rabbitmq() {
    let stage = Stage::new(sqlite().await, Some(broker()), "").await;
    a_history_ends_in_the_truth(stage, 4).await;
}

/// What the killed one had in hand comes again from the broker; its webhooks are sent when their leases run out.
#[tokio::test]
async fn two_daemons_of_which_one_is_killed_on_the_way_end_in_the_truth() {
    let short = "timeout = '2s'\nlease = '4s'\nschedule = ['500ms', '500ms', '1s', '1s', '1s']";
    let stage = Stage::new(postgres().await, Some(broker()), short).await;
    let (first, second) = (stage.world.start().await, stage.world.start().await);
    let kill = async {
        stage.is_on_the_way().await;
        first.kill();
    };
    let (simulated, ()) = tokio::join!(stage.simulate(second.address, 5, &["--rate", "200"]), kill);
    is_clean(&simulated);
    stage.holds(second.address).await;
    assert_eq!(second.stop().await.code(), Some(0));
}

async fn a_stop_on_the_way_loses_nothing(stage: Stage, seed: u64) {
    // Some deliveries are under way at any time, also at the stop.
    stage.receiver.always(HOOK, Reply::Slow(Duration::from_millis(50)));
    let daemon = stage.world.start().await;
    let address = daemon.address;
    let restart = async {
        stage.is_on_the_way().await;
        let asked = Instant::now();
        assert_eq!(daemon.stop().await.code(), Some(0));
        assert!(asked.elapsed() < GRACE, "it took {:?}", asked.elapsed());
        stage.world.start_at(address).await
    };
    let simulate = stage.simulate(address, seed, &["--rate", "200"]);
    let (simulated, daemon) = tokio::join!(simulate, restart);
    is_clean(&simulated);
    let told = stage.holds(address).await;
    assert_eq!(told.requests, told.messages, "what was under way at the stop was finished");
    assert_eq!(daemon.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_stop_and_a_start_on_the_way_lose_nothing_with_the_embedded_queue() {
    a_stop_on_the_way_loses_nothing(Stage::new(sqlite().await, None, "").await, 6).await;
}

#[tokio::test]
async fn a_stop_and_a_start_on_the_way_lose_nothing_with_rabbitmq() {
    let stage = Stage::new(postgres().await, Some(broker()), "").await;
    a_stop_on_the_way_loses_nothing(stage, 7).await;
}
