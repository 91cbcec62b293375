//! What is to be done now and then.

use crate::{
    pipeline::Pipeline,
    shutdown::Shutdown,
    store::{
        self,
        backlog::{Backlog, backlog},
    },
    telemetry::Metrics,
};
use std::{convert::Infallible, time::Duration};

/// How late the end of a subscription may be told.
const ANNOUNCED_EVERY: Duration = Duration::from_secs(10);

/// How many ends are told in one transaction.
const ANNOUNCED_AT_ONCE: i64 = 500;

/// How long measurements wait to be folded in.
const TIDIED_EVERY: Duration = Duration::from_secs(5);

/// Tells of subscriptions whose end has come. A failure of the database is waited out.
pub(super) async fn announce(pipeline: Pipeline, shutdown: Shutdown) -> Result<(), Infallible> {
    loop {
        match pipeline.announce_ended(ANNOUNCED_AT_ONCE).await {
            Ok(told) if i64::try_from(told).is_ok_and(|told| told >= ANNOUNCED_AT_ONCE) => {
                // What is left is told after the next start: a backlog is not to use up the grace.
                if shutdown.is_requested() {
                    return Ok(());
                }
                continue;
            }
            Ok(_) => {}
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "ended subscriptions could not be told; tried again soon");
            }
        }
        if !shutdown.sleep(ANNOUNCED_EVERY).await {
            return Ok(());
        }
    }
}

/// How often answers are forgotten that are kept no longer.
const FORGOTTEN_EVERY: Duration = Duration::from_mins(10);

/// How many are forgotten in one transaction.
const FORGOTTEN_AT_ONCE: i64 = 1_000;

/// Forgets the answers to requests with an `Idempotency-Key` after their day.
pub(super) async fn forget(pipeline: Pipeline, shutdown: Shutdown) -> Result<(), Infallible> {
    loop {
        let forgotten: store::Result<u64> = async {
            let mut tx = pipeline.db.begin().await?;
            let now = pipeline.clock.now();
            let forgotten = store::idempotency::forget(&mut tx, now, FORGOTTEN_AT_ONCE).await?;
            tx.commit().await?;
            Ok(forgotten)
        }
        .await;
        match forgotten {
            Ok(forgotten) if i64::try_from(forgotten).is_ok_and(|n| n >= FORGOTTEN_AT_ONCE) => {
                if shutdown.is_requested() {
                    return Ok(());
                }
                continue;
            }
            Ok(_) => {}
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "old answers were not forgotten; tried again soon");
            }
        }
        if !shutdown.sleep(FORGOTTEN_EVERY).await {
            return Ok(());
        }
    }
}

/// How often it is measured what waits: as often as Prometheus asks, by its default.
const MEASURED_EVERY: Duration = Duration::from_secs(15);

/// Measures what waits in the database. While that is away the last values stand: that it is away is told elsewhere.
pub(super) async fn measure(
    pipeline: Pipeline,
    has_embedded_queue: bool,
    shutdown: Shutdown,
) -> Result<(), Infallible> {
    loop {
        match look(&pipeline).await {
            Ok(backlog) => tell(backlog, has_embedded_queue),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::debug!(error, "what waits was not measured");
            }
        }
        if !shutdown.sleep(MEASURED_EVERY).await {
            return Ok(());
        }
    }
}

async fn look(pipeline: &Pipeline) -> store::Result<Backlog> {
    let mut tx = pipeline.db.snapshot().await?;
    backlog(&mut tx, pipeline.clock.now()).await
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts are capped, and microseconds fit for 285 years"
)]
fn tell(backlog: Backlog, has_embedded_queue: bool) {
    if has_embedded_queue {
        metrics::gauge!("customer_sync_queue_events", "queue" => "embedded")
            .set(backlog.queued as f64);
    }
    metrics::gauge!("customer_sync_outbox_pending_messages").set(backlog.pending as f64);
    metrics::gauge!("customer_sync_outbox_oldest_due_seconds")
        .set(backlog.overdue_micros as f64 / 1e6);
}

/// Keeps the metrics small while nobody reads them.
pub(super) async fn tidy(metrics: Metrics, shutdown: Shutdown) -> Result<(), Infallible> {
    while shutdown.sleep(TIDIED_EVERY).await {
        metrics.tidy();
    }
    Ok(())
}
