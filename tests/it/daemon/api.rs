//! What the HTTP API shows, read as an app would.

use super::{ENVIRONMENT, Stage, text};
use crate::http::client::{Answer, Request};
use customer_sync::simulator::Snapshot;
use serde_json::Value;
use std::{collections::BTreeMap, net::SocketAddr};

/// The API of one daemon, with a key that may read.
pub(crate) struct Api {
    address: SocketAddr,
    pub(crate) key: String,
}

impl Api {
    pub(crate) async fn open(stage: &Stage, address: SocketAddr) -> Self {
        let create = ["key", "create", "--environment", ENVIRONMENT, "--scope", "read", "--json"];
        let made = stage.world.run(&create).await;
        assert!(made.status.success(), "{}", text(&made));
        let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
        Self { address, key: made["key"].as_str().expect("a key").to_owned() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Request::get(path).key(&self.key).send(self.address).await
    }

    /// A whole list, page by page.
    async fn list(&self, path: &str) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let after = all.last().map(|last| format!("&starting_after={}", text_of(last, "id")));
            let page = format!("{path}?limit=50{}", after.unwrap_or_default());
            let page = self.get(&page).await.ok();
            all.extend(page["data"].as_array().expect("a list").iter().cloned());
            if page["has_more"] == false {
                return all;
            }
        }
    }

    /// Every customer, by id.
    pub(crate) async fn customers(&self) -> BTreeMap<String, Value> {
        let all = self.list("/v1/customers").await;
        all.into_iter().map(|one| (text_of(&one, "id"), one)).collect()
    }

    /// Everything, in the form in which it is compared with the truth.
    pub(crate) async fn snapshot(&self) -> Snapshot {
        let customers: Vec<Value> = self.customers().await.into_values().collect();
        let payments = self.list("/v1/payments").await;
        let mut subscriptions = Vec::new();
        for customer in &customers {
            let path = format!("/v1/customers/{}/subscriptions", text_of(customer, "id"));
            subscriptions.extend(self.list(&path).await);
        }
        Snapshot::from_json(&customers, &payments, &subscriptions)
    }
}

/// A field's text.
pub(crate) fn text_of(object: &Value, field: &str) -> String {
    object[field].as_str().unwrap_or_default().to_owned()
}
