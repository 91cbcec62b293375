//! `intake_queue`: what the HTTP ingress took and no batch has committed yet.

use super::{Result, Tx, codec::Key};
use crate::{
    model::{
        inbound::{Headers, Raw},
        time::Timestamp,
    },
    set,
};
use serde::Serialize;
use sqlx::{FromRow, types::Json};
use uuid::Uuid;

/// An event on its way into the queue.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its key; the queue's order is the order of the keys.
    pub id: Uuid,
    /// When the ingress received it.
    pub received_at: Timestamp,
    /// The event.
    pub raw: &'a Raw,
}

#[derive(Serialize)]
struct NewRow<'a> {
    id: Uuid,
    source: &'a str,
    headers: &'a Headers,
    received_at: Timestamp,
    /// Where its bytes begin among those of all, counted from 1.
    at: usize,
    /// How many they are.
    size: usize,
}

#[derive(FromRow)]
struct Row {
    id: Key,
    source: String,
    headers: Json<Headers>,
    body: Vec<u8>,
    received_at: Timestamp,
}

/// Adds events to the end.
///
/// # Errors
/// When the database refuses or is away.
pub async fn push(tx: &mut Tx, entries: &[Entry<'_>]) -> Result<()> {
    // One byte of nobody's, since of a blob without any SQLite's `substr` is null, also where it is to be empty.
    let mut bytes = vec![0];
    bytes.reserve(entries.iter().map(|entry| entry.raw.body.len()).sum());
    let rows: Vec<NewRow<'_>> = entries
        .iter()
        .map(|entry| {
            let at = bytes.len().saturating_add(1);
            bytes.extend_from_slice(&entry.raw.body);
            NewRow {
                id: entry.id,
                source: &entry.raw.source,
                headers: &entry.raw.headers,
                received_at: entry.received_at,
                at,
                size: entry.raw.body.len(),
            }
        })
        .collect();
    set!(
        tx,
        "insert into intake_queue (id, source, headers, body, received_at)
         select r.id, r.source, r.headers, substr($2, r.at, r.size), r.received_at from",
        [
            id uuid, source text, headers jsonb, received_at timestamptz, at integer, size integer
        ],
        ""
    )
    .bind_rows(&rows)
    .bind(bytes)
    .execute()
    .await?;
    Ok(())
}

/// Takes the oldest events, at most `events` of at most `bytes` together (at least one), in order, and leases them: they stay in the queue until
/// [`remove`] in the transaction that commits them, and nobody else is given them before the lease's end.
///
/// A lease that runs out while its holder still works does no harm: the inbox knows the second copy.
///
/// # Errors
/// When the database refuses or is away.
pub async fn take(
    tx: &mut Tx,
    events: usize,
    bytes: usize,
    now: Timestamp,
    lease: chrono::TimeDelta,
) -> Result<Vec<Raw>> {
    // Differs because several processes may share a queue on Postgres; on SQLite one process reads it, one
    // batch at a time, and needs no lease, which would rewrite every row.
    let sql = tx.pick(
        "with free as (
             select id, octet_length(body) as size from intake_queue
             where leased_until is null or leased_until <= $3
             order by id limit $1 for update skip locked
         ), counted as (
             select id, row_number() over (order by id) as place,
                    sum(size) over (order by id) as total
             from free
         )
         update intake_queue as q set leased_until = $4
         from counted as c
         where q.id = c.id and (c.place = 1 or c.total <= $2)
         returning q.id, q.source, q.headers, q.body, q.received_at",
        "select q.id, q.source, q.headers, q.body, q.received_at
         from intake_queue as q
         join (
             select id, row_number() over (order by id) as place,
                    sum(size) over (order by id) as total
             from (select id, length(body) as size from intake_queue order by id limit $1)
         ) as c on c.id = q.id
         where c.place = 1 or c.total <= $2",
    );
    let limit = |limit: usize| i64::try_from(limit).unwrap_or(i64::MAX);
    let leases = matches!(tx, Tx::Postgres(_));
    let query = tx.query(sql).bind(limit(events)).bind(limit(bytes));
    let query = if leases { query.bind(now).bind(now.plus(lease)) } else { query };
    let mut rows: Vec<Row> = query.all().await?;
    rows.sort_by_key(|row| row.id);
    Ok(rows
        .into_iter()
        .map(|row| Raw {
            source: row.source.into(),
            headers: row.headers.0,
            body: row.body.into(),
            received_at: Some(row.received_at),
            queue_id: Some(row.id.0),
            dead: None,
        })
        .collect())
}

#[derive(Serialize)]
struct Removed {
    id: Uuid,
}

/// Removes events whose facts this transaction commits; how many were still there.
///
/// # Errors
/// When the database refuses or is away.
pub async fn remove(tx: &mut Tx, ids: &[Uuid]) -> Result<u64> {
    if ids.is_empty() {
        return Ok(0);
    }
    let rows: Vec<Removed> = ids.iter().map(|id| Removed { id: *id }).collect();
    let query = set!(
        tx,
        "delete from intake_queue where id in (select r.id from",
        [id uuid],
        ")"
    );
    Ok(query.bind_rows(&rows).execute().await?)
}

/// How many events wait.
///
/// # Errors
/// When the database is away.
pub async fn depth(tx: &mut Tx) -> Result<i64> {
    Ok(tx.query("select count(*) from intake_queue").one::<(i64,)>().await?.0)
}
