//! Who is told: an app's webhook endpoint.

use crate::model::{
    id::{EndpointId, MessageId},
    message::EventType,
    secret::Secret,
    time::{Timestamp, millis, millis_or_null},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use utoipa::ToSchema;

/// What an endpoint's owner says about it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, ToSchema)]
pub struct EndpointSpec {
    /// Whose changes it is told.
    pub environment: Arc<str>,
    /// A name that is unique in its environment: how the configuration knows it again.
    pub name: Option<String>,
    /// Where to.
    pub url: String,
    /// For people.
    pub description: Option<String>,
    /// What it is told: `*`, `payment.*`, or exact names.
    pub event_types: Vec<String>,
    /// Headers of its own. Their values may be credentials and are not shown.
    #[schema(value_type = BTreeMap<String, String>)]
    pub headers: BTreeMap<String, Secret>,
    /// What differs from the daemon's settings.
    #[serde(flatten)]
    pub settings: EndpointSettings,
}

/// What an endpoint may want otherwise than the daemon's settings have it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct EndpointSettings {
    /// How long one try may take, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub timeout_ms: Option<u64>,
    /// How long after each failed try the next one begins, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub schedule: Option<Vec<u64>>,
    /// How many requests a second it is sent at most, by all processes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub rate_limit: Option<u32>,
    /// Whether each customer's messages come in the order of its versions: the next waits until the one before
    /// was delivered or is dead.
    #[schema(required)]
    pub ordered: bool,
    /// How its messages are signed.
    #[schema(required)]
    pub signature_style: SignatureStyle,
    /// The header that the styles `timestamped` and `sha256` sign in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub signature_header: Option<String>,
    /// Whether the style `standard` also signs by ed25519 (`v1a`), beside HMAC.
    #[schema(required)]
    pub ed25519: bool,
}

/// How messages are signed (contract 6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignatureStyle {
    /// By Standard Webhooks.
    #[default]
    Standard,
    /// `t=…,v1=hex` over time and body.
    Timestamped,
    /// `sha256=hex` over the body.
    Sha256,
}

impl SignatureStyle {
    /// Every style.
    pub const ALL: [Self; 3] = [Self::Standard, Self::Timestamped, Self::Sha256];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Timestamped => "timestamped",
            Self::Sha256 => "sha256",
        }
    }

    /// From the word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|style| style.as_str() == name)
    }
}

impl EndpointSettings {
    /// How long one try may take, if it is said.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }
}

/// Whether an endpoint is sent to, as the circuit breaker has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Breaker {
    /// As ever.
    #[default]
    Closed,
    /// Nothing goes out for a while.
    Open,
    /// One message is under way, to see whether it is well again.
    HalfOpen,
}

impl Breaker {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }

    /// From the word.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Closed, Self::Open, Self::HalfOpen].into_iter().find(|one| one.as_str() == name)
    }
}

/// How an endpoint has been answering: shared by all processes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, ToSchema)]
pub struct Standing {
    /// Whether it is sent to.
    pub breaker: Breaker,
    /// Nothing goes out before that time: the breaker is open, or the receiver asked for less.
    #[serde(serialize_with = "millis_or_null")]
    pub paused_until: Option<Timestamp>,
    /// Since when no try succeeded, if one failed since.
    #[serde(serialize_with = "millis_or_null")]
    pub failing_since: Option<Timestamp>,
    /// Whose try failed first.
    #[serde(skip)]
    pub failing_message: Option<MessageId>,
    /// How many pauses there were in a row: each is longer than the one before.
    #[serde(skip)]
    pub pauses: i64,
}

impl Standing {
    /// Whether nothing may be sent to it but a probe.
    pub fn is_held(&self, now: Timestamp) -> bool {
        self.breaker != Breaker::Closed || self.paused_until.is_some_and(|until| until > now)
    }
}

/// One of an endpoint's secrets as it is shown: never the secret itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[schema(as = SigningSecret)]
pub struct SecretTerm {
    /// When it no longer signs; never, if that is null.
    #[serde(serialize_with = "millis_or_null")]
    pub expires_at: Option<Timestamp>,
    /// Where ed25519 signs too: what verifies it, `whpk_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub public_key: Option<String>,
}

/// An endpoint as it stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[schema(as = WebhookEndpoint)]
pub struct Endpoint {
    /// Always `webhook_endpoint`.
    pub object: &'static str,
    /// Our id of it.
    pub id: EndpointId,
    /// What its owner says.
    #[serde(flatten)]
    pub spec: EndpointSpec,
    /// Whether it is told anything.
    pub enabled: bool,
    /// Why not, when the daemon switched it off.
    pub disabled_reason: Option<String>,
    /// How it has been answering.
    #[serde(flatten)]
    pub standing: Standing,
    /// What signs, the newest first; those before it until their end.
    pub secrets: Vec<SecretTerm>,
    /// When it was made.
    #[serde(serialize_with = "millis")]
    pub created_at: Timestamp,
    /// When it last changed.
    #[serde(serialize_with = "millis")]
    pub updated_at: Timestamp,
}

/// The endpoints that are told of changes now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Audience {
    /// What the enabled ones are told, by the endpoints' ids.
    pub subscriptions: Vec<Subscription>,
    /// The time by which messages to them are due: the database's, where it has a clock of its own.
    pub now: Timestamp,
}

/// Which types of which environment an enabled endpoint is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscription {
    /// The endpoint.
    pub endpoint_id: EndpointId,
    /// Its environment.
    pub environment: String,
    /// Its patterns.
    pub event_types: Vec<String>,
    /// Whether each customer's messages keep their order.
    pub ordered: bool,
    /// Whether what is written for it may go out from memory: neither order nor a rate limit nor a pause, which
    /// the database keeps, stands against it.
    pub is_direct: bool,
}

impl Subscription {
    /// Whether an event of this type in this environment is for it.
    pub fn takes(&self, environment: &str, kind: EventType) -> bool {
        self.environment == environment
            && self.event_types.iter().any(|pattern| kind.matches(pattern))
    }
}

/// One of an endpoint's secrets as it is kept: sealed under the daemon's own key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SealedSecret {
    /// The sealed text.
    pub sealed: String,
    /// When it no longer signs; never, if that is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_told_its_own_types_of_its_own_environment_only() {
        let subscription = Subscription {
            endpoint_id: EndpointId(uuid::Uuid::nil()),
            environment: "live".into(),
            event_types: vec!["payment.*".into(), "customer.created".into()],
            ordered: false,
            is_direct: true,
        };
        assert!(subscription.takes("live", EventType::PaymentRefunded));
        assert!(subscription.takes("live", EventType::CustomerCreated));
        assert!(!subscription.takes("live", EventType::CustomerUpdated));
        assert!(!subscription.takes("test", EventType::PaymentRefunded));
    }

    #[test]
    fn values_of_custom_headers_are_not_shown() {
        let spec = EndpointSpec {
            headers: [("authorization".to_owned(), Secret::new("Bearer hush"))].into(),
            ..EndpointSpec::default()
        };
        let shown = format!("{spec:?} {}", serde_json::to_string(&spec).expect("json"));
        assert!(shown.contains("authorization") && !shown.contains("hush"), "{shown}");
    }
}
