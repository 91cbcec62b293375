//! The customer object: what Stripe knows of a person, and under whom the team put it.

use super::change::Change;
use crate::{
    model::{
        contact::{self, Email},
        event::{Assertions, Reading, ReferenceAssertion},
        reference::{Deletion, Reference, Scope},
    },
    provider::Malformed,
};

fn reference(event: &Change<'_>) -> Result<Reference, Malformed> {
    let id = event.object.need("id", event.object.id("id")?)?;
    event.customer_of_id(id, "id")
}

/// `customer.created` and `customer.updated`.
pub(super) fn read(event: &mut Change<'_>) -> Result<Reading, Malformed> {
    let source = event.body.source;
    let mut about = ReferenceAssertion::new(reference(event)?);
    let profile = &mut about.facts.profile;
    profile.name = event.text("name", source.authority_for("name"), true, contact::name);
    profile.email =
        event.text("email", source.authority_for("email"), true, |text| Email::parse(text, false));
    profile.phone = event.text("phone", source.authority_for("phone"), true, contact::phone);
    profile.metadata = event.metadata(source.authority_for("metadata"));
    about.facts.first = Some(event.stamp());
    about.claim = event.claim(true);
    let assertions = Assertions { references: vec![about], ..Assertions::default() };
    Ok(Reading::Asserts(Box::new(assertions)))
}

/// `customer.deleted`: `{id, deleted: true}`, or the object as it last was. It reaches its own identity
/// only, unless the source says `on_delete = "customer"` (semantics 4).
pub(super) fn deleted(event: &mut Change<'_>) -> Result<Reading, Malformed> {
    let mut about = ReferenceAssertion::new(reference(event)?);
    let scope = match event.body.source.on_delete {
        Scope::Customer => Scope::Customer,
        Scope::Identity | Scope::Auto => Scope::Identity,
    };
    let key = event.key().clone();
    about.facts.deletions.insert(Deletion { at: event.at, key, scope, erase_payments: false });
    about.facts.first = Some(event.stamp());
    let assertions = Assertions { references: vec![about], ..Assertions::default() };
    Ok(Reading::Asserts(Box::new(assertions)))
}
