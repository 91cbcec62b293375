//! Whether the database does one kind of work for us, and when to ask it again.

use crate::store;
use backoff::{ExponentialBackoff, backoff::Backoff as _};
use std::time::Duration;
use tokio::time::Instant;

/// Says once that the database went away and once that it is back, and spreads the questions in between.
#[derive(Debug)]
pub(super) struct Health {
    what: &'static str,
    backoff: ExponentialBackoff,
    away: bool,
    ready_at: Instant,
}

impl Health {
    pub(super) fn new(what: &'static str) -> Self {
        let backoff = ExponentialBackoff {
            initial_interval: Duration::from_millis(100),
            max_interval: Duration::from_secs(5),
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        Self { what, backoff, away: false, ready_at: Instant::now() }
    }

    /// When the database may be asked again.
    pub(super) fn ready_at(&self) -> Instant {
        self.ready_at
    }

    pub(super) fn failed(&mut self, error: &store::Error) {
        if !self.away {
            tracing::error!(?error, work = self.what, "deliveries wait for the database");
        }
        self.away = true;
        let pause = self.backoff.next_backoff().unwrap_or(self.backoff.max_interval);
        self.ready_at = Instant::now() + pause;
    }

    pub(super) fn succeeded(&mut self) {
        if self.away {
            tracing::info!(work = self.what, "deliveries go on: the database is back");
        }
        self.away = false;
        self.backoff.reset();
        self.ready_at = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_for_ever_and_never_in_a_hot_loop() {
        let mut health = Health::new("a test");
        assert!(health.ready_at() <= Instant::now());
        for _ in 0..1_000 {
            health.failed(&store::Error::Grew);
            let pause = health.ready_at() - Instant::now();
            assert!(
                pause >= Duration::from_millis(30) && pause <= Duration::from_secs(8),
                "{pause:?}"
            );
        }
        health.succeeded();
        assert!(health.ready_at() <= Instant::now());
    }
}
