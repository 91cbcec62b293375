//! The daemon killed (`kill -9`) in the middle of a batch that it took from the embedded queue, on either database.

use super::{EVENTS, SHORT, all_is_done, post, process::waiting, raw};
use crate::{
    daemon::Stage,
    support::{
        services::{postgres, sqlite},
        wait::eventually,
    },
};
use customer_sync::{
    clock::Clock, intake::embedded::Door, shutdown::Shutdown, simulator::Delivery,
};
use sqlx::{
    Connection as _, Executor as _, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions,
};
use std::{str::FromStr as _, sync::Arc, time::Duration};

/// Puts deliveries into the queue while no daemon reads it: the next one finds them all at once.
async fn fill(stage: &Stage, deliveries: &[Delivery]) {
    let shutdown = Shutdown::new();
    let (db, clock) = (stage.database.db.clone(), Clock::system());
    let door = Door::new(db, clock, Arc::default(), shutdown.clone());
    for delivery in deliveries {
        door.accept(raw(delivery)).await.expect("it is kept");
    }
    shutdown.soft();
    assert!(shutdown.drain(Duration::from_secs(10)).await, "nothing crashed");
}

/// So many looks in a row must find SQLite's one place for a writer taken: more than a second. Whatever else writes
/// as a daemon starts is done within less.
const HELD_LOOKS: u32 = 60;

/// Pain point 20. SQLite has one writer: what the killed one had begun is not there, and its lock is gone with it.
#[tokio::test]
async fn a_kill_in_the_middle_of_a_batch_on_sqlite_leaves_nothing_of_it_and_loses_nothing() {
    let stage = Stage::new(sqlite().await, None, SHORT).await;
    let history = stage.history(26, EVENTS);
    // It declares the endpoint.
    assert_eq!(stage.world.start().await.stop().await.code(), Some(0));
    fill(&stage, &history.deliveries).await;

    // The batch has written its inbox rows, and counts without end at the first customer that it writes.
    let options = SqliteConnectOptions::from_str(&stage.database.url).expect("a URL");
    let options = options.busy_timeout(Duration::ZERO);
    let mut looker = SqliteConnection::connect_with(&options).await.expect("it opens");
    let slow = "create trigger slow after insert on customers begin
        select count(*) from inbound_events a, inbound_events b, inbound_events c, inbound_events d
        where length(a.source) + length(b.source) + length(c.source) + length(d.source) = 0; end";
    looker.execute(slow).await.expect("a trigger");
    let mut daemon = stage.world.launch();
    let mut held = 0;
    let look = async || {
        assert!(daemon.process_is_running(), "the daemon has ended");
        held = match looker.execute("begin immediate").await {
            Ok(_) => {
                looker.execute("rollback").await.expect("it ends");
                0
            }
            Err(error) => {
                let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
                assert_eq!(code.as_deref(), Some("5"), "{error}");
                held + 1
            }
        };
        held
    };
    eventually("the batch is in the middle", look, |held| *held >= HELD_LOOKS).await;
    let address = daemon.address;
    daemon.kill();
    looker.execute("drop trigger slow").await.expect("nobody holds the database");
    let progress = stage.progress().await;
    let all = history.deliveries.len();
    assert_eq!((progress.received, usize::try_from(progress.queued)), (0, Ok(all)));

    let daemon = stage.world.start_at(address).await;
    let progress = all_is_done(&stage, all).await;
    assert_eq!(usize::try_from(progress.received), Ok(all));
    let told = stage.is_true(&history, address).await;
    assert_eq!(told.requests, told.messages, "nothing is sent twice");
    assert_eq!(daemon.stop().await.code(), Some(0));
}

/// Pain point 20. What the killed one had taken stays its own for the rest of a minute, and holds up nothing that
/// comes after.
#[tokio::test]
async fn what_a_killed_process_had_taken_from_the_queue_on_postgres_is_taken_when_its_lease_ends() {
    let stage = Stage::new(postgres().await, None, SHORT).await;
    let history = stage.history(27, EVENTS);
    assert_eq!(stage.world.start().await.stop().await.code(), Some(0));
    let (before, after) = history.deliveries.split_at(history.deliveries.len() / 2);
    fill(&stage, before).await;

    let mut holder = PgConnection::connect(&stage.database.url).await.expect("it connects");
    let mut looker = PgConnection::connect(&stage.database.url).await.expect("it connects");
    holder.execute("begin; lock table customers in exclusive mode").await.expect("locked");
    let daemon = stage.world.launch();
    let look = async || waiting(&mut looker).await;
    eventually("the batch waits for the lock", look, |waiting| *waiting >= 1).await;
    let address = daemon.address;
    daemon.kill();
    holder.execute("rollback").await.expect("unlocked");
    let leased = async |holder: &mut PgConnection| {
        let sql = "select count(*) from intake_queue where leased_until > clock_timestamp()";
        sqlx::query_scalar::<_, i64>(sql).fetch_one(holder).await.expect("counted")
    };
    let (taken, first) = (leased(&mut holder).await, i64::try_from(before.len()).expect("few"));
    assert_eq!((stage.progress().await.received, taken), (0, first), "nothing of it was kept");

    let daemon = stage.world.start_at(address).await;
    for delivery in after {
        assert_eq!(post(&stage.senders, address, delivery).await, Some(202));
    }
    let rest = i64::try_from(after.len()).expect("few");
    let look = async || stage.progress().await.received;
    eventually("what came after is applied", look, |received| *received == rest).await;
    assert_eq!(leased(&mut holder).await, first, "what was taken is left alone");
    // A minute later.
    let end = "update intake_queue set leased_until = clock_timestamp()";
    assert_eq!(holder.execute(end).await.expect("they end").rows_affected(), taken.unsigned_abs());
    let progress = all_is_done(&stage, history.deliveries.len()).await;
    assert_eq!(progress.received, first + rest, "each came once");
    let told = stage.is_true(&history, address).await;
    assert_eq!(told.requests, told.messages, "nothing is sent twice");
    assert_eq!(daemon.stop().await.code(), Some(0));
}
