//! `/v1/payments`: reading.

pub(super) mod link;

use super::{
    State,
    auth::Reader,
    customers::no_such_cursor,
    error::ApiError,
    query::{NoQuery, Query},
};
use crate::{
    model::{answer::List, payment::Payment},
    store::browse,
};
use axum::{
    Json,
    extract::{self, Path},
};
use std::sync::Arc;

/// `GET /v1/payments`
pub(super) async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    mut query: Query,
) -> Result<Json<List<Payment>>, ApiError> {
    let page = query.page()?;
    query.finish()?;
    let mut tx = state.snapshot().await?;
    let slice = browse::payments(&mut tx, &caller.environment, page)
        .await?
        .ok_or_else(|| no_such_cursor(page.position))?;
    Ok(Json(List::new(page, slice, |payment| payment.id)))
}

/// `GET /v1/payments/{id}`
pub(super) async fn one(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    Path(id): Path<String>,
    _: NoQuery,
) -> Result<Json<Payment>, ApiError> {
    let id = id.parse().map_err(|_| unknown())?;
    let mut tx = state.single().await?;
    let payment = browse::payment(&mut tx, &caller.environment, id).await?;
    payment.map(Json).ok_or_else(unknown)
}

fn unknown() -> ApiError {
    ApiError::not_found("payment_not_found", "there is no such payment")
}
