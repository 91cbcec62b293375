//! Charges: one try to move the money. Under an intent they are names of its payment; without one
//! (the Charges API) the payment itself.

use super::{
    change::{Change, Contact, word},
    payment::reading,
    refund,
};
use crate::{
    model::{
        event::Reading,
        money::Money,
        payment::{
            Cumulative, ObjectClass, PaymentFacts, PaymentStatus, Refund, RefundKind, RefundStatus,
        },
        register::Register,
        stamp::rank,
        time::Timestamp,
    },
    provider::{
        Malformed,
        read::{Object, kept, short},
    },
};
use serde_json::Value;

/// A charge's own figures.
struct Figures {
    amount: Money,
    /// What was taken of it: 0 while it is only held.
    captured: i64,
    status: PaymentStatus,
}

impl Figures {
    fn read(charge: &Object<'_>) -> Result<Self, Malformed> {
        let amount = charge.money("amount")?;
        let flag = charge.flag("captured")?;
        // Before 2020-08-27 a charge does not say how much was captured.
        let captured = match (charge.amount("amount_captured")?, flag) {
            (_, Some(false)) => 0,
            (Some(captured), _) => captured,
            (None, _) => amount.minor,
        };
        let status = Self::status(charge, captured)?;
        Ok(Self { amount, captured, status })
    }

    fn status(charge: &Object<'_>, captured: i64) -> Result<PaymentStatus, Malformed> {
        let word = match (charge.text("status")?, charge.flag("paid")?) {
            (Some(word), _) => word,
            // The oldest generation has no status.
            (None, Some(true)) => "succeeded",
            (None, Some(false)) => "failed",
            (None, None) => return Err(charge.wrong("status", "is missing")),
        };
        Ok(match word {
            "succeeded" | "paid" if captured > 0 => PaymentStatus::Succeeded,
            // Held, and given back without having been taken: a void or an expiry.
            "succeeded" | "paid" if charge.flag("refunded")? == Some(true) => {
                PaymentStatus::Canceled
            }
            "succeeded" | "paid" => PaymentStatus::Authorized,
            "pending" => PaymentStatus::Pending,
            "failed" => PaymentStatus::Failed,
            other => {
                let what = format!("`{}` is no status of a charge", short(other));
                return Err(charge.wrong("status", what));
            }
        })
    }

    /// What was held and not taken. Stripe gives it back as a refund of its own.
    fn released(&self) -> i64 {
        self.amount.minor.saturating_sub(self.captured)
    }
}

pub(super) fn read(event: &mut Change<'_>) -> Result<Reading, Malformed> {
    let charge = event.object.clone();
    let id = charge.need("id", charge.id("id")?)?;
    let intent = charge.id("payment_intent")?;
    let figures = Figures::read(&charge)?;
    let customer = event.customer()?;
    let contacts: Vec<_> = [charge.expanded("customer"), charge.expanded("billing_details")]
        .into_iter()
        .flatten()
        .map(Contact::of)
        .collect();
    let about = event.about(customer.as_ref(), &contacts);
    if figures.amount.minor == 0 {
        return Ok(reading(about, None, "no money moved"));
    }

    let references = event.hangs_on(customer.as_ref(), &[]);
    let nobody = references.is_empty();
    let mut payment = event.payment([intent, Some(id)], references);
    let facts = &mut payment.facts;
    facts.asked = event.asked(figures.amount, "amount", intent.is_none());
    facts.status = Some(figures.status);
    if figures.status == PaymentStatus::Succeeded {
        let captured = Money { minor: figures.captured, ..figures.amount };
        event.succeeded(facts, ObjectClass::Charge, captured);
        money_back(event, facts, &charge, &figures)?;
    }
    if taken_back(event, &charge, &figures, intent.is_none())? {
        reverse(event, facts, id, &figures);
    }
    describe(event, facts, &charge, figures.status);
    let receipt = Contact { object: charge, keys: ["", "receipt_email", ""] };
    let contacts: Vec<_> = contacts.into_iter().chain([receipt]).collect();
    payment.match_email = event.match_email(nobody, &contacts);
    Ok(reading(about, Some(payment), ""))
}

/// Method, description, failure and metadata.
fn describe(
    event: &mut Change<'_>,
    facts: &mut PaymentFacts,
    charge: &Object<'_>,
    status: PaymentStatus,
) {
    facts.description = event.description();
    facts.metadata = event.metadata(event.own());
    let method = ["payment_method_details.type", "source.object"]
        .into_iter()
        .find_map(|place| Some((place, charge.path(place).and_then(Value::as_str)?)));
    if let Some((place, used)) = method {
        let changed = event.changed(&["payment_method_details", "source"]);
        let named = event.provider_word(place, used);
        facts.method = named
            .map(|named| word((event.own(), event.stamp()), Some(named), changed, None))
            .unwrap_or_default();
    }
    let code = kept(charge.text("failure_code"), &mut event.notes);
    facts.failure_code = event.failure(status, code.map(|code| ("failure_code", code)));
}

/// The refunds of a captured charge: its own sum of them, and the list that it carried before 2022-11-15.
fn money_back(
    event: &mut Change<'_>,
    facts: &mut PaymentFacts,
    charge: &Object<'_>,
    figures: &Figures,
) -> Result<(), Malformed> {
    let released = figures.released();
    if let Some(refunded) = charge.amount("amount_refunded")? {
        // What was released at the capture is in the sum, and was never taken.
        let minor = if refunded >= released { refunded - released } else { refunded };
        // Repeated without having changed, the sum says nothing new of this time: a refund that failed
        // meanwhile must still be seen to come after it.
        let at = match event.changed(&["amount_refunded"]) {
            Some(false) => Timestamp::UNKNOWN,
            // Refunds that had failed by the time of the fetch, and are stamped with it, are not in it.
            _ if !event.is_event() => event.state_at.plus(chrono::TimeDelta::microseconds(1)),
            _ => event.state_at,
        };
        let money = Money { minor, ..figures.amount };
        facts.cumulative = Some(Cumulative { at, rank: rank::UPDATED, money });
    }
    let Some(list) = charge.object("refunds")? else { return Ok(()) };
    let changed = event.changed(&["refunds", "amount_refunded"]);
    let mut release = (released > 0).then_some(released);
    // The newest stands first, and the release is the oldest.
    for entry in list.objects("data")?.iter().rev() {
        let mut refund = refund::Entry::read(entry, &mut event.notes)?;
        if release == Some(refund.value.money.minor) {
            refund.value.status = RefundStatus::Failed;
            release = None;
        }
        refund.assert(event, facts, changed, None);
    }
    Ok(())
}

/// Whether a charge that had succeeded failed after all.
///
/// Stripe reports returned debits as disputes; what is left is a charge that goes from `succeeded` to
/// `failed`. A failed charge may never have succeeded (a debit that was pending, with all of it in
/// `amount_captured`), and its intent may be paid by a later one; so it counts only where the body shows
/// that the money had been on the balance and was taken off it. A charge without an intent is a payment
/// of its own, where taking back what never came changes nothing: there, having been on the balance is enough.
fn taken_back(
    event: &Change<'_>,
    charge: &Object<'_>,
    figures: &Figures,
    alone: bool,
) -> Result<bool, Malformed> {
    if figures.status != PaymentStatus::Failed {
        return Ok(false);
    }
    let was = event.previous.as_ref().and_then(|previous| previous.get("status"));
    let was_paid = was.and_then(Value::as_str) == Some("succeeded");
    let on_the_balance = charge.id("balance_transaction")?.is_some();
    let off_the_balance = charge.id("failure_balance_transaction")?.is_some();
    Ok(was_paid || off_the_balance || (alone && on_the_balance))
}

fn reverse(event: &Change<'_>, facts: &mut PaymentFacts, id: &str, figures: &Figures) {
    let minor = if figures.captured > 0 { figures.captured } else { figures.amount.minor };
    let reversal = Refund {
        money: Money { minor, ..figures.amount },
        status: RefundStatus::Succeeded,
        kind: RefundKind::Reversal,
        created_at: Some(event.at),
    };
    let stamp = event.state_stamp(refund::rank(reversal.status));
    let register = Register::of(event.level(event.own()), stamp, reversal);
    facts.refunds.insert(format!("reversal:{id}"), register);
}
