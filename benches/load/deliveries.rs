//! Messages that wait in PostgreSQL to the app, and what others' troubles cost them: by the floor of plain HTTP, beside
//! endpoints that never answer, and beside a backlog that is to be tried again.

use crate::{
    figures::{self, Series, rate, say},
    floors::{self, http},
    program::{Program, Run},
    receiver::SECRET,
    stage::{Database, ENVIRONMENT, Stage},
};
use anyhow::{Context as _, ensure};
use customer_sync::{
    config::Config,
    deliver::{guard::Guard, manage},
    model::{endpoint::EndpointSpec, id::EndpointId, secret::Secret},
    store::settings,
};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, task::JoinSet};
use uuid::Uuid;

/// How many endpoints answer, and beside them as many that do not.
const ENDPOINTS: usize = 100;

/// How long a rate is waited for.
const ENDS_WITHIN: Duration = Duration::from_mins(10);

/// How often the database is asked how far it is.
const LOOKED_EVERY: Duration = Duration::from_millis(50);

/// A body as long as ours are on average.
fn body(number: usize) -> String {
    format!(
        "{{\"id\":\"evt_{number}\",\"type\":\"customer.updated\",\"data\":\"{}\"}}",
        "x".repeat(1_500)
    )
}

/// Measures all of it in interleaved rounds, with so many messages to those that answer and so many that wait.
///
/// # Errors
/// When a message is missing in the end.
pub(crate) async fn rates(
    stage: &Stage,
    rounds: usize,
    messages: usize,
    waiting: u64,
) -> anyhow::Result<()> {
    say(&format!("deliveries: {messages} messages, {waiting} waiting"));
    let hole = Hole::start().await?;
    let bodies: Vec<Arc<str>> = (0..messages).map(|number| body(number).into()).collect();
    let healthy = vec![stage.receiver.url.clone(); ENDPOINTS];
    let one = std::slice::from_ref(&stage.receiver.url);
    let dead = vec![hole.url.clone(); ENDPOINTS];
    let alone = Scene::new(stage, "alone", one, &[], messages).await?;
    let many = Scene::new(stage, "many", &healthy, &[], messages).await?;
    let beside = Scene::new(stage, "beside", &healthy, &dead, messages).await?;
    let behind = Scene::new(stage, "behind", one, &[], messages).await?;
    behind.add_waiting(waiting, "now() + interval '1 day'").await?;
    let due = Scene::new(stage, "due", one, &[], messages).await?;
    due.add_waiting(waiting, "now() - interval '1 hour'").await?;
    let mut series = Series::default();
    for round in 1..=rounds {
        say(&format!("round {round} of {rounds}"));
        series.add("http", rate(messages, http::measure(stage, &bodies).await?));
        series.add("database", alone.floor(stage).await?);
        series.add("one", alone.deliver(stage).await?);
        series.add("many", many.deliver(stage).await?);
        series.add("beside_dead", beside.deliver(stage).await?);
        series.add("behind_waiting", behind.deliver(stage).await?);
        series.add("behind_due", due.deliver(stage).await?);
        say(&series.medians().to_string());
    }
    let more = || {
        json!({
            "messages_per_second": series.medians(),
            "messages": messages,
            "endpoints": ENDPOINTS,
            "waiting": waiting,
        })
    };
    figures::tell("delivery by http", &series.by("one", "http"), "0.6", more())?;
    let limits = series.by_limit("one", &["http", "database"]);
    figures::tell("delivery by its limit", &limits, "beside it", more())?;
    figures::tell(
        "the database's floor by http",
        &series.by("database", "http"),
        "beside it",
        more(),
    )?;
    figures::tell("beside dead endpoints", &series.by("beside_dead", "many"), "0.95", more())?;
    figures::tell("behind waiting retries", &series.by("behind_waiting", "one"), "0.75", more())?;
    figures::tell("behind due retries", &series.by("behind_due", "one"), "beside it", more())
}

/// A listener that takes connections and says nothing; it ends when dropped.
#[derive(Debug)]
struct Hole {
    url: String,
    _server: JoinSet<()>,
}

impl Hole {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut open = Vec::new();
            while let Ok((socket, _)) = listener.accept().await {
                open.push(socket);
            }
        });
        Ok(Self { url, _server: server })
    }
}

/// A database in which messages wait, of which each round takes a copy.
#[derive(Debug)]
struct Scene {
    opening: Database,
    answering: Vec<EndpointId>,
    messages: usize,
}

impl Scene {
    /// So many messages in all to the endpoints that answer, and to each of the others as many as to one of those.
    async fn new(
        stage: &Stage,
        name: &str,
        answering: &[String],
        others: &[String],
        messages: usize,
    ) -> anyhow::Result<Self> {
        let opening = stage.postgres(&format!("{name}_opening"), None).await?;
        let config = Config::parse(&stage.config(false))?;
        let keyring = config.key()?.keyring;
        let guard = Guard { allow_http: true, allow_networks: vec!["127.0.0.0/8".parse()?] };
        let db = opening.open().await?;
        let mut tx = db.begin().await?;
        let print = keyring.fingerprint();
        settings::get_or_insert(&mut tx, settings::KEY_FINGERPRINT, &print).await?;
        let mut made = Vec::new();
        for url in answering.iter().chain(others) {
            let spec = EndpointSpec {
                environment: ENVIRONMENT.into(),
                url: url.clone(),
                event_types: vec!["*".into()],
                ..EndpointSpec::default()
            };
            let id = EndpointId(stage.clock.new_id());
            let (now, secret) = (stage.clock.now(), Some(Secret::new(SECRET)));
            manage::create(&mut tx, (&keyring, &guard), id, &spec, secret, now).await?;
            made.push(id);
        }
        tx.commit().await?;
        db.close().await;
        let mut connection = opening.connect().await?;
        for endpoint in &made {
            add(&mut connection, *endpoint, messages / answering.len().max(1)).await?;
        }
        run(&mut connection, "vacuum analyze").await?;
        made.truncate(answering.len());
        Ok(Self { opening, answering: made, messages })
    }

    /// Messages to the only endpoint that failed once, and are due at some time.
    async fn add_waiting(&self, count: u64, due_at: &str) -> anyhow::Result<()> {
        let endpoint = self.answering.first().context("there is one")?.0;
        let mut connection = self.opening.connect().await?;
        run(
            &mut connection,
            &format!(
                "insert into messages (id, event_id, endpoint_id, environment, ordered, fresh, status, attempts, due_at,
                    created_at)
                 select gen_random_uuid(), (select min(id::text)::uuid from outgoing_events), '{endpoint}',
                    '{ENVIRONMENT}', false, false, 'pending', 1, {due_at} + n * interval '1 microsecond', now()
                 from generate_series(1, {count}) as n"
            ),
        )
        .await?;
        run(&mut connection, "vacuum analyze").await
    }

    /// From the first look of the program's to the last message to an endpoint that answers; messages a second.
    async fn deliver(&self, stage: &Stage) -> anyhow::Result<f64> {
        let database = stage.postgres("deliveries", Some(&self.opening)).await?;
        stage.receiver.forget();
        let settings = Run { roles: Some("deliver,http"), ..Run::default() };
        let mut program = Program::start(stage, &database, &settings)?;
        let begun = program.ready_after;
        let mut connection = database.connect().await?;
        while self.left(&mut connection).await? > 0 {
            program.is_running()?;
            ensure!(
                begun.elapsed() < ENDS_WITHIN,
                "not all was delivered; its log:\n{}",
                program.log()
            );
            tokio::time::sleep(LOOKED_EVERY).await;
        }
        let took = Instant::now().duration_since(begun).as_secs_f64();
        // It may have tries under way to those that never answer: nothing of that is waited for.
        drop(program);
        let seen = stage.receiver.seen();
        ensure!(seen.refused == 0, "{} signatures were wrong", seen.refused);
        ensure!(seen.verified.len() >= self.messages, "only {} were received", seen.verified.len());
        drop(connection);
        database.remove().await?;
        Ok(rate(self.messages, took))
    }

    /// The same by hand-written statements, and nothing sent.
    async fn floor(&self, stage: &Stage) -> anyhow::Result<f64> {
        let database = stage.postgres("deliveries", Some(&self.opening)).await?;
        let endpoint = self.answering.first().context("there is one")?.0;
        let took = floors::deliveries::measure(&database, endpoint, self.messages).await?;
        database.remove().await?;
        Ok(rate(self.messages, took))
    }

    /// How many messages that were never tried wait for the endpoints that answer.
    async fn left(&self, connection: &mut PgConnection) -> anyhow::Result<i64> {
        let sql = "select count(*) from messages
            where endpoint_id = any($1) and status = 'pending' and fresh";
        let ids: Vec<Uuid> = self.answering.iter().map(|id| id.0).collect();
        Ok(sqlx::query_scalar(sql).bind(ids).fetch_one(connection).await?)
    }
}

/// Messages that are due, each of an event of its own.
async fn add(
    connection: &mut PgConnection,
    endpoint: EndpointId,
    count: usize,
) -> anyhow::Result<()> {
    let (endpoint, body) = (endpoint.0, body(0));
    run(
        connection,
        &format!(
            "with told as (
                insert into outgoing_events (id, environment, kind, body, created_at)
                select gen_random_uuid(), '{ENVIRONMENT}', 'customer.updated', '{body}', now()
                from generate_series(1, {count}) returning id
             )
             insert into messages (id, event_id, endpoint_id, environment, ordered, fresh, status, attempts, due_at, created_at)
             select gen_random_uuid(), id, '{endpoint}', '{ENVIRONMENT}', false, true, 'pending', 0, now(), now() from told"
        ),
    )
    .await
}

async fn run(connection: &mut PgConnection, statement: &str) -> anyhow::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}
