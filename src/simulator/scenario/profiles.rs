//! What is on file of a person, changed by three parties whose words count differently.

use super::{Scenario, Shopper};
use crate::simulator::{
    app::{Patch, Whom},
    stripe::Change,
    world::World,
};
use serde_json::{Value, json};

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "renamed thrice in one second", act: renamed_in_one_second },
    Scenario { name: "renamed and back in one second", act: renamed_and_back },
    Scenario { name: "made and changed in one second", act: made_and_changed },
    Scenario { name: "the app outranks the others", act: app_outranks },
    Scenario { name: "the app clears a field", act: app_clears },
    Scenario { name: "metadata and tags", act: metadata_and_tags },
    Scenario { name: "account changes at the auth provider", act: account_changes },
    Scenario { name: "unimportant changes", act: unimportant_changes },
];

/// Renames a Stripe customer to somebody.
fn renaming(world: &mut World) -> Change {
    Change { name: Some(Some(world.random.full_name())), ..Change::default() }
}

/// Three updates in one second, each naming what was before: the last of the chain stands, whatever the
/// ids of the events. Other events with a contact on them keep out of that second: the law weighs a plain
/// repetition of the first name against the update that replaced it.
fn renamed_in_one_second(world: &mut World) {
    let mut shopper = world.provisional_shopper();
    world.hours(1..=9);
    for _ in 0..3 {
        let change = renaming(world);
        world.change_stripe_customer(&mut shopper.customer, change);
        world.instant();
    }
}

fn renamed_and_back(world: &mut World) {
    let mut shopper = world.named_shopper();
    world.hours(1..=9);
    let before = shopper.customer.contact.name.clone();
    let change = renaming(world);
    world.change_stripe_customer(&mut shopper.customer, change);
    world.instant();
    let change = Change { name: Some(before), ..Change::default() };
    world.change_stripe_customer(&mut shopper.customer, change);
}

fn made_and_changed(world: &mut World) {
    let mut shopper = world.provisional_shopper();
    world.instant();
    let email = world.random.email("changed");
    let change = Change { email: Some(Some(email)), ..renaming(world) };
    world.change_stripe_customer(&mut shopper.customer, change);
    world.instant();
    let change = renaming(world);
    world.change_stripe_customer(&mut shopper.customer, change);
}

fn whom(shopper: &Shopper) -> Whom {
    Whom::external(shopper.external_id.as_deref().unwrap_or_default())
}

/// What the app said once stands against everything later from Clerk and Stripe.
fn app_outranks(world: &mut World) {
    let mut shopper = world.signed_up_shopper();
    world.hours(1..=9);
    let said = Patch {
        name: Some(Some(world.random.full_name())),
        phone: Some(Some(world.random.phone())),
        ..Patch::default()
    };
    world.record_customer(&whom(&shopper), &said);
    world.hours(1..=9);
    if let Some(user) = &mut shopper.user {
        let human = world.human();
        world.change_user(user, |user| {
            user.human.first = human.first;
            user.human.email = human.email;
        });
    }
    world.hours(1..=9);
    let email = world.random.email("billing");
    let change = Change { email: Some(Some(email)), ..renaming(world) };
    world.change_stripe_customer(&mut shopper.customer, change);
}

/// "There is none" is a value too: nothing from below fills it.
fn app_clears(world: &mut World) {
    let shopper = world.signed_up_shopper();
    world.hours(1..=9);
    let patch = Patch { phone: Some(None), email: Some(None), ..Patch::default() };
    world.record_customer(&whom(&shopper), &patch);
    if world.random.chance(50) {
        world.hours(1..=9);
        let email = world.random.email("again");
        let patch = Patch { email: Some(Some(email)), ..Patch::default() };
        world.record_customer(&whom(&shopper), &patch);
    }
}

/// Keys are set, replaced, taken away one by one and all together; tags are replaced as a whole.
fn metadata_and_tags(world: &mut World) {
    let shopper = world.named_shopper();
    let whom = whom(&shopper);
    world.hours(1..=9);
    let tags = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    let first = Patch {
        tags: tags(&["vip", "beta"]),
        metadata: vec![
            ("locale", json!("de-AT")),
            ("score", json!(12)),
            ("newsletter", json!(true)),
        ],
        ..Patch::default()
    };
    let second = Patch {
        metadata: vec![("score", json!(13.5)), ("newsletter", Value::Null)],
        ..Patch::default()
    };
    let third = Patch {
        tags: tags(&["vip"]),
        metadata: vec![("cohort", json!("2024-q3"))],
        ..Patch::default()
    };
    for patch in [first, second, third] {
        world.record_customer(&whom, &patch);
        world.hours(1..=9);
    }
    if world.random.chance(50) {
        world.record_customer(&whom, &Patch { clear_metadata: true, ..Patch::default() });
        world.hours(1..=9);
        let metadata = vec![("company", json!("Compiler & Söhne"))];
        world.record_customer(&whom, &Patch { metadata, ..Patch::default() });
    }
}

/// The account's own changes, a few milliseconds apart: the last one stands.
fn account_changes(world: &mut World) {
    let mut shopper = world.signed_up_shopper();
    world.hours(1..=9);
    if let Some(user) = &mut shopper.user {
        for _ in 0..3 {
            let human = world.human();
            world.change_user(user, |user| {
                user.human.last = human.last;
                user.human.email = human.email;
            });
            world.instant();
        }
    }
}

/// Updates that repeat the whole customer though only something else changed.
fn unimportant_changes(world: &mut World) {
    let mut shopper = world.provisional_shopper();
    world.hours(1..=9);
    let change = renaming(world);
    world.change_stripe_customer(&mut shopper.customer, change);
    for _ in 0..3 {
        world.moment();
        world.flag_stripe_customer(&mut shopper.customer);
    }
    world.instant();
    let change = renaming(world);
    world.change_stripe_customer(&mut shopper.customer, change);
}
