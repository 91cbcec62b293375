//! The laws of semantics 9, as properties of the pure rules over generated histories.

use super::{
    decide::{Context, Decision, decide},
    world::World,
};
use crate::{
    keyring::Keyring,
    model::{
        authority::Authority,
        contact::Email,
        customer::{Spend, Totals},
        event::{
            Assertions, ClaimAssertion, Opening, PaymentAssertion, ReferenceAssertion,
            SubscriptionAssertion,
        },
        message::EventType,
        metadata::Scalar,
        money::Money,
        payment::{
            Captured, Cumulative, Dispute, DisputeStatus, ObjectClass, PaymentFacts, PaymentKey,
            PaymentStatus, Refund, RefundKind, RefundStatus,
        },
        reference::{Deletion, Kind, Reference, Scope},
        register::Register,
        stamp::{EventKey, Stamp},
        subscription::{SubscriptionFacts, SubscriptionKey, SubscriptionStatus},
        time::Timestamp,
    },
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// One event of a generated history, in numbers: what happened, when, to what.
#[derive(Clone, Copy, Debug)]
struct Act {
    kind: u8,
    second: i64,
    a: u8,
    b: u8,
    c: u8,
}

fn acts(most: usize) -> impl Strategy<Value = Vec<Act>> {
    let act = (0_u8..17, 0_i64..9, 0_u8..8, 0_u8..8, 0_u8..8)
        .prop_map(|(kind, second, a, b, c)| Act { kind, second, a, b, c });
    prop::collection::vec(act, 1..most)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(1_000 + second).expect("in range")
}

fn reference(n: u8) -> Reference {
    let (kind, namespace, subject) = match n {
        0 | 1 => (Kind::External, "", format!("user_{n}")),
        2..=4 => (Kind::Auth, "clerk", format!("uid_{n}")),
        _ => (Kind::Payment, "stripe", format!("cus_{n}")),
    };
    Reference::new(kind, namespace, &subject).expect("a reference")
}

fn authority(of: &Reference) -> Authority {
    match of.kind {
        Kind::External | Kind::Own => Authority::APP,
        Kind::Auth => Authority::AUTH,
        Kind::Payment => Authority::PAYMENT,
    }
}

fn money(minor: i64, currency: u8) -> Money {
    let code = if currency == 0 { "EUR" } else { "USD" };
    Money { minor, currency: code.parse().expect("a code") }
}

/// What the `n`-th event of a history says.
fn assertions(n: usize, act: Act) -> Assertions {
    let stamp =
        Stamp { at: at(act.second), rank: 2, key: EventKey::new("s", &format!("{n:03}"), "") };
    let mut said = Assertions::default();
    match act.kind {
        0..=2 => said.references.push(profile(act, &stamp)),
        3..=5 => said.references.push(claim(act, &stamp)),
        6 => {
            let on = reference(act.a);
            let scope = match (on.kind, act.c % 3) {
                (Kind::Auth, 0 | 1) => Scope::Auto,
                (Kind::Payment, _) => Scope::Identity,
                _ => Scope::Customer,
            };
            let mut assertion = ReferenceAssertion::new(on);
            let key = stamp.key.clone();
            let erase_payments = act.b == 7;
            let deletion = Deletion { at: stamp.at, key, scope, erase_payments };
            assertion.facts.deletions.insert(deletion);
            said.references.push(assertion);
        }
        7 => {
            let mut assertion = ReferenceAssertion::new(reference(act.a % 2));
            assertion.opening = Some(Opening { at: stamp.at, by: None });
            said.references.push(assertion);
        }
        8..=14 => said.payments.push(payment(act, &stamp)),
        _ => said.subscriptions.push(subscription(act, &stamp)),
    }
    said
}

fn profile(act: Act, stamp: &Stamp) -> ReferenceAssertion {
    let on = reference(act.a);
    let authority = authority(&on);
    let mut assertion = ReferenceAssertion::new(on);
    let profile = &mut assertion.facts.profile;
    let name = Some(format!("name {}", act.b % 3));
    match act.c {
        0..=2 => profile.name = Register::of(authority, stamp.clone(), name),
        3 => {
            let before = Some(format!("name {}", act.b / 3));
            profile.name = Register::change(authority, stamp.clone(), name, before);
        }
        4 => {
            let email = Email::parse(&format!("{}@example.org", act.b), act.b > 3).ok();
            profile.email = Register::of(authority, stamp.clone(), email);
        }
        5 => profile.anonymous = Register::of(authority, stamp.clone(), Some(act.b > 3)),
        6 => profile.metadata_cleared = Register::of(authority, stamp.clone(), ()),
        _ => {
            let value = (act.b > 1).then_some(Scalar::Boolean(act.b > 4));
            profile.metadata =
                BTreeMap::from([("k".to_owned(), Register::of(authority, stamp.clone(), value))]);
        }
    }
    assertion.facts.first = Some(stamp.clone());
    assertion
}

fn claim(act: Act, stamp: &Stamp) -> ReferenceAssertion {
    let on = reference(2 + act.a % 6);
    let under = reference(act.b);
    let authority = if act.c == 7 { Authority::APP } else { authority(&on) };
    let mut assertion = ReferenceAssertion::new(on);
    assertion.claim = Some(ClaimAssertion {
        under: (act.c != 6).then_some(under),
        authority,
        stamp: stamp.clone(),
    });
    assertion.facts.first = Some(stamp.clone());
    assertion
}

fn payment(act: Act, stamp: &Stamp) -> PaymentAssertion {
    let key = |id: String| PaymentKey { namespace: "stripe".into(), id: id.into() };
    let mut facts = PaymentFacts { first_at: Some(stamp.at), ..PaymentFacts::default() };
    let names = (act.a % 3, act.c % 2);
    let mut keys = vec![key(format!("pi_{}", names.0))];
    if act.kind == 9 {
        keys.push(key(format!("ch_{}", names.0)));
    }
    if act.kind == 10 {
        keys = vec![key(format!("ch_{}", names.0))];
    }
    match act.kind {
        8..=10 => {
            facts.status = Some(PaymentStatus::Succeeded);
            facts.paid_at = Some(stamp.at);
            let figure = match act.b {
                0..=2 => Captured::whole(stamp.clone(), 1_000),
                part => Captured::part(stamp.clone(), format!("cpt_{}", part % 2), 700),
            };
            facts.capture(ObjectClass::Charge, money(0, u8::from(act.b > 0)).currency, &figure);
        }
        11 => {
            let statuses = [PaymentStatus::Pending, PaymentStatus::Failed, PaymentStatus::Canceled];
            facts.status = statuses.get(usize::from(act.b % 3)).copied();
            facts.asked = Register::of(Authority::PAYMENT, stamp.clone(), money(1_000, 1));
        }
        12 => {
            let statuses = [RefundStatus::Pending, RefundStatus::Succeeded, RefundStatus::Failed];
            let status =
                statuses.get(usize::from(act.b % 3)).copied().unwrap_or(RefundStatus::Failed);
            let refund =
                Refund { money: money(300, 1), status, kind: RefundKind::Refund, created_at: None };
            let (id, stamp) = (format!("re_{}", act.c % 2), stamp.ranked(status as u8));
            if act.b > 2 {
                let said = Register::of(Authority::PAYMENT, stamp, status);
                facts.refund_statuses.insert(id, said);
            } else {
                let said = Register::of(Authority::PAYMENT, stamp, refund);
                facts.refunds.insert(id, said);
            }
        }
        13 => {
            let money = money(i64::from(act.b) * 100, 1);
            facts.cumulative = Some(Cumulative { at: stamp.at, rank: 2, money });
        }
        _ => {
            let statuses = [DisputeStatus::Open, DisputeStatus::Won, DisputeStatus::Lost];
            let status =
                statuses.get(usize::from(act.b % 3)).copied().unwrap_or(DisputeStatus::Won);
            let said = Dispute { money: money(500, 1), status };
            facts.disputes.insert(
                "dp".to_owned(),
                Register::of(Authority::PAYMENT, stamp.ranked(status as u8), said),
            );
        }
    }
    let references = match act.c {
        0..=3 => vec![(reference(5 + act.c % 3), stamp.clone())],
        4 => vec![(reference(act.b % 2), stamp.clone())],
        5 => vec![(reference(5), stamp.clone()), (reference(2), stamp.clone())],
        _ => Vec::new(),
    };
    // Who names nobody leaves an address: that of two of the profiles above.
    let match_email = match act.c {
        0..=5 => Register::default(),
        _ => Register::of(
            Authority::PAYMENT,
            stamp.clone(),
            format!("{}@example.org", 4 + act.b % 2),
        ),
    };
    PaymentAssertion { keys, facts, references, match_email }
}

fn subscription(act: Act, stamp: &Stamp) -> SubscriptionAssertion {
    let statuses = [
        SubscriptionStatus::Trialing,
        SubscriptionStatus::Active,
        SubscriptionStatus::PastDue,
        SubscriptionStatus::Canceled,
    ];
    let status =
        statuses.get(usize::from(act.b % 4)).copied().unwrap_or(SubscriptionStatus::Active);
    let status = Register::of(Authority::PAYMENT, stamp.ranked(status.rank()), status);
    SubscriptionAssertion {
        key: SubscriptionKey {
            namespace: "stripe".into(),
            id: format!("sub_{}", act.a % 2).into(),
        },
        facts: SubscriptionFacts {
            status,
            first_at: Some(stamp.at),
            ..SubscriptionFacts::default()
        },
        references: vec![(reference(5 + act.c % 3), stamp.clone())],
    }
}

/// A whole history folded over an empty world.
struct Run {
    world: World,
    keyring: Keyring,
    ids: u128,
    environment: Arc<str>,
}

impl Run {
    fn new() -> Self {
        let keyring = Keyring::new("laws");
        let world = World { matching: true, ..World::default() };
        Self { world, keyring, ids: 0, environment: "live".into() }
    }

    fn take(&mut self, said: &Assertions) -> Decision {
        let ids = &mut self.ids;
        let mut new_id = || {
            *ids += 1;
            uuid::Uuid::from_u128(*ids)
        };
        let mut context = Context {
            environment: &self.environment,
            keyring: &self.keyring,
            now: at(10_000),
            new_id: &mut new_id,
        };
        decide(&mut self.world, said, &mut context)
    }

    fn of(events: &[Assertions]) -> Self {
        let mut run = Self::new();
        for said in events {
            run.take(said);
        }
        run
    }

    /// The state without what depends on arrival: ids, versions, times of change.
    fn state(&self) -> Vec<String> {
        let world = &self.world;
        let name = |id: &crate::model::reference::ReferenceId| -> String {
            (0..8)
                .map(reference)
                .find(|r| self.keyring.reference_id(&self.environment, r) == *id)
                .map_or_else(|| "?".to_owned(), |r| r.subject.to_string())
        };
        let mut lines = Vec::new();
        for (id, node) in &world.references {
            let closed = if node.closed { " closed" } else { "" };
            lines.push(format!("{} → {}{closed}", name(id), name(&node.root)));
        }
        for node in world.customers.values().filter(|node| node.is_live()) {
            let shown = node.shown.as_ref().expect("a live customer is shown");
            let spend: Vec<_> = shown.spend.iter().collect();
            lines.push(format!(
                "{}: {:?} {spend:?} {:?} {:?} {:?} {:?}",
                name(&node.root),
                shown.person,
                shown.payment_count,
                shown.first_payment_at,
                shown.last_payment_at,
                shown.subscription_status
            ));
        }
        let keys: BTreeMap<_, _> = world.payment_keys.iter().collect();
        for ((_, key), id) in keys {
            let node = world.payments.get(id).expect("a known payment");
            let owner = node.owner.as_ref().map(name);
            lines.push(format!("{}: {:?} {owner:?} {}", key.id, node.figures, node.erased));
        }
        for ((_, key), id) in &world.subscription_keys {
            let node = world.subscriptions.get(id).expect("a known subscription");
            let owner = node.owner.as_ref().map(name);
            lines.push(format!("{}: {:?} {owner:?}", key.id, node.status));
        }
        lines.sort();
        lines
    }

    /// Customers' totals and those of payments without customer, against the sum over all payments.
    fn is_conserved(&self) -> bool {
        let sum = |into: &mut Spend, currency, totals: &Totals| {
            into.entry(currency).or_default().add(totals);
        };
        let (mut customers, mut payments) = (Spend::new(), Spend::new());
        for node in self.world.customers.values().filter(|node| node.is_live()) {
            for (currency, totals) in &node.spend {
                sum(&mut customers, *currency, totals);
            }
        }
        for node in self.world.payments.values().filter(|node| node.counts()) {
            let (currency, totals) = super::facts::contribution(&node.figures);
            sum(&mut payments, currency, &totals);
            if self.world.customer_of(node.owner).is_none() {
                sum(&mut customers, currency, &totals);
            }
        }
        customers == payments
    }
}

/// A history. Where it deletes, a reference's claims name one parent: a claim that is older than a deletion,
/// says otherwise and arrives after it finds erased what it would have saved (docs/decisions.md). For the same
/// reason all payments name one reference where a deletion erases payments, all deletions have one time, and none
/// asks whether another UID is there.
fn history(acts: &[Act]) -> Vec<Assertions> {
    let first = acts.iter().find(|act| act.kind == 6);
    let deletes = first.is_some();
    let erases = acts.iter().any(|act| act.kind == 6 && act.b == 7);
    let settled = |act: &Act| match act.kind {
        3..=5 if deletes => Act { b: act.a % 2, c: 0, ..*act },
        6 => Act { second: first.map_or(act.second, |first| first.second), c: 2, ..*act },
        8..=14 if erases => Act { c: 0, ..*act },
        _ => *act,
    };
    acts.iter().map(settled).enumerate().map(|(n, act)| assertions(n, act)).collect()
}

/// Every order of some events.
fn orders(events: &[Assertions]) -> Vec<Vec<Assertions>> {
    let Some((first, rest)) = events.split_first() else { return vec![Vec::new()] };
    let places = |order: Vec<Assertions>| {
        (0..=order.len()).map(move |place| {
            let mut order = order.clone();
            order.insert(place, first.clone());
            order
        })
    };
    orders(rest).into_iter().flat_map(places).collect()
}

fn check_orders(acts: &[Act]) {
    let events: Vec<_> = acts.iter().enumerate().map(|(n, act)| assertions(n, *act)).collect();
    let expected = Run::of(&events).state();
    for order in orders(&events) {
        assert_eq!(Run::of(&order).state(), expected);
    }
}

fn act(kind: u8, second: i64, [a, b, c]: [u8; 3]) -> Act {
    Act { kind, second, a, b, c }
}

#[test]
fn a_reference_claimed_while_its_parent_is_closed_shows_its_name_when_that_opens() {
    // cus_5 under user_0, user_0 deleted, cus_5 claimed again, user_0 opened.
    check_orders(&[
        act(3, 1, [3, 0, 0]),
        act(6, 5, [0, 0, 0]),
        act(3, 7, [3, 0, 0]),
        act(7, 6, [0, 0, 0]),
    ]);
}

#[test]
fn two_names_of_an_erased_payment_are_erased_in_any_order() {
    // ch_0 paid by cus_5 and erased with it; pi_0 paid apart; both turn out to be one.
    check_orders(&[
        act(10, 1, [0, 1, 0]),
        act(8, 2, [0, 1, 6]),
        act(6, 5, [5, 7, 0]),
        act(9, 6, [0, 1, 6]),
    ]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn any_order_gives_the_same_state(
        (acts, order) in acts(14).prop_flat_map(|acts| {
            let order: Vec<usize> = (0..acts.len()).collect();
            (Just(acts), Just(order).prop_shuffle())
        })
    ) {
        let events = history(&acts);
        let shuffled: Vec<_> = order.iter().filter_map(|n| events.get(*n).cloned()).collect();
        prop_assert_eq!(Run::of(&events).state(), Run::of(&shuffled).state());
    }

    #[test]
    fn repeating_events_changes_nothing_and_tells_nothing(acts in acts(14)) {
        let events = history(&acts);
        let mut run = Run::of(&events);
        let state = run.state();
        for said in &events {
            let told = run.take(said);
            prop_assert_eq!(told.changes, Vec::new());
        }
        prop_assert_eq!(run.state(), state);
    }

    #[test]
    fn totals_are_conserved_after_every_event(acts in acts(20)) {
        let mut run = Run::new();
        for said in history(&acts) {
            run.take(&said);
            prop_assert!(run.is_conserved());
        }
    }

    #[test]
    fn versions_have_no_gap_and_the_last_told_object_equals_the_state(acts in acts(20)) {
        let mut run = Run::new();
        let mut told: BTreeMap<crate::model::id::CustomerId, crate::model::customer::Customer> = BTreeMap::new();
        let mut deleted = BTreeSet::new();
        for said in history(&acts) {
            for change in run.take(&said).changes {
                let Some(customer) = change.data.customer else { continue };
                prop_assert_eq!(change.version, Some(customer.version));
                let known = told.get(&customer.id).map(|known| known.version);
                if change.kind == EventType::CustomerMerged {
                    prop_assert!(known.is_none_or(|known| customer.version > known));
                } else if let Some(known) = known {
                    prop_assert_eq!(customer.version, known + 1);
                }
                if customer.deleted {
                    deleted.insert(customer.id);
                }
                told.insert(customer.id, customer);
            }
        }
        for (id, node) in &run.world.customers {
            match (&node.shown, node.is_live()) {
                (Some(shown), true) => prop_assert_eq!(told.get(id), Some(shown)),
                _ => prop_assert!(deleted.contains(id) || node.absorbed_into.is_some()),
            }
        }
    }
}
