//! How many deliveries are in hand, per endpoint and in all.

use crate::model::id::EndpointId;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// How many deliveries may be in hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// For an endpoint that answers within [`PROMPT`], or slower.
    pub per_endpoint: usize,
    /// For all endpoints together that never answered, or not the last time.
    pub strangers: usize,
    /// In all.
    pub total: usize,
}

/// Whoever answers sooner may have more in hand, by as much as it is faster, while half of all slots are free: so that
/// what is claimed and recorded at once grows with what an endpoint takes, and is no more than it takes in a quarter of a
/// second, which a new message may have to wait.
pub const PROMPT: Duration = Duration::from_millis(60);

/// How many slots an endpoint has that was never heard of.
const FIRST: usize = 4;

/// How many deliveries are in hand, per endpoint and in all.
///
/// An endpoint begins with a few slots and has twice as many after each answer, half as many after each silence. Those
/// that did not answer hold their slots for the whole timeout, and share a part of all, so that they cannot hold up those
/// that do. Where a quarter of that part is taken, one that was never heard of begins with one.
#[derive(Clone, Debug)]
pub struct Slots {
    bounds: Bounds,
    taken: Arc<Mutex<Taken>>,
    /// Endpoints that are left alone for now, and since when that is known.
    held: Arc<Mutex<HashMap<EndpointId, Instant>>>,
    pub(super) refused: Arc<Notify>,
}

/// The slots that somebody holds, and what the endpoints have shown of themselves.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_strangers: usize,
    endpoints: HashMap<EndpointId, Known>,
    /// Whether no more are given out.
    closed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    taken: usize,
    /// How many it may have, if it was ever heard of or waited for in vain.
    allowed: Option<usize>,
    /// Whether it answered the last time.
    answers: bool,
}

impl Taken {
    fn known(&self, endpoint: EndpointId) -> Known {
        self.endpoints.get(&endpoint).copied().unwrap_or_default()
    }

    /// How many an endpoint may take besides those that it has.
    fn room(&self, endpoint: EndpointId, bounds: Bounds) -> usize {
        let known = self.known(endpoint);
        let left = bounds.total.saturating_sub(self.all);
        let (allowed, left) = if known.answers {
            let allowed = known.allowed.unwrap_or(FIRST);
            let half_is_free = self.all.saturating_mul(2) < bounds.total;
            (if half_is_free { allowed } else { allowed.min(bounds.per_endpoint) }, left)
        } else {
            let few_are_taken = self.by_strangers.saturating_mul(4) < bounds.strangers;
            let first = if few_are_taken { FIRST } else { 1 };
            let allowed = known.allowed.unwrap_or(first).min(bounds.per_endpoint);
            // Those that are known not to answer leave some for those of whom nothing is known.
            let theirs = if known.allowed.is_some() {
                bounds.strangers - bounds.strangers / 4
            } else {
                bounds.strangers
            };
            (allowed, left.min(theirs.saturating_sub(self.by_strangers)))
        };
        allowed.saturating_sub(known.taken).min(left)
    }
}

/// The right to deliver one message to one endpoint; given back when dropped.
#[derive(Debug)]
pub struct Slot {
    endpoint: EndpointId,
    /// Whether its endpoint was one that did not answer when it was taken.
    strange: bool,
    slots: Slots,
}

impl Slots {
    /// All of them, free.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, taken: Arc::default(), held: Arc::default(), refused: Arc::default() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<EndpointId, Instant>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The endpoint answered within that time, whatever it said: it may have twice as many in hand.
    pub fn answered(&self, endpoint: EndpointId, took: Duration) {
        let faster = PROMPT.as_micros().checked_div(took.as_micros()).unwrap_or(u128::MAX).max(1);
        let faster = usize::try_from(faster).unwrap_or(usize::MAX);
        let most = self.bounds.per_endpoint.saturating_mul(faster).min(self.bounds.total).max(1);
        let mut taken = self.taken();
        let known = taken.endpoints.entry(endpoint).or_default();
        known.allowed = Some(known.allowed.unwrap_or(FIRST).saturating_mul(2).min(most));
        known.answers = true;
    }

    /// The endpoint did not answer: it may have half as many in hand, but always one.
    pub fn unanswered(&self, endpoint: EndpointId) {
        let mut taken = self.taken();
        let known = taken.endpoints.entry(endpoint).or_default();
        let before = known.allowed.unwrap_or(FIRST).min(self.bounds.per_endpoint);
        known.allowed = Some((before / 2).max(1));
        known.answers = false;
    }

    /// Leaves an endpoint alone until [`Slots::hold_only`] says otherwise: its breaker opened, or it has too much.
    pub fn hold(&self, endpoint: EndpointId) {
        self.held().insert(endpoint, Instant::now());
    }

    /// Leaves these endpoints alone and no others, as the database said at that time. What was learned since stays.
    pub fn hold_only(&self, endpoints: &HashSet<EndpointId>, as_of: Instant) {
        let mut held = self.held();
        held.retain(|endpoint, since| *since >= as_of || endpoints.contains(endpoint));
        for endpoint in endpoints {
            held.entry(*endpoint).or_insert(as_of);
        }
    }

    /// Whether an endpoint is left alone.
    pub fn is_held(&self, endpoint: EndpointId) -> bool {
        self.held().contains_key(&endpoint)
    }

    /// Waits until a message found no slot and was left to be claimed.
    pub async fn refused(&self) {
        self.refused.notified().await;
    }

    /// Takes a slot, unless the endpoint is left alone, or it or the process has all that it may have in hand.
    pub fn take(&self, endpoint: EndpointId) -> Option<Slot> {
        if self.is_held(endpoint) { None } else { self.take_for_probe(endpoint) }
    }

    /// The same for a message that shows whether an endpoint that is left alone is well again.
    pub fn take_for_probe(&self, endpoint: EndpointId) -> Option<Slot> {
        let mut taken = self.taken();
        if taken.closed || taken.room(endpoint, self.bounds) == 0 {
            return None;
        }
        let known = taken.endpoints.entry(endpoint).or_default();
        known.taken += 1;
        let strange = !known.answers;
        taken.all += 1;
        taken.by_strangers += usize::from(strange);
        Some(Slot { endpoint, strange, slots: self.clone() })
    }

    /// How many an endpoint may still take.
    pub fn free(&self, endpoint: EndpointId) -> usize {
        self.taken().room(endpoint, self.bounds)
    }

    /// How many there are in all.
    pub fn total(&self) -> usize {
        self.bounds.total
    }

    /// How many are taken.
    pub fn in_hand(&self) -> usize {
        self.taken().all
    }

    /// Gives out no more. From here on [`Slots::in_hand`] only falls, and a message that is written finds no slot:
    /// it is due at once, for whichever process claims it.
    pub fn close(&self) {
        self.taken().closed = true;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        taken.all -= 1;
        taken.by_strangers -= usize::from(self.strange);
        if let Some(known) = taken.endpoints.get_mut(&self.endpoint) {
            known.taken -= 1;
            if known.taken == 0 && known.allowed.is_none() {
                taken.endpoints.remove(&self.endpoint);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(n: u128) -> EndpointId {
        EndpointId(uuid::Uuid::from_u128(n))
    }

    fn slots(per_endpoint: usize, strangers: usize, total: usize) -> Slots {
        Slots::new(Bounds { per_endpoint, strangers, total })
    }

    #[test]
    fn slots_bound_each_endpoint_and_all_together() {
        let slots = slots(2, 3, 3);
        (1..=2).for_each(|n| slots.answered(endpoint(n), PROMPT));
        let (a, b) = (slots.take(endpoint(1)), slots.take(endpoint(1)));
        assert!(a.is_some() && b.is_some() && slots.take(endpoint(1)).is_none());
        let c = slots.take(endpoint(2));
        assert!(c.is_some() && slots.take(endpoint(2)).is_none());
        drop(a);
        assert_eq!((slots.free(endpoint(1)), slots.free(endpoint(2))), (1, 1));
        assert_eq!(slots.in_hand(), 2);
    }

    /// A hundred that do not answer, before anybody knows that, must not hold all that there is for their timeout.
    #[test]
    fn endpoints_that_do_not_answer_share_a_part_of_all() {
        let slots = slots(64, 16, 64);
        let held: Vec<Slot> =
            (0..64).filter_map(|turn| slots.take(endpoint(turn % 20 + 1))).collect();
        assert_eq!(held.len(), 16, "all that strangers may have, one each");
        assert!(slots.take(endpoint(30)).is_none());
        slots.answered(endpoint(30), PROMPT);
        let known: Vec<Slot> = (0..64).filter_map(|_| slots.take(endpoint(30))).collect();
        assert_eq!(known.len(), 2 * FIRST, "who answers has more, and not of theirs");
        slots.unanswered(endpoint(30));
        drop(known);
        assert_eq!(slots.free(endpoint(30)), 0, "it is one of them now");
        drop(held);
        assert_eq!((slots.free(endpoint(1)), slots.free(endpoint(30))), (FIRST, FIRST));
        assert_eq!(slots.in_hand(), 0);
        (1..=20).for_each(|n| slots.unanswered(endpoint(n)));
        let silent: Vec<Slot> =
            (0..64).filter_map(|turn| slots.take(endpoint(turn % 20 + 1))).collect();
        assert_eq!((silent.len(), slots.free(endpoint(31))), (12, 1), "some are left for new ones");
    }

    #[test]
    fn who_answers_sooner_has_more_while_half_is_free() {
        let slots = slots(4, 4, 40);
        let [fast, other] = [1, 2].map(endpoint);
        (0..9).for_each(|_| slots.answered(fast, PROMPT / 4));
        assert_eq!(slots.free(fast), 16);
        (0..9).for_each(|_| slots.answered(fast, Duration::ZERO));
        (0..9).for_each(|_| slots.answered(other, PROMPT * 9));
        assert_eq!((slots.free(fast), slots.free(other)), (40, 4));
        let held: Vec<Slot> = (0..99).filter_map(|_| slots.take(fast)).collect();
        assert_eq!((held.len(), slots.free(other)), (20, 4));
    }

    #[test]
    fn an_endpoint_that_is_held_has_no_slot_but_for_a_probe() {
        let slots = slots(4, 4, 4);
        let [a, b] = [1, 2].map(endpoint);
        let before = Instant::now();
        slots.hold(a);
        assert!(slots.take(a).is_none() && slots.take_for_probe(a).is_some());
        slots.hold_only(&HashSet::from([b]), before);
        assert!(slots.is_held(a), "what was learned since stays");
        slots.hold_only(&HashSet::from([b]), Instant::now());
        assert!(slots.take(a).is_some() && slots.take(b).is_none());
        slots.hold_only(&HashSet::new(), Instant::now());
        assert!(slots.take(b).is_some());
    }

    #[test]
    fn closed_slots_are_given_back_and_given_out_no_more() {
        let slots = slots(4, 4, 4);
        let held = slots.take(endpoint(1));
        slots.close();
        assert!(held.is_some() && slots.take(endpoint(1)).is_none());
        assert_eq!(slots.in_hand(), 1);
        drop(held);
        assert_eq!(slots.in_hand(), 0);
    }

    #[test]
    fn an_endpoint_that_does_not_answer_keeps_one_slot_and_wins_all_back_by_answering() {
        let slots = slots(32, 100, 100);
        let endpoint = endpoint(1);
        assert_eq!(slots.free(endpoint), FIRST);
        (0..9).for_each(|_| slots.answered(endpoint, PROMPT));
        assert_eq!(slots.free(endpoint), 32);
        (0..9).for_each(|_| slots.unanswered(endpoint));
        assert_eq!(slots.free(endpoint), 1);
        (0..5).for_each(|_| slots.answered(endpoint, PROMPT));
        assert_eq!(slots.free(endpoint), 32);
    }
}
