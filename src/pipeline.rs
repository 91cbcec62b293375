//! Stages 2 to 5 over a batch, in one transaction. Used by intake and by replay.

use crate::{
    apply::{
        decide::{self, Context, Decision},
        load::{self, Closure},
        world::{Erased, World},
        write,
    },
    clock::Clock,
    handover::{Handover, Slot},
    keyring::Keyring,
    model::{
        event::{Event, Reading},
        id::{CustomerId, EventId, InboundId, SubscriptionId},
        inbound::{Raw, Verdict},
        is_live,
        message::{Cause, EventData, EventType, Leased, OutgoingEvent},
        time::Timestamp,
    },
    outbox,
    provider::Source,
    store::{
        self, Db, Error, Tx,
        inbox::{self, Correction, Record, Subject},
    },
};
use read::Entry;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use uuid::Uuid;

mod read;

pub use read::LARGEST_BODY;

/// What became of a message. A failure of our own side is no disposition: it is an error, and the
/// message stays unacknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// Its facts are in the state.
    Applied,
    /// Seen before.
    Duplicate,
    /// Valid, and of no effect; why.
    Ignored(String),
    /// Not to be believed or not to be read; why.
    Rejected(String),
}

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

/// A message, with the row that it takes the place of when it is processed again.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    raw: &'a Raw,
    replays: Option<InboundId>,
}

impl Pipeline {
    /// Takes a batch through stages 2 to 5 and commits it; one disposition for each message, in order.
    ///
    /// A message that the database cannot hold is found by splitting the batch, and recorded as rejected.
    ///
    /// # Errors
    /// When the database fails: the whole batch is to be tried again. (What was committed of it by then
    /// comes back as duplicate.)
    pub async fn process(&self, batch: &[Raw]) -> store::Result<Vec<Disposition>> {
        let batch: Vec<Arrival<'_>> =
            batch.iter().map(|raw| Arrival { raw, replays: None }).collect();
        self.commit_split(&batch).await
    }

    /// Processes a rejected, ignored or dead event again, with the bytes and the time of its receipt.
    /// None where there is no such event, or nothing is left of it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn replay(&self, id: InboundId) -> store::Result<Option<Disposition>> {
        let mut tx = self.db.snapshot().await?;
        let Some(raw) = inbox::replayable(&mut tx, id).await? else { return Ok(None) };
        drop(tx);
        let arrival = Arrival { raw: &raw, replays: Some(id) };
        Ok(self.commit_split(&[arrival]).await?.pop())
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
        let mut tx = self.db.begin().await?;
        let mut world = load::load(&mut tx, closure).await?;
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
            outgoing.extend(self.outgoing(decision, &environment, &cause, now));
        }
        write::write(&mut tx, &world, now).await?;
        let handed_over = self.tell(&mut tx, &world, outgoing, now).await?;
        tx.commit().await?;
        self.hand_over(handed_over);
        Ok(())
    }

    /// Commits a batch; splits it where one of its messages makes it fail by data of its own.
    async fn commit_split(&self, batch: &[Arrival<'_>]) -> store::Result<Vec<Disposition>> {
        let now = self.clock.now();
        let mut new_id = || self.clock.new_id();
        let entries: Vec<Entry> = batch
            .iter()
            .enumerate()
            .flat_map(|(n, arrival)| read::read(n, arrival.raw, &self.sources, now, &mut new_id))
            .collect();
        match self.commit_retried(batch, &entries, now).await {
            Err(error) if !error.is_transient() => match batch {
                [] => Ok(Vec::new()),
                [poisonous] => self.reject(*poisonous, &error, now).await,
                _ => {
                    let (left, right) = batch.split_at(batch.len() / 2);
                    let mut dispositions = Box::pin(self.commit_split(left)).await?;
                    dispositions.extend(Box::pin(self.commit_split(right)).await?);
                    Ok(dispositions)
                }
            },
            committed => committed,
        }
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
        let record = read::rejected(self.clock.new_id(), poisonous.raw, source, false, &why, now);
        let entry =
            Entry { message: 0, record, event: None, disposition: Disposition::Rejected(why) };
        self.commit_retried(&[poisonous], &[entry], now).await
    }

    async fn commit_retried(
        &self,
        batch: &[Arrival<'_>],
        entries: &[Entry],
        now: Timestamp,
    ) -> store::Result<Vec<Disposition>> {
        let mut closure = Closure::default();
        for event in entries.iter().filter_map(|entry| entry.event.as_ref()) {
            if let Reading::Asserts(assertions) = &event.reading {
                closure.add(&event.environment, assertions, &self.keyring);
            }
        }
        let mut conflicts = 0;
        loop {
            match self.commit(batch, entries, &mut closure, now).await {
                Ok(dispositions) => return Ok(dispositions),
                Err(error) => conflicts = lost(error, conflicts).await?,
            }
        }
    }

    /// One transaction: record, load, decide, write, tell.
    async fn commit(
        &self,
        batch: &[Arrival<'_>],
        entries: &[Entry],
        closure: &mut Closure,
        now: Timestamp,
    ) -> store::Result<Vec<Disposition>> {
        let mut tx = self.db.begin().await?;
        let replayed: Vec<InboundId> = batch.iter().filter_map(|arrival| arrival.replays).collect();
        inbox::remove(&mut tx, &replayed).await?;
        let new = inbox::record(&mut tx, &folded(entries), now).await?;
        let mut world = load::load(&mut tx, closure).await?;
        let applied = self.apply(&mut world, entries, &new, now);
        write::write(&mut tx, &world, now).await?;
        inbox::link(&mut tx, &applied.subjects).await?;
        inbox::correct(&mut tx, &applied.corrections).await?;
        inbox::erase_events(&mut tx, &applied.closed).await?;
        let handed_over = self.tell(&mut tx, &world, applied.outgoing, now).await?;
        let queued: Vec<Uuid> = batch.iter().filter_map(|arrival| arrival.raw.queue_id).collect();
        if !queued.is_empty() {
            store::queue::remove(&mut tx, &queued).await?;
        }
        tx.commit().await?;
        self.hand_over(handed_over);
        Ok(dispositions(batch.len(), entries, &new, &applied.corrections))
    }

    /// Folds the new events over the loaded state, in order of arrival.
    fn apply(
        &self,
        world: &mut World,
        entries: &[Entry],
        new: &HashSet<Uuid>,
        now: Timestamp,
    ) -> Applied {
        let mut applied = Applied::default();
        for entry in entries.iter().filter(|entry| new.contains(&entry.record.id)) {
            let Some(event) = &entry.event else { continue };
            let Reading::Asserts(assertions) = &event.reading else { continue };
            let mut new_id = || self.clock.new_id();
            let mut context = Context {
                environment: &event.environment,
                keyring: &self.keyring,
                now,
                new_id: &mut new_id,
            };
            let decision = decide::decide(world, assertions, &mut context);
            let inbound_id = entry.record.id;
            let subject = |subject_id| Subject { subject_id, inbound_id };
            applied.subjects.extend(decision.subjects.iter().copied().map(subject));
            if decision.closed || decision.late {
                applied.closed.insert(inbound_id);
            }
            for told in &mut applied.outgoing {
                erase(told, &decision.erased);
            }
            if decision.closed {
                let is_about_a_person = assertions.payments.is_empty()
                    && assertions.subscriptions.is_empty()
                    && assertions.references.iter().all(|said| said.facts.deletions.is_empty());
                if is_about_a_person && decision.changes.is_empty() {
                    let reason = "all that it names was deleted".to_owned();
                    let verdict = Verdict::Ignored.as_str();
                    applied.corrections.push(Correction { id: inbound_id, verdict, reason });
                }
            }
            let cause = cause(event);
            applied.outgoing.extend(self.outgoing(decision, &event.environment, &cause, now));
        }
        applied
    }

    fn outgoing(
        &self,
        decision: Decision,
        environment: &Arc<str>,
        cause: &Cause,
        now: Timestamp,
    ) -> Vec<OutgoingEvent> {
        decision
            .changes
            .into_iter()
            .map(|change| OutgoingEvent {
                id: EventId(self.clock.new_id()),
                kind: change.kind,
                timestamp: now,
                environment: environment.clone(),
                live: is_live(environment),
                version: change.version,
                data: change.data,
                previous_attributes: change.previous,
                cause: cause.clone(),
            })
            .collect()
    }

    /// Erases what deletions took from what was told before, and writes what is to be told now.
    async fn tell(
        &self,
        tx: &mut Tx,
        world: &World,
        outgoing: Vec<OutgoingEvent>,
        now: Timestamp,
    ) -> store::Result<Vec<(Leased, Slot)>> {
        write::erase(tx, world).await?;
        let new_id = || self.clock.new_id();
        outbox::write(tx, &outgoing, now, new_id, self.handover.as_ref()).await
    }

    fn hand_over(&self, messages: Vec<(Leased, Slot)>) {
        if let Some(handover) = &self.handover {
            for (message, slot) in messages {
                handover.send(message, slot);
            }
        }
    }
}

/// What applying a batch came to.
#[derive(Default)]
struct Applied {
    outgoing: Vec<OutgoingEvent>,
    subjects: BTreeSet<Subject>,
    corrections: Vec<Correction>,
    closed: BTreeSet<Uuid>,
}

fn cause(event: &Event) -> Cause {
    Cause {
        source: event.key.source().into(),
        event_id: event.key.event_id().to_owned(),
        verified: event.verified,
    }
}

/// Takes from a message what a later event of the same batch deleted.
fn erase(event: &mut OutgoingEvent, erased: &Erased) {
    if event.kind == EventType::CustomerDeleted {
        return;
    }
    let customer = event.data.customer.as_ref().map(|customer| customer.id);
    let is_in = |ids: &BTreeSet<CustomerId>| customer.is_some_and(|id| ids.contains(&id));
    let (gone, lessened) = (is_in(&erased.customers), is_in(&erased.lessened));
    if gone {
        // Of those that went into it, too, the ids stay: whoever keeps a copy learns that it is gone.
        let merged_from = std::mem::take(&mut event.data.merged_from);
        let customer = event.data.customer.take();
        event.data = EventData { customer, merged_from, ..EventData::default() };
    }
    let in_conflict = event.kind == EventType::CustomerConflict && is_in(&erased.conflicts);
    if let Some(customer) = &mut event.data.customer
        && (gone || lessened || in_conflict)
    {
        customer.person = crate::model::customer::Person::default();
        customer.deleted = gone;
        event.data.conflict = None;
        event.previous_attributes.clear();
    }
    if let Some(payment) = &mut event.data.payment
        && erased.payments.contains(&payment.id)
    {
        payment.description = None;
        payment.metadata.clear();
        event.previous_attributes.clear();
    }
}

/// One row for each key of a batch: copies in one batch are counted, not kept.
fn folded(entries: &[Entry]) -> Vec<Record> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut records: Vec<Record> = Vec::with_capacity(entries.len());
    for entry in entries {
        let known = places.get(entry.record.dedupe_key.as_str());
        if let Some(first) = known.and_then(|place| records.get_mut(*place)) {
            first.copies += 1;
        } else {
            places.insert(&entry.record.dedupe_key, records.len());
            records.push(entry.record.clone());
        }
    }
    records
}

/// What became of each message: the best of what became of its events.
fn dispositions(
    messages: usize,
    entries: &[Entry],
    new: &HashSet<Uuid>,
    corrections: &[Correction],
) -> Vec<Disposition> {
    let mut all = vec![Disposition::Duplicate; messages];
    for entry in entries {
        let Some(place) = all.get_mut(entry.message) else { continue };
        let corrected = corrections.iter().find(|correction| correction.id == entry.record.id);
        let disposition = match corrected {
            Some(correction) => Disposition::Ignored(correction.reason.clone()),
            None if new.contains(&entry.record.id) => entry.disposition.clone(),
            None => match &entry.disposition {
                rejected @ Disposition::Rejected(_) => rejected.clone(),
                _ => Disposition::Duplicate,
            },
        };
        if weight(&disposition) > weight(place) {
            *place = disposition;
        }
    }
    all
}

fn weight(disposition: &Disposition) -> u8 {
    match disposition {
        Disposition::Duplicate => 0,
        Disposition::Ignored(_) => 1,
        Disposition::Rejected(_) => 2,
        Disposition::Applied => 3,
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
