//! One way to speak SQL to either database. The only file that names both.
//!
//! A statement is written once, with `$1` placeholders, and runs on Postgres and on SQLite. The few that
//! cannot be are given twice, through [`Tx::pick`]; those that take a set of rows through [`set!`](crate::set).

use serde::Serialize;
use sqlx::{
    Arguments, Decode, Encode, FromRow, PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool,
    Transaction, Type,
    pool::PoolConnection,
    postgres::{PgArguments, PgRow},
    sqlite::{SqliteArguments, SqliteRow},
};
use std::{
    future::Future,
    io,
    ops::{Deref, DerefMut},
    time::Duration,
};
use tokio::time::timeout;
use uuid::Uuid;

mod built;
mod lease;
mod open;
mod set;
mod together;

pub use lease::Lease;
pub use together::{Part, Together};

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
    Postgres {
        /// The connections that everybody shares.
        pool: PgPool,
        /// A few for batches of events alone: whose statements are many, large, and always the same, and are prepared
        /// and planned on each connection once.
        batches: PgPool,
        /// How long an answer may take.
        within: Duration,
    },
    /// Embedded: one connection that writes, a few that read.
    Sqlite {
        /// The one writer.
        writer: SqlitePool,
        /// The readers.
        readers: SqlitePool,
    },
}

/// A transaction, rolled back when dropped without [`Tx::commit`]; or a connection for a statement that needs none
/// ([`Db::single`]).
#[derive(Debug)]
pub enum Tx {
    /// On Postgres.
    Postgres(Lease),
    /// On SQLite.
    Sqlite(Held),
}

/// A connection to SQLite.
#[derive(Debug)]
pub enum Held {
    /// In a transaction.
    In(Transaction<'static, Sqlite>),
    /// Outside of any.
    Alone(PoolConnection<Sqlite>),
}

impl Deref for Held {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        match self {
            Self::In(tx) => tx,
            Self::Alone(connection) => connection,
        }
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        match self {
            Self::In(tx) => tx,
            Self::Alone(connection) => connection,
        }
    }
}

/// A transaction that is over.
#[derive(Debug)]
pub struct Committed(#[expect(dead_code, reason = "it is there to be dropped")] Option<Lease>);

/// How a database is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// To Postgres, at most.
    pub connections: u32,
    /// How long a statement may wait for a lock or run before the database gives it up.
    pub statement_timeout: Duration,
}

/// How long a statement may wait for a lock or run, unless settings say otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a statement may take on behalf of an event that no statement within the limit could apply: the payments
/// of an address with very many of them move in one transaction.
const PATIENT: Duration = Duration::from_mins(10);

/// What a batch asks is looked up by keys, a few hundred at most, and always in the same words. Postgres guesses 100
/// rows for any set it is given, and for as many rather reads a table of some thousand rows whole than uses its index;
/// a table that grew since it was last analyzed it takes for a small one. So it is left no other way than by index,
/// and plans a statement once for each connection, not anew for each use.
///
/// It waits ten seconds for a row that somebody else holds: many times as long as any of us holds one, and soon enough
/// to be told by readiness.
const BEGIN_BY_KEY: &str = "begin; set local enable_seqscan = off; set local enable_hashjoin = off; \
    set local enable_mergejoin = off; set local plan_cache_mode = force_generic_plan; \
    set local lock_timeout = '10s'";

/// How long a connection may take to be had, where a statement may take as long.
const CONNECTS_WITHIN: Duration = Duration::from_secs(10);

/// How long a transaction may take to begin, where an answer may take so long: a connection first, then its answer.
fn begins_within(answers: Duration) -> Duration {
    CONNECTS_WITHIN.min(answers) + answers
}

/// How long a connection that does nothing else may take to answer before it counts as broken.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// The answer, or an error where none comes in time: a server whose machine is gone sends no reset, and nobody else
/// would ever find out. What is left of the connection ends with its [`Lease`].
fn answered<T>(
    within: Duration,
    statement: impl Future<Output = sqlx::Result<T>>,
) -> impl Future<Output = sqlx::Result<T>> {
    // Boxed, so that a batch's future does not hold each of its statements.
    let answer = timeout(within, Box::pin(statement));
    async move { answer.await.unwrap_or_else(|_| Err(silence())) }
}

fn silence() -> sqlx::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the database does not answer").into()
}

impl Db {
    /// Begins a transaction that will write. SQLite takes its one write lock here rather than at the first
    /// write, so that a reader never has to be upgraded and refused.
    ///
    /// # Errors
    /// When no connection is to be had.
    pub async fn begin(&self) -> sqlx::Result<Tx> {
        Ok(match self {
            Self::Postgres { pool, within, .. } => {
                Tx::Postgres(Lease::begin(pool, *within, "begin").await?)
            }
            Self::Sqlite { writer, .. } => {
                Tx::Sqlite(Held::In(writer.begin_with("begin immediate").await?))
            }
        })
    }

    /// Begins a transaction whose statements all look up by keys, and for those alone Postgres plans. Otherwise as
    /// [`begin`](Self::begin).
    ///
    /// # Errors
    /// When no connection is to be had.
    pub async fn begin_by_key(&self) -> sqlx::Result<Tx> {
        let Self::Postgres { pool, within, .. } = self else { return self.begin().await };
        Ok(Tx::Postgres(Lease::begin(pool, *within, BEGIN_BY_KEY).await?))
    }

    /// The same for a batch of events, on one of the connections that are kept for those.
    ///
    /// # Errors
    /// When no connection is to be had.
    pub async fn begin_batch(&self) -> sqlx::Result<Tx> {
        let Self::Postgres { batches, within, .. } = self else { return self.begin().await };
        Ok(Tx::Postgres(Lease::begin(batches, *within, BEGIN_BY_KEY).await?))
    }

    /// Begins a transaction that only reads, on one snapshot.
    ///
    /// # Errors
    /// When no connection is to be had.
    pub async fn snapshot(&self) -> sqlx::Result<Tx> {
        Ok(match self {
            Self::Postgres { pool, within, .. } => {
                let begin = "begin isolation level repeatable read read only";
                Tx::Postgres(Lease::begin(pool, *within, begin).await?)
            }
            Self::Sqlite { readers, .. } => Tx::Sqlite(Held::In(readers.begin().await?)),
        })
    }

    /// For a single statement that reads: it sees one state by itself, and takes one turn without a transaction
    /// around it. Of several, each would see another state. What is set for a transaction, such as a statement's own
    /// limit, has no effect here.
    ///
    /// # Errors
    /// When no connection is to be had.
    pub async fn single(&self) -> sqlx::Result<Tx> {
        Ok(match self {
            Self::Postgres { pool, within, .. } => Tx::Postgres(Lease::alone(pool, *within).await?),
            Self::Sqlite { readers, .. } => Tx::Sqlite(Held::Alone(readers.acquire().await?)),
        })
    }

    /// Closes all connections, once those in use are given back.
    pub async fn close(&self) {
        match self {
            Self::Postgres { pool, batches, .. } => {
                let closed = async { tokio::join!(pool.close(), batches.close()) };
                // A connection that does not answer would be waited for without end.
                if timeout(CONNECTS_WITHIN, closed).await.is_err() {
                    tracing::debug!("not all connections to the database could be closed in order");
                }
            }
            Self::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }

    /// Whether processes on other machines may share it.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }
}

impl Tx {
    /// A statement, to be given its values and run.
    pub fn query(&mut self, sql: &'static str) -> Query<'_> {
        match self {
            Self::Postgres(lease) => Query::Postgres(lease, sql, PgArguments::default()),
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

    /// Lets each statement of this transaction take [`PATIENT`] rather than what the settings allow.
    ///
    /// # Errors
    /// When the database refuses or is away.
    pub async fn be_patient(&mut self) -> sqlx::Result<()> {
        if let Self::Postgres(lease) = self {
            lease.wait(PATIENT * 3 / 2);
            self.query("set local statement_timeout = '10min'").execute().await?;
        }
        Ok(())
    }

    /// Lets a snapshot stay open as long as its reader takes, who may be a pipe that is read slowly.
    ///
    /// # Errors
    /// When the database refuses or is away.
    pub async fn stay(&mut self) -> sqlx::Result<()> {
        if matches!(self, Self::Postgres(_)) {
            self.query("set local idle_in_transaction_session_timeout = 0").execute().await?;
            self.query("set local statement_timeout = 0").execute().await?;
        }
        Ok(())
    }

    /// Statements to be run together, none yet.
    pub fn together(&self) -> Together {
        match self {
            Self::Postgres(_) => Together::Postgres {
                sql: String::new(),
                arguments: PgArguments::default(),
                last: None,
                exact: Vec::new(),
            },
            Self::Sqlite(_) => Together::Sqlite(Vec::new()),
        }
    }

    /// Makes everything in it last.
    ///
    /// # Errors
    /// When the database refuses, or its answer is lost: then it may have happened or not.
    pub async fn commit(self) -> sqlx::Result<()> {
        self.commit_and_keep().await.map(drop)
    }

    /// The same, and the connection is given back when what this returns is dropped: there may be something more urgent
    /// to do.
    ///
    /// # Errors
    /// As for [`commit`](Self::commit).
    pub async fn commit_and_keep(self) -> sqlx::Result<Committed> {
        Ok(Committed(match self {
            Self::Postgres(lease) => Some(lease.commit().await?),
            Self::Sqlite(Held::In(tx)) => {
                tx.commit().await?;
                None
            }
            Self::Sqlite(Held::Alone(_)) => None,
        }))
    }

    /// Undoes everything in it and gives its locks back before this returns. A transaction that is dropped does so some
    /// time later. Where that fails the connection is gone, and its locks with it.
    pub async fn roll_back(self) {
        let _ = match self {
            Self::Postgres(lease) => lease.roll_back().await.map(drop),
            Self::Sqlite(Held::In(tx)) => tx.rollback().await,
            Self::Sqlite(Held::Alone(_)) => Ok(()),
        };
    }
}

/// A statement with its values.
#[must_use]
#[derive(Debug)]
pub enum Query<'t> {
    /// For Postgres.
    Postgres(&'t mut Lease, &'static str, PgArguments),
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
    pub fn bind_rows<T: Serialize>(self, rows: &[T]) -> Self {
        self.bind(set_of(rows))
    }

    /// Gives the next placeholder a set of ids, as rows with the one column `id`.
    pub fn bind_ids(self, ids: impl IntoIterator<Item = Uuid>) -> Self {
        self.bind(set_of_ids(ids))
    }

    /// Runs it; how many rows it touched.
    ///
    /// # Errors
    /// When the database refuses or is away.
    pub async fn execute(self) -> sqlx::Result<u64> {
        Ok(match self {
            Query::Postgres(lease, sql, arguments) => {
                let query = sqlx::query_with(sql, arguments);
                lease.ask(|connection| query.execute(connection)).await?.rows_affected()
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
            Query::Postgres(lease, sql, arguments) => {
                let query = sqlx::query_as_with(sql, arguments);
                lease.ask(|connection| query.fetch_all(connection)).await
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
            Query::Postgres(lease, sql, arguments) => {
                let query = sqlx::query_as_with(sql, arguments);
                lease.ask(|connection| query.fetch_one(connection)).await
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
            Query::Postgres(lease, sql, arguments) => {
                let query = sqlx::query_as_with(sql, arguments);
                lease.ask(|connection| query.fetch_optional(connection)).await
            }
            Query::Sqlite(tx, sql, arguments) => {
                sqlx::query_as_with(sql, arguments).fetch_optional(tx).await
            }
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "rows are plain structs with text keys: they always serialize"
)]
fn set_of<T: Serialize>(rows: &[T]) -> String {
    serde_json::to_string(rows).expect("rows always serialize")
}

fn set_of_ids(ids: impl IntoIterator<Item = Uuid>) -> String {
    #[derive(Serialize)]
    struct Row {
        id: Uuid,
    }
    let rows: Vec<Row> = ids.into_iter().map(|id| Row { id }).collect();
    set_of(&rows)
}
