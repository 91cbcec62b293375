//! How long to wait before the next try: exponential, capped, spread by jitter, without end.
//!
//! For connections and loops whose other side is away. Due times of deliveries live in the database instead.

use backoff::{ExponentialBackoff, backoff::Backoff as _};
use std::time::Duration;

/// Waits that double from the first to the longest and never run out.
#[derive(Debug)]
pub struct Backoff {
    inner: ExponentialBackoff,
    max: Duration,
}

impl Backoff {
    /// The first wait is about `initial`; none is longer than `max`.
    pub fn new(initial: Duration, max: Duration) -> Self {
        let inner = ExponentialBackoff {
            current_interval: initial,
            initial_interval: initial,
            multiplier: 2.0,
            max_interval: max,
            // The crate's default gives up after 15 minutes; an outage may last longer.
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        Self { inner, max }
    }

    /// The next wait.
    #[expect(clippy::should_implement_trait, reason = "a wait is always there: no Option, no end")]
    pub fn next(&mut self) -> Duration {
        // The crate adds its jitter after its cap.
        self.inner.next_backoff().unwrap_or(self.max).min(self.max)
    }

    /// Begins again with the first wait: the other side answered.
    pub fn reset(&mut self) {
        self.inner.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_never_end() {
        let (initial, max) = (Duration::from_millis(100), Duration::from_secs(2));
        let mut backoff = Backoff::new(initial, max);
        let waits: Vec<Duration> = (0..1_000).map(|_| backoff.next()).collect();
        assert!(waits[0] >= initial / 2 && waits[0] <= initial * 3 / 2);
        assert!(waits.iter().all(|wait| *wait <= max));
        assert!(waits[10..].iter().all(|wait| *wait >= max / 2));
        backoff.reset();
        assert!(backoff.next() <= initial * 3 / 2);
    }
}
