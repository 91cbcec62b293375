//! Seeded histories through the whole daemon, as users run it: the built program, `simulate`, both databases,
//! both queues, a receiver that verifies. However the events come and whatever ends a process on the way, the
//! state ends equal to the truth, and the receiver has been told all of it (semantics 9).

use crate::{
    http::client::Request,
    support::{
        receiver::{Receiver, Reply},
        services::{TestBroker, TestDatabase, broker, postgres, sqlite},
        wait::{eventually, within},
        world::World,
    },
};
use api::Api;
use customer_sync::{
    clock::Clock,
    simulator::{History, Options, SPAN, Senders, differences},
    store::{
        Tx,
        progress::{self, Progress},
    },
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    process::Output,
    time::{Duration, Instant},
};
use tokio::net::TcpListener;
use told::Told;

pub(crate) mod api;
mod deliveries;
mod garbage;
mod kills;
mod rotation;
mod silence;
pub(crate) mod told;

/// Whose customers these are.
pub(crate) const ENVIRONMENT: &str = "test";

/// What the receiver's endpoint is signed with.
pub(crate) const ENDPOINT_SECRET: &str = "whsec_dGhlIHNlY3JldCBvZiB0aGUgdGVzdHMnIGVuZHBvaW50";

/// Where the receiver takes them.
pub(crate) const HOOK: &str = "/hook";

/// `shutdown.grace`, by default.
const GRACE: Duration = Duration::from_secs(30);

/// How long it may take until all is done: the longest waits between two tries, and a busy machine.
const DONE_WITHIN: Duration = Duration::from_mins(2);

/// About how many deliveries a history has: enough for every story of the simulator.
const EVENTS: i64 = 400;

/// One database, maybe a broker, a receiver, and the settings that daemons and commands on them share.
pub(crate) struct Stage {
    pub(crate) senders: Senders,
    pub(crate) receiver: Receiver,
    pub(crate) world: World,
    pub(crate) database: TestDatabase,
    pub(crate) broker: Option<TestBroker>,
}

impl Stage {
    /// `more` is configuration beside the sources and the endpoint.
    pub(crate) async fn new(
        database: TestDatabase,
        broker: Option<TestBroker>,
        more: &str,
    ) -> Self {
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
    pub(crate) async fn simulate(&self, address: SocketAddr, seed: u64, more: &[&str]) -> Output {
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

    /// What its senders have to say: shuffled, a third of it repeated.
    pub(crate) fn history(&self, seed: u64, events: usize) -> History {
        History::generate(&Options {
            seed,
            events,
            duplicates: 0.3,
            shuffle: true,
            start: Options::demo().start.min(Clock::system().now().plus(-SPAN)),
            environment: ENVIRONMENT.into(),
            senders: self.senders.clone(),
        })
    }

    /// The app says something by an event of its own.
    pub(crate) async fn say(&self, address: SocketAddr, id: &str, kind: &str, data: &Value) {
        let (app, now) = (&self.senders.app, Clock::system().now());
        let at = now.to_millis_text();
        let body = json!({"id": id, "type": kind, "occurred_at": at, "data": data}).to_string();
        let headers = app.sign(id, body.as_bytes(), now);
        let post = Request::post(&format!("/ingest/{}", app.name), body.as_bytes())
            .headers(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        assert_eq!(post.send(address).await.status, 202);
    }

    /// Different events that were not rejected, copies not counted, and the messages that wait.
    async fn events(&self) -> (usize, i64) {
        let mut tx = self.snapshot().await;
        let sql = "select count(*) from inbound_events
            where environment = $1 and not refused and verdict <> 'rejected'";
        let counted = tx.query(sql).bind(ENVIRONMENT.to_owned()).one::<(i64,)>().await;
        let pending = progress::progress(&mut tx, ENVIRONMENT).await.expect("counted").pending;
        (usize::try_from(counted.expect("counted").0).expect("few"), pending)
    }

    /// The state is what the history says, and nothing of it is missing or told otherwise.
    pub(crate) async fn is_true(&self, history: &History, address: SocketAddr) -> Told {
        // Copies say nothing: some events may have come often and others not yet.
        let look = async || self.events().await;
        let all = (history.events, 0);
        within(DONE_WITHIN, "every event has a verdict and was told", look, |seen| *seen == all)
            .await;
        let state = Api::open(self, address).await.snapshot().await;
        let wrong = differences(history.truth.snapshot(), &state);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        self.holds(address).await
    }

    /// A snapshot, by a connection that still stands: the first ones after a restart of the server may not.
    async fn snapshot(&self) -> Tx {
        let look = async || match self.database.db.snapshot().await {
            Ok(mut tx) => progress::progress(&mut tx, ENVIRONMENT).await.ok().map(|_| tx),
            Err(_) => None,
        };
        let found = eventually("the database answers", look, Option::is_some).await;
        found.expect("it was waited for")
    }

    pub(crate) async fn progress(&self) -> Progress {
        let mut tx = self.snapshot().await;
        progress::progress(&mut tx, ENVIRONMENT).await.expect("it is counted")
    }

    /// Waits until webhooks of the running traffic arrive, and more of it is still to come.
    pub(crate) async fn is_on_the_way(&self) {
        let seen = async || self.receiver.count(HOOK);
        eventually("webhooks arrive", seen, |count| *count > 20).await;
        let received = self.progress().await.received;
        assert!(received < EVENTS, "the traffic was over before anything happened to it");
    }

    /// What must hold in the end, whatever happened on the way.
    pub(crate) async fn holds(&self, address: SocketAddr) -> Told {
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
pub(crate) fn text(output: &Output) -> String {
    let bytes = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) fn is_clean(output: &Output) {
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

/// It may be away, or behind a firewall that drops what is sent to it: connecting to it then takes long.
#[tokio::test]
async fn a_daemon_whose_broker_has_not_answered_yet_is_not_ready() {
    let (database, silent) = (sqlite().await, TcpListener::bind("127.0.0.1:0").await);
    let address = silent.as_ref().expect("a port").local_addr().expect("an address");
    let world =
        World::new(&database, "").with_variable("AMQP_URL", format!("amqp://{address}/%2f"));
    let mut daemon = world.launch();
    eventually("it has begun", async || daemon.log(), |log| log.contains("ready roles")).await;
    assert_eq!(daemon.readiness().await, Some(503));
    daemon.kill();
}
