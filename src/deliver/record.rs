//! Writes results down, many in one transaction, and switches endpoints off that are gone.

use crate::{
    deliver::{
        Shared,
        attempt::Finished,
        breaker::{self, Sign},
    },
    model::{
        endpoint::Endpoint,
        id::{EndpointId, EventId, MessageId},
        is_live,
        message::{Cause, EventType},
        time::{Timestamp, millis},
    },
    store::{
        self, Tx,
        endpoints::{self, Locked},
        messages::{self, NewEvent, NewMessage, Next, Settled},
    },
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Why an endpoint was switched off.
const GONE: &str = "it answered 410 Gone";

/// What came of recording.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// How many slots are free again.
    pub freed: usize,
    /// The endpoints that are not where they were: switched off, or at another URL by now.
    pub gone: BTreeSet<EndpointId>,
    /// The endpoints that are left alone from now on.
    pub paused: BTreeSet<EndpointId>,
    /// Whether messages are due that waited for one of these.
    pub released: bool,
    /// What could not be recorded yet.
    pub kept: Vec<Finished>,
    /// Why not.
    pub error: Option<store::Error>,
}

/// Records a batch. While the database is away it comes back whole. A result that the database refuses for
/// itself is given up, so that it does not keep the others: its message goes out again when its lease ends.
pub(super) async fn record(shared: Arc<Shared>, batch: Vec<Finished>) -> Recorded {
    let mut recorded = Recorded::default();
    match settle(&shared, &batch).await {
        Ok(effects) => {
            recorded.take(effects);
            for finished in batch {
                recorded.free(finished);
            }
        }
        Err(error) if !error.may_blame_data() => {
            recorded.kept = batch;
            recorded.error = Some(error);
        }
        Err(_) => {
            for finished in batch {
                match settle(&shared, std::slice::from_ref(&finished)).await {
                    Ok(effects) => {
                        recorded.take(effects);
                        recorded.free(finished);
                    }
                    Err(error) if !error.may_blame_data() => {
                        recorded.kept.push(finished);
                        recorded.error = Some(error);
                    }
                    Err(error) => {
                        let message = finished.settled.message_id;
                        tracing::error!(%message, ?error, "a result cannot be recorded");
                        recorded.free(finished);
                    }
                }
            }
        }
    }
    recorded
}

impl Recorded {
    fn free(&mut self, finished: Finished) {
        self.freed += 1;
        finished.release();
    }

    fn take(&mut self, effects: Effects) {
        self.gone.extend(effects.gone);
        self.paused.extend(effects.paused);
        self.released |= effects.released;
    }
}

/// What a batch did to others than its messages.
#[derive(Debug, Default)]
struct Effects {
    gone: BTreeSet<EndpointId>,
    paused: BTreeSet<EndpointId>,
    released: bool,
}

async fn settle(shared: &Shared, batch: &[Finished]) -> store::Result<Effects> {
    let mut effects = Effects::default();
    let mut tx = shared.db.begin().await?;
    let now = store::now(&mut tx, shared.clock.now()).await?;
    // Endpoints are locked before messages, all at once and in the order of their ids: so does everybody.
    let (troubled, mut well) = sorted_out(batch);
    let mut locked = BTreeMap::new();
    if !troubled.is_empty() {
        locked = endpoints::locked(&mut tx, troubled.iter().copied(), well).await?;
        well = locked.keys().copied().filter(|id| !troubled.contains(id)).collect();
        locked.retain(|id, _| troubled.contains(id));
    }
    let off = stand(shared, &mut tx, batch, &locked, now, &mut effects).await?;
    let settled: Vec<Settled> = batch
        .iter()
        .map(|finished| finished.settled_at(locked.get(&finished.endpoint_id)))
        .collect();
    let changed = messages::settle(&mut tx, &settled, well, now).await?;
    effects.released = !changed.released.is_empty();
    for (endpoint, (message, reason)) in off {
        if endpoints::set_enabled(&mut tx, endpoint, false, Some(&reason), now).await? {
            tell_the_others(shared, &mut tx, endpoint, (message, &reason), now).await?;
        }
        effects.gone.insert(endpoint);
    }
    tx.commit().await?;
    Ok(effects)
}

impl Finished {
    /// Whether it was sent to a URL that its endpoint has left meanwhile, and nobody was there any more: that says
    /// nothing of where it is now.
    fn is_misdirected(&self, endpoint: &Locked) -> bool {
        self.gone.as_ref().is_some_and(|url| *url != endpoint.url)
    }

    /// What becomes of the message, given how its endpoint stands where that matters: it is due at once where it was
    /// misdirected.
    fn settled_at(&self, endpoint: Option<&Locked>) -> Settled {
        let mut settled = self.settled.clone();
        if endpoint.is_some_and(|endpoint| self.is_misdirected(endpoint)) {
            settled.next = Next::Again;
        }
        settled
    }
}

/// The endpoints whose standing may change, and those that only answered as they should.
fn sorted_out(batch: &[Finished]) -> (BTreeSet<EndpointId>, BTreeSet<EndpointId>) {
    let mut troubled = BTreeSet::new();
    let mut well = BTreeSet::new();
    for finished in batch {
        let told = finished.told;
        if told.probe || finished.gone.is_some() || matches!(told.sign, Sign::Failed { .. }) {
            troubled.insert(finished.endpoint_id);
        } else if told.sign == Sign::Delivered {
            well.insert(finished.endpoint_id);
        }
    }
    well.retain(|endpoint| !troubled.contains(endpoint));
    (troubled, well)
}

/// Writes down how these endpoints stand now; those that are to be switched off, each by which message and why.
async fn stand(
    shared: &Shared,
    tx: &mut Tx,
    batch: &[Finished],
    locked: &BTreeMap<EndpointId, Locked>,
    now: Timestamp,
    effects: &mut Effects,
) -> store::Result<BTreeMap<EndpointId, (MessageId, String)>> {
    let mut off = BTreeMap::new();
    let policy = &shared.settings.breaker;
    for (&endpoint, held) in locked {
        let before = held.standing;
        let mut standing = before;
        for finished in batch.iter().filter(|finished| finished.endpoint_id == endpoint) {
            let (message, mut told) = (finished.told.message, finished.told);
            if finished.is_misdirected(held) {
                effects.gone.insert(endpoint);
                told.sign = Sign::Nothing;
            } else if finished.gone.is_some() {
                off.insert(endpoint, (message, GONE.to_owned()));
                continue;
            }
            let (next, ends) = breaker::after(standing, told, now, policy);
            standing = next;
            if ends && let Some(since) = standing.failing_since {
                let reason = format!("every try failed since {}", since.to_millis_text());
                off.entry(endpoint).or_insert((message, reason));
            }
        }
        if standing != before {
            endpoints::stand(tx, endpoint, &standing).await?;
        }
        if standing.is_held(now) {
            effects.paused.insert(endpoint);
        }
        if standing.breaker != before.breaker {
            let breaker = standing.breaker.as_str();
            tracing::info!(%endpoint, breaker, "the circuit breaker of an endpoint changed");
        }
    }
    Ok(off)
}

/// The body of `endpoint.disabled`: it is about no customer, and names the endpoint instead.
#[derive(Serialize)]
struct Disabled<'e> {
    id: EventId,
    #[serde(rename = "type")]
    kind: EventType,
    #[serde(serialize_with = "millis")]
    timestamp: Timestamp,
    environment: &'e str,
    live: bool,
    version: Option<i64>,
    data: DisabledData<'e>,
    previous_attributes: BTreeMap<&'static str, bool>,
    cause: Cause,
}

#[derive(Serialize)]
struct DisabledData<'e> {
    customer: Option<()>,
    endpoint: Named<'e>,
}

/// An endpoint as the others may know it: where it is, and with which headers, is its owner's business.
#[derive(Serialize)]
struct Named<'e> {
    object: &'static str,
    id: EndpointId,
    name: Option<&'e str>,
}

async fn tell_the_others(
    shared: &Shared,
    tx: &mut Tx,
    gone: EndpointId,
    (message, reason): (MessageId, &str),
    now: Timestamp,
) -> store::Result<()> {
    let Some(endpoint) = endpoints::get(tx, gone).await? else { return Ok(()) };
    tracing::warn!(endpoint = %gone, "an endpoint is switched off: {reason}");
    let environment = endpoint.spec.environment.clone();
    let mut others = endpoints::audience(tx, now).await?.subscriptions;
    others.retain(|other| other.takes(&environment, EventType::EndpointDisabled));
    let id = EventId(shared.clock.new_id());
    let told: Vec<NewMessage> = others
        .iter()
        .map(|other| NewMessage {
            id: shared.clock.new_id(),
            event_id: id.0,
            endpoint_id: other.endpoint_id.0,
            environment: environment.clone(),
            customer_id: None,
            version: None,
            ordered: false,
            lease: None,
            leased_until: None,
            due_at: now,
            once: false,
        })
        .collect();
    let event = NewEvent {
        id: id.0,
        environment: environment.clone(),
        kind: EventType::EndpointDisabled.as_str(),
        customer_id: None,
        payment_id: None,
        subscription_id: None,
        version: None,
        body: body(id, &endpoint, message, now),
        traceparent: None,
    };
    messages::write(tx, &[event], &told, now).await
}

#[expect(clippy::expect_used, reason = "the model's structs have text keys: they always serialize")]
fn body(id: EventId, endpoint: &Endpoint, message: MessageId, now: Timestamp) -> Arc<str> {
    let environment = &endpoint.spec.environment;
    let body = Disabled {
        id,
        kind: EventType::EndpointDisabled,
        timestamp: now,
        environment,
        live: is_live(environment),
        version: None,
        data: DisabledData {
            customer: None,
            endpoint: Named {
                object: endpoint.object,
                id: endpoint.id,
                name: endpoint.spec.name.as_deref(),
            },
        },
        previous_attributes: BTreeMap::from([("enabled", true)]),
        cause: Cause { source: "webhooks".into(), event_id: message.to_string(), verified: true },
    };
    serde_json::to_string(&body).expect("an event always serializes").into()
}
