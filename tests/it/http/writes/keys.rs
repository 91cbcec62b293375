//! `Idempotency-Key` on the registry's writes.

use super::{Answer, Api, asking, listen};
use crate::support::services::on_both;
use serde_json::{Value, json};

async fn keyed(api: &Api, key: &str, method: &'static str, path: &str, body: &Value) -> Answer {
    let request = asking(&api.admin, method, path, body);
    // A key's lock is the whole database's, which other tests use, too.
    let key = format!("{key}-{}", api.address.port());
    request.header("idempotency-key", &key).send(api.address).await
}

#[tokio::test]
async fn a_write_that_is_sent_again_is_done_and_told_once() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        listen(&api.db).await;
        let body = json!({"name": "Ada"});
        let made = keyed(&api, "k1", "POST", "/v1/customers", &body).await;
        assert_eq!((made.status, made.header("idempotency-replay")), (201, None));
        let path = format!("/v1/customers/{}", made.json()["id"].as_str().expect("an id"));
        let patch = json!({"name": "Augusta"});
        let patched = keyed(&api, "k1", "PATCH", &path, &patch).await;
        assert_eq!((patched.status, patched.header("idempotency-replay")), (200, None));
        assert_eq!(api.patch(&path, &json!({"name": "Later"})).await.status, 200);
        let gone =
            keyed(&api, "k1", "DELETE", &format!("{path}?payments=erase"), &Value::Null).await;
        assert_eq!(gone.status, 200);
        let told = api.told().await;
        for (method, path, body, first) in
            [("POST", "/v1/customers", &body, &made), ("PATCH", path.as_str(), &patch, &patched)]
        {
            let again = keyed(&api, "k1", method, path, body).await;
            assert_eq!(again.status, first.status, "{method}");
            assert_eq!(again.header("idempotency-replay"), Some("true"), "{method}");
            assert_eq!(again.json()["id"], made.json()["id"]);
        }
        let erase = format!("{path}?payments=erase");
        let again = keyed(&api, "k1", "DELETE", &erase, &Value::Null).await;
        assert_eq!((again.status, again.json()), (200, gone.json()));
        // What is asked for stands in the query, too.
        let other =
            keyed(&api, "k1", "DELETE", &format!("{path}?payments=keep"), &Value::Null).await;
        assert_eq!(other.refused(409), "idempotency_params_mismatch");
        let other = keyed(&api, "k1", "POST", "/v1/customers", &json!({"name": "Eve"})).await;
        assert_eq!(other.refused(409), "idempotency_params_mismatch");
        assert_eq!(api.told().await, told);
        assert_eq!(api.count("select count(*) from customers").await, 1);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_answer_is_replayed_as_it_was_and_a_refusal_may_be_mended() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let wrong = keyed(&api, "k1", "POST", "/v1/customers", &json!({"phone": "1"})).await;
        assert_eq!(wrong.refused(400), "invalid_parameter");
        let mended = json!({"phone": "+15555550100", "external_id": "u1"});
        let made = keyed(&api, "k1", "POST", "/v1/customers", &mended).await;
        assert_eq!((made.status, made.header("idempotency-replay")), (201, None));
        let path = format!("/v1/customers/{}", made.json()["id"].as_str().expect("an id"));
        assert_eq!(api.patch(&path, &json!({"name": "Later"})).await.status, 200);
        let again = keyed(&api, "k1", "POST", "/v1/customers", &mended).await;
        assert_eq!((again.status, &again.text), (201, &made.text));
        let taken = keyed(&api, "k2", "POST", "/v1/customers", &mended).await;
        assert_eq!(taken.refused(409), "external_id_taken");
        api.stop().await;
    })
    .await;
}

/// Pain point 34 (stripe-node#476): two flows at once made two customers.
#[tokio::test]
async fn many_creates_under_one_key_make_one_customer() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let body = json!({"name": "Ada"});
        let sent = (0..32).map(|_| keyed(&api, "k1", "POST", "/v1/customers", &body));
        let answers = futures_util::future::join_all(sent).await;
        for answer in &answers {
            assert!(
                answer.status == 201 || answer.refused(409) == "idempotency_key_in_use",
                "{}",
                answer.text
            );
        }
        assert_eq!(api.count("select count(*) from customers").await, 1);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_key_is_free_again_as_soon_as_its_answer_is_read() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let (good, bad) =
            (json!({"external_id": "u1"}), json!({"name": "Eve", "external_id": "u1"}));
        assert_eq!(keyed(&api, "k1", "POST", "/v1/customers", &good).await.status, 201);
        for round in 0..20 {
            let again = keyed(&api, "k1", "POST", "/v1/customers", &good).await;
            assert_eq!(again.header("idempotency-replay"), Some("true"), "{round}");
            let other = keyed(&api, "k1", "POST", "/v1/customers", &bad).await;
            assert_eq!(other.refused(409), "idempotency_params_mismatch", "{round}");
            let taken = keyed(&api, "k2", "POST", "/v1/customers", &bad).await;
            assert_eq!(taken.refused(409), "external_id_taken", "{round}");
        }
        api.stop().await;
    })
    .await;
}
