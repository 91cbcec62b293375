//! Floor D on PostgreSQL: the captured rows by hand-written bulk statements over binary arrays, whose values are all
//! made beforehand: `insert … select from unnest(…)`, with `on conflict` where a row may be known.
//!
//! `copy` is no faster here: it takes two more turns for each table, and sqlx sends its pieces apart, so that each of
//! them waits some 40 ms for a delayed acknowledgement.

use super::capture::{How, TABLES, Table, rows_of};
use crate::stage::Database;
use anyhow::{Context as _, ensure};
use futures_util::TryStreamExt as _;
use sqlx::{
    Arguments as _, AssertSqlSafe, Connection as _, Encode, Executor as _, PgConnection, Postgres,
    Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo, types::Oid},
};
use std::time::Instant;

/// What binary `copy` begins with: signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// All batches, ready to be written.
#[derive(Debug)]
pub(crate) struct Rows {
    batches: Vec<Vec<Statement>>,
    results: Vec<Vec<Statement>>,
}

/// One statement with its values.
#[derive(Debug)]
struct Statement(String, Vec<Array>);

/// An array in binary form.
#[derive(Clone, Debug)]
struct Array {
    kind: Oid,
    bytes: Vec<u8>,
}

impl Type<Postgres> for Array {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("anyarray")
    }
}

impl Encode<'_, Postgres> for Array {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(self.kind))
    }
}

/// A column with the types of its values and of their arrays.
#[derive(Clone, Debug, sqlx::FromRow)]
struct Column {
    name: String,
    kind: Oid,
    array: Oid,
    array_name: String,
}

/// A row's fields, each as `copy` gives it: its length and its bytes.
type Fields = Vec<Vec<u8>>;

impl Rows {
    /// Reads what [`super::capture::capture`] sorted.
    ///
    /// # Errors
    /// When the server's answer is not what its manual says.
    pub(crate) async fn read(finished: &Database, batches: usize) -> anyhow::Result<Self> {
        let mut connection = finished.connect().await?;
        let mut rows = Self { batches: Vec::new(), results: Vec::new() };
        rows.batches.resize_with(batches, Vec::new);
        rows.results.resize_with(batches, Vec::new);
        for table in &TABLES {
            let columns = columns(&mut connection, table.name).await?;
            let mut of_batches: Vec<Vec<Fields>> = Vec::new();
            of_batches.resize_with(batches, Vec::new);
            let sql = format!(
                "copy (select * from {} order by n) to stdout (format binary)",
                rows_of(table)
            );
            let bytes: Vec<u8> = connection
                .copy_out_raw(&sql)
                .await?
                .try_fold(Vec::new(), async |mut all, chunk| {
                    all.extend_from_slice(&chunk);
                    Ok(all)
                })
                .await?;
            for mut fields in parse(&bytes)? {
                ensure!(fields.len() == columns.len() + 1, "{} has other columns", table.name);
                let number = fields.remove(0);
                let number = number.get(4..).context("a batch has a number")?.try_into()?;
                let place = usize::try_from(i64::from_be_bytes(number))?;
                of_batches.get_mut(place).context("the batch is known")?.push(fields);
            }
            for (place, fields) in of_batches.into_iter().enumerate().filter(|(_, f)| !f.is_empty())
            {
                rows.add(table, place, &columns, &fields)?;
            }
        }
        connection.close().await?;
        Ok(rows)
    }

    fn add(
        &mut self,
        table: &Table,
        place: usize,
        columns: &[Column],
        fields: &[Fields],
    ) -> anyhow::Result<()> {
        let statement = insert(table, columns, fields)?;
        let of_batch = if table.how == How::Result { &mut self.results } else { &mut self.batches };
        of_batch.get_mut(place).context("the batch is known")?.push(statement);
        if table.name == "messages" {
            let ids = array(columns.first().context("an id")?, 0, fields)?;
            let sql = "update messages set status = 'delivered', attempts = 1, due_at = now(),
                finished_at = now(), lease = null, leased_until = null where id = any($1)";
            let results = self.results.get_mut(place).context("the batch is known")?;
            results.push(Statement(sql.to_owned(), vec![ids]));
        }
        Ok(())
    }

    /// Writes all into a fresh copy of the opening state, a transaction for each batch, and one for its results
    /// where they are wanted. In seconds.
    pub(crate) async fn write(&self, into: &Database, with_results: bool) -> anyhow::Result<f64> {
        let mut connection = into.connect().await?;
        let begun = Instant::now();
        for (batch, results) in self.batches.iter().zip(&self.results) {
            transact(&mut connection, batch).await?;
            if with_results && !results.is_empty() {
                transact(&mut connection, results).await?;
            }
        }
        let took = begun.elapsed().as_secs_f64();
        connection.close().await?;
        Ok(took)
    }
}

async fn transact(connection: &mut PgConnection, statements: &[Statement]) -> anyhow::Result<()> {
    let mut tx = connection.begin().await?;
    for Statement(sql, arrays) in statements {
        let mut arguments = PgArguments::default();
        for array in arrays {
            arguments.add(array.clone()).map_err(anyhow::Error::from_boxed)?;
        }
        tx.execute(sqlx::query_with(AssertSqlSafe(sql.as_str()), arguments)).await?;
    }
    Ok(tx.commit().await?)
}

async fn columns(connection: &mut PgConnection, table: &str) -> anyhow::Result<Vec<Column>> {
    let sql = "select a.attname::text as name, t.oid as kind, t.typarray as array,
            t.typarray::regtype::text as array_name
        from pg_attribute as a join pg_type as t on t.oid = a.atttypid
        where a.attrelid = $1::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum";
    Ok(sqlx::query_as(sql).bind(table.to_owned()).fetch_all(connection).await?)
}

/// The rows of a binary `copy` (PostgreSQL's manual, `COPY`, "Binary Format").
fn parse(bytes: &[u8]) -> anyhow::Result<Vec<Fields>> {
    let mut rest = bytes.strip_prefix(HEADER).context("it begins with another header")?;
    let mut rows = Vec::new();
    loop {
        let (count, after) = rest.split_first_chunk::<2>().context("the end is missing")?;
        rest = after;
        let Ok(count) = usize::try_from(i16::from_be_bytes(*count)) else { return Ok(rows) };
        let mut fields = Vec::with_capacity(count);
        for _ in 0..count {
            let (length, _) = rest.split_first_chunk::<4>().context("a field is missing")?;
            let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
            let (field, after) = rest.split_at_checked(4 + length).context("a field is cut")?;
            fields.push(field.to_vec());
            rest = after;
        }
        rows.push(fields);
    }
}

fn insert(table: &Table, columns: &[Column], rows: &[Fields]) -> anyhow::Result<Statement> {
    let list = |shown: &dyn Fn(usize, &Column) -> String| {
        let shown = columns.iter().enumerate().map(|(place, column)| shown(place, column));
        shown.collect::<Vec<_>>().join(", ")
    };
    let names = list(&|_, column| column.name.clone());
    let values = list(&|place, column| format!("${}::{}", place + 1, column.array_name));
    let changes = list(&|_, column| format!("{0} = excluded.{0}", column.name));
    let known = match table.how {
        How::Insert | How::Result => String::new(),
        How::Upsert(key) => format!(" on conflict ({key}) do update set {changes}"),
    };
    let table = table.name;
    let sql = format!("insert into {table} ({names}) select * from unnest({values}){known}");
    let arrays = columns.iter().enumerate().map(|(place, column)| array(column, place, rows));
    Ok(Statement(sql, arrays.collect::<anyhow::Result<_>>()?))
}

/// One column of some rows as an array of one dimension that counts from 1: the server's own binary form, in which
/// an element is what `copy` makes of a field.
fn array(column: &Column, place: usize, rows: &[Fields]) -> anyhow::Result<Array> {
    let fields: Vec<&Vec<u8>> = rows.iter().filter_map(|fields| fields.get(place)).collect();
    let has_null = fields.iter().any(|field| field.starts_with(&[0xff; 4]));
    let mut bytes = Vec::new();
    bytes.extend(1_i32.to_be_bytes());
    bytes.extend(i32::from(has_null).to_be_bytes());
    bytes.extend(column.kind.0.to_be_bytes());
    bytes.extend(i32::try_from(fields.len())?.to_be_bytes());
    bytes.extend(1_i32.to_be_bytes());
    for field in fields {
        bytes.extend_from_slice(field);
    }
    Ok(Array { kind: column.array, bytes })
}
