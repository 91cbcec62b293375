//! DELETE: what is answered, what stays, and that nothing of the person does.

use super::{Api, asking, id, listen};
use crate::{
    pipeline::{assert_no_drift, event, raw},
    support::services::on_both,
};
use customer_sync::{model::inbound::Raw, store::Db};
use serde_json::{Value, json};

/// A payment of `the-user`, a moment after all that was before.
async fn pay(api: &Api, payment: &str) {
    api.clock.advance(chrono::TimeDelta::seconds(1));
    let now = api.clock.now();
    let paid = json!({"id": payment, "amount": 500, "currency": "USD", "status": "succeeded",
        "description": "For Ada"});
    let data = json!({"external_id": "the-user", "payment": paid});
    let body = json!({"id": payment, "type": "payment.recorded", "occurred_at": now, "data": data});
    let said = Raw { received_at: Some(now), ..raw("app", body.to_string()) };
    api.events().process(&[said]).await.expect("it commits");
}

#[tokio::test]
async fn a_deleted_customer_is_answered_once_and_gone_with_all_its_names() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        listen(&api.db).await;
        let body =
            json!({"external_id": "u1", "name": "Ada", "provider": "clerk", "provider_uid": "uid"});
        let path = api.made(&body).await;
        let other = api.made(&json!({"name": "Guest"})).await;
        assert_eq!(
            api.post(&format!("{path}/merge"), &json!({"from": id(&other)})).await.status,
            200
        );
        // By an absorbed id as well.
        let gone = api.delete(&other).await.ok();
        for (field, value) in [
            ("object", json!("customer")),
            ("id", json!(id(&path))),
            ("deleted", json!(true)),
            ("success", json!(true)),
            ("name", Value::Null),
            ("external_id", Value::Null),
            ("identities", json!([])),
        ] {
            assert_eq!(gone[field], value, "{field}");
        }
        let made = api.made(&json!({"name": "Eve"})).await;
        for path in [&path, &other] {
            assert_eq!(api.get(path).await.refused(404), "customer_deleted");
            assert_eq!(api.delete(path).await.refused(404), "customer_deleted");
            assert_eq!(api.patch(path, &json!({})).await.refused(404), "customer_deleted");
            let from = json!({"from": id(&made)});
            let merge = api.post(&format!("{path}/merge"), &from).await;
            assert_eq!(merge.refused(404), "customer_deleted");
        }
        let told = api.bodies().await;
        let last = told.iter().rev().find(|body| body["type"] != "customer.created");
        let last = last.expect("told");
        assert_eq!(last["type"], "customer.deleted");
        assert_eq!(last["version"], gone["version"]);
        // Whoever is created again begins anew, and its versions go on.
        let new = api.post("/v1/customers", &json!({"external_id": "u1"})).await;
        assert_eq!((new.status, &new.json()["name"]), (201, &Value::Null));
        assert_ne!(new.json()["id"], gone["id"]);
        assert_eq!(new.json()["version"].as_i64(), gone["version"].as_i64().map(|v| v + 1));
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn payments_stay_without_customer_or_go_as_the_call_says() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        for (query, left) in [("", 1), ("?payments=keep", 2), ("?payments=erase", 0)] {
            let number = format!("p{query}");
            pay(&api, &number).await;
            let customer = api.get("/v1/customers/lookup?external_id=the-user").await.ok();
            let path = format!("/v1/customers/{}", customer["id"].as_str().expect("an id"));
            assert_eq!(customer["payment_count"], 1, "{query}");
            assert_eq!(api.delete(&format!("{path}{query}")).await.status, 200);
            let payments = api.get("/v1/payments").await.ok();
            let payments = payments["data"].as_array().expect("payments");
            assert_eq!(payments.len(), left, "{query}");
            for payment in payments {
                assert_eq!(
                    (&payment["customer_id"], &payment["description"]),
                    (&Value::Null, &Value::Null)
                );
            }
            let again = api.post("/v1/customers", &json!({"external_id": "the-user"})).await;
            assert_eq!(again.status, 201);
            assert_eq!(again.json()["payment_count"], 0);
            assert_no_drift(&api.db).await;
        }
        let wrong = api.delete("/v1/customers/cus_00000000000000000000000000?payments=burn").await;
        assert_eq!(wrong.error(), (400, "invalid_parameter".into(), Some("payments".into())));
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn nothing_that_was_said_of_the_person_is_left_anywhere() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        listen(&api.db).await;
        let keyed = async |number: &str, method, path: &str, body: &Value| {
            let request = asking(&api.admin, method, path, body);
            request.header("idempotency-key", number).send(api.address).await
        };
        let body = json!({"external_id": "lovelace-1", "name": "Ada Lovelace",
            "email": "ada@lovelace.example", "phone": "+15555550177", "tags": ["lovelace-tag"],
            "metadata": {"note": "lovelace-note"}, "provider": "clerk",
            "provider_uid": "lovelace-uid"});
        let made = keyed("k1", "POST", "/v1/customers", &body).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let path = format!("/v1/customers/{}", made.json()["id"].as_str().expect("an id"));
        let patch = json!({"name": "Augusta Lovelace", "metadata": {"more": "lovelace-more"}});
        assert_eq!(keyed("k2", "PATCH", &path, &patch).await.status, 200);
        let identify = json!({"external_id": "lovelace-1", "name": "A. Lovelace"});
        assert_eq!(keyed("k3", "POST", "/v1/customers/identify", &identify).await.status, 200);
        let guest = api.made(&json!({"name": "Guest Lovelace"})).await;
        let merge = format!("{path}/merge");
        assert_eq!(keyed("k4", "POST", &merge, &json!({"from": id(&guest)})).await.status, 200);
        let detach = format!("{path}/identities/clerk/lovelace-uid");
        assert_eq!(keyed("k5", "DELETE", &detach, &Value::Null).await.status, 200);
        let payment = json!({"payment": {"id": "p1", "amount": 300, "currency": "USD",
            "status": "succeeded", "description": "Lovelace's book"}});
        api.events().process(&[event(1, "payment.recorded", &payment)]).await.expect("it commits");
        let payment = api.get("/v1/payments").await.listed("id")[0].clone();
        let link = format!("/v1/payments/{}/link", payment.as_str().expect("an id"));
        let to = json!({"customer_id": id(&path)});
        assert_eq!(keyed("k6", "POST", &link, &to).await.status, 200);

        let found = everything(&api.db).await.to_lowercase();
        assert!(found.contains("lovelace") && found.contains("15555550177"));
        let lookup = "/v1/customers/lookup?provider=clerk&provider_uid=lovelace-uid";
        let own = api.get(lookup).await.ok()["id"].as_str().expect("an id").to_owned();
        for gone in [&path, &format!("/v1/customers/{own}")] {
            let deleted = keyed("k7", "DELETE", gone, &Value::Null).await;
            assert_eq!(deleted.status, 200, "{}", deleted.text);
            let again = keyed("k7", "DELETE", gone, &Value::Null).await;
            assert_eq!((again.status, &again.text), (200, &deleted.text));
        }
        let left = everything(&api.db).await.to_lowercase();
        // What stays are the ids in the messages that told of the deletion.
        let told = "select body from outgoing_events where kind = 'customer.deleted'";
        let told = api.texts(told).await;
        let left = told.iter().fold(left, |left, body| left.replace(&body.to_lowercase(), ""));
        assert_eq!(left.matches("lovelace").count(), 0, "{left}");
        assert!(!left.contains("15555550177"));
        // A request that is sent again learns that it was carried out, and of whom no more than the id.
        let replayed = keyed("k1", "POST", "/v1/customers", &body).await;
        assert_eq!((replayed.status, replayed.header("idempotency-replay")), (201, Some("true")));
        assert_eq!(replayed.json(), json!({"object": "customer", "id": id(&path)}));
        let replayed = keyed("k6", "POST", &link, &to).await;
        assert_eq!(replayed.json(), json!({"object": "payment", "id": payment}));
        api.stop().await;
    })
    .await;
}

/// All that is kept and may say something of a person, as text.
async fn everything(db: &Db) -> String {
    let mut tx = db.begin().await.expect("a transaction");
    let mut all = String::new();
    for sql in [
        "select cast(facts as text) || coalesce(subject, '') from customer_references",
        "select cast(person as text) || coalesce(external_id, '') from customer_profiles",
        "select cast(facts as text) || provider_payment_id from payments",
        "select body from outgoing_events",
        "select coalesce(response, '') || coalesce(error, '') from attempts",
        "select detail from conflicts",
        "select answer || remains from idempotency_keys",
        "select cast(notes as text) || cast(headers as text) || coalesce(reason, '')
             from inbound_events",
    ] {
        let rows: Vec<(String,)> = tx.query(sql).all().await.expect("rows");
        all.extend(rows.into_iter().map(|(text,)| text + "\n"));
    }
    let bodies: Vec<(Vec<u8>,)> =
        tx.query("select body from inbound_events").all().await.expect("bodies");
    all.extend(bodies.iter().map(|(body,)| String::from_utf8_lossy(body).into_owned() + "\n"));
    all
}
