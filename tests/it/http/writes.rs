//! Writing by the API, on both databases: the same rules and the same webhooks as for events.

use super::{Answer, Api, Request};
use crate::pipeline::{self as events, listen};
use customer_sync::pipeline::Pipeline;
use serde_json::Value;

mod deletion;
mod identity;
mod input;
mod keys;
mod links;
mod model;
mod profile;

/// No id of anything.
const NONE: &str = "00000000000000000000000000";

impl Api {
    pub(super) async fn send_as(
        &self,
        key: &str,
        method: &'static str,
        path: &str,
        body: &Value,
    ) -> Answer {
        asking(key, method, path, body).send(self.address).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send_as(&self.admin, "POST", path, body).await
    }

    pub(super) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send_as(&self.admin, "PATCH", path, body).await
    }

    pub(super) async fn delete(&self, path: &str) -> Answer {
        self.send_as(&self.admin, "DELETE", path, &Value::Null).await
    }

    /// Makes a customer; its path.
    async fn made(&self, body: &Value) -> String {
        let answer = self.post("/v1/customers", body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        format!("/v1/customers/{}", answer.json()["id"].as_str().expect("an id"))
    }

    /// What events come through: the same database, key and time, and sources that are read.
    pub(super) fn events(&self) -> Pipeline {
        let (keyring, clock) = (self.keyring.clone(), self.clock.clone());
        Pipeline { keyring, clock, ..events::pipeline(&self.db) }
    }

    /// The types of what was told, in order.
    pub(super) async fn told(&self) -> Vec<String> {
        self.texts("select kind from outgoing_events order by id").await
    }

    /// The bodies of what was told, in order.
    pub(super) async fn bodies(&self) -> Vec<Value> {
        let bodies = self.texts("select body from outgoing_events order by id").await;
        bodies.iter().map(|body| serde_json::from_str(body).expect("JSON")).collect()
    }

    async fn texts(&self, sql: &'static str) -> Vec<String> {
        let mut tx = self.db.begin().await.expect("a transaction");
        let rows: Vec<(String,)> = tx.query(sql).all().await.expect("rows");
        rows.into_iter().map(|(text,)| text).collect()
    }

    pub(super) async fn count(&self, sql: &'static str) -> i64 {
        events::scalar(&self.db, sql).await
    }
}

pub(super) fn asking(key: &str, method: &'static str, path: &str, body: &Value) -> Request {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    Request::with_body(method, path, &body).key(key).header("content-type", "application/json")
}

fn id(path: &str) -> &str {
    path.rsplit('/').next().expect("an id")
}

/// What is refused, with the customer that stands in the way.
fn in_the_way(answer: &Answer) -> (String, Value) {
    (answer.refused(409), answer.json()["error"]["details"]["customer_id"].clone())
}
