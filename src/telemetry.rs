//! What the daemon says of itself: logs on standard error, metrics for Prometheus, traces for OpenTelemetry.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{
    io::IsTerminal as _,
    sync::{Mutex, OnceLock, PoisonError},
};
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

mod catalogue;
mod export;
mod labels;
pub mod trace;

pub use catalogue::{CATALOGUE, Kind, Metric};
pub use labels::Labels;

/// Who reads the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// People.
    Text,
    /// Machines: one JSON object a line.
    Json,
}

/// Begins to log to standard error, at a level or a filter such as `info,customer_sync::intake=debug`. The first
/// call of a process counts.
///
/// # Errors
/// When the level is neither.
pub fn log(format: Format, level: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = without_noise(level.parse()?);
    // Where a line cannot be written, saying so on the same stream would panic: a full disk must end no process.
    let layer =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let layer = match format {
        Format::Text => {
            layer.with_ansi(std::io::stderr().is_terminal()).with_filter(filter).boxed()
        }
        Format::Json => layer.json().flatten_event(true).with_filter(filter).boxed(),
    };
    // An error says that this process logs already: so do several daemons in one test.
    tracing_subscriber::registry().with(layer).try_init().unwrap_or_default();
    Ok(())
}

/// lapin logs every channel's end at `error`, also those that we ask for: what matters of it the intake and
/// readiness tell in our own words, once. Whoever names lapin in the level gets it all the same.
fn without_noise(filter: Targets) -> Targets {
    const LAPIN: &str = "lapin";
    let is_named = filter.iter().any(|(target, _)| target.starts_with(LAPIN));
    if is_named { filter } else { filter.with_target(LAPIN, LevelFilter::OFF) }
}

/// The process's metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// In seconds: from one step of the house to a receiver that hangs.
const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// In seconds, from receipt to commit: from a batch that waits for nothing to a backlog of a day.
const LAG: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0,
    86_400.0,
];
/// In events of a batch.
const EVENTS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0];

impl Metrics {
    /// Begins to collect. All callers of a process share one collection.
    ///
    /// # Errors
    /// When the process collects by other means.
    pub fn collect() -> Result<Self, metrics_exporter_prometheus::BuildError> {
        static COLLECTION: OnceLock<PrometheusHandle> = OnceLock::new();
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = COLLECTION.get() {
            return Ok(Self(handle.clone()));
        }
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)?
            .set_buckets_for_metric(Matcher::Full("customer_sync_event_lag_seconds".into()), LAG)?
            .set_buckets_for_metric(Matcher::Suffix("_events".into()), EVENTS)?
            .install_recorder()?;
        catalogue::describe();
        metrics::gauge!("customer_sync_up").set(1.0);
        metrics::gauge!("customer_sync_build_info", "version" => env!("CARGO_PKG_VERSION"))
            .set(1.0);
        Ok(Self(COLLECTION.get_or_init(|| handle).clone()))
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds in what was measured since the last time, so that memory does not grow where nobody reads. To be
    /// called every few seconds.
    pub fn tidy(&self) {
        self.0.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_rendered_with_their_description() {
        let metrics = Metrics::collect().expect("collecting");
        assert!(Metrics::collect().is_ok(), "a second caller shares it");
        let first = CATALOGUE.first().expect("a metric");
        metrics::counter!(first.name).increment(1);
        metrics.tidy();
        let text = metrics.render();
        assert!(text.contains(&format!("# HELP {} {}", first.name, first.text)), "{text}");
    }

    #[test]
    fn lapin_is_silent_unless_it_is_asked_for() {
        let shows = |level: &str| {
            let filter = without_noise(level.parse().expect("a level"));
            filter.would_enable("lapin::channel", &tracing::Level::ERROR)
        };
        assert!(!shows("info") && !shows("info,customer_sync::intake=debug"));
        assert!(shows("info,lapin=error") && shows("lapin::channel=debug"));
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        assert!(log(Format::Text, "customer_sync=loud").is_err());
    }
}
