//! The consumer, against a real broker.

use super::{
    Kept,
    broker::{Broker, raw_amqp, url},
    eventually, raw,
};
use crate::support::proxy::Proxy;
use customer_sync::{
    health,
    intake::{batch, rabbitmq, topology},
    model::secret::Secret,
};
use lapin::{
    BasicProperties,
    options::{QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldArray, FieldTable, ShortString},
};
use std::time::Duration;

#[tokio::test]
async fn what_is_published_is_consumed_committed_and_acknowledged() {
    let broker = Broker::new().await;
    let kept = Kept::new(None);
    broker.consume(&kept, &url());
    let publisher = broker.publisher(&url());
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
    broker.consume(&kept, &url());
    broker.is_consuming().await;
    let publisher = broker.publisher(&url());
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
    broker.consume(&kept, &url());
    broker.is_consuming().await;
    let publisher = broker.publisher(&url());
    for n in 0..5 {
        publisher.publish(raw(n.to_string())).await.unwrap();
    }
    eventually("readiness is red", || async { !broker.health.is_ok() }).await;
    assert!(kept.raws().is_empty());
    broker.finish(5).await;
}

/// As where the queue of dead letters has no leader: the broker takes what it is asked and never answers, on a connection
/// that is well by its heartbeats.
#[tokio::test]
async fn a_queue_of_dead_letters_that_does_not_answer_leaves_the_intake_alone() {
    let (broker, proxy) = (Broker::new().await, Proxy::before(&url()).await);
    let settings = rabbitmq::Settings {
        patience: Duration::from_millis(300),
        ..broker.settings(&proxy.url(&url()))
    };
    let name = settings.topology.dead_queue.as_bytes();
    // basic.consume: its class and method, a number that is not used, the queue.
    let length = u8::try_from(name.len()).unwrap();
    proxy.lose(&[&[0, 60, 0, 20, 0, 0, length], name].concat());
    let kept = Kept::new(None);
    let (health, shutdown) = (broker.health.clone(), broker.shutdown.clone());
    broker.shutdown.spawn_role("intake", rabbitmq::run(settings, kept.clone(), health, shutdown));
    broker.is_consuming().await;
    let publisher = broker.publisher(&url());
    publisher.publish(raw("0")).await.unwrap();
    let known = || broker.health.all().into_iter().find(|one| one.name == health::BROKER);
    let (since, mut published) = (known(), 1);
    while proxy.opened() < 5 {
        publisher.publish(raw(published.to_string())).await.unwrap();
        published += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eventually("all are consumed", || async { kept.raws().len() == published }).await;
    assert_eq!(known(), since, "the intake was never cut");
    assert!(since.is_some_and(|broker| broker.ok));
    broker.finish(0).await;
}

/// How many large messages wait, and how large they are: together more than twice a batch, and than the kernel keeps for
/// a connection.
const LARGE: (u32, usize) = (60, 512 * 1024);

/// Longer than a client with a heartbeat of one second waits for a sign of life.
const HELD_UP_FOR: Duration = Duration::from_secs(3);

/// A consumer that cannot commit, with more waiting at the broker than it takes ahead.
async fn held_up() -> (Broker, Kept, Proxy) {
    let (broker, proxy) = (Broker::new().await, Proxy::before(&url()).await);
    let kept = Kept::new(None);
    kept.set_away(true);
    let settings = rabbitmq::Settings {
        batch: batch::Limits { bytes: 2 * LARGE.1, ..batch::Limits::default() },
        ..broker.settings(&format!("{}?heartbeat=1", proxy.url(&url())))
    };
    let (health, shutdown) = (broker.health.clone(), broker.shutdown.clone());
    let role = rabbitmq::run(settings, kept.clone(), health, shutdown);
    broker.shutdown.spawn_role("intake", role);
    broker.is_consuming().await;
    let publisher = broker.publisher(&url());
    let body = |n: u32| [format!("{n} "), "x".repeat(LARGE.1)].concat();
    let results = publisher.publish_all((0..LARGE.0).map(|n| raw(body(n)))).await;
    assert!(results.iter().all(Result::is_ok));
    eventually("readiness is red", || async { !broker.health.is_ok() }).await;
    assert_eq!(broker.waiting().await, Some((0, 1)), "all are on their way");
    (broker, kept, proxy)
}

#[tokio::test]
async fn a_connection_that_is_held_up_outlives_its_heartbeats_and_all_comes_through() {
    let (broker, kept, proxy) = held_up().await;
    tokio::time::sleep(HELD_UP_FOR).await;
    assert_eq!(broker.waiting().await, Some((0, 1)), "nothing was given back");
    kept.set_away(false);
    let all = usize::try_from(LARGE.0).unwrap();
    eventually("all are consumed", || async { kept.raws().len() == all }).await;
    let first = |body: &String| body.split(' ').next().unwrap().parse::<u32>().unwrap();
    assert!(kept.bodies().iter().map(first).eq(0..LARGE.0), "each once, and in their order");
    assert_eq!((broker.health.is_ok(), proxy.opened()), (true, 2), "one for each queue");
    broker.finish(0).await;
}

#[tokio::test]
async fn a_stop_while_the_connection_is_held_up_leaves_the_events_with_the_broker() {
    let (broker, kept, _proxy) = held_up().await;
    assert!(kept.raws().is_empty());
    broker.finish(LARGE.0).await;
}

#[tokio::test]
async fn a_broken_connection_is_rebuilt() {
    let (broker, mut proxy) = (Broker::new().await, Proxy::before(&url()).await);
    let kept = Kept::new(None);
    broker.consume(&kept, &proxy.url(&url()));
    let publisher = broker.publisher(&url());
    broker.is_consuming().await;
    publisher.publish(raw("before")).await.unwrap();
    eventually("the first is consumed", || async { kept.raws().len() == 1 }).await;
    proxy.refuse().await;
    eventually("readiness is red", || async { !broker.health.is_ok() }).await;
    publisher.publish(raw("meanwhile")).await.unwrap();
    proxy.mend().await;
    eventually("the second is consumed", || async { kept.bodies().contains(&"meanwhile".into()) })
        .await;
    broker.finish(0).await;
}

#[tokio::test]
async fn a_deleted_queue_is_declared_again() {
    let broker = Broker::new().await;
    let kept = Kept::new(None);
    broker.consume(&kept, &url());
    broker.is_consuming().await;
    let options = QueueDeleteOptions::default();
    broker.channel.queue_delete(broker.topology.queue.as_str().into(), options).await.unwrap();
    broker.is_consuming().await;
    broker.publisher(&url()).publish(raw("again")).await.unwrap();
    eventually("it is consumed", || async { kept.bodies() == ["again"] }).await;
    broker.finish(0).await;
}

#[tokio::test]
async fn a_deleted_queue_of_dead_letters_is_declared_again_and_read() {
    let broker = Broker::new().await;
    let kept = Kept::new(None);
    broker.consume(&kept, &url());
    let dead = broker.topology.dead_queue.clone();
    let is_read = || async { broker.waiting_in(&dead).await == Some((0, 1)) };
    eventually("the dead letters are read", is_read).await;
    let options = QueueDeleteOptions::default();
    broker.channel.queue_delete(dead.as_str().into(), options).await.unwrap();
    eventually("they are read again", is_read).await;
    let exchange = broker.topology.dead_exchange.clone();
    broker.send(&exchange, "stripe", BasicProperties::default(), b"dead").await;
    eventually("one is read", || async { kept.bodies() == ["dead"] }).await;
    assert!(kept.raws()[0].dead.is_some());
    broker.finish(0).await;
}

#[tokio::test]
async fn a_queue_with_other_arguments_is_used_and_reported() {
    let broker = Broker::new().await;
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    let queue: ShortString = broker.topology.queue.as_str().into();
    broker.channel.queue_declare(queue, options, FieldTable::default()).await.unwrap();
    let kept = Kept::new(None);
    broker.consume(&kept, &url());
    broker.is_consuming().await;
    broker.publisher(&url()).publish(raw("classic")).await.unwrap();
    eventually("it is consumed", || async { kept.bodies() == ["classic"] }).await;
    let findings = topology::inspect(&Secret::new(url()), &broker.topology).await;
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
    let secret = Secret::new(url());
    let missing = topology::inspect(&secret, &broker.topology).await;
    assert_eq!(missing.len(), 4, "{missing:?}");
    assert!(missing.iter().all(|finding| finding.problem == "it does not exist"));
    let kept = Kept::new(None);
    broker.consume(&kept, &url());
    broker.is_consuming().await;
    assert_eq!(topology::inspect(&secret, &broker.topology).await, []);
    let closed = Secret::new("amqp://guest:hunter2@127.0.0.1:1/%2f");
    let away = format!("{:?}", topology::inspect(&closed, &broker.topology).await);
    assert!(away.contains("broker refused or went away") && !away.contains("hunter2"), "{away}");
    broker.finish(0).await;
}

#[tokio::test]
async fn headers_of_odd_types_and_depths_do_not_stop_the_events_behind_them() {
    let broker = Broker::new().await;
    let kept = Kept::new(None);
    broker.consume(&kept, &url());
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
    broker.consume(&kept, &url());
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
async fn a_url_that_is_none_ends_the_role_and_is_not_shown() {
    let broker = Broker::new().await;
    let settings = broker.settings("amqp:hunter2");
    let (health, shutdown) = (broker.health.clone(), broker.shutdown.clone());
    let error = rabbitmq::run(settings, Kept::new(None), health, shutdown).await.unwrap_err();
    assert!(matches!(error, rabbitmq::Error::Url));
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}
