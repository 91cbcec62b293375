//! Whose a payment is, by the app's own word.

use super::{Api, NONE, id, listen};
use crate::{
    pipeline::{assert_no_drift, event, paid, stripe},
    support::services::on_both,
};
use serde_json::{Value, json};

/// What Stripe says of a payment intent of one of its customers, which names a user.
fn intent(n: u32, user: Option<&str>) -> customer_sync::model::inbound::Raw {
    let metadata = user.map_or_else(|| json!({}), |user| json!({"user_id": user}));
    let object = json!({"id": "pi_1", "object": "payment_intent", "amount": 900,
        "amount_received": 900, "currency": "usd", "status": "succeeded", "created": 1_767_225_600,
        "customer": "cus_1", "metadata": metadata});
    stripe(n, "payment_intent.succeeded", &object)
}

#[tokio::test]
async fn a_linked_payment_is_counted_there_whatever_the_provider_says_of_it() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        listen(&api.db).await;
        api.events().process(&[intent(1, Some("u1"))]).await.expect("it commits");
        let payment = api.get("/v1/payments").await.listed("id")[0].clone();
        let link = format!("/v1/payments/{}/link", payment.as_str().expect("an id"));
        for body in
            [json!({"external_id": "u2"}), json!({"provider": "clerk", "provider_uid": "uid"})]
        {
            let customer = api.made(&body).await;
            let asked = json!({"customer_id": id(&customer)});
            let linked = api.send_as(&api.write, "POST", &link, &asked).await.ok();
            assert_eq!((&linked["id"], &linked["customer_id"]), (&payment, &json!(id(&customer))));
            assert_eq!(api.get(&customer).await.ok()["total_spent"], 900);
            api.events().process(&[intent(9, Some("u1"))]).await.expect("it commits");
            assert_eq!(api.get(&customer).await.ok()["total_spent"], 900, "it stays");
            let told = api.bodies().await;
            assert!(told.iter().any(|body| body["type"] == "payment.linked"
                && body["data"]["payment"]["customer_id"] == id(&customer)));
            assert_no_drift(&api.db).await;
        }
        let old = api.get("/v1/customers/lookup?external_id=u1").await.ok();
        assert_eq!((&old["total_spent"], &old["payment_count"]), (&json!(0), &json!(0)));
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_payment_of_nobody_finds_its_customer_and_one_of_somebody_deleted_does_not() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let nobodys = json!({"payment": {"id": "p1", "amount": 300, "currency": "USD",
            "status": "succeeded"}});
        let events = [event(1, "payment.recorded", &nobodys), paid(2, "u1", "p2", 500)];
        api.events().process(&events).await.expect("it commits");
        let of = async |name: &str| {
            let all = api.get("/v1/payments").await.ok();
            let mut all = all["data"].as_array().expect("payments").iter();
            let one = all.find(|payment| payment["payment_id"] == name).expect("it is there");
            format!("/v1/payments/{}/link", one["id"].as_str().expect("an id"))
        };
        let (first, second) = (of("p1").await, of("p2").await);
        let customer = api.made(&json!({"external_id": "u2"})).await;
        let body = json!({"customer_id": id(&customer)});
        assert_eq!(api.post(&first, &body).await.ok()["customer_id"], id(&customer));
        let gone = api.get("/v1/customers/lookup?external_id=u1").await.ok();
        let gone = format!("/v1/customers/{}", gone["id"].as_str().expect("an id"));
        assert_eq!(api.delete(&gone).await.status, 200);
        assert_eq!(api.post(&second, &body).await.refused(409), "payment_detached");
        assert_eq!(api.get(&customer).await.ok()["total_spent"], 300);
        for (path, body, code) in [
            (first.clone(), json!({"customer_id": id(&gone)}), "customer_deleted"),
            (first.clone(), json!({"customer_id": format!("cus_{NONE}")}), "customer_not_found"),
            (format!("/v1/payments/pay_{NONE}/link"), body, "payment_not_found"),
        ] {
            assert_eq!(api.post(&path, &body).await.refused(404), code);
        }
        let missing = api.post(&first, &json!({})).await.error();
        assert_eq!(missing, (400, "missing_parameter".into(), Some("customer_id".into())));
        let nobody = api.post(&first, &json!({"customer_id": Value::Null})).await.error();
        assert_eq!(nobody, (400, "invalid_parameter".into(), Some("customer_id".into())));
        assert_no_drift(&api.db).await;
        api.stop().await;
    })
    .await;
}
