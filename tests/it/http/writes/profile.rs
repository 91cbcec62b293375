//! Create and PATCH.

use super::{Api, id, in_the_way, listen};
use crate::{
    pipeline::{assert_no_drift, paid, raw, recorded},
    support::services::on_both,
};
use customer_sync::model::inbound::Raw;
use serde_json::{Value, json};

#[tokio::test]
async fn a_created_customer_is_answered_whole_and_told_with_the_api_as_cause() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        listen(&api.db).await;
        let body = json!({
            "external_id": "user-1", "name": " Ada Lovelace ", "email": "Ada@example.org",
            "email_verified": true, "phone": "+1 (555) 555-0100", "tags": ["beta", "vip", "beta"],
            "metadata": {"plan": "pro", "seats": 3, "trial": false}, "provider": "clerk",
            "provider_uid": "user_1",
        });
        let answer = api.send_as(&api.write, "POST", "/v1/customers", &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let made = answer.json();
        for (field, value) in [
            ("object", json!("customer")),
            ("external_id", json!("user-1")),
            ("name", json!("Ada Lovelace")),
            ("email", json!("Ada@example.org")),
            ("email_verified", json!(true)),
            ("phone", json!("+15555550100")),
            ("tags", json!(["beta", "vip"])),
            ("metadata", json!({"plan": "pro", "seats": 3, "trial": false})),
            ("identities", json!([{"provider": "clerk", "uid": "user_1", "kind": "auth"}])),
            ("is_anonymous", json!(false)),
            ("version", json!(1)),
            ("net_spent", json!(0)),
        ] {
            assert_eq!(made[field], value, "{field}");
        }
        let path = format!("/v1/customers/{}", made["id"].as_str().expect("an id"));
        assert_eq!(api.get(&path).await.ok(), made);
        let told = api.bodies().await;
        assert_eq!(told.len(), 1);
        assert_eq!(told[0]["type"], "customer.created");
        assert_eq!(told[0]["data"]["customer"]["name"], "Ada Lovelace");
        assert_eq!(told[0]["cause"]["source"], "api");
        let known = api.get("/v1/inbound-events?source=api").await.ok();
        assert_eq!(known["data"][0]["verdict"], "applied");
        assert_eq!(known["data"][0]["type"], "customer.create");
        assert_eq!(known["data"][0]["event_id"], told[0]["cause"]["event_id"]);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_customer_without_any_name_is_known_by_its_id() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let first = api.made(&json!({})).await;
        let second = api.made(&json!({"name": "Guest"})).await;
        assert_ne!(first, second);
        let shown = api.get(&second).await.ok();
        assert_eq!((&shown["name"], &shown["is_anonymous"]), (&json!("Guest"), &json!(true)));
        assert_eq!((&shown["external_id"], &shown["identities"]), (&Value::Null, &json!([])));
        let named = api.patch(&second, &json!({"external_id": "u2", "name": "Eve"})).await.ok();
        assert_eq!(named["id"], id(&second));
        assert_eq!((&named["external_id"], &named["is_anonymous"]), (&json!("u2"), &json!(false)));
        assert_eq!(named["name"], "Eve");
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_taken_external_id_is_refused_with_the_customer_that_has_it_whoever_named_it_first() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let by_api = api.made(&json!({"external_id": "u1"})).await;
        api.events().process(&[paid(1, "u2", "p1", 500)]).await.expect("it commits");
        let by_payment = api.get("/v1/customers/lookup?external_id=u2").await.ok()["id"].clone();
        for (external_id, owner) in [("u1", json!(id(&by_api))), ("u2", by_payment)] {
            let body = json!({"external_id": external_id, "name": "Mallory"});
            let answer = api.post("/v1/customers", &body).await;
            assert_eq!(in_the_way(&answer), ("external_id_taken".into(), owner));
            assert_eq!(answer.error().2.as_deref(), Some("external_id"));
        }
        let third = api.made(&json!({"provider": "clerk", "provider_uid": "user_3"})).await;
        let body = json!({"provider": "clerk", "provider_uid": "user_3", "external_id": "u3"});
        let answer = api.post("/v1/customers", &body).await;
        assert_eq!(in_the_way(&answer), ("identity_taken".into(), json!(id(&third))));
        let answer = api.patch(&third, &json!({"external_id": "u1"})).await;
        assert_eq!(in_the_way(&answer), ("external_id_taken".into(), json!(id(&by_api))));
        let mallory = "select count(*) from customer_profiles where name = 'Mallory'";
        assert_eq!(api.count(mallory).await, 0);
        assert_eq!(api.count("select count(*) from customers").await, 3);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_patch_keeps_what_is_absent_and_clears_what_is_null() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        listen(&api.db).await;
        let body = json!({
            "external_id": "u1", "name": "Ada", "email": "ada@example.org", "email_verified": true,
            "phone": "+15555550100", "tags": ["a"], "metadata": {"x": 1, "y": "2"},
        });
        let path = api.made(&body).await;
        let patch = json!({"name": null, "metadata": {"y": null, "z": true}});
        let shown = api.patch(&path, &patch).await.ok();
        assert_eq!(shown["name"], Value::Null);
        assert_eq!(shown["metadata"], json!({"x": 1, "z": true}));
        assert_eq!((&shown["email"], &shown["phone"]), (&body["email"], &body["phone"]));
        assert_eq!((&shown["tags"], &shown["email_verified"]), (&json!(["a"]), &json!(true)));
        let cleared = json!({"email": null, "phone": null, "tags": null, "metadata": null});
        let shown = api.patch(&path, &cleared).await.ok();
        assert_eq!((&shown["email"], &shown["email_verified"]), (&Value::Null, &json!(false)));
        assert_eq!((&shown["phone"], &shown["tags"]), (&Value::Null, &json!([])));
        assert_eq!((&shown["metadata"], &shown["external_id"]), (&json!({}), &json!("u1")));
        // Nothing changes, nobody is told.
        assert_eq!(api.patch(&path, &json!({})).await.ok(), shown);
        assert_eq!(api.patch(&path, &cleared).await.ok(), shown);
        let told = ["customer.created", "customer.updated", "customer.updated"];
        assert_eq!(api.told().await, told);
        let bodies = api.bodies().await;
        assert_eq!(bodies[1]["previous_attributes"]["name"], "Ada");
        assert_eq!(bodies[2]["data"]["customer"]["version"], shown["version"]);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_same_address_stays_verified_and_another_one_is_not() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let body = json!({"email": "ada@example.org", "email_verified": true});
        let path = api.made(&body).await;
        let verified = async |body: Value| {
            let shown = api.patch(&path, &body).await.ok();
            (shown["email"].clone(), shown["email_verified"].clone())
        };
        let same = verified(json!({"email": "Ada@Example.org"})).await;
        assert_eq!(same, (json!("Ada@Example.org"), json!(true)));
        let other = verified(json!({"email": "eve@example.org"})).await;
        assert_eq!(other, (json!("eve@example.org"), json!(false)));
        let vouched = verified(json!({"email_verified": true})).await;
        assert_eq!(vouched, (json!("eve@example.org"), json!(true)));
        let none = verified(json!({"email": null})).await;
        assert_eq!(none, (Value::Null, json!(false)));
        let answer = api.patch(&path, &json!({"email_verified": true})).await;
        let expected = (400, "invalid_parameter".to_owned(), Some("email_verified".to_owned()));
        assert_eq!(answer.error(), expected);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_external_id_is_set_once() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        listen(&api.db).await;
        let path = api.made(&json!({"provider": "clerk", "provider_uid": "user_1"})).await;
        assert_eq!(api.patch(&path, &json!({"external_id": null})).await.status, 200);
        let named = api.patch(&path, &json!({"external_id": "u1"})).await.ok();
        assert_eq!((&named["id"], &named["external_id"]), (&json!(id(&path)), &json!("u1")));
        assert_eq!(api.patch(&path, &json!({"external_id": "u1"})).await.status, 200);
        for other in [json!("u2"), Value::Null] {
            let answer = api.patch(&path, &json!({"external_id": other, "name": "Eve"})).await;
            assert_eq!(answer.refused(409), "external_id_immutable");
        }
        assert_eq!(api.get(&path).await.ok()["name"], Value::Null, "nothing half done");
        assert_eq!(api.told().await, ["customer.created", "customer.identified"]);
        api.stop().await;
    })
    .await;
}

/// What the app itself says, at a time of its own.
fn said(at: &str, received: &str, name: &str) -> Raw {
    let data = json!({"external_id": "u1", "customer": {"name": name}});
    let body = json!({"id": format!("e{at}"), "type": "customer.recorded", "occurred_at": at,
        "data": data});
    let received_at = customer_sync::model::time::Timestamp::parse(received);
    Raw { received_at, ..raw("app", body.to_string()) }
}

#[tokio::test]
async fn a_patch_is_not_lost_to_what_an_event_said_of_a_moment_ahead() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        // The app's server is four minutes ahead of ours: events stand there, and so must we.
        let ahead = said("2026-03-01T12:04:00Z", "2026-03-01T12:00:00Z", "Ahead");
        api.events().process(std::slice::from_ref(&ahead)).await.expect("it commits");
        let shown = api.get("/v1/customers/lookup?external_id=u1").await.ok();
        let path = format!("/v1/customers/{}", shown["id"].as_str().expect("an id"));
        assert_eq!(shown["name"], "Ahead");
        assert_eq!(api.patch(&path, &json!({"name": "Ours"})).await.ok()["name"], "Ours");
        api.events().process(&[recorded(1, "u1", "Late"), ahead]).await.expect("it commits");
        assert_eq!(api.get(&path).await.ok()["name"], "Ours");
        let later = said("2026-03-01T12:04:01Z", "2026-03-01T12:00:00Z", "Later");
        api.events().process(&[later]).await.expect("it commits");
        assert_eq!(api.get(&path).await.ok()["name"], "Later");
        assert_no_drift(&api.db).await;
        api.stop().await;
    })
    .await;
}
