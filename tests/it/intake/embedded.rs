//! The embedded queue, on both databases.

use super::{Kept, databases, eventually, raw};
use customer_sync::{
    clock::Clock,
    health::Health,
    intake::{
        Ingress, Process as _, Unavailable,
        batch::Limits,
        embedded::{Door, Reader, Settings, Step, run},
    },
    model::inbound::Raw,
    shutdown::Shutdown,
    store::{Db, queue},
};
use futures_util::future::join_all;
use std::sync::Arc;
use tokio::sync::Notify;

fn door(db: &Db, shutdown: &Shutdown) -> (Ingress, Arc<Notify>) {
    let wake = Arc::new(Notify::new());
    let door = Door::new(db.clone(), Clock::system(), wake.clone(), shutdown.clone());
    (Ingress::Embedded(door), wake)
}

fn reader(db: &Db, kept: &Kept, shutdown: &Shutdown) -> Reader<Kept> {
    Reader {
        db: db.clone(),
        process: kept.clone(),
        settings: Settings { batch: Limits { events: 3, bytes: 100 }, ..Settings::default() },
        health: Health::default(),
        shutdown: shutdown.clone(),
    }
}

async fn depth(db: &Db) -> i64 {
    let mut tx = db.snapshot().await.unwrap();
    queue::depth(&mut tx).await.unwrap()
}

#[tokio::test]
async fn an_accepted_event_is_durable_and_survives_a_restart_as_it_came() {
    for (db, _kept, url) in databases().await {
        let shutdown = Shutdown::new();
        let (ingress, _) = door(&db, &shutdown);
        let mut event = raw(b"\xff\0{}".to_vec());
        event.headers.add("zero", "a\0b");
        ingress.accept(event.clone()).await.unwrap();
        db.close().await;

        let db = Db::open(&url, 2).await.unwrap();
        assert_eq!(depth(&db).await, 1);
        let kept = Kept::new(Some(db.clone()));
        assert_eq!(reader(&db, &kept, &shutdown).step().await.unwrap(), Step::Worked(1));
        let back = kept.raws().remove(0);
        assert_eq!((&back.source, &back.body), (&event.source, &event.body));
        assert_eq!(back.received_at, event.received_at);
        assert_eq!(back.headers.get("stripe-signature"), Some("t=1,v1=ab"));
        assert_eq!(back.headers.get("zero"), Some("ab"));
        assert_eq!(depth(&db).await, 0);
    }
}

/// A fault of ours once: on SQLite it was answered with 503, and its sender tried it again for days.
#[tokio::test]
async fn an_event_without_a_body_is_kept_also_where_it_is_alone() {
    for (db, _kept, _) in databases().await {
        let shutdown = Shutdown::new();
        let (ingress, _) = door(&db, &shutdown);
        let kept = Kept::new(Some(db.clone()));
        ingress.accept(raw("")).await.unwrap();
        assert_eq!(reader(&db, &kept, &shutdown).step().await.unwrap(), Step::Worked(1));
        assert_eq!(kept.bodies(), [""]);
    }
}

#[tokio::test]
async fn batches_keep_the_order_and_their_limits() {
    for (db, _kept, _) in databases().await {
        let shutdown = Shutdown::new();
        let (ingress, _) = door(&db, &shutdown);
        let sizes = [1, 1, 1, 99, 2, 500, 1];
        for (place, size) in sizes.into_iter().enumerate() {
            ingress.accept(raw(place.to_string().repeat(size))).await.unwrap();
        }
        let kept = Kept::new(Some(db.clone()));
        let reader = reader(&db, &kept, &shutdown);
        while reader.step().await.unwrap() != Step::Idle {}
        let sizes: Vec<Vec<usize>> = (kept.batches.lock().unwrap().iter())
            .map(|batch| batch.iter().map(|raw| raw.body.len()).collect())
            .collect();
        assert_eq!(sizes, [vec![1, 1, 1], vec![99], vec![2], vec![500], vec![1]]);
        let firsts: String = kept.bodies().iter().map(|body| &body[..1]).collect();
        assert_eq!(firsts, "0123456");
    }
}

#[tokio::test]
async fn a_thousand_callers_at_once_share_transactions_and_all_are_kept() {
    for (db, _kept, _) in databases().await {
        let shutdown = Shutdown::new();
        let (ingress, _) = door(&db, &shutdown);
        let accepted = join_all((0..1_000).map(|n| ingress.accept(raw(format!("{n}"))))).await;
        assert!(accepted.iter().all(Result::is_ok));
        assert_eq!(depth(&db).await, 1_000);
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_cancels_nothing() {
    for (db, _kept, _) in databases().await {
        let shutdown = Shutdown::new();
        let (ingress, _) = door(&db, &shutdown);
        {
            let mut accepting = Box::pin(ingress.accept(raw("gone")));
            assert!(futures_util::poll!(&mut accepting).is_pending());
        }
        eventually("the event is kept", || async { depth(&db).await == 1 }).await;
    }
}

#[tokio::test]
async fn after_a_hard_stop_callers_are_told_and_do_not_wait() {
    for (db, _kept, _) in databases().await {
        let shutdown = Shutdown::new();
        let (ingress, _) = door(&db, &shutdown);
        shutdown.hard();
        for _ in 0..2 {
            assert!(matches!(ingress.accept(raw("late")).await, Err(Unavailable::Stopping)));
        }
    }
}

#[tokio::test]
async fn a_failing_database_is_waited_out_with_the_batch_in_hand() {
    for (db, _kept, _) in databases().await {
        let shutdown = Shutdown::new();
        let (ingress, wake) = door(&db, &shutdown);
        let kept = Kept::new(Some(db.clone()));
        kept.set_away(true);
        let reader = reader(&db, &kept, &shutdown);
        let health = reader.health.clone();
        shutdown.spawn_role("intake", run(reader, wake));
        for n in 0..5 {
            ingress.accept(raw(n.to_string())).await.unwrap();
        }
        eventually("readiness is red", || async { !health.is_ok() }).await;
        assert_eq!(depth(&db).await, 5);
        kept.set_away(false);
        eventually("all are processed", || async { kept.bodies().len() == 5 }).await;
        assert_eq!(kept.bodies(), ["0", "1", "2", "3", "4"]);
        assert!(health.is_ok());
        shutdown.soft();
        assert!(shutdown.drain(std::time::Duration::from_secs(5)).await);
    }
}

#[tokio::test]
async fn two_readers_of_a_shared_queue_do_not_take_the_same_events() {
    let (db, _kept, _) = databases().await.remove(1);
    let shutdown = Shutdown::new();
    let (ingress, _) = door(&db, &shutdown);
    for n in 0..6 {
        ingress.accept(raw(n.to_string())).await.unwrap();
    }
    let take = |seconds: i64| {
        let (db, now) = (db.clone(), Kept::new(None).now());
        async move {
            let now = now.plus(chrono::TimeDelta::seconds(seconds));
            let lease = chrono::TimeDelta::seconds(60);
            let mut tx = db.begin().await.unwrap();
            let taken = queue::take(&mut tx, 4, 1_000, now, lease).await.unwrap();
            tx.commit().await.unwrap();
            taken.iter().map(|raw: &Raw| raw.body[0] - b'0').collect::<Vec<u8>>()
        }
    };
    assert_eq!(take(0).await, [0, 1, 2, 3]);
    assert_eq!(take(0).await, [4, 5]);
    assert!(take(0).await.is_empty());
    assert_eq!(take(61).await, [0, 1, 2, 3], "a lease ends");
}
