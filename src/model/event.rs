//! A normalized event: what one inbound event asserts, in the words of the model. The only thing that
//! `apply` understands; it does not know which provider said it.

use crate::model::{
    authority::Authority,
    payment::{PaymentFacts, PaymentKey},
    reference::{Reference, ReferenceFacts},
    register::Register,
    stamp::{EventKey, Stamp},
    subscription::{SubscriptionFacts, SubscriptionKey},
    time::Timestamp,
};
use serde::Serialize;
use std::sync::Arc;

/// What one event says of one reference.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ReferenceAssertion {
    /// The reference.
    pub reference: Reference,
    /// Profile registers and deletions. Claims and openings stand beside it, since they name references.
    pub facts: ReferenceFacts,
    /// Under which reference it hangs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimAssertion>,
    /// That it is named in a way that opens it again after a deletion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opening: Option<Opening>,
}

impl ReferenceAssertion {
    /// That a reference exists, and nothing else yet.
    pub fn new(reference: Reference) -> Self {
        Self { reference, facts: ReferenceFacts::default(), claim: None, opening: None }
    }
}

/// A claim in plain words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ClaimAssertion {
    /// The reference above; none: it stands for itself.
    pub under: Option<Reference>,
    /// How much the word counts.
    pub authority: Authority,
    /// When it was said.
    pub stamp: Stamp,
}

/// That a reference opens again (semantics 4).
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Opening {
    /// When it was said.
    pub at: Timestamp,
    /// The UID whose user event names it; none where the app itself does. It opens nothing once that UID is deleted.
    pub by: Option<Reference>,
}

/// What one event says of one payment.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PaymentAssertion {
    /// Its names, the preferred one first; several join the rows that they name.
    pub keys: Vec<PaymentKey>,
    /// The facts, but for where it hangs.
    pub facts: PaymentFacts,
    /// Where it hangs: references named by it, each with its stamp.
    pub references: Vec<(Reference, Stamp)>,
    /// The payer's e-mail address in lower case, where nothing names a customer and the source sets `match_email`.
    #[serde(skip_serializing_if = "Register::is_empty")]
    pub match_email: Register<String>,
}

/// That the app says whose a payment is.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PaymentLink {
    /// Which payment.
    pub key: PaymentKey,
    /// Under which reference it hangs.
    pub under: Reference,
    /// When it was said.
    pub stamp: Stamp,
}

/// What one event says of one subscription.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SubscriptionAssertion {
    /// Its name.
    pub key: SubscriptionKey,
    /// The facts, but for where it hangs.
    pub facts: SubscriptionFacts,
    /// Where it hangs.
    pub references: Vec<(Reference, Stamp)>,
}

/// What one event asserts.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Assertions {
    /// Of references.
    pub references: Vec<ReferenceAssertion>,
    /// Of payments.
    pub payments: Vec<PaymentAssertion>,
    /// Of subscriptions.
    pub subscriptions: Vec<SubscriptionAssertion>,
    /// Whose payments are, by the app's own word.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<PaymentLink>,
}

impl Assertions {
    /// Whether nothing is asserted.
    pub fn is_empty(&self) -> bool {
        self.references.is_empty()
            && self.payments.is_empty()
            && self.subscriptions.is_empty()
            && self.links.is_empty()
    }
}

/// What became of a body, or of one item of a batch body, when it was read.
#[derive(Clone, PartialEq, Debug)]
pub enum Reading {
    /// It asserts something.
    Asserts(Box<Assertions>),
    /// It is valid and asserts nothing to us; why.
    Ignored(String),
    /// It cannot be used; why, naming the place.
    Malformed(String),
}

/// One inbound event as read: its key, when and what it says.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// Where it belongs. Differs from the source's where the body says `test` and a `test_environment` is named.
    pub environment: Arc<str>,
    /// The source, the provider's event id and the hash of its bytes.
    pub key: EventKey,
    /// The provider's event id, where it gives one.
    pub provider_event_id: Option<String>,
    /// The provider's word for what happened.
    pub kind: String,
    /// The provider's time of it.
    pub occurred_at: Option<Timestamp>,
    /// When it was received.
    pub received_at: Timestamp,
    /// Whether its signature or credential was checked.
    pub verified: bool,
    /// Fields that were dropped, each with its reason.
    pub notes: Vec<String>,
    /// What it says.
    pub reading: Reading,
}
