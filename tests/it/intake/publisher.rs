//! The publisher, against a real broker.

use super::{
    Kept,
    broker::{Broker, url},
    eventually, raw,
};
use crate::support::proxy::Proxy;
use customer_sync::{
    clock::Clock,
    intake::publisher::{self, Publisher},
    model::{inbound::Raw, secret::Secret},
};
use lapin::{
    options::{ExchangeDeleteOptions, QueueBindOptions},
    types::{FieldTable, ShortString},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

#[tokio::test]
async fn a_publisher_whose_channel_broke_begins_again() {
    let broker = Broker::new().await;
    let kept = Kept::new(None);
    broker.consume(&kept, &url());
    broker.is_consuming().await;
    let publisher = broker.publisher(&url());
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
    let publisher = broker.publisher(&url());
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
    let (broker, mut proxy) = (Broker::new().await, Proxy::before(&url()).await);
    let publisher = broker.publisher(&proxy.url(&url()));
    publisher.publish(raw("before")).await.unwrap();
    proxy.refuse().await;
    let started = Instant::now();
    eventually("it fails", || async { publisher.publish(raw("lost")).await.is_err() }).await;
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(!broker.health.is_ok());
    proxy.mend().await;
    eventually("it works", || async { publisher.publish(raw("after")).await.is_ok() }).await;
    assert!(broker.health.is_ok());
    let left = broker.waiting().await.unwrap().0;
    broker.finish(left).await;
}

/// Whose confirms did not come close the connection that they were to come by, and no newer one.
#[tokio::test]
async fn a_confirm_that_is_missed_closes_no_connection_but_its_own() {
    let (broker, proxy) = (Broker::new().await, Proxy::before(&url()).await);
    let publisher = broker.publisher(&proxy.url(&url()));
    publisher.publish(raw("before")).await.unwrap();
    proxy.fall_silent();
    let one = |body: &'static str| {
        let publisher = publisher.clone();
        let mut tasks = tokio::task::JoinSet::new();
        let task = tasks.spawn(async move { publisher.publish(raw(body)).await });
        (tasks, task)
    };
    let (mut first, _) = one("first");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (mut second, task) = one("second");
    assert!(matches!(first.join_next().await.unwrap().unwrap(), Err(publisher::Error::Timeout)));
    proxy.answer_new_ones();
    eventually("it works", || async { publisher.publish(raw("after")).await.is_ok() }).await;
    let opened = proxy.opened();
    assert!(!task.is_finished(), "its time is not up");
    assert!(matches!(second.join_next().await.unwrap().unwrap(), Err(publisher::Error::Timeout)));
    publisher.publish(raw("last")).await.unwrap();
    assert_eq!(proxy.opened(), opened, "the connection is the same");
    let left = broker.waiting().await.unwrap().0;
    broker.finish(left).await;
}

/// A broker that takes connections and greets nobody: who looks after the connection waits long for it, and a sender is
/// answered in its own time.
#[tokio::test]
async fn whose_time_is_up_is_answered_although_somebody_connects_for_long() {
    let (broker, proxy) = (Broker::new().await, Proxy::before(&url()).await);
    let patience = Duration::from_secs(1);
    let settings = publisher::Settings {
        topology: broker.topology.clone(),
        patience,
        ..publisher::Settings::new(Secret::new(proxy.url(&url())))
    };
    let (health, shutdown) = (broker.health.clone(), broker.shutdown.clone());
    let publisher = Publisher::new(settings, Clock::system(), health, shutdown);
    publisher.publish(raw("before")).await.unwrap();
    proxy.fall_silent();
    let lost = publisher.publish(raw("lost")).await;
    assert!(matches!(lost, Err(publisher::Error::Timeout)), "{lost:?}");
    let (keeping, opened) = (publisher.clone(), proxy.opened());
    broker.shutdown.spawn_role("keep", async move { keeping.keep().await });
    eventually("it connects", || async { proxy.opened() > opened }).await;
    let asked = Instant::now();
    let late = publisher.publish(raw("late")).await;
    assert!(matches!(late, Err(publisher::Error::Timeout)), "{late:?}");
    assert!(asked.elapsed() < 3 * patience, "it took {:?}", asked.elapsed());
    proxy.answer_new_ones();
    proxy.cut();
    let left = broker.waiting().await.unwrap().0;
    broker.finish(left).await;
}
