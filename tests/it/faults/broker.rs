//! The broker killed, emptied, short of memory, silent, and its connections closed by an operator.

use super::{EVENTS, Faulty, all_is_done, post, publish, publisher, queue};
use crate::{
    daemon::Stage,
    http::client::Request,
    support::{
        private::rabbitmq,
        services::{TestBroker, broker, broker_at, postgres, sqlite},
        wait::{eventually, within},
        world::Daemon,
    },
};
use customer_sync::simulator::Delivery;
use lapin::{Connection, ConnectionProperties, options::QueueDeleteOptions};
use sqlx::{Connection as _, Executor as _, PgConnection};
use std::time::{Duration, Instant};

/// How long the ingress may take to answer while the broker does not: the wait for a confirm, and some.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// Posts until it is taken, as a provider does; each answer must come in time.
async fn post_until_taken(stage: &Stage, daemon: &Daemon, delivery: &Delivery) {
    let look = async || {
        let asked = Instant::now();
        let status = post(&stage.senders, daemon.address, delivery).await;
        assert!(asked.elapsed() < ANSWERS_WITHIN, "it took {:?}", asked.elapsed());
        assert!(matches!(status, Some(202 | 503)), "{status:?}");
        status
    };
    let limit = Duration::from_mins(1);
    within(limit, "the ingress takes it", look, |status| *status == Some(202)).await;
}

/// Pain points 1, 2 and 3: the daemon finds back by itself, says meanwhile that it takes nothing, and does not fill
/// its log. Then the same with a broker that has lost all its data (svix, Redis: 20 messages answered 202, none
/// delivered, health ok).
#[tokio::test]
async fn a_broker_that_is_killed_or_lost_its_data_is_found_again() {
    let mut server = rabbitmq().await;
    let stage = Stage::new(postgres().await, Some(broker_at(server.url())), super::SHORT).await;
    let history = stage.history(41, EVENTS);
    let mut daemon = stage.world.start().await;
    let (first, rest) = history.deliveries.split_at(EVENTS / 3);
    let (second, third) = rest.split_at(EVENTS / 3);
    for delivery in first {
        post_until_taken(&stage, &daemon, delivery).await;
    }
    let names = stage.broker.as_ref().expect("it has one");
    server.kill(&[&names.queue, &names.dead]).await;
    daemon.is_ready(false).await;
    let asked = Instant::now();
    assert_eq!(post(&stage.senders, daemon.address, &second[0]).await, Some(503));
    assert!(asked.elapsed() < ANSWERS_WITHIN, "it took {:?}", asked.elapsed());
    server.start_again().await;
    daemon.is_ready(true).await;
    for delivery in second {
        post_until_taken(&stage, &daemon, delivery).await;
    }
    all_is_done(&stage, first.len() + second.len()).await;

    server.stop().await;
    server.lose_data();
    server.start_again().await;
    daemon.is_ready(true).await;
    for delivery in third {
        post_until_taken(&stage, &daemon, delivery).await;
    }
    all_is_done(&stage, history.deliveries.len()).await;
    stage.is_true(&history, daemon.address).await;
    let lines = daemon.log().lines().count();
    assert!(lines < 200, "{lines} lines of log:\n{}", daemon.log());
    assert_eq!(daemon.stop().await.code(), Some(0));
}

/// Pain points 3 and 4.
#[tokio::test]
async fn connections_that_an_operator_closes_are_made_again() {
    let server = rabbitmq().await;
    let stage = Stage::new(postgres().await, Some(broker_at(server.url())), super::SHORT).await;
    let history = stage.history(42, EVENTS);
    let names = stage.broker.as_ref().expect("it has one");
    let mut daemon = stage.world.start().await;
    for part in history.deliveries.chunks(EVENTS / 3) {
        for delivery in &part[..part.len() / 2] {
            post_until_taken(&stage, &daemon, delivery).await;
        }
        server.control(&["close_all_connections", "closed by the operator"]).await;
        publish(names, &part[part.len() / 2..]).await;
        let look = async || queue(names).await;
        eventually("it consumes again", look, |seen| matches!(seen, Some((_, 1)))).await;
        daemon.is_ready(true).await;
    }
    all_is_done(&stage, history.deliveries.len()).await;
    stage.is_true(&history, daemon.address).await;
    assert_eq!(daemon.stop().await.code(), Some(0));
}

/// RabbitMQ stops reading from connections that publish: the consumer has one of its own and goes on.
#[tokio::test]
async fn a_memory_alarm_is_told_to_senders_and_what_waits_is_worked_off() {
    let server = rabbitmq().await;
    let stage = Stage::new(postgres().await, Some(broker_at(server.url())), super::SHORT).await;
    let history = stage.history(43, EVENTS);
    let names = stage.broker.as_ref().expect("it has one");
    let mut daemon = stage.world.start().await;
    let (before, after) = history.deliveries.split_at(EVENTS / 2);
    post_until_taken(&stage, &daemon, &before[0]).await;
    daemon.signal("STOP");
    publish(names, &before[1..]).await;
    server.control(&["set_vm_memory_high_watermark", "0.00001"]).await;
    daemon.signal("CONT");
    let refused = async |delivery| {
        let asked = Instant::now();
        assert_eq!(post(&stage.senders, daemon.address, delivery).await, Some(503));
        asked.elapsed()
    };
    let first = refused(&after[0]).await;
    assert!(first < ANSWERS_WITHIN, "it took {first:?}");
    let next = refused(&after[0]).await;
    assert!(next < Duration::from_secs(2), "the alarm is known by now, and it took {next:?}");
    all_is_done(&stage, before.len()).await;
    daemon.is_ready(false).await;
    server.control(&["set_vm_memory_high_watermark", "0.4"]).await;
    // Whoever sends only to those that are ready must not have to send for it.
    daemon.is_ready(true).await;
    for delivery in after {
        post_until_taken(&stage, &daemon, delivery).await;
    }
    all_is_done(&stage, history.deliveries.len()).await;
    stage.is_true(&history, daemon.address).await;
    assert_eq!(daemon.stop().await.code(), Some(0));
}

/// As where the broker's machine has lost its power: heartbeats find it out.
#[tokio::test]
async fn a_broker_that_falls_silent_is_given_up_and_connected_to_again() {
    let mut faulty = Faulty::new(postgres().await, Some(broker())).await;
    let history = faulty.stage.history(44, EVENTS);
    let mut daemon = faulty.stage.world.start().await;
    faulty.broker().fall_silent();
    let asked = Instant::now();
    let status = post(&faulty.stage.senders, daemon.address, &history.deliveries[0]).await;
    assert_eq!(status, Some(503));
    assert!(asked.elapsed() < ANSWERS_WITHIN, "it took {:?}", asked.elapsed());
    daemon.is_ready(false).await;
    faulty.broker().answer_new_ones();
    daemon.is_ready(true).await;
    let names = faulty.stage.broker.as_ref().expect("it has one");
    publish(names, &history.deliveries).await;
    all_is_done(&faulty.stage, history.deliveries.len()).await;
    faulty.stage.is_true(&history, daemon.address).await;
    assert_eq!(daemon.stop().await.code(), Some(0));
}

/// Deletes queues, with all that is in them.
async fn delete(broker: &TestBroker, queues: &[&str]) {
    let connecting = Connection::connect(&broker.url, ConnectionProperties::default());
    let connection = connecting.await.expect("the broker answers");
    let channel = connection.create_channel().await.expect("a channel");
    for queue in queues {
        let deleted = channel.queue_delete((*queue).into(), QueueDeleteOptions::default()).await;
        deleted.expect("it is deleted");
    }
    connection.close(200, "done".into()).await.expect("closed");
}

/// An operator takes both queues away while their messages are in hand: those are applied all the same, the rest is
/// with whoever sent it, who is told that nothing is taken until there is a queue again.
#[tokio::test]
async fn queues_that_are_deleted_with_messages_in_hand_are_made_again() {
    let stage = Stage::new(postgres().await, Some(broker()), super::SHORT).await;
    let history = stage.history(45, EVENTS);
    let names = stage.broker.as_ref().expect("it has one");
    let mut daemon = stage.world.start().await;
    let mut holder = PgConnection::connect(&stage.database.url).await.expect("it connects");
    holder.execute("begin; lock table customers in exclusive mode").await.expect("locked");
    let (before, after) = history.deliveries.split_at(EVENTS / 3);
    for delivery in before {
        assert_eq!(post(&stage.senders, daemon.address, delivery).await, Some(202));
    }
    let look = async || queue(names).await;
    eventually("all are in hand", look, |seen| *seen == Some((0, 1))).await;
    delete(names, &[&names.queue, &names.dead]).await;
    assert_eq!(post(&stage.senders, daemon.address, &after[0]).await, Some(503));
    let told = Request::get("/readyz").send(daemon.address).await;
    assert_eq!(told.status, 503);
    assert!(told.text.contains("no queue takes the events"), "{}", told.text);
    post_until_taken(&stage, &daemon, &after[0]).await;
    assert_eq!(stage.progress().await.received, 0, "what was in hand waits still");
    holder.execute("rollback").await.expect("unlocked");
    let applied = async || stage.progress().await.received;
    eventually("what was in hand is applied", applied, |received| *received > 0).await;
    daemon.is_ready(true).await;
    for delivery in &history.deliveries {
        post_until_taken(&stage, &daemon, delivery).await;
    }
    stage.is_true(&history, daemon.address).await;
    eventually("it is consumed", look, |seen| *seen == Some((0, 1))).await;
    assert_eq!(daemon.stop().await.code(), Some(0));
}

/// How long the dead letters cannot be read: some five tries.
const UNREAD_FOR: Duration = Duration::from_secs(4);

/// Nobody may declare, and the queue of dead letters is gone: that is told once for each reason, and its end once.
#[tokio::test]
async fn dead_letters_that_cannot_be_read_do_not_fill_the_log() {
    let mut stage = Stage::new(sqlite().await, Some(broker()), super::SHORT).await;
    let names = stage.broker.as_ref().expect("it has one");
    // Whoever publishes declares.
    let operator = publisher(names);
    let history = stage.history(46, 1);
    operator.publish(super::raw(&history.deliveries[0])).await.expect("it is kept");
    stage.world = stage.world.for_daemons("CUSTOMER_SYNC__AMQP__DECLARE", "false".into());
    let names = stage.broker.as_ref().expect("it has one");
    let mut daemon = stage.world.start().await;
    let lines = |daemon: &Daemon, said: &str| {
        daemon.log().lines().filter(|line| line.contains(said)).count()
    };
    all_is_done(&stage, 1).await;
    assert_eq!(lines(&daemon, "dead letters"), 0, "{}", daemon.log());
    delete(names, &[&names.dead]).await;
    tokio::time::sleep(UNREAD_FOR).await;
    let unread = lines(&daemon, "the dead letters are not read at present");
    assert!(
        (1..=2).contains(&unread),
        "that it was deleted, that it is not there: {}",
        daemon.log()
    );
    daemon.is_ready(true).await;
    let operator = publisher(names);
    operator.publish(super::raw(&history.deliveries[0])).await.expect("it is kept");
    let again = async || lines(&daemon, "the dead letters are read again");
    eventually("they are read again", again, |count| *count == 1).await;
    assert_eq!(daemon.stop().await.code(), Some(0));
}
