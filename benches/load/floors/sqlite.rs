//! The floors on SQLite. D: the captured rows by `insert … select` from the attached file that holds them. B: what
//! takes requests in and makes each last, all that wait in one transaction.

use super::capture::{How, TABLES, rows_of};
use crate::stage::Database;
use anyhow::Context as _;
use axum::{Router, body::Bytes, extract::State, http::StatusCode};
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use std::time::Instant;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinSet,
};

/// A connection that promises what the program's own does.
pub(crate) async fn connect(database: &Database) -> anyhow::Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(database.path()?)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    Ok(SqliteConnection::connect_with(&options).await?)
}

/// Floor D: writes the rows of a finished run into a fresh copy of the opening state, a transaction for each batch
/// and one for its results. In seconds.
pub(crate) async fn write(
    finished: &Database,
    into: &Database,
    batches: usize,
) -> anyhow::Result<f64> {
    let mut connection = connect(into).await?;
    let attach = format!("attach '{}' as finished", finished.path()?.display());
    connection.execute(AssertSqlSafe(attach)).await?;
    let mut statements = (Vec::new(), Vec::new());
    for table in &TABLES {
        let names: Vec<String> =
            sqlx::query_scalar("select name from pragma_table_info($1, 'main') order by cid")
                .bind(table.name)
                .fetch_all(&mut connection)
                .await?;
        let all = names.join(", ");
        let insert = format!(
            "insert into main.{} ({all}) select {all} from finished.{} where n = ?1",
            table.name,
            rows_of(table)
        );
        match table.how {
            How::Insert => statements.0.push(insert),
            How::Result => statements.1.push(insert),
            How::Upsert(key) => {
                let changes: Vec<_> =
                    names.iter().map(|name| format!("{name} = excluded.{name}")).collect();
                let changes = changes.join(", ");
                statements.0.push(format!("{insert} on conflict ({key}) do update set {changes}"));
            }
        }
    }
    statements.1.push(
        "update main.messages set status = 'delivered', attempts = 1, finished_at = created_at, lease = null,
             leased_until = null
         where id in (select id from finished.bench_rows_messages where n = ?1)"
            .to_owned(),
    );
    let begun = Instant::now();
    for batch in 0..i64::try_from(batches)? {
        for statements in [&statements.0, &statements.1] {
            let mut tx = connection.begin_with("begin immediate").await?;
            for statement in statements {
                tx.execute(sqlx::query(AssertSqlSafe(statement.as_str())).bind(batch)).await?;
            }
            tx.commit().await?;
        }
    }
    let took = begun.elapsed().as_secs_f64();
    connection.close().await?;
    Ok(took)
}

struct Request {
    body: Bytes,
    answer: oneshot::Sender<()>,
}

/// A server that keeps what is posted to it, as bytes in one table, and then answers 202.
#[derive(Debug)]
pub(crate) struct Ingress {
    pub(crate) url: String,
    _tasks: JoinSet<()>,
}

/// How many may wait: the program's own limit is as high.
const WAITING: usize = 4_096;

impl Ingress {
    /// Starts it on a new file.
    pub(crate) async fn start(database: &Database) -> anyhow::Result<Self> {
        database.remove().await?;
        let options = SqliteConnectOptions::new()
            .filename(database.path()?)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        connection
            .execute("create table arrived (id integer primary key, body blob not null)")
            .await?;
        let (sender, receiver) = mpsc::channel(WAITING);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            if let Err(error) = keep(connection, receiver).await {
                crate::figures::say(&format!("the floor's ingress has failed: {error:#}"));
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let app = Router::new().fallback(take).with_state(sender);
        tasks.spawn(async move {
            // It ends with the harness.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { url, _tasks: tasks })
    }
}

async fn take(State(sender): State<mpsc::Sender<Request>>, body: Bytes) -> StatusCode {
    let (answer, answered) = oneshot::channel();
    let kept = sender.send(Request { body, answer }).await.is_ok() && answered.await.is_ok();
    if kept { StatusCode::ACCEPTED } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn keep(
    mut connection: SqliteConnection,
    mut receiver: mpsc::Receiver<Request>,
) -> anyhow::Result<()> {
    let mut waiting = Vec::new();
    while receiver.recv_many(&mut waiting, crate::stage::BATCH).await > 0 {
        let bodies: Vec<String> = waiting.iter().map(|one| hex::encode(&one.body)).collect();
        let mut tx = connection.begin_with("begin immediate").await?;
        let sql = "insert into arrived (body) select unhex(value) from json_each($1)";
        let bodies = serde_json::to_string(&bodies).context("text serializes")?;
        tx.execute(sqlx::query(sql).bind(bodies)).await?;
        tx.commit().await?;
        for request in waiting.drain(..) {
            // Who asked may be gone.
            let _ = request.answer.send(());
        }
    }
    Ok(())
}
