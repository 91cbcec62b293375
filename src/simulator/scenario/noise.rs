//! What reaches a source and must leave no trace.

use super::Scenario;
use crate::simulator::{stripe::Buyer, world::World};
use serde_json::json;

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "the other mode", act: other_mode },
    Scenario { name: "types that are not mapped", act: not_mapped },
];

/// Test traffic at a live source (live traffic at a test one) that names a user who exists here too.
fn other_mode(world: &mut World) {
    let shopper = world.signed_up_shopper();
    world.minutes(1..=20);
    world.shop(&shopper);
    world.minutes(1..=20);
    let external_id = shopper.external_id.clone().unwrap_or_default();
    world.in_the_other_mode(|world| {
        let human = world.human();
        let customer = world.stripe_customer_of(&human, &external_id);
        world.minutes(1..=20);
        let price = world.price();
        world.buy(&Buyer { customer: Some(customer), user: Some(external_id) }, price);
    });
}

/// Payouts, products and sessions of sign-in are no business of ours.
fn not_mapped(world: &mut World) {
    let payout = json!({
        "id": world.id("po", 24),
        "object": "payout",
        "amount": 1_000_000,
        "arrival_date": world.second() + 86_400,
        "created": world.second(),
        "currency": "usd",
        "livemode": world.live,
        "metadata": {},
        "status": "paid",
        "type": "bank_account",
    });
    world.stripe_tells(true, "payout.paid", payout, None);
    world.minutes(1..=9);
    let product = json!({
        "id": world.id("prod", 14),
        "object": "product",
        "active": true,
        "created": world.second(),
        "livemode": world.live,
        "metadata": {},
        "name": "Notebook",
    });
    world.stripe_tells(false, "product.created", product, None);
    world.minutes(1..=9);
    let session = json!({
        "id": world.id("sess", 27),
        "object": "session",
        "status": "active",
        "user_id": world.id("user", 27),
    });
    world.clerk_tells("session.created", &session);
}
