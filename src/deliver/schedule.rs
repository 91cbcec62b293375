//! When a failed delivery is tried again: a pure function of the message, the try and the answer.

use crate::model::{id::MessageId, time::Timestamp};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How long after each failed try the next one begins; after the last there is none (contract 6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule(Vec<Duration>);

/// The longest that a receiver can put us off.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(24);

impl Default for Schedule {
    /// 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h: ten tries over three days.
    fn default() -> Self {
        let hours = [2, 5, 10, 14, 20, 24].map(Duration::from_hours);
        let first = [5, 300, 1_800].map(Duration::from_secs);
        Self(first.into_iter().chain(hours).collect())
    }
}

impl Schedule {
    /// With these delays.
    pub fn new(delays: Vec<Duration>) -> Self {
        Self(delays)
    }

    /// How long after failed try number `attempt` (from 1) the next one begins: up to a tenth earlier or
    /// later, so that messages that failed together do not all come back together, and never before the
    /// receiver's `Retry-After`. `None` after the last.
    pub fn next(
        &self,
        message: MessageId,
        attempt: i32,
        retry_after: Option<Duration>,
    ) -> Option<Duration> {
        let place = usize::try_from(attempt).ok()?.checked_sub(1)?;
        let delay = jittered(*self.0.get(place)?, message, attempt);
        Some(delay.max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER)))
    }
}

/// 0.9 to 1.1 times the delay, by a hash: the same for the same try, so that nothing needs to be kept.
fn jittered(delay: Duration, message: MessageId, attempt: i32) -> Duration {
    let hash = Sha256::new()
        .chain_update(message.0.as_bytes())
        .chain_update(attempt.to_be_bytes())
        .finalize();
    let mut head = [0; 4];
    head.iter_mut().zip(hash).for_each(|(place, byte)| *place = byte);
    let share = f64::from(u32::from_be_bytes(head)) / f64::from(u32::MAX);
    delay.mul_f64(0.9 + 0.2 * share)
}

/// How long a `Retry-After` header puts us off: seconds, or a date in one of HTTP's three forms (RFC 9110,
/// 10.2.3 and 5.6.7).
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(value.parse().map_or(LONGEST_RETRY_AFTER, Duration::from_secs));
    }
    let at = Timestamp::parse_http_date(value)?;
    (at.to_utc() - now.to_utc()).to_std().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u128) -> MessageId {
        MessageId(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn ten_tries_are_made_over_three_days() {
        let schedule = Schedule::default();
        let whole: Duration = schedule.0.iter().sum();
        assert_eq!(whole, Duration::from_secs((75 * 60 + 35) * 60 + 5));
        assert!((1..=9).all(|attempt| schedule.next(message(1), attempt, None).is_some()));
        assert_eq!(schedule.next(message(1), 10, None), None);
        assert_eq!(schedule.next(message(1), 0, None), None);
        assert_eq!(schedule.next(message(1), i32::MAX, None), None);
    }

    /// Pain point 17 (luthien-proxy#683): without it, what failed together comes back together.
    #[test]
    fn jitter_stays_within_a_tenth_is_spread_out_and_repeats_itself() {
        let schedule = Schedule::new(vec![Duration::from_secs(1_000)]);
        let delay = |number| schedule.next(message(number), 1, None).expect("a next try").as_secs();
        let delays: Vec<u64> = (0..500).map(delay).collect();
        assert!(delays.iter().all(|seconds| (900..=1_100).contains(seconds)));
        assert!(delays.iter().any(|seconds| *seconds < 920));
        assert!(delays.iter().any(|seconds| *seconds > 1_080));
        assert_eq!(delays, (0..500).map(delay).collect::<Vec<_>>());
    }

    #[test]
    fn a_try_is_never_made_before_retry_after_which_is_capped() {
        let schedule = Schedule::default();
        let next = |after: u64| schedule.next(message(1), 1, Some(Duration::from_secs(after)));
        assert_eq!(next(90), Some(Duration::from_secs(90)));
        assert_eq!(next(10_000_000), Some(LONGEST_RETRY_AFTER));
        assert!(next(1).is_some_and(|delay| delay > Duration::from_secs(4)));
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_in_each_form_of_date() {
        let now = Timestamp::parse("1994-11-06T08:49:07Z").expect("a time");
        for (value, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(30)),
            ("Sun Nov  6 08:49:37 1994", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", None),
            ("99999999999999999999999", Some(86_400)),
            ("soon", None),
            ("-5", None),
            ("1.5", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
