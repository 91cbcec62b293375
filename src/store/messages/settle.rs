//! What tries came to.

use crate::{
    model::{id::MessageId, time::Timestamp},
    set,
    store::{Result, Tx},
};
use serde::Serialize;
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
