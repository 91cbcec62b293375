//! People who leave, what is cleaned up after them, and who comes back.

use super::{Scenario, Shopper};
use crate::{
    model::{reference::Kind, subscription::SubscriptionStatus},
    simulator::{
        app::{Patch, Whom},
        people::Human,
        stripe::{Buyer, Form, Method, Purchase, Subscription},
        world::World,
    },
};
use std::sync::Arc;

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "account deleted", act: account_deleted },
    Scenario { name: "deleted by the app", act: deleted_by_app },
    Scenario { name: "deleted and made again", act: made_again },
    Scenario { name: "deleted and signed up again", act: signed_up_again },
    Scenario { name: "one of two sign-ins deleted", act: one_of_two_sign_ins },
    Scenario { name: "customer deleted at Stripe", act: stripe_customer_deleted },
    Scenario { name: "payment on both sides of a deletion", act: payment_spans_deletion },
    Scenario { name: "new customer names a deleted user", act: names_deleted_user },
];

/// A person with an account, a Stripe customer, a purchase and a subscription.
fn settled(world: &mut World) -> (Shopper, Purchase, Subscription) {
    let shopper = world.signed_up_shopper();
    world.minutes(1..=9);
    let purchase = world.shop(&shopper);
    world.hours(1..=30);
    let user = shopper.external_id.clone().filter(|_| world.random.chance(30));
    let status = SubscriptionStatus::Active;
    let subscription = world.subscribe(&shopper.customer, status, user.as_deref());
    world.days(1..=9);
    (shopper, purchase, subscription)
}

/// The deletion's own echo, and what comes late: none of it brings the person back.
fn clean_up(
    world: &mut World,
    shopper: &Shopper,
    purchase: &mut Purchase,
    subscription: &mut Subscription,
) {
    world.wait(2..=2);
    world.subscription_canceled(subscription);
    world.wait(2..=4);
    world.delete_stripe_customer(&shopper.customer);
    if world.random.chance(60) {
        world.days(1..=9);
        let amount = world.part(purchase.price);
        world.refund(purchase, amount, "succeeded", Form::Both);
    }
    if world.random.chance(60) {
        world.hours(1..=9);
        let price = world.price();
        world.buy(&Buyer::of(&shopper.customer), price);
    }
    if world.random.chance(40) {
        world.hours(1..=9);
        let price = world.price();
        let user = shopper.external_id.clone();
        world.buy(&Buyer { customer: None, user }, price);
    }
}

fn account_deleted(world: &mut World) {
    let (shopper, mut purchase, mut subscription) = settled(world);
    if let Some(user) = &shopper.user {
        world.delete_user(user);
    }
    clean_up(world, &shopper, &mut purchase, &mut subscription);
}

fn deleted_by_app(world: &mut World) {
    let (shopper, mut purchase, mut subscription) = settled(world);
    world.app_deletes(shopper.external_id.as_deref().unwrap_or_default());
    clean_up(world, &shopper, &mut purchase, &mut subscription);
    world.hours(1..=9);
    if let Some(mut user) = shopper.user {
        let late = world.human().first;
        world.change_user(&mut user, |user| user.human.first = late);
    }
}

/// The app makes its user again: a new customer, with nothing of the old one. Nothing is told of the old
/// references in between: a payment that named the user while it was closed would leave room for doubt.
fn made_again(world: &mut World) {
    let (shopper, _, mut subscription) = settled(world);
    let external_id = shopper.external_id.clone().unwrap_or_default();
    world.app_deletes(&external_id);
    world.wait(2..=2);
    world.subscription_canceled(&mut subscription);
    world.wait(2..=4);
    world.delete_stripe_customer(&shopper.customer);
    world.days(1..=9);
    let human = world.human();
    let patch = Patch {
        name: Some(Some(human.full_name())),
        email: Some(Some(human.email.clone())),
        phone: Some(None),
        ..Patch::default()
    };
    world.record_customer(&Whom::external(&external_id), &patch);
    world.hours(1..=9);
    let customer = world.stripe_customer_of(&human, &external_id);
    world.minutes(1..=9);
    let price = world.price();
    world.buy(&Buyer { customer: Some(customer), user: Some(external_id) }, price);
}

/// A new account with the same user id brings that back; the old account's past stays gone.
fn signed_up_again(world: &mut World) {
    let (shopper, _, mut subscription) = settled(world);
    if let Some(user) = &shopper.user {
        world.delete_user(user);
    }
    world.wait(2..=2);
    world.subscription_canceled(&mut subscription);
    world.days(1..=9);
    let human = world.human();
    world.sign_up(human.clone(), shopper.external_id.as_deref());
    world.hours(1..=9);
    let external_id = shopper.external_id.unwrap_or_default();
    let customer = world.stripe_customer_of(&human, &external_id);
    world.minutes(1..=9);
    let price = world.price();
    world.buy(&Buyer::of(&customer), price);
}

/// Two accounts of one user: one goes alone, the other takes everything with it.
///
/// One word of the app puts both accounts and the Stripe customer together. Were they put together one by
/// one, a deletion that is heard of before the second account would first reach everything: what it has
/// erased by then cannot come back, and the end would depend on the order. And there is a user id above
/// both, so that it need not be said who would follow in the first one's place.
fn one_of_two_sign_ins(world: &mut World) {
    let human = world.human();
    let external_id = world.random.external_id();
    let first = world.sign_up(human.clone(), Some(&external_id));
    world.hours(1..=9);
    let other = Human { email: world.random.email("other"), ..human };
    let second = world.sign_up(other.clone(), None);
    world.hours(1..=9);
    let contact = other.at_a_shop(&mut world.random);
    let customer = world.stripe_customer(contact, None);
    world.hours(1..=9);
    let clerk = Arc::clone(&world.senders.clerk.namespace);
    let whom = Whom::external(&external_id)
        .and(Kind::Auth, &clerk, &first.id)
        .and(Kind::Auth, &clerk, &second.id)
        .and(Kind::Payment, &Arc::clone(&world.senders.stripe.namespace), &customer.id);
    world.record_customer(&whom, &Patch::default());
    world.hours(1..=9);
    let price = world.price();
    world.buy(&Buyer::of(&customer), price);
    world.days(1..=9);
    let (leaves, stays) =
        if world.random.chance(50) { (&first, &second) } else { (&second, &first) };
    world.delete_user(leaves);
    if world.random.chance(50) {
        world.days(1..=9);
        world.delete_user(stays);
    }
}

/// Only that identity goes: what hung on it is nobody's, what named the user itself stays theirs.
fn stripe_customer_deleted(world: &mut World) {
    let shopper = world.signed_up_shopper();
    for user in [None, shopper.external_id.clone()] {
        world.hours(1..=9);
        let price = world.price();
        world.buy(&Buyer { customer: Some(shopper.customer.clone()), user }, price);
    }
    world.days(1..=9);
    world.delete_stripe_customer(&shopper.customer);
}

/// Begun before the person was deleted, paid after: nobody's, for good.
fn payment_spans_deletion(world: &mut World) {
    let shopper = world.signed_up_shopper();
    world.minutes(1..=9);
    let buyer = shopper.buyer(&mut world.random);
    let price = world.price();
    let mut purchase = world.begin(&buyer, price, Method::SepaDebit);
    world.moment();
    world.process(&mut purchase);
    world.hours(1..=9);
    if let Some(user) = &shopper.user {
        world.delete_user(user);
    }
    world.days(1..=3);
    world.succeed(&mut purchase);
}

/// A Stripe customer made after the deletion may name the user as it likes: it stands for itself.
fn names_deleted_user(world: &mut World) {
    let shopper = world.signed_up_shopper();
    let external_id = shopper.external_id.clone().unwrap_or_default();
    world.hours(1..=9);
    world.app_deletes(&external_id);
    world.days(1..=9);
    let human = world.human();
    let customer = world.stripe_customer_of(&human, &external_id);
    world.minutes(1..=9);
    let price = world.price();
    world.buy(&Buyer::of(&customer), price);
}
