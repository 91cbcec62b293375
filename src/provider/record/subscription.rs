//! A subscription's record.

use super::Record;
use crate::{
    model::{
        contact,
        event::{Assertions, SubscriptionAssertion},
        register::Register,
        subscription::{SubscriptionFacts, SubscriptionKey},
    },
    provider::{
        Malformed,
        canonical::money::{SUBSCRIPTION_STATUSES, WORD, status},
    },
};

/// What only a subscription's record has.
pub(super) const FIELDS: &[&str] = &[
    "provider",
    "subscription_id",
    "status",
    "own_status",
    "plan",
    "current_period_end",
    "cancel_at_period_end",
    "ends_at",
];

impl Record<'_> {
    pub(super) fn subscription(&mut self) -> Result<Assertions, Malformed> {
        let fields = self.fields.clone();
        let namespace = fields.need("provider", fields.id("provider")?)?;
        let id = fields.need("subscription_id", fields.id("subscription_id")?)?;
        let first_at = self.first_at()?;
        let mut facts =
            SubscriptionFacts { first_at: Some(first_at), ..SubscriptionFacts::default() };
        // An export gives the status apart from what the time alone made of it.
        let field = if fields.has("own_status") { "own_status" } else { "status" };
        if fields.get(field).is_some_and(|given| !given.is_null()) {
            let status = status(&fields, field, SUBSCRIPTION_STATUSES)?;
            if let Some((authority, stamp)) = self.word("status") {
                facts.status = Register::of(authority, stamp.ranked(status.rank()), status);
            }
        } else if field == "status" {
            return Err(fields.wrong("status", "is missing"));
        }
        facts.plan = self.text("plan", |text| contact::clean(text, WORD));
        facts.current_period_end = self.time("current_period_end");
        facts.ends_at = self.time("ends_at");
        if let Some(flag) = fields.flag("cancel_at_period_end")?
            && let Some((authority, stamp)) = self.word("cancel_at_period_end")
        {
            facts.cancel_at_period_end = Register::of(authority, stamp, flag);
        }
        let key = SubscriptionKey { namespace: namespace.into(), id: id.into() };
        let references = self.hangs_on(first_at)?;
        let subscriptions = vec![SubscriptionAssertion { key, facts, references }];
        Ok(Assertions { subscriptions, ..Self::nothing() })
    }
}
