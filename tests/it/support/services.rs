//! The real services, isolated for each test: a schema of its own on Postgres, a file of its own for
//! SQLite, names of its own on RabbitMQ. All of it is removed when the test ends, also when it fails.
//!
//! The servers are named by `TEST_DATABASE_URL` and `TEST_AMQP_URL`; `scripts/test` sets them. A test that
//! needs one and is not told of it fails: nothing is skipped.

use crate::support::private::Postgres;
use customer_sync::{clock::Clock, store::Db};
use lapin::{
    Connection, ConnectionProperties, ExchangeKind,
    options::{
        ExchangeDeclareOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions,
    },
    types::FieldTable,
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::future::Future;
use tempfile::TempDir;

/// Connections that a test's pool may open: more than any test needs at once, few enough that all tests
/// of a busy machine together stay below the server's limit.
const CONNECTIONS: u32 = 10;

/// An empty database, migrated, of one test's own.
#[derive(Debug)]
pub(crate) struct TestDatabase {
    /// What another process opens it by.
    pub(crate) url: String,
    /// A pool on it.
    pub(crate) db: Db,
    /// Lives as long as the test does.
    place: Place,
}

/// Where a database is; removes it when dropped.
#[derive(Debug)]
enum Place {
    /// On a server.
    Schema { server: String, name: String },
    /// On a server that goes with the test.
    Private,
    /// In a folder, removed with it.
    Folder { _removed_with_it: TempDir },
}

/// Runs a test on Postgres, then on SQLite. When it fails, its output says on which.
pub(crate) async fn on_both(test: impl AsyncFn(TestDatabase)) {
    for database in databases().await {
        test(database).await;
    }
}

/// One of each kind.
pub(crate) async fn databases() -> Vec<TestDatabase> {
    vec![postgres().await, sqlite().await]
}

/// A schema of its own on the Postgres server.
pub(crate) async fn postgres() -> TestDatabase {
    let server = setting("TEST_DATABASE_URL");
    let name = unique_name();
    let mut connection = PgConnection::connect(&server).await.expect("TEST_DATABASE_URL answers");
    connection
        .execute(AssertSqlSafe(format!("create schema {name}")))
        .await
        .expect("a schema can be made");
    connection.close().await.expect("the connection closes");
    let separator = if server.contains('?') { '&' } else { '?' };
    let url = format!("{server}{separator}options=-csearch_path%3D{name}");
    TestDatabase::open(url, Place::Schema { server, name }).await
}

/// A file of its own.
pub(crate) async fn sqlite() -> TestDatabase {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("sqlite://{}", folder.path().join("test.sqlite").display());
    TestDatabase::open(url, Place::Folder { _removed_with_it: folder }).await
}

impl TestDatabase {
    /// The whole of a private server.
    pub(crate) async fn on(server: &Postgres) -> Self {
        Self::open(server.url(), Place::Private).await
    }

    async fn open(url: String, place: Place) -> Self {
        let db = Db::open(&url, CONNECTIONS).await.expect("the database opens");
        db.migrate().await.expect("the schema is brought up to date");
        Self { url, db, place }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (database, schema) = match self {
            Self::Schema { server, name } => ("postgres", Some((server, name))),
            Self::Private => ("a private postgres", None),
            Self::Folder { .. } => ("sqlite", None),
        };
        if std::thread::panicking() {
            eprintln!("this failed on {database}");
        }
        if let Some((server, name)) = schema {
            run_apart(async {
                let mut connection = PgConnection::connect(server).await?;
                // A transaction that the test dropped cannot roll back while this thread is waited for.
                sqlx::query(
                    "select pg_terminate_backend(pid) from pg_locks where relation in
                     (select oid from pg_class where relnamespace = to_regnamespace($1)::oid)",
                )
                .bind(&*name)
                .execute(&mut connection)
                .await?;
                let drop_schema = format!("drop schema if exists {name} cascade");
                connection.execute(AssertSqlSafe(drop_schema)).await?;
                connection.close().await
            });
        }
    }
}

/// Names of one test's own on the RabbitMQ server.
#[derive(Debug)]
pub(crate) struct TestBroker {
    /// The server.
    pub(crate) url: String,
    /// The exchange that takes events.
    pub(crate) exchange: String,
    /// The queue that the daemon reads.
    pub(crate) queue: String,
    /// The exchange and the queue for dead letters.
    pub(crate) dead: String,
}

/// The RabbitMQ server that all tests share.
pub(crate) fn broker_url() -> String {
    setting("TEST_AMQP_URL")
}

/// Names on the RabbitMQ server that no other test uses.
pub(crate) fn broker() -> TestBroker {
    broker_at(broker_url())
}

/// The same on a private server.
pub(crate) fn broker_at(url: String) -> TestBroker {
    let prefix = unique_name();
    TestBroker {
        url,
        exchange: format!("{prefix}.events"),
        queue: format!("{prefix}.intake"),
        dead: format!("{prefix}.dead"),
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        run_apart(async {
            let connection =
                Connection::connect(&self.url, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            for queue in [&self.queue, &self.dead] {
                channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await?;
            }
            for exchange in [&self.exchange, &self.dead] {
                let options = ExchangeDeleteOptions::default();
                channel.exchange_delete(exchange.as_str().into(), options).await?;
            }
            connection.close(200, "done".into()).await
        });
    }
}

/// A name that no other test has, on any run.
fn unique_name() -> String {
    format!("t_{}", Clock::system().new_id().simple())
}

#[expect(clippy::disallowed_methods, reason = "scripts/test hands the servers over so")]
fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run scripts/test (or set TEST_DATABASE_URL and TEST_AMQP_URL)")
    })
}

/// Cleans up from a `drop`, which cannot wait: on a thread and a runtime of its own. What cannot be
/// removed is only told: the test has its result already.
pub(crate) fn run_apart<E: std::fmt::Display>(work: impl Future<Output = Result<(), E>> + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Err(error) = runtime.expect("a runtime").block_on(work) {
                eprintln!("a test's leftovers could not be removed: {error}");
            }
        });
    });
}

#[tokio::test]
async fn a_schema_goes_with_its_test() {
    let (name, server) = match &postgres().await.place {
        Place::Schema { name, server } => (name.clone(), server.clone()),
        Place::Private | Place::Folder { .. } => panic!("Postgres has schemas"),
    };
    let mut connection = PgConnection::connect(&server).await.expect("the server answers");
    let left: i64 = sqlx::query_scalar("select count(*) from pg_namespace where nspname = $1")
        .bind(name)
        .fetch_one(&mut connection)
        .await
        .expect("schemas can be counted");
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_brokers_names_go_with_their_test() {
    let broker = broker();
    let connection = Connection::connect(&broker.url, ConnectionProperties::default())
        .await
        .expect("TEST_AMQP_URL answers");
    let channel = connection.create_channel().await.expect("a channel");
    let queues = [broker.queue.clone(), broker.dead.clone()];
    let exchanges = [broker.exchange.clone(), broker.dead.clone()];
    for queue in &queues {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel
            .queue_declare(queue.as_str().into(), durable, FieldTable::default())
            .await
            .expect("a queue is declared");
    }
    for exchange in &exchanges {
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        channel
            .exchange_declare(
                exchange.as_str().into(),
                ExchangeKind::Topic,
                durable,
                FieldTable::default(),
            )
            .await
            .expect("an exchange is declared");
    }
    drop(broker);
    for queue in &queues {
        let channel = connection.create_channel().await.expect("a channel");
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let looked =
            channel.queue_declare(queue.as_str().into(), passive, FieldTable::default()).await;
        assert!(looked.is_err(), "{queue} is still there");
    }
    for exchange in &exchanges {
        let channel = connection.create_channel().await.expect("a channel");
        let passive = ExchangeDeclareOptions { passive: true, ..Default::default() };
        let looked = channel
            .exchange_declare(
                exchange.as_str().into(),
                ExchangeKind::Topic,
                passive,
                FieldTable::default(),
            )
            .await;
        assert!(looked.is_err(), "{exchange} is still there");
    }
}
