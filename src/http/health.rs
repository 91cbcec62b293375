//! `/healthz` and `/readyz`: whether this process lives, and whether it can do its work.

use super::{State, error::ApiError};
use crate::{
    health::{DATABASE, Dependency},
    store::{self, Db},
};
use axum::{Json, extract};
use serde::Serialize;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, oneshot},
    time::timeout,
};

/// `GET /healthz`
pub(super) async fn live() -> Json<serde_json::Value> {
    Json(json!({ "status": "ok" }))
}

/// The answer of a process that can do its work.
#[derive(Debug, Serialize)]
pub(super) struct Ready {
    status: &'static str,
    dependencies: Vec<Dependency>,
}

/// `GET /readyz`
pub(super) async fn ready(
    extract::State(state): extract::State<Arc<State>>,
) -> Result<Json<Ready>, ApiError> {
    match database(&state).await {
        Ok(()) => state.health.up(DATABASE),
        Err(message) => state.health.down(DATABASE, message),
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

async fn database(state: &Arc<State>) -> Result<(), String> {
    let silent = || "it does not answer".to_owned();
    let turn = timeout(PATIENCE, state.probe.0.clone().lock_owned()).await.map_err(|_| silent())?;
    let (done, answer) = oneshot::channel();
    let db = state.db().clone();
    // In a task of its own: what waits for a connection must not be dropped half-way.
    state.shutdown.spawn(async move {
        let _ = done.send(check(&db).await);
        drop(turn);
    });
    match timeout(PATIENCE, answer).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(error))) => Err(error.to_string()),
        Ok(Err(_)) | Err(_) => Err(silent()),
    }
}

async fn check(db: &Db) -> store::Result<()> {
    let mut tx = db.snapshot().await?;
    tx.query("select 1").one::<(i32,)>().await?;
    Ok(())
}
