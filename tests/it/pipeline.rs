//! The pipeline on both databases: what a batch makes of the state, however it is split and repeated.

use crate::support::{
    services::{TestDatabase, on_both, postgres},
    wait::eventually,
};
use customer_sync::{
    clock::Clock,
    deliver::{sealed, signature::new_secret},
    keyring::Keyring,
    model::{
        command::{Command, ProfileChange},
        endpoint::EndpointSpec,
        id::{CustomerId, EndpointId},
        inbound::{Headers, Raw},
        reference::Scope,
        time::Timestamp,
    },
    pipeline::{Disposition, Pipeline, command::Carried},
    provider::{self, Source},
    store::{self, Db, Tx, endpoints},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

pub(crate) fn source(name: &str, provider: &str, environment: &str) -> Arc<Source> {
    let provider = provider::find(provider).expect("it is built in");
    Arc::new(Source {
        name: name.into(),
        provider: provider.into(),
        mapping: None,
        environment: environment.into(),
        test_environment: None,
        namespace: name.into(),
        secrets: Vec::new(),
        tolerance: None,
        url: None,
        subject_is_external_id: false,
        places: provider.places.to_vec(),
        authority: BTreeMap::new(),
        on_delete: Scope::Auto,
        match_email: false,
        manual_capture: false,
        unsigned: true,
    })
}

pub(crate) fn pipeline(db: &Db) -> Pipeline {
    let sources = [
        source("app", "canonical", "live"),
        source("sandbox", "canonical", "test"),
        source("stripe", "stripe", "live"),
        source("clerk", "clerk", "live"),
        source("gocardless", "gocardless", "live"),
    ];
    Pipeline {
        db: db.clone(),
        sources: Arc::new(sources.into_iter().map(|s| (s.name.clone(), s)).collect()),
        keyring: Keyring::new("test"),
        clock: Clock::system(),
        handover: None,
    }
}

pub(crate) fn raw(source: &str, body: impl Into<Vec<u8>>) -> Raw {
    Raw {
        source: source.into(),
        headers: Headers::default(),
        body: body.into().into(),
        received_at: Timestamp::parse("2026-01-02T00:00:00Z"),
        queue_id: None,
        dead: None,
    }
}

pub(crate) fn event(n: u32, kind: &str, data: &Value) -> Raw {
    let at = format!("2026-01-01T00:{:02}:{:02}Z", n / 60, n % 60);
    let body = json!({"id": format!("e{n}"), "type": kind, "occurred_at": at, "data": data});
    raw("app", body.to_string())
}

pub(crate) fn recorded(n: u32, user: &str, name: &str) -> Raw {
    event(n, "customer.recorded", &json!({"external_id": user, "customer": {"name": name}}))
}

pub(crate) fn paid(n: u32, user: &str, payment: &str, amount: i64) -> Raw {
    let payment =
        json!({"id": payment, "amount": amount, "currency": "USD", "status": "succeeded"});
    event(n, "payment.recorded", &json!({"external_id": user, "payment": payment}))
}

pub(crate) async fn scalar(db: &Db, sql: &'static str) -> i64 {
    let mut tx = db.begin().await.expect("a transaction");
    tx.query(sql).one::<(i64,)>().await.expect("one number").0
}

/// What Stripe says, in the `n`-th second.
pub(crate) fn stripe(n: u32, kind: &str, object: &Value) -> Raw {
    let body = json!({"id": format!("evt_{n}"), "object": "event", "type": kind,
        "created": 1_767_225_600 + n, "livemode": true, "data": {"object": object}});
    raw("stripe", body.to_string())
}

/// An endpoint that is told everything.
pub(crate) async fn listen(db: &Db) {
    let mut tx = db.begin().await.expect("a transaction");
    let sql =
        "insert into endpoints (id, environment, url, event_types, headers, settings, secrets,
            enabled, deleted, breaker, pauses, created_at, updated_at)
        values ('01890000-0000-7000-8000-000000000001', 'live', 'http://127.0.0.1:9/', '[\"*\"]',
            '{}', '{}', '[]', true, false, 'closed', 0, '2026-01-01T00:00:00.000000Z',
            '2026-01-01T00:00:00.000000Z')";
    tx.query(sql).execute().await.expect("an endpoint");
    tx.commit().await.expect("it commits");
}

pub(crate) async fn assert_no_drift(db: &Db) {
    let mut tx = db.snapshot().await.expect("a snapshot");
    assert_eq!(store::totals::recount(&mut tx).await.expect("a recount"), Vec::new());
}

#[tokio::test]
async fn a_customer_and_its_payment_arrive_and_add_up() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        let batch = [paid(2, "u1", "p1", 500), recorded(1, "u1", "Ada"), paid(3, "u1", "p2", 700)];
        let dispositions = pipeline.process(&batch).await.expect("it commits");
        assert_eq!(dispositions, vec![Disposition::Applied; 3]);
        let spent = "select total_spent from customer_totals";
        assert_eq!(scalar(&db, spent).await, 1_200);
        assert_eq!(scalar(&db, "select count(*) from customers").await, 1);
        assert_eq!(scalar(&db, "select version from customers").await, 6);
        assert_no_drift(&db).await;
    })
    .await;
}

/// Pain point 29 (wasp-lang/open-saas#688): what came again was counted again.
#[tokio::test]
async fn repeated_messages_are_duplicates_within_a_batch_and_across_batches() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        let one = paid(1, "u1", "p1", 500);
        pipeline.process(&[one.clone(), one.clone()]).await.expect("it commits");
        let again = pipeline.process(&[one.clone(), one]).await.expect("it commits");
        assert_eq!(again, vec![Disposition::Duplicate; 2]);
        assert_eq!(scalar(&db, "select total_spent from customer_totals").await, 500);
        assert_eq!(scalar(&db, "select copies from inbound_events").await, 4);
    })
    .await;
}

#[tokio::test]
async fn garbage_is_rejected_with_its_reason_and_holds_up_nobody() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
        let batch = [
            raw("app", "{\"id\": \"e1\","),
            raw("app", vec![0xff, 0xfe, 0x00]),
            raw("app", deep),
            raw("app", vec![b' '; 2 * 1024 * 1024]),
            raw("nobody\0", "{}"),
            event(1, "payment.recorded", &json!({"external_id": "u", "payment": {"id": "p", "amount": -1, "currency": "USD", "status": "succeeded"}})),
            recorded(2, "u1\0", "A\0da"),
            recorded(3, "u1", "Ada"),
        ];
        let dispositions = pipeline.process(&batch).await.expect("it commits");
        let rejected: Vec<bool> =
            dispositions.iter().map(|d| matches!(d, Disposition::Rejected(_))).collect();
        assert_eq!(rejected, [true, true, true, true, true, true, false, false]);
        let listed = "select count(*) from inbound_events where verdict = 'rejected' and reason is not null";
        assert_eq!(scalar(&db, listed).await, 6);
        assert_eq!(scalar(&db, "select count(*) from customers").await, 1);
    })
    .await;
}

/// A fault of ours once: on SQLite it could not be recorded, and was tried again for ever.
#[tokio::test]
async fn an_event_without_a_body_is_rejected_also_where_it_is_alone() {
    on_both(async |TestDatabase { db, .. }| {
        let dispositions = pipeline(&db).process(&[raw("app", "")]).await.expect("it commits");
        assert!(matches!(dispositions.as_slice(), [Disposition::Rejected(_)]), "{dispositions:?}");
        assert_eq!(scalar(&db, "select count(*) from inbound_events").await, 1);
    })
    .await;
}

#[tokio::test]
async fn environments_do_not_meet() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        let mut other = paid(1, "u1", "p1", 500);
        other.source = "sandbox".into();
        pipeline.process(&[paid(1, "u1", "p1", 500), other]).await.expect("it commits");
        assert_eq!(scalar(&db, "select count(*) from customers").await, 2);
        assert_eq!(scalar(&db, "select count(*) from payments").await, 2);
        assert_no_drift(&db).await;
    })
    .await;
}

/// Pain point 23 and fault 5 of stripe/sync-engine (#171): a deletion left no mark, and a late event undid it.
#[tokio::test]
async fn a_deletion_erases_the_person_everywhere_and_a_late_event_does_not_bring_it_back() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        let customer = json!({"name": "Ada Lovelace", "email": "ada@example.org"});
        let said = |n| event(n, "customer.recorded", &json!({"external_id": "u1", "customer": customer}));
        pipeline.process(&[said(1), paid(2, "u1", "p1", 500)]).await.expect("it commits");
        let gone = event(5, "customer.deleted", &json!({"external_id": "u1"}));
        pipeline.process(&[gone]).await.expect("it commits");
        pipeline.process(&[said(3), paid(4, "u1", "p2", 100)]).await.expect("it commits");
        let live = "select count(*) from customers where not deleted";
        assert_eq!(scalar(&db, live).await, 0);
        assert_eq!(scalar(&db, "select count(*) from payments where owner_id is not null").await, 0);
        for (table, sql) in [
            ("references", "select count(*) from customer_references where cast(facts as text) like '%Lovelace%' or subject is not null"),
            ("profiles", "select count(*) from customer_profiles"),
            ("inbox", "select count(*) from inbound_events where length(body) > 0 and kind <> 'customer.deleted' and kind <> 'payment.recorded'"),
        ] {
            assert_eq!(scalar(&db, sql).await, 0, "{table}");
        }
        assert_no_drift(&db).await;
        // The app records the customer anew: a new row goes on from the tombstone's version.
        let versions = scalar(&db, "select max(version) from customers").await;
        pipeline.process(&[recorded(9, "u1", "Ada Byron")]).await.expect("it commits");
        assert_eq!(scalar(&db, live).await, 1);
        let version = "select version from customers where not deleted";
        assert_eq!(scalar(&db, version).await, versions + 1);
    })
    .await;
}

/// Whoever keeps copies knows from it which ones to delete.
#[tokio::test]
async fn what_was_told_of_a_deleted_customer_keeps_the_ids_alone_also_of_those_that_went_into_it() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        let spec = EndpointSpec {
            environment: "live".into(),
            url: "https://app.example/".into(),
            event_types: vec!["*".into()],
            ..EndpointSpec::default()
        };
        let (id, now) = (EndpointId(pipeline.clock.new_id()), pipeline.clock.now());
        let mut tx = db.begin().await.expect("a transaction");
        let secret = sealed::seal(&pipeline.keyring, &new_secret());
        endpoints::create(&mut tx, id, &spec, secret, now).await.expect("it is made");
        tx.commit().await.expect("committed");
        let uid = json!([{"provider": "clerk", "uid": "user_1", "kind": "auth"}]);
        let name = json!({"name": "Ada Lovelace"});
        let alone = json!({"identities": uid, "customer": name});
        let joined = json!({"external_id": "u1", "identities": uid, "customer": {}});
        let batch = [recorded(1, "u1", "Ada"), event(2, "customer.recorded", &alone)];
        pipeline.process(&batch).await.expect("it commits");
        pipeline.process(&[event(3, "customer.recorded", &joined)]).await.expect("it commits");
        let gone = event(4, "customer.deleted", &json!({"external_id": "u1"}));
        pipeline.process(&[gone]).await.expect("it commits");
        let all = "select count(*) from outgoing_events where kind <> 'customer.deleted'";
        let erased = "select count(*) from outgoing_events
            where kind <> 'customer.deleted' and body not like '%Ada%' and body like '%deleted%'";
        assert_eq!((scalar(&db, all).await, scalar(&db, erased).await), (3, 3));
        let merged = "select count(*) from outgoing_events
            where kind = 'customer.merged' and body like '%merged_from%cus_%'";
        assert_eq!(scalar(&db, merged).await, 1);
        let others = "select count(*) from outgoing_events
            where kind <> 'customer.merged' and body like '%merged_from%'";
        assert_eq!(scalar(&db, others).await, 0);
    })
    .await;
}

#[tokio::test]
async fn two_workers_over_the_same_customers_neither_deadlock_nor_lose_anything() {
    Box::pin(on_both(async |TestDatabase { db, url, .. }| {
        let users = ["a", "b", "c", "d", "e"];
        let batch = |worker: u32, round: u32| -> Vec<Raw> {
            let mut batch: Vec<Raw> = (0..20_u32)
                .map(|n| {
                    let number = worker * 1_000 + round * 20 + n;
                    let user = users[(n as usize * 3 + worker as usize) % users.len()];
                    paid(number, user, &format!("p{number}"), 10)
                })
                .collect();
            if worker == 1 {
                batch.reverse();
            }
            batch
        };
        let run = async |worker| {
            // SQLite has one writer, and a process one of it.
            let its = if db.is_shared() {
                Db::open(&url, 4).await.expect("it opens")
            } else {
                db.clone()
            };
            let pipeline = pipeline(&its);
            for round in 0..5 {
                let batch = batch(worker, round);
                while let Err(error) = pipeline.process(&batch).await {
                    assert!(error.is_transient(), "{error:?}");
                }
            }
        };
        tokio::join!(Box::pin(run(0)), Box::pin(run(1)), Box::pin(run(2)));
        assert_eq!(
            scalar(&db, "select cast(sum(total_spent) as bigint) from customer_totals").await,
            3_000
        );
        assert_eq!(scalar(&db, "select count(*) from customers").await, 5);
        assert_no_drift(&db).await;
    }))
    .await;
}

#[tokio::test]
async fn a_payment_that_becomes_another_name_while_a_worker_waits_loses_nothing() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        let charge = |n, kind, intent: Value| {
            let charge = json!({"id": "ch_1", "object": "charge", "amount": 900, "currency": "usd",
                "status": "succeeded", "captured": true, "customer": "cus_1",
                "payment_intent": intent});
            stripe(n, kind, &charge)
        };
        let intent = json!({"id": "pi_1", "object": "payment_intent", "amount": 900,
            "currency": "usd", "status": "succeeded", "customer": "cus_1"});
        let both = [
            charge(1, "charge.succeeded", Value::Null),
            stripe(2, "payment_intent.succeeded", &intent),
        ];
        pipeline.process(&both).await.expect("it commits");
        let refund = json!({"id": "re_1", "object": "refund", "amount": 400, "currency": "usd",
            "status": "succeeded", "payment_intent": "pi_1"});
        let (joins, refunds) =
            ([charge(3, "charge.updated", json!("pi_1"))], [stripe(4, "refund.created", &refund)]);
        if db.is_shared() {
            // Both workers have looked up the names when the first is let go.
            let gate = gate(&db).await;
            let second = async {
                pause().await;
                pipeline.process(&refunds).await
            };
            let (first, second, ()) = tokio::join!(pipeline.process(&joins), second, open(gate));
            first.and(second).expect("they commit");
        } else {
            pipeline.process(&joins).await.expect("it commits");
            pipeline.process(&refunds).await.expect("it commits");
        }
        assert_eq!(scalar(&db, "select total_spent from customer_totals").await, 900);
        assert_eq!(scalar(&db, "select total_refunded from customer_totals").await, 400);
        assert_no_drift(&db).await;
    })
    .await;
}

/// An event that changes one of several payments asks for the times of the others.
#[tokio::test]
async fn the_first_and_the_last_payment_stay_where_one_of_several_changes() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        for n in [1, 2, 3] {
            let batch = [paid(n, "u1", &format!("p{n}"), 500)];
            pipeline.process(&batch).await.expect("it commits");
        }
        for n in [1, 3] {
            let batch = [paid(10 + n, "u1", &format!("p{n}"), 600)];
            pipeline.process(&batch).await.expect("it commits");
        }
        let apart = "select count(*) from customer_totals where first_payment_at < last_payment_at";
        assert_eq!(scalar(&db, apart).await, 1);
        assert_no_drift(&db).await;
    })
    .await;
}

/// Postgres reads a row that it waited for again, and leaves it out where it is another component's by then.
#[tokio::test]
async fn a_customer_that_goes_into_another_one_while_a_worker_waits_is_found() {
    let database = postgres().await;
    let db = &database.db;
    let pipeline = pipeline(db);
    let uid = json!([{"provider": "clerk", "uid": "user_1", "kind": "auth"}]);
    let alone = json!({"identities": uid, "customer": {}});
    let joined = [event(
        3,
        "customer.recorded",
        &json!({"external_id": "u1", "identities": uid, "customer": {}}),
    )];
    let both = [recorded(1, "u1", "Ada"), event(2, "customer.recorded", &alone)];
    pipeline.process(&both).await.expect("it commits");
    let mut tx = db.begin().await.expect("a transaction");
    let ids: Vec<(CustomerId,)> =
        tx.query("select id from customers").all().await.expect("their ids");
    drop(tx);
    let gate = gate(db).await;
    let live = Arc::from("live");
    let rename = async |id| {
        pause().await;
        let profile = ProfileChange { name: Some(Some("Ada".into())), ..ProfileChange::default() };
        let command = Command::Update { customer: id, external_id: None, profile };
        pipeline.carry_out(&live, &command, None).await
    };
    let [(one,), (other,)] = ids[..] else { panic!("two customers: {ids:?}") };
    let (joined, one, other, ()) = tokio::join!(
        pipeline.process(&joined),
        Box::pin(rename(one)),
        Box::pin(rename(other)),
        open(gate)
    );
    joined.expect("it commits");
    for carried in [one, other] {
        let carried = carried.expect("it commits");
        assert!(matches!(carried, Carried::Out(_)), "{carried:?}");
    }
}

/// Whoever has its answer, and then reads, has the changes that are not told: none falls between the two.
#[tokio::test]
async fn an_endpoint_is_made_when_nothing_is_under_way_that_it_would_not_be_told() {
    let database = postgres().await;
    let db = &database.db;
    let pipeline = pipeline(db);
    pipeline.process(&[recorded(1, "u1", "Ada")]).await.expect("it commits");
    let gate = gate(db).await;
    let made = std::sync::atomic::AtomicBool::new(false);
    let waiting = "select count(*) from pg_stat_activity
        where wait_event_type = 'Lock' and query like 'with w0 as (insert into inbound_events%'";
    let make = async {
        eventually("it waits", async || scalar(db, waiting).await, |count| *count > 0).await;
        pause().await;
        let spec = EndpointSpec {
            environment: "live".into(),
            url: "https://app.example/".into(),
            event_types: vec!["*".into()],
            ..EndpointSpec::default()
        };
        let (id, now) = (EndpointId(pipeline.clock.new_id()), pipeline.clock.now());
        let secret = sealed::seal(&pipeline.keyring, &new_secret());
        let mut tx = db.begin().await.expect("a transaction");
        endpoints::create(&mut tx, id, &spec, secret, now).await.expect("it is made");
        tx.commit().await.expect("committed");
        made.store(true, std::sync::atomic::Ordering::SeqCst);
    };
    let change = async {
        let batch = [recorded(2, "u1", "Ada Lovelace")];
        pipeline.process(&batch).await.expect("it commits");
    };
    let look = async {
        eventually("it waits", async || scalar(db, waiting).await, |count| *count > 0).await;
        pause().await;
        pause().await;
        assert!(!made.load(std::sync::atomic::Ordering::SeqCst), "a change was under way");
        gate.commit().await.expect("it opens");
    };
    tokio::join!(Box::pin(change), make, look);
    assert_eq!(scalar(db, "select count(*) from messages").await, 0, "it was not there yet");
    pipeline.process(&[recorded(3, "u1", "Ada King")]).await.expect("it commits");
    assert_eq!(scalar(db, "select count(*) from messages").await, 1);
}

/// Holds all references.
async fn gate(db: &Db) -> Tx {
    let mut gate = db.begin().await.expect("a transaction");
    let rows = "select 1 from customer_references for update";
    gate.query(rows).all::<(i32,)>().await.expect("locks");
    gate
}

/// Long enough that whoever went before waits at the gate.
async fn pause() {
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
}

/// Lets go of them when all who go through pause once wait there.
async fn open(gate: Tx) {
    pause().await;
    pause().await;
    gate.commit().await.expect("it opens");
}

#[tokio::test]
async fn a_second_currency_is_recorded_once_even_where_nothing_that_is_shown_changes() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        let mut other = paid(2, "u1", "p1", 500);
        other.body = String::from_utf8_lossy(&other.body).replace("USD", "EUR").into();
        pipeline.process(&[paid(1, "u1", "p1", 500)]).await.expect("it commits");
        for n in [2, 3] {
            let told = String::from_utf8_lossy(&other.body).replace("e2", &format!("e{n}"));
            pipeline.process(&[raw("app", told)]).await.expect("it commits");
        }
        let recorded = "select count(*) from conflicts where kind = 'second_currency'
            and customer_id is not null and payment_id is not null";
        assert_eq!(scalar(&db, recorded).await, 1);
        assert_no_drift(&db).await;
    })
    .await;
}

#[tokio::test]
async fn a_subscription_canceled_before_its_end_is_looked_at_once_when_the_end_comes() {
    on_both(async |TestDatabase { db, .. }| {
        let clock = Clock::manual(Timestamp::parse("2026-01-03T00:00:00Z").expect("a time"));
        let pipeline = Pipeline { clock: clock.clone(), ..pipeline(&db) };
        let subscription =
            json!({"id": "s1", "status": "canceled", "ends_at": "2026-01-04T00:00:00Z"});
        let data = json!({"external_id": "u1", "subscription": subscription});
        pipeline.process(&[event(1, "subscription.recorded", &data)]).await.expect("it commits");
        clock.advance(chrono::TimeDelta::days(2));
        pipeline.announce_ended(10).await.expect("it commits");
        assert_eq!(pipeline.announce_ended(10).await.expect("it commits"), 0);
    })
    .await;
}

#[tokio::test]
async fn a_dispute_that_is_won_does_not_tell_again_that_the_money_moved() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        listen(&db).await;
        let dispute = |n, status| {
            let dispute = json!({"id": "d1", "payment_id": "p1", "amount": 500, "currency": "USD", "status": status});
            event(n, "dispute.recorded", &json!({"dispute": dispute}))
        };
        let batch = [paid(1, "u1", "p1", 500), dispute(2, "open"), dispute(3, "won")];
        pipeline.process(&batch).await.expect("it commits");
        let told = "select count(*) from outgoing_events where kind = 'payment.succeeded'";
        assert_eq!(scalar(&db, told).await, 1);
        let told = "select count(*) from outgoing_events where kind like 'payment.%'";
        assert_eq!(scalar(&db, told).await, 4);
    })
    .await;
}

#[tokio::test]
async fn of_many_metadata_keys_those_of_the_highest_stamps_are_shown() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        let full: BTreeMap<String, u8> = (0..50_u8).map(|n| (format!("k{n:02}"), n)).collect();
        let said = |id: &str, metadata: Value| {
            let data = json!({"external_id": "u1", "customer": {"metadata": metadata}});
            let body = json!({"id": id, "type": "customer.recorded",
                "occurred_at": "2026-01-01T00:00:01Z", "data": data});
            raw("app", body.to_string())
        };
        let batch = [said("e1", json!(full)), said("e2", json!({"zz": true}))];
        pipeline.process(&batch).await.expect("it commits");
        let shown = |key: &'static str| scalar_of(&db, key);
        assert_eq!((shown("zz").await, shown("k48").await, shown("k49").await), (1, 1, 0));
    })
    .await;
}

async fn scalar_of(db: &Db, key: &'static str) -> i64 {
    let mut tx = db.begin().await.expect("a transaction");
    let sql = "select count(*) from customer_profiles where cast(person as text) like $1";
    let found = tx.query(sql).bind(format!("%\"{key}\"%")).one::<(i64,)>().await;
    found.expect("one number").0
}
