//! Holds the objects that the store shows against the lines of a script.

use super::script::Script;
use customer_sync::model::{customer::Customer, payment::Payment, subscription::Subscription};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// What is shown, as the API shows it.
struct Shown {
    customers: Vec<Value>,
    payments: Vec<Value>,
    subscriptions: Vec<Value>,
}

/// One readable line for each thing that is not as the script says.
pub(super) fn differences(
    script: &Script,
    customers: &[Customer],
    payments: &[Payment],
    subscriptions: &[Subscription],
) -> Vec<String> {
    let mut shown = Shown {
        customers: values(customers),
        payments: values(payments),
        subscriptions: values(subscriptions),
    };
    shown.customers.retain(|customer| customer["deleted"] != true);
    let mut wrong = Vec::new();
    let mut named = BTreeSet::new();
    for line in &script.expected {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [kind, name, fields @ ..] = words.as_slice() else { panic!("`{line}` says nothing") };
        let Some(object) = shown.find(kind, name) else {
            wrong.push(format!("there is no {kind} {name}"));
            continue;
        };
        named.insert(object["id"].as_str().expect("an id").to_owned());
        for field in fields {
            let (key, wanted) = field.split_once('=').expect("KEY=VALUE");
            let found = shown.told(object, key);
            if found != wanted {
                wrong.push(format!("{kind} {name}: {key} is {found}, not {wanted}"));
            }
        }
    }
    let all = [&shown.customers, &shown.payments, &shown.subscriptions].into_iter().flatten();
    let more = all.filter(|object| !named.contains(object["id"].as_str().expect("an id")));
    wrong.extend(more.map(|object| format!("nobody told of {object}")));
    wrong
}

fn values(objects: &[impl Serialize]) -> Vec<Value> {
    objects.iter().map(|object| serde_json::to_value(object).expect("JSON")).collect()
}

impl Shown {
    fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        match kind {
            "customer" => self.customers.iter().find(|customer| is_called(customer, name)),
            "payment" => self.payments.iter().find(|payment| payment["payment_id"] == name),
            "subscription" => self.subscriptions.iter().find(|one| one["subscription_id"] == name),
            kind => panic!("`{kind}` is no customer, payment or subscription"),
        }
    }

    /// A field as a script writes it: `of` is a customer's name, a currency what was spent, refunded, lost and is
    /// left of it.
    fn told(&self, object: &Value, key: &str) -> String {
        if key == "of" {
            let id = &object["customer_id"];
            let holder = self.customers.iter().find(|customer| customer["id"] == *id);
            return match holder {
                Some(holder) => name_of(holder),
                None if id.is_null() => "nobody".into(),
                None => "somebody unknown".into(),
            };
        }
        if key.len() == 3 && key.chars().all(|letter| letter.is_ascii_uppercase()) {
            let mut spent = object["spend"].as_array().into_iter().flatten();
            let Some(spent) = spent.find(|one| one["currency"] == key) else {
                return "none".into();
            };
            return ["total_spent", "total_refunded", "total_disputed_lost", "net_spent"]
                .map(|figure| spent[figure].to_string())
                .join("/");
        }
        match &object[key] {
            Value::String(text) => text.replace(' ', "_"),
            other => other.to_string(),
        }
    }
}

/// The external_id, else the first of the other names.
fn name_of(customer: &Value) -> String {
    let first = &customer["identities"][0]["uid"];
    let name = customer["external_id"].as_str().or_else(|| first.as_str());
    name.unwrap_or("nameless").to_owned()
}

fn is_called(customer: &Value, name: &str) -> bool {
    let mut identities = customer["identities"].as_array().into_iter().flatten();
    customer["external_id"] == name || identities.any(|identity| identity["uid"] == name)
}
