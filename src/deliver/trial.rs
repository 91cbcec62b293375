//! `webhook.test`: one message to one endpoint, sent at once and waited for. It is not tried again, whatever happens:
//! it is written as given up, and only its own result changes that.

use crate::{
    clock::Clock,
    deliver::{
        Error, Settings, Shared,
        attempt::{self, Limits, Stop},
        claim::{Claimed, Destination, Turn},
        client::Client,
        record, sealed,
    },
    handover::{Bounds, Slot, Slots},
    keyring::{Keyring, Unopenable},
    model::{
        endpoint::Endpoint,
        id::{EndpointId, EventId, MessageId},
        is_live,
        message::{Cause, EventData, EventType, Leased, OutgoingEvent},
        time::Timestamp,
    },
    store::{
        self, Db, endpoints,
        idempotency::{self, Answer, Begun},
        messages::{self, Attempt, NewEvent, NewMessage},
    },
};
use chrono::TimeDelta;
use std::sync::{Arc, Mutex};
use tokio::{sync::Semaphore, time::Instant};

/// How many tests may be under way in this process.
const AT_ONCE: usize = 64;

/// Sends tests.
#[derive(Clone, Debug)]
pub struct Tester(Arc<Shared>);

/// Under which `Idempotency-Key` a test is kept, and how, before it is sent.
pub type Keep = (idempotency::Slot, fn(MessageId) -> Answer);

/// A test cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Untested {
    /// There is no such endpoint.
    #[error("there is no such endpoint")]
    Unknown,
    /// A header of it was sealed under another key.
    #[error(transparent)]
    Unopenable(#[from] Unopenable),
    /// It is not made again: something is known of its `Idempotency-Key`.
    #[error("this test was asked for before")]
    Known(Begun),
    /// Enough are under way.
    #[error("too many tests are under way: wait until they have been answered")]
    Busy,
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Tester {
    /// One that sends as deliveries are sent.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(db: Db, keyring: Keyring, clock: Clock, settings: Settings) -> Result<Self, Error> {
        let (guard, names) = (settings.guard.clone(), settings.names.clone());
        let client = Client::new(guard, names, settings.response_cap, 0)?;
        let slots =
            Slots::new(Bounds { per_endpoint: AT_ONCE, strangers: AT_ONCE, total: AT_ONCE });
        let requests = Semaphore::new(AT_ONCE);
        let (windows, begun) = (Mutex::default(), Instant::now());
        let shared =
            Shared { db, keyring, clock, settings, client, slots, requests, windows, begun };
        Ok(Self(Arc::new(shared)))
    }

    /// Sends a test, and waits until its result is recorded: the message and its try. An endpoint that is switched off
    /// or left alone is sent to all the same; one that answers as it should is no longer left alone.
    ///
    /// # Errors
    /// When something is known of its `Idempotency-Key`, there is no such endpoint, too many tests are under way, or the
    /// database fails.
    pub async fn send(
        &self,
        environment: Option<&str>,
        id: EndpointId,
        keep: Option<Keep>,
    ) -> Result<(MessageId, Attempt), Untested> {
        let shared = &self.0;
        let slot = shared.slots.take_for_probe(id).ok_or(Untested::Busy)?;
        let (destination, claimed) = self.begin(environment, id, slot, keep).await?;
        let message = claimed.leased.id;
        let wanted = destination.endpoint.spec.settings.timeout();
        let lease = shared.settings.lease;
        let deadline = wanted.unwrap_or(shared.settings.timeout).min(lease * 3 / 4);
        let begin_by = Instant::now() + lease.saturating_sub(deadline);
        let limits = Limits { deadline, begin_by };
        let attempt = attempt::attempt(
            shared.clone(),
            Arc::new(destination),
            claimed,
            limits,
            Stop::default(),
        );
        let recorded = record::record(shared.clone(), vec![attempt.await]).await;
        if let Some(error) = recorded.error {
            return Err(error.into());
        }
        let mut tx = shared.db.snapshot().await.map_err(store::Error::from)?;
        let attempt = messages::attempts(&mut tx, message).await?.pop();
        Ok((message, attempt.ok_or(Untested::Unknown)?))
    }

    async fn begin(
        &self,
        environment: Option<&str>,
        id: EndpointId,
        slot: Slot,
        keep: Option<Keep>,
    ) -> Result<(Destination, Claimed), Untested> {
        let shared = &self.0;
        let mut tx = shared.db.begin().await.map_err(store::Error::from)?;
        if let Some((key, _)) = keep {
            match idempotency::begin(&mut tx, key, shared.clock.now()).await? {
                Begun::New => {}
                known => {
                    tx.roll_back().await;
                    return Err(Untested::Known(known));
                }
            }
        }
        let now = store::now(&mut tx, shared.clock.now()).await?;
        let kept = endpoints::lock(&mut tx, environment, id).await?;
        let (mut endpoint, secrets) = kept.ok_or(Untested::Unknown)?;
        endpoint.spec = sealed::opened(&shared.keyring, &endpoint.spec)?;
        let message = MessageId(shared.clock.new_id());
        let lease = shared.clock.new_id();
        let span = TimeDelta::from_std(shared.settings.lease).unwrap_or(TimeDelta::MAX);
        let leased_until = now.plus(span);
        let event = event(EventId(shared.clock.new_id()), &endpoint, message, now);
        let told = NewMessage {
            id: message.0,
            event_id: event.id,
            endpoint_id: id.0,
            environment: endpoint.spec.environment.clone(),
            customer_id: None,
            version: None,
            ordered: false,
            lease: Some(lease),
            leased_until: Some(leased_until),
            due_at: leased_until,
            once: true,
        };
        let body = event.body.clone();
        messages::write(&mut tx, &[event], &[told], now).await?;
        if let Some((key, answer)) = keep {
            let at = shared.clock.now();
            idempotency::finish(&mut tx, key, &answer(message), at).await?;
        }
        tx.commit().await.map_err(store::Error::from)?;
        let signer = sealed::signer(&shared.keyring, &secrets, &endpoint.spec.settings, now);
        let lane = Arc::new(Semaphore::new(1));
        let leased = Leased {
            id: message,
            endpoint_id: id,
            attempt: 1,
            body,
            trace: None,
            leased_until,
            lease,
        };
        let turn = Turn { probe: true, ..Turn::default() };
        Ok((Destination { endpoint, signer, lane }, Claimed { leased, slot, turn }))
    }
}

#[expect(clippy::expect_used, reason = "the model's structs have text keys: they always serialize")]
fn event(id: EventId, endpoint: &Endpoint, message: MessageId, now: Timestamp) -> NewEvent {
    let environment = endpoint.spec.environment.clone();
    let kind = EventType::WebhookTest;
    let event = OutgoingEvent {
        id,
        kind,
        timestamp: now,
        live: is_live(&environment),
        environment: environment.clone(),
        version: None,
        data: EventData::default(),
        previous_attributes: serde_json::Map::default(),
        cause: Cause { source: "api".into(), event_id: message.to_string(), verified: true },
        trace: None,
    };
    NewEvent {
        id: id.0,
        environment,
        kind: kind.as_str(),
        customer_id: None,
        payment_id: None,
        subscription_id: None,
        version: None,
        body: serde_json::to_string(&event).expect("an event always serializes").into(),
        traceparent: None,
    }
}
