//! `/v1/customers/{id}/provenance`.

use super::{State, auth::Reader, customers::resolved, error::ApiError, query::NoQuery};
use crate::{model::provenance::Provenance, pipeline};
use axum::{
    Json,
    extract::{self, Path},
};
use std::sync::Arc;

/// `GET /v1/customers/{id}/provenance`
pub(super) async fn of_customer(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    Path(id): Path<String>,
    _: NoQuery,
) -> Result<Json<Provenance>, ApiError> {
    let mut tx = state.snapshot().await?;
    let customer_id = resolved(&mut tx, &caller, &id).await?;
    let fields = pipeline::provenance(&mut tx, customer_id).await?;
    Ok(Json(Provenance::new(customer_id, fields)))
}
