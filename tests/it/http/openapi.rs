//! The description of the API against the API: its routes, its answers, its copy in `docs`, and its page.
//!
//! Every answer that any test gets over HTTP is held against it too (`held`).

use super::{Api, Request};
use crate::support::services::{on_both, sqlite};
use customer_sync::http::openapi;
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path};

pub(super) mod held;
mod tour;

const COPY: &str = "docs/openapi.json";
const EXAMPLES: &str = "src/http/openapi/examples.json";

/// Whether the files are to be written, instead of compared.
fn is_writing() -> bool {
    std::env::var_os("WRITE_OPENAPI").is_some()
}

fn file(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn the_copy_in_docs_is_what_the_program_serves() {
    let served = format!("{:#}\n", openapi::document());
    if is_writing() {
        fs::write(file(COPY), &served).expect("written");
    }
    let copy = fs::read_to_string(file(COPY)).unwrap_or_default();
    assert!(copy == served, "{COPY} is stale: `just openapi` writes it anew");
}

#[tokio::test]
async fn the_document_and_its_page_are_served_to_anybody() {
    let api = Api::start(&sqlite().await).await;
    let document = Request::get("/openapi.json").send(api.address).await;
    assert_eq!(document.header("content-type"), Some("application/json"));
    assert_eq!(&document.ok(), openapi::document());
    let page = Request::get("/docs").send(api.address).await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(page.text.starts_with("<!doctype html>") && page.text.ends_with("</html>\n"));
    let elsewhere = Request::get("/docs").send(api.ingest).await;
    assert_eq!(elsewhere.refused(404), "route_not_found", "what faces the internet shows no API");
    api.stop().await;
}

/// What is no part of the API: the document itself, and pages for people.
const NOT_DESCRIBED: [&str; 2] = ["/openapi.json", "/docs"];

#[tokio::test]
async fn every_route_is_described_with_its_methods_and_no_other() {
    let source = fs::read_to_string(file("src/http.rs")).expect("the routes can be read");
    let routes: BTreeSet<&str> = source
        .split(".route(")
        .skip(1)
        .filter_map(|rest| rest.split('"').nth(1))
        .filter(|path| !NOT_DESCRIBED.contains(path))
        .collect();
    let paths = openapi::document()["paths"].as_object().expect("paths");
    let described: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    assert_eq!(routes, described, "src/http/openapi describes the routes of src/http.rs");
    let api = Api::start(&sqlite().await).await;
    for (path, methods) in paths {
        // No route takes it, so that the answer says which methods are taken.
        let answer = Request::new("TRACE", &path.replace(['{', '}'], "x")).send(api.address).await;
        assert_eq!(answer.refused(405), "method_not_allowed", "{path}");
        let allowed = answer.header("allow").unwrap_or_default().to_lowercase();
        let allowed: BTreeSet<&str> =
            allowed.split(',').filter(|method| *method != "head").collect();
        let told: BTreeSet<&str> =
            methods.as_object().expect("methods").keys().map(String::as_str).collect();
        assert_eq!(allowed, told, "{path}");
    }
    api.stop().await;
}

#[tokio::test]
async fn every_operation_has_an_example_of_what_it_really_answers() {
    on_both(async |database| {
        let seen = tour::take(&database).await;
        if is_writing() {
            fs::write(file(EXAMPLES), format!("{seen:#}\n")).expect("written");
        }
        let kept = fs::read_to_string(file(EXAMPLES)).unwrap_or_default();
        let kept: Value = serde_json::from_str(&kept).expect("JSON");
        assert_eq!(
            shape(&kept),
            shape(&seen),
            "{EXAMPLES} is stale: `just openapi` writes it anew"
        );
        for (id, status) in held::successes() {
            assert!(
                seen.get(format!("{id} {status}")).is_some(),
                "the tour never saw {id} answer {status}"
            );
        }
    })
    .await;
}

/// A value without what differs from one run to the next.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), shape(value))).collect()
        }
        Value::Array(values) => values.iter().map(shape).collect(),
        Value::String(_) => "text".into(),
        Value::Number(_) => 0.into(),
        Value::Bool(_) | Value::Null => value.clone(),
    }
}

#[test]
fn what_is_missing_or_not_described_is_found() {
    let good = serde_json::json!({ "status": "ok" });
    let answers = |status: u16, body: &Value| {
        held::wrong("GET", "/healthz", b"", status, &[], &body.to_string())
    };
    assert_eq!(answers(200, &good), None);
    let more = serde_json::json!({ "status": "ok", "more": 1 });
    for (status, body) in [(200, &more), (200, &serde_json::json!({})), (202, &good), (400, &good)]
    {
        assert!(answers(status, body).is_some(), "{status} {body}");
    }
    let asked = |path: &str, body: &str| {
        let made = tour::example("createCustomer 201").to_string();
        held::wrong("POST", path, body.as_bytes(), 201, &[], &made)
    };
    assert_eq!(asked("/v1/customers", "{\"name\":\"Ada\"}"), None);
    assert!(asked("/v1/customers", "{\"nickname\":\"Ada\"}").is_some());
    assert!(asked("/v1/customers?nickname=Ada", "{}").is_some());
    assert!(asked("/v1/nowhere", "{}").is_some());
    assert!(asked("/v1/customers", "{\"provider\":\"clerk\"}").is_some());
}
