//! What the parts of a mapping found, told to the builders that all providers share.

use super::{Event, Sometimes, holds, section::Section, written::Unit};
use crate::{
    model::{
        money::{Currency, Money},
        payment::{ObjectClass, PaymentStatus, RefundKind},
        time::Timestamp,
    },
    provider::{
        Body, Item, Malformed,
        canonical::money::{
            DISPUTE_STATUSES, PAYMENT_STATUSES, REFUND_STATUSES, SUBSCRIPTION_STATUSES, status,
        },
        payment::{self, Back, Contact, Dispute, Head, Payment, Subscription, Told, Whose},
        read::{Object, Said, kept},
        user::{Change, Envelope, Profile, Words},
    },
};
use serde_json::Value;
use std::borrow::Cow;

/// What a part found, opened.
#[derive(Clone)]
pub(super) struct Part<'a> {
    section: &'a Section,
    object: Object<'a>,
}

impl<'a> Part<'a> {
    pub(super) fn of(section: &'a Section, found: &'a Value) -> Result<Self, Malformed> {
        Ok(Self { section, object: Object::root(found)?.named(section.name) })
    }

    /// An id: a text or a whole number; an empty one is none.
    pub(super) fn text(&self, field: &str) -> Result<Option<Cow<'a, str>>, Malformed> {
        self.object.id_text(field)
    }

    pub(super) fn need(&self, field: &str) -> Result<Cow<'a, str>, Malformed> {
        self.object.need(field, self.text(field)?)
    }

    pub(super) fn flag(&self, field: &str) -> Result<Option<bool>, Malformed> {
        self.object.flag(field)
    }

    pub(super) fn time(&self, field: &str) -> Result<Option<Timestamp>, Malformed> {
        match self.section.unit(field) {
            Some(Unit::S) => self.object.seconds(field),
            Some(Unit::Ms) => self.object.millis(field),
            Some(Unit::Major | Unit::Minor) | None => self.object.time(field),
        }
    }

    fn currency(&self) -> Result<Option<Currency>, Malformed> {
        self.object.currency("currency")
    }

    /// An amount of the currency that stands beside it.
    fn money(&self, field: &str) -> Result<Option<Money>, Malformed> {
        if !self.object.has(field) {
            return Ok(None);
        }
        let currency = self.object.need("currency", self.currency()?)?;
        let minor = match self.section.unit(field) {
            Some(Unit::Major) => self.object.major(field, currency.exponent())?,
            _ => self.object.amount_text(field)?,
        };
        Ok(minor.map(|minor| Money { minor, currency }))
    }

    fn need_money(&self) -> Result<Money, Malformed> {
        self.object.need("amount", self.money("amount")?)
    }
}

/// What an event of an auth provider tells.
pub(super) fn of_user(
    body: &Body<'_>,
    event: &Event,
    head: Head<'_>,
    root: &Value,
    names: &[Cow<'_, Value>],
) -> Item {
    let (Some(user), Some(change)) = (&event.user, event.change) else {
        return payment::item(body, head, |told| {
            told.ignore(event.ignore.clone().unwrap_or_default());
            Ok(())
        });
    };
    let Head { id, kind, at, live, .. } = head;
    let envelope = Envelope { body, id: id.as_deref(), kind, at, live };
    let found = match user.find(root) {
        Ok(found) => found,
        Err(why) => return envelope.told(change, Err(why), |_| Ok(nothing())),
    };
    let part = match Part::of(user, &found) {
        Ok(part) => part,
        Err(why) => return envelope.told(change, Err(why), |_| Ok(nothing())),
    };
    let uid = part.need("id");
    let uid = uid.as_ref().map(|uid| &**uid).map_err(Clone::clone);
    envelope.told(change, uid, |words| profile(&part, words, names))
}

fn nothing() -> Profile {
    Profile {
        name: Said::Nothing,
        email: Said::Nothing,
        phone: Said::Nothing,
        anonymous: Said::Nothing,
        external_id: Said::Nothing,
    }
}

fn profile(
    part: &Part<'_>,
    words: &mut Words<'_>,
    names: &[Cow<'_, Value>],
) -> Result<Profile, Malformed> {
    let object = &part.object;
    let verified = words.says_yes(object, "email_verified");
    let mut external_id = Said::Nothing;
    for named in names {
        let named = Object::root(named)?;
        external_id = external_id.or(|| words.external_id(&named));
    }
    Ok(Profile {
        name: words.name(object, &["name"]),
        email: words.email(object, "email", verified),
        phone: words.phone(object, "phone"),
        anonymous: words.flag(object, "anonymous"),
        external_id,
    })
}

/// What the parts of an event found, before they are opened.
struct FoundParts {
    customer: Option<Value>,
    payment: Option<Value>,
    refund: Option<Value>,
    dispute: Option<Value>,
    subscription: Option<Value>,
}

impl FoundParts {
    fn of(event: &Event, root: &Value) -> Result<Self, Malformed> {
        let find =
            |section: Option<&Section>| section.map(|section| section.find(root)).transpose();
        let sometimes = |part: Option<&Sometimes>| {
            let told = part.filter(|(when, _)| holds(when.as_ref(), root));
            told.map(|(_, section)| section.find(root)).transpose()
        };
        Ok(Self {
            customer: find(event.customer.as_ref())?,
            payment: find(event.payment.as_ref())?,
            refund: sometimes(event.refund.as_ref())?,
            dispute: sometimes(event.dispute.as_ref())?,
            subscription: find(event.subscription.as_ref())?,
        })
    }
}

/// What an event of a payment provider tells.
pub(super) fn of_payer<'a>(
    body: &'a Body<'a>,
    event: &'a Event,
    head: Head<'a>,
    root: &'a Value,
    names: &'a [Cow<'a, Value>],
) -> Item {
    let found = match FoundParts::of(event, root) {
        Ok(found) => found,
        Err(why) => return payment::item(body, head, |_| Err(why)),
    };
    let own = match own_object(event, &found, names) {
        Ok(own) => own,
        Err(why) => return payment::item(body, head, |_| Err(why)),
    };
    payment::item(body, head, |told| tell(told, event, &found, &own, names))
}

/// The provider's own object of its customer, with the metadata that the mapping found in the place of its own.
fn own_object(
    event: &Event,
    found: &FoundParts,
    names: &[Cow<'_, Value>],
) -> Result<Value, Malformed> {
    let Some(customer) = found.customer.as_ref().filter(|_| event.change.is_some()) else {
        return Ok(Value::Null);
    };
    let mut own = match names.first() {
        Some(named) => named.as_object().cloned().unwrap_or_default(),
        None => serde_json::Map::new(),
    };
    if let Some(metadata) = Object::root(customer)?.get("metadata") {
        own.insert(METADATA.to_owned(), metadata.clone());
    }
    Ok(Value::Object(own))
}

/// A key that no provider has: what a mapping finds never hides what stands at a place.
const METADATA: &str = "customer.metadata";

fn tell<'a>(
    told: &mut Told<'a>,
    event: &'a Event,
    found: &'a FoundParts,
    own: &'a Value,
    names: &'a [Cow<'a, Value>],
) -> Result<(), Malformed> {
    if let Some(why) = &event.ignore {
        told.ignore(why.clone());
    }
    let mut whose = Whose::default();
    for named in names {
        whose.named_in.push(Object::root(named)?);
    }
    if let Some(part) = opened(event.customer.as_ref(), found.customer.as_ref())? {
        whose.customer = part.text("id")?;
        whose.contact = contact(told, &part.object);
        if let Some(change) = event.change {
            let id = part.need("id")?;
            return match change {
                Change::Deleted => told.deleted(&id),
                Change::Created | Change::Updated => {
                    told.person(&id, &Object::root(own)?, &whose.contact, Some(METADATA))
                }
            };
        }
    }
    let payments = payments(told, event, found)?;
    let mut spoke = !payments.is_empty();
    for payment in payments {
        told.payment(payment, &whose)?;
    }
    if let Some(part) = opened(event.subscription.as_ref(), found.subscription.as_ref())? {
        spoke = true;
        let subscription = subscription(told, &part)?;
        told.subscription(subscription, &whose)?;
    }
    if spoke { Ok(()) } else { told.customer(&whose) }
}

fn opened<'a>(
    section: Option<&'a Section>,
    found: Option<&'a Value>,
) -> Result<Option<Part<'a>>, Malformed> {
    section.zip(found).map(|(section, found)| Part::of(section, found)).transpose()
}

fn contact<'a>(told: &mut Told<'a>, object: &Object<'a>) -> Contact<'a> {
    told.contact(object, ["name", "email", "phone"])
}

/// The payment of an event, with what it says of its refund and dispute, and those that these name instead.
fn payments<'a>(
    told: &mut Told<'a>,
    event: &'a Event,
    found: &'a FoundParts,
) -> Result<Vec<Payment<'a>>, Malformed> {
    let part = opened(event.payment.as_ref(), found.payment.as_ref())?;
    let refund = opened(event.refund.as_ref().map(|(_, part)| part), found.refund.as_ref())?;
    let dispute = opened(event.dispute.as_ref().map(|(_, part)| part), found.dispute.as_ref())?;
    let mut payments = Vec::new();
    if let Some(part) = &part {
        payments.push(described(told, part)?);
    }
    let has_own = !payments.is_empty();
    if let Some(part) = refund {
        let kind = part.object.text("kind")?;
        let back = Back {
            id: part.text("id")?,
            money: Some(part.need_money()?),
            status: status(&part.object, "status", REFUND_STATUSES)?,
            kind: if kind == Some("reversal") { RefundKind::Reversal } else { RefundKind::Refund },
            created_at: kept(part.time("created_at"), &mut told.notes),
        };
        of_payment(&part, has_own, &mut payments)?.refunds.push(back);
    }
    if let Some(part) = dispute {
        let dispute = Dispute {
            id: part.need("id")?,
            money: part.need_money()?,
            status: status(&part.object, "status", DISPUTE_STATUSES)?,
        };
        of_payment(&part, has_own, &mut payments)?.disputes.push(dispute);
    }
    Ok(payments)
}

/// The payment that a refund or dispute names; that of its event where it names none.
fn of_payment<'a, 'p>(
    part: &Part<'a>,
    has_own: bool,
    payments: &'p mut Vec<Payment<'a>>,
) -> Result<&'p mut Payment<'a>, Malformed> {
    let named = part.text("payment")?;
    let place = match &named {
        Some(named) => payments.iter().position(|known| known.names.contains(named)),
        None => has_own.then_some(0),
    };
    let place = if let Some(place) = place {
        place
    } else {
        payments.push(Payment::new(part.object.need("payment", named)?));
        payments.len().saturating_sub(1)
    };
    payments.get_mut(place).ok_or_else(|| part.object.wrong("payment", "is missing"))
}

fn described<'a>(told: &mut Told<'a>, part: &Part<'a>) -> Result<Payment<'a>, Malformed> {
    let object = &part.object;
    let mut payment = Payment::new(part.need("id")?);
    payment.names.extend(part.text("other_id")?);
    // Where the mapping says what was asked for, it is never left to guess.
    if part.section.has("amount") {
        payment.money = Some(part.need_money()?);
    }
    payment.captured = part.money("captured")?;
    payment.refunded = part.money("refunded")?;
    if object.get("status").is_some_and(|status| !status.is_null()) {
        payment.status = Some(status(object, "status", PAYMENT_STATUSES)?);
    }
    payment.class = match object.text("object")? {
        Some("charge") => ObjectClass::Charge,
        Some("invoice") => ObjectClass::Invoice,
        Some("session") => ObjectClass::Session,
        _ => ObjectClass::Intent,
    };
    payment.paid_at = kept(part.time("paid_at"), &mut told.notes);
    payment.method = told.word(object, "method");
    payment.description = told.word(object, "description");
    // What a provider says of every try is a reason only where it failed.
    if payment.status == Some(PaymentStatus::Failed) {
        payment.failure = told.word(object, "failure");
    }
    payment.subscription = part.text("subscription")?;
    payment.metadata = Some((object.clone(), "metadata"));
    Ok(payment)
}

fn subscription<'a>(told: &mut Told<'a>, part: &Part<'a>) -> Result<Subscription<'a>, Malformed> {
    let object = &part.object;
    let mut subscription = Subscription::new(part.need("id")?);
    if object.get("status").is_some_and(|status| !status.is_null()) {
        subscription.status = Some(status(object, "status", SUBSCRIPTION_STATUSES)?);
    }
    subscription.plan = told.word(object, "plan");
    subscription.current_period_end = kept(part.time("current_period_end"), &mut told.notes);
    subscription.cancel_at_period_end = kept(part.flag("cancel_at_period_end"), &mut told.notes);
    subscription.ends_at = match (object.get("ends_at"), part.time("ends_at")) {
        (Some(Value::Null), _) => Said::Null,
        (_, ends_at) => kept(ends_at, &mut told.notes).map_or(Said::Nothing, Said::Value),
    };
    Ok(subscription)
}
