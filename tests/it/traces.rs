//! Traces: one from the request that brings an event in to the request that tells of it, as a collector sees them.

use crate::{
    http::client::Request,
    support::{
        receiver::{Receiver, Reply},
        services::{TestBroker, broker, on_both, postgres, sqlite},
        wait::eventually,
        world::World,
    },
};
use customer_sync::deliver::signature::Signer;
use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::BasicPublishOptions,
    types::{AMQPValue, FieldTable},
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind},
};
use prost::Message as _;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The example of the W3C's recommendation.
const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const HOOK: &str = "/hook";
/// Where OTLP says that traces go.
const TRACES: &str = "/v1/traces";

const CUSTOMER: &[u8] =
    br#"{"id": "evt_1", "type": "customer.recorded", "occurred_at": "2026-01-01T00:00:00Z",
    "data": {"external_id": "ada", "customer": {"name": "Ada"}}}"#;

/// One source, one endpoint, and more.
fn settings(receiver: &Receiver, more: &str) -> String {
    format!(
        "{more}
        [webhooks]
        allow_http = true
        allow_networks = ['127.0.0.0/8']
        schedule = ['1s', '1s', '1s']
        [[sources]]
        name = 'app'
        provider = 'canonical'
        environment = 'test'
        secrets = ['{SECRET}']
        [[endpoints]]
        name = 'app'
        environment = 'test'
        secret = '{SECRET}'
        url = '{}'
        ",
        receiver.url(HOOK)
    )
}

/// The headers of what the app sends, signed by Standard Webhooks, and the trace that it belongs to.
fn headers() -> Vec<(String, String)> {
    let secret = customer_sync::model::secret::Secret::new(SECRET);
    let now = customer_sync::clock::Clock::system().now();
    let signer = Signer { secrets: vec![secret], ..Signer::default() };
    let signature = signer.headers("evt_1", now, CUSTOMER).expect("signed");
    let signature = signature.into_iter().map(|(name, value)| (name.to_owned(), value));
    signature.chain([("traceparent".to_owned(), CALLER.to_owned())]).collect()
}

/// A request of the app's.
fn signed(path: &str) -> Request {
    let headers = headers();
    Request::post(path, CUSTOMER)
        .headers(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

/// Puts what the app sends into the queue, as a gateway of its own would.
async fn publish(broker: &TestBroker) {
    let connection = Connection::connect(&broker.url, ConnectionProperties::default()).await;
    let connection = connection.expect("the broker answers");
    let channel = connection.create_channel().await.expect("a channel");
    let mut table = FieldTable::default();
    for (name, value) in headers() {
        table.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let exchange = broker.exchange.as_str().into();
    let sent = channel.basic_publish(
        exchange,
        "app".into(),
        options,
        CUSTOMER,
        properties.with_headers(table),
    );
    sent.await.expect("it is sent");
    connection.close(200, "done".into()).await.expect("it closes");
}

/// The steps that a collector was told.
fn spans(collector: &Receiver) -> Vec<Span> {
    let requests = collector.requests(TRACES);
    let decoded = requests.iter().map(|request| {
        assert_eq!(request.header("content-type"), "application/x-protobuf");
        ExportTraceServiceRequest::decode(request.body.clone()).expect("OTLP")
    });
    let resources = decoded.flat_map(|request| request.resource_spans);
    let scopes = resources.flat_map(|resource| {
        let attributes = &resource.resource.as_ref().expect("a resource").attributes;
        assert!(attributes.iter().any(|attribute| attribute.key == "service.name"));
        resource.scope_spans
    });
    scopes.flat_map(|scope| scope.spans).collect()
}

fn of_kind(spans: &[Span], kind: SpanKind) -> Vec<&Span> {
    let mut all: Vec<_> = spans.iter().filter(|span| span.kind() == kind).collect();
    all.sort_by_key(|span| span.start_time_unix_nano);
    all
}

fn told<'s>(span: &'s Span, name: &str) -> Option<&'s Value> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == name)?;
    attribute.value.as_ref()?.value.as_ref()
}

fn traceparent(span: &Span) -> String {
    format!("00-{}-{}-01", hex::encode(&span.trace_id), hex::encode(&span.span_id))
}

#[tokio::test]
async fn one_trace_leads_from_the_request_in_to_each_request_out() {
    for broker in [None, Some(broker())] {
        let database = if broker.is_some() { postgres().await } else { sqlite().await };
        let (receiver, collector) = (Receiver::start().await, Receiver::start().await);
        // The second try is claimed from the database: the trace has to outlive the first one's memory.
        receiver.script(HOOK, [Reply::Status(500)]);
        let traces = format!(
            "[traces]\nurl = '{}'\nheaders = {{ x-collector-key = 'k' }}\n",
            collector.url("")
        );
        let world = World::new(&database, &settings(&receiver, &traces));
        let world = match &broker {
            Some(broker) => world.with_broker(broker),
            None => world,
        };
        let daemon = world.start().await;
        assert_eq!(signed("/ingest/app").send(daemon.address).await.status, 202);
        assert_eq!(
            Request::post("/ingest/app", b"{}")
                .header("traceparent", CALLER)
                .send(daemon.address)
                .await
                .status,
            401
        );
        eventually("both tries came", async || receiver.count(HOOK), |count| *count == 2).await;
        // Its end sends what still waits.
        assert_eq!(daemon.stop().await.code(), Some(0));

        let spans = spans(&collector);
        let [server] = of_kind(&spans, SpanKind::Server)[..] else { panic!("{spans:?}") };
        let [consumer] = of_kind(&spans, SpanKind::Consumer)[..] else { panic!("{spans:?}") };
        let [first, second] = of_kind(&spans, SpanKind::Client)[..] else { panic!("{spans:?}") };
        assert_eq!(spans.len(), 4, "what is refused is not traced");
        for span in &spans {
            assert_eq!(hex::encode(&span.trace_id), "0af7651916cd43dd8448eb211c80319c");
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        }
        assert_eq!(hex::encode(&server.parent_span_id), "b7ad6b7169203331");
        assert_eq!(consumer.parent_span_id, server.span_id);
        assert_eq!(first.parent_span_id, consumer.span_id);
        assert_eq!(second.parent_span_id, consumer.span_id);

        let text = |text: &str| Some(Value::StringValue(text.into()));
        assert_eq!(told(consumer, "event.source").cloned(), text("app"));
        assert_eq!(told(consumer, "event.verdict").cloned(), text("applied"));
        assert_eq!(told(first, "delivery.outcome").cloned(), text("retry"));
        assert_eq!(told(first, "http.response.status_code"), Some(&Value::IntValue(500)));
        assert_eq!(told(second, "delivery.outcome").cloned(), text("delivered"));
        let requests = receiver.requests(HOOK);
        let sent: Vec<_> = requests.iter().map(|request| request.header("traceparent")).collect();
        assert_eq!(sent, [traceparent(first), traceparent(second)]);
        assert!(requests.iter().all(|request| !request.json().to_string().contains("0af765")));
        let key = collector.requests(TRACES)[0].header("x-collector-key").to_owned();
        assert_eq!(key, "k");
    }
}

#[tokio::test]
async fn the_trace_of_a_message_that_a_gateway_published_goes_on_to_the_request_out() {
    on_both(async |database| {
        let broker = broker();
        let (receiver, collector) = (Receiver::start().await, Receiver::start().await);
        let traces = format!("[traces]\nurl = '{}'\n", collector.url(""));
        let world = World::new(&database, &settings(&receiver, &traces)).with_broker(&broker);
        let daemon = world.start().await;
        publish(&broker).await;
        eventually("it is told", async || receiver.count(HOOK), |count| *count == 1).await;
        assert_eq!(daemon.stop().await.code(), Some(0));

        let spans = spans(&collector);
        let [consumer] = of_kind(&spans, SpanKind::Consumer)[..] else { panic!("{spans:?}") };
        let [client] = of_kind(&spans, SpanKind::Client)[..] else { panic!("{spans:?}") };
        assert_eq!(spans.len(), 2, "{spans:?}");
        let [trace, step] = ["0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"];
        assert_eq!([&consumer.trace_id, &client.trace_id].map(hex::encode), [trace, trace]);
        assert_eq!(hex::encode(&consumer.parent_span_id), step, "the gateway's own");
        assert_eq!(client.parent_span_id, consumer.span_id);
        assert_eq!(receiver.requests(HOOK)[0].header("traceparent"), traceparent(client));
    })
    .await;
}

#[tokio::test]
async fn without_a_collector_nothing_is_traced_and_no_context_goes_on() {
    on_both(async |database| {
        let receiver = Receiver::start().await;
        let world = World::new(&database, &settings(&receiver, ""));
        let daemon = world.start().await;
        assert_eq!(signed("/ingest/app").send(daemon.address).await.status, 202);
        eventually("it is told", async || receiver.count(HOOK), |count| *count == 1).await;
        assert_eq!(receiver.requests(HOOK)[0].header("traceparent"), "");
        assert_eq!(daemon.stop().await.code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn a_collector_that_is_away_holds_nothing_up() {
    let database = sqlite().await;
    let receiver = Receiver::start().await;
    let traces = "[traces]\nurl = 'http://127.0.0.1:1'\n";
    let world = World::new(&database, &settings(&receiver, traces));
    let mut daemon = world.start().await;
    assert_eq!(signed("/ingest/app").send(daemon.address).await.status, 202);
    eventually("it is told", async || receiver.count(HOOK), |count| *count == 1).await;
    daemon.signal("TERM");
    assert_eq!(daemon.ended().await.code(), Some(0));
    let log = daemon.log();
    let said = log.lines().filter(|line| line.contains("the collector takes no traces")).count();
    assert_eq!(said, 1, "{log}");
}
