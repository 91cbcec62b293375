//! Who may send a message, and for how long: processes that share, die and stop.

use super::{Setup, millis, requests, settings};
use crate::support::{
    receiver::{Receiver, Reply},
    services::{on_both, postgres},
    wait::eventually,
};
use customer_sync::{
    deliver::Settings,
    model::message::EventType,
    outbox,
    store::{Db, endpoints},
};
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

#[tokio::test]
async fn several_processes_share_the_work_and_send_nothing_twice() {
    let (setup, receiver) = (Setup::new(postgres().await), Receiver::start().await);
    let (endpoint, secret) = setup.endpoint(&receiver.url("/"), &["*"]).await;
    let processes: Vec<_> = (0..4).map(|_| setup.start(settings())).collect();
    setup.tell(100, EventType::CustomerCreated, None).await;
    setup.tell(100, EventType::CustomerUpdated, Some(&processes[0].handover)).await;
    let kept = setup.all_are(endpoint, "delivered").await;
    let came = receiver.requests("/");
    let ids: HashSet<&str> = came.iter().map(|request| request.header("webhook-id")).collect();
    assert_eq!((kept.len(), came.len(), ids.len()), (200, 200, 200));
    assert!(came.iter().all(|request| request.is_signed_with(secret.expose())));
    assert!(kept.iter().all(|message| message.attempts == 1));
    for process in processes {
        process.stop().await;
    }
}

/// Pain point 20 (graphile/worker#204, oban#364): crashed workers held their jobs for hours.
#[tokio::test]
async fn what_a_killed_process_had_in_hand_goes_on_when_its_lease_ends() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.script("/", [Reply::Hang]);
        let (endpoint, _) = setup.endpoint(&receiver.url("/"), &["*"]).await;
        let short = || Settings { lease: millis(1_000), ..settings() };
        let killed = setup.start(short());
        setup.tell(1, EventType::CustomerCreated, Some(&killed.handover)).await;
        requests(&receiver, "/", 1).await;
        killed.kill().await;
        let running = setup.start(short());
        setup.all_are(endpoint, "delivered").await;
        let came = receiver.requests("/");
        assert_eq!(came.len(), 2);
        assert!(came[1].at - came[0].at >= millis(700), "not within the lease");
        assert_eq!(came[0].header("webhook-id"), came[1].header("webhook-id"));
        let tries = setup.tries(endpoint).await;
        let outcomes = tries.iter().map(|tried| tried.outcome.as_deref());
        assert_eq!(outcomes.collect::<Vec<_>>(), [None, Some("delivered")]);
        running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_try_that_a_shutdown_cuts_short_does_not_count() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.script("/", [Reply::Hang]);
        let (endpoint, _) = setup.endpoint(&receiver.url("/"), &["*"]).await;
        let running = setup.start(Settings { grace: millis(100), ..settings() });
        setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
        requests(&receiver, "/", 1).await;
        running.stop().await;
        let kept = setup.kept(endpoint).await;
        assert_eq!((kept[0].status.as_str(), kept[0].attempts), ("pending", 0));
        assert_eq!(setup.tries(endpoint).await[0].outcome.as_deref(), Some("interrupted"));

        let next = setup.start(settings());
        let kept = setup.all_are(endpoint, "delivered").await;
        assert_eq!(kept[0].attempts, 1);
        let numbers = setup.tries(endpoint).await.into_iter().map(|tried| tried.number);
        assert_eq!(numbers.collect::<Vec<_>>(), [1, 1]);
        next.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_soft_shutdown_finishes_what_is_in_hand_and_takes_nothing_more() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.always("/", Reply::Slow(millis(300)));
        let (endpoint, _) = setup.endpoint(&receiver.url("/"), &["*"]).await;
        let running = setup.start(Settings { per_endpoint: 2, ..settings() });
        setup.tell(20, EventType::CustomerCreated, Some(&running.handover)).await;
        requests(&receiver, "/", 2).await;
        running.stop().await;
        let kept = setup.kept(endpoint).await;
        let delivered = kept.iter().filter(|message| message.status == "delivered").count();
        assert_eq!((delivered, receiver.count("/")), (2, 2));
        let now = setup.clock.now();
        let free = kept.iter().filter(|m| m.status == "pending" && m.attempts == 0);
        assert_eq!(free.filter(|message| message.due_at <= now).count(), 18);
    })
    .await;
}

/// Otherwise it would wait for its lease to end, with nobody to send it.
#[tokio::test]
async fn what_a_batch_commits_during_a_shutdown_is_due_at_once() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        let (endpoint, _) = setup.endpoint(&receiver.url("/"), &["*"]).await;
        let running = setup.start(settings());
        let db = &setup.database.db;
        let events = [setup.event(EventType::CustomerCreated)];
        let (now, new_id) = (setup.clock.now(), || setup.clock.new_id());
        let mut tx = db.begin().await.expect("begins");
        let audience = endpoints::audience(&mut tx, now).await.expect("the endpoints are read");
        let mut writes = tx.together();
        let written =
            outbox::write(&audience, &mut writes, &events, new_id, Some(&running.handover));
        writes.run(&mut tx).await.expect("the event is written");
        assert_eq!(written.len(), 1, "it is to be handed over");
        running.shutdown.soft();
        eventually("no more slots", async || running.handover.reserve(endpoint), Option::is_none)
            .await;
        tx.commit().await.expect("commits");
        for (leased, slot) in written {
            running.handover.send(leased, slot);
        }
        running.stop().await;
        let kept = setup.kept(endpoint).await;
        assert_eq!((kept[0].status.as_str(), kept[0].attempts), ("pending", 0));
        assert!(kept[0].due_at <= setup.clock.now(), "its lease is given back");
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_has_no_more_requests_at_once_than_it_may() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.always("/", Reply::Slow(millis(20)));
        let (endpoint, _) = setup.endpoint(&receiver.url("/"), &["*"]).await;
        let running = setup.start(Settings { per_endpoint: 3, ..settings() });
        setup.tell(30, EventType::CustomerCreated, Some(&running.handover)).await;
        setup.all_are(endpoint, "delivered").await;
        assert_eq!((receiver.count("/"), receiver.most_at_once()), (30, 3));
        running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_process_has_no_more_requests_at_once_than_it_may() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.always("/", Reply::Slow(millis(20)));
        let (endpoint, _) = setup.endpoint(&receiver.url("/"), &["*"]).await;
        let running = setup.start(Settings { per_endpoint: 3, total: 2, ..settings() });
        setup.tell(30, EventType::CustomerCreated, Some(&running.handover)).await;
        setup.all_are(endpoint, "delivered").await;
        assert_eq!((receiver.count("/"), receiver.most_at_once()), (30, 2));
        running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_backlog_is_worked_off_as_slots_become_free() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        let (endpoint, _) = setup.endpoint(&receiver.url("/"), &["*"]).await;
        setup.tell(300, EventType::CustomerCreated, None).await;
        // With a poll this slow, only free slots can pull the next ones in time.
        let slow = Settings { per_endpoint: 8, poll: millis(10_000), ..settings() };
        let running = setup.start(slow);
        let kept = setup.all_are(endpoint, "delivered").await;
        assert_eq!((kept.len(), receiver.count("/")), (300, 300));
        setup.tell(100, EventType::CustomerCreated, Some(&running.handover)).await;
        eventually("the rest too", async || receiver.count("/"), |n| *n == 400).await;
        running.stop().await;
    })
    .await;
}

/// With a poll this slow, only the other's result can say that there is room again.
#[tokio::test]
async fn what_waits_for_anothers_slot_goes_when_that_is_free() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        for path in ["/one", "/two"] {
            receiver.always(path, Reply::Slow(millis(200)));
            setup.endpoint(&receiver.url(path), &["*"]).await;
        }
        setup.tell(1, EventType::CustomerCreated, None).await;
        // Of two requests one may be to an endpoint that was never heard of.
        let slow = Settings { total: 2, poll: millis(20_000), ..settings() };
        let (running, begun) = (setup.start(slow), Instant::now());
        for path in ["/one", "/two"] {
            requests(&receiver, path, 1).await;
        }
        assert_eq!(receiver.most_at_once(), 1, "one waited for the other");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        running.stop().await;
    })
    .await;
}

/// Pain point 19 (getsentry/sentry#67045): requests inside of transactions ran into the database's limits.
#[tokio::test]
async fn a_request_under_way_holds_no_transaction() {
    on_both(async |mut database| {
        database.db = Db::open(&database.url, 1).await.expect("opened");
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.always("/", Reply::Hang);
        setup.endpoint(&receiver.url("/"), &["*"]).await;
        let long = Duration::from_secs(20);
        let running = setup.start(Settings { timeout: long, grace: Duration::ZERO, ..settings() });
        setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
        requests(&receiver, "/", 1).await;
        for _ in 0..3 {
            let tx = setup.database.db.begin().await.expect("the only connection is free");
            tx.commit().await.expect("commits");
        }
        assert_eq!(receiver.count("/"), 1, "and the request is still under way");
        running.stop().await;
    })
    .await;
}
