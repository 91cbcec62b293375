//! What surrounds every request: its id, the shape of its errors, its line in the log and its metric.

use super::{State, compat::Dialect, error::ApiError};
use crate::clock::Clock;
use axum::{
    extract::{self, MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt as _;
use std::{panic::AssertUnwindSafe, sync::Arc};

const NAME: HeaderName = HeaderName::from_static("x-request-id");

/// The id that a request is known by, in the answer and in the log.
#[derive(Clone, Debug)]
pub(super) struct RequestId(pub(super) Arc<str>);

impl RequestId {
    /// The caller's, where it can be used: 1 to 128 letters, digits, and `-_.:`. Else a new one.
    fn of(headers: &HeaderMap, clock: &Clock) -> Self {
        let given = headers.get(NAME).and_then(|value| value.to_str().ok());
        let usable = given.filter(|text| {
            (1..=128).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
        });
        match usable {
            Some(text) => Self(text.into()),
            None => Self(format!("req_{}", clock.new_id().simple()).into()),
        }
    }
}

/// Surrounds a request.
pub(super) async fn envelope(
    extract::State(state): extract::State<Arc<State>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = RequestId::of(request.headers(), state.clock());
    request.extensions_mut().insert(id.clone());
    let method = request.method().clone();
    let dialect = Dialect::of(request.uri().path(), request.headers());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    // A caller may make up any number of paths; there are only so many routes. A path may hold a person's id at a
    // provider, which may be an address: no log has it.
    let route = route.unwrap_or_else(|| "none".into());
    let began = state.clock().now();
    let mut response = dressed(next.run(request).await, &id.0, dialect);
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        headers.insert(NAME, value);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let micros = state.clock().now().micros().saturating_sub(began.micros()).max(0);
    let status = response.status().as_u16();
    metrics::counter!("customer_sync_http_requests_total",
        "method" => known(&method), "route" => route.clone(), "status" => status.to_string())
    .increment(1);
    metrics::histogram!("customer_sync_http_request_duration_seconds", "route" => route.clone())
        .record(std::time::Duration::from_micros(micros.unsigned_abs()).as_secs_f64());
    tracing::debug!(request_id = %id.0, %method, route, status, duration_us = micros, "answered a request");
    response
}

/// Answers also where a handler panics.
pub(super) async fn unbroken(request: Request, next: Next) -> Response {
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    answer.unwrap_or_else(|_| ApiError::internal().into_response())
}

/// The method as a label: a caller may make up any number of others.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

/// Gives an error its body, whether it is ours or the framework's.
fn dressed(mut response: Response, id: &str, dialect: Option<Dialect>) -> Response {
    let ours = response.extensions_mut().remove::<ApiError>();
    let status = response.status();
    let error = match ours {
        Some(error) => error,
        None if (status.is_client_error() || status.is_server_error()) && !is_json(&response) => {
            ApiError::of_status(status)
        }
        None => return response,
    };
    let mut rendered = error.render(id, dialect);
    // What the framework says beside its text, such as `Allow`.
    for (name, value) in response.headers() {
        if ![header::CONTENT_TYPE, header::CONTENT_LENGTH].contains(name) {
            rendered.headers_mut().entry(name).or_insert(value.clone());
        }
    }
    rendered
}

fn is_json(response: &Response) -> bool {
    response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
}
