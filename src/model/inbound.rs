//! What comes in, before anybody has looked at it, and the verdict it ends in.

use crate::model::time::Timestamp;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};
use utoipa::ToSchema;

/// The provider's HTTP headers: names in lower case, values as text.
///
/// A credential that was kept (contract 4) is here as its SHA-256 only. Such a value comes from our own store and
/// from nowhere else: what arrives is always text, so nobody can present a hash in place of the credential.
/// For that reason headers from outside are added one by one and never deserialized.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Headers(Vec<(String, Value)>);

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Credential { sha256: String },
}

impl Headers {
    /// The first value under a name (given in lower case).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|(known, value)| match value {
            Value::Text(text) if known == name => Some(text.as_str()),
            _ => None,
        })
    }

    /// The SHA-256, in hex, of the credential that was kept under a name (given in lower case).
    pub fn credential(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|(known, value)| match value {
            Value::Credential { sha256 } if known == name => Some(sha256.as_str()),
            _ => None,
        })
    }

    /// Adds a header.
    pub fn add(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_ascii_lowercase(), Value::Text(value.into())));
    }

    /// Adds what is kept of a credential: its SHA-256 in hex.
    pub fn add_credential(&mut self, name: &str, sha256: impl Into<String>) {
        self.0.push((name.to_ascii_lowercase(), Value::Credential { sha256: sha256.into() }));
    }

    /// All of them, of a kept credential its SHA-256.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| match value {
            Value::Text(text) | Value::Credential { sha256: text } => {
                (name.as_str(), text.as_str())
            }
        })
    }
}

impl<N: AsRef<str>, V: Into<String>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(headers: I) -> Self {
        let mut all = Self::default();
        for (name, value) in headers {
            all.add(name.as_ref(), value);
        }
        all
    }
}

/// Shows names only: a value may be a credential.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// A message as it arrived: a provider's bytes and headers, untouched.
#[derive(Clone, PartialEq, Eq)]
pub struct Raw {
    /// The name of the source that it claims to come from.
    pub source: Arc<str>,
    /// The provider's headers.
    pub headers: Headers,
    /// The provider's bytes.
    pub body: Bytes,
    /// When the ingress received it, where it says so; never later than now.
    pub received_at: Option<Timestamp>,
    /// Its row in the embedded queue, which goes in the transaction that commits it.
    pub queue_id: Option<uuid::Uuid>,
    /// Why the broker gave it up, where it comes from the dead letters.
    pub dead: Option<String>,
}

/// Shows no body and no header value: both may be personal or secret.
impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw")
            .field("source", &self.source)
            .field("headers", &self.headers)
            .field("bytes", &self.body.len())
            .field("received_at", &self.received_at)
            .finish_non_exhaustive()
    }
}

/// What became of an inbound event (semantics 1).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Its facts are in the state.
    Applied,
    /// Valid, and of no effect: a type that is not mapped, the wrong mode.
    Ignored,
    /// Seen before. Counted, not kept.
    Duplicate,
    /// Not to be believed or not to be read.
    Rejected,
    /// Given up by the broker.
    Dead,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 5] =
        [Self::Applied, Self::Ignored, Self::Duplicate, Self::Rejected, Self::Dead];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Ignored => "ignored",
            Self::Duplicate => "duplicate",
            Self::Rejected => "rejected",
            Self::Dead => "dead",
        }
    }

    /// From the word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_credential_comes_back_as_one_and_text_never_becomes_one() {
        let mut headers = Headers::from_iter([("X-Text", "a"), ("x-hash", r#"{"sha256":"00"}"#)]);
        headers.add_credential("Authorization", "abcd");
        let json = serde_json::to_string(&headers).expect("headers are JSON");
        assert_eq!(
            json,
            r#"[["x-text","a"],["x-hash","{\"sha256\":\"00\"}"],["authorization",{"sha256":"abcd"}]]"#
        );
        let back: Headers = serde_json::from_str(&json).expect("and come back");
        assert_eq!(back, headers);
        assert_eq!(
            (back.get("authorization"), back.credential("authorization")),
            (None, Some("abcd"))
        );
        assert_eq!((back.get("x-text"), back.credential("x-hash")), (Some("a"), None));
    }

    #[test]
    fn debug_shows_no_value() {
        let headers = Headers::from_iter([("authorization", "Bearer hunter2")]);
        let raw = Raw {
            source: "s".into(),
            headers,
            body: Bytes::from_static(b"hunter2"),
            received_at: None,
            queue_id: None,
            dead: None,
        };
        assert!(!format!("{raw:?}").contains("hunter2"));
    }
}
