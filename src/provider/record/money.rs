//! A payment's record: the money that moved, what went back of it, and where it hangs.

use super::Record;
use crate::{
    model::{
        authority::Authority,
        contact,
        event::{Assertions, PaymentAssertion},
        money::{Currency, Money},
        payment::{
            Captured, Cumulative, Dispute, ObjectClass, PaymentFacts, PaymentKey, PaymentStatus,
            Refund, RefundKind, ShownStatus,
        },
        register::Register,
        stamp::Stamp,
        time::Timestamp,
    },
    provider::{
        Malformed,
        canonical::money::{
            DESCRIPTION, DISPUTE_STATUSES, PAYMENT_STATUSES, REFUND_STATUSES, WORD, status,
        },
        read::{Object, kept},
    },
};

/// What only a payment's record has.
pub(super) const FIELDS: &[&str] = &[
    "provider",
    "payment_id",
    "aliases",
    "amount",
    "currency",
    "captured_by",
    "captures",
    "status",
    "own_status",
    "paid_at",
    "amount_refunded",
    "refund_total",
    "refunds",
    "disputed_lost",
    "disputes",
    "method",
    "description",
    "failure_code",
    "subscription_id",
    "metadata",
];

impl Record<'_> {
    pub(super) fn payment(&mut self) -> Result<Assertions, Malformed> {
        let keys = self.payment_keys()?;
        let fields = self.fields.clone();
        let amount = fields.amount("amount")?;
        if amount == Some(0) {
            return Ok(Self::nothing());
        }
        let currency = fields.currency("currency")?;
        let asked = match (amount, currency) {
            (Some(minor), Some(currency)) => Some(Money { minor, currency }),
            (Some(_), None) => return Err(fields.wrong("currency", "is missing")),
            (None, _) => None,
        };
        let first_at = self.first_at()?;
        let mut facts = PaymentFacts { first_at: Some(first_at), ..PaymentFacts::default() };
        facts.status = self.own_status(asked.is_some())?;
        if let Some(asked) = asked {
            self.figures(&mut facts, asked)?;
        } else if facts.status == Some(PaymentStatus::Succeeded) {
            return Err(fields.wrong("amount", "is missing"));
        }
        self.money_back(&mut facts, asked, currency)?;
        self.disputes(&mut facts, currency)?;
        facts.method = self.text("method", |text| contact::clean(text, WORD));
        facts.description = self.text("description", |text| contact::clean(text, DESCRIPTION));
        facts.failure_code = self.text("failure_code", |text| contact::clean(text, WORD));
        facts.subscription = self.text("subscription_id", |text| contact::clean(text, WORD));
        facts.metadata = self.metadata();
        let references = self.hangs_on(first_at)?;
        let payment =
            PaymentAssertion { keys, facts, references, match_email: Register::default() };
        Ok(Assertions { payments: vec![payment], ..Self::nothing() })
    }

    /// Its own id first, then the provider's other ids for it.
    fn payment_keys(&self) -> Result<Vec<PaymentKey>, Malformed> {
        let fields = &self.fields;
        let namespace = fields.need("provider", fields.id("provider")?)?;
        let mut ids = vec![fields.need("payment_id", fields.id("payment_id")?)?];
        ids.extend(fields.ids("aliases")?);
        let key = |id: &str| PaymentKey { namespace: namespace.into(), id: id.into() };
        let mut keys: Vec<PaymentKey> = Vec::with_capacity(ids.len());
        for key in ids.into_iter().map(key) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    /// How far it got, apart from what went back: `own_status` where an export gives it, else what `status`
    /// comes to. Of a payment without an amount nothing is known but what is said of it elsewhere.
    fn own_status(&self, has_amount: bool) -> Result<Option<PaymentStatus>, Malformed> {
        let fields = &self.fields;
        if fields.has("own_status") {
            let given = fields.text("own_status")?;
            return given.map(|_| status(fields, "own_status", PAYMENT_STATUSES)).transpose();
        }
        let shown = fields.need("status", fields.text("status")?)?;
        let is = |known: ShownStatus| known.as_str() == shown;
        let went_back = is(ShownStatus::Refunded) || is(ShownStatus::PartiallyRefunded);
        if went_back || is(ShownStatus::Disputed) {
            return Ok(Some(PaymentStatus::Succeeded));
        }
        let status = status(fields, "status", PAYMENT_STATUSES)?;
        Ok((has_amount || status != PaymentStatus::Pending).then_some(status))
    }

    fn own(&self) -> Authority {
        self.body.source.provider.authority
    }

    fn figures(&mut self, facts: &mut PaymentFacts, asked: Money) -> Result<(), Malformed> {
        if let Some((authority, stamp)) = self.word("amount") {
            facts.asked = Register::of(authority, stamp, asked);
        }
        if facts.status != Some(PaymentStatus::Succeeded) {
            return Ok(());
        }
        let class = match self.fields.text("captured_by")? {
            None | Some("intent") => ObjectClass::Intent,
            Some("charge") => ObjectClass::Charge,
            Some("invoice") => ObjectClass::Invoice,
            Some("session") => ObjectClass::Session,
            Some(_) => {
                let what = "is none of intent, charge, invoice and session";
                return Err(self.fields.wrong("captured_by", what));
            }
        };
        let paid_at = self.fields.time("paid_at")?.map(|at| self.body.counted(at));
        let first = Stamp { at: paid_at.unwrap_or(self.stamp.at), ..self.stamp.clone() };
        facts.capture(class, asked.currency, &Captured::whole(first.clone(), asked.minor));
        for entry in self.fields.objects("captures")? {
            let id = entry.need("id", entry.id("id")?)?.to_owned();
            let part = money(&entry, Some(asked.currency))?;
            facts.capture(class, part.currency, &Captured::part(first.clone(), id, part.minor));
        }
        facts.paid_at = Some(paid_at.unwrap_or(self.stamp.at));
        Ok(())
    }

    /// Each refund where they are listed; else the sum of them.
    fn money_back(
        &mut self,
        facts: &mut PaymentFacts,
        asked: Option<Money>,
        currency: Option<Currency>,
    ) -> Result<(), Malformed> {
        let fields = self.fields.clone();
        for entry in fields.objects("refunds")? {
            let kind = match entry.text("kind")? {
                Some("reversal") => RefundKind::Reversal,
                _ => RefundKind::Refund,
            };
            let status = status(&entry, "status", REFUND_STATUSES)?;
            if !entry.has("amount")
                && let Some(id) = entry.id("id")?
            {
                let (authority, stamp) = self.entry_word(&entry, None)?;
                let register = Register::of(authority, stamp.ranked(10 + status as u8), status);
                facts.refund_statuses.insert(id.to_owned(), register);
                continue;
            }
            let value = Refund {
                money: money(&entry, currency)?,
                status,
                kind,
                created_at: entry.time("created_at")?,
            };
            if value.money.minor == 0 {
                continue;
            }
            let (authority, stamp) = self.entry_word(&entry, value.created_at)?;
            let (stamp, Money { minor, currency }) =
                (stamp.ranked(10 + value.status as u8), value.money);
            let register = Register::of(authority, stamp, value);
            match entry.id("id")? {
                Some(id) => facts.refunds.insert(id.to_owned(), register),
                None => facts.unnamed_refunds.insert(format!("{minor} {currency}"), register),
            };
        }
        if let Some(total) = fields.object("refund_total")? {
            let money = money(&total, currency)?;
            let at = kept(total.time("at"), &mut self.notes)
                .map_or(Timestamp::UNKNOWN, |at| self.body.counted(at));
            facts.cumulative = Some(Cumulative { at, rank: self.stamp.rank, money });
        } else if !fields.has("refunds")
            && let Some(asked) = asked
        {
            self.sum_back(facts, asked)?;
        }
        Ok(())
    }

    /// A plain record's own sum. Nothing is asserted by 0: it would say that what came back since did not.
    fn sum_back(&self, facts: &mut PaymentFacts, asked: Money) -> Result<(), Malformed> {
        let all = self.fields.text("status")? == Some(ShownStatus::Refunded.as_str());
        let minor = match self.fields.amount("amount_refunded")? {
            Some(minor) => minor,
            None if all => asked.minor,
            None => 0,
        };
        if minor > 0 {
            let money = Money { minor, ..asked };
            let Stamp { at, rank, .. } = self.stamp;
            facts.cumulative = Some(Cumulative { at, rank, money });
        }
        Ok(())
    }

    fn disputes(
        &mut self,
        facts: &mut PaymentFacts,
        currency: Option<Currency>,
    ) -> Result<(), Malformed> {
        let fields = self.fields.clone();
        for entry in fields.objects("disputes")? {
            let id = entry.need("id", entry.id("id")?)?;
            let money = money(&entry, currency)?;
            let status = status(&entry, "status", DISPUTE_STATUSES)?;
            let (authority, stamp) = self.entry_word(&entry, None)?;
            let stamp = stamp.ranked(10 + status as u8);
            let register = Register::of(authority, stamp, Dispute { money, status });
            facts.disputes.insert(id.to_owned(), register);
        }
        if !fields.has("disputes") && fields.amount("disputed_lost")?.is_some_and(|lost| lost > 0) {
            let why =
                "counts only with the disputes that were lost, each with its id, under `disputes`";
            self.notes.push(format!("disputed_lost: {why}"));
        }
        Ok(())
    }

    /// By whom and when an entry of a list was said; the record's own time where it does not say.
    fn entry_word(
        &self,
        entry: &Object<'_>,
        made: Option<Timestamp>,
    ) -> Result<(Authority, Stamp), Malformed> {
        let Some(text) = entry.text("said")? else {
            let at = made.map_or(self.stamp.at, |made| made.max(self.stamp.at));
            return Ok((self.own(), Stamp { at, ..self.stamp.clone() }));
        };
        let (authority, at) = super::said_by(self.body, text)
            .ok_or_else(|| entry.wrong("said", "is no level with an RFC 3339 time behind it"))?;
        Ok((authority, Stamp { at, ..self.stamp.clone() }))
    }
}

/// An amount of the entry's own currency, else of the payment's.
fn money(entry: &Object<'_>, currency: Option<Currency>) -> Result<Money, Malformed> {
    let minor = entry.need("amount", entry.amount("amount")?)?;
    let currency = entry.currency("currency")?.or(currency);
    Ok(Money { minor, currency: entry.need("currency", currency)? })
}
