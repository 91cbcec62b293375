//! Revstack, as its client `@revstackhq/node` 0.6 speaks: camel case, fields without a value left out, POST is an
//! upsert by the app's own id, a customer answers to that id too, and DELETE takes all that hangs on it.

use super::sentence;
use crate::{
    http::{
        State,
        auth::{Administrator, Reader, Writer},
        body::{Bare, Whole},
        command::{Shape, carry_out_as},
        customer_list::listed,
        customers::{self, write},
        error::ApiError,
        query::{NoQuery, Query},
    },
    model::{
        command::{Command, Names},
        customer::Customer,
        filter::Times,
        id::CustomerId,
    },
    store::browse::{self, Found},
};
use axum::{
    Json, Router,
    extract::{self, Path},
    http::StatusCode,
    response::Response,
    routing::get,
};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use uuid::Uuid;

/// Before the part of an id that is the same in both.
const PREFIX: (&str, &str) = ("usr_", "cus_");

const SHAPE: Shape = Shape { customer, gone: |_| (StatusCode::OK, json!({ "success": true })) };

pub(super) fn routes() -> Router<Arc<State>> {
    let all = || get(list).post(identify);
    let one = || get(one).patch(update).delete(delete);
    Router::new()
        .route("/compat/revstack/customers", all())
        .route("/compat/revstack/customers/{id}", one())
        // As it stands in the client's own default, for whoever replaces the host alone.
        .route("/compat/revstack/api/v1/customers", all())
        .route("/compat/revstack/api/v1/customers/{id}", one())
}

/// `POST /customers`: the customer of an id of the app's own, made where there is none.
async fn identify(
    extract::State(state): extract::State<Arc<State>>,
    Writer(caller): Writer,
    _: NoQuery,
    request: Whole,
) -> Result<Response, ApiError> {
    let mut fields = request.fields()?;
    fields.only(&["customerId", "email", "name", "metadata"])?;
    fields.not_null(&["email", "name", "metadata"])?;
    let names =
        Names { external_id: Some(fields.need("customerId", write::external)?), identity: vec![] };
    let profile = write::profile(&mut fields)?;
    carry_out_as(&state, &caller, &request, Command::Identify { names, profile }, SHAPE).await
}

/// `GET /customers`
async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    query.only(&["limit", "offset"])?;
    query.unless_told("offset", "0");
    let list = listed(&state, &caller, query, Times::Text).await?;
    let data: Vec<Value> = list.data.iter().map(customer).collect();
    let total = list.exact_total();
    Ok(Json(told(json!({ "data": data, "total": total, "hasMore": list.has_more }))))
}

/// `GET /customers/{id}`
async fn one(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    Path(id): Path<String>,
    _: NoQuery,
) -> Result<Json<Value>, ApiError> {
    let id = meant(&state, &caller, &id).await?;
    Ok(Json(customer(&customers::searched(&state, &caller, id).await?)))
}

/// `PATCH /customers/{id}`
async fn update(
    extract::State(state): extract::State<Arc<State>>,
    Writer(caller): Writer,
    Path(id): Path<String>,
    _: NoQuery,
    request: Whole,
) -> Result<Response, ApiError> {
    let mut fields = request.fields()?;
    fields.only(&["email", "metadata"])?;
    fields.not_null(&["email", "metadata"])?;
    let profile = write::profile(&mut fields)?;
    let customer = meant(&state, &caller, &id).await?;
    let command = Command::Update { customer, external_id: None, profile };
    carry_out_as(&state, &caller, &request, command, SHAPE).await
}

/// `DELETE /customers/{id}`: "and all associated data", so its payments too.
async fn delete(
    extract::State(state): extract::State<Arc<State>>,
    Administrator(caller): Administrator,
    Path(id): Path<String>,
    _: NoQuery,
    Bare(request): Bare,
) -> Result<Response, ApiError> {
    let customer = meant(&state, &caller, &id).await?;
    let command = Command::Delete { customer, erase_payments: true };
    carry_out_as(&state, &caller, &request, command, SHAPE).await
}

/// Nobody's. Where nobody is meant the query or command finds that out itself, after its `Idempotency-Key` was asked.
const NOBODY: CustomerId = CustomerId(Uuid::nil());

/// Whom an id in a path names: its documents give ids of theirs (`usr_…`) and of the app's. An id of ours goes first.
async fn meant(state: &State, caller: &Reader, id: &str) -> Result<CustomerId, ApiError> {
    let (theirs, ours) = PREFIX;
    let own = id.strip_prefix(theirs).map_or_else(|| id.to_owned(), |rest| format!("{ours}{rest}"));
    let mut tx = state.snapshot().await?;
    if let Ok(own) = own.parse() {
        let found = browse::resolve(&mut tx, &caller.environment, own).await?;
        if !matches!(found, Found::Nothing) {
            return Ok(own);
        }
    }
    let Ok(name) = customers::external(id) else { return Ok(NOBODY) };
    let reference = state.pipeline.keyring.reference_id(&caller.environment, &name);
    let now = state.clock().now();
    Ok(match browse::lookup(&mut tx, &caller.environment, &[reference], now).await? {
        Found::Here(customer) => customer.id,
        Found::Deleted | Found::Nothing => NOBODY,
    })
}

fn customer(customer: &Customer) -> Value {
    let (theirs, ours) = PREFIX;
    let id = customer.id.to_string().replacen(ours, theirs, 1);
    told(json!({
        "id": id,
        "environmentId": customer.environment,
        "providerUid": customer.person.provider_uid,
        "email": customer.person.email,
        "isAnonymous": customer.person.is_anonymous,
        "gatewayCustomerId": customer.person.gateway_customer_id,
        "metadata": customer.person.metadata,
        "createdAt": customer.created_at.to_millis_text(),
    }))
}

/// Without the fields that have no value.
fn told(object: Value) -> Value {
    match object {
        Value::Object(all) => {
            all.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>().into()
        }
        other => other,
    }
}

pub(super) fn error(error: &ApiError, request_id: &str) -> Value {
    let code = match error.status {
        StatusCode::UNAUTHORIZED => "INVALID_API_KEY".to_owned(),
        StatusCode::TOO_MANY_REQUESTS => "RATE_LIMIT_EXCEEDED".to_owned(),
        // Who was deleted is nobody: they know no other word for it.
        StatusCode::NOT_FOUND => error.code.replace("deleted", "not_found").to_uppercase(),
        _ => error.code.to_uppercase(),
    };
    told(json!({
        "message": sentence(error),
        "code": code,
        "requestId": request_id,
        "retryAfter": error.retry_after,
    }))
}
