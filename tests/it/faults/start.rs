//! A start with another key, and on a schema that is not this program's: nothing is read or written before both are
//! known to be right, and `/readyz` says what is wrong.

use crate::{
    http::client::Request,
    pipeline::scalar,
    support::{
        private::Postgres,
        services::{TestDatabase, broker, on_both},
        wait::eventually,
        world::{World, status_of},
    },
};
use customer_sync::{
    clock::Clock,
    config::Config,
    daemon::{Daemon, Options, Role},
    health::SCHEMA,
    store::{
        codec::Key,
        idempotency,
        migrations::{Schema, schema},
    },
};
use serde_json::{Value, json};
use sqlx::{Executor as _, PgConnection};
use std::path::Path;

/// A key and a source, in a world without a broker.
fn settings(key: &str) -> String {
    format!(
        "[secrets]\nkey = '{key}, long enough to be one'\n\
         [[sources]]\nname = 'app'\nprovider = 'canonical'\nenvironment = 'test'\nunsigned = true\n"
    )
}

/// Keeps every migration waiting.
async fn hold_migrations(server: &Postgres) -> PgConnection {
    let mut holder = server.connect().await;
    let lock = "begin; lock table _sqlx_migrations in access exclusive mode";
    holder.execute(lock).await.expect("locked");
    holder
}

/// What would be written under a wrong key could never be found again, and the erasure of a person would miss it.
#[tokio::test]
async fn nothing_is_written_before_the_key_is_known_to_be_right() {
    let server = Postgres::start(&[]).await;
    let database = TestDatabase::on(&server).await;
    let right = World::new(&database, &settings("the right key"));
    assert_eq!(right.start().await.stop().await.code(), Some(0));
    let create = ["key", "create", "--environment", "test", "--scope", "write", "--json"];
    let made = right.run(&create).await;
    let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    let key = made["key"].as_str().expect("a key");

    let mut holder = hold_migrations(&server).await;
    let wrong = World::new(&database, &settings("another key"));
    let mut daemon = wrong.launch();
    let address = daemon.address;
    let lives = async || status_of(address, "/healthz").await;
    eventually("it lives", lives, |status| *status == Some(200)).await;
    let identify = json!({"external_id": "u1", "name": "Ada"}).to_string();
    let event =
        json!({"id": "e1", "type": "customer.recorded", "occurred_at": "2026-01-01T00:00:00Z",
        "data": {"external_id": "u1", "customer": {"name": "Ada"}}})
        .to_string();
    for (path, body) in [
        ("/v1/customers/identify", identify),
        ("/ingest/app", event.clone()),
        ("/nowhere", String::new()),
    ] {
        let request = Request::post(path, body.as_bytes()).key(key);
        let answer = request.header("content-type", "application/json").send(address).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.text);
        assert!(answer.header("retry-after").is_some() && answer.header("x-request-id").is_some());
        let body = answer.json();
        assert_eq!(body["error"]["type"], "api_error");
        assert_eq!(body["error"]["code"], "unavailable");
    }
    let metrics = Request::get("/metrics").key(key).send(address).await;
    assert_eq!(metrics.status, 200, "{}", metrics.text);
    assert_eq!(daemon.readiness().await, Some(503));
    holder.execute("rollback").await.expect("unlocked");
    assert_eq!(daemon.ended().await.code(), Some(78));
    for sql in ["select count(*) from customer_references", "select count(*) from intake_queue"] {
        assert_eq!(scalar(&database.db, sql).await, 0, "{sql}");
    }

    // Under the right key it waits for the same lock, and what the broker keeps is taken meanwhile.
    let mut holder = hold_migrations(&server).await;
    let right = World::new(&database, &settings("the right key")).with_broker(&broker());
    let mut daemon = right.launch();
    daemon.is_ready(false).await;
    let ask = Request::get("/v1/customers").key(key);
    assert_eq!(ask.send(daemon.address).await.status, 503);
    let post = Request::post("/ingest/app", event.as_bytes());
    let taken = async || post.send(daemon.address).await.status;
    eventually("the broker keeps it", taken, |status| *status == 202).await;
    holder.execute("rollback").await.expect("unlocked");
    daemon.is_ready(true).await;
    let found = async || ask.send(daemon.address).await.listed("external_id");
    eventually("it is applied", found, |found| *found == [json!("u1")]).await;
    assert_eq!(daemon.stop().await.code(), Some(0));
}

/// A daemon in this process, with the embedded queue.
async fn daemon(database: &TestDatabase, folder: &Path, migrate: bool) -> Daemon {
    let text = format!(
        "{}[database]\nurl = '{}'\n[data]\ndirectory = '{}'\n",
        settings("the key"),
        database.url,
        folder.display()
    );
    let config = Config::parse(&text).expect("good");
    let options = Options { roles: vec![Role::Intake], migrate, ..Options::default() };
    Daemon::build(config, options).await.expect("it is built")
}

/// A statement that a schema of ours has no table for would fail again and again, and blame the event.
#[tokio::test]
async fn a_schema_that_is_older_than_the_program_is_waited_for_and_told() {
    on_both(async |database| {
        let folder = tempfile::tempdir().expect("a folder");
        let change = async |sql: &'static str| {
            let mut tx = database.db.begin().await.expect("a transaction");
            tx.query(sql).execute().await.expect("changed");
            tx.commit().await.expect("committed");
            let mut tx = database.db.snapshot().await.expect("a transaction");
            schema(&mut tx).await.expect("read")
        };
        // As where the first of this program's migrations came with it.
        let older = change("update _sqlx_migrations set version = 0").await;
        assert_eq!(older, Schema::Behind(1));
        let daemon = daemon(&database, folder.path(), false).await;
        let (health, shutdown) = (daemon.health().clone(), daemon.shutdown().clone());
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(daemon.run());
        let said = async || {
            let all = health.all();
            let known = all.into_iter().find(|dependency| dependency.name == SCHEMA);
            known.map(|known| (known.ok, known.message)).unwrap_or_default()
        };
        let told = eventually("it is told", said, |said| said.1.contains("migration 1")).await;
        let cure = "the schema is older than this program: migration 1 is missing: \
                    run `customer-sync migrate`";
        assert_eq!(told, (false, cure.to_owned()));
        assert_eq!(change("update _sqlx_migrations set version = 1").await, Schema::Current);
        eventually("it is found", said, |said| said.0).await;
        shutdown.soft();
        assert!(tasks.join_next().await.expect("it ran").expect("it ends").expect("good"));

        let other = "update _sqlx_migrations set checksum = substr(checksum, 2)";
        assert_eq!(change(other).await, Schema::Other(1));
        assert_eq!(change("delete from _sqlx_migrations").await, Schema::Missing);
    })
    .await;
}

/// How many old answers wait to be forgotten: more than are forgotten at once.
const OLD: u32 = 2_500;

/// What is only tidied up is left for the next start.
#[tokio::test]
async fn a_backlog_of_old_answers_does_not_use_up_the_grace() {
    on_both(async |database| {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Clock::system();
        let mut tx = database.db.begin().await.expect("a transaction");
        let sql = "insert into idempotency_keys (id, request, status, answer, remains, created_at)
            values ($1, $1, 200, '{}', '{}', $2)";
        let long_ago = clock.now().plus(-chrono::TimeDelta::days(30));
        for _ in 0..OLD {
            tx.query(sql)
                .bind(Key(clock.new_id()))
                .bind(long_ago)
                .execute()
                .await
                .expect("written");
        }
        tx.commit().await.expect("committed");
        let daemon = daemon(&database, folder.path(), true).await;
        daemon.shutdown().soft();
        assert!(daemon.run().await.expect("it ends as it was asked to"));
        let left = scalar(&database.db, "select count(*) from idempotency_keys").await;
        assert!(left >= i64::from(OLD) - 1_000, "{left} of {OLD} are left");
        let mut tx = database.db.begin().await.expect("a transaction");
        let gone = idempotency::forget(&mut tx, clock.now(), 10_000).await.expect("forgotten");
        assert_eq!(i64::try_from(gone), Ok(left), "they are old");
    })
    .await;
}
