//! Subscriptions.

use super::change::{Change, Contact, word};
use crate::{
    model::{
        event::{Assertions, Reading, SubscriptionAssertion},
        reference::Reference,
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

/// A subscription that another object names, and where that object says it hangs.
pub(super) fn named(
    event: &Change<'_>,
    id: &str,
    references: Vec<(Reference, Stamp)>,
) -> SubscriptionAssertion {
    let namespace = event.body.source.namespace.clone();
    SubscriptionAssertion {
        key: SubscriptionKey { namespace, id: id.into() },
        facts: SubscriptionFacts { first_at: Some(event.at), ..SubscriptionFacts::default() },
        references,
    }
}

pub(super) fn read(event: &mut Change<'_>) -> Result<Reading, Malformed> {
    let subscription = event.object.clone();
    let id = subscription.need("id", subscription.id("id")?)?;
    let customer = event.customer()?;
    let status = status(&subscription)?;
    let contacts: Vec<_> = subscription.expanded("customer").into_iter().map(Contact::of).collect();
    let about = event.about(customer.as_ref(), &contacts);
    let references = event.hangs_on(customer.as_ref(), &[]);

    let mut asserted = named(event, id, references);
    let facts = &mut asserted.facts;
    let before = event.previous.clone().and_then(|previous| self::status(&previous).ok());
    facts.status = word(
        (event.own(), event.state_stamp(status.rank())),
        status,
        event.changed(&["status"]),
        before,
    );
    facts.plan = field(event, &["plan", "items"], &subscription, |object, _| plan(object));
    facts.current_period_end =
        field(event, &["current_period_end", "items"], &subscription, period_end);
    facts.ends_at = ends_at(event, &subscription);
    let at_period_end = kept(subscription.flag("cancel_at_period_end"), &mut event.notes);
    if let Some(flag) = at_period_end {
        let changed = event.changed(&["cancel_at_period_end"]);
        let said = (event.own(), event.stamp());
        facts.cancel_at_period_end = word(said, flag, changed, Some(!flag));
    }
    let references = about.into_iter().collect();
    let subscriptions = vec![asserted];
    let assertions = Assertions { references, subscriptions, ..Assertions::default() };
    Ok(Reading::Asserts(Box::new(assertions)))
}

fn status(subscription: &Object<'_>) -> Result<SubscriptionStatus, Malformed> {
    let word = subscription.need("status", subscription.text("status")?)?;
    SubscriptionStatus::from_word(word).ok_or_else(|| {
        let what = format!("`{}` is no status of a subscription", short(word));
        subscription.wrong("status", what)
    })
}

/// A register of what `read` finds now, against what it finds in `previous_attributes`.
fn field<'a, T: Clone + PartialEq>(
    event: &mut Change<'a>,
    names: &[&str],
    subscription: &Object<'a>,
    read: impl Fn(&Object<'a>, &mut Vec<String>) -> Option<T>,
) -> Register<Option<T>> {
    let Some(now) = read(subscription, &mut event.notes) else { return Register::default() };
    let changed = event.changed(names);
    let mut silent = Vec::new();
    let old = event.previous.as_ref().and_then(|previous| read(previous, &mut silent));
    word((event.own(), event.stamp()), Some(now), changed, old.map(Some))
}

/// The items: in `items.data` since 2015; each carries its own period since 2025-03-31.
fn items<'a>(subscription: &Object<'a>) -> Vec<Object<'a>> {
    let list = subscription.expanded("items").and_then(|list| list.objects("data").ok());
    list.unwrap_or_default()
}

/// The first item's price, else its plan, else the subscription's own plan.
fn plan(subscription: &Object<'_>) -> Option<String> {
    let item = items(subscription).into_iter().next();
    let priced = item
        .as_ref()
        .and_then(|item| ["price", "plan"].into_iter().find_map(|key| item.id(key).ok().flatten()));
    let id = priced.or_else(|| subscription.id("plan").ok().flatten());
    id.map(str::to_owned)
}

/// The subscription's own, else the latest of its items'.
fn period_end(subscription: &Object<'_>, notes: &mut Vec<String>) -> Option<Timestamp> {
    let own = kept(subscription.seconds("current_period_end"), notes);
    let latest = || {
        let ends = |item: Object<'_>| kept(item.seconds("current_period_end"), notes);
        items(subscription).into_iter().filter_map(ends).max()
    };
    own.or_else(latest)
}

/// When it ended, else when it is to end; null says that it goes on.
fn ends_at(event: &mut Change<'_>, subscription: &Object<'_>) -> Register<Option<Timestamp>> {
    let end = |ended: Option<Timestamp>, cancel: Option<Timestamp>| ended.or(cancel);
    let ended = kept(subscription.seconds("ended_at"), &mut event.notes);
    let cancel = kept(subscription.seconds("cancel_at"), &mut event.notes);
    if event.kind == "customer.subscription.deleted" && ended.is_none() {
        return Register::of(event.own(), event.stamp(), Some(event.at));
    }
    if !subscription.has("ended_at") && !subscription.has("cancel_at") {
        return Register::default();
    }
    let old = event.previous.as_ref().map(|previous| {
        let was = |key, now| {
            if previous.has(key) { previous.seconds(key).ok().flatten() } else { now }
        };
        end(was("ended_at", ended), was("cancel_at", cancel))
    });
    let changed = event.changed(&["ended_at", "cancel_at"]);
    word((event.own(), event.stamp()), end(ended, cancel), changed, old)
}
