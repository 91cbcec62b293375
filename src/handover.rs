//! From commit to delivery without the database: messages that this process leased as it wrote them, and the
//! slots that bound how many deliveries each endpoint has in hand.

use crate::model::{id::EndpointId, message::Leased};
use std::time::Duration;
use tokio::sync::mpsc;

mod slots;

pub use slots::{Bounds, PROMPT, Slot, Slots};

/// The pipeline's end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handover {
    slots: Slots,
    lease: Duration,
    sender: mpsc::Sender<(Leased, Slot)>,
}

/// How long a lease lasts unless settings say otherwise.
pub const LEASE: Duration = Duration::from_mins(1);

impl Handover {
    /// Both ends. The channel holds as many messages as there are slots, so that sending never waits.
    pub fn new(slots: Slots) -> (Self, mpsc::Receiver<(Leased, Slot)>) {
        let (sender, receiver) = mpsc::channel(slots.total().max(1));
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
