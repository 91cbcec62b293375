//! Metadata: at most 50 keys of 1 to 40 characters; values are text of up to 500, numbers or booleans.

use crate::model::schema;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema, Type},
};

/// One value of metadata.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum Scalar {
    /// Up to 500 characters.
    Text(String),
    /// Kept as it was written.
    Number(Number),
    /// True or false.
    Boolean(bool),
}

impl PartialSchema for Scalar {
    fn schema() -> RefOr<Schema> {
        let types = vec![Type::String, Type::Number, Type::Boolean];
        schema::one_of("A value of metadata: a text, a number, or true or false.", types)
    }
}

impl ToSchema for Scalar {}

/// The most keys that are shown.
pub const KEYS_SHOWN: usize = 50;

/// Whether a key may be used: 1 to 40 characters, none of them a control character.
pub fn is_key(key: &str) -> bool {
    (1..=40).contains(&key.chars().count()) && !key.chars().any(char::is_control)
}

impl TryFrom<Value> for Scalar {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, &'static str> {
        match value {
            Value::String(text) if text.chars().count() > 500 => {
                Err("is longer than 500 characters")
            }
            Value::String(text) => Ok(Self::Text(text.replace('\0', ""))),
            Value::Number(number) => Ok(Self::Number(number)),
            Value::Bool(boolean) => Ok(Self::Boolean(boolean)),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                Err("is neither a text nor a number nor a boolean")
            }
        }
    }
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Scalar {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Scalar {
    fn from(number: i64) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Scalar {
    fn from(boolean: bool) -> Self {
        Self::Boolean(boolean)
    }
}

impl From<Scalar> for Value {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Text(text) => Self::String(text),
            Scalar::Number(number) => Self::Number(number),
            Scalar::Boolean(boolean) => Self::Bool(boolean),
        }
    }
}
