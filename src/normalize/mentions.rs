//! Whom a body may be about that asserts nothing to us: an ignored type, or one that cannot be used. No fact follows
//! from this; it is there so that a deletion finds the bodies that speak of the person (semantics 4).

use crate::{
    model::{
        authority::Authority,
        reference::{Kind, Reference},
    },
    provider::{self, Source},
};
use serde_json::Value;
use std::collections::BTreeSet;

/// Under these keys bodies name the provider's own user or customer.
const OWN: &[&str] = &[
    "customer",
    "customer_code",
    "customer_id",
    "customerId",
    "sub",
    "subject",
    "uid",
    "user",
    "user_id",
    "userId",
];
/// Under these keys bodies name the app's user.
const EXTERNAL: &[&str] = &[
    "client_reference_id",
    "customer_id",
    "external_id",
    "externalId",
    "shopperReference",
    "user_id",
    "userId",
];
/// Objects have their own id at most so deep (`data.object.id`), but for people, who have it anywhere.
const OWN_ID_DEPTH: usize = 3;
/// More names than this tell nothing.
const MOST: usize = 32;

/// The names of people in a body, by the keys that they stand under.
pub fn mentions(json: &Value, source: &Source) -> BTreeSet<Reference> {
    let mut names = BTreeSet::new();
    let mut open = vec![(json, "", 0_usize)];
    while let Some((value, of, depth)) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items.iter().map(|item| (item, of, depth))),
            Value::Object(fields) => {
                for (key, value) in fields {
                    let place = Place { of, key, depth: depth + 1 };
                    match value {
                        Value::String(name) => named(&mut names, source, &place, name),
                        Value::Number(name) if name.is_u64() => {
                            named(&mut names, source, &place, &name.to_string());
                        }
                        other => open.push((other, key, depth + 1)),
                    }
                }
            }
            _ => {}
        }
        if names.len() >= MOST {
            break;
        }
    }
    names
}

/// Where a name stands.
struct Place<'a> {
    /// The key of the object around it.
    of: &'a str,
    key: &'a str,
    depth: usize,
}

fn named(names: &mut BTreeSet<Reference>, source: &Source, place: &Place<'_>, name: &str) {
    let Place { of, key, depth } = *place;
    let kind = match source.provider.authority {
        Authority::APP => Kind::External,
        Authority::AUTH => Kind::Auth,
        _ => Kind::Payment,
    };
    let is_own =
        OWN.contains(&key) || (key == "id" && (depth <= OWN_ID_DEPTH || OWN.contains(&of)));
    let is_place = |place: &provider::Place| place.at.rsplit('.').next() == Some(key);
    let is_external = EXTERNAL.contains(&key)
        || source.places.iter().any(is_place)
        || (is_own && source.subject_is_external_id);
    let kinds = [is_own.then_some(kind), is_external.then_some(Kind::External)];
    let kinds = kinds.into_iter().flatten();
    names.extend(kinds.filter_map(|kind| Reference::new(kind, &source.namespace, name).ok()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalize::fixtures::source;
    use serde_json::json;

    fn shown(provider: &str, json: &Value) -> Vec<String> {
        let names = mentions(json, &source(provider));
        names.iter().map(|name| format!("{:?} {}", name.kind, name.subject)).collect()
    }

    #[test]
    fn the_providers_own_people_and_the_apps_are_found_by_their_keys() {
        let body = json!({"id": "evt_1", "data": {"object": {"id": "pm_1", "customer": "cus_1",
            "card": {"wallet": {"id": "deep"}}, "metadata": {"user_id": "u1"}, "note": "cus_2"}}});
        assert_eq!(
            shown("stripe", &body),
            ["External u1", "Payment cus_1", "Payment evt_1", "Payment pm_1", "Payment u1"]
        );
        let body =
            json!({"data": {"id": "sess_1", "user_id": "user_2Q"}, "type": "session.created"});
        assert_eq!(shown("clerk", &body), ["External user_2Q", "Auth sess_1", "Auth user_2Q"]);
    }

    #[test]
    fn a_body_full_of_names_is_read_no_further_than_it_tells_something() {
        let many: Vec<Value> =
            (0..5_000).map(|n| json!({"customer": format!("cus_{n}")})).collect();
        assert!(mentions(&json!(many), &source("stripe")).len() <= MOST + 1);
        assert!(mentions(&json!({"customer": "", "user_id": -7}), &source("stripe")).is_empty());
    }

    #[test]
    fn people_are_found_by_the_names_that_each_provider_gives_them() {
        let body =
            json!({"event": "transfer.success", "data": {"recipient": {"customer_code": "CUS_x"}}});
        assert_eq!(shown("paystack", &body), ["Payment CUS_x"]);
        let item = json!({"additionalData": {"shopperReference": "user_7"}});
        let body = json!({"notificationItems": [{"NotificationRequestItem": item}]});
        let mut adyen = source("adyen");
        adyen.places = Vec::new();
        let names = mentions(&body, &adyen);
        assert_eq!(names.len(), 1);
        assert!(names.iter().all(|name| name.kind == Kind::External && &*name.subject == "user_7"));
        let body = json!({"data": {"id": 1, "customer": {"id": 215_604_089, "name": "Ada"}, "meta": {"user_id": 7}}});
        assert_eq!(
            shown("flutterwave", &body),
            ["External 7", "Payment 1", "Payment 215604089", "Payment 7"]
        );
        let deep = json!({"a": {"b": {"c": {"d": {"customer": {"id": "cus_deep"}, "id": "tx"}}}}});
        assert_eq!(shown("braintree", &deep), ["Payment cus_deep"]);
    }
}
