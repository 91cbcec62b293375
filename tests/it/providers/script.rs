//! Reads the scripts of `tests/histories`; `tests/histories/README.md` says how they are written.

use crate::history::source;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::TimeDelta;
use customer_sync::{
    model::{
        inbound::{Headers, Raw},
        secret::Secret,
        time::Timestamp,
    },
    provider::{self, Provider, Source},
    simulator::{Sender, Signing},
    verify::scheme::{Check, Place, sign},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use std::{fs, path::PathBuf, sync::Arc};

/// Where the webhooks arrive: Square signs it.
const URL: &str = "https://example.org/square";

/// When the first step of a script is received; each further one is a minute later.
const BEGIN: &str = "2024-06-11T00:00:00Z";

/// One script.
#[derive(Debug)]
pub(super) struct Script {
    /// The file's name.
    pub(super) name: String,
    /// Whose bodies it has; the namespace of all is the first one's name.
    pub(super) providers: Vec<&'static Provider>,
    pub(super) steps: Vec<Step>,
    /// The lines that begin with `=`, without it.
    pub(super) expected: Vec<String>,
}

/// One body, and what comes with it.
#[derive(Debug)]
pub(super) struct Step {
    /// File and line.
    pub(super) told: String,
    /// A step that says nothing of a customer.
    pub(super) must_be_ignored: bool,
    /// The same, or one that some orders leave nothing to say to.
    pub(super) may_be_ignored: bool,
    provider: &'static Provider,
    body: Vec<u8>,
    headers: Headers,
    received_at: Timestamp,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// All scripts, by name.
pub(super) fn all() -> Vec<Script> {
    let files = fs::read_dir(folder().join("histories")).expect("tests/histories");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|it| it == "txt"));
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        Script::read(name, &fs::read_to_string(path).expect("text"))
    };
    paths.iter().map(read).collect()
}

impl Script {
    fn read(name: String, text: &str) -> Self {
        let mut script =
            Self { name, providers: Vec::new(), steps: Vec::new(), expected: Vec::new() };
        let (mut clocks, mut everywhere) = (Vec::new(), Vec::new());
        let mut short = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line =
                short.iter().fold(line.to_owned(), |line, (name, path): &(String, String)| {
                    line.replace(name, path)
                });
            let line = line.as_str();
            let told = format!("{}.txt:{}", script.name, number + 1);
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                ["with", names @ ..] => {
                    let found = names.iter().map(|name| provider::find(name).expect("a provider"));
                    script.providers.extend(found);
                }
                ["let", name, path] => short.push((format!("${name}"), (*path).to_owned())),
                ["clock", path, form] => clocks.push(((*path).to_owned(), (*form).to_owned())),
                ["all", changes @ ..] => {
                    everywhere.extend(changes.iter().map(|one| change(one, &told)));
                }
                ["=", ..] => script.expected.push(line.trim_start_matches("= ").to_owned()),
                words => {
                    let step = script.step(words, &clocks, &everywhere, told);
                    script.steps.push(step);
                }
            }
        }
        script
    }

    fn step(
        &self,
        words: &[&str],
        clocks: &[(String, String)],
        everywhere: &[(String, Value)],
        told: String,
    ) -> Step {
        let number = self.steps.len();
        let (must, may, words) = match words {
            ["ignored", rest @ ..] => (true, true, rest),
            ["maybe", rest @ ..] => (false, true, rest),
            all => (false, false, all),
        };
        let [fixture, changes @ ..] = words else { panic!("{told}: names no body") };
        let (provider, fixture) = match fixture.split_once(':') {
            Some((provider, fixture)) => (provider, fixture),
            None => (fixture.split('/').next().unwrap_or_default(), *fixture),
        };
        let provider = *self
            .providers
            .iter()
            .find(|one| one.name == provider)
            .unwrap_or_else(|| panic!("{told}: `{provider}` is not named by `with`"));
        let received_at = Timestamp::parse(BEGIN).expect("a time").plus(minutes(number));
        let path = folder().join("fixtures").join(fixture);
        let path = |kind: &str| PathBuf::from(format!("{}.{kind}", path.display()));
        let changes: Vec<_> = changes.iter().map(|word| change(word, &told)).collect();
        let (headers, body) = if let Ok(text) = fs::read_to_string(path("xml")) {
            let text = changes.iter().fold(text, |text, (known, other)| {
                text.replace(known, other.as_str().unwrap_or(&other.to_string()))
            });
            (Headers::default(), form(&text, &secret(provider)))
        } else {
            let text = fs::read_to_string(path("json"));
            let text = text.unwrap_or_else(|_| panic!("{told}: there is no body {fixture}"));
            let mut body: Value = serde_json::from_str(&text).expect("JSON");
            let happened = received_at.plus(TimeDelta::seconds(-10));
            let times = clocks.iter().map(|(path, form)| (path, time(happened, form)));
            let values = everywhere.iter().map(|(path, value)| (path, value.clone()));
            for (path, value) in times.chain(values) {
                if let Some(place) = find(&mut body, path) {
                    *place = value;
                }
            }
            for (path, value) in changes {
                set(&mut body, &path, value);
            }
            signed(provider, &mut body, &format!("evt_{number}"), received_at)
        };
        Step {
            told,
            must_be_ignored: must,
            may_be_ignored: may,
            provider,
            body,
            headers,
            received_at,
        }
    }

    /// Where the script happens, for each order.
    pub(super) fn environment(&self, order: usize) -> Arc<str> {
        format!("{}-{order}", self.name).into()
    }

    fn source_name(&self, provider: &Provider, order: usize) -> Arc<str> {
        format!("{}.{}", self.environment(order), provider.name).into()
    }

    /// Its sources in an order.
    pub(super) fn sources(&self, order: usize) -> Vec<Source> {
        let namespace: Arc<str> = self.providers.first().expect("a provider").name.into();
        let made = self.providers.iter().map(|provider| {
            let sender = Sender {
                name: self.source_name(provider, order),
                provider: provider.name,
                namespace: namespace.clone(),
                // What signs here is the scheme.
                signing: Signing::StandardWebhooks,
                secret: secret(provider),
            };
            let mut made = source(&sender, &self.environment(order));
            made.url = Some(URL.into());
            if unsigned(provider) {
                made.secrets.clear();
                made.unsigned = true;
            }
            made
        });
        made.collect()
    }

    /// A step as it arrives in an order.
    pub(super) fn raw(&self, step: &Step, order: usize) -> Raw {
        Raw {
            source: self.source_name(step.provider, order),
            headers: step.headers.clone(),
            body: step.body.clone().into(),
            received_at: Some(step.received_at),
            queue_id: None,
            dead: None,
        }
    }
}

/// `PATH=VALUE`: JSON, else a text.
fn change(word: &str, told: &str) -> (String, Value) {
    let (path, value) = word.split_once('=').unwrap_or_else(|| panic!("{told}: {word}"));
    (path.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| json!(value)))
}

fn minutes(number: usize) -> TimeDelta {
    TimeDelta::minutes(i64::try_from(number).expect("a few"))
}

fn time(at: Timestamp, form: &str) -> Value {
    match form {
        "s" => json!(at.seconds()),
        "ms" => json!(at.micros() / 1_000),
        "iso" => json!(at.to_millis_text()),
        form => panic!("a clock has no form `{form}`: s, ms or iso"),
    }
}

/// The value at a dotted path; a number is a place in a list.
fn find<'a>(value: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    path.split('.').try_fold(value, |value, name| match name.parse::<usize>() {
        Ok(place) if value.is_array() => value.get_mut(place),
        _ => value.get_mut(name),
    })
}

/// Sets a member, also one that was not there.
fn set(body: &mut Value, path: &str, value: Value) {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let parent = if parent.is_empty() { Some(body) } else { find(body, parent) };
    let parent = parent.unwrap_or_else(|| panic!("there is no place {path}"));
    match name.parse::<usize>() {
        Ok(place) if parent.is_array() => parent[place] = value,
        _ => parent[name] = value,
    }
}

/// Whether nothing here can sign as the provider does: there is nothing to sign with, or only a private RSA key signs.
fn unsigned(provider: &Provider) -> bool {
    provider.scheme.is_none_or(|scheme| matches!(scheme.check, Check::JwtBody))
}

/// A secret of the kind that the provider's scheme takes.
fn secret(provider: &Provider) -> Secret {
    let kinds = ["whsec_QSBzZWNyZXQgb2YgdGhlIHRlc3RzIQ==", "user:a secret of the tests"];
    let hex = "00112233445566778899aabbccddeeff";
    let fits = |text: &&str| {
        provider.scheme.is_none_or(|scheme| scheme.accepts(&Secret::new(*text)).is_ok())
    };
    Secret::new(kinds.into_iter().find(fits).unwrap_or(hex))
}

/// A body as it is sent, signed as its provider does.
fn signed(provider: &Provider, body: &mut Value, id: &str, at: Timestamp) -> (Headers, Vec<u8>) {
    let secret = secret(provider);
    match provider.scheme {
        Some(scheme) if !unsigned(provider) => {
            if let Check::Signature(signature) = scheme.check
                && let Place::Item { list, item, .. } = signature.place
            {
                let items = body[list].as_array_mut().expect("a list of items");
                for one in items {
                    sign_item(&mut one[item], &secret);
                }
                return (Headers::default(), body.to_string().into_bytes());
            }
            let bytes = body.to_string().into_bytes();
            let headers = sign(&scheme, &secret, &bytes, id, at, Some(URL));
            (headers.expect("it can be signed"), bytes)
        }
        _ => (Headers::default(), body.to_string().into_bytes()),
    }
}

/// Braintree's form: the XML in base64, and its signature beside a public key.
fn form(xml: &str, secret: &Secret) -> Vec<u8> {
    let payload = format!("{}\n", STANDARD.encode(xml));
    let mut mac = Hmac::<Sha1>::new_from_slice(&Sha1::digest(secret.expose())).expect("a key");
    mac.update(payload.as_bytes());
    let signature = format!("public|{}", hex::encode(mac.finalize().into_bytes()));
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("bt_signature", &signature).append_pair("bt_payload", &payload);
    form.finish().into_bytes()
}

/// The same for a provider by its name, under the secret of the tests.
pub(super) fn form_of(xml: &str, provider: &str) -> Vec<u8> {
    form(xml, &secret(provider::find(provider).expect("a provider")))
}

/// Adyen's signature of one item, over eight of its fields.
fn sign_item(item: &mut Value, secret: &Secret) {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let fields = [
        &item["pspReference"],
        &item["originalReference"],
        &item["merchantAccountCode"],
        &item["merchantReference"],
        &item["amount"]["value"],
        &item["amount"]["currency"],
        &item["eventCode"],
        &item["success"],
    ];
    let signed = fields.map(text).join(":");
    let key = hex::decode(secret.expose()).expect("hex");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
    mac.update(signed.as_bytes());
    item["additionalData"]["hmacSignature"] = json!(STANDARD.encode(mac.finalize().into_bytes()));
}
