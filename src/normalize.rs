//! Stage 3: what does it say? From a verified body to the events that it holds, in the words of the model.
//!
//! The providers' functions (`provider/`) read; here is what holds for all of them: the JSON, the
//! environment by the body's mode, and times that run ahead. `docs/events.md` says how each type maps.

use crate::{
    model::{
        event::{Event, Reading},
        is_live,
        stamp::EventKey,
    },
    provider::{self, Body, Malformed, Provider, Source},
    verify::{Verified, scheme::jwt},
};
use batch::{Cut, Item};
use bytes::Bytes;
use serde_json::{Map, Value};
use std::sync::Arc;

mod batch;
pub mod describe;
#[cfg(test)]
mod fixtures;
mod mentions;
#[cfg(test)]
mod payers;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod users;

pub use describe::{describe, describe_rejection};
pub use mentions::mentions;

/// The largest body that is read, in bytes.
pub const LARGEST_BODY: usize = 1024 * 1024;

/// One event of a message.
#[derive(Clone, PartialEq, Debug)]
pub struct Part {
    /// The bytes that are kept of it: the message's, or of a batch this item alone in its envelope.
    pub body: Bytes,
    /// What it says.
    pub read: Result<Event, Unread>,
}

/// Nothing at all of an event can be read or believed. (One of which only the object cannot be used is an event:
/// [`Reading::Malformed`].)
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{why}")]
pub struct Unread {
    /// Whether it passed its source's check.
    pub verified: bool,
    /// The place, and what is wrong there.
    pub why: String,
}

/// Reads a verified message: one event for most providers, several where bodies are batches, and always at least one.
pub fn normalize(verified: &Verified) -> Vec<Part> {
    let provider = &verified.source().provider;
    let whole = |read| vec![Part { body: verified.body().clone(), read }];
    let unread = |Malformed(why)| Unread { verified: verified.verified(), why };
    let cut = parse(verified.body(), provider).and_then(|json| match &provider.batch {
        Some(batch) => batch::cut(batch, json),
        None => Ok(Cut::One(json)),
    });
    match cut {
        Err(why) => whole(Err(unread(why))),
        Ok(Cut::One(json)) => {
            whole(read(verified, &json, &Value::Null, verified.hash()).map_err(unread))
        }
        Ok(Cut::Items(items)) if items.len() == 0 => whole(Ok(empty(verified))),
        Ok(Cut::Items(mut items)) => items
            .take()
            .map(|Item { index, place, json, hash, body }| {
                let read = match verified.refused(index) {
                    Some(why) => Err(Unread { verified: false, why: why.to_string() }),
                    None if !json.is_object() => {
                        Err(unread(Malformed(format!("{place}: is no object"))))
                    }
                    None => read(verified, &json, &items.beside, &hash)
                        .map_err(|Malformed(why)| unread(Malformed(format!("{place}: {why}")))),
                };
                Part { body, read }
            })
            .collect(),
    }
}

fn read(verified: &Verified, json: &Value, beside: &Value, hash: &str) -> Result<Event, Malformed> {
    let source = verified.source();
    let body = Body {
        json,
        beside,
        hash,
        header_id: verified.header_id(),
        source,
        received_at: verified.received_at(),
    };
    let item = (source.provider.read)(&body)?;
    Ok(event(&body, item, verified.verified()))
}

/// A batch without items.
fn empty(verified: &Verified) -> Event {
    let source = verified.source();
    Event {
        environment: source.environment.clone(),
        key: EventKey::new(&source.name, "", verified.hash()),
        provider_event_id: None,
        kind: source.provider.batch.map_or("batch", |batch| batch.list).to_owned(),
        occurred_at: None,
        received_at: verified.received_at(),
        verified: verified.verified(),
        notes: Vec::new(),
        reading: Reading::Ignored("the list of events is empty".into()),
    }
}

/// The JSON of a body, without U+0000: Postgres cannot hold it. A body that is a compact JSON Web Signature (Kinde) stands
/// for its payload; one that is no JSON at all, for what its provider makes of it.
///
/// # Errors
/// Where it is too large, no UTF-8 or no JSON (nested deeper than 128 levels, or with something behind its
/// end, too): says at which byte or line.
pub fn parse(bytes: &[u8], provider: &Provider) -> Result<Value, Malformed> {
    if bytes.len() > LARGEST_BODY {
        let size = bytes.len();
        return Err(Malformed(format!(
            "the body has {size} bytes, and at most {LARGEST_BODY} are read"
        )));
    }
    if let Some(opens) = provider.opens {
        let mut json = opens(bytes)?;
        take_out_nul(&mut json);
        return Ok(json);
    }
    let payload = jwt::payload(bytes);
    let bytes = payload.as_deref().unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Malformed(format!("the body is no UTF-8 at byte {}", error.valid_up_to()))
    })?;
    let mut json: Value = serde_json::from_str(text)
        .map_err(|error| Malformed(format!("the body is no JSON: {error}")))?;
    // U+0000 can only be in a JSON text as this escape.
    if text.contains("\\u0000") {
        take_out_nul(&mut json);
    }
    Ok(json)
}

fn take_out_nul(json: &mut Value) {
    match json {
        Value::String(text) if text.contains('\0') => *text = text.replace('\0', ""),
        Value::Array(list) => list.iter_mut().for_each(take_out_nul),
        Value::Object(fields) => {
            fields.values_mut().for_each(take_out_nul);
            if fields.keys().any(|key| key.contains('\0')) {
                let cleaned: Map<_, _> = std::mem::take(fields)
                    .into_iter()
                    .map(|(key, value)| (key.replace('\0', ""), value))
                    .collect();
                *fields = cleaned;
            }
        }
        _ => {}
    }
}

fn event(body: &Body<'_>, item: provider::Item, verified: bool) -> Event {
    let provider::Item { id, hash, kind, occurred_at, live, mut notes, reading } = item;
    let counted = occurred_at.map(|at| body.counted(at));
    if counted != occurred_at {
        notes.push("the time of the event is ahead of its receipt: the receipt's counts".into());
    }
    let (environment, reading) = match (environment(body.source, live), reading) {
        (Ok(environment), reading) => (environment, reading),
        (Err(why), Reading::Asserts(_)) => (body.source.environment.clone(), Reading::Ignored(why)),
        (Err(_), reading) => (body.source.environment.clone(), reading),
    };
    Event {
        environment,
        key: body.key(id.as_deref(), &hash),
        provider_event_id: id,
        kind,
        occurred_at: counted,
        received_at: body.received_at,
        verified,
        notes,
        reading,
    }
}

/// Where an event of a mode belongs (semantics 1).
fn environment(source: &Source, live: Option<bool>) -> Result<Arc<str>, String> {
    let Some(live) = live.filter(|live| *live != is_live(&source.environment)) else {
        return Ok(source.environment.clone());
    };
    match &source.test_environment {
        Some(test) if !live => Ok(test.clone()),
        _ => {
            let mode = if live { "live" } else { "test" };
            Err(format!(
                "wrong_mode: a {mode} event at a source of the environment `{}`",
                source.environment
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(bytes: &[u8]) -> String {
        json(bytes).expect_err("malformed").0
    }

    fn json(bytes: &[u8]) -> Result<Value, Malformed> {
        parse(bytes, provider::find("stripe").expect("a provider"))
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        assert_eq!(why(b"{\"a\": \xff}"), "the body is no UTF-8 at byte 6");
        assert_eq!(
            why(b"{\"a\": "),
            "the body is no JSON: EOF while parsing a value at line 1 column 6"
        );
        assert_eq!(why(b"{} {}"), "the body is no JSON: trailing characters at line 1 column 4");
        assert!(why("[".repeat(5_000).as_bytes()).contains("recursion limit"));
        assert!(why(&vec![b' '; LARGEST_BODY + 1]).contains("at most 1048576 are read"));
        assert!(why(b"").contains("EOF"));
    }

    #[test]
    fn nul_is_taken_out_of_every_text_and_key() {
        let json = json(br#"{"a\u0000": ["x\u0000y", {"b": "\u0000"}], "n": 1}"#).expect("JSON");
        assert_eq!(json, serde_json::json!({"a": ["xy", {"b": ""}], "n": 1}));
    }

    #[test]
    fn numbers_keep_their_own_text() {
        let json = json(br#"{"n": 1500.250}"#).expect("JSON");
        assert_eq!(json.to_string(), r#"{"n":1500.250}"#);
    }
}
