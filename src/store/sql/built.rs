//! Running statements whose shape a caller chose, for no longer than is set.

use super::{Record, Tx};
use crate::store::{
    Error, Result,
    statement::{Dialect, Statement, Value},
};
use sqlx::{Arguments, AssertSqlSafe, postgres::PgArguments, sqlite::SqliteArguments};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// After so many of SQLite's steps it is asked whether it may go on: some ten microseconds.
const STEPS: i32 = 1_000;

/// The values as one database takes them.
macro_rules! bound {
    ($arguments:ident, $values:expr) => {{
        let mut arguments = $arguments::default();
        for value in $values {
            match value {
                Value::Text(text) => arguments.add(text),
                Value::Number(number) => arguments.add(number),
                Value::Real(number) => arguments.add(number),
                Value::Time(time) => arguments.add(time),
                Value::Customer(id) => arguments.add(id),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        arguments
    }};
}

impl Tx {
    /// Which database this is.
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Postgres(_) => Dialect::Postgres,
            Self::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// Runs a statement that was put together; all its rows. Afterwards each statement of this transaction has no more
    /// time than this one had.
    ///
    /// # Errors
    /// [`Error::TooBroad`] when it took longer than it may; nothing can then be done with the transaction any more.
    /// Else when the database refuses or is away.
    pub async fn built<T: Record>(
        &mut self,
        statement: Statement,
        within: Option<Duration>,
    ) -> Result<Vec<T>> {
        let (sql, values) = statement.into_parts();
        // Of nothing but our own pieces: see `Statement`.
        let sql = AssertSqlSafe(sql);
        match self {
            Self::Postgres(lease) => {
                if let Some(limit) = within {
                    let set = sqlx::query("select set_config('statement_timeout', $1, true)")
                        .bind(limit.as_millis().to_string());
                    lease.ask(|connection| set.execute(connection)).await?;
                }
                let arguments = bound!(PgArguments, values);
                // A kept plan would not know the values, and which index is right depends on them.
                let query = sqlx::query_as_with(sql, arguments).persistent(false);
                lease.ask(|connection| query.fetch_all(connection)).await.map_err(too_broad)
            }
            Self::Sqlite(tx) => {
                let arguments = bound!(SqliteArguments, values);
                let query = sqlx::query_as_with(sql, arguments).persistent(false);
                let Some(limit) = within else { return Ok(query.fetch_all(&mut **tx).await?) };
                let watch = Watch::default();
                let (began, watched) = (Instant::now(), watch.0.clone());
                tx.lock_handle().await?.set_progress_handler(STEPS, move || {
                    !watched.load(Ordering::Relaxed) || began.elapsed() < limit
                });
                query.fetch_all(&mut **tx).await.map_err(too_broad)
            }
        }
    }
}

/// Whether a statement is watched: until this is dropped, also where its caller went away.
struct Watch(Arc<AtomicBool>);

impl Default for Watch {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Postgres: query_canceled. SQLite: interrupted.
fn too_broad(error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    match code.as_deref() {
        Some("57014" | "9") => Error::TooBroad,
        _ => Error::Sql(error),
    }
}
