//! Who is kept, under which names, and how they are found.

use super::{ALL, Api, Bias, NULL, Reevit, Revstack, asked, at, id, payment, said};
use crate::{
    pipeline::{event, listen, paid},
    support::services::on_both,
};
use serde_json::json;

#[tokio::test]
async fn row_01_a_customer_registry_with_full_crud() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        for dialect in ALL {
            let made = api.create(dialect, &dialect.person("ada")).await;
            let path = at(&made);
            assert_eq!(api.read(dialect, &path).await, made);
            assert_eq!(api.read(dialect, "").await[dialect.items()], json!([made]));
            let change = json!({"email": "countess@example.org"});
            let changed = api.call(dialect, "PATCH", &path, &change).await.ok();
            assert_eq!(changed["email"], "countess@example.org");
            assert_eq!(api.read(dialect, &path).await, changed);
            let gone = api.call(dialect, "DELETE", &path, &NULL).await;
            assert!([200, 204].contains(&gone.status), "{dialect:?}: {}", gone.text);
            for method in ["GET", "DELETE"] {
                assert_eq!(api.call(dialect, method, &path, &NULL).await.status, 404);
            }
            assert_eq!(api.read(dialect, "").await[dialect.items()], json!([]));
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_02_a_payment_may_have_no_customer() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let money = json!({"id": "p1", "amount": 300, "currency": "USD", "status": "succeeded"});
        let guest = json!([{"provider": "shop", "uid": "guest_1", "kind": "payment"}]);
        api.tell(&[event(1, "payment.recorded", &json!({"payment": money}))]).await;
        let kept = api.get("/v1/payments").await;
        assert_eq!(kept.listed("customer_id"), [NULL]);
        assert_eq!(api.read(Reevit, "").await["customers"], json!([]));
        // Once somebody says whose it is, it counts there.
        let whose = json!({"identities": guest, "payment": money});
        let who = json!({"external_id": "ada", "identities": guest, "customer": {}});
        api.tell(&[event(2, "payment.recorded", &whose), event(3, "customer.recorded", &who)])
            .await;
        let ada = api.own("ada").await;
        assert_eq!(api.get("/v1/payments").await.listed("customer_id"), [ada["id"].clone()]);
        assert_eq!(api.read(Reevit, &at(&ada)).await["total_amount"], 300);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_03_unified_history_in_one_place() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let subscription = json!({"id": "s1", "status": "active"});
        let data = json!({"external_id": "ada", "subscription": subscription});
        api.tell(&[paid(1, "ada", "p1", 500), event(2, "subscription.recorded", &data)]).await;
        let path = format!("/v1/customers/{}", id(&api.own("ada").await));
        let listed =
            async |rest: &str, field: &str| api.get(&format!("{path}/{rest}")).await.listed(field);
        assert_eq!(listed("payments", "payment_id").await, ["p1"]);
        assert_eq!(listed("subscriptions", "subscription_id").await, ["s1"]);
        let timeline = listed("timeline", "type").await;
        assert!(timeline.contains(&json!("subscription")) && timeline.contains(&json!("payment")));
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_04_lifetime_value() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let refund = json!({"id": "r1", "payment_id": "p1", "amount": 200, "currency": "GHS",
            "status": "succeeded"});
        api.tell(&[
            payment(1, "ada", 1_500, "GHS", "succeeded"),
            payment(2, "ada", 1_000, "GHS", "succeeded"),
            payment(3, "ada", 900, "USD", "succeeded"),
            event(4, "refund.recorded", &json!({"external_id": "ada", "refund": refund})),
        ])
        .await;
        let own = api.own("ada").await;
        assert_eq!((&own["total_spent"], &own["net_spent"]), (&json!(2_500), &json!(2_300)));
        assert_eq!(own["spend"].as_array().map(Vec::len), Some(2), "{own}");
        let shown = api.read(Reevit, &at(&own)).await;
        assert_eq!(shown["total_amount"], 2_500);
        assert_eq!((&shown["total_spent"], &shown["refund_amount"]), (&json!(2_500), &json!(200)));
        assert_eq!(shown["preferred_currency"], "GHS");
        assert_eq!(shown["avg_payment_amount"], 1_250);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_06_stored_details_prefill_a_checkout() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let made = json!({"external_id": "ada", "name": "Ada", "email": "ada@example.org",
            "phone": "+233200000000"});
        let made = api.create(Reevit, &made).await;
        let looked_up = api.read(Reevit, "/lookup?external_id=ada").await;
        for shown in [looked_up, api.own("ada").await, api.read(Bias, &at(&made)).await] {
            for (field, value) in
                [("name", "Ada"), ("email", "ada@example.org"), ("phone", "+233200000000")]
            {
                assert_eq!(shown[field], value);
            }
        }
        assert_eq!(api.read(Revstack, "/ada").await["email"], "ada@example.org");
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_07_identify_is_an_upsert_by_your_own_id() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        listen(&api.db).await;
        let first = api.create(Revstack, &json!({"customerId": "ada", "metadata": {"a": 1}})).await;
        let more = json!({"customerId": "ada", "email": "ada@example.org", "metadata": {"b": 2}});
        let again = api.call(Revstack, "POST", "", &more).await.ok();
        assert_eq!(again["id"], first["id"]);
        assert_eq!(again["metadata"], json!({"a": 1, "b": 2}));
        // Nothing new is told of nothing new.
        assert_eq!(api.call(Revstack, "POST", "", &more).await.ok(), again);
        assert_eq!(api.told().await, ["customer.created", "customer.updated"]);
        let own = api.post("/v1/customers/identify", &json!({"customer_id": "ada"})).await.ok();
        assert_eq!(own["email"], "ada@example.org");
        assert_eq!(api.count("select count(*) from customers").await, 1);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_08_your_own_unique_id() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        api.create(Revstack, &json!({"customerId": "Ada&co/1 ü"})).await;
        let reevit = api.read(Reevit, "/lookup?external_id=Ada%26co%2F1%20%C3%BC").await;
        assert_eq!(reevit["external_id"], "Ada&co/1 ü");
        // It is unique within an environment, and its case counts.
        let elsewhere = json!({"external_id": "Ada&co/1 ü"});
        let other = asked(&api.other, Reevit, "POST", "/customers", &elsewhere);
        assert_eq!(said(&other.send(api.address).await, 201)["org_id"], "test");
        api.create(Reevit, &json!({"external_id": "ada&co/1 ü"})).await;
        assert_eq!(api.count("select count(*) from customers").await, 3);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_09_a_duplicate_external_id_is_an_error_on_create() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let made = api.create(Reevit, &Reevit.person("ada")).await;
        let again = api.call(Reevit, "POST", "", &Reevit.person("ada")).await;
        let error = said(&again, 409);
        assert_eq!(error["code"], "external_id_taken");
        let details = json!({"customer_id": made["id"], "param": "external_id"});
        assert_eq!(error["details"], details);
        let own = api.post("/v1/customers", &json!({"external_id": "ada"})).await;
        assert_eq!(own.refused(409), "external_id_taken");
        // Revstack's POST is an upsert.
        assert_eq!(api.call(Revstack, "POST", "", &Revstack.person("ada")).await.status, 200);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_10_lookup_by_external_id() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let made = api.create(Reevit, &Reevit.person("ada")).await;
        api.create(Reevit, &Reevit.person("bob")).await;
        assert_eq!(api.read(Reevit, "/lookup?external_id=ada").await, made);
        let listed = api.read(Reevit, "?external_id=ada").await;
        assert_eq!((&listed["customers"], &listed["total"]), (&json!([made]), &json!(1)));
        assert_eq!(api.own("ada").await["id"], made["id"]);
        // Revstack's paths take either id.
        let by_name = api.read(Revstack, "/ada").await;
        assert_eq!(api.read(Revstack, &at(&by_name)).await, by_name);
        assert_eq!(api.read(Revstack, &at(&made)).await, by_name);
        for (dialect, rest) in [(Reevit, "/lookup?external_id=eve"), (Revstack, "/eve")] {
            assert_eq!(api.call(dialect, "GET", rest, &NULL).await.status, 404);
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_11_every_outgoing_event_carries_the_external_id() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        listen(&api.db).await;
        api.create(Revstack, &Revstack.person("ada")).await;
        api.call(Revstack, "PATCH", "/ada", &json!({"email": "a@example.org"})).await.ok();
        api.tell(&[paid(1, "ada", "p1", 500)]).await;
        let told = api.bodies().await;
        assert!(told.len() >= 4, "{told:?}");
        for body in told {
            assert_eq!(body["data"]["customer"]["external_id"], "ada", "{body}");
        }
        api.stop().await;
    })
    .await;
}
