//! Payments, read.

use super::{Api, at, records::named};
use crate::support::services::on_both;
use customer_sync::model::{
    authority::Authority,
    metadata::Scalar,
    register::Register,
    stamp::{EventKey, Stamp},
};
use serde_json::json;

#[tokio::test]
async fn a_payment_is_shown_whole() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let (customer, root) = api.customer(named("ada")).await;
        let said = |text: &str| {
            let key = EventKey::new("stripe", "evt_1", "");
            let stamp = Stamp { at: at("2026-02-01T00:00:00Z"), rank: 2, key };
            Register::of(Authority::PAYMENT, stamp, Some(text.to_owned()))
        };
        let id = api
            .payment(Some(root), |row| {
                row.provider_payment_id = "pi_1".into();
                row.status = "partially_refunded".into();
                row.amount_refunded = 250;
                row.facts.method = said("card");
                row.facts.description = said("Tea");
                row.facts.subscription = said("sub_1");
                let (stamp, text) = (said("x").assertions()[0].stamp.clone(), "42".to_owned());
                let order = Register::of(Authority::PAYMENT, stamp, Some(Scalar::Text(text)));
                row.facts.metadata.insert("order".into(), order);
            })
            .await;
        let whole = json!({
            "object": "payment", "id": id.to_string(), "environment": "live", "live": true,
            "customer_id": customer.to_string(), "provider": "stripe", "payment_id": "pi_1",
            "amount": 1_250, "currency": "USD", "amount_refunded": 250, "disputed_lost": 0,
            "status": "partially_refunded", "method": "card", "description": "Tea",
            "failure_code": null, "subscription_id": "sub_1", "metadata": { "order": "42" },
            "paid_at": "2026-03-01T12:00:00.000Z", "created_at": "2026-03-01T12:00:00.000Z",
            "updated_at": "2026-03-01T12:00:00.000Z",
        });
        assert_eq!(api.get(&format!("/v1/payments/{id}")).await.ok(), whole);
        assert_eq!(api.get("/v1/payments").await.ok()["data"], json!([whole]));
        let of_customer = api.get(&format!("/v1/customers/{customer}/payments")).await.ok();
        assert_eq!(of_customer["data"], json!([whole]));
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn another_name_of_a_payment_answers_with_it_and_an_erased_one_is_gone() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let id = api.payment(None, |row| (row.amount, row.currency) = (None, None)).await;
        let other = api.payment(None, |row| row.absorbed_into = Some(id.0)).await;
        let erased = api.payment(None, |row| row.erased = true).await;
        let shown = api.get(&format!("/v1/payments/{other}")).await.ok();
        assert_eq!(
            (&shown["id"], &shown["customer_id"], &shown["amount"], &shown["currency"]),
            (&json!(id.to_string()), &json!(null), &json!(null), &json!(null))
        );
        for gone in [erased.to_string(), "pay_00000000000000000000000000".into(), "pi_1".into()] {
            let answer = api.get(&format!("/v1/payments/{gone}")).await;
            assert_eq!(answer.refused(404), "payment_not_found");
        }
        assert_eq!(api.get("/v1/payments").await.listed("id"), [id.to_string()]);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_customers_payments_are_paged_and_are_its_own() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let (ada, root) = api.customer(named("ada")).await;
        let (_, other) = api.customer(named("bob")).await;
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(api.payment(Some(root), |_| {}).await.to_string());
            api.payment(Some(other), |_| {}).await;
        }
        ids.reverse();
        let path = format!("/v1/customers/{ada}/payments");
        let first = api.get(&format!("{path}?limit=2")).await;
        assert_eq!(first.listed("id"), ids[..2]);
        let second = api.get(&format!("{path}?limit=2&starting_after={}", ids[1])).await;
        assert_eq!(second.listed("id"), ids[2..4]);
        let last = api.get(&format!("{path}?limit=2&starting_after={}", ids[3])).await;
        assert_eq!(
            (last.listed("id"), &last.ok()["has_more"]),
            (vec![json!(ids[4])], &json!(false))
        );
        let back = api.get(&format!("{path}?ending_before={}", ids[2])).await;
        assert_eq!(back.listed("id"), ids[..2]);
        assert_eq!(api.get("/v1/payments?limit=1000").await.listed("id").len(), 10);
        api.stop().await;
    })
    .await;
}
