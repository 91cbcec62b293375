//! `POST /v1/payments/{id}/link`: the app's own word for whose a payment is.

use crate::{
    http::{
        State,
        auth::Writer,
        body::{Whole, text},
        command::carry_out,
        customers,
        error::ApiError,
        query::NoQuery,
    },
    model::command::Command,
};
use axum::{
    extract::{self, Path},
    response::Response,
};
use std::sync::Arc;

/// `POST /v1/payments/{id}/link`
pub(in crate::http) async fn link(
    extract::State(state): extract::State<Arc<State>>,
    Writer(caller): Writer,
    Path(id): Path<String>,
    _: NoQuery,
    request: Whole,
) -> Result<Response, ApiError> {
    let mut fields = request.fields()?;
    let customer = fields.need("customer_id", text)?;
    fields.finish()?;
    let payment = id.parse().map_err(|_| super::unknown())?;
    let customer = customers::write::customer(&customer)?;
    carry_out(&state, &caller, &request, Command::Link { payment, customer }).await
}
