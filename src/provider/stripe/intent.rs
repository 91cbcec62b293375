//! Payment intents: the object that stands for a payment wherever there is one.

use super::{
    change::{Change, Contact},
    payment::reading,
};
use crate::{
    model::{
        event::Reading,
        money::Money,
        payment::{ObjectClass, PaymentStatus},
        register::Register,
    },
    provider::{
        Malformed,
        read::{Object, kept, short},
    },
};

/// docs.stripe.com/payments/paymentintents/lifecycle; `requires_source…` are the words before 2019-02-11.
fn status(intent: &Object<'_>, tried: bool) -> Result<PaymentStatus, Malformed> {
    let word = intent.need("status", intent.text("status")?)?;
    Ok(match word {
        "requires_payment_method" | "requires_source" if tried => PaymentStatus::Failed,
        "requires_payment_method" | "requires_source" | "requires_confirmation" | "processing" => {
            PaymentStatus::Pending
        }
        "requires_action" | "requires_source_action" => PaymentStatus::RequiresAction,
        "requires_capture" => PaymentStatus::Authorized,
        "canceled" => PaymentStatus::Canceled,
        "succeeded" => PaymentStatus::Succeeded,
        "failed" => PaymentStatus::Failed,
        other => {
            let what = format!("`{}` is no status of a payment intent", short(other));
            return Err(intent.wrong("status", what));
        }
    })
}

pub(super) fn read(event: &mut Change<'_>) -> Result<Reading, Malformed> {
    let intent = event.object.clone();
    let id = intent.need("id", intent.id("id")?)?;
    let asked = intent.money("amount")?;
    let error = kept(intent.object("last_payment_error"), &mut event.notes);
    let status = status(&intent, error.is_some())?;
    let received = intent.amount("amount_received")?.unwrap_or(asked.minor);
    let customer = event.customer()?;

    let first_charge = first_charge(&intent);
    let listed = first_charge.as_ref().map(|charge| charge.id("id")).transpose()?.flatten();
    let charge = intent.id("latest_charge")?.or(listed);
    let contacts: Vec<_> = [intent.expanded("customer"), billing(first_charge.as_ref())]
        .into_iter()
        .flatten()
        .map(Contact::of)
        .collect();
    let about = event.about(customer.as_ref(), &contacts);
    if asked.minor == 0 || (status == PaymentStatus::Succeeded && received == 0) {
        return Ok(reading(about, None, "no money moved"));
    }

    let references = event.hangs_on(customer.as_ref(), &[]);
    let nobody = references.is_empty();
    let mut payment = event.payment([Some(id), charge], references);
    let facts = &mut payment.facts;
    facts.asked = event.asked(asked, "amount", true);
    facts.status = Some(status);
    if status == PaymentStatus::Succeeded {
        let captured = Money { minor: received, ..asked };
        event.succeeded(facts, ObjectClass::Intent, captured);
    }
    facts.description = event.description();
    facts.metadata = event.metadata(event.own());
    facts.method = method(event, &intent, first_charge.as_ref());
    let code = error.as_ref().and_then(|error| {
        ["code", "decline_code"].into_iter().find_map(|key| error.text(key).ok().flatten())
    });
    facts.failure_code = event.failure(status, code.map(|code| ("last_payment_error", code)));
    let receipt = Contact { object: intent, keys: ["", "receipt_email", ""] };
    let contacts: Vec<_> = contacts.into_iter().chain([receipt]).collect();
    payment.match_email = event.match_email(nobody, &contacts);
    Ok(reading(about, Some(payment), ""))
}

/// Before 2022-11-15 an intent lists its charges, the latest first.
fn first_charge<'a>(intent: &Object<'a>) -> Option<Object<'a>> {
    let listed = intent.expanded("charges").and_then(|list| list.objects("data").ok());
    listed
        .and_then(|charges| charges.into_iter().next())
        .or_else(|| intent.expanded("latest_charge"))
}

fn billing<'a>(charge: Option<&Object<'a>>) -> Option<Object<'a>> {
    charge.and_then(|charge| charge.expanded("billing_details"))
}

/// How it is to be paid, where only one way is open; the charge's word counts more.
fn method(
    event: &mut Change<'_>,
    intent: &Object<'_>,
    charge: Option<&Object<'_>>,
) -> Register<Option<String>> {
    let used = charge
        .and_then(|charge| charge.path("payment_method_details.type"))
        .and_then(|word| word.as_str());
    let only = match intent.get("payment_method_types").and_then(|types| types.as_array()) {
        Some(types) if types.len() == 1 => types.first().and_then(|word| word.as_str()),
        _ => None,
    };
    let Some(word) = used.or(only) else { return Register::default() };
    let word = event.provider_word("payment_method_types", word);
    word.map(|word| Register::of(event.own().weak(), event.stamp(), Some(word))).unwrap_or_default()
}
