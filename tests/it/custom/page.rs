//! docs/add-a-provider.md: its example does what the page says, and the code that it shows is the code.

use super::{configured, read, root, settings, unsigned};
use customer_sync::{config::Config, normalize::describe};
use serde_json::Value;
use std::fs;

fn page() -> String {
    fs::read_to_string(root().join("docs/add-a-provider.md")).expect("the page")
}

/// The code after a mark: `<!-- example: NAME -->`.
fn example(name: &str) -> String {
    let page = page();
    let mark = format!("<!-- example: {name} -->\n");
    let (_, behind) = page.split_once(&mark).expect(name);
    let (_, code) = behind.split_once('\n').expect("a fence");
    code.split_once("\n```").expect("a closed fence").0.to_owned()
}

#[test]
fn the_example_asserts_what_the_page_says() {
    let source = unsigned(configured(&example("settings")));
    let events = read(&source, example("body").as_bytes()).expect("readable");
    assert_eq!(events.len(), 1);
    let told = describe(&events[0], "custom");
    let expected: Value = serde_json::from_str(&example("facts")).expect("JSON");
    assert_eq!(told["facts"], expected);
    assert_eq!(told["notes"], Value::Array(Vec::new()));
}

#[test]
fn the_code_that_the_page_shows_is_in_the_file_that_it_names() {
    let page = page();
    let blocks: Vec<_> = page.split("```rust\n").skip(1).collect();
    assert!(blocks.len() >= 2, "it shows code");
    let file = fs::read_to_string(root().join("src/provider/mollie.rs")).expect("the file");
    for block in blocks {
        let code = block.split_once("```").expect("closed").0;
        assert!(file.contains(code), "src/provider/mollie.rs does not hold:\n{code}");
    }
}

/// The keys that a table of the settings takes: what it says where it is given another one.
fn known_in(verify: &str, mapping: &str) -> Vec<String> {
    let text = settings(verify, mapping);
    let error = match Config::parse(&text) {
        Err(error) => error,
        Ok(config) => config.sources().map(drop).expect_err(&text),
    };
    assert!(error.key.ends_with("xyz"), "{text}\n{error}");
    let (_, known) = error.reason.split_once("known here: ").expect("a list");
    known.split(", ").map(str::to_owned).collect()
}

#[test]
fn every_key_of_a_mapping_is_explained() {
    let event = |kind: &str, lines: &str| {
        let head = format!("kind = '{kind}'\ntype = '$.t'\n[[sources.mapping.events]]");
        format!("{head}\ntypes = ['a']\n{lines}")
    };
    let good = "check = 'bearer'";
    let mut tables = vec![
        ("verify", known_in("xyz = 1", &event("payment", "ignore = 'x'"))),
        (
            "verify.item",
            known_in("check = 'hmac'\nitem = { xyz = 1 }", &event("payment", "ignore = 'x'")),
        ),
        ("mapping", known_in(good, "kind = 'payment'\ntype = '$.t'\nevents = []\nxyz = 1")),
        (
            "batch",
            known_in(good, "kind = 'payment'\ntype = '$.t'\nevents = []\nbatch = { xyz = 1 }"),
        ),
        ("events", known_in(good, &event("payment", "xyz = 1"))),
        ("an expression", known_in(good, &event("payment", "payment = { id = { xyz = 1 } }"))),
    ];
    for (part, kind, with) in [
        ("user", "auth", "change = 'created'\n"),
        ("customer", "payment", ""),
        ("payment", "payment", ""),
        ("refund", "payment", ""),
        ("dispute", "payment", ""),
        ("subscription", "payment", ""),
    ] {
        let lines = format!("{with}{part} = {{ xyz = '$.x' }}");
        tables.push((part, known_in(good, &event(kind, &lines))));
    }
    let page = page();
    for (table, keys) in tables {
        assert!(keys.len() > 1, "{table}: {keys:?}");
        for key in keys {
            let explained =
                page.contains(&format!("`{key}`")) || page.contains(&format!("{key} = "));
            assert!(explained, "docs/add-a-provider.md does not say what `{key}` of {table} is");
        }
    }
}
