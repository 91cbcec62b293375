//! What tries came to.

use crate::{
    model::{
        id::{EndpointId, MessageId},
        time::Timestamp,
    },
    set,
    store::{Result, Tx, endpoints},
};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use uuid::Uuid;

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
    /// The headers that it was sent with, to be read by whoever may see the message.
    pub request_headers: Option<BTreeMap<String, String>>,
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
    request_headers: Option<&'a BTreeMap<String, String>>,
    response: Option<&'a str>,
    duration_ms: Option<i64>,
}

/// What [`settle`] changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changed {
    /// The messages whose lease was held.
    pub messages: Vec<MessageId>,
    /// The endpoints of messages that waited for one of these, and are due now.
    pub released: Vec<EndpointId>,
}

impl Next {
    /// Whether the message is done: nothing waits for it any longer.
    fn is_last(self) -> bool {
        matches!(self, Self::Delivered | Self::Dead)
    }
}

/// Records what tries came to, and frees their messages; `now` by the database's clock. A try's row is
/// always completed; a message only changes for the holder of its lease, and one that is sent once is not tried again. `well` are endpoints that answered as they
/// should. What is ordered and waited for one that is done is due.
///
/// # Errors
/// When the database fails.
pub async fn settle(
    tx: &mut Tx,
    tries: &[Settled],
    well: impl IntoIterator<Item = EndpointId>,
    now: Timestamp,
) -> Result<Changed> {
    let attempts: Vec<SettledAttempt<'_>> = tries
        .iter()
        .map(|tried| SettledAttempt {
            lease: tried.lease,
            outcome: tried.outcome,
            status_code: tried.status_code,
            error: tried.error.as_deref(),
            request_headers: tried.request_headers.as_ref(),
            response: tried.response.as_deref(),
            duration_ms: tried.duration_ms,
        })
        .collect();
    let mut writes = tx.together();
    set!(
        writes,
        // An answer may repeat what was told: one that comes behind its erasure is not kept.
        "update attempts as a set finished_at = $2, outcome = r.outcome, status_code = r.status_code,
            error = r.error, request_headers = r.request_headers, duration_ms = r.duration_ms,
            response = case when a.erased then null else r.response end from",
        [
            lease uuid,
            outcome text,
            status_code bigint,
            error text,
            request_headers jsonb,
            response text,
            duration_ms bigint,
        ],
        "where a.id = r.lease"
    )
    .bind_rows(&attempts)
    .bind(now);
    // Endpoints before messages: whoever locks both does so in this order.
    endpoints::succeeded(&mut writes, well, now);
    writes.run(tx).await?;
    let mut messages: Vec<SettledMessage> =
        tries.iter().map(|tried| settled_message(tried, now)).collect();
    messages.sort_by_key(|message| message.message_id);
    let changed = set!(
        tx,
        "update messages as m set
            status = case when m.status = 'dead' and r.status = 'pending' then m.status else r.status end,
            attempts = m.attempts + r.counted, fresh = m.fresh and r.counted = 0, due_at = r.due_at,
            finished_at = coalesce(r.finished_at, m.finished_at), lease = null, leased_until = null from",
        [
            message_id uuid,
            lease uuid,
            status text,
            counted bigint,
            due_at timestamptz,
            finished_at timestamptz,
        ],
        "where m.id = r.message_id and m.lease = r.lease
         returning id, ordered"
    )
    .bind_rows(&messages)
    .all::<(MessageId, bool)>()
    .await?;
    let last: HashSet<MessageId> =
        tries.iter().filter(|tried| tried.next.is_last()).map(|tried| tried.message_id).collect();
    let done = changed.iter().filter(|(id, ordered)| *ordered && last.contains(id));
    let released = release(tx, done.map(|(id, _)| *id), now).await?;
    Ok(Changed { messages: changed.into_iter().map(|(id, _)| id).collect(), released })
}

/// Makes what waited for these messages due: of each one's customer the next. Their endpoints.
///
/// # Errors
/// When the database fails.
pub(super) async fn release(
    tx: &mut Tx,
    done: impl Iterator<Item = MessageId>,
    now: Timestamp,
) -> Result<Vec<EndpointId>> {
    let ids: Vec<Uuid> = done.map(|id| id.0).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    // Differs because the rows of a set are read differently.
    let sql = tx.pick(
        "update messages set due_at = least(due_at, $2)
         where status = 'pending' and ordered and lease is null and id in (
            select (select m.id from messages as m
                where m.endpoint_id = d.endpoint_id and m.customer_id = d.customer_id
                    and m.status = 'pending' and m.ordered
                order by m.version limit 1)
            from messages as d where d.id in (select id from jsonb_to_recordset($1::jsonb) as r(id uuid))
         ) returning endpoint_id",
        "update messages set due_at = min(due_at, $2)
         where status = 'pending' and ordered and lease is null and id in (
            select (select m.id from messages as m
                where m.endpoint_id = d.endpoint_id and m.customer_id = d.customer_id
                    and m.status = 'pending' and m.ordered
                order by m.version limit 1)
            from messages as d where d.id in (select value->>'id' from jsonb_each($1))
         ) returning endpoint_id",
    );
    let rows = tx.query(sql).bind_ids(ids).bind(now).all::<(EndpointId,)>().await?;
    Ok(rows.into_iter().map(|(endpoint,)| endpoint).collect())
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
