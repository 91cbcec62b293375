//! One way to speak SQL to either database. The only file that names both.
//!
//! A statement is written once, with `$1` placeholders, and runs on Postgres and on SQLite. The few that
//! cannot be are given twice, through [`Tx::pick`]; those that take a set of rows through [`set!`](crate::set).

use serde::Serialize;
use sqlx::{
    Arguments, Decode, Encode, Executor, FromRow, PgConnection, PgPool, Postgres, Sqlite,
    SqliteConnection, SqlitePool, Transaction, Type,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow, PgSslMode},
    sqlite::{
        SqliteArguments, SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode,
        SqlitePoolOptions, SqliteRow, SqliteSynchronous,
    },
};
use std::{path::Path, str::FromStr, time::Duration};
use uuid::Uuid;

/// A value both databases can store. Implemented for every type that can be.
pub trait Column:
    Type<Postgres>
    + Type<Sqlite>
    + for<'q> Encode<'q, Postgres>
    + for<'q> Encode<'q, Sqlite>
    + for<'r> Decode<'r, Postgres>
    + for<'r> Decode<'r, Sqlite>
    + Send
    + 'static
{
}
impl<T> Column for T where
    T: Type<Postgres>
        + Type<Sqlite>
        + for<'q> Encode<'q, Postgres>
        + for<'q> Encode<'q, Sqlite>
        + for<'r> Decode<'r, Postgres>
        + for<'r> Decode<'r, Sqlite>
        + Send
        + 'static
{
}

/// A row both databases can return: anything with `#[derive(sqlx::FromRow)]`, and tuples.
pub trait Record:
    for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin
{
}
impl<T> Record for T where
    T: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin
{
}

/// A database. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Db {
    /// Production.
    Postgres(PgPool),
    /// Embedded: one connection that writes, a few that read.
    Sqlite {
        /// The one writer.
        writer: SqlitePool,
        /// The readers.
        readers: SqlitePool,
    },
}

/// A transaction. Rolled back when dropped without [`Tx::commit`].
#[derive(Debug)]
pub enum Tx {
    /// On Postgres.
    Postgres(Transaction<'static, Postgres>),
    /// On SQLite.
    Sqlite(Transaction<'static, Sqlite>),
}

/// How long a statement may wait for a lock or run before the database gives it up.
const PATIENCE: Duration = Duration::from_secs(30);

impl Db {
    /// Opens `postgres://…` or `sqlite://PATH`; a missing SQLite file and its folder are made.
    ///
    /// # Errors
    /// When the URL cannot be used, or SQLite's file cannot be opened. Postgres is connected to when first used.
    pub async fn open(url: &str, connections: u32) -> super::Result<Self> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Self::open_postgres(url, connections);
        }
        match url.strip_prefix("sqlite:") {
            Some(path) => Self::open_sqlite(Path::new(path.trim_start_matches("//"))).await,
            None => Err(super::Error::Url("it must begin with postgres:// or sqlite://".into())),
        }
    }

    fn open_postgres(url: &str, connections: u32) -> super::Result<Self> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| super::Error::Url(error.to_string()))?;
        // sqlx 0.9 leaves Nagle's algorithm on: over TLS each large statement waits some 45 ms for a delayed
        // acknowledgement. On this machine itself there is nobody to hide from.
        let local = matches!(options.get_host(), "localhost" | "127.0.0.1" | "::1" | "[::1]");
        let said = url.contains("sslmode=") || url.contains("ssl-mode=");
        let options = if local && !said { options.ssl_mode(PgSslMode::Disable) } else { options };
        let options = options.application_name("customer-sync").options([
            ("statement_timeout", PATIENCE.as_millis().to_string()),
            ("idle_in_transaction_session_timeout", PATIENCE.as_millis().to_string()),
            ("timezone", "UTC".to_owned()),
            // The rollback of `after_release` would warn each time that there is nothing to roll back.
            ("client_min_messages", "error".to_owned()),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(10))
            // sqlx 0.9.0 gives a connection whose BEGIN was canceled back inside an open transaction
            // (transact-rs/sqlx#4385): whatever it left behind ends here.
            .after_release(|connection, _| {
                Box::pin(async move {
                    connection.execute("rollback").await?;
                    Ok(true)
                })
            })
            .connect_lazy_with(options);
        Ok(Self::Postgres(pool))
    }

    async fn open_sqlite(path: &Path) -> super::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            tokio::fs::create_dir_all(folder).await.map_err(|error| {
                super::Error::Url(format!("folder {} cannot be made: {error}", folder.display()))
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
            .optimize_on_close(true, None);
        let pool = |size| {
            SqlitePoolOptions::new()
                .max_connections(size)
                .min_connections(1)
                .idle_timeout(None)
                .max_lifetime(None)
                .acquire_timeout(PATIENCE)
        };
        let writer = pool(1).connect_with(options.clone()).await?;
        let readers = pool(4).connect_with(options.pragma("query_only", "on")).await?;
        Ok(Self::Sqlite { writer, readers })
    }

    /// Begins a transaction that will write. SQLite takes its one write lock here rather than at the first
    /// write, so that a reader never has to be upgraded and refused.
    ///
    /// # Errors
    /// When no connection is to be had.
    pub async fn begin(&self) -> sqlx::Result<Tx> {
        Ok(match self {
            Self::Postgres(pool) => Tx::Postgres(pool.begin().await?),
            Self::Sqlite { writer, .. } => Tx::Sqlite(writer.begin_with("begin immediate").await?),
        })
    }

    /// Begins a transaction that only reads, on one snapshot.
    ///
    /// # Errors
    /// When no connection is to be had.
    pub async fn snapshot(&self) -> sqlx::Result<Tx> {
        Ok(match self {
            Self::Postgres(pool) => Tx::Postgres(
                pool.begin_with("begin isolation level repeatable read read only").await?,
            ),
            Self::Sqlite { readers, .. } => Tx::Sqlite(readers.begin().await?),
        })
    }

    /// Brings the schema up to date.
    ///
    /// # Errors
    /// When a migration fails, or the schema is newer than this program.
    pub async fn migrate(&self) -> super::Result<()> {
        match self {
            Self::Postgres(pool) => {
                sqlx::migrate!("src/store/migrations/postgres").run(pool).await?;
            }
            Self::Sqlite { writer, .. } => {
                sqlx::migrate!("src/store/migrations/sqlite").run(writer).await?;
            }
        }
        Ok(())
    }

    /// Closes all connections, once those in use are given back.
    pub async fn close(&self) {
        match self {
            Self::Postgres(pool) => pool.close().await,
            Self::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }

    /// Whether processes on other machines may share it.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}

impl Tx {
    /// A statement, to be given its values and run.
    pub fn query(&mut self, sql: &'static str) -> Query<'_> {
        match self {
            Self::Postgres(tx) => Query::Postgres(tx, sql, PgArguments::default()),
            Self::Sqlite(tx) => Query::Sqlite(tx, sql, SqliteArguments::default()),
        }
    }

    /// The variant of a statement that this database understands.
    pub fn pick(&self, postgres: &'static str, sqlite: &'static str) -> &'static str {
        match self {
            Self::Postgres(_) => postgres,
            Self::Sqlite(_) => sqlite,
        }
    }

    /// Makes everything in it last.
    ///
    /// # Errors
    /// When the database refuses, or its answer is lost: then it may have happened or not.
    pub async fn commit(self) -> sqlx::Result<()> {
        match self {
            Self::Postgres(tx) => tx.commit().await,
            Self::Sqlite(tx) => tx.commit().await,
        }
    }
}

/// A statement with its values.
#[must_use]
#[derive(Debug)]
pub enum Query<'t> {
    /// For Postgres.
    Postgres(&'t mut PgConnection, &'static str, PgArguments),
    /// For SQLite.
    Sqlite(&'t mut SqliteConnection, &'static str, SqliteArguments),
}

impl Query<'_> {
    /// Gives the next placeholder its value.
    #[expect(clippy::expect_used, reason = "a Column always encodes: none of ours can fail")]
    pub fn bind(mut self, value: impl Column) -> Self {
        match &mut self {
            Query::Postgres(_, _, arguments) => arguments.add(value),
            Query::Sqlite(_, _, arguments) => arguments.add(value),
        }
        .expect("a Column always encodes");
        self
    }

    /// Gives the next placeholder a set of rows, as one JSON array: what [`set!`](crate::set) reads.
    #[expect(
        clippy::expect_used,
        reason = "rows are plain structs with text keys: they always serialize"
    )]
    pub fn bind_rows<T: Serialize>(self, rows: &[T]) -> Self {
        self.bind(serde_json::to_string(rows).expect("rows always serialize"))
    }

    /// Gives the next placeholder a set of ids, as rows with the one column `id`.
    pub fn bind_ids(self, ids: impl IntoIterator<Item = Uuid>) -> Self {
        #[derive(Serialize)]
        struct Row {
            id: Uuid,
        }
        let rows: Vec<Row> = ids.into_iter().map(|id| Row { id }).collect();
        self.bind_rows(&rows)
    }

    /// Gives the next placeholder a list of byte strings: an array on Postgres, a JSON array of hex on SQLite.
    #[expect(clippy::expect_used, reason = "bytes and text always encode")]
    pub fn bind_bytes(mut self, values: Vec<Vec<u8>>) -> Self {
        match &mut self {
            Query::Postgres(_, _, arguments) => arguments.add(values),
            Query::Sqlite(_, _, arguments) => {
                let texts: Vec<String> = values.iter().map(hex::encode).collect();
                arguments.add(serde_json::to_string(&texts).expect("text always serializes"))
            }
        }
        .expect("bytes always encode");
        self
    }

    /// Runs it; how many rows it touched.
    ///
    /// # Errors
    /// When the database refuses or is away.
    pub async fn execute(self) -> sqlx::Result<u64> {
        Ok(match self {
            Query::Postgres(tx, sql, arguments) => {
                sqlx::query_with(sql, arguments).execute(tx).await?.rows_affected()
            }
            Query::Sqlite(tx, sql, arguments) => {
                sqlx::query_with(sql, arguments).execute(tx).await?.rows_affected()
            }
        })
    }

    /// Runs it; all its rows.
    ///
    /// # Errors
    /// When the database refuses or is away.
    pub async fn all<T: Record>(self) -> sqlx::Result<Vec<T>> {
        match self {
            Query::Postgres(tx, sql, arguments) => {
                sqlx::query_as_with(sql, arguments).fetch_all(tx).await
            }
            Query::Sqlite(tx, sql, arguments) => {
                sqlx::query_as_with(sql, arguments).fetch_all(tx).await
            }
        }
    }

    /// Runs it; its only row.
    ///
    /// # Errors
    /// When there is none, or the database refuses or is away.
    pub async fn one<T: Record>(self) -> sqlx::Result<T> {
        match self {
            Query::Postgres(tx, sql, arguments) => {
                sqlx::query_as_with(sql, arguments).fetch_one(tx).await
            }
            Query::Sqlite(tx, sql, arguments) => {
                sqlx::query_as_with(sql, arguments).fetch_one(tx).await
            }
        }
    }

    /// Runs it; its row, if there is one.
    ///
    /// # Errors
    /// When the database refuses or is away.
    pub async fn maybe<T: Record>(self) -> sqlx::Result<Option<T>> {
        match self {
            Query::Postgres(tx, sql, arguments) => {
                sqlx::query_as_with(sql, arguments).fetch_optional(tx).await
            }
            Query::Sqlite(tx, sql, arguments) => {
                sqlx::query_as_with(sql, arguments).fetch_optional(tx).await
            }
        }
    }
}

/// A statement over a set of rows, given as one JSON array in `$1`: `set!(tx, "insert into t (id, n) select
/// id, n from", [id uuid, n bigint], "where true on conflict …")`. The rows are there under the alias `r`.
///
/// Differs because Postgres reads the array by `jsonb_to_recordset`, SQLite by `json_each`.
#[macro_export]
macro_rules! set {
    ($tx:expr, $head:literal, [$($column:ident $kind:ident),+ $(,)?], $tail:literal) => {{
        let postgres = concat!(
            $head, " jsonb_to_recordset($1::jsonb) as r(", $crate::set!(@pg $($column $kind),+), ") ", $tail
        );
        let sqlite = concat!(
            $head, " (select ", $crate::set!(@lite $($column),+), " from json_each($1)) as r ", $tail
        );
        let sql = $tx.pick(postgres, sqlite);
        $tx.query(sql)
    }};
    (@pg $first:ident $kind:ident $(, $column:ident $rest:ident)*) => {
        concat!(stringify!($first), " ", stringify!($kind) $(, ", ", stringify!($column), " ", stringify!($rest))*)
    };
    (@lite $first:ident $(, $column:ident)*) => {
        concat!("value->>'", stringify!($first), "' as ", stringify!($first)
            $(, ", value->>'", stringify!($column), "' as ", stringify!($column))*)
    };
}
