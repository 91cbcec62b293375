//! What a committed batch was: counts, lag and the last event of each source, for whoever watches.

use super::{Arrival, Disposition, Sources};
use crate::model::{
    inbound::{Raw, Verdict},
    time::Timestamp,
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The label of what names no configured source: anybody may make up any number of names.
const UNKNOWN: &str = "unknown source";

/// What is known of one source after a batch.
#[derive(Default)]
struct Seen {
    verdicts: BTreeMap<&'static str, u64>,
    /// From receipt to now.
    lags: Vec<Duration>,
    /// When the newest good one was received.
    last: Option<Timestamp>,
}

/// Begins to count: a counter that appears with its first event has not risen, as Prometheus sees it.
pub(super) fn begin(sources: &Sources) {
    for source in sources.keys().map(AsRef::as_ref).chain([UNKNOWN]) {
        for verdict in Verdict::ALL {
            metrics::counter!("customer_sync_events_total",
                "source" => source.to_owned(), "verdict" => verdict.as_str())
            .increment(0);
        }
    }
}

/// Measures what was committed; `now` is after the commit. One look at a metric per source, not per event.
pub(super) fn committed(
    batch: &[Arrival<'_>],
    dispositions: &[Disposition],
    sources: &Sources,
    now: Timestamp,
) {
    for (source, seen) in seen(batch, dispositions, sources, now) {
        for (verdict, count) in seen.verdicts {
            metrics::counter!("customer_sync_events_total",
                "source" => source.to_owned(), "verdict" => verdict)
            .increment(count);
        }
        let lag =
            metrics::histogram!("customer_sync_event_lag_seconds", "source" => source.to_owned());
        for one in seen.lags {
            lag.record(one.as_secs_f64());
        }
        if let Some(last) = seen.last {
            last_event(source, last);
        }
    }
}

/// So many rows are looked at to find when each source was last heard of: a moment's work at a start.
pub(super) const LOOKED_BACK: i64 = 10_000;

/// What is shown of each source at present. The gauges are the process's own, and so is this.
static LAST: Mutex<BTreeMap<String, Timestamp>> = Mutex::new(BTreeMap::new());

/// Shows when the newest good event of a source was received: a backlog, or a batch that was overtaken, does not turn
/// it back.
#[expect(clippy::cast_precision_loss, reason = "seconds fit until the year 285 million")]
pub(super) fn last_event(source: &str, received_at: Timestamp) {
    let mut all = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let last = all.entry(source.to_owned()).or_insert(received_at);
    *last = received_at.max(*last);
    metrics::gauge!("customer_sync_last_event_timestamp_seconds", "source" => source.to_owned())
        .set(last.seconds() as f64);
}

fn seen<'a>(
    batch: &[Arrival<'a>],
    dispositions: &[Disposition],
    sources: &'a Sources,
    now: Timestamp,
) -> BTreeMap<&'a str, Seen> {
    let mut all: BTreeMap<&str, Seen> = BTreeMap::new();
    for (arrival, disposition) in batch.iter().zip(dispositions) {
        let raw = arrival.raw;
        let source = sources.get_key_value(&raw.source).map_or(UNKNOWN, |(name, _)| name);
        let seen = all.entry(source).or_default();
        let verdict = verdict(raw, disposition);
        *seen.verdicts.entry(verdict.as_str()).or_default() += 1;
        let received = raw.received_at.unwrap_or(now);
        // What is replayed was late on purpose.
        if arrival.replays.is_none() {
            let micros = now.micros().saturating_sub(received.micros()).max(0);
            seen.lags.push(Duration::from_micros(micros.unsigned_abs()));
            if !matches!(verdict, Verdict::Rejected | Verdict::Dead) {
                seen.last = seen.last.max(Some(received.min(now)));
            }
        }
    }
    all
}

pub(super) fn verdict(raw: &Raw, disposition: &Disposition) -> Verdict {
    match disposition {
        _ if raw.dead.is_some() => Verdict::Dead,
        Disposition::Applied => Verdict::Applied,
        Disposition::Duplicate => Verdict::Duplicate,
        Disposition::Ignored(_) => Verdict::Ignored,
        Disposition::Rejected(_) => Verdict::Rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::inbound::Headers;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds).expect("a time")
    }

    fn raw(source: &str, received: i64) -> Raw {
        Raw {
            source: source.into(),
            headers: Headers::default(),
            body: bytes::Bytes::new(),
            received_at: Some(at(received)),
            queue_id: None,
            dead: None,
        }
    }

    fn sources(name: &str) -> Sources {
        let text =
            format!("[[sources]]\nname = '{name}'\nprovider = 'stripe'\nsecrets = ['whsec_x']");
        let config = crate::config::Config::parse(&text).expect("good");
        crate::daemon::sources(&config).expect("good")
    }

    #[test]
    fn a_batch_that_was_overtaken_does_not_turn_the_time_of_the_last_event_back() {
        let metrics = crate::telemetry::Metrics::collect().expect("collecting");
        let sources = sources("overtaken");
        let shown = |received| {
            let raw = raw("overtaken", received);
            let arrival = Arrival { raw: &raw, replays: None, trace: None, quiet: false };
            committed(&[arrival], &[Disposition::Applied], &sources, at(1_000));
            let text = metrics.render();
            let line = text
                .lines()
                .find(|line| line.contains("last_event_timestamp_seconds{source=\"overtaken\"}"));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<i64>().ok())
        };
        assert_eq!([shown(200), shown(100), shown(201)], [Some(200), Some(200), Some(201)]);
    }

    #[test]
    fn a_rejected_event_is_counted_and_is_no_sign_of_life() {
        let sources = sources("shop");
        let raws = [raw("shop", 100), raw("shop", 130), raw("made up", 140), raw("so too", 150)];
        let batch: Vec<_> = raws
            .iter()
            .map(|raw| Arrival { raw, replays: None, trace: None, quiet: false })
            .collect();
        let rejected = || Disposition::Rejected("why".into());
        let dispositions = [Disposition::Applied, rejected(), rejected(), rejected()];
        let all = seen(&batch, &dispositions, &sources, at(160));
        let shop = &all["shop"];
        assert_eq!(shop.verdicts, [("applied", 1), ("rejected", 1)].into());
        assert_eq!(shop.lags, [60, 30].map(Duration::from_secs));
        assert_eq!(shop.last, Some(at(100)));
        assert_eq!(all[UNKNOWN].verdicts, [("rejected", 2)].into(), "of made-up names one label");
        assert_eq!(all[UNKNOWN].last, None);
    }
}
