//! Errors, request ids, health and metrics.

use super::{Api, Request, records::named};
use crate::support::services::on_both;
use customer_sync::http::Settings;
use serde_json::json;

#[tokio::test]
async fn errors_have_one_shape_on_every_path_and_status() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        for path in
            ["/", "/v1", "/v1/customers/", "/v2/customers", "/ingest", "/v1/customers/a/b/c"]
        {
            assert_eq!(Request::get(path).send(api.address).await.refused(404), "route_not_found");
        }
        for (method, path, allowed) in [
            ("GET", "/ingest/app", "POST"),
            ("DELETE", "/v1/customers", "GET,HEAD,POST"),
            ("PATCH", "/healthz", "GET,HEAD"),
        ] {
            let answer = Request::new(method, path).send(api.address).await;
            assert_eq!(answer.refused(405), "method_not_allowed");
            assert_eq!(answer.header("allow"), Some(allowed), "{path}");
        }
        for (query, param, code) in [
            ("limit=0", "limit", "invalid_parameter"),
            ("limit=1001", "limit", "invalid_parameter"),
            ("offset=-1", "offset", "invalid_parameter"),
            ("offset=1&starting_after=cus_00000000000000000000000000", "offset", "paging_conflict"),
            ("starting_after=a&ending_before=b", "ending_before", "paging_conflict"),
            ("starting_after=cus_00000000000000000000000000", "starting_after", "unknown_cursor"),
            ("ending_before=cus_00000000000000000000000000", "ending_before", "unknown_cursor"),
            ("starting_after=pay_00000000000000000000000000", "starting_after", "unknown_cursor"),
            ("email=a&email=b", "email", "repeated_parameter"),
            ("colour=red", "colour", "unknown_parameter"),
        ] {
            let answer = api.get(&format!("/v1/customers?{query}")).await;
            assert_eq!(answer.error(), (400, code.to_owned(), Some(param.to_owned())), "{query}");
        }
        // Bytes that are no text in a path.
        assert_eq!(api.get("/v1/payments/%ff").await.refused(400), "unreadable_request");
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_fault_of_ours_is_told_without_its_cause() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let (_, root) = api.customer(named("ada")).await;
        let id = api.payment(Some(root), |row| row.status = "melted".into()).await;
        let answer = api.get(&format!("/v1/payments/{id}")).await;
        assert_eq!(answer.refused(500), "internal_error");
        assert!(!answer.text.contains("melted") && !answer.text.contains("status"));
        api.db.close().await;
        let away = api.get("/v1/customers").await;
        assert_eq!(
            (away.refused(503), away.header("retry-after")),
            ("unavailable".into(), Some("5"))
        );
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_usable_request_id_comes_back_and_any_other_is_replaced() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let sent = async |id: &str| {
            let answer =
                Request::get("/nowhere").header("x-request-id", id).send(api.address).await;
            assert_eq!(answer.refused(404), "route_not_found");
            answer.header("x-request-id").expect("an id").to_owned()
        };
        assert_eq!(sent("order-7.try:2_b").await, "order-7.try:2_b");
        for unusable in ["", "a b", "<script>", &"x".repeat(129)] {
            assert!(sent(unusable).await.starts_with("req_"), "{unusable}");
        }
        let made = api.get("/v1/customers").await;
        assert!(made.header("x-request-id").is_some_and(|id| id.starts_with("req_")));
        assert_eq!(made.header("cache-control"), Some("no-store"));
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn readiness_names_what_is_away() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let live = Request::get("/healthz");
        assert_eq!(live.send(api.address).await.ok(), json!({ "status": "ok" }));
        let ready = Request::get("/readyz").send(api.address).await.ok();
        assert_eq!(ready["status"], "ok");
        assert_eq!(ready["dependencies"][0]["name"], "database");
        api.db.close().await;
        let answer = Request::get("/readyz").send(api.address).await;
        assert_eq!(answer.refused(503), "unavailable");
        let database = answer.json()["error"]["details"]["dependencies"][0].clone();
        assert_eq!((&database["name"], &database["ok"]), (&json!("database"), &json!(false)));
        assert_eq!(live.send(api.address).await.status, 200);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn metrics_need_a_key_unless_they_are_public() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let open = Request::get("/metrics");
        assert_eq!(open.send(api.address).await.refused(401), "missing_api_key");
        let metrics = api.get("/metrics").await;
        assert_eq!((metrics.status, metrics.text.as_str()), (200, "up 1\n"));
        assert_eq!(
            metrics.header("content-type"),
            Some("text/plain; version=0.0.4; charset=utf-8")
        );
        api.stop().await;
        let settings = Settings { metrics_public: true, ..Settings::default() };
        let api = Api::start_with(&database, settings).await;
        assert_eq!(open.send(api.address).await.status, 200);
        api.stop().await;
    })
    .await;
}
