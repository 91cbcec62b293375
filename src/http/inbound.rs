//! `/v1/inbound-events`: what came in, what became of it, and once more from the start.

use super::{
    State,
    auth::{Administrator, Reader},
    customers::no_such_cursor,
    error::ApiError,
    list::List,
    query::Query,
};
use crate::{
    model::{
        id::InboundId,
        inbound::{Headers, Verdict},
        key::Scope,
    },
    pipeline::Disposition,
    store::browse::{self, InboundEvent, InboundFilter},
};
use axum::{
    Json,
    extract::{self, Path},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use std::sync::Arc;

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
#[derive(Debug, Serialize)]
pub(super) struct Detail {
    #[serde(flatten)]
    event: InboundEvent,
    #[serde(flatten)]
    content: Option<Content>,
}

/// The bytes that came, and the headers that the source's scheme reads.
#[derive(Debug, Serialize)]
struct Content {
    headers: Vec<(String, String)>,
    body: String,
    /// `utf-8`, or `base64` where the bytes are no text.
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
    query: Query,
) -> Result<Json<Detail>, ApiError> {
    query.finish()?;
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

/// What became of a replayed event.
#[derive(Debug, Serialize)]
pub(super) struct Replay {
    object: &'static str,
    id: InboundId,
    verdict: Verdict,
    reason: Option<String>,
}

/// `POST /v1/inbound-events/{id}/replay`
pub(super) async fn replay(
    extract::State(state): extract::State<Arc<State>>,
    Administrator(caller): Administrator,
    Path(id): Path<String>,
    query: Query,
) -> Result<Json<Replay>, ApiError> {
    query.finish()?;
    let id: InboundId = id.parse().map_err(|_| unknown())?;
    let mut tx = state.snapshot().await?;
    browse::inbound_event(&mut tx, Some(&caller.environment), id).await?.ok_or_else(unknown)?;
    drop(tx);
    let pipeline = state.pipeline.clone();
    let replayed = state.uncut(async move { pipeline.replay(id).await }).await??;
    let not_replayable = || {
        let message =
            "only rejected, ignored and dead events can be replayed, not what the ingress refused";
        ApiError::conflict("not_replayable", message)
    };
    let (verdict, reason) = match replayed.ok_or_else(not_replayable)? {
        Disposition::Applied => (Verdict::Applied, None),
        Disposition::Duplicate => (Verdict::Duplicate, None),
        Disposition::Ignored(why) => (Verdict::Ignored, Some(why)),
        Disposition::Rejected(why) => (Verdict::Rejected, Some(why)),
    };
    Ok(Json(Replay { object: "replay", id, verdict, reason }))
}

fn unknown() -> ApiError {
    ApiError::not_found("inbound_event_not_found", "there is no such inbound event")
}
