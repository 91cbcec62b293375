//! A backup that is taken while the daemon runs, and restored in another place (docs/operations.md).

use super::{comparable, exported, same, text};
use crate::support::{
    dump::{apart, run},
    services::{TestDatabase, postgres, sqlite},
    world::{Daemon, World},
};
use customer_sync::{simulator::Senders, store::Db};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::path::Path;
use url::Url;

async fn simulate(world: &World, daemon: &Daemon, seed: &str) {
    let url = daemon.url("/");
    let arguments = [
        "simulate",
        "--events",
        "250",
        "--seed",
        seed,
        "--shuffle",
        "--check",
        "--patience",
        "30",
        "--via",
        "http",
        "--url",
        &url,
    ];
    let output = world.run(&arguments).await;
    assert!(output.status.success(), "{}", text(&output));
}

/// Events of before and after a backup; the machine is lost; what was backed up is restored elsewhere, and the
/// senders send again what they may have sent since.
async fn comes_back(
    database: TestDatabase,
    back_up: impl AsyncFn(&TestDatabase),
    restore: impl AsyncFn() -> String,
) {
    let config = Senders::generated(7).toml(super::ENVIRONMENT);
    let world = World::new(&database, &config);
    let daemon = world.start().await;
    simulate(&world, &daemon, "41").await;
    let then = exported(&world).await;
    back_up(&database).await;
    let key = std::fs::read(world.data().join("secrets.key")).expect("the key is a file");
    simulate(&world, &daemon, "42").await;
    assert_eq!(daemon.stop().await.code(), Some(0));
    let truth = comparable(exported(&world).await);

    let place = World::at(&restore().await, &config);
    // Without the key it was written under the daemon does not touch it.
    assert_eq!(place.launch().ended().await.code(), Some(78));
    std::fs::create_dir_all(place.data()).expect("the data directory");
    std::fs::write(place.data().join("secrets.key"), key).expect("the key is restored");
    let daemon = place.start().await;
    assert_eq!(exported(&place).await, then, "what was backed up, to the last version");
    let doctor = place.run(&["doctor"]).await;
    assert!(doctor.status.success(), "{}", text(&doctor));

    simulate(&place, &daemon, "42").await;
    let again = exported(&place).await;
    same(&truth, &comparable(again.clone()), "what came since, sent again");
    simulate(&place, &daemon, "41").await;
    simulate(&place, &daemon, "42").await;
    assert_eq!(exported(&place).await, again, "what is in already changes nothing");
    let doctor = place.run(&["doctor"]).await;
    assert!(doctor.status.success(), "{}", text(&doctor));
    assert_eq!(daemon.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_backup_of_sqlite_comes_back_elsewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("backup.sqlite");
    let back_up = async |database: &TestDatabase| {
        let Db::Sqlite { writer, .. } = &database.db else { panic!("SQLite is asked for") };
        let path = copy.display().to_string();
        sqlx::query("vacuum into ?").bind(path).execute(writer).await.expect("it is copied");
    };
    let restore = async || {
        let place = folder.path().join("restored.sqlite");
        std::fs::copy(&copy, &place).expect("it is copied");
        format!("sqlite://{}", place.display())
    };
    comes_back(sqlite().await, back_up, restore).await;
}

/// A database of its own on the test server, dropped with it.
struct Elsewhere {
    server: Url,
    name: String,
}

impl Elsewhere {
    async fn make(server: &Url, name: &str) -> Self {
        let mut connection = PgConnection::connect(server.as_str()).await.expect("it answers");
        let create = format!("create database {name}");
        connection.execute(AssertSqlSafe(create)).await.expect("a database can be made");
        connection.close().await.expect("it closes");
        Self { server: server.clone(), name: name.to_owned() }
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let (server, name) = (self.server.to_string(), self.name.clone());
        crate::support::services::run_apart(async move {
            let mut connection = PgConnection::connect(&server).await?;
            let drop = format!("drop database if exists {name} with (force)");
            connection.execute(AssertSqlSafe(drop)).await?;
            connection.close().await
        });
    }
}

#[tokio::test]
async fn a_backup_of_postgres_comes_back_elsewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let dump = folder.path().join("backup.dump").display().to_string();
    let database = postgres().await;
    let (server, schema) = apart(&database.url);
    let elsewhere = Elsewhere::make(&server, &format!("{schema}_restored")).await;
    let back_up = async |_: &TestDatabase| {
        let format = ["--format=custom", "--no-owner", "--file", &dump];
        // A dump of a whole database brings its extensions along; one of a schema has to be told.
        let what = ["--schema", &schema, "--extension", "pg_trgm", server.as_str()];
        run("pg_dump", &[&format[..], &what].concat());
    };
    let restore = async || {
        let mut place = server.clone();
        place.set_path(&format!("/{}", elsewhere.name));
        run("pg_restore", &["--no-owner", "--exit-on-error", "--dbname", place.as_str(), &dump]);
        place.set_query(Some(&format!("options=-csearch_path%3D{schema}")));
        place.to_string()
    };
    comes_back(database, back_up, restore).await;
    assert!(Path::new(&dump).exists());
}
