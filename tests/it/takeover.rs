//! Nobody takes over an account by what a browser can write: such a name says where one payment hangs and claims
//! nothing (semantics 3). An empty name is none.

use crate::{
    pipeline::{assert_no_drift, pipeline, raw, recorded, scalar, source},
    support::services::{TestDatabase, on_both},
};
use customer_sync::{
    model::inbound::Raw,
    pipeline::{Pipeline, Sources},
    provider::{On, Place, Source, Target},
    store::Db,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// The pipeline of the other tests with a source of Paystack's; `raised` lets its metadata claim.
fn with_paystack(db: &Db, raised: bool) -> Pipeline {
    let pipeline = pipeline(db);
    let mut paystack = Source::clone(&source("paystack", "paystack", "live"));
    if raised {
        let at = "metadata.user_id".into();
        paystack.places = vec![Place { at, target: Target::ExternalId, claims: true, on: On::Any }];
    }
    let mut sources: Sources = Sources::clone(&pipeline.sources);
    sources.insert(paystack.name.clone(), Arc::new(paystack));
    Pipeline { sources: Arc::new(sources), ..pipeline }
}

/// What Mallory pays; the metadata is hers to write.
fn paid(reference: &str, amount: i64, metadata: &Value) -> Raw {
    let body = json!({"event": "charge.success", "data": {
        "domain": "live", "status": "success", "reference": reference, "amount": amount, "currency": "NGN",
        "paid_at": "2026-01-02T00:00:00.000Z", "channel": "card", "metadata": metadata,
        "customer": {"customer_code": "CUS_mallory", "first_name": "Mallory", "email": "mallory@example.org"}}});
    raw("paystack", body.to_string())
}

/// Mallory's own user, with what she says of herself.
fn user(external_id: Option<&str>, unsafe_metadata: &Value) -> Raw {
    let body = json!({"object": "event", "type": "user.created", "timestamp": 1_767_312_000_000_u64, "data": {
        "id": "uid_mallory", "object": "user", "updated_at": 1_767_312_000_000_u64, "first_name": "Mallory",
        "last_name": null, "external_id": external_id, "unsafe_metadata": unsafe_metadata,
        "email_addresses": [], "primary_email_address_id": null}});
    raw("clerk", body.to_string())
}

const VICTIM_AS_IT_WAS: &str =
    "select count(*) from customer_profiles where external_id = 'victim' and name = 'Vic'";
const VICTIMS_TOTAL: &str = "select cast(sum(t.total_spent) as bigint) from customer_totals as t
    join customer_profiles as p on p.customer_id = t.customer_id where p.external_id = 'victim'";
const MALLORYS_NAMES_AT_THE_VICTIM: &str =
    "select count(*) from customer_references as r join customer_profiles as p on p.customer_id = r.customer_id
     where p.external_id = 'victim' and r.subject in ('CUS_mallory', 'uid_mallory')";
const EMPTY_NAMES: &str = "select count(*) from customer_references where subject = ''";

#[tokio::test]
async fn a_payer_who_names_anothers_account_gives_it_a_payment_and_gets_nothing_of_it() {
    on_both(async |TestDatabase { db, .. }| {
        let named = json!({"user_id": "victim", "external_id": "victim"});
        let batches = [
            vec![recorded(1, "victim", "Vic")],
            vec![paid("T1", 500, &named), user(None, &named)],
            vec![paid("T2", 300, &Value::Null)],
        ];
        let pipeline = with_paystack(&db, false);
        for batch in batches {
            pipeline.process(&batch).await.expect("it commits");
        }
        assert_eq!(scalar(&db, VICTIM_AS_IT_WAS).await, 1, "nothing of hers fills the profile");
        assert_eq!(scalar(&db, MALLORYS_NAMES_AT_THE_VICTIM).await, 0, "her names stay her own");
        assert_eq!(scalar(&db, VICTIMS_TOTAL).await, 500, "that payment alone hangs there");
        assert_no_drift(&db).await;
    })
    .await;
}

#[tokio::test]
async fn where_the_team_says_that_only_its_server_writes_there_the_same_name_does_claim() {
    on_both(async |TestDatabase { db, .. }| {
        let named = json!({"user_id": "victim"});
        let batches = [
            vec![recorded(1, "victim", "Vic")],
            vec![paid("T1", 500, &named)],
            vec![paid("T2", 300, &Value::Null)],
        ];
        let pipeline = with_paystack(&db, true);
        for batch in batches {
            pipeline.process(&batch).await.expect("it commits");
        }
        assert_eq!(scalar(&db, MALLORYS_NAMES_AT_THE_VICTIM).await, 1, "the customer id moved");
        assert_eq!(scalar(&db, VICTIMS_TOTAL).await, 800);
        assert_no_drift(&db).await;
    })
    .await;
}

#[tokio::test]
async fn an_empty_external_id_is_none() {
    on_both(async |TestDatabase { db, .. }| {
        let empty = json!({"user_id": "", "external_id": ""});
        let batch = [paid("T1", 500, &empty), user(Some(""), &Value::Null)];
        for raised in [false, true] {
            let pipeline = with_paystack(&db, raised);
            pipeline.process(&batch).await.expect("it commits");
            assert_eq!(scalar(&db, EMPTY_NAMES).await, 0);
            // The payer and the user: two people, as nobody says that they are one.
            assert_eq!(scalar(&db, "select count(*) from customers").await, 2);
        }
        assert_no_drift(&db).await;
    })
    .await;
}
