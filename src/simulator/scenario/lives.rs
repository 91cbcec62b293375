//! Whole lives: one person doing many of these things one after the other. Some people are very busy, so
//! that workers meet at the same rows.

use super::{Scenario, Shopper};
use crate::{
    model::subscription::SubscriptionStatus,
    simulator::{
        app::{Patch, Whom},
        stripe::{Change, Form, Subscription},
        world::World,
    },
};
use serde_json::json;

pub(super) const ALL: &[Scenario] =
    &[Scenario { name: "a life", act: life }, Scenario { name: "a busy life", act: busy_life }];

fn life(world: &mut World) {
    let acts = world.random.range(4..=12);
    live(world, acts);
}

fn busy_life(world: &mut World) {
    let acts = world.random.range(25..=60);
    live(world, acts);
}

fn live(world: &mut World, acts: i64) {
    let mut shopper = world.shopper();
    let mut subscription = None;
    for _ in 0..acts {
        world.hours(1..=50);
        match world.random.below(9) {
            0 => refunded_purchase(world, &shopper),
            1 => disputed_purchase(world, &shopper),
            2 => moves_on(world, &shopper, &mut subscription),
            3 => changes(world, &mut shopper),
            _ => {
                world.shop(&shopper);
            }
        }
    }
}

fn refunded_purchase(world: &mut World, shopper: &Shopper) {
    let mut purchase = world.shop(shopper);
    world.hours(1..=9);
    let amount = world.part(purchase.price);
    let refund = world.refund(&mut purchase, amount, "succeeded", Form::Both);
    if world.random.chance(30) {
        world.moment();
        world.refund_moves(&mut purchase, refund, "failed");
    }
}

fn disputed_purchase(world: &mut World, shopper: &Shopper) {
    let mut purchase = world.shop(shopper);
    world.hours(1..=9);
    let amount = purchase.price.minor;
    let mut dispute = world.dispute(&mut purchase, amount, "needs_response", true);
    world.hours(1..=9);
    let status = world.random.pick(&["won", "lost"]);
    world.dispute_closed(&purchase, &mut dispute, status);
}

fn moves_on(world: &mut World, shopper: &Shopper, subscription: &mut Option<Subscription>) {
    match subscription.take() {
        None => {
            let status = SubscriptionStatus::Active;
            let made = world.subscribe(&shopper.customer, status, None);
            world.moment();
            world.pay_period(&made, "subscription_create");
            *subscription = Some(made);
        }
        Some(mut known) => {
            let status = match known.status() {
                SubscriptionStatus::Active => SubscriptionStatus::PastDue,
                _ => SubscriptionStatus::Active,
            };
            if world.random.chance(30) {
                world.subscription_canceled(&mut known);
            } else {
                world.subscription_moves(&mut known, status);
                *subscription = Some(known);
            }
        }
    }
}

fn changes(world: &mut World, shopper: &mut Shopper) {
    let name = world.random.full_name();
    match (&mut shopper.user, &shopper.external_id) {
        (Some(user), _) if world.random.chance(50) => {
            world.change_user(user, |user| user.human.last = name);
        }
        (_, Some(external_id)) if world.random.chance(50) => {
            let score = world.random.range(0..=99);
            let metadata = vec![("score", json!(score))];
            let name = Some(Some(name)).filter(|_| world.random.chance(30));
            let patch = Patch { name, metadata, ..Patch::default() };
            world.record_customer(&Whom::external(external_id), &patch);
        }
        _ => {
            let name = Some(Some(name));
            world.change_stripe_customer(
                &mut shopper.customer,
                Change { name, ..Change::default() },
            );
        }
    }
}
