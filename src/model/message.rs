//! Outgoing webhooks: what is told, to whom, and how far it got.

use crate::model::{
    customer::Customer,
    id::{EndpointId, EventId, MessageId},
    payment::Payment,
    subscription::Subscription,
    time::{Timestamp, millis},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// What happened (semantics 8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EventType {
    /// First sight of a customer.
    CustomerCreated,
    /// An external_id arrived.
    CustomerIdentified,
    /// The profile changed.
    CustomerUpdated,
    /// It is gone.
    CustomerDeleted,
    /// Another customer went into this one.
    CustomerMerged,
    /// A claim moved a reference between two external_ids, or a payment named a second currency.
    CustomerConflict,
    /// First sight of a payment.
    PaymentCreated,
    /// Something else about it changed.
    PaymentUpdated,
    /// The money moved.
    PaymentSucceeded,
    /// A try failed.
    PaymentFailed,
    /// Given up.
    PaymentCanceled,
    /// What went back changed.
    PaymentRefunded,
    /// A dispute was opened or lost.
    PaymentDisputed,
    /// It has another customer now.
    PaymentLinked,
    /// First sight of a subscription.
    SubscriptionCreated,
    /// It changed.
    SubscriptionUpdated,
    /// It is over.
    SubscriptionCanceled,
    /// An endpoint was switched off.
    EndpointDisabled,
    /// A test.
    WebhookTest,
}

impl EventType {
    /// Every type.
    pub const ALL: [Self; 19] = [
        Self::CustomerCreated,
        Self::CustomerIdentified,
        Self::CustomerUpdated,
        Self::CustomerDeleted,
        Self::CustomerMerged,
        Self::CustomerConflict,
        Self::PaymentCreated,
        Self::PaymentUpdated,
        Self::PaymentSucceeded,
        Self::PaymentFailed,
        Self::PaymentCanceled,
        Self::PaymentRefunded,
        Self::PaymentDisputed,
        Self::PaymentLinked,
        Self::SubscriptionCreated,
        Self::SubscriptionUpdated,
        Self::SubscriptionCanceled,
        Self::EndpointDisabled,
        Self::WebhookTest,
    ];

    /// The dotted name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CustomerCreated => "customer.created",
            Self::CustomerIdentified => "customer.identified",
            Self::CustomerUpdated => "customer.updated",
            Self::CustomerDeleted => "customer.deleted",
            Self::CustomerMerged => "customer.merged",
            Self::CustomerConflict => "customer.conflict",
            Self::PaymentCreated => "payment.created",
            Self::PaymentUpdated => "payment.updated",
            Self::PaymentSucceeded => "payment.succeeded",
            Self::PaymentFailed => "payment.failed",
            Self::PaymentCanceled => "payment.canceled",
            Self::PaymentRefunded => "payment.refunded",
            Self::PaymentDisputed => "payment.disputed",
            Self::PaymentLinked => "payment.linked",
            Self::SubscriptionCreated => "subscription.created",
            Self::SubscriptionUpdated => "subscription.updated",
            Self::SubscriptionCanceled => "subscription.canceled",
            Self::EndpointDisabled => "endpoint.disabled",
            Self::WebhookTest => "webhook.test",
        }
    }

    /// Whether a pattern (`*`, `payment.*`, or a name) takes it in.
    pub fn matches(self, pattern: &str) -> bool {
        match pattern.strip_suffix('*') {
            Some("") => true,
            Some(family) => family.ends_with('.') && self.as_str().starts_with(family),
            None => self.as_str() == pattern,
        }
    }

    /// From the dotted name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether a pattern takes in any type at all.
    pub fn is_pattern(pattern: &str) -> bool {
        Self::ALL.iter().any(|known| known.matches(pattern))
    }
}

impl Serialize for EventType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Which inbound event brought a change about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cause {
    /// The source's name.
    pub source: Arc<str>,
    /// The provider's event id, else the hash of the body.
    pub event_id: String,
    /// Whether its signature or credential was checked.
    pub verified: bool,
}

/// The objects that a message carries.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct EventData {
    /// The customer as of the change; null for an unlinked payment.
    pub customer: Option<Customer>,
    /// The payment that changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment: Option<Payment>,
    /// The subscription that changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription: Option<Subscription>,
    /// The customers that went into this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub merged_from: Vec<crate::model::id::CustomerId>,
    /// What a `customer.conflict` is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict: Option<String>,
}

/// The body of an outgoing webhook (contract 6).
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct OutgoingEvent {
    /// The same for all endpoints.
    pub id: EventId,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// When it was applied.
    #[serde(serialize_with = "millis")]
    pub timestamp: Timestamp,
    /// Where.
    pub environment: Arc<str>,
    /// Whether that is real money.
    pub live: bool,
    /// The customer's version; null for an unlinked payment.
    pub version: Option<i64>,
    /// The objects as of the change.
    pub data: EventData,
    /// The values that changed, as they were.
    pub previous_attributes: serde_json::Map<String, serde_json::Value>,
    /// The inbound event that brought it about.
    pub cause: Cause,
    /// The W3C context under which its deliveries are traced; not told in the body.
    #[serde(skip)]
    pub trace: Option<Arc<str>>,
}

/// How a message stands.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    /// To be sent when due.
    Pending,
    /// A receiver answered 2xx.
    Delivered,
    /// Out of tries.
    Dead,
    /// Called off.
    Canceled,
}

impl MessageStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Delivered, Self::Dead, Self::Canceled];

    /// From the word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Canceled => "canceled",
        }
    }
}

/// A message that this process holds the lease of: all that is needed to send it once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leased {
    /// The `webhook-id`.
    pub id: MessageId,
    /// Where to.
    pub endpoint_id: EndpointId,
    /// Which try this is, from 1.
    pub attempt: i32,
    /// The bytes to send.
    pub body: Arc<str>,
    /// The W3C context that the try belongs to.
    pub trace: Option<Arc<str>>,
    /// The lease's end, by the database's clock.
    pub leased_until: Timestamp,
    /// Whose lease it is: only its holder may record a result.
    pub lease: uuid::Uuid,
}
