//! Reevit, as its clients for Python 0.11 and Rust 0.3 speak: the key in a header of its own, lists under a name of
//! their own, figures in the names of its newest and its older documents, a deletion that answers nothing.

use super::sentence;
use crate::{
    http::{
        State,
        auth::{Administrator, Reader, Writer},
        body::{Bare, Whole},
        command::{Shape, carry_out_as},
        customer_list::listed,
        customers::{self, Asked, write},
        error::ApiError,
        query::{NoQuery, Query, invalid},
        top,
    },
    model::{
        command::{Command, Names},
        customer::Customer,
        filter::Times,
        payment::Payment,
        time::Timestamp,
    },
};
use axum::{
    Json, Router,
    extract::{self, Path, Request},
    http::{StatusCode, header},
    middleware::map_request,
    response::Response,
    routing::get,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// What their clients give the key in.
pub(in crate::http) const KEY: &str = "x-reevit-key";

/// Parameters that they call otherwise than we do: theirs, ours.
const NAMES: [(&str, &str); 2] = [("min_spend", "min_spent"), ("max_spend", "max_spent")];

const SHAPE: Shape = Shape { customer, gone: |_| (StatusCode::NO_CONTENT, Value::Null) };

pub(super) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/compat/reevit/v1/customers", get(list).post(create))
        .route("/compat/reevit/v1/customers/lookup", get(lookup))
        .route("/compat/reevit/v1/customers/top", get(ranking))
        .route("/compat/reevit/v1/customers/{id}", get(one).patch(update).delete(delete))
        .route("/compat/reevit/v1/customers/{id}/payments", get(payments))
        .layer(map_request(own_key))
}

/// Who asks, where they say it.
async fn own_key(mut request: Request) -> Request {
    let headers = request.headers_mut();
    if let Some(key) = headers.remove(KEY) {
        headers.remove(header::AUTHORIZATION);
        headers.insert("x-api-key", key);
    }
    request
}

/// `GET /v1/customers`
async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    query.only(&[
        "limit",
        "offset",
        "external_id",
        "search",
        "tags",
        "currency",
        "min_spend",
        "max_spend",
        "sort_by",
        "sort_desc",
        "sort_order",
    ])?;
    for (theirs, ours) in NAMES {
        query.rename(theirs, ours);
    }
    for (name, downwards) in [("sort_desc", "true"), ("sort_order", "desc")] {
        let expected = "must be left out or say descending: lists are newest or most first";
        query.read(name, expected, |text| (text == downwards).then_some(()))?;
    }
    if let Some(sort) = query.text("sort_by") {
        let ours = match sort.as_str() {
            "created_at" => "created_at",
            "total_amount" | "total_spent" => "total_spent",
            "total_payments" | "payment_count" => "payment_count",
            _ => {
                let expected = "must be created_at, total_amount or total_payments";
                return Err(invalid("sort_by", expected));
            }
        };
        query.unless_told("sort_by", ours);
    }
    query.unless_told("limit", "50");
    query.unless_told("offset", "0");
    let list = listed(&state, &caller, query, Times::Text).await?;
    let customers: Vec<Value> = list.data.iter().map(customer).collect();
    Ok(Json(json!({ "customers": customers, "total": list.exact_total() })))
}

/// `POST /v1/customers`
async fn create(
    extract::State(state): extract::State<Arc<State>>,
    Writer(caller): Writer,
    _: NoQuery,
    request: Whole,
) -> Result<Response, ApiError> {
    let mut fields = request.fields()?;
    fields.only(&["external_id", "email", "name", "phone", "metadata", "tags"])?;
    let external_id = fields.said("external_id", write::external)?.flatten();
    let profile = write::profile(&mut fields)?;
    let names = Names { external_id, identity: vec![] };
    carry_out_as(&state, &caller, &request, Command::Create { names, profile }, SHAPE).await
}

/// `GET /v1/customers/lookup`
async fn lookup(
    state: extract::State<Arc<State>>,
    caller: Reader,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    query.only(&["external_id"])?;
    let Json(found) = customers::lookup(state, caller, query).await?;
    Ok(Json(customer(&found)))
}

/// `GET /v1/customers/top`
async fn ranking(
    state: extract::State<Arc<State>>,
    caller: Reader,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    query.unless_told("metric", "total_spent");
    let Json(top) = top::top(state, caller, query).await?;
    let customers: Vec<Value> = top.data.iter().map(|ranked| customer(&ranked.customer)).collect();
    Ok(Json(json!({ "customers": customers })))
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
    let mut fields = request.fields()?;
    fields.only(&["external_id", "email", "name", "phone", "metadata", "tags"])?;
    let external_id = fields.said("external_id", write::external)?;
    let profile = write::profile(&mut fields)?;
    let command = Command::Update { customer: write::customer(&id)?, external_id, profile };
    carry_out_as(&state, &caller, &request, command, SHAPE).await
}

/// `DELETE /v1/customers/{id}`: the payments stay.
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

/// `GET /v1/customers/{id}/payments`
async fn payments(
    state: extract::State<Arc<State>>,
    caller: Reader,
    id: Path<String>,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    query.only(&["limit", "offset"])?;
    query.unless_told("limit", "20");
    let Json(list) = customers::payments(state, caller, id, query).await?;
    let payments: Vec<Value> = list.data.iter().map(payment).collect();
    Ok(Json(json!({ "payments": payments })))
}

fn customer(customer: &Customer) -> Value {
    let person = &customer.person;
    json!({
        "id": customer.id,
        // The environment is what a key sees and nothing else does: what an organisation and a mode are to them.
        "org_id": customer.environment,
        "mode": if customer.live { "live" } else { "test" },
        "external_id": person.external_id,
        "email": person.email,
        "name": person.name,
        "phone": person.phone,
        "metadata": person.metadata,
        "tags": person.tags,
        "total_payments": customer.payment_count,
        "payment_count": customer.payment_count,
        "successful_payments": customer.successful_payment_count,
        "failed_payments": customer.failed_payment_count,
        "total_amount": customer.total_spent,
        "total_spent": customer.total_spent,
        "refund_amount": customer.total_refunded,
        "avg_payment_amount": average(customer),
        "preferred_currency": customer.primary_currency,
        "subscription_status": customer.subscription_status,
        "first_payment_at": customer.first_payment_at.map(Timestamp::to_millis_text),
        "last_payment_at": customer.last_payment_at.map(Timestamp::to_millis_text),
        "created_at": customer.created_at.to_millis_text(),
        "updated_at": customer.updated_at.to_millis_text(),
    })
}

/// Of successful payments in the primary currency, minor units, cut off.
fn average(customer: &Customer) -> Option<i64> {
    let line = customer.spend.iter().find(|line| Some(line.currency) == customer.primary_currency);
    line.and_then(|line| line.total_spent.checked_div(line.successful_payment_count))
}

/// Their clients insist on some fields that nobody told us: those are empty, and fees 0.
fn payment(payment: &Payment) -> Value {
    let currency = payment.currency.map(|currency| currency.to_string()).unwrap_or_default();
    let amount = payment.amount.unwrap_or(0);
    let subscription = payment.subscription_id.as_deref();
    json!({
        "id": payment.id,
        "payment_id": payment.id,
        "connection_id": payment.provider,
        "provider": payment.provider,
        "reference": payment.payment_id,
        "method": payment.method.as_deref().unwrap_or_default(),
        "status": payment.status,
        "amount": amount,
        "currency": currency,
        "fee_amount": 0,
        "fee_currency": currency,
        "net_amount": amount,
        "refund_amount": payment.amount_refunded,
        "customer_id": payment.customer_id.map(|id| id.to_string()).unwrap_or_default(),
        "metadata": payment.metadata,
        "source": subscription.map(|_| "subscription"),
        "source_id": subscription,
        "source_description": payment.description,
        "created_at": payment.created_at.to_millis_text(),
    })
}

pub(super) fn error(error: &ApiError) -> Value {
    let code = match error.status {
        StatusCode::BAD_REQUEST => "validation_error",
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::TOO_MANY_REQUESTS => "rate_limited",
        status if status.is_server_error() => "server_error",
        _ => error.code,
    };
    let theirs = |ours: &str| NAMES.iter().find(|(_, name)| *name == ours).map(|(name, _)| *name);
    let param = error.param.as_deref().map(|ours| theirs(ours).unwrap_or(ours));
    let mut details = error.details.clone().unwrap_or_else(|| json!({}));
    if let (Some(details), Some(param)) = (details.as_object_mut(), param) {
        details.insert("param".to_owned(), param.into());
    }
    let message = match error.code {
        "missing_api_key" => "give an API key as `X-Reevit-Key: …`".to_owned(),
        _ => sentence(error),
    };
    json!({ "error": code, "code": code, "message": message, "details": details })
}
