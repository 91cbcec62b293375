//! The API under requests: a mix of all kinds, none of which may fail; and the read of a customer by its id, by the very
//! statement that it runs, through sqlx behind an otherwise empty handler.

use crate::{
    figures::{self, median, percentile, rate, say},
    mix,
    program::{Program, Run},
    stage::{Database, ENVIRONMENT, Stage},
    traffic::{self, Traffic},
};
use anyhow::{Context as _, ensure};
use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use customer_sync::{
    client::Client,
    clock::Clock,
    keyring,
    model::{
        id::{CustomerId, KeyId},
        key::Scope,
        secret::Secret,
    },
    store::{
        browse::FOR_KEY,
        keys::{self, NewKey},
    },
};
use serde_json::{Value, json};
use sqlx::{
    PgPool, Row as _, SqlitePool,
    postgres::PgPoolOptions,
    sqlite::SqlitePoolOptions,
    types::{Json, JsonRawValue},
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// By how many connections the program reads, and the floor: the default of `database.connections`, and on SQLite always.
const CONNECTIONS: u32 = 10;
const SQLITE_READERS: u32 = 4;

/// Connections that ask at once.
const AT_ONCE: usize = 64;

/// How long each of the two is asked in a round.
const SPAN: Duration = Duration::from_secs(3);

/// So many requests of a mix on both databases.
///
/// # Errors
/// When one of them fails.
pub(crate) async fn mixed(
    stage: &Stage,
    settings: traffic::Settings,
    requests: usize,
) -> anyhow::Result<()> {
    for (kind, database) in databases(stage, settings).await? {
        let program = start(stage, &database)?;
        let key = key(stage, &database, Scope::Admin).await?;
        let url = format!("http://{}", program.address);
        let client = || Client::new(&url, key.expose()).map(|client| client.with_retries(0));
        let clients = (0..AT_ONCE).map(|_| client()).collect::<Result<Vec<_>, _>>()?;
        say(&format!("requests: {requests} on {kind}"));
        let begun = Instant::now();
        let took = mix::run(&clients, requests).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let millis: Vec<f64> = took.iter().map(|(_, took)| took.as_secs_f64() * 1e3).collect();
        let warnings = program.log();
        ensure!(warnings.is_empty(), "the program has warned:\n{warnings}");
        program.stop()?;
        let more = json!({
            "database": kind, "connections": AT_ONCE, "requests": took.len(), "errors": 0,
            "p50_ms": figures::rounded(median(&millis)),
            "p99_ms": figures::rounded(percentile(&millis, 99)),
            "p50_ms_of": by_kind(&took),
        });
        figures::tell("requests: mixed, a second", &[rate(took.len(), seconds)], "no error", more)?;
        database.remove().await?;
    }
    Ok(())
}

/// The median of each kind.
fn by_kind(took: &[mix::Took]) -> BTreeMap<&'static str, Value> {
    let mut kinds: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for (kind, took) in took {
        kinds.entry(kind).or_default().push(took.as_secs_f64() * 1e3);
    }
    kinds.into_iter().map(|(kind, millis)| (kind, figures::rounded(median(&millis)))).collect()
}

/// The read of a customer by its id, round by round beside the floor.
///
/// # Errors
/// When a request fails.
pub(crate) async fn read(
    stage: &Stage,
    settings: traffic::Settings,
    rounds: usize,
) -> anyhow::Result<()> {
    for (kind, database) in databases(stage, settings).await? {
        let program = start(stage, &database)?;
        let key = key(stage, &database, Scope::Read).await?;
        let ids = ids(&database).await?;
        let (floor, _server) = floor(&database, key.expose(), &stage.clock).await?;
        let (mut ratios, mut ours, mut floors) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=rounds {
            let own = ask(program.address, &ids, key.expose()).await?;
            let bare = ask(floor, &ids, key.expose()).await?;
            // The first round warms both.
            if round > 0 {
                ours.push(own);
                floors.push(bare);
                ratios.push(own / bare);
            }
        }
        program.stop()?;
        let more = json!({
            "database": kind, "connections": AT_ONCE,
            "rates": {"read": figures::rounded(median(&ours)), "floor": figures::rounded(median(&floors))},
        });
        figures::tell("requests: read by id", &ratios, ">= 0.7", more)?;
        database.remove().await?;
    }
    Ok(())
}

/// One of each kind, with customers and their payments.
async fn databases(
    stage: &Stage,
    settings: traffic::Settings,
) -> anyhow::Result<[(&'static str, Database); 2]> {
    let postgres = stage.postgres("requests", None).await?;
    let sqlite = stage.sqlite("requests", None).await?;
    let Traffic { opening, events, .. } = Traffic::generate(stage, settings)?;
    for database in [&postgres, &sqlite] {
        stage.take_in(database, &opening).await?;
        stage.take_in(database, &events).await?;
    }
    Ok([("postgres", postgres), ("sqlite", sqlite)])
}

fn start(stage: &Stage, database: &Database) -> anyhow::Result<Program> {
    Program::start(stage, database, &Run { roles: Some("http"), ..Run::default() })
}

async fn key(stage: &Stage, database: &Database, scope: Scope) -> anyhow::Result<Secret> {
    let db = database.open().await?;
    let mut tx = db.begin().await?;
    let new = NewKey {
        id: KeyId(stage.clock.new_id()),
        environment: ENVIRONMENT.to_owned(),
        scope,
        name: None,
        token: Secret::new(keyring::new_token()),
        created_at: stage.clock.now(),
    };
    let key = keys::create(&mut tx, new).await?;
    tx.commit().await?;
    db.close().await;
    Ok(key)
}

/// The customers that are read.
async fn ids(database: &Database) -> anyhow::Result<Vec<CustomerId>> {
    let db = database.open().await?;
    let mut tx = db.snapshot().await?;
    let sql = "select id from customers where absorbed_into is null and not deleted order by id limit 5000";
    let ids: Vec<(CustomerId,)> = tx.query(sql).all().await?;
    drop(tx);
    db.close().await;
    ensure!(!ids.is_empty(), "there is no customer");
    Ok(ids.into_iter().map(|(id,)| id).collect())
}

/// What runs the program's own statement.
#[derive(Clone)]
struct Floor {
    pool: Pool,
    /// Of the key that the program is asked with.
    hash: Arc<str>,
    clock: Clock,
}

#[derive(Clone)]
enum Pool {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

/// Serves the statement and nothing else; it ends with what is returned.
async fn floor(
    database: &Database,
    key: &str,
    clock: &Clock,
) -> anyhow::Result<(SocketAddr, JoinSet<()>)> {
    let url = database.url()?;
    let pool = match database {
        Database::Postgres { .. } => {
            Pool::Postgres(PgPoolOptions::new().max_connections(CONNECTIONS).connect(&url).await?)
        }
        Database::Sqlite(_) => Pool::Sqlite(
            SqlitePoolOptions::new().max_connections(SQLITE_READERS).connect(&url).await?,
        ),
    };
    let floor = Floor { pool, hash: keys::hash(key).into(), clock: clock.clone() };
    let routes = Router::new().route("/v1/customers/{id}", get(select)).with_state(floor);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let mut server = JoinSet::new();
    server.spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            say(&format!("the floor has ended: {error}"));
        }
    });
    Ok((address, server))
}

/// Runs it, and answers with what it reads of the person, untouched.
macro_rules! person {
    ($floor:ident, $pool:ident, $id:ident) => {{
        let query = sqlx::query(FOR_KEY).bind(&*$floor.hash).bind($id).bind($floor.clock.now());
        let rows = query.fetch_all($pool).await;
        rows.and_then(|rows| {
            let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
            first.try_get::<Json<Box<JsonRawValue>>, _>("person")
        })
    }};
}

async fn select(State(floor): State<Floor>, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse::<CustomerId>() else { return StatusCode::NOT_FOUND.into_response() };
    let person = match &floor.pool {
        Pool::Postgres(pool) => person!(floor, pool, id),
        Pool::Sqlite(pool) => person!(floor, pool, id),
    };
    match person {
        Ok(Json(person)) => {
            ([(header::CONTENT_TYPE, "application/json")], person.get().to_owned()).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Asks for customers by all connections for a while; requests a second.
async fn ask(address: SocketAddr, ids: &[CustomerId], key: &str) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut asking = JoinSet::new();
    for number in 0..AT_ONCE {
        let own: Vec<String> = ids
            .iter()
            .skip(number)
            .step_by(AT_ONCE)
            .map(|id| {
                format!("GET /v1/customers/{id} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\r\n")
            })
            .collect();
        asking.spawn(async move { connection(address, &own, begun + SPAN).await });
    }
    let mut answered = 0;
    while let Some(done) = asking.join_next().await {
        answered += done??;
    }
    Ok(rate(answered, begun.elapsed().as_secs_f64()))
}

/// One request after the other on one connection, until it is time; how many were answered.
async fn connection(address: SocketAddr, all: &[String], until: Instant) -> anyhow::Result<usize> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut answered, mut buffer) = (0, vec![0; 64 * 1024]);
    for request in all.iter().cycle() {
        if Instant::now() >= until {
            break;
        }
        stream.write_all(request.as_bytes()).await?;
        let mut length = 0;
        loop {
            let read = stream.read(buffer.get_mut(length..).unwrap_or_default()).await?;
            ensure!(read > 0, "the connection has ended");
            length += read;
            if is_whole(buffer.get(..length).unwrap_or_default())? {
                break;
            }
        }
        answered += 1;
    }
    Ok(answered)
}

/// Whether an answer is there to its end; fails where it is no 200.
fn is_whole(bytes: &[u8]) -> anyhow::Result<bool> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(false) };
    let head = std::str::from_utf8(bytes.get(..end).unwrap_or_default())?.to_ascii_lowercase();
    ensure!(head.starts_with("http/1.1 200"), "refused: {head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.context("no length")?.trim().parse()?;
    Ok(bytes.len() >= end + 4 + length)
}
