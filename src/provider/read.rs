//! Typed access to a body's JSON: every error and note names the place.

use super::Malformed;
use crate::model::{
    metadata::{self, Scalar},
    money::{Currency, LARGEST_AMOUNT, Money},
    register::Register,
    time::Timestamp,
};
use serde_json::{Map, Value};
use std::{borrow::Cow, fmt::Display};

pub(crate) mod decimal;

/// The most keys of metadata that one body may give (contract 4).
const METADATA_KEYS: usize = metadata::KEYS_SHOWN;

const NO_MINOR_UNITS: &str = "is no whole number of minor units";

/// An object inside a body, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Object<'a> {
    fields: &'a Map<String, Value>,
    at: Cow<'static, str>,
}

/// What a body says of a field that may be cleared.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said<T> {
    /// Absent, or given as something that cannot be held (with a note).
    Nothing,
    /// An explicit null.
    Null,
    /// This.
    Value(T),
}

impl<T> Said<T> {
    /// This value, else what is said elsewhere; null where only that is said.
    pub(crate) fn or(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Value(value) => Self::Value(value),
            Self::Nothing => other(),
            Self::Null => match other() {
                Self::Value(value) => Self::Value(value),
                Self::Null | Self::Nothing => Self::Null,
            },
        }
    }

    /// What is said of a value's part.
    pub(crate) fn and_then<U>(self, part: impl FnOnce(T) -> Said<U>) -> Said<U> {
        match self {
            Self::Nothing => Said::Nothing,
            Self::Null => Said::Null,
            Self::Value(value) => part(value),
        }
    }
}

impl<T: Clone + PartialEq> Said<T> {
    /// The register of what was said: none where nothing was.
    pub(crate) fn register(
        self,
        make: impl FnOnce(Option<T>) -> Register<Option<T>>,
    ) -> Register<Option<T>> {
        match self {
            Self::Nothing => Register::default(),
            Self::Null => make(None),
            Self::Value(value) => make(Some(value)),
        }
    }
}

impl<'a> Object<'a> {
    /// The body itself.
    pub(crate) fn root(value: &'a Value) -> Result<Self, Malformed> {
        let fields = value.as_object().ok_or_else(|| Malformed("the body is no object".into()))?;
        Ok(Self { fields, at: Cow::Borrowed("") })
    }

    /// The same, called so in messages.
    pub(crate) fn named(self, at: &'static str) -> Self {
        Self { at: Cow::Borrowed(at), ..self }
    }

    /// An object that stands at a fixed place, for the few that are read for every event.
    pub(crate) fn child_at(&self, key: &str, at: &'static str) -> Result<Option<Self>, Malformed> {
        let child = self.object(key)?;
        Ok(child.map(|child| Self { at: Cow::Borrowed(at), ..child }))
    }

    /// A field as it stands; null is a value.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.fields.get(key)
    }

    /// Whether a field is there, null or not.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.fields.contains_key(key)
    }

    /// A field's place in the body: `data.object.amount`.
    pub(crate) fn place(&self, key: &str) -> String {
        let key = short(key);
        if self.at.is_empty() { key } else { format!("{}.{key}", self.at) }
    }

    /// That a field is not as it must be.
    pub(crate) fn wrong(&self, key: &str, what: impl Display) -> Malformed {
        Malformed(format!("{}: {what}", self.place(key)))
    }

    /// A field that must be there.
    pub(crate) fn need<T>(&self, key: &str, value: Option<T>) -> Result<T, Malformed> {
        value.ok_or_else(|| self.wrong(key, "is missing"))
    }

    /// A field as `pick` sees it; none where it is absent or null.
    fn read<T>(
        &self,
        key: &str,
        what: &str,
        pick: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Malformed> {
        match self.fields.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => pick(value).map(Some).ok_or_else(|| self.wrong(key, what)),
        }
    }

    /// A text.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, Malformed> {
        self.read(key, "is no text", Value::as_str)
    }

    /// True or false.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, Malformed> {
        self.read(key, "is neither true nor false", Value::as_bool)
    }

    /// An amount of minor units, 0 to [`LARGEST_AMOUNT`]: no fraction, no exponent, nothing that would have
    /// to be rounded.
    pub(crate) fn amount(&self, key: &str) -> Result<Option<i64>, Malformed> {
        let amount = self.read(key, NO_MINOR_UNITS, Value::as_i64)?;
        match amount {
            Some(..0) => Err(self.wrong(key, "is negative")),
            Some(amount) if amount > LARGEST_AMOUNT => {
                Err(self.wrong(key, format!("is larger than {LARGEST_AMOUNT}")))
            }
            amount => Ok(amount),
        }
    }

    /// A currency code, in any case.
    pub(crate) fn currency(&self, key: &str) -> Result<Option<Currency>, Malformed> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let code = text.parse().map_err(|_| {
            self.wrong(key, "is no currency code: three to five letters or digits are expected")
        })?;
        Ok(Some(code))
    }

    /// An amount that must be there, with the currency that must stand beside it under `currency`.
    pub(crate) fn money(&self, key: &str) -> Result<Money, Malformed> {
        let minor = self.need(key, self.amount(key)?)?;
        let currency = self.need("currency", self.currency("currency")?)?;
        Ok(Money { minor, currency })
    }

    /// An id: a text of 1 to 255 characters without control characters, or an object that holds one
    /// under `id` (an expanded object). Null and absent are none.
    pub(crate) fn id(&self, key: &str) -> Result<Option<&'a str>, Malformed> {
        let inner = |value: &'a Value| match value {
            Value::Object(fields) => fields.get("id").and_then(Value::as_str),
            value => value.as_str(),
        };
        let Some(id) = self.read(key, "is neither an id nor an object with one", inner)? else {
            return Ok(None);
        };
        if id.is_empty() {
            return Err(self.wrong(key, "is empty"));
        }
        if id.chars().count() > 255 {
            return Err(self.wrong(key, "is longer than 255 characters"));
        }
        if id.chars().any(char::is_control) {
            return Err(self.wrong(key, "holds a control character"));
        }
        Ok(Some(id))
    }

    /// The names of its fields.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.fields.keys().map(String::as_str)
    }

    /// A list of ids.
    pub(crate) fn ids(&self, key: &str) -> Result<Vec<&'a str>, Malformed> {
        let list = self.read(key, "is no list", Value::as_array)?;
        let element = |(place, value): (usize, &'a Value)| {
            let id = value.as_str().filter(|id| (1..=255).contains(&id.chars().count()));
            let id = id.filter(|id| !id.chars().any(char::is_control));
            id.ok_or_else(|| Malformed(format!("{}[{place}]: is no id", self.place(key))))
        };
        list.into_iter().flatten().enumerate().map(element).collect()
    }

    /// An id that may also be written as a whole number. An empty text is none.
    pub(crate) fn id_text(&self, key: &str) -> Result<Option<Cow<'a, str>>, Malformed> {
        match self.fields.get(key) {
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::Number(number)) if number.is_u64() => {
                Ok(Some(Cow::Owned(number.to_string())))
            }
            _ => Ok(self.id(key)?.map(Cow::Borrowed)),
        }
    }

    /// An amount of minor units that may also be written as a text: `"4200"`. One with a point is refused even where
    /// nothing stands behind it: `"25.00"` may well be meant as whole units.
    pub(crate) fn amount_text(&self, key: &str) -> Result<Option<i64>, Malformed> {
        match self.fields.get(key) {
            Some(Value::String(text)) => {
                let whole = !text.contains(['.', 'e', 'E']);
                let minor = if whole { decimal::minor(text, 0) } else { Err(NO_MINOR_UNITS) };
                minor.map(Some).map_err(|why| self.wrong(key, why))
            }
            _ => self.amount(key),
        }
    }

    /// An amount of whole units with decimals, as a number or a text, in minor units of a currency: exact, by
    /// the text that stands in the body.
    pub(crate) fn major(&self, key: &str, exponent: u32) -> Result<Option<i64>, Malformed> {
        let minor = match self.fields.get(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => decimal::minor(text, exponent),
            Some(Value::Number(number)) => decimal::minor(&number.to_string(), exponent),
            Some(_) => Err("is no decimal amount"),
        };
        minor.map(Some).map_err(|why| self.wrong(key, why))
    }

    /// A time in whole seconds since 1970.
    pub(crate) fn seconds(&self, key: &str) -> Result<Option<Timestamp>, Malformed> {
        self.read(key, "is no time in whole seconds since 1970", |value| {
            value.as_i64().and_then(Timestamp::from_seconds)
        })
    }

    /// A time in whole milliseconds since 1970.
    pub(crate) fn millis(&self, key: &str) -> Result<Option<Timestamp>, Malformed> {
        self.read(key, "is no time in whole milliseconds since 1970", |value| {
            value.as_i64().and_then(Timestamp::from_millis)
        })
    }

    /// A time as RFC 3339.
    pub(crate) fn time(&self, key: &str) -> Result<Option<Timestamp>, Malformed> {
        self.read(key, "is no RFC 3339 time", |value| value.as_str().and_then(Timestamp::parse))
    }

    /// An object inside this one.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Self>, Malformed> {
        let fields = self.read(key, "is no object", Value::as_object)?;
        Ok(fields.map(|fields| Self { fields, at: Cow::Owned(self.place(key)) }))
    }

    /// The object under a field that may hold an id instead, if it does hold an object.
    pub(crate) fn expanded(&self, key: &str) -> Option<Self> {
        self.object(key).ok().flatten()
    }

    /// A list of objects.
    pub(crate) fn objects(&self, key: &str) -> Result<Vec<Self>, Malformed> {
        let Some(list) = self.read(key, "is no list", Value::as_array)? else {
            return Ok(Vec::new());
        };
        let element = |(place, value): (usize, &'a Value)| {
            let at = format!("{}[{place}]", self.place(key));
            let fields =
                value.as_object().ok_or_else(|| Malformed(format!("{at}: is no object")))?;
            Ok(Self { fields, at: Cow::Owned(at) })
        };
        list.iter().enumerate().map(element).collect()
    }

    /// What stands at a dotted path from here.
    pub(crate) fn path(&self, path: &str) -> Option<&'a Value> {
        let mut steps = path.split('.');
        let first = self.fields.get(steps.next()?)?;
        steps.try_fold(first, |value, step| value.get(step))
    }

    /// What is said of a field that is only kept if it can be held; otherwise the notes say why not.
    pub(crate) fn said<T>(
        &self,
        key: &str,
        notes: &mut Vec<String>,
        hold: impl FnOnce(&'a Value) -> Result<T, &'static str>,
    ) -> Said<T> {
        match self.fields.get(key) {
            None => Said::Nothing,
            Some(Value::Null) => Said::Null,
            Some(value) => match hold(value) {
                Ok(value) => Said::Value(value),
                Err(why) => {
                    notes.push(format!("{}: {why}", self.place(key)));
                    Said::Nothing
                }
            },
        }
    }

    /// As [`said`](Self::said), for a text.
    pub(crate) fn said_text<T>(
        &self,
        key: &str,
        notes: &mut Vec<String>,
        hold: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Said<T> {
        self.said(key, notes, |value| hold(value.as_str().ok_or("is no text")?))
    }

    /// The keys of an object of metadata that can be held, null for one that is removed.
    pub(crate) fn metadata(
        &self,
        key: &str,
        notes: &mut Vec<String>,
    ) -> Vec<(&'a str, Option<Scalar>)> {
        let map = match kept(self.object(key), notes) {
            Some(map) if map.fields.len() > METADATA_KEYS => {
                notes.push(format!("{}: has more than {METADATA_KEYS} keys", self.place(key)));
                return Vec::new();
            }
            Some(map) => map,
            None => return Vec::new(),
        };
        let mut held = Vec::with_capacity(map.fields.len());
        for (name, value) in map.fields {
            if !metadata::is_key(name) {
                notes.push(format!("{}: is no key of 1 to 40 characters", map.place(name)));
                continue;
            }
            match scalar(value) {
                Ok(value) => held.push((name.as_str(), value)),
                Err(why) => notes.push(format!("{}: {why}", map.place(name))),
            }
        }
        held
    }
}

/// A value of metadata; none for null.
pub(crate) fn scalar(value: &Value) -> Result<Option<Scalar>, &'static str> {
    if value.is_null() { Ok(None) } else { Scalar::try_from(value.clone()).map(Some) }
}

/// A field that the event can do without: where it cannot be read, the notes say so.
pub(crate) fn kept<T>(field: Result<Option<T>, Malformed>, notes: &mut Vec<String>) -> Option<T> {
    field.unwrap_or_else(|Malformed(why)| {
        notes.push(why);
        None
    })
}

/// A word or key of the body, cut and cleaned for a message.
pub(crate) fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wrong<T: std::fmt::Debug>(result: Result<T, Malformed>) -> String {
        result.expect_err("malformed").0
    }

    #[test]
    fn amounts_are_whole_and_in_range() {
        let body: Value = serde_json::from_str(
            r#"{"a": 100, "b": 100.0, "c": 1e3, "d": -1, "e": 9007199254740992, "f": "100",
                "g": 99999999999999999999, "h": null, "i": 0}"#,
        )
        .expect("JSON");
        let body = Object::root(&body).expect("an object");
        assert_eq!(body.amount("a"), Ok(Some(100)));
        assert_eq!(body.amount("h"), Ok(None));
        assert_eq!(body.amount("i"), Ok(Some(0)));
        assert_eq!(body.amount("absent"), Ok(None));
        for key in ["b", "c", "f", "g"] {
            let expected = format!("{key}: is no whole number of minor units");
            assert_eq!(wrong(body.amount(key)), expected);
        }
        assert_eq!(wrong(body.amount("d")), "d: is negative");
        assert_eq!(wrong(body.amount("e")), "e: is larger than 9007199254740991");
    }

    #[test]
    fn an_amount_in_minor_units_may_be_a_text_and_has_no_point() {
        let body = json!({"a": "4200", "b": "25.00", "c": "1e3", "d": "-1", "e": "x", "f": 7});
        let body = Object::root(&body).expect("an object");
        assert_eq!(body.amount_text("a"), Ok(Some(4_200)));
        assert_eq!(body.amount_text("f"), Ok(Some(7)));
        for key in ["b", "c"] {
            let expected = format!("{key}: is no whole number of minor units");
            assert_eq!(wrong(body.amount_text(key)), expected);
        }
        assert_eq!(wrong(body.amount_text("d")), "d: is negative");
        assert_eq!(wrong(body.amount_text("e")), "e: is no decimal amount");
    }

    #[test]
    fn an_id_may_be_expanded_or_null() {
        let body = json!({"data": {"a": "cus_1", "b": {"id": "cus_2"}, "c": null, "d": 7, "e": {}, "f": ""}});
        let body = Object::root(&body).expect("an object");
        let data = body.object("data").expect("an object").expect("there");
        assert_eq!(data.id("a"), Ok(Some("cus_1")));
        assert_eq!(data.id("b"), Ok(Some("cus_2")));
        assert_eq!(data.id("c"), Ok(None));
        assert_eq!(wrong(data.id("d")), "data.d: is neither an id nor an object with one");
        assert_eq!(wrong(data.id("e")), "data.e: is neither an id nor an object with one");
        assert_eq!(wrong(data.id("f")), "data.f: is empty");
    }

    #[test]
    fn places_name_the_element_of_a_list() {
        let body = json!({"items": {"data": [{"id": "a"}, {"id": 1}, 5]}});
        let body = Object::root(&body).expect("an object");
        let items = body.object("items").expect("an object").expect("there");
        assert_eq!(wrong(items.objects("data")), "items.data[2]: is no object");
        assert_eq!(body.path("items.data").and_then(Value::as_array).map(Vec::len), Some(3));
        assert_eq!(body.path("items.none.data"), None);
    }

    #[test]
    fn metadata_that_cannot_be_held_is_noted_and_the_rest_kept() {
        let long = "x".repeat(501);
        let body = json!({"metadata": {"a": "b", "n": 1.5, "gone": null, "deep": {"x": 1}, "": "y", "long": long}});
        let body = Object::root(&body).expect("an object");
        let mut notes = Vec::new();
        let held = body.metadata("metadata", &mut notes);
        let keys: Vec<_> = held.iter().map(|(key, value)| (*key, value.is_some())).collect();
        assert_eq!(keys, [("a", true), ("gone", false), ("n", true)]);
        assert_eq!(
            notes,
            [
                "metadata.: is no key of 1 to 40 characters",
                "metadata.deep: is neither a text nor a number nor a boolean",
                "metadata.long: is longer than 500 characters",
            ]
        );
    }

    #[test]
    fn times_are_read_in_their_unit() {
        let body = json!({"s": 1_700_000_000, "m": 1_700_000_000_123_i64, "t": "2023-11-14T22:13:20Z", "x": "soon", "far": i64::MAX});
        let body = Object::root(&body).expect("an object");
        let at = Timestamp::from_seconds(1_700_000_000);
        assert_eq!(body.seconds("s"), Ok(at));
        assert_eq!(body.millis("m"), Ok(Timestamp::from_millis(1_700_000_000_123)));
        assert_eq!(body.time("t"), Ok(at));
        assert!(
            body.time("x").is_err() && body.seconds("far").is_err() && body.seconds("t").is_err()
        );
    }
}
