//! `/metrics`: this process's counters in Prometheus' text format.

use super::{State, auth::authenticate, error::ApiError};
use crate::model::key::Scope;
use axum::{
    extract,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use std::sync::Arc;

/// `GET /metrics`
pub(super) async fn render(
    extract::State(state): extract::State<Arc<State>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if !state.settings.metrics_public {
        authenticate(&state, &headers, Scope::Read).await?;
    }
    let render = state.render_metrics.as_ref().ok_or_else(|| {
        ApiError::not_found("metrics_not_collected", "this process collects no metrics")
    })?;
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((kind, render()).into_response())
}
