//! Checkout sessions: they know best who is paying (`client_reference_id`); the money is the intent's.

use super::{
    change::{Change, Contact},
    payment::reading,
    subscription,
};
use crate::{
    model::{
        event::{Assertions, Reading},
        money::Money,
        payment::{ObjectClass, PaymentStatus},
    },
    provider::{Malformed, read::Object},
};

pub(super) fn read(event: &mut Change<'_>) -> Result<Reading, Malformed> {
    let session = event.object.clone();
    session.need("id", session.id("id")?)?;
    let customer = event.customer()?;
    let mut contacts: Vec<_> = [session.expanded("customer"), session.expanded("customer_details")]
        .into_iter()
        .flatten()
        .map(Contact::of)
        .collect();
    contacts.push(Contact { object: session.clone(), keys: ["", "customer_email", ""] });
    let about = event.about(customer.as_ref(), &contacts);
    let references = event.hangs_on(customer.as_ref(), &[]);
    let nobody = references.is_empty();

    // The payments of a subscription come with its invoices.
    if let Some(id) = session.id("subscription")? {
        let subscriptions = vec![subscription::named(event, id, references)];
        let references = about.into_iter().collect();
        let assertions = Assertions { references, subscriptions, ..Assertions::default() };
        return Ok(Reading::Asserts(Box::new(assertions)));
    }
    let Some(intent) = session.id("payment_intent")? else {
        return Ok(reading(about, None, "a session without payment or subscription"));
    };
    let total = total(&session)?;
    if total.is_some_and(|total| total.minor == 0) {
        return Ok(reading(about, None, "no money moved"));
    }
    let mut payment = event.payment([Some(intent)], references);
    payment.match_email = event.match_email(nobody, &contacts);
    let facts = &mut payment.facts;
    // An expired session may leave an intent without amount.
    let Some(total) = total else { return Ok(reading(about, Some(payment), "")) };
    facts.asked = event.asked(total, "amount_total", false);
    facts.status = Some(PaymentStatus::Pending);
    if session.text("payment_status")? == Some("paid") {
        event.succeeded(facts, ObjectClass::Session, total);
    }
    Ok(reading(about, Some(payment), ""))
}

fn total(session: &Object<'_>) -> Result<Option<Money>, Malformed> {
    match session.amount("amount_total")? {
        Some(_) => session.money("amount_total").map(Some),
        None => Ok(None),
    }
}
