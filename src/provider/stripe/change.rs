//! What every kind of Stripe object needs: the stamps of its event, what the event says that it changed,
//! and whom the object names.

use crate::{
    model::{
        authority::Authority,
        contact::{self, Email},
        event::{ClaimAssertion, ReferenceAssertion},
        metadata::{Scalar, is_key},
        reference::{Kind, Reference},
        register::Register,
        stamp::{EventKey, Stamp, rank},
        time::Timestamp,
    },
    provider::{
        Body, Malformed, On, Place,
        read::{Object, Said, scalar, short},
    },
};
use serde_json::Value;
use std::collections::BTreeMap;

/// One Stripe event, opened.
pub(super) struct Change<'a> {
    pub(super) body: &'a Body<'a>,
    pub(super) kind: &'a str,
    /// `data.object`: the object as it was when the event was made.
    pub(super) object: Object<'a>,
    /// `data.previous_attributes`: what the changed fields held before.
    pub(super) previous: Option<Object<'a>>,
    /// When it happened; the time of receipt where the body does not say; the latest time that an object of the
    /// API gives of itself.
    pub(super) at: Timestamp,
    /// When it happened, for states: below every time where the body does not say (semantics 2).
    pub(super) state_at: Timestamp,
    /// When what it says was so.
    said_at: Timestamp,
    form: Form,
    rank: u8,
    key: EventKey,
    /// Fields that were dropped, each with its reason.
    pub(super) notes: Vec<String>,
}

/// What tells of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// An event.
    Event,
    /// The API, at a known time: what it says holds as of then.
    Fetched,
    /// The API, at a time that is not known: it repeats what was said before, and fills what nobody said.
    Snapshot,
}

/// Contact fields of a person inside another object.
pub(super) struct Contact<'a> {
    /// The object that holds them.
    pub(super) object: Object<'a>,
    /// The keys of name, e-mail address and phone number.
    pub(super) keys: [&'static str; 3],
}

impl<'a> Contact<'a> {
    /// An object with the usual keys.
    pub(super) fn of(object: Object<'a>) -> Self {
        Self { object, keys: ["name", "email", "phone"] }
    }
}

impl<'a> Change<'a> {
    pub(super) fn new(
        body: &'a Body<'a>,
        kind: &'a str,
        object: Object<'a>,
        previous: Option<Object<'a>>,
        key: EventKey,
        occurred_at: Option<Timestamp>,
    ) -> Self {
        let counted = occurred_at.map(|at| body.counted(at));
        Self {
            body,
            kind,
            object,
            previous,
            at: counted.unwrap_or(body.received_at),
            state_at: counted.unwrap_or(Timestamp::UNKNOWN),
            said_at: counted.unwrap_or(body.received_at),
            form: Form::Event,
            rank: rank_of(kind),
            key,
            notes: Vec::new(),
        }
    }

    /// An object as the API gives it. `own` is the latest time that it gives of itself, `as_of` when it was
    /// fetched, where that is known.
    pub(super) fn of_object(
        body: &'a Body<'a>,
        kind: &'a str,
        object: Object<'a>,
        key: EventKey,
        own: Timestamp,
        as_of: Option<Timestamp>,
    ) -> Self {
        let said_at = body.counted(as_of.unwrap_or(own));
        Self {
            body,
            kind,
            object,
            previous: None,
            at: body.counted(own),
            state_at: said_at,
            said_at,
            form: if as_of.is_some() { Form::Fetched } else { Form::Snapshot },
            rank: rank::UPDATED,
            key,
            notes: Vec::new(),
        }
    }

    /// Whether an event tells of it, which says when it happened.
    pub(super) fn is_event(&self) -> bool {
        self.form == Form::Event
    }

    /// How much a word counts that the object says of itself.
    pub(super) fn level(&self, authority: Authority) -> Authority {
        if self.form == Form::Snapshot { authority.weak() } else { authority }
    }

    /// That the event's object is of the kind that its type promises.
    pub(super) fn expect(&self, kind: &str) -> Result<(), Malformed> {
        match self.object.text("object")? {
            Some(other) if other != kind => {
                Err(self.object.wrong("object", format!("is `{}`, not `{kind}`", short(other))))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn stamp(&self) -> Stamp {
        Stamp { at: self.said_at, rank: self.rank, key: self.key.clone() }
    }

    /// The stamp of a state, which orders one instant by its own rank.
    pub(super) fn state_stamp(&self, rank: u8) -> Stamp {
        Stamp { at: self.state_at, rank, key: self.key.clone() }
    }

    pub(super) fn key(&self) -> &EventKey {
        &self.key
    }

    /// How much Stripe's word counts for a payment's or subscription's own fields.
    pub(super) fn own(&self) -> Authority {
        self.body.source.provider.authority
    }

    pub(super) fn namespace(&self) -> &'a str {
        &self.body.source.namespace
    }

    /// Whether the body says that one of these fields changed; none where it does not say what changed.
    pub(super) fn changed(&self, fields: &[&str]) -> Option<bool> {
        // A notice of what is to come repeats the object and says nothing of a change; so does a snapshot.
        let repeats = self.kind == "customer.subscription.trial_will_end";
        if repeats || self.form == Form::Snapshot {
            return Some(false);
        }
        self.previous.as_ref().map(|previous| fields.iter().any(|field| previous.has(field)))
    }

    /// A text of the object. `empties` says whether a null (or an empty text) is a word too, where the
    /// body does not say that it is a change.
    pub(super) fn text<T: Clone + PartialEq>(
        &mut self,
        field: &str,
        authority: Authority,
        empties: bool,
        hold: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Register<Option<T>> {
        let changed = self.changed(&[field]);
        let said = match self.object.get(field) {
            None if changed == Some(true) => Said::Null,
            Some(Value::String(text)) if text.is_empty() => Said::Null,
            _ => self.object.said_text(field, &mut self.notes, &hold),
        };
        if matches!(said, Said::Null) && !empties && changed != Some(true) {
            return Register::default();
        }
        let old = self.previous.as_ref().and_then(|previous| match previous.get(field) {
            Some(Value::Null) => Some(None),
            Some(Value::String(text)) if text.is_empty() => Some(None),
            Some(Value::String(text)) => hold(text).ok().map(Some),
            _ => None,
        });
        said.register(|value| word((authority, self.stamp()), value, changed, old))
    }

    /// The object's metadata, a register a key. Stripe names in `previous_attributes` the keys that changed,
    /// with null for one that was not there.
    pub(super) fn metadata(
        &mut self,
        authority: Authority,
    ) -> BTreeMap<String, Register<Option<Scalar>>> {
        let mut held = self.object.metadata("metadata", &mut self.notes);
        let before = self.previous.as_ref().and_then(|previous| previous.get("metadata"));
        let keys = before.and_then(Value::as_object);
        for key in keys.into_iter().flat_map(serde_json::Map::keys) {
            let gone = self.object.path("metadata").is_none_or(|now| now.get(key).is_none());
            if gone && is_key(key) {
                held.push((key, None));
            }
        }
        let unsaid = self.changed(&[]);
        let register = |(key, value): (&str, Option<Scalar>)| {
            let (changed, old) = match before {
                // All of it is new.
                Some(Value::Null) => (Some(true), Some(None)),
                Some(before) => match before.get(key) {
                    Some(old) => (Some(true), scalar(old).ok()),
                    None => (Some(false), None),
                },
                None => (unsaid, None),
            };
            let register = word((authority, self.stamp()), value, changed, old);
            (key.to_owned(), register)
        };
        held.into_iter().map(register).collect()
    }

    /// The provider's customer that the object belongs to.
    pub(super) fn customer(&self) -> Result<Option<Reference>, Malformed> {
        let Some(id) = self.object.id("customer")? else { return Ok(None) };
        self.customer_of_id(id, "customer").map(Some)
    }

    pub(super) fn customer_of_id(&self, id: &str, field: &str) -> Result<Reference, Malformed> {
        Reference::new(Kind::Payment, self.namespace(), id)
            .map_err(|why| self.object.wrong(field, why))
    }

    /// Where the object hangs: on the provider's customer, and on the first name of each kind that stands
    /// at one of the source's places, in the object itself or in one of `others`.
    pub(super) fn hangs_on(
        &mut self,
        customer: Option<&Reference>,
        others: &[Object<'a>],
    ) -> Vec<(Reference, Stamp)> {
        let mut named: Vec<Reference> = Vec::new();
        let source = self.body.source;
        for object in std::iter::once(&self.object.clone()).chain(others) {
            for place in source.places.iter().filter(|place| place.on == On::Any) {
                let reference = self.named_at(object, place);
                named.extend(reference);
            }
        }
        let mut hangs: Vec<Reference> = Vec::new();
        for reference in customer.cloned().into_iter().chain(named) {
            if hangs.iter().all(|known| known.kind != reference.kind) {
                hangs.push(reference);
            }
        }
        hangs.into_iter().map(|reference| (reference, self.stamp())).collect()
    }

    fn named_at(&mut self, object: &Object<'a>, place: &Place) -> Option<Reference> {
        match place.reference(object.path(&place.at)?)? {
            Ok(reference) => Some(reference),
            Err(why) => {
                self.notes.push(format!("{}: {why}", object.place(&place.at)));
                None
            }
        }
    }

    /// Under whom the provider's customer hangs by this object's word: by the places that may claim. On the
    /// customer object those are the ones in its metadata, which only a server writes.
    pub(super) fn claim(&mut self, on_customer: bool) -> Option<ClaimAssertion> {
        let source = self.body.source;
        let claims = |place: &&Place| match (place.claims, place.on) {
            (true, On::Any) => true,
            (claims, _) => on_customer && (claims || place.at.starts_with("metadata.")),
        };
        let object = self.object.clone();
        let mut now = None;
        for place in source.places.iter().filter(claims) {
            now = self.named_at(&object, place);
            if now.is_some() {
                break;
            }
        }
        let before = source
            .places
            .iter()
            .filter(claims)
            .find_map(|place| place.reference(self.was(&place.at)?)?.ok());
        let authority = source.authority_for("external_id");
        let authority = match self.changed(&[]) {
            None if now.is_none() => return None,
            None => authority,
            // Named before and not any more: it stands for itself again.
            Some(_) if now != before => authority,
            Some(_) if now.is_none() => return None,
            Some(_) => authority.weak(),
        };
        Some(ClaimAssertion { under: now, authority, stamp: self.stamp() })
    }

    /// What stood at a path before the change.
    fn was(&self, path: &str) -> Option<&'a Value> {
        let Some(previous) = &self.previous else { return self.object.path(path) };
        let (first, rest) = path.split_once('.').map_or((path, None), |(a, b)| (a, Some(b)));
        match (previous.get(first), rest) {
            (None, _) => self.object.path(path),
            (Some(value), None) => Some(value),
            // Of a hash, the keys that changed.
            (Some(Value::Object(before)), Some(rest)) => {
                let key = rest.split('.').next().unwrap_or(rest);
                if before.contains_key(key) { previous.path(path) } else { self.object.path(path) }
            }
            (Some(_), Some(_)) => None,
        }
    }

    /// What a payment, invoice, session or subscription says about the provider's customer: contact fields,
    /// which fill what its own object leaves absent (null or empty there asserts nothing, semantics 3), and
    /// a claim where a place was raised to claim.
    pub(super) fn about(
        &mut self,
        customer: Option<&Reference>,
        contacts: &[Contact<'a>],
    ) -> Option<ReferenceAssertion> {
        let customer = customer?;
        let mut about = ReferenceAssertion::new(customer.clone());
        about.claim = self.claim(false);
        let profile = &mut about.facts.profile;
        let stamp = self.stamp();
        let notes = &mut self.notes;
        let source = self.body.source;
        let weak = |field| source.authority_for(field).weak();
        profile.name = first(contacts, 0, notes, contact::name)
            .map(|name| Register::of(weak("name"), stamp.clone(), Some(name)))
            .unwrap_or_default();
        profile.email = first(contacts, 1, notes, |text| Email::parse(text, false))
            .map(|email| Register::of(weak("email"), stamp.clone(), Some(email)))
            .unwrap_or_default();
        profile.phone = first(contacts, 2, notes, contact::phone)
            .map(|phone| Register::of(weak("phone"), stamp.clone(), Some(phone)))
            .unwrap_or_default();
        about.facts.first = Some(stamp);
        let says = about.claim.is_some()
            || !(profile.name.is_empty() && profile.email.is_empty() && profile.phone.is_empty());
        says.then_some(about)
    }

    /// The payer's address of a payment that names nobody, where the source shows such payments at the
    /// only customer with that address.
    pub(super) fn match_email(
        &mut self,
        nobody: bool,
        contacts: &[Contact<'a>],
    ) -> Register<String> {
        let source = self.body.source;
        if !nobody || !source.match_email {
            return Register::default();
        }
        let email = first(contacts, 1, &mut self.notes, |text| Email::parse(text, false));
        email
            .map(|email| {
                let authority = self.level(source.authority_for("email"));
                Register::of(authority, self.stamp(), email.key())
            })
            .unwrap_or_default()
    }
}

/// One field's word. Where the body says what changed, only that is asserted outright, as a change from the old
/// value; everything that it merely repeats fills an absence (semantics 2).
pub(super) fn word<T: Clone + PartialEq>(
    (authority, stamp): (Authority, Stamp),
    value: T,
    changed: Option<bool>,
    old: Option<T>,
) -> Register<T> {
    match (changed, old) {
        (None, _) | (Some(true), None) => Register::of(authority, stamp, value),
        (Some(true), Some(old)) if old != value => Register::change(authority, stamp, value, old),
        _ => Register::of(authority.weak(), stamp, value),
    }
}

/// The first contact field that can be held.
fn first<T>(
    contacts: &[Contact<'_>],
    field: usize,
    notes: &mut Vec<String>,
    hold: impl Fn(&str) -> Result<T, &'static str>,
) -> Option<T> {
    contacts.iter().find_map(|contact| {
        let key = *contact.keys.get(field)?;
        if key.is_empty() || contact.object.get(key).and_then(Value::as_str) == Some("") {
            return None;
        }
        match contact.object.said_text(key, notes, &hold) {
            Said::Value(value) => Some(value),
            Said::Null | Said::Nothing => None,
        }
    })
}

/// What the type says of its place within one second (semantics 2).
fn rank_of(kind: &str) -> u8 {
    match kind.rsplit('.').next() {
        Some("created") => rank::CREATED,
        Some("deleted") => rank::DELETED,
        Some("succeeded" | "canceled" | "closed" | "completed" | "expired" | "paid" | "voided") => {
            rank::LAST
        }
        _ => rank::UPDATED,
    }
}
