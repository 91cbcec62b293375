//! `/healthz` and `/readyz`: whether this process lives, and whether it can do its work.

use super::{State, error::ApiError};
use crate::{
    health::{DATABASE, Dependency, SCHEMA},
    intake::Ingress,
    store::{self, Db, settings},
};
use axum::{
    Json,
    extract::{self, Request},
    middleware::Next,
    response::Response,
};
use serde::Serialize;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, oneshot},
    time::timeout,
};
use utoipa::ToSchema;

/// The answer of a process that lives.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Liveness)]
pub(super) struct Live {
    /// Always `ok`.
    status: &'static str,
}

/// `GET /healthz`
pub(super) async fn live() -> Json<Live> {
    Json(Live { status: "ok" })
}

/// Lets nobody read or write before the schema and the key are known to be right: what came earlier would be hashed under
/// a key that may be another one. What tells how the process is, answers; and an event is kept where it goes to the
/// broker, as it is while the database is away later.
pub(super) async fn prepared(
    extract::State(state): extract::State<Arc<State>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let path = request.uri().path();
    let tells = ["/healthz", "/readyz", "/metrics"].contains(&path);
    let is_kept = matches!(state.ingress, Ingress::RabbitMq(_)) && path.starts_with("/ingest/");
    if tells || is_kept || state.health.answers(SCHEMA) {
        return Ok(next.run(request).await);
    }
    Err(ApiError::unavailable("the database is not prepared yet: /readyz says what is missing"))
}

/// The answer of a process that can do its work.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Readiness)]
pub(super) struct Ready {
    /// Always `ok`.
    status: &'static str,
    /// What it depends on.
    dependencies: Vec<Dependency>,
}

/// `GET /readyz`
pub(super) async fn ready(
    extract::State(state): extract::State<Arc<State>>,
) -> Result<Json<Ready>, ApiError> {
    let (probe, ingress) = (state.health.part(PROBE), state.health.part(INGRESS));
    match database(&state, ingress.misses(DATABASE)).await {
        Ok(true) => {
            probe.up(DATABASE);
            ingress.up(DATABASE);
        }
        Ok(false) => probe.up(DATABASE),
        Err(message) => probe.down(DATABASE, message),
    }
    let dependencies = state.health.all();
    if dependencies.iter().all(|dependency| dependency.ok) {
        return Ok(Json(Ready { status: "ok", dependencies }));
    }
    let error = ApiError::unavailable("something that this process depends on is not there");
    Err(error.with_details(json!({ "dependencies": dependencies })))
}

/// Lets one check of the database run at a time: when it is away, each holds a connection's place for long.
#[derive(Debug, Default)]
pub(super) struct Probe(Arc<Mutex<()>>);

/// How long the database may take to answer before it counts as away.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who reports what readiness itself finds.
const PROBE: &str = "readiness";

/// Who reports that an event could not be kept.
pub(super) const INGRESS: &str = "ingress";

/// Whether it answers; whether it could be written to, where that is asked.
async fn database(state: &Arc<State>, writes: bool) -> Result<bool, String> {
    let silent = || "it does not answer".to_owned();
    let turn = timeout(PATIENCE, state.probe.0.clone().lock_owned()).await.map_err(|_| silent())?;
    let (done, answer) = oneshot::channel();
    let db = state.db().clone();
    // In a task of its own: what waits for a connection must not be dropped half-way.
    state.shutdown.spawn(async move {
        let _ = done.send(check(&db, writes).await);
        drop(turn);
    });
    match timeout(PATIENCE, answer).await {
        Ok(Ok(Ok(true))) => Ok(writes),
        Ok(Ok(Ok(false))) => Err("it takes no writes: it is a standby, or set to read only".into()),
        Ok(Ok(Err(error))) => Err(error.to_string()),
        Ok(Err(_)) | Err(_) => Err(silent()),
    }
}

/// Whether it takes writes, as far as a reader can tell; more where a write is to be tried.
async fn check(db: &Db, writes: bool) -> store::Result<bool> {
    let mut tx = db.snapshot().await?;
    if !store::takes_writes(&mut tx).await? {
        return Ok(false);
    }
    drop(tx);
    if writes {
        let mut tx = db.begin().await?;
        settings::try_room(&mut tx).await?;
        tx.commit().await?;
    }
    Ok(true)
}
