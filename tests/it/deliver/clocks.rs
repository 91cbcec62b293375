//! Processes whose clocks are wrong, and clocks that are set while a process runs. Where processes share a database,
//! leases and due times go by its clock alone. (SQLite serves one process, by whose clock all goes.)

use super::{Setup, requests, settings};
use crate::support::{
    receiver::{Receiver, Reply},
    services::postgres,
    wait::eventually,
};
use chrono::TimeDelta;
use customer_sync::{
    clock::Clock,
    handover::LEASE,
    model::{endpoint::EndpointSettings, id::EndpointId, message::EventType, time::Timestamp},
};
use std::time::Duration;

/// A clock that stands still, so far from the database's.
async fn off_by(setup: &Setup, away: TimeDelta) -> Clock {
    Clock::manual(setup.database_now().await.plus(away))
}

/// How long by the database's clock until an endpoint's only message is due.
async fn is_due_in(setup: &Setup, endpoint: EndpointId) -> TimeDelta {
    let (kept, now) = (setup.kept(endpoint).await, setup.database_now().await);
    assert_eq!(kept.len(), 1);
    TimeDelta::microseconds(kept[0].due_at.micros() - now.micros())
}

/// Pain point 20 (graphile/worker#204, oban#364): a lease must neither be broken by a process that lives tomorrow, nor
/// last until then.
#[tokio::test]
async fn a_lease_lasts_as_long_by_the_databases_clock_whatever_the_processes_clocks_say() {
    for away in [TimeDelta::days(1), TimeDelta::days(-1)] {
        let (setup, receiver) = (Setup::new(postgres().await), Receiver::start().await);
        receiver.script("/", [Reply::Hang]);
        let (endpoint, _) = setup.endpoint(&receiver.url("/"), &["customer.created"]).await;
        let (other, _) = setup.endpoint(&receiver.url("/other"), &["customer.updated"]).await;
        let holder = setup.start_by(off_by(&setup, away).await, settings());
        setup.tell(1, EventType::CustomerCreated, Some(&holder.handover)).await;
        requests(&receiver, "/", 1).await;
        holder.kill().await;
        let lease = TimeDelta::from_std(LEASE).expect("a span");
        let left = is_due_in(&setup, endpoint).await;
        assert!(left <= lease && left > lease - TimeDelta::seconds(30), "{left}");

        let next = setup.start_by(off_by(&setup, -away).await, settings());
        setup.tell(1, EventType::CustomerUpdated, None).await;
        setup.all_are(other, "delivered").await;
        assert_eq!(receiver.count("/"), 1, "it claimed what was due, and left what is leased");
        let now = setup.database_now().await;
        setup.are_due_since(endpoint, now).await;
        setup.all_are(endpoint, "delivered").await;
        assert_eq!(receiver.count("/"), 2);
        next.stop().await;
    }
}

/// A schedule of one wait, in seconds.
fn one_wait(seconds: u64) -> EndpointSettings {
    EndpointSettings { schedule: Some(vec![seconds]), ..EndpointSettings::default() }
}

#[tokio::test]
async fn the_next_try_is_due_by_the_databases_clock_whatever_the_processes_clocks_say() {
    for away in [TimeDelta::days(1), TimeDelta::days(-1)] {
        let (setup, receiver) = (Setup::new(postgres().await), Receiver::start().await);
        receiver.script("/", [Reply::Status(500)]);
        let (endpoint, _) = setup.endpoint_with(&receiver.url("/"), &["*"], one_wait(1)).await;
        let first = setup.start_by(off_by(&setup, away).await, settings());
        setup.tell(1, EventType::CustomerCreated, Some(&first.handover)).await;
        eventually("it failed", async || setup.kept(endpoint).await, |kept| kept[0].attempts == 1)
            .await;
        first.kill().await;
        assert!(is_due_in(&setup, endpoint).await <= TimeDelta::milliseconds(1_100));
        let second = setup.start_by(off_by(&setup, -away).await, settings());
        setup.all_are(endpoint, "delivered").await;
        let came = receiver.requests("/");
        assert_eq!(came.len(), 2);
        assert!(came[1].at - came[0].at >= Duration::from_millis(900), "not before its time");
        second.stop().await;
    }
}

#[tokio::test]
async fn a_clock_that_is_set_while_the_process_runs_neither_hastens_nor_delays_a_try() {
    let (setup, receiver) = (Setup::new(postgres().await), Receiver::start().await);
    receiver.script("/", [Reply::Status(500), Reply::Status(500)]);
    let own = EndpointSettings { schedule: Some(vec![1, 1]), ..EndpointSettings::default() };
    let (endpoint, _) = setup.endpoint_with(&receiver.url("/"), &["*"], own).await;
    let clock = off_by(&setup, TimeDelta::zero()).await;
    let running = setup.start_by(clock.clone(), settings());
    setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
    let failed = async |times: i64| {
        let look = async || setup.kept(endpoint).await;
        eventually("it failed", look, |kept| kept[0].attempts == times).await;
    };
    failed(1).await;
    clock.advance(TimeDelta::days(1));
    failed(2).await;
    clock.advance(TimeDelta::days(-2));
    setup.all_are(endpoint, "delivered").await;
    let came = receiver.requests("/");
    let waits: Vec<Duration> = came.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert_eq!(waits.len(), 2);
    assert!(waits.iter().all(|wait| *wait >= Duration::from_millis(900)), "{waits:?}");
    running.stop().await;
}

/// Pain point 6 (frain-dev/convoy#1667): a next try that lay in the past was never made.
#[tokio::test]
async fn a_try_that_was_due_long_ago_is_made_at_once_and_counted_on() {
    crate::support::services::on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.script("/", [Reply::Status(500)]);
        let (endpoint, _) = setup.endpoint_with(&receiver.url("/"), &["*"], one_wait(3_600)).await;
        let before = setup.start(settings());
        setup.tell(1, EventType::CustomerCreated, Some(&before.handover)).await;
        let look = async || setup.kept(endpoint).await;
        let failed = eventually("it failed", look, |kept| kept[0].attempts == 1).await;
        assert!(failed[0].due_at > setup.database_now().await, "the next try lies ahead");
        before.stop().await;
        setup.are_due_since(endpoint, long_ago()).await;
        let after = setup.start(settings());
        let kept = setup.all_are(endpoint, "delivered").await;
        assert_eq!((kept[0].attempts, receiver.count("/")), (2, 2));
        after.stop().await;
    })
    .await;
}

fn long_ago() -> Timestamp {
    Timestamp::parse("2026-01-01T00:00:00Z").expect("a time")
}
