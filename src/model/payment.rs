//! Payments: a movement of money as a set of facts, each joined by itself (semantics 5).

use crate::model::{
    contact::AddressId,
    id::{CustomerId, PaymentId},
    metadata::{KEYS_SHOWN, Scalar},
    money::{Currency, Money},
    reference::{Kind, ReferenceId},
    register::{Assertion, Register},
    stamp::Stamp,
    time::{Timestamp, millis, millis_or_null},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use utoipa::ToSchema;

/// (namespace, provider's payment id): one name of a payment. The environment stands beside it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct PaymentKey {
    /// The source's namespace.
    pub namespace: Arc<str>,
    /// The provider's id.
    pub id: Arc<str>,
}

/// How far a payment got; the highest ever asserted counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// Begun.
    Pending,
    /// Waits for the payer.
    RequiresAction,
    /// A try failed.
    Failed,
    /// Held, not taken.
    Authorized,
    /// Given up.
    Canceled,
    /// The money moved.
    Succeeded,
}

/// What a payment's status is shown as, once refunds and disputes are looked at.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[schema(as = PaymentStatus)]
pub enum ShownStatus {
    /// Begun; also a payment of which only a refund or dispute is known.
    Pending,
    /// Waits for the payer.
    RequiresAction,
    /// A try failed.
    Failed,
    /// Held, not taken.
    Authorized,
    /// Given up.
    Canceled,
    /// The money moved.
    Succeeded,
    /// Some of it went back.
    PartiallyRefunded,
    /// All of it went back.
    Refunded,
    /// A dispute is open.
    Disputed,
}

impl ShownStatus {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::RequiresAction => "requires_action",
            Self::Failed => "failed",
            Self::Authorized => "authorized",
            Self::Canceled => "canceled",
            Self::Succeeded => "succeeded",
            Self::PartiallyRefunded => "partially_refunded",
            Self::Refunded => "refunded",
            Self::Disputed => "disputed",
        }
    }
}

impl From<PaymentStatus> for ShownStatus {
    fn from(status: PaymentStatus) -> Self {
        match status {
            PaymentStatus::Pending => Self::Pending,
            PaymentStatus::RequiresAction => Self::RequiresAction,
            PaymentStatus::Failed => Self::Failed,
            PaymentStatus::Authorized => Self::Authorized,
            PaymentStatus::Canceled => Self::Canceled,
            PaymentStatus::Succeeded => Self::Succeeded,
        }
    }
}

/// A class of provider objects that tell of the same money; the highest that asserted success counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectClass {
    /// A checkout session.
    Session,
    /// An invoice.
    Invoice,
    /// A charge.
    Charge,
    /// A payment intent, or a provider's only object for a payment.
    Intent,
}

/// What one class of object said was captured in one currency.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Captured {
    /// The lowest stamp that named the currency.
    pub first: Stamp,
    /// The highest figure, in minor units.
    pub minor: i64,
    /// Where it was captured in parts: each by the provider's id of the capture.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, i64>,
}

impl Captured {
    /// One figure for all of it.
    pub fn whole(first: Stamp, minor: i64) -> Self {
        Self { first, minor, parts: BTreeMap::new() }
    }

    /// One of several captures.
    pub fn part(first: Stamp, id: String, minor: i64) -> Self {
        Self { first, minor: 0, parts: BTreeMap::from([(id, minor)]) }
    }

    /// What was captured: the sum of the parts, unless the provider's own figure says more.
    pub fn sum(&self) -> i64 {
        self.minor.max(self.parts.values().fold(0, |sum, part| sum.saturating_add(*part)))
    }

    fn join(&mut self, other: &Self) {
        self.minor = self.minor.max(other.minor);
        for (id, part) in &other.parts {
            let known = self.parts.entry(id.clone()).or_insert(*part);
            *known = *part.max(known);
        }
        if other.first < self.first {
            self.first = other.first.clone();
        }
    }
}

/// How far a refund got. The order is the order within one second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// On its way; counts.
    Pending,
    /// Arrived; counts.
    Succeeded,
    /// Came back or was called off; does not count.
    Failed,
}

/// Why money went back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundKind {
    /// The seller gave it back.
    Refund,
    /// A success was taken back: a returned debit, a late failure, a reversal.
    Reversal,
}

/// What one event said of one refund.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refund {
    /// How much, of what.
    pub money: Money,
    /// How far it got.
    pub status: RefundStatus,
    /// Why.
    pub kind: RefundKind,
    /// When it was made, where the provider says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
}

/// The provider's own sum of refunds: the highest (occurred_at, rank), then the highest figure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Cumulative {
    /// When it was said.
    pub at: Timestamp,
    /// Orders one instant.
    pub rank: u8,
    /// The sum.
    pub money: Money,
}

/// How a dispute stands. The order is the order within one second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisputeStatus {
    /// Undecided.
    Open,
    /// The money stays.
    Won,
    /// The money is gone.
    Lost,
}

/// What one event said of one dispute.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Dispute {
    /// How much, of what.
    pub money: Money,
    /// How it stands.
    pub status: DisputeStatus,
}

/// From when to when a payment or subscription was said to hang on a reference.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Naming {
    /// The lowest stamp.
    pub first: Stamp,
    /// The highest stamp.
    pub last: Stamp,
}

/// How an object came to name a reference. The order is the order of precedence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The app linked it, whatever the object itself says.
    Linked,
    /// The object named an external_id.
    External,
    /// It named an auth UID.
    Auth,
    /// It named a payment provider's customer id.
    Payment,
    /// It named a customer that the API made.
    #[serde(rename = "self")]
    Own,
}

impl From<Kind> for Place {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::External => Self::External,
            Kind::Auth => Self::Auth,
            Kind::Payment => Self::Payment,
            Kind::Own => Self::Own,
        }
    }
}

/// Where an object hangs, by everything that was said: per place, the references named.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Namings(pub BTreeMap<Place, BTreeMap<ReferenceId, Naming>>);

impl Namings {
    /// Notes that a reference was named.
    pub fn name(&mut self, kind: Kind, reference: ReferenceId, stamp: &Stamp) {
        let naming = Naming { first: stamp.clone(), last: stamp.clone() };
        self.add(kind.into(), reference, &naming);
    }

    /// Notes that the app linked it to a reference.
    pub fn link(&mut self, reference: ReferenceId, stamp: &Stamp) {
        let naming = Naming { first: stamp.clone(), last: stamp.clone() };
        self.add(Place::Linked, reference, &naming);
    }

    fn add(&mut self, place: Place, reference: ReferenceId, naming: &Naming) {
        let known = self.0.entry(place).or_default().entry(reference).or_insert(naming.clone());
        if naming.first < known.first {
            known.first = naming.first.clone();
        }
        if naming.last > known.last {
            known.last = naming.last.clone();
        }
    }

    /// Takes in what another holds.
    pub fn join(&mut self, other: &Self) {
        for (place, references) in &other.0 {
            for (reference, naming) in references {
                self.add(*place, *reference, naming);
            }
        }
    }

    /// Every reference that was ever named.
    pub fn all(&self) -> impl Iterator<Item = ReferenceId> + '_ {
        self.0.values().flat_map(|references| references.keys().copied())
    }

    /// When each of them was named, first and last.
    pub fn stamps(&self) -> impl Iterator<Item = &Stamp> + '_ {
        let namings = self.0.values().flat_map(BTreeMap::values);
        namings.flat_map(|naming| [&naming.first, &naming.last])
    }

    /// The reference that counts: the one that the app linked last, else of the first kind that was ever named the
    /// one named last.
    pub fn hangs_on(&self) -> Option<ReferenceId> {
        self.hung_on(None)
    }

    /// The reference that counted at a time, by what was said until then.
    pub fn hung_on(&self, until: Option<Timestamp>) -> Option<ReferenceId> {
        let said_by_then = |stamp: &Stamp| until.is_none_or(|until| stamp.at <= until);
        self.0.values().find_map(|references| {
            references
                .iter()
                .filter(|(_, naming)| said_by_then(&naming.first))
                .map(|(reference, naming)| {
                    let last =
                        if said_by_then(&naming.last) { &naming.last } else { &naming.first };
                    (last, *reference)
                })
                .max()
                .map(|(_, reference)| reference)
        })
    }
}

/// All that is known of one payment. A set of facts with a join.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PaymentFacts {
    /// The highest status asserted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<PaymentStatus>,
    /// The amount asked for.
    #[serde(skip_serializing_if = "Register::is_empty")]
    pub asked: Register<Money>,
    /// What was captured, by class of object and currency.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub captured: BTreeMap<ObjectClass, BTreeMap<Currency, Captured>>,
    /// The earliest time at which success was asserted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paid_at: Option<Timestamp>,
    /// What objects fetched later say of that time: it was then or later. The highest counts, and only while
    /// no event has said when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paid_not_before: Option<Timestamp>,
    /// By refund id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub refunds: BTreeMap<String, Register<Refund>>,
    /// How far a refund got, by its id, where that was said without its amount.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub refund_statuses: BTreeMap<String, Register<RefundStatus>>,
    /// Refunds without an id, by `amount currency`: each counts until one with an id and that amount arrives.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unnamed_refunds: BTreeMap<String, Register<Refund>>,
    /// The provider's own sum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cumulative: Option<Cumulative>,
    /// By dispute id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub disputes: BTreeMap<String, Register<Dispute>>,
    /// Where it hangs.
    pub references: Namings,
    /// The provider's subscription id that it pays for.
    #[serde(skip_serializing_if = "Register::is_empty")]
    pub subscription: Register<Option<String>>,
    /// How it was paid: card, bank_transfer, …
    #[serde(skip_serializing_if = "Register::is_empty")]
    pub method: Register<Option<String>>,
    /// What it was for. Personal.
    #[serde(skip_serializing_if = "Register::is_empty")]
    pub description: Register<Option<String>>,
    /// Why it failed, in the provider's word.
    #[serde(skip_serializing_if = "Register::is_empty")]
    pub failure_code: Register<Option<String>>,
    /// The payment's own metadata, a register a key. Personal.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Register<Option<Scalar>>>,
    /// The payer's address, where the source sets `match_email`.
    #[serde(skip_serializing_if = "Register::is_empty")]
    pub payer: Register<AddressId>,
    /// Whether a deletion took what it said of a person: whatever more is said is dropped, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub impersonal: bool,
    /// The earliest time of any fact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_at: Option<Timestamp>,
    /// The provider's ids for it, each with its furthest place among the names that one event gave.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<Arc<str>, u8>,
}

impl PaymentFacts {
    /// Takes in what another set of facts holds.
    pub fn join(&mut self, other: &Self) {
        let Self {
            status,
            asked,
            captured,
            paid_at,
            paid_not_before,
            refunds,
            refund_statuses,
            unnamed_refunds,
            cumulative,
            disputes,
            references,
            subscription,
            method,
            description,
            failure_code,
            metadata,
            payer,
            impersonal,
            first_at,
            names,
        } = other;
        self.status = self.status.max(*status);
        self.asked.join(asked);
        for (class, currencies) in captured {
            for (currency, figure) in currencies {
                self.capture(*class, *currency, figure);
            }
        }
        self.paid_at = earliest(self.paid_at, *paid_at);
        self.paid_not_before = self.paid_not_before.max(*paid_not_before);
        join_each(&mut self.refunds, refunds);
        join_each(&mut self.refund_statuses, refund_statuses);
        join_each(&mut self.unnamed_refunds, unnamed_refunds);
        self.cumulative = self.cumulative.max(*cumulative);
        join_each(&mut self.disputes, disputes);
        self.references.join(references);
        self.subscription.join(subscription);
        self.method.join(method);
        self.description.join(description);
        self.failure_code.join(failure_code);
        join_each(&mut self.metadata, metadata);
        self.payer.join(payer);
        self.impersonal |= *impersonal;
        self.first_at = earliest(self.first_at, *first_at);
        for (name, place) in names {
            self.name(name, *place);
        }
    }

    /// Notes one of the provider's ids for it.
    pub fn name(&mut self, id: &Arc<str>, place: u8) {
        let known = self.names.entry(id.clone()).or_default();
        *known = place.max(*known);
    }

    /// The provider's id that it is shown under: the one that no event put behind another, whatever came first.
    pub fn shown_name(&self) -> Option<&Arc<str>> {
        self.names.iter().min_by_key(|(name, place)| (**place, *name)).map(|(name, _)| name)
    }

    /// Notes that a class of object said how much was captured.
    pub fn capture(&mut self, class: ObjectClass, currency: Currency, figure: &Captured) {
        let known =
            self.captured.entry(class).or_default().entry(currency).or_insert(figure.clone());
        known.join(figure);
    }

    /// The refunds that have an id and an amount, each as all that was said of it comes to, with the word that
    /// counts for how far it got.
    pub fn named_refunds(&self) -> impl Iterator<Item = (&String, Assertion<Refund>)> {
        self.refunds.iter().filter_map(|(id, said)| {
            let mut said = said.winner()?.clone();
            if let Some(alone) = self.refund_statuses.get(id).and_then(Register::winner)
                && (alone.authority, &alone.stamp) > (said.authority, &said.stamp)
            {
                said.authority = alone.authority;
                said.stamp = alone.stamp.clone();
                said.value.status = alone.value;
            }
            Some((id, said))
        })
    }

    /// The payment's own metadata as it is shown.
    pub fn shown_metadata(&self) -> BTreeMap<String, Scalar> {
        let live = |(key, register): (&String, &Register<Option<Scalar>>)| {
            Some((key.clone(), register.value()?.clone()?))
        };
        self.metadata.iter().filter_map(live).take(KEYS_SHOWN).collect()
    }

    /// Forgets what may say something about a person.
    pub fn scrub(&mut self) {
        self.description = Register::default();
        self.metadata = BTreeMap::new();
        self.impersonal = true;
    }

    /// The address by which it is shown at a customer: none where it names one itself.
    pub fn matched_by(&self) -> Option<AddressId> {
        self.payer.value().copied().filter(|_| self.references.all().next().is_none())
    }
}

/// The earlier of two times, either of which may be unknown.
pub(crate) fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    [a, b].into_iter().flatten().min()
}

fn join_each<T: Clone + PartialEq>(
    into: &mut BTreeMap<String, Register<T>>,
    from: &BTreeMap<String, Register<T>>,
) {
    for (key, register) in from {
        into.entry(key.clone()).or_default().join(register);
    }
}

/// A payment as the API and webhooks show it (contract 4).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Payment {
    /// Always `payment`.
    #[serde(skip_deserializing, default = "payment")]
    pub object: &'static str,
    /// Our id of it.
    pub id: PaymentId,
    /// The environment that it belongs to.
    pub environment: Arc<str>,
    /// Whether that is `live`: real money.
    pub live: bool,
    /// Whose it is; null while nobody's.
    pub customer_id: Option<CustomerId>,
    /// The namespace of its source.
    pub provider: Arc<str>,
    /// The provider's id.
    pub payment_id: Arc<str>,
    /// Captured, else asked; minor units.
    pub amount: Option<i64>,
    /// Of both amounts.
    pub currency: Option<Currency>,
    /// Minor units.
    pub amount_refunded: i64,
    /// Minor units.
    pub disputed_lost: i64,
    /// After refunds and disputes.
    pub status: ShownStatus,
    /// How it was paid.
    pub method: Option<String>,
    /// What it was for.
    pub description: Option<String>,
    /// Why it failed.
    pub failure_code: Option<String>,
    /// The provider's subscription id.
    pub subscription_id: Option<String>,
    /// The payment's own metadata.
    pub metadata: BTreeMap<String, Scalar>,
    /// When success was first asserted.
    #[serde(serialize_with = "millis_or_null")]
    pub paid_at: Option<Timestamp>,
    /// When we first heard of it.
    #[serde(serialize_with = "millis")]
    pub created_at: Timestamp,
    /// When it last changed here.
    #[serde(serialize_with = "millis")]
    pub updated_at: Timestamp,
}

fn payment() -> &'static str {
    "payment"
}
