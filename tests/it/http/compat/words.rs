//! Errors in each dialect's words, keys in its header, and what every write has in common.

use super::{
    ALL, Answer, Api, Bias, Dialect, NULL, Reevit, Request, Revstack, asked, at, names, said,
};
use crate::{pipeline::listen, support::services::on_both};
use serde_json::{Value, json};

/// Status, code, message, and the place that it names.
fn told(dialect: Dialect, answer: &Answer) -> (u16, String, String, Option<String>) {
    let body = answer.json();
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (error, param) = match dialect {
        Revstack => {
            assert_eq!(body["requestId"].as_str(), answer.header("x-request-id"));
            (&body, None)
        }
        Reevit => {
            assert_eq!(names(&body), ["code", "details", "error", "message"]);
            assert_eq!(body["error"], body["code"]);
            (&body, text(&body["details"]["param"]))
        }
        Bias => {
            assert_eq!(
                (&body["object"], body["error"]["issues"].is_array()),
                (&json!("error"), true)
            );
            (&body["error"], text(&body["error"]["param"]))
        }
    };
    let code = text(&error["code"]).expect("a code");
    (answer.status, code, text(&error["message"]).expect("a message"), param)
}

#[tokio::test]
async fn errors_are_told_in_the_dialects_own_words() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let gone = api.create(Reevit, &Reevit.person("eve")).await;
        api.call(Reevit, "DELETE", &at(&gone), &NULL).await;
        for (dialect, codes) in [
            (
                Revstack,
                [
                    "CUSTOMER_NOT_FOUND",
                    "INVALID_PARAMETER",
                    "METHOD_NOT_ALLOWED",
                    "ROUTE_NOT_FOUND",
                ],
            ),
            (Reevit, ["not_found", "validation_error", "method_not_allowed", "not_found"]),
            (
                Bias,
                [
                    "customer_not_found",
                    "invalid_parameters",
                    "method_not_allowed",
                    "route_not_found",
                ],
            ),
        ] {
            let missing = api.call(dialect, "GET", "/nobody", &NULL).await;
            let (status, code, ..) = told(dialect, &missing);
            assert_eq!((status, code.as_str()), (404, codes[0]));
            let deleted = told(dialect, &api.call(dialect, "GET", &at(&gone), &NULL).await);
            assert_eq!(deleted.0, 404);
            let wrong = api.call(dialect, "GET", "?limit=0", &NULL).await;
            let (status, code, message, param) = told(dialect, &wrong);
            assert_eq!((status, code.as_str()), (400, codes[1]));
            assert!(message.contains("must be a whole number"), "{message}");
            assert!(param.map_or(message.starts_with("limit"), |param| param == "limit"));
            let method = api.call(dialect, "PUT", "/nobody", &NULL).await;
            let (status, code, ..) = told(dialect, &method);
            assert_eq!((status, code.as_str()), (405, codes[2]));
            assert!(method.header("allow").is_some());
            let path = format!("{}/nothing", dialect.base());
            let nothing = Request::get(&path).send(api.address).await;
            let (status, code, ..) = told(dialect, &nothing);
            assert_eq!((status, code.as_str()), (404, codes[3]));
            let body = Request::with_body("POST", &format!("{}/customers", dialect.base()), b"{")
                .header("content-type", "application/json")
                .key(&api.admin);
            assert_eq!(told(dialect, &body.send(api.address).await).0, 400);
        }
        // What is under no dialect is ours.
        let other = Request::get("/compat/other/customers").send(api.address).await;
        assert_eq!(other.refused(404), "route_not_found");
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_key_stands_in_the_dialects_own_header_and_has_its_scope() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let unknown = format!("sk_live_{}", "x".repeat(43));
        for (dialect, codes) in [
            (Revstack, ["INVALID_API_KEY", "INSUFFICIENT_SCOPE"]),
            (Reevit, ["unauthorized", "forbidden"]),
            (Bias, ["invalid_api_key", "insufficient_scope"]),
        ] {
            let list = format!("{}/customers", dialect.base());
            let none = Request::get(&list).send(api.address).await;
            let wrong = asked(&unknown, dialect, "GET", "/customers", &NULL);
            for refused in [none, wrong.send(api.address).await] {
                let (status, code, ..) = told(dialect, &refused);
                assert_eq!((status, code.as_str()), (401, codes[0]));
            }
            let read = asked(&api.read, dialect, "GET", "/customers", &NULL);
            assert_eq!(read.send(api.address).await.status, 200);
            for (key, method, path) in [
                (&api.read, "POST", "/customers"),
                (&api.read, "PATCH", "/customers/x"),
                (&api.write, "DELETE", "/customers/x"),
            ] {
                let refused = asked(key, dialect, method, path, &dialect.person("ada"));
                let (status, code, ..) = told(dialect, &refused.send(api.address).await);
                assert_eq!((status, code.as_str()), (403, codes[1]), "{dialect:?} {method}");
            }
        }
        // Reevit's own header is the one that counts there, and it is the only one that it tells of.
        let both = Request::get("/compat/reevit/v1/customers").key(&unknown);
        let both = both.header("x-reevit-key", &api.read).send(api.address).await;
        assert_eq!(both.status, 200);
        let none = Request::get("/compat/reevit/v1/customers").send(api.address).await;
        assert!(told(Reevit, &none).2.contains("X-Reevit-Key"));
        let elsewhere = Request::get("/v1/customers").header("x-reevit-key", &api.read);
        assert_eq!(elsewhere.send(api.address).await.refused(401), "missing_api_key");
        // Bias tells of real money by the key.
        for (key, live) in [(&api.admin, json!(true)), (&api.other, json!(false))] {
            let refused = asked(key, Bias, "GET", "/customers/x", &NULL);
            assert_eq!(refused.send(api.address).await.json()["error"]["live"], live);
        }
        let none = Request::get("/compat/bias/v1/customers").send(api.address).await;
        assert_eq!(none.json()["error"]["live"], NULL);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn another_environments_customers_are_nobody() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        for dialect in ALL {
            let made = api.create(dialect, &dialect.person(&format!("{dialect:?}"))).await;
            for (method, body) in [("GET", NULL), ("PATCH", json!({})), ("DELETE", NULL)] {
                let there = format!("/customers{}", at(&made));
                let there = asked(&api.other, dialect, method, &there, &body);
                let nobody = "/customers/cus_00000000000000000000000000";
                let nobody = asked(&api.other, dialect, method, nobody, &body);
                let (there, nobody) =
                    (there.send(api.address).await, nobody.send(api.address).await);
                assert_eq!(told(dialect, &there), told(dialect, &nobody));
                assert_eq!(there.status, 404);
            }
        }
        let named = asked(&api.other, Revstack, "GET", "/customers/Revstack", &NULL);
        assert_eq!(named.send(api.address).await.status, 404);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_write_under_one_idempotency_key_is_done_once_and_repeated_in_the_dialect() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        listen(&api.db).await;
        let keyed = async |dialect: Dialect, method: &'static str, path: &str, body: &Value| {
            let request = asked(&api.admin, dialect, method, path, body);
            request.header("idempotency-key", "k1").send(api.address).await
        };
        for dialect in [Reevit, Bias, Revstack] {
            let body = dialect.person(&format!("{dialect:?}"));
            let made = keyed(dialect, "POST", "/customers", &body).await;
            assert_eq!((made.status, made.header("idempotency-replay")), (201, None));
            let again = keyed(dialect, "POST", "/customers", &body).await;
            assert_eq!((again.status, &again.text), (201, &made.text));
            assert_eq!(again.header("idempotency-replay"), Some("true"));
            let other = keyed(dialect, "POST", "/customers", &dialect.person("other")).await;
            let (status, code, ..) = told(dialect, &other);
            let expected = "idempotency_params_mismatch";
            assert_eq!((status, code.to_lowercase().as_str()), (409, expected));
            if dialect == Bias {
                assert_eq!(other.json()["error"]["type"], "idempotency_error");
            }
            let path = format!("/customers{}", at(&made.json()));
            // Revstack's customers go by the app's id too.
            let named = if dialect == Revstack { "/customers/Revstack" } else { &path };
            let change = json!({"metadata": {"plan": "pro"}});
            assert_eq!(keyed(dialect, "PATCH", named, &change).await.status, 200);
            let gone = keyed(dialect, "DELETE", &path, &NULL).await;
            let again = keyed(dialect, "DELETE", &path, &NULL).await;
            assert_eq!((again.status, &again.text), (gone.status, &gone.text));
            assert_eq!(again.header("idempotency-replay"), Some("true"));
            let again = keyed(dialect, "PATCH", named, &change).await;
            assert_eq!((again.status, again.header("idempotency-replay")), (200, Some("true")));
            // What was answered of the person is not kept.
            let again = keyed(dialect, "POST", "/customers", &body).await;
            assert!(!again.text.contains("example.org"), "{}", again.text);
            assert_eq!(again.json()["id"], made.json()["id"]);
        }
        assert_eq!(
            api.told().await,
            ["customer.created", "customer.updated", "customer.deleted"].repeat(3)
        );
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn revstacks_client_may_keep_the_path_of_its_own_server() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let made = api.create(Revstack, &Revstack.person("ada")).await;
        let path = "/compat/revstack/api/v1/customers/ada";
        assert_eq!(said(&api.get(path).await, 200), made);
        let nobody = api.get("/compat/revstack/api/v1/customers/eve").await;
        assert_eq!(told(Revstack, &nobody).1, "CUSTOMER_NOT_FOUND");
        api.stop().await;
    })
    .await;
}
