//! Subscriptions through their lives, with several changes in one second.

use super::Scenario;
use crate::{
    model::subscription::SubscriptionStatus::{
        Active, Incomplete, IncompleteExpired, PastDue, Paused, Trialing, Unpaid,
    },
    simulator::{
        stripe::{Paid, Subscription},
        world::{Price, World},
    },
};

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "trial to the end", act: trial_to_the_end },
    Scenario { name: "subscribed at checkout", act: subscribed_at_checkout },
    Scenario { name: "renewal fails, then is paid", act: renewal_recovers },
    Scenario { name: "renewal is never paid", act: renewal_lost },
    Scenario { name: "there and back in one second", act: there_and_back },
    Scenario { name: "first payment never comes", act: expires },
    Scenario { name: "trial paused", act: trial_paused },
    Scenario { name: "not to be renewed", act: not_renewed },
    Scenario { name: "two subscriptions", act: two_subscriptions },
    Scenario { name: "subscription names its user", act: names_its_user },
];

/// Made incomplete, paid, and active within a second or two.
fn begin_paid(world: &mut World, subscription: &mut Subscription) {
    world.instant();
    world.pay_period(subscription, "subscription_create");
    world.moment();
    world.subscription_moves(subscription, Active);
}

/// Free, then paid, then late, then over.
fn trial_to_the_end(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let mut subscription = world.subscribe(&shopper.customer, Trialing, None);
    world.instant();
    let nothing = Price { minor: 0, ..subscription.price };
    let id = subscription.id().to_owned();
    let mut invoice = world.invoice(nothing, Some(&id), "subscription_create");
    world.invoice_without_money(&mut invoice, &shopper.customer);
    world.days(4..=5);
    world.trial_ends_soon(&subscription);
    world.days(3..=3);
    world.subscription_moves(&mut subscription, Active);
    world.moment();
    world.pay_period(&subscription, "subscription_cycle");
    world.days(30..=30);
    let (mut invoice, mut purchase) = world.bill(&subscription, "subscription_cycle");
    world.moment();
    world.decline(&mut purchase);
    world.instant();
    world.invoice_failed(&mut invoice, &shopper.customer, &purchase);
    world.instant();
    world.subscription_moves(&mut subscription, PastDue);
    world.days(3..=9);
    world.subscription_canceled(&mut subscription);
}

/// The page's session names the subscription and no intent: it must not be counted as money again.
fn subscribed_at_checkout(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let mut subscription = world.subscribe(&shopper.customer, Incomplete, None);
    begin_paid(world, &mut subscription);
    world.moment();
    let paid = Paid::Subscribed(&subscription, subscription.price.minor);
    let kind = "checkout.session.completed";
    world.session_event(kind, paid, "paid", Some(&shopper.customer), None);
    if world.random.chance(50) {
        world.days(30..=30);
        world.pay_period(&subscription, "subscription_cycle");
    }
}

fn renewal_recovers(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let mut subscription = world.subscribe(&shopper.customer, Incomplete, None);
    begin_paid(world, &mut subscription);
    world.days(30..=30);
    let (mut invoice, mut purchase) = world.bill(&subscription, "subscription_cycle");
    world.moment();
    world.decline(&mut purchase);
    world.instant();
    world.invoice_failed(&mut invoice, &shopper.customer, &purchase);
    world.instant();
    world.subscription_moves(&mut subscription, PastDue);
    world.days(2..=4);
    let paid_at = world.second();
    world.succeed(&mut purchase);
    world.moment();
    world.invoice_paid(&mut invoice, &shopper.customer, &purchase, paid_at);
    world.instant();
    world.subscription_moves(&mut subscription, Active);
}

fn renewal_lost(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let mut subscription = world.subscribe(&shopper.customer, Incomplete, None);
    begin_paid(world, &mut subscription);
    world.days(30..=30);
    let (mut invoice, mut purchase) = world.bill(&subscription, "subscription_cycle");
    for status in [PastDue, Unpaid] {
        world.moment();
        world.decline(&mut purchase);
        world.instant();
        world.invoice_failed(&mut invoice, &shopper.customer, &purchase);
        world.instant();
        world.subscription_moves(&mut subscription, status);
        world.days(3..=5);
    }
    if world.random.chance(50) {
        world.subscription_canceled(&mut subscription);
    }
}

/// Late and paid within one second: each update says what was before, and what was before stands.
fn there_and_back(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let mut subscription = world.subscribe(&shopper.customer, Incomplete, None);
    begin_paid(world, &mut subscription);
    world.days(1..=9);
    world.subscription_moves(&mut subscription, PastDue);
    world.instant();
    world.subscription_moves(&mut subscription, Active);
    if world.random.chance(50) {
        world.instant();
        world.subscription_moves(&mut subscription, PastDue);
        world.instant();
        world.subscription_canceled(&mut subscription);
    }
}

fn expires(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let mut subscription = world.subscribe(&shopper.customer, Incomplete, None);
    let (_, mut purchase) = world.bill(&subscription, "subscription_create");
    world.moment();
    world.decline(&mut purchase);
    world.hours(23..=23);
    world.subscription_moves(&mut subscription, IncompleteExpired);
}

fn trial_paused(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let mut subscription = world.subscribe(&shopper.customer, Trialing, None);
    world.days(7..=7);
    world.subscription_moves(&mut subscription, Paused);
    if world.random.chance(50) {
        world.days(1..=9);
        world.subscription_moves(&mut subscription, Active);
    }
}

/// Switched off and on again and off: by itself that ends nothing. `cancel_at` stays empty, so that the
/// truth does not depend on when it is looked at.
fn not_renewed(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let mut subscription = world.subscribe(&shopper.customer, Incomplete, None);
    begin_paid(world, &mut subscription);
    world.days(1..=9);
    world.subscription_ends_with_period(&mut subscription, true);
    if world.random.chance(50) {
        world.hours(1..=9);
        world.subscription_ends_with_period(&mut subscription, false);
        world.instant();
        world.subscription_ends_with_period(&mut subscription, true);
    }
    if world.random.chance(50) {
        world.days(20..=20);
        world.subscription_canceled(&mut subscription);
    }
}

/// The better one speaks for the customer.
fn two_subscriptions(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let mut first = world.subscribe(&shopper.customer, Incomplete, None);
    begin_paid(world, &mut first);
    world.days(1..=9);
    let mut second = world.subscribe(&shopper.customer, Trialing, None);
    world.days(1..=9);
    let status = if world.random.chance(50) { PastDue } else { Paused };
    world.subscription_moves(&mut second, status);
    if world.random.chance(50) {
        world.days(1..=9);
        world.subscription_canceled(&mut first);
    }
}

/// Its own metadata says whose it is, whatever becomes of the Stripe customer.
fn names_its_user(world: &mut World) {
    let shopper = world.provisional_shopper();
    world.minutes(1..=20);
    let external_id = world.random.external_id();
    let mut subscription = world.subscribe(&shopper.customer, Incomplete, Some(&external_id));
    begin_paid(world, &mut subscription);
}
