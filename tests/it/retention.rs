//! What is kept no longer is taken away, in small batches, and nothing else is.
//!
//! Pain point 12 (svix/svix-webhooks#1933, webhookx-io/webhookx#354, nuetzliches/hookaido#252): settings for it were
//! ignored, and tries were never taken away.

use crate::support::{
    services::{TestDatabase, on_both},
    wait::eventually,
    world::World,
};
use customer_sync::{
    clock::Clock,
    model::{
        endpoint::{EndpointSpec, SealedSecret},
        id::{EndpointId, InboundId, MessageId},
        inbound::Headers,
        message::EventType,
        time::Timestamp,
    },
    store::{
        Tx, endpoints,
        idempotency::{self, Answer, Slot},
        inbox,
        messages::{self, NewEvent, NewMessage},
        retention,
    },
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::collections::BTreeSet;

/// An endpoint with two messages for each of so many events, the second one of its own status.
async fn told(tx: &mut Tx, clock: &Clock, count: usize, second: &'static str) -> Vec<MessageId> {
    let now = clock.now();
    let endpoint = EndpointId(clock.new_id());
    let spec = EndpointSpec {
        environment: "live".into(),
        url: "https://app.example/".into(),
        event_types: vec!["*".into()],
        ..EndpointSpec::default()
    };
    let secret = SealedSecret { sealed: String::new(), until: None };
    endpoints::create(tx, endpoint, &spec, secret, now).await.expect("made");
    let mut seconds = Vec::new();
    for _ in 0..count {
        let event = NewEvent {
            id: clock.new_id(),
            environment: "live".into(),
            kind: EventType::CustomerCreated.as_str(),
            customer_id: None,
            payment_id: None,
            subscription_id: None,
            version: None,
            body: "{}".into(),
            traceparent: None,
        };
        let message = || NewMessage {
            id: clock.new_id(),
            event_id: event.id,
            endpoint_id: endpoint.0,
            environment: "live".into(),
            customer_id: None,
            version: None,
            ordered: false,
            lease: Some(clock.new_id()),
            leased_until: Some(now),
            due_at: now,
            once: false,
        };
        let both = [message(), message()];
        messages::write(tx, std::slice::from_ref(&event), &both, now).await.expect("written");
        for (message, status) in both.iter().zip(["delivered", second]) {
            tx.query("update messages set status = $1 where id = $2")
                .bind(status.to_owned())
                .bind(MessageId(message.id))
                .execute()
                .await
                .expect("changed");
        }
        seconds.push(MessageId(both[1].id));
    }
    seconds
}

/// An inbound event as it is kept.
fn record(clock: &Clock, verdict: &'static str) -> inbox::Record {
    let id = clock.new_id();
    inbox::Record {
        id,
        environment: Some("live".into()),
        source: "app".into(),
        provider_event_id: Some(id.to_string()),
        dedupe_key: id.to_string(),
        kind: None,
        verdict,
        reason: None,
        notes: Vec::new(),
        verified: true,
        headers: Headers::default(),
        occurred_at: None,
        received_at: clock.now(),
        copies: 1,
        body: b"{}".as_slice().into(),
    }
}

async fn counts(tx: &mut Tx) -> (i64, i64, i64) {
    tx.query(
        "select (select count(*) from messages), (select count(*) from attempts),
            (select count(*) from outgoing_events)",
    )
    .one()
    .await
    .expect("counts")
}

fn later(clock: &Clock) -> Timestamp {
    clock.now().plus(chrono::TimeDelta::seconds(10))
}

#[tokio::test]
async fn messages_that_wait_no_longer_go_with_their_tries_and_what_they_said() {
    on_both(async |TestDatabase { db, .. }| {
        let clock = Clock::system();
        let mut tx = db.begin().await.expect("begins");
        told(&mut tx, &clock, 5, "dead").await;
        told(&mut tx, &clock, 5, "canceled").await;
        told(&mut tx, &clock, 2, "pending").await;
        assert_eq!(counts(&mut tx).await, (24, 24, 12));
        let long_ago = clock.now().plus(chrono::TimeDelta::days(-1));
        assert_eq!(retention::messages(&mut tx, long_ago, 3).await.expect("asked"), 0);
        let mut batches = Vec::new();
        loop {
            let gone = retention::messages(&mut tx, later(&clock), 3).await.expect("taken away");
            if gone == 0 {
                break;
            }
            batches.push(gone);
        }
        assert!(batches.iter().all(|gone| *gone <= 3), "{batches:?}");
        assert_eq!(batches.iter().sum::<u64>(), 22);
        assert_eq!(counts(&mut tx).await, (2, 2, 2), "what waits stays, and what it says");
    })
    .await;
}

#[tokio::test]
async fn tries_and_inbound_events_have_spans_of_their_own() {
    on_both(async |TestDatabase { db, .. }| {
        let clock = Clock::system();
        let mut tx = db.begin().await.expect("begins");
        told(&mut tx, &clock, 4, "dead").await;
        assert_eq!(retention::attempts(&mut tx, later(&clock), 5).await.expect("gone"), 5);
        assert_eq!(retention::attempts(&mut tx, later(&clock), 5).await.expect("gone"), 3);
        assert_eq!(counts(&mut tx).await, (8, 0, 4));

        let mut records = Vec::new();
        let mut subjects = BTreeSet::new();
        for n in 0..7 {
            let id = InboundId(clock.new_id());
            subjects.insert(inbox::Subject { subject_id: clock.new_id(), inbound_id: id.0 });
            let verdict = match n {
                0 => "rejected",
                1 => "dead",
                2 => "ignored",
                _ => "applied",
            };
            records.push(inbox::Record { id: id.0, ..record(&clock, verdict) });
        }
        inbox::record(&mut tx, &records, clock.now()).await.expect("recorded");
        let mut writes = tx.together();
        inbox::link(&mut writes, &subjects);
        writes.run(&mut tx).await.expect("linked");
        let long_ago = clock.now().plus(chrono::TimeDelta::days(-1));
        let mut place = (uuid::Uuid::nil(), uuid::Uuid::nil());
        let (gone, end) = retention::subjects(&mut tx, long_ago, place, 100).await.expect("walked");
        assert_eq!((gone, end), (0, None), "nothing is old enough");
        assert_eq!(retention::inbound(&mut tx, long_ago, 5).await.expect("asked"), 0);
        let kept =
            "what was never applied waits for its replay, and whom it speaks of is kept with it";
        assert_eq!(retention::inbound(&mut tx, later(&clock), 3).await.expect("gone"), 3);
        assert_eq!(retention::inbound(&mut tx, later(&clock), 3).await.expect("gone"), 2, "{kept}");
        assert_eq!(
            retention::inbound(&mut tx, later(&clock), 3).await.expect("asked"),
            0,
            "{kept}"
        );
        let mut all = 0;
        loop {
            let step = retention::subjects(&mut tx, later(&clock), place, 3).await.expect("walked");
            all += step.0;
            let Some(next) = step.1 else { break };
            place = next;
        }
        assert_eq!(all, 5, "the walk reaches every row: {kept}");
    })
    .await;
}

/// The daemon does it by its settings.
#[tokio::test]
async fn the_daemon_takes_away_what_its_settings_say() {
    on_both(async |database| {
        let clock = Clock::system();
        let mut tx = database.db.begin().await.expect("begins");
        told(&mut tx, &clock, 3, "dead").await;
        let waiting = told(&mut tx, &clock, 1, "pending").await;
        tx.query("update endpoints set enabled = $1").bind(false).execute().await.expect("off");
        tx.commit().await.expect("commits");
        let config = "[retention]\nmessages = '1s'\nattempts = '0s'\ninbox = '0s'";
        let world = World::new(&database, config);
        // They are a second old once it looks for the first time, or at its next look.
        eventually(
            "they are old",
            async || clock.new_id(),
            |id| {
                let born = waiting[0].0.as_u128() >> 80;
                (id.as_u128() >> 80) > born + 1_100
            },
        )
        .await;
        let daemon = world.start().await;
        let look = async || {
            let mut tx = database.db.begin().await.expect("begins");
            counts(&mut tx).await
        };
        let (left, _, said) = eventually("they are gone", look, |counts| counts.0 == 1).await;
        assert_eq!((left, said), (1, 1), "what waits stays");
        assert!(daemon.stop().await.success());
    })
    .await;
}

/// How much all tables with their indexes take: pages of PostgreSQL after a vacuum, or of the file.
async fn size(database: &TestDatabase, tables: &[&str]) -> i64 {
    if !database.db.is_shared() {
        let mut tx = database.db.snapshot().await.expect("begins");
        let sql =
            "select page_count - freelist_count from pragma_page_count, pragma_freelist_count";
        return tx.query(sql).one::<(i64,)>().await.expect("the file's size").0;
    }
    let mut connection = PgConnection::connect(&database.url).await.expect("it connects");
    let mut all = 0;
    for table in tables {
        connection.execute(AssertSqlSafe(format!("vacuum {table}"))).await.expect("vacuumed");
        let sql = "select pg_total_relation_size($1::regclass) / 8192";
        let pages = sqlx::query_scalar::<_, i64>(sql).bind(table).fetch_one(&mut connection);
        all += pages.await.expect("its size");
    }
    all
}

/// As many rows come as go, again and again: as on the days of a year, each of them some milliseconds long.
#[tokio::test]
async fn tables_keep_their_size_over_a_long_run() {
    const DAYS: usize = 60;
    const KEPT: usize = 5;
    const EACH: usize = 40;
    let tables = ["messages", "attempts", "outgoing_events", "inbound_events", "idempotency_keys"];
    on_both(async |database| {
        let clock = Clock::system();
        let (mut begun, mut sizes) = (Vec::new(), Vec::new());
        for day in 0..DAYS {
            // Ids tell milliseconds apart.
            let last: Timestamp = begun.last().copied().unwrap_or_default();
            let look = async || clock.now();
            let now =
                eventually("a day begins", look, |now| now.micros() > last.micros() + 2_000).await;
            begun.push(now);
            let mut tx = database.db.begin().await.expect("begins");
            told(&mut tx, &clock, EACH, "dead").await;
            let records: Vec<inbox::Record> =
                (0..EACH).map(|_| record(&clock, "applied")).collect();
            inbox::record(&mut tx, &records, now).await.expect("recorded");
            for _ in 0..EACH {
                let slot = Slot { id: clock.new_id(), request: clock.new_id() };
                let answer = Answer {
                    status: 200,
                    body: "{}".into(),
                    remains: "{}".into(),
                    customer_id: None,
                    payment_id: None,
                };
                idempotency::finish(&mut tx, slot, &answer, now).await.expect("kept");
            }
            tx.commit().await.expect("commits");
            if let Some(oldest) = day.checked_sub(KEPT - 1).map(|first| begun[first]) {
                let mut tx = database.db.begin().await.expect("begins");
                while retention::messages(&mut tx, oldest, 30).await.expect("taken away") > 0 {}
                while retention::attempts(&mut tx, oldest, 30).await.expect("taken away") > 0 {}
                while retention::inbound(&mut tx, oldest, 30).await.expect("taken away") > 0 {}
                let before = oldest.plus(chrono::TimeDelta::microseconds(-1));
                let forgotten = before.plus(idempotency::KEPT);
                while idempotency::forget(&mut tx, forgotten, 30).await.expect("forgotten") > 0 {}
                let sql = "delete from endpoints where not exists (
                    select 1 from messages where endpoint_id = endpoints.id)";
                tx.query(sql).execute().await.expect("they are the test's own");
                tx.commit().await.expect("commits");
            }
            sizes.push(size(&database, &tables).await);
        }
        let mut tx = database.db.snapshot().await.expect("begins");
        let events = i64::try_from(KEPT * EACH).expect("few");
        assert_eq!(counts(&mut tx).await, (2 * events, 2 * events, events));
        let sql =
            "select (select count(*) from inbound_events), (select count(*) from idempotency_keys)";
        let kept: (i64, i64) = tx.query(sql).one().await.expect("counts");
        assert_eq!(kept, (events, events));
        let (early, late) = (sizes[3 * KEPT], sizes[DAYS - 1]);
        assert!(late * 4 <= early * 5, "from {early} to {late} pages: {sizes:?}");
    })
    .await;
}
