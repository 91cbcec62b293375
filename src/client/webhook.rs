//! What the daemon sends to your app: checked, and read.
//!
//! ```
//! use customer_sync::{client::webhook::Verifier, model::message::EventType};
//!
//! # fn example(headers: Vec<(String, String)>, body: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
//! let verifier = Verifier::new("whsec_bWFuZHkgYmFrZXMgYSBsYXJnZSBjYWtlIGZvciBBZGE=")?;
//! let webhook = verifier.verify(headers, body)?;
//! if webhook.kind() == Some(EventType::PaymentSucceeded) {
//!     println!("{:?} paid", webhook.data.customer.map(|customer| customer.id()));
//! }
//! # Ok(())
//! # }
//! # assert!(example(Vec::new(), b"{}").is_err());
//! ```
//!
//! Answer 2xx once it is kept, within 15 s. A webhook may come again: [`Webhook::message_id`] is the same each time.
//! [`Webhook::version`] says which of two is the later one of a customer.

use crate::{
    clock::Clock,
    model::{
        customer::Customer,
        id::{CustomerId, EventId},
        inbound::Headers,
        message::{Cause, EventType},
        payment::Payment,
        secret::Secret,
        subscription::Subscription,
        time::Timestamp,
    },
    verify::{
        Rejection,
        presets::STANDARD_WEBHOOKS,
        scheme::{Check, Input, authenticate},
    },
};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Checks signatures by Standard Webhooks, and their age: the daemon's style unless an endpoint asks for another.
#[derive(Clone, Debug)]
pub struct Verifier {
    secrets: Vec<Secret>,
    clock: Clock,
}

/// A secret is not base64 after `whsec_`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an endpoint's secret is `whsec_` and base64")]
pub struct NoSecret;

/// A request that is not to be believed, or cannot be read. Answer 401.
#[derive(Debug, thiserror::Error)]
pub enum Unverified {
    /// None of our signatures, or too old.
    #[error("this webhook is not the daemon's")]
    Signature(#[source] Rejection),
    /// Signed, and no webhook of the daemon's.
    #[error("the webhook's body cannot be read")]
    Body(#[source] serde_json::Error),
}

impl Verifier {
    /// With an endpoint's secret, as it was shown: `whsec_…`.
    ///
    /// # Errors
    /// Where it is none.
    pub fn new(secret: impl Into<String>) -> Result<Self, NoSecret> {
        Self { secrets: Vec::new(), clock: Clock::system() }.or(secret)
    }

    /// With another secret beside it, such as the next one while the old one still signs.
    ///
    /// # Errors
    /// Where it is none.
    pub fn or(mut self, secret: impl Into<String>) -> Result<Self, NoSecret> {
        let secret = Secret::new(secret);
        if secret.standard_webhooks_key().is_none_or(|key| key.is_empty()) {
            return Err(NoSecret);
        }
        self.secrets.push(secret);
        Ok(self)
    }

    /// With another clock than the machine's.
    #[must_use]
    pub fn at(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The webhook, from the request's headers and the bytes of its body as they came.
    ///
    /// # Errors
    /// Where its signature or its age is wrong, or it cannot be read.
    pub fn verify<N: AsRef<str>, V: AsRef<[u8]>>(
        &self,
        headers: impl IntoIterator<Item = (N, V)>,
        body: &[u8],
    ) -> Result<Webhook, Unverified> {
        let text = |value: V| String::from_utf8_lossy(value.as_ref()).into_owned();
        let headers: Headers =
            headers.into_iter().map(|(name, value)| (name, text(value))).collect();
        let input = Input { headers: &headers, body, url: None, item: None };
        let secrets: Vec<&Secret> = self.secrets.iter().collect();
        let stamped_at =
            authenticate(&STANDARD_WEBHOOKS, &input, &secrets).map_err(Unverified::Signature)?;
        if let (Some(stamped_at), Check::Signature(signature)) =
            (stamped_at, &STANDARD_WEBHOOKS.check)
            && let Some(rule) = signature.stamp
        {
            let now = self.clock.now();
            rule.judge(signature.place, stamped_at, now, now, None)
                .map_err(Unverified::Signature)?;
        }
        let mut webhook: Webhook = serde_json::from_slice(body).map_err(Unverified::Body)?;
        headers.get("webhook-id").unwrap_or_default().clone_into(&mut webhook.message_id);
        Ok(webhook)
    }
}

/// What happened.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Webhook {
    /// The `webhook-id`: the same on every try, another one for each endpoint. Keep it to know a repetition.
    #[serde(skip)]
    pub message_id: String,
    /// The same for all endpoints.
    pub id: EventId,
    /// What happened, as its dotted name. One of a later version of the daemon may be new here.
    #[serde(rename = "type")]
    pub name: String,
    /// When it was applied.
    pub timestamp: Timestamp,
    /// Where.
    pub environment: Arc<str>,
    /// Whether that is real money.
    pub live: bool,
    /// The customer's version, which grows by one with each message about it; none for an unlinked payment.
    pub version: Option<i64>,
    /// The objects as of the change.
    pub data: Data,
    /// The values that changed, as they were.
    pub previous_attributes: Map<String, Value>,
    /// The inbound event that brought it about.
    pub cause: Cause,
}

impl Webhook {
    /// What happened; none where this version does not know it.
    pub fn kind(&self) -> Option<EventType> {
        EventType::ALL.into_iter().find(|kind| kind.as_str() == self.name)
    }
}

/// The objects that a webhook carries.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Data {
    /// The customer; none of an unlinked payment, of a test, and of an endpoint.
    pub customer: Option<Told>,
    /// The payment that changed.
    pub payment: Option<Payment>,
    /// The subscription that changed.
    pub subscription: Option<Subscription>,
    /// The customers that went into this one.
    #[serde(default)]
    pub merged_from: Vec<CustomerId>,
    /// What a `customer.conflict` is about.
    pub conflict: Option<String>,
}

/// A customer as a webhook tells of it.
#[derive(Clone, PartialEq, Debug)]
pub enum Told {
    /// As of the change.
    Whole(Box<Customer>),
    /// What a deletion has left of it since.
    Cut {
        /// Whose it was.
        id: CustomerId,
        /// Whether the customer is gone, or one identity of it.
        deleted: bool,
    },
}

impl Told {
    /// Whose it is.
    pub fn id(&self) -> CustomerId {
        match self {
            Self::Whole(customer) => customer.id,
            Self::Cut { id, .. } => *id,
        }
    }
}

impl<'de> Deserialize<'de> for Told {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Cut {
            id: CustomerId,
            deleted: bool,
        }
        let fields = Value::deserialize(deserializer)?;
        if fields.get("created_at").is_some() {
            return Customer::deserialize(fields)
                .map(|customer| Self::Whole(Box::new(customer)))
                .map_err(D::Error::custom);
        }
        let Cut { id, deleted } = Cut::deserialize(fields).map_err(D::Error::custom)?;
        Ok(Self::Cut { id, deleted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::scheme::sign;
    use chrono::TimeDelta;
    use serde_json::json;

    const SECRET: &str = "whsec_bWFuZHkgYmFrZXMgYSBsYXJnZSBjYWtlIGZvciBBZGE=";

    fn now() -> Timestamp {
        Timestamp::from_seconds(1_772_366_400).expect("a time")
    }

    fn body(customer: &Value) -> Vec<u8> {
        json!({
            "id": EventId(uuid::Uuid::from_u128(1)), "type": "customer.updated",
            "timestamp": "2026-03-01T12:00:00.000Z", "environment": "live", "live": true,
            "version": 3, "data": {"customer": customer}, "previous_attributes": {},
            "cause": {"source": "clerk", "event_id": "e1", "verified": true},
        })
        .to_string()
        .into_bytes()
    }

    fn signed(secret: &str, body: &[u8], age: i64) -> Vec<(String, String)> {
        let (secret, at) = (Secret::new(secret), now().plus(-TimeDelta::seconds(age)));
        let headers = sign(&STANDARD_WEBHOOKS, &secret, body, "msg_1", at, None).expect("signed");
        headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn verifier() -> Verifier {
        Verifier::new(SECRET).expect("a secret").at(Clock::manual(now()))
    }

    #[test]
    fn a_signed_webhook_is_read_and_any_other_is_refused() {
        let id = CustomerId(uuid::Uuid::from_u128(2));
        let body = body(&json!({"object": "customer", "id": id, "deleted": true}));
        let webhook = verifier().verify(signed(SECRET, &body, 0), &body).expect("verified");
        assert_eq!((webhook.message_id.as_str(), webhook.version), ("msg_1", Some(3)));
        assert_eq!(webhook.kind(), Some(EventType::CustomerUpdated));
        assert_eq!(webhook.data.customer, Some(Told::Cut { id, deleted: true }));

        let refused = |headers: Vec<(String, String)>, body: &[u8]| {
            matches!(verifier().verify(headers, body), Err(Unverified::Signature(_)))
        };
        assert!(refused(Vec::new(), &body));
        assert!(refused(signed("whsec_AAAA", &body, 0), &body), "another secret");
        assert!(refused(signed(SECRET, &body, 0), b"{}"), "another body");
        assert!(refused(signed(SECRET, &body, 3_600), &body), "an old one, sent again");
        assert!(refused(signed(SECRET, &body, -3_600), &body), "one of the future");
        let unreadable = verifier().verify(signed(SECRET, b"{}", 0), b"{}");
        assert!(matches!(unreadable, Err(Unverified::Body(_))));
    }

    #[test]
    fn either_of_two_secrets_will_do_while_they_change() {
        let next = "whsec_bmV4dCBuZXh0IG5leHQgbmV4dCBuZXh0IG5leHQ=";
        let body = body(&Value::Null);
        let both = verifier().or(next).expect("a secret");
        for secret in [SECRET, next] {
            assert!(both.verify(signed(secret, &body, 0), &body).is_ok());
        }
        assert!(verifier().verify(signed(next, &body, 0), &body).is_err());
        assert_eq!(Verifier::new("whsec_???").err(), Some(NoSecret));
        assert_eq!(Verifier::new("whsec_").err(), Some(NoSecret));
    }
}
