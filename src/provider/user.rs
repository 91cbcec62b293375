//! What every auth provider tells in its own words: somebody was created, changed or deleted.
//!
//! A provider's file says where the plain parts are; what they assert is the same for all (semantics 2 to 4).

use super::{
    Body, Item, Malformed, On, Place, Target,
    read::{Object, Said, kept, short},
};
use crate::model::{
    contact::{self, Email},
    event::{Assertions, ClaimAssertion, Opening, Reading, ReferenceAssertion},
    reference::{Deletion, Kind, Reference},
    register::Register,
    stamp::{Stamp, rank},
    time::Timestamp,
};
use std::borrow::Cow;

/// A place that only the team's server can write, so that it says under which external_id the UID hangs.
pub(super) const fn external_id(at: &'static str) -> Place {
    Place { at: Cow::Borrowed(at), target: Target::ExternalId, claims: true, on: On::Any }
}

/// What happened to a user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// There is a new one.
    Created,
    /// The whole user as it is now.
    Updated,
    /// The user is gone.
    Deleted,
}

impl Change {
    fn rank(self) -> u8 {
        match self {
            Self::Created => rank::CREATED,
            Self::Updated => rank::UPDATED,
            Self::Deleted => rank::DELETED,
        }
    }
}

/// What stands around the user in an event.
#[derive(Clone, Debug)]
pub(super) struct Envelope<'a> {
    /// The body that holds it.
    pub(super) body: &'a Body<'a>,
    /// The provider's event id.
    pub(super) id: Option<&'a str>,
    /// Its word for what happened.
    pub(super) kind: Cow<'a, str>,
    /// The version of what it says; without one, it counts from the receipt.
    pub(super) at: Option<Timestamp>,
    /// What it says of its mode.
    pub(super) live: Option<bool>,
}

/// What is said of a user that is there; a deletion needs none of it.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) name: Said<String>,
    pub(super) email: Said<Email>,
    pub(super) phone: Said<String>,
    pub(super) anonymous: Said<bool>,
    /// What the first of the source's places names.
    pub(super) external_id: Said<Reference>,
}

impl<'a> Envelope<'a> {
    /// Of a body that is one event and whose key is this id.
    pub(super) fn new(body: &'a Body<'a>, id: Option<&'a str>, kind: &'a str) -> Self {
        Self { body, id, kind: Cow::Borrowed(kind), at: None, live: None }
    }

    /// That it asserts nothing to us.
    pub(super) fn ignored(self, why: &str) -> Item {
        self.item(Vec::new(), Reading::Ignored(why.to_owned()))
    }

    /// That its type is not one that tells of users.
    pub(super) fn not_mapped(self) -> Item {
        let why = format!("the type `{}` is not mapped", short(&self.kind));
        self.ignored(&why)
    }

    /// What it asserts of a user; the profile is not read where the user is gone.
    pub(super) fn told(
        self,
        change: Change,
        uid: Result<&str, Malformed>,
        profile: impl FnOnce(&mut Words<'_>) -> Result<Profile, Malformed>,
    ) -> Item {
        let mut words = Words { body: self.body, notes: Vec::new() };
        let references = uid.and_then(|uid| {
            let uid = self.reference(uid)?;
            Ok(match change {
                Change::Deleted => self.deleted(uid),
                change => self.present(change, &uid, profile(&mut words)?),
            })
        });
        let reading = references.map_or_else(
            |Malformed(why)| Reading::Malformed(why),
            |references| {
                Reading::Asserts(Box::new(Assertions { references, ..Assertions::default() }))
            },
        );
        self.item(words.notes, reading)
    }

    fn item(self, notes: Vec<String>, reading: Reading) -> Item {
        Item {
            id: self.id.map(str::to_owned),
            hash: self.body.hash.to_owned(),
            kind: self.kind.into_owned(),
            occurred_at: self.at,
            live: self.live,
            notes,
            reading,
        }
    }

    fn stamp(&self, change: Change) -> Stamp {
        let body = self.body;
        let at = self.at.map_or(body.received_at, |at| body.counted(at));
        Stamp { at, rank: change.rank(), key: body.key(self.id, body.hash) }
    }

    fn reference(&self, uid: &str) -> Result<Reference, Malformed> {
        let source = self.body.source;
        let kind = if source.subject_is_external_id { Kind::External } else { Kind::Auth };
        Reference::new(kind, &source.namespace, uid)
            .map_err(|why| Malformed(format!("the user's id {why}")))
    }

    fn deleted(&self, uid: Reference) -> Vec<ReferenceAssertion> {
        let stamp = self.stamp(Change::Deleted);
        let mut about = ReferenceAssertion::new(uid);
        about.facts.deletions.insert(Deletion {
            at: stamp.at,
            key: stamp.key.clone(),
            scope: self.body.source.on_delete,
            erase_payments: false,
        });
        about.facts.first = Some(stamp);
        vec![about]
    }

    fn present(&self, change: Change, uid: &Reference, says: Profile) -> Vec<ReferenceAssertion> {
        let stamp = self.stamp(change);
        let mut about = ReferenceAssertion::new(uid.clone());
        about.facts.first = Some(stamp.clone());
        let profile = &mut about.facts.profile;
        profile.name = self.register("name", &stamp, says.name);
        profile.email = self.register("email", &stamp, says.email);
        profile.phone = self.register("phone", &stamp, says.phone);
        profile.anonymous = self.register("anonymous", &stamp, says.anonymous);
        let mut named = None;
        // Where the UID is the app's own user id, there is nothing above it.
        if !self.body.source.subject_is_external_id {
            (about.claim, named) = self.claim(uid, stamp, says.external_id);
        }
        std::iter::once(about).chain(named).collect()
    }

    fn register<T: Clone + PartialEq>(
        &self,
        field: &str,
        stamp: &Stamp,
        said: Said<T>,
    ) -> Register<Option<T>> {
        let authority = self.body.source.authority_for(field);
        said.register(|value| Register::of(authority, stamp.clone(), value))
    }

    /// The claim that a named external_id makes, and what is said of that id: a user event that names it opens it
    /// again after a deletion (semantics 4). An explicit null on an update clears the claim.
    fn claim(
        &self,
        uid: &Reference,
        stamp: Stamp,
        named: Said<Reference>,
    ) -> (Option<ClaimAssertion>, Option<ReferenceAssertion>) {
        let authority = self.body.source.authority_for("external_id");
        let under = match named {
            Said::Value(reference) => Some(reference),
            Said::Null if stamp.rank == rank::UPDATED => None,
            Said::Null | Said::Nothing => return (None, None),
        };
        let above = under.clone().map(|reference| {
            let mut above = ReferenceAssertion::new(reference);
            above.facts.first = Some(stamp.clone());
            above.opening = Some(Opening { at: stamp.at, by: Some(uid.clone()) });
            above
        });
        (Some(ClaimAssertion { under, authority, stamp }), above)
    }
}

/// The user's id at a key.
pub(super) fn uid<'a>(object: &Object<'a>, key: &str) -> Result<&'a str, Malformed> {
    object.need(key, object.id(key)?)
}

/// Reads a user's fields: what cannot be held is noted and left out. An empty text is as good as null.
#[derive(Debug)]
pub(super) struct Words<'a> {
    body: &'a Body<'a>,
    pub(super) notes: Vec<String>,
}

impl Words<'_> {
    /// The name that these parts make together; null where all are empty.
    pub(super) fn name(&mut self, object: &Object<'_>, parts: &[&str]) -> Said<String> {
        let (Some(first), true) = (parts.first(), parts.iter().any(|part| object.has(part))) else {
            return Said::Nothing;
        };
        let said: Vec<_> = parts
            .iter()
            .filter_map(|key| kept(object.text(key), &mut self.notes))
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .collect();
        if said.is_empty() {
            return Said::Null;
        }
        self.hold(object, first, contact::name(&said.join(" ")))
    }

    /// An address, and whether the provider says that its owner proved it.
    pub(super) fn email(&mut self, object: &Object<'_>, key: &str, verified: bool) -> Said<Email> {
        self.text(object, key, |text| Email::parse(text, verified))
    }

    /// A number as E.164 writes it.
    pub(super) fn phone(&mut self, object: &Object<'_>, key: &str) -> Said<String> {
        self.text(object, key, contact::phone)
    }

    /// A number of which the provider keeps E.164 without its plus sign.
    pub(super) fn digits(&mut self, object: &Object<'_>, key: &str) -> Said<String> {
        self.text(object, key, |text| match text.trim() {
            text if text.starts_with('+') => contact::phone(text),
            text => contact::phone(&format!("+{text}")),
        })
    }

    /// True or false.
    pub(super) fn flag(&mut self, object: &Object<'_>, key: &str) -> Said<bool> {
        object
            .said(key, &mut self.notes, |value| value.as_bool().ok_or("is neither true nor false"))
    }

    /// Whether a flag says yes; where it cannot be read, it does not.
    pub(super) fn says_yes(&mut self, object: &Object<'_>, key: &str) -> bool {
        kept(object.flag(key), &mut self.notes).unwrap_or(false)
    }

    /// What the first of the source's places names; null where a place says that there is none. An empty text counts
    /// as absent.
    pub(super) fn external_id(&mut self, object: &Object<'_>) -> Said<Reference> {
        let mut said = Said::Nothing;
        for place in self.body.source.places.iter().filter(|place| place.claims) {
            let Some(value) = object.path(&place.at) else { continue };
            match place.reference(value) {
                Some(Ok(reference)) => return Said::Value(reference),
                Some(Err(why)) => self.notes.push(object.wrong(&place.at, why).0),
                None if value.is_null() => said = Said::Null,
                None => {}
            }
        }
        said
    }

    /// What was made of a field, or a note why nothing could be.
    pub(super) fn hold<T>(
        &mut self,
        object: &Object<'_>,
        key: &str,
        value: Result<T, &'static str>,
    ) -> Said<T> {
        match value {
            Ok(value) => Said::Value(value),
            Err(why) => {
                self.notes.push(object.wrong(key, why).0);
                Said::Nothing
            }
        }
    }

    fn text<T>(
        &mut self,
        object: &Object<'_>,
        key: &str,
        hold: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Said<T> {
        match object.get(key).and_then(|value| value.as_str()) {
            Some(text) if text.trim().is_empty() => Said::Null,
            _ => object.said_text(key, &mut self.notes, hold),
        }
    }
}
