//! Whose word each field of a customer is.

use super::Api;
use crate::{
    pipeline::{event, pipeline, raw},
    support::services::on_both,
};
use customer_sync::model::inbound::Raw;
use serde_json::{Value, json};

/// A user of Clerk with a name and an address.
fn user(uid: &str, name: &str, address: &str) -> Raw {
    let at = 1_767_225_600_000_i64;
    let body = json!({"type": "user.created", "object": "event", "timestamp": at, "data": {
        "id": uid, "object": "user", "created_at": at, "updated_at": at, "first_name": name, "last_name": null,
        "primary_email_address_id": "idn_1",
        "email_addresses": [{"id": "idn_1", "object": "email_address", "email_address": address,
            "verification": {"status": "verified", "strategy": "email_code"}}]}});
    raw("clerk", body.to_string())
}

#[tokio::test]
async fn each_field_names_the_word_that_counts_and_the_event_that_gave_it() {
    on_both(async |database| {
        let uid = json!([{"provider": "clerk", "uid": "user_1", "kind": "auth"}]);
        let said = json!({"name": "Ada Lovelace", "phone": null, "metadata": {"plan": "pro"}});
        let recorded = json!({"external_id": "ada", "identities": uid, "customer": said});
        let events = [user("user_1", "Ada", "ada@example.org"), event(70, "customer.recorded", &recorded)];
        pipeline(&database.db).process(&events).await.expect("it commits");
        let api = Api::start(&database).await;
        let id = api.get("/v1/customers").await.listed("id")[0].clone();
        let path = format!("/v1/customers/{}/provenance", id.as_str().expect("an id"));
        let whole = api.get(&path).await.ok();
        assert_eq!((&whole["object"], &whole["customer_id"]), (&json!("provenance"), &id));
        let fields = whole["fields"].as_array().expect("fields");
        let of = |name: &str| -> Value {
            let found: Vec<&Value> = fields.iter().filter(|field| field["field"] == name).collect();
            assert_eq!(found.len(), 1, "{name}: {fields:?}");
            found[0].clone()
        };
        let by_app = |field: &str, value: Value| {
            json!({"field": field, "value": value, "authority": "app", "source": "app", "event_id": "e70",
                "occurred_at": "2026-01-01T00:01:10.000Z"})
        };
        assert_eq!(of("name"), by_app("name", json!("Ada Lovelace")));
        assert_eq!(of("phone"), by_app("phone", Value::Null));
        assert_eq!(of("metadata.plan"), by_app("metadata.plan", json!("pro")));
        let email = of("email");
        assert_eq!(
            (&email["value"], &email["authority"], &email["source"], &email["occurred_at"]),
            (&json!("ada@example.org"), &json!("auth"), &json!("clerk"), &json!("2026-01-01T00:00:00.000Z"))
        );
        assert_eq!(of("email_verified")["value"], true);
        assert_eq!(
            (of("external_id")["value"].clone(), of("external_id")["source"].clone()),
            (json!("ada"), json!("app"))
        );
        assert_eq!(of("identities.clerk")["value"], "user_1");
        let elsewhere = api.get_as(&api.other, &path).await;
        assert_eq!(elsewhere.refused(404), "customer_not_found");
        api.stop().await;
    })
    .await;
}
