//! Stage 1 against real databases and a real broker: nothing is acknowledged before its commit, nothing is lost,
//! and every broken connection is rebuilt.

use crate::support::services::{self, TestDatabase};
use customer_sync::{
    clock::Clock,
    intake::Process,
    model::{inbound::Raw, time::Timestamp},
    pipeline::Disposition,
    store::{self, Db, queue},
};
use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

mod broker;
mod clocks;
mod embedded;
mod publisher;
mod rabbitmq;

/// Stands where the pipeline stands: keeps what it is given and removes it from the queue in one transaction, and
/// fails as long as it is told to.
#[derive(Clone, Debug)]
struct Kept {
    db: Option<Db>,
    away: Arc<AtomicBool>,
    batches: Arc<Mutex<Vec<Vec<Raw>>>>,
}

impl Kept {
    fn new(db: Option<Db>) -> Self {
        Self { db, away: Arc::default(), batches: Arc::default() }
    }

    fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    fn raws(&self) -> Vec<Raw> {
        self.batches.lock().unwrap().concat()
    }

    fn bodies(&self) -> Vec<String> {
        self.raws().iter().map(|raw| String::from_utf8_lossy(&raw.body).into_owned()).collect()
    }
}

impl Process for Kept {
    async fn process(&self, batch: &[Raw]) -> store::Result<Vec<Disposition>> {
        if self.away.load(Ordering::SeqCst) {
            return Err(store::Error::Grew);
        }
        if let Some(db) = &self.db {
            let ids: Vec<_> = batch.iter().filter_map(|raw| raw.queue_id).collect();
            let mut tx = db.begin().await?;
            queue::remove(&mut tx, &ids).await?;
            tx.commit().await?;
        }
        self.batches.lock().unwrap().push(batch.to_vec());
        Ok(vec![Disposition::Applied; batch.len()])
    }

    fn now(&self) -> Timestamp {
        Clock::system().now()
    }
}

fn raw(body: impl Into<Vec<u8>>) -> Raw {
    Raw {
        source: "stripe".into(),
        headers: [("stripe-signature", "t=1,v1=ab")].into_iter().collect(),
        body: body.into().into(),
        received_at: Timestamp::from_seconds(1_700_000_000),
        queue_id: None,
        dead: None,
    }
}

/// Waits until a condition holds, at most twenty seconds.
async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A database of each kind, empty and migrated; what holds it; its URL.
async fn databases() -> Vec<(Db, TestDatabase, String)> {
    let all = [services::sqlite().await, services::postgres().await];
    let opened = |kept: TestDatabase| {
        let (db, url) = (kept.db.clone(), kept.url.clone());
        (db, kept, url)
    };
    all.map(opened).into()
}
