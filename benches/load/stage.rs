//! What the measurements play on: databases that are copies of one opening state, a broker, a receiver, and the
//! configuration that the program is given.

use crate::{
    program::{Program, Run},
    receiver::{Receiver, SECRET},
};
use anyhow::{Context as _, ensure};
use customer_sync::{
    clock::Clock,
    config::Config,
    daemon,
    health::Health,
    intake::publisher::{self, Publisher},
    intake::topology,
    model::{inbound::Raw, secret::Secret},
    pipeline::Pipeline,
    shutdown::Shutdown,
    simulator::Senders,
    store::Db,
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::TempDir;
use url::Url;

/// Whose customers these are.
pub(crate) const ENVIRONMENT: &str = "test";

/// `secrets.key`: one for all runs, so that they know the same references.
const KEY: &str = "the key of the load harness";

/// How much one transaction takes: the default of `intake.batch_events`.
pub(crate) const BATCH: usize = 500;

/// The default of `amqp.prefetch`.
pub(crate) const PREFETCH: u16 = 1_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Where the servers are.
    pub(crate) servers: Servers,
    /// Whom the program tells.
    pub(crate) receiver: Receiver,
    /// Who sends.
    pub(crate) senders: Senders,
    /// What time it is.
    pub(crate) clock: Clock,
    /// Files that go with it.
    pub(crate) folder: TempDir,
    /// Begins the names of databases and queues.
    prefix: String,
}

/// The private servers.
#[derive(Clone, Debug)]
pub(crate) struct Servers {
    /// `postgres://…`
    pub(crate) postgres: String,
    /// `amqp://…`
    pub(crate) amqp: String,
}

/// One database.
#[derive(Clone, Debug)]
pub(crate) enum Database {
    /// On the server, by this name.
    Postgres { server: String, name: String },
    /// A file.
    Sqlite(PathBuf),
}

impl Servers {
    /// Those that `scripts/bench` started.
    ///
    /// # Errors
    /// When it did not.
    #[expect(clippy::disallowed_methods, reason = "scripts/bench hands the servers over so")]
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        let of = |name: &str| {
            std::env::var(name).with_context(|| format!("{name} is not set: run scripts/bench"))
        };
        Ok(Self { postgres: of("TEST_DATABASE_URL")?, amqp: of("TEST_AMQP_URL")? })
    }
}

impl Stage {
    pub(crate) async fn new() -> anyhow::Result<Self> {
        Ok(Self {
            servers: Servers::from_environment()?,
            receiver: Receiver::start().await?,
            senders: Senders::generated(1),
            clock: Clock::system(),
            folder: tempfile::tempdir()?,
            prefix: format!("bench_{}", std::process::id()),
        })
    }

    /// A configuration file's text, but for what the environment variables of [`Stage::variables`] say.
    pub(crate) fn config(&self, with_endpoint: bool) -> String {
        let endpoint = format!(
            "[[endpoints]]\nname = 'app'\nenvironment = '{ENVIRONMENT}'\nurl = '{}'\nsecret = '{SECRET}'\n",
            self.receiver.url
        );
        format!(
            "[webhooks]\nallow_http = true\nallow_networks = ['127.0.0.0/8']\n\n[secrets]\nkey = '{KEY}'\n\n\
             [log]\nlevel = 'warn'\n\n{}{}",
            if with_endpoint { endpoint.as_str() } else { "" },
            self.senders.toml(ENVIRONMENT)
        )
    }

    /// The broker's names, as the program is given them.
    pub(crate) fn topology(&self) -> topology::Settings {
        topology::Settings {
            exchange: format!("{}.events", self.prefix),
            queue: format!("{}.intake", self.prefix),
            dead_exchange: format!("{}.dead", self.prefix),
            dead_queue: format!("{}.dead", self.prefix),
            declare: true,
        }
    }

    /// A publisher on a connection of its own.
    pub(crate) fn publisher(&self) -> Publisher {
        let settings = publisher::Settings {
            topology: self.topology(),
            ..publisher::Settings::new(Secret::new(self.servers.amqp.clone()))
        };
        let health = Health::new(self.clock.clone());
        Publisher::new(settings, self.clock.clone(), health, Shutdown::new())
    }

    /// Puts events into the queue, and fails if one is not kept.
    pub(crate) async fn publish(&self, raws: &[Raw]) -> anyhow::Result<()> {
        let publisher = self.publisher();
        for kept in publisher.publish_all(raws.iter().cloned()).await {
            kept?;
        }
        publisher.close().await;
        Ok(())
    }

    /// A new database of a name, as a copy of another one or with the schema alone.
    pub(crate) async fn postgres(
        &self,
        name: &str,
        from: Option<&Database>,
    ) -> anyhow::Result<Database> {
        let database = Database::Postgres {
            server: self.servers.postgres.clone(),
            name: format!("{}_{name}", self.prefix),
        };
        database.remove().await?;
        let Database::Postgres { server, name } = &database else { return Ok(database) };
        let template = match from {
            Some(Database::Postgres { name, .. }) => format!(" template {name}"),
            _ => String::new(),
        };
        let mut connection = PgConnection::connect(server).await?;
        let create = format!("create database {name}{template}");
        connection.execute(AssertSqlSafe(create)).await?;
        // What was written before must not be written back while something is measured.
        connection.execute("checkpoint").await?;
        connection.close().await?;
        if from.is_none() {
            let db = database.open().await?;
            db.migrate().await?;
            db.close().await;
        }
        Ok(database)
    }

    /// A new file of a name, as a copy of another one or with the schema alone.
    pub(crate) async fn sqlite(
        &self,
        name: &str,
        from: Option<&Database>,
    ) -> anyhow::Result<Database> {
        let path = self.folder.path().join(format!("{name}.sqlite"));
        let database = Database::Sqlite(path.clone());
        database.remove().await?;
        if let Some(Database::Sqlite(from)) = from {
            std::fs::copy(from, path)?;
        } else {
            let db = database.open().await?;
            db.migrate().await?;
            db.close().await;
        }
        Ok(database)
    }

    /// Takes events in by the program's own stages, in this process and without telling anybody.
    pub(crate) async fn take_in(&self, database: &Database, raws: &[Raw]) -> anyhow::Result<()> {
        let config = Config::parse(&self.config(false))?;
        let pipeline = Pipeline {
            db: database.open().await?,
            sources: Arc::new(daemon::sources(&config)?),
            keyring: config.key()?.keyring,
            clock: self.clock.clone(),
            handover: None,
        };
        let mut tx = pipeline.db.begin().await?;
        let print = pipeline.keyring.fingerprint();
        let name = customer_sync::store::settings::KEY_FINGERPRINT;
        customer_sync::store::settings::get_or_insert(&mut tx, name, &print).await?;
        tx.commit().await?;
        for batch in raws.chunks(BATCH) {
            pipeline.process(batch).await?;
        }
        pipeline.db.close().await;
        Ok(())
    }

    /// Declares the endpoint, as the program does at its start.
    pub(crate) fn declare(&self, database: &Database) -> anyhow::Result<()> {
        let run = Run { roles: Some("http"), with_endpoint: true, ..Run::default() };
        Program::start(self, database, &run)?.stop()
    }

    /// Takes away what it has made on the servers.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect(&self.servers.postgres).await?;
        let names: Vec<String> =
            sqlx::query_scalar("select datname from pg_database where starts_with(datname, $1)")
                .bind(format!("{}_", self.prefix))
                .fetch_all(&mut connection)
                .await?;
        for name in names {
            connection.execute(AssertSqlSafe(format!("drop database {name} with (force)"))).await?;
        }
        connection.close().await?;
        crate::broker::remove(&self.servers.amqp, &self.topology()).await
    }
}

impl Database {
    /// How the program opens it.
    pub(crate) fn url(&self) -> anyhow::Result<String> {
        Ok(match self {
            Self::Postgres { server, name } => {
                let mut url = Url::parse(server)?;
                url.set_path(name);
                url.to_string()
            }
            Self::Sqlite(path) => format!("sqlite://{}", path.display()),
        })
    }

    /// Opens it as the program does.
    pub(crate) async fn open(&self) -> anyhow::Result<Db> {
        Ok(Db::open(&self.url()?, 2).await?)
    }

    /// A connection past the program's own store.
    pub(crate) async fn connect(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(&self.url()?).await?)
    }

    /// Removes it, if it is there.
    pub(crate) async fn remove(&self) -> anyhow::Result<()> {
        match self {
            Self::Postgres { server, name } => {
                let mut connection = PgConnection::connect(server).await?;
                let drop = format!("drop database if exists {name} with (force)");
                connection.execute(AssertSqlSafe(drop)).await?;
                connection.close().await?;
            }
            Self::Sqlite(path) => {
                for file in ["", "-wal", "-shm"].map(|end| format!("{}{end}", path.display())) {
                    if Path::new(&file).exists() {
                        std::fs::remove_file(&file)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The file that it is.
    pub(crate) fn path(&self) -> anyhow::Result<&Path> {
        ensure!(matches!(self, Self::Sqlite(_)), "it is no file");
        match self {
            Self::Sqlite(path) => Ok(path),
            Self::Postgres { .. } => anyhow::bail!("it is no file"),
        }
    }
}
