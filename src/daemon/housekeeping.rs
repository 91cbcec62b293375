//! What is kept no longer, what is called off, and what is sent again: work that nobody waits for, in small batches.

use crate::{
    pipeline::Pipeline,
    shutdown::Shutdown,
    store::{self, Tx, messages, recoveries, retention},
};
use chrono::TimeDelta;
use std::{convert::Infallible, time::Duration};
use uuid::Uuid;

/// How long rows are kept; those without a span for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Messages that wait no longer, and what they said.
    pub messages: Option<TimeDelta>,
    /// Tries.
    pub attempts: Option<TimeDelta>,
    /// Inbound events with their bodies.
    pub inbox: Option<TimeDelta>,
}

/// How many rows are taken away in one transaction: it lasts some milliseconds.
const AT_ONCE: i64 = 500;

/// How long others have the database to themselves between two such transactions.
const BETWEEN: Duration = Duration::from_millis(20);

/// How often it is looked for rows that are too old.
const PRUNED_EVERY: Duration = Duration::from_mins(1);

/// Takes away what is kept no longer. A failure of the database is waited out.
pub(super) async fn prune(
    pipeline: Pipeline,
    retention: Retention,
    shutdown: Shutdown,
) -> Result<(), Infallible> {
    let mut place = (Uuid::nil(), Uuid::nil());
    loop {
        match prune_some(&pipeline, retention, &mut place).await {
            Ok(true) => {
                if !shutdown.sleep(BETWEEN).await {
                    return Ok(());
                }
                continue;
            }
            Ok(false) => {}
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "old rows could not be taken away; tried again soon");
            }
        }
        if !shutdown.sleep(PRUNED_EVERY).await {
            return Ok(());
        }
    }
}

/// One transaction for each kind; whether there is more.
async fn prune_some(
    pipeline: &Pipeline,
    retention: Retention,
    place: &mut retention::Place,
) -> store::Result<bool> {
    let now = pipeline.clock.now();
    let before = |kept: Option<TimeDelta>| kept.map(|kept| now.plus(-kept));
    let mut more = false;
    let full = |count: u64| i64::try_from(count).is_ok_and(|count| count >= AT_ONCE);
    if let Some(before) = before(retention.messages) {
        let mut tx = pipeline.db.begin().await?;
        let gone = retention::messages(&mut tx, before, AT_ONCE).await?;
        retention::recoveries(&mut tx, before, AT_ONCE).await?;
        tx.commit().await?;
        // There may be more of another endpoint.
        more |= gone > 0;
    }
    if let Some(before) = before(retention.attempts) {
        let mut tx = pipeline.db.begin().await?;
        more |= full(retention::attempts(&mut tx, before, AT_ONCE).await?);
        tx.commit().await?;
    }
    if let Some(before) = before(retention.inbox) {
        let mut tx = pipeline.db.begin().await?;
        let gone = retention::inbound(&mut tx, before, AT_ONCE).await?;
        // The walk goes on a step with each batch, and a step a minute where there is none.
        let (_, next) = retention::subjects(&mut tx, before, *place, 4 * AT_ONCE).await?;
        tx.commit().await?;
        *place = next.unwrap_or((Uuid::nil(), Uuid::nil()));
        more |= full(gone);
    }
    Ok(more)
}

/// How soon a recovery begins, and messages of a deleted endpoint are called off that were written meanwhile.
const LOOKED_EVERY: Duration = Duration::from_secs(2);

/// Carries recoveries out, and calls off what waits for deleted endpoints.
pub(super) async fn messages(pipeline: Pipeline, shutdown: Shutdown) -> Result<(), Infallible> {
    loop {
        match messages_once(&pipeline).await {
            Ok(true) => {
                if !shutdown.sleep(BETWEEN).await {
                    return Ok(());
                }
                continue;
            }
            Ok(false) => {}
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(
                    error,
                    "messages could not be made due or called off; tried again soon"
                );
            }
        }
        if !shutdown.sleep(LOOKED_EVERY).await {
            return Ok(());
        }
    }
}

async fn messages_once(pipeline: &Pipeline) -> store::Result<bool> {
    let mut tx = pipeline.db.begin().await?;
    let now = store::now(&mut tx, pipeline.clock.now()).await?;
    let canceled = messages::cancel_orphans(&mut tx, AT_ONCE, now).await?;
    let recovery = step(&mut tx, now).await?;
    tx.commit().await?;
    Ok(canceled > 0 || recovery)
}

async fn step(tx: &mut Tx, now: crate::model::time::Timestamp) -> store::Result<bool> {
    let Some(recovery) = recoveries::step(tx, AT_ONCE, now).await? else { return Ok(false) };
    if recovery.finished_at.is_some() {
        tracing::info!(recovery = %recovery.id, recovered = recovery.recovered, "a recovery is done");
    }
    Ok(true)
}
