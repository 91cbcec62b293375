//! What waits: for those who watch. Cheap enough to be asked every few seconds, however much that is.

use crate::{
    model::time::Timestamp,
    store::{Result, Tx, messages, now},
};

/// How far is counted: beyond that the number says no more than "too many", and costs the more.
pub const COUNTED: i64 = 100_000;

/// What waits in the database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backlog {
    /// Events in the embedded queue, up to [`COUNTED`].
    pub queued: i64,
    /// Messages that are not delivered yet, up to [`COUNTED`].
    pub pending: i64,
    /// For how many microseconds the message has been due that is due the longest, of all enabled endpoints. Those
    /// that are being tried are not due.
    pub overdue_micros: i64,
}

/// Looks what waits; `time` counts where the database has no clock of its own.
///
/// # Errors
/// When the database fails.
pub async fn backlog(tx: &mut Tx, time: Timestamp) -> Result<Backlog> {
    let now = now(tx, time).await?;
    let sql = "select
            (select count(*) from (select 1 from intake_queue limit $1) as counted) as queued,
            (select count(*) from (
                select 1 from messages where status = 'pending' and fresh
                union all
                select 1 from messages where status = 'pending' and not fresh limit $1
             ) as counted) as pending";
    let (queued, pending) = tx.query(sql).bind(COUNTED).one::<(i64, i64)>().await?;
    let head = messages::heads(tx).await?.first().and_then(messages::Head::ready_at);
    let overdue_micros =
        head.map_or(0, |due_at| now.micros().saturating_sub(due_at.micros()).max(0));
    Ok(Backlog { queued, pending, overdue_micros })
}
