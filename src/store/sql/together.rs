//! Several statements, run together.

use super::{Column, Record, Tx, set_of, set_of_ids};
use crate::store::{Error, Result};
use serde::Serialize;
use sqlx::{Arguments, AssertSqlSafe, postgres::PgArguments, sqlite::SqliteArguments};
use uuid::Uuid;

/// Statements that do not look at what the others of them write, to be run together: in one turn on Postgres, one after
/// the other on SQLite, where a turn costs nothing.
#[must_use]
#[derive(Debug)]
pub enum Together {
    /// One statement of many parts, and the values of all of them.
    Postgres {
        /// The parts, each with its name.
        sql: String,
        /// All their values.
        arguments: PgArguments,
        /// Where the values of the last part begin, which is its name.
        last: Option<usize>,
        /// The parts that have to write so many rows.
        exact: Vec<(usize, u64)>,
    },
    /// As many statements, with the values of each.
    Sqlite(Vec<Part>),
}

/// One of several statements, on SQLite.
#[derive(Debug)]
pub struct Part {
    sql: &'static str,
    arguments: SqliteArguments,
    /// How many rows it has to write.
    exactly: Option<u64>,
}

impl Together {
    /// The variant of a statement that this database understands.
    pub fn pick(&self, postgres: &'static str, sqlite: &'static str) -> &'static str {
        match self {
            Self::Postgres { .. } => postgres,
            Self::Sqlite(_) => sqlite,
        }
    }

    /// Adds a statement, which is then to be given its values. On Postgres it can read the rows that the first one returns
    /// as those of a table `w0`.
    pub fn query(&mut self, sql: &'static str) -> &mut Self {
        match self {
            Self::Postgres { sql: all, arguments, last, .. } => {
                all.push_str(if all.is_empty() { "with " } else { ", " });
                let place = arguments.len();
                *last = Some(place);
                for piece in ["w", &place.to_string(), " as (", &renumbered(sql, place), ")"] {
                    all.push_str(piece);
                }
            }
            Self::Sqlite(all) => {
                let arguments = SqliteArguments::default();
                all.push(Part { sql, arguments, exactly: None });
            }
        }
        self
    }

    /// Adds a statement that returns a row for each one that it writes, and has to write so many: fewer say that
    /// another transaction was faster with one of them. Such statements are run before the others, in their order.
    pub fn query_exactly(&mut self, rows: usize, sql: &'static str) -> &mut Self {
        let rows = rows as u64;
        if let Self::Postgres { arguments, exact, .. } = self {
            exact.push((arguments.len(), rows));
        }
        self.query(sql);
        if let Self::Sqlite(all) = self
            && let Some(last) = all.last_mut()
        {
            last.exactly = Some(rows);
        }
        self
    }

    /// Gives the next placeholder of the last statement its value.
    #[expect(clippy::expect_used, reason = "a Column always encodes: none of ours can fail")]
    pub fn bind(&mut self, value: impl Column) -> &mut Self {
        match self {
            Self::Postgres { arguments, .. } => arguments.add(value),
            Self::Sqlite(all) => match all.last_mut() {
                Some(last) => last.arguments.add(value),
                None => Ok(()),
            },
        }
        .expect("a Column always encodes");
        self
    }

    /// Gives it a set of rows, as one JSON array: what [`set!`](crate::set) reads.
    pub fn bind_rows<T: Serialize>(&mut self, rows: &[T]) -> &mut Self {
        self.bind(set_of(rows))
    }

    /// Gives it a set of ids, as rows with the one column `id`.
    pub fn bind_ids(&mut self, ids: impl IntoIterator<Item = Uuid>) -> &mut Self {
        self.bind(set_of_ids(ids))
    }

    /// Runs them all.
    ///
    /// # Errors
    /// [`Error::Grew`](Error::Grew) where one wrote fewer rows than it has to; else when the database refuses
    /// or is away.
    pub async fn run(self, tx: &mut Tx) -> Result<()> {
        match (self, tx) {
            (Self::Postgres { sql, arguments, exact, .. }, Tx::Postgres(lease))
                if !sql.is_empty() =>
            {
                // What is counted is run first, in the order of the counts: each waits for those who were faster in
                // the same order as in every other transaction.
                let counts: Vec<String> =
                    exact.iter().map(|(w, _)| format!("(select count(*) from w{w})")).collect();
                let sql = format!("{sql} select array[{}]::bigint[]", counts.join(", "));
                let query = sqlx::query_scalar_with(AssertSqlSafe(sql), arguments);
                let written: Vec<i64> = lease.ask(|connection| query.fetch_one(connection)).await?;
                let wanted = exact.iter().map(|(_, rows)| *rows);
                if !written.iter().map(|rows| rows.unsigned_abs()).eq(wanted) {
                    return Err(Error::Grew);
                }
            }
            (Self::Sqlite(all), Tx::Sqlite(tx)) => {
                for Part { sql, arguments, exactly } in all {
                    let query = sqlx::query_with(sql, arguments);
                    let written = query.execute(&mut **tx).await?.rows_affected();
                    if exactly.is_some_and(|rows| rows != written) {
                        return Err(Error::Grew);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Runs them all, of which none has to write a number of rows; the rows of the last one.
    ///
    /// # Errors
    /// When the database refuses or is away.
    pub async fn rows<T: Record>(self, tx: &mut Tx) -> Result<Vec<T>> {
        match (self, tx) {
            (Self::Postgres { sql, arguments, last: Some(last), .. }, Tx::Postgres(lease)) => {
                let sql = format!("{sql} select * from w{last}");
                let query = sqlx::query_as_with(AssertSqlSafe(sql), arguments);
                Ok(lease.ask(|connection| query.fetch_all(connection)).await?)
            }
            (Self::Sqlite(all), Tx::Sqlite(tx)) => {
                let mut rows = Vec::new();
                let last = all.len();
                for (place, Part { sql, arguments, .. }) in (1..).zip(all) {
                    if place == last {
                        rows = sqlx::query_as_with(sql, arguments).fetch_all(&mut **tx).await?;
                    } else {
                        sqlx::query_with(sql, arguments).execute(&mut **tx).await?;
                    }
                }
                Ok(rows)
            }
            _ => Ok(Vec::new()),
        }
    }
}

/// A statement whose placeholders begin after so many others. None of ours has a `$` for anything else.
fn renumbered(sql: &str, offset: usize) -> String {
    let mut parts = sql.split('$');
    let mut all = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        let (number, rest) = part.split_at(digits);
        let number = number.parse::<usize>().map_or(0, |number| number + offset);
        for piece in ["$", &number.to_string(), rest] {
            all.push_str(piece);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_go_on_from_the_statement_before() {
        assert_eq!(
            renumbered("select $1, $12 from t where a = $1", 3),
            "select $4, $15 from t where a = $4"
        );
        assert_eq!(renumbered("select 1", 3), "select 1");
    }
}
