//! The consumer and the publisher, against a real broker.

use super::{Kept, eventually, raw};
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
    types::{AMQPValue, FieldArray, FieldTable, ShortString},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::watch,
};

const URL: &str = "amqp://guest:guest@127.0.0.1:5672/%2f";

/// Exchanges and queues of a test's own, and a hand on the broker.
struct Broker {
    topology: topology::Settings,
    channel: Channel,
    connection: Connection,
    shutdown: Shutdown,
    health: Health,
}

impl Broker {
    async fn new() -> Self {
        let prefix = format!("t-{}", Clock::system().new_id().simple());
        let topology = topology::Settings {
            exchange: format!("{prefix}.events"),
            queue: format!("{prefix}.intake"),
            dead_exchange: format!("{prefix}.dead"),
            dead_queue: format!("{prefix}.dead"),
            declare: true,
        };
        let connection = Connection::connect(URL, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let (shutdown, health) = (Shutdown::new(), Health::default());
        Self { topology, channel, connection, shutdown, health }
    }

    fn settings(&self, url: &str) -> rabbitmq::Settings {
        rabbitmq::Settings {
            topology: self.topology.clone(),
            check: Duration::from_millis(200),
            ..rabbitmq::Settings::new(Secret::new(url))
        }
    }

    fn consume(&self, kept: &Kept, url: &str) {
        let (health, shutdown) = (self.health.clone(), self.shutdown.clone());
        let role = rabbitmq::run(self.settings(url), kept.clone(), health, shutdown);
        self.shutdown.spawn_role("intake", role);
    }

    fn publisher(&self, url: &str) -> Publisher {
        let settings = publisher::Settings {
            topology: self.topology.clone(),
            ..publisher::Settings::new(Secret::new(url))
        };
        let (health, shutdown) = (self.health.clone(), self.shutdown.clone());
        Publisher::new(settings, Clock::system(), health, shutdown)
    }

    async fn is_consuming(&self) {
        eventually("the consumer is there", || async {
            self.waiting().await.is_some_and(|(_, consumers)| consumers == 1)
        })
        .await;
    }

    /// What waits in the intake queue and how many consume it; none when it does not exist.
    async fn waiting(&self) -> Option<(u32, u32)> {
        let channel = self.connection.create_channel().await.unwrap();
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let name = self.topology.queue.as_str().into();
        let queue = channel.queue_declare(name, options, FieldTable::default()).await.ok()?;
        Some((queue.message_count(), queue.consumer_count()))
    }

    async fn send(&self, exchange: &str, key: &str, properties: BasicProperties, body: &[u8]) {
        let options = BasicPublishOptions::default();
        let (exchange, key): (ShortString, ShortString) = (exchange.into(), key.into());
        let sent = self.channel.basic_publish(exchange, key, options, body, properties).await;
        sent.unwrap();
    }

    /// Stops what runs, sees that nothing is left unacknowledged, and removes everything.
    async fn finish(self, left: u32) {
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

/// Between the client and the broker: passes bytes on, unless it is cut.
struct Cable {
    url: String,
    plugged: watch::Sender<bool>,
}

impl Cable {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (plugged, state) = watch::channel(true);
        let tasks = Shutdown::new();
        tasks.clone().spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut state = state.clone();
                tasks.spawn(async move {
                    if !*state.borrow_and_update() {
                        let _ = client.shutdown().await;
                        return;
                    }
                    let mut broker = TcpStream::connect("127.0.0.1:5672").await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut broker) => {}
                        _ = state.changed() => {}
                    }
                });
            }
        });
        Self { url: format!("amqp://guest:guest@127.0.0.1:{port}/%2f"), plugged }
    }

    fn plug(&self, plugged: bool) {
        self.plugged.send(plugged).unwrap();
    }
}

#[tokio::test]
async fn what_is_published_is_consumed_committed_and_acknowledged() {
    let broker = Broker::new().await;
    let kept = Kept::new(None);
    broker.consume(&kept, URL);
    let publisher = broker.publisher(URL);
    broker.is_consuming().await;
    let results = publisher.publish_all((0..1_200).map(|n| raw(n.to_string()))).await;
    assert!(results.iter().all(Result::is_ok));
    eventually("all are consumed", || async { kept.raws().len() == 1_200 }).await;
    let mut numbers: Vec<u32> = kept.bodies().iter().map(|body| body.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..1_200));
    let mut first = kept.raws().remove(0);
    first.body = raw("").body;
    assert_eq!(first, raw(""));
    assert!(broker.health.is_ok());
    broker.finish(0).await;
}

#[tokio::test]
async fn nothing_is_acknowledged_while_the_database_is_away_and_then_all_comes_through() {
    let broker = Broker::new().await;
    let kept = Kept::new(None);
    kept.set_away(true);
    broker.consume(&kept, URL);
    let publisher = broker.publisher(URL);
    for n in 0..20 {
        publisher.publish(raw(n.to_string())).await.unwrap();
    }
    eventually("readiness is red", || async { !broker.health.is_ok() }).await;
    assert_eq!(broker.waiting().await, Some((0, 1)), "held, not given back");
    kept.set_away(false);
    eventually("all are consumed", || async { kept.raws().len() == 20 }).await;
    assert!(broker.health.is_ok());
    broker.finish(0).await;
}

#[tokio::test]
async fn a_stop_while_the_database_is_away_leaves_the_events_with_the_broker() {
    let broker = Broker::new().await;
    let kept = Kept::new(None);
    kept.set_away(true);
    broker.consume(&kept, URL);
    let publisher = broker.publisher(URL);
    for n in 0..5 {
        publisher.publish(raw(n.to_string())).await.unwrap();
    }
    eventually("readiness is red", || async { !broker.health.is_ok() }).await;
    assert!(kept.raws().is_empty());
    broker.finish(5).await;
}

#[tokio::test]
async fn a_broken_connection_is_rebuilt() {
    let (broker, cable) = (Broker::new().await, Cable::new().await);
    let kept = Kept::new(None);
    broker.consume(&kept, &cable.url);
    let publisher = broker.publisher(URL);
    broker.is_consuming().await;
    publisher.publish(raw("before")).await.unwrap();
    eventually("the first is consumed", || async { kept.raws().len() == 1 }).await;
    cable.plug(false);
    eventually("readiness is red", || async { !broker.health.is_ok() }).await;
    publisher.publish(raw("meanwhile")).await.unwrap();
    cable.plug(true);
    eventually("the second is consumed", || async { kept.bodies().contains(&"meanwhile".into()) })
        .await;
    broker.finish(0).await;
}

#[tokio::test]
async fn a_publisher_whose_channel_broke_begins_again() {
    let broker = Broker::new().await;
    let kept = Kept::new(None);
    broker.consume(&kept, URL);
    broker.is_consuming().await;
    let publisher = broker.publisher(URL);
    publisher.publish(raw("before")).await.unwrap();
    // The broker closes the channel that publishes to an exchange that does not exist.
    let options = ExchangeDeleteOptions::default();
    let exchange: ShortString = broker.topology.exchange.as_str().into();
    broker.channel.exchange_delete(exchange, options).await.unwrap();
    let error = publisher.publish(raw("lost")).await.unwrap_err();
    assert!(matches!(error, publisher::Error::Broken(_)), "{error:?}");
    publisher.publish(raw("after")).await.unwrap();
    eventually("both are consumed", || async { kept.bodies() == ["before", "after"] }).await;
    broker.finish(0).await;
}

#[tokio::test]
async fn a_deleted_queue_is_declared_again() {
    let broker = Broker::new().await;
    let kept = Kept::new(None);
    broker.consume(&kept, URL);
    broker.is_consuming().await;
    let options = QueueDeleteOptions::default();
    broker.channel.queue_delete(broker.topology.queue.as_str().into(), options).await.unwrap();
    broker.is_consuming().await;
    broker.publisher(URL).publish(raw("again")).await.unwrap();
    eventually("it is consumed", || async { kept.bodies() == ["again"] }).await;
    broker.finish(0).await;
}

#[tokio::test]
async fn a_queue_with_other_arguments_is_used_and_reported() {
    let broker = Broker::new().await;
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    let queue: ShortString = broker.topology.queue.as_str().into();
    broker.channel.queue_declare(queue, options, FieldTable::default()).await.unwrap();
    let kept = Kept::new(None);
    broker.consume(&kept, URL);
    broker.is_consuming().await;
    broker.publisher(URL).publish(raw("classic")).await.unwrap();
    eventually("it is consumed", || async { kept.bodies() == ["classic"] }).await;
    let findings = topology::inspect(&Secret::new(URL), &broker.topology).await;
    let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(findings.len(), 1, "{texts:?}");
    assert!(
        texts[0].starts_with(&format!("queue {}: it exists with other", broker.topology.queue))
    );
    broker.finish(0).await;
}

#[tokio::test]
async fn doctor_names_what_is_missing_and_finds_no_fault_with_what_was_declared() {
    let broker = Broker::new().await;
    let url = Secret::new(URL);
    let missing = topology::inspect(&url, &broker.topology).await;
    assert_eq!(missing.len(), 4, "{missing:?}");
    assert!(missing.iter().all(|finding| finding.problem == "it does not exist"));
    let kept = Kept::new(None);
    broker.consume(&kept, URL);
    broker.is_consuming().await;
    assert_eq!(topology::inspect(&url, &broker.topology).await, []);
    let closed = Secret::new("amqp://guest:hunter2@127.0.0.1:1/%2f");
    let away = format!("{:?}", topology::inspect(&closed, &broker.topology).await);
    assert!(away.contains("broker refused or went away") && !away.contains("hunter2"), "{away}");
    broker.finish(0).await;
}

#[tokio::test]
async fn headers_of_odd_types_and_depths_do_not_stop_the_events_behind_them() {
    let broker = Broker::new().await;
    let kept = Kept::new(None);
    broker.consume(&kept, URL);
    broker.is_consuming().await;
    let mut deep = AMQPValue::Void;
    for _ in 0..200 {
        deep = AMQPValue::FieldArray(FieldArray::from(vec![deep]));
    }
    let mut headers = FieldTable::default();
    headers.insert("X-Source".into(), AMQPValue::LongString("clerk".into()));
    headers.insert("Int".into(), AMQPValue::LongLongInt(-5));
    headers.insert("Flag".into(), AMQPValue::Boolean(true));
    headers.insert("Time".into(), AMQPValue::Timestamp(7));
    headers.insert("Bytes".into(), AMQPValue::LongString(vec![b'a', 0xff].into()));
    headers.insert("Table".into(), AMQPValue::FieldTable(FieldTable::default()));
    headers.insert("Deep".into(), deep);
    let odd = BasicProperties::default().with_headers(headers).with_timestamp(1_700_000_000_000);
    let exchange = broker.topology.exchange.clone();
    broker.send(&exchange, "stripe", odd, b"odd").await;
    // One whose routing key is no UTF-8, and one nested so deep that the client's own reader would abort.
    raw_amqp::publish(&exchange, b"str\xffpe", 0, b"key").await;
    raw_amqp::publish(&exchange, b"stripe", 5_000, b"deep").await;
    broker.send(&exchange, "stripe", BasicProperties::default(), b"behind").await;
    eventually("all are consumed", || async { kept.raws().len() == 4 }).await;
    let raws = kept.raws();
    let by_body = |body: &[u8]| raws.iter().find(|raw| raw.body == body).unwrap();
    let odd = by_body(b"odd");
    assert_eq!(&*odd.source, "clerk");
    assert_eq!(odd.received_at.unwrap().seconds(), 1_700_000_000);
    let header = |name| odd.headers.get(name);
    assert_eq!(
        (header("int"), header("flag"), header("time")),
        (Some("-5"), Some("true"), Some("7"))
    );
    assert_eq!((header("bytes"), header("table"), header("deep")), (Some("a\u{fffd}"), None, None));
    assert_eq!(&*by_body(b"key").source, "str?pe");
    assert_eq!(&*by_body(b"behind").source, "stripe");
    broker.finish(0).await;
}

#[tokio::test]
async fn dead_letters_are_read_with_their_reason() {
    let broker = Broker::new().await;
    let kept = Kept::new(None);
    kept.set_away(true);
    broker.consume(&kept, URL);
    broker.is_consuming().await;
    // A queue of the operator's own whose messages expire into the dead letters.
    let mut arguments = FieldTable::default();
    let dead = AMQPValue::LongString(broker.topology.dead_exchange.as_str().into());
    arguments.insert("x-dead-letter-exchange".into(), dead);
    arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(0));
    let dying = format!("{}.dying", broker.topology.queue);
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    broker.channel.queue_declare(dying.as_str().into(), options, arguments).await.unwrap();
    broker.send("", &dying, BasicProperties::default(), b"dead").await;
    kept.set_away(false);
    eventually("the dead letter is read", || async { kept.raws().len() == 1 }).await;
    let letter = kept.raws().remove(0);
    assert_eq!(letter.dead, Some(format!("expired, from queue {dying}")));
    broker
        .channel
        .queue_delete(dying.as_str().into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    broker.finish(0).await;
}

#[tokio::test]
async fn only_the_unroutable_ones_of_many_in_flight_are_errors() {
    let broker = Broker::new().await;
    let publisher = broker.publisher(URL);
    publisher.publish(raw("first")).await.unwrap();
    let queue: ShortString = broker.topology.queue.as_str().into();
    let exchange: ShortString = broker.topology.exchange.as_str().into();
    let (key, none) = ("#".into(), FieldTable::default());
    broker.channel.queue_unbind(queue.clone(), exchange.clone(), key, none.clone()).await.unwrap();
    let (key, options) = ("good".into(), lapin::options::QueueBindOptions::default());
    broker.channel.queue_bind(queue, exchange, key, options, none).await.unwrap();
    let events = (0..600).map(|n| {
        let source = if n % 3 == 0 { "bad".into() } else { Arc::from("good") };
        customer_sync::model::inbound::Raw { source, ..raw(n.to_string()) }
    });
    let results = publisher.publish_all(events).await;
    for (n, result) in results.into_iter().enumerate() {
        match result {
            Ok(()) => assert_ne!(n % 3, 0),
            Err(error) => {
                assert!(matches!(error, publisher::Error::Unroutable(_)), "{error:?}");
                assert_eq!(n % 3, 0);
            }
        }
    }
    eventually("the others are there", || async { broker.waiting().await == Some((401, 0)) }).await;
    broker.finish(401).await;
}

#[tokio::test]
async fn publishing_fails_at_once_while_the_broker_is_away_and_works_again_after() {
    let (broker, cable) = (Broker::new().await, Cable::new().await);
    let publisher = broker.publisher(&cable.url);
    publisher.publish(raw("before")).await.unwrap();
    cable.plug(false);
    let started = std::time::Instant::now();
    eventually("it fails", || async { publisher.publish(raw("lost")).await.is_err() }).await;
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(!broker.health.is_ok());
    cable.plug(true);
    eventually("it works", || async { publisher.publish(raw("after")).await.is_ok() }).await;
    assert!(broker.health.is_ok());
    let left = broker.waiting().await.unwrap().0;
    broker.finish(left).await;
}

#[tokio::test]
async fn a_url_that_is_none_ends_the_role_and_is_not_shown() {
    let broker = Broker::new().await;
    let settings = broker.settings("amqp:hunter2");
    let (health, shutdown) = (broker.health.clone(), broker.shutdown.clone());
    let error = rabbitmq::run(settings, Kept::new(None), health, shutdown).await.unwrap_err();
    assert!(matches!(error, rabbitmq::Error::Url));
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

/// What no client library sends: a publisher in raw AMQP 0-9-1.
mod raw_amqp {
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
    pub(super) async fn publish(exchange: &str, key: &[u8], depth: usize, body: &[u8]) {
        let mut stream = TcpStream::connect("127.0.0.1:5672").await.unwrap();
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
