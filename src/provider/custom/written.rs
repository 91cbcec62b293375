//! An expression as the settings write it.

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Number, Value};
use std::{collections::BTreeMap, fmt};

/// An expression as written: a JSONPath, a list of expressions of which the first that finds something counts, or a
/// table.
#[derive(Clone, Debug)]
pub(super) enum Written {
    /// A JSONPath.
    Path(String),
    /// The first that finds something.
    First(Vec<Written>),
    /// With transforms.
    Table(Box<Table>),
}

/// An expression with transforms; they are done in the order in which they stand here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Table {
    pub(super) at: Option<Written>,
    pub(super) value: Option<Constant>,
    pub(super) join: Option<String>,
    pub(super) sum: bool,
    pub(super) json: bool,
    pub(super) map: Option<BTreeMap<String, Constant>>,
    pub(super) otherwise: Option<Constant>,
    pub(super) prefix: Option<String>,
    pub(super) default: Option<Constant>,
    pub(super) unit: Option<Unit>,
}

/// A value that the settings give.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(untagged, expecting = "a text, a whole number, true or false")]
pub(super) enum Constant {
    /// True or false.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
}

/// What a number counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Unit {
    /// A time: seconds since 1970.
    S,
    /// A time: milliseconds since 1970.
    Ms,
    /// An amount: whole units with decimals.
    Major,
    /// An amount: minor units.
    Minor,
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSONPath, a list of them, or a table with `at` or `value`")
            }

            fn visit_str<E>(self, text: &str) -> Result<Written, E> {
                Ok(Written::Path(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Written, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = items.next_element()? {
                    all.push(item);
                }
                Ok(Written::First(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Written, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Written::Table(Box::new(table)))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl From<&Constant> for Value {
    fn from(constant: &Constant) -> Self {
        match constant {
            Constant::Flag(flag) => Self::Bool(*flag),
            Constant::Number(number) => Self::Number(Number::from(*number)),
            Constant::Text(text) => Self::String(text.clone()),
        }
    }
}
