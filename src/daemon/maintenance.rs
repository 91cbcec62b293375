//! What is to be done now and then.

use crate::{pipeline::Pipeline, shutdown::Shutdown, telemetry::Metrics};
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
            Ok(told) if i64::try_from(told).is_ok_and(|told| told >= ANNOUNCED_AT_ONCE) => continue,
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

/// Keeps the metrics small while nobody reads them.
pub(super) async fn tidy(metrics: Metrics, shutdown: Shutdown) -> Result<(), Infallible> {
    while shutdown.sleep(TIDIED_EVERY).await {
        metrics.tidy();
    }
    Ok(())
}
