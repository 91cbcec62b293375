//! `customer.recorded` and `customer.deleted`.

use super::{Record, nobody};
use crate::{
    model::{
        contact::{self, Email},
        event::{Assertions, ClaimAssertion, Opening, ReferenceAssertion},
        reference::{Deletion, Kind, Profile, Reference, Scope},
        register::Register,
    },
    provider::{
        Malformed,
        read::{Object, Said, kept},
    },
};
use serde_json::Value;

/// The most tags, and the most characters of one (contract 4).
const TAGS: usize = 50;
const TAG: usize = 64;

impl Record<'_> {
    pub(super) fn customer(&mut self) -> Result<Assertions, Malformed> {
        let Some(head) = self.head().cloned() else { return Err(nobody()) };
        let mut notes = Vec::new();
        let profile = self.profile(&self.fact("customer")?, &mut notes);
        self.notes = notes;
        let mut references: Vec<_> =
            self.names.iter().map(|name| self.named(name, &head)).collect();
        if let Some(about) = references.iter_mut().find(|about| about.reference == head) {
            about.facts.profile = profile;
        }
        Ok(Assertions { references, ..Assertions::default() })
    }

    /// One of the customer's names: it hangs under the head, and it opens again where it is the external_id
    /// or named alone (semantics 4).
    fn named(&self, name: &Reference, head: &Reference) -> ReferenceAssertion {
        let mut about = ReferenceAssertion::new(name.clone());
        about.facts.first = Some(self.stamp.clone());
        about.claim = (name != head).then(|| ClaimAssertion {
            under: Some(head.clone()),
            authority: self.body.source.authority_for("external_id"),
            stamp: self.stamp.clone(),
        });
        let opens = name.kind == Kind::External || self.names.len() == 1;
        about.opening = opens.then_some(Opening { at: self.stamp.at, by: None });
        about
    }

    pub(super) fn deletion(&self, name: &Reference) -> ReferenceAssertion {
        let mut about = ReferenceAssertion::new(name.clone());
        about.facts.first = Some(self.stamp.clone());
        about.facts.deletions.insert(Deletion {
            at: self.stamp.at,
            key: self.stamp.key.clone(),
            scope: Scope::Customer,
            erase_payments: false,
        });
        about
    }

    /// Absent keeps, null clears, metadata merges.
    fn profile(&self, customer: &Object<'_>, notes: &mut Vec<String>) -> Profile {
        let verified = kept(customer.flag("email_verified"), notes).unwrap_or(false);
        let email = customer.said_text("email", notes, |text| Email::parse(text, verified));
        let name = customer.said_text("name", notes, contact::name);
        let phone = customer.said_text("phone", notes, contact::phone);
        let anonymous = customer.said("is_anonymous", notes, |value| {
            value.as_bool().ok_or("is neither true nor false")
        });
        let mut profile = Profile {
            name: self.word("name", name),
            email: self.word("email", email),
            phone: self.word("phone", phone),
            tags: self.word("tags", tags(customer, notes)),
            anonymous: self.word("is_anonymous", anonymous),
            ..Profile::default()
        };
        let authority = self.body.source.authority_for("metadata");
        if customer.get("metadata").is_some_and(Value::is_null) {
            profile.metadata_cleared = Register::of(authority, self.stamp.clone(), ());
        }
        profile.metadata = customer
            .metadata("metadata", notes)
            .into_iter()
            .map(|(key, value)| {
                (key.to_owned(), Register::of(authority, self.stamp.clone(), value))
            })
            .collect();
        profile
    }

    /// A field's register.
    pub(super) fn word<T: Clone + PartialEq>(
        &self,
        field: &str,
        said: Said<T>,
    ) -> Register<Option<T>> {
        let authority = self.body.source.authority_for(field);
        said.register(|value| Register::of(authority, self.stamp.clone(), value))
    }
}

/// All tags together; one that cannot be held is left out, and a repeated one counts once.
fn tags(customer: &Object<'_>, notes: &mut Vec<String>) -> Said<Vec<String>> {
    let place = customer.place("tags");
    let mut dropped = Vec::new();
    let tags = customer.said("tags", notes, |value| {
        all_tags(value.as_array().ok_or("is no list")?, &place, &mut dropped)
    });
    notes.extend(dropped);
    tags
}

/// The tags of a list that stands at a place of a body.
pub(in crate::provider) fn all_tags(
    list: &[Value],
    place: &str,
    notes: &mut Vec<String>,
) -> Result<Vec<String>, &'static str> {
    if list.len() > TAGS {
        return Err("has more than 50 tags");
    }
    let mut tags: Vec<String> = Vec::with_capacity(list.len());
    for (number, tag) in list.iter().enumerate() {
        match tag.as_str().ok_or("is no text").and_then(|tag| contact::clean(tag, TAG)) {
            Ok(tag) if tags.contains(&tag) => {}
            Ok(tag) => tags.push(tag),
            Err(why) => notes.push(format!("{place}[{number}]: {why}")),
        }
    }
    Ok(tags)
}
