//! Invoices. The money is the intent's; an invoice tells what subscription it was for and who pays, and is a
//! payment of its own only where it was paid outside of Stripe.

use super::{
    change::{Change, Contact},
    payment::reading,
    subscription,
};
use crate::{
    model::{
        event::{Assertions, PaymentAssertion, Reading},
        money::Money,
        payment::{ObjectClass, PaymentStatus},
        reference::{Kind, Reference},
        register::Register,
        stamp::Stamp,
    },
    provider::{Malformed, read::Object},
};

pub(super) fn read(event: &mut Change<'_>) -> Result<Reading, Malformed> {
    let invoice = event.object.clone();
    invoice.need("id", invoice.id("id")?)?;
    let customer = event.customer()?;
    let own = Contact {
        object: invoice.clone(),
        keys: ["customer_name", "customer_email", "customer_phone"],
    };
    let contacts: Vec<_> =
        invoice.expanded("customer").map(Contact::of).into_iter().chain([own]).collect();
    let about = event.about(customer.as_ref(), &contacts);

    // Since 2025-03-31 what an invoice is for stands under `parent`.
    let parent =
        invoice.expanded("parent").and_then(|parent| parent.expanded("subscription_details"));
    let details: Vec<_> =
        [invoice.expanded("subscription_details"), parent.clone()].into_iter().flatten().collect();
    let subscription = match (invoice.id("subscription")?, &parent) {
        (Some(id), _) => Some(id),
        (None, Some(parent)) => parent.id("subscription")?,
        (None, None) => None,
    };
    let references = event.hangs_on(customer.as_ref(), &details);

    let mut payments = payments(event, &invoice, &references)?;
    let nobody = references.is_empty();
    for payment in &mut payments {
        if let Some(id) = subscription {
            payment.facts.subscription =
                Register::of(event.level(event.own()), event.stamp(), Some(id.to_owned()));
        }
        payment.match_email = event.match_email(nobody, &contacts);
    }
    let names_user = |(reference, _): &(Reference, Stamp)| reference.kind != Kind::Payment;
    let subscriptions = match subscription {
        // Of the customer, the subscription's own events tell.
        Some(id) if references.iter().any(names_user) => {
            vec![subscription::named(event, id, references)]
        }
        _ => Vec::new(),
    };
    let assertions = Assertions {
        references: about.into_iter().collect(),
        payments,
        subscriptions,
        ..Assertions::default()
    };
    if assertions.is_empty() {
        return Ok(Reading::Ignored("an invoice by which no money is known to have moved".into()));
    }
    Ok(Reading::Asserts(Box::new(assertions)))
}

/// What an invoice says of payments.
///
/// The old generation names its intent or charge; a paid one with neither, or one that says so, was paid out
/// of band. The new generation (2025-03-31) names none: its payments come by `invoice_payment.paid` and
/// by the intents themselves, and would count twice if the invoice were taken for one.
fn payments(
    event: &Change<'_>,
    invoice: &Object<'_>,
    references: &[(Reference, Stamp)],
) -> Result<Vec<PaymentAssertion>, Malformed> {
    if !invoice.has("payment_intent") && !invoice.has("charge") {
        return listed(event, invoice, references);
    }
    let names = [invoice.id("payment_intent")?, invoice.id("charge")?];
    let outside = invoice.flag("paid_out_of_band")? == Some(true);
    let paid = match (invoice.text("status")?, invoice.flag("paid")?) {
        (Some("paid"), _) | (None, Some(true)) => true,
        (Some("open"), _) => false,
        _ => return Ok(Vec::new()),
    };
    let figure = if paid { "amount_paid" } else { "amount_due" };
    let money = invoice.money(figure)?;
    let unnamed = names.iter().all(Option::is_none);
    if money.minor == 0 || (unnamed && !paid) {
        return Ok(Vec::new());
    }
    let references = references.to_vec();
    let mut payment = if outside || unnamed {
        event.payment([invoice.id("id")?], references)
    } else {
        event.payment(names, references)
    };
    if paid {
        event.succeeded(&mut payment.facts, ObjectClass::Invoice, money);
    } else {
        payment.facts.status = Some(PaymentStatus::Pending);
    }
    payment.facts.asked = event.asked(money, figure, outside || unnamed);
    Ok(vec![payment])
}

/// The invoice payments that an invoice of the new generation lists where it was asked to.
fn listed(
    event: &Change<'_>,
    invoice: &Object<'_>,
    references: &[(Reference, Stamp)],
) -> Result<Vec<PaymentAssertion>, Malformed> {
    let Some(list) = invoice.object("payments")? else { return Ok(Vec::new()) };
    let mut payments = Vec::new();
    for entry in list.objects("data")? {
        payments.extend(invoice_payment(event, &entry, references.to_vec())?);
    }
    Ok(payments)
}

/// `invoice_payment.paid`: the link between an invoice and the intent that paid it.
pub(super) fn read_payment(event: &mut Change<'_>) -> Result<Reading, Malformed> {
    let entry = event.object.clone();
    entry.need("id", entry.id("id")?)?;
    let invoice = entry.expanded("invoice");
    let customer = match &invoice {
        Some(invoice) => invoice.id("customer")?,
        None => None,
    };
    let customer = customer.map(|id| event.customer_of_id(id, "invoice")).transpose()?;
    let others: Vec<_> = invoice.into_iter().collect();
    let references = event.hangs_on(customer.as_ref(), &others);
    let payment = invoice_payment(event, &entry, references)?;
    Ok(reading(None, payment, "an invoice payment by which no money moved"))
}

fn invoice_payment(
    event: &Change<'_>,
    entry: &Object<'_>,
    references: Vec<(Reference, Stamp)>,
) -> Result<Option<PaymentAssertion>, Malformed> {
    if !matches!(entry.text("status")?, Some("paid") | None) {
        return Ok(None);
    }
    let payment = entry.need("payment", entry.object("payment")?)?;
    // A payment record stands for money that moved outside of Stripe.
    let names =
        [payment.id("payment_intent")?, payment.id("charge")?, payment.id("payment_record")?];
    if names.iter().all(Option::is_none) {
        return Err(payment.wrong("payment_intent", "is missing, and so is charge"));
    }
    let money: Money = entry.money("amount_paid")?;
    if money.minor == 0 {
        return Ok(None);
    }
    let mut payment = event.payment(names, references);
    event.succeeded(&mut payment.facts, ObjectClass::Invoice, money);
    payment.facts.asked = event.asked(money, "amount_paid", false);
    Ok(Some(payment))
}
