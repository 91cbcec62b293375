//! Opening a database, with the settings that each of the two needs.

use super::{ANSWERS_WITHIN, CONNECTS_WITHIN, Db, Limits, PATIENCE, answered};
use crate::store::{Error, Result};
use sqlx::{
    Connection,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
    sqlite::{
        SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions,
        SqliteSynchronous,
    },
};
use std::{path::Path, str::FromStr, time::Duration};

/// How long a connection may have been idle before it is asked whether it is still there.
const TRUSTED: Duration = Duration::from_secs(5);

/// How many of the connections are kept for batches of events: one for what comes in, and one for its dead letters.
const FOR_BATCHES: u32 = 2;

/// Of fewer connections than this none is kept for anybody.
const ENOUGH: u32 = 3 * FOR_BATCHES;

/// SQLite writes its log back into the file when it has so many pages: 16 MiB. A batch writes some thousand, and
/// with the default of a thousand the same pages are written back again and again.
const CHECKPOINT: &str = "4000";

/// How much the writer keeps in memory, in KiB where it is negative: what a batch changes. With the default of 2 MiB
/// a batch is written to the log and read from it again while it is under way.
const WRITER_CACHE: &str = "-16384";

impl Db {
    /// Opens `postgres://…` or `sqlite://PATH`; a missing SQLite file and its folder are made.
    ///
    /// # Errors
    /// When the URL cannot be used, or SQLite's file cannot be opened. Postgres is connected to when first used.
    pub async fn open(url: &str, connections: u32) -> Result<Self> {
        Self::open_within(url, Limits { connections, statement_timeout: PATIENCE }).await
    }

    /// The same with limits of one's own.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub async fn open_within(url: &str, limits: Limits) -> Result<Self> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Self::open_postgres(url, limits);
        }
        match url.strip_prefix("sqlite:") {
            Some(path) => Self::open_sqlite(Path::new(path.trim_start_matches("//"))).await,
            None => Err(Error::Url("it must begin with postgres:// or sqlite://".into())),
        }
    }

    fn open_postgres(url: &str, limits: Limits) -> Result<Self> {
        let Limits { connections, statement_timeout } = limits;
        let options =
            PgConnectOptions::from_str(url).map_err(|error| Error::Url(error.to_string()))?;
        // sqlx 0.9 leaves Nagle's algorithm on: over TLS each large statement waits some 45 ms for a delayed
        // acknowledgement. On this machine itself there is nobody to hide from.
        let local = matches!(options.get_host(), "localhost" | "127.0.0.1" | "::1" | "[::1]");
        let said = url.contains("sslmode=") || url.contains("ssl-mode=");
        let options = if local && !said { options.ssl_mode(PgSslMode::Disable) } else { options };
        let options = options.application_name("customer-sync").options([
            ("statement_timeout", statement_timeout.as_millis().to_string()),
            ("idle_in_transaction_session_timeout", statement_timeout.as_millis().to_string()),
            ("timezone", "UTC".to_owned()),
            // A rollback may find that there is nothing to roll back, and would warn of it.
            ("client_min_messages", "error".to_owned()),
            // Statements are short and many: none is worth the tenths of a second that compiling it would take.
            ("jit", "off".to_owned()),
        ]);
        let pool = |size| {
            PgPoolOptions::new()
                .max_connections(size)
                .acquire_timeout(CONNECTS_WITHIN.min(statement_timeout))
                // Asking costs a turn to the server, as much as a statement. One that breaks while it is in use, or a
                // moment before, is an error that is tried again. (The pool's own test waits for ever where nobody answers.)
                .test_before_acquire(false)
                .before_acquire(|connection, known| {
                    Box::pin(async move {
                        if known.idle_for >= TRUSTED {
                            answered(ANSWERS_WITHIN, connection.ping()).await?;
                        }
                        Ok(true)
                    })
                })
                .connect_lazy_with(options.clone())
        };
        let (pool, batches) = if connections < ENOUGH {
            let shared = pool(connections);
            (shared.clone(), shared)
        } else {
            (pool(connections - FOR_BATCHES), pool(FOR_BATCHES))
        };
        // The database gives a statement up first, and says so.
        Ok(Self::Postgres { pool, batches, within: statement_timeout * 3 / 2 })
    }

    async fn open_sqlite(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            tokio::fs::create_dir_all(folder).await.map_err(|error| {
                Error::Url(format!("folder {} cannot be made: {error}", folder.display()))
            })?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(PATIENCE)
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            .pragma("secure_delete", "on")
            .pragma("temp_store", "memory")
            .pragma("wal_autocheckpoint", CHECKPOINT)
            .optimize_on_close(true, None);
        let pool = |size| {
            SqlitePoolOptions::new()
                .max_connections(size)
                .min_connections(1)
                .idle_timeout(None)
                .max_lifetime(None)
                .acquire_timeout(PATIENCE)
                // A file does not go away, and a sign of life costs a turn to the connection's thread; one is asked for
                // after each use.
                .test_before_acquire(false)
                // A full disk makes SQLite roll a transaction back by itself; sqlx 0.9.0 then fails to roll it back,
                // counts it as open for ever, and could never begin another one on that connection.
                .before_acquire(|connection, _| {
                    let is_free = !connection.is_in_transaction();
                    Box::pin(async move { Ok(is_free) })
                })
        };
        let writing = options.clone().pragma("cache_size", WRITER_CACHE);
        let writer = pool(1).connect_with(writing).await?;
        let readers = pool(4).connect_with(options.pragma("query_only", "on")).await?;
        Ok(Self::Sqlite { writer, readers })
    }
}
