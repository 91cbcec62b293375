//! Every metric: its name, what it counts, its unit.

/// How a metric moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only up.
    Counter,
    /// Up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// As Prometheus sees it. The unit stands at its end.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says, in one sentence without full stop.
    pub text: &'static str,
}

/// Every metric.
pub const CATALOGUE: &[Metric] = &[Metric {
    name: "customer_sync_up",
    kind: Kind::Gauge,
    labels: &[],
    text: "1 while the daemon runs",
}];

/// Tells the recorder what each metric means.
pub(super) fn describe() {
    for metric in CATALOGUE {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.text),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.text),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.text),
        }
    }
}
