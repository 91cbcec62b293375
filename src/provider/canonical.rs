//! Canonical: our own event format, in which the main app tells of customers and payments (contract 5).
//!
//! The team's own word: it counts most, it alone may say of anything under what it hangs, and where it is
//! wrong it is refused with the place, since its writer can mend it.

use super::{
    About, Body, Item, Malformed, Provider,
    read::{Object, short},
};
use crate::model::{
    authority::Authority,
    event::{Assertions, Reading},
    reference::{Kind, Reference},
    stamp::{Stamp, rank},
};

pub(super) mod customer;
pub(super) mod money;

pub(crate) const PROVIDER: Provider = Provider {
    name: "canonical",
    authority: Authority::APP,
    kind: Kind::External,
    scheme: Some(crate::verify::presets::STANDARD_WEBHOOKS),
    places: &[],
    about: About {
        id: "`id`",
        time: "`occurred_at`",
        types: &[
            ("customer.recorded", "the customer's fields and names"),
            ("customer.deleted", "a deletion of the customer"),
            ("payment.recorded", "the payment and its status"),
            ("refund.recorded", "a refund of the payment"),
            ("dispute.recorded", "a dispute of the payment"),
            ("subscription.recorded", "the subscription"),
        ],
        setup: "Let your app send events of our own format, signed by Standard Webhooks with the secret `whsec_…`.",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

/// The types of the format.
const TYPES: [&str; 6] = [
    "customer.recorded",
    "customer.deleted",
    "payment.recorded",
    "refund.recorded",
    "dispute.recorded",
    "subscription.recorded",
];

/// One canonical event, opened.
struct Record<'a> {
    body: &'a Body<'a>,
    data: Object<'a>,
    /// Whom it names, in the order in which it names them.
    names: Vec<Reference>,
    stamp: Stamp,
    notes: Vec<String>,
}

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let envelope = Object::root(body.json)?;
    let kind = envelope.need("type", envelope.text("type")?)?;
    let id = envelope.need("id", envelope.id("id")?)?;
    let occurred_at = envelope.need("occurred_at", envelope.time("occurred_at")?)?;
    let at = body.counted(occurred_at);
    let stamp = Stamp { at, rank: rank::UPDATED, key: body.key(Some(id), body.hash) };
    let mut notes = Vec::new();
    let reading = open(body, &envelope, stamp)
        .and_then(|mut record| {
            let reading = record.read(kind, &envelope);
            notes = record.notes;
            reading
        })
        .unwrap_or_else(|Malformed(why)| Reading::Malformed(why));
    Ok(Item {
        id: Some(id.to_owned()),
        hash: body.hash.to_owned(),
        kind: kind.to_owned(),
        occurred_at: Some(occurred_at),
        live: None,
        notes,
        reading,
    })
}

fn open<'a>(
    body: &'a Body<'a>,
    envelope: &Object<'a>,
    stamp: Stamp,
) -> Result<Record<'a>, Malformed> {
    let data = envelope.need("data", envelope.child_at("data", "data")?)?;
    let names = names(&data)?;
    Ok(Record { body, data, names, stamp, notes: Vec::new() })
}

/// The external_id and the identities.
pub(super) fn names(data: &Object<'_>) -> Result<Vec<Reference>, Malformed> {
    let mut names = Vec::new();
    if let Some(id) = data.text("external_id")? {
        let name = Reference::new(Kind::External, "", id);
        names.push(name.map_err(|why| data.wrong("external_id", why))?);
    }
    for identity in data.objects("identities")? {
        let kind = match identity.need("kind", identity.text("kind")?)? {
            "auth" => Kind::Auth,
            "payment" => Kind::Payment,
            other => {
                let what = format!("`{}` is neither `auth` nor `payment`", short(other));
                return Err(identity.wrong("kind", what));
            }
        };
        let namespace = identity.need("provider", identity.id("provider")?)?;
        let uid = identity.need("uid", identity.text("uid")?)?;
        let name = Reference::new(kind, namespace, uid);
        let name = name.map_err(|why| identity.wrong("uid", why))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

impl Record<'_> {
    fn read(&mut self, kind: &str, envelope: &Object<'_>) -> Result<Reading, Malformed> {
        let assertions = match kind {
            "customer.recorded" => self.customer()?,
            "customer.deleted" => self.deleted()?,
            "payment.recorded" => self.payment()?,
            "refund.recorded" => self.refund()?,
            "dispute.recorded" => self.dispute()?,
            "subscription.recorded" => self.subscription()?,
            other => {
                let known = TYPES.join(", ");
                let what = format!("`{}` is not known; known are {known}", short(other));
                return Err(envelope.wrong("type", what));
            }
        };
        Ok(if assertions.is_empty() {
            Reading::Ignored("a movement of 0 is no payment".into())
        } else {
            Reading::Asserts(Box::new(assertions))
        })
    }

    /// The object that holds the fact.
    fn fact(&self, key: &str) -> Result<Object<'_>, Malformed> {
        self.data.need(key, self.data.object(key)?)
    }

    /// The reference on which the app's words about a person hang: the external_id, else the first auth
    /// UID, else the first payment id (semantics 3).
    fn head(&self) -> Option<&Reference> {
        self.names.iter().min_by_key(|name| name.kind)
    }

    /// Where a payment or subscription hangs: the first name of each kind.
    fn hangs_on(&self) -> Vec<(Reference, Stamp)> {
        let mut hangs: Vec<(Reference, Stamp)> = Vec::new();
        for name in &self.names {
            if hangs.iter().all(|(known, _)| known.kind != name.kind) {
                hangs.push((name.clone(), self.stamp.clone()));
            }
        }
        hangs
    }

    fn deleted(&mut self) -> Result<Assertions, Malformed> {
        if self.names.is_empty() {
            return Err(nobody());
        }
        let references = self.names.iter().map(|name| self.deletion(name)).collect();
        Ok(Assertions { references, ..Assertions::default() })
    }
}

fn nobody() -> Malformed {
    Malformed("data: names no customer: external_id or identities must be there".into())
}
