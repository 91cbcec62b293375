//! A register: what was said about one field, from which the value that counts follows.

use crate::model::{authority::Authority, stamp::Stamp, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One event's word about one field.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Assertion<T> {
    /// How much the word counts.
    #[serde(rename = "a")]
    pub authority: Authority,
    /// When it was said, and by which event.
    #[serde(rename = "s")]
    pub stamp: Stamp,
    /// What was said.
    #[serde(rename = "v")]
    pub value: T,
    /// What the event says the value was before it, where it says so (Stripe's `previous_attributes`).
    #[serde(rename = "p", default = "none", skip_serializing_if = "Option::is_none")]
    pub previous: Option<Box<T>>,
}

fn none<T>() -> Option<T> {
    None
}

/// The assertions of one field that can still decide its value.
///
/// A set with a join: adding the same assertions in any order, any number of times, gives the same register.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Register<T> {
    /// Highest (authority, stamp) first.
    assertions: Vec<Assertion<T>>,
}

/// Of assertions that only repeat a chain of changes, this many instants are kept per authority.
const INSTANTS_KEPT: usize = 8;

impl<T> Default for Register<T> {
    fn default() -> Self {
        Self { assertions: Vec::new() }
    }
}

impl<T: Clone + PartialEq> Register<T> {
    /// A register in which one thing was said.
    pub fn of(authority: Authority, stamp: Stamp, value: T) -> Self {
        Self { assertions: vec![Assertion { authority, stamp, value, previous: None }] }
    }

    /// A register in which one change was said, with the value it replaced.
    pub fn change(authority: Authority, stamp: Stamp, value: T, previous: T) -> Self {
        let previous = Some(Box::new(previous));
        Self { assertions: vec![Assertion { authority, stamp, value, previous }] }
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.assertions.is_empty()
    }

    /// What was said, highest (authority, stamp) first.
    pub fn assertions(&self) -> &[Assertion<T>] {
        &self.assertions
    }

    /// The same word about another form of the value.
    pub fn map<U: Clone + PartialEq>(&self, form: impl Fn(&T) -> U) -> Register<U> {
        let assertions = self
            .assertions
            .iter()
            .map(|said| Assertion {
                authority: said.authority,
                stamp: said.stamp.clone(),
                value: form(&said.value),
                previous: said.previous.as_deref().map(|previous| Box::new(form(previous))),
            })
            .collect();
        Register { assertions }
    }

    /// Takes in what another register holds.
    pub fn join(&mut self, other: &Self) {
        for new in &other.assertions {
            let order =
                |old: &Assertion<T>| (new.authority, &new.stamp).cmp(&(old.authority, &old.stamp));
            if let Err(place) = self.assertions.binary_search_by(order) {
                self.assertions.insert(place, new.clone());
            }
        }
        self.drop_copies();
        self.prune();
    }

    /// Forgets what was said at or before a time.
    pub fn erase(&mut self, until: Timestamp) {
        self.assertions.retain(|assertion| assertion.stamp.at > until);
    }

    /// Forgets what was said with less than an authority.
    pub fn erase_below(&mut self, authority: Authority) {
        self.assertions.retain(|assertion| assertion.authority >= authority);
    }

    /// The assertion that counts: the highest (authority, stamp), with Stripe's rule for one second.
    ///
    /// Of several updates of one instant a value counts only if more of them assert it than name it as
    /// the previous one; if none does, the value held before that instant stands (semantics 2). An update is
    /// counted once, in however many forms it came (semantics 1).
    pub fn winner(&self) -> Option<&Assertion<T>> {
        let mut rest = self.assertions.as_slice();
        while let Some(first) = rest.first() {
            let same = |other: &&Assertion<T>| {
                other.authority == first.authority && other.stamp.at == first.stamp.at
            };
            let size = rest.iter().take_while(same).count();
            let (instant, below) = rest.split_at(size);
            let counts = |candidate: &&Assertion<T>| {
                let value = &candidate.value;
                let asserted = events(instant, |said| said.value == *value);
                let replaced = events(instant, |said| said.previous.as_deref() == Some(value));
                asserted > replaced
            };
            if let Some(winner) = instant.iter().find(counts) {
                return Some(winner);
            }
            rest = below;
        }
        None
    }

    /// The value that counts.
    pub fn value(&self) -> Option<&T> {
        self.winner().map(|winner| &winner.value)
    }

    /// Of what one event says in several forms (sent again with other bytes, or imported), the highest stays.
    fn drop_copies(&mut self) {
        let mut kept: Vec<Assertion<T>> = Vec::with_capacity(self.assertions.len());
        for new in self.assertions.drain(..) {
            let is_copy = |old: &Assertion<T>| {
                (old.authority, old.stamp.at) == (new.authority, new.stamp.at)
                    && old.stamp.key.event_id() == new.stamp.key.event_id()
                    && old.value == new.value
                    && old.previous == new.previous
            };
            let instant = kept.iter().rev().take_while(|old| old.stamp.at == new.stamp.at);
            if !instant.into_iter().any(is_copy) {
                kept.push(new);
            }
        }
        self.assertions = kept;
    }

    /// Drops what can no longer decide: within an authority, everything below an instant at which
    /// something was said outright. (There, one value always outnumbers those that replace it.)
    fn prune(&mut self) {
        let mut kept: Vec<Assertion<T>> = Vec::with_capacity(self.assertions.len());
        let (mut authority, mut at, mut instants, mut outright) = (None, None, 0_usize, false);
        for assertion in self.assertions.drain(..) {
            if authority != Some(assertion.authority) {
                (authority, at, instants, outright) = (Some(assertion.authority), None, 0, false);
            }
            if at != Some(assertion.stamp.at) {
                if outright || instants == INSTANTS_KEPT {
                    (instants, outright) = (INSTANTS_KEPT, true);
                    continue;
                }
                at = Some(assertion.stamp.at);
                instants += 1;
            }
            outright |= assertion.previous.is_none();
            kept.push(assertion);
        }
        self.assertions = kept;
    }
}

/// How many events said something.
fn events<T>(instant: &[Assertion<T>], says: impl Fn(&Assertion<T>) -> bool) -> usize {
    let ids: BTreeSet<&str> =
        instant.iter().filter(|said| says(said)).map(|said| said.stamp.key.event_id()).collect();
    ids.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::stamp::EventKey;
    use proptest::prelude::*;

    fn stamp(second: i64, rank: u8, id: u8) -> Stamp {
        let at = Timestamp::from_seconds(second).expect("in range");
        Stamp { at, rank, key: EventKey::new("s", &id.to_string(), "") }
    }

    fn said(second: i64, id: u8, value: u8, previous: Option<u8>) -> Register<u8> {
        match previous {
            Some(previous) => {
                Register::change(Authority::PAYMENT, stamp(second, 2, id), value, previous)
            }
            None => Register::of(Authority::PAYMENT, stamp(second, 1, id), value),
        }
    }

    fn joined(registers: &[Register<u8>]) -> Register<u8> {
        let mut all = Register::default();
        for register in registers {
            all.join(register);
        }
        all
    }

    #[test]
    fn the_higher_authority_wins_whatever_the_time() {
        let mut register = Register::of(Authority::APP, stamp(1, 2, 1), 7);
        register.join(&Register::of(Authority::AUTH, stamp(9, 2, 2), 8));
        assert_eq!(register.value(), Some(&7));
    }

    /// Pain point 22 and fault 5 of stripe/sync-engine (#268): of two changes in one second the newer one was dropped.
    #[test]
    fn the_end_of_a_chain_within_one_second_wins_whatever_the_order_of_ids() {
        // created with 1, then 1 → 3, then 3 → 2, all in one second; the ids run against the order.
        let chain = [said(5, 9, 1, None), said(5, 8, 3, Some(1)), said(5, 1, 2, Some(3))];
        assert_eq!(joined(&chain).value(), Some(&2));
    }

    #[test]
    fn a_change_and_its_undoing_in_one_second_leave_what_was_before() {
        let there_and_back = [said(4, 1, 1, None), said(5, 2, 2, Some(1)), said(5, 3, 1, Some(2))];
        assert_eq!(joined(&there_and_back).value(), Some(&1));
    }

    #[test]
    fn an_event_that_comes_again_with_other_bytes_or_by_another_source_counts_once() {
        // 1 → 2, then 2 → 3, in one second; the first comes again as a retry and by an import.
        let again = |source: &str, hash: &str| {
            let key = EventKey::new(source, "9", hash);
            Register::change(Authority::PAYMENT, Stamp { key, ..stamp(5, 2, 9) }, 2, 1)
        };
        let chain =
            [said(5, 9, 2, Some(1)), said(5, 1, 3, Some(2)), again("s", "ff"), again("t", "")];
        let register = joined(&chain);
        assert_eq!(register.value(), Some(&3));
        assert_eq!(register.assertions().len(), 2, "no copy is kept");
    }

    proptest! {
        #[test]
        fn copies_of_what_was_said_change_nothing(
            said_things in prop::collection::vec((0_i64..3, 0_u8..3, prop::option::of(0_u8..3)), 1..8),
            copies in prop::collection::vec((0_usize..8, "[a-z]{1,2}", "[0-9a-f]{1,2}"), 0..12),
        ) {
            let originals: Vec<_> = said_things
                .iter()
                .zip(0_u8..)
                .map(|((second, value, previous), id)| said(*second, id, *value, *previous))
                .collect();
            let copied = |source: Option<&str>| {
                let copies = copies.iter().filter_map(|(which, other, hash)| {
                    let mut copy = originals.get(*which)?.clone();
                    let first = copy.assertions.first_mut()?;
                    let id = first.stamp.key.event_id();
                    first.stamp.key = EventKey::new(source.unwrap_or(other), id, hash);
                    Some(copy)
                });
                originals.iter().cloned().chain(copies).collect::<Vec<_>>()
            };
            let (once, again) = (joined(&originals), joined(&copied(Some("s"))));
            prop_assert_eq!(again.value(), once.value());
            let mut all = copied(None);
            let forward = joined(&all);
            prop_assert_eq!(forward.assertions().len(), once.assertions().len());
            all.reverse();
            prop_assert_eq!(joined(&all), forward);
        }

        #[test]
        fn joining_is_order_free_and_repeatable(
            said_things in prop::collection::vec((0_i64..4, 0_u8..4, 0_u8..3, prop::option::of(0_u8..3)), 1..12),
            cut in 0_usize..12,
        ) {
            let registers: Vec<_> = said_things
                .iter()
                .enumerate()
                .map(|(i, (second, _, value, previous))| said(*second, u8::try_from(i).expect("few"), *value, *previous))
                .collect();
            let forward = joined(&registers);
            let backward: Vec<_> = registers.iter().rev().cloned().collect();
            prop_assert_eq!(&forward, &joined(&backward));
            let (left, right) = registers.split_at(cut.min(registers.len()));
            let mut halves = joined(right);
            halves.join(&joined(left));
            halves.join(&forward);
            prop_assert_eq!(halves, forward);
        }
    }
}
