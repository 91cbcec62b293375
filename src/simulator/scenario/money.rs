//! Money in: every way in which one movement of money is told several times.

use super::Scenario;
use crate::simulator::{
    stripe::{Buyer, Method, Paid},
    world::{World, currency},
};

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "card purchase", act: card_purchase },
    Scenario { name: "checkout", act: checkout },
    Scenario { name: "guest checkout", act: guest_checkout },
    Scenario { name: "failed, then paid", act: failed_then_paid },
    Scenario { name: "never paid", act: never_paid },
    Scenario { name: "challenged, then paid", act: challenged_then_paid },
    Scenario { name: "challenged, then abandoned", act: challenged_then_abandoned },
    Scenario { name: "authorised, then captured", act: authorised_then_captured },
    Scenario { name: "authorised, then voided", act: authorised_then_voided },
    Scenario { name: "bank debit", act: bank_debit },
    Scenario { name: "bank debit fails", act: bank_debit_fails },
    Scenario { name: "bank debit comes back late", act: bank_debit_comes_back },
    Scenario { name: "charge without intent", act: charge_without_intent },
    Scenario { name: "many currencies", act: many_currencies },
    Scenario { name: "everything in one second", act: everything_in_one_second },
    Scenario { name: "invoice by hand", act: invoice_by_hand },
    Scenario { name: "invoice paid from credit", act: invoice_from_credit },
];

fn card_purchase(world: &mut World) {
    world.sold();
}

/// The page makes the Stripe customer as it takes the money.
fn checkout(world: &mut World) {
    let contact = world.human().at_a_shop(&mut world.random);
    let customer = world.unseen_stripe_customer(contact);
    let (buyer, price) = (Buyer::of(&customer), world.price());
    let mut purchase = world.begin(&buyer, price, Method::Card);
    world.moment();
    world.tell_stripe_customer_made(&customer);
    world.succeed(&mut purchase);
    world.moment();
    let paid = Paid::Once(&purchase);
    world.session_event("checkout.session.completed", paid, "paid", Some(&customer), None);
}

/// Nobody's payment: no customer, and an address links nothing.
fn guest_checkout(world: &mut World) {
    let price = world.price();
    let purchase = world.buy(&Buyer::default(), price);
    world.moment();
    world.session_event("checkout.session.completed", Paid::Once(&purchase), "paid", None, None);
}

fn failed_then_paid(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let buyer = shopper.buyer(&mut world.random);
    let price = world.price();
    let mut purchase = world.begin(&buyer, price, Method::Card);
    for _ in 0..world.random.range(1..=3) {
        world.moment();
        world.decline(&mut purchase);
    }
    world.moment();
    world.succeed(&mut purchase);
    world.moment();
    world.settle(&mut purchase);
}

fn never_paid(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let buyer = shopper.buyer(&mut world.random);
    let price = world.price();
    let mut purchase = world.begin(&buyer, price, Method::Card);
    if world.random.chance(70) {
        world.moment();
        world.decline(&mut purchase);
    }
}

fn challenged_then_paid(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let buyer = shopper.buyer(&mut world.random);
    let price = world.price();
    let mut purchase = world.begin(&buyer, price, Method::Card);
    world.moment();
    world.challenge(&mut purchase);
    world.wait(5..=90);
    world.succeed(&mut purchase);
}

/// Left at the bank's question; some are given up a day later, some wait for ever.
fn challenged_then_abandoned(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let buyer = shopper.buyer(&mut world.random);
    let price = world.price();
    let mut purchase = world.begin(&buyer, price, Method::Card);
    world.moment();
    world.challenge(&mut purchase);
    if world.random.chance(60) {
        world.hours(20..=30);
        world.abandon(&mut purchase);
    }
}

/// All of it or a part. What is not taken is let go; Stripe's sum of refunds stays at nothing here, since
/// whether it counts the part let go is not documented.
fn authorised_then_captured(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let buyer = shopper.buyer(&mut world.random);
    let price = world.price();
    let mut purchase = world.begin(&buyer, price, Method::Card);
    world.moment();
    world.authorize(&mut purchase);
    if world.random.chance(20) {
        return;
    }
    world.hours(1..=90);
    let amount = if world.random.chance(50) { price.minor } else { world.part(price) };
    world.capture(&mut purchase, amount);
}

fn authorised_then_voided(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let buyer = shopper.buyer(&mut world.random);
    let price = world.price();
    let mut purchase = world.begin(&buyer, price, Method::Card);
    world.moment();
    world.authorize(&mut purchase);
    if world.random.chance(70) {
        world.hours(1..=90);
    } else {
        world.instant();
    }
    world.void(&mut purchase);
}

/// Days pass between the page's completion and the money.
fn bank_debit(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let price = world.price_in(currency("EUR"));
    let buyer = Buyer::of(&shopper.customer);
    let mut purchase = world.begin(&buyer, price, Method::SepaDebit);
    world.moment();
    world.process(&mut purchase);
    world.moment();
    let customer = Some(&shopper.customer);
    let unpaid = Paid::Once(&purchase);
    world.session_event("checkout.session.completed", unpaid, "unpaid", customer, None);
    world.days(2..=5);
    world.succeed(&mut purchase);
    world.moment();
    let kind = "checkout.session.async_payment_succeeded";
    world.session_event(kind, Paid::Once(&purchase), "paid", customer, None);
}

fn bank_debit_fails(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let price = world.price_in(currency("EUR"));
    let buyer = shopper.buyer(&mut world.random);
    let mut purchase = world.begin(&buyer, price, Method::SepaDebit);
    world.moment();
    world.process(&mut purchase);
    world.days(2..=5);
    world.process_fails(&mut purchase);
}

/// A success taken back by the payer's bank is money gone back, not a failure (semantics 5).
fn bank_debit_comes_back(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let price = world.price_in(currency("USD"));
    let buyer = shopper.buyer(&mut world.random);
    let mut purchase = world.begin(&buyer, price, Method::UsBankAccount);
    world.moment();
    world.process(&mut purchase);
    world.days(2..=4);
    world.succeed(&mut purchase);
    world.moment();
    world.settle(&mut purchase);
    world.days(1..=20);
    world.bounce(&mut purchase);
}

fn charge_without_intent(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let (buyer, price) = (Buyer::of(&shopper.customer), world.price());
    let mut purchase = world.charge_alone(&buyer, price);
    world.moment();
    world.settle(&mut purchase);
}

/// One person, four currencies: never added together.
fn many_currencies(world: &mut World) {
    let shopper = world.shopper();
    for code in ["USD", "EUR", "JPY", "KWD", "USD"] {
        world.hours(1..=50);
        let price = world.price_in(currency(code));
        let buyer = shopper.buyer(&mut world.random);
        world.buy(&buyer, price);
    }
}

/// Customer, failure, success, booking and page within a single second of Stripe's clock.
fn everything_in_one_second(world: &mut World) {
    let contact = world.human().at_a_shop(&mut world.random);
    let customer = world.stripe_customer(contact, None);
    world.instant();
    let (buyer, price) = (Buyer::of(&customer), world.price());
    let mut purchase = world.begin(&buyer, price, Method::Card);
    world.instant();
    world.decline(&mut purchase);
    world.instant();
    world.succeed(&mut purchase);
    world.instant();
    world.settle(&mut purchase);
}

/// One invoice that stands for itself, paid by card.
fn invoice_by_hand(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let (buyer, price) = (Buyer::of(&shopper.customer), world.price());
    let mut invoice = world.invoice(price, None, "manual");
    world.moment();
    let mut purchase = world.begin(&buyer, price, Method::Card);
    world.moment();
    let paid_at = world.second();
    world.succeed(&mut purchase);
    world.moment();
    world.invoice_paid(&mut invoice, &shopper.customer, &purchase, paid_at);
}

/// Paid is not the same as money: nothing moved, there is no payment.
fn invoice_from_credit(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let price = world.price();
    let mut invoice = world.invoice(price, None, "manual");
    world.moment();
    world.invoice_without_money(&mut invoice, &shopper.customer);
}
