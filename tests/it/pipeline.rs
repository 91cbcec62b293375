//! The pipeline on both databases: what a batch makes of the state, however it is split and repeated.

use crate::support::services::{TestDatabase, on_both};
use customer_sync::{
    clock::Clock,
    keyring::Keyring,
    model::{
        inbound::{Headers, Raw},
        reference::Scope,
        time::Timestamp,
    },
    pipeline::{Disposition, Pipeline},
    provider::{self, Source},
    store::{self, Db},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

fn source(name: &str, environment: &str) -> Arc<Source> {
    Arc::new(Source {
        name: name.into(),
        provider: provider::find("canonical").expect("it is built in"),
        environment: environment.into(),
        test_environment: None,
        namespace: name.into(),
        secrets: Vec::new(),
        tolerance: None,
        url: None,
        subject_is_external_id: false,
        places: Vec::new(),
        authority: BTreeMap::new(),
        on_delete: Scope::Auto,
        match_email: false,
        unsigned: true,
    })
}

fn pipeline(db: &Db) -> Pipeline {
    let sources = [source("app", "live"), source("sandbox", "test")];
    Pipeline {
        db: db.clone(),
        sources: Arc::new(sources.into_iter().map(|s| (s.name.clone(), s)).collect()),
        keyring: Keyring::new("test"),
        clock: Clock::system(),
        handover: None,
    }
}

fn raw(source: &str, body: impl Into<Vec<u8>>) -> Raw {
    Raw {
        source: source.into(),
        headers: Headers::default(),
        body: body.into().into(),
        received_at: Timestamp::parse("2026-01-02T00:00:00Z"),
        queue_id: None,
        dead: None,
    }
}

fn event(n: u32, kind: &str, data: &Value) -> Raw {
    let at = format!("2026-01-01T00:{:02}:{:02}Z", n / 60, n % 60);
    let body = json!({"id": format!("e{n}"), "type": kind, "occurred_at": at, "data": data});
    raw("app", body.to_string())
}

fn recorded(n: u32, user: &str, name: &str) -> Raw {
    event(n, "customer.recorded", &json!({"external_id": user, "customer": {"name": name}}))
}

fn paid(n: u32, user: &str, payment: &str, amount: i64) -> Raw {
    let payment =
        json!({"id": payment, "amount": amount, "currency": "USD", "status": "succeeded"});
    event(n, "payment.recorded", &json!({"external_id": user, "payment": payment}))
}

async fn scalar(db: &Db, sql: &'static str) -> i64 {
    let mut tx = db.begin().await.expect("a transaction");
    tx.query(sql).one::<(i64,)>().await.expect("one number").0
}

async fn assert_no_drift(db: &Db) {
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

#[tokio::test]
async fn two_workers_over_the_same_customers_neither_deadlock_nor_lose_anything() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
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
    })
    .await;
}
