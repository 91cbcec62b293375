//! A state in a canonical form, without what may differ between two right states: ids, versions, and the
//! times at which we heard of things. The truth and the daemon's answers are both put into it and compared.

use crate::model::{
    customer::Customer, payment::Payment, reference::Kind, subscription::Subscription,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The metadata keys that are compared. Only the app's word decides them; what else a provider's metadata
/// brings along is not looked at.
pub(super) const METADATA_KEYS: [&str; 5] = ["cohort", "locale", "newsletter", "score", "company"];

/// Customers, payments and subscriptions by their names in the outside world.
///
/// A customer's name is its external_id, else the first of its auth UIDs, else the first of its payment
/// ids. An e-mail address's verification, a payment's method, texts and subscription, and the top-level
/// money (a repetition of `spend`) are left out.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Snapshot {
    /// By name.
    pub customers: BTreeMap<String, Value>,
    /// By `namespace id`.
    pub payments: BTreeMap<String, Value>,
    /// By `namespace id`. Those that are nobody's are left out: they are not shown anywhere.
    pub subscriptions: BTreeMap<String, Value>,
}

/// The most lines that a comparison gives.
const LINES_SHOWN: usize = 40;

impl Snapshot {
    /// From the objects that the store gives.
    pub fn from_objects(
        customers: &[Customer],
        payments: &[Payment],
        subscriptions: &[Subscription],
    ) -> Self {
        Self::from_json(&values(customers), &values(payments), &values(subscriptions))
    }

    /// From the objects that the HTTP API gives.
    pub fn from_json(customers: &[Value], payments: &[Value], subscriptions: &[Value]) -> Self {
        let mut snapshot = Self::default();
        let mut names: BTreeMap<&str, String> = BTreeMap::new();
        for customer in customers.iter().filter(|one| one.get("deleted") != Some(&json!(true))) {
            let mut name = name_of(customer);
            while snapshot.customers.contains_key(&name) {
                name.push_str(" (again)");
            }
            names.insert(text(customer, "id"), name.clone());
            snapshot.customers.insert(name, customer_form(customer));
        }
        let holder = |object: &Value| match text(object, "customer_id") {
            "" => Value::Null,
            id => names.get(id).map_or_else(|| json!(format!("unknown {id}")), |name| json!(name)),
        };
        for payment in payments {
            let name = format!("{} {}", text(payment, "provider"), text(payment, "payment_id"));
            let mut form = picked(
                payment,
                &["status", "amount", "currency", "amount_refunded", "disputed_lost", "paid_at"],
            );
            form.insert("customer".to_owned(), holder(payment));
            snapshot.payments.insert(name, form.into_iter().collect());
        }
        for one in subscriptions {
            let name = format!("{} {}", text(one, "provider"), text(one, "subscription_id"));
            let mut form = picked(one, &["status", "plan", "cancel_at_period_end"]);
            form.insert("customer".to_owned(), holder(one));
            snapshot.subscriptions.insert(name, form.into_iter().collect());
        }
        snapshot
    }

    /// What a customer with these names is called: (kind, namespace, subject).
    pub(super) fn customer_key(names: &[(Kind, &str, &str)]) -> String {
        match names.iter().min() {
            Some((Kind::External, _, subject)) => format!("external_id {subject}"),
            Some((kind, namespace, subject)) => {
                Self::identity(*kind, namespace, subject).unwrap_or_default()
            }
            None => String::new(),
        }
    }

    /// One of a customer's identities; none for an external_id.
    pub(super) fn identity(kind: Kind, namespace: &str, subject: &str) -> Option<String> {
        match kind {
            Kind::External => None,
            Kind::Auth => Some(format!("auth {namespace} {subject}")),
            Kind::Payment => Some(format!("payment {namespace} {subject}")),
            Kind::Own => Some(format!("self {subject}")),
        }
    }
}

/// What is wrong with a state: one readable line a difference, at most 40 and how many more there are.
pub fn differences(truth: &Snapshot, state: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    compare("customer", &truth.customers, &state.customers, &mut lines);
    compare("payment", &truth.payments, &state.payments, &mut lines);
    compare("subscription", &truth.subscriptions, &state.subscriptions, &mut lines);
    if lines.len() > LINES_SHOWN {
        let more = lines.len() - LINES_SHOWN;
        lines.truncate(LINES_SHOWN);
        lines.push(format!("and {more} more"));
    }
    lines
}

fn compare(
    what: &str,
    truth: &BTreeMap<String, Value>,
    state: &BTreeMap<String, Value>,
    lines: &mut Vec<String>,
) {
    for (name, expected) in truth {
        match state.get(name) {
            Some(found) => compare_values(&format!("{what} {name}"), expected, found, lines),
            None => lines.push(format!("{what} {name} is missing")),
        }
    }
    for name in state.keys().filter(|name| !truth.contains_key(*name)) {
        lines.push(format!("{what} {name} should not exist"));
    }
}

fn compare_values(place: &str, expected: &Value, found: &Value, lines: &mut Vec<String>) {
    if let (Value::Object(expected), Value::Object(found)) = (expected, found) {
        let keys: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
        for key in keys {
            let of = |object: &serde_json::Map<String, Value>| object.get(key).cloned();
            let (expected, found) = (of(expected), of(found));
            let nothing = || json!("nothing");
            compare_values(
                &format!("{place}: {key}"),
                &expected.unwrap_or_else(nothing),
                &found.unwrap_or_else(nothing),
                lines,
            );
        }
    } else if expected != found {
        lines.push(format!("{place} is {found}, should be {expected}"));
    }
}

fn values<T: Serialize>(objects: &[T]) -> Vec<Value> {
    objects.iter().map(|object| serde_json::to_value(object).unwrap_or_default()).collect()
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn picked(object: &Value, fields: &[&str]) -> BTreeMap<String, Value> {
    let pick =
        |field: &&str| ((*field).to_owned(), object.get(*field).cloned().unwrap_or(Value::Null));
    fields.iter().map(pick).collect()
}

fn items<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    object.get(field).and_then(Value::as_array).into_iter().flatten()
}

/// An API identity's kind, namespace and subject.
fn identity_of(identity: &Value) -> (Kind, &str, &str) {
    let kind = match text(identity, "kind") {
        "auth" => Kind::Auth,
        "payment" => Kind::Payment,
        _ => Kind::Own,
    };
    (kind, text(identity, "provider"), text(identity, "uid"))
}

fn name_of(customer: &Value) -> String {
    let mut names: Vec<_> = items(customer, "identities").map(identity_of).collect();
    if let Some(external_id) = customer.get("external_id").and_then(Value::as_str) {
        names.push((Kind::External, "", external_id));
    }
    if names.is_empty() {
        names.push((Kind::Own, "", text(customer, "id")));
    }
    Snapshot::customer_key(&names)
}

fn customer_form(customer: &Value) -> Value {
    let mut form = picked(
        customer,
        &[
            "external_id",
            "name",
            "email",
            "phone",
            "is_anonymous",
            "payment_count",
            "successful_payment_count",
            "failed_payment_count",
            "first_payment_at",
            "last_payment_at",
            "subscription_status",
        ],
    );
    let tags: BTreeSet<_> = items(customer, "tags").filter_map(Value::as_str).collect();
    let identities: BTreeSet<_> = items(customer, "identities")
        .filter_map(|identity| {
            let (kind, namespace, subject) = identity_of(identity);
            Snapshot::identity(kind, namespace, subject)
        })
        .collect();
    let metadata: BTreeMap<_, _> = METADATA_KEYS
        .iter()
        .filter_map(|key| Some((*key, customer.get("metadata")?.get(key)?)))
        .collect();
    let spend: BTreeMap<_, _> = items(customer, "spend")
        .map(|line| {
            let figures = picked(
                line,
                &[
                    "total_spent",
                    "total_refunded",
                    "total_disputed_lost",
                    "net_spent",
                    "payment_count",
                    "successful_payment_count",
                    "failed_payment_count",
                ],
            );
            (text(line, "currency"), figures)
        })
        .collect();
    form.insert("tags".to_owned(), json!(tags));
    form.insert("identities".to_owned(), json!(identities));
    form.insert("metadata".to_owned(), json!(metadata));
    form.insert("spend".to_owned(), json!(spend));
    form.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (Value, Value, Value) {
        let customer = json!({
            "object": "customer", "id": "cus_1", "external_id": "usr_1", "name": "Ada",
            "tags": ["b", "a"], "metadata": {"locale": "de", "crm": "7"},
            "identities": [{"provider": "stripe", "uid": "cus_x", "kind": "payment"}],
            "spend": [{"currency": "USD", "total_spent": 500, "net_spent": 500}],
            "version": 9, "deleted": false,
        });
        let payment = json!({
            "id": "pay_1", "customer_id": "cus_1", "provider": "stripe", "payment_id": "pi_1",
            "status": "succeeded", "amount": 500,
        });
        let subscription = json!({
            "id": "sub_1", "customer_id": "cus_9", "provider": "stripe",
            "subscription_id": "sub_x", "status": "active",
        });
        (customer, payment, subscription)
    }

    #[test]
    fn objects_are_named_by_the_outside_world() {
        let (customer, payment, subscription) = state();
        let snapshot = Snapshot::from_json(&[customer], &[payment], &[subscription]);
        let customer = &snapshot.customers["external_id usr_1"];
        assert_eq!(customer["tags"], json!(["a", "b"]));
        assert_eq!(customer["metadata"], json!({"locale": "de"}));
        assert_eq!(customer["identities"], json!(["payment stripe cus_x"]));
        assert_eq!(customer["spend"]["USD"]["total_spent"], json!(500));
        assert_eq!(snapshot.payments["stripe pi_1"]["customer"], "external_id usr_1");
        assert_eq!(snapshot.subscriptions["stripe sub_x"]["customer"], "unknown cus_9");
    }

    #[test]
    fn differences_name_the_place_and_both_values() {
        let (customer, payment, _) = state();
        let truth = Snapshot::from_json(
            std::slice::from_ref(&customer),
            std::slice::from_ref(&payment),
            &[],
        );
        assert!(differences(&truth, &truth).is_empty());
        let mut wrong = customer;
        wrong["spend"][0]["total_spent"] = json!(400);
        let state = Snapshot::from_json(&[wrong], &[], &[]);
        assert_eq!(
            differences(&truth, &state),
            [
                "customer external_id usr_1: spend: USD: total_spent is 400, should be 500",
                "payment stripe pi_1 is missing",
            ]
        );
        assert_eq!(differences(&state, &truth)[1], "payment stripe pi_1 should not exist");
    }

    #[test]
    fn a_long_list_of_differences_is_cut() {
        let mut truth = Snapshot::default();
        for number in 0..100 {
            truth.payments.insert(format!("stripe pi_{number}"), Value::Null);
        }
        let lines = differences(&truth, &Snapshot::default());
        assert_eq!((lines.len(), lines.last().map(String::as_str)), (41, Some("and 60 more")));
    }
}
