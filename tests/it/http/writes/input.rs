//! What is refused: who may write what, bodies that cannot be used, and another environment's ids.

use super::{Api, NONE, Request, asking, id};
use crate::{pipeline::paid, support::services::on_both};
use customer_sync::http::Settings;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn each_write_needs_the_scope_of_the_contract() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let none = format!("/v1/customers/cus_{NONE}");
        let writes = [
            ("POST", "/v1/customers".to_owned()),
            ("POST", "/v1/customers/identify".to_owned()),
            ("PATCH", none.clone()),
            ("POST", format!("/v1/payments/pay_{NONE}/link")),
        ];
        let administers = [
            ("DELETE", none.clone()),
            ("POST", format!("{none}/merge")),
            ("DELETE", format!("{none}/identities/clerk/uid")),
        ];
        for (method, path) in writes.iter().chain(&administers) {
            let open = Request::new(method, path).send(api.address).await;
            assert_eq!(open.refused(401), "missing_api_key", "{method} {path}");
            let read = api.send_as(&api.read, method, path, &json!({})).await;
            assert_eq!(read.refused(403), "insufficient_scope", "{method} {path}");
        }
        for (method, path) in &administers {
            let write = api.send_as(&api.write, method, path, &json!({})).await;
            assert_eq!(write.refused(403), "insufficient_scope", "{method} {path}");
        }
        for (method, path) in &writes {
            let write = api.send_as(&api.write, method, path, &Value::Null).await;
            assert_eq!(write.refused(400), "unreadable_request", "{method} {path}");
        }
        assert_eq!(api.count("select count(*) from customers").await, 0);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_answered_in_the_same_shape() {
    on_both(async |database| {
        let settings = Settings { body_timeout: Duration::from_millis(300), ..Settings::default() };
        let api = Api::start_with(&database, settings).await;
        let send = async |kind: Option<&str>, body: &[u8]| {
            let request = Request::post("/v1/customers", body).key(&api.write);
            match kind {
                Some(kind) => request.header("content-type", kind).send(api.address).await,
                None => request.send(api.address).await,
            }
        };
        let json = Some("application/json; charset=utf-8");
        assert_eq!(send(json, b"{}").await.status, 201);
        for body in [b"".as_slice(), b"{", b"[]", b"7", b"{\"name\": \"\xff\"}", b"{} {}"] {
            assert_eq!(send(json, body).await.refused(400), "unreadable_request");
        }
        let deep = format!("{{\"name\": {}}}", "[".repeat(5_000));
        assert_eq!(send(json, deep.as_bytes()).await.refused(400), "unreadable_request");
        for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
            let code = send(kind, b"{}").await.refused(415);
            assert_eq!(code, "unsupported_media_type", "{kind:?}");
        }
        let large = vec![b' '; 1_024 * 1_024 + 1];
        assert_eq!(send(json, &large).await.refused(413), "body_too_large");
        for (method, path, allowed) in [
            ("PUT", "/v1/customers", "GET,HEAD,POST"),
            ("PUT", "/v1/customers/cus_1", "GET,HEAD,PATCH,DELETE"),
            ("GET", "/v1/customers/cus_1/merge", "POST"),
            ("GET", "/v1/payments/pay_1/link", "POST"),
        ] {
            let answer = Request::new(method, path).key(&api.admin).send(api.address).await;
            assert_eq!(answer.refused(405), "method_not_allowed", "{path}");
            let mut seen: Vec<_> = answer.header("allow").unwrap_or_default().split(',').collect();
            let mut wanted: Vec<_> = allowed.split(',').collect();
            seen.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(seen, wanted, "{path}");
        }
        let unknown = api.post("/v1/customers?notify=1", &json!({})).await;
        assert_eq!(unknown.error(), (400, "unknown_parameter".into(), Some("notify".into())));
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_key_of_another_environment_can_neither_change_nor_guess_anything() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        api.events().process(&[paid(1, "u9", "p1", 500)]).await.expect("it commits");
        let payment = api.get("/v1/payments").await.listed("id")[0].clone();
        let payment = payment.as_str().expect("an id");
        let body = json!({"external_id": "u1", "provider": "clerk", "provider_uid": "uid"});
        let path = api.made(&body).await;
        let shown = api.get(&path).await.ok();
        let own =
            api.send_as(&api.other, "POST", "/v1/customers", &json!({"external_id": "t1"})).await;
        let own = own.json()["id"].as_str().expect("an id").to_owned();
        let pairs = [
            ("PATCH", path.clone(), format!("/v1/customers/cus_{NONE}"), json!({"name": "Eve"})),
            (
                "PATCH",
                path.clone(),
                format!("/v1/customers/cus_{NONE}"),
                json!({"external_id": "u1"}),
            ),
            ("DELETE", path.clone(), format!("/v1/customers/cus_{NONE}"), Value::Null),
            (
                "POST",
                format!("{path}/merge"),
                format!("/v1/customers/cus_{NONE}/merge"),
                json!({"from": own}),
            ),
            (
                "DELETE",
                format!("{path}/identities/clerk/uid"),
                format!("/v1/customers/cus_{NONE}/identities/clerk/uid"),
                Value::Null,
            ),
            (
                "POST",
                format!("/v1/payments/{payment}/link"),
                format!("/v1/payments/pay_{NONE}/link"),
                json!({"customer_id": own}),
            ),
        ];
        for (method, there, not_there, body) in &pairs {
            let seen = api.send_as(&api.other, method, there, body).await;
            let unseen = api.send_as(&api.other, method, not_there, body).await;
            assert_eq!(seen.status, 404, "{method} {there}: {}", seen.text);
            let [mut a, mut b] = [seen.json(), unseen.json()];
            a["request_id"] = Value::Null;
            b["request_id"] = Value::Null;
            assert_eq!(a, b, "{method} {there}");
        }
        // Nor by naming the other's ids in bodies.
        let merge = format!("/v1/customers/{own}/merge");
        for from in [id(&path).to_owned(), format!("cus_{NONE}")] {
            let answer = api.send_as(&api.other, "POST", &merge, &json!({"from": from})).await;
            assert_eq!(answer.refused(404), "customer_not_found");
        }
        // The same names are free here, and the same keys mean other requests.
        let keyed = async |key: &str, body: &Value| {
            let request = asking(key, "POST", "/v1/customers", body);
            request.header("idempotency-key", "k1").send(api.address).await
        };
        let live = keyed(&api.admin, &json!({"name": "Live"})).await;
        let test = keyed(
            &api.other,
            &json!({"external_id": "u1", "provider": "clerk", "provider_uid": "uid"}),
        )
        .await;
        assert_eq!((live.status, test.status), (201, 201), "{}", test.text);
        assert_eq!(test.json()["environment"], "test");
        assert_eq!(api.get(&path).await.ok(), shown);
        api.stop().await;
    })
    .await;
}
