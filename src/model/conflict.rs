//! A conflict as the API shows it.

use crate::model::{
    id::{ConflictId, CustomerId, PaymentId},
    time::{Timestamp, millis, millis_or_null},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Something that two sources say and that cannot both be true.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Conflict {
    /// Always `conflict`.
    #[serde(skip_deserializing, default = "conflict")]
    pub object: &'static str,
    /// Our id of it.
    pub id: ConflictId,
    /// The environment that it belongs to.
    pub environment: Arc<str>,
    /// Whether that is `live`: real money.
    pub live: bool,
    /// `reference_moved` or `second_currency`.
    #[schema(pattern = "^(reference_moved|second_currency)$")]
    pub kind: String,
    /// Whose.
    pub customer_id: Option<CustomerId>,
    /// Of which payment.
    pub payment_id: Option<PaymentId>,
    /// What it is about.
    pub detail: String,
    /// When somebody said that it is settled.
    #[serde(serialize_with = "millis_or_null")]
    pub resolved_at: Option<Timestamp>,
    /// When it was noticed.
    #[serde(serialize_with = "millis")]
    pub created_at: Timestamp,
}

fn conflict() -> &'static str {
    "conflict"
}
