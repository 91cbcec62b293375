//! What must be so at the end of a demo, each found out independently of the code that made it so.

use super::tally::{Tally, Told};
use crate::{
    cli::state::State,
    simulator::{History, differences},
    store::progress::Progress,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One thing that was checked.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    /// What must be so.
    pub(super) what: &'static str,
    /// What is otherwise.
    pub(super) found: Vec<String>,
}

/// Every check.
pub(super) fn all(
    history: &History,
    state: &State,
    progress: Progress,
    tally: &Tally,
) -> Vec<Check> {
    vec![
        Check {
            what: "the state equals the truth",
            found: differences(history.truth.snapshot(), &state.snapshot()),
        },
        Check { what: "totals equal a recount", found: recount(state) },
        Check { what: "versions have no gap", found: gaps(tally) },
        Check {
            what: "each message was delivered and verified",
            found: undelivered(progress, tally),
        },
        Check { what: "the last told customer equals the state", found: last_told(state, tally) },
    ]
}

fn recount(state: &State) -> Vec<String> {
    let drift = format!("{} totals differ", state.drift);
    if state.drift == 0 { Vec::new() } else { vec![drift] }
}

/// A merge goes on from the higher version of the two, and a customer of a reference that was deleted from the
/// version of the deleted one: at those a version may jump.
fn gaps(tally: &Tally) -> Vec<String> {
    let mut found = Vec::new();
    for (id, Told { versions, twice, .. }) in &tally.customers {
        found.extend(twice.iter().map(|version| format!("{id}: version {version} was told twice")));
        let mut before = 0;
        for (version, kind) in versions {
            let jumps = kind == "customer.merged" || (before == 0 && kind == "customer.created");
            if *version != before + 1 && !jumps {
                found.push(format!("{id}: {kind} has version {version} after {before}"));
            }
            before = *version;
        }
    }
    found
}

fn undelivered(progress: Progress, tally: &Tally) -> Vec<String> {
    let mut found: Vec<_> = tally.refused.iter().map(|why| format!("refused: {why}")).collect();
    if progress.pending + progress.undelivered > 0 {
        found.push(format!("{} wait, {} were given up", progress.pending, progress.undelivered));
    }
    if i64::try_from(tally.messages.len()).is_ok_and(|seen| seen != progress.delivered) {
        found.push(format!("{} seen, {} recorded", tally.messages.len(), progress.delivered));
    }
    found
}

/// A customer that is not shown was said to be deleted or merged.
fn last_told(state: &State, tally: &Tally) -> Vec<String> {
    let mut found = Vec::new();
    let shown: BTreeMap<String, Value> =
        state.customers.iter().map(|customer| (customer.id.to_string(), json!(customer))).collect();
    for (id, customer) in &shown {
        match tally.customers.get(id) {
            Some(told) if told.last == *customer => {}
            Some(told) => found.push(format!("{id}: {}", differing(&told.last, customer))),
            None => found.push(format!("{id} was never told")),
        }
    }
    for (id, told) in tally.customers.iter().filter(|(id, _)| !shown.contains_key(*id)) {
        let last = told.versions.last_key_value().map(|(_, kind)| kind.as_str());
        let is_told = last == Some("customer.deleted")
            || told.last.get("deleted") == Some(&json!(true))
            || tally.merged.contains(id);
        if !is_told {
            found.push(format!("{id} is gone and nobody was told"));
        }
    }
    found
}

/// The first field that differs.
fn differing(told: &Value, shown: &Value) -> String {
    let fields = shown.as_object().into_iter().flatten();
    fields
        .filter(|(name, value)| told.get(name.as_str()) != Some(value))
        .map(|(name, value)| {
            format!(
                "{name} is {value}, told was {}",
                told.get(name.as_str()).unwrap_or(&Value::Null)
            )
        })
        .next()
        .unwrap_or_else(|| "more was told than is there".into())
}
