//! One Stripe customer on both databases, as other systems get it wrong: two updates of one second, the same event with
//! other bytes, a type that nobody maps, an update behind the deletion (the fifth fault of the pain points).

use crate::{
    pipeline::{assert_no_drift, pipeline, raw, scalar, source},
    support::services::{TestDatabase, on_both},
};
use customer_sync::{
    model::inbound::Raw,
    pipeline::{Disposition, Pipeline, Sources},
    provider::Source,
    store::Db,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// One event of the customer, in the `second`-th second.
fn event(id: &str, kind: &str, second: u32, email: &str, previous: Option<&str>) -> Value {
    let mut event = json!({"id": id, "object": "event", "type": kind,
        "created": 1_767_225_600 + second, "livemode": true, "pending_webhooks": 2,
        "data": {"object": {"id": "cus_1", "object": "customer", "created": 1_767_225_600,
            "email": email, "name": "Ada", "livemode": true, "metadata": {"external_id": "u1"}}}});
    if let Some(previous) = previous {
        event["data"]["previous_attributes"] = json!({"email": previous});
    }
    event
}

fn sent(event: &Value) -> Raw {
    raw("stripe", event.to_string())
}

/// The same event as Stripe sends it again: fewer of its endpoints are left to be told.
fn sent_again(event: &Value) -> Raw {
    let mut event = event.clone();
    event["pending_webhooks"] = 1.into();
    sent(&event)
}

/// The pipeline with a second source of the same Stripe account, as an import makes one.
fn with_import(db: &Db) -> Pipeline {
    let pipeline = pipeline(db);
    let import = Source {
        name: "import:stripe".into(),
        ..source("stripe", "stripe", "live").as_ref().clone()
    };
    let mut sources: Sources = pipeline.sources.as_ref().clone();
    sources.insert(import.name.clone(), Arc::new(import));
    Pipeline { sources: Arc::new(sources), ..pipeline }
}

const EMAIL_IS_C: &str = "select count(*) from customer_profiles where email = 'c@example.org'";

#[tokio::test]
async fn of_two_updates_of_one_second_the_later_counts_however_often_each_comes() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = with_import(&db);
        let created = event("evt_5", "customer.created", 1, "a@example.org", None);
        // Their ids run against their order.
        let first = event("evt_9", "customer.updated", 7, "b@example.org", Some("a@example.org"));
        let second = event("evt_1", "customer.updated", 7, "c@example.org", Some("b@example.org"));
        let imported = Raw { source: "import:stripe".into(), ..sent(&first) };
        for raw in [
            sent(&second),
            sent(&created),
            sent(&first),
            sent(&first),
            sent_again(&first),
            imported,
            sent_again(&created),
        ] {
            pipeline.process(&[raw]).await.expect("it commits");
        }
        assert_eq!(scalar(&db, EMAIL_IS_C).await, 1);
        assert_eq!(scalar(&db, "select count(*) from customers").await, 1);
        assert_no_drift(&db).await;
    })
    .await;
}

#[tokio::test]
async fn a_type_that_nobody_maps_is_kept_and_an_update_behind_the_deletion_brings_nobody_back() {
    on_both(async |TestDatabase { db, .. }| {
        let pipeline = pipeline(&db);
        let created = event("evt_1", "customer.created", 1, "a@example.org", None);
        let unknown = event("evt_2", "customer.of_next_year", 2, "b@example.org", None);
        let deleted = event("evt_4", "customer.deleted", 9, "a@example.org", None);
        let late = event("evt_3", "customer.updated", 5, "b@example.org", Some("a@example.org"));
        let echo = event("evt_5", "customer.updated", 11, "b@example.org", Some("a@example.org"));
        let sent: Vec<Raw> = [&created, &unknown, &deleted, &late, &echo].map(sent).into();
        let done = pipeline.process(&sent).await.expect("it commits");
        assert!(matches!(done.get(1), Some(Disposition::Ignored(_))), "{done:?}");
        assert_eq!(scalar(&db, "select count(*) from inbound_events").await, 5);
        let email = "select count(*) from customer_references
            where cast(facts as text) like '%@example.org%'";
        assert_eq!(scalar(&db, email).await, 0, "nothing of the person is left");
        assert_no_drift(&db).await;
    })
    .await;
}
