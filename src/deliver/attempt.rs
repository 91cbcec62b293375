//! One try: sign, send, judge the answer.

use crate::{
    deliver::{
        Shared,
        breaker::{Sign, Told},
        claim::{Claimed, Destination},
        client::{Answer, Failure, Request},
        schedule::{self, Schedule},
    },
    handover::Slot,
    model::{
        endpoint::Breaker,
        id::{EndpointId, MessageId},
        message::Leased,
        time::Timestamp,
    },
    store::messages::{Next, Settled},
    telemetry::{
        self,
        trace::{self, Kind, Step, TRACEPARENT},
    },
};
use chrono::TimeDelta;
use futures_util::FutureExt as _;
use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A try that is over and is to be recorded. Its slot is held until it is.
#[derive(Debug)]
pub(super) struct Finished {
    pub settled: Settled,
    pub endpoint_id: EndpointId,
    /// The URL at which nobody is any more, if it was answered so.
    pub gone: Option<String>,
    /// What it says about the endpoint.
    pub told: Told,
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
    pub(super) fn interrupted(claimed: Claimed, why: &str) -> Self {
        let Claimed { leased, slot, turn } = claimed;
        counter(leased.endpoint_id, "interrupted").increment(1);
        Self {
            told: Told { message: leased.id, probe: turn.probe, sign: Sign::Nothing },
            settled: Settled {
                message_id: leased.id,
                lease: leased.lease,
                next: Next::Again,
                outcome: "interrupted",
                status_code: None,
                error: Some(why.to_owned()),
                request_headers: None,
                response: None,
                duration_ms: None,
            },
            endpoint_id: leased.endpoint_id,
            gone: None,
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

/// Makes one try as soon as it is its turn and the endpoint may have another request. Nothing that goes wrong in it
/// goes beyond it.
pub(super) async fn attempt(
    shared: Arc<Shared>,
    destination: Arc<Destination>,
    claimed: Claimed,
    limits: Limits,
    stop: Stop,
) -> Finished {
    let turn = async {
        if !claimed.turn.wait.is_zero() {
            tokio::time::sleep(claimed.turn.wait).await;
        }
        // The endpoint's own first: what waits for that one must not hold a permit that others could have.
        let lane = destination.lane.acquire().await;
        let in_lane = Instant::now();
        (lane, shared.requests.acquire().await, in_lane)
    };
    let (_lane, _request, in_lane) = tokio::select! {
        biased;
        () = stop.closing.cancelled() => {
            return Finished::interrupted(claimed, "a shutdown came before it was sent");
        }
        turn = turn => turn,
    };
    let begun = Instant::now();
    if begun > limits.begin_by {
        let why = "its lease had all but run out before it could be sent";
        return Finished::interrupted(claimed, why);
    }
    if !claimed.turn.probe && shared.slots.is_held(claimed.leased.endpoint_id) {
        return Finished::interrupted(claimed, "its endpoint is left alone for a while");
    }
    let leased = &claimed.leased;
    let deadline = limits.deadline;
    let mut step = Step::begin(Kind::Client, "deliver", leased.trace.as_deref());
    let trace = step.traceparent();
    let mut sent = None;
    let sending = send(&shared, &destination, leased, trace, deadline, &mut sent);
    let sending = AssertUnwindSafe(sending).catch_unwind();
    let result = tokio::select! {
        biased;
        () = stop.cut.cancelled() => {
            step.fail("cut short by a shutdown");
            return Finished::interrupted(claimed, "cut short by a shutdown");
        }
        result = sending => result.unwrap_or_else(|_| {
            tracing::error!(message = %leased.id, endpoint = %leased.endpoint_id, "a delivery panicked");
            Err(Failure { status: None, why: "the delivery panicked: a bug of ours".into() })
        }),
    };
    let own = destination
        .endpoint
        .spec
        .settings
        .schedule
        .as_ref()
        .map(|delays| Schedule::new(delays.iter().copied().map(Duration::from_secs).collect()));
    let schedule = own.as_ref().unwrap_or(&shared.settings.schedule);
    let now = shared.clock.now();
    let outcome = judge(&result, schedule, leased.id, leased.attempt, now);
    let took = begun.elapsed();
    let sign = sign(&shared, leased.endpoint_id, &result, in_lane.elapsed(), now);
    report(leased, &result, outcome, took);
    tell(&mut step, leased, &result, outcome);
    Finished {
        settled: settled(leased, sent, result, outcome, took),
        endpoint_id: leased.endpoint_id,
        gone: (outcome == Outcome::Gone).then(|| destination.endpoint.spec.url.clone()),
        told: Told { message: leased.id, probe: claimed.turn.probe, sign },
        slot: claimed.slot,
    }
}

/// What a try says about its endpoint; the slots are told at once, the others when it is recorded.
fn sign(
    shared: &Shared,
    endpoint: EndpointId,
    result: &Result<Answer, Failure>,
    took: Duration,
    now: Timestamp,
) -> Sign {
    let status = match result {
        Ok(answer) => Some(answer.status),
        Err(_) => None,
    };
    let slow = match result {
        Ok(answer) if matches!(answer.status, 429 | 502 | 503 | 504) => {
            let asked = answer.retry_after.as_deref();
            Some(asked.and_then(|value| schedule::retry_after(value, now)))
        }
        _ => None,
    };
    if status.is_none() || slow.is_some() {
        shared.slots.unanswered(endpoint);
    } else {
        shared.slots.answered(endpoint, took);
    }
    let by_condition = status.is_none_or(|status| status >= 500 || matches!(status, 408 | 429));
    let opens = shared.note(endpoint, by_condition);
    if opens || slow.is_some() {
        shared.slots.hold(endpoint);
    }
    match status {
        Some(200..300) => Sign::Delivered,
        _ => Sign::Failed { by_condition, opens, slow },
    }
}

/// `sent` becomes the headers that it is sent with.
async fn send(
    shared: &Shared,
    destination: &Destination,
    leased: &Leased,
    trace: Option<String>,
    deadline: Duration,
    sent: &mut Option<BTreeMap<String, String>>,
) -> Result<Answer, Failure> {
    let id = leased.id.to_string();
    let body = leased.body.as_bytes();
    // Each try is signed with its own time: receivers refuse old ones.
    let now = shared.clock.now();
    let signature = destination
        .signer
        .headers(&id, now, body)
        .map_err(|bad| Failure { status: None, why: bad.to_string() })?;
    let trace = trace.map(|trace| (TRACEPARENT, trace));
    let ours: Vec<(&str, String)> = signature.into_iter().chain(trace).collect();
    let own = &destination.endpoint.spec.headers;
    let request = Request {
        url: &destination.endpoint.spec.url,
        headers: own.iter().map(|(name, value)| (name.as_str(), value.expose())).collect(),
        ours: &ours,
        body: leased.body.clone(),
        again: leased.attempt > 1,
    };
    *sent = Some(request.shown_headers());
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
    request_headers: Option<BTreeMap<String, String>>,
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
        request_headers,
        response: response.map(|text| text.replace('\0', "\u{fffd}")),
        duration_ms: i64::try_from(took.as_millis()).ok(),
    }
}

/// Endpoints with a label of their own in this process's metrics; the others share one.
static LABELS: telemetry::Labels = telemetry::Labels::new(200);

fn counter(endpoint: EndpointId, outcome: &'static str) -> metrics::Counter {
    metrics::counter!("customer_sync_deliveries_total",
        "endpoint" => LABELS.of(endpoint.to_string()), "outcome" => outcome)
}

/// Begins to count for an endpoint: a counter that appears with its first try has not risen, as Prometheus sees it.
pub(super) fn begin_counting(endpoint: EndpointId) {
    for outcome in ["delivered", "retry", "dead", "gone", "interrupted"] {
        counter(endpoint, outcome).increment(0);
    }
}

/// Shows how an endpoint's breaker is.
pub(super) fn show_breaker(endpoint: EndpointId, breaker: Breaker) {
    let value = match breaker {
        Breaker::Closed => 0.0,
        Breaker::HalfOpen => 1.0,
        Breaker::Open => 2.0,
    };
    metrics::gauge!("customer_sync_endpoint_breaker", "endpoint" => LABELS.of(endpoint.to_string()))
        .set(value);
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Later(_) => "retry",
            Self::Dead => "dead",
            Self::Gone => "gone",
        }
    }
}

/// The URL is left out: it may hold what is nobody else's business.
fn tell(step: &mut Step, leased: &Leased, result: &Result<Answer, Failure>, outcome: Outcome) {
    if !trace::is_on() {
        return;
    }
    step.tell("message.id", leased.id.to_string());
    step.tell("message.attempt", i64::from(leased.attempt));
    step.tell("endpoint.id", leased.endpoint_id.to_string());
    step.tell("delivery.outcome", outcome.as_str());
    let status = match result {
        Ok(answer) => Some(answer.status),
        Err(failure) => failure.status,
    };
    if let Some(status) = status {
        step.tell("http.response.status_code", i64::from(status));
    }
    match result {
        Err(failure) => step.fail(&failure.why),
        Ok(answer) if outcome != Outcome::Delivered => {
            step.fail(&format!("it answered {}", answer.status));
        }
        Ok(_) => {}
    }
}

fn report(leased: &Leased, result: &Result<Answer, Failure>, outcome: Outcome, took: Duration) {
    let word = outcome.as_str();
    counter(leased.endpoint_id, word).increment(1);
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
