//! The only place that reads the time and makes ids.

use crate::model::time::Timestamp;
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use uuid::Uuid;

/// What time it is. Cheap to clone; a manual one stands still until it is moved.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that is moved by hand, for tests.
    pub fn manual(start: Timestamp) -> Self {
        Self(Some(Arc::new(AtomicI64::new(start.micros()))))
    }

    /// The time, in whole microseconds.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Timestamp {
        let micros = match &self.0 {
            Some(held) => held.load(Ordering::SeqCst),
            None => chrono::Utc::now().timestamp_micros(),
        };
        Timestamp::from_micros(micros).unwrap_or_default()
    }

    /// Moves a manual clock on; does nothing to the machine's.
    pub fn advance(&self, span: chrono::TimeDelta) {
        if let Some(held) = &self.0 {
            held.store(self.now().plus(span).micros(), Ordering::SeqCst);
        }
    }

    /// A new UUIDv7: its order is the order of making.
    #[expect(clippy::disallowed_methods, reason = "ids are made here")]
    pub fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}
