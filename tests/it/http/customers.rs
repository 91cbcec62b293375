//! Customers, read.

use super::{
    Api, at,
    records::{NewCustomer, named},
};
use crate::support::services::on_both;
use customer_sync::model::customer::Totals;
use serde_json::{Value, json};

#[tokio::test]
async fn a_customer_is_shown_whole() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let new = NewCustomer {
            auth_uid: Some("user_1".into()),
            payment_id: Some("cus_1".into()),
            email: Some("Ada@example.org".into()),
            subscription_status: Some("past_due"),
            ..named("ada")
        };
        let (id, _) = api.customer(new).await;
        let paid_at = Some(at("2026-02-01T00:00:00Z"));
        let totals = Totals {
            payment_count: 3,
            successful_payment_count: 2,
            failed_payment_count: 1,
            total_spent: 5_000,
            total_refunded: 700,
            total_disputed_lost: 300,
            first_payment_at: paid_at,
            last_payment_at: paid_at,
        };
        api.spent(id, "USD", totals).await;
        api.spent(id, "", Totals { payment_count: 1, ..Totals::default() }).await;
        let shown = api.get(&format!("/v1/customers/{id}")).await.ok();
        let money = json!({
            "currency": "USD", "total_spent": 5_000, "total_refunded": 700,
            "total_disputed_lost": 300, "net_spent": 4_000, "payment_count": 3,
            "successful_payment_count": 2, "failed_payment_count": 1,
        });
        let whole = json!({
            "object": "customer", "id": id.to_string(), "environment": "live", "live": true,
            "external_id": "ada", "name": null, "email": "Ada@example.org",
            "email_verified": false, "phone": null, "tags": [], "metadata": {},
            "identities": [
                { "provider": "clerk", "uid": "user_1", "kind": "auth" },
                { "provider": "stripe", "uid": "cus_1", "kind": "payment" },
            ],
            "provider_uid": null, "gateway_customer_id": null, "is_anonymous": false,
            "total_spent": 5_000, "total_refunded": 700, "total_disputed_lost": 300,
            "net_spent": 4_000, "primary_currency": "USD", "spend": [money],
            "payment_count": 4, "successful_payment_count": 2, "failed_payment_count": 1,
            "first_payment_at": "2026-02-01T00:00:00.000Z",
            "last_payment_at": "2026-02-01T00:00:00.000Z",
            "subscription_status": "past_due", "version": 1, "deleted": false,
            "created_at": "2026-03-01T12:00:00.000Z", "updated_at": "2026-03-01T12:00:00.000Z",
        });
        assert_eq!(shown, whole);
        assert_eq!(api.get("/v1/customers").await.ok()["data"], json!([whole]));
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_absorbed_id_answers_with_what_it_went_into_and_a_deleted_one_says_so() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let (kept, root) = api.customer(named("ada")).await;
        let into = |id| NewCustomer { absorbed_into: Some(id), ..NewCustomer::default() };
        let (absorbed, _) = api.customer(into(kept)).await;
        let (long_ago, _) = api.customer(into(absorbed)).await;
        let payment = api.payment(Some(root), |_| {}).await;
        for id in [absorbed, long_ago] {
            assert_eq!(api.get(&format!("/v1/customers/{id}")).await.ok()["id"], kept.to_string());
            let payments = api.get(&format!("/v1/customers/{id}/payments")).await;
            assert_eq!(payments.listed("id"), [payment.to_string()]);
        }
        let gone = NewCustomer { deleted: true, ..named("bob") };
        let (gone, _) = api.customer(gone).await;
        for path in ["", "/payments", "/subscriptions"] {
            let answer = api.get(&format!("/v1/customers/{gone}{path}")).await;
            assert_eq!(answer.refused(404), "customer_deleted");
        }
        let lookup = api.get("/v1/customers/lookup?external_id=bob").await;
        assert_eq!(lookup.refused(404), "customer_deleted");
        assert_eq!(api.get("/v1/customers").await.listed("id"), [kept.to_string()]);
        for id in ["cus_00000000000000000000000000", "nonsense"] {
            let answer = api.get(&format!("/v1/customers/{id}")).await;
            assert_eq!(answer.refused(404), "customer_not_found");
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn customers_are_looked_up_by_their_names() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let new = NewCustomer {
            auth_uid: Some("user/1 ü".into()),
            payment_id: Some("cus_1".into()),
            ..named("Ada&co")
        };
        let (id, _) = api.customer(new).await;
        for query in [
            "external_id=Ada%26co",
            "provider=clerk&provider_uid=user%2F1%20%C3%BC",
            "provider=stripe&provider_uid=cus_1",
        ] {
            let found = api.get(&format!("/v1/customers/lookup?{query}")).await.ok();
            assert_eq!(found["id"], id.to_string(), "{query}");
        }
        for query in ["external_id=ada%26co", "provider=stripe&provider_uid=user%2F1%20%C3%BC"] {
            let answer = api.get(&format!("/v1/customers/lookup?{query}")).await;
            assert_eq!(answer.refused(404), "customer_not_found", "{query}");
        }
        let long = format!("external_id={}", "x".repeat(256));
        for (query, param) in [
            ("", "external_id"),
            ("provider=clerk", "provider_uid"),
            ("provider_uid=user_1", "provider"),
            ("external_id=ada&provider=clerk", "external_id"),
            ("external_id=", "external_id"),
            ("external_id=a%00b", "external_id"),
            (long.as_str(), "external_id"),
            ("external_id=ada&color=red", "color"),
        ] {
            let (status, _, named) =
                api.get(&format!("/v1/customers/lookup?{query}")).await.error();
            assert_eq!((status, named.as_deref()), (400, Some(param)), "{query}");
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn pages_neither_skip_nor_repeat_while_customers_arrive() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let mut ids = Vec::new();
        for n in 0..7 {
            ids.push(api.customer(named(&n.to_string())).await.0.to_string());
        }
        ids.reverse();
        let mut seen: Vec<Value> = Vec::new();
        let mut next = Some("/v1/customers?limit=3".to_owned());
        let mut pages = 0;
        while let Some(path) = next {
            let page = api.get(&path).await;
            seen.extend(page.listed("id"));
            api.customer(named(&format!("late {pages}"))).await;
            pages += 1;
            let list = page.ok();
            next = list["next_cursor"]
                .as_str()
                .map(|cursor| format!("/v1/customers?limit=3&starting_after={cursor}"));
            assert_eq!(list["has_more"], next.is_some());
        }
        assert_eq!((seen, pages), (ids.iter().map(|id| json!(id)).collect(), 3));

        let oldest = &ids[6];
        let before = api.get(&format!("/v1/customers?limit=4&ending_before={oldest}")).await;
        assert_eq!(before.listed("id"), ids[2..6]);
        let list = before.ok();
        assert_eq!((&list["has_more"], &list["next_cursor"]), (&json!(true), &json!(ids[2])));
        let rest = api.get(&format!("/v1/customers?limit=5&ending_before={}", ids[2])).await;
        assert_eq!(rest.listed("external_id"), ["late 2", "late 1", "late 0", "6", "5"]);
        assert_eq!(
            (&rest.ok()["has_more"], &rest.ok()["next_cursor"]),
            (&json!(false), &Value::Null)
        );

        let offset = api.get("/v1/customers?limit=2&offset=3").await;
        assert_eq!(offset.listed("id"), ids[..2]);
        assert_eq!(offset.ok()["has_more"], true);
        assert_eq!(api.get("/v1/customers?offset=10").await.listed("id"), Vec::<Value>::new());
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn lists_are_filtered_by_external_id_and_by_email_whatever_its_case() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let mut ids = Vec::new();
        for (name, email) in [("a", "Ada@example.org"), ("b", "ada@example.org"), ("c", "c@d.e")] {
            let new = NewCustomer { email: Some(email.into()), ..named(name) };
            ids.push(api.customer(new).await.0.to_string());
        }
        let listed =
            async |query: &str| api.get(&format!("/v1/customers?{query}")).await.listed("id");
        assert_eq!(listed("email=ADA@example.org").await, [ids[1].clone(), ids[0].clone()]);
        assert_eq!(listed("email=ada@example.org&limit=1").await, [ids[1].clone()]);
        let after = format!("email=ada@example.org&starting_after={}", ids[1]);
        assert_eq!(listed(&after).await, [ids[0].clone()]);
        let before = format!("email=ada@example.org&ending_before={}", ids[0]);
        assert_eq!(listed(&before).await, [ids[1].clone()]);
        assert_eq!(listed("external_id=c").await, [ids[2].clone()]);
        assert_eq!(listed("external_id=c&email=c@d.e").await, [ids[2].clone()]);
        assert_eq!(listed("external_id=c&email=ada@example.org").await, Vec::<Value>::new());
        assert_eq!(listed("external_id=C").await, Vec::<Value>::new());
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_subscription_is_canceled_once_its_end_has_come() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let new = NewCustomer { subscription_status: Some("active"), ..named("ada") };
        let (customer, root) = api.customer(new).await;
        let ends_at = Some(at("2026-03-01T13:00:00Z"));
        let first = api.subscription(root, "past_due", None).await.to_string();
        let second = api.subscription(root, "active", ends_at).await.to_string();
        let path = format!("/v1/customers/{customer}/subscriptions");
        let statuses = async || api.get(&path).await.listed("status");
        let best = async || {
            api.get(&format!("/v1/customers/{customer}")).await.ok()["subscription_status"].clone()
        };
        assert_eq!(api.get(&path).await.listed("id"), [second.clone(), first.clone()]);
        assert_eq!(
            (statuses().await, best().await),
            (vec![json!("active"), json!("past_due")], json!("active"))
        );
        api.clock.advance(chrono::TimeDelta::hours(1));
        assert_eq!(
            (statuses().await, best().await),
            (vec![json!("canceled"), json!("past_due")], json!("past_due"))
        );
        let shown = api.get(&path).await.ok()["data"][0].clone();
        assert_eq!(
            (&shown["customer_id"], &shown["ends_at"], &shown["plan"]),
            (&json!(customer.to_string()), &json!("2026-03-01T13:00:00.000Z"), &Value::Null)
        );
        let page = api.get(&format!("{path}?limit=1&ending_before={first}")).await;
        assert_eq!(page.listed("id"), [second]);
        api.stop().await;
    })
    .await;
}
