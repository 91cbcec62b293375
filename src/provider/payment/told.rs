//! From the plain parts of one event to the model's words.

use super::{Back, Contact, Dispute, Head, Payment, Subscription, Whose, Word};
use crate::{
    model::{
        authority::Authority,
        contact::{self, Email},
        event::{
            Assertions, ClaimAssertion, PaymentAssertion, Reading, ReferenceAssertion,
            SubscriptionAssertion,
        },
        money::Money,
        payment::{Captured, Cumulative, PaymentFacts, PaymentKey, PaymentStatus},
        reference::{Deletion, Kind, Reference, Scope},
        register::Register,
        stamp::{EventKey, Stamp, rank},
        subscription::{SubscriptionFacts, SubscriptionKey},
        time::Timestamp,
    },
    provider::{
        Body, Item, Malformed, On, Place, Target,
        read::{Object, Said, short},
    },
};
use serde_json::Value;
use std::borrow::Cow;

/// The longest text of a method, a code, a plan or an id that is kept.
const WORD: usize = 255;
/// The longest description that is kept.
const DESCRIPTION: usize = 1_000;
/// Why an amount of 0 asserts nothing.
const NOTHING_MOVED: &str = "no money moved";

/// What one event has told so far.
pub(crate) struct Told<'a> {
    pub(crate) body: &'a Body<'a>,
    at: Timestamp,
    state_at: Timestamp,
    rank: u8,
    key: EventKey,
    pub(crate) notes: Vec<String>,
    assertions: Assertions,
    why_not: Option<String>,
}

/// Reads one event: `read` tells what its object says.
pub(crate) fn item<'a>(
    body: &'a Body<'a>,
    head: Head<'a>,
    read: impl FnOnce(&mut Told<'a>) -> Result<(), Malformed>,
) -> Item {
    let Head { id, hash, kind, at, ordered, live, rank } = head;
    let hash = hash.unwrap_or_else(|| body.hash.to_owned());
    let counted = at.map(|at| body.counted(at));
    let mut told = Told {
        body,
        at: counted.unwrap_or(body.received_at),
        state_at: counted.filter(|_| ordered).unwrap_or(Timestamp::UNKNOWN),
        rank,
        key: body.key(id.as_deref(), &hash),
        notes: Vec::new(),
        assertions: Assertions::default(),
        why_not: None,
    };
    let reading = match read(&mut told) {
        Err(Malformed(why)) => Reading::Malformed(why),
        Ok(()) if told.assertions.is_empty() => {
            let unsaid = || "it tells of no customer and no money".to_owned();
            Reading::Ignored(told.why_not.unwrap_or_else(unsaid))
        }
        Ok(()) => Reading::Asserts(Box::new(told.assertions)),
    };
    let id = id.map(Cow::into_owned);
    let kind = kind.into_owned();
    Item { id, hash, kind, occurred_at: at, live, notes: told.notes, reading }
}

impl<'a> Told<'a> {
    /// Why the event asserts nothing, should it not.
    pub(crate) fn ignore(&mut self, why: impl Into<String>) {
        self.why_not = Some(why.into());
    }

    /// That a type is none of ours.
    pub(crate) fn not_mapped(&mut self, kind: &str) {
        self.ignore(format!("the type `{}` is not mapped", short(kind)));
    }

    fn stamp(&self) -> Stamp {
        Stamp { at: self.at, rank: self.rank, key: self.key.clone() }
    }

    fn state_stamp(&self, rank: u8) -> Stamp {
        Stamp { at: self.state_at, rank, key: self.key.clone() }
    }

    fn own(&self) -> Authority {
        self.body.source.provider.authority
    }

    /// What is said at a key: a text, or a number by its text. An empty text counts as null.
    pub(crate) fn said(&mut self, object: &Object<'a>, key: &str) -> Said<Word<'a>> {
        let text = match object.get(key) {
            None => return Said::Nothing,
            Some(Value::Null) => return Said::Null,
            Some(Value::String(text)) if text.trim().is_empty() => return Said::Null,
            Some(Value::String(text)) => Cow::Borrowed(text.as_str()),
            Some(Value::Number(number)) => Cow::Owned(number.to_string()),
            Some(_) => {
                self.notes.push(object.wrong(key, "is no text").0);
                return Said::Nothing;
            }
        };
        Said::Value(Word { at: object.place(key), text })
    }

    /// As [`said`](Self::said), where null says nothing.
    pub(crate) fn word(&mut self, object: &Object<'a>, key: &str) -> Option<Word<'a>> {
        match self.said(object, key) {
            Said::Value(word) => Some(word),
            Said::Null | Said::Nothing => None,
        }
    }

    /// Several keys as one text, joined by spaces: null where all are empty.
    pub(crate) fn joined(&mut self, object: &Object<'a>, keys: &[&str]) -> Said<Word<'a>> {
        if !keys.iter().any(|key| object.has(key)) {
            return Said::Nothing;
        }
        let words: Vec<_> = keys.iter().filter_map(|key| self.word(object, key)).collect();
        let texts: Vec<_> = words.iter().map(|word| word.text.trim()).collect();
        match words.first() {
            None => Said::Null,
            Some(first) => {
                Said::Value(Word { at: first.at.clone(), text: Cow::Owned(texts.join(" ")) })
            }
        }
    }

    /// Contact fields at the keys of name, e-mail address and phone number; an empty key is none.
    pub(crate) fn contact(&mut self, object: &Object<'a>, keys: [&str; 3]) -> Contact<'a> {
        let [name, email, phone] = keys;
        Contact {
            name: self.said(object, name),
            email: self.said(object, email),
            phone: self.said(object, phone),
        }
    }

    fn hold<T>(
        &mut self,
        word: &Word<'_>,
        hold: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        match hold(&word.text) {
            Ok(value) => Some(value),
            Err(why) => {
                self.notes.push(format!("{}: {why}", word.at));
                None
            }
        }
    }

    fn register<T: Clone + PartialEq>(
        &mut self,
        said: &Said<Word<'a>>,
        authority: Authority,
        hold: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Register<Option<T>> {
        match said {
            Said::Nothing => Register::default(),
            Said::Null => Register::of(authority, self.stamp(), None),
            Said::Value(word) => match self.hold(word, hold) {
                Some(value) => Register::of(authority, self.stamp(), Some(value)),
                None => Register::default(),
            },
        }
    }

    fn reference(&self, id: &str) -> Result<Reference, Malformed> {
        Reference::new(Kind::Payment, &self.body.source.namespace, id)
            .map_err(|why| Malformed(format!("the customer's id {why}")))
    }

    /// The provider's own object of its customer: contact fields that null clears, metadata, and a claim by the
    /// places that may claim.
    pub(crate) fn person(
        &mut self,
        id: &str,
        object: &Object<'a>,
        contact: &Contact<'a>,
        metadata: Option<&'static str>,
    ) -> Result<(), Malformed> {
        let mut about = ReferenceAssertion::new(self.reference(id)?);
        let source = self.body.source;
        let level = |field| source.authority_for(field);
        let profile = &mut about.facts.profile;
        profile.name = self.register(&contact.name, level("name"), contact::name);
        profile.email =
            self.register(&contact.email, level("email"), |text| Email::parse(text, false));
        profile.phone = self.register(&contact.phone, level("phone"), contact::phone);
        if let Some(key) = metadata {
            for (name, value) in self.metadata_of(object, key) {
                let register = Register::of(level("metadata"), self.stamp(), value);
                profile.metadata.insert(name, register);
            }
        }
        about.claim = self.claim(std::slice::from_ref(object), true);
        about.facts.first = Some(self.stamp());
        self.assertions.references.push(about);
        Ok(())
    }

    /// That the provider's customer is gone.
    pub(crate) fn deleted(&mut self, id: &str) -> Result<(), Malformed> {
        let mut about = ReferenceAssertion::new(self.reference(id)?);
        let stamp = self.stamp().ranked(rank::DELETED);
        // It reaches its own identity only, unless the source says otherwise (semantics 4).
        let scope = match self.body.source.on_delete {
            Scope::Customer => Scope::Customer,
            Scope::Identity | Scope::Auto => Scope::Identity,
        };
        let key = stamp.key.clone();
        about.facts.deletions.insert(Deletion { at: stamp.at, key, scope, erase_payments: false });
        about.facts.first = Some(stamp);
        self.assertions.references.push(about);
        Ok(())
    }

    fn metadata_of(
        &mut self,
        object: &Object<'a>,
        key: &str,
    ) -> Vec<(String, Option<crate::model::metadata::Scalar>)> {
        // Providers write `""`, `0` or `[]` for none.
        if !object.get(key).is_some_and(Value::is_object) {
            return Vec::new();
        }
        let held = object.metadata(key, &mut self.notes);
        held.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Under whom the provider's customer hangs, by the places that may claim. On its own object a null that an
    /// update brings says: under nobody.
    fn claim(&mut self, objects: &[Object<'a>], own: bool) -> Option<ClaimAssertion> {
        let source = self.body.source;
        let may = |place: &&Place| place.claims && (own || place.on == On::Any);
        let places: Vec<_> = source.places.iter().filter(may).collect();
        let mut under = None;
        let mut null = false;
        for object in objects {
            for place in &places {
                null |= object.path(&place.at).is_some_and(Value::is_null);
                if under.is_none() {
                    under = self.named_at(object, place);
                }
            }
        }
        let cleared = own && null && self.rank == rank::UPDATED;
        let authority = source.authority_for("external_id");
        (under.is_some() || cleared).then(|| ClaimAssertion {
            under,
            authority,
            stamp: self.stamp(),
        })
    }

    fn named_at(&mut self, object: &Object<'a>, place: &Place) -> Option<Reference> {
        let number;
        let subject = match object.path(&place.at)? {
            Value::Null => return None,
            Value::String(text) if text.is_empty() => return None,
            Value::String(text) => text.as_str(),
            Value::Number(given) if given.is_i64() || given.is_u64() => {
                number = given.to_string();
                number.as_str()
            }
            _ => {
                self.notes.push(format!("{}: is no id", object.place(&place.at)));
                return None;
            }
        };
        let reference = match &place.target {
            Target::ExternalId => Reference::new(Kind::External, "", subject),
            Target::Namespace(namespace) => Reference::new(Kind::Auth, namespace, subject),
        };
        match reference {
            Ok(reference) => Some(reference),
            Err(why) => {
                self.notes.push(format!("{}: {why}", object.place(&place.at)));
                None
            }
        }
    }

    /// Where an object hangs: on the provider's customer, and on the first name of each kind that stands at one of
    /// the source's places. What it says of that customer fills what is absent there.
    fn hang(&mut self, whose: &Whose<'a>) -> Result<Vec<(Reference, Stamp)>, Malformed> {
        let customer = whose.customer.as_deref().map(|id| self.reference(id)).transpose()?;
        let source = self.body.source;
        let mut hangs: Vec<Reference> = Vec::new();
        hangs.extend(customer.clone());
        for object in &whose.named_in {
            for place in source.places.iter().filter(|place| place.on == On::Any) {
                if let Some(name) = self.named_at(object, place)
                    && hangs.iter().all(|known| known.kind != name.kind)
                {
                    hangs.push(name);
                }
            }
        }
        if let Some(customer) = customer {
            self.about(customer, whose);
        }
        Ok(hangs.into_iter().map(|reference| (reference, self.stamp())).collect())
    }

    /// What an object says beside its own matter of the provider's customer: null there says nothing (semantics 3).
    fn about(&mut self, customer: Reference, whose: &Whose<'a>) {
        if self.assertions.references.iter().any(|known| known.reference == customer) {
            return;
        }
        let mut about = ReferenceAssertion::new(customer);
        let source = self.body.source;
        let weak = |field| source.authority_for(field).weak();
        let Contact { name, email, phone } = &whose.contact;
        let profile = &mut about.facts.profile;
        if let Said::Value(_) = name {
            profile.name = self.register(name, weak("name"), contact::name);
        }
        if let Said::Value(_) = email {
            profile.email = self.register(email, weak("email"), |text| Email::parse(text, false));
        }
        if let Said::Value(_) = phone {
            profile.phone = self.register(phone, weak("phone"), contact::phone);
        }
        let says =
            !(profile.name.is_empty() && profile.email.is_empty() && profile.phone.is_empty());
        about.claim = self.claim(&whose.named_in, false);
        about.facts.first = Some(self.stamp());
        if says || about.claim.is_some() {
            self.assertions.references.push(about);
        }
    }

    /// The payer's address of a payment that names nobody, where the source shows such payments at the only customer
    /// with that address.
    fn match_email(&mut self, nobody: bool, contact: &Contact<'a>) -> Register<String> {
        let source = self.body.source;
        let Said::Value(word) = &contact.email else { return Register::default() };
        if !nobody || !source.match_email {
            return Register::default();
        }
        let email = self.hold(word, |text| Email::parse(text, false));
        email
            .map(|email| Register::of(source.authority_for("email"), self.stamp(), email.key()))
            .unwrap_or_default()
    }

    /// That the body speaks of a customer, and of nothing else that we hold.
    pub(crate) fn customer(&mut self, whose: &Whose<'a>) -> Result<(), Malformed> {
        self.hang(whose).map(drop)
    }

    /// What is said of a payment, and whose it is.
    pub(crate) fn payment(
        &mut self,
        payment: Payment<'a>,
        whose: &Whose<'a>,
    ) -> Result<(), Malformed> {
        let references = self.hang(whose)?;
        if payment.is_nothing() {
            self.ignore(NOTHING_MOVED);
            return Ok(());
        }
        let match_email = self.match_email(references.is_empty(), &whose.contact);
        let mut keys: Vec<PaymentKey> = Vec::new();
        for id in &payment.names {
            let key = self.payment_key(id)?;
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let facts = self.facts(payment);
        self.assertions.payments.push(PaymentAssertion { keys, facts, references, match_email });
        Ok(())
    }

    fn payment_key(&self, id: &str) -> Result<PaymentKey, Malformed> {
        let namespace = self.body.source.namespace.clone();
        contact::clean(id, WORD)
            .map(|id| PaymentKey { namespace, id: id.into() })
            .map_err(|why| Malformed(format!("the payment's id {why}")))
    }

    fn facts(&mut self, payment: Payment<'a>) -> PaymentFacts {
        let own = self.own();
        let mut facts = PaymentFacts {
            status: payment.status,
            first_at: Some(self.at),
            ..PaymentFacts::default()
        };
        if let Some(money) = payment.money {
            facts.asked = Register::of(own, self.stamp(), money);
        }
        if payment.status == Some(PaymentStatus::Succeeded)
            && let Some(Money { minor, currency }) = payment.captured.or(payment.money)
        {
            let figure = match payment.capture {
                Some(id) => Captured::part(self.stamp(), id.into_owned(), minor),
                None => Captured::whole(self.stamp(), minor),
            };
            facts.capture(payment.class, currency, &figure);
            let paid_at = payment.paid_at.map(|at| self.body.counted(at));
            facts.paid_at = Some(paid_at.unwrap_or(self.at));
        }
        if let Some(money) = payment.refunded {
            facts.cumulative = Some(Cumulative { at: self.state_at, rank: rank::UPDATED, money });
        }
        self.money_back(&mut facts, payment.refunds, payment.disputes);
        self.describe(&mut facts, payment.method.as_ref(), payment.description.as_ref());
        let failure = payment.failure.and_then(|word| self.hold(&word, clean_word));
        if let Some(status) = payment.status {
            let stamp = self.stamp().ranked(10 + status as u8);
            facts.failure_code = match (status, failure) {
                (PaymentStatus::Succeeded, _) => Register::of(own, stamp, None),
                (_, Some(code)) => Register::of(own, stamp, Some(code)),
                (_, None) => Register::default(),
            };
        }
        if let Some(id) = payment.subscription {
            facts.subscription = Register::of(own, self.stamp(), Some(id.into_owned()));
        }
        if let Some((object, key)) = payment.metadata {
            for (name, value) in self.metadata_of(&object, key) {
                facts.metadata.insert(name, Register::of(own, self.stamp(), value));
            }
        }
        facts
    }

    fn money_back(
        &self,
        facts: &mut PaymentFacts,
        refunds: Vec<Back<'a>>,
        disputes: Vec<Dispute<'a>>,
    ) {
        for Back { id, money, status, kind, created_at } in refunds {
            let stamp = self.state_stamp(10 + status as u8);
            let Some(money) = money else {
                if let Some(id) = id {
                    let register = Register::of(self.own(), stamp, status);
                    facts.refund_statuses.insert(id.into_owned(), register);
                }
                continue;
            };
            if money.minor == 0 {
                continue;
            }
            let value = crate::model::payment::Refund { money, status, kind, created_at };
            let register = Register::of(self.own(), stamp, value);
            if let Some(id) = id {
                facts.refunds.insert(id.into_owned(), register);
            } else {
                let amount = format!("{} {}", money.minor, money.currency);
                facts.unnamed_refunds.insert(amount, register);
            }
        }
        for Dispute { id, money, status } in disputes {
            if money.minor == 0 {
                continue;
            }
            let value = crate::model::payment::Dispute { money, status };
            let register = Register::of(self.own(), self.state_stamp(10 + status as u8), value);
            facts.disputes.insert(id.into_owned(), register);
        }
    }

    fn describe(
        &mut self,
        facts: &mut PaymentFacts,
        method: Option<&Word<'a>>,
        description: Option<&Word<'a>>,
    ) {
        let own = self.own();
        let held = method.and_then(|word| self.hold(word, clean_word));
        if let Some(method) = held {
            facts.method = Register::of(own, self.stamp(), Some(method));
        }
        let held =
            description.and_then(|word| self.hold(word, |text| contact::clean(text, DESCRIPTION)));
        if let Some(description) = held {
            facts.description = Register::of(own, self.stamp(), Some(description));
        }
    }

    /// What is said of a subscription, and whose it is.
    pub(crate) fn subscription(
        &mut self,
        subscription: Subscription<'a>,
        whose: &Whose<'a>,
    ) -> Result<(), Malformed> {
        let references = self.hang(whose)?;
        let own = self.own();
        let Subscription { id, status, plan, current_period_end, cancel_at_period_end, ends_at } =
            subscription;
        let mut facts =
            SubscriptionFacts { first_at: Some(self.at), ..SubscriptionFacts::default() };
        if let Some(status) = status {
            facts.status = Register::of(own, self.state_stamp(status.rank()), status);
        }
        if let Some(plan) = plan.and_then(|word| self.hold(&word, clean_word)) {
            facts.plan = Register::of(own, self.stamp(), Some(plan));
        }
        if let Some(end) = current_period_end {
            facts.current_period_end = Register::of(own, self.stamp(), Some(end));
        }
        if let Some(flag) = cancel_at_period_end {
            facts.cancel_at_period_end = Register::of(own, self.stamp(), flag);
        }
        facts.ends_at = ends_at.register(|end| Register::of(own, self.stamp(), end));
        let key = self.payment_key(&id)?;
        let key = SubscriptionKey { namespace: key.namespace, id: key.id };
        self.assertions.subscriptions.push(SubscriptionAssertion { key, facts, references });
        Ok(())
    }
}

fn clean_word(text: &str) -> Result<String, &'static str> {
    contact::clean(text, WORD)
}

/// A status that must be there and be one of a provider's words.
pub(crate) fn status<T: Copy>(
    object: &Object<'_>,
    key: &str,
    words: &[(&str, T)],
    what: &str,
) -> Result<T, Malformed> {
    let word = object.need(key, object.text(key)?)?;
    let known = words.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
    known
        .map(|(_, status)| *status)
        .ok_or_else(|| object.wrong(key, format!("`{}` is no status of {what}", short(word))))
}
