//! Bias, as its client for Python 2.0 speaks: times in milliseconds, lists of `items` by cursor, fields without a value
//! null, a deletion that answers with what was deleted.

use crate::{
    http::{
        State,
        auth::{Administrator, Reader, Writer},
        body::{Bare, Fields, Whole},
        command::{Shape, carry_out_as},
        customer_list::listed,
        customers::{self, Asked, write},
        error::ApiError,
        query::{NoQuery, Query},
    },
    model::{
        command::{Command, Names, ProfileChange},
        customer::Customer,
        filter::Times,
        time::Timestamp,
    },
};
use axum::{
    Json, Router,
    extract::{self, Path},
    http::StatusCode,
    response::Response,
    routing::get,
};
use serde_json::{Value, json};
use std::sync::Arc;

const SHAPE: Shape = Shape { customer, gone: |gone| (StatusCode::OK, customer(gone)) };

pub(super) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/compat/bias/v1/customers", get(list).post(create))
        .route("/compat/bias/v1/customers/{id}", get(one).patch(update).delete(delete))
}

/// `POST /v1/customers`
async fn create(
    extract::State(state): extract::State<Arc<State>>,
    Writer(caller): Writer,
    _: NoQuery,
    request: Whole,
) -> Result<Response, ApiError> {
    let profile = profile(request.fields()?)?;
    let command = Command::Create { names: Names::default(), profile };
    carry_out_as(&state, &caller, &request, command, SHAPE).await
}

/// `GET /v1/customers`
async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    query.only(&["starting_after", "ending_before", "limit", "filters"])?;
    let list = listed(&state, &caller, query, Times::Millis).await?;
    let items: Vec<Value> = list.data.iter().map(customer).collect();
    Ok(Json(json!({ "object": "list", "has_more": list.has_more, "items": items })))
}

/// `GET /v1/customers/{id}`
async fn one(state: extract::State<Arc<State>>, asked: Asked) -> Result<Json<Value>, ApiError> {
    let Json(found) = customers::one(state, asked).await?;
    Ok(Json(customer(&found)))
}

/// `PATCH /v1/customers/{id}`
async fn update(
    extract::State(state): extract::State<Arc<State>>,
    Writer(caller): Writer,
    Path(id): Path<String>,
    _: NoQuery,
    request: Whole,
) -> Result<Response, ApiError> {
    let profile = profile(request.fields()?)?;
    let command = Command::Update { customer: write::customer(&id)?, external_id: None, profile };
    carry_out_as(&state, &caller, &request, command, SHAPE).await
}

/// `DELETE /v1/customers/{id}`: what it was attached to stays.
async fn delete(
    extract::State(state): extract::State<Arc<State>>,
    Administrator(caller): Administrator,
    Path(id): Path<String>,
    _: NoQuery,
    Bare(request): Bare,
) -> Result<Response, ApiError> {
    let command = Command::Delete { customer: write::customer(&id)?, erase_payments: false };
    carry_out_as(&state, &caller, &request, command, SHAPE).await
}

fn profile(mut fields: Fields) -> Result<ProfileChange, ApiError> {
    for name in ["shipping_details", "default_payment_method"] {
        fields.said::<()>(name, |_| Err("is not kept here: leave it out, or null"))?;
    }
    fields.only(&["name", "email", "phone", "metadata"])?;
    write::profile(&mut fields)
}

fn customer(customer: &Customer) -> Value {
    let person = &customer.person;
    json!({
        "object": "customer",
        "id": customer.id,
        "live": customer.live,
        "created_at": milliseconds(customer.created_at),
        "updated_at": milliseconds(customer.updated_at),
        "deleted": customer.deleted,
        "name": person.name,
        "email": person.email,
        "phone": person.phone,
        "metadata": person.metadata,
        "balance": 0,
        "shipping_details": null,
        "default_payment_method": null,
        "external_sync": null,
    })
}

/// Since 1970.
fn milliseconds(time: Timestamp) -> i64 {
    time.micros().div_euclid(1_000)
}

pub(super) fn error(error: &ApiError, live: Option<bool>) -> Value {
    let kind = match error.status {
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "server_error",
        _ if error.code.starts_with("idempotency_") => "idempotency_error",
        _ => "invalid_request_error",
    };
    let code = match error.status {
        StatusCode::UNAUTHORIZED => "invalid_api_key",
        StatusCode::BAD_REQUEST => "invalid_parameters",
        _ => error.code,
    };
    json!({
        "object": "error",
        "error": {
            "type": kind,
            "live": live,
            "code": code,
            "message": error.message,
            "param": error.param,
            "issues": [],
            "customer_message": null,
        },
    })
}
