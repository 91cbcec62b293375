//! How much the broker may send ahead, in bytes.
//!
//! The prefetch counts messages, however large they are; quorum queues have no other limit. So nothing more is read from
//! the connection while more bytes of messages wait here than are allowed: what the broker has sent then waits in its
//! own memory and in the kernel's. Messages are counted when they are complete, so that there is always one to work on.
//!
//! A connection from which nothing is read looks dead to the client, by its heartbeats, and its end is never seen. So a
//! little is read all the same, a few times a second.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
    time::Duration,
};

/// How often a little is read from a connection that is held up. AMQP's heartbeats come every second or less often.
pub const SIP_EVERY: Duration = Duration::from_millis(300);
/// How much that is, in bytes: some 7 MiB in an hour.
pub const SIP: usize = 512;

/// The bytes of messages that arrived on a connection and were not settled yet. No limit unless one is set.
#[derive(Debug, Default)]
pub struct Ahead(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    by_channel: HashMap<u16, usize>,
    /// Channels of which nobody takes what still arrives.
    forgotten: HashSet<u16>,
    limit: Option<usize>,
    ending: bool,
    waiting: Option<Waker>,
}

/// Whether more may be read from the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// It may.
    Open,
    /// Not before something is settled.
    HeldUp,
    /// No more: the connection is going away, and what is left of it is of no use.
    Over,
}

impl Ahead {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Allows so many bytes, and one message more.
    pub fn limit(&self, bytes: usize) {
        self.state().limit = Some(bytes);
    }

    /// Notes that a message has arrived.
    pub(super) fn arrived(&self, channel: u16, size: usize) {
        let mut state = self.state();
        if state.forgotten.contains(&channel) {
            return;
        }
        let held = state.by_channel.entry(channel).or_default();
        *held = held.saturating_add(size);
    }

    /// Notes that messages of so many bytes are settled.
    pub fn settled(&self, channel: u16, size: usize) {
        self.change(|state| {
            if let Some(held) = state.by_channel.get_mut(&channel) {
                *held = held.saturating_sub(size);
            }
        });
    }

    /// Notes that nobody will settle what is left of a channel, nor what is still on its way to it.
    pub fn forget(&self, channel: u16) {
        self.change(|state| {
            state.by_channel.remove(&channel);
            state.forgotten.insert(channel);
        });
    }

    /// Notes that a channel begins: its number may have been another one's before.
    pub(super) fn opened(&self, channel: u16) {
        self.change(|state| {
            state.by_channel.remove(&channel);
            state.forgotten.remove(&channel);
        });
    }

    /// Notes that the connection or its channels are about to be closed: where it is held up, that ends it at once, since
    /// the broker's good-bye would come behind all that it sent.
    pub fn end(&self) {
        self.change(|state| state.ending = true);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Whether more may be read; if not, the task is woken when that may have changed.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Flow {
        let mut state = self.state();
        let held = state.by_channel.values().fold(0, |all: usize, held| all.saturating_add(*held));
        match state.limit {
            Some(limit) if held >= limit && state.ending => Flow::Over,
            Some(limit) if held >= limit => {
                state.waiting = Some(cx.waker().clone());
                Flow::HeldUp
            }
            _ => Flow::Open,
        }
    }
}
