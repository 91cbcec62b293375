//! One try: sign, send, judge the answer.

use crate::{
    deliver::{
        Shared,
        claim::Destination,
        client::{Answer, Failure, Request},
        schedule::{self, Schedule},
        signature,
    },
    handover::Slot,
    model::{
        id::{EndpointId, MessageId},
        message::Leased,
        time::Timestamp,
    },
    store::messages::{Next, Settled},
};
use chrono::TimeDelta;
use futures_util::FutureExt as _;
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A try that is over and is to be recorded. Its slot is held until it is.
#[derive(Debug)]
pub(super) struct Finished {
    pub settled: Settled,
    pub endpoint_id: EndpointId,
    pub gone: bool,
    slot: Slot,
}

/// What the answer means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// 2xx.
    Delivered,
    /// Tried again after a while.
    Later(Duration),
    /// That was the last try.
    Dead,
    /// 410: nobody is there any more, for this message or any other.
    Gone,
}

impl Finished {
    /// A try that was never sent, or cut short: it does not count.
    pub(super) fn interrupted(leased: &Leased, slot: Slot, why: &str) -> Self {
        metrics::counter!("customer_sync_deliveries_total", "outcome" => "interrupted")
            .increment(1);
        Self {
            settled: Settled {
                message_id: leased.id,
                lease: leased.lease,
                next: Next::Again,
                outcome: "interrupted",
                status_code: None,
                error: Some(why.to_owned()),
                response: None,
                duration_ms: None,
            },
            endpoint_id: leased.endpoint_id,
            gone: false,
            slot,
        }
    }

    /// Gives the slot back: the result is recorded.
    pub(super) fn release(self) {
        drop(self.slot);
    }
}

/// How long a try may take, and until when it may begin: its lease must last for all of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub deadline: Duration,
    pub begin_by: Instant,
}

/// What a shutdown asks of the tries.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop {
    /// Begin no more.
    pub closing: CancellationToken,
    /// End those that are under way.
    pub cut: CancellationToken,
}

/// Makes one try as soon as the endpoint may have another request. Nothing that goes wrong in it goes beyond it.
pub(super) async fn attempt(
    shared: Arc<Shared>,
    destination: Arc<Destination>,
    (leased, slot): (Leased, Slot),
    limits: Limits,
    stop: Stop,
) -> Finished {
    let _permit = tokio::select! {
        biased;
        () = stop.closing.cancelled() => {
            return Finished::interrupted(&leased, slot, "a shutdown came before it was sent");
        }
        permit = destination.lane.acquire() => permit,
    };
    let begun = Instant::now();
    if begun > limits.begin_by {
        let why = "its lease had all but run out before it could be sent";
        return Finished::interrupted(&leased, slot, why);
    }
    let deadline = limits.deadline;
    let sending = AssertUnwindSafe(send(&shared, &destination, &leased, deadline)).catch_unwind();
    let result = tokio::select! {
        biased;
        () = stop.cut.cancelled() => {
            return Finished::interrupted(&leased, slot, "cut short by a shutdown");
        }
        result = sending => result.unwrap_or_else(|_| {
            tracing::error!(message = %leased.id, endpoint = %leased.endpoint_id, "a delivery panicked");
            Err(Failure { status: None, why: "the delivery panicked: a bug of ours".into() })
        }),
    };
    match &result {
        Ok(_) => shared.slots.answered(leased.endpoint_id),
        Err(_) => shared.slots.unanswered(leased.endpoint_id),
    }
    let own = destination
        .endpoint
        .spec
        .settings
        .schedule
        .as_ref()
        .map(|delays| Schedule::new(delays.iter().copied().map(Duration::from_secs).collect()));
    let schedule = own.as_ref().unwrap_or(&shared.settings.schedule);
    let outcome = judge(&result, schedule, leased.id, leased.attempt, shared.clock.now());
    let took = begun.elapsed();
    report(&leased, &result, outcome, took);
    Finished {
        settled: settled(&leased, result, outcome, took),
        endpoint_id: leased.endpoint_id,
        gone: outcome == Outcome::Gone,
        slot,
    }
}

async fn send(
    shared: &Shared,
    destination: &Destination,
    leased: &Leased,
    deadline: Duration,
) -> Result<Answer, Failure> {
    let id = leased.id.to_string();
    let body = leased.body.as_bytes();
    // Each try is signed with its own time: receivers refuse old ones.
    let now = shared.clock.now();
    let signature = signature::headers(&destination.secrets, &id, now, body)
        .map_err(|bad| Failure { status: None, why: bad.to_string() })?;
    let own = &destination.endpoint.spec.headers;
    let request = Request {
        url: &destination.endpoint.spec.url,
        headers: own.iter().map(|(name, value)| (name.as_str(), value.expose())).collect(),
        signature: &signature,
        body: leased.body.clone(),
    };
    shared.client.post(request, deadline).await
}

fn judge(
    result: &Result<Answer, Failure>,
    schedule: &Schedule,
    message: MessageId,
    attempt: i32,
    now: Timestamp,
) -> Outcome {
    let retry_after = match result {
        Ok(answer) if (200..300).contains(&answer.status) => return Outcome::Delivered,
        Ok(answer) if answer.status == 410 => return Outcome::Gone,
        Ok(answer) => answer.retry_after.as_deref(),
        Err(_) => None,
    };
    let retry_after = retry_after.and_then(|value| schedule::retry_after(value, now));
    schedule.next(message, attempt, retry_after).map_or(Outcome::Dead, Outcome::Later)
}

fn settled(
    leased: &Leased,
    result: Result<Answer, Failure>,
    outcome: Outcome,
    took: Duration,
) -> Settled {
    let (status_code, error, response) = match result {
        Ok(answer) => (Some(answer.status), None, Some(answer.body)),
        Err(failure) => (failure.status, Some(failure.why), None),
    };
    let (next, word) = match outcome {
        Outcome::Delivered => (Next::Delivered, "delivered"),
        Outcome::Later(after) => {
            (Next::Later(TimeDelta::from_std(after).unwrap_or(TimeDelta::MAX)), "failed")
        }
        Outcome::Dead => (Next::Dead, "failed"),
        Outcome::Gone => (Next::Dead, "gone"),
    };
    Settled {
        message_id: leased.id,
        lease: leased.lease,
        next,
        outcome: word,
        status_code,
        // Postgres cannot hold U+0000.
        error: error.map(|text| text.replace('\0', "\u{fffd}")),
        response: response.map(|text| text.replace('\0', "\u{fffd}")),
        duration_ms: i64::try_from(took.as_millis()).ok(),
    }
}

fn report(leased: &Leased, result: &Result<Answer, Failure>, outcome: Outcome, took: Duration) {
    let word = match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Later(_) => "retry",
        Outcome::Dead => "dead",
        Outcome::Gone => "gone",
    };
    metrics::counter!("customer_sync_deliveries_total", "outcome" => word).increment(1);
    metrics::histogram!("customer_sync_delivery_duration_seconds").record(took.as_secs_f64());
    let (status, error) = match result {
        Ok(answer) => (Some(answer.status), None),
        Err(failure) => (failure.status, Some(failure.why.as_str())),
    };
    let (message, endpoint, attempt) = (leased.id, leased.endpoint_id, leased.attempt);
    match outcome {
        Outcome::Delivered | Outcome::Later(_) => {
            tracing::debug!(%message, %endpoint, attempt, status, error, outcome = word, "tried");
        }
        Outcome::Dead | Outcome::Gone => tracing::warn!(
            %message, %endpoint, attempt, status, error, outcome = word,
            "a message is given up; it can be resent"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, retry_after: Option<&str>, attempt: i32) -> Outcome {
        let answer =
            Answer { status, retry_after: retry_after.map(str::to_owned), body: String::new() };
        let schedule = Schedule::new(vec![Duration::from_secs(10)]);
        judge(&Ok(answer), &schedule, MessageId(uuid::Uuid::nil()), attempt, Timestamp::default())
    }

    #[test]
    fn only_2xx_is_success_410_is_the_end_and_all_else_is_tried_again() {
        for status in [200, 201, 204, 299] {
            assert_eq!(judged(status, None, 1), Outcome::Delivered);
        }
        for status in [300, 301, 304, 307, 400, 401, 404, 409, 429, 500, 503] {
            assert!(matches!(judged(status, None, 1), Outcome::Later(_)), "{status}");
            assert_eq!(judged(status, None, 2), Outcome::Dead, "{status}");
        }
        assert_eq!(judged(410, None, 1), Outcome::Gone);
    }

    #[test]
    fn the_next_try_is_not_before_retry_after() {
        assert_eq!(judged(503, Some("3600"), 1), Outcome::Later(Duration::from_hours(1)));
        let date = Some("Thu, 01 Jan 1970 00:30:00 GMT");
        assert_eq!(judged(429, date, 1), Outcome::Later(Duration::from_mins(30)));
    }
}
