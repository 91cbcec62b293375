//! `payment.recorded`, `refund.recorded`, `dispute.recorded` and `subscription.recorded`. They say where they
//! hang and claim nothing.

use super::Record;
use crate::{
    model::{
        authority::Authority,
        contact,
        event::{Assertions, PaymentAssertion, SubscriptionAssertion},
        metadata::Scalar,
        money::Money,
        payment::{
            Captured, Cumulative, Dispute, DisputeStatus, ObjectClass, PaymentFacts, PaymentKey,
            PaymentStatus, Refund, RefundKind, RefundStatus,
        },
        register::Register,
        stamp::Stamp,
        subscription::{SubscriptionFacts, SubscriptionKey, SubscriptionStatus},
        time::Timestamp,
    },
    provider::{
        Malformed,
        read::{Object, kept, short},
    },
};

/// The longest text of a method, a code, a plan or an id that is kept.
pub(in crate::provider) const WORD: usize = 255;
/// The longest description that is kept.
pub(in crate::provider) const DESCRIPTION: usize = 1_000;

impl Record<'_> {
    pub(super) fn payment(&mut self) -> Result<Assertions, Malformed> {
        let mut notes = Vec::new();
        let payment = self.fact("payment")?;
        let id = payment.need("id", payment.id("id")?)?;
        let asked = payment.money("amount")?;
        let status = status(&payment, "status", PAYMENT_STATUSES)?;
        let mut facts = self.facts();
        facts.status = Some(status);
        facts.asked = Register::of(self.own(), self.stamp.clone(), asked);
        if status == PaymentStatus::Succeeded {
            let figure = Captured::whole(self.stamp.clone(), asked.minor);
            facts.capture(ObjectClass::Intent, asked.currency, &figure);
            let paid_at = kept(payment.time("paid_at"), &mut notes);
            facts.paid_at = Some(paid_at.map_or(self.stamp.at, |at| self.body.counted(at)));
        }
        if let Some(minor) = payment.amount("amount_refunded")? {
            let money = Money { minor, ..asked };
            let Stamp { at, rank, .. } = self.stamp;
            facts.cumulative = Some(Cumulative { at, rank, money });
        }
        self.describe(&payment, &mut facts, &mut notes);
        let nothing_moved = asked.minor == 0;
        let assertions =
            if nothing_moved { Assertions::default() } else { self.about_payment(id, facts) };
        self.notes = notes;
        Ok(assertions)
    }

    /// What is known of a payment besides its money.
    fn describe(&self, payment: &Object<'_>, facts: &mut PaymentFacts, notes: &mut Vec<String>) {
        let mut text = |key, longest| {
            let said = payment.said_text(key, notes, |text| contact::clean(text, longest));
            said.register(|value| Register::of(self.own(), self.stamp.clone(), value))
        };
        facts.method = text("method", WORD);
        facts.description = text("description", DESCRIPTION);
        facts.failure_code = text("failure_code", WORD);
        facts.subscription = text("subscription_id", WORD);
        let metadata = payment.metadata("metadata", notes);
        // The channel is kept as metadata, where it does not say otherwise itself.
        let channel =
            payment.said_text("source", notes, |text| contact::clean(text, WORD).map(Scalar::Text));
        let word = |value| Register::of(self.own(), self.stamp.clone(), value);
        let channel = channel.register(word);
        if !channel.is_empty() {
            facts.metadata.insert("source".into(), channel);
        }
        for (key, value) in metadata {
            facts.metadata.insert(key.to_owned(), word(value));
        }
    }

    pub(super) fn refund(&mut self) -> Result<Assertions, Malformed> {
        let refund = self.fact("refund")?;
        let id = refund.need("id", refund.id("id")?)?;
        let payment = refund.need("payment_id", refund.id("payment_id")?)?;
        let value = Refund {
            money: refund.money("amount")?,
            status: status(&refund, "status", REFUND_STATUSES)?,
            kind: RefundKind::Refund,
            created_at: None,
        };
        if value.money.minor == 0 {
            return Ok(Assertions::default());
        }
        let mut facts = self.facts();
        let stamp = self.stamp.ranked(10 + value.status as u8);
        facts.refunds.insert(id.to_owned(), Register::of(self.own(), stamp, value));
        Ok(self.about_payment(payment, facts))
    }

    pub(super) fn dispute(&mut self) -> Result<Assertions, Malformed> {
        let dispute = self.fact("dispute")?;
        let id = dispute.need("id", dispute.id("id")?)?;
        let payment = dispute.need("payment_id", dispute.id("payment_id")?)?;
        let money = dispute.money("amount")?;
        let status = status(&dispute, "status", DISPUTE_STATUSES)?;
        if money.minor == 0 {
            return Ok(Assertions::default());
        }
        let mut facts = self.facts();
        let stamp = self.stamp.ranked(10 + status as u8);
        let register = Register::of(self.own(), stamp, Dispute { money, status });
        facts.disputes.insert(id.to_owned(), register);
        Ok(self.about_payment(payment, facts))
    }

    pub(super) fn subscription(&mut self) -> Result<Assertions, Malformed> {
        let mut notes = Vec::new();
        let subscription = self.fact("subscription")?;
        let id = subscription.need("id", subscription.id("id")?)?;
        let status = status(&subscription, "status", SUBSCRIPTION_STATUSES)?;
        let own = self.own();
        let word = || self.stamp.clone();
        let mut facts = SubscriptionFacts {
            first_at: Some(self.stamp.at),
            status: Register::of(own, self.stamp.ranked(status.rank()), status),
            ..SubscriptionFacts::default()
        };
        facts.plan = subscription
            .said_text("plan", &mut notes, |text| contact::clean(text, WORD))
            .register(|value| Register::of(own, word(), value));
        let mut time = |key| {
            let said = subscription.said(key, &mut notes, |value| {
                let time = value.as_str().and_then(Timestamp::parse);
                time.ok_or("is no RFC 3339 time")
            });
            said.register(|value| Register::of(own, word(), value))
        };
        facts.current_period_end = time("current_period_end");
        facts.ends_at = time("ends_at");
        if let Some(flag) = kept(subscription.flag("cancel_at_period_end"), &mut notes) {
            facts.cancel_at_period_end = Register::of(own, word(), flag);
        }
        let namespace = self.body.source.namespace.clone();
        let key = SubscriptionKey { namespace, id: id.into() };
        let assertion = SubscriptionAssertion { key, facts, references: self.hangs_on() };
        self.notes = notes;
        Ok(Assertions { subscriptions: vec![assertion], ..Assertions::default() })
    }

    fn own(&self) -> Authority {
        self.body.source.provider.authority
    }

    fn facts(&self) -> PaymentFacts {
        PaymentFacts { first_at: Some(self.stamp.at), ..PaymentFacts::default() }
    }

    fn about_payment(&self, id: &str, facts: PaymentFacts) -> Assertions {
        let key = PaymentKey { namespace: self.body.source.namespace.clone(), id: id.into() };
        let payment = PaymentAssertion {
            keys: vec![key],
            facts,
            references: self.hangs_on(),
            match_email: Register::default(),
        };
        Assertions { payments: vec![payment], ..Assertions::default() }
    }
}

pub(in crate::provider) const PAYMENT_STATUSES: &[(&str, PaymentStatus)] = &[
    ("pending", PaymentStatus::Pending),
    ("requires_action", PaymentStatus::RequiresAction),
    ("failed", PaymentStatus::Failed),
    ("authorized", PaymentStatus::Authorized),
    ("canceled", PaymentStatus::Canceled),
    ("succeeded", PaymentStatus::Succeeded),
    ("cancelled", PaymentStatus::Canceled),
];

pub(in crate::provider) const REFUND_STATUSES: &[(&str, RefundStatus)] = &[
    ("pending", RefundStatus::Pending),
    ("succeeded", RefundStatus::Succeeded),
    ("failed", RefundStatus::Failed),
    ("canceled", RefundStatus::Failed),
    ("cancelled", RefundStatus::Failed),
];

pub(in crate::provider) const DISPUTE_STATUSES: &[(&str, DisputeStatus)] =
    &[("open", DisputeStatus::Open), ("won", DisputeStatus::Won), ("lost", DisputeStatus::Lost)];

pub(in crate::provider) const SUBSCRIPTION_STATUSES: &[(&str, SubscriptionStatus)] = &[
    ("incomplete", SubscriptionStatus::Incomplete),
    ("incomplete_expired", SubscriptionStatus::IncompleteExpired),
    ("trialing", SubscriptionStatus::Trialing),
    ("active", SubscriptionStatus::Active),
    ("past_due", SubscriptionStatus::PastDue),
    ("paused", SubscriptionStatus::Paused),
    ("unpaid", SubscriptionStatus::Unpaid),
    ("canceled", SubscriptionStatus::Canceled),
    ("cancelled", SubscriptionStatus::Canceled),
];

/// A status that must be there and be one of the format's words.
pub(in crate::provider) fn status<T: Copy>(
    object: &Object<'_>,
    field: &str,
    words: &[(&str, T)],
) -> Result<T, Malformed> {
    let word = object.need(field, object.text(field)?)?;
    let known = words.iter().find(|(known, _)| *known == word).map(|(_, status)| *status);
    known.ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let words = words.join(", ");
        object.wrong(field, format!("`{}` is not known; known are {words}", short(word)))
    })
}
