//! Events a second, by the limit that the floors of the same round set.

use crate::{
    broker,
    figures::{self, Series, rate, say},
    floors::{capture::capture, http, postgres::Rows, rules::Rules, sqlite},
    machine,
    program::{Program, Run},
    stage::{Database, ENVIRONMENT, Stage},
    traffic::{self, End, Settings, Traffic, is_delivered},
};
use anyhow::{Context as _, ensure};
use customer_sync::{
    apply::world::World,
    deliver::client::{Client, Request},
    model::inbound::Raw,
    store::{progress, totals},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Which of the measurements are made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) inbound: bool,
    pub(crate) single: bool,
    pub(crate) whole: bool,
}

/// One traffic with what is known of it after a first run.
struct Play<'s> {
    stage: &'s Stage,
    traffic: Traffic,
    rules: Rules,
    world: World,
    /// What the app is told.
    bodies: Vec<Arc<str>>,
}

/// So much of the traffic goes through one by one: it takes ten times as long.
const SINGLE_SHARE: usize = 10;

/// Measures the path from RabbitMQ over PostgreSQL, to the app or up to the commit.
///
/// # Errors
/// When a run is not right: a fast wrong run is a failure.
pub(crate) async fn networked(
    stage: &Stage,
    settings: Settings,
    rounds: usize,
    wanted: Wanted,
) -> anyhow::Result<Series> {
    say(&format!("networked: {settings:?}"));
    let traffic = Traffic::generate(stage, settings)?;
    let opening = stage.postgres("opening", None).await?;
    stage.take_in(&opening, &traffic.opening).await?;
    let mut play = Play::new(stage, traffic)?;
    let reference = stage.postgres("reference", Some(&opening)).await?;
    play.deliver(&reference).await?;
    play.bodies = bodies(&reference).await?;
    let rows = Rows::read(&reference, capture(&opening, &reference).await?).await?;
    reference.remove().await?;
    let mut series = Series::default();
    for round in 1..=rounds {
        say(&format!("round {round} of {rounds}"));
        series.add("broker", play.broker().await?);
        series.add("rules", play.rules()?);
        let floor = stage.postgres("floor", Some(&opening)).await?;
        series.add("database", play.rate(rows.write(&floor, false).await?));
        if wanted.whole {
            let floor = stage.postgres("floor", Some(&opening)).await?;
            series.add("database_with_results", play.rate(rows.write(&floor, true).await?));
            series.add("http", play.http().await?);
        }
        if wanted.inbound {
            let run = stage.postgres("run", Some(&opening)).await?;
            let (rate, used) = play.commit(&run).await?;
            series.add("inbound", rate);
            series.add("inbound_cpu_us", used);
        }
        if wanted.single {
            let run = stage.postgres("run", Some(&opening)).await?;
            series.add("single", play.single(&run).await?);
        }
        if wanted.whole {
            let run = stage.postgres("run", Some(&opening)).await?;
            let (rate, used) = play.deliver(&run).await?;
            series.add("whole", rate);
            series.add("whole_cpu_us", used);
        }
        say(&series.medians().to_string());
    }
    play.tell_networked(&series, settings, wanted)?;
    Ok(series)
}

/// Measures the path from the HTTP ingress over SQLite to the app.
///
/// # Errors
/// When a run is not right: a fast wrong run is a failure.
pub(crate) async fn embedded(
    stage: &Stage,
    settings: Settings,
    rounds: usize,
    networked: Option<&Series>,
) -> anyhow::Result<()> {
    say(&format!("embedded: {settings:?}"));
    let traffic = Traffic::generate(stage, settings)?;
    let opening = stage.sqlite("opening", None).await?;
    stage.take_in(&opening, &traffic.opening).await?;
    let mut play = Play::new(stage, traffic)?;
    let reference = stage.sqlite("reference", Some(&opening)).await?;
    play.post(&reference).await?;
    play.bodies = bodies(&reference).await?;
    let batches = capture(&opening, &reference).await?;
    let mut series = Series::default();
    for round in 1..=rounds {
        say(&format!("round {round} of {rounds}"));
        series.add("ingress", play.ingress().await?);
        series.add("rules", play.rules()?);
        let floor = stage.sqlite("floor", Some(&opening)).await?;
        series.add(
            "database_with_results",
            play.rate(sqlite::write(&reference, &floor, batches).await?),
        );
        series.add("http", play.http().await?);
        let run = stage.sqlite("run", Some(&opening)).await?;
        let (rate, used) = play.post(&run).await?;
        series.add("embedded", rate);
        series.add("embedded_cpu_us", used);
        say(&series.medians().to_string());
    }
    let floors = ["ingress", "rules", "database_with_results", "http"];
    let ratios = series.by_limit("embedded", &floors);
    figures::tell("embedded", &ratios, "0.7", play.explain(&series, settings))?;
    if let Some(networked) = networked.filter(|series| !series.of("whole").is_empty()) {
        let ratio = figures::median(series.of("embedded")) / figures::median(networked.of("whole"));
        figures::tell("embedded by networked", &[ratio], "1", json!({}))?;
    }
    Ok(())
}

impl<'s> Play<'s> {
    fn new(stage: &'s Stage, traffic: Traffic) -> anyhow::Result<Self> {
        let rules = Rules::new(stage)?;
        let world = rules.world(stage, &traffic.opening)?;
        Ok(Self { stage, traffic, rules, world, bodies: Vec::new() })
    }

    fn count(&self) -> usize {
        self.traffic.events.len()
    }

    fn rate(&self, seconds: f64) -> f64 {
        rate(self.count(), seconds)
    }

    /// Floor B.
    async fn broker(&self) -> anyhow::Result<f64> {
        self.fill(&self.traffic.events).await?;
        Ok(self.rate(broker::drain(self.stage, self.count()).await?))
    }

    /// Floor C.
    fn rules(&self) -> anyhow::Result<f64> {
        Ok(self.rate(self.rules.measure(self.stage, &self.world, &self.traffic.events)?))
    }

    /// Floor H, for as many events as these messages come from.
    async fn http(&self) -> anyhow::Result<f64> {
        Ok(self.rate(http::measure(self.stage, &self.bodies).await?))
    }

    /// Floor B where events come by HTTP.
    async fn ingress(&self) -> anyhow::Result<f64> {
        let file = self.stage.folder.path().join("ingress.sqlite");
        let ingress = sqlite::Ingress::start(&Database::Sqlite(file)).await?;
        Ok(self.rate(self.send(&ingress.url).await?))
    }

    async fn fill(&self, events: &[Raw]) -> anyhow::Result<()> {
        broker::empty(self.stage).await?;
        self.stage.publish(events).await?;
        // What the broker still has to do for the publisher is not the consumer's business.
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(())
    }

    /// From the queue to the commit. Events a second, and the program's processor time for each, in microseconds.
    async fn commit(&self, run: &Database) -> anyhow::Result<(f64, f64)> {
        self.fill(&self.traffic.events).await?;
        let roles = Some("intake,http");
        let settings = Run { roles, from_broker: true, with_endpoint: true, ..Run::default() };
        let mut program = Program::start(self.stage, run, &settings)?;
        traffic::wait(run, self.traffic.end(), End::Committed, &mut program).await?;
        let took = program.ready_after.elapsed().as_secs_f64();
        let used = self.used(&program)?;
        program.stop()?;
        self.traffic.is_true_of(run, self.stage.clock.now()).await?;
        Ok((self.rate(took), used))
    }

    /// The same one event, one transaction, one acknowledgement at a time.
    async fn single(&self, run: &Database) -> anyhow::Result<f64> {
        let events = self.traffic.events.get(..self.count() / SINGLE_SHARE).unwrap_or_default();
        self.fill(events).await?;
        let last = event_id(events.last().context("there are events")?)?;
        let settings = Run {
            roles: Some("intake,http"),
            from_broker: true,
            with_endpoint: true,
            variables: vec![("CUSTOMER_SYNC__INTAKE__BATCH_EVENTS", "1".into())],
        };
        let mut program = Program::start(self.stage, run, &settings)?;
        let count = self.traffic.opening.len() + events.len();
        traffic::wait(run, (&last, count), End::Committed, &mut program).await?;
        let took = program.ready_after.elapsed().as_secs_f64();
        program.stop()?;
        let db = run.open().await?;
        let mut tx = db.snapshot().await?;
        let received = progress::progress(&mut tx, ENVIRONMENT).await?.received;
        let expected = i64::try_from(count)?;
        ensure!(received == expected, "{received} of {expected} events were taken");
        let drift = totals::recount(&mut tx).await?;
        ensure!(drift.is_empty(), "{} totals differ from a recount", drift.len());
        tx.commit().await?;
        db.close().await;
        Ok(rate(events.len(), took))
    }

    /// From the queue to the app, deliveries recorded.
    async fn deliver(&self, run: &Database) -> anyhow::Result<(f64, f64)> {
        self.fill(&self.traffic.events).await?;
        self.stage.receiver.forget();
        let settings = Run { from_broker: true, with_endpoint: true, ..Run::default() };
        let mut program = Program::start(self.stage, run, &settings)?;
        traffic::wait(run, self.traffic.end(), End::Delivered, &mut program).await?;
        let took = program.ready_after.elapsed().as_secs_f64();
        self.finish(run, program, took).await
    }

    /// From the HTTP ingress to the app, deliveries recorded.
    async fn post(&self, run: &Database) -> anyhow::Result<(f64, f64)> {
        self.stage.receiver.forget();
        let settings = Run { with_endpoint: true, ..Run::default() };
        let mut program = Program::start(self.stage, run, &settings)?;
        let begun = Instant::now();
        self.send(&format!("http://{}", program.address)).await?;
        traffic::wait(run, self.traffic.end(), End::Delivered, &mut program).await?;
        let took = begun.elapsed().as_secs_f64();
        self.finish(run, program, took).await
    }

    async fn finish(
        &self,
        run: &Database,
        program: Program,
        took: f64,
    ) -> anyhow::Result<(f64, f64)> {
        let used = self.used(&program)?;
        program.stop()?;
        self.traffic.is_true_of(run, self.stage.clock.now()).await?;
        is_delivered(run, &self.stage.receiver.seen()).await?;
        Ok((self.rate(took), used))
    }

    fn used(&self, program: &Program) -> anyhow::Result<f64> {
        Ok(machine::process_seconds(program.id())? / self.count() as f64 * 1e6)
    }

    /// Posts all events to an ingress, signed now as a provider would. In seconds.
    async fn send(&self, base: &str) -> anyhow::Result<f64> {
        let client = http::client(AT_ONCE)?;
        let begun = Instant::now();
        stream::iter(&self.traffic.events)
            .map(|raw| self.send_one(&client, base, raw))
            .buffered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(begun.elapsed().as_secs_f64())
    }

    async fn send_one(&self, client: &Client, base: &str, raw: &Raw) -> anyhow::Result<()> {
        let sender = self.stage.senders.find(&raw.source).context("the sender is known")?;
        let signature = sender.sign(&event_id(raw)?, &raw.body, self.stage.clock.now());
        let signature: Vec<(&str, String)> =
            signature.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let request = Request {
            url: &format!("{base}/ingest/{}", raw.source),
            headers: Vec::new(),
            ours: &signature,
            body: std::str::from_utf8(&raw.body)?.into(),
            again: false,
        };
        let answer = client.post(request, Duration::from_secs(30)).await?;
        ensure!(answer.status == 202, "the ingress answered {}: {}", answer.status, answer.body);
        Ok(())
    }

    fn explain(&self, series: &Series, settings: Settings) -> Value {
        json!({
            "events_per_second": series.medians(),
            "events": self.count(),
            "messages": self.bodies.len(),
            "customers": settings.customers,
            "skew": settings.skew,
            "seed": settings.seed,
        })
    }

    fn tell_networked(
        &self,
        series: &Series,
        settings: Settings,
        wanted: Wanted,
    ) -> anyhow::Result<()> {
        let more = || self.explain(series, settings);
        if wanted.inbound {
            let name = if settings.skew > 0.0 { "inbound, Zipf" } else { "inbound, uniform" };
            let ratios = series.by_limit("inbound", &["broker", "rules", "database"]);
            figures::tell(name, &ratios, "0.8", more())?;
        }
        if wanted.inbound && wanted.single {
            figures::tell("inbound by one by one", &series.by("inbound", "single"), "10", more())?;
        }
        if wanted.whole {
            let floors = ["broker", "rules", "database_with_results", "http"];
            figures::tell("whole path", &series.by_limit("whole", &floors), "0.7", more())?;
        }
        Ok(())
    }
}

/// How many posts are under way at once.
const AT_ONCE: usize = 64;

/// The provider's id of an event of Stripe's.
fn event_id(raw: &Raw) -> anyhow::Result<String> {
    let body: Value = serde_json::from_slice(&raw.body)?;
    Ok(body.get("id").and_then(Value::as_str).context("the event has an id")?.to_owned())
}

/// What the app was told.
async fn bodies(database: &Database) -> anyhow::Result<Vec<Arc<str>>> {
    let db = database.open().await?;
    let sql = "select e.body from outgoing_events as e join messages as m on m.event_id = e.id";
    let bodies = db.snapshot().await?.query(sql).all::<(String,)>().await?;
    db.close().await;
    Ok(bodies.into_iter().map(|(body,)| body.into()).collect())
}
