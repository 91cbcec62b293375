//! Disputes: what a bank takes back until it is decided. Also how Stripe reports a debit returned late.

use super::{
    change::{Change, word},
    payment::reading,
};
use crate::{
    model::{
        event::Reading,
        money::Money,
        payment::{Dispute, DisputeStatus},
    },
    provider::{
        Malformed,
        read::{Object, short},
    },
};

/// docs.stripe.com/api/disputes/object. An inquiry (`warning_…`) is open while it may become a dispute; closed,
/// refunded or prevented, the dispute itself takes no money.
fn status(dispute: &Object<'_>) -> Result<DisputeStatus, Malformed> {
    let word = dispute.need("status", dispute.text("status")?)?;
    Ok(match word {
        "warning_needs_response" | "warning_under_review" | "needs_response" | "under_review" => {
            DisputeStatus::Open
        }
        "won" | "warning_closed" | "charge_refunded" | "prevented" => DisputeStatus::Won,
        "lost" => DisputeStatus::Lost,
        other => {
            let what = format!("`{}` is no status of a dispute", short(other));
            return Err(dispute.wrong("status", what));
        }
    })
}

pub(super) fn read(event: &mut Change<'_>) -> Result<Reading, Malformed> {
    let dispute = event.object.clone();
    let id = dispute.need("id", dispute.id("id")?)?;
    let names = [dispute.id("payment_intent")?, dispute.id("charge")?];
    let value = Dispute { money: dispute.money("amount")?, status: status(&dispute)? };
    if names.iter().all(Option::is_none) {
        return Err(dispute.wrong("payment_intent", "is missing, and so is charge"));
    }
    if value.money.minor == 0 {
        return Ok(reading(None, None, "no money moved"));
    }
    let mut payment = event.payment(names, Vec::new());
    let changed = event.changed(&["status", "amount", "currency"]);
    let old = before(event, &value);
    let stamp = event.state_stamp(10 + value.status as u8);
    let register = word((event.own(), stamp), value, changed, old);
    payment.facts.disputes.insert(id.to_owned(), register);
    Ok(reading(None, Some(payment), ""))
}

/// The dispute as it was before the change, where the body says so.
fn before(event: &Change<'_>, now: &Dispute) -> Option<Dispute> {
    let previous = event.previous.as_ref()?;
    let minor = previous.amount("amount").ok()?.unwrap_or(now.money.minor);
    let currency = previous.currency("currency").ok()?.unwrap_or(now.money.currency);
    let status = if previous.has("status") { status(previous).ok()? } else { now.status };
    Some(Dispute { money: Money { minor, currency }, status })
}
