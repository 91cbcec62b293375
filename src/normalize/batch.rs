//! Bodies of several events, cut into these: each with bytes of its own, so that it is kept, erased and processed again
//! without its neighbours. What such bytes say when they are cut again is the same event.

use crate::provider::{Batch, Malformed};
use bytes::Bytes;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// So many events are read of one body. The smallest that says anything has some hundred bytes, and a body 1 MiB.
const MOST: usize = 10_000;
/// A member that stands beside the list is kept with each event up to so many bytes: it is copied as often.
const LARGEST_BESIDE: usize = 64;

/// A body as it turned out.
pub(super) enum Cut {
    /// It is one event.
    One(Value),
    /// It is a list.
    Items(Items),
}

/// The items of a list and what stands around them.
pub(super) struct Items {
    /// What is kept of the envelope; null where there is none.
    pub(super) beside: Value,
    entries: Vec<Value>,
    list: &'static str,
    before: String,
    after: &'static str,
}

/// One of them.
pub(super) struct Item {
    /// Where it stood, from 0.
    pub(super) index: usize,
    /// Its place: `events[2]`.
    pub(super) place: String,
    /// What it says.
    pub(super) json: Value,
    /// The SHA-256 in hex of its own bytes, the same whoever stands beside it.
    pub(super) hash: String,
    /// A body that holds it alone.
    pub(super) body: Bytes,
}

impl Items {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn take(&mut self) -> impl Iterator<Item = Item> + use<> {
        let Self { list, after, .. } = *self;
        let before = std::mem::take(&mut self.before);
        let entries = std::mem::take(&mut self.entries);
        entries.into_iter().enumerate().map(move |(index, json)| {
            let text = json.to_string();
            Item {
                index,
                place: format!("{list}[{index}]"),
                hash: hex::encode(Sha256::digest(&text)),
                body: format!("{before}{text}{after}").into(),
                json,
            }
        })
    }
}

/// Cuts a body into its events.
///
/// # Errors
/// Where it is no list of them, or one that is too long.
pub(super) fn cut(batch: &Batch, json: Value) -> Result<Cut, Malformed> {
    let items = match json {
        Value::Array(entries) if batch.bare => {
            Items { beside: Value::Null, entries, list: "", before: "[".into(), after: "]" }
        }
        Value::Object(mut fields) => match fields.remove(batch.list) {
            Some(Value::Array(entries)) => listed(batch, &mut fields, entries),
            None if batch.bare => return Ok(Cut::One(Value::Object(fields))),
            _ => return Err(Malformed(format!("{}: is no list", batch.list))),
        },
        _ if batch.bare => {
            return Err(Malformed("the body is neither a list nor an object".into()));
        }
        _ => return Err(Malformed("the body is no object".into())),
    };
    match items.len() {
        ..=MOST => Ok(Cut::Items(items)),
        many => Err(Malformed(format!(
            "{}: holds {many} events, and at most {MOST} are read of one body",
            if items.list.is_empty() { "the list" } else { items.list }
        ))),
    }
}

fn listed(batch: &Batch, fields: &mut Map<String, Value>, entries: Vec<Value>) -> Items {
    let mut before = String::from("{");
    let mut beside = Map::new();
    for name in batch.beside {
        let Some(value) = fields.remove(*name) else { continue };
        let text = value.to_string();
        if text.len() <= LARGEST_BESIDE {
            before.extend(["\"", *name, "\":", &text, ","]);
            beside.insert((*name).to_owned(), value);
        }
    }
    before.extend(["\"", batch.list, "\":["]);
    Items { beside: Value::Object(beside), entries, list: batch.list, before, after: "]}" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ADYEN: Batch = Batch { list: "items", beside: &["live"], bare: false };
    const BARE: Batch = Batch { list: "events", beside: &[], bare: true };

    fn items(batch: &Batch, json: Value) -> Vec<Item> {
        match cut(batch, json) {
            Ok(Cut::Items(mut items)) => items.take().collect(),
            Ok(Cut::One(_)) => panic!("one event"),
            Err(Malformed(why)) => panic!("{why}"),
        }
    }

    fn why(batch: &Batch, json: Value) -> String {
        cut(batch, json).err().expect("malformed").0
    }

    #[test]
    fn a_cut_item_cut_again_is_the_same_item() {
        for (batch, body) in [
            (&ADYEN, json!({"live": "true", "more": 1, "items": [{"a": 1.50}, "b", {"a": 1.50}]})),
            (&BARE, json!([{"b": {"z": 1, "a": null}}, 5])),
            (&BARE, json!({"events": [[1]]})),
        ] {
            for item in items(batch, body) {
                let json: Value = serde_json::from_slice(&item.body).expect("JSON");
                let again = items(batch, json);
                let [again] = again.as_slice() else { panic!("one item") };
                assert_eq!((&again.body, &again.hash), (&item.body, &item.hash));
                assert_eq!(again.json, item.json);
            }
        }
    }

    #[test]
    fn a_body_of_one_item_holds_no_neighbour_and_of_the_envelope_what_is_named() {
        let body = json!({"live": "true", "more": "x", "items": [{"a": 1}, {"a": 2}]});
        let bodies: Vec<_> = items(&ADYEN, body).into_iter().map(|item| item.body).collect();
        assert_eq!(
            bodies,
            [r#"{"live":"true","items":[{"a":1}]}"#, r#"{"live":"true","items":[{"a":2}]}"#]
        );
        assert_eq!(items(&BARE, json!([{"a": 1}, 2]))[1].body, "[2]");
    }

    #[test]
    fn what_is_kept_of_a_message_grows_with_its_size_and_not_with_its_square() {
        let body = json!({"live": "x".repeat(500_000), "items": vec![json!({"a": 1}); 9_000]});
        let size = body.to_string().len();
        let kept: usize = items(&ADYEN, body).iter().map(|item| item.body.len()).sum();
        assert!(kept < size, "{kept} bytes of {size}");
        let body = json!({"live": "x".repeat(60), "items": vec![1; 10_000]});
        let size = body.to_string().len();
        let kept: usize = items(&ADYEN, body).iter().map(|item| item.body.len()).sum();
        assert!(kept < size * 64, "{kept} bytes of {size}");
    }

    #[test]
    fn a_body_that_is_no_batch_is_refused_with_its_place_or_is_one_event() {
        assert_eq!(why(&ADYEN, json!([1])), "the body is no object");
        assert_eq!(why(&ADYEN, json!({})), "items: is no list");
        assert_eq!(why(&ADYEN, json!({"items": {}})), "items: is no list");
        assert_eq!(why(&BARE, json!({"events": 1})), "events: is no list");
        assert_eq!(why(&BARE, json!(1)), "the body is neither a list nor an object");
        let many = vec![1; MOST + 1];
        let expected = "the list: holds 10001 events, and at most 10000 are read of one body";
        assert_eq!(why(&BARE, json!(many)), expected);
        assert!(matches!(cut(&BARE, json!({"action": "x"})), Ok(Cut::One(_))));
        assert!(items(&BARE, json!([])).is_empty());
    }
}
