//! Floor D of deliveries alone: what waits in PostgreSQL is leased, read and settled, each try with its row, by two
//! hand-written statements for 500 messages, on two connections. Nothing is sent.

use crate::stage::Database;
use anyhow::ensure;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use std::time::Instant;
use uuid::Uuid;

/// As many as the program records at once.
const BATCH: i64 = 500;

const LEASE: &str = "with due as (
        select id, event_id, endpoint_id, attempts, gen_random_uuid() as lease from messages
        where endpoint_id = $1 and status = 'pending' and fresh and due_at <= now()
        order by due_at limit $2 for update skip locked
     ), leased as (
        update messages set lease = due.lease, leased_until = now() + interval '1 minute',
            due_at = now() + interval '1 minute'
        from due where messages.id = due.id
     ), begun as (
        insert into attempts (id, message_id, endpoint_id, number, erased, started_at)
        select lease, id, endpoint_id, attempts + 1, false, now() from due
     )
     select due.id, due.lease, e.body from due join outgoing_events as e on e.id = due.event_id";

const SETTLE: &str = "with tried as (select unnest($1::uuid[]) as id, unnest($2::uuid[]) as lease), settled as (
        update attempts set finished_at = now(), outcome = 'delivered', status_code = 200, response = '',
            request_headers = $3, duration_ms = 1
        from tried where attempts.id = tried.lease
     )
     update messages set status = 'delivered', attempts = attempts + 1, due_at = now(), finished_at = now(),
        lease = null, leased_until = null
     from tried where messages.id = tried.id and messages.lease = tried.lease";

/// Works off so many messages that wait for an endpoint; in seconds.
///
/// # Errors
/// When some are missing, or the database fails.
pub(crate) async fn measure(
    database: &Database,
    endpoint: Uuid,
    messages: usize,
) -> anyhow::Result<f64> {
    let headers = serde_json::json!({
        "content-type": "application/json",
        "user-agent": "customer-sync",
        "webhook-id": Uuid::nil(),
        "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
        "webhook-timestamp": "1700000000",
    });
    let (mut one, mut other) = (database.connect().await?, database.connect().await?);
    let begun = Instant::now();
    let (done, more) = tokio::try_join!(
        work_off(&mut one, endpoint, &headers),
        work_off(&mut other, endpoint, &headers)
    )?;
    let took = begun.elapsed().as_secs_f64();
    ensure!(done + more == messages, "{done} and {more} of {messages} messages were due");
    one.close().await?;
    other.close().await?;
    Ok(took)
}

/// Until nothing is due; how many there were.
async fn work_off(
    connection: &mut PgConnection,
    endpoint: Uuid,
    headers: &Value,
) -> anyhow::Result<usize> {
    let mut done = 0;
    loop {
        let due: Vec<(Uuid, Uuid, String)> =
            sqlx::query_as(LEASE).bind(endpoint).bind(BATCH).fetch_all(&mut *connection).await?;
        if due.is_empty() {
            return Ok(done);
        }
        let (ids, leases): (Vec<_>, Vec<_>) =
            due.iter().map(|(id, lease, _)| (*id, *lease)).unzip();
        let settle = sqlx::query(SETTLE).bind(ids).bind(leases).bind(headers);
        done += usize::try_from(settle.execute(&mut *connection).await?.rows_affected())?;
    }
}
