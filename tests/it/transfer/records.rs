//! What a record counts for beside what others say.

use super::{ENVIRONMENT, exported, import, json};
use crate::{
    pipeline::{event, pipeline, raw, recorded, scalar},
    support::{
        services::{TestDatabase, on_both, sqlite},
        world::World,
    },
};
use customer_sync::{
    model::reference::Scope,
    pipeline::{Disposition, Pipeline},
    provider::{Source, record as records},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

/// A Stripe account, a Clerk instance, and the app, all taken as they come.
const SOURCES: &str = "
    [[sources]]
    name = 'stripe'
    provider = 'stripe'
    environment = 'test'
    unsigned = true
    [[sources]]
    name = 'clerk'
    provider = 'clerk'
    environment = 'test'
    unsigned = true
";

struct Desk {
    world: World,
    folder: tempfile::TempDir,
    _database: TestDatabase,
}

impl Desk {
    async fn new() -> Self {
        let database = sqlite().await;
        let folder = tempfile::tempdir().expect("a folder");
        Self { world: World::new(&database, SOURCES), folder, _database: database }
    }

    fn file(&self, name: &str, records: &[Value]) -> PathBuf {
        let path = self.folder.path().join(name);
        let lines: Vec<String> = records.iter().map(Value::to_string).collect();
        std::fs::write(&path, lines.join("\n")).expect("the file is written");
        path
    }

    async fn takes(&self, records: &[Value], more: &[&str]) {
        let file = self.file("records.ndjson", records);
        let arguments = [&["--environment", ENVIRONMENT], more].concat();
        json(&import(&self.world, &file, &arguments).await);
    }

    /// An event of the last 30 days, as Stripe lists them.
    async fn hears(&self, event: &Value) {
        let file = self.file("events.json", std::slice::from_ref(event));
        json(&import(&self.world, &file, &["--source", "stripe"]).await);
    }

    async fn customer(&self) -> Value {
        let all = exported(&self.world).await;
        all.into_iter().find(|one| one["object"] == "customer").expect("a customer")
    }
}

fn renamed(second: i64, name: &str, before: &str) -> Value {
    json!({
        "id": format!("evt_{second}"), "object": "event", "type": "customer.updated",
        "created": second, "livemode": false,
        "data": {
            "object": {"id": "cus_1", "object": "customer", "created": 1_700_000_000, "name": name,
                "livemode": false},
            "previous_attributes": {"name": before},
        },
    })
}

fn record(name: &str, at: &str) -> Value {
    json!({
        "object": "customer", "name": name, "updated_at": at,
        "identities": [{"kind": "payment", "provider": "stripe", "uid": "cus_1"}],
    })
}

/// The record is of 2024-01-01; an event of later wins and one of before does not, whichever comes first.
#[tokio::test]
async fn a_late_import_does_not_overwrite_newer_truth_and_overwrites_older() {
    for (second, expected) in [(1_704_100_000, "Event"), (1_704_000_000, "Record")] {
        let record = record("Record", "2024-01-01T00:00:00Z");
        let event = renamed(second, "Event", "Before");
        let first = Desk::new().await;
        first.takes(std::slice::from_ref(&record), &[]).await;
        first.hears(&event).await;
        assert_eq!(first.customer().await["name"], expected);
        let last = Desk::new().await;
        last.hears(&event).await;
        last.takes(&[record], &[]).await;
        assert_eq!(last.customer().await["name"], expected);
    }
}

#[tokio::test]
async fn an_import_counts_more_only_where_it_is_told_to() {
    let desk = Desk::new().await;
    desk.hears(&renamed(1_704_100_000, "Event", "Before")).await;
    let record = record("Record", "2024-01-01T00:00:00Z");
    desk.takes(std::slice::from_ref(&record), &[]).await;
    assert_eq!(desk.customer().await["name"], "Event");
    // The same line with another weight is an event that was in already: the key is its content.
    let again = json!({"object": "customer", "name": "Record", "updated_at": "2024-01-01T00:00:00.001Z",
        "identities": record["identities"]});
    desk.takes(&[again], &["--authority", "app"]).await;
    assert_eq!(desk.customer().await["name"], "Record");
}

/// Who is who by a file is the team's own word: a provider that knows nothing of it does not take it back.
#[tokio::test]
async fn who_is_who_by_a_file_stays_when_a_provider_does_not_know_of_it() {
    let desk = Desk::new().await;
    let ada = json!({
        "object": "customer", "external_id": "ada", "email": "ada@example.com", "email_verified": true,
        "tags": ["vip"], "metadata": {"plan": "pro"}, "updated_at": "2024-01-01T00:00:00Z",
        "identities": [{"kind": "auth", "provider": "clerk", "uid": "user_1"},
            {"kind": "payment", "provider": "stripe", "uid": "cus_1"}],
    });
    desk.takes(&[ada], &[]).await;
    desk.hears(&renamed(1_704_100_000, "Ada", "")).await;
    let customer = desk.customer().await;
    assert_eq!((&customer["external_id"], &customer["name"]), (&json!("ada"), &json!("Ada")));
    assert_eq!(customer["identities"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&customer["email_verified"], &customer["is_anonymous"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(
        (&customer["tags"], &customer["metadata"]),
        (&json!(["vip"]), &json!({"plan": "pro"}))
    );
}

#[tokio::test]
async fn a_plain_record_of_a_refunded_payment_counts_its_sum_and_no_zero_takes_it_back() {
    let desk = Desk::new().await;
    let payment = |id: &str, more: Value| {
        let mut payment = json!({
            "object": "payment", "provider": "shop", "payment_id": id, "external_id": "ada",
            "amount": 1_000, "currency": "USD", "updated_at": "2024-01-01T00:00:00Z",
        });
        payment.as_object_mut().expect("an object").extend(more.as_object().expect("one").clone());
        payment
    };
    desk.takes(
        &[
            payment("all", json!({"status": "refunded"})),
            payment("some", json!({"status": "partially_refunded", "amount_refunded": 300})),
            payment("none", json!({"status": "succeeded", "amount_refunded": 0})),
            payment("failed", json!({"status": "failed", "failure_code": "card_declined"})),
        ],
        &[],
    )
    .await;
    let later = payment(
        "some",
        json!({"status": "succeeded", "amount_refunded": 0,
        "updated_at": "2024-02-01T00:00:00Z"}),
    );
    desk.takes(&[later], &[]).await;
    let customer = desk.customer().await;
    assert_eq!(
        (&customer["total_spent"], &customer["total_refunded"]),
        (&json!(3_000), &json!(1_300))
    );
    assert_eq!(customer["failed_payment_count"], 1);
    let all = exported(&desk.world).await;
    let status = |id: &str| {
        let found = all.iter().find(|one| one["payment_id"] == id);
        found.expect("the payment")["status"].as_str().expect("a status").to_owned()
    };
    assert_eq!(
        ["all", "some", "none", "failed"].map(status),
        ["refunded", "partially_refunded", "succeeded", "failed"]
    );
}

/// The stages as an import has them.
fn of_import(pipeline: &Pipeline) -> Pipeline {
    let source = Source {
        name: records::SOURCE.into(),
        provider: (&records::PROVIDER).into(),
        mapping: None,
        environment: "live".into(),
        test_environment: None,
        namespace: records::SOURCE.into(),
        secrets: Vec::new(),
        tolerance: None,
        url: None,
        subject_is_external_id: false,
        places: Vec::new(),
        authority: BTreeMap::new(),
        on_delete: Scope::Identity,
        match_email: false,
        manual_capture: false,
        unsigned: true,
    };
    let sources = HashMap::from([(source.name.clone(), Arc::new(source))]);
    Pipeline { sources: Arc::new(sources), ..pipeline.clone() }
}

#[tokio::test]
async fn an_import_does_not_bring_back_who_was_deleted() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        let gone = event(5, "customer.deleted", &json!({"external_id": "u1"}));
        pipeline.process(&[recorded(1, "u1", "Ada"), gone]).await.expect("it commits");
        let later = "2026-02-01T00:00:00Z";
        let person = json!({"object": "customer", "external_id": "u1", "name": "Ada Lovelace", "updated_at": later});
        let payment = json!({"object": "payment", "external_id": "u1", "provider": "shop", "payment_id": "1",
            "amount": 5, "currency": "USD", "status": "succeeded", "description": "Lovelace's", "updated_at": later});
        let lines = [person, payment].map(|line| raw(records::SOURCE, line.to_string()));
        let done = of_import(&pipeline).process_quietly(&lines).await.expect("it commits");
        assert!(matches!(&done[..], [Disposition::Ignored(_), Disposition::Applied]), "{done:?}");
        let live = "select count(*) from customers where not deleted";
        assert_eq!(scalar(&db, live).await, 0);
        let nobodys = "select count(*) from payments where cast(facts as text) like '%Lovelace%'";
        assert_eq!(scalar(&db, nobodys).await, 0);
        assert_eq!(scalar(&db, "select count(*) from payments where owner_id is null").await, 1);
    })
    .await;
}
