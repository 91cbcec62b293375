//! `/v1/webhook-endpoints`: who is told.

mod fields;

use super::{
    State,
    auth::{Administrator, Reader},
    body::{self, Bare, Whole},
    error::ApiError,
    idempotency::{self, Done},
    query::NoQuery,
};
use crate::{
    deliver::{
        manage::{self, Refused},
        sealed::OVERLAP,
        trial::{Keep, Untested},
    },
    model::{
        answer::List,
        endpoint::{Endpoint, EndpointSpec},
        id::{EndpointId, MessageId},
        secret::Secret,
        time::Timestamp,
    },
    store::{
        self, Tx, endpoints,
        idempotency::{Answer, Begun},
        messages::{self, Attempt},
    },
};
use axum::{
    Json,
    extract::{self, Path},
    http::StatusCode,
    response::Response,
};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use utoipa::ToSchema;

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Invalid(invalid) => {
                Self::param("invalid_parameter", invalid.param, invalid.why)
            }
            Refused::Unknown => unknown(),
            Refused::NameTaken => Self::conflict(
                "endpoint_name_taken",
                "another endpoint of this environment has this name",
            ),
            Refused::TooMany(_) => Self::conflict(
                "too_many_secrets",
                "too many secrets of this endpoint sign already: wait until the first of them ends, or rotate with an overlap of 0",
            ),
            Refused::Unopenable(error) => Self::internal().because(error),
            Refused::Store(error) => error.into(),
        }
    }
}

fn unknown() -> ApiError {
    ApiError::not_found("webhook_endpoint_not_found", "there is no such webhook endpoint")
}

/// The database's time, which ends and due times compare with.
pub(super) async fn now(tx: &mut Tx, clock: Timestamp) -> Result<Timestamp, ApiError> {
    Ok(store::now(tx, clock).await?)
}

/// An endpoint with its newest secret.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookEndpointWithSecret)]
pub(super) struct Opened<'a> {
    #[serde(flatten)]
    #[schema(value_type = Endpoint)]
    endpoint: &'a Endpoint,
    /// What signs, `whsec_…`: shown this once. Absent where a request is repeated under its `Idempotency-Key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<&'a str>,
}

/// An endpoint's answer: with its secret, which is not kept with an `Idempotency-Key`.
fn with_secret(status: StatusCode, endpoint: &Endpoint, secret: &Secret) -> Done {
    let plain = Done::new(status, endpoint);
    let opened = Done::new(status, &Opened { endpoint, secret: Some(secret.expose()) });
    Done { without_secret: Some(plain.body), ..opened }
}

/// An endpoint that was deleted.
#[derive(Serialize, ToSchema)]
#[schema(as = DeletedWebhookEndpoint)]
pub(super) struct Gone {
    /// Always `webhook_endpoint`.
    object: &'static str,
    /// Which.
    id: EndpointId,
    /// Always true.
    deleted: bool,
    /// Always true.
    success: bool,
}

/// What came of a test.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookTest)]
pub(super) struct Tested {
    /// Always `webhook_test`.
    object: &'static str,
    /// The message that was sent.
    message_id: MessageId,
    /// Whether the receiver took it.
    delivered: bool,
    /// The try; null where the request is repeated and it is not known any more.
    attempt: Option<Attempt>,
}

/// `POST /v1/webhook-endpoints`
pub(super) async fn create(
    extract::State(state): extract::State<Arc<State>>,
    Administrator(caller): Administrator,
    _: NoQuery,
    request: Whole,
) -> Result<Response, ApiError> {
    let (spec, secret) = fields::new(request.fields()?, &caller.environment)?;
    let id = EndpointId(state.clock().new_id());
    let (keyring, guard) = (state.pipeline.keyring.clone(), state.settings.webhooks.guard.clone());
    let clock = state.clock().now();
    idempotency::once(&state, &caller, &request, move |tx| {
        Box::pin(async move {
            let now = now(tx, clock).await?;
            let made = manage::create(tx, (&keyring, &guard), id, &spec, secret, now).await?;
            Ok(with_secret(StatusCode::CREATED, &made.0, &made.1))
        })
    })
    .await
}

/// `GET /v1/webhook-endpoints`. There are few: all on one page, the newest first.
pub(super) async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    _: NoQuery,
) -> Result<Json<List<Endpoint>>, ApiError> {
    let mut tx = state.snapshot().await?;
    let now = now(&mut tx, state.clock().now()).await?;
    let mut all = Vec::new();
    for endpoint in endpoints::list(&mut tx, Some(&caller.environment)).await?.into_iter().rev() {
        all.push(manage::shown(&mut tx, &state.pipeline.keyring, endpoint, now).await?);
    }
    Ok(Json(List::whole(all)))
}

/// `GET /v1/webhook-endpoints/{id}`
pub(super) async fn one(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    Path(id): Path<String>,
    _: NoQuery,
) -> Result<Json<Endpoint>, ApiError> {
    let mut tx = state.snapshot().await?;
    let now = now(&mut tx, state.clock().now()).await?;
    let endpoint = of(&mut tx, &caller, &id).await?;
    Ok(Json(manage::shown(&mut tx, &state.pipeline.keyring, endpoint, now).await?))
}

/// An endpoint that this caller may see.
pub(super) async fn of(tx: &mut Tx, caller: &Reader, id: &str) -> Result<Endpoint, ApiError> {
    let id: EndpointId = id.parse().map_err(|_| unknown())?;
    let endpoint = endpoints::get(tx, id).await?;
    endpoint.filter(|it| it.spec.environment == caller.environment).ok_or_else(unknown)
}

/// `PATCH /v1/webhook-endpoints/{id}`
pub(super) async fn change(
    extract::State(state): extract::State<Arc<State>>,
    Administrator(caller): Administrator,
    Path(id): Path<String>,
    _: NoQuery,
    request: Whole,
) -> Result<Response, ApiError> {
    let id: EndpointId = id.parse().map_err(|_| unknown())?;
    let change = fields::change(request.fields()?)?;
    let (keyring, guard) = (state.pipeline.keyring.clone(), state.settings.webhooks.guard.clone());
    let (environment, clock) = (caller.environment.clone(), state.clock().now());
    idempotency::once(&state, &caller, &request, move |tx| {
        Box::pin(async move {
            let now = now(tx, clock).await?;
            let place = (Some(&*environment), id);
            let enabled = change.enabled;
            let apply = |spec: &mut EndpointSpec| -> Result<(), ApiError> {
                change.apply(spec);
                Ok(())
            };
            let mut endpoint = manage::change(tx, (&keyring, &guard), place, apply, now).await?;
            if let Some(enabled) = enabled {
                let switch = (enabled, (!enabled).then_some("switched off by the API"));
                endpoint = manage::set_enabled(tx, &keyring, place, switch, now).await?;
            }
            Ok(Done::new(StatusCode::OK, &endpoint))
        })
    })
    .await
}

/// `DELETE /v1/webhook-endpoints/{id}`. What waits for it is called off.
pub(super) async fn delete(
    extract::State(state): extract::State<Arc<State>>,
    Administrator(caller): Administrator,
    Path(id): Path<String>,
    _: NoQuery,
    Bare(request): Bare,
) -> Result<Response, ApiError> {
    let id: EndpointId = id.parse().map_err(|_| unknown())?;
    let (environment, clock) = (caller.environment.clone(), state.clock().now());
    idempotency::once(&state, &caller, &request, move |tx| {
        Box::pin(async move {
            let now = now(tx, clock).await?;
            manage::delete(tx, (Some(&*environment), id), now).await?;
            let body = Gone { object: "webhook_endpoint", id, deleted: true, success: true };
            Ok(Done::new(StatusCode::OK, &body))
        })
    })
    .await
}

/// `POST /v1/webhook-endpoints/{id}/rotate-secret`
pub(super) async fn rotate(
    extract::State(state): extract::State<Arc<State>>,
    Administrator(caller): Administrator,
    Path(id): Path<String>,
    _: NoQuery,
    request: Whole,
) -> Result<Response, ApiError> {
    let id: EndpointId = id.parse().map_err(|_| unknown())?;
    let mut given = (None, OVERLAP);
    if !request.body.bytes.is_empty() {
        let mut fields = request.fields()?;
        given.0 = fields.maybe("secret", fields::secret)?;
        let overlap = fields.maybe("overlap_seconds", |value: Value| {
            let seconds = body::whole(&value).and_then(TimeDelta::try_seconds);
            seconds.ok_or("must be a whole number of seconds, at most 604800")
        })?;
        given.1 = overlap.unwrap_or(OVERLAP);
        fields.finish()?;
    }
    let keyring = state.pipeline.keyring.clone();
    let (environment, clock) = (caller.environment.clone(), state.clock().now());
    idempotency::once(&state, &caller, &request, move |tx| {
        Box::pin(async move {
            let now = now(tx, clock).await?;
            let rotated =
                manage::rotate(tx, &keyring, (Some(&*environment), id), given, now).await?;
            Ok(with_secret(StatusCode::OK, &rotated.0, &rotated.1))
        })
    })
    .await
}

/// `POST /v1/webhook-endpoints/{id}/test`: sends `webhook.test` and answers with the try.
pub(super) async fn test(
    extract::State(state): extract::State<Arc<State>>,
    Administrator(caller): Administrator,
    Path(id): Path<String>,
    _: NoQuery,
    Bare(request): Bare,
) -> Result<Response, ApiError> {
    let id: EndpointId = id.parse().map_err(|_| unknown())?;
    let (tester, of) = (state.tester()?, state.clone());
    let held = idempotency::hold(&state, &caller, &request)?;
    state
        .uncut(async move {
            let keep = held.as_ref().map(|held| -> Keep { (held.slot, sent) });
            match tester.send(Some(&caller.environment), id, keep).await {
                Ok((message, attempt)) => {
                    Ok(Done::new(StatusCode::OK, &tested(message, Some(attempt))).response())
                }
                // What came of it is not kept with the key: it was not known yet.
                Err(Untested::Known(Begun::Answered(status, body))) => {
                    let Sent { message_id } = serde_json::from_str(&body)
                        .map_err(|error| ApiError::internal().because(error))?;
                    let mut tx = of.snapshot().await?;
                    let attempt = messages::attempts(&mut tx, message_id).await?.pop();
                    let body = Done::new(StatusCode::OK, &tested(message_id, attempt)).body;
                    Ok(idempotency::replay(status, body.to_string()))
                }
                Err(Untested::Known(begun)) => {
                    idempotency::known(begun)?.ok_or_else(ApiError::internal)
                }
                Err(Untested::Unknown) => Err(unknown()),
                Err(Untested::Busy) => Err(ApiError::conflict(
                    "too_many_tests",
                    "too many tests are under way: wait until they have been answered",
                )),
                Err(Untested::Unopenable(error)) => Err(ApiError::internal().because(error)),
                Err(Untested::Store(error)) => Err(error.into()),
            }
        })
        .await?
}

/// What is kept of a test that is about to be sent.
#[derive(Serialize, Deserialize)]
struct Sent {
    message_id: MessageId,
}

fn sent(message_id: MessageId) -> Answer {
    Done::new(StatusCode::OK, &Sent { message_id }).kept()
}

fn tested(message_id: MessageId, attempt: Option<Attempt>) -> Tested {
    let outcome = attempt.as_ref().and_then(|attempt| attempt.outcome.as_deref());
    let delivered = outcome == Some("delivered");
    Tested { object: "webhook_test", message_id, delivered, attempt }
}
