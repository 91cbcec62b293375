//! How requests are refused: the one shape of errors, and the answers that many operations have in common.

use super::{examples, schema::Shape};
use crate::model::answer::ErrorBody;
use serde_json::{Value, json};

/// The shape of every error.
pub(super) fn shape() -> Shape {
    Shape::of::<ErrorBody<'static>>()
}

/// Answers that are the same wherever they are given: their status, their name, what they say, and their codes.
pub(super) const COMMON: [(u16, &str, &str, &[&str]); 8] = [
    (
        401,
        "Unauthenticated",
        "No API key, or none that is known here.",
        &["missing_api_key", "invalid_api_key"],
    ),
    (403, "Forbidden", "The key's scope is too small.", &["insufficient_scope"]),
    (408, "TooSlow", "The body did not arrive in time.", &["request_timeout"]),
    (413, "TooLarge", "The body is larger than 1 MiB.", &["body_too_large"]),
    (415, "NoJson", "The body is not said to be JSON.", &["unsupported_media_type"]),
    (429, "TooMany", "The key makes more requests than it may.", &["rate_limited"]),
    (
        500,
        "Failed",
        "Something went wrong here; the log has the request's id.",
        &["internal_error"],
    ),
    (
        503,
        "Unavailable",
        "Not now: the process starts or stops, or what it depends on is away.",
        &["unavailable"],
    ),
];

/// The codes of a 400 that any request can have.
pub(super) const ANY: [&str; 4] =
    ["invalid_parameter", "repeated_parameter", "unknown_parameter", "unreadable_request"];

/// The common answers, under their names, each with an example.
pub(super) fn responses() -> Value {
    let one = |(status, name, about, codes): &(u16, &str, &str, &[&str])| {
        let about = format!("{about} {}", told(codes));
        let mut answer = answer(*status, &about, codes);
        let content =
            answer.pointer_mut("/content/application~1json").and_then(Value::as_object_mut);
        let example = codes.iter().find_map(|code| examples::named(code));
        if let (Some(example), Some(content)) = (example, content) {
            content.insert("example".into(), example.clone());
        }
        ((*name).to_owned(), answer)
    };
    Value::Object(COMMON.iter().map(one).collect())
}

/// Codes as they are told.
pub(super) fn told(codes: &[&str]) -> String {
    codes.iter().map(|code| format!("`{code}`")).collect::<Vec<_>>().join(", ")
}

/// An answer that refuses, with one of some codes.
pub(super) fn answer(status: u16, about: &str, codes: &[&str]) -> Value {
    let schema = json!({
        "$ref": "#/components/schemas/Error",
        "properties": { "error": { "properties": { "code": { "enum": codes } } } },
    });
    let mut headers = json!({ "X-Request-Id": { "$ref": "#/components/headers/RequestId" } });
    let more = match status {
        401 => Some(("WWW-Authenticate", "Challenge")),
        429 | 503 => Some(("Retry-After", "RetryAfter")),
        _ => None,
    };
    if let (Some((header, name)), Some(fields)) = (more, headers.as_object_mut()) {
        fields.insert(header.to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }));
    }
    json!({
        "description": about,
        "headers": headers,
        "content": { "application/json": { "schema": schema } },
    })
}
