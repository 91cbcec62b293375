//! From commit to delivery without the database: messages that this process leased as it wrote them, and the
//! slots that bound how many deliveries each endpoint has in hand.

use crate::model::{id::EndpointId, message::Leased};
use std::time::Duration;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

/// The pipeline's end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handover {
    slots: Slots,
    lease: Duration,
    sender: mpsc::Sender<(Leased, Slot)>,
}

/// How long a lease lasts unless settings say otherwise.
pub const LEASE: Duration = Duration::from_mins(1);

/// How many deliveries are in hand, per endpoint and in all.
///
/// An endpoint begins with a few slots and has twice as many after each answer, half as many after each
/// silence: those that do not answer hold their slots for the whole timeout, and must not hold all of them. Where half of
/// all are taken, one that was never heard of begins with one.
#[derive(Clone, Debug)]
pub struct Slots {
    per_endpoint: usize,
    total: usize,
    taken: Arc<Mutex<Taken>>,
    allowed: Arc<Mutex<HashMap<EndpointId, usize>>>,
    /// Endpoints that are left alone for now, and since when that is known.
    held: Arc<Mutex<HashMap<EndpointId, Instant>>>,
    refused: Arc<Notify>,
}

/// The slots that somebody holds.
#[derive(Debug, Default)]
struct Taken {
    by_endpoint: HashMap<EndpointId, usize>,
    /// Whether no more are given out.
    closed: bool,
}

impl Taken {
    fn all(&self) -> usize {
        self.by_endpoint.values().sum()
    }
}

/// How many slots an endpoint has that was never heard of.
const FIRST: usize = 4;

/// The right to deliver one message to one endpoint; given back when dropped.
#[derive(Debug)]
pub struct Slot {
    endpoint: EndpointId,
    slots: Slots,
}

impl Slots {
    /// So many for each endpoint, so many in all.
    pub fn new(per_endpoint: usize, total: usize) -> Self {
        Self {
            per_endpoint,
            total,
            taken: Arc::default(),
            allowed: Arc::default(),
            held: Arc::default(),
            refused: Arc::default(),
        }
    }

    /// How many an endpoint may have where so many are taken in all.
    fn allowed(&self, endpoint: EndpointId, taken: usize) -> usize {
        let first = if taken.saturating_mul(2) < self.total { FIRST } else { 1 };
        let allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        allowed.get(&endpoint).copied().unwrap_or(first).min(self.per_endpoint)
    }

    /// The endpoint answered, whatever it said: it may have twice as many in hand.
    pub fn answered(&self, endpoint: EndpointId) {
        self.allow(endpoint, self.allowed(endpoint, self.in_hand()).saturating_mul(2));
    }

    /// The endpoint did not answer: it may have half as many in hand, but always one.
    pub fn unanswered(&self, endpoint: EndpointId) {
        self.allow(endpoint, self.allowed(endpoint, self.in_hand()) / 2);
    }

    /// Leaves an endpoint alone until [`Slots::hold_only`] says otherwise: its breaker opened, or it has too much.
    pub fn hold(&self, endpoint: EndpointId) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(endpoint, Instant::now());
    }

    /// Leaves these endpoints alone and no others, as the database said at that time. What was learned since stays.
    pub fn hold_only(&self, endpoints: &HashSet<EndpointId>, as_of: Instant) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|endpoint, since| *since >= as_of || endpoints.contains(endpoint));
        for endpoint in endpoints {
            held.entry(*endpoint).or_insert(as_of);
        }
    }

    /// Whether an endpoint is left alone.
    pub fn is_held(&self, endpoint: EndpointId) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.contains_key(&endpoint)
    }

    fn allow(&self, endpoint: EndpointId, count: usize) {
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        allowed.insert(endpoint, count.clamp(1, self.per_endpoint.max(1)));
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
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.closed || taken.all() >= self.total {
            return None;
        }
        let allowed = self.allowed(endpoint, taken.all());
        let count = taken.by_endpoint.entry(endpoint).or_default();
        if *count >= allowed {
            return None;
        }
        *count += 1;
        Some(Slot { endpoint, slots: self.clone() })
    }

    /// How many an endpoint may still take.
    pub fn free(&self, endpoint: EndpointId) -> usize {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = self.allowed(endpoint, taken.all());
        let all = self.total.saturating_sub(taken.all());
        let own = allowed.saturating_sub(taken.by_endpoint.get(&endpoint).copied().unwrap_or(0));
        own.min(all)
    }

    /// Whether the process may take another, for whatever endpoint.
    pub fn has_room(&self) -> bool {
        self.in_hand() < self.total
    }

    /// How many are taken.
    pub fn in_hand(&self) -> usize {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).all()
    }

    /// Gives out no more. From here on [`Slots::in_hand`] only falls, and a message that is written finds no slot:
    /// it is due at once, for whichever process claims it.
    pub fn close(&self) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.by_endpoint.get_mut(&self.endpoint) {
            *count -= 1;
            if *count == 0 {
                taken.by_endpoint.remove(&self.endpoint);
            }
        }
    }
}

impl Handover {
    /// Both ends. The channel holds as many messages as there are slots, so that sending never waits.
    pub fn new(slots: Slots) -> (Self, mpsc::Receiver<(Leased, Slot)>) {
        let (sender, receiver) = mpsc::channel(slots.total.max(1));
        (Self { slots, lease: LEASE, sender }, receiver)
    }

    /// The same with leases of another length.
    #[must_use]
    pub fn leasing_for(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// How long the lease of a message lasts that is handed over.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// Takes a slot for a message that is about to be written.
    pub fn reserve(&self, endpoint: EndpointId) -> Option<Slot> {
        let slot = self.slots.take(endpoint);
        if slot.is_none() {
            self.wake();
        }
        slot
    }

    /// Says that a message is or will soon be due that is not handed over.
    pub fn wake(&self) {
        self.slots.refused.notify_one();
    }

    /// Hands a committed message over. If the other end is gone its lease runs out and the claim finds it.
    pub fn send(&self, message: Leased, slot: Slot) {
        if let Err(error) = self.sender.try_send((message, slot)) {
            tracing::debug!(%error, "a message was not taken over; it will be claimed when its lease ends");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_bound_each_endpoint_and_all_together() {
        let endpoint = |n| EndpointId(uuid::Uuid::from_u128(n));
        let slots = Slots::new(2, 3);
        (1..=2).for_each(|n| slots.answered(endpoint(n)));
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
    fn endpoints_that_were_never_heard_of_have_one_slot_each_where_half_of_all_are_taken() {
        let endpoint = |n| EndpointId(uuid::Uuid::from_u128(n));
        let slots = Slots::new(64, 16);
        let held: Vec<Slot> =
            (0..64).filter_map(|turn| slots.take(endpoint(turn % 4 + 1))).collect();
        assert_eq!(held.len(), 8, "two each, and then half are taken");
        let new = slots.take(endpoint(9));
        assert!(new.is_some() && slots.take(endpoint(9)).is_none());
        slots.answered(endpoint(9));
        assert!(slots.take(endpoint(9)).is_some(), "who answers has more");
        drop(held);
        assert_eq!(slots.free(endpoint(1)), FIRST);
    }

    #[test]
    fn an_endpoint_that_is_held_has_no_slot_but_for_a_probe() {
        let slots = Slots::new(4, 4);
        let [a, b] = [1, 2].map(|n| EndpointId(uuid::Uuid::from_u128(n)));
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
        let slots = Slots::new(4, 4);
        let endpoint = EndpointId(uuid::Uuid::from_u128(1));
        let held = slots.take(endpoint);
        slots.close();
        assert!(held.is_some() && slots.take(endpoint).is_none());
        assert_eq!(slots.in_hand(), 1);
        drop(held);
        assert_eq!(slots.in_hand(), 0);
    }

    #[test]
    fn an_endpoint_that_does_not_answer_keeps_one_slot_and_wins_all_back_by_answering() {
        let slots = Slots::new(32, 100);
        let endpoint = EndpointId(uuid::Uuid::from_u128(1));
        assert_eq!(slots.free(endpoint), FIRST);
        (0..9).for_each(|_| slots.answered(endpoint));
        assert_eq!(slots.free(endpoint), 32);
        (0..9).for_each(|_| slots.unanswered(endpoint));
        assert_eq!(slots.free(endpoint), 1);
        (0..5).for_each(|_| slots.answered(endpoint));
        assert_eq!(slots.free(endpoint), 32);
    }
}
