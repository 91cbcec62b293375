//! Stage 3: what does it say? From a verified body to the events that it holds, in the words of the model.
//!
//! The providers' functions (`provider/`) read; here is what holds for all of them: the JSON, the
//! environment by the body's mode, and times that run ahead. `docs/events.md` says how each type maps.

use crate::{
    model::{
        event::{Event, Reading},
        is_live,
    },
    provider::{Body, Item, Malformed, Source},
    verify::Verified,
};
use serde_json::{Map, Value};
use std::sync::Arc;

pub mod describe;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod rules;

pub use describe::{describe, describe_rejection};

/// The largest body that is read, in bytes.
pub const LARGEST_BODY: usize = 1024 * 1024;

/// Reads a verified body: one event for most providers, several where bodies are batches.
///
/// # Errors
/// Where nothing at all can be read: says the place and what is wrong there. An event of which only the
/// object cannot be used comes as [`Reading::Malformed`], with its id, type and time.
pub fn normalize(verified: &Verified) -> Result<Vec<Event>, Malformed> {
    let source = verified.source();
    let json = parse(verified.body())?;
    let body = Body {
        json: &json,
        hash: verified.hash(),
        header_id: verified.header_id(),
        source,
        received_at: verified.received_at(),
    };
    let items = (source.provider.read)(&body)?;
    let event = |item| event(&body, item, verified.verified());
    Ok(items.into_iter().map(event).collect())
}

/// The JSON of a body, without U+0000: Postgres cannot hold it.
///
/// # Errors
/// Where it is too large, no UTF-8 or no JSON (nested deeper than 128 levels, or with something behind its
/// end, too): says at which byte or line.
pub fn parse(bytes: &[u8]) -> Result<Value, Malformed> {
    if bytes.len() > LARGEST_BODY {
        let size = bytes.len();
        return Err(Malformed(format!(
            "the body has {size} bytes, and at most {LARGEST_BODY} are read"
        )));
    }
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

fn event(body: &Body<'_>, item: Item, verified: bool) -> Event {
    let Item { id, hash, kind, occurred_at, live, mut notes, reading } = item;
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
        parse(bytes).expect_err("malformed").0
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
        let json = parse(br#"{"a\u0000": ["x\u0000y", {"b": "\u0000"}], "n": 1}"#).expect("JSON");
        assert_eq!(json, serde_json::json!({"a": ["xy", {"b": ""}], "n": 1}));
    }

    #[test]
    fn numbers_keep_their_own_text() {
        let json = parse(br#"{"n": 1500.250}"#).expect("JSON");
        assert_eq!(json.to_string(), r#"{"n":1500.250}"#);
    }
}
