//! Keeps a sample of what the ingress refuses, without a flood of it costing more than one transaction at a
//! time: what does not fit is counted and forgotten.

use crate::{
    clock::Clock,
    shutdown::Shutdown,
    store::{
        self, Db,
        refusals::{Refusal, record},
    },
};
use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

/// So many may wait to be written.
const WAITING: usize = 64;

/// How long an answer waits for its refusal to be written, so that whoever looks next finds it.
const PATIENCE: Duration = Duration::from_secs(1);

type Waiting = Vec<(Refusal, oneshot::Sender<()>)>;

/// Where refusals go. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Refusals {
    db: Db,
    clock: Clock,
    shutdown: Shutdown,
    /// What waits; none while nobody writes.
    waiting: Arc<Mutex<Option<Waiting>>>,
}

impl Refusals {
    /// Nothing was refused yet.
    pub(super) fn new(db: Db, clock: Clock, shutdown: Shutdown) -> Self {
        Self { db, clock, shutdown, waiting: Arc::default() }
    }

    /// Keeps a refusal if there is room for it, and waits a moment for that.
    pub(super) async fn keep(&self, refusal: Refusal) {
        let (written, wait) = oneshot::channel();
        let idle = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let idle = waiting.is_none();
            let line = waiting.get_or_insert_default();
            if line.len() >= WAITING {
                return;
            }
            line.push((refusal, written));
            idle
        };
        if idle {
            let this = self.clone();
            self.shutdown.spawn(async move { this.write_all().await });
        }
        // Whether it was written, failed or takes longer: the sender is answered the same.
        let _ = timeout(PATIENCE, wait).await;
    }

    /// Writes until nothing waits.
    async fn write_all(&self) {
        while let Some(line) = self.take() {
            let (refusals, written): (Vec<_>, Vec<_>) = line.into_iter().unzip();
            if let Err(error) = self.write(refusals).await {
                tracing::warn!(%error, "refused requests were not written down");
            }
            drop(written);
        }
    }

    fn take(&self) -> Option<Waiting> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let line = waiting.as_mut().map(mem::take).filter(|line| !line.is_empty());
        if line.is_none() {
            *waiting = None;
        }
        line
    }

    async fn write(&self, refusals: Vec<Refusal>) -> store::Result<()> {
        let mut tx = self.db.begin().await?;
        record(&mut tx, refusals, self.clock.now()).await?;
        Ok(tx.commit().await?)
    }
}
