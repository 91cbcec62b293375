//! The embedded queue: a table in the same database. [`Door`] is the way in, [`run`] the way out.

use super::{
    Process, Unavailable,
    batch::{Limits, Load},
    chain, commit, envelope,
};
use crate::{
    clock::Clock,
    health::{self, Health},
    model::inbound::Raw,
    retry::Backoff,
    shutdown::Shutdown,
    store::{self, Db, queue},
};
use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

/// Who reports that the queue cannot be read.
const QUEUE: &str = "queue";

/// How many callers may wait for their commit; the next ones wait to be let in.
const WAITING: usize = 4_096;

/// The way into the queue. Callers that come while a transaction commits share the next one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Door {
    db: Db,
    clock: Clock,
    wake: Arc<Notify>,
    shutdown: Shutdown,
    limits: Limits,
    room: Arc<Semaphore>,
    line: Arc<Mutex<Line>>,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Caller>,
    /// Whether a task commits what waits.
    served: bool,
}

#[derive(Debug)]
struct Caller {
    raw: Raw,
    answer: oneshot::Sender<Result<(), Unavailable>>,
    _place: OwnedSemaphorePermit,
}

/// The right to commit what waits. Given back even when its task is dropped by a hard shutdown: then nobody
/// waits for an answer that never comes.
struct Service(Option<Arc<Mutex<Line>>>);

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(line) = self.0.take() {
            let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
            line.served = false;
            line.waiting.clear();
        }
    }
}

impl Door {
    /// A way into the queue of a database; `wake` is notified after each commit.
    pub fn new(db: Db, clock: Clock, wake: Arc<Notify>, shutdown: Shutdown) -> Self {
        Self {
            db,
            clock,
            wake,
            shutdown,
            limits: Limits::default(),
            room: Arc::new(Semaphore::new(WAITING)),
            line: Arc::default(),
        }
    }

    /// Keeps an event: it is committed when this returns. Its transaction goes on when the caller goes away.
    ///
    /// # Errors
    /// When the database refuses or is away, or the process is stopped hard.
    pub async fn accept(&self, raw: Raw) -> Result<(), Unavailable> {
        let place = self.room.clone().acquire_owned().await.map_err(|_| Unavailable::Stopping)?;
        let (answer, answered) = oneshot::channel();
        if let Some(service) = self.enter(Caller { raw: clean(raw), answer, _place: place }) {
            let door = self.clone();
            self.shutdown.spawn(async move { door.serve(service).await });
        }
        answered.await.map_err(|_| Unavailable::Stopping)?
    }

    /// Joins the line; whoever finds nobody serving it is to serve it.
    fn enter(&self, caller: Caller) -> Option<Service> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.waiting.push_back(caller);
        let serve = !std::mem::replace(&mut line.served, true);
        serve.then(|| Service(Some(self.line.clone())))
    }

    async fn serve(&self, mut service: Service) {
        while let Some(group) = self.next_group() {
            let result = self.insert(&group).await.map_err(Arc::new);
            if result.is_ok() {
                self.wake.notify_one();
            }
            for caller in group {
                let answer = result.clone().map_err(Unavailable::Database);
                // A caller that went away needs no answer.
                let _ = caller.answer.send(answer);
            }
        }
        // The line was left under the lock that found it empty; by now it may be another's.
        service.0 = None;
    }

    /// The callers that share the next transaction; `None` leaves the line to the next caller.
    fn next_group(&self) -> Option<Vec<Caller>> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let mut load = Load::default();
        let mut group = Vec::new();
        while let Some(next) = line.waiting.front() {
            if !load.take(next.raw.body.len(), self.limits) {
                break;
            }
            group.extend(line.waiting.pop_front());
        }
        if group.is_empty() {
            line.served = false;
            return None;
        }
        Some(group)
    }

    async fn insert(&self, group: &[Caller]) -> store::Result<()> {
        let now = self.clock.now();
        let entries: Vec<queue::Entry<'_>> = group
            .iter()
            .map(|caller| queue::Entry {
                id: self.clock.new_id(),
                received_at: caller.raw.received_at.map_or(now, |time| time.min(now)),
                raw: &caller.raw,
            })
            .collect();
        let mut tx = self.db.begin().await?;
        queue::push(&mut tx, &entries).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Postgres cannot hold U+0000, and one such event would fail all that share its transaction.
fn clean(raw: Raw) -> Raw {
    let text = |text: &str| envelope::without_nul(text.to_owned());
    let headers = raw.headers.iter().map(|(name, value)| (text(name), text(value))).collect();
    Raw { source: text(&raw.source).into(), headers, ..raw }
}

/// How the queue is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How much one batch takes.
    pub batch: Limits,
    /// How long to sleep when the queue is empty and nobody wakes the loop: another process may have filled it.
    pub poll: Duration,
    /// How long taken events are hidden from other processes (Postgres): longer than a batch needs.
    pub lease: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            batch: Limits::default(),
            poll: Duration::from_secs(1),
            lease: Duration::from_mins(1),
        }
    }
}

/// What one round did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// So many events were committed and are gone from the queue.
    Worked(usize),
    /// The queue is empty.
    Idle,
    /// Stopping was asked for while the database was away; the events are still in the queue.
    GivenUp,
}

/// The queue's reader.
#[derive(Clone, Debug)]
pub struct Reader<P> {
    /// Where the queue is.
    pub db: Db,
    /// What takes the batches; it removes their rows in its own transaction.
    pub process: P,
    /// How it is read.
    pub settings: Settings,
    /// Where to report the database.
    pub health: Health,
    /// What ends it.
    pub shutdown: Shutdown,
}

impl<P: Process> Reader<P> {
    /// Takes one batch through the pipeline.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn step(&self) -> store::Result<Step> {
        let batch = self.take().await?;
        self.health.part(QUEUE).up(health::DATABASE);
        if batch.is_empty() {
            return Ok(Step::Idle);
        }
        let done =
            commit(&self.process, &batch, "embedded", &self.health, &self.shutdown, || true).await;
        Ok(done.map_or(Step::GivenUp, |_| Step::Worked(batch.len())))
    }

    async fn take(&self) -> store::Result<Vec<Raw>> {
        let Settings { batch, lease, .. } = self.settings;
        let lease = chrono::TimeDelta::from_std(lease).unwrap_or(chrono::TimeDelta::MAX);
        // SQLite's reader takes no lease, and leaves the one writer to those who write.
        let mut tx =
            if self.db.is_shared() { self.db.begin().await? } else { self.db.snapshot().await? };
        let now = store::now(&mut tx, self.process.now()).await?;
        let taken = queue::take(&mut tx, batch.events, batch.bytes, now, lease).await?;
        tx.commit().await?;
        Ok(taken)
    }
}

/// Reads the queue until stopping is asked for.
///
/// # Errors
/// None: what fails is tried again.
pub async fn run<P: Process>(reader: Reader<P>, wake: Arc<Notify>) -> Result<(), Infallible> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(15));
    while !reader.shutdown.is_requested() {
        match reader.step().await {
            Ok(Step::Worked(_)) => backoff.reset(),
            Ok(Step::Idle) => {
                backoff.reset();
                tokio::select! {
                    () = wake.notified() => {}
                    _ = reader.shutdown.sleep(reader.settings.poll) => {}
                }
            }
            Ok(Step::GivenUp) => break,
            Err(error) => {
                reader.health.part(QUEUE).down(health::DATABASE, chain(&error));
                reader.shutdown.sleep(backoff.next()).await;
            }
        }
    }
    Ok(())
}
