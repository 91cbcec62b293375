//! Refunds, alone or in a charge's list.

use super::{
    change::{Change, word},
    payment::reading,
};
use crate::{
    model::{
        event::Reading,
        money::Money,
        payment::{PaymentFacts, Refund, RefundKind, RefundStatus},
        register::Register,
    },
    provider::{
        Malformed,
        read::{Object, kept, short},
    },
};

/// Orders the states of one second: pending < succeeded < failed (semantics 5).
pub(super) fn rank(status: RefundStatus) -> u8 {
    10 + status as u8
}

/// docs.stripe.com/refunds; the oldest generation has no status, since a refund succeeded at once.
fn status(refund: &Object<'_>) -> Result<RefundStatus, Malformed> {
    Ok(match refund.text("status")? {
        Some("pending" | "requires_action") => RefundStatus::Pending,
        Some("succeeded") | None => RefundStatus::Succeeded,
        Some("failed" | "canceled") => RefundStatus::Failed,
        Some(other) => {
            let what = format!("`{}` is no status of a refund", short(other));
            return Err(refund.wrong("status", what));
        }
    })
}

/// A refund as it stands in a body.
pub(super) struct Entry<'a> {
    id: Option<&'a str>,
    pub(super) value: Refund,
}

impl<'a> Entry<'a> {
    pub(super) fn read(refund: &Object<'a>, notes: &mut Vec<String>) -> Result<Self, Malformed> {
        let value = Refund {
            money: refund.money("amount")?,
            status: status(refund)?,
            kind: RefundKind::Refund,
            created_at: kept(refund.seconds("created"), notes),
        };
        Ok(Self { id: refund.id("id")?, value })
    }

    /// Puts it among a payment's facts: under its id, else under its amount.
    pub(super) fn assert(
        self,
        event: &Change<'_>,
        facts: &mut PaymentFacts,
        changed: Option<bool>,
        old: Option<Refund>,
    ) {
        let Self { id, value } = self;
        if value.money.minor == 0 {
            return;
        }
        let money = value.money;
        let stamp = event.state_stamp(rank(value.status));
        let register: Register<_> = word((event.own(), stamp), value, changed, old);
        match id {
            Some(id) => facts.refunds.insert(id.to_owned(), register),
            None => facts
                .unnamed_refunds
                .insert(format!("{} {}", money.minor, money.currency), register),
        };
    }
}

pub(super) fn read(event: &mut Change<'_>) -> Result<Reading, Malformed> {
    let refund = event.object.clone();
    refund.need("id", refund.id("id")?)?;
    let names = [refund.id("payment_intent")?, refund.id("charge")?];
    let entry = Entry::read(&refund, &mut event.notes)?;
    if names.iter().all(Option::is_none) {
        return Ok(reading(None, None, "a refund of no payment"));
    }
    if entry.value.money.minor == 0 {
        return Ok(reading(None, None, "no money moved"));
    }
    // docs.stripe.com/api/refunds/object: an authorisation ran out, of which nothing was taken.
    if refund.text("reason")? == Some("expired_uncaptured_charge") {
        return Ok(reading(None, None, "the release of an authorisation moves no money"));
    }
    let mut payment = event.payment(names, Vec::new());
    let changed = event.changed(&["status", "amount", "currency"]);
    let old = before(event, &entry.value);
    entry.assert(event, &mut payment.facts, changed, old);
    Ok(reading(None, Some(payment), ""))
}

/// The refund as it was before the change, where the body says so.
fn before(event: &Change<'_>, now: &Refund) -> Option<Refund> {
    let previous = event.previous.as_ref()?;
    let minor = previous.amount("amount").ok()?.unwrap_or(now.money.minor);
    let currency = previous.currency("currency").ok()?.unwrap_or(now.money.currency);
    let status = if previous.has("status") { status(previous).ok()? } else { now.status };
    Some(Refund { money: Money { minor, currency }, status, ..now.clone() })
}
