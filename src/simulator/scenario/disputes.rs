//! Disputes: opened, won, lost, and what only looks like one.

use super::Scenario;
use crate::simulator::{
    stripe::{Buyer, Form, Method},
    world::{World, currency},
};

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "dispute open", act: open },
    Scenario { name: "dispute won", act: won },
    Scenario { name: "dispute lost", act: lost },
    Scenario { name: "dispute lost after a partial refund", act: lost_after_refund },
    Scenario { name: "inquiry closed", act: inquiry },
    Scenario { name: "dispute names the charge alone", act: charge_alone },
    Scenario { name: "returned debit", act: returned_debit },
];

fn open(world: &mut World) {
    let (_, mut purchase) = world.sold();
    let amount = purchase.price.minor;
    let mut dispute = world.dispute(&mut purchase, amount, "needs_response", true);
    if world.random.chance(50) {
        world.days(1..=5);
        world.dispute_reviewed(&purchase, &mut dispute);
    }
}

fn won(world: &mut World) {
    let (_, mut purchase) = world.sold();
    let amount = purchase.price.minor;
    let mut dispute = world.dispute(&mut purchase, amount, "needs_response", true);
    world.days(1..=5);
    world.dispute_reviewed(&purchase, &mut dispute);
    world.days(5..=20);
    world.dispute_closed(&purchase, &mut dispute, "won");
}

fn lost(world: &mut World) {
    let (_, mut purchase) = world.sold();
    let amount = world.part(purchase.price);
    let mut dispute = world.dispute(&mut purchase, amount, "needs_response", true);
    world.days(1..=20);
    world.dispute_closed(&purchase, &mut dispute, "lost");
}

/// Only what was not given back already can be lost.
fn lost_after_refund(world: &mut World) {
    let (_, mut purchase) = world.sold();
    let amount = world.part(purchase.price);
    world.refund(&mut purchase, amount, "succeeded", Form::Both);
    world.days(1..=9);
    let amount = purchase.price.minor;
    let mut dispute = world.dispute(&mut purchase, amount, "needs_response", true);
    world.days(1..=20);
    world.dispute_closed(&purchase, &mut dispute, "lost");
}

/// The bank asks and is answered. It is closed again in the end, so that it need not be said here whether
/// an open inquiry is a dispute already.
fn inquiry(world: &mut World) {
    let (_, mut purchase) = world.sold();
    let amount = purchase.price.minor;
    let mut dispute = world.dispute(&mut purchase, amount, "warning_needs_response", true);
    world.days(1..=20);
    world.dispute_closed(&purchase, &mut dispute, "warning_closed");
}

/// The dispute gives no intent: only the charge's own events say which payment it is.
fn charge_alone(world: &mut World) {
    let (_, mut purchase) = world.sold();
    let amount = purchase.price.minor;
    let mut dispute = world.dispute(&mut purchase, amount, "needs_response", false);
    world.days(1..=20);
    let status = world.random.pick(&["won", "lost"]);
    world.dispute_closed(&purchase, &mut dispute, status);
}

/// A debit that the account's owner had returned: a dispute that is lost as it is opened.
fn returned_debit(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let price = world.price_in(currency("USD"));
    let mut purchase = world.begin(&Buyer::of(&shopper.customer), price, Method::UsBankAccount);
    world.moment();
    world.process(&mut purchase);
    world.days(2..=4);
    world.succeed(&mut purchase);
    world.days(2..=30);
    let mut dispute = world.dispute(&mut purchase, price.minor, "lost", true);
    world.instant();
    world.dispute_closed(&purchase, &mut dispute, "lost");
}
