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

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    text: &'static str,
) -> Metric {
    Metric { name, kind, labels, text }
}

/// Every metric, in the order of a message's way. `docs/operations.md` has the same table; a test compares them.
pub const CATALOGUE: &[Metric] = &[
    metric("customer_sync_up", Kind::Gauge, &[], "1 while the daemon runs"),
    metric("customer_sync_build_info", Kind::Gauge, &["version"], "1, with the version as label"),
    metric(
        "customer_sync_dependency_up",
        Kind::Gauge,
        &["dependency"],
        "1 while the database, the broker or the schema is as it should be, else 0",
    ),
    metric(
        "customer_sync_http_requests_total",
        Kind::Counter,
        &["method", "route", "status"],
        "Requests to the HTTP API and the ingress",
    ),
    metric(
        "customer_sync_http_request_duration_seconds",
        Kind::Histogram,
        &["route"],
        "How long a request was in hand",
    ),
    metric(
        "customer_sync_ingest_requests_total",
        Kind::Counter,
        &["outcome", "source"],
        "Webhooks that the HTTP ingress took or refused",
    ),
    metric(
        "customer_sync_broker_published_total",
        Kind::Counter,
        &["outcome"],
        "Events handed to RabbitMQ, by whether it confirmed them",
    ),
    metric(
        "customer_sync_broker_reconnects_total",
        Kind::Counter,
        &[],
        "Connections to RabbitMQ that were lost and built again",
    ),
    metric(
        "customer_sync_queue_events",
        Kind::Gauge,
        &["queue"],
        "Events that wait in a queue and were not sent ahead to a consumer",
    ),
    metric(
        "customer_sync_intake_batches_total",
        Kind::Counter,
        &["queue"],
        "Batches that were committed",
    ),
    metric(
        "customer_sync_intake_batch_events",
        Kind::Histogram,
        &["queue"],
        "How many events a batch had",
    ),
    metric(
        "customer_sync_intake_commit_duration_seconds",
        Kind::Histogram,
        &["queue"],
        "How long a batch took from verification to commit",
    ),
    metric(
        "customer_sync_intake_retries_total",
        Kind::Counter,
        &["queue"],
        "Batches that were tried again because the database failed",
    ),
    metric(
        "customer_sync_batch_conflicts_total",
        Kind::Counter,
        &[],
        "Batches that began again because they lost to another transaction",
    ),
    metric(
        "customer_sync_events_total",
        Kind::Counter,
        &["source", "verdict"],
        "Events that were processed, copies and replays too, by verdict",
    ),
    metric(
        "customer_sync_event_lag_seconds",
        Kind::Histogram,
        &["source"],
        "How long after its receipt an event was committed",
    ),
    metric(
        "customer_sync_last_event_timestamp_seconds",
        Kind::Gauge,
        &["source"],
        "When the newest event of a source was received that was not rejected, in Unix time; before the first, when the process began",
    ),
    metric(
        "customer_sync_outbox_pending_messages",
        Kind::Gauge,
        &[],
        "Messages that are not delivered yet, those that wait for their next try too, counted up to 100000",
    ),
    metric(
        "customer_sync_outbox_oldest_due_seconds",
        Kind::Gauge,
        &[],
        "For how long the message that is due the longest has been due, 0 if none is",
    ),
    metric(
        "customer_sync_deliveries_total",
        Kind::Counter,
        &["endpoint", "outcome"],
        "Tries to deliver a message, by outcome",
    ),
    metric(
        "customer_sync_endpoint_breaker",
        Kind::Gauge,
        &["endpoint"],
        "The circuit breaker of an endpoint: 0 closed, 1 half-open, 2 open",
    ),
    metric(
        "customer_sync_deliveries_in_hand",
        Kind::Gauge,
        &[],
        "Messages that are sent, wait for their turn, or are being recorded",
    ),
    metric(
        "customer_sync_delivery_duration_seconds",
        Kind::Histogram,
        &[],
        "How long a receiver took to answer",
    ),
    metric(
        "customer_sync_trace_exports_total",
        Kind::Counter,
        &["outcome"],
        "Requests to the collector of traces, by whether it took them",
    ),
];

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
