//! Created, changed, deleted.

use super::{ALL, Api, Bias, NULL, Reevit, Revstack, at, id, names, said};
use crate::{
    pipeline::{assert_no_drift, listen, paid},
    support::services::on_both,
};
use serde_json::{Value, json};

#[tokio::test]
async fn row_30_create() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        listen(&api.db).await;
        let reevit = json!({"external_id": "ada", "email": "ada@example.org", "name": "Ada",
            "phone": "+233200000000", "tags": ["vip"], "metadata": {"plan": "pro"}});
        let bias = json!({"name": "Eve", "email": "eve@example.org", "phone": null,
            "shipping_details": null, "default_payment_method": null, "metadata": {"plan": "pro"}});
        for (dialect, new) in [(Reevit, reevit), (Bias, bias)] {
            let made = api.create(dialect, &new).await;
            for (field, value) in new.as_object().expect("an object") {
                assert_eq!(&made[field], value, "{dialect:?} {field}");
            }
        }
        let kept = json!({"shipping_details": {"name": "Ada"}});
        let refused = said(&api.call(Bias, "POST", "", &kept).await, 400);
        assert_eq!(refused["error"]["param"], "shipping_details");
        assert_eq!(api.told().await, ["customer.created", "customer.created"]);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_39_update() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        listen(&api.db).await;
        let path = at(&api.create(Reevit, &json!({})).await);
        let all = json!({"external_id": "ada", "email": "ada@example.org", "name": "Ada",
            "phone": "+233200000000", "tags": ["vip"], "metadata": {"plan": "pro"}});
        let changed = api.call(Reevit, "PATCH", &path, &all).await.ok();
        for (field, value) in all.as_object().expect("an object") {
            assert_eq!(&changed[field], value, "{field}");
        }
        let stays = api.call(Reevit, "PATCH", &path, &json!({"external_id": "eve"})).await;
        assert_eq!(said(&stays, 409)["code"], "external_id_immutable");
        let bias = json!({"name": "Augusta", "email": "augusta@example.org"});
        assert_eq!(api.call(Bias, "PATCH", &path, &bias).await.ok()["name"], "Augusta");
        let revstack = json!({"email": "king@example.org", "metadata": {"plan": "free"}});
        let changed = api.call(Revstack, "PATCH", "/ada", &revstack).await.ok();
        assert_eq!(changed["metadata"], json!({"plan": "free"}));
        for (dialect, body) in [
            (Revstack, json!({"phone": "+233200000000"})),
            (Bias, json!({"tags": ["vip"]})),
            (Bias, json!({"external_id": "ada"})),
        ] {
            let refused = api.call(dialect, "PATCH", &path, &body).await;
            assert_eq!(refused.status, 400, "{dialect:?} {body}");
        }
        let own = api.own("ada").await;
        assert_eq!((&own["name"], &own["email"]), (&json!("Augusta"), &json!("king@example.org")));
        assert_eq!(own["version"], api.told().await.len());
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_40_null_clears_and_absent_keeps() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        for dialect in [Reevit, Bias] {
            let all = json!({"email": "ada@example.org", "name": "Ada", "phone": "+233200000000",
                "metadata": {"a": 1, "b": 2}});
            let path = at(&api.create(dialect, &all).await);
            let change = json!({"phone": null, "metadata": {"a": null}});
            let changed = api.call(dialect, "PATCH", &path, &change).await.ok();
            assert_eq!(changed["phone"], NULL);
            assert_eq!((&changed["name"], &changed["email"]), (&all["name"], &all["email"]));
            assert_eq!(changed["metadata"], json!({"b": 2}));
        }
        // Revstack knows no null.
        api.create(Revstack, &Revstack.person("ada")).await;
        for (method, rest, body) in [
            ("PATCH", "/ada", json!({"email": null})),
            ("POST", "", json!({"customerId": "ada", "metadata": null})),
            ("POST", "", json!({"customerId": null})),
        ] {
            let refused = said(&api.call(Revstack, method, rest, &body).await, 400);
            assert_eq!(refused["code"], "INVALID_PARAMETER", "{body}");
        }
        let kept = api.call(Revstack, "PATCH", "/ada", &json!({"metadata": {"a": 1}})).await.ok();
        assert_eq!(kept["email"], "ada@example.org");
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_41_an_update_returns_the_object() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        for dialect in ALL {
            let made = api.create(dialect, &dialect.person(&format!("{dialect:?}"))).await;
            let change = json!({"metadata": {"plan": "pro"}});
            let changed = api.call(dialect, "PATCH", &at(&made), &change).await.ok();
            assert_eq!(changed, api.read(dialect, &at(&made)).await);
            let nothing = api.call(dialect, "PATCH", &at(&made), &json!({})).await.ok();
            assert_eq!(nothing, changed);
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_42_delete() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        listen(&api.db).await;
        let mut n = 0;
        for (dialect, left) in [(Revstack, 0), (Reevit, 1), (Bias, 2)] {
            n += 1;
            let user = format!("u{n}");
            api.tell(&[paid(n, &user, &format!("p{n}"), 500)]).await;
            let own = api.own(&user).await;
            let gone = api.call(dialect, "DELETE", &at(&own), &NULL).await;
            match dialect {
                Revstack => assert_eq!(gone.ok(), json!({"success": true})),
                Reevit => assert_eq!((gone.status, gone.text.as_str()), (204, "")),
                Bias => {
                    let gone = gone.ok();
                    assert_eq!((&gone["id"], &gone["deleted"]), (&own["id"], &json!(true)));
                    assert_eq!((&gone["name"], &gone["email"]), (&NULL, &NULL));
                }
            }
            assert_eq!(api.call(dialect, "DELETE", &at(&own), &NULL).await.status, 404);
            let kept = api.get("/v1/payments").await.listed("customer_id");
            assert_eq!(kept, vec![NULL; left], "Revstack's takes all associated data");
            let told = api.told().await;
            assert_eq!(told.last().map(String::as_str), Some("customer.deleted"));
        }
        let payment = &api.get("/v1/payments").await.ok()["data"][0];
        let payment = api.get(&format!("/v1/payments/{}", id(payment))).await.ok();
        assert_eq!(payment["amount"], 500);
        // The name is free again.
        let again = api.create(Reevit, &json!({"external_id": "u2"})).await;
        assert_eq!(again["payment_count"], 0);
        assert_no_drift(&api.db).await;
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_44_who_has_no_external_id_can_be_counted_and_found() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let without = api.create(Bias, &Bias.person("eve")).await;
        api.create(Reevit, &Reevit.person("ada")).await;
        let filters = "%7B%22external_id%22%3A%7B%22exists%22%3Afalse%7D%7D";
        let own = api.get(&format!("/v1/customers?include_total=true&filters={filters}")).await;
        assert_eq!(own.listed("id"), [without["id"].clone()]);
        assert_eq!(own.json()["total"], 1);
        // And given one, by the dialect that has it.
        let named = json!({"external_id": "eve", "tags": ["newsletter"]});
        let named = api.call(Reevit, "PATCH", &at(&without), &named).await.ok();
        assert_eq!((&named["external_id"], &named["email"]), (&json!("eve"), &without["email"]));
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_47_the_calls_of_the_documents_examples() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let identify = json!({"customerId": "user-123", "email": "john@acme.com",
            "name": "John Doe", "metadata": {"plan": "pro", "company": "Acme"}});
        let made = api.create(Revstack, &identify).await;
        assert_eq!(api.read(Revstack, &at(&made)).await["email"], "john@acme.com");
        let listed = api.read(Revstack, "?limit=50&offset=0").await;
        assert_eq!((&listed["total"], &listed["hasMore"]), (&json!(1), &json!(false)));
        let change = json!({"email": "newemail@acme.com", "metadata": {"plan": "enterprise"}});
        let changed = api.call(Revstack, "PATCH", &at(&made), &change).await.ok();
        let metadata = json!({"plan": "enterprise", "company": "Acme"});
        assert_eq!(changed["metadata"], metadata);
        let gone = api.call(Revstack, "DELETE", &at(&made), &NULL).await.ok();
        assert_eq!(gone["success"], true);

        let create = json!({"external_id": "user_456", "email": "kwame@example.com",
            "name": "Kwame Mensah", "phone": "+233241234567", "tags": ["vip"],
            "metadata": {"signup_source": "mobile_app"}});
        let made = api.create(Reevit, &create).await;
        api.tell(&[paid(1, "user_456", "pay_1", 5_000)]).await;
        assert_eq!(api.read(Reevit, "?external_id=user_456").await["total"], 1);
        let history = api.read(Reevit, &format!("{}/payments", at(&made))).await;
        assert_eq!(history["payments"][0]["amount"], 5_000);
        let top = api.read(Reevit, "/top?limit=10").await;
        assert_eq!(top["customers"][0]["id"], made["id"]);

        let create = json!({"name": "Jane", "email": "jane@example.com", "phone": null,
            "metadata": {"order_id": "6735"}});
        let made = api.create(Bias, &create).await;
        let path = at(&made);
        assert_eq!(api.read(Bias, "?limit=1").await["items"], json!([made]));
        let changed = api.call(Bias, "PATCH", &path, &json!({"email": null})).await.ok();
        assert_eq!(changed["email"], NULL);
        assert_eq!(api.call(Bias, "DELETE", &path, &NULL).await.ok()["deleted"], true);
        api.stop().await;
    })
    .await;
}

/// The examples of docs/compat.md: what is indented and reads as an object.
fn examples() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compat.md");
    let text = std::fs::read_to_string(path).expect("docs/compat.md can be read");
    let mut all = Vec::new();
    let mut block = String::new();
    for line in text.lines().chain([""]) {
        match line.strip_prefix("    ") {
            Some(line) => block.push_str(line),
            None => all.extend(serde_json::from_str(&std::mem::take(&mut block)).ok()),
        }
    }
    all
}

#[tokio::test]
async fn row_48_the_examples_of_the_documents_are_whole() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let identities = json!([{"provider": "clerk", "uid": "user_1", "kind": "auth"},
            {"provider": "stripe", "uid": "cus_1", "kind": "payment"}]);
        let known = json!({"external_id": "ada", "identities": identities,
            "customer": {"email": "ada@example.org"}});
        let known = crate::pipeline::event(1, "customer.recorded", &known);
        api.tell(&[known, paid(2, "ada", "p1", 500)]).await;
        let own = at(&api.own("ada").await);
        let mut real = Vec::new();
        for dialect in ALL {
            real.push(api.read(dialect, &own).await);
            real.push(said(&api.call(dialect, "GET", "?limit=0", &NULL).await, 400));
        }
        let payment = &api.read(Reevit, &format!("{own}/payments")).await["payments"][0];
        real.insert(4, payment.clone());
        let shown = examples();
        assert_eq!(shown.len(), real.len(), "an example of each");
        for (shown, real) in shown.iter().zip(&real) {
            assert_eq!(names(shown), names(real), "docs/compat.md");
        }
        api.stop().await;
    })
    .await;
}
