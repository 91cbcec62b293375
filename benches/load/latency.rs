//! Idle latency: from the publishing of one event to its arrival at the app, while nothing else happens; by one
//! broker hop, one commit and one POST that are measured in between.

use crate::{
    broker::Line,
    figures::{self, median, percentile, say},
    floors::http,
    program::{Program, Run},
    stage::Stage,
    traffic::{End, Settings, Traffic, is_delivered, wait},
};
use anyhow::Context as _;
use futures_util::StreamExt as _;
use lapin::{
    BasicProperties,
    options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use serde_json::json;
use sqlx::{Executor as _, PgConnection};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The pause between two: long enough that everybody has gone to sleep again.
const PAUSE: Duration = Duration::from_millis(15);

/// How many runs the tries are told in.
const RUNS: usize = 5;

/// Measures so many events, one at a time.
///
/// # Errors
/// When one is lost, or the state is not true in the end.
pub(crate) async fn idle(stage: &Stage, settings: Settings) -> anyhow::Result<()> {
    say(&format!("idle latency: {settings:?}"));
    let traffic = Traffic::generate(stage, settings)?;
    let database = stage.postgres("latency", None).await?;
    stage.take_in(&database, &traffic.opening).await?;
    crate::broker::empty(stage).await?;
    stage.receiver.forget();
    let run = Run { from_broker: true, with_endpoint: true, ..Run::default() };
    let mut program = Program::start(stage, &database, &run)?;
    let publisher = stage.publisher();
    let mut parts = Parts::open(stage, &database).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for raw in &traffic.events {
        let body: Arc<str> = std::str::from_utf8(&raw.body)?.into();
        tokio::time::sleep(PAUSE).await;
        theirs.push(parts.measure(stage, body).await?);
        tokio::time::sleep(PAUSE).await;
        let known = stage.receiver.count();
        let begun = Instant::now();
        let published = publisher.publish(raw.clone());
        // Of some events there is nothing to tell.
        let told = tokio::time::timeout(Duration::from_millis(300), stage.receiver.after(known));
        let (published, told) = tokio::join!(published, told);
        published?;
        if let Ok(at) = told {
            ours.push(at.duration_since(begun).as_secs_f64());
        }
    }
    publisher.close().await;
    wait(&database, traffic.end(), End::Delivered, &mut program).await?;
    program.stop()?;
    traffic.is_true_of(&database, stage.clock.now()).await?;
    let messages = is_delivered(&database, &stage.receiver.seen()).await?;
    let sums: Vec<f64> = theirs.iter().map(|parts| parts.iter().sum()).collect();
    let ratios = |figure: &dyn Fn(&[f64]) -> f64| -> Vec<f64> {
        let size = |all: &[f64]| all.len().div_ceil(RUNS).max(1);
        ours.chunks(size(&ours))
            .zip(sums.chunks(size(&sums)))
            .map(|(a, b)| figure(a) / figure(b))
            .collect()
    };
    let of_part = |place: usize| -> Vec<f64> {
        theirs.iter().filter_map(|parts| parts.get(place).copied()).collect()
    };
    let millis = |seconds: f64| figures::rounded(seconds * 1_000.0);
    let more = json!({
        "ms": {
            "p50": millis(median(&ours)), "p99": millis(percentile(&ours, 99)),
            "parts_p50": millis(median(&sums)), "parts_p99": millis(percentile(&sums, 99)),
            "hop_p50": millis(median(&of_part(0))), "commit_p50": millis(median(&of_part(1))),
            "post_p50": millis(median(&of_part(2))),
        },
        "events": traffic.events.len(), "told": ours.len(), "messages": messages, "seed": settings.seed,
    });
    figures::tell("idle latency, p50", &ratios(&|all| median(all)), "1.5", more.clone())?;
    figures::tell("idle latency, p99", &ratios(&|all| percentile(all, 99)), "3", more)
}

/// A hop, a commit and a POST, one after the other and with nothing between them.
struct Parts {
    line: Line,
    consumer: lapin::Consumer,
    queue: String,
    database: PgConnection,
    client: customer_sync::deliver::client::Client,
}

impl Parts {
    async fn open(stage: &Stage, database: &crate::stage::Database) -> anyhow::Result<Self> {
        let line = Line::open(&stage.servers.amqp).await?;
        let queue = format!("{}.hop", stage.topology().queue);
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        arguments.insert("x-expires".into(), AMQPValue::LongInt(600_000));
        line.channel.queue_declare(queue.as_str().into(), options, arguments).await?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = line
            .channel
            .basic_consume(queue.as_str().into(), "".into(), options, arguments)
            .await?;
        let mut database = database.connect().await?;
        database.execute("create table bench_commit (id bigserial primary key, body text)").await?;
        Ok(Self { line, consumer, queue, database, client: http::client(1)? })
    }

    /// In seconds.
    async fn measure(&mut self, stage: &Stage, body: Arc<str>) -> anyhow::Result<[f64; 3]> {
        let begun = Instant::now();
        let properties = BasicProperties::default().with_delivery_mode(2);
        let queue = self.queue.as_str().into();
        let options = BasicPublishOptions::default();
        let channel = &self.line.channel;
        channel.basic_publish("".into(), queue, options, body.as_bytes(), properties).await?;
        let delivery = self.consumer.next().await.context("the consumer has ended")??;
        let hop = begun.elapsed().as_secs_f64();
        delivery.acker.ack(BasicAckOptions::default()).await?;
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        let insert = sqlx::query("insert into bench_commit (body) values ($1)").bind(&*body);
        self.database.execute(insert).await?;
        let commit = begun.elapsed().as_secs_f64();
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        http::post(stage, &self.client, &stage.receiver.quiet_url, body).await?;
        Ok([hop, commit, begun.elapsed().as_secs_f64()])
    }
}
