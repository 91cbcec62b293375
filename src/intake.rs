//! Stage 1: takes messages in, from RabbitMQ or from the embedded queue, and acknowledges them once what they
//! say is committed.
//!
//! Nothing is acknowledged before its commit. A failure of our own side is waited out with the messages in
//! hand, unacknowledged: no message is ever given back or refused.

use crate::{
    health::{self, Health},
    model::{inbound::Raw, time::Timestamp},
    pipeline::{Disposition, Pipeline},
    retry::Backoff,
    shutdown::Shutdown,
    store,
};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::Instant;

pub mod batch;
mod depth;
pub mod embedded;
pub mod envelope;
pub mod publisher;
pub mod rabbitmq;
pub mod topology;
pub mod wire;

/// What a batch is given to: the [`Pipeline`].
pub trait Process: Send + Sync + 'static {
    /// Commits a batch; one disposition for each message, in order.
    ///
    /// # Errors
    /// When nothing was committed and the same batch is to be given again.
    fn process(
        &self,
        batch: &[Raw],
    ) -> impl Future<Output = store::Result<Vec<Disposition>>> + Send;

    /// What time it is.
    fn now(&self) -> Timestamp;
}

impl Process for Pipeline {
    async fn process(&self, batch: &[Raw]) -> store::Result<Vec<Disposition>> {
        Pipeline::process(self, batch).await
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// An event could not be kept: the sender is to send it again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unavailable {
    /// The embedded queue's database.
    #[error("the event could not be written to the embedded queue")]
    Database(#[source] Arc<store::Error>),
    /// The broker.
    #[error("the event could not be handed to the broker")]
    Broker(#[source] Arc<publisher::Error>),
    /// The process was stopped hard before the event was kept.
    #[error("the process is stopping")]
    Stopping,
}

/// Where the HTTP ingress hands events in. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Ingress {
    /// A table in the same database.
    Embedded(embedded::Door),
    /// A broker.
    RabbitMq(publisher::Publisher),
}

impl Ingress {
    /// Keeps an event. When it returns, the event outlives a crash; the caller may go away meanwhile.
    ///
    /// # Errors
    /// When it could not be kept; it may have been all the same, and then the inbox knows the second copy.
    pub async fn accept(&self, raw: Raw) -> Result<(), Unavailable> {
        match self {
            Self::Embedded(door) => door.accept(raw).await,
            Self::RabbitMq(publisher) => {
                publisher.publish(raw).await.map_err(|error| Unavailable::Broker(Arc::new(error)))
            }
        }
    }
}

/// Gives a batch to the pipeline until it is committed, for as long as it takes; `None` when it was given up,
/// because of a shutdown or because `worthwhile` says that the messages will come again anyway.
///
/// The pipeline's future is never dropped half-way: a canceled `begin` would leave a transaction open
/// (transact-rs/sqlx#4385).
async fn commit(
    process: &impl Process,
    batch: &[Raw],
    origin: &'static str,
    health: &Health,
    shutdown: &Shutdown,
    worthwhile: impl Fn() -> bool,
) -> Option<Vec<Disposition>> {
    let health = health.part(origin);
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(15));
    loop {
        let begun = Instant::now();
        match process.process(batch).await {
            Ok(dispositions) => {
                health.up(health::DATABASE);
                count(origin, batch, begun.elapsed());
                return Some(dispositions);
            }
            Err(error) => {
                let held =
                    "somebody else holds a row that an event needs, and all behind it wait: ";
                let held = if error.is_held() { held } else { "" };
                health.down(health::DATABASE, format!("{held}{}", chain(&error)));
                metrics::counter!("customer_sync_intake_retries_total", "queue" => origin)
                    .increment(1);
            }
        }
        if !shutdown.sleep(backoff.next()).await || !worthwhile() {
            // Nothing is left here that could find out that it answers again.
            health.up(health::DATABASE);
            return None;
        }
    }
}

fn count(origin: &'static str, batch: &[Raw], took: Duration) {
    metrics::counter!("customer_sync_intake_batches_total", "queue" => origin).increment(1);
    #[expect(clippy::cast_precision_loss, reason = "a batch has at most some hundred events")]
    metrics::histogram!("customer_sync_intake_batch_events", "queue" => origin)
        .record(batch.len() as f64);
    metrics::histogram!("customer_sync_intake_commit_duration_seconds", "queue" => origin)
        .record(took.as_secs_f64());
}

/// An error with its causes, in one line. Some libraries repeat the cause in their own message: it is said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}
