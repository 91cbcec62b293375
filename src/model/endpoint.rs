//! Who is told: an app's webhook endpoint.

use crate::model::{
    id::EndpointId,
    message::EventType,
    secret::Secret,
    time::{Timestamp, millis},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// What an endpoint's owner says about it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
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
    pub headers: BTreeMap<String, Secret>,
    /// What differs from the daemon's settings.
    #[serde(flatten)]
    pub settings: EndpointSettings,
}

/// What an endpoint may want otherwise than the daemon's settings have it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointSettings {
    /// How long one try may take, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// How long after each failed try the next one begins, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Vec<u64>>,
}

impl EndpointSettings {
    /// How long one try may take, if it is said.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }
}

/// An endpoint as it stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Endpoint {
    /// Ours.
    pub id: EndpointId,
    /// What its owner says.
    #[serde(flatten)]
    pub spec: EndpointSpec,
    /// Whether it is told anything.
    pub enabled: bool,
    /// Why not, when the daemon switched it off.
    pub disabled_reason: Option<String>,
    /// When it was made.
    #[serde(serialize_with = "millis")]
    pub created_at: Timestamp,
    /// When it last changed.
    #[serde(serialize_with = "millis")]
    pub updated_at: Timestamp,
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
