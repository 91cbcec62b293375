//! The publisher, against a real broker.

use super::{
    Kept,
    broker::{Broker, Cable, URL},
    eventually, raw,
};
use customer_sync::{intake::publisher, model::inbound::Raw};
use lapin::{
    options::{ExchangeDeleteOptions, QueueBindOptions},
    types::{FieldTable, ShortString},
};
use std::{sync::Arc, time::Duration};

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
async fn only_the_unroutable_ones_of_many_in_flight_are_errors() {
    let broker = Broker::new().await;
    let publisher = broker.publisher(URL);
    publisher.publish(raw("first")).await.unwrap();
    let queue: ShortString = broker.topology.queue.as_str().into();
    let exchange: ShortString = broker.topology.exchange.as_str().into();
    let (key, none) = ("#".into(), FieldTable::default());
    broker.channel.queue_unbind(queue.clone(), exchange.clone(), key, none.clone()).await.unwrap();
    let (key, options) = ("good".into(), QueueBindOptions::default());
    broker.channel.queue_bind(queue, exchange, key, options, none).await.unwrap();
    let events = (0..600).map(|n| {
        let source = if n % 3 == 0 { "bad".into() } else { Arc::from("good") };
        Raw { source, ..raw(n.to_string()) }
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
