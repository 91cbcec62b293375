//! Who asks: API keys, each of one environment and one scope.

use super::{State, error::ApiError};
use crate::{
    model::{id::KeyId, key::Scope, secret::Secret, time::Timestamp},
    store::{
        self,
        keys::{self, Held},
    },
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Somebody who may see an environment.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    /// The only environment there is for this caller.
    pub(super) environment: Arc<str>,
    /// What the caller may do.
    pub(super) scope: Scope,
}

/// Somebody who may also create and change.
#[derive(Clone, Debug)]
pub(super) struct Writer(pub(super) Reader);

/// Somebody who may also delete, replay and see what came in.
#[derive(Clone, Debug)]
pub(super) struct Administrator(pub(super) Reader);

impl FromRequestParts<Arc<State>> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, ApiError> {
        authenticate(state, &parts.headers, Scope::Read).await
    }
}

impl FromRequestParts<Arc<State>> for Writer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, ApiError> {
        authenticate(state, &parts.headers, Scope::Write).await.map(Self)
    }
}

impl FromRequestParts<Arc<State>> for Administrator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, ApiError> {
        authenticate(state, &parts.headers, Scope::Admin).await.map(Self)
    }
}

/// The holder of a key, if the key is good for what is asked.
pub(super) async fn authenticate(
    state: &Arc<State>,
    headers: &HeaderMap,
    needed: Scope,
) -> Result<Reader, ApiError> {
    let key = find(state, shaped(headers)?).await?;
    admit(state, key, needed)
}

/// A key as it is presented, good or not, for a handler whose own statement finds the key too ([`admit`]).
#[derive(Debug)]
pub(super) struct Presented(Secret);

impl FromRequestParts<Arc<State>> for Presented {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<State>) -> Result<Self, ApiError> {
        shaped(&parts.headers).map(|key| Self(Secret::new(key)))
    }
}

impl Presented {
    /// The text of it.
    pub(super) fn as_str(&self) -> &str {
        self.0.expose()
    }

    /// Its holder, where the handler has nothing to ask.
    pub(super) async fn holder(
        &self,
        state: &Arc<State>,
        needed: Scope,
    ) -> Result<Reader, ApiError> {
        admit(state, find(state, self.as_str()).await?, needed)
    }
}

async fn find(state: &Arc<State>, presented: &str) -> Result<Option<Held>, ApiError> {
    Ok(keys::find(&mut state.single().await?, presented).await?)
}

/// Lets the holder of a key in that the database knows, if it is good for what is asked.
pub(super) fn admit(
    state: &Arc<State>,
    key: Option<Held>,
    needed: Scope,
) -> Result<Reader, ApiError> {
    let key = key.ok_or_else(unknown)?;
    note_use(state, &key);
    if let Some(limit) = state.settings.rate_limit {
        let admitted = state.rates.admit(key.id, limit, state.clock().now());
        admitted.map_err(ApiError::too_many)?;
    }
    if key.scope < needed {
        let (has, needed) = (key.scope.as_str(), needed.as_str());
        let message = format!("this needs a key of scope {needed}; this one has {has}");
        return Err(ApiError::forbidden(message));
    }
    Ok(Reader { environment: key.environment.into(), scope: key.scope })
}

fn unknown() -> ApiError {
    ApiError::unauthenticated("invalid_api_key", "the API key is not known here")
}

/// What the caller gives as its key, if it could be one at all: the database need not be asked about anything else.
fn shaped(headers: &HeaderMap) -> Result<&str, ApiError> {
    let presented = presented(headers)?;
    is_shaped(presented).then_some(presented).ok_or_else(unknown)
}

/// What the caller gives as its key: a Bearer token, else `X-API-Key`.
fn presented(headers: &HeaderMap) -> Result<&str, ApiError> {
    let missing = || {
        let message = "give an API key as `Authorization: Bearer …` or `X-API-Key: …`";
        ApiError::unauthenticated("missing_api_key", message)
    };
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(header::AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let own = || headers.get("x-api-key").and_then(|value| value.to_str().ok()).map(str::trim);
    bearer.or_else(own).filter(|key| !key.is_empty()).ok_or_else(missing)
}

/// Whether the key that is presented, good or not, is one for real money; none where there is no key.
pub(super) fn is_live(headers: &HeaderMap) -> Option<bool> {
    presented(headers).ok().map(|key| key.starts_with("sk_live_"))
}

fn is_shaped(key: &str) -> bool {
    let random = key.strip_prefix("sk_live_").or_else(|| key.strip_prefix("sk_test_"));
    random.is_some_and(|random| {
        random.len() == 43
            && random.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    })
}

/// When this process last wrote down the use of each key.
#[derive(Debug, Default)]
pub(super) struct Uses(Mutex<HashMap<KeyId, Timestamp>>);

impl Uses {
    /// Whether this use is to be written down; says so once a minute for a key.
    fn is_due(&self, key: &Held, now: Timestamp) -> bool {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = key.last_used_at.max(noted.get(&key.id).copied());
        let due = keys::is_due(last, now);
        if due {
            noted.insert(key.id, now);
        }
        due
    }
}

/// Writes the use of a key down, without anybody waiting for it.
fn note_use(state: &Arc<State>, key: &Held) {
    let now = state.clock().now();
    if !state.uses.is_due(key, now) {
        return;
    }
    let (db, id) = (state.db().clone(), key.id);
    state.shutdown.spawn(async move {
        let touched: store::Result<()> = async {
            let mut tx = db.begin().await?;
            keys::touch(&mut tx, id, now).await?;
            Ok(tx.commit().await?)
        }
        .await;
        if let Err(error) = touched {
            tracing::debug!(%error, key = %id, "the use of a key was not written down");
        }
    });
}
