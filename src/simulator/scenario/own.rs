//! What the app tells by itself, in the canonical format.

use super::Scenario;
use crate::{
    model::{
        payment::PaymentStatus::{Authorized, Canceled, Failed, Pending, Succeeded},
        reference::Kind,
        subscription::SubscriptionStatus,
    },
    simulator::{
        app::{Patch, Whom},
        world::World,
    },
};
use serde_json::json;
use std::sync::Arc;

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "payment taken by the app", act: own_payment },
    Scenario { name: "app's payment not made", act: own_payment_not_made },
    Scenario { name: "app gives money back", act: own_refunds },
    Scenario { name: "app tells the sum given back", act: own_refunded_sum },
    Scenario { name: "dispute about the app's payment", act: own_dispute },
    Scenario { name: "app's own subscription", act: own_subscription },
    Scenario { name: "guest of the app becomes known", act: guest_becomes_known },
];

/// The payment is told before the customer it belongs to: the name is enough.
fn own_payment(world: &mut World) {
    let external_id = world.random.external_id();
    let whom = Whom::external(&external_id);
    let price = world.price();
    let payment = world.own_payment(&whom, price, Pending);
    world.minutes(1..=90);
    world.own_payment_moves(&payment, Succeeded, None);
    world.hours(1..=20);
    let human = world.human();
    let patch = Patch {
        name: Some(Some(human.full_name())),
        email: Some(Some(human.email)),
        metadata: vec![("company", json!("Analytical Engines"))],
        ..Patch::default()
    };
    world.record_customer(&whom, &patch);
}

fn own_payment_not_made(world: &mut World) {
    let whom = Whom::external(&world.random.external_id());
    for status in [Failed, Authorized, Canceled, Pending] {
        let price = world.price();
        world.own_payment(&whom, price, status);
        world.minutes(1..=90);
    }
}

/// Two refunds by id; one of them fails in the end.
fn own_refunds(world: &mut World) {
    let whom = Whom::external(&world.random.external_id());
    let price = world.price();
    let payment = world.own_payment(&whom, price, Succeeded);
    world.days(1..=3);
    let first = price.minor / 4 + 1;
    let second = price.minor / 3;
    let (a, b) = (world.id("back", 10), world.id("back", 10));
    world.own_refund(&payment, (&a, first), "pending", first);
    world.hours(1..=9);
    world.own_refund(&payment, (&b, second), "succeeded", first + second);
    world.hours(1..=9);
    if world.random.chance(50) {
        world.own_refund(&payment, (&a, first), "failed", second);
    } else {
        world.own_refund(&payment, (&a, first), "succeeded", first + second);
    }
}

fn own_refunded_sum(world: &mut World) {
    let whom = Whom::external(&world.random.external_id());
    let price = world.price();
    let payment = world.own_payment(&whom, price, Succeeded);
    world.days(1..=3);
    let part = world.part(price);
    world.own_payment_moves(&payment, Succeeded, Some(part));
    if world.random.chance(50) {
        world.days(1..=3);
        world.own_payment_moves(&payment, Succeeded, Some(price.minor));
    }
}

fn own_dispute(world: &mut World) {
    let whom = Whom::external(&world.random.external_id());
    let price = world.price();
    let payment = world.own_payment(&whom, price, Succeeded);
    world.days(1..=3);
    let id = world.id("case", 10);
    world.own_dispute(&payment, &id, "open");
    let status = world.random.pick(&["won", "lost", "open"]);
    if status != "open" {
        world.days(1..=9);
        world.own_dispute(&payment, &id, status);
    }
}

fn own_subscription(world: &mut World) {
    let whom = Whom::external(&world.random.external_id());
    let subscription = world.own_subscription(&whom, SubscriptionStatus::Trialing);
    for status in [SubscriptionStatus::Active, SubscriptionStatus::PastDue] {
        world.days(1..=9);
        world.own_subscription_moves(&subscription, status);
    }
    if world.random.chance(50) {
        world.instant();
        world.own_subscription_moves(&subscription, SubscriptionStatus::Canceled);
    }
}

/// A visitor with a guest's id of the app's own, said to be nobody yet, who pays and then signs up.
fn guest_becomes_known(world: &mut World) {
    let guests: Arc<str> = "guests".into();
    let uid = world.id("guest", 16);
    let guest = Whom::default().and(Kind::Auth, &guests, &uid);
    let patch = Patch {
        is_anonymous: Some(true),
        metadata: vec![("locale", json!("de")), ("cohort", json!("spring"))],
        ..Patch::default()
    };
    world.record_customer(&guest, &patch);
    world.minutes(1..=30);
    let price = world.price();
    world.own_payment(&guest, price, Succeeded);
    if world.random.chance(30) {
        return;
    }
    world.hours(1..=90);
    let external_id = world.random.external_id();
    let human = world.human();
    let known = Whom::external(&external_id).and(Kind::Auth, &guests, &uid);
    let patch = Patch {
        name: Some(Some(human.full_name())),
        email: Some(Some(human.email.clone())),
        metadata: vec![("locale", json!("fr")), ("score", json!(7))],
        is_anonymous: Some(false),
        ..Patch::default()
    };
    world.record_customer(&known, &patch);
    world.hours(1..=90);
    world.sign_up(human, Some(&external_id));
}
