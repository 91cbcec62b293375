//! Reevit's official client for Rust, unchanged, over all its calls about customers. (Those for Python run in
//! scripts/dialects.)

use super::Api;
use crate::{
    pipeline::{assert_no_drift, listen, paid},
    support::services::on_both,
};
use reevit::{
    ApiError, Client, CreateCustomerRequest, CustomerListOptions, Error, PaginationOptions,
    RequestOptions, TopCustomerOptions, UpdateCustomerRequest,
};
use serde_json::json;

fn client(api: &Api, key: &str) -> Client {
    let base = format!("http://{}/compat/reevit", api.address);
    Client::builder(key, "org_1").base_url(base).build().expect("a client")
}

/// Status and code of what is refused.
fn refused<T: std::fmt::Debug>(answer: Result<T, Error>) -> (u16, String) {
    match answer {
        Err(Error::Api(ApiError { status, code, message, request_id, .. })) => {
            assert!(request_id.is_some_and(|id| id.starts_with("req_")) && message.len() > 5);
            (status.as_u16(), code.expect("a code"))
        }
        other => panic!("it is refused: {other:?}"),
    }
}

#[tokio::test]
async fn reevits_client_for_rust_runs_unchanged() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        listen(&api.db).await;
        let customers = client(&api, &api.admin).customers();
        let options = || RequestOptions::default();

        let new = CreateCustomerRequest {
            external_id: Some("ada".into()),
            email: Some("ada@example.org".into()),
            name: Some("Ada".into()),
            phone: Some("+233200000000".into()),
            metadata: [("plan".to_owned(), json!("pro")), ("seats".to_owned(), json!(3))].into(),
        };
        let ada = customers.create(&new, options().idempotency_key("k1")).await.expect("made");
        let again = customers.create(&new, options().idempotency_key("k1")).await.expect("again");
        assert_eq!(again, ada);
        assert_eq!(
            (ada.external_id.as_deref(), ada.phone.as_deref()),
            (Some("ada"), Some("+233200000000"))
        );
        assert_eq!(ada.metadata["seats"], json!(3));
        assert_eq!((ada.total_payments, ada.total_amount), (Some(0), Some(0)));
        assert_eq!(ada.created_at.as_deref(), Some("2026-03-01T12:00:00.000Z"));
        assert_eq!(
            refused(customers.create(&new, options()).await),
            (409, "external_id_taken".into())
        );

        let bob = CreateCustomerRequest { external_id: Some("bob".into()), ..Default::default() };
        let bob = customers.create(&bob, options()).await.expect("made");
        api.tell(&[
            paid(1, "ada", "p1", 900),
            paid(2, "bob", "p2", 500),
            paid(3, "bob", "p3", 600),
        ])
        .await;

        assert_eq!(customers.get(&ada.id).await.expect("got").total_amount, Some(900));
        assert_eq!(customers.lookup("bob").await.expect("found").id, bob.id);
        let found = CustomerListOptions {
            limit: Some(5),
            offset: Some(0),
            search: Some("ADA".into()),
            sort_by: Some("total_amount".into()),
            sort_desc: Some(true),
            currency: Some("USD".into()),
            min_spend: Some(1),
            max_spend: Some(1_000),
            ..Default::default()
        };
        let found = customers.list(&found).await.expect("listed");
        assert_eq!(found.iter().map(|it| &it.id).collect::<Vec<_>>(), [&ada.id]);
        assert_eq!(found[0].extra["successful_payments"], json!(1));
        let all = customers.list(&CustomerListOptions::default()).await.expect("listed");
        assert_eq!(all.len(), 2);
        let top = TopCustomerOptions {
            limit: Some(1),
            metric: Some("total_spent".into()),
            period: Some("all".into()),
        };
        let top = customers.top(&top).await.expect("ranked");
        assert_eq!(top.iter().map(|it| &it.id).collect::<Vec<_>>(), [&bob.id]);
        let page = PaginationOptions { limit: Some(1), offset: Some(1) };
        let history = customers.list_payments(&bob.id, &page).await.expect("a history");
        let [first] = history.as_slice() else { panic!("one: {history:?}") };
        assert_eq!(
            (first.amount, first.currency.as_str(), first.status.as_str()),
            (500, "USD", "succeeded")
        );
        assert_eq!(first.customer_id, bob.id);

        let change = UpdateCustomerRequest {
            name: Some("Countess".into()),
            metadata: [("plan".to_owned(), json!(null))].into(),
            ..Default::default()
        };
        let changed = customers.update(&ada.id, &change, options()).await.expect("changed");
        assert_eq!((changed.name.as_deref(), changed.email), (Some("Countess"), ada.email));
        assert_eq!(changed.metadata, [("seats".to_owned(), json!(3))].into());
        let wrong = UpdateCustomerRequest { phone: Some("0200".into()), ..Default::default() };
        assert_eq!(
            refused(customers.update(&ada.id, &wrong, options()).await),
            (400, "validation_error".into())
        );

        customers.delete(&ada.id, options()).await.expect("gone");
        for gone in [customers.get(&ada.id).await, customers.lookup("ada").await] {
            assert_eq!(refused(gone), (404, "not_found".into()));
        }
        assert_eq!(refused(customers.delete(&ada.id, options()).await), (404, "not_found".into()));
        let stranger = client(&api, "sk_live_nobody").customers();
        assert_eq!(refused(stranger.get(&bob.id).await), (401, "unauthorized".into()));
        let reader = client(&api, &api.read).customers();
        assert_eq!(refused(reader.delete(&bob.id, options()).await), (403, "forbidden".into()));

        // And what came of it, in our own words.
        assert_eq!(api.get("/v1/customers").await.listed("external_id"), ["bob"]);
        assert_eq!(api.get("/v1/payments").await.listed("amount"), [600, 500, 900]);
        let told = api.told().await;
        for kind in ["customer.created", "customer.updated", "customer.deleted"] {
            assert!(told.iter().any(|it| it == kind), "{kind}: {told:?}");
        }
        assert_no_drift(&api.db).await;
        api.stop().await;
    })
    .await;
}
