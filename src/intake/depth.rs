//! How many messages wait at the broker, asked now and then: the broker knows it, and tells every consumer.

use super::{chain, rabbitmq::Link, topology};
use crate::shutdown::Shutdown;
use std::{convert::Infallible, time::Duration};

/// How often the broker is asked: as often as Prometheus asks us, by its default.
const ASKED_EVERY: Duration = Duration::from_secs(15);

/// When to ask for the second time: at first the queue may not be declared yet.
const DECLARED_WITHIN: Duration = Duration::from_secs(1);

/// Measures a queue under a label for as long as it is polled. One that cannot be looked at is left out: whether that
/// matters is for who consumes it to say.
pub(super) async fn measure(
    link: &Link,
    (label, queue): (&'static str, &str),
    shutdown: &Shutdown,
) -> Infallible {
    let mut waiting = topology::Waiting::new(link);
    let mut pause = DECLARED_WITHIN;
    while !shutdown.is_requested() {
        match waiting.of(queue).await {
            Ok(Some(count)) => {
                metrics::gauge!("customer_sync_queue_events", "queue" => label).set(count);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(queue, reason = chain(&error), "a queue was not measured");
            }
        }
        shutdown.sleep(pause).await;
        pause = ASKED_EVERY;
    }
    std::future::pending().await
}
