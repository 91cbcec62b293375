//! Faults of what the daemon depends on, and its own death, at chosen points: one test each. Whatever happens, what
//! was accepted is applied once, told, and readiness has said how things stood.

use crate::{
    daemon::Stage,
    http::client::Request,
    support::{
        proxy::Proxy,
        services::{TestBroker, TestDatabase},
        wait::eventually,
    },
};
use customer_sync::{
    clock::Clock,
    health::Health,
    intake::{
        publisher::{self, Publisher},
        topology,
    },
    model::{inbound::Raw, secret::Secret},
    shutdown::Shutdown,
    simulator::{Delivery, Senders},
    store::progress::Progress,
};
use lapin::{Connection, ConnectionProperties, options::QueueDeclareOptions, types::FieldTable};
use std::net::SocketAddr;

mod broker;
mod database;
mod embedded;
mod full;
mod process;
mod start;

/// Enough for every story of the simulator.
const EVENTS: usize = 300;

/// Leases that end within a test.
const SHORT: &str = "timeout = '1s'\nlease = '2s'\nschedule = ['200ms', '500ms', '1s', '1s', '1s']";

/// A stage whose daemons reach the broker, the database, or both by way of proxies; commands and the test do not.
struct Faulty {
    stage: Stage,
    database: Proxy,
    broker: Option<Proxy>,
}

impl Faulty {
    async fn new(database: TestDatabase, broker: Option<TestBroker>) -> Self {
        let mut stage = Stage::new(database, broker, SHORT).await;
        let database = Proxy::before(&stage.database.url).await;
        let url = database.url(&stage.database.url);
        stage.world = stage.world.for_daemons("DATABASE_URL", url);
        let broker = match &stage.broker {
            Some(broker) => {
                let proxy = Proxy::before(&broker.url).await;
                // Silence is noticed within seconds.
                let url = format!("{}?heartbeat=2", proxy.url(&broker.url));
                stage.world = stage.world.for_daemons("AMQP_URL", url);
                Some(proxy)
            }
            None => None,
        };
        Self { stage, database, broker }
    }

    fn broker(&mut self) -> &mut Proxy {
        self.broker.as_mut().expect("it has a broker")
    }
}

/// A way to the broker itself.
pub(crate) fn publisher(broker: &TestBroker) -> Publisher {
    let shutdown = Shutdown::new();
    let settings = publisher::Settings {
        topology: topology::Settings {
            exchange: broker.exchange.clone(),
            queue: broker.queue.clone(),
            dead_exchange: broker.dead.clone(),
            dead_queue: broker.dead.clone(),
            declare: true,
        },
        ..publisher::Settings::new(Secret::new(broker.url.clone()))
    };
    Publisher::new(settings, Clock::system(), Health::default(), shutdown)
}

/// A delivery as a gateway publishes it.
pub(crate) fn raw(delivery: &Delivery) -> Raw {
    Raw {
        source: delivery.source.clone(),
        headers: delivery.headers.iter().cloned().collect(),
        body: delivery.body.clone(),
        received_at: Some(delivery.received_at),
        queue_id: None,
        dead: None,
    }
}

/// Publishes to the broker itself, with confirms; all of it is kept when this returns.
async fn publish(broker: &TestBroker, deliveries: &[Delivery]) {
    let publisher = publisher(broker);
    for published in publisher.publish_all(deliveries.iter().map(raw)).await {
        published.expect("the broker keeps it");
    }
    publisher.close().await;
}

/// Posts to the ingress, signed now, as a provider would; the status of the answer, none where none came.
pub(crate) async fn post(
    senders: &Senders,
    address: SocketAddr,
    delivery: &Delivery,
) -> Option<u16> {
    let sender = senders.find(&delivery.source).expect("a sender");
    let headers = sender.sign(&delivery.event_id, &delivery.body, Clock::system().now());
    let path = format!("/ingest/{}", delivery.source);
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let request = Request::post(&path, &delivery.body).headers(headers);
    Some(request.try_send(address).await?.status)
}

/// What waits in the queue, and how many consume it; none where it does not exist.
pub(crate) async fn queue(broker: &TestBroker) -> Option<(u32, u32)> {
    let connection =
        Connection::connect(&broker.url, ConnectionProperties::default()).await.ok()?;
    let channel = connection.create_channel().await.ok()?;
    let options = QueueDeclareOptions { passive: true, ..Default::default() };
    let name = broker.queue.as_str().into();
    let queue = channel.queue_declare(name, options, FieldTable::default()).await.ok()?;
    let seen = (queue.message_count(), queue.consumer_count());
    let _ = connection.close(200, "done".into()).await;
    Some(seen)
}

/// Waits until so many copies have a verdict and all that followed from them was delivered.
async fn all_is_done(stage: &Stage, copies: usize) -> Progress {
    let copies = i64::try_from(copies).expect("few");
    let done = |seen: &Progress| seen.received >= copies && seen.queued == 0 && seen.pending == 0;
    eventually("all has a verdict and was told", async || stage.progress().await, done).await
}
