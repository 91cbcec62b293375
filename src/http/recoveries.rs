//! Dead messages sent again by filter: jobs that go on by themselves, and how far they are.

use super::{
    State,
    auth::{Administrator, Reader},
    body::{Bare, Fields, Whole},
    endpoints::{self, now},
    error::ApiError,
    idempotency::{self, Done},
    query::{self, NoQuery},
};
use crate::{
    model::{
        answer::List,
        id::{EndpointId, RecoveryId},
        message::EventType,
        time::Timestamp,
    },
    store::{
        Tx,
        recoveries::{self, Filter, Recovery},
    },
};
use axum::{
    Json,
    extract::{self, Path},
    http::StatusCode,
    response::Response,
};
use serde_json::Value;
use std::sync::Arc;

/// What a request says of the messages that it means.
#[derive(Default)]
struct Asked {
    endpoint: Option<String>,
    event_type: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

fn time(value: &Value) -> Result<Timestamp, &'static str> {
    let time = value.as_str().and_then(Timestamp::parse);
    time.ok_or("must be a time like 2026-01-31T12:00:00Z")
}

/// `POST /v1/webhook-endpoints/{id}/recover`: 202 with a job that makes dead messages of a span due again.
pub(super) async fn of_endpoint(
    extract::State(state): extract::State<Arc<State>>,
    Administrator(caller): Administrator,
    Path(id): Path<String>,
    _: NoQuery,
    request: Whole,
) -> Result<Response, ApiError> {
    let mut fields = request.fields()?;
    let since = Some(fields.need("since", |value| time(&value))?);
    let until = until(&mut fields, since)?;
    fields.finish()?;
    let asked = Asked { endpoint: Some(id), since, until, ..Asked::default() };
    ask(&state, &caller, &request, asked).await
}

/// `POST /v1/webhook-messages/resend`: the same for all dead messages that a filter names.
pub(super) async fn of_filter(
    extract::State(state): extract::State<Arc<State>>,
    Administrator(caller): Administrator,
    _: NoQuery,
    request: Whole,
) -> Result<Response, ApiError> {
    let mut fields = request.fields()?;
    let pattern = |value: Value| match value {
        Value::String(pattern) if EventType::is_pattern(&pattern) => Ok(pattern),
        _ => Err("must be an event type like `payment.succeeded`, or a family like `payment.*`"),
    };
    let endpoint = |value: Value| {
        let id = value.as_str().and_then(|id| id.parse::<EndpointId>().ok());
        id.map(|id| id.to_string()).ok_or("must be the id of an endpoint")
    };
    let endpoint = fields.maybe("endpoint_id", endpoint)?;
    let event_type = fields.maybe("type", pattern)?;
    let since = fields.maybe("since", |value| time(&value))?;
    let until = until(&mut fields, since)?;
    fields.finish()?;
    if endpoint.is_none() && event_type.is_none() && since.is_none() && until.is_none() {
        let why =
            "say which dead messages: `endpoint_id`, `type`, `since`, `until`, or several of these";
        return Err(query::invalid("endpoint_id", why));
    }
    ask(&state, &caller, &request, Asked { endpoint, event_type, since, until }).await
}

fn until(fields: &mut Fields, since: Option<Timestamp>) -> Result<Option<Timestamp>, ApiError> {
    let until = fields.maybe("until", |value| time(&value))?;
    if since.is_some_and(|since| until.is_some_and(|until| until <= since)) {
        return Err(fields.wrong("until", "must be later than `since`"));
    }
    Ok(until)
}

async fn ask(
    state: &Arc<State>,
    caller: &Reader,
    request: &Whole,
    asked: Asked,
) -> Result<Response, ApiError> {
    let job = RecoveryId(state.clock().new_id());
    let (caller_of, clock) = (caller.clone(), state.clock().now());
    idempotency::once(state, caller, request, move |tx| {
        Box::pin(async move {
            let now = now(tx, clock).await?;
            let Asked { endpoint, event_type, since, until } = asked;
            let endpoint = match endpoint {
                Some(id) => Some(endpoints::of(tx, &caller_of, &id).await?.id),
                None => None,
            };
            let until = until.unwrap_or(now);
            if since.is_some_and(|since| until <= since) {
                return Err(query::invalid("since", "must be in the past"));
            }
            let environment = caller_of.environment.to_string();
            let filter = Filter { environment, endpoint, event_type, since, until };
            let recovery = recoveries::create(tx, job, filter, now).await?;
            Ok(Done::new(StatusCode::ACCEPTED, &recovery))
        })
    })
    .await
}

/// `GET /v1/webhook-endpoints/{id}/recoveries`: an endpoint's own, and how far they are.
pub(super) async fn list_of_endpoint(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    Path(id): Path<String>,
    _: NoQuery,
) -> Result<Json<List<Recovery>>, ApiError> {
    let mut tx = state.snapshot().await?;
    let endpoint = endpoints::of(&mut tx, &caller, &id).await?.id;
    Ok(Json(List::whole(recoveries::list(&mut tx, &caller.environment, Some(endpoint)).await?)))
}

/// `GET /v1/webhook-recoveries`: all of them.
pub(super) async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    _: NoQuery,
) -> Result<Json<List<Recovery>>, ApiError> {
    let mut tx = state.single().await?;
    Ok(Json(List::whole(recoveries::list(&mut tx, &caller.environment, None).await?)))
}

/// `GET /v1/webhook-recoveries/{id}`
pub(super) async fn one(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    Path(id): Path<String>,
    _: NoQuery,
) -> Result<Json<Recovery>, ApiError> {
    let mut tx = state.single().await?;
    of(&mut tx, &caller, &id).await.map(Json)
}

/// A recovery that this caller may see.
async fn of(tx: &mut Tx, caller: &Reader, id: &str) -> Result<Recovery, ApiError> {
    let unknown = || ApiError::not_found("webhook_recovery_not_found", "there is no such recovery");
    let id: RecoveryId = id.parse().map_err(|_| unknown())?;
    recoveries::get(tx, Some(&caller.environment), id).await?.ok_or_else(unknown)
}

/// `POST /v1/webhook-recoveries/{id}/cancel`
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
            let recovery = of(tx, &caller_of, &id).await?;
            if !recoveries::cancel(tx, Some(&caller_of.environment), recovery.id, now).await? {
                let why = "this recovery does not run: it is done, or was called off";
                return Err(ApiError::conflict("recovery_not_running", why));
            }
            let recovery = of(tx, &caller_of, &id).await?;
            tracing::info!(recovery = %recovery.id, recovered = recovery.recovered, "a recovery is called off");
            Ok(Done::new(StatusCode::OK, &recovery))
        })
    })
    .await
}
