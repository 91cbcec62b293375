//! When an endpoint is left alone for a while, and when it is switched off: pure functions of what its tries came to.
//!
//! A pause costs no message a try. What fails by a message's own fault (a 400, a 404) neither opens the breaker nor
//! slows anything down: the receiver is there and answers.

use crate::model::{
    endpoint::{Breaker, Standing},
    id::MessageId,
    time::Timestamp,
};
use chrono::TimeDelta;
use std::{collections::VecDeque, time::Duration};

/// When endpoints are left alone, and for how long.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How far back tries count for the breaker.
    pub window: Duration,
    /// How many tries there must be in the window before it can open.
    pub tries: u32,
    /// It opens when so many of a hundred failed.
    pub percent: u32,
    /// How long it stays open the first time. Each time in a row takes twice as long.
    pub pause: Duration,
    /// The longest that it stays open.
    pub longest_pause: Duration,
    /// How long an endpoint is left alone that says it has too much (429, 502, 503, 504), the first time; twice as long
    /// each time in a row. Its `Retry-After` counts if it is longer.
    pub slow: Duration,
    /// The longest of these waits.
    pub longest_slow: Duration,
    /// How long all tries must have failed, of more than one message, until an endpoint is switched off; never, if that
    /// is nothing.
    pub disable_after: Option<TimeDelta>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            window: Duration::from_mins(1),
            tries: 20,
            percent: 50,
            pause: Duration::from_secs(10),
            longest_pause: Duration::from_mins(5),
            slow: Duration::from_secs(1),
            longest_slow: Duration::from_mins(1),
            disable_after: Some(TimeDelta::days(5)),
        }
    }
}

/// The longest that a `Retry-After` leaves the whole endpoint alone. The message that it answered may wait longer.
const LONGEST_ASKED: Duration = Duration::from_hours(1);

/// In how many parts a window slides.
const SLICES: u32 = 12;

/// The tries of one endpoint that this process made of late.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Window(VecDeque<Slice>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Slice {
    number: u128,
    all: u32,
    failed: u32,
}

impl Window {
    /// Notes a try, `at` so long after a beginning that is the same for all. Whether the breaker is to open: then the
    /// window begins anew.
    pub fn note(&mut self, at: Duration, failed: bool, policy: &Policy) -> bool {
        let slice = (policy.window / SLICES).max(Duration::from_millis(1));
        let number = at.as_nanos() / slice.as_nanos().max(1);
        let first = number.saturating_sub(u128::from(SLICES).saturating_sub(1));
        while self.0.front().is_some_and(|slice| slice.number < first) {
            self.0.pop_front();
        }
        let counts = u32::from(failed);
        match self.0.back_mut().filter(|slice| slice.number == number) {
            Some(slice) => {
                slice.all = slice.all.saturating_add(1);
                slice.failed = slice.failed.saturating_add(counts);
            }
            None => self.0.push_back(Slice { number, all: 1, failed: counts }),
        }
        let all: u64 = self.0.iter().map(|slice| u64::from(slice.all)).sum();
        let bad: u64 = self.0.iter().map(|slice| u64::from(slice.failed)).sum();
        let opens = failed
            && all >= u64::from(policy.tries.max(1))
            && bad.saturating_mul(100) >= all.saturating_mul(u64::from(policy.percent));
        if opens {
            self.0.clear();
        }
        opens
    }
}

/// What a try says about its endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sign {
    /// It works.
    Delivered,
    /// It failed.
    Failed {
        /// Whether that is the receiver's condition, rather than this message's own fault.
        by_condition: bool,
        /// Whether the window says that the breaker is to open.
        opens: bool,
        /// It says that it has too much, and perhaps for how long.
        slow: Option<Option<Duration>>,
    },
    /// Nothing: it was never sent, or cut short by us.
    Nothing,
}

/// A try that is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    /// Whose try it was.
    pub message: MessageId,
    /// Whether it was sent to see if the endpoint is well again.
    pub probe: bool,
    /// What it says.
    pub sign: Sign,
}

/// How an endpoint stands after a try, and whether it is to be switched off.
pub fn after(mut it: Standing, told: Told, now: Timestamp, policy: &Policy) -> (Standing, bool) {
    let is_paused = |it: &Standing| it.paused_until.is_some_and(|until| until > now);
    let close = |it: &mut Standing| {
        (it.breaker, it.paused_until, it.pauses) = (Breaker::Closed, None, 0);
    };
    // A test by hand is a probe only where there is something to find out.
    let probe = told.probe && it.breaker != Breaker::Closed;
    match told.sign {
        Sign::Delivered => {
            (it.failing_since, it.failing_message) = (None, None);
            if probe {
                close(&mut it);
            } else if it.breaker == Breaker::Closed && !is_paused(&it) {
                it.pauses = 0;
            }
        }
        Sign::Nothing if probe && it.breaker == Breaker::HalfOpen => {
            (it.breaker, it.paused_until) = (Breaker::Open, Some(now));
        }
        Sign::Nothing => {}
        Sign::Failed { by_condition, opens, slow } => {
            let since = *it.failing_since.get_or_insert(now);
            let first = *it.failing_message.get_or_insert(told.message);
            if probe && !by_condition {
                close(&mut it);
            } else if probe || (opens && it.breaker == Breaker::Closed) {
                it.breaker = Breaker::Open;
                it.paused_until = Some(now);
                pause(&mut it, policy.pause, policy.longest_pause, now);
            }
            if let Some(asked) = slow {
                if !is_paused(&it) {
                    pause(&mut it, policy.slow, policy.longest_slow, now);
                }
                let asked = now.plus(span(asked.unwrap_or_default().min(LONGEST_ASKED)));
                it.paused_until = it.paused_until.max(Some(asked));
            }
            let failing = now.micros().saturating_sub(since.micros());
            let too_long =
                |after: TimeDelta| after.num_microseconds().is_some_and(|after| failing >= after);
            if first != told.message && policy.disable_after.is_some_and(too_long) {
                return (it, true);
            }
        }
    }
    (it, false)
}

/// One more pause in a row.
fn pause(it: &mut Standing, first: Duration, longest: Duration, now: Timestamp) {
    let doublings = u32::try_from(it.pauses.clamp(0, 20)).unwrap_or(20);
    let length = first.saturating_mul(1 << doublings).min(longest);
    it.pauses = it.pauses.saturating_add(1);
    it.paused_until = Some(now.plus(span(length)));
}

fn span(length: Duration) -> TimeDelta {
    TimeDelta::from_std(length).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_700_000_000 + seconds).expect("a time")
    }

    fn told(message: u128, sign: Sign) -> Told {
        Told { message: MessageId(Uuid::from_u128(message)), probe: false, sign }
    }

    fn failed(by_condition: bool, opens: bool) -> Sign {
        Sign::Failed { by_condition, opens, slow: None }
    }

    fn paused_for(it: &Standing, now: i64) -> Option<i64> {
        it.paused_until.map(|until| until.seconds() - at(now).seconds())
    }

    #[test]
    fn the_breaker_opens_when_half_of_enough_tries_failed_in_the_window() {
        let policy = Policy { tries: 10, ..Policy::default() };
        let second = Duration::from_secs;
        let mut window = Window::default();
        for n in 0..9 {
            assert!(!window.note(second(n), true, &policy), "too few tries");
        }
        assert!(window.note(second(9), true, &policy));
        assert!(!window.note(second(9), true, &policy), "it begins anew");
        let mut mixed = Window::default();
        let opened = (0..200).any(|n| mixed.note(second(n / 20), n % 5 > 2, &policy));
        assert!(!opened, "two of five are not half");
        let mut slow = Window::default();
        let opened = (0..40).any(|n| slow.note(second(n * 10), true, &policy));
        assert!(!opened, "there are never ten in one minute");
    }

    #[test]
    fn an_open_breaker_pauses_longer_each_time_until_a_probe_succeeds() {
        let policy = Policy::default();
        let (mut it, _) = after(Standing::default(), told(1, failed(true, true)), at(0), &policy);
        assert_eq!((it.breaker, paused_for(&it, 0)), (Breaker::Open, Some(10)));
        let (straggler, _) = after(it, told(2, Sign::Delivered), at(1), &policy);
        assert_eq!((straggler.breaker, straggler.paused_until), (Breaker::Open, it.paused_until));
        for (now, length) in [(10, 20), (30, 40), (70, 80), (150, 160), (310, 300), (610, 300)] {
            it.breaker = Breaker::HalfOpen;
            let probe = Told { probe: true, ..told(3, failed(true, false)) };
            it = after(it, probe, at(now), &policy).0;
            assert_eq!((it.breaker, paused_for(&it, now)), (Breaker::Open, Some(length)));
        }
        it.breaker = Breaker::HalfOpen;
        let cut = Told { probe: true, ..told(3, Sign::Nothing) };
        let (cut, _) = after(it, cut, at(900), &policy);
        assert_eq!((cut.breaker, cut.paused_until), (Breaker::Open, Some(at(900))));
        let good = Told { probe: true, ..told(3, Sign::Delivered) };
        assert_eq!(after(it, good, at(910), &policy).0, Standing::default());
    }

    #[test]
    fn a_probe_that_fails_by_its_own_message_closes_the_breaker() {
        let open = Standing { breaker: Breaker::HalfOpen, pauses: 3, ..Standing::default() };
        let probe = Told { probe: true, ..told(1, failed(false, false)) };
        let (it, _) = after(open, probe, at(0), &Policy::default());
        assert_eq!((it.breaker, it.paused_until, it.pauses), (Breaker::Closed, None, 0));
        assert_eq!(it.failing_since, Some(at(0)));
    }

    #[test]
    fn an_endpoint_that_says_it_has_too_much_is_left_alone_as_a_whole() {
        let policy = Policy::default();
        let slow = |asked| Sign::Failed { by_condition: true, opens: false, slow: Some(asked) };
        let (it, _) = after(Standing::default(), told(1, slow(None)), at(0), &policy);
        assert_eq!((it.breaker, paused_for(&it, 0), it.pauses), (Breaker::Closed, Some(1), 1));
        let (same, _) = after(it, told(2, slow(None)), at(0), &policy);
        assert_eq!(same, it, "what was under way with it adds nothing");
        let (again, _) = after(it, told(3, slow(None)), at(1), &policy);
        assert_eq!(paused_for(&again, 1), Some(2));
        let (asked, _) = after(again, told(4, slow(Some(Duration::from_secs(90)))), at(3), &policy);
        assert_eq!(paused_for(&asked, 3), Some(90));
        let (far, _) = after(asked, told(4, slow(Some(Duration::from_hours(20)))), at(3), &policy);
        assert_eq!(paused_for(&far, 3), Some(3_600));
        let (early, _) = after(asked, told(5, Sign::Delivered), at(4), &policy);
        assert_eq!(early.paused_until, asked.paused_until, "a straggler does not lift it");
        let (well, _) = after(asked, told(5, Sign::Delivered), at(100), &policy);
        assert_eq!(well.pauses, 0);
    }

    /// Pain point 15 (bullet-train-co/bullet_train-core#24): one bad message switched its endpoint off.
    #[test]
    fn only_days_of_failing_by_several_messages_switch_an_endpoint_off() {
        let policy = Policy::default();
        let day = 86_400;
        let (mut it, off) =
            after(Standing::default(), told(1, failed(true, false)), at(0), &policy);
        assert!(!off && it.failing_since == Some(at(0)));
        for days in 1..9 {
            let (next, off) = after(it, told(1, failed(true, false)), at(days * day), &policy);
            assert!(!off, "one message alone, after {days} days");
            it = next;
        }
        let other = |seconds| after(it, told(2, failed(false, false)), at(seconds), &policy).1;
        assert!(!other(5 * day - 1) && other(5 * day));
        let (well, _) = after(it, told(3, Sign::Delivered), at(6 * day), &policy);
        assert_eq!(well, Standing::default());
        assert!(!after(well, told(4, failed(true, false)), at(7 * day), &policy).1);
        let never = Policy { disable_after: None, ..policy };
        assert!(!after(it, told(2, failed(true, false)), at(500 * day), &never).1);
    }
}
