//! Stage 4 over a batch: the new events folded over what is loaded, one after the other, and what comes of it. Pure but for
//! ids and the time.

use super::{Arrival, Pipeline, read::Entry};
use crate::{
    apply::{
        decide::{self, Context, Decision},
        world::{Erased, World},
    },
    model::{
        customer::Person,
        event::{Event, Reading},
        id::{CustomerId, EventId},
        inbound::Verdict,
        is_live,
        message::{Cause, EventData, EventType, OutgoingEvent},
        reference::ReferenceId,
        time::Timestamp,
    },
    store::inbox::{Correction, Subject},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};
use uuid::Uuid;

/// What applying a batch came to.
#[derive(Default)]
pub(super) struct Applied {
    pub(super) outgoing: Vec<OutgoingEvent>,
    pub(super) subjects: BTreeSet<Subject>,
    pub(super) corrections: Vec<Correction>,
    pub(super) closed: BTreeSet<Uuid>,
}

impl Pipeline {
    /// Whom an entry's body may be about of which nothing is applied.
    pub(super) fn mentioned(&self, entry: &Entry) -> Vec<ReferenceId> {
        let environment = entry.record.environment.as_deref().unwrap_or_default();
        let id = |name| self.keyring.reference_id(environment, name);
        entry.mentions.iter().map(id).collect()
    }

    /// Folds the new events over the loaded state, in order of arrival.
    pub(super) fn apply(
        &self,
        world: &mut World,
        batch: &[Arrival<'_>],
        entries: &[Entry],
        new: &HashSet<Uuid>,
        now: Timestamp,
    ) -> Applied {
        let mut applied = Applied::default();
        for entry in entries.iter().filter(|entry| new.contains(&entry.record.id)) {
            let record = &entry.record;
            for id in self.mentioned(entry) {
                applied.subjects.insert(Subject { subject_id: id.0, inbound_id: record.id });
                let said_at = record.occurred_at.unwrap_or(record.received_at);
                let is_gone = world.references.get(&id).is_some_and(|node| {
                    node.closed || node.deleted_at.is_some_and(|deleted_at| said_at <= deleted_at)
                });
                if is_gone {
                    applied.closed.insert(record.id);
                }
            }
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
            if decision.unheard {
                let reason = "whom it is about was deleted".to_owned();
                let verdict = Verdict::Ignored.as_str();
                applied.corrections.push(Correction { id: inbound_id, verdict, reason });
            }
            let cause = cause(event);
            let trace = batch.get(entry.message).and_then(|arrival| arrival.trace);
            let told = self.outgoing(decision, &event.environment, &cause, trace, now);
            applied.outgoing.extend(told);
        }
        applied
    }

    /// The changes as they are told.
    pub(super) fn outgoing(
        &self,
        decision: Decision,
        environment: &Arc<str>,
        cause: &Cause,
        trace: Option<&Arc<str>>,
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
                trace: trace.cloned(),
            })
            .collect()
    }
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
    let gone = customer.is_some_and(|id| erased.customers.contains(&id));
    let retold = |ids: &BTreeMap<CustomerId, i64>| customer.and_then(|id| ids.get(&id).copied());
    if gone {
        // Of those that went into it, too, the ids stay: whoever keeps a copy learns that it is gone.
        let merged_from = std::mem::take(&mut event.data.merged_from);
        let customer = event.data.customer.take();
        event.data = EventData { customer, merged_from, ..EventData::default() };
    }
    let in_conflict = event.kind == EventType::CustomerConflict;
    let since = retold(&erased.lessened);
    let since = since.max(retold(&erased.conflicts).filter(|_| in_conflict));
    if let Some(customer) = &mut event.data.customer
        && (gone || since.is_some())
    {
        event.data.conflict = None;
        event.previous_attributes.clear();
        if gone || event.version < since {
            customer.person = Person::default();
            customer.deleted = gone;
        }
    }
    if let Some(payment) = &mut event.data.payment
        && erased.payments.contains(&payment.id)
    {
        payment.description = None;
        payment.metadata.clear();
        event.previous_attributes.clear();
    }
}
