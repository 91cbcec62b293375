//! Outgoing events, their messages and the tries to deliver them.
//!
//! A message is worked on under a lease, which is also the id of the try's row. Leases and due times are the
//! database's time. A leased message is due when its lease ends.

use crate::{
    model::{
        id::{AttemptId, EndpointId, EventId, MessageId},
        time::{Timestamp, millis, millis_or_null},
    },
    set,
    store::{Result, Together, Tx},
};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};
use utoipa::ToSchema;
use uuid::Uuid;

mod claim;
mod manage;
mod settle;

pub use claim::{Head, Wanted, claim, defer_blocked, heads};
pub use manage::{cancel, cancel_orphans, resend};
pub use settle::{Changed, Next, Settled, settle};

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
    /// The W3C context under which its deliveries are traced.
    pub traceparent: Option<Arc<str>>,
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
    /// That customer's version.
    pub version: Option<i64>,
    /// Whether it waits for those of its endpoint and customer with a lower version.
    pub ordered: bool,
    /// The lease under which the writer sends it itself.
    pub lease: Option<Uuid>,
    /// The lease's end.
    pub leased_until: Option<Timestamp>,
    /// When it is to be sent, by the database's clock: now, or when the lease ends.
    pub due_at: Timestamp,
    /// Whether it is sent this once: it is given up from the start, unless what its writer sends is delivered.
    pub once: bool,
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
/// database's clock. Three statements at most, whatever the number, in one turn.
///
/// # Errors
/// When the database fails.
pub async fn write(
    tx: &mut Tx,
    events: &[NewEvent],
    messages: &[NewMessage],
    now: Timestamp,
) -> Result<()> {
    let mut writes = tx.together();
    add(&mut writes, events, messages, now);
    writes.run(tx).await
}

/// The same beside what else is written.
pub fn add(writes: &mut Together, events: &[NewEvent], messages: &[NewMessage], now: Timestamp) {
    if messages.is_empty() {
        return;
    }
    set!(
        writes,
        "insert into outgoing_events (id, environment, kind, customer_id, payment_id, subscription_id,
            version, body, traceparent, created_at)
         select id, environment, kind, customer_id, payment_id, subscription_id, version, body,
            traceparent, $2 from",
        [
            id uuid,
            environment text,
            kind text,
            customer_id uuid,
            payment_id uuid,
            subscription_id uuid,
            version bigint,
            body text,
            traceparent text,
        ],
        ""
    )
    .bind_rows(events)
    .bind(now);
    set!(
        writes,
        "insert into messages (id, event_id, endpoint_id, environment, customer_id, version, ordered, fresh, status,
            attempts, due_at, lease, leased_until, created_at, finished_at)
         select id, event_id, endpoint_id, environment, customer_id, version, ordered, true,
            case when once then 'dead' else 'pending' end, 0, due_at, lease, leased_until, $2,
            case when once then $2 end from",
        [
            id uuid,
            event_id uuid,
            endpoint_id uuid,
            environment text,
            customer_id uuid,
            version bigint,
            ordered boolean,
            lease uuid,
            leased_until timestamptz,
            due_at timestamptz,
            once boolean,
        ],
        ""
    )
    .bind_rows(messages)
    .bind(now);
    let begun = |message: &NewMessage| {
        message.lease.map(|lease| Begun {
            lease,
            message_id: message.id,
            endpoint_id: message.endpoint_id,
            number: 1,
        })
    };
    begin(writes, &messages.iter().filter_map(begun).collect::<Vec<_>>(), now);
}

fn begin(writes: &mut Together, tries: &[Begun], now: Timestamp) {
    if tries.is_empty() {
        return;
    }
    set!(
        writes,
        "insert into attempts (id, message_id, endpoint_id, number, erased, started_at)
         select lease, message_id, endpoint_id, number, false, $2 from",
        [lease uuid, message_id uuid, endpoint_id uuid, number bigint],
        ""
    )
    .bind_rows(tries)
    .bind(now);
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
#[derive(Clone, PartialEq, Eq, Debug, sqlx::FromRow, Serialize, ToSchema)]
#[serde(tag = "object", rename = "webhook_attempt")]
#[schema(as = WebhookAttempt)]
pub struct Attempt {
    /// Its `att_…`: the lease it was made under.
    pub id: AttemptId,
    /// Which try of its message it was, from 1; one that did not count shares its number with the next.
    pub number: i64,
    /// When its lease began.
    #[serde(serialize_with = "millis")]
    pub started_at: Timestamp,
    /// When its result was recorded; none while it is under way, and when it was cut short.
    #[serde(serialize_with = "millis_or_null")]
    pub finished_at: Option<Timestamp>,
    /// `delivered`, `failed`, `gone` or `interrupted`.
    #[schema(pattern = "^(delivered|failed|gone|interrupted)$")]
    pub outcome: Option<String>,
    /// The HTTP status, if there was an answer.
    pub status_code: Option<i64>,
    /// What went wrong.
    pub error: Option<String>,
    /// The headers that it was sent with; of the endpoint's own, the names alone.
    #[sqlx(json(nullable))]
    pub request_headers: Option<BTreeMap<String, String>>,
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
            "select id, number, started_at, finished_at, outcome, status_code, error, request_headers, response,
                duration_ms
             from attempts where message_id = $1 order by id",
        )
        .bind(id)
        .all()
        .await?)
}
