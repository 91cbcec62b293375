//! Outgoing events, their messages and the tries to deliver them.
//!
//! A message is worked on under a lease, which is also the id of the try's row. Leases and due times are the
//! database's time. A leased message is due when its lease ends.

use crate::{
    model::{
        id::{AttemptId, EndpointId, EventId, MessageId},
        time::Timestamp,
    },
    set,
    store::{Result, Tx},
};
use serde::Serialize;
use std::sync::Arc;
use uuid::Uuid;

mod claim;
mod settle;

pub use claim::{Wanted, claim, heads};
pub use settle::{Next, Settled, settle};

/// An outgoing event to be kept.
#[derive(Clone, Debug, Serialize)]
pub struct NewEvent {
    /// Its `evt_…`.
    pub id: Uuid,
    /// Where it happened.
    pub environment: Arc<str>,
    /// What happened.
    pub kind: &'static str,
    /// Whom it is about.
    pub customer_id: Option<Uuid>,
    /// What it is about.
    pub payment_id: Option<Uuid>,
    /// What it is about.
    pub subscription_id: Option<Uuid>,
    /// The customer's version.
    pub version: Option<i64>,
    /// What is sent.
    pub body: Arc<str>,
}

/// A message to be kept; one with a lease is under way at once.
#[derive(Clone, Debug, Serialize)]
pub struct NewMessage {
    /// Its `msg_…`.
    pub id: Uuid,
    /// What is told.
    pub event_id: Uuid,
    /// To whom.
    pub endpoint_id: Uuid,
    /// Where.
    pub environment: Arc<str>,
    /// Whom it is about.
    pub customer_id: Option<Uuid>,
    /// The lease under which the writer sends it itself.
    pub lease: Option<Uuid>,
    /// The lease's end.
    pub leased_until: Option<Timestamp>,
    /// When it is to be sent, by the database's clock: now, or when the lease ends.
    pub due_at: Timestamp,
}

/// A try that begins.
#[derive(Serialize)]
struct Begun {
    lease: Uuid,
    message_id: Uuid,
    endpoint_id: Uuid,
    number: i64,
}

/// Writes outgoing events with their messages, and begins the tries of those that are leased; `now` by the
/// database's clock. Three statements at most, whatever the number.
///
/// # Errors
/// When the database fails.
pub async fn write(
    tx: &mut Tx,
    events: &[NewEvent],
    messages: &[NewMessage],
    now: Timestamp,
) -> Result<()> {
    if messages.is_empty() {
        return Ok(());
    }
    set!(
        tx,
        "insert into outgoing_events (id, environment, kind, customer_id, payment_id, subscription_id,
            version, body, created_at)
         select id, environment, kind, customer_id, payment_id, subscription_id, version, body, $2 from",
        [
            id uuid,
            environment text,
            kind text,
            customer_id uuid,
            payment_id uuid,
            subscription_id uuid,
            version bigint,
            body text,
        ],
        ""
    )
    .bind_rows(events)
    .bind(now)
    .execute()
    .await?;
    set!(
        tx,
        "insert into messages (id, event_id, endpoint_id, environment, customer_id, status, attempts,
            due_at, lease, leased_until, created_at)
         select id, event_id, endpoint_id, environment, customer_id, 'pending', 0, due_at, lease,
            leased_until, $2 from",
        [
            id uuid,
            event_id uuid,
            endpoint_id uuid,
            environment text,
            customer_id uuid,
            lease uuid,
            leased_until timestamptz,
            due_at timestamptz,
        ],
        ""
    )
    .bind_rows(messages)
    .bind(now)
    .execute()
    .await?;
    let begun = |message: &NewMessage| {
        message.lease.map(|lease| Begun {
            lease,
            message_id: message.id,
            endpoint_id: message.endpoint_id,
            number: 1,
        })
    };
    begin(tx, &messages.iter().filter_map(begun).collect::<Vec<_>>(), now).await
}

async fn begin(tx: &mut Tx, tries: &[Begun], now: Timestamp) -> Result<()> {
    if tries.is_empty() {
        return Ok(());
    }
    set!(
        tx,
        "insert into attempts (id, message_id, endpoint_id, number, started_at)
         select lease, message_id, endpoint_id, number, $2 from",
        [lease uuid, message_id uuid, endpoint_id uuid, number bigint],
        ""
    )
    .bind_rows(tries)
    .bind(now)
    .execute()
    .await?;
    Ok(())
}

/// A message as it stands.
#[derive(Clone, PartialEq, Eq, Debug, sqlx::FromRow)]
pub struct Message {
    /// The `webhook-id`.
    pub id: MessageId,
    /// What is told.
    pub event_id: EventId,
    /// To whom.
    pub endpoint_id: EndpointId,
    /// Where.
    pub environment: String,
    /// `pending`, `delivered`, `dead` or `canceled`.
    pub status: String,
    /// How many tries counted.
    pub attempts: i64,
    /// When it is tried next, or while it is being tried, when its lease ends.
    pub due_at: Timestamp,
    /// Until when it is being tried.
    pub leased_until: Option<Timestamp>,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it was delivered, given up or called off.
    pub finished_at: Option<Timestamp>,
}

/// One message.
///
/// # Errors
/// When the database fails.
pub async fn get(tx: &mut Tx, id: MessageId) -> Result<Option<Message>> {
    Ok(tx
        .query(
            "select id, event_id, endpoint_id, environment, status, attempts, due_at, leased_until,
                created_at, finished_at
             from messages where id = $1",
        )
        .bind(id)
        .maybe()
        .await?)
}

/// A try as it is kept.
#[derive(Clone, PartialEq, Eq, Debug, sqlx::FromRow)]
pub struct Attempt {
    /// Its `att_…`: the lease it was made under.
    pub id: AttemptId,
    /// Which try of its message it was, from 1; one that did not count shares its number with the next.
    pub number: i64,
    /// When its lease began.
    pub started_at: Timestamp,
    /// When its result was recorded; none while it is under way, and when it was cut short.
    pub finished_at: Option<Timestamp>,
    /// `delivered`, `failed`, `gone` or `interrupted`.
    pub outcome: Option<String>,
    /// The HTTP status, if there was an answer.
    pub status_code: Option<i64>,
    /// What went wrong.
    pub error: Option<String>,
    /// The beginning of the answer's body.
    pub response: Option<String>,
    /// How long it took.
    pub duration_ms: Option<i64>,
}

/// A message's tries, the first one first.
///
/// # Errors
/// When the database fails.
pub async fn attempts(tx: &mut Tx, id: MessageId) -> Result<Vec<Attempt>> {
    Ok(tx
        .query(
            "select id, number, started_at, finished_at, outcome, status_code, error, response, duration_ms
             from attempts where message_id = $1 order by id",
        )
        .bind(id)
        .all()
        .await?)
}
