//! The simulator, held against itself: it is deterministic, complete, signed, consistent and independent.

use super::*;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeSet, path::Path};

fn options(events: usize) -> Options {
    Options { events, ..Options::demo() }
}

#[test]
fn the_same_seed_gives_the_same_history_and_another_seed_another() {
    let of = |seed, shuffle| {
        let history = History::generate(&Options { seed, shuffle, ..options(800) });
        (history.deliveries, history.truth)
    };
    assert_eq!(of(5, true), of(5, true));
    assert_ne!(of(5, true).0, of(6, true).0);
    // Order and repetition are nothing to the truth.
    assert_eq!(of(5, true).1, of(5, false).1);
}

#[test]
fn every_scenario_occurs_and_the_length_is_about_right() {
    let history = History::generate(&options(3_000));
    let played: BTreeSet<_> = history.scenarios.keys().copied().collect();
    let all: BTreeSet<_> = scenario::all().iter().map(|scenario| scenario.name).collect();
    assert_eq!(played, all);
    assert_eq!(all.len(), scenario::all().len(), "two scenarios share a name");
    assert!((2_700..=3_900).contains(&history.deliveries.len()), "{}", history.deliveries.len());
}

#[test]
fn every_kind_of_event_that_the_issue_names_occurs() {
    let history = History::generate(&options(3_000));
    let text: Vec<_> =
        history.deliveries.iter().map(|one| String::from_utf8_lossy(&one.body)).collect();
    let kinds = [
        "payment_intent.created",
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.requires_action",
        "payment_intent.processing",
        "payment_intent.canceled",
        "payment_intent.amount_capturable_updated",
        "charge.succeeded",
        "charge.updated",
        "charge.failed",
        "charge.pending",
        "charge.captured",
        "charge.refunded",
        "charge.refund.updated",
        "refund.created",
        "refund.updated",
        "refund.failed",
        "charge.dispute.created",
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.funds_reinstated",
        "invoice.paid",
        "invoice.payment_failed",
        "invoice_payment.paid",
        "checkout.session.completed",
        "checkout.session.async_payment_succeeded",
        "customer.created",
        "customer.updated",
        "customer.deleted",
        "customer.subscription.created",
        "customer.subscription.updated",
        "customer.subscription.paused",
        "customer.subscription.deleted",
        "customer.subscription.trial_will_end",
        "payout.paid",
        "user.created",
        "user.updated",
        "user.deleted",
        "session.created",
        "customer.recorded",
        "payment.recorded",
        "refund.recorded",
        "dispute.recorded",
        "subscription.recorded",
    ];
    for kind in kinds {
        let found = text.iter().any(|body| {
            body.contains(&format!("\"type\":\"{kind}\""))
                || body.contains(&format!("\"type\": \"{kind}\""))
        });
        assert!(found, "{kind} never occurs");
    }
    for currency in ["usd", "eur", "jpy", "kwd"] {
        assert!(text.iter().any(|body| body.contains(&format!("\"currency\": \"{currency}\""))));
    }
    for version in ["2025-03-31.basil", "2020-08-27"] {
        assert!(text.iter().any(|body| body.contains(version)));
    }
}

#[test]
fn an_event_has_one_body_however_often_it_is_delivered() {
    let history = History::generate(&Options { duplicates: 0.5, shuffle: true, ..options(3_000) });
    let mut bodies: BTreeMap<(Arc<str>, String), Bytes> = BTreeMap::new();
    for delivery in &history.deliveries {
        let key = (Arc::clone(&delivery.source), delivery.event_id.clone());
        let known = bodies.entry(key).or_insert_with(|| delivery.body.clone());
        assert_eq!(known, &delivery.body);
    }
    assert_eq!(bodies.len(), history.events);
    assert!(history.deliveries.len() > history.events * 3 / 2);
    let resigned: BTreeSet<_> =
        history.deliveries.iter().map(|one| (&one.event_id, &one.headers)).collect();
    assert!(resigned.len() > history.events, "no copy was signed anew");
    assert!(resigned.len() < history.deliveries.len(), "no copy was the same message again");
}

#[test]
fn history_lies_within_its_span_and_is_received_after_it_happened() {
    let options = options(6_000);
    let history = History::generate(&options);
    for delivery in &history.deliveries {
        assert!(delivery.received_at > options.start);
        assert!(delivery.received_at < options.start.plus(SPAN));
        let body: Value = serde_json::from_slice(&delivery.body).expect("JSON");
        if let Some(created) = body.get("created").and_then(Value::as_i64) {
            assert!(created <= delivery.received_at.seconds());
        }
    }
}

/// HMAC-SHA256 written out from RFC 2104.
fn by_hand(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block.iter_mut().zip(key).for_each(|(place, byte)| *place = *byte);
    let inner = Sha256::digest([&block.map(|byte| byte ^ 0x36)[..], text].concat());
    Sha256::digest([&block.map(|byte| byte ^ 0x5c)[..], &inner[..]].concat()).to_vec()
}

#[test]
fn every_delivery_is_signed_as_its_sender_signs() {
    let options = options(1_500);
    for delivery in History::generate(&options).deliveries {
        let header = |name: &str| {
            let found = delivery.headers.iter().find(|(known, _)| known == name);
            found.map_or_else(|| panic!("{name} is missing"), |(_, value)| value.clone())
        };
        let sender = options.senders.find(&delivery.source).expect("a sender");
        let seconds = delivery.received_at.seconds().to_string();
        let secret = sender.secret.expose();
        if &*delivery.source == "stripe" {
            let signed =
                [format!("{}.", signed_at(&header("stripe-signature"))).as_bytes(), &delivery.body]
                    .concat();
            let expected = hex::encode(by_hand(secret.as_bytes(), &signed));
            assert_eq!(header("stripe-signature"), format!("t={seconds},v1={expected}"));
            continue;
        }
        let family = if &*delivery.source == "clerk" { "svix" } else { "webhook" };
        let key = STANDARD.decode(secret.trim_start_matches("whsec_")).expect("base64");
        let start = format!("{}.{seconds}.", delivery.event_id);
        let expected = STANDARD.encode(by_hand(&key, &[start.as_bytes(), &delivery.body].concat()));
        assert_eq!(header(&format!("{family}-id")), delivery.event_id);
        assert_eq!(header(&format!("{family}-signature")), format!("v1,{expected}"));
    }
}

fn signed_at(header: &str) -> &str {
    header.split(',').next().and_then(|part| part.strip_prefix("t=")).expect("t=")
}

/// Law 5 (semantics 9) in the books themselves: nothing is counted twice or lost.
#[test]
fn the_customers_and_nobody_together_hold_all_the_money() {
    let history = History::generate(&options(5_000));
    let truth = history.truth.snapshot();
    let mut sums: BTreeMap<(String, &str), i64> = BTreeMap::new();
    let mut nobodys = 0;
    for payment in truth.payments.values() {
        let taken = ["succeeded", "partially_refunded", "refunded", "disputed"]
            .contains(&payment["status"].as_str().expect("a status"));
        let currency = payment["currency"].as_str().expect("a currency").to_owned();
        let captured = if taken { payment["amount"].as_i64().expect("an amount") } else { 0 };
        for (figure, minor) in [
            ("total_spent", captured),
            ("total_refunded", payment["amount_refunded"].as_i64().expect("a sum")),
            ("total_disputed_lost", payment["disputed_lost"].as_i64().expect("a sum")),
            ("payment_count", 1),
        ] {
            let minor = if payment["customer"].is_null() { 0 } else { minor };
            *sums.entry((currency.clone(), figure)).or_default() += minor;
        }
        nobodys += usize::from(payment["customer"].is_null());
        let (refunded, lost) = (&payment["amount_refunded"], &payment["disputed_lost"]);
        let back = refunded.as_i64().expect("a sum") + lost.as_i64().expect("a sum");
        assert!((0..=captured).contains(&back), "{payment}");
    }
    for customer in truth.customers.values() {
        for (currency, line) in customer["spend"].as_object().expect("spend") {
            for figure in ["total_spent", "total_refunded", "total_disputed_lost", "payment_count"]
            {
                let held = line[figure].as_i64().expect("a figure");
                *sums.entry((currency.clone(), figure)).or_default() -= held;
            }
        }
    }
    assert!(sums.values().all(|left| *left == 0), "{sums:?}");
    assert!(nobodys > 20 && nobodys < truth.payments.len() / 2, "{nobodys}");
    for payment in truth.payments.values().filter(|payment| !payment["customer"].is_null()) {
        assert!(truth.customers.contains_key(payment["customer"].as_str().expect("a name")));
    }
}

#[test]
fn the_truth_knows_people_of_every_kind() {
    let truth = History::generate(&options(9_000)).truth;
    let count = |start: &str| {
        truth.snapshot().customers.keys().filter(|name| name.starts_with(start)).count()
    };
    assert!(count("external_id ") > 40);
    assert!(count("auth clerk ") > 3);
    assert!(count("payment stripe ") > 20);
    let statuses: BTreeSet<_> = truth
        .snapshot()
        .payments
        .values()
        .filter_map(|payment| payment["status"].as_str())
        .collect();
    let all = [
        "authorized",
        "canceled",
        "disputed",
        "failed",
        "partially_refunded",
        "pending",
        "refunded",
        "requires_action",
        "succeeded",
    ];
    assert!(all.iter().all(|status| statuses.contains(status)), "{statuses:?}");
    assert_eq!(
        truth.as_json()["payments"],
        serde_json::to_value(&truth.snapshot().payments).expect("JSON")
    );
}

#[test]
fn the_other_mode_leaves_no_trace_in_the_truth() {
    let history = History::generate(&options(3_000));
    let strangers: Vec<String> = history
        .deliveries
        .iter()
        .filter_map(|one| serde_json::from_slice::<Value>(&one.body).ok())
        .filter(|body| body.get("livemode") == Some(&Value::Bool(true)))
        .filter_map(|body| Some(body["data"]["object"]["id"].as_str()?.to_owned()))
        .collect();
    assert!(!strangers.is_empty());
    let truth = history.truth.as_json().to_string();
    assert!(strangers.iter().all(|id| !truth.contains(id.as_str())));
}

#[test]
fn the_sources_are_configured_as_they_send() {
    let senders = Senders::generated(3);
    let toml: toml::Value = toml::from_str(&senders.toml("demo")).expect("TOML");
    let sources = toml["sources"].as_array().expect("sources");
    let names: Vec<_> = sources.iter().filter_map(|source| source["name"].as_str()).collect();
    assert_eq!(names, ["stripe", "clerk", "app"]);
    assert_eq!(sources[2]["provider"].as_str(), Some("canonical"));
    assert!(!format!("{senders:?}").contains(senders.app.secret.expose()));
}

/// The simulator checks what apply, verify and normalize do, so it may not be made of them.
#[test]
fn the_simulator_uses_the_model_and_nothing_else_of_this_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![root.join("simulator.rs")];
    let mut folders = vec![root.join("simulator")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    assert!(files.len() > 20);
    let rooms = ["apply", "verify", "normalize", "provider", "pipeline", "store"];
    for file in files.iter().filter(|file| !file.ends_with("simulator/tests.rs")) {
        let text = std::fs::read_to_string(file).expect("a source file");
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code: String = lines.flat_map(str::chars).filter(|c| !c.is_whitespace()).collect();
        for path in code.split("crate::").skip(1) {
            // Up to the end of the statement, or of the path where it stands in an expression.
            let named = path.split(';').next().unwrap_or_default();
            let first =
                named.split(|c: char| !c.is_alphanumeric() && c != '_').find(|w| !w.is_empty());
            assert!(
                matches!(first, Some("model" | "simulator")),
                "{}: crate::{first:?}",
                file.display()
            );
        }
        for import in code.split("usecrate::").skip(1) {
            let import = import.split(';').next().unwrap_or_default();
            let mut words = import.split(|c: char| !c.is_alphanumeric() && c != '_');
            let foreign = words.find(|word| rooms.contains(word));
            assert_eq!(foreign, None, "{}", file.display());
        }
    }
}
