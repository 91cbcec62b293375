//! `Idempotency-Key` (contract 4): a write that is sent again under the same key is done once, and answered with
//! what was answered then.
//!
//! Only a write that was done is kept. One that was refused did nothing, and may be mended and sent again.

use super::{State, auth::Reader, body::Whole, error::ApiError};
use crate::{
    model::time::Timestamp,
    store::{
        self, Tx,
        idempotency::{self, Answer, Begun, Slot},
    },
};
use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};
use uuid::Uuid;

const NAME: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAY: HeaderName = HeaderName::from_static("idempotency-replay");

/// What a write is answered with, and what is kept of that.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Done {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    /// What a repeated request is answered with, where the body holds a secret.
    pub(super) without_secret: Option<Value>,
    /// Whom it is about: a deletion reaches what is kept, too.
    pub(super) customer: Option<Uuid>,
    pub(super) payment: Option<Uuid>,
}

impl Done {
    /// An answer about nobody.
    pub(super) fn new(status: StatusCode, body: &impl Serialize) -> Self {
        // The model's structs have text keys: they always serialize.
        let body = serde_json::to_value(body).unwrap_or(Value::Null);
        Self { status, body, without_secret: None, customer: None, payment: None }
    }

    /// As it is kept.
    pub(super) fn kept(&self) -> Answer {
        let body = self.without_secret.as_ref().unwrap_or(&self.body);
        Answer {
            status: self.status.as_u16(),
            body: body.to_string(),
            remains: json!({"object": body.get("object"), "id": body.get("id")}).to_string(),
            customer_id: self.customer,
            payment_id: self.payment,
        }
    }

    /// As it is sent.
    pub(super) fn response(self) -> Response {
        sent(self.status, self.body.to_string())
    }
}

fn sent(status: StatusCode, body: String) -> Response {
    if status == StatusCode::NO_CONTENT {
        return status.into_response();
    }
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// What was answered before, sent again.
pub(super) fn replay(status: u16, body: String) -> Response {
    let mut response = sent(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), body);
    response.headers_mut().insert(REPLAY, HeaderValue::from_static("true"));
    response
}

/// The keys that this process is working on. (Between processes the database knows.)
#[derive(Debug, Default)]
pub(super) struct Running(Mutex<HashSet<Uuid>>);

/// A key while its request is being carried out.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) slot: Slot,
    state: Arc<State>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut running = self.state.running.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.remove(&self.slot.id);
    }
}

/// The key that a request carries, held until its work is done; none where it carries none.
///
/// # Errors
/// 400 where it cannot be used, 409 where this process is carrying the same request out.
pub(super) fn hold(
    state: &Arc<State>,
    caller: &Reader,
    request: &Whole,
) -> Result<Option<Held>, ApiError> {
    let Some(key) = request.headers.get(NAME) else { return Ok(None) };
    let shaped = key.to_str().ok().filter(|key| (1..=255).contains(&key.len()));
    let Some(key) = shaped.filter(|key| key.bytes().all(|byte| byte.is_ascii_graphic())) else {
        let why = "must be 1 to 255 visible ASCII characters";
        return Err(ApiError::param("invalid_parameter", "Idempotency-Key", why));
    };
    let (keyring, uri) = (&state.pipeline.keyring, &request.uri);
    let method = request.method.as_str();
    let slot = Slot {
        id: keyring.idempotency_id(&caller.environment, method, uri.path(), key),
        request: keyring.request_hash(uri.query().unwrap_or_default(), &request.body.bytes),
    };
    let mut running = state.running.0.lock().unwrap_or_else(PoisonError::into_inner);
    if !running.insert(slot.id) {
        return Err(in_use());
    }
    drop(running);
    Ok(Some(Held { slot, state: state.clone() }))
}

/// What the state of a key says to a request: none, where it is to be carried out.
///
/// # Errors
/// 409 where the key belongs to another request, or another process is carrying this one out.
pub(super) fn known(begun: Begun) -> Result<Option<Response>, ApiError> {
    match begun {
        Begun::New => Ok(None),
        Begun::Answered(status, body) => Ok(Some(replay(status, body))),
        Begun::Running => Err(in_use()),
        Begun::Mismatch => Err(ApiError::conflict(
            "idempotency_params_mismatch",
            "another request was sent under this Idempotency-Key: give this one its own",
        )),
    }
}

fn in_use() -> ApiError {
    let message =
        "a request with this Idempotency-Key is being carried out: ask again for its answer";
    ApiError::conflict("idempotency_key_in_use", message)
}

/// What was answered under a key before; none where it is to be carried out.
///
/// # Errors
/// 409 for a key that is in use or another request's; 503 when the database is away.
pub(super) async fn answered(held: Option<&Held>) -> Result<Option<Response>, ApiError> {
    let Some(Held { slot, state }) = held else { return Ok(None) };
    let mut tx = state.db().begin().await.map_err(store::Error::from)?;
    let begun = idempotency::begin(&mut tx, *slot, state.clock().now()).await?;
    tx.roll_back().await;
    known(begun)
}

/// Keeps the answer of a write that has committed by itself, and answers with it. A crash before this loses the answer:
/// only for writes that do nothing the second time.
///
/// # Errors
/// As [`answered`].
pub(super) async fn keep(held: Option<&Held>, done: Done) -> Result<Response, ApiError> {
    let Some(Held { slot, state }) = held else { return Ok(done.response()) };
    let (mut tx, now) =
        (state.db().begin().await.map_err(store::Error::from)?, state.clock().now());
    let begun = idempotency::begin(&mut tx, *slot, now).await?;
    // Where another process was as quick, its answer counts.
    if begun != Begun::New {
        tx.roll_back().await;
        return known(begun)?.ok_or_else(ApiError::internal);
    }
    idempotency::finish(&mut tx, *slot, &done.kept(), now).await?;
    tx.commit().await.map_err(store::Error::from)?;
    Ok(done.response())
}

/// Carries a write out in a transaction of its own, once for each `Idempotency-Key`. What `work` returns is answered
/// after the commit; where it refuses, nothing was done. It goes on though the client goes away.
///
/// # Errors
/// What `work` refuses with; 409 for a key that is in use or another request's; 503 when the database is away.
pub(super) async fn once<W>(
    state: &Arc<State>,
    caller: &Reader,
    request: &Whole,
    work: W,
) -> Result<Response, ApiError>
where
    W: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<Done, ApiError>> + Send + 'static,
{
    let held = hold(state, caller, request)?;
    let (db, now) = (state.db().clone(), state.clock().now());
    state
        .uncut(async move {
            let mut tx = db.begin().await.map_err(store::Error::from)?;
            let slot = held.as_ref().map(|held| held.slot);
            match once_in(&mut tx, slot, work, now).await {
                Ok(Once::Done(done)) => {
                    tx.commit().await.map_err(store::Error::from)?;
                    Ok(done.response())
                }
                Ok(Once::Before(answered)) => {
                    tx.roll_back().await;
                    Ok(answered)
                }
                Err(refused) => {
                    tx.roll_back().await;
                    Err(refused)
                }
            }
        })
        .await?
}

/// What came of a write.
enum Once {
    /// It was done, and is to be committed.
    Done(Done),
    /// It was done before, and answered so.
    Before(Response),
}

async fn once_in<W>(
    tx: &mut Tx,
    slot: Option<Slot>,
    work: W,
    now: Timestamp,
) -> Result<Once, ApiError>
where
    W: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<Done, ApiError>> + Send + 'static,
{
    let Some(slot) = slot else { return Ok(Once::Done(work(tx).await?)) };
    if let Some(answered) = known(idempotency::begin(tx, slot, now).await?)? {
        return Ok(Once::Before(answered));
    }
    let done = work(tx).await?;
    idempotency::finish(tx, slot, &done.kept(), now).await?;
    Ok(Once::Done(done))
}
