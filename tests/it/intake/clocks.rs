//! Intake processes whose clocks are wrong: no good event is rejected or reordered for that.

use crate::{
    pipeline::pipeline,
    support::services::{TestDatabase, on_both, postgres},
};
use chrono::TimeDelta;
use customer_sync::{
    clock::Clock,
    config::Config,
    daemon,
    model::{inbound::Raw, secret::Secret, time::Timestamp},
    pipeline::{Disposition, Pipeline},
    store,
    verify::{presets::STANDARD_WEBHOOKS, scheme::sign},
};
use std::sync::Arc;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// How far an intake's clock is off.
const OFF: [TimeDelta; 2] = [TimeDelta::hours(-1), TimeDelta::hours(1)];

/// The stages of a process whose clock stands still, so far from the right time; its source checks that an event is
/// neither too old nor too new.
fn off_by(database: &TestDatabase, now: Timestamp, away: TimeDelta) -> Pipeline {
    let text = format!(
        "[[sources]]\nname = 'app'\nprovider = 'canonical'\nenvironment = 'live'\nsecrets = ['{SECRET}']"
    );
    let config = Config::parse(&text).expect("good");
    let sources = Arc::new(daemon::sources(&config).expect("good"));
    Pipeline { sources, clock: Clock::manual(now.plus(away)), ..pipeline(&database.db) }
}

/// What the app says of a moment, signed then.
fn said(id: &str, at: Timestamp, received_at: Option<Timestamp>) -> Raw {
    let body = format!(
        r#"{{"id": "{id}", "type": "customer.recorded", "occurred_at": "{at}",
            "data": {{"external_id": "{id}", "customer": {{"name": "{id}"}}}}}}"#
    );
    let secret = Secret::new(SECRET);
    let headers = sign(&STANDARD_WEBHOOKS, &secret, body.as_bytes(), id, at, None).expect("signed");
    let body = body.into();
    Raw { source: "app".into(), headers, body, received_at, queue_id: None, dead: None }
}

/// When each event happened and was received, as it counts, in the order of their ids.
async fn counted(database: &TestDatabase) -> Vec<(Timestamp, Timestamp)> {
    let mut tx = database.db.snapshot().await.expect("a transaction");
    let sql = "select occurred_at, received_at from inbound_events order by provider_event_id";
    tx.query(sql).all().await.expect("read")
}

/// Found in review: with a clock behind, what was received now was from the future.
#[tokio::test]
async fn a_good_event_is_applied_whatever_the_clock_of_the_intake_says() {
    for away in OFF {
        on_both(async |database| {
            let now = Clock::system().now();
            let intake = off_by(&database, now, away);
            let ago = |seconds| now.plus(-TimeDelta::seconds(seconds));
            let batch = [said("e1", ago(9), Some(ago(8))), said("e2", ago(2), Some(ago(1)))];
            let done = intake.process(&batch).await.expect("it commits");
            assert_eq!(done, [Disposition::Applied, Disposition::Applied], "off by {away}");
            // By whose clock all goes where nobody shares it.
            if database.db.is_shared() || away > TimeDelta::zero() {
                assert_eq!(counted(&database).await, [(ago(9), ago(8)), (ago(2), ago(1))]);
            }
        })
        .await;
    }
}

/// A sender's clock that is ahead, and one that says nothing.
#[tokio::test]
async fn no_receipt_is_later_than_the_databases_time() {
    for away in OFF {
        let database = postgres().await;
        let mut tx = database.db.begin().await.expect("a transaction");
        let now = store::now(&mut tx, Timestamp::default()).await.expect("its time");
        drop(tx);
        let intake = off_by(&database, now, away);
        let ahead = now.plus(TimeDelta::hours(2));
        let batch = [said("e1", now, Some(ahead)), said("e2", now, None)];
        let done = intake.process(&batch).await.expect("it commits");
        assert_eq!(done, [Disposition::Applied, Disposition::Applied], "off by {away}");
        for (occurred_at, received_at) in counted(&database).await {
            assert_eq!(occurred_at, now, "off by {away}");
            let late = received_at.micros() - now.micros();
            assert!((0..60_000_000).contains(&late), "off by {away}: {received_at}, at {now}");
        }
    }
}
