//! Deliveries against a real receiver, on both databases.

mod answers;
mod breaker;
mod by_hand;
mod clocks;
mod fair;
mod growth;
mod kept;
mod leases;
mod locks;
mod moved;
mod names;
mod network;
mod order;
mod outage;
mod rate;
mod rough;
mod styles;

use crate::support::{
    receiver::{Receiver, Request},
    services::TestDatabase,
    wait::eventually,
};
use customer_sync::{
    clock::Clock,
    deliver::{Deliverer, Settings, schedule::Schedule, sealed, signature},
    handover::Handover,
    health::Health,
    keyring::Keyring,
    model::{
        endpoint::{Endpoint, EndpointSettings, EndpointSpec},
        id::{EndpointId, EventId, MessageId},
        message::{Cause, EventData, EventType, OutgoingEvent},
        secret::Secret,
        time::Timestamp,
    },
    outbox,
    shutdown::Shutdown,
    store::{self, endpoints, messages::Attempt},
};
use std::time::Duration;

/// A database, and what its deliverers have in common.
struct Setup {
    database: TestDatabase,
    keyring: Keyring,
    clock: Clock,
}

/// A deliverer that runs as a role does.
struct Running {
    shutdown: Shutdown,
    handover: Handover,
}

/// A message as it stands in the database.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    id: MessageId,
    status: String,
    attempts: i64,
    due_at: Timestamp,
}

/// Quick enough for a test, and allowed to reach the receiver.
fn settings() -> Settings {
    Settings {
        timeout: Duration::from_millis(1_500),
        schedule: Schedule::new(vec![Duration::from_millis(40); 9]),
        poll: Duration::from_millis(20),
        grace: Duration::from_secs(3),
        ..Settings::default()
    }
    .guarded_by(true, vec!["127.0.0.0/8".parse().expect("a network")])
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

impl Setup {
    fn new(database: TestDatabase) -> Self {
        Self { database, keyring: Keyring::new("a test's key"), clock: Clock::system() }
    }

    /// Makes an endpoint of the environment `live` that is told these types; its id and secret.
    async fn endpoint(&self, url: &str, event_types: &[&str]) -> (EndpointId, Secret) {
        self.endpoint_with(url, event_types, EndpointSettings::default()).await
    }

    async fn endpoint_with(
        &self,
        url: &str,
        event_types: &[&str],
        settings: EndpointSettings,
    ) -> (EndpointId, Secret) {
        let id = EndpointId(self.clock.new_id());
        let secret = signature::new_secret();
        let spec = EndpointSpec {
            environment: "live".into(),
            url: url.into(),
            event_types: event_types.iter().map(ToString::to_string).collect(),
            settings,
            ..EndpointSpec::default()
        };
        let sealed = sealed::seal(&self.keyring, &secret);
        let mut tx = self.database.db.begin().await.expect("begins");
        let made = endpoints::create(&mut tx, id, &spec, sealed, self.clock.now()).await;
        assert!(made.expect("the endpoint is made").is_some());
        tx.commit().await.expect("commits");
        (id, secret)
    }

    /// Writes so many events, and hands over what this deliverer can take at once.
    async fn tell(&self, count: usize, kind: EventType, handover: Option<&Handover>) {
        let events: Vec<OutgoingEvent> = (0..count).map(|_| self.event(kind)).collect();
        let now = self.clock.now();
        let mut tx = self.database.db.begin().await.expect("begins");
        let audience = endpoints::audience(&mut tx, now).await.expect("the endpoints are read");
        let mut writes = tx.together();
        let written =
            outbox::write(&audience, &mut writes, &events, || self.clock.new_id(), handover);
        writes.run(&mut tx).await.expect("the events are written");
        tx.commit().await.expect("commits");
        for (leased, slot) in written {
            handover.expect("only what is handed over is leased").send(leased, slot);
        }
    }

    fn event(&self, kind: EventType) -> OutgoingEvent {
        OutgoingEvent {
            id: EventId(self.clock.new_id()),
            kind,
            timestamp: self.clock.now(),
            environment: "live".into(),
            live: true,
            version: Some(1),
            data: EventData::default(),
            previous_attributes: serde_json::Map::default(),
            cause: Cause { source: "app".into(), event_id: "e1".into(), verified: true },
            trace: None,
        }
    }

    fn start(&self, settings: Settings) -> Running {
        self.start_by(self.clock.clone(), settings)
    }

    /// The same by a clock of its own.
    fn start_by(&self, clock: Clock, settings: Settings) -> Running {
        let (db, keyring) = (self.database.db.clone(), self.keyring.clone());
        let health = Health::new(clock.clone());
        let (deliverer, handover) =
            Deliverer::new(db, keyring, clock, health, settings).expect("a deliverer");
        let shutdown = Shutdown::new();
        shutdown.spawn_role("deliver", deliverer.run(shutdown.clone()));
        Running { shutdown, handover }
    }

    /// An endpoint's messages, oldest first.
    async fn kept(&self, endpoint: EndpointId) -> Vec<Kept> {
        let mut tx = self.database.db.snapshot().await.expect("begins");
        let sql =
            "select id, status, attempts, due_at from messages where endpoint_id = $1 order by id";
        let rows = tx.query(sql).bind(endpoint).all::<(MessageId, String, i64, Timestamp)>();
        let kept = |(id, status, attempts, due_at)| Kept { id, status, attempts, due_at };
        rows.await.expect("messages").into_iter().map(kept).collect()
    }

    /// The tries of an endpoint's only message.
    async fn tries(&self, endpoint: EndpointId) -> Vec<Attempt> {
        let kept = self.kept(endpoint).await;
        let [message] = kept.as_slice() else { panic!("one message: {kept:?}") };
        let mut tx = self.database.db.snapshot().await.expect("begins");
        store::messages::attempts(&mut tx, message.id).await.expect("tries")
    }

    /// What time it is for leases and due times.
    async fn database_now(&self) -> Timestamp {
        let mut tx = self.database.db.snapshot().await.expect("begins");
        store::now(&mut tx, self.clock.now()).await.expect("the time")
    }

    /// An endpoint as it stands.
    async fn standing(&self, id: EndpointId) -> Endpoint {
        let mut tx = self.database.db.snapshot().await.expect("begins");
        endpoints::get(&mut tx, id).await.expect("read").expect("it is there")
    }

    /// Makes the messages that wait for an endpoint due since a time, as if it had passed meanwhile.
    async fn are_due_since(&self, endpoint: EndpointId, at: Timestamp) {
        let mut tx = self.database.db.begin().await.expect("begins");
        let sql = "update messages set due_at = $1 where endpoint_id = $2 and status = 'pending'";
        let changed = tx.query(sql).bind(at).bind(endpoint).execute().await;
        assert!(changed.expect("they are changed") > 0);
        tx.commit().await.expect("commits");
    }

    /// Waits until all messages of an endpoint have a status.
    async fn all_are(&self, endpoint: EndpointId, status: &str) -> Vec<Kept> {
        let done = |kept: &Vec<Kept>| !kept.is_empty() && kept.iter().all(|m| m.status == status);
        eventually(&format!("all are {status}"), async || self.kept(endpoint).await, done).await
    }
}

impl Running {
    /// Ends it softly; it must not have crashed.
    async fn stop(self) {
        self.shutdown.soft();
        assert!(self.shutdown.drain(Duration::from_secs(10)).await, "the role ends well");
    }

    /// Ends it as a killed process ends.
    async fn kill(self) {
        self.shutdown.hard();
        self.shutdown.drain(Duration::ZERO).await;
    }
}

/// Waits until so many requests came to a path.
async fn requests(receiver: &Receiver, path: &str, count: usize) -> Vec<Request> {
    let what = format!("{count} requests to {path}");
    eventually(&what, async || receiver.count(path), |seen| *seen >= count).await;
    receiver.requests(path)
}
