//! Four processes on one outbox, one of which is killed again and again: what a receiver may rely on, and what the rows
//! of tries tell. `just deliveries COUNT` does it with more messages.

use super::{ENDPOINT_SECRET, HOOK, Stage};
use crate::support::{
    receiver::{Reply, Request},
    services::postgres,
    wait::within,
    world::Daemon,
};
use chrono::TimeDelta;
use customer_sync::{
    clock::Clock,
    model::{
        id::{AttemptId, EndpointId, MessageId},
        message::EventType,
        time::Timestamp,
    },
    store::{
        self, endpoints,
        messages::{self, NewEvent, NewMessage},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};
use uuid::Uuid;

const PROCESSES: usize = 4;

/// How long a lease lasts: short, so that what a killed process had comes again within the test.
const LEASE: TimeDelta = TimeDelta::seconds(3);

const SETTINGS: &str = "timeout = '1s'\nlease = '3s'\n\
     schedule = ['100ms', '200ms', '400ms', '1s', '1s', '1s', '1s', '1s', '1s', '1s', '1s', '1s', '1s', '1s', '1s']";

/// Where the endpoint is that keeps the order.
const ORDERED: &str = "/ordered";

/// How many versions each customer has.
const VERSIONS: usize = 10;

/// How many messages come between two kills, where there are few in all; and how many kills there are at most.
const PART: usize = 500;
const KILLS: usize = 40;

/// What a killed process may have had in hand, of all endpoints: four messages for each of `webhooks.concurrency`.
const IN_HAND: usize = 4 * 512;

/// How long a message may take, with all the waits of its leases and tries.
const EACH: Duration = Duration::from_millis(20);
const ALL: Duration = Duration::from_mins(2);

#[expect(clippy::disallowed_methods, reason = "a run is chosen from outside")]
fn wanted() -> usize {
    let text = std::env::var("DELIVERIES").unwrap_or_else(|_| "3000".into());
    text.parse().unwrap_or_else(|_| panic!("DELIVERIES is no number: {text}"))
}

/// A try as its row tells it.
#[derive(Debug)]
struct Try {
    id: AttemptId,
    message: MessageId,
    started_at: Timestamp,
    finished_at: Option<Timestamp>,
    outcome: Option<String>,
}

/// A stage, its two endpoints, and the processes on it.
struct Scene {
    stage: Stage,
    plain: EndpointId,
    ordered: EndpointId,
    processes: Vec<Daemon>,
    /// Tries that had no result a moment after a kill.
    cut: BTreeSet<AttemptId>,
}

impl Scene {
    async fn new() -> Self {
        let stage = Stage::new(postgres().await, None, SETTINGS).await;
        let first = stage.world.start().await;
        let url = stage.receiver.url(ORDERED);
        let create = ["endpoint", "create", "--environment", "live", "--url", &url, "--ordered"];
        assert!(stage.world.run(&create).await.status.success());
        let mut tx = stage.database.db.snapshot().await.expect("begins");
        let all = endpoints::list(&mut tx, None).await.expect("listed");
        drop(tx);
        let of = |ordered: bool| {
            let found = all.iter().find(|known| known.spec.settings.ordered == ordered);
            found.expect("it is there").id
        };
        let (plain, ordered) = (of(false), of(true));
        let mut processes = vec![first];
        while processes.len() < PROCESSES {
            processes.push(stage.world.start().await);
        }
        Self { stage, plain, ordered, processes, cut: BTreeSet::new() }
    }

    /// Writes so many messages, half of them to either endpoint: to the ordered one, the versions of customers of their
    /// own, the latest ones first.
    async fn tell(&self, count: usize) {
        let clock = Clock::system();
        let customers: Vec<Uuid> =
            (0..count.div_ceil(2 * VERSIONS)).map(|_| clock.new_id()).collect();
        let mut tx = self.stage.database.db.begin().await.expect("begins");
        let now = store::now(&mut tx, clock.now()).await.expect("the time");
        let (mut events, mut told) = (Vec::new(), Vec::new());
        for place in 0..count {
            let (ordered, turn) = (place % 2 == 0, place / 2);
            let customer = customers[turn % customers.len()];
            let version = VERSIONS - turn / customers.len();
            let event = NewEvent {
                id: clock.new_id(),
                environment: "live".into(),
                kind: EventType::CustomerUpdated.as_str(),
                customer_id: Some(customer),
                payment_id: None,
                subscription_id: None,
                version: i64::try_from(version).ok(),
                body: format!("{{\"customer\":\"{customer}\",\"version\":{version}}}").into(),
                traceparent: None,
            };
            told.push(NewMessage {
                id: clock.new_id(),
                event_id: event.id,
                endpoint_id: if ordered { self.ordered.0 } else { self.plain.0 },
                environment: "live".into(),
                customer_id: event.customer_id,
                version: event.version,
                ordered,
                lease: None,
                leased_until: None,
                due_at: now,
                once: false,
            });
            events.push(event);
        }
        messages::write(&mut tx, &events, &told, now).await.expect("written");
        tx.commit().await.expect("commits");
    }

    fn came(&self) -> usize {
        self.stage.receiver.count(HOOK) + self.stage.receiver.count(ORDERED)
    }

    /// Kills one process and starts another one in its place.
    async fn kill(&mut self, number: usize) {
        let place = number % PROCESSES;
        let killed = self.processes.remove(place);
        killed.kill();
        let next = self.stage.world.start().await;
        self.processes.insert(place, next);
        // By now the database is done with what the killed one has begun.
        let open = self.tries().await.into_iter().filter(|tried| tried.outcome.is_none());
        self.cut.extend(open.map(|tried| tried.id));
    }

    /// Every try, by message and in their order.
    async fn tries(&self) -> Vec<Try> {
        let mut tx = self.stage.database.db.snapshot().await.expect("begins");
        let rows = tx
            .query("select id, message_id, started_at, finished_at, outcome from attempts order by message_id, id")
            .all::<(AttemptId, MessageId, Timestamp, Option<Timestamp>, Option<String>)>();
        let tried = |(id, message, started_at, finished_at, outcome)| Try {
            id,
            message,
            started_at,
            finished_at,
            outcome,
        };
        rows.await.expect("tries").into_iter().map(tried).collect()
    }

    /// How many messages are of a status.
    async fn count(&self, status: &str) -> usize {
        let mut tx = self.stage.database.db.snapshot().await.expect("begins");
        let sql = "select count(*) from messages where status = $1";
        let (count,) =
            tx.query(sql).bind(status.to_owned()).one::<(i64,)>().await.expect("counted");
        usize::try_from(count).expect("it is few")
    }

    /// What was begun while another try of the same message was under way and its lease lasted.
    fn overlaps(tries: &[Try]) -> Vec<&Try> {
        let pairs = tries.windows(2).filter(|pair| pair[0].message == pair[1].message);
        let overlap = |pair: &&[Try]| {
            let lease_ends = pair[0].started_at.plus(LEASE);
            let ends = pair[0].finished_at.map_or(lease_ends, |at| at.min(lease_ends));
            pair[1].started_at < ends
        };
        pairs.filter(overlap).map(|pair| &pair[1]).collect()
    }

    /// The versions that each customer's ordered endpoint was told, as they came.
    fn versions(came: &[Request]) -> HashMap<String, Vec<u64>> {
        let mut all: HashMap<String, Vec<u64>> = HashMap::new();
        for request in came {
            let body = request.json();
            let customer = body["customer"].as_str().expect("a customer").to_owned();
            all.entry(customer).or_default().push(body["version"].as_u64().expect("a version"));
        }
        all
    }
}

#[tokio::test]
async fn four_processes_that_are_killed_again_and_again_deliver_all_of_it_in_order_and_never_at_once()
 {
    let all = wanted();
    let part = PART.max(all.div_ceil(KILLS));
    let mut scene = Scene::new().await;
    let mut told = 0;
    for number in 0.. {
        let count = part.min(all - told);
        if count == 0 {
            break;
        }
        // Every tenth answer is a failure.
        let failures = (0..count / 2).map(|n| Reply::Status(if n % 10 == 0 { 500 } else { 200 }));
        scene.stage.receiver.script(HOOK, failures.clone());
        scene.stage.receiver.script(ORDERED, failures);
        let before = scene.came();
        scene.tell(count).await;
        told += count;
        let some = async || scene.came();
        within(ALL, "some of them arrive", some, |came| *came >= before + count / 4).await;
        scene.kill(number).await;
        eprintln!(
            "deliveries: {told} of {all} told, {} requests, {} kills",
            scene.came(),
            number + 1
        );
    }
    let limit = ALL + EACH * u32::try_from(all).expect("few");
    let left = async || scene.count("pending").await;
    within(limit, "nothing waits", left, |pending| *pending == 0).await;
    assert_eq!(scene.count("delivered").await, all, "each is delivered");
    for process in std::mem::take(&mut scene.processes) {
        assert_eq!(process.stop().await.code(), Some(0));
    }

    let (plain, ordered) =
        (scene.stage.receiver.requests(HOOK), scene.stage.receiver.requests(ORDERED));
    assert!(plain.iter().all(|request| request.is_signed_with(ENDPOINT_SECRET)));
    let mut requests: BTreeMap<String, usize> = BTreeMap::new();
    for request in plain.iter().chain(&ordered) {
        *requests.entry(request.header("webhook-id").to_owned()).or_default() += 1;
    }
    assert_eq!(requests.len(), all, "the receiver has seen each");

    for (customer, versions) in Scene::versions(&ordered) {
        assert!(versions.is_sorted(), "{customer}: {versions:?}");
    }

    let tries = scene.tries().await;
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    for tried in &tries {
        *rows.entry(tried.message.to_string()).or_default() += 1;
    }
    let unrecorded = requests.iter().filter(|(id, count)| rows.get(*id) < Some(count)).count();
    assert_eq!(unrecorded, 0, "every request has its row");

    let open: BTreeSet<AttemptId> =
        tries.iter().filter(|tried| tried.outcome.is_none()).map(|tried| tried.id).collect();
    assert!(open.is_subset(&scene.cut), "only what a kill cut short has no result");
    let kills = all.div_ceil(part);
    assert!(open.len() <= kills * IN_HAND, "{} rows without a result by {kills} kills", open.len());
    let overlaps = Scene::overlaps(&tries);
    assert!(overlaps.is_empty(), "{overlaps:?}");
    eprintln!(
        "deliveries: {all} delivered by {} requests; {kills} kills, {} tries without a result, no overlap",
        requests.values().sum::<usize>(),
        open.len()
    );
}
