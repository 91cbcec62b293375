//! Who is who: the ways in which names of one person come together, move and part.

use super::Scenario;
use crate::{
    model::reference::Kind,
    simulator::{
        app::{Patch, Whom},
        people::Human,
        stripe::{Buyer, Change, Method, Paid},
        world::World,
    },
};
use std::sync::Arc;

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "auth user becomes a customer", act: auth_user_becomes_customer },
    Scenario { name: "auth user alone", act: auth_user_alone },
    Scenario { name: "UID as external_id", act: uid_as_external_id },
    Scenario { name: "app links without external_id", act: app_links },
    Scenario { name: "payments before the customer", act: payments_before_customer },
    Scenario { name: "customer never announced", act: never_announced },
    Scenario { name: "user named at checkout", act: named_at_checkout },
    Scenario { name: "guest payment names a user", act: guest_names_user },
    Scenario { name: "customer shared by two users", act: shared_by_two },
    Scenario { name: "moved and renamed in one second", act: moved_and_renamed },
    Scenario { name: "claim taken back", act: claim_taken_back },
    Scenario { name: "pinned by the app", act: pinned_by_app },
    Scenario { name: "external_id corrected", act: external_id_corrected },
    Scenario { name: "two customers of one user", act: two_customers },
];

/// Signs up without a user id; Stripe learns it first, Clerk later, and then all are one.
fn auth_user_becomes_customer(world: &mut World) {
    let human = world.human();
    let mut user = world.sign_up(human.clone(), None);
    world.hours(1..=30);
    let external_id = world.random.external_id();
    let customer = world.stripe_customer_of(&human, &external_id);
    world.minutes(1..=9);
    let price = world.price();
    world.buy(&Buyer::of(&customer), price);
    world.hours(1..=30);
    world.change_user(&mut user, |user| user.external_id = Some(external_id));
    world.hours(1..=30);
    let price = world.price();
    world.buy(&Buyer::of(&customer), price);
}

/// No user id, no purchase: a customer by the UID alone.
fn auth_user_alone(world: &mut World) {
    let human = world.human();
    let mut user = world.sign_up(human, None);
    if world.random.chance(50) {
        world.hours(1..=30);
        let name = world.human().first;
        world.change_user(&mut user, |user| user.human.first = name);
    }
}

/// The app uses the auth provider's UID as its own user id, and says so.
fn uid_as_external_id(world: &mut World) {
    let human = world.human();
    let user = world.sign_up(human.clone(), None);
    world.minutes(1..=9);
    let clerk = Arc::clone(&world.senders.clerk.namespace);
    let whom = Whom::external(&user.id).and(Kind::Auth, &clerk, &user.id);
    world.record_customer(&whom, &Patch::default());
    world.hours(1..=30);
    let customer = world.stripe_customer_of(&human, &user.id);
    world.minutes(1..=9);
    let price = world.price();
    world.buy(&Buyer::of(&customer), price);
}

/// The app knows the UID only and puts the Stripe customer under it; the user id comes much later.
fn app_links(world: &mut World) {
    let mut shopper = world.uid_shopper();
    world.minutes(1..=9);
    world.shop(&shopper);
    if world.random.chance(60) {
        world.days(1..=9);
        let external_id = world.random.external_id();
        if let Some(user) = &mut shopper.user {
            world.change_user(user, |user| user.external_id = Some(external_id));
        }
    }
}

/// Money first; weeks later the metadata says whose it was, and later still the person signs up.
fn payments_before_customer(world: &mut World) {
    let contact = world.human().at_a_shop(&mut world.random);
    let mut customer = world.unseen_stripe_customer(contact);
    for _ in 0..2 {
        let price = world.price();
        world.buy(&Buyer::of(&customer), price);
        world.hours(1..=30);
    }
    world.tell_stripe_customer_made(&customer);
    world.days(1..=20);
    let external_id = world.random.external_id();
    let user = Some(("user_id", Some(external_id.clone())));
    world.change_stripe_customer(&mut customer, Change { user, ..Change::default() });
    world.days(1..=20);
    let human = world.human();
    world.sign_up(Human { phone: None, ..human }, Some(&external_id));
    world.minutes(1..=9);
    let said = Patch { phone: Some(None), ..Patch::default() };
    world.record_customer(&Whom::external(&external_id), &said);
}

/// Stripe never tells of the customer itself: only payments and their contact speak of it.
fn never_announced(world: &mut World) {
    let contact = world.human().at_a_shop(&mut world.random);
    let customer = world.unseen_stripe_customer(contact);
    let (buyer, price) = (Buyer::of(&customer), world.price());
    let mut purchase = world.begin(&buyer, price, Method::Card);
    world.moment();
    world.succeed(&mut purchase);
    world.moment();
    let paid = Paid::Once(&purchase);
    world.session_event("checkout.session.completed", paid, "paid", Some(&customer), None);
}

/// The page names a user: the payment is theirs, the Stripe customer is not, for a browser wrote it.
fn named_at_checkout(world: &mut World) {
    let contact = world.human().at_a_shop(&mut world.random);
    let customer = world.stripe_customer(contact, None);
    let external_id = world.random.external_id();
    world.minutes(1..=9);
    let (buyer, price) = (Buyer::of(&customer), world.price());
    let mut purchase = world.begin(&buyer, price, Method::Card);
    world.moment();
    world.succeed(&mut purchase);
    world.moment();
    let paid = Paid::Once(&purchase);
    let kind = "checkout.session.completed";
    world.session_event(kind, paid, "paid", Some(&customer), Some(&external_id));
    if world.random.chance(50) {
        world.days(1..=9);
        let human = world.human();
        world.sign_up(human, Some(&external_id));
    }
}

/// No Stripe customer at all, but the app's server wrote the user's id onto the payment.
fn guest_names_user(world: &mut World) {
    let external_id = world.random.external_id();
    let price = world.price();
    world.buy(&Buyer { customer: None, user: Some(external_id) }, price);
}

/// A couple with one Stripe customer: its metadata goes from one user to the other, and takes along what
/// hangs on it, but not the payment that named the first user itself.
fn shared_by_two(world: &mut World) {
    let shopper = world.signed_up_shopper();
    let other = world.random.external_id();
    let human = world.human();
    let phone = shopper.human.phone.clone();
    world.sign_up(Human { phone, ..human }, Some(&other));
    let mut customer = shopper.customer;
    for user in [None, shopper.external_id] {
        world.hours(1..=30);
        let price = world.price();
        world.buy(&Buyer { customer: Some(customer.clone()), user }, price);
    }
    world.days(1..=9);
    let key = if customer.metadata.contains_key("user_id") { "user_id" } else { "external_id" };
    let user = Some((key, Some(other)));
    world.change_stripe_customer(&mut customer, Change { user, ..Change::default() });
    world.hours(1..=30);
    let price = world.price();
    world.buy(&Buyer::of(&customer), price);
}

/// A change of address, of owner and of name, all in one second: each update says what it changed, and
/// only that. There is one change of owner in it: for claims the law gives no order of one second.
fn moved_and_renamed(world: &mut World) {
    let mut customer = world.named_shopper().customer;
    world.hours(1..=30);
    let email = world.random.email("moved");
    let change = Change { email: Some(Some(email)), ..Change::default() };
    world.change_stripe_customer(&mut customer, change);
    world.instant();
    let key = if customer.metadata.contains_key("user_id") { "user_id" } else { "external_id" };
    let user = Some((key, Some(world.random.external_id())));
    world.change_stripe_customer(&mut customer, Change { user, ..Change::default() });
    world.instant();
    let name = Some(Some(world.random.full_name()));
    world.change_stripe_customer(&mut customer, Change { name, ..Change::default() });
    world.minutes(1..=9);
    let price = world.price();
    world.buy(&Buyer::of(&customer), price);
}

/// The key is taken out of the metadata: `previous_attributes` names it and the object lacks it, which is
/// how Stripe says null. The Stripe customer stands for itself again.
fn claim_taken_back(world: &mut World) {
    let mut customer = world.named_shopper().customer;
    world.minutes(1..=9);
    let price = world.price();
    world.buy(&Buyer::of(&customer), price);
    world.days(1..=9);
    let key = if customer.metadata.contains_key("user_id") { "user_id" } else { "external_id" };
    let user = Some((key, None));
    world.change_stripe_customer(&mut customer, Change { user, ..Change::default() });
}

/// What the app put together, Stripe's metadata cannot part.
fn pinned_by_app(world: &mut World) {
    let shopper = world.provisional_shopper();
    let mut customer = shopper.customer;
    world.minutes(1..=9);
    let stripe = Arc::clone(&world.senders.stripe.namespace);
    let external_id = world.random.external_id();
    let whom = Whom::external(&external_id).and(Kind::Payment, &stripe, &customer.id);
    world.record_customer(&whom, &Patch::default());
    world.hours(1..=30);
    let price = world.price();
    world.buy(&Buyer::of(&customer), price);
    world.days(1..=9);
    let user = Some(("user_id", Some(world.random.external_id())));
    world.change_stripe_customer(&mut customer, Change { user, ..Change::default() });
}

/// A wrong user id is put right at Clerk: the sign-in moves; the wrong id stays as a customer of its own.
fn external_id_corrected(world: &mut World) {
    let human = world.human();
    let wrong = world.random.external_id();
    let mut user = world.sign_up(human, Some(&wrong));
    world.hours(1..=30);
    let right = world.random.external_id();
    world.change_user(&mut user, |user| user.external_id = Some(right));
}

/// One user, two Stripe customers. The account speaks for the contact: of two that count alike the later
/// word would stand, and whether a payment's contact is such a word is left open.
fn two_customers(world: &mut World) {
    let shopper = world.signed_up_shopper();
    let external_id = shopper.external_id.clone().unwrap_or_default();
    world.hours(1..=30);
    let second = world.stripe_customer_of(&shopper.human, &external_id);
    for customer in [&shopper.customer, &second] {
        world.hours(1..=30);
        let price = world.price();
        world.buy(&Buyer::of(customer), price);
    }
}
