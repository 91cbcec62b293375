//! Subscriptions: a register per field (semantics 6).

use crate::model::{
    id::{CustomerId, SubscriptionId},
    payment::{Namings, earliest},
    register::Register,
    time::{Timestamp, millis, millis_or_null},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// (namespace, provider's subscription id). The environment stands beside it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct SubscriptionKey {
    /// The source's namespace.
    pub namespace: Arc<str>,
    /// The provider's id.
    pub id: Arc<str>,
}

/// Where a subscription stands. The order is the order within one second (semantics 6).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// The first payment is missing.
    Incomplete,
    /// Free for now.
    Trialing,
    /// Paid.
    Active,
    /// A payment is late.
    PastDue,
    /// Suspended.
    Paused,
    /// Payments have stopped, the subscription has not.
    Unpaid,
    /// The first payment never came.
    IncompleteExpired,
    /// Over.
    Canceled,
}

impl SubscriptionStatus {
    /// Every status, in the order within one second.
    pub const ALL: [Self; 8] = [
        Self::Incomplete,
        Self::Trialing,
        Self::Active,
        Self::PastDue,
        Self::Paused,
        Self::Unpaid,
        Self::IncompleteExpired,
        Self::Canceled,
    ];

    /// The canonical word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Paused => "paused",
            Self::Unpaid => "unpaid",
            Self::IncompleteExpired => "incomplete_expired",
            Self::Canceled => "canceled",
        }
    }

    /// Orders changes of one second.
    pub fn rank(self) -> u8 {
        10 + self as u8
    }

    /// From the canonical word; `cancelled` is accepted too.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "incomplete" => Self::Incomplete,
            "trialing" => Self::Trialing,
            "active" => Self::Active,
            "past_due" => Self::PastDue,
            "paused" => Self::Paused,
            "unpaid" => Self::Unpaid,
            "incomplete_expired" => Self::IncompleteExpired,
            "canceled" | "cancelled" => Self::Canceled,
            _ => return None,
        })
    }

    /// How good it is for a customer's `subscription_status`: the lowest is the best.
    pub fn preference(self) -> u8 {
        match self {
            Self::Active => 0,
            Self::Trialing => 1,
            Self::PastDue => 2,
            Self::Paused => 3,
            Self::Unpaid => 4,
            Self::Incomplete => 5,
            Self::IncompleteExpired | Self::Canceled => 6,
        }
    }
}

/// All that is known of one subscription. A set of facts with a join.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SubscriptionFacts {
    /// Where it stands.
    #[serde(skip_serializing_if = "Register::is_empty")]
    pub status: Register<SubscriptionStatus>,
    /// The provider's id of the price or plan.
    #[serde(skip_serializing_if = "Register::is_empty")]
    pub plan: Register<Option<String>>,
    /// The end of what is paid.
    #[serde(skip_serializing_if = "Register::is_empty")]
    pub current_period_end: Register<Option<Timestamp>>,
    /// Whether it is not to be renewed. Ends nothing by itself.
    #[serde(skip_serializing_if = "Register::is_empty")]
    pub cancel_at_period_end: Register<bool>,
    /// When it ends or ended.
    #[serde(skip_serializing_if = "Register::is_empty")]
    pub ends_at: Register<Option<Timestamp>>,
    /// Where it hangs.
    pub references: Namings,
    /// The earliest time of any fact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_at: Option<Timestamp>,
}

impl SubscriptionFacts {
    /// Takes in what another set of facts holds.
    pub fn join(&mut self, other: &Self) {
        let Self {
            status,
            plan,
            current_period_end,
            cancel_at_period_end,
            ends_at,
            references,
            first_at,
        } = other;
        self.status.join(status);
        self.plan.join(plan);
        self.current_period_end.join(current_period_end);
        self.cancel_at_period_end.join(cancel_at_period_end);
        self.ends_at.join(ends_at);
        self.references.join(references);
        self.first_at = earliest(self.first_at, *first_at);
    }
}

/// A subscription as the API and webhooks show it (contract 4).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Subscription {
    /// Always `subscription`.
    #[serde(skip_deserializing, default = "subscription")]
    pub object: &'static str,
    /// Our id of it.
    pub id: SubscriptionId,
    /// The environment that it belongs to.
    pub environment: Arc<str>,
    /// Whether that is `live`: real money.
    pub live: bool,
    /// Whose it is; null while nobody's.
    pub customer_id: Option<CustomerId>,
    /// The namespace of its source.
    pub provider: Arc<str>,
    /// The provider's id.
    pub subscription_id: Arc<str>,
    /// Where it stands; canceled once `ends_at` has passed.
    pub status: SubscriptionStatus,
    /// The provider's id of the price or plan.
    pub plan: Option<String>,
    /// The end of what is paid.
    #[serde(serialize_with = "millis_or_null")]
    pub current_period_end: Option<Timestamp>,
    /// Whether it is not to be renewed.
    pub cancel_at_period_end: bool,
    /// When it ends or ended.
    #[serde(serialize_with = "millis_or_null")]
    pub ends_at: Option<Timestamp>,
    /// When we first heard of it.
    #[serde(serialize_with = "millis")]
    pub created_at: Timestamp,
    /// When it last changed here.
    #[serde(serialize_with = "millis")]
    pub updated_at: Timestamp,
}

fn subscription() -> &'static str {
    "subscription"
}
