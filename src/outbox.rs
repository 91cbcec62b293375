//! Stage 5: what changed becomes one message for each endpoint that is told such changes, in the
//! transaction of the change.

use crate::{
    handover::{Handover, Slot},
    model::{
        endpoint::{Audience, Subscription},
        id::MessageId,
        message::{Leased, OutgoingEvent},
        time::Timestamp,
    },
    store::{
        Together,
        messages::{self, NewEvent, NewMessage},
    },
};
use std::sync::Arc;
use uuid::Uuid;

/// Writes the events that some enabled endpoint of their environment takes, and a message for each such endpoint: three
/// statements at most.
///
/// Messages to endpoints with a free slot are leased as they are written, and returned: they are to be sent over after
/// the commit, or dropped with the transaction. The others are due at once.
pub fn write(
    audience: &Audience,
    writes: &mut Together,
    events: &[OutgoingEvent],
    new_id: impl FnMut() -> Uuid + Send,
    handover: Option<&Handover>,
) -> Vec<(Leased, Slot)> {
    let told = recipients(events, &audience.subscriptions);
    let batch = assemble(&told, new_id, handover, audience.now);
    messages::add(writes, &batch.events, &batch.messages, audience.now);
    batch.handed_over
}

/// Which events are told, each with the endpoints that take it.
fn recipients<'e>(
    events: &'e [OutgoingEvent],
    subscriptions: &'e [Subscription],
) -> Vec<(&'e OutgoingEvent, Vec<&'e Subscription>)> {
    let takers = |event: &OutgoingEvent| -> Vec<&Subscription> {
        subscriptions.iter().filter(|s| s.takes(&event.environment, event.kind)).collect()
    };
    let told = events.iter().map(|event| (event, takers(event)));
    told.filter(|(_, takers)| !takers.is_empty()).collect()
}

/// What is written, and what of it goes over after the commit.
struct Batch {
    events: Vec<NewEvent>,
    messages: Vec<NewMessage>,
    handed_over: Vec<(Leased, Slot)>,
}

fn assemble(
    told: &[(&OutgoingEvent, Vec<&Subscription>)],
    mut new_id: impl FnMut() -> Uuid,
    handover: Option<&Handover>,
    now: Timestamp,
) -> Batch {
    let mut batch = Batch { events: Vec::new(), messages: Vec::new(), handed_over: Vec::new() };
    let span = handover.map(Handover::lease).unwrap_or_default();
    let leased_until = now.plus(chrono::TimeDelta::from_std(span).unwrap_or_default());
    for (event, takers) in told {
        let row = row(event);
        for taker in takers {
            let endpoint_id = taker.endpoint_id;
            let id = MessageId(new_id());
            let slot = handover.and_then(|handover| {
                if taker.is_direct {
                    return handover.reserve(endpoint_id);
                }
                handover.wake();
                None
            });
            let lease = slot.as_ref().map(|_| new_id());
            batch.messages.push(NewMessage {
                id: id.0,
                event_id: row.id,
                endpoint_id: endpoint_id.0,
                environment: row.environment.clone(),
                customer_id: row.customer_id,
                version: row.version,
                ordered: taker.ordered && row.customer_id.is_some() && row.version.is_some(),
                lease,
                leased_until: lease.map(|_| leased_until),
                due_at: if lease.is_some() { leased_until } else { now },
                once: false,
            });
            if let (Some(slot), Some(lease)) = (slot, lease) {
                let body = row.body.clone();
                let trace = event.trace.clone();
                let leased =
                    Leased { id, endpoint_id, attempt: 1, body, trace, leased_until, lease };
                batch.handed_over.push((leased, slot));
            }
        }
        batch.events.push(row);
    }
    batch
}

#[expect(clippy::expect_used, reason = "the model's structs have text keys: they always serialize")]
fn row(event: &OutgoingEvent) -> NewEvent {
    let body = serde_json::to_string(event).expect("an outgoing event always serializes");
    NewEvent {
        id: event.id.0,
        environment: event.environment.clone(),
        kind: event.kind.as_str(),
        customer_id: event.data.customer.as_ref().map(|customer| customer.id.0),
        payment_id: event.data.payment.as_ref().map(|payment| payment.id.0),
        subscription_id: event.data.subscription.as_ref().map(|subscription| subscription.id.0),
        version: event.version,
        body: Arc::from(body),
        traceparent: event.trace.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::{Bounds, Slots};
    use crate::model::{
        id::{EndpointId, EventId},
        message::{Cause, EventData, EventType},
    };

    fn event(number: u128, environment: &str, kind: EventType) -> OutgoingEvent {
        OutgoingEvent {
            id: EventId(Uuid::from_u128(number)),
            kind,
            timestamp: Timestamp::default(),
            environment: environment.into(),
            live: false,
            version: None,
            data: EventData::default(),
            previous_attributes: serde_json::Map::default(),
            cause: Cause { source: "s".into(), event_id: "e".into(), verified: true },
            trace: None,
        }
    }

    fn subscription(number: u128, environment: &str, pattern: &str) -> Subscription {
        Subscription {
            endpoint_id: EndpointId(Uuid::from_u128(number)),
            environment: environment.into(),
            event_types: vec![pattern.into()],
            ordered: false,
            is_direct: true,
        }
    }

    #[test]
    fn an_event_goes_to_each_endpoint_that_takes_it_and_to_no_other() {
        let events = [
            event(1, "live", EventType::PaymentSucceeded),
            event(2, "live", EventType::CustomerCreated),
            event(3, "test", EventType::PaymentSucceeded),
        ];
        let subscriptions = [
            subscription(1, "live", "*"),
            subscription(2, "live", "payment.*"),
            subscription(3, "other", "*"),
        ];
        let told: Vec<_> = recipients(&events, &subscriptions)
            .into_iter()
            .map(|(event, takers)| {
                (event.id, takers.iter().map(|taker| taker.endpoint_id.0.as_u128()).collect())
            })
            .collect();
        assert_eq!(told, [(events[0].id, vec![1, 2]), (events[1].id, vec![1])]);
    }

    fn slots(per_endpoint: usize) -> Slots {
        Slots::new(Bounds { per_endpoint, strangers: 10, total: 10 })
    }

    #[test]
    fn what_keeps_an_order_a_rate_or_a_pause_goes_through_the_database() {
        let (handover, _receiver) = Handover::new(slots(10));
        let events = [event(1, "live", EventType::WebhookTest)];
        let subscriptions =
            [Subscription { is_direct: false, ordered: true, ..subscription(1, "live", "*") }];
        let told = recipients(&events, &subscriptions);
        let batch = assemble(&told, || Uuid::from_u128(9), Some(&handover), Timestamp::default());
        assert!(batch.handed_over.is_empty());
        let [message] = &batch.messages[..] else { panic!("one message") };
        assert!(message.lease.is_none() && !message.ordered, "it is about no customer");
    }

    #[test]
    fn only_what_found_a_slot_is_leased_and_handed_over() {
        let (handover, _receiver) = Handover::new(slots(1));
        let events =
            [event(1, "live", EventType::WebhookTest), event(2, "live", EventType::WebhookTest)];
        let subscriptions = [subscription(1, "live", "*")];
        let told = recipients(&events, &subscriptions);
        let mut last = 0;
        let ids = || {
            last += 1;
            Uuid::from_u128(last)
        };
        let now = Timestamp::from_seconds(1_700_000_000).expect("a time");
        let batch = assemble(&told, ids, Some(&handover), now);
        let due: Vec<_> = batch.messages.iter().map(|m| (m.lease.is_some(), m.due_at)).collect();
        assert_eq!(due, [(true, now.plus(chrono::TimeDelta::seconds(60))), (false, now)]);
        let [(leased, _)] = &batch.handed_over[..] else { panic!("one is handed over") };
        assert_eq!((leased.id.0, leased.attempt), (batch.messages[0].id, 1));
        assert_eq!(leased.body, batch.events[0].body);
    }
}
