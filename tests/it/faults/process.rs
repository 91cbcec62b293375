//! The daemon killed (`kill -9`) at chosen points of a batch, and acknowledgements that are lost.

use super::{EVENTS, Faulty, all_is_done, publish, queue};
use crate::{
    daemon::Stage,
    support::{
        proxy::Direction,
        services::{broker, postgres},
        wait::eventually,
    },
};
use sqlx::{Connection as _, Executor as _, PgConnection};

/// The method by which a message is acknowledged, on either way (AMQP 0-9-1: class 60, method 80).
const ACK: &[u8] = &[0, 60, 0, 80];

/// How many transactions wait for a lock of a stage's schema.
pub(super) async fn waiting(connection: &mut PgConnection) -> i64 {
    let sql = "select count(*) from pg_locks where not granted
        and relation in (select oid from pg_class where relnamespace = current_schema()::regnamespace)";
    sqlx::query_scalar(sql).fetch_one(connection).await.expect("locks are listed")
}

/// Pain point 20: what a crashed worker had in hand is worked on at once, not after a lock of hours.
#[tokio::test]
async fn a_kill_in_the_middle_of_a_batch_leaves_nothing_of_it_and_loses_nothing() {
    let stage = Stage::new(postgres().await, Some(broker()), super::SHORT).await;
    let history = stage.history(21, EVENTS);
    let names = stage.broker.as_ref().expect("it has one");
    let daemon = stage.world.start().await;
    let address = daemon.address;

    // The batch has written its inbox rows and waits for the table that it writes last.
    let mut holder = PgConnection::connect(&stage.database.url).await.expect("it connects");
    let mut looker = PgConnection::connect(&stage.database.url).await.expect("it connects");
    holder.execute("begin; lock table customers in exclusive mode").await.expect("locked");
    publish(names, &history.deliveries).await;
    let look = async || waiting(&mut looker).await;
    eventually("the batch waits for the lock", look, |waiting| *waiting == 1).await;
    daemon.kill();
    holder.execute("rollback").await.expect("unlocked");
    assert_eq!(stage.progress().await.received, 0, "nothing of the batch was kept");

    let daemon = stage.world.start_at(address).await;
    let progress = all_is_done(&stage, history.deliveries.len()).await;
    assert_eq!(usize::try_from(progress.received), Ok(history.deliveries.len()));
    let told = stage.is_true(&history, address).await;
    assert_eq!(told.requests, told.messages, "nothing is sent twice");
    assert_eq!(daemon.stop().await.code(), Some(0));
}

/// A batch that is committed and not acknowledged, and a daemon that dies of it or not.
async fn committed_and_not_acknowledged(seed: u64, is_killed: bool) {
    let mut faulty = Faulty::new(postgres().await, Some(broker())).await;
    let history = faulty.stage.history(seed, EVENTS);
    let names = faulty.stage.broker.as_ref().expect("it has one");
    let all = history.deliveries.len();
    let mut daemon = faulty.stage.world.start().await;
    let address = daemon.address;
    let look = async || queue(names).await;
    eventually("the queue is consumed", look, |seen| matches!(seen, Some((_, 1)))).await;

    let proxy = faulty.broker.as_ref().expect("it has one");
    if is_killed {
        proxy.hold(Direction::Up);
    } else {
        proxy.cut_instead_of(Direction::Up, ACK);
    }
    publish(names, &history.deliveries).await;
    if is_killed {
        let look = async || faulty.stage.progress().await.received;
        let wanted = i64::try_from(all).expect("few");
        eventually("all is committed", look, |received| *received == wanted).await;
        daemon.kill();
        faulty.broker().cut();
        let names = faulty.stage.broker.as_ref().expect("it has one");
        let waiting = Some((u32::try_from(all).expect("few"), 0));
        let look = async || queue(names).await;
        eventually("the broker has all of it still", look, |seen| *seen == waiting).await;
        faulty.broker().mend().await;
        daemon = faulty.stage.world.start_at(address).await;
    } else {
        eventually("the acknowledgement is lost", async || proxy.sprung(), |cut| *cut == 1).await;
    }
    let progress = all_is_done(&faulty.stage, all + 1).await;
    assert!(progress.received > i64::try_from(all).expect("few"), "some came again");
    let names = faulty.stage.broker.as_ref().expect("it has one");
    let look = async || queue(names).await;
    eventually("nothing is left in the queue", look, |seen| *seen == Some((0, 1))).await;
    daemon.is_ready(true).await;
    faulty.stage.is_true(&history, address).await;
    assert_eq!(daemon.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_kill_between_commit_and_acknowledgement_brings_the_events_again_as_duplicates() {
    committed_and_not_acknowledged(22, true).await;
}

#[tokio::test]
async fn an_acknowledgement_that_is_lost_brings_the_events_again_as_duplicates() {
    committed_and_not_acknowledged(23, false).await;
}

/// Pain point 13: the row by which repetition is recognised keeps nothing from being sent.
#[tokio::test]
async fn a_commit_whose_reply_is_lost_counts_once_and_is_told() {
    let mut faulty = Faulty::new(postgres().await, Some(broker())).await;
    let history = faulty.stage.history(24, EVENTS);
    let mut daemon = faulty.stage.world.start().await;
    let batch: &[&[u8]] = &[b"insert into inbound_events", b"COMMIT"];
    faulty.database.cut_instead_of_reply_to(batch);
    let names = faulty.stage.broker.as_ref().expect("it has one");
    publish(names, &history.deliveries).await;
    let sprung = async || faulty.database.sprung();
    eventually("the reply is lost", sprung, |sprung| *sprung == 1).await;
    let progress = all_is_done(&faulty.stage, history.deliveries.len() + 1).await;
    let all = i64::try_from(history.deliveries.len()).expect("few");
    assert!(progress.received > all, "the batch was committed, and came again as duplicates");
    daemon.is_ready(true).await;
    faulty.stage.is_true(&history, daemon.address).await;
    assert_eq!(daemon.stop().await.code(), Some(0));
    faulty.database.mend().await;
}

/// The sender cannot know that its webhook was kept, and sends it again.
#[tokio::test]
async fn a_confirm_that_is_lost_is_answered_503_and_the_repeated_webhook_counts_once() {
    let mut faulty = Faulty::new(postgres().await, Some(broker())).await;
    let history = faulty.stage.history(25, 40);
    let daemon = faulty.stage.world.start().await;
    let senders = &faulty.stage.senders;
    let (first, rest) = history.deliveries.split_first().expect("some");
    faulty.broker.as_ref().expect("it has one").cut_instead_of(Direction::Down, ACK);
    assert_eq!(super::post(senders, daemon.address, first).await, Some(503));
    assert_eq!(faulty.broker.as_ref().expect("it has one").sprung(), 1);
    for delivery in [first].into_iter().chain(rest) {
        let look = async || super::post(senders, daemon.address, delivery).await;
        eventually("it is taken", look, |status| *status == Some(202)).await;
    }
    all_is_done(&faulty.stage, history.deliveries.len() + 1).await;
    faulty.stage.is_true(&history, daemon.address).await;
    assert_eq!(daemon.stop().await.code(), Some(0));
    faulty.broker().mend().await;
}
