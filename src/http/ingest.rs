//! `POST /ingest/{source}`: a provider's webhook in. Verified at once, kept durably, applied by the pipeline.

use super::{State, error::ApiError};
use crate::{
    model::{
        id::InboundId,
        inbound::{Headers, Raw},
        time::Timestamp,
    },
    provider::Source,
    store::refusals::{BODY_KEPT, Refusal},
    verify::{Rejection, scheme::Scheme, verify},
};
use axum::{
    Json,
    body::Body,
    extract::{self, Path, Request},
    http::{HeaderMap, StatusCode},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::timeout;

/// The largest body that is taken (contract 4).
const LIMIT: usize = 1_024 * 1_024;

/// So much more than that is still read and thrown away, so that its sender gets to read our answer.
const DRAINED: usize = 4 * LIMIT;

/// What is not passed on: what belongs to the connection, and to a browser; and the headers by which our own
/// messages on RabbitMQ name their source and time (contract 3), which a sender must not choose.
const DROPPED: [&str; 11] = [
    "connection",
    "cookie",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-received-at",
    "x-source",
];

/// `POST /ingest/{source}`
pub(super) async fn receive(
    extract::State(state): extract::State<Arc<State>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let at = state.clock().now();
    let (parts, body) = request.into_parts();
    let read = timeout(state.settings.body_timeout, read(body))
        .await
        .map_err(|_| ApiError::slow())?
        .map_err(|_| ApiError::unreadable("the body broke off"))?;
    let source = state.pipeline.sources.get(name.as_str()).cloned();
    let headers = passed_on(&parts.headers, source.as_deref());
    let request = Received { headers, read, at };
    let Some(source) = source else {
        count("unknown_source", "unknown source");
        request.refuse(&state, None, &name, "unknown source".into()).await;
        return Err(ApiError::not_found("unknown_source", "there is no source of this name"));
    };
    match check(&source, &request) {
        Ok(raw) => keep(&state, &source, raw).await,
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
    read: Read,
    /// When it was received.
    at: Timestamp,
}

/// A body: whole, or how one that is too large begins.
enum Read {
    Whole(Bytes),
    TooLarge(Bytes),
}

/// Why a known source's request goes no further.
enum Refused {
    TooLarge,
    Unverified(Rejection),
}

fn check(source: &Arc<Source>, request: &Received) -> Result<Raw, Refused> {
    let Read::Whole(body) = &request.read else { return Err(Refused::TooLarge) };
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
    raw: Raw,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let held = state.clone();
    match state.uncut(async move { held.ingress.accept(raw).await }).await? {
        Ok(()) => {
            count("accepted", &source.name);
            Ok((StatusCode::ACCEPTED, Json(json!({ "received": true }))))
        }
        Err(error) => {
            count("unavailable", &source.name);
            tracing::warn!(%error, source = %source.name, "a webhook could not be kept; its sender will repeat it");
            Err(ApiError::unavailable("the event cannot be kept just now"))
        }
    }
}

impl Received {
    /// Keeps a sample of a refused request: of its headers those that the source's scheme reads.
    async fn refuse(&self, state: &State, source: Option<&Source>, name: &str, reason: String) {
        let (Read::Whole(body) | Read::TooLarge(body)) = &self.read;
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
                body: body.iter().take(BODY_KEPT).copied().collect(),
                reason,
                received_at: self.at,
            })
            .await;
    }
}

fn count(outcome: &'static str, source: &str) {
    metrics::counter!("customer_sync_ingest_requests_total",
        "outcome" => outcome, "source" => source.to_owned())
    .increment(1);
}

async fn read(body: Body) -> Result<Read, axum::Error> {
    let mut stream = body.into_data_stream();
    let mut whole = BytesMut::new();
    let mut length = 0_usize;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        length = length.saturating_add(chunk.len());
        if length <= LIMIT {
            whole.extend_from_slice(&chunk);
        } else if length > DRAINED {
            break;
        }
    }
    let whole = whole.freeze();
    Ok(if length <= LIMIT { Read::Whole(whole) } else { Read::TooLarge(whole) })
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
