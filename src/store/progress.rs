//! How far a run of events has come: for those who send some and wait until all is done.

use crate::store::{Result, Tx};

/// What came in, and what of it went out, in one environment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, sqlx::FromRow)]
pub struct Progress {
    /// Events in the embedded queue, of all environments.
    pub queued: i64,
    /// Events with a verdict, each copy counted.
    pub received: i64,
    /// Messages that wait to be delivered.
    pub pending: i64,
    /// Messages that a receiver took.
    pub delivered: i64,
    /// Messages that were given up or called off.
    pub undelivered: i64,
}

/// Counts. Reads whole tables: not for the daemon's own use.
///
/// # Errors
/// When the database fails.
pub async fn progress(tx: &mut Tx, environment: &str) -> Result<Progress> {
    let sql = "select
            (select count(*) from intake_queue) as queued,
            (select cast(coalesce(sum(copies), 0) as bigint) from inbound_events
             where environment = $1 and not refused) as received,
            (select count(*) from messages where environment = $1 and status = 'pending') as pending,
            (select count(*) from messages where environment = $1 and status = 'delivered') as delivered,
            (select count(*) from messages
             where environment = $1 and status not in ('pending', 'delivered')) as undelivered";
    Ok(tx.query(sql).bind(environment.to_owned()).one().await?)
}
