//! Whose word each field of a customer is, as the API shows it.

use crate::model::{
    id::CustomerId,
    time::{Timestamp, millis_or_null},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use utoipa::ToSchema;

/// Where a customer's fields come from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Provenance {
    /// Always `provenance`.
    #[serde(skip_deserializing, default = "provenance")]
    pub object: &'static str,
    /// Whose.
    pub customer_id: CustomerId,
    /// Field by field.
    pub fields: Vec<Sourced>,
}

fn provenance() -> &'static str {
    "provenance"
}

impl Provenance {
    /// Of a customer.
    pub fn new(customer_id: CustomerId, fields: Vec<Sourced>) -> Self {
        Self { object: provenance(), customer_id, fields }
    }
}

/// One field as it is shown, and whose word that is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = FieldProvenance)]
pub struct Sourced {
    /// `name`, `metadata.plan`.
    pub field: String,
    /// What is shown; null where that was said outright.
    pub value: Value,
    /// `app`, `auth` or `payment`; null of names, which no word outranks.
    #[schema(value_type = Option<String>, pattern = "^(app|auth|payment)$")]
    pub authority: Option<Cow<'static, str>>,
    /// The source of the event.
    pub source: String,
    /// The provider's id of the event, else the hash of its body.
    pub event_id: String,
    /// When it was so, as the source says; null where it did not.
    #[serde(serialize_with = "millis_or_null")]
    pub occurred_at: Option<Timestamp>,
}
