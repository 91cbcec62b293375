//! The objects of Stripe's API as its lists give them, for `import --source`: the same readings as of events.
//!
//! An object says how things stand and not when they came to be so. What cannot change (that money moved, how
//! much, which refund there is) is a fact whenever it was fetched. What can change counts as of the time at
//! which it was fetched, where that is known (`as_of`). Where it is not, it is a snapshot: it speaks softly,
//! from the latest time that the object gives of itself, so that it fills what no event has said, and no event
//! is overridden by it.
//!
//! A refund does not say its mode: whoever fetched it must (`live`). It is no part of the other mode's books by default.

use super::{
    change::Change, charge, checkout, customer, dispute, intent, invoice, refund, subscription,
};
use crate::{
    model::{event::Reading, time::Timestamp},
    provider::{
        Body, Item, Malformed, Provider,
        read::{Object, short},
    },
};

pub(super) const PROVIDER: Provider =
    Provider { scheme: None, read, objects: None, ..super::PROVIDER_OF_EVENTS };

/// A kind of object, by its `object`.
struct Kind {
    object: &'static str,
    /// Where it says when something happened to it; never what is still to come.
    times: &'static [&'static str],
    read: fn(&mut Change<'_>) -> Result<Reading, Malformed>,
}

const KINDS: &[Kind] = &[
    Kind { object: "customer", times: &["created"], read: customer::read },
    Kind { object: "payment_intent", times: &["created", "canceled_at"], read: intent::read },
    Kind { object: "charge", times: &["created"], read: charge::read },
    Kind { object: "refund", times: &["created"], read: refund::read },
    Kind { object: "dispute", times: &["created"], read: dispute::read },
    Kind { object: "checkout.session", times: &["created"], read: checkout::read },
    Kind {
        object: "invoice",
        times: &[
            "created",
            "status_transitions.finalized_at",
            "status_transitions.paid_at",
            "status_transitions.marked_uncollectible_at",
            "status_transitions.voided_at",
        ],
        read: invoice::read,
    },
    Kind {
        object: "invoice_payment",
        times: &["created", "status_transitions.paid_at", "status_transitions.canceled_at"],
        read: invoice::read_payment,
    },
    Kind {
        object: "subscription",
        times: &["created", "canceled_at", "ended_at"],
        read: subscription::read,
    },
];

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let envelope = Object::root(body.json)?;
    let as_of = envelope.time("as_of")?;
    let given = envelope.get("object");
    let fields = given.and_then(|given| Object::root(given).ok());
    let (Some(given), Some(object)) = (given, fields) else {
        return Err(Malformed("it is no object of the API".into()));
    };
    let kind = object.need("object", object.text("object")?)?;
    // Stripe lists the events of the last 30 days: they say when, and are read as they are.
    if kind == "event" {
        return super::read(&Body { json: given, ..*body });
    }
    let id = object.need("id", object.id("id")?)?;
    let mut item = Item {
        id: Some(id.to_owned()),
        hash: body.hash.to_owned(),
        kind: kind.to_owned(),
        occurred_at: None,
        live: object.flag("livemode")?.or(envelope.flag("live")?),
        notes: Vec::new(),
        reading: Reading::Ignored(format!("the kind `{}` of object is not mapped", short(kind))),
    };
    let Some(known) = KINDS.iter().find(|known| known.object == kind) else {
        return Ok(item);
    };
    if object.flag("deleted")? == Some(true) {
        let why = "it was deleted, and does not say when: the event of that does";
        item.reading = Reading::Ignored(why.into());
        return Ok(item);
    }
    let own = own_time(known, &object, body.received_at);
    let own = object.need("created", own)?;
    item.occurred_at = Some(as_of.unwrap_or(own));
    let key = body.key(item.id.as_deref(), body.hash);
    let mut change = Change::of_object(body, known.object, object, key, own, as_of);
    let reading = (known.read)(&mut change);
    item.reading = reading.unwrap_or_else(|Malformed(why)| Reading::Malformed(why));
    if item.live.is_none() && matches!(item.reading, Reading::Asserts(_)) {
        item.reading =
            Reading::Malformed("it does not say whether its mode is live or test".into());
    }
    item.notes = change.notes;
    Ok(item)
}

/// The latest time that an object gives of itself.
fn own_time(kind: &Kind, object: &Object<'_>, now: Timestamp) -> Option<Timestamp> {
    let times = kind.times.iter().filter_map(|place| object.path(place)?.as_i64());
    times.filter_map(Timestamp::from_seconds).filter(|at| *at <= now).max()
}
