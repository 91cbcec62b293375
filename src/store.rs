//! The store: what is kept, in Postgres or SQLite, behind functions that say what they do to which table.
//!
//! Never knows where an event came from, nor what the rules are.

use crate::model::time::Timestamp;
use sqlx::migrate::MigrateError;

pub mod addresses;
pub mod backlog;
pub mod browse;
pub mod codec;
pub mod customers;
pub mod days;
pub mod endpoints;
pub mod idempotency;
pub mod inbox;
pub mod keys;
pub mod messages;
pub mod migrations;
pub mod payments;
pub mod progress;
pub mod queue;
pub mod reach;
pub mod recoveries;
pub mod references;
pub mod refusals;
pub mod retention;
pub mod settings;
pub mod sql;
pub mod statement;
pub mod subscriptions;
pub mod totals;

pub use sql::{Db, Limits, Together, Tx};

/// Something went wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The statement, the connection or the row.
    #[error("the database refused or was away")]
    Sql(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the schema could not be migrated")]
    Migrate(#[from] MigrateError),
    /// The database's URL cannot be used.
    #[error("database.url cannot be used: {0}")]
    Url(String),
    /// A row that we wrote cannot be read back.
    #[error("{table}.{column} of row {row} cannot be read: {why}")]
    Row {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key.
        row: String,
        /// What is wrong.
        why: String,
    },
    /// What a batch touches grew while it waited for its locks: it begins again with the larger set.
    #[error("the events' closure grew while its locks were awaited")]
    Grew,
    /// A statement whose shape a caller chose took longer than it may.
    #[error("the statement took longer than it may")]
    TooBroad,
}

/// What this module's functions return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the same statement may succeed later: nothing is wrong with the data.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Grew => true,
            Self::Migrate(
                MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _),
            )
            | Self::Sql(error) => is_transient(error),
            // Of the last: the schema is newer than this program, or not what it was.
            Self::Url(_) | Self::Row { .. } | Self::Migrate(_) | Self::TooBroad => false,
        }
    }

    /// Whether the data may be what is wrong: the same statement with other data may succeed now. All else is a
    /// failure of our own side, and no event's or result's fault.
    pub fn may_blame_data(&self) -> bool {
        match self {
            Self::Sql(sqlx::Error::Database(database)) if !self.is_transient() => {
                database.code().is_none_or(|code| may_blame_data(&code))
            }
            other => !other.is_transient(),
        }
    }

    /// Whether a statement took longer than the database lets it (Postgres: query canceled).
    pub fn is_timeout(&self) -> bool {
        let Self::Sql(sqlx::Error::Database(database)) = self else { return false };
        database.code().as_deref() == Some("57014")
    }

    /// Whether somebody else held a row for longer than a batch waits for one (Postgres: lock not available).
    pub fn is_held(&self) -> bool {
        let Self::Sql(sqlx::Error::Database(database)) = self else { return false };
        database.code().as_deref() == Some("55P03")
    }

    /// Whether it lost to another transaction and the whole transaction is to be tried again at once.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Grew => true,
            Self::Sql(sqlx::Error::Database(database)) => {
                matches!(database.code().as_deref(), Some("40001" | "40P01"))
            }
            _ => false,
        }
    }
}

fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(database) => {
            database.code().is_none_or(|code| is_transient_code(&code))
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        _ => false,
    }
}

/// Postgres: five characters, of which the first two are the class (its manual, appendix A): connection,
/// transaction state and rollback, resources, prerequisite state, operator, system. SQLite: a number, whose low
/// byte is the primary code (its "Result Codes" page): busy, locked, read-only, I/O, full, cannot open, protocol.
fn is_transient_code(code: &str) -> bool {
    match code.len() {
        5 => ["08", "25", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class)),
        _ => code
            .parse::<i32>()
            .is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 8 | 10 | 13 | 14 | 15)),
    }
}

/// Statements are static texts: neither they, nor rights, nor a missing table, nor a damaged file depend on the data.
/// Postgres: feature not supported (a plan that a migration made stale), authorization, database name, access rule.
/// SQLite: error, permission, corrupt, no such thing, schema, authorization, not a database.
fn may_blame_data(code: &str) -> bool {
    match code.len() {
        5 => !["0A", "28", "3D", "42"].iter().any(|class| code.starts_with(class)),
        _ => !code
            .parse::<i32>()
            .is_ok_and(|code| matches!(code & 0xff, 1 | 3 | 11 | 12 | 17 | 23 | 26)),
    }
}

/// The database's time where processes share one, else the caller's: what leases and due times compare with.
///
/// # Errors
/// When the database is away.
pub async fn now(tx: &mut Tx, clock: Timestamp) -> Result<Timestamp> {
    match tx {
        Tx::Postgres(_) => Ok(tx.query("select clock_timestamp()").one::<(Timestamp,)>().await?.0),
        Tx::Sqlite(_) => Ok(clock),
    }
}

/// Whether the database takes writes, as far as it tells a reader: a standby of Postgres answers and takes none.
///
/// # Errors
/// When the database is away.
pub async fn takes_writes(tx: &mut Tx) -> Result<bool> {
    // Differs because SQLite has no standby.
    let sql = tx.pick(
        "select not pg_is_in_recovery() and current_setting('default_transaction_read_only') = 'off'",
        "select true",
    );
    Ok(tx.query(sql).one::<(bool,)>().await?.0)
}
