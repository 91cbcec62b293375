//! Sends a generated history, at a rate or as fast as it is taken, with a progress bar where a person looks on.

use super::via::Sender;
use crate::{
    clock::Clock,
    model::inbound::Raw,
    retry::Backoff,
    shutdown::Shutdown,
    simulator::{Delivery, Senders},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;
use tokio::time::Instant;

/// How many are on their way at once.
const WINDOW: usize = 64;

/// How often a delivery is tried again that was not taken, as a provider would.
const TRIES: u32 = 12;

/// How deliveries are sent.
#[derive(Debug)]
pub(super) struct Traffic<'a> {
    pub(super) sender: &'a Sender,
    pub(super) senders: &'a Senders,
    pub(super) clock: &'a Clock,
    /// Deliveries a second; as fast as they are taken where none is given.
    pub(super) rate: Option<f64>,
    /// What ends it early.
    pub(super) shutdown: &'a Shutdown,
    pub(super) bar: &'a ProgressBar,
}

impl Traffic<'_> {
    /// Sends all; how many were taken. Fewer than there are only when it was ended early.
    pub(super) async fn send(&self, deliveries: &[Delivery]) -> anyhow::Result<usize> {
        let start = Instant::now();
        stream::iter(deliveries.iter().enumerate())
            .map(|(place, delivery)| async move {
                if let Some(wait) = self.rate.and_then(|rate| wait(place, rate)) {
                    let until_due = (start + wait).saturating_duration_since(Instant::now());
                    self.shutdown.sleep(until_due).await;
                }
                if self.shutdown.is_requested() {
                    return Ok(0);
                }
                self.deliver(delivery).await.map(|()| 1)
            })
            .buffered(WINDOW)
            .try_fold(0, |sum, taken| async move {
                self.bar.inc(taken);
                Ok(sum + usize::try_from(taken).unwrap_or(0))
            })
            .await
    }

    async fn deliver(&self, delivery: &Delivery) -> anyhow::Result<()> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut tries = 1;
        loop {
            match self.sender.send(self.raw(delivery)).await {
                Ok(()) => return Ok(()),
                Err(error) if tries >= TRIES => return Err(error),
                Err(_) => tries += 1,
            }
            if !self.shutdown.sleep(backoff.next()).await {
                anyhow::bail!("stopped");
            }
        }
    }

    /// Over HTTP it is received now, and so it is signed now; through the broker it is received when the history
    /// says.
    fn raw(&self, delivery: &Delivery) -> Raw {
        let now = self.clock.now();
        let (headers, received_at) = match (self.sender, self.senders.find(&delivery.source)) {
            (Sender::Http { .. }, Some(sender)) => {
                (sender.sign(&delivery.event_id, &delivery.body, now), now)
            }
            _ => (delivery.headers.clone(), delivery.received_at),
        };
        Raw {
            source: delivery.source.clone(),
            headers: headers.into_iter().collect(),
            body: delivery.body.clone(),
            received_at: Some(received_at),
            queue_id: None,
            dead: None,
        }
    }
}

fn wait(place: usize, rate: f64) -> Option<Duration> {
    let place = f64::from(u32::try_from(place).ok()?);
    Duration::try_from_secs_f64(place / rate).ok()
}

/// A bar on standard error, drawn only on a terminal.
pub(super) fn bar(length: usize, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(length).unwrap_or(u64::MAX));
    if let Ok(style) = ProgressStyle::with_template("{prefix:10} {bar:30} {pos}/{len}  {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(what);
    bar
}
