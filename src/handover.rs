//! From commit to delivery without the database: messages that this process leased as it wrote them, and the
//! slots that bound how many deliveries each endpoint has in hand.

use crate::model::{id::EndpointId, message::Leased};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::mpsc;

/// The pipeline's end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handover {
    slots: Slots,
    sender: mpsc::Sender<(Leased, Slot)>,
}

/// How many deliveries are in hand, per endpoint and in all.
#[derive(Clone, Debug)]
pub struct Slots {
    per_endpoint: usize,
    total: usize,
    taken: Arc<Mutex<HashMap<EndpointId, usize>>>,
}

/// The right to deliver one message to one endpoint; given back when dropped.
#[derive(Debug)]
pub struct Slot {
    endpoint: EndpointId,
    slots: Slots,
}

impl Slots {
    /// So many for each endpoint, so many in all.
    pub fn new(per_endpoint: usize, total: usize) -> Self {
        Self { per_endpoint, total, taken: Arc::default() }
    }

    /// Takes a slot, unless the endpoint or the process has all it may have in hand.
    pub fn take(&self, endpoint: EndpointId) -> Option<Slot> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.values().sum::<usize>() >= self.total {
            return None;
        }
        let count = taken.entry(endpoint).or_default();
        if *count >= self.per_endpoint {
            return None;
        }
        *count += 1;
        Some(Slot { endpoint, slots: self.clone() })
    }

    /// How many an endpoint may still take.
    pub fn free(&self, endpoint: EndpointId) -> usize {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.total.saturating_sub(taken.values().sum());
        let own = self.per_endpoint.saturating_sub(taken.get(&endpoint).copied().unwrap_or(0));
        own.min(all)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.endpoint) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.endpoint);
            }
        }
    }
}

impl Handover {
    /// Both ends. The channel holds as many messages as there are slots, so that sending never waits.
    pub fn new(slots: Slots) -> (Self, mpsc::Receiver<(Leased, Slot)>) {
        let (sender, receiver) = mpsc::channel(slots.total.max(1));
        (Self { slots, sender }, receiver)
    }

    /// Takes a slot for a message that is about to be written.
    pub fn reserve(&self, endpoint: EndpointId) -> Option<Slot> {
        self.slots.take(endpoint)
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
        let (a, b) = (slots.take(endpoint(1)), slots.take(endpoint(1)));
        assert!(a.is_some() && b.is_some() && slots.take(endpoint(1)).is_none());
        let c = slots.take(endpoint(2));
        assert!(c.is_some() && slots.take(endpoint(2)).is_none());
        drop(a);
        assert_eq!((slots.free(endpoint(1)), slots.free(endpoint(2))), (1, 1));
    }
}
