//! Every body under tests/fixtures, against what it must assert by the providers' documentation.

use super::{Part, Unread, describe, normalize};
use crate::{
    model::{
        event::{Event, Reading},
        reference::Scope,
        time::Timestamp,
    },
    provider::{self, Malformed, Source},
    verify::Verified,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

/// When the fixtures were received: weeks after what they tell of.
const RECEIVED: &str = "2024-08-01T00:00:00Z";

pub(super) fn received_at() -> Timestamp {
    Timestamp::parse(RECEIVED).expect("a time")
}

/// A live source of a provider, named as the provider is.
pub(super) fn source(name: &str) -> Source {
    let provider = provider::find(name).expect("a provider");
    Source {
        name: name.into(),
        provider: provider.into(),
        mapping: None,
        environment: "live".into(),
        test_environment: None,
        namespace: name.into(),
        secrets: Vec::new(),
        tolerance: None,
        url: None,
        subject_is_external_id: false,
        places: provider.places.to_vec(),
        authority: BTreeMap::new(),
        on_delete: Scope::Auto,
        match_email: true,
        manual_capture: false,
        unsigned: false,
    }
}

pub(super) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

pub(super) fn fixture(name: &str) -> Value {
    let text = |ending: &str| fs::read_to_string(folder().join(format!("{name}.{ending}")));
    match text("xml") {
        // A form of Braintree, as a gateway that makes JSON of it passes it on.
        Ok(xml) => json!({"bt_signature": "public_key|00", "bt_payload": STANDARD.encode(xml)}),
        Err(_) => serde_json::from_str(&text("json").expect(name)).expect("JSON"),
    }
}

pub(super) fn read(source: Source, body: &Value) -> Result<Vec<Event>, Malformed> {
    read_bytes(source, body.to_string().into_bytes())
}

/// The events of a body; what cannot be read of it only where that is all of it.
pub(super) fn read_bytes(source: Source, body: Vec<u8>) -> Result<Vec<Event>, Malformed> {
    let (events, unread): (Vec<_>, Vec<_>) =
        parts(source, body).into_iter().map(|part| part.read).partition(Result::is_ok);
    match unread.into_iter().next() {
        Some(Err(why)) if events.is_empty() => Err(Malformed(why.why)),
        _ => Ok(events.into_iter().flatten().collect()),
    }
}

pub(super) fn parts(source: Source, body: Vec<u8>) -> Vec<Part> {
    let header = match source.provider.name {
        "clerk" | "propelauth" => Some("msg_2QHeader"),
        "polar" | "razorpay" | "dodo-payments" => Some("evt_header"),
        _ => None,
    };
    let body = Bytes::from(body);
    normalize(&Verified::for_test(Arc::new(source), body, received_at(), header))
}

/// The one event of a fixture at a live source.
pub(super) fn event(name: &str) -> Event {
    only(read(source(provider_of(name)), &fixture(name)))
}

pub(super) fn only(events: Result<Vec<Event>, Malformed>) -> Event {
    let mut events = events.expect("readable");
    assert_eq!(events.len(), 1);
    events.remove(0)
}

fn provider_of(name: &str) -> &str {
    name.split('/').next().expect("a provider")
}

fn name_of(reference: &Value) -> String {
    let part = |key| reference.get(key).and_then(Value::as_str);
    match (part("kind"), part("subject")) {
        (Some(kind), Some(subject)) => format!("{kind}:{subject}"),
        _ => "nobody".into(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// One fact as a line of expected.txt.
fn line(fact: &Value) -> String {
    let text = |key: &str| fact.get(key).filter(|value| !value.is_null()).map(plain);
    let mut words = vec![text("kind").expect("a kind")];
    words.extend(fact.get("reference").map(name_of));
    words.extend(fact.get("under").map(|under| format!("under {}", name_of(under))));
    words.extend(fact.get("by").map(|by| format!("by {}", name_of(by))));
    words.extend(text("scope"));
    words.extend(text("key"));
    words.extend(text("payment").map(|payment| format!("of {payment}")));
    let keys: Vec<_> = fact.get("keys").and_then(Value::as_array).into_iter().flatten().collect();
    if keys.len() > 1 {
        let others: Vec<_> = keys.iter().skip(1).map(|key| plain(key)).collect();
        words.push(format!("({})", others.join(", ")));
    }
    words.extend(text("amount"));
    words.extend(text("currency"));
    words.extend(text("status"));
    words.extend(text("captured_by").map(|class| format!("by {class}")));
    words.extend(text("cause").filter(|cause| cause != "refund"));
    for key in [
        "capture",
        "amount_refunded",
        "name",
        "email",
        "phone",
        "tags",
        "is_anonymous",
        "metadata_cleared",
        "method",
        "plan",
        "current_period_end",
        "cancel_at_period_end",
        "ends_at",
        "description",
        "failure_code",
        "subscription_id",
        "match_email",
        "metadata",
    ] {
        words.extend(fact.get(key).map(|value| format!("{key}={}", plain(value))));
        if key == "email" && fact.get("email_verified") == Some(&json!(true)) {
            words.push("email_verified".into());
        }
    }
    let on: Vec<_> = fact
        .get("references")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(name_of)
        .collect();
    if !on.is_empty() {
        words.push(format!("on {}", on.join(" ")));
    }
    let repeated = fact.get("repeated").and_then(Value::as_array).into_iter().flatten();
    words.extend(repeated.map(|field| format!("~{}", plain(field))));
    words.join(" ")
}

/// What a body asserts, as expected.txt writes it.
pub(super) fn lines(events: &Result<Vec<Event>, Malformed>) -> Vec<String> {
    match events {
        Ok(events) => events.iter().flat_map(lines_of).collect(),
        Err(Malformed(why)) => vec![format!("malformed {why}")],
    }
}

fn lines_of(event: &Event) -> Vec<String> {
    let mut lines = Vec::new();
    let told = describe(event, "any");
    match (&event.reading, told.get("facts").and_then(Value::as_array)) {
        (Reading::Asserts(_), Some(facts)) => lines.extend(facts.iter().map(line)),
        (Reading::Ignored(why), _) => lines.push(format!("ignored {why}")),
        (Reading::Malformed(why), _) => lines.push(format!("malformed {why}")),
        (Reading::Asserts(_), None) => lines.push("no facts".into()),
    }
    lines.extend(event.notes.iter().map(|note| format!("note {note}")));
    lines
}

/// What each part of a body asserts.
pub(super) fn all_lines(parts: &[Part]) -> Vec<String> {
    let lines = |part: &Part| match &part.read {
        Ok(event) => lines_of(event),
        Err(Unread { why, .. }) => vec![format!("malformed {why}")],
    };
    parts.iter().flat_map(lines).collect()
}

fn expected() -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(folder().join("expected.txt")).expect("expected.txt");
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if let Some(fact) = line.strip_prefix("  ") {
            expected.get_mut(&name).expect("a name above").push(fact.to_owned());
        } else {
            line.clone_into(&mut name);
            assert!(expected.insert(name.clone(), Vec::new()).is_none(), "{name} stands twice");
        }
    }
    expected
}

/// The names of all fixtures.
pub(super) fn names() -> Vec<String> {
    let mut names = Vec::new();
    for provider in provider::ALL.iter().map(|provider| provider.name) {
        let Ok(bodies) = fs::read_dir(folder().join(provider)) else { continue };
        for entry in bodies {
            let file = entry.expect("a file").file_name().into_string().expect("a name");
            let stem = file.strip_suffix(".json").or(file.strip_suffix(".xml")).expect("a body");
            names.push(format!("{provider}/{stem}"));
        }
    }
    names.sort();
    names
}

#[test]
fn every_provider_has_fixtures() {
    let names = names();
    for provider in provider::ALL {
        // The second of two that read the same bodies.
        let folder = provider.name.strip_suffix("-db").unwrap_or(provider.name);
        let prefix = format!("{folder}/");
        assert!(names.iter().any(|name| name.starts_with(&prefix)), "{folder} has none");
    }
}

#[test]
fn every_fixture_asserts_what_the_documentation_says() {
    let expected = expected();
    let covered: Vec<_> = expected.keys().cloned().collect();
    assert_eq!(covered, names(), "expected.txt and the folder name the same bodies");
    let differs = |(name, expected): (&String, &Vec<String>)| {
        let body = fixture(name).to_string().into_bytes();
        let found = all_lines(&parts(source(provider_of(name)), body));
        let list = |lines: &[String]| lines.join("\n    ");
        let (wanted, got) = (list(expected), list(&found));
        (wanted != got).then(|| format!("{name}\n  expected\n    {wanted}\n  found\n    {got}\n"))
    };
    let wrong: String = expected.iter().filter_map(differs).collect();
    assert!(wrong.is_empty(), "{wrong}");
}
