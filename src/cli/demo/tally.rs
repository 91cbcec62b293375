//! What the receiver was told.

use crate::http::receiver::Webhook;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Everything that was received.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Requests with a good signature, repeated ones too.
    pub(super) verified: usize,
    /// Why requests were refused.
    pub(super) refused: Vec<String>,
    /// The different messages.
    pub(super) messages: HashSet<String>,
    /// What was told of each customer, by id.
    pub(super) customers: BTreeMap<String, Told>,
    /// The customers that went into others.
    pub(super) merged: BTreeSet<String>,
    /// Messages by type.
    pub(super) types: BTreeMap<String, usize>,
}

/// What was told of one customer.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// By version: the message's type.
    pub(super) versions: BTreeMap<i64, String>,
    /// Versions that more than one message named.
    pub(super) twice: Vec<i64>,
    /// The customer as of the highest version.
    pub(super) last: Value,
}

impl Tally {
    /// Takes in what the receiver says of a request.
    pub(super) fn add(&mut self, told: Result<Webhook, String>) {
        let webhook = match told {
            Ok(webhook) => webhook,
            Err(why) => return self.refused.push(why),
        };
        self.verified += 1;
        if !self.messages.insert(webhook.id) {
            return;
        }
        let text =
            |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let body = &webhook.body;
        let kind = text(body.get("type"));
        *self.types.entry(kind.clone()).or_default() += 1;
        let data = body.get("data").unwrap_or(&Value::Null);
        let merged = data.get("merged_from").and_then(Value::as_array).into_iter().flatten();
        self.merged.extend(merged.map(|id| text(Some(id))));
        let (Some(customer), Some(version)) =
            (data.get("customer"), body.get("version").and_then(Value::as_i64))
        else {
            return;
        };
        let known = self.customers.entry(text(customer.get("id"))).or_default();
        if known.versions.last_key_value().is_none_or(|(highest, _)| *highest < version) {
            known.last = customer.clone();
        }
        if known.versions.insert(version, kind).is_some() {
            known.twice.push(version);
        }
    }
}
