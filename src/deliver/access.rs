//! Whether the database lets us work.

use crate::{
    health::{DATABASE, Health},
    retry::Backoff,
    store,
};
use std::{error::Error as _, time::Duration};
use tokio::time::Instant;

/// Whether the database does one kind of work for us, and when to ask it again after it did not.
#[derive(Debug)]
pub(super) struct Access {
    backoff: Backoff,
    pub(super) fails: bool,
    pub(super) ready_at: Instant,
}

impl Access {
    pub(super) fn new() -> Self {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        Self { backoff, fails: false, ready_at: Instant::now() }
    }

    pub(super) fn failed(&mut self, health: &Health, error: &store::Error) {
        self.fails = true;
        self.ready_at = Instant::now() + self.backoff.next();
        let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        health.down(DATABASE, cause);
    }

    pub(super) fn succeeded(&mut self) {
        self.fails = false;
        self.backoff.reset();
    }
}
