//! `/v1/inbound-events`: what came in, what became of it, and once more from the start.

use super::{
    State,
    auth::{Administrator, Reader},
    body::{self, Bare, Whole},
    customers::no_such_cursor,
    error::ApiError,
    idempotency::{self, Done},
    query::{NoQuery, Query},
};
use crate::{
    model::{
        answer::List,
        id::InboundId,
        inbound::{Headers, Verdict},
        key::Scope,
        time::Timestamp,
    },
    pipeline::Disposition,
    store::browse::{self, InboundEvent, InboundFilter, Page, Position},
};
use axum::{
    Json,
    extract::{self, Path},
    http::StatusCode,
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};
use utoipa::ToSchema;

/// `GET /v1/inbound-events`
pub(super) async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    mut query: Query,
) -> Result<Json<List<InboundEvent>>, ApiError> {
    let page = query.page()?;
    let expected = "must be applied, ignored, duplicate, rejected or dead";
    let filter = InboundFilter {
        environment: Some(caller.environment.to_string()),
        verdict: query.read("verdict", expected, Verdict::from_name)?,
        source: query.text("source"),
        since: query.time("since")?,
        until: query.time("until")?,
    };
    query.finish()?;
    let mut tx = state.snapshot().await?;
    let slice = browse::inbound_events(&mut tx, &filter, page)
        .await?
        .ok_or_else(|| no_such_cursor(page.position))?;
    Ok(Json(List::new(page, slice, |event| event.id)))
}

/// An inbound event, and for administrators what came with it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InboundEventDetail)]
pub(super) struct Detail {
    #[serde(flatten)]
    event: InboundEvent,
    #[serde(flatten)]
    content: Option<Content>,
}

/// The bytes that came, and the headers that the source's scheme reads.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InboundEventContent)]
struct Content {
    /// Pairs of a name and a value. Of a credential the value is its SHA-256.
    headers: Vec<(String, String)>,
    /// What came.
    body: String,
    /// `utf-8`, or `base64` where the bytes are no text.
    #[schema(pattern = "^(utf-8|base64)$")]
    body_encoding: &'static str,
}

impl Content {
    fn new(headers: &Headers, body: Vec<u8>) -> Self {
        let headers = headers.iter().map(|(name, value)| (name.into(), value.into())).collect();
        match String::from_utf8(body) {
            Ok(body) => Self { headers, body, body_encoding: "utf-8" },
            Err(error) => {
                let body = STANDARD.encode(error.as_bytes());
                Self { headers, body, body_encoding: "base64" }
            }
        }
    }
}

/// `GET /v1/inbound-events/{id}`
pub(super) async fn one(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    Path(id): Path<String>,
    _: NoQuery,
) -> Result<Json<Detail>, ApiError> {
    let id = id.parse().map_err(|_| unknown())?;
    let mut tx = state.snapshot().await?;
    let event =
        browse::inbound_event(&mut tx, Some(&caller.environment), id).await?.ok_or_else(unknown)?;
    let content = if caller.scope >= Scope::Admin {
        let came = browse::inbound_body(&mut tx, id).await?;
        came.map(|(headers, body)| Content::new(&headers, body))
    } else {
        None
    };
    Ok(Json(Detail { event, content }))
}

/// How many events are replayed in answer to one request, unless told.
const REPLAYED: u32 = 100;

/// What became of the events of a filter.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Replays {
    /// Always `replay`.
    object: &'static str,
    /// How many were processed again.
    replayed: u32,
    /// How many of them came to which verdict.
    verdicts: BTreeMap<&'static str, u32>,
    /// Whether there are more, after this event.
    has_more: bool,
    /// What to give as `starting_after` to go on.
    next_cursor: Option<InboundId>,
}

/// `POST /v1/inbound-events/replay`: replays what a filter names, the newest first, so many at a time.
pub(super) async fn replay_all(
    extract::State(state): extract::State<Arc<State>>,
    Administrator(caller): Administrator,
    _: NoQuery,
    request: Whole,
) -> Result<Response, ApiError> {
    let mut fields = request.fields()?;
    let verdict = fields.need("verdict", |value| {
        let verdict = value.as_str().and_then(Verdict::from_name);
        let verdict = verdict.filter(|it| !matches!(it, Verdict::Applied | Verdict::Duplicate));
        verdict.ok_or("must be rejected, ignored or dead")
    })?;
    let time = |value: Value| {
        let time = value.as_str().and_then(Timestamp::parse);
        time.ok_or("must be a time like 2026-01-31T12:00:00Z")
    };
    let filter = InboundFilter {
        environment: Some(caller.environment.to_string()),
        verdict: Some(verdict),
        source: fields.maybe("source", body::text)?,
        since: fields.maybe("since", time)?,
        until: fields.maybe("until", time)?,
    };
    let limit = fields.maybe("limit", |value| {
        let limit = body::whole(&value).and_then(|limit| u32::try_from(limit).ok());
        limit
            .filter(|limit| (1..=1_000).contains(limit))
            .ok_or("must be a whole number from 1 to 1000")
    })?;
    let after = fields.maybe("starting_after", |value| {
        value.as_str().and_then(|id| id.parse().ok()).ok_or("must be the id of an inbound event")
    })?;
    fields.finish()?;
    let position = after.map_or(Position::Offset(0), Position::After);
    let page = Page { position, limit: limit.unwrap_or(REPLAYED) };
    let held = idempotency::hold(&state, &caller, &request)?;
    let of = state.clone();
    state
        .uncut(async move {
            if let Some(answered) = idempotency::answered(held.as_ref()).await? {
                return Ok(answered);
            }
            let replays = replay_page(&of, &filter, page).await?;
            idempotency::keep(held.as_ref(), Done::new(StatusCode::OK, &replays)).await
        })
        .await?
}

async fn replay_page(
    state: &State,
    filter: &InboundFilter,
    page: Page<InboundId>,
) -> Result<Replays, ApiError> {
    let mut tx = state.snapshot().await?;
    let slice = browse::inbound_events_from(&mut tx, filter, page).await?;
    drop(tx);
    let next_cursor = slice.items.last().map(|event| event.id).filter(|_| slice.has_more);
    let mut replays = Replays {
        object: "replay",
        replayed: 0,
        verdicts: BTreeMap::new(),
        has_more: slice.has_more,
        next_cursor,
    };
    for event in slice.items {
        // What the ingress refused, and what a deletion erased, is passed over.
        if let Some(disposition) = state.pipeline.replay(event.id).await? {
            let (verdict, _) = told(disposition);
            *replays.verdicts.entry(verdict.as_str()).or_default() += 1;
            replays.replayed = replays.replayed.saturating_add(1);
        }
    }
    Ok(replays)
}

fn told(disposition: Disposition) -> (Verdict, Option<String>) {
    match disposition {
        Disposition::Applied => (Verdict::Applied, None),
        Disposition::Duplicate => (Verdict::Duplicate, None),
        Disposition::Ignored(why) => (Verdict::Ignored, Some(why)),
        Disposition::Rejected(why) => (Verdict::Rejected, Some(why)),
    }
}

/// What became of a replayed event.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Replay {
    /// Always `replay`.
    object: &'static str,
    /// The event.
    id: InboundId,
    /// What became of it.
    verdict: Verdict,
    /// Why.
    reason: Option<String>,
}

/// `POST /v1/inbound-events/{id}/replay`
pub(super) async fn replay(
    extract::State(state): extract::State<Arc<State>>,
    Administrator(caller): Administrator,
    Path(id): Path<String>,
    _: NoQuery,
    Bare(request): Bare,
) -> Result<Response, ApiError> {
    let held = idempotency::hold(&state, &caller, &request)?;
    let of = state.clone();
    state
        .uncut(async move {
            // First of all: a replayed event has another id from then on.
            if let Some(answered) = idempotency::answered(held.as_ref()).await? {
                return Ok(answered);
            }
            let id: InboundId = id.parse().map_err(|_| unknown())?;
            let mut tx = of.snapshot().await?;
            let event = browse::inbound_event(&mut tx, Some(&caller.environment), id).await?;
            event.ok_or_else(unknown)?;
            drop(tx);
            let replayed = of.pipeline.replay(id).await?;
            let (verdict, reason) = told(replayed.ok_or_else(not_replayable)?);
            let replay = Replay { object: "replay", id, verdict, reason };
            idempotency::keep(held.as_ref(), Done::new(StatusCode::OK, &replay)).await
        })
        .await?
}

fn not_replayable() -> ApiError {
    let message = "only rejected, ignored and dead events of a configured source can be replayed, not what \
        the ingress refused, and no record of an import: import its file again";
    ApiError::conflict("not_replayable", message)
}

fn unknown() -> ApiError {
    ApiError::not_found("inbound_event_not_found", "there is no such inbound event")
}
