//! `POST /ingest/{source}`: a provider's webhook in. Verified at once, kept durably, applied by the pipeline.

use super::{
    State,
    body::{self, Held, LIMIT, Read},
    error::ApiError,
    health::INGRESS,
};
use crate::{
    health::DATABASE,
    intake::Unavailable,
    model::{
        id::InboundId,
        inbound::{Headers, Raw},
        time::Timestamp,
    },
    provider::Source,
    store::refusals::{BODY_KEPT, Refusal},
    telemetry::trace::{Kind, Step, TRACEPARENT},
    verify::{Rejection, scheme::Scheme, verify},
};
use axum::{
    Json,
    extract::{self, Path, Request},
    http::{HeaderMap, StatusCode},
};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// The label of what names no configured source: anybody may make up any number of names.
const UNKNOWN: &str = "unknown source";

/// What is not passed on: what belongs to the connection, and to a browser; and the headers by which our own
/// messages on RabbitMQ name their source and time (contract 3), which a sender must not choose.
const DROPPED: [&str; 13] = [
    "connection",
    "cookie",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-received-at",
    "x-source",
];

/// What a provider is answered whose webhook is kept.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Received)]
pub(super) struct Accepted {
    /// Always true.
    received: bool,
}

/// `POST /ingest/{source}`
pub(super) async fn receive(
    extract::State(state): extract::State<Arc<State>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<(StatusCode, Json<Accepted>), ApiError> {
    let at = state.clock().now();
    let (parts, body) = request.into_parts();
    let source = state.pipeline.sources.get(name.as_str()).cloned();
    // Of a stranger's body no more is held than is kept of it.
    let limit = if source.is_some() { LIMIT } else { BODY_KEPT };
    let read = body::read(&state, body, limit).await?;
    let headers = passed_on(&parts.headers, source.as_deref());
    let trace = parts.headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
    let request = Received { headers, trace: trace.map(str::to_owned), read, at };
    let Some(source) = source else {
        count("unknown_source", UNKNOWN);
        request.refuse(&state, None, &name, "unknown source".into()).await;
        return Err(ApiError::not_found("unknown_source", "there is no source of this name"));
    };
    match check(&source, &request) {
        Ok(raw) => {
            let parent = request.trace.as_deref();
            let step = Step::begun_at(Kind::Server, "POST /ingest/{source}", parent, at.micros());
            keep(&state, &source, raw, step).await
        }
        Err(Refused::TooLarge) => {
            count("too_large", &source.name);
            let reason = format!("the body is larger than {LIMIT} bytes");
            request.refuse(&state, Some(&source), &source.name, reason).await;
            Err(ApiError::too_large(LIMIT))
        }
        Err(Refused::Unverified(rejection)) => {
            count("unverified", &source.name);
            let reason = rejection.to_string();
            request.refuse(&state, Some(&source), &source.name, reason).await;
            let message = "the signature or credential is not that of this source";
            Err(ApiError::unauthenticated("invalid_signature", message))
        }
    }
}

/// A request as it was read.
struct Received {
    headers: Headers,
    /// The W3C context that the caller gives. It counts once the request is verified: nobody else is to tell us
    /// what to trace.
    trace: Option<String>,
    read: Read,
    /// When it was received.
    at: Timestamp,
}

/// Why a known source's request goes no further.
enum Refused {
    TooLarge,
    Unverified(Rejection),
}

fn check(source: &Arc<Source>, request: &Received) -> Result<Raw, Refused> {
    let Read::Whole(Held { bytes: body, .. }) = &request.read else {
        return Err(Refused::TooLarge);
    };
    let raw = Raw {
        source: source.name.clone(),
        headers: request.headers.clone(),
        body: body.clone(),
        received_at: Some(request.at),
        queue_id: None,
        dead: None,
    };
    match verify(source, &raw, request.at) {
        Ok(_) => Ok(raw),
        Err(rejection) => Err(Refused::Unverified(rejection)),
    }
}

async fn keep(
    state: &Arc<State>,
    source: &Arc<Source>,
    mut raw: Raw,
    mut step: Step,
) -> Result<(StatusCode, Json<Accepted>), ApiError> {
    step.tell("event.source", source.name.to_string());
    if let Some(trace) = step.traceparent() {
        raw.headers.add(TRACEPARENT, trace);
    }
    let (held, ingress) = (state.clone(), state.health.part(INGRESS));
    match state.uncut(async move { held.ingress.accept(raw).await }).await? {
        Ok(()) => {
            ingress.up(DATABASE);
            count("accepted", &source.name);
            Ok((StatusCode::ACCEPTED, Json(Accepted { received: true })))
        }
        Err(error) => {
            if let Unavailable::Database(error) = &error {
                // Readiness then finds out when it can be written to again, though nobody may come to try.
                ingress.down(DATABASE, error.to_string());
            }
            count("unavailable", &source.name);
            step.fail("the event cannot be kept");
            Err(ApiError::unavailable("the event cannot be kept just now").because(error))
        }
    }
}

impl Received {
    /// Keeps a sample of a refused request: of its headers those that the source's scheme reads.
    async fn refuse(&self, state: &State, source: Option<&Source>, name: &str, reason: String) {
        let (Read::Whole(held) | Read::TooLarge(held)) = &self.read;
        let headers = match source.and_then(|source| source.provider.scheme.as_ref()) {
            Some(scheme) => scheme.kept_headers(&self.headers),
            None => Headers::default(),
        };
        state
            .refusals
            .keep(Refusal {
                id: InboundId(state.clock().new_id()),
                environment: source.map(|source| source.environment.clone()),
                source: name.into(),
                headers,
                body: held.bytes.iter().take(BODY_KEPT).copied().collect(),
                reason,
                received_at: self.at,
            })
            .await;
    }
}

/// Begins to count: a counter that appears with its first request has not risen, as Prometheus sees it.
pub(super) fn begin<'a>(sources: impl Iterator<Item = &'a str>) {
    for source in sources {
        for outcome in ["accepted", "too_large", "unverified", "unavailable"] {
            counter(outcome, source).increment(0);
        }
    }
    counter("unknown_source", UNKNOWN).increment(0);
}

fn count(outcome: &'static str, source: &str) {
    counter(outcome, source).increment(1);
}

fn counter(outcome: &'static str, source: &str) -> metrics::Counter {
    metrics::counter!("customer_sync_ingest_requests_total",
        "outcome" => outcome, "source" => source.to_owned())
}

/// The headers that go on with the body: those that the source's scheme reads; without a scheme all but
/// what is [`DROPPED`].
fn passed_on(headers: &HeaderMap, source: Option<&Source>) -> Headers {
    let read = source.and_then(|source| source.provider.scheme.as_ref()).map(Scheme::headers);
    let is_passed = |name: &str| match &read {
        Some(read) => read.contains(&name),
        None => !DROPPED.contains(&name),
    };
    headers
        .iter()
        .filter(|(name, _)| is_passed(name.as_str()))
        .map(|(name, value)| {
            (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect()
}
