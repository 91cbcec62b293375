//! Why a request did not get what it asked for.

use super::request::may_pass;
use serde_json::Value;
use std::{fmt, time::Duration};

/// Why a request did not get what it asked for, after it was sent as often as may help.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client, or a request of it, cannot be made of what it was given, or on this system: nothing was sent.
    #[error("the client or its request cannot be made")]
    Unusable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An id that cannot stand in a path: nothing was sent.
    #[error("`{0}` cannot stand in a path")]
    Unsendable(String),
    /// There was no answer, or not all of it. A write may have been done all the same: send it again under the same
    /// `Idempotency-Key` ([`super::Client::keyed`]).
    #[error("there was no whole answer")]
    Unanswered(#[source] reqwest::Error),
    /// The API said no.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// Something answered that does not speak as the API does: a proxy, or another version.
    #[error("the answer with status {status} is not one of the API")]
    Unreadable {
        /// The HTTP status.
        status: u16,
        /// The header of that name.
        retry_after: Option<Duration>,
        /// What is wrong with the body.
        source: serde_json::Error,
    },
}

/// What the API says when it says no.
#[derive(Clone, PartialEq, Debug)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The family, such as `invalid_request_error`.
    pub kind: String,
    /// What is wrong, for programs: `external_id_taken`.
    pub code: String,
    /// The same for people.
    pub message: String,
    /// Which parameter it is about: `metadata.plan`.
    pub param: Option<String>,
    /// More for programs, by code: of `external_id_taken` the `customer_id` that has it.
    pub details: Option<Value>,
    /// What the daemon's log knows the request by.
    pub request_id: String,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, code, message, request_id, .. } = self;
        match &self.param {
            Some(param) => write!(f, "{code}: {param} {message}")?,
            None => write!(f, "{code}: {message}")?,
        }
        write!(f, " (status {status}, request {request_id})")
    }
}

impl std::error::Error for Refusal {}

impl Error {
    /// Without the URL: names of people may stand in it. What cannot be sent, such as a key with a line's end in it, is
    /// no more sendable later.
    pub(super) fn unanswered(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if error.is_builder() { Self::Unusable(error.into()) } else { Self::Unanswered(error) }
    }

    /// What the API said, if it did.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Unusable(_)
            | Self::Unsendable(_)
            | Self::Unanswered(_)
            | Self::Unreadable { .. } => None,
        }
    }

    /// What the API said, as its code; nothing where it did not answer.
    pub fn code(&self) -> Option<&str> {
        self.refusal().map(|refusal| refusal.code.as_str())
    }

    /// When to try again, where that was answered.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            Self::Unreadable { retry_after, .. } => *retry_after,
            Self::Unusable(_) | Self::Unsendable(_) | Self::Unanswered(_) => None,
        }
    }

    /// Whether it may be otherwise a little later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unusable(_) | Self::Unsendable(_) => false,
            Self::Unanswered(_) => true,
            Self::Refused(refusal) => {
                may_pass(refusal.status) || refusal.code == "idempotency_key_in_use"
            }
            Self::Unreadable { status, .. } => may_pass(*status),
        }
    }
}
