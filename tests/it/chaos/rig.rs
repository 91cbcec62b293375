//! What is struck: daemons, their databases and brokers behind proxies, and a receiver; and what it is struck with.

use super::{EVENTS, Random, traffic::Traffic};
use crate::{
    daemon::{HOOK, Stage},
    faults::{post, queue},
    support::{
        private::{Postgres, RabbitMq},
        proxy::{Direction, Proxy},
        receiver::Reply,
        wait::within,
        world::Daemon,
    },
};
use customer_sync::{simulator::Delivery, store::progress::Progress};
use sqlx::{Connection as _, Executor as _, PgConnection};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use tokio::{
    sync::OwnedMutexGuard,
    time::{sleep, timeout},
};

/// How long it may take until all is done once everything is mended: the longest waits, and a busy machine.
const DONE_WITHIN: Duration = Duration::from_mins(2);

/// How long readiness may take to say that a server is gone which was killed or refuses, or that nothing can be written:
/// a few tries, and a busy machine.
const GONE_WITHIN: Duration = Duration::from_secs(15);

/// The same of a server that is silent: heartbeats and time-outs come first.
const SILENT_WITHIN: Duration = Duration::from_secs(30);

/// How long readiness may take to say that all is well again: the longest wait between two tries is 15 s.
const WELL_WITHIN: Duration = Duration::from_secs(45);

/// For so long readiness is looked at again and again while nothing is wrong.
const WATCHED_FOR: Duration = Duration::from_secs(3);

/// A connection that was cut unnoticed is met by whoever asks next; one that was idle for so long is looked at first.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5);

/// The longest pause between two faults, in milliseconds.
const PAUSE: u64 = 150;

/// How long somebody may take to run into a trap.
const RUN_INTO_WITHIN: Duration = Duration::from_millis(700);

/// How long until somebody must have run into the last trap of a kind that nobody ran into before, with events sent
/// for that alone: a daemon may have to find its servers again first.
const LURED_WITHIN: Duration = Duration::from_mins(2);

/// This share of the deliveries comes after the last fault, so that what was scripted for them is met.
const HELD_BACK: usize = 20;

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Fault {
    /// A daemon killed and started again.
    KillDaemon,
    /// A daemon that gets no time, sometimes for longer than its leases.
    PauseDaemon,
    /// Connections to the database reset.
    CutDatabase,
    /// Connections to the broker reset.
    CutBroker,
    /// The reply to a COMMIT lost.
    LoseCommit,
    /// An acknowledgement lost on its way to the broker.
    LoseAck,
    /// A confirm lost on its way from the broker.
    LoseConfirm,
    /// A connection cut in the middle of what it says, or is told.
    CutInside,
    /// Everything late.
    Delay,
    /// One direction held up.
    Hold,
    /// The database's connections ended by an operator.
    EndConnections,
    /// The receiver fails in one of its ways.
    Receiver,
    /// Nobody listens where the database was.
    DatabaseAway,
    /// Nobody listens where the broker was.
    BrokerAway,
    /// The database's machine without power.
    DatabaseSilent,
    /// The broker's machine without power.
    BrokerSilent,
    /// The disk full.
    DiskFull,
    /// The database killed and started again.
    RestartDatabase,
    /// The broker killed and started again.
    RestartBroker,
}

/// Kinds of faults: how often each, and at most how often in one round.
pub(super) type Kinds = &'static [(Fault, usize, usize)];

/// With PostgreSQL and RabbitMQ. Four restarts of a service in a round.
pub(super) const SERVED: Kinds = &[
    (Fault::KillDaemon, 12, usize::MAX),
    (Fault::PauseDaemon, 10, usize::MAX),
    (Fault::CutDatabase, 14, usize::MAX),
    (Fault::CutBroker, 10, usize::MAX),
    (Fault::LoseCommit, 12, usize::MAX),
    (Fault::LoseAck, 8, usize::MAX),
    (Fault::LoseConfirm, 6, usize::MAX),
    (Fault::CutInside, 12, usize::MAX),
    (Fault::Delay, 8, usize::MAX),
    (Fault::Hold, 8, usize::MAX),
    (Fault::EndConnections, 8, usize::MAX),
    (Fault::Receiver, 14, usize::MAX),
    (Fault::DatabaseAway, 5, 4),
    (Fault::BrokerAway, 4, 2),
    (Fault::DatabaseSilent, 4, 1),
    (Fault::BrokerSilent, 4, 1),
    (Fault::RestartDatabase, 6, 3),
    (Fault::RestartBroker, 4, 1),
];

/// With SQLite and the embedded queue.
pub(super) const EMBEDDED: Kinds = &[
    (Fault::KillDaemon, 36, usize::MAX),
    (Fault::PauseDaemon, 10, usize::MAX),
    (Fault::Receiver, 14, usize::MAX),
    (Fault::DiskFull, 6, 10),
];

/// The same once its daemon is killed no more.
const SPARED: Kinds = &[
    (Fault::PauseDaemon, 10, usize::MAX),
    (Fault::Receiver, 14, usize::MAX),
    (Fault::DiskFull, 6, 10),
];

/// The faults of one round with SQLite. Its only daemon lives through the last three quarters, so that it can be seen
/// whether its memory grows.
pub(super) fn embedded(random: &mut Random, count: usize) -> Vec<Fault> {
    let first = count / 4;
    let mut all = plan(random, EMBEDDED, first);
    all.extend(plan(random, SPARED, count - first));
    all
}

/// The faults of one round.
pub(super) fn plan(random: &mut Random, kinds: Kinds, count: usize) -> Vec<Fault> {
    let mut met: BTreeMap<Fault, usize> = BTreeMap::new();
    let mut plan = Vec::new();
    while plan.len() < count {
        let mut place = random.below(kinds.iter().map(|(_, weight, _)| weight).sum());
        let drawn = kinds.iter().find(|(_, weight, _)| {
            let is_here = place < *weight;
            place = place.saturating_sub(*weight);
            is_here
        });
        let (fault, _, most) = drawn.expect("it is below their sum");
        let met = met.entry(*fault).or_default();
        if *met < *most {
            *met += 1;
            plan.push(*fault);
        }
    }
    plan
}

/// The method by which a message is acknowledged, on either way (AMQP 0-9-1: class 60, method 80).
const ACK: &[u8] = &[0, 60, 0, 80];

/// How many faults of a kind there were, and how long they took.
#[derive(Clone, Copy, Default)]
pub(super) struct Borne {
    pub(super) faults: usize,
    took: Duration,
}

impl Borne {
    pub(super) fn of(faults: usize) -> Self {
        Self { faults, took: Duration::ZERO }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.faults += other.faults;
        self.took += other.took;
    }
}

impl fmt::Debug for Borne {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {:.1} s", self.faults, self.took.as_secs_f64())
    }
}

/// What a round came to.
pub(super) struct Report {
    /// The faults that were borne.
    pub(super) kinds: BTreeMap<Fault, Borne>,
    /// And those that were meant.
    pub(super) planned: BTreeSet<Fault>,
    pub(super) requests: usize,
    pub(super) messages: usize,
    /// The most that a daemon held, in KiB.
    pub(super) memory: u64,
    /// What the daemon held that was never killed, or is killed no more, after each fault, in KiB.
    pub(super) steady: Vec<u64>,
}

/// The servers behind proxies.
struct Servers {
    postgres: Postgres,
    rabbit: OwnedMutexGuard<RabbitMq>,
    database: Proxy,
    broker: Proxy,
}

/// The most that a daemon has held so far, in KiB.
fn peak(daemon: &Daemon) -> u64 {
    daemon.peak_memory() / 1024
}

/// Everything of one round.
pub(super) struct Rig {
    stage: Stage,
    servers: Option<Servers>,
    /// Where there are servers, the first one is never killed.
    daemons: Vec<Daemon>,
    memory: u64,
    /// How many answers the receiver's script had before each of its faults.
    scripted: Vec<usize>,
    /// And how many it has had by now.
    answers: usize,
}

impl Rig {
    fn new(stage: Stage, servers: Option<Servers>, daemons: Vec<Daemon>) -> Self {
        Self { stage, servers, daemons, memory: 0, scripted: Vec::new(), answers: 0 }
    }

    /// Two daemons on PostgreSQL and RabbitMQ.
    pub(super) async fn with_servers(
        mut stage: Stage,
        postgres: Postgres,
        rabbit: OwnedMutexGuard<RabbitMq>,
    ) -> Self {
        let database = Proxy::before(&postgres.url()).await;
        let broker = Proxy::before(&rabbit.url()).await;
        let amqp = format!("{}?heartbeat=2", broker.url(&rabbit.url()));
        stage.world = stage
            .world
            .for_daemons("DATABASE_URL", database.url(&postgres.url()))
            .for_daemons("AMQP_URL", amqp)
            .for_daemons("CUSTOMER_SYNC__DATABASE__STATEMENT_TIMEOUT", "2s".into());
        let daemons = vec![stage.world.start().await, stage.world.start().await];
        let servers = Some(Servers { postgres, rabbit, database, broker });
        Self::new(stage, servers, daemons)
    }

    /// One daemon on SQLite.
    pub(super) async fn embedded(mut stage: Stage) -> Self {
        stage.world = stage.world.outliving_file_limits();
        let daemons = vec![stage.world.start().await];
        Self::new(stage, None, daemons)
    }

    /// Strikes so often while a history comes in, mends everything, and looks at what came of it.
    pub(super) async fn bear(mut self, seed: u64, count: usize) -> Report {
        let mut random = Random(seed);
        let history = self.stage.history(seed, EVENTS);
        let all = history.deliveries.len();
        let plan = match &self.servers {
            Some(_) => plan(&mut random, SERVED, count),
            None => embedded(&mut random, count),
        };
        let addresses = self.daemons.iter().map(|daemon| daemon.address).collect();
        let traffic = Traffic::new(&self.stage, addresses);
        let mut kinds: BTreeMap<Fault, Borne> = BTreeMap::new();
        let mut steady = Vec::new();
        let strikes = async {
            // Some of the traffic comes while nothing is wrong.
            traffic.due.store(all / HELD_BACK, Ordering::SeqCst);
            self.stay_ready().await;
            for (struck, fault) in plan.iter().enumerate() {
                sleep(random.millis(PAUSE)).await;
                let due = (struck + 1) * (all - all / HELD_BACK) / count;
                traffic.due.store(due, Ordering::SeqCst);
                let is_last = !plan[struck + 1..].contains(fault) && !kinds.contains_key(fault);
                let lure = is_last.then(|| &history.deliveries[0]);
                let begun = Instant::now();
                let hit = self.strike(*fault, lure, &mut random).await;
                // Whether the receiver's faults were met is seen at the end.
                if hit != Fault::Receiver {
                    kinds.entry(hit).or_default().add(Borne { faults: 1, took: begun.elapsed() });
                }
                for daemon in &mut self.daemons {
                    assert!(daemon.process_is_running(), "{fault:?} ended a daemon");
                }
                if self.servers.is_some() || !plan[struck..].contains(&Fault::KillDaemon) {
                    steady.push(self.daemons[0].memory());
                }
            }
            traffic.due.store(all, Ordering::SeqCst);
            self.mend().await;
            self.all_are(true, WELL_WITHIN).await;
        };
        tokio::join!(strikes, traffic.send(&history, seed));
        self.looks_right(&history).await;
        let told = self.stage.is_true(&history, self.daemons[0].address).await;
        sleep(FORGOTTEN_AFTER).await;
        self.stay_ready().await;
        let given = self.answers - self.stage.receiver.scripted(HOOK);
        let met = self.scripted.iter().filter(|before| given > **before).count();
        let met = Borne::of(met);
        kinds.extend((met.faults > 0).then_some((Fault::Receiver, met)));
        for daemon in &self.daemons {
            self.memory = self.memory.max(peak(daemon));
        }
        for daemon in self.daemons {
            assert_eq!(daemon.stop().await.code(), Some(0));
        }
        let (requests, messages, memory) = (told.requests, told.messages, self.memory);
        let planned = plan.into_iter().collect();
        Report { kinds, planned, requests, messages, memory, steady }
    }

    /// All of the history has a verdict, was told, and has left the queue.
    async fn looks_right(&self, history: &customer_sync::simulator::History) {
        let all = i64::try_from(history.deliveries.len()).expect("few");
        let done = |seen: &Progress| seen.received >= all && seen.queued == 0 && seen.pending == 0;
        let look = async || self.stage.progress().await;
        within(DONE_WITHIN, "all has a verdict and was told", look, done).await;
        if let Some(names) = &self.stage.broker {
            let look = async || queue(names).await;
            let empty = Some((0, 2));
            within(DONE_WITHIN, "the queue is empty", look, |seen| *seen == empty).await;
            // What came a second time at the very end may still be under way.
            within(DONE_WITHIN, "all was told", async || self.stage.progress().await, done).await;
        }
    }

    async fn mend(&mut self) {
        if let Some(servers) = &mut self.servers {
            servers.database.mend().await;
            servers.broker.mend().await;
        }
    }

    fn servers(&mut self) -> &mut Servers {
        self.servers.as_mut().expect("it has servers")
    }

    /// Which fault it came to: a trap that nothing runs into is no fault, and a cut takes its place. With a `lure` it is
    /// waited for, and that is sent until somebody does.
    async fn strike(
        &mut self,
        fault: Fault,
        lure: Option<&Delivery>,
        random: &mut Random,
    ) -> Fault {
        let one = random.below(self.daemons.len());
        match fault {
            Fault::KillDaemon => {
                let one = if self.servers.is_some() { one.max(1) } else { one };
                let daemon = self.daemons.remove(one);
                self.memory = self.memory.max(peak(&daemon));
                let address = daemon.address;
                daemon.kill();
                let mut daemon = self.stage.world.launch_at(address);
                if random.below(2) == 0 {
                    daemon.is_ready(true).await;
                }
                self.daemons.insert(one, daemon);
            }
            Fault::PauseDaemon => {
                self.daemons[one].signal("STOP");
                let longer = if random.below(8) == 0 { 2_500 } else { 0 };
                sleep(random.millis(300) + Duration::from_millis(longer)).await;
                self.daemons[one].signal("CONT");
            }
            Fault::Receiver => {
                let replies = (0..=random.below(6)).map(|_| match random.below(6) {
                    0 => Reply::Hang,
                    1 => Reply::Slow(Duration::from_millis(1_200)),
                    2 => Reply::Huge(1024 * 1024),
                    3 => Reply::Status(429),
                    _ => Reply::Status(503),
                });
                let replies: Vec<Reply> = replies.collect();
                self.scripted.push(self.answers);
                self.answers += replies.len();
                self.stage.receiver.script(HOOK, replies);
            }
            Fault::DiskFull => self.fill_disk(random).await,
            Fault::RestartDatabase | Fault::RestartBroker => self.restart(fault).await,
            Fault::DatabaseAway
            | Fault::BrokerAway
            | Fault::DatabaseSilent
            | Fault::BrokerSilent => self.take_away(fault).await,
            _ => return self.hurt(fault, lure, random).await,
        }
        fault
    }

    /// Something between a daemon and a server goes wrong for a moment.
    async fn hurt(&mut self, fault: Fault, lure: Option<&Delivery>, random: &mut Random) -> Fault {
        let way = if random.below(2) == 0 { Direction::Up } else { Direction::Down };
        let (bytes, moment) = (random.below(20_000), random.millis(250));
        let is_database = random.below(2) == 0;
        let (before, begun) = (self.sprung(), Instant::now());
        let Servers { database, broker, postgres, .. } = self.servers();
        let either = if is_database { &mut *database } else { &mut *broker };
        match fault {
            Fault::CutDatabase => database.cut(),
            Fault::CutBroker => broker.cut(),
            Fault::LoseCommit => database.cut_instead_of_reply_to(&[b"COMMIT"]),
            Fault::LoseAck => broker.cut_instead_of(Direction::Up, ACK),
            Fault::LoseConfirm => broker.cut_instead_of(Direction::Down, ACK),
            Fault::CutInside => either.cut_after(way, bytes),
            Fault::Delay => either.delay(moment / 5),
            Fault::Hold => either.hold(way),
            Fault::EndConnections => {
                let mut operator =
                    PgConnection::connect(&postgres.url()).await.expect("it answers");
                let end = "select pg_terminate_backend(pid) from pg_stat_activity
                    where application_name = 'customer-sync' and pid <> pg_backend_pid()";
                operator.execute(end).await.expect("they are ended");
            }
            other => panic!("{other:?} is seen to elsewhere"),
        }
        sleep(moment).await;
        let is_trap = matches!(
            fault,
            Fault::LoseCommit | Fault::LoseAck | Fault::LoseConfirm | Fault::CutInside
        );
        while is_trap && self.sprung() == before {
            if let Some(delivery) = lure {
                assert!(begun.elapsed() < LURED_WITHIN, "nobody ran into {fault:?}");
                let sent = post(&self.stage.senders, self.daemons[0].address, delivery);
                // Whatever is answered: it is one copy more of what comes anyway.
                let _ = timeout(Duration::from_secs(1), sent).await;
            } else if begun.elapsed() > RUN_INTO_WITHIN {
                self.servers().database.cut();
                self.mend().await;
                return Fault::CutDatabase;
            }
            sleep(Duration::from_millis(10)).await;
        }
        if matches!(fault, Fault::Delay | Fault::Hold) {
            self.mend().await;
        }
        fault
    }

    /// How often somebody ran into a trap.
    fn sprung(&mut self) -> u64 {
        let Servers { database, broker, .. } = self.servers();
        database.sprung() + broker.sprung()
    }

    /// A server cannot be reached until every daemon has said so; then they have to find it again.
    async fn take_away(&mut self, fault: Fault) {
        let Servers { database, broker, .. } = self.servers();
        match fault {
            Fault::DatabaseAway => database.refuse().await,
            Fault::BrokerAway => broker.refuse().await,
            Fault::DatabaseSilent => database.fall_silent(),
            _ => broker.fall_silent(),
        }
        let is_silent = matches!(fault, Fault::DatabaseSilent | Fault::BrokerSilent);
        self.all_are(false, if is_silent { SILENT_WITHIN } else { GONE_WITHIN }).await;
        if matches!(fault, Fault::DatabaseSilent) {
            self.servers().database.answer_new_ones();
        } else if matches!(fault, Fault::BrokerSilent) {
            self.servers().broker.answer_new_ones();
        } else {
            self.mend().await;
        }
        self.all_are(true, WELL_WITHIN).await;
    }

    /// A server is killed; it starts again once every daemon has said that it is away.
    async fn restart(&mut self, fault: Fault) {
        self.mend().await;
        if fault == Fault::RestartDatabase {
            self.servers().postgres.kill();
            self.all_are(false, GONE_WITHIN).await;
            self.servers().postgres.start_again().await;
        } else {
            let names = self.stage.broker.as_ref().expect("it has one");
            let (queue, dead) = (names.queue.clone(), names.dead.clone());
            self.servers().rabbit.kill(&[&queue, &dead]).await;
            self.all_are(false, GONE_WITHIN).await;
            self.servers().rabbit.start_again().await;
        }
        self.all_are(true, WELL_WITHIN).await;
    }

    /// No file can be written until the daemon has said so.
    async fn fill_disk(&mut self, random: &mut Random) {
        self.daemons[0].is_ready(true).await;
        self.daemons[0].limit_files(Some(0));
        // Somebody must want to write for it to be noticed.
        let history = self.stage.history(random.next(), 40);
        let (senders, address) = (&self.stage.senders, self.daemons[0].address);
        let status = post(senders, address, &history.deliveries[0]).await;
        assert_eq!(status, Some(503), "what cannot be kept is not taken");
        self.all_are(false, GONE_WITHIN).await;
        self.daemons[0].limit_files(None);
        self.all_are(true, WELL_WITHIN).await;
    }

    /// Every daemon says so, within that time from now on.
    async fn all_are(&mut self, ready: bool, limit: Duration) {
        let all = self.daemons.iter_mut().map(|daemon| daemon.is_ready_within(ready, limit));
        futures_util::future::join_all(all).await;
    }

    /// Every daemon says that it is ready, each time that it is asked while nothing is wrong.
    async fn stay_ready(&mut self) {
        let begun = Instant::now();
        while begun.elapsed() < WATCHED_FOR {
            for daemon in &mut self.daemons {
                let seen = daemon.readiness().await;
                assert_eq!(seen, Some(200), "not ready, and nothing is wrong");
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}
