//! The dialects under `/compat`. The table of features by which Revstack, Reevit and Bias were laid beside each other
//! has 48 rows; each that is in scope is a test here, named after it, of our own API and of the dialects that have it.
//! (5 is an engine for mailings, 45 sends receipts, 46 keeps cards: none of them is ours.)

use super::{Answer, Api, Request, writes::asking};
use crate::pipeline::event;
use customer_sync::model::inbound::Raw;
use serde_json::{Value, json};

mod fields;
mod lists;
mod money;
mod official;
mod registry;
mod words;
mod writes;

const NULL: Value = Value::Null;

/// Somebody else's way to say it.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Dialect {
    Revstack,
    Reevit,
    Bias,
}

use Dialect::{Bias, Reevit, Revstack};

const ALL: [Dialect; 3] = [Revstack, Reevit, Bias];

impl Dialect {
    fn base(self) -> &'static str {
        match self {
            Revstack => "/compat/revstack",
            Reevit => "/compat/reevit/v1",
            Bias => "/compat/bias/v1",
        }
    }

    /// What a list calls its items.
    fn items(self) -> &'static str {
        match self {
            Revstack => "data",
            Reevit => "customers",
            Bias => "items",
        }
    }

    /// A new customer with an address.
    fn person(self, user: &str) -> Value {
        let email = format!("{user}@example.org");
        match self {
            Revstack => json!({"customerId": user, "email": email}),
            Reevit => json!({"external_id": user, "email": email}),
            Bias => json!({"name": user, "email": email}),
        }
    }
}

impl Api {
    /// A call under `/customers`, with the admin's key.
    async fn call(
        &self,
        dialect: Dialect,
        method: &'static str,
        rest: &str,
        body: &Value,
    ) -> Answer {
        let path = format!("/customers{rest}");
        asked(&self.admin, dialect, method, &path, body).send(self.address).await
    }

    /// What is read under `/customers`, where the status is 200.
    async fn read(&self, dialect: Dialect, rest: &str) -> Value {
        self.call(dialect, "GET", rest, &NULL).await.ok()
    }

    /// A new customer, as it is answered.
    async fn create(&self, dialect: Dialect, body: &Value) -> Value {
        said(&self.call(dialect, "POST", "", body).await, 201)
    }

    /// The customer of one of the app's ids, as our own API shows it.
    async fn own(&self, user: &str) -> Value {
        self.get(&format!("/v1/customers/lookup?external_id={user}")).await.ok()
    }

    async fn tell(&self, events: &[Raw]) {
        self.events().process(events).await.expect("it commits");
    }
}

/// A request in a dialect, not sent yet.
fn asked(key: &str, dialect: Dialect, method: &'static str, path: &str, body: &Value) -> Request {
    let path = format!("{}{path}", dialect.base());
    match dialect {
        Revstack | Bias => asking(key, method, &path, body),
        Reevit => {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            Request::with_body(method, &path, body.as_bytes())
                .header("content-type", "application/json")
                .header("x-reevit-key", key)
                .header("x-org-id", "org_1")
        }
    }
}

/// What was answered, where the status is the one expected.
fn said(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text);
    answer.json()
}

/// The end of a customer's path.
fn at(customer: &Value) -> String {
    format!("/{}", id(customer))
}

fn id(customer: &Value) -> &str {
    customer["id"].as_str().expect("an id")
}

/// One field of all items of a list.
fn each(list: &Value, items: &str, field: &str) -> Vec<Value> {
    let items = list[items].as_array().expect("items");
    items.iter().map(|item| item[field].clone()).collect()
}

/// The names of an object's fields, sorted.
fn names(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// A payment of a user of the app's, in the `n`-th second.
fn payment(n: u32, user: &str, amount: i64, currency: &str, status: &str) -> Raw {
    let payment =
        json!({"id": format!("p{n}"), "amount": amount, "currency": currency, "status": status});
    event(n, "payment.recorded", &json!({"external_id": user, "payment": payment}))
}
