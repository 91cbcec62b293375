//! What was answered to requests that carry an `Idempotency-Key` (contract 4): written in the write's own
//! transaction, so that what was done and what was answered are there together or not at all.

use crate::{
    model::time::Timestamp,
    set,
    store::{Result, Tx, codec::Key},
};
use chrono::TimeDelta;
use std::collections::BTreeSet;
use uuid::Uuid;

/// How long an answer is kept.
pub const KEPT: TimeDelta = TimeDelta::hours(24);

/// Names our advisory locks among those of the database: `idem` in ASCII.
const LOCKS: i32 = 0x6964_656d;

/// A key as one request gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// [`crate::keyring::Keyring::idempotency_id`].
    pub id: Uuid,
    /// [`crate::keyring::Keyring::request_hash`].
    pub request: Uuid,
}

/// An answer as it is kept, to be given again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, without what may be shown only once.
    pub body: String,
    /// What is left of the body once a deletion reached whom it is about.
    pub remains: String,
    /// Whom it is about.
    pub customer_id: Option<Uuid>,
    /// Which payment it is about.
    pub payment_id: Option<Uuid>,
}

/// What is known of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Begun {
    /// Nothing: the request is to be carried out, and its answer kept.
    New,
    /// The request was carried out; its status and body.
    Answered(u16, String),
    /// Another process is carrying it out.
    Running,
    /// Another request was sent under it.
    Mismatch,
}

/// Looks a key up, and keeps other processes from beginning with it until the transaction ends.
///
/// # Errors
/// When the database fails.
pub async fn begin(tx: &mut Tx, slot: Slot, now: Timestamp) -> Result<Begun> {
    // Differs because SQLite has one writer: its transaction is the lock.
    if matches!(tx, Tx::Postgres(_)) {
        let sql = "select pg_try_advisory_xact_lock($1, hashtext($2))";
        let free: (bool,) = tx.query(sql).bind(LOCKS).bind(slot.id.to_string()).one().await?;
        if !free.0 {
            return Ok(Begun::Running);
        }
    }
    let known: Option<(Key, i64, String, Timestamp)> = tx
        .query("select request, status, answer, created_at from idempotency_keys where id = $1")
        .bind(Key(slot.id))
        .maybe()
        .await?;
    Ok(match known {
        Some((_, _, _, created_at)) if created_at.plus(KEPT) <= now => {
            tx.query("delete from idempotency_keys where id = $1")
                .bind(Key(slot.id))
                .execute()
                .await?;
            Begun::New
        }
        Some((request, _, _, _)) if request.0 != slot.request => Begun::Mismatch,
        Some((_, status, body, _)) => Begun::Answered(u16::try_from(status).unwrap_or(200), body),
        None => Begun::New,
    })
}

/// Keeps the answer to a request that was carried out in this transaction. Comes after everything that the request
/// erases.
///
/// # Errors
/// When the database fails.
pub async fn finish(tx: &mut Tx, slot: Slot, answer: &Answer, now: Timestamp) -> Result<()> {
    tx.query(
        "insert into idempotency_keys (id, request, status, answer, remains, customer_id,
             payment_id, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(Key(slot.id))
    .bind(Key(slot.request))
    .bind(i64::from(answer.status))
    .bind(answer.body.clone())
    .bind(answer.remains.clone())
    .bind(answer.customer_id.map(Key))
    .bind(answer.payment_id.map(Key))
    .bind(now)
    .execute()
    .await?;
    Ok(())
}

/// Takes from kept answers what a deletion took: those about some customers, and about some payments.
///
/// # Errors
/// When the database fails.
pub async fn erase(
    tx: &mut Tx,
    customers: &BTreeSet<Uuid>,
    payments: &BTreeSet<Uuid>,
) -> Result<()> {
    if !customers.is_empty() {
        set!(
            tx,
            "update idempotency_keys set answer = remains where customer_id in (select r.id from",
            [id uuid],
            ")"
        )
        .bind_ids(customers.iter().copied())
        .execute()
        .await?;
    }
    if !payments.is_empty() {
        set!(
            tx,
            "update idempotency_keys set answer = remains where payment_id in (select r.id from",
            [id uuid],
            ")"
        )
        .bind_ids(payments.iter().copied())
        .execute()
        .await?;
    }
    Ok(())
}

/// Forgets answers that are kept no longer, so many at most; how many there were.
///
/// # Errors
/// When the database fails.
pub async fn forget(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<u64> {
    let until = now.plus(-KEPT);
    let forgotten = tx
        .query(
            "delete from idempotency_keys where id in (
                 select id from idempotency_keys where created_at <= $1 order by created_at limit $2)",
        )
        .bind(until)
        .bind(limit)
        .execute()
        .await?;
    Ok(forgotten)
}
