//! `/v1/webhook-messages`: what was told, how far it got, and once more by hand.

use super::{
    State,
    auth::{Administrator, Reader},
    body::Bare,
    customers::no_such_cursor,
    endpoints::now,
    error::ApiError,
    idempotency::{self, Done},
    query::{NoQuery, Query},
};
use crate::{
    model::{
        answer::List,
        id::MessageId,
        key::Scope,
        message::{EventType, MessageStatus},
    },
    store::{
        Tx,
        browse::{self, MessageFilter, ShownMessage},
        endpoints,
        messages::{self, Attempt},
    },
};
use axum::{
    Json,
    extract::{self, Path},
    http::StatusCode,
    response::Response,
};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use utoipa::ToSchema;

/// `GET /v1/webhook-messages`
pub(super) async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    mut query: Query,
) -> Result<Json<List<ShownMessage>>, ApiError> {
    let page = query.page()?;
    let expected = "must be pending, delivered, dead or canceled";
    let filter = MessageFilter {
        environment: Some(caller.environment.to_string()),
        endpoint: query
            .read("endpoint_id", "must be the id of an endpoint", |id| id.parse().ok())?,
        status: query.read("status", expected, MessageStatus::from_name)?,
        since: query.time("since")?,
        until: query.time("until")?,
    };
    query.finish()?;
    let mut tx = state.snapshot().await?;
    let slice = browse::messages(&mut tx, &filter, page)
        .await?
        .ok_or_else(|| no_such_cursor(page.position))?;
    Ok(Json(List::new(page, slice, |message| message.id)))
}

fn unknown() -> ApiError {
    ApiError::not_found("webhook_message_not_found", "there is no such webhook message")
}

/// A message that this caller may see.
async fn of(tx: &mut Tx, caller: &Reader, id: &str) -> Result<ShownMessage, ApiError> {
    let id: MessageId = id.parse().map_err(|_| unknown())?;
    browse::message(tx, Some(&caller.environment), id).await?.ok_or_else(unknown)
}

/// A message with what it says.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookMessageDetail)]
pub(super) struct Detail {
    #[serde(flatten)]
    message: ShownMessage,
    /// What is sent: the body that docs/webhooks.md describes.
    #[schema(value_type = std::collections::BTreeMap<String, Value>)]
    payload: Value,
}

/// `GET /v1/webhook-messages/{id}`
pub(super) async fn one(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    Path(id): Path<String>,
    _: NoQuery,
) -> Result<Json<Detail>, ApiError> {
    let mut tx = state.snapshot().await?;
    let message = of(&mut tx, &caller, &id).await?;
    let body = browse::message_body(&mut tx, message.id).await?.unwrap_or_default();
    let payload = serde_json::from_str(&body).unwrap_or(Value::Null);
    Ok(Json(Detail { message, payload }))
}

/// `GET /v1/webhook-messages/{id}/attempts`: the newest first.
pub(super) async fn attempts(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    Path(id): Path<String>,
    _: NoQuery,
) -> Result<Json<List<Attempt>>, ApiError> {
    let mut tx = state.snapshot().await?;
    let message = of(&mut tx, &caller, &id).await?;
    let mut all = messages::attempts(&mut tx, message.id).await?;
    all.reverse();
    if caller.scope < Scope::Admin {
        // With its signature and its payload anybody could send the message once more.
        for tried in &mut all {
            tried.request_headers = None;
        }
    }
    Ok(Json(List::whole(all)))
}

/// `POST /v1/webhook-messages/{id}/resend`
pub(super) async fn resend(
    extract::State(state): extract::State<Arc<State>>,
    Administrator(caller): Administrator,
    Path(id): Path<String>,
    _: NoQuery,
    Bare(request): Bare,
) -> Result<Response, ApiError> {
    let (caller_of, clock) = (caller.clone(), state.clock().now());
    idempotency::once(&state, &caller, &request, move |tx| {
        Box::pin(async move {
            let now = now(tx, clock).await?;
            let message = of(tx, &caller_of, &id).await?;
            if endpoints::get(tx, message.endpoint_id).await?.is_none() {
                let why = "the endpoint of this message was deleted";
                return Err(ApiError::conflict("endpoint_deleted", why));
            }
            if message.kind == EventType::WebhookTest.as_str() {
                let why = "a test is sent once: make another one by `/test` of its endpoint";
                return Err(ApiError::conflict("message_is_test", why));
            }
            messages::resend(tx, Some(&caller_of.environment), message.id, now).await?;
            done(tx, &caller_of, &id).await
        })
    })
    .await
}

/// `POST /v1/webhook-messages/{id}/cancel`
pub(super) async fn cancel(
    extract::State(state): extract::State<Arc<State>>,
    Administrator(caller): Administrator,
    Path(id): Path<String>,
    _: NoQuery,
    Bare(request): Bare,
) -> Result<Response, ApiError> {
    let (caller_of, clock) = (caller.clone(), state.clock().now());
    idempotency::once(&state, &caller, &request, move |tx| {
        Box::pin(async move {
            let now = now(tx, clock).await?;
            let message = of(tx, &caller_of, &id).await?;
            if !messages::cancel(tx, Some(&caller_of.environment), message.id, now).await? {
                let why = "this message does not wait: it was delivered, given up or called off";
                return Err(ApiError::conflict("message_not_pending", why));
            }
            done(tx, &caller_of, &id).await
        })
    })
    .await
}

async fn done(tx: &mut Tx, caller: &Reader, id: &str) -> Result<Done, ApiError> {
    let message = of(tx, caller, id).await?;
    Ok(Done { customer: message.customer_id.map(|id| id.0), ..Done::new(StatusCode::OK, &message) })
}
