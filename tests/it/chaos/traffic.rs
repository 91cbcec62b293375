//! A history on its way into the daemons, each delivery tried until it is taken, as providers and gateways do.

use super::Random;
use crate::{
    daemon::Stage,
    faults::{post, publisher, raw},
};
use customer_sync::{
    intake::publisher::Publisher,
    simulator::{Delivery, History, Senders},
};
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tokio::time::{sleep, timeout};

/// How many are under way at once.
const AT_ONCE: usize = 6;

/// How long an answer is waited for: a paused daemon gives none.
const PATIENCE: Duration = Duration::from_secs(20);

/// What sends.
pub(super) struct Traffic {
    senders: Senders,
    addresses: Vec<SocketAddr>,
    broker: Option<Publisher>,
    /// How many of the deliveries may be sent by now: it is spread over the faults.
    pub(super) due: AtomicUsize,
}

impl Traffic {
    pub(super) fn new(stage: &Stage, addresses: Vec<SocketAddr>) -> Self {
        let broker = stage.broker.as_ref().map(publisher);
        Self { senders: stage.senders.clone(), addresses, broker, due: AtomicUsize::new(0) }
    }

    /// Sends a whole history; all of it was taken when this returns.
    pub(super) async fn send(&self, history: &History, seed: u64) {
        let next = AtomicUsize::new(0);
        let workers = (0..AT_ONCE).map(|worker| {
            let next = &next;
            let mut random = Random(seed ^ u64::try_from(worker).expect("few"));
            async move {
                loop {
                    let place = next.fetch_add(1, Ordering::SeqCst);
                    let Some(delivery) = history.deliveries.get(place) else { return };
                    while self.due.load(Ordering::SeqCst) <= place {
                        sleep(Duration::from_millis(10)).await;
                    }
                    while !self.is_taken(delivery, &mut random).await {
                        sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        });
        futures_util::future::join_all(workers).await;
        if let Some(broker) = &self.broker {
            broker.close().await;
        }
    }

    /// Whether one try was answered with a confirm or 202.
    async fn is_taken(&self, delivery: &Delivery, random: &mut Random) -> bool {
        if let Some(broker) = &self.broker
            && random.below(2) == 0
        {
            return broker.publish(raw(delivery)).await.is_ok();
        }
        let address = self.addresses[random.below(self.addresses.len())];
        let answer = timeout(PATIENCE, post(&self.senders, address, delivery)).await;
        let status = answer.ok().flatten();
        assert!(matches!(status, None | Some(202 | 503)), "answered {status:?}");
        status == Some(202)
    }
}
