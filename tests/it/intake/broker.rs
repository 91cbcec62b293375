//! A broker's exchanges and queues of a test's own, and a publisher in raw AMQP.

use super::{Kept, eventually};
use crate::support::services;
use customer_sync::{
    clock::Clock,
    health::Health,
    intake::{
        publisher::{self, Publisher},
        rabbitmq, topology,
    },
    model::secret::Secret,
    shutdown::Shutdown,
};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{
        BasicPublishOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{FieldTable, ShortString},
};
use std::time::Duration;

/// The broker that all tests share.
pub(super) fn url() -> String {
    services::broker_url()
}

/// Exchanges and queues of a test's own, and a hand on the broker.
pub(super) struct Broker {
    pub(super) topology: topology::Settings,
    pub(super) channel: Channel,
    pub(super) connection: Connection,
    pub(super) shutdown: Shutdown,
    pub(super) health: Health,
}

impl Broker {
    pub(super) async fn new() -> Self {
        let prefix = format!("t-{}", Clock::system().new_id().simple());
        let topology = topology::Settings {
            exchange: format!("{prefix}.events"),
            queue: format!("{prefix}.intake"),
            dead_exchange: format!("{prefix}.dead"),
            dead_queue: format!("{prefix}.dead"),
            declare: true,
        };
        let connection =
            Connection::connect(&url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let (shutdown, health) = (Shutdown::new(), Health::default());
        Self { topology, channel, connection, shutdown, health }
    }

    pub(super) fn settings(&self, url: &str) -> rabbitmq::Settings {
        rabbitmq::Settings {
            topology: self.topology.clone(),
            check: Duration::from_millis(200),
            ..rabbitmq::Settings::new(Secret::new(url))
        }
    }

    pub(super) fn consume(&self, kept: &Kept, url: &str) {
        let (health, shutdown) = (self.health.clone(), self.shutdown.clone());
        let role = rabbitmq::run(self.settings(url), kept.clone(), health, shutdown);
        self.shutdown.spawn_role("intake", role);
    }

    pub(super) fn publisher(&self, url: &str) -> Publisher {
        let settings = publisher::Settings {
            topology: self.topology.clone(),
            ..publisher::Settings::new(Secret::new(url))
        };
        let (health, shutdown) = (self.health.clone(), self.shutdown.clone());
        Publisher::new(settings, Clock::system(), health, shutdown)
    }

    pub(super) async fn is_consuming(&self) {
        eventually("the consumer is there", || async {
            self.waiting().await.is_some_and(|(_, consumers)| consumers == 1)
        })
        .await;
    }

    /// What waits in the intake queue and how many consume it; none when it does not exist.
    pub(super) async fn waiting(&self) -> Option<(u32, u32)> {
        self.waiting_in(&self.topology.queue).await
    }

    /// The same of any queue.
    pub(super) async fn waiting_in(&self, queue: &str) -> Option<(u32, u32)> {
        let channel = self.connection.create_channel().await.unwrap();
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let queue =
            channel.queue_declare(queue.into(), options, FieldTable::default()).await.ok()?;
        Some((queue.message_count(), queue.consumer_count()))
    }

    pub(super) async fn send(
        &self,
        exchange: &str,
        key: &str,
        properties: BasicProperties,
        body: &[u8],
    ) {
        let options = BasicPublishOptions::default();
        let (exchange, key): (ShortString, ShortString) = (exchange.into(), key.into());
        let sent = self.channel.basic_publish(exchange, key, options, body, properties).await;
        sent.unwrap();
    }

    /// Stops what runs, sees that nothing is left unacknowledged, and removes everything.
    pub(super) async fn finish(self, left: u32) {
        self.shutdown.soft();
        assert!(self.shutdown.drain(Duration::from_secs(10)).await);
        eventually("the queue holds what was not acknowledged", || async {
            self.waiting().await.is_none_or(|(waiting, _)| waiting == left)
        })
        .await;
        let channel = self.connection.create_channel().await.unwrap();
        for queue in [&self.topology.queue, &self.topology.dead_queue] {
            channel
                .queue_delete(queue.as_str().into(), QueueDeleteOptions::default())
                .await
                .unwrap();
        }
        for exchange in [&self.topology.exchange, &self.topology.dead_exchange] {
            let options = ExchangeDeleteOptions::default();
            channel.exchange_delete(exchange.as_str().into(), options).await.unwrap();
        }
    }
}

/// What no client library sends: a publisher in raw AMQP 0-9-1.
pub(super) mod raw_amqp {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    fn short(text: &[u8]) -> Vec<u8> {
        [&[u8::try_from(text.len()).unwrap()], text].concat()
    }

    fn long(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
    }

    async fn frame(stream: &mut TcpStream, kind: u8, channel: u16, payload: &[u8]) {
        let bytes = [&[kind][..], &channel.to_be_bytes(), &long(payload), &[0xce]].concat();
        stream.write_all(&bytes).await.unwrap();
    }

    async fn method(stream: &mut TcpStream, channel: u16, ids: [u16; 2], arguments: &[u8]) {
        let ids = ids.map(u16::to_be_bytes).concat();
        frame(stream, 1, channel, &[&ids, arguments].concat()).await;
    }

    async fn answer(stream: &mut TcpStream) -> Vec<u8> {
        let mut prefix = [0; 7];
        stream.read_exact(&mut prefix).await.unwrap();
        let size = u32::from_be_bytes(prefix[3..].try_into().unwrap()) as usize;
        let mut payload = vec![0; size + 1];
        stream.read_exact(&mut payload).await.unwrap();
        payload.truncate(size);
        payload
    }

    /// Publishes a message with one header of so many nested arrays.
    pub(in super::super) async fn publish(exchange: &str, key: &[u8], depth: usize, body: &[u8]) {
        let url = url::Url::parse(&super::url()).unwrap();
        let server = (url.host_str().unwrap(), url.port().unwrap_or(5672));
        let mut stream = TcpStream::connect(server).await.unwrap();
        let stream = &mut stream;
        stream.write_all(b"AMQP\0\0\x09\x01").await.unwrap();
        answer(stream).await;
        let login = [long(b""), short(b"PLAIN"), long(b"\0guest\0guest"), short(b"en_US")].concat();
        method(stream, 0, [10, 11], &login).await;
        let tune = answer(stream).await;
        method(stream, 0, [10, 31], &tune[4..]).await;
        method(stream, 0, [10, 40], &[short(b"/"), short(b""), vec![0]].concat()).await;
        answer(stream).await;
        method(stream, 1, [20, 10], &short(b"")).await;
        answer(stream).await;
        // confirm.select, so that the answer to the message can be awaited
        method(stream, 1, [85, 10], &[0]).await;
        answer(stream).await;
        let to = [&[0, 0][..], &short(exchange.as_bytes()), &short(key), &[0]].concat();
        method(stream, 1, [60, 40], &to).await;
        let nested = (0..depth).fold(vec![b'V'], |inner, _| [&b"A"[..], &long(&inner)].concat());
        let headers = long(&[short(b"n"), nested].concat());
        let size = (body.len() as u64).to_be_bytes();
        let fixed = [&60u16.to_be_bytes()[..], &[0, 0], &size, &0x2000u16.to_be_bytes()].concat();
        frame(stream, 2, 1, &[fixed, headers].concat()).await;
        frame(stream, 3, 1, body).await;
        assert_eq!(answer(stream).await[..4], [0, 60, 0, 80], "the broker acknowledges");
    }
}
