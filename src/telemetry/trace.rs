//! Traces: the steps that a message went through, told to an OpenTelemetry collector. Off unless one is named.
//!
//! A batch belongs to many traces at once, and a delivery to one of hours ago. So a step is told its parent by the
//! W3C `traceparent` that came with its message, and never by what its task did before.

use super::export::{self, Collector};
use opentelemetry::{
    Context, KeyValue, Value,
    propagation::TextMapPropagator as _,
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _,
        TracerProvider as _,
    },
};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span},
};
use std::{
    collections::HashMap,
    sync::OnceLock,
    time::{Duration, UNIX_EPOCH},
};

/// The header that carries a trace's context: on requests in and out, and on messages in between.
/// <https://www.w3.org/TR/trace-context/>
pub const TRACEPARENT: &str = "traceparent";

/// Steps that wait to be sent; further ones are dropped. Each is about 1 KiB.
const WAITING: usize = 8_192;
/// Steps in one request.
const TOGETHER: usize = 1_024;
/// How long a step waits for others at most.
const GATHERED_FOR: Duration = Duration::from_secs(2);
/// How long the collector may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the last steps may take at the end.
const FAREWELL: Duration = Duration::from_secs(5);

/// Where traces go, and how many.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The collector's base URL.
    pub url: String,
    /// What is sent along, such as a key of the collector's.
    pub headers: HashMap<String, String>,
    /// The share of traces that begin here which is kept, from 0 to 1. Who calls us with a context has decided.
    pub sample_ratio: f64,
}

/// No collector can be told.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// There is nothing to send with.
    #[error(transparent)]
    Client(#[from] export::Unusable),
    /// The exporter.
    #[error("traces cannot be sent to traces.url")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

struct Telling {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
}

static TELLING: OnceLock<Telling> = OnceLock::new();

/// Begins to tell the steps of this process; the first call of a process counts. To be called on the runtime that
/// then sends them.
///
/// # Errors
/// When the address cannot be used.
pub fn start(settings: Settings) -> Result<(), Unusable> {
    let url = format!("{}/v1/traces", settings.url.trim_end_matches('/'));
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Collector::new(PATIENCE)?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(url)
        .with_headers(settings.headers)
        .with_timeout(PATIENCE)
        .build()?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(WAITING)
        .with_max_export_batch_size(TOGETHER)
        .with_scheduled_delay(GATHERED_FOR)
        .build();
    let resource = Resource::builder_empty()
        .with_service_name("customer-sync")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(
            BatchSpanProcessor::builder(exporter).with_batch_config(batches).build(),
        )
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            settings.sample_ratio,
        ))))
        .with_resource(resource)
        .build();
    let tracer = provider.tracer("customer-sync");
    TELLING.get_or_init(|| Telling { tracer, provider });
    Ok(())
}

/// Sends what still waits. To be called at the end, when no more steps come.
pub async fn finish() {
    let Some(telling) = TELLING.get() else { return };
    let provider = telling.provider.clone();
    // It blocks its thread; the runtime meanwhile sends.
    let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FAREWELL));
    if let Ok(Err(error)) = ended.await {
        tracing::warn!(%error, "the last steps of traces were not sent");
    }
}

/// Whether steps are told at all.
pub fn is_on() -> bool {
    TELLING.get().is_some()
}

/// What part a step has in the exchange with others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It answers a request.
    Server,
    /// It takes a message from a queue.
    Consumer,
    /// It makes a request.
    Client,
}

/// A step of a message's way; it ends when it is dropped. Nothing, and free of cost, where traces are off.
#[derive(Debug)]
pub struct Step(Option<Box<Span>>);

impl Step {
    /// Begins a step, under a parent's `traceparent` where there is one that can be read.
    pub fn begin(kind: Kind, name: &'static str, parent: Option<&str>) -> Self {
        Self::start(kind, name, parent, None)
    }

    /// Begins a step that began at a time, in microseconds since the epoch.
    pub fn begun_at(kind: Kind, name: &'static str, parent: Option<&str>, micros: i64) -> Self {
        Self::start(kind, name, parent, Some(micros))
    }

    fn start(kind: Kind, name: &'static str, parent: Option<&str>, began: Option<i64>) -> Self {
        let Some(telling) = TELLING.get() else { return Self(None) };
        let mut builder = SpanBuilder::from_name(name).with_kind(match kind {
            Kind::Server => SpanKind::Server,
            Kind::Consumer => SpanKind::Consumer,
            Kind::Client => SpanKind::Client,
        });
        if let Some(micros) = began.and_then(|micros| u64::try_from(micros).ok()) {
            builder = builder.with_start_time(UNIX_EPOCH + Duration::from_micros(micros));
        }
        let parent = parent.map_or_else(Context::new, context);
        Self(Some(Box::new(telling.tracer.build_with_context(builder, &parent))))
    }

    /// What those are told that go on from here.
    pub fn traceparent(&self) -> Option<String> {
        self.0.as_ref().map(|span| traceparent(span.span_context()))
    }

    /// Tells something of the step.
    pub fn tell(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(name, value));
        }
    }

    /// The step did not come to what it was for.
    pub fn fail(&mut self, why: &str) {
        if let Some(span) = &mut self.0 {
            span.set_status(Status::error(why.to_owned()));
        }
    }
}

fn context(traceparent: &str) -> Context {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
}

fn traceparent(span: &SpanContext) -> String {
    let mut carrier = HashMap::new();
    let context = Context::new().with_remote_span_context(span.clone());
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.remove(TRACEPARENT).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_written_as_it_was_read_and_what_is_none_begins_a_trace() {
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(traceparent(context(given).span().span_context()), given);
        for bad in ["", "00-0-0-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "é"]
        {
            assert!(!context(bad).span().span_context().is_valid(), "{bad}");
        }
    }

    #[test]
    fn without_a_collector_a_step_is_nothing() {
        let mut step = Step::begin(Kind::Server, "x", None);
        step.tell("a", 1);
        step.fail("why");
        assert_eq!(step.traceparent(), None);
    }
}
