//! What the receiver was told, kept as an app would keep it.

use super::api::{Api, text_of};
use crate::support::receiver::Request;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Everything that was told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Requests, repeated ones too.
    pub(crate) requests: usize,
    /// Different messages.
    pub(crate) messages: usize,
    customers: BTreeMap<String, Customer>,
    merged: BTreeSet<String>,
}

/// What was told of one customer.
#[derive(Debug, Default)]
struct Customer {
    /// By version: the message's type.
    versions: BTreeMap<i64, String>,
    /// The customer as of the highest version.
    last: Value,
}

impl Told {
    /// Reads what came; each of it must bear the secret's signature, and be the same whenever it is repeated,
    /// unless its customer or one of its identities was deleted in between: then less is left.
    pub(crate) fn read(requests: &[Request], secret: &str) -> Self {
        let mut told = Self { requests: requests.len(), ..Self::default() };
        let mut known = HashMap::new();
        for request in requests {
            assert!(request.is_signed_with(secret), "refused: {request:?}");
            let id = request.header("webhook-id").to_owned();
            let body = request.json();
            if let Some(first) = known.get(&id) {
                assert!(is_same_or_less(first, &body), "{id} differs: {first} and {body}");
                continue;
            }
            told.add(&body);
            known.insert(id, body);
        }
        told.messages = known.len();
        told
    }

    fn add(&mut self, body: &Value) {
        let data = &body["data"];
        let merged = data["merged_from"].as_array().into_iter().flatten();
        self.merged.extend(merged.filter_map(Value::as_str).map(str::to_owned));
        let Some(version) = body["version"].as_i64() else { return };
        let id = text_of(&data["customer"], "id");
        let customer = self.customers.entry(id).or_default();
        if customer.versions.last_key_value().is_none_or(|(highest, _)| *highest < version) {
            customer.last = data["customer"].clone();
        }
        let twice = customer.versions.insert(version, text_of(body, "type"));
        assert_eq!(twice, None, "two messages bear one version: {body}");
    }

    /// The versions of a customer follow one another, but where two became one, and where a deleted one's
    /// reference began anew (docs/webhooks.md).
    pub(crate) fn has_no_gap(&self) {
        for (id, Customer { versions, .. }) in &self.customers {
            let mut before = 0;
            for (version, kind) in versions {
                let begins = before == 0 && kind == "customer.created";
                let follows = *version == before + 1 || begins || kind == "customer.merged";
                assert!(follows, "{id}: {kind} has version {version} after {before}: {versions:?}");
                before = *version;
            }
        }
    }

    /// An app that kept the highest version of each customer has what the API shows, and knows who is gone.
    pub(crate) async fn ends_in(&self, api: &Api) {
        let shown = api.customers().await;
        for (id, customer) in &shown {
            let told = self.customers.get(id).map(|told| &told.last);
            assert_eq!(told, Some(customer), "{id}");
        }
        for (id, told) in self.customers.iter().filter(|(id, _)| !shown.contains_key(*id)) {
            let answer = api.get(&format!("/v1/customers/{id}")).await;
            if answer.status == 200 {
                let into = text_of(&answer.json(), "id");
                assert!(self.merged.contains(id), "{id} went into {into} and nobody was told");
                continue;
            }
            assert_eq!(answer.error().1, "customer_deleted", "{id}");
            let last = told.versions.last_key_value().map(|(_, kind)| kind.as_str());
            let is_told = last == Some("customer.deleted")
                || told.last["deleted"] == true
                || self.merged.contains(id);
            assert!(is_told, "{id} is gone and nobody was told: {told:?}");
        }
    }
}

/// Whether a repeated message says what it said first, or less of it by what a deletion in between took: all but the
/// customer's id; or the previous values, the conflict, and what a payment says in words.
fn is_same_or_less(first: &Value, again: &Value) -> bool {
    let customer = &again["data"]["customer"];
    if customer["id"].is_string() && customer["environment"].is_null() {
        return true;
    }
    let mut left = first.clone();
    if again["data"]["conflict"].is_null()
        && let Some(data) = left["data"].as_object_mut()
    {
        data.remove("conflict");
    }
    for place in ["/previous_attributes", "/data/payment/description", "/data/payment/metadata"] {
        let Some(value) = again.pointer(place) else { continue };
        let is_empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
        if let (true, Some(said)) = (is_empty, left.pointer_mut(place)) {
            *said = value.clone();
        }
    }
    left == *again
}
