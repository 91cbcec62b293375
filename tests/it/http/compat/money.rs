//! Payments and what they add up to.

use super::{Api, NULL, Reevit, at, each, id, names, payment, said};
use crate::{
    pipeline::{event, paid, stripe},
    support::services::on_both,
};
use serde_json::{Value, json};

#[tokio::test]
async fn row_31_a_payment_is_linked_to_its_customer() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let made = api.create(Reevit, &Reevit.person("ada")).await;
        // By the app's own id, by a gateway's, and by the app's word for one that says neither.
        let gateway = json!({"external_id": "ada", "customer": {},
            "identities": [{"provider": "stripe", "uid": "cus_9s6", "kind": "payment"}]});
        let intent = json!({"id": "pi_1", "object": "payment_intent", "amount": 200,
            "amount_received": 200, "currency": "usd", "status": "succeeded",
            "created": 1_767_225_600, "customer": "cus_9s6"});
        let nobodys = json!({"payment": {"id": "p9", "amount": 300, "currency": "USD",
            "status": "succeeded"}});
        api.tell(&[
            paid(1, "ada", "p1", 100),
            event(2, "customer.recorded", &gateway),
            stripe(3, "payment_intent.succeeded", &intent),
            event(4, "payment.recorded", &nobodys),
        ])
        .await;
        let all = api.get("/v1/payments").await.ok();
        let loose = all["data"].as_array().expect("payments").iter();
        let loose = loose.filter(|it| it["customer_id"].is_null()).collect::<Vec<_>>();
        let [loose] = loose.as_slice() else { panic!("one payment is nobody's: {all}") };
        let link = format!("/v1/payments/{}/link", id(loose));
        api.post(&link, &json!({"customer_id": made["id"]})).await.ok();
        let history = api.read(Reevit, &format!("{}/payments", at(&made))).await;
        let mut amounts = each(&history, "payments", "amount");
        amounts.sort_by_key(Value::as_i64);
        assert_eq!(amounts, [100, 200, 300]);
        assert_eq!(each(&history, "payments", "customer_id"), vec![made["id"].clone(); 3]);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_32_amounts_are_minor_units_of_an_iso_currency() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        api.tell(&[
            payment(1, "ada", 1_250, "GHS", "succeeded"),
            payment(2, "ada", 5_000, "XOF", "succeeded"),
        ])
        .await;
        let path = format!("{}/payments", at(&api.own("ada").await));
        let history = api.read(Reevit, &path).await;
        assert_eq!(each(&history, "payments", "amount"), [5_000, 1_250]);
        assert_eq!(each(&history, "payments", "currency"), ["XOF", "GHS"]);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_33_total_spent_is_the_sum_of_successful_payments() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        api.tell(&[
            payment(1, "ada", 1_000, "USD", "succeeded"),
            payment(2, "ada", 500, "USD", "succeeded"),
            payment(3, "ada", 9_000, "USD", "failed"),
            payment(4, "ada", 8_000, "USD", "pending"),
        ])
        .await;
        let own = api.own("ada").await;
        assert_eq!(own["total_spent"], 1_500);
        let shown = api.read(Reevit, &at(&own)).await;
        let sums = (&shown["total_spent"], &shown["total_amount"]);
        assert_eq!(sums, (&json!(1_500), &json!(1_500)));
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_34_payment_count_is_the_number_of_transactions() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        api.tell(&[
            payment(1, "ada", 1_000, "USD", "succeeded"),
            payment(2, "ada", 500, "EUR", "succeeded"),
            payment(3, "ada", 9_000, "USD", "failed"),
        ])
        .await;
        let shown = api.read(Reevit, &at(&api.own("ada").await)).await;
        for (field, count) in [
            ("payment_count", 3),
            ("total_payments", 3),
            ("successful_payments", 2),
            ("failed_payments", 1),
        ] {
            assert_eq!(shown[field], count, "{field}");
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_35_the_last_payment_is_the_last_successful_one() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        // The older one arrives last, and a failed one is no payment.
        for it in [
            payment(20, "ada", 1, "USD", "succeeded"),
            payment(30, "ada", 1, "USD", "failed"),
            payment(10, "ada", 1, "USD", "succeeded"),
        ] {
            api.tell(&[it]).await;
        }
        let shown = api.read(Reevit, &at(&api.own("ada").await)).await;
        assert_eq!(shown["first_payment_at"], "2026-01-01T00:00:10.000Z");
        assert_eq!(shown["last_payment_at"], "2026-01-01T00:00:20.000Z");
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_36_the_subscriptions_status_on_the_profile() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let path = at(&api.create(Reevit, &Reevit.person("ada")).await);
        assert_eq!(api.read(Reevit, &path).await["subscription_status"], "none");
        let said = |n, id: &str, status: &str| {
            let subscription = json!({"id": id, "status": status});
            let data = json!({"external_id": "ada", "subscription": subscription});
            event(n, "subscription.recorded", &data)
        };
        api.tell(&[said(1, "s1", "past_due"), said(2, "s2", "active")]).await;
        assert_eq!(api.read(Reevit, &path).await["subscription_status"], "active");
        api.tell(&[said(3, "s2", "canceled")]).await;
        assert_eq!(api.read(Reevit, &path).await["subscription_status"], "past_due");
        assert_eq!(api.own("ada").await["subscription_status"], "past_due");
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_37_the_payment_history() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let events: Vec<_> =
            (1..=22).map(|n| payment(n, "ada", i64::from(n), "GHS", "succeeded")).collect();
        for it in events {
            api.tell(&[it]).await;
        }
        let more = json!({"id": "p30", "amount": 30, "currency": "GHS", "status": "succeeded",
            "method": "mobile_money", "description": "Pro plan", "subscription_id": "s1",
            "metadata": {"order": 7}});
        api.tell(&[event(30, "payment.recorded", &json!({"external_id": "ada", "payment": more}))])
            .await;
        let path = format!("{}/payments", at(&api.own("ada").await));
        let newest = api.read(Reevit, &path).await;
        assert_eq!(names(&newest), ["payments"]);
        let amounts = each(&newest, "payments", "amount");
        assert_eq!((amounts.len(), &amounts[0], &amounts[19]), (20, &json!(30), &json!(4)));
        let rest = api.read(Reevit, &format!("{path}?limit=2&offset=21")).await;
        assert_eq!(each(&rest, "payments", "amount"), [2, 1]);
        let one = &newest["payments"][0];
        assert_eq!(one["id"], one["payment_id"]);
        let own = api.get(&format!("/v1/payments/{}", id(one))).await.ok();
        assert_eq!(own["payment_id"], one["reference"]);
        for (field, value) in [
            ("status", json!("succeeded")),
            ("method", json!("mobile_money")),
            ("provider", json!("app")),
            ("currency", json!("GHS")),
            ("source", json!("subscription")),
            ("source_id", json!("s1")),
            ("source_description", json!("Pro plan")),
            ("metadata", json!({"order": 7})),
            ("net_amount", json!(30)),
            ("fee_amount", json!(0)),
        ] {
            assert_eq!(one[field], value, "{field}");
        }
        let refused = api.call(Reevit, "GET", &format!("{path}?status=failed"), &NULL).await;
        assert_eq!(said(&refused, 400)["details"]["param"], "status");
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn row_38_top_customers_by_revenue() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let mut n = 0;
        for user in 1..=12_u32 {
            // Who pays least pays most often.
            for _ in 0..(13 - user) {
                n += 1;
                let user = (format!("u{user:02}"), i64::from(user * user * 100));
                api.tell(&[payment(n, &user.0, user.1, "USD", "succeeded")]).await;
            }
        }
        let top = async |query: &str| {
            each(&api.read(Reevit, &format!("/top{query}")).await, "customers", "external_id")
        };
        let by_revenue = top("").await;
        assert_eq!(by_revenue.len(), 10);
        assert_eq!(by_revenue[..3], ["u09", "u08", "u10"]);
        assert_eq!(top("?metric=total_spent&limit=3&period=all").await, by_revenue[..3]);
        assert_eq!(top("?metric=payment_count&limit=2").await, ["u01", "u02"]);
        // They paid in January, and it is March.
        assert_eq!(top("?period=7d").await, Vec::<Value>::new());
        let own = api.get("/v1/customers/top?metric=total_spent&limit=3").await;
        assert_eq!(own.listed("external_id"), by_revenue[..3]);
        for wrong in ["?limit=101", "?metric=fame", "?period=1y", "?country=GH"] {
            let refused = api.call(Reevit, "GET", &format!("/top{wrong}"), &NULL).await;
            assert_eq!(refused.status, 400, "{wrong}");
        }
        api.stop().await;
    })
    .await;
}
