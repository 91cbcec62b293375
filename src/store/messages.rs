//! Outgoing events, their messages and the tries to deliver them.
//!
//! A message is worked on under a lease, which is also the id of the try's row. Leases and due times are the
//! database's time. A leased message is due when its lease ends.

use crate::{
    model::{
        id::{AttemptId, EndpointId, EventId, MessageId},
        message::Leased,
        time::Timestamp,
    },
    set,
    store::{Result, Tx},
};
use serde::Serialize;
use std::{collections::HashMap, sync::Arc};
use uuid::Uuid;

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

/// For each enabled endpoint with a pending message: when its first one is due, the earliest first. One look
/// into the index for each, whatever waits.
///
/// # Errors
/// When the database fails.
pub async fn heads(tx: &mut Tx) -> Result<Vec<(EndpointId, Timestamp)>> {
    let rows = tx
        .query(
            "select id, (
                select min(due_at) from messages where endpoint_id = endpoints.id and status = 'pending'
             )
             from endpoints where enabled and not deleted",
        )
        .all::<(EndpointId, Option<Timestamp>)>()
        .await?;
    let waiting = rows.into_iter().filter_map(|(endpoint, due_at)| Some((endpoint, due_at?)));
    let mut heads: Vec<_> = waiting.collect();
    heads.sort_by_key(|(endpoint, due_at)| (*due_at, *endpoint));
    Ok(heads)
}

/// How many of an endpoint's messages to claim.
#[derive(Clone, Debug, Serialize)]
pub struct Wanted {
    /// The endpoint.
    pub endpoint_id: Uuid,
    /// At most so many.
    pub most: usize,
}

#[derive(sqlx::FromRow)]
struct Due {
    id: MessageId,
    endpoint_id: EndpointId,
    event_id: EventId,
    attempts: i64,
}

/// A due message and the lease it gets.
#[derive(Serialize)]
struct Lease {
    message_id: Uuid,
    lease: Uuid,
}

/// Leases due messages, those whose lease has run out among them, the longest due of each endpoint first, and
/// begins a try of each. Another claim at the same time gets others.
///
/// # Errors
/// When the database fails.
pub async fn claim(
    tx: &mut Tx,
    wanted: &[Wanted],
    mut new_lease: impl FnMut() -> AttemptId + Send,
    now: Timestamp,
    until: Timestamp,
) -> Result<Vec<Leased>> {
    let due = lock_due(tx, wanted, now).await?;
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let leases: Vec<Lease> =
        due.iter().map(|due| Lease { message_id: due.id.0, lease: new_lease().0 }).collect();
    set!(
        tx,
        "update messages as m set lease = r.lease, leased_until = $2, due_at = $2 from",
        [message_id uuid, lease uuid],
        "where m.id = r.message_id"
    )
    .bind_rows(&leases)
    .bind(until)
    .execute()
    .await?;
    let tries: Vec<Begun> = due
        .iter()
        .zip(&leases)
        .map(|(due, lease)| Begun {
            lease: lease.lease,
            message_id: due.id.0,
            endpoint_id: due.endpoint_id.0,
            number: due.attempts.saturating_add(1),
        })
        .collect();
    begin(tx, &tries, now).await?;
    let bodies = bodies(tx, &due).await?;
    let message = |(due, begun): (Due, Begun)| {
        Some(Leased {
            id: due.id,
            endpoint_id: due.endpoint_id,
            attempt: i32::try_from(begun.number).unwrap_or(i32::MAX),
            body: bodies.get(&due.event_id)?.clone(),
            leased_until: until,
            lease: begun.lease,
        })
    };
    Ok(due.into_iter().zip(tries).filter_map(message).collect())
}

async fn lock_due(tx: &mut Tx, wanted: &[Wanted], now: Timestamp) -> Result<Vec<Due>> {
    // Differs because SQLite has no lateral joins, takes no limit from a row, and needs no row locks: there
    // the largest count bounds every endpoint's look, and the place within it cuts it to the endpoint's own.
    let sql = tx.pick(
        "select m.id, m.endpoint_id, m.event_id, m.attempts
         from jsonb_to_recordset($1::jsonb) as r(endpoint_id uuid, most bigint)
         cross join lateral (
            select id, endpoint_id, event_id, attempts from messages
            where endpoint_id = r.endpoint_id and status = 'pending' and due_at <= $2
                and exists (select 1 from endpoints where id = r.endpoint_id and enabled and not deleted)
            order by due_at limit least(r.most, $3) for update skip locked
         ) as m",
        "select id, endpoint_id, event_id, attempts from (
            select m.id, m.endpoint_id, m.event_id, m.attempts, r.most,
                row_number() over (partition by m.endpoint_id order by m.due_at, m.id) as place
            from (
                select value->>'endpoint_id' as endpoint_id, value->>'most' as most from json_each($1)
            ) as r
            join messages as m on m.id in (
                select id from messages
                where endpoint_id = r.endpoint_id and status = 'pending' and due_at <= $2
                order by due_at limit $3
            )
            where exists (select 1 from endpoints where id = r.endpoint_id and enabled and not deleted)
         ) where place <= most",
    );
    let most = wanted.iter().map(|wanted| wanted.most).max().unwrap_or(0);
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    Ok(tx.query(sql).bind_rows(wanted).bind(now).bind(most).all().await?)
}

async fn bodies(tx: &mut Tx, due: &[Due]) -> Result<HashMap<EventId, Arc<str>>> {
    #[derive(Serialize, PartialEq)]
    struct Event {
        event_id: Uuid,
    }
    let mut events: Vec<Event> = due.iter().map(|due| Event { event_id: due.event_id.0 }).collect();
    events.sort_by_key(|event| event.event_id);
    events.dedup();
    let rows = set!(
        tx,
        "select e.id, e.body from outgoing_events as e join",
        [event_id uuid],
        "on e.id = r.event_id"
    )
    .bind_rows(&events)
    .all::<(EventId, String)>()
    .await?;
    Ok(rows.into_iter().map(|(id, body)| (id, body.into())).collect())
}

/// What a try came to.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The message.
    pub message_id: MessageId,
    /// The lease it was sent under, which is the try's id.
    pub lease: Uuid,
    /// What becomes of the message.
    pub next: Next,
    /// The word for it in the try's row.
    pub outcome: &'static str,
    /// The HTTP status, if there was an answer.
    pub status_code: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
    /// The answer's body, up to a cap, without U+0000.
    pub response: Option<String>,
    /// How long it took.
    pub duration_ms: Option<i64>,
}

/// What becomes of a message after a try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// It arrived.
    Delivered,
    /// It is tried again, so long after now.
    Later(chrono::TimeDelta),
    /// It is given up.
    Dead,
    /// The try does not count: it is due again at once.
    Again,
}

#[derive(Serialize)]
struct SettledMessage {
    message_id: Uuid,
    lease: Uuid,
    status: &'static str,
    counted: i64,
    due_at: Timestamp,
    finished_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct SettledAttempt<'a> {
    lease: Uuid,
    outcome: &'a str,
    status_code: Option<u16>,
    error: Option<&'a str>,
    response: Option<&'a str>,
    duration_ms: Option<i64>,
}

/// Records what tries came to, and frees their messages; `now` by the database's clock. A try's row is
/// always completed; a message only changes for the holder of its lease. The messages that changed.
///
/// # Errors
/// When the database fails.
pub async fn settle(tx: &mut Tx, tries: &[Settled], now: Timestamp) -> Result<Vec<MessageId>> {
    let attempts: Vec<SettledAttempt<'_>> = tries
        .iter()
        .map(|tried| SettledAttempt {
            lease: tried.lease,
            outcome: tried.outcome,
            status_code: tried.status_code,
            error: tried.error.as_deref(),
            response: tried.response.as_deref(),
            duration_ms: tried.duration_ms,
        })
        .collect();
    set!(
        tx,
        "update attempts as a set finished_at = $2, outcome = r.outcome, status_code = r.status_code,
            error = r.error, response = r.response, duration_ms = r.duration_ms from",
        [
            lease uuid,
            outcome text,
            status_code bigint,
            error text,
            response text,
            duration_ms bigint,
        ],
        "where a.id = r.lease"
    )
    .bind_rows(&attempts)
    .bind(now)
    .execute()
    .await?;
    let messages: Vec<SettledMessage> =
        tries.iter().map(|tried| settled_message(tried, now)).collect();
    let changed = set!(
        tx,
        "update messages as m set status = r.status, attempts = m.attempts + r.counted, due_at = r.due_at,
            finished_at = r.finished_at, lease = null, leased_until = null from",
        [
            message_id uuid,
            lease uuid,
            status text,
            counted bigint,
            due_at timestamptz,
            finished_at timestamptz,
        ],
        "where m.id = r.message_id and m.lease = r.lease and m.status = 'pending' returning id"
    )
    .bind_rows(&messages)
    .all::<(MessageId,)>()
    .await?;
    Ok(changed.into_iter().map(|(id,)| id).collect())
}

fn settled_message(tried: &Settled, now: Timestamp) -> SettledMessage {
    let (status, counted, due_at, finished_at) = match tried.next {
        Next::Delivered => ("delivered", 1, now, Some(now)),
        Next::Later(span) => ("pending", 1, now.plus(span), None),
        Next::Dead => ("dead", 1, now, Some(now)),
        Next::Again => ("pending", 0, now, None),
    };
    SettledMessage {
        message_id: tried.message_id.0,
        lease: tried.lease,
        status,
        counted,
        due_at,
        finished_at,
    }
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
