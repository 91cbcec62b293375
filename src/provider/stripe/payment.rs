//! What intents, charges, sessions, invoices, refunds and disputes say in common: they all tell of payments.

use super::change::{Change, word};
use crate::model::{
    contact,
    event::{Assertions, PaymentAssertion, Reading, ReferenceAssertion},
    money::Money,
    payment::{Captured, ObjectClass, PaymentFacts, PaymentKey, PaymentStatus},
    reference::Reference,
    register::Register,
    stamp::Stamp,
};

/// The longest text of a method, a code or a provider's word that is kept.
const WORD: usize = 255;
/// The longest description that is kept.
const DESCRIPTION: usize = 1_000;

impl Change<'_> {
    /// An empty assertion about the payment of these names, the preferred one first.
    pub(super) fn payment<'k>(
        &self,
        names: impl IntoIterator<Item = Option<&'k str>>,
        references: Vec<(Reference, Stamp)>,
    ) -> PaymentAssertion {
        let mut keys: Vec<PaymentKey> = Vec::new();
        for id in names.into_iter().flatten() {
            let key = PaymentKey { namespace: self.body.source.namespace.clone(), id: id.into() };
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let facts = PaymentFacts { first_at: Some(self.at), ..PaymentFacts::default() };
        PaymentAssertion { keys, facts, references, match_email: Register::default() }
    }

    /// That a class of object says the money moved.
    pub(super) fn succeeded(&self, facts: &mut PaymentFacts, class: ObjectClass, money: Money) {
        facts.status = facts.status.max(Some(PaymentStatus::Succeeded));
        let figure = Captured::whole(self.stamp(), money.minor);
        facts.capture(class, money.currency, &figure);
        if self.is_event() {
            facts.paid_at = Some(self.at);
        } else {
            facts.paid_not_before = Some(self.at);
        }
    }

    /// The amount asked for. Another object's word only fills in for the intent's (or the sole object's).
    pub(super) fn asked(&self, money: Money, field: &str, sole: bool) -> Register<Money> {
        let authority = if sole { self.own() } else { self.own().weak() };
        let old = self.previous.as_ref().and_then(|previous| previous.amount(field).ok().flatten());
        let old = old.map(|minor| Money { minor, ..money });
        word((authority, self.stamp()), money, self.changed(&[field]), old)
    }

    /// What it was for.
    pub(super) fn description(&mut self) -> Register<Option<String>> {
        let own = self.own();
        self.text("description", own, false, |text| contact::clean(text, DESCRIPTION))
    }

    /// A provider's word (a method, a code) that one place of the object gives.
    pub(super) fn provider_word(&mut self, place: &str, word: &str) -> Option<String> {
        match contact::clean(word, WORD) {
            Ok(word) => Some(word),
            Err(why) => {
                self.notes.push(format!("{}: {why}", self.object.place(place)));
                None
            }
        }
    }

    /// Why it failed: the word where it did, nothing where it succeeded after all.
    pub(super) fn failure(
        &mut self,
        status: PaymentStatus,
        word: Option<(&str, &str)>,
    ) -> Register<Option<String>> {
        let code = word.and_then(|(place, word)| self.provider_word(place, word));
        let level = self.level(self.own());
        match (status, code) {
            (PaymentStatus::Succeeded, _) => Register::of(level, self.stamp(), None),
            (_, Some(code)) => Register::of(level, self.stamp(), Some(code)),
            (_, None) => Register::default(),
        }
    }
}

/// What was read, or why it says nothing.
pub(super) fn reading(
    about: Option<ReferenceAssertion>,
    payment: Option<PaymentAssertion>,
    why_not: &str,
) -> Reading {
    let assertions = Assertions {
        references: about.into_iter().collect(),
        payments: payment.into_iter().collect(),
        subscriptions: Vec::new(),
        ..Assertions::default()
    };
    if assertions.is_empty() {
        Reading::Ignored(why_not.to_owned())
    } else {
        Reading::Asserts(Box::new(assertions))
    }
}
