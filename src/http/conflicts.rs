//! `/v1/conflicts`: what two sources say and cannot both be true, until somebody says that it is settled.

use super::{
    State,
    auth::{Administrator, Reader},
    body::Bare,
    customers::no_such_cursor,
    error::ApiError,
    idempotency::{self, Done},
    query::{NoQuery, Query},
};
use crate::{
    model::{answer::List, conflict::Conflict, id::ConflictId},
    store::{browse, customers},
};
use axum::{
    Json,
    extract::{self, Path},
    http::StatusCode,
    response::Response,
};
use std::sync::Arc;

/// `GET /v1/conflicts`
pub(super) async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    mut query: Query,
) -> Result<Json<List<Conflict>>, ApiError> {
    let page = query.page()?;
    let resolved = query.read("resolved", "must be true or false", |text| text.parse().ok())?;
    query.finish()?;
    let mut tx = state.snapshot().await?;
    let slice = browse::conflicts(&mut tx, &caller.environment, resolved, page)
        .await?
        .ok_or_else(|| no_such_cursor(page.position))?;
    Ok(Json(List::new(page, slice, |conflict| conflict.id)))
}

/// `POST /v1/conflicts/{id}/resolve`. One that is resolved stays so, with the time at which it was.
pub(super) async fn resolve(
    extract::State(state): extract::State<Arc<State>>,
    Administrator(caller): Administrator,
    Path(id): Path<String>,
    _: NoQuery,
    Bare(request): Bare,
) -> Result<Response, ApiError> {
    let id: ConflictId = id.parse().map_err(|_| unknown())?;
    let (environment, now) = (caller.environment.clone(), state.clock().now());
    idempotency::once(&state, &caller, &request, move |tx| {
        Box::pin(async move {
            customers::resolve_conflict(tx, &environment, id, now).await?;
            let conflict = browse::conflict(tx, &environment, id).await?.ok_or_else(unknown)?;
            Ok(Done {
                customer: conflict.customer_id.map(|id| id.0),
                payment: conflict.payment_id.map(|id| id.0),
                ..Done::new(StatusCode::OK, &conflict)
            })
        })
    })
    .await
}

fn unknown() -> ApiError {
    ApiError::not_found("conflict_not_found", "there is no such conflict")
}
