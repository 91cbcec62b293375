//! A queue full of what no provider sends, mixed with good events.

use super::{EVENTS, Stage, text};
use crate::support::{
    services::{TestBroker, broker, postgres},
    wait::eventually,
};
use customer_sync::{
    model::{secret::Secret, time::Timestamp},
    simulator::{Options, Sender},
};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::BasicPublishOptions,
    types::{AMQPValue, DecimalValue, FieldArray, FieldTable},
};
use serde_json::Value;

/// What is published.
pub(super) struct Message {
    key: String,
    headers: FieldTable,
    body: Vec<u8>,
}

/// A message that cannot be used, and what is said of it.
struct Bad {
    message: Message,
    reason: &'static str,
}

fn words(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// A message with the headers that a provider would send.
pub(super) fn signed(sender: &Sender, id: &str, body: &[u8], at: Timestamp) -> Message {
    let mut headers = FieldTable::default();
    for (name, value) in sender.sign(id, body, at) {
        headers.insert(name.as_str().into(), words(&value));
    }
    headers.insert("x-received-at".into(), words(&at.to_millis_text()));
    Message { key: sender.name.to_string(), headers, body: body.to_vec() }
}

/// Headers that a gateway may add: of every type that AMQP has, none of which means anything here.
fn add_odd_headers(headers: &mut FieldTable) {
    let mut nested = AMQPValue::Void;
    for _ in 0..200 {
        nested = AMQPValue::FieldArray(FieldArray::from(vec![nested]));
    }
    for (name, value) in [
        ("x-flag", AMQPValue::Boolean(true)),
        ("x-byte", AMQPValue::ShortShortInt(-1)),
        ("x-long", AMQPValue::LongLongInt(i64::MIN)),
        ("x-float", AMQPValue::Float(-1.5)),
        ("x-decimal", AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 99 })),
        ("x-time", AMQPValue::Timestamp(u64::MAX)),
        ("x-bytes", AMQPValue::LongString(vec![0xff, 0, 0xfe].into())),
        ("x-nothing", AMQPValue::Void),
        ("x-nested", nested),
        ("X-\u{1f600}", words("\u{0}")),
    ] {
        headers.insert(name.into(), value);
    }
}

/// One message of every sort that must not stop the ones behind it.
fn garbage(stage: &Stage, at: Timestamp) -> Vec<Bad> {
    let (stripe, clerk, app) = (&stage.senders.stripe, &stage.senders.clerk, &stage.senders.app);
    let forger = Sender {
        secret: Secret::new("whsec_bm90IHRoZSBzZWNyZXQgb2YgdGhpcyBzb3VyY2U="),
        ..app.clone()
    };
    let payment = |fields: &str| {
        let text = format!(
            r#"{{"id": "bad", "type": "payment.recorded", "occurred_at": "2025-01-01T00:00:00Z",
                "data": {{"external_id": "mallory", "payment": {{{fields}}}}}}}"#
        );
        signed(app, "bad", text.as_bytes(), at)
    };
    let old = {
        let body = b"{\"id\": \"old\"}";
        let mut old = signed(app, "old", body, at);
        let later = at.plus(chrono::TimeDelta::hours(1)).to_millis_text();
        old.headers.insert("x-received-at".into(), words(&later));
        old
    };
    let unsigned = |body: &str, headers: Vec<(&str, AMQPValue)>| {
        let mut message = signed(stripe, "evt", body.as_bytes(), at);
        message.headers = FieldTable::default();
        for (name, value) in headers {
            message.headers.insert(name.into(), value);
        }
        message
    };
    let nested = AMQPValue::FieldTable(FieldTable::default());
    let deep = ["[".repeat(100_000), "]".repeat(100_000)].concat();
    let nobody = Message { key: "nobody".into(), ..unsigned("1", vec![]) };
    let nowhere = Message { key: String::new(), ..unsigned("2", vec![]) };
    let redirected = unsigned("3", vec![("x-source", words("some\u{0}body"))]);
    [
        (signed(&forger, "forged", b"{}", at), "signature"),
        (old, "3600 s before the receipt"),
        (unsigned("4", vec![]), "stripe-signature"),
        (unsigned("5", vec![("stripe-signature", nested)]), "stripe-signature"),
        (unsigned("6", vec![("stripe-signature", AMQPValue::LongLongInt(7))]), "stripe-signature"),
        (nobody, "source `nobody` is not configured"),
        (nowhere, "source `` is not configured"),
        (redirected, "source `somebody` is not configured"),
        (signed(stripe, "evt", b"", at), "JSON"),
        (signed(stripe, "evt", b"{\"id\": \"evt_1\", \"type\": \"cha", at), "JSON"),
        (signed(clerk, "evt", b"{\"type\": \"user.created\xff\"}", at), "JSON"),
        (signed(clerk, "evt", b"[1, 2]", at), "object"),
        (signed(app, "deep", deep.as_bytes(), at), "JSON"),
        (signed(app, "huge", &vec![b' '; 2 * 1024 * 1024], at), "1048576 are allowed"),
        (
            payment(r#""id": "p", "amount": "much", "currency": "USD", "status": "succeeded""#),
            "amount",
        ),
        (
            payment(r#""id": "p", "amount": 1e300, "currency": "USD", "status": "succeeded""#),
            "amount",
        ),
        (
            payment(r#""id": "p", "amount": 5, "currency": "g$ld", "status": "succeeded""#),
            "currency",
        ),
        (payment(r#""amount": 5, "currency": "USD", "status": "succeeded""#), "id"),
    ]
    .into_iter()
    .map(|(message, reason)| Bad { message, reason })
    .collect()
}

pub(super) async fn publish(channel: &Channel, broker: &TestBroker, message: &Message) {
    let properties = BasicProperties::default().with_headers(message.headers.clone());
    let (exchange, key) = (broker.exchange.as_str().into(), message.key.as_str().into());
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish(exchange, key, options, &message.body, properties).await;
    sent.expect("it is published");
}

async fn rejected(stage: &Stage) -> Vec<Value> {
    let list = ["event", "list", "--verdict", "rejected", "--limit", "1000", "--json"];
    let listed = stage.world.run(&list).await;
    assert!(listed.status.success(), "{}", text(&listed));
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    listed["data"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn a_queue_full_of_garbage_holds_up_no_good_event() {
    let names = broker();
    let connection = Connection::connect(&names.url, ConnectionProperties::default()).await;
    let connection = connection.expect("the broker answers");
    let channel = connection.create_channel().await.expect("a channel");
    let stage = Stage::new(postgres().await, Some(names), "").await;
    let broker = stage.broker.as_ref().expect("one was given");
    let mut daemon = stage.world.start().await;

    let history = stage.history(8, usize::try_from(EVENTS).expect("few"));
    let bad = garbage(&stage, Options::demo().start);
    let mut garbage = bad.iter().cycle();
    for (place, delivery) in history.deliveries.iter().enumerate() {
        let sender = stage.senders.find(&delivery.source).expect("a sender");
        let mut good = signed(sender, &delivery.event_id, &delivery.body, delivery.received_at);
        add_odd_headers(&mut good.headers);
        publish(&channel, broker, &good).await;
        if place % 10 == 0 {
            publish(&channel, broker, &garbage.next().expect("it has no end").message).await;
        }
    }
    let total = i64::try_from(history.deliveries.len()).expect("few");
    let look = async || stage.progress().await;
    let done = |seen: &customer_sync::store::progress::Progress| {
        seen.received >= total && seen.pending == 0
    };
    eventually("all was read and told", look, done).await;
    let look = async || rejected(&stage).await;
    let listed = eventually("all of it is listed", look, |all| all.len() >= bad.len()).await;
    assert_eq!(listed.len(), bad.len(), "{listed:#?}");
    for Bad { message, reason } in &bad {
        let says =
            |event: &&Value| event["reason"].as_str().is_some_and(|why| why.contains(reason));
        assert!(listed.iter().any(|event| says(&event)), "{}: {reason}: {listed:#?}", message.key);
    }
    assert!(daemon.process_is_running());
    stage.is_true(&history, daemon.address).await;
    assert_eq!(daemon.stop().await.code(), Some(0));
    connection.close(200, "done".into()).await.expect("it closes");
}
