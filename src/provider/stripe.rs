//! Stripe: events of all its API's generations (docs.stripe.com/api/events, docs.stripe.com/upgrades).
//!
//! Amounts are kept as Stripe gives them, in its own minor unit of the currency: where that differs from
//! ISO 4217 (ISK and UGX in hundredths, MGA without decimals; docs.stripe.com/currencies), Stripe's holds.

use super::{
    About, Body, Item, Malformed, On, Place, Provider, Target,
    read::{Object, short},
};
use crate::model::{authority::Authority, event::Reading, reference::Kind};
use change::Change;
use std::borrow::Cow;

mod change;
mod charge;
mod checkout;
mod customer;
mod dispute;
mod intent;
mod invoice;
mod objects;
mod payment;
mod refund;
mod subscription;

pub(crate) const PROVIDER: Provider =
    Provider { objects: Some(&objects::PROVIDER), ..PROVIDER_OF_EVENTS };

const PROVIDER_OF_EVENTS: Provider = Provider {
    name: "stripe",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: Some(crate::verify::presets::STRIPE),
    places: &[
        external_id("metadata.external_id"),
        external_id("metadata.user_id"),
        external_id("client_reference_id"),
    ],
    about: About {
        id: "`id`",
        time: "`created`",
        types: &[
            ("customer.subscription.*", "the subscription"),
            (
                "customer.created, customer.updated",
                "the customer's name, address and phone number, metadata, and under whom it hangs",
            ),
            ("customer.deleted", "a deletion of the customer id"),
            ("payment_intent.*", "the payment under the intent's id and its status"),
            ("charge.dispute.*", "a dispute of the payment"),
            ("charge.refund.updated, refund.*", "a refund of the payment"),
            ("charge.*", "the same payment, and what of it was refunded"),
            ("checkout.session.*", "whom the payment or subscription hangs on, and success"),
            (
                "invoice.*, invoice_payment.paid",
                "whose a payment is, for which subscription, and success",
            ),
        ],
        setup: "Developers, Webhooks: an endpoint for the types above. The secret is its signing secret (`whsec_…`).",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

/// A place where a browser may have written: it says where an object hangs and claims nothing. On the
/// customer object, whose metadata only a server writes, the places under `metadata` claim all the same.
const fn external_id(at: &'static str) -> Place {
    Place { at: Cow::Borrowed(at), target: Target::ExternalId, claims: false, on: On::Any }
}

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let envelope = Object::root(body.json)?;
    let kind = envelope.need("type", envelope.text("type")?)?;
    let id = envelope.need("id", envelope.id("id")?)?;
    let live = envelope.flag("livemode")?;
    let mut item = Item {
        id: Some(id.to_owned()),
        hash: body.hash.to_owned(),
        kind: kind.to_owned(),
        occurred_at: None,
        live,
        notes: Vec::new(),
        reading: Reading::Ignored(String::new()),
    };
    if envelope.text("object").is_ok_and(|object| object == Some("v2.core.event")) {
        item.occurred_at = envelope.time("created")?;
        item.reading = Reading::Ignored("a thin event (v2.core.event) holds no object".into());
        return Ok(item);
    }
    item.occurred_at = envelope.seconds("created")?;
    let Some(read) = reader(kind) else {
        item.reading = Reading::Ignored(not_mapped(kind));
        return Ok(item);
    };
    let data = envelope.need("data", envelope.child_at("data", "data")?)?;
    let object = data.need("object", data.child_at("object", "data.object")?)?;
    if item.live.is_none() {
        item.live = object.flag("livemode").ok().flatten();
    }
    let previous = data.child_at("previous_attributes", "data.previous_attributes")?;
    let key = body.key(item.id.as_deref(), body.hash);
    let mut event = Change::new(body, kind, object, previous, key, item.occurred_at);
    let reading = event.expect(read.object).and_then(|()| (read.read)(&mut event));
    item.reading = reading.unwrap_or_else(|Malformed(why)| Reading::Malformed(why));
    item.notes = event.notes;
    Ok(item)
}

/// How the object of a type of event is read.
struct Reader {
    /// What `data.object.object` is.
    object: &'static str,
    read: fn(&mut Change<'_>) -> Result<Reading, Malformed>,
}

/// The types that tell of customers and their money.
fn reader(kind: &str) -> Option<Reader> {
    let (object, read): (_, fn(&mut Change<'_>) -> _) = match kind {
        "customer.created" | "customer.updated" => ("customer", customer::read),
        "customer.deleted" => ("customer", customer::deleted),
        "customer.subscription.created"
        | "customer.subscription.updated"
        | "customer.subscription.deleted"
        | "customer.subscription.paused"
        | "customer.subscription.resumed"
        | "customer.subscription.trial_will_end"
        | "customer.subscription.pending_update_applied"
        | "customer.subscription.pending_update_expired" => ("subscription", subscription::read),
        "payment_intent.created"
        | "payment_intent.processing"
        | "payment_intent.requires_action"
        | "payment_intent.amount_capturable_updated"
        | "payment_intent.partially_funded"
        | "payment_intent.succeeded"
        | "payment_intent.payment_failed"
        | "payment_intent.canceled" => ("payment_intent", intent::read),
        "charge.pending" | "charge.succeeded" | "charge.failed" | "charge.captured"
        | "charge.updated" | "charge.refunded" | "charge.expired" => ("charge", charge::read),
        "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => {
            ("refund", refund::read)
        }
        "charge.dispute.created"
        | "charge.dispute.updated"
        | "charge.dispute.closed"
        | "charge.dispute.funds_withdrawn"
        | "charge.dispute.funds_reinstated" => ("dispute", dispute::read),
        "checkout.session.completed"
        | "checkout.session.async_payment_succeeded"
        | "checkout.session.async_payment_failed"
        | "checkout.session.expired" => ("checkout.session", checkout::read),
        "invoice_payment.paid" => ("invoice_payment", invoice::read_payment),
        "invoice.upcoming" | "invoice.deleted" => return None,
        kind if kind.starts_with("invoice.") => ("invoice", invoice::read),
        _ => return None,
    };
    Some(Reader { object, read })
}

fn not_mapped(kind: &str) -> String {
    match kind.split('.').next() {
        Some("payout" | "transfer" | "topup") => {
            "payouts and transfers are no customer's payments".into()
        }
        Some("invoice") => format!("`{}` tells of no money that moved", short(kind)),
        _ => format!("the type `{}` is not mapped", short(kind)),
    }
}
