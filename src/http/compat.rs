//! `/compat`: the customer calls of Revstack, Reevit and Bias in their own words, so that their clients run against us
//! with another base URL. Each dialect is one file that translates; what is done and read is that of our own API.

use super::{State, auth, error::ApiError};
use axum::{Router, http::HeaderMap};
use serde_json::Value;
use std::sync::Arc;

mod bias;
pub(super) mod reevit;
mod revstack;

/// In whose words a path is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dialect {
    Revstack,
    Reevit,
    /// Says in errors, too, whether it is about real money: what the key looks like.
    Bias(Option<bool>),
}

impl Dialect {
    /// That of a path; none where it is our own.
    pub(super) fn of(path: &str, headers: &HeaderMap) -> Option<Self> {
        match path.strip_prefix("/compat/")?.split('/').next()? {
            "revstack" => Some(Self::Revstack),
            "reevit" => Some(Self::Reevit),
            "bias" => Some(Self::Bias(auth::is_live(headers))),
            _ => None,
        }
    }

    /// The body of an error.
    pub(super) fn error(self, error: &ApiError, request_id: &str) -> Value {
        match self {
            Self::Revstack => revstack::error(error, request_id),
            Self::Reevit => reevit::error(error),
            Self::Bias(live) => bias::error(error, live),
        }
    }
}

pub(super) fn routes() -> Router<Arc<State>> {
    // Paths are whole, not nested: a handler must see the one that was asked for, which an `Idempotency-Key` counts for.
    revstack::routes().merge(reevit::routes()).merge(bias::routes())
}

/// What is wrong, with its place, for bodies that have no room for one.
fn sentence(error: &ApiError) -> String {
    match &error.param {
        Some(param) => format!("{param}: {}", error.message),
        None => error.message.to_string(),
    }
}
