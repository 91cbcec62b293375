//! The parts of a mapping: which fields each has, and of what kind each is.

use super::{
    expression::{Expression, Found, Wrong},
    written::{Unit, Written},
};
use crate::{
    model::time::Timestamp,
    provider::{
        Malformed,
        canonical::money::{
            DISPUTE_STATUSES, PAYMENT_STATUSES, REFUND_STATUSES, SUBSCRIPTION_STATUSES,
        },
        read::short,
    },
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A part of a mapping as written: an expression for each field.
pub(super) type Fields = BTreeMap<String, Written>;

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Holds {
    /// A text, or a number by its text.
    Text,
    /// One of these words; another one is refused.
    Word(fn() -> Vec<&'static str>),
    /// An amount.
    Amount,
    /// A time.
    Time,
    /// True or false.
    Flag,
    /// An object of metadata.
    Object,
}

/// A field of a part, and whether it must be there.
pub(super) type Field = (&'static str, Holds, bool);

pub(super) const HEAD: &[Field] = &[
    ("id", Holds::Text, false),
    ("type", Holds::Text, true),
    ("time", Holds::Time, false),
    ("live", Holds::Flag, false),
];

/// The time of an event's own.
pub(super) const TIME: &[Field] = &[("time", Holds::Time, true)];

pub(super) const USER: &[Field] = &[
    ("id", Holds::Text, true),
    ("name", Holds::Text, false),
    ("email", Holds::Text, false),
    ("email_verified", Holds::Flag, false),
    ("phone", Holds::Text, false),
    ("anonymous", Holds::Flag, false),
];

pub(super) const CUSTOMER: &[Field] = &[
    ("id", Holds::Text, false),
    ("name", Holds::Text, false),
    ("email", Holds::Text, false),
    ("phone", Holds::Text, false),
    ("metadata", Holds::Object, false),
];

pub(super) const PAYMENT: &[Field] = &[
    ("id", Holds::Text, true),
    ("other_id", Holds::Text, false),
    ("status", Holds::Word(|| words(PAYMENT_STATUSES)), false),
    ("amount", Holds::Amount, false),
    ("captured", Holds::Amount, false),
    ("refunded", Holds::Amount, false),
    ("currency", Holds::Text, false),
    ("paid_at", Holds::Time, false),
    ("object", Holds::Word(|| vec!["intent", "charge", "invoice", "session"]), false),
    ("method", Holds::Text, false),
    ("description", Holds::Text, false),
    ("failure", Holds::Text, false),
    ("subscription", Holds::Text, false),
    ("metadata", Holds::Object, false),
];

pub(super) const REFUND: &[Field] = &[
    ("id", Holds::Text, false),
    ("payment", Holds::Text, false),
    ("status", Holds::Word(|| words(REFUND_STATUSES)), true),
    ("amount", Holds::Amount, true),
    ("currency", Holds::Text, true),
    ("kind", Holds::Word(|| vec!["refund", "reversal"]), false),
    ("created_at", Holds::Time, false),
];

pub(super) const DISPUTE: &[Field] = &[
    ("id", Holds::Text, true),
    ("payment", Holds::Text, false),
    ("status", Holds::Word(|| words(DISPUTE_STATUSES)), true),
    ("amount", Holds::Amount, true),
    ("currency", Holds::Text, true),
];

pub(super) const SUBSCRIPTION: &[Field] = &[
    ("id", Holds::Text, true),
    ("status", Holds::Word(|| words(SUBSCRIPTION_STATUSES)), false),
    ("plan", Holds::Text, false),
    ("current_period_end", Holds::Time, false),
    ("cancel_at_period_end", Holds::Flag, false),
    ("ends_at", Holds::Time, false),
];

fn words<T>(table: &[(&'static str, T)]) -> Vec<&'static str> {
    table.iter().map(|(word, _)| *word).collect()
}

/// A part of a mapping that was checked.
#[derive(Clone, Debug)]
pub(super) struct Section {
    /// Its name in the settings and in messages.
    pub(super) name: &'static str,
    fields: Vec<(&'static str, Holds, Expression)>,
}

impl Section {
    /// # Errors
    /// Names the field, the place in its expression, and what is wrong there.
    pub(super) fn compile(
        name: &'static str,
        known: &'static [Field],
        written: &Fields,
    ) -> Result<Self, Wrong> {
        if let Some(field) = written.keys().find(|field| known.iter().all(|(n, ..)| n != field)) {
            let known: Vec<_> = known.iter().map(|(name, ..)| *name).collect();
            let why = format!("unknown key; known here: {}", known.join(", "));
            return Err((field.clone(), why));
        }
        let mut fields = Vec::new();
        for (field, holds, must) in known {
            let Some(written) = written.get(*field) else {
                if *must {
                    return Err(((*field).to_owned(), "the key is missing".into()));
                }
                continue;
            };
            let expression = Expression::compile(written).map_err(|(inner, why)| {
                let dot = if inner.is_empty() || inner.starts_with('[') { "" } else { "." };
                (format!("{field}{dot}{inner}"), why)
            })?;
            fits(*holds, &expression).map_err(|why| ((*field).to_owned(), why))?;
            fields.push((*field, *holds, expression));
        }
        Ok(Self { name, fields })
    }

    /// Whether the settings say where a field is.
    pub(super) fn has(&self, field: &str) -> bool {
        self.expression(field).is_some()
    }

    /// What a field's number counts.
    pub(super) fn unit(&self, field: &str) -> Option<Unit> {
        self.expression(field).and_then(|expression| expression.unit)
    }

    /// Where in the body a field is looked for, for messages.
    pub(super) fn looks_at(&self, field: &str) -> Option<&str> {
        self.expression(field).and_then(Expression::looks_at)
    }

    fn expression(&self, field: &str) -> Option<&Expression> {
        self.fields.iter().find(|(name, ..)| *name == field).map(|(.., expression)| expression)
    }

    /// What the body says of its fields, under their names.
    ///
    /// # Errors
    /// Where a word is none of those that its `map` names, and the field takes no other.
    pub(super) fn find(&self, root: &Value) -> Result<Value, Malformed> {
        let mut found = Map::new();
        for (field, holds, expression) in &self.fields {
            match expression.find(root) {
                Found::Null => drop(found.insert((*field).to_owned(), Value::Null)),
                Found::Value(value) => {
                    found.insert((*field).to_owned(), plain(*holds, value.into_owned()));
                }
                Found::Unmapped(word) if matches!(holds, Holds::Word(_)) => {
                    let (name, word) = (self.name, short(&word));
                    let why = format!("{name}.{field}: `{word}` is no word of its `map`");
                    return Err(Malformed(why));
                }
                Found::Absent | Found::Unmapped(_) => {}
            }
        }
        Ok(Value::Object(found))
    }
}

/// A text may be written as a number; what is no object holds no metadata.
fn plain(holds: Holds, value: Value) -> Value {
    match (holds, value) {
        (Holds::Text | Holds::Word(_), Value::Number(number)) => number.to_string().into(),
        (_, value) => value,
    }
}

/// Whether an expression can give what a field holds.
fn fits(holds: Holds, expression: &Expression) -> Result<(), String> {
    let unit = match (expression.unit, holds) {
        (None, _)
        | (Some(Unit::S | Unit::Ms), Holds::Time)
        | (Some(Unit::Major | Unit::Minor), Holds::Amount) => None,
        (Some(_), Holds::Time) => Some("`unit` of a time is `s` or `ms`"),
        (Some(_), Holds::Amount) => Some("`unit` of an amount is `minor` or `major`"),
        (Some(_), _) => Some("`unit` is for times and amounts"),
    };
    if let Some(why) = unit {
        return Err(why.into());
    }
    for value in expression.constants() {
        let expected = match holds {
            Holds::Word(words) => {
                let words = words();
                let known = value.as_str().is_some_and(|word| words.contains(&word));
                (!known).then(|| format!("one of {}", words.join(", ")))
            }
            Holds::Flag => (!value.is_boolean()).then(|| "true or false".to_owned()),
            Holds::Amount => (!value.is_i64()).then(|| "a whole number".to_owned()),
            Holds::Object => Some("an object of the body".to_owned()),
            Holds::Text => value.is_boolean().then(|| "a text or a number".to_owned()),
            Holds::Time => time_expected(expression.unit, value),
        };
        if let Some(expected) = expected {
            return Err(format!("it would give {value}, and {expected} is expected"));
        }
    }
    Ok(())
}

/// What a time must be instead of this, if it cannot be that.
fn time_expected(unit: Option<Unit>, value: &Value) -> Option<String> {
    let (fits, expected) = match unit {
        Some(Unit::S) => (value.as_i64().and_then(Timestamp::from_seconds), "seconds"),
        Some(Unit::Ms) => (value.as_i64().and_then(Timestamp::from_millis), "milliseconds"),
        _ => (value.as_str().and_then(Timestamp::parse), "an RFC 3339 time"),
    };
    match (fits, unit) {
        (Some(_), _) => None,
        (None, Some(_)) => Some(format!("a whole number of {expected} since 1970")),
        (None, None) => Some(expected.to_owned()),
    }
}
