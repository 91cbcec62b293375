//! What is fuzzed: every reader of bytes from outside, each with what must hold whatever it is given. The tests
//! beside this file run it on seeded inputs, and `fuzz/` runs the same file under cargo-fuzz.

use bytes::Bytes;
use chrono::TimeDelta;
use customer_sync::{
    config::Config,
    intake::{
        envelope::{self, Envelope, Field},
        wire::{Scanner, Seen},
    },
    model::{
        event::{Event, Reading},
        filter::{self, Condition, Filter, Times},
        id::CustomerId,
        inbound::{Headers, Raw},
        metadata::Scalar,
        reference::Scope,
        secret::Secret,
        time::Timestamp,
    },
    normalize::{describe, normalize},
    provider::{self, Provider, Source, SourceSecret},
    store::{
        browse::{CustomerFilter, Page, list},
        statement::{Dialect, Statement},
    },
    verify::{
        presets,
        scheme::{Check, Place, Scheme, Signature, sign},
        verify,
    },
};
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

/// A reader under test: it panics where what must hold does not.
pub(crate) type Target = fn(&[u8]);

/// All of them, by name.
pub(crate) const ALL: [(&str, Target); 6] = [
    ("verifier", verifier),
    ("normalizers", normalizers),
    ("custom", custom),
    ("envelope", envelope),
    ("wire", wire),
    ("filters", filters),
];

/// One for each kind of key, so that every scheme has one of its own.
pub(crate) const SECRETS: [&str; 3] =
    ["whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX", "00ff00ff00ff00ff", "somebody:hunter2hunter2"];

/// Where the webhook is, for the schemes that sign it.
pub(crate) const URL: &str = "https://hooks.example/in";

/// Now, and when everything was received.
pub(crate) fn at() -> Timestamp {
    Timestamp::from_seconds(1_700_000_000).expect("a time")
}

/// A provider for every signature scheme that there is.
static SCHEMES: LazyLock<Vec<&'static Provider>> = LazyLock::new(|| {
    let canonical = provider::find("canonical").expect("it is built in");
    let of = |scheme: &Scheme| Provider { scheme: Some(*scheme), places: &[], ..*canonical };
    presets::ALL.iter().map(|scheme| &*Box::leak(Box::new(of(scheme)))).collect()
});

fn source(provider: &'static Provider, secrets: &[&str]) -> Source {
    let secret = |text: &&str| SourceSecret { value: Secret::new(*text), from: None, until: None };
    Source {
        name: "source".into(),
        provider: provider.into(),
        mapping: None,
        environment: "live".into(),
        test_environment: Some("test".into()),
        namespace: "main".into(),
        secrets: secrets.iter().map(secret).collect(),
        tolerance: None,
        url: Some(URL.into()),
        subject_is_external_id: false,
        places: provider.places.to_vec(),
        authority: BTreeMap::new(),
        on_delete: Scope::Auto,
        match_email: false,
        manual_capture: false,
        unsigned: secrets.is_empty(),
    }
}

fn raw(headers: Headers, body: &[u8]) -> Raw {
    Raw {
        source: "source".into(),
        headers,
        body: Bytes::copy_from_slice(body),
        received_at: Some(at()),
        queue_id: None,
        dead: None,
    }
}

/// The number of a scheme; then, line by line, the headers that it reads; after an empty line the body.
pub(crate) fn verifier(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    let provider = SCHEMES[usize::from(*which) % SCHEMES.len()];
    let scheme = provider.scheme.as_ref().expect("each has one");
    let source = Arc::new(source(provider, &SECRETS));
    let end = rest.windows(2).position(|pair| pair == b"\n\n").unwrap_or(rest.len());
    let (head, body) = (&rest[..end], rest.get(end + 2..).unwrap_or_default());
    // No header that comes in holds U+0000: intake takes it out, and HTTP forbids it.
    let head = String::from_utf8_lossy(head).replace('\0', "");
    let headers: Headers = scheme.headers().into_iter().zip(head.split('\n')).collect();
    let believes = |headers: &Headers, body: &[u8]| {
        let verdict = verify(&source, &raw(headers.clone(), body), at());
        if let Err(why) = &verdict {
            let why = why.to_string();
            assert!(SECRETS.iter().all(|secret| !why.contains(secret)), "it tells: {why}");
        }
        verdict.is_ok()
    };
    let believed = believes(&headers, body);
    let kept = scheme.kept_headers(&headers);
    assert_eq!(believed, believes(&kept, body), "what is kept verifies as what arrived did");
    let other = [body, b"x"].concat();
    assert!(!believed || !is_of_the_body(scheme) || !believes(&headers, &other), "{headers:?}");
    for secret in SECRETS {
        let signed = sign(scheme, &Secret::new(secret), body, "id-1", at(), Some(URL));
        if let Ok(headers) = signed {
            assert!(believes(&headers, body), "what is signed is believed");
            assert!(!is_of_the_body(scheme) || !believes(&headers, &other), "and nothing else");
        }
    }
}

/// Whether a header signs the whole of the body.
fn is_of_the_body(scheme: &Scheme) -> bool {
    matches!(
        scheme.check,
        Check::Signature(Signature { place: Place::Header(_), .. }) | Check::JwtHeader(_)
    )
}

/// A body, read by every provider that is built in.
pub(crate) fn normalizers(bytes: &[u8]) {
    for provider in provider::ALL {
        let source = Arc::new(source(provider, &[]));
        let headers = provider.scheme.iter().flat_map(|scheme| scheme.event_id);
        let headers = headers.map(|name| (*name, "msg_1")).collect();
        let verified = verify(&source, &raw(headers, bytes), at()).expect("nobody checks it");
        let read = normalize(&verified);
        assert_eq!(read, normalize(&verified), "it reads the same again");
        for part in read {
            assert!(part.body.len() <= bytes.len(), "no more is kept of an event than came");
            if let Ok(event) = part.read {
                can_be_kept(event, provider.name);
            }
        }
    }
}

/// Sources that describe their providers, with an expression of every form; `{}` stands for one more.
const DESCRIBED: [&str; 4] = [
    include_str!("../../../config/custom/paystack.toml"),
    include_str!("../../../config/custom/workos.toml"),
    include_str!("../../../config/custom/clerk.toml"),
    r#"
    [[sources]]
    name = "wild"
    provider = "custom"
    secrets = ["${SECRET}"]
    references = [{ at = "user", as = "external_id", claims = true }]
    verify = { check = "bearer" }
    [sources.mapping]
    kind = "payment"
    batch = { list = "events", bare = true }
    id = "$.id"
    type = ["$.type", "$.event", { value = "any" }]
    time = { at = ["$.created", "$.created_at"], unit = "s" }
    ordered = true
    live = "$.livemode"
    names_in = ["$", "$.data", { at = "$.metadata", json = true }, "$[*]"]
    customer = { id = "$.customer", name = { at = ["$[*]", "$[?@ != $.id]"], join = " " }, email = "$[?@.id == $.id].email", phone = "$[-1]" }
    [[sources.mapping.events]]
    types = ["customer.*"]
    change = "updated"
    customer = { id = "$.data.object.id", name = "$.data.object.name", metadata = ["$.data.object.metadata", "$.metadata"] }
    [[sources.mapping.events]]
    types = ["*"]
    payment = { id = ["$.id", "$.data.object.id"], other_id = "$[0]", amount = { at = ["$.amount", "$.data.object.amount"], unit = "major" }, captured = { at = "$[*]", sum = true }, currency = ["$.currency", "$.data.object.currency", { value = "KWD" }], status = ["$.status", { value = "succeeded" }], metadata = { at = ["$.metadata", "$.data.object.metadata"], json = true }, method = "$[1:3]" }
    refund = { when = "$[?@ == $.amount || (@.a < @.b && !@.c)]", amount = ["$.amount", { value = 1 }], currency = { value = "JPY" }, status = { at = "$.status", map = { "a*" = "pending" }, otherwise = "failed" } }
    dispute = { id = { at = "$[*]", prefix = "d" }, amount = { value = 7 }, currency = { value = "UGX" }, status = { value = "lost" } }
    subscription = { id = "$[*].id", status = { value = "active" }, ends_at = { at = "$[*]", unit = "ms" }, plan = "$[?@]" }
    "#,
];

static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let source = |text: &&str| {
        // One that is base64, where that is needed.
        let text = text.replace("${CLERK_SECRET}", "YSBzZWNyZXQ=").replace("${", "$${");
        let sources = Config::parse(&text).expect("good").sources().expect("good");
        let source = sources.into_iter().next().expect("one");
        Source { secrets: Vec::new(), unsigned: true, match_email: true, ..source }
    };
    DESCRIBED.iter().map(source).collect()
});

/// A body, read by sources that describe their provider; and a line, taken for an expression, on the body behind it.
pub(crate) fn custom(bytes: &[u8]) {
    for source in &*SOURCES {
        reads_custom(source.clone(), bytes);
    }
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (line, body) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let Ok(line) = std::str::from_utf8(line) else { return };
    // Most lines are none, and to read settings takes long.
    if !line.starts_with('$') || line.contains(|c: char| c.is_control() || "'{".contains(c)) {
        return;
    }
    let text = format!(
        "[[sources]]\nname = 'line'\nprovider = 'custom'\nunsigned = true\n[sources.mapping]\nkind = 'payment'\ntype = {{ value = 'a' }}\nnames_in = ['{line}']\n[[sources.mapping.events]]\ntypes = ['a']\npayment = {{ id = '{line}', method = {{ at = '{line}', join = ',' }} }}"
    );
    let Ok(config) = Config::parse(&text) else { return };
    let source = config.sources().expect("it was good").into_iter().next().expect("one");
    reads_custom(source, body);
}

fn reads_custom(source: Source, body: &[u8]) {
    let headers = source.provider.scheme.iter().flat_map(|scheme| scheme.event_id);
    let headers = headers.map(|name| (*name, "msg_1")).collect();
    let verified = verify(&Arc::new(source), &raw(headers, body), at()).expect("nobody checks it");
    let read = normalize(&verified);
    assert_eq!(read, normalize(&verified), "it reads the same again");
    for event in read.into_iter().filter_map(|part| part.read.ok()) {
        can_be_kept(event, "custom");
    }
}

fn can_be_kept(event: Event, provider: &str) {
    assert!(["live", "test"].contains(&&*event.environment));
    let latest = at().plus(TimeDelta::minutes(5));
    assert!(event.occurred_at.is_none_or(|time| time <= latest), "{:?}", event.occurred_at);
    let told = describe(&event, provider);
    assert!(told.is_object());
    // So U+0000 is written in JSON, which Postgres cannot hold; a text that only looks like it has two backslashes.
    let told = told.to_string().replace("\\\\", "");
    assert!(!told.contains("\\u0000"), "{told}");
    let Reading::Asserts(assertions) = event.reading else { return };
    for asserted in assertions.references {
        let mut twice = asserted.facts.clone();
        twice.join(&asserted.facts);
        assert_eq!(twice, asserted.facts, "said twice it is the same");
    }
    for asserted in assertions.payments {
        assert!(!asserted.keys.is_empty());
        let mut twice = asserted.facts.clone();
        twice.join(&asserted.facts);
        assert_eq!(twice, asserted.facts, "said twice it is the same");
    }
    for asserted in assertions.subscriptions {
        let mut twice = asserted.facts.clone();
        twice.join(&asserted.facts);
        assert_eq!(twice, asserted.facts, "said twice it is the same");
    }
}

/// A broker's message as the client hands it over, in a form of its own: routing key, time, headers, body.
pub(crate) fn envelope(bytes: &[u8]) {
    let mut reader = Reader(bytes);
    let routing_key = reader.text();
    let timestamp = (reader.byte() % 2 == 1).then(|| reader.number());
    let headers = (0..reader.byte() % 8).map(|_| (reader.text(), reader.field(3))).collect();
    let body = Bytes::copy_from_slice(reader.0);
    let message = Envelope { routing_key, headers, timestamp, body: body.clone() };
    let opened = envelope::open_dead(message.clone());
    assert!(opened.dead.as_ref().is_some_and(|why| !why.is_empty() && !why.contains('\0')));
    let opened = Raw { dead: None, ..opened };
    assert_eq!(opened, envelope::open(message));
    assert_eq!(opened.body, body, "the body is untouched");
    assert!(!opened.source.contains('\0'));
    assert!(opened.headers.iter().all(|(n, v)| !n.contains('\0') && !v.contains('\0')));
    // What is sent on is opened as it was, but for repeated and reserved names.
    let Ok(label) = envelope::label(&opened) else { return };
    let text = |(name, value): (String, String)| (name, Field::Text(value.into_bytes()));
    let again = Envelope {
        routing_key: label.routing_key.clone(),
        headers: label.headers.clone().into_iter().map(text).collect(),
        timestamp: label.timestamp,
        body,
    };
    let again = envelope::open(again);
    assert_eq!((&again.source, again.received_at), (&opened.source, opened.received_at));
    assert_eq!(envelope::label(&again), Ok(label));
}

/// Bytes from a broker's connection, as a whole and in pieces whose size is the first byte.
pub(crate) fn wire(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else { return };
    let (mut whole, seen) = (bytes.to_vec(), Seen::default());
    let ready = Scanner::default().scan(&mut whole, &seen);
    assert_eq!(whole.len(), bytes.len(), "it mends in place");
    whole.truncate(ready);
    let (mut scanner, mut waiting, mut out) = (Scanner::default(), Vec::new(), Vec::new());
    for piece in bytes.chunks(usize::from(*size).max(1)) {
        waiting.extend_from_slice(piece);
        let ready = scanner.scan(&mut waiting, &seen);
        out.extend(waiting.drain(..ready));
    }
    assert_eq!(out, whole, "pieces come to the same");
    Scanner::default().scan(&mut out, &seen);
    assert_eq!(out, whole, "what is mended needs no mending");
}

/// The `filters` of a list of customers, as both databases are asked.
pub(crate) fn filters(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for times in [Times::Text, Times::Millis] {
        filters_of(&text, times);
    }
}

fn filters_of(text: &str, times: Times) {
    let read = filter::parse_with(text, times);
    assert_eq!(read, filter::parse_with(text, times), "it reads the same again");
    let filter = match read {
        Ok(filter) => filter,
        Err(wrong) => return assert!(wrong.param.starts_with("filters")),
    };
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        let (sql, values) = asked(dialect, filter.clone());
        assert!(sql.is_ascii() && sql.len() < 64 * 1024, "{sql}");
        let numbers = sql.split('$').skip(1).filter_map(|rest| {
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse::<usize>().ok()
        });
        assert_eq!(numbers.collect::<Vec<_>>(), (1..=values).collect::<Vec<_>>(), "{sql}");
        assert_eq!(sql, asked(dialect, masked(filter.clone())).0, "no text of a caller's is in it");
    }
}

/// The text of a page's statement, and how many values it has.
fn asked(dialect: Dialect, filter: Filter) -> (String, usize) {
    let filter = CustomerFilter { filter, ..CustomerFilter::default() };
    let page = Page::<CustomerId>::newest(50);
    let statement = list::statement_of(Statement::new(dialect), "live", &filter, page);
    let (sql, values) = statement.into_parts();
    (sql, values.len())
}

/// The same filter with other texts in it.
fn masked(filter: Filter) -> Filter {
    let each = |all: Vec<Filter>| all.into_iter().map(masked).collect();
    let other = || "other".to_owned();
    match filter {
        Filter::All(all) => Filter::All(each(all)),
        Filter::Any(any) => Filter::Any(each(any)),
        Filter::Is(condition) => Filter::Is(match condition {
            Condition::Text(field, like, _) => Condition::Text(field, like, other()),
            Condition::Tag(_) => Condition::Tag(other()),
            Condition::Subscription(_) => Condition::Subscription(other()),
            Condition::Metadata(_, Scalar::Text(_)) => {
                Condition::Metadata(other(), Scalar::Text(other()))
            }
            Condition::Metadata(_, value) => Condition::Metadata(other(), value),
            rest => rest,
        }),
    }
}

/// Takes values off the front; at the end of the bytes all of them are zero or empty.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken.to_vec()
    }

    fn text(&mut self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn number(&mut self) -> u64 {
        u64::from_be_bytes(std::array::from_fn(|_| self.byte()))
    }

    fn field(&mut self, depth: u8) -> Field {
        match self.byte() % 8 {
            0 => Field::Text(self.bytes()),
            1 => Field::Integer(self.number().cast_signed()),
            2 => Field::Real(f64::from_bits(self.number())),
            3 => Field::Flag(self.byte() % 2 == 1),
            4 => Field::Time(self.number()),
            5 if depth > 0 => {
                Field::List((0..self.byte() % 4).map(|_| self.field(depth - 1)).collect())
            }
            6 if depth > 0 => {
                let entries = 0..self.byte() % 4;
                Field::Table(entries.map(|_| (self.text(), self.field(depth - 1))).collect())
            }
            _ => Field::Nothing,
        }
    }
}
