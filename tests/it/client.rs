//! The Rust client against the daemon as users run it, on both databases: every route that it has, what it does on a
//! bad network, and the webhooks that it verifies.

use crate::{
    daemon::{ENDPOINT_SECRET, ENVIRONMENT, HOOK, Stage},
    http::client::Request,
    support::{services::TestDatabase, wait::eventually, world::Daemon},
};
use customer_sync::{
    client::Client,
    model::{customer::Customer, id::CustomerId},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::fmt::Debug;

mod load;
mod network;
mod routes;
mod webhooks;

/// A daemon, and keys to it.
struct Rig {
    stage: Stage,
    daemon: Daemon,
    key: String,
}

impl Rig {
    async fn new(database: TestDatabase) -> Self {
        Self::with(database, "").await
    }

    /// `more` is configuration beside the sources and the endpoint.
    async fn with(database: TestDatabase, more: &str) -> Self {
        let stage = Stage::new(database, None, more).await;
        let daemon = stage.world.start().await;
        let create = ["key", "create", "--environment", ENVIRONMENT, "--scope", "admin", "--json"];
        let made = stage.world.run(&create).await;
        let made: Value = serde_json::from_slice(&made.stdout).expect("a key is made");
        let key = made["key"].as_str().expect("a key").to_owned();
        Self { stage, daemon, key }
    }

    fn client(&self) -> Client {
        self.client_at(&self.daemon.url(""))
    }

    fn client_at(&self, url: &str) -> Client {
        Client::new(url, self.key.as_str()).expect("a client")
    }

    /// The app says something by an event of its own.
    async fn say(&self, id: &str, kind: &str, data: &Value) {
        self.stage.say(self.daemon.address, id, kind, data).await;
    }

    /// A user of the app has paid.
    async fn pay(&self, user: &str, payment: &str, amount: i64) {
        let payment = json!({"id": payment, "amount": amount, "currency": "USD",
            "status": "succeeded", "metadata": {"order": 7, "gift": false}});
        let id = format!("paid {}", payment["id"]);
        let data = json!({"external_id": user, "payment": payment});
        self.say(&id, "payment.recorded", &data).await;
    }

    /// The customer, once it is as it should be.
    async fn customer(&self, id: CustomerId, enough: impl Fn(&Customer) -> bool) -> Customer {
        let client = self.client();
        let look = async || client.customers().get(id).await.expect("a customer");
        eventually("the customer is so", look, enough).await
    }

    /// That what the client read is what the server wrote, to the last field.
    async fn is_whole<T: Serialize + DeserializeOwned + PartialEq + Debug>(
        &self,
        path: &str,
        read: &T,
    ) {
        let answer = Request::get(path).key(&self.key).send(self.daemon.address).await;
        let (raw, again) = (answer.ok(), serde_json::to_value(read).expect("JSON"));
        assert_eq!(again, raw, "{path}");
        assert_eq!(&serde_json::from_value::<T>(raw).expect("it comes back"), read, "{path}");
    }
}
