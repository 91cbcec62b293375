//! Writes results down, many in one transaction, and switches endpoints off that are gone.

use crate::{
    deliver::{Shared, attempt::Finished},
    model::{
        endpoint::Endpoint,
        id::{EndpointId, EventId, MessageId},
        is_live,
        message::{Cause, EventType},
        time::{Timestamp, millis},
    },
    store::{
        self, Tx, endpoints,
        messages::{self, NewEvent, NewMessage, Settled},
    },
};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};

/// Why an endpoint was switched off.
const GONE: &str = "it answered 410 Gone";

/// What came of recording.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// The endpoints whose slots are free again, one entry for each slot.
    pub freed: Vec<EndpointId>,
    /// The endpoints that were gone.
    pub gone: Vec<EndpointId>,
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
        Ok(()) => batch.into_iter().for_each(|finished| recorded.free(finished)),
        Err(error) if error.is_transient() => {
            recorded.kept = batch;
            recorded.error = Some(error);
        }
        Err(_) => {
            for finished in batch {
                match settle(&shared, std::slice::from_ref(&finished)).await {
                    Ok(()) => recorded.free(finished),
                    Err(error) if error.is_transient() => {
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
        self.freed.push(finished.endpoint_id);
        if finished.gone {
            self.gone.push(finished.endpoint_id);
        }
        finished.release();
    }
}

async fn settle(shared: &Shared, batch: &[Finished]) -> store::Result<()> {
    let settled: Vec<Settled> = batch.iter().map(|finished| finished.settled.clone()).collect();
    // In the order of the endpoints' ids, so that two processes cannot lock them crosswise.
    let gone: BTreeMap<EndpointId, MessageId> = batch
        .iter()
        .filter(|finished| finished.gone)
        .map(|finished| (finished.endpoint_id, finished.settled.message_id))
        .collect();
    let mut tx = shared.db.begin().await?;
    let now = store::now(&mut tx, shared.clock.now()).await?;
    messages::settle(&mut tx, &settled, now).await?;
    for (endpoint, message) in gone {
        if endpoints::set_enabled(&mut tx, endpoint, false, Some(GONE), now).await? {
            tell_the_others(shared, &mut tx, endpoint, message, now).await?;
        }
    }
    Ok(tx.commit().await?)
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
    endpoint: &'e Endpoint,
}

async fn tell_the_others(
    shared: &Shared,
    tx: &mut Tx,
    gone: EndpointId,
    message: MessageId,
    now: Timestamp,
) -> store::Result<()> {
    let Some(endpoint) = endpoints::get(tx, gone).await? else { return Ok(()) };
    tracing::warn!(endpoint = %gone, "an endpoint is switched off: {GONE}");
    let environment = endpoint.spec.environment.clone();
    let mut others = endpoints::subscriptions(tx).await?;
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
            lease: None,
            leased_until: None,
            due_at: now,
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
        data: DisabledData { customer: None, endpoint },
        previous_attributes: BTreeMap::from([("enabled", true)]),
        cause: Cause { source: "webhooks".into(), event_id: message.to_string(), verified: true },
    };
    serde_json::to_string(&body).expect("an event always serializes").into()
}
