//! Properties: nothing that arrives makes stage 3 panic, and a chain of changes within one second ends where
//! Stripe's chain ends, whatever the order of ids and of arrival.

use super::fixtures::{fixture, names, only, read, read_bytes, source};
use crate::{
    model::{
        event::{Event, Reading},
        reference::Profile,
        subscription::{SubscriptionFacts, SubscriptionStatus},
    },
    provider::ALL,
};
use proptest::prelude::*;
use serde_json::{Map, Number, Value, json};

/// Any JSON, with the keys and words that the readers look for among others.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        any::<String>(),
        "[a-z_.]{0,12}",
        Just("succeeded".to_owned()),
        Just("usd".to_owned()),
        Just("\u{0}".to_owned()),
    ];
    let number = prop_oneof![
        any::<i64>().prop_map(Number::from),
        any::<u64>().prop_map(Number::from),
        any::<f64>().prop_filter_map("finite", Number::from_f64),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number.prop_map(Value::Number),
        word.prop_map(Value::String),
    ];
    let key = prop_oneof![
        Just("id".to_owned()),
        Just("data".to_owned()),
        Just("metadata".to_owned()),
        Just("amount".to_owned()),
        any::<String>(),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|fields| Value::Object(Map::from_iter(fields))),
        ]
    })
}

/// Puts a value in the place of the `at`-th node of a body, counted through the tree.
fn replace(body: &mut Value, at: &mut usize, value: &Value) -> bool {
    if *at == 0 {
        *body = value.clone();
        return true;
    }
    *at -= 1;
    match body {
        Value::Array(list) => list.iter_mut().any(|node| replace(node, at, value)),
        Value::Object(fields) => fields.values_mut().any(|node| replace(node, at, value)),
        _ => false,
    }
}

fn provider(name: &str) -> &str {
    name.split('/').next().unwrap_or_default()
}

proptest! {
    #[test]
    fn any_json_is_read_or_refused(body in any_json(), which in 0..ALL.len()) {
        let source = source(ALL[which].name);
        let once = read(source.clone(), &body);
        prop_assert_eq!(once, read(source, &body));
    }

    #[test]
    fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(read_bytes(source("stripe"), body).is_err());
    }

    #[test]
    fn a_fixture_with_any_value_anywhere_is_read_or_refused(
        which in any::<prop::sample::Index>(),
        mut at in 0..120_usize,
        value in any_json(),
    ) {
        let names = names();
        let name = which.get(&names);
        let mut body = fixture(name);
        replace(&mut body, &mut at, &value);
        let source = source(provider(name));
        let once = read(source.clone(), &body);
        prop_assert_eq!(&once, &read(source, &body));
        for event in once.unwrap_or_default() {
            prop_assert!(super::describe(&event, "any").is_object());
        }
    }

    #[test]
    fn a_fixture_cut_or_bent_anywhere_is_read_or_refused(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let names = names();
        let name = which.get(&names);
        let mut body = fixture(name).to_string().into_bytes();
        let at = at.index(body.len());
        if cut {
            body.truncate(at);
            prop_assert!(read_bytes(source(provider(name)), body).is_err());
        } else {
            body[at] = byte;
            let once = read_bytes(source(provider(name)), body.clone());
            prop_assert_eq!(once, read_bytes(source(provider(name)), body));
        }
    }

    #[test]
    fn a_chain_of_changes_within_one_second_ends_at_its_end(
        names in prop::collection::vec("[A-C]", 1..6),
        order in Just((0..6_usize).collect::<Vec<_>>()).prop_shuffle(),
        ids in prop::collection::vec("[a-z]{8}", 7),
        repeats in prop::collection::vec(0..6_usize, 0..4),
    ) {
        let chain = chain(&names, &ids);
        let mut arrivals: Vec<usize> = order.into_iter().filter(|at| *at < chain.len()).collect();
        arrivals.extend(repeats.into_iter().filter(|at| *at < chain.len()));
        let mut profile = Profile::default();
        for at in arrivals {
            let event = only(read(source("stripe"), &chain[at]));
            profile.join(&profile_of(event));
        }
        let last = chain.last().and_then(|body| body.pointer("/data/object/name")).cloned();
        let value = profile.name.value().cloned().flatten().map(Value::String);
        prop_assert_eq!(value, last);
    }

    #[test]
    fn a_state_that_a_metadata_update_repeats_does_not_hide_a_change(swap in any::<bool>()) {
        let mut moved = fixture("stripe/customer.subscription.updated");
        moved["data"]["object"]["status"] = json!("past_due");
        moved["data"]["previous_attributes"] = json!({"status": "active"});
        let mut touched = fixture("stripe/customer.subscription.updated");
        touched["id"] = json!("evt_zzz");
        touched["created"] = json!(1_718_000_009);
        touched["data"]["previous_attributes"] = json!({"metadata": {"seen": null}});
        let mut bodies = vec![moved, touched];
        if swap {
            bodies.reverse();
        }
        let mut facts = SubscriptionFacts::default();
        for body in &bodies {
            facts.join(&subscription_of(only(read(source("stripe"), body))));
        }
        prop_assert_eq!(facts.status.value(), Some(&SubscriptionStatus::PastDue));
    }
}

/// A customer made and renamed again and again within one second; the ids run in any order.
fn chain(names: &[String], ids: &[String]) -> Vec<Value> {
    let mut made = fixture("stripe/customer.created");
    made["id"] = json!(format!("evt_{}0", ids[0]));
    made["data"]["object"]["name"] = json!("Start");
    let mut bodies = vec![made];
    let mut now = "Start";
    for (name, id) in names.iter().zip(&ids[1..]) {
        if name == now {
            continue;
        }
        let mut renamed = fixture("stripe/customer.updated.email");
        renamed["id"] = json!(format!("evt_{id}{}", bodies.len()));
        renamed["data"]["object"]["name"] = json!(name);
        renamed["data"]["previous_attributes"] = json!({"name": now});
        bodies.push(renamed);
        now = name;
    }
    bodies
}

fn profile_of(event: Event) -> Profile {
    match event.reading {
        Reading::Asserts(mut assertions) => assertions.references.remove(0).facts.profile,
        other => panic!("asserts nothing: {other:?}"),
    }
}

fn subscription_of(event: Event) -> SubscriptionFacts {
    match event.reading {
        Reading::Asserts(mut assertions) => assertions.subscriptions.remove(0).facts,
        other => panic!("asserts nothing: {other:?}"),
    }
}
