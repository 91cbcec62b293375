//! What payment providers say, in plain parts: a provider's function finds them in its body, and here they become
//! the model's words. One way to hang, claim, stamp and describe for all of them.

use super::{
    On, Place, Target,
    read::{Object, Said},
};
use crate::model::{
    money::Money,
    payment::{DisputeStatus, ObjectClass, PaymentStatus, RefundKind, RefundStatus},
    stamp::rank,
    subscription::SubscriptionStatus,
    time::Timestamp,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;

mod told;

pub(crate) use told::{Told, item, status};

/// Why payouts are none of ours.
pub(crate) const PAYOUT: &str = "payouts and transfers are no customer's payments";
/// The SHA-256 in hex of one event of a batch, as its JSON is written here.
pub(crate) fn hash_of(event: &Value) -> String {
    hex::encode(Sha256::digest(event.to_string()))
}

/// A place where a browser may have written: it says where an object hangs and claims nothing.
pub(crate) const fn names(at: &'static str) -> Place {
    Place { at: Cow::Borrowed(at), target: Target::ExternalId, claims: false, on: On::Any }
}

/// A place where only a server writes.
pub(crate) const fn claims(at: &'static str) -> Place {
    Place { at: Cow::Borrowed(at), target: Target::ExternalId, claims: true, on: On::Any }
}

/// A place of the provider's own object of its customer, where only a server writes.
pub(crate) const fn of_customer(at: &'static str) -> Place {
    Place { at: Cow::Borrowed(at), target: Target::ExternalId, claims: true, on: On::Customer }
}

/// What is known of an event before its object is read.
pub(crate) struct Head<'a> {
    /// The provider's event id.
    pub(crate) id: Option<Cow<'a, str>>,
    /// The SHA-256 of its own bytes in hex, where it is one of several.
    pub(crate) hash: Option<String>,
    /// The provider's word for what happened.
    pub(crate) kind: Cow<'a, str>,
    /// The provider's time of it.
    pub(crate) at: Option<Timestamp>,
    /// Whether that time tells which of two states is the newer one. Otherwise their ranks alone do.
    pub(crate) ordered: bool,
    /// What the body says of its mode.
    pub(crate) live: Option<bool>,
    /// Its place within one instant (semantics 2).
    pub(crate) rank: u8,
}

impl<'a> Head<'a> {
    /// An event without id, time and mode.
    pub(crate) fn of(kind: impl Into<Cow<'a, str>>) -> Self {
        Self {
            id: None,
            hash: None,
            kind: kind.into(),
            at: None,
            ordered: false,
            live: None,
            rank: rank::UPDATED,
        }
    }
}

/// A text of the body and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word<'a> {
    pub(crate) at: String,
    pub(crate) text: Cow<'a, str>,
}

/// Contact fields of a person.
pub(crate) struct Contact<'a> {
    pub(crate) name: Said<Word<'a>>,
    pub(crate) email: Said<Word<'a>>,
    pub(crate) phone: Said<Word<'a>>,
}

impl Default for Contact<'_> {
    fn default() -> Self {
        Self { name: Said::Nothing, email: Said::Nothing, phone: Said::Nothing }
    }
}

/// Whose an object is.
#[derive(Default)]
pub(crate) struct Whose<'a> {
    /// The provider's customer id.
    pub(crate) customer: Option<Cow<'a, str>>,
    /// The objects in which the source's places are looked for, in order.
    pub(crate) named_in: Vec<Object<'a>>,
    /// What it says of the customer, or of the payer where it names none.
    pub(crate) contact: Contact<'a>,
}

/// Money that went back.
pub(crate) struct Back<'a> {
    /// The provider's id; without one it is known by its amount.
    pub(crate) id: Option<Cow<'a, str>>,
    /// None where the body names the refund without its amount: then it says how far that one got.
    pub(crate) money: Option<Money>,
    pub(crate) status: RefundStatus,
    pub(crate) kind: RefundKind,
    pub(crate) created_at: Option<Timestamp>,
}

/// A dispute.
pub(crate) struct Dispute<'a> {
    pub(crate) id: Cow<'a, str>,
    pub(crate) money: Money,
    pub(crate) status: DisputeStatus,
}

/// One movement of money.
pub(crate) struct Payment<'a> {
    /// Its names, the preferred one first.
    pub(crate) names: Vec<Cow<'a, str>>,
    pub(crate) status: Option<PaymentStatus>,
    /// What was asked for; where it succeeded, also what was captured, unless `captured` says otherwise.
    pub(crate) money: Option<Money>,
    pub(crate) captured: Option<Money>,
    /// The provider's id of the capture, where `captured` is one of several that add up.
    pub(crate) capture: Option<Cow<'a, str>>,
    /// The class of the object that says so.
    pub(crate) class: ObjectClass,
    /// When it succeeded; the event's time where that is not known.
    pub(crate) paid_at: Option<Timestamp>,
    /// The provider's own sum of refunds.
    pub(crate) refunded: Option<Money>,
    pub(crate) refunds: Vec<Back<'a>>,
    pub(crate) disputes: Vec<Dispute<'a>>,
    /// The provider's subscription id.
    pub(crate) subscription: Option<Cow<'a, str>>,
    pub(crate) method: Option<Word<'a>>,
    pub(crate) description: Option<Word<'a>>,
    /// Why it failed.
    pub(crate) failure: Option<Word<'a>>,
    /// The object that holds its metadata, and under which key.
    pub(crate) metadata: Option<(Object<'a>, &'static str)>,
}

impl<'a> Payment<'a> {
    /// A payment of which nothing is known but its name.
    pub(crate) fn new(name: Cow<'a, str>) -> Self {
        Self {
            names: vec![name],
            status: None,
            money: None,
            captured: None,
            capture: None,
            class: ObjectClass::Intent,
            paid_at: None,
            refunded: None,
            refunds: Vec::new(),
            disputes: Vec::new(),
            subscription: None,
            method: None,
            description: None,
            failure: None,
            metadata: None,
        }
    }

    /// Whether all that it tells of is an amount of 0.
    fn is_nothing(&self) -> bool {
        let figure = self.captured.or(self.money);
        let real = |money: &Money| money.minor > 0;
        figure.is_some_and(|money| money.minor == 0)
            && !self.refunds.iter().any(|back| back.money.as_ref().is_none_or(real))
            && !self.disputes.iter().any(|dispute| real(&dispute.money))
    }
}

/// One subscription.
pub(crate) struct Subscription<'a> {
    pub(crate) id: Cow<'a, str>,
    pub(crate) status: Option<SubscriptionStatus>,
    pub(crate) plan: Option<Word<'a>>,
    pub(crate) current_period_end: Option<Timestamp>,
    pub(crate) cancel_at_period_end: Option<bool>,
    /// When it ends; null where the body says that it goes on.
    pub(crate) ends_at: Said<Timestamp>,
}

impl<'a> Subscription<'a> {
    /// A subscription of which nothing is known but its id.
    pub(crate) fn new(id: Cow<'a, str>) -> Self {
        Self {
            id,
            status: None,
            plan: None,
            current_period_end: None,
            cancel_at_period_end: None,
            ends_at: Said::Nothing,
        }
    }
}
