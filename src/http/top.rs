//! `/v1/customers/top`.

use super::{State, auth::Reader, error::ApiError, query::Query};
use crate::{
    model::ranking::{METRICS, PERIODS, Top},
    store::browse::{self, top::Ranking},
};
use axum::{Json, extract};
use std::sync::Arc;

/// `GET /v1/customers/top`
pub(super) async fn top(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    mut query: Query,
) -> Result<Json<Top>, ApiError> {
    let limit = query.read("limit", "must be a whole number from 1 to 100", |text| {
        text.parse().ok().filter(|limit| (1..=100).contains(limit))
    })?;
    let metric = query.read("metric", METRICS, |text| text.parse().ok())?;
    let period = query.read("period", PERIODS, |text| text.parse().ok())?;
    let currency = query.currency(&state, &caller)?;
    query.finish()?;
    let ranking = Ranking {
        metric: metric.unwrap_or_default(),
        currency,
        period: period.unwrap_or_default(),
        limit: limit.unwrap_or(10),
    };
    let mut tx = state.snapshot().await?;
    let now = state.clock().now();
    let data = browse::top::top(&mut tx, &caller.environment, &ranking, now).await?;
    let Ranking { metric, currency, period, .. } = ranking;
    Ok(Json(Top { object: "list", metric, currency, period, as_of: now, data, has_more: false }))
}
