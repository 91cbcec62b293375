//! When something was said, and by which event: the order that makes arrival order irrelevant.

use crate::model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The key of an inbound event: (source, provider's event id, hash of the body), compared bytewise.
///
/// Kept as one text whose parts are joined by U+001F, which sorts below every character a part may
/// hold, so that the order of the text is the order of the triple.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(transparent)]
pub struct EventKey(Arc<str>);

const SEPARATOR: char = '\u{1f}';

impl EventKey {
    /// `id` is the provider's event id, empty where it gives none; `hash` the SHA-256 of the body in hex.
    pub fn new(source: &str, id: &str, hash: &str) -> Self {
        let clean = |part: &str| part.replace(|c: char| c <= SEPARATOR, "");
        let (source, id) = (clean(source), clean(id));
        Self(format!("{source}{SEPARATOR}{id}{SEPARATOR}{hash}").into())
    }

    /// The whole key as one text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The source's name.
    pub fn source(&self) -> &str {
        self.0.split(SEPARATOR).next().unwrap_or_default()
    }

    /// The provider's event id, else the hash of the body: what outgoing webhooks name as cause.
    pub fn event_id(&self) -> &str {
        let mut parts = self.0.splitn(3, SEPARATOR).skip(1);
        match parts.next() {
            Some(id) if !id.is_empty() => id,
            _ => parts.next().unwrap_or_default(),
        }
    }
}

/// Orders several changes of one second: created < updated < last < deleted (semantics 2).
pub mod rank {
    /// The type says that the object is new.
    pub const CREATED: u8 = 1;
    /// The type says nothing else.
    pub const UPDATED: u8 = 2;
    /// The type says that nothing follows.
    pub const LAST: u8 = 3;
    /// The type says that the object is gone.
    pub const DELETED: u8 = 4;
}

/// (occurred_at, rank, event key), compared in that order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(from = "(Timestamp, u8, EventKey)", into = "(Timestamp, u8, EventKey)")]
pub struct Stamp {
    /// The provider's time of the change.
    pub at: Timestamp,
    /// Orders one instant.
    pub rank: u8,
    /// The event that said it.
    pub key: EventKey,
}

impl From<(Timestamp, u8, EventKey)> for Stamp {
    fn from((at, rank, key): (Timestamp, u8, EventKey)) -> Self {
        Self { at, rank, key }
    }
}

impl From<Stamp> for (Timestamp, u8, EventKey) {
    fn from(stamp: Stamp) -> Self {
        (stamp.at, stamp.rank, stamp.key)
    }
}

impl Stamp {
    /// The same instant and event with another rank.
    #[must_use]
    pub fn ranked(&self, rank: u8) -> Self {
        Self { rank, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_compare_by_source_then_id_then_hash() {
        let mut keys = [
            EventKey::new("b", "", "00"),
            EventKey::new("a!", "z", "00"),
            EventKey::new("a", "b", "00"),
            EventKey::new("a", "a", "ff"),
            EventKey::new("a", "", "ff"),
        ];
        keys.sort();
        let order: Vec<_> = keys.iter().map(|k| (k.source(), k.event_id())).collect();
        assert_eq!(order, [("a", "ff"), ("a", "a"), ("a", "b"), ("a!", "z"), ("b", "00")]);
    }
}
