//! What the receiver was told, kept as an app would keep it.

use super::api::{Api, text_of};
use crate::support::receiver::Request;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Everything that was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Requests, repeated ones too.
    pub(super) requests: usize,
    /// Different messages.
    pub(super) messages: usize,
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
    /// unless its customer was deleted in between: then only the customer's id is left.
    pub(super) fn read(requests: &[Request], secret: &str) -> Self {
        let mut told = Self { requests: requests.len(), ..Self::default() };
        let mut known = HashMap::new();
        for request in requests {
            assert!(request.is_signed_with(secret), "refused: {request:?}");
            let id = request.header("webhook-id").to_owned();
            let body = request.json();
            if let Some(first) = known.get(&id) {
                let is_erased = body["data"]["customer"]["deleted"] == true;
                assert!(*first == body || is_erased, "{id} differs: {first} and {body}");
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
    pub(super) fn has_no_gap(&self) {
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
    pub(super) async fn ends_in(&self, api: &Api) {
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
