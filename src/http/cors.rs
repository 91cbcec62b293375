//! Which pages may use the API from a browser (`http.cors_origins`): none unless told.

use super::compat;
use axum::http::{HeaderName, HeaderValue, Method, header};
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser may go by an answer, before it asks again.
const REMEMBERED: Duration = Duration::from_hours(1);

/// Says so to browsers; none where no page may. Cookies mean nothing here, so that they are never asked for.
pub(super) fn layer(origins: &[String]) -> Option<CorsLayer> {
    // The settings were checked.
    let origins: Vec<HeaderValue> =
        origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
    if origins.is_empty() {
        return None;
    }
    let name = HeaderName::from_static;
    let asked = [
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        name("idempotency-key"),
        name("x-api-key"),
        name(compat::reevit::KEY),
        name("x-request-id"),
    ];
    let told = [header::RETRY_AFTER, name("idempotency-replay"), name("x-request-id")];
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers(asked)
        .expose_headers(told)
        .max_age(REMEMBERED);
    Some(layer)
}
