//! A history of each provider's own, as `tests/histories` tells it: signed, shuffled and repeated, on both databases.
//! Every order must end in the state that the script gives, to the minor unit, and in that one alone.

use crate::{
    history::objects,
    pipeline::assert_no_drift,
    support::services::{TestDatabase, on_both},
};
use customer_sync::{
    clock::Clock,
    keyring::Keyring,
    model::{inbound::Raw, time::Timestamp},
    pipeline::{Disposition, Pipeline},
    provider,
    simulator::{Snapshot, differences},
};
use script::{Script, Step};
use std::{collections::BTreeSet, sync::Arc};

mod catalogue;
mod expected;
mod script;

/// How many orders: as it happened, backwards, and the others shuffled with repetitions.
const ORDERS: usize = 5;

/// After everything that the scripts tell, and before the ends of the periods that their bodies name.
const NOW: &str = "2024-06-12T00:00:00Z";

/// Numbers by a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % limit
    }

    fn shuffle<T>(&mut self, list: &mut [T]) {
        for place in (1..list.len()).rev() {
            list.swap(place, self.below(place + 1));
        }
    }
}

/// All steps of all scripts in one order; each script has an environment of its own for each order.
fn ordered(scripts: &[Script], order: usize) -> Vec<(&Step, Raw)> {
    let steps =
        scripts.iter().flat_map(|script| script.steps.iter().map(move |step| (script, step)));
    let mut list: Vec<_> = steps.map(|(script, step)| (step, script.raw(step, order))).collect();
    let mut dice = Dice(order as u64);
    match order {
        0 => {}
        1 => list.reverse(),
        _ => {
            let again: Vec<_> = list.iter().filter(|_| dice.below(2) == 0).cloned().collect();
            list.extend(again);
            dice.shuffle(&mut list);
        }
    }
    list
}

async fn process(pipeline: &Pipeline, list: &[(&Step, Raw)], order: usize) {
    let mut dice = Dice(order as u64 + 100);
    let mut rest = list;
    while !rest.is_empty() {
        let (now, later) = rest.split_at((dice.below(60) + 1).min(rest.len()));
        let batch: Vec<Raw> = now.iter().map(|(_, raw)| raw.clone()).collect();
        let dispositions = pipeline.process(&batch).await.expect("the batch is committed");
        for ((step, _), disposition) in now.iter().zip(dispositions) {
            let right = match &disposition {
                Disposition::Rejected(_) => false,
                Disposition::Ignored(_) => step.may_be_ignored,
                Disposition::Applied => !step.must_be_ignored,
                Disposition::Duplicate => true,
            };
            assert!(right, "{}: {disposition:?} in order {order}", step.told);
        }
        rest = later;
    }
}

/// What is wrong with the state that a script ended in, in each of its orders.
async fn held(database: &TestDatabase, script: &Script, now: Timestamp) -> Vec<String> {
    let mut first = None;
    let mut wrong = Vec::new();
    for order in 0..ORDERS {
        let environment = script.environment(order);
        let (customers, payments, subscriptions) = objects(database, &environment, now).await;
        let mut found = expected::differences(script, &customers, &payments, &subscriptions);
        let state = Snapshot::from_objects(&customers, &payments, &subscriptions);
        found.extend(differences(first.get_or_insert_with(|| state.clone()), &state));
        wrong.extend(found.into_iter().map(|what| format!("{environment}: {what}")));
    }
    wrong
}

#[tokio::test]
async fn each_providers_history_ends_in_its_state_in_any_order() {
    let scripts = script::all();
    let now = Timestamp::parse(NOW).expect("a time");
    on_both(async |database: TestDatabase| {
        for order in 0..ORDERS {
            let sources = scripts.iter().flat_map(|script| script.sources(order));
            let pipeline = Pipeline {
                db: database.db.clone(),
                sources: Arc::new(sources.map(|one| (one.name.clone(), Arc::new(one))).collect()),
                keyring: Keyring::new("a key of the tests, long enough"),
                clock: Clock::manual(now),
                handover: None,
            };
            process(&pipeline, &ordered(&scripts, order), order).await;
        }
        let mut wrong = Vec::new();
        for script in &scripts {
            wrong.extend(held(&database, script, now).await);
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_no_drift(&database.db).await;
    })
    .await;
}

#[test]
fn each_provider_has_a_history() {
    let told: BTreeSet<_> = script::all()
        .iter()
        .flat_map(|script| script.providers.iter().map(|one| one.name))
        .collect();
    // What the app itself says is in the histories of the simulator.
    let missing: Vec<_> = provider::ALL
        .iter()
        .map(|provider| provider.name)
        .filter(|name| !told.contains(name) && *name != "canonical")
        .collect();
    assert_eq!(missing, Vec::<&str>::new(), "tests/histories has none of them");
}
