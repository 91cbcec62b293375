//! Stages 2 to 5 over a batch, in one transaction. Used by intake and by replay.

use crate::{
    apply::{
        decide::{self, Context},
        load::{self, Closure},
        world::World,
        write,
    },
    clock::Clock,
    handover::{Handover, Slot},
    keyring::Keyring,
    model::{
        event::Reading,
        id::{InboundId, SubscriptionId},
        inbound::Raw,
        message::{Cause, Leased},
        time::Timestamp,
    },
    outbox,
    provider::Source,
    store::{
        self, Db, Error, Tx,
        inbox::{self, Replayable},
    },
};
use disposition::dispositions;
use fold::Applied;
use read::{Entry, folded};
use std::{collections::HashMap, sync::Arc, time::Duration};
use steps::Steps;
use uuid::Uuid;

pub mod command;
mod disposition;
mod fold;
mod measure;
mod provenance;
mod read;
mod steps;

pub use disposition::Disposition;
pub use provenance::{Story, provenance, story};
pub use read::LARGEST_BODY;

/// The configured sources, by name.
pub type Sources = HashMap<Arc<str>, Arc<Source>>;

/// The stages and what they need. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Where the state is.
    pub db: Db,
    /// The configured sources.
    pub sources: Arc<Sources>,
    /// What references are hashed with.
    pub keyring: Keyring,
    /// What time it is.
    pub clock: Clock,
    /// Where messages go that this process can deliver at once.
    pub handover: Option<Handover>,
}

/// So often a batch begins again at once when it lost to another transaction, before that is passed on.
const CONFLICTS: u32 = 30;

/// The row of an event that is processed again.
#[derive(Clone, Copy)]
struct Replayed {
    id: InboundId,
    /// Whether it passed its check when it was received.
    verified: bool,
}

/// How long the statements of a batch may take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// As long as the settings say.
    Usual,
    /// As long as one event alone may need at the very most.
    Patient,
}

/// A message, with the row that it takes the place of when it is processed again.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    raw: &'a Raw,
    replays: Option<Replayed>,
    /// The W3C context under which what it brings about is traced.
    trace: Option<&'a Arc<str>>,
    /// Whether nobody is told of it.
    quiet: bool,
}

impl Pipeline {
    /// Shows what is measured of the events from the start, before there are any.
    pub fn begin_measuring(&self) {
        measure::begin(&self.sources);
    }

    /// Shows when each source was last heard of, before anything new comes in; of one that never was, that it is
    /// listened to since now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recall_last_events(&self) -> store::Result<()> {
        let now = self.clock.now();
        let mut tx = self.db.snapshot().await?;
        let latest = inbox::latest(&mut tx, measure::LOOKED_BACK).await?;
        for source in self.sources.keys() {
            let last = if let Some(received) = latest.received.get(&**source) {
                *received
            } else if let Some(since) = latest.since
                && inbox::knows(&mut tx, source).await?
            {
                // Before that, whenever it was.
                since
            } else {
                now
            };
            measure::last_event(source, last.min(now));
        }
        Ok(())
    }

    /// Takes a batch through stages 2 to 5 and commits it; one disposition for each message, in order.
    ///
    /// A message that the database cannot hold is found by splitting the batch, and recorded as rejected.
    ///
    /// # Errors
    /// When the database fails: the whole batch is to be tried again. (What was committed of it by then
    /// comes back as duplicate.)
    pub async fn process(&self, batch: &[Raw]) -> store::Result<Vec<Disposition>> {
        self.commit_told(batch, None, false).await
    }

    /// As [`process`](Self::process), and nobody is told: no message is written. Versions grow all the same,
    /// so that who follows a customer sees that something happened that it was not told of.
    ///
    /// # Errors
    /// As for [`process`](Self::process).
    pub async fn process_quietly(&self, batch: &[Raw]) -> store::Result<Vec<Disposition>> {
        self.commit_told(batch, None, true).await
    }

    /// Processes a rejected, ignored or dead event again, with the bytes and the time of its receipt.
    /// None where there is no such event, or nothing is left of it, or its source is not configured (a record of an
    /// import, or a source that was taken out) or is one of another environment by now: it would leave its own.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn replay(&self, id: InboundId) -> store::Result<Option<Disposition>> {
        let mut tx = self.db.snapshot().await?;
        let found = inbox::replayable(&mut tx, id).await?;
        drop(tx);
        let Some(Replayable { raw, verified, environment }) = found else { return Ok(None) };
        if environment.is_some_and(|environment| !self.is_of(&raw.source, &environment)) {
            return Ok(None);
        }
        let replayed = Replayed { id, verified };
        Ok(self.commit_told(&[raw], Some(replayed), false).await?.pop())
    }

    /// Whether a source is configured, for an environment.
    fn is_of(&self, source: &str, environment: &str) -> bool {
        self.sources.get(source).is_some_and(|source| {
            *source.environment == *environment
                || source.test_environment.as_deref() == Some(environment)
        })
    }

    /// Tells the subscriptions whose end has come and was not told yet; how many there were.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn announce_ended(&self, limit: i64) -> store::Result<usize> {
        let now = self.clock.now();
        let mut tx = self.db.snapshot().await?;
        let ended = store::subscriptions::ended(&mut tx, now, limit).await?;
        drop(tx);
        if ended.is_empty() {
            return Ok(0);
        }
        let mut closure = Closure::default();
        for id in &ended {
            closure.add_subscription(*id);
        }
        let mut conflicts = 0;
        loop {
            match self.end(&ended, &mut closure, now).await {
                Ok(()) => return Ok(ended.len()),
                Err(error) => conflicts = lost(error, conflicts).await?,
            }
        }
    }

    async fn end(
        &self,
        ended: &[SubscriptionId],
        closure: &mut Closure,
        now: Timestamp,
    ) -> store::Result<()> {
        let mut tx = self.db.begin_by_key().await?;
        let mut world = load::load(&mut tx, closure, &self.keyring, now).await?;
        let due: Vec<_> = world
            .subscriptions
            .iter()
            .filter(|(id, node)| {
                // Canceled before its end, it has nothing to tell, and is not to be asked again.
                ended.contains(id)
                    || crate::apply::facts::subscription_status(&node.facts, now) != node.status
            })
            .map(|(id, node)| (*id, node.environment.clone(), node.key.clone()))
            .collect();
        let mut outgoing = Vec::new();
        for (id, environment, key) in due {
            let mut new_id = || self.clock.new_id();
            let mut context = Context {
                environment: &environment,
                keyring: &self.keyring,
                now,
                new_id: &mut new_id,
            };
            let decision = decide::end(&mut world, [id], &mut context);
            let cause = Cause {
                source: key.namespace.clone(),
                event_id: format!("{}:ends_at", key.id),
                verified: true,
            };
            outgoing.extend(self.outgoing(decision, &environment, &cause, None, now));
        }
        load::check(&world, closure)?;
        let applied = Applied { outgoing, ..Applied::default() };
        let handed_over = self.write(&mut tx, &world, applied, now).await?;
        tx.commit().await?;
        self.hand_over(handed_over);
        Ok(())
    }

    /// Commits a batch, measures it and tells its steps.
    async fn commit_told(
        &self,
        raws: &[Raw],
        replays: Option<Replayed>,
        quiet: bool,
    ) -> store::Result<Vec<Disposition>> {
        let steps = Steps::begin(raws.iter());
        let traces = steps.traces();
        let arrival = |(n, raw)| {
            let trace = traces.get(n).and_then(Option::as_ref);
            Arrival { raw, replays, trace, quiet }
        };
        let batch: Vec<Arrival<'_>> = raws.iter().enumerate().map(arrival).collect();
        let committed = match self.commit_split(&batch, Pace::Usual).await {
            // What is beside it is committed by now, and counts as repeated.
            Err(error) if error.is_timeout() => {
                tracing::warn!(stage = "apply", reason = chain(&error), "an event takes long");
                self.commit_split(&batch, Pace::Patient).await
            }
            committed => committed,
        };
        match committed {
            Ok(dispositions) => {
                measure::committed(&batch, &dispositions, &self.sources, self.clock.now());
                steps.committed(raws.iter(), &dispositions);
                Ok(dispositions)
            }
            Err(error) => {
                steps.failed(&chain(&error));
                Err(error)
            }
        }
    }

    /// Commits a batch; splits it where one of its messages makes it fail by data of its own, or takes too long: what
    /// is beside it is not held up.
    async fn commit_split(
        &self,
        batch: &[Arrival<'_>],
        pace: Pace,
    ) -> store::Result<Vec<Disposition>> {
        let now = self.time(batch).await?;
        let (tx, entries, closure) = self.begin(batch, now).await?;
        match self.commit_retried(tx, batch, &entries, closure, pace, now).await {
            Err(error) if error.may_blame_data() || error.is_timeout() => match batch {
                [] => Ok(Vec::new()),
                [_] if error.is_timeout() => Err(error),
                [poisonous] => self.reject(*poisonous, &error, now).await,
                _ => {
                    let (left, right) = batch.split_at(batch.len() / 2);
                    let left = Box::pin(self.commit_split(left, pace)).await;
                    if left.as_ref().is_err_and(|error| !error.is_timeout()) {
                        return left;
                    }
                    let right = Box::pin(self.commit_split(right, pace)).await;
                    let mut dispositions = left?;
                    dispositions.extend(right?);
                    Ok(dispositions)
                }
            },
            committed => committed,
        }
    }

    /// Begins a transaction, and reads the messages while the database does so: one that comes alone waits for every
    /// turn. SQLite has one writer, which nobody is to wait for while we read.
    async fn begin(
        &self,
        batch: &[Arrival<'_>],
        now: Timestamp,
    ) -> store::Result<(Tx, Vec<Entry>, Closure)> {
        let read = || {
            let entries = self.read(batch, now);
            let closure = self.closure(&entries);
            (entries, closure)
        };
        if self.db.is_shared() {
            let (tx, (entries, closure)) = tokio::join!(self.begin_for(batch), async { read() });
            return Ok((tx?, entries, closure));
        }
        let (entries, closure) = read();
        Ok((self.begin_for(batch).await?, entries, closure))
    }

    /// What is processed again does not take the place of what comes in.
    async fn begin_for(&self, batch: &[Arrival<'_>]) -> store::Result<Tx> {
        let is_replay = batch.iter().any(|arrival| arrival.replays.is_some());
        Ok(if is_replay { self.db.begin_by_key().await? } else { self.db.begin_batch().await? })
    }

    /// Stages 2 and 3 of each message.
    fn read(&self, batch: &[Arrival<'_>], now: Timestamp) -> Vec<Entry> {
        let mut new_id = || self.clock.new_id();
        let read = |(n, arrival): (usize, &Arrival<'_>)| {
            let verified = arrival.replays.is_some_and(|replayed| replayed.verified);
            read::read(n, arrival.raw, verified, &self.sources, now, &mut new_id)
        };
        batch.iter().enumerate().flat_map(read).collect()
    }

    /// The time of recording, which no receipt is later than (semantics 1): the database's where processes share one,
    /// since a clock of ours that is wrong must change nothing in the state. It is asked only where that matters: of
    /// a message that says no time of receipt, or one that our own clock has not reached.
    async fn time(&self, batch: &[Arrival<'_>]) -> store::Result<Timestamp> {
        let now = self.clock.now();
        let is_past = |arrival: &Arrival<'_>| arrival.raw.received_at.is_some_and(|at| at <= now);
        if !self.db.is_shared() || batch.iter().all(is_past) {
            return Ok(now);
        }
        let mut tx = self.db.snapshot().await?;
        store::now(&mut tx, now).await
    }

    /// Records a message that the database cannot hold.
    async fn reject(
        &self,
        poisonous: Arrival<'_>,
        error: &Error,
        now: Timestamp,
    ) -> store::Result<Vec<Disposition>> {
        let source = self.sources.get(&poisonous.raw.source).map(AsRef::as_ref);
        let why = format!("the database cannot hold it: {}", chain(error));
        tracing::error!(stage = "apply", source = %poisonous.raw.source, why, "an event was rejected");
        let id = self.clock.new_id();
        // One item of a batch cannot be checked again by itself.
        let verified = poisonous.replays.is_some_and(|replayed| replayed.verified);
        let entry = read::rejected(0, id, poisonous.raw, source, verified, why, now);
        let (batch, entries) = ([poisonous], [entry]);
        let closure = self.closure(&entries);
        let tx = self.begin_for(&batch).await?;
        self.commit_retried(tx, &batch, &entries, closure, Pace::Usual, now).await
    }

    /// What some entries name.
    fn closure(&self, entries: &[Entry]) -> Closure {
        let matching = self.sources.values().any(|source| source.match_email);
        let mut closure = Closure::new(matching);
        for event in entries.iter().filter_map(|entry| entry.event.as_ref()) {
            if let Reading::Asserts(assertions) = &event.reading {
                closure.add(&event.environment, assertions, &self.keyring);
            }
        }
        // Nobody's rows are locked by a body that failed its check.
        let believed = |entry: &&Entry| {
            entry.record.verified || !matches!(entry.disposition, Disposition::Rejected(_))
        };
        let believed = entries.iter().filter(believed);
        closure.mention(believed.flat_map(|entry| self.mentioned(entry)));
        closure
    }

    /// In a transaction that has just begun, and where that loses to another one, in a new one.
    async fn commit_retried(
        &self,
        mut tx: Tx,
        batch: &[Arrival<'_>],
        entries: &[Entry],
        mut closure: Closure,
        pace: Pace,
        now: Timestamp,
    ) -> store::Result<Vec<Disposition>> {
        let mut conflicts = 0;
        loop {
            match self.apply_in(&mut tx, batch, entries, &mut closure, pace, now).await {
                Ok((dispositions, handed_over)) => {
                    let committed = tx.commit_and_keep().await?;
                    self.hand_over(handed_over);
                    drop(committed);
                    return Ok(dispositions);
                }
                Err(error) => {
                    // The next attempt is not to meet the locks of this one.
                    tx.roll_back().await;
                    conflicts = lost(error, conflicts).await?;
                }
            }
            tx = self.begin_for(batch).await?;
        }
    }

    /// One transaction up to its end: record, load, decide, write, tell.
    async fn apply_in(
        &self,
        tx: &mut Tx,
        batch: &[Arrival<'_>],
        entries: &[Entry],
        closure: &mut Closure,
        pace: Pace,
        now: Timestamp,
    ) -> store::Result<(Vec<Disposition>, Vec<(Leased, Slot)>)> {
        if pace == Pace::Patient {
            tx.be_patient().await?;
        }
        let replayed: Vec<InboundId> =
            batch.iter().filter_map(|arrival| Some(arrival.replays?.id)).collect();
        inbox::remove(tx, &replayed).await?;
        let (new, mut world) =
            load::record(tx, &folded(entries), closure, &self.keyring, now).await?;
        let mut applied = self.apply(&mut world, batch, entries, &new, now);
        load::check(&world, closure)?;
        if batch.iter().all(|arrival| arrival.quiet) {
            applied.outgoing.clear();
        }
        let corrections = std::mem::take(&mut applied.corrections);
        inbox::correct(tx, &corrections).await?;
        inbox::erase_events(tx, &applied.closed).await?;
        let handed_over = self.write(tx, &world, applied, now).await?;
        let queued: Vec<Uuid> = batch.iter().filter_map(|arrival| arrival.raw.queue_id).collect();
        if !queued.is_empty() {
            store::queue::remove(tx, &queued).await?;
        }
        Ok((dispositions(batch.len(), entries, &new, &corrections), handed_over))
    }

    /// Writes what changed and what is to be told, in one turn, unless deletions first erase what was told before.
    async fn write(
        &self,
        tx: &mut Tx,
        world: &World,
        applied: Applied,
        now: Timestamp,
    ) -> store::Result<Vec<(Leased, Slot)>> {
        let mut writes = tx.together();
        write::write(tx, &mut writes, world, &applied.subjects, now).await?;
        if write::concludes(world) {
            writes.run(tx).await?;
            write::conclude(tx, world).await?;
            writes = tx.together();
        }
        let new_id = || self.clock.new_id();
        let (told, handover) = (&applied.outgoing, self.handover.as_ref());
        let handed_over = outbox::write(&world.audience, &mut writes, told, new_id, handover);
        writes.run(tx).await?;
        Ok(handed_over)
    }

    fn hand_over(&self, messages: Vec<(Leased, Slot)>) {
        if let Some(handover) = &self.handover {
            for (message, slot) in messages {
                handover.send(message, slot);
            }
        }
    }
}

/// Passes an error on, unless it is a conflict with another transaction that is worth another try.
async fn lost(error: Error, conflicts: u32) -> store::Result<u32> {
    if !error.is_conflict() || conflicts >= CONFLICTS {
        return Err(error);
    }
    tracing::debug!(stage = "apply", conflicts, "a batch begins again");
    metrics::counter!("customer_sync_batch_conflicts_total").increment(1);
    if conflicts > 2 {
        tokio::time::sleep(Duration::from_millis(u64::from(conflicts))).await;
    }
    Ok(conflicts + 1)
}

/// An error and its causes in one line.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
