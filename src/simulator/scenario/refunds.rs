//! Money out: itemised, summed, both, and refunds that do not stay.

use super::Scenario;
use crate::simulator::{
    stripe::{Buyer, Form, Purchase},
    world::{Price, World},
};

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "full refund", act: full_refund },
    Scenario { name: "partial refunds", act: partial_refunds },
    Scenario { name: "refunds in one second", act: refunds_in_one_second },
    Scenario { name: "refunds known by the sum alone", act: refunds_by_sum },
    Scenario { name: "refunds known one by one", act: refunds_by_item },
    Scenario { name: "refund fails later", act: refund_fails_later },
    Scenario { name: "refund fails in the same second", act: refund_fails_at_once },
    Scenario { name: "refund called off", act: refund_called_off },
    Scenario { name: "sum known, then one fails", act: sum_then_failure },
    Scenario { name: "refund of a charge without intent", act: refund_of_lone_charge },
];

/// What is left to give back.
fn left(purchase: &Purchase) -> Price {
    Price { minor: purchase.price.minor - purchase.live_refunds(), ..purchase.price }
}

fn full_refund(world: &mut World) {
    let (_, mut purchase) = world.sold();
    let amount = purchase.price.minor;
    let pending = world.random.chance(40);
    let status = if pending { "pending" } else { "succeeded" };
    let refund = world.refund(&mut purchase, amount, status, Form::Both);
    if pending && world.random.chance(70) {
        world.days(1..=3);
        world.refund_moves(&mut purchase, refund, "succeeded");
    }
}

fn partial_refunds(world: &mut World) {
    let (_, mut purchase) = world.sold();
    for _ in 0..world.random.range(1..=3) {
        let amount = world.part(left(&purchase));
        if amount < left(&purchase).minor {
            world.refund(&mut purchase, amount, "succeeded", Form::Both);
            world.hours(1..=60);
        }
    }
}

fn refunds_in_one_second(world: &mut World) {
    let (_, mut purchase) = world.sold();
    for _ in 0..3 {
        let amount = world.part(left(&purchase));
        if amount < left(&purchase).minor {
            world.instant();
            world.refund(&mut purchase, amount, "succeeded", Form::Both);
        }
    }
}

/// Only the newer generation: the older lists the refunds on the charge.
fn refunds_by_sum(world: &mut World) {
    let contact = world.human().at_a_shop(&mut world.random);
    let mut customer = world.stripe_customer(contact, None);
    customer.modern = true;
    world.minutes(1..=20);
    let price = world.price();
    let mut purchase = world.buy(&Buyer::of(&customer), price);
    for _ in 0..2 {
        world.hours(1..=60);
        let amount = world.part(left(&purchase));
        world.refund(&mut purchase, amount, "succeeded", Form::Sum);
    }
}

fn refunds_by_item(world: &mut World) {
    let (_, mut purchase) = world.sold();
    for _ in 0..2 {
        let amount = world.part(left(&purchase));
        world.refund(&mut purchase, amount, "succeeded", Form::Item);
        world.hours(1..=60);
    }
}

/// The money came back to the shop; a second refund then tells the fallen sum.
fn refund_fails_later(world: &mut World) {
    let (_, mut purchase) = world.sold();
    let amount = world.part(purchase.price);
    let refund = world.refund(&mut purchase, amount, "succeeded", Form::Both);
    world.days(1..=4);
    world.refund_moves(&mut purchase, refund, "failed");
    if world.random.chance(50) {
        world.hours(1..=30);
        let amount = world.part(purchase.price);
        world.refund(&mut purchase, amount, "succeeded", Form::Both);
    }
}

fn refund_fails_at_once(world: &mut World) {
    let (_, mut purchase) = world.sold();
    let amount = world.part(purchase.price);
    let refund = world.refund(&mut purchase, amount, "pending", Form::Both);
    world.instant();
    world.refund_moves(&mut purchase, refund, "failed");
}

fn refund_called_off(world: &mut World) {
    let (_, mut purchase) = world.sold();
    let amount = purchase.price.minor;
    let refund = world.refund(&mut purchase, amount, "pending", Form::Both);
    world.hours(1..=10);
    world.refund_moves(&mut purchase, refund, "canceled");
}

/// One refund is known by the charge's sum alone, a second by its object too; the second fails. What is
/// left is the first, which only the sum less the failed one can tell.
fn sum_then_failure(world: &mut World) {
    let contact = world.human().at_a_shop(&mut world.random);
    let mut customer = world.stripe_customer(contact, None);
    customer.modern = true;
    world.minutes(1..=20);
    let price = world.price();
    let mut purchase = world.buy(&Buyer::of(&customer), price);
    world.hours(1..=60);
    let half = Price { minor: price.minor / 20 * 10, ..price };
    let first = world.part(half);
    world.refund(&mut purchase, first, "succeeded", Form::Sum);
    world.hours(1..=60);
    let second = world.part(half);
    let refund = world.refund(&mut purchase, second, "succeeded", Form::Both);
    world.days(1..=3);
    world.refund_moves(&mut purchase, refund, "failed");
}

fn refund_of_lone_charge(world: &mut World) {
    let shopper = world.shopper();
    world.minutes(1..=20);
    let price = world.price();
    let mut purchase = world.charge_alone(&Buyer::of(&shopper.customer), price);
    world.hours(1..=60);
    let amount = world.part(price);
    world.refund(&mut purchase, amount, "succeeded", Form::Both);
}
