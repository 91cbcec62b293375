//! A provider that a source describes in its settings: it says what the built-in one says, its mistakes are found
//! before it runs, and the page that teaches it is true.

use bytes::Bytes;
use chrono::TimeDelta;
use customer_sync::{
    config::Config,
    model::{
        event::{Event, Reading},
        inbound::{Headers, Raw},
        secret::Secret,
        time::Timestamp,
    },
    normalize::{Unread, describe, normalize},
    provider::{self, Source},
    verify::{scheme::sign, verify},
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    time::{Duration, Instant},
};

mod page;

/// When everything here was received: weeks after what the fixtures tell of.
fn at() -> Timestamp {
    Timestamp::parse("2024-08-01T00:00:00Z").expect("a time")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Longer than it takes by far, also where the machine is busy; ten gigabytes take minutes.
const LONG: Duration = Duration::from_secs(15);

/// What stands in the place of each secret: base64, for those that are.
const SECRET: &str = "YSBzZWNyZXQgb2YgdGhlIHRlc3Rz";

/// The source that a text of settings describes, its secret in place.
fn configured(settings: &str) -> Source {
    let mut text = settings.to_owned();
    while let Some((before, after)) = text.split_once("${") {
        let (_, behind) = after.split_once('}').expect("closed");
        text = format!("{before}{SECRET}{behind}");
    }
    let sources = Config::parse(&text).expect("good settings").sources().expect("good sources");
    sources.into_iter().next().expect("one source")
}

/// As in config/custom, taken without verification.
fn described(name: &str) -> Source {
    let file = root().join("config/custom").join(format!("{name}.toml"));
    Source { match_email: true, ..unsigned(configured(&fs::read_to_string(file).expect("it"))) }
}

fn built_in(name: &str) -> Source {
    let settings = format!("[[sources]]\nname = '{name}'\nprovider = '{name}'\nunsigned = true");
    Source { match_email: true, ..configured(&settings) }
}

fn unsigned(source: Source) -> Source {
    Source { secrets: Vec::new(), unsigned: true, ..source }
}

fn raw(source: &Source, headers: Headers, body: Bytes) -> Raw {
    let received_at = Some(at());
    Raw { source: source.name.clone(), headers, body, received_at, queue_id: None, dead: None }
}

fn read(source: &Source, body: &[u8]) -> Result<Vec<Event>, Unread> {
    let source = Arc::new(source.clone());
    let raw = raw(&source, Headers::default(), Bytes::copy_from_slice(body));
    let parts = normalize(&verify(&source, &raw, at()).expect("nobody checks it"));
    parts.into_iter().map(|part| part.read).collect()
}

fn bodies(provider: &str) -> Vec<(String, Vec<u8>)> {
    let folder = root().join("tests/fixtures").join(provider);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).expect("it").map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), fs::read(path).expect("a body"))).collect()
}

/// All of an event but its words for people.
fn facts(event: &Event) -> (Event, String, usize) {
    let verdict = match &event.reading {
        Reading::Asserts(_) => "facts",
        Reading::Ignored(_) => "ignored",
        Reading::Malformed(_) => "rejected",
    };
    let reading = match &event.reading {
        asserts @ Reading::Asserts(_) => asserts.clone(),
        _ => Reading::Ignored(String::new()),
    };
    let bare = Event { notes: Vec::new(), reading, ..event.clone() };
    (bare, verdict.to_owned(), event.notes.len())
}

#[test]
fn paystack_workos_and_clerk_described_in_settings_say_what_the_built_in_ones_say() {
    for name in ["paystack", "workos", "clerk"] {
        let (described, built_in) = (described(name), built_in(name));
        let all = bodies(name);
        assert!(all.len() >= 5, "{name} has fixtures");
        for (body, bytes) in all {
            let own = read(&described, &bytes).expect(&body);
            let expected = read(&built_in, &bytes).expect(&body);
            let own: Vec<_> = own.iter().map(facts).collect();
            let expected: Vec<_> = expected.iter().map(facts).collect();
            assert_eq!(own, expected, "{name}/{body}");
        }
    }
}

#[test]
fn what_a_provider_cannot_have_sent_is_rejected_with_the_field_and_its_place_in_the_body() {
    let paystack = described("paystack");
    let body = |pointer: &str, value: Value| {
        let folder = root().join("tests/fixtures/paystack/charge.success.json");
        let mut body: Value = serde_json::from_slice(&fs::read(folder).expect("it")).expect("JSON");
        *body.pointer_mut(pointer).expect(pointer) = value;
        body.to_string().into_bytes()
    };
    for (pointer, value, expected) in [
        (
            "/data/amount",
            json!(1.5),
            "payment.amount (`$.data.amount`): is no whole number of minor units",
        ),
        ("/data/amount", json!("-1"), "payment.amount (`$.data.amount`): is negative"),
        ("/data/amount", json!(null), "payment.amount (`$.data.amount`): is missing"),
        (
            "/data/currency",
            json!("US$"),
            "payment.currency (`$.data.currency`): is no currency code: three to five letters or digits are expected",
        ),
        (
            "/data/status",
            json!("lost"),
            "payment.status (`$.data.status`): `lost` is no word of its `map`",
        ),
        ("/data/reference", json!(""), "payment.id (`$.data.reference`): is missing"),
        (
            "/data/reference",
            json!([1]),
            "payment.id (`$.data.reference`): is neither an id nor an object with one",
        ),
    ] {
        let events = read(&paystack, &body(pointer, value)).expect("an event");
        let [event] = events.as_slice() else { panic!("one event") };
        let Reading::Malformed(why) = &event.reading else { panic!("{expected}: {event:?}") };
        assert_eq!(why, expected);
    }
    for (pointer, value, expected) in [
        ("/event", json!(null), "event.type (`$.event`): is missing"),
        ("/data/paid_at", json!("soon"), "event.time (`$.data.paid_at`): is no RFC 3339 time"),
        ("/data/domain", json!([]), ""),
    ] {
        match read(&paystack, &body(pointer, value)) {
            Err(Unread { why, .. }) => assert_eq!(why, expected),
            Ok(events) => assert!(expected.is_empty(), "{events:?}"),
        }
    }
}

#[test]
fn a_signature_is_checked_as_the_settings_describe_it() {
    // By how many seconds a signature may be older than its receipt.
    for (name, tolerance) in [("paystack", None), ("workos", Some(180)), ("clerk", Some(300))] {
        let file = root().join("config/custom").join(format!("{name}.toml"));
        let source = Arc::new(configured(&fs::read_to_string(file).expect("it")));
        let scheme = provider::find(name).expect("built in").scheme.expect("it signs");
        let sign = |body: &[u8], when| {
            sign(&scheme, &Secret::new(SECRET), body, "id", when, None).expect("signed")
        };
        let believed = |headers: &Headers, body: &'static [u8]| {
            verify(&source, &raw(&source, headers.clone(), Bytes::from_static(body)), at())
        };
        let headers = sign(b"{}", at());
        assert!(believed(&headers, b"{}").expect("believed").verified(), "{name}");
        assert!(believed(&headers, b"{ }").is_err(), "{name}: other bytes");
        assert!(believed(&Headers::default(), b"{}").is_err(), "{name}: no signature");
        let before = |seconds: i64| at().plus(TimeDelta::seconds(-seconds));
        let tolerance = tolerance.unwrap_or(1_000_000);
        assert!(believed(&sign(b"{}", before(tolerance)), b"{}").is_ok(), "{name}: just in time");
        let old = believed(&sign(b"{}", before(tolerance + 1)), b"{}");
        assert_eq!(old.is_err(), name != "paystack", "{name}: too old");
    }
}

/// A payment source with one event, whose lines a test adds to.
fn settings(verify: &str, mapping: &str) -> String {
    format!(
        "[[sources]]\nname = 'own'\nprovider = 'custom'\nsecrets = ['s']\n[sources.verify]\n{verify}\n[sources.mapping]\n{mapping}"
    )
}

#[test]
fn mistakes_are_found_before_the_source_runs_and_named_with_their_place() {
    let good = "check = 'bearer'";
    let event = |lines: &str| {
        format!(
            "kind = 'payment'\ntype = '$.t'\n[[sources.mapping.events]]\ntypes = ['a']\n{lines}"
        )
    };
    for (text, key, why) in [
        ("[[sources]]\nname = 'own'\nprovider = 'custom'".to_owned(), "sources[0].mapping", "missing"),
        ("[[sources]]\nname = 'own'\nprovider = 'stripe'\nsecrets = ['s']\nverify = { check = 'bearer' }".to_owned(), "sources[0].verify", "custom"),
        (settings("check = 'hmac'", &event("ignore = 'x'")), "sources[0].verify.header", "missing"),
        (settings("check = 'hmca'", &event("ignore = 'x'")), "sources[0].verify.check", "hmac"),
        (settings(good, "kind = 'payment'\ntype = '$.t'\nevents = []"), "sources[0].mapping.events", "none is given"),
        (settings(good, &event("")), "sources[0].mapping.events[0].ignore", "say what"),
        (settings(good, &event("ignore = 'x'").replace("$.t", "$.t[")), "sources[0].mapping.type", "of `$.t[`"),
        (settings(good, &event("when = '$.a..b'\nignore = 'x'")), "sources[0].mapping.events[0].when", "at character 5 of `$.a..b`"),
        (settings(good, &event("payment = { id = '$.id', amuont = '$.n' }")), "sources[0].mapping.events[0].payment.amuont", "known here: id,"),
        (settings(good, &event("payment = { amount = '$.n' }")), "sources[0].mapping.events[0].payment.currency", "missing"),
        (settings(good, &event("payment = { currency = '$.n' }")), "sources[0].mapping.events[0].payment.id", "missing"),
        (settings(good, &event("payment = { id = ['$.id', '$.a b'] }")), "sources[0].mapping.events[0].payment.id[1]", "at character 4 of `$.a b`"),
        (settings(good, &event("payment = { id = '$.id', status = { at = '$.s', map = { ok = 'success' } } }")), "sources[0].mapping.events[0].payment.status", "one of pending,"),
        (settings(good, &event("payment = { id = '$.id', paid_at = { at = '$.s', unit = 'major' } }")), "sources[0].mapping.events[0].payment.paid_at", "`s` or `ms`"),
        (settings(good, &event("subscription = { id = '$.id', cancel_at_period_end = { value = 'yes' } }")), "sources[0].mapping.events[0].subscription.cancel_at_period_end", "true or false"),
        (settings(good, &event("refund = { status = '$.s', amount = '$.n', currency = '$.c' }")), "sources[0].mapping.events[0].refund.payment", "missing"),
        (settings(good, &event("change = 'created'\npayment = { id = '$.id' }")), "sources[0].mapping.events[0].change", "customer"),
        (settings(good, &event("user = { id = '$.id' }")), "sources[0].mapping.events[0].user", "customer"),
        (settings(good, &event("payment = { id = '$.id' }").replace("'payment'", "'auth'")), "sources[0].mapping.events[0].user", "auth source"),
        (settings(good, &event("user = { id = '$.id' }").replace("'payment'", "'auth'")), "sources[0].mapping.events[0].change", "missing"),
        (settings(good, &event("payment = { id = { value = true } }")), "sources[0].mapping.events[0].payment.id", "a text or a number"),
        (settings(good, &event("payment = { id = '$.id', paid_at = { at = '$.s', default = 'soon' } }")), "sources[0].mapping.events[0].payment.paid_at", "an RFC 3339 time"),
        (settings(good, &event("payment = { id = '$.id', paid_at = { at = '$.s', default = '2024-06-10T00:00:00Z', unit = 's' } }")), "sources[0].mapping.events[0].payment.paid_at", "a whole number of seconds"),
        (settings(good, &event("payment = { id = '$.id', paid_at = { at = '$.s', map = { x = 7 } } }")), "sources[0].mapping.events[0].payment.paid_at", "an RFC 3339 time"),
        (settings(good, &event("payment = { id = '$.a[?length(@.b) > 1].id' }")), "sources[0].mapping.events[0].payment.id", "at character 6 of"),
        (settings("check = 'hmac'\nheader = 'x-own'\ntemplate = '{url}{body}'", &event("ignore = 'x'")), "sources[0].url", "signs the address"),
        (settings(good, &event("ignore = 'x'")).replace("[sources.verify]", "external_id = 'subject'\n[sources.verify]"), "sources[0].external_id", "only an auth provider's UID"),
        (settings(good, &event("names_in = [7]\nignore = 'x'")), "sources[0].mapping.events[0].names_in", "JSONPath"),
        (settings(good, &event("ignroe = 'x'")), "sources[0].mapping.events[0].ignroe", "unknown key"),
    ] {
        let error = match Config::parse(&text) {
            Err(error) => error,
            Ok(config) => config.sources().map(drop).expect_err(&text),
        };
        assert!(error.key.starts_with(key), "{text}\n{key}: {error}");
        assert!(error.reason.contains(why), "{text}\n{why}: {error}");
    }
}

#[test]
fn a_batch_becomes_as_many_events_and_a_bad_one_holds_up_nobody() {
    let mapping = "kind = 'payment'\nbatch = { list = 'items' }\nid = '$.id'\ntype = '$.t'\ntime = { at = '$.at', unit = 's' }\n[[sources.mapping.events]]\ntypes = ['paid']\npayment = { id = '$.pay', status = { value = 'succeeded' }, amount = { at = '$.sum', unit = 'major' }, currency = '$.cur' }";
    let source = Arc::new(unsigned(configured(&settings("check = 'bearer'", mapping))));
    let body = json!({"items": [
        {"id": 1, "t": "paid", "at": 1_700_000_000, "pay": "p1", "sum": "12.50", "cur": "usd"},
        {"id": 2, "at": 1_700_000_000},
        {"id": 3, "t": "paid", "at": 1_700_000_000, "pay": "p3", "sum": "1.005", "cur": "usd"},
        {"id": 4, "t": "paid", "at": 1_700_000_001, "pay": "p4", "sum": 700, "cur": "JPY"},
        {"id": 5, "t": "other", "at": 1_700_000_001},
    ]});
    let raw = raw(&source, Headers::default(), Bytes::from(body.to_string()));
    let parts = normalize(&verify(&source, &raw, at()).expect("nobody checks it"));
    assert_eq!(parts.len(), 5);
    let told = |index: usize| describe(parts[index].read.as_ref().expect("an event"), "custom");
    assert_eq!(
        (&told(0)["verdict"], &told(0)["facts"][0]["amount"]),
        (&json!("facts"), &json!(1_250))
    );
    let second = parts[1].read.as_ref().expect_err("it has no type");
    assert!(second.why.ends_with("event.type (`$.t`): is missing"), "{}", second.why);
    assert_eq!(told(2)["verdict"], "rejected");
    assert!(told(2)["reason"].as_str().expect("it").starts_with("payment.amount (`$.sum`): "));
    assert_eq!(told(3)["facts"][0]["amount"], 700);
    assert_eq!(told(3)["facts"][0]["currency"], "JPY");
    assert_eq!(told(4)["verdict"], "ignored");
}

#[test]
fn a_refund_or_dispute_counts_at_the_payment_that_it_names() {
    let mapping = "kind = 'payment'\nid = '$.id'\ntype = '$.t'\ncustomer = { id = '$.who' }\n[[sources.mapping.events]]\ntypes = ['paid']\npayment = { id = '$.pay', status = { value = 'succeeded' }, amount = '$.sum', currency = '$.cur' }\nrefund = { when = '$.back', id = '$.back.id', payment = '$.back.of', status = { value = 'succeeded' }, amount = '$.back.sum', currency = '$.cur' }\ndispute = { when = '$.row', id = '$.row.id', payment = '$.row.of', status = { value = 'lost' }, amount = '$.row.sum', currency = '$.cur' }";
    let source = unsigned(configured(&settings("check = 'bearer'", mapping)));
    let told = |of: Value, row_of: Value| {
        let body = json!({"id": "e1", "t": "paid", "who": "c1", "pay": "p2", "sum": 900, "cur": "eur",
            "back": {"id": "r1", "of": of, "sum": 300}, "row": {"id": "d1", "of": row_of, "sum": 200}});
        let events = read(&source, body.to_string().as_bytes()).expect("readable");
        let facts = describe(&events[0], "custom")["facts"].clone();
        let facts: Vec<_> = facts
            .as_array()
            .expect("facts")
            .iter()
            .map(|fact| {
                let of = if fact["kind"] == "payment" { &fact["key"] } else { &fact["payment"] };
                format!(
                    "{} {} {}",
                    fact["kind"].as_str().expect("it"),
                    of.as_str().expect("it"),
                    fact["amount"]
                )
            })
            .collect();
        facts.join(", ")
    };
    let own = "payment p2 900, refund p2 300, dispute p2 200";
    assert_eq!(told(Value::Null, Value::Null), own);
    assert_eq!(told(json!("p2"), json!("p2")), own);
    assert_eq!(
        told(json!("p1"), Value::Null),
        "payment p2 900, dispute p2 200, payment p1 null, refund p1 300"
    );
    assert_eq!(
        told(json!("p1"), json!("p1")),
        "payment p2 900, payment p1 null, refund p1 300, dispute p1 200"
    );
}

#[test]
fn a_body_takes_time_in_proportion_to_its_size() {
    let mapping = "kind = 'payment'\ntype = { value = 'paid' }\n[[sources.mapping.events]]\ntypes = ['paid']\npayment = { id = ['$.ids[?@.id == $.of].id', '$.ids[?@.id < $.of].id'], status = { value = 'pending' } }";
    let source = unsigned(configured(&settings("check = 'bearer'", mapping)));
    // Twenty thousand ids beside one number of half a megabyte: read anew for each, that would be ten gigabytes.
    let huge = format!("1{}", "0".repeat(500_000));
    let ids = vec!["{\"id\": 7}"; 20_000].join(",");
    let body = format!("{{\"of\": {huge}, \"ids\": [{ids}]}}");
    let begun = Instant::now();
    let events = read(&source, body.as_bytes()).expect("readable");
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    assert_eq!(describe(&events[0], "custom")["facts"][0]["key"], "7");
}

#[test]
fn a_customer_of_its_own_is_made_changed_and_deleted() {
    let mapping = "kind = 'payment'\nid = '$.id'\ntype = '$.t'\ntime = '$.at'\nnames_in = ['$.c']\n[[sources.mapping.events]]\ntypes = ['customer.updated']\nchange = 'updated'\ncustomer = { id = '$.c.id', name = '$.c.name', email = '$.c.mail', metadata = '$.c.meta' }\n[[sources.mapping.events]]\ntypes = ['customer.deleted']\nchange = 'deleted'\ncustomer = { id = '$.c.id' }";
    let text = settings("check = 'bearer'", mapping)
        .replace("provider = 'custom'", "provider = 'custom'\nreferences = [{ at = 'meta.user', as = 'external_id', claims = true }]");
    let source = unsigned(configured(&text));
    let told = |kind: &str, user: Value| {
        let body = json!({"id": "e1", "t": kind, "at": "2024-06-10T06:15:00Z",
            "c": {"id": 7, "name": null, "mail": "ada@example.org", "meta": {"user": user, "tier": "gold"}}});
        let events = read(&source, body.to_string().as_bytes()).expect("readable");
        assert_eq!(events.len(), 1);
        describe(&events[0], "custom")["facts"].clone()
    };
    let facts = told("customer.updated", json!("user_7"));
    assert_eq!(
        facts[0]["reference"],
        json!({"kind": "payment", "namespace": "own", "subject": "7"})
    );
    assert_eq!(facts[0]["name"], Value::Null, "an explicit null clears");
    assert_eq!(facts[0]["metadata"], json!({"tier": "gold", "user": "user_7"}));
    assert_eq!(facts[1]["kind"], "claim");
    assert_eq!(facts[1]["under"]["subject"], "user_7");
    assert_eq!(
        told("customer.updated", json!(null))[1]["under"],
        Value::Null,
        "a null clears the claim"
    );
    let empty = told("customer.updated", json!(""));
    assert_eq!(empty.as_array().expect("facts").len(), 1, "an empty name is none: {empty}");
    assert_eq!(told("customer.deleted", json!("user_7"))[0]["kind"], "deletion");
}

fn run(folder: &Path, settings: &str, arguments: &[&str]) -> Output {
    let file = folder.join("settings.toml");
    fs::write(&file, settings).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_customer-sync"));
    command.env_clear().env("PAYSTACK_SECRET", "sk_test").arg("--config").arg(file);
    command.args(arguments).output().expect("the program runs")
}

#[test]
fn the_commands_check_and_explain_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = fs::read_to_string(root().join("config/custom/paystack.toml")).expect("it");
    let checked = run(folder.path(), &settings, &["config", "check"]);
    assert!(checked.status.success(), "{checked:?}");
    let body = root().join("tests/fixtures/paystack/charge.success.json");
    let body = body.to_str().expect("a path");
    let told =
        run(folder.path(), &settings, &["explain", "paystack", body, "--unsigned", "--json"]);
    let told: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    assert_eq!((&told["provider"], &told["verdict"]), (&json!("custom"), &json!("facts")));
    assert_eq!(told["facts"][1]["key"], "T1QA");
    let broken = settings.replace("\"$.data.channel\"", "\"$.data.[channel\"");
    let refused = run(folder.path(), &broken, &["config", "check"]);
    assert_eq!(refused.status.code(), Some(78));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("sources[0].mapping.events[1].payment.method"), "{said}");
    assert!(said.contains("at character 8 of `$.data.[channel`"), "{said}");
}

#[test]
fn providers_are_told_from_the_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let all = run(folder.path(), "", &["providers", "--json"]);
    let all: Value = serde_json::from_slice(&all.stdout).expect("JSON");
    let names: Vec<_> =
        all["data"].as_array().expect("a list").iter().map(|row| row["name"].clone()).collect();
    assert_eq!(names.len(), provider::ALL.len() + 1);
    assert!(names.contains(&json!("custom")) && names.contains(&json!("paystack")));
    let one = run(folder.path(), "", &["providers", "paystack", "--json"]);
    let one: Value = serde_json::from_slice(&one.stdout).expect("JSON");
    assert_eq!(one["proof"], "header `x-paystack-signature`: HMAC-SHA512 in hex of `{body}`");
    assert_eq!(
        one["references"][0],
        json!({"at": "metadata.external_id", "as": "external_id", "claims": false, "on": "any"})
    );
    let text = run(folder.path(), "", &["providers", "paystack"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("charge.dispute.*") && text.contains("Settings, API Keys"), "{text}");
    let table = run(folder.path(), "", &["providers"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("x-paystack-signature"));
    let unknown = run(folder.path(), "", &["providers", "strip"]);
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn what_asserts_something_is_of_a_type_that_the_provider_lists() {
    for known in provider::ALL {
        let folder = known.name.strip_suffix("-db").unwrap_or(known.name);
        let source = unsigned(built_in(known.name));
        for (name, body) in bodies(folder) {
            for event in read(&source, &body).into_iter().flatten() {
                let asserts = matches!(event.reading, Reading::Asserts(_));
                let listed = known.about.asserts(&event.kind).is_some();
                assert!(
                    !asserts || listed,
                    "{}/{name}: `{}` is not listed",
                    known.name,
                    event.kind
                );
            }
        }
    }
}
