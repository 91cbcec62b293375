//! What mutation begins with: good inputs of every target, so that it reaches what lies behind the first checks.

use super::targets::{SECRETS, URL, at};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use customer_sync::{
    model::{inbound::Headers, secret::Secret},
    verify::{
        presets,
        scheme::{Scheme, sign},
    },
};
use std::{fs, path::Path};

/// The good inputs of a target; `root` is the project's folder.
pub(crate) fn of(target: &str, root: &Path) -> Vec<Vec<u8>> {
    match target {
        "verifier" => {
            presets::ALL.iter().enumerate().map(|(n, scheme)| signed(n, scheme)).collect()
        }
        "normalizers" => {
            let bodies = bodies(&root.join("tests/fixtures"));
            let with_nul = bodies.iter().map(|body| with_nul(body)).collect();
            [bodies, with_nul].concat()
        }
        "custom" => {
            let lines =
                ["$.data.id", "$[*].id", "$.data[?@.a == $.b && !@.c].d", "$[1:3]", "$.data[-1]"];
            let bodies = bodies(&root.join("tests/fixtures"));
            let behind = |(body, line): (&Vec<u8>, &&str)| [line.as_bytes(), b"\n", body].concat();
            let lined: Vec<_> = bodies.iter().zip(lines.iter().cycle()).map(behind).collect();
            [bodies, lined].concat()
        }
        "envelope" => envelopes(),
        "wire" => frames(),
        "filters" => filters(),
        other => panic!("there is no target {other}"),
    }
}

/// A signed body; where a provider signs inside of it, one that looks like it.
fn signed(number: usize, scheme: &Scheme) -> Vec<u8> {
    let body = br#"{"notificationItems": [{"NotificationRequestItem": {"amount": {"value": 5}}}]}"#;
    let sign = |secret: &&str| sign(scheme, &Secret::new(*secret), body, "id-1", at(), Some(URL));
    let signed = SECRETS.iter().find_map(|secret| sign(secret).ok());
    let headers = signed.unwrap_or_else(|| Headers::from_iter([("x", "bt_signature=a|b&c")]));
    let names = scheme.headers();
    let lines: Vec<&str> = names.iter().map(|name| headers.get(name).unwrap_or("")).collect();
    let number = u8::try_from(number).expect("few schemes");
    [&[number][..], lines.join("\n").as_bytes(), b"\n\n", body].concat()
}

/// A document as Braintree sends it.
fn form(document: &[u8]) -> Vec<u8> {
    let payload = STANDARD.encode(document).replace('+', "%2B").replace('/', "%2F");
    let payload = payload.replace('=', "%3D");
    format!("bt_signature=public_key%7C00&bt_payload={payload}").into_bytes()
}

/// Every body in these folders.
fn bodies(folder: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("the folder of fixtures")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        if path.is_dir() {
            bodies(path)
        } else if path.extension().is_some_and(|ending| ending == "json") {
            vec![fs::read(path).expect("a body")]
        } else if path.extension().is_some_and(|ending| ending == "xml") {
            vec![form(&fs::read(path).expect("a document"))]
        } else {
            Vec::new()
        }
    };
    // The vectors of the verifier are no body, and far larger than one.
    paths.iter().flat_map(read).filter(|body| body.len() < 16 * 1024).collect()
}

/// The same with U+0000 at the beginning of every text.
fn with_nul(body: &[u8]) -> Vec<u8> {
    let body = std::str::from_utf8(body).expect("JSON is UTF-8");
    body.replace("\": \"", "\": \"\\u0000").into_bytes()
}

fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).expect("short")], text].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).expect("few").to_be_bytes(), bytes].concat()
}

fn envelopes() -> Vec<Vec<u8>> {
    let stamp = 1_700_000_000_u64.to_be_bytes();
    let death = [&[5, 1, 6, 2][..], &short(b"reason"), &[0], &short(b"expired"), &short(b"queue")];
    let death = [&death.concat()[..], &[0], &short(b"intake")].concat();
    vec![
        [&short(b"stripe")[..], &[1], &stamp, &[0], b"{}"].concat(),
        [&short(b"a")[..], &[0, 2], &short(b"x-source"), &[0], &short(b"b"), b"body"].concat(),
        [
            &short(b"a")[..],
            &[0, 1],
            &short(b"x-received-at"),
            &[0],
            &short(b"2023-11-14T22:13:21Z"),
        ]
        .concat(),
        [&short(b"a")[..], &[0, 1], &short(b"x-death"), &death].concat(),
    ]
}

fn frames() -> Vec<Vec<u8>> {
    let frame = |kind: u8, payload: &[u8]| [&[kind, 0, 1][..], &long(payload), &[0xce]].concat();
    let method = |class: u8, id: u8, arguments: &[u8]| {
        frame(1, &[&[0, class, 0, id][..], arguments].concat())
    };
    let deliver = [short(b"tag"), vec![0; 9], short(b"events"), short(b"stripe")].concat();
    let deliver = method(60, 60, &deliver);
    let returned = [&[1, 56][..], &short(b"NO_ROUTE"), &short(b"events"), &short(b"key")].concat();
    let value = [&b"A"[..], &long(&[&b"S"[..], &long(b"text"), b"V"].concat())].concat();
    let table = [short(b"x-death"), value, short(b"n"), b"F\0\0\0\0".to_vec()].concat();
    let fixed = [&[0, 60][..], &[0; 10], &0x2080_u16.to_be_bytes()].concat();
    let header = frame(2, &[fixed, long(&table), short(b"m-1")].concat());
    let start = [short(b"version"), b"S".to_vec(), long(b"4.1.2")].concat();
    let start =
        method(10, 10, &[vec![0, 9], long(&start), long(b"PLAIN"), long(b"en_US")].concat());
    let all = [start, method(60, 50, &returned), header.clone(), deliver, header, frame(3, b"{}")];
    let mut seeds: Vec<Vec<u8>> = all.iter().map(|frame| [&[255][..], frame].concat()).collect();
    seeds.push([&[7][..], &all.concat()].concat());
    seeds
}

/// Filters with every field and operator.
fn filters() -> Vec<Vec<u8>> {
    let all: [&str; 6] = [
        r#"{"email": "ada@example.org", "name": {"contains": "50%_\\\\'", "case_sensitive": true}}"#,
        r#"{"external_id": {"starts_with": "u"}, "phone": {"ends_with": "100", "exists": true}}"#,
        r#"{"or": [{"total_spent": {"gte": 500, "lt": 900}}, {"and": [{"net_spent": 0}, {"payment_count": {"lte": 3}}]}]}"#,
        r#"{"created_at": {"gt": "2026-01-31T12:00:00Z"}, "updated_at": {"lte": "2026-02-01T00:00:00Z"},
            "last_payment_at": {"exists": false}}"#,
        r#"{"tags": {"or": ["beta", {"eq": "vip"}]}, "is_anonymous": false, "subscription_status": "active"}"#,
        r#"{"metadata.plan": "pro", "metadata.seats": {"eq": 3.5}, "metadata.on": true, "metadata.x": {"exists": true}}"#,
    ];
    all.iter().map(|text| text.as_bytes().to_vec()).collect()
}
