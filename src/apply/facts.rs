//! What follows from the facts: a payment's figures, a subscription's status, the person as shown. Pure.

use crate::model::{
    authority::Authority,
    contact::Email,
    customer::{BestSubscription, Identity, Person, Totals},
    metadata::{KEYS_SHOWN, Scalar},
    money::{Currency, Money},
    payment::{DisputeStatus, PaymentFacts, PaymentStatus, Refund, RefundStatus, ShownStatus},
    reference::{Kind, Profile, ReferenceFacts, ReferenceId},
    register::{Assertion, Register},
    stamp::Stamp,
    subscription::{SubscriptionFacts, SubscriptionStatus},
    time::Timestamp,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A payment's figures (semantics 5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Figures {
    /// Before refunds and disputes are looked at.
    pub status: Option<PaymentStatus>,
    /// After.
    pub shown: ShownStatus,
    /// Captured, else asked; minor units.
    pub amount: Option<i64>,
    /// Of all amounts; known from a refund or dispute alone, too.
    pub currency: Option<Currency>,
    /// Minor units.
    pub refunded: i64,
    /// Minor units.
    pub disputed_lost: i64,
    /// When success was first asserted.
    pub paid_at: Option<Timestamp>,
    /// Other currencies that something about this payment was said in.
    pub conflicting: BTreeSet<Currency>,
}

/// Works out a payment's figures.
pub fn figures(facts: &PaymentFacts) -> Figures {
    let captured = captured(facts);
    let asked = facts.asked.value().copied();
    let money = captured.or(asked);
    let currency = money.map(|money| money.currency).or_else(|| mentioned_currency(facts));
    let succeeded = facts.status == Some(PaymentStatus::Succeeded);
    let limit = if succeeded { money.map_or(0, |money| money.minor) } else { 0 };
    let refunded = currency.map_or(0, |currency| refunded(facts, currency)).clamp(0, limit.max(0));
    let disputed_lost = currency
        .map_or(0, |currency| disputed_lost(facts, currency))
        .clamp(0, (limit - refunded).max(0));
    let disputed = facts.disputes.values().any(|dispute| {
        dispute.value().is_some_and(|dispute| dispute.status == DisputeStatus::Open)
    });
    let shown = match facts.status {
        _ if disputed => ShownStatus::Disputed,
        Some(PaymentStatus::Succeeded) if refunded > 0 && refunded >= limit => {
            ShownStatus::Refunded
        }
        Some(PaymentStatus::Succeeded) if refunded > 0 => ShownStatus::PartiallyRefunded,
        Some(status) => status.into(),
        None => ShownStatus::Pending,
    };
    Figures {
        status: facts.status,
        shown,
        amount: money.map(|money| money.minor),
        currency,
        refunded,
        disputed_lost,
        paid_at: facts.paid_at.or(facts.paid_not_before).or(facts.first_at).filter(|_| succeeded),
        conflicting: currencies(facts).into_iter().filter(|c| Some(*c) != currency).collect(),
    }
}

/// Of the highest class that asserted success: the currency of the lowest stamp, the highest figure in it.
fn captured(facts: &PaymentFacts) -> Option<Money> {
    let (_, currencies) = facts.captured.last_key_value()?;
    let (currency, captured) = currencies.iter().min_by_key(|(_, captured)| &captured.first)?;
    Some(Money { minor: captured.sum(), currency: *currency })
}

/// The currency that the earliest refund or dispute names, for a payment of which nothing else is known.
fn mentioned_currency(facts: &PaymentFacts) -> Option<Currency> {
    let refunds = facts.refunds.values().chain(facts.unnamed_refunds.values());
    let refunds = refunds.flat_map(|r| r.assertions().iter().map(|a| (&a.stamp, a.value.money)));
    let disputes = facts.disputes.values();
    let disputes = disputes.flat_map(|d| d.assertions().iter().map(|a| (&a.stamp, a.value.money)));
    let named = refunds.chain(disputes).min_by_key(|(stamp, _)| *stamp);
    named
        .map(|(_, money)| money.currency)
        .or_else(|| facts.cumulative.map(|cumulative| cumulative.money.currency))
}

/// Every currency in which something about the payment was said.
fn currencies(facts: &PaymentFacts) -> BTreeSet<Currency> {
    let captured = facts.captured.values().flat_map(|currencies| currencies.keys().copied());
    let refunds = facts.refunds.values().chain(facts.unnamed_refunds.values());
    let refunds = refunds.filter_map(|refund| Some(refund.value()?.money.currency));
    let disputes = facts.disputes.values().filter_map(|d| Some(d.value()?.money.currency));
    let cumulative = facts.cumulative.map(|cumulative| cumulative.money.currency);
    let asked = facts.asked.value().map(|money| money.currency);
    captured.chain(refunds).chain(disputes).chain(cumulative).chain(asked).collect()
}

/// The greater of the sum of live refunds and the provider's cumulative figure less those that failed since.
fn refunded(facts: &PaymentFacts, currency: Currency) -> i64 {
    let in_currency = |refund: &&Refund| refund.money.currency == currency;
    let counts = |refund: &&Refund| refund.status != RefundStatus::Failed;
    let sum = |refunds: &mut dyn Iterator<Item = i64>| refunds.fold(0_i64, i64::saturating_add);
    let named: Vec<(&String, Assertion<Refund>)> = facts.named_refunds().collect();
    // One without an id counts until one with an id and that amount arrives.
    let unnamed = facts
        .unnamed_refunds
        .values()
        .filter_map(Register::value)
        .filter(|unnamed| !named.iter().any(|(_, refund)| refund.value.money == unnamed.money));
    let live = sum(&mut named
        .iter()
        .map(|(_, refund)| &refund.value)
        .chain(unnamed)
        .filter(in_currency)
        .filter(counts)
        .map(|refund| refund.money.minor));
    let cumulative = facts.cumulative.filter(|figure| figure.money.currency == currency);
    let Some(figure) = cumulative else { return live };
    let made = |id: &String| facts.refunds.get(id).and_then(made_at);
    let failed_since = sum(&mut named
        .iter()
        .filter(|(id, refund)| failed_since(refund, made(id), figure.at))
        .map(|(_, refund)| &refund.value)
        .filter(in_currency)
        .map(|refund| refund.money.minor));
    live.max(figure.money.minor.saturating_sub(failed_since))
}

/// When a refund was made, by all that was said of it.
fn made_at(refund: &Register<Refund>) -> Option<Timestamp> {
    let said = refund.assertions().iter();
    said.map(|assertion| assertion.value.created_at.unwrap_or(assertion.stamp.at)).min()
}

/// Whether a refund was made at or before a time and failed at or after it.
fn failed_since(refund: &Assertion<Refund>, made: Option<Timestamp>, at: Timestamp) -> bool {
    refund.value.status == RefundStatus::Failed
        && refund.stamp.at >= at
        && made.is_some_and(|made| made <= at)
}

fn disputed_lost(facts: &PaymentFacts, currency: Currency) -> i64 {
    facts
        .disputes
        .values()
        .filter_map(Register::value)
        .filter(|dispute| dispute.status == DisputeStatus::Lost)
        .filter(|dispute| dispute.money.currency == currency)
        .fold(0, |sum, dispute| sum.saturating_add(dispute.money.minor))
}

/// What one payment adds to the totals of its currency (semantics 7).
pub fn contribution(figures: &Figures) -> (Option<Currency>, Totals) {
    let succeeded = figures.status == Some(PaymentStatus::Succeeded);
    let totals = Totals {
        payment_count: 1,
        successful_payment_count: i64::from(succeeded),
        failed_payment_count: i64::from(figures.status == Some(PaymentStatus::Failed)),
        total_spent: if succeeded { figures.amount.unwrap_or(0) } else { 0 },
        total_refunded: figures.refunded,
        total_disputed_lost: figures.disputed_lost,
        first_payment_at: figures.paid_at,
        last_payment_at: figures.paid_at,
    };
    (figures.currency, totals)
}

/// A subscription's status at a time: canceled once `ends_at` has passed.
pub fn subscription_status(facts: &SubscriptionFacts, now: Timestamp) -> SubscriptionStatus {
    let ended = facts.ends_at.value().copied().flatten().is_some_and(|ends_at| ends_at <= now);
    match facts.status.value() {
        _ if ended => SubscriptionStatus::Canceled,
        Some(status) => *status,
        None => SubscriptionStatus::Incomplete,
    }
}

/// The best of a customer's subscriptions.
pub fn best(statuses: impl Iterator<Item = SubscriptionStatus>) -> BestSubscription {
    BestSubscription::of(statuses)
}

/// One reference of a customer's tree.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its row.
    pub id: ReferenceId,
    /// What it names.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: &'a Arc<str>,
    /// The name itself, unless it was erased.
    pub subject: Option<&'a Arc<str>>,
    /// What is known of it.
    pub facts: &'a ReferenceFacts,
}

/// The person that a tree of references makes; the root comes first.
pub fn person(tree: &[Member<'_>]) -> Person {
    let external_id = tree
        .first()
        .filter(|root| root.kind == Kind::External)
        .and_then(|root| root.subject.cloned());
    let email = highest(tree, |profile| &profile.email);
    let mut identities: Vec<Identity> = tree
        .iter()
        .filter(|member| matches!(member.kind, Kind::Auth | Kind::Payment))
        .filter_map(|member| {
            Some(Identity {
                provider: member.namespace.clone(),
                uid: member.subject?.clone(),
                kind: member.kind,
            })
        })
        .collect();
    identities.sort();
    Person {
        is_anonymous: is_anonymous(tree),
        external_id,
        name: highest(tree, |profile| &profile.name),
        email_verified: email.as_ref().is_some_and(|email| email.verified),
        email: email.map(|email| email.address),
        phone: highest(tree, |profile| &profile.phone),
        tags: highest(tree, |profile| &profile.tags).unwrap_or_default(),
        metadata: metadata(tree),
        identities,
        provider_uid: first_named(tree, Kind::Auth),
        gateway_customer_id: first_named(tree, Kind::Payment),
    }
}

/// Of one field's registers in a tree, the assertion of the highest (authority, stamp).
pub(super) fn winner<'a, T: Clone + PartialEq + 'a>(
    tree: &[Member<'a>],
    field: impl Fn(&'a Profile) -> Option<&'a Register<T>>,
) -> Option<&'a Assertion<T>> {
    tree.iter()
        .filter_map(|member| field(&member.facts.profile)?.winner())
        .max_by_key(|assertion| (assertion.authority, &assertion.stamp))
}

fn highest<'a, T: Clone + PartialEq + 'a>(
    tree: &[Member<'a>],
    field: impl Fn(&'a Profile) -> &'a Register<Option<T>>,
) -> Option<T> {
    winner(tree, |profile| Some(field(profile))).and_then(|winner| winner.value.clone())
}

/// The address that a tree of references shows, where an auth source or the app vouches for it, and the reference
/// that gives it.
pub fn verified_address<'a>(tree: &[Member<'a>]) -> Option<(ReferenceId, &'a Email)> {
    let said = tree.iter().filter_map(|of| Some((of.id, of.facts.profile.email.winner()?)));
    let (id, winner) = said.max_by_key(|(id, said)| (said.authority, &said.stamp, *id))?;
    let email = winner.value.as_ref()?;
    (email.verified && winner.authority.vouches()).then_some((id, email))
}

fn first_named(tree: &[Member<'_>], kind: Kind) -> Option<Arc<str>> {
    tree.iter()
        .filter(|member| member.kind == kind && member.subject.is_some())
        .min_by_key(|member| (member.facts.first.as_ref(), member.id))
        .and_then(|member| member.subject.cloned())
}

/// No external_id, and every auth UID, if any, is said to be anonymous by its provider or the app.
fn is_anonymous(tree: &[Member<'_>]) -> bool {
    if tree.iter().any(|member| member.kind == Kind::External) {
        return false;
    }
    let said = |profile: &Profile| profile.anonymous.value().copied().flatten();
    let by_app = winner(tree, |profile| Some(&profile.anonymous))
        .filter(|winner| winner.authority >= Authority::APP)
        .and_then(|winner| winner.value);
    by_app.unwrap_or_else(|| {
        tree.iter()
            .filter(|member| member.kind == Kind::Auth)
            .all(|member| said(&member.facts.profile) == Some(true))
    })
}

/// One register a key; `metadata: null` hides lower ones; of more than 50 the highest stamps are shown.
fn metadata(tree: &[Member<'_>]) -> BTreeMap<String, Scalar> {
    let cleared = winner(tree, |profile| Some(&profile.metadata_cleared))
        .map(|cleared| (cleared.authority, &cleared.stamp));
    let keys: BTreeSet<&String> =
        tree.iter().flat_map(|member| member.facts.profile.metadata.keys()).collect();
    let mut live: Vec<(&Stamp, &String, &Scalar)> = keys
        .into_iter()
        .filter_map(|key| {
            let winner = winner(tree, |profile| profile.metadata.get(key))?;
            let hidden = cleared.is_some_and(|cleared| (winner.authority, &winner.stamp) < cleared);
            Some((&winner.stamp, key, winner.value.as_ref().filter(|_| !hidden)?))
        })
        .collect();
    live.sort_by(|a, b| b.0.cmp(a.0).then(a.1.cmp(b.1)));
    live.truncate(KEYS_SHOWN);
    live.into_iter().map(|(_, key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        payment::{Captured, Cumulative, Dispute, ObjectClass, RefundKind},
        stamp::EventKey,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_seconds(second).expect("in range")
    }

    fn stamp(second: i64, rank: u8) -> Stamp {
        Stamp { at: at(second), rank, key: EventKey::new("s", &format!("{second}.{rank}"), "") }
    }

    fn usd(minor: i64) -> Money {
        Money { minor, currency: "USD".parse().expect("a code") }
    }

    fn succeeded(minor: i64) -> PaymentFacts {
        let mut facts = PaymentFacts {
            status: Some(PaymentStatus::Succeeded),
            paid_at: Some(at(10)),
            ..PaymentFacts::default()
        };
        let figure = Captured::whole(stamp(10, 2), minor);
        facts.capture(ObjectClass::Intent, usd(0).currency, &figure);
        facts
    }

    fn refund(minor: i64, status: RefundStatus, made: i64, said: i64) -> Register<Refund> {
        let refund = Refund {
            money: usd(minor),
            status,
            kind: RefundKind::Refund,
            created_at: Some(at(made)),
        };
        Register::of(Authority::PAYMENT, stamp(said, status as u8), refund)
    }

    #[test]
    fn pending_refunds_count_and_failed_ones_do_not() {
        let mut facts = succeeded(1_000);
        facts.refunds.insert("re_1".into(), refund(300, RefundStatus::Pending, 20, 20));
        facts.refunds.insert("re_2".into(), refund(200, RefundStatus::Failed, 20, 21));
        let figures = figures(&facts);
        assert_eq!((figures.refunded, figures.shown), (300, ShownStatus::PartiallyRefunded));
    }

    #[test]
    fn the_cumulative_figure_counts_less_what_failed_after_it() {
        let mut facts = succeeded(1_000);
        facts.cumulative = Some(Cumulative { at: at(30), rank: 2, money: usd(500) });
        assert_eq!(figures(&facts).refunded, 500);
        facts.refunds.insert("re_1".into(), refund(500, RefundStatus::Failed, 20, 40));
        assert_eq!(figures(&facts).refunded, 0);
        // A cumulative figure from after the failure already leaves it out.
        facts.cumulative = Some(Cumulative { at: at(50), rank: 2, money: usd(100) });
        assert_eq!(figures(&facts).refunded, 100);
    }

    /// Pain point 33 (woocommerce#21822): with refunds, what a customer was worth was wrong, or less than nothing.
    #[test]
    fn more_than_was_captured_cannot_go_back() {
        let mut facts = succeeded(1_000);
        facts.refunds.insert("a".into(), refund(900, RefundStatus::Succeeded, 20, 20));
        facts.refunds.insert("b".into(), refund(900, RefundStatus::Succeeded, 20, 20));
        let lost = Dispute { money: usd(700), status: DisputeStatus::Lost };
        facts.disputes.insert("d".into(), Register::of(Authority::PAYMENT, stamp(9, 1), lost));
        let figures = figures(&facts);
        assert_eq!((figures.refunded, figures.disputed_lost), (1_000, 0));
        assert_eq!(figures.shown, ShownStatus::Refunded);
    }

    #[test]
    fn a_refund_without_id_gives_way_to_one_with_an_id_and_that_amount() {
        let mut facts = succeeded(1_000);
        facts.unnamed_refunds.insert("100 USD".into(), refund(100, RefundStatus::Pending, 9, 9));
        assert_eq!(figures(&facts).refunded, 100);
        facts.refunds.insert("re".into(), refund(100, RefundStatus::Failed, 9, 12));
        assert_eq!(figures(&facts).refunded, 0);
    }

    #[test]
    fn a_refund_that_is_said_to_have_failed_without_its_amount_does_not_count() {
        let alone = |status, second| {
            Register::of(Authority::PAYMENT, stamp(second, 10 + status as u8), status)
        };
        let mut facts = succeeded(1_000);
        facts.refund_statuses.insert("re".into(), alone(RefundStatus::Failed, 30));
        assert_eq!(figures(&facts).refunded, 0, "nobody knows yet of how much");
        facts.refunds.insert("re".into(), refund(300, RefundStatus::Pending, 20, 20));
        assert_eq!(figures(&facts).refunded, 0);
        facts.cumulative = Some(Cumulative { at: at(25), rank: 2, money: usd(300) });
        assert_eq!(figures(&facts).refunded, 0, "the sum is from before the failure");
        // What is said later, with its amount, counts more.
        let again = refund(300, RefundStatus::Succeeded, 20, 40);
        facts.refunds.entry("re".into()).or_default().join(&again);
        assert_eq!(figures(&facts).refunded, 300);
    }

    #[test]
    fn captures_in_parts_add_up_once_each_and_the_own_figure_counts_where_it_is_more() {
        let mut facts = succeeded(0);
        let mut part = |id: &str, minor| {
            let part = Captured::part(stamp(11, 2), id.into(), minor);
            facts.capture(ObjectClass::Intent, usd(0).currency, &part);
            figures(&facts).amount
        };
        assert_eq!(part("c1", 500), Some(500));
        assert_eq!(part("c2", 700), Some(1_200));
        assert_eq!(part("c1", 500), Some(1_200));
        facts.capture(ObjectClass::Intent, usd(0).currency, &Captured::whole(stamp(12, 2), 1_500));
        assert_eq!(figures(&facts).amount, Some(1_500));
        // What was asked for counts for nothing once parts of it are known to be taken.
        facts.capture(ObjectClass::Charge, usd(0).currency, &Captured::whole(stamp(9, 2), 9_000));
        assert_eq!(figures(&facts).amount, Some(1_500));
    }

    #[test]
    fn a_refund_before_its_payment_leaves_the_amount_unknown() {
        let mut facts = PaymentFacts::default();
        facts.refunds.insert("re".into(), refund(100, RefundStatus::Succeeded, 9, 9));
        let figures = figures(&facts);
        assert_eq!((figures.amount, figures.refunded), (None, 0));
        assert_eq!(figures.currency, Some(usd(0).currency));
        assert_eq!(contribution(&figures).1.payment_count, 1);
    }

    #[test]
    fn the_highest_class_counts_and_another_currency_is_a_conflict() {
        let mut facts = succeeded(1_000);
        let eur = "EUR".parse().expect("a code");
        let early = Captured::whole(stamp(1, 1), 9_999);
        facts.capture(ObjectClass::Invoice, eur, &early);
        let figures = figures(&facts);
        assert_eq!((figures.amount, figures.currency), (Some(1_000), Some(usd(0).currency)));
        assert_eq!(figures.conflicting.into_iter().collect::<Vec<_>>(), [eur]);
    }

    #[test]
    fn an_open_dispute_is_shown_and_a_lost_one_costs() {
        let mut facts = succeeded(1_000);
        let dispute = |status, second| {
            let dispute = Dispute { money: usd(400), status };
            Register::of(Authority::PAYMENT, stamp(second, status as u8), dispute)
        };
        facts.disputes.insert("d".into(), dispute(DisputeStatus::Open, 20));
        assert_eq!(figures(&facts).shown, ShownStatus::Disputed);
        facts.disputes.entry("d".into()).or_default().join(&dispute(DisputeStatus::Lost, 30));
        let figures = figures(&facts);
        assert_eq!((figures.shown, figures.disputed_lost), (ShownStatus::Succeeded, 400));
    }

    #[test]
    fn a_failed_payment_with_an_open_dispute_shows_the_dispute_and_counts_as_failed() {
        let mut facts =
            PaymentFacts { status: Some(PaymentStatus::Failed), ..PaymentFacts::default() };
        let open = Dispute { money: usd(400), status: DisputeStatus::Open };
        facts.disputes.insert("d".into(), Register::of(Authority::PAYMENT, stamp(20, 0), open));
        let figures = figures(&facts);
        assert_eq!(figures.shown, ShownStatus::Disputed);
        assert_eq!(contribution(&figures).1.failed_payment_count, 1);
    }
}
