//! How many requests a second each key may make of this process (`http.rate_limit`).

use crate::model::{id::KeyId, time::Timestamp};
use chrono::TimeDelta;
use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
};

/// Keys that were quiet for a second may make that second's requests at once.
const BURST: TimeDelta = TimeDelta::seconds(1);

/// How far each key has used up what is to come: the time at which its requests so far would be evenly spread.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<KeyId, Timestamp>>);

impl Rates {
    /// Counts a request in, where there is room for it.
    ///
    /// # Errors
    /// How long to wait, where there is none; the request does not count.
    pub(super) fn admit(
        &self,
        key: KeyId,
        limit: NonZeroU32,
        now: Timestamp,
    ) -> Result<(), TimeDelta> {
        let step = TimeDelta::microseconds(1_000_000_i64 / i64::from(limit.get()));
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back must not shut anybody out for long.
        let until = used.get(&key).copied().unwrap_or(now).clamp(now, now.plus(BURST));
        let wait = TimeDelta::microseconds(until.micros().saturating_sub(now.micros()));
        let wait = wait + step - BURST;
        let is_room = wait <= TimeDelta::zero();
        used.insert(key, if is_room { until.plus(step) } else { until });
        if is_room { Ok(()) } else { Err(wait) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_772_366_400_000 + millis).expect("a time")
    }

    #[test]
    fn a_second_has_so_many_requests_however_they_come() {
        let (rates, limit) = (Rates::default(), NonZeroU32::new(4).expect("not 0"));
        let key = KeyId(Uuid::from_u128(1));
        let admitted = |millis| rates.admit(key, limit, at(millis)).is_ok();
        assert_eq!((0..6).filter(|_| admitted(0)).count(), 4, "a burst");
        assert_eq!(rates.admit(key, limit, at(0)), Err(TimeDelta::milliseconds(250)));
        assert_eq!(rates.admit(key, limit, at(100)), Err(TimeDelta::milliseconds(150)));
        assert!(admitted(250) && !admitted(250), "one for each quarter");
        assert_eq!((1_250..11_250).filter(|millis| admitted(*millis)).count(), 43);
        let other = KeyId(Uuid::from_u128(2));
        assert!(rates.admit(other, limit, at(0)).is_ok(), "each key for itself");
        assert!((0..6).filter(|_| admitted(-3_600_000)).count() == 0, "the clock was set back");
        assert!(admitted(-3_600_000 + 250), "and nobody waits for it to come again");
        let many = NonZeroU32::MAX;
        assert!(rates.admit(key, many, at(20_000)).is_ok());
    }
}
