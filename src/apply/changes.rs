//! What is to be told of an event: one change per thing that it changed (semantics 8). Pure.

use crate::{
    apply::{
        customers::{Settled, is_external},
        decide::{Context, Touched},
        world::{Conflict, World},
    },
    model::{
        customer::Customer,
        id::{CustomerId, PaymentId},
        message::{EventData, EventType},
        payment::{Payment, ShownStatus},
        subscription::{Subscription, SubscriptionStatus},
    },
};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// One thing to tell.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    /// What happened.
    pub kind: EventType,
    /// The objects as of the change.
    pub data: EventData,
    /// The customer's version; none for an unlinked payment.
    pub version: Option<i64>,
    /// The values that changed, as they were.
    pub previous: Map<String, Value>,
}

/// Works out the changes of one event, and raises the customers' versions by one for each.
pub(super) fn changes(
    world: &mut World,
    touched: &Touched,
    settled: &Settled,
    context: &mut Context<'_>,
) -> Vec<Change> {
    let mut told = Telling { world, changes: Vec::new(), carried: BTreeSet::new() };
    told.customers(settled);
    told.conflicts(touched, settled, context);
    told.payments(touched, context);
    told.subscriptions(touched, context);
    told.totals(settled);
    told.changes
}

struct Telling<'w> {
    world: &'w mut World,
    changes: Vec<Change>,
    /// The customers that some message of this event already carries.
    carried: BTreeSet<CustomerId>,
}

impl Telling<'_> {
    fn tell(
        &mut self,
        kind: EventType,
        customer: Option<CustomerId>,
        mut data: EventData,
        previous: Map<String, Value>,
    ) {
        let node = customer.and_then(|id| Some((id, self.world.customers.get_mut(&id)?)));
        let version = node.map(|(id, node)| {
            node.version += 1;
            node.changed = true;
            if let Some(shown) = &mut node.shown {
                shown.version = node.version;
                data.customer = Some(shown.clone());
            }
            if let Some(carried) = &mut data.customer {
                carried.version = node.version;
            }
            self.carried.insert(id);
            node.version
        });
        self.changes.push(Change { kind, data, version, previous });
    }

    /// Customers that came, went, were joined, got their external_id, or whose person changed.
    fn customers(&mut self, settled: &Settled) {
        for (id, before) in &settled.before {
            let Some(node) = self.world.customers.get(id) else { continue };
            let now = node.shown.clone().filter(|_| node.is_live());
            let (kind, data) = match (before, &now) {
                (Some(gone), None) if node.deleted => (
                    EventType::CustomerDeleted,
                    EventData { customer: Some(last_seen(gone)), ..EventData::default() },
                ),
                (_, None) => continue,
                (None, Some(_)) => (EventType::CustomerCreated, EventData::default()),
                (Some(before), Some(now)) => {
                    let merged_from: Vec<CustomerId> = settled
                        .absorbed
                        .iter()
                        .filter(|(_, into)| into == id)
                        .map(|(from, _)| *from)
                        .collect();
                    let data = EventData { merged_from, ..EventData::default() };
                    if !data.merged_from.is_empty() {
                        (EventType::CustomerMerged, data)
                    } else if before.person.external_id.is_none()
                        && now.person.external_id.is_some()
                    {
                        (EventType::CustomerIdentified, data)
                    } else if before.person != now.person {
                        (EventType::CustomerUpdated, data)
                    } else {
                        continue;
                    }
                }
            };
            let previous = match (before, &now) {
                (Some(before), Some(now)) => self.previous(before, now),
                _ => Map::new(),
            };
            self.tell(kind, Some(*id), data, previous);
        }
    }

    /// The values of a customer that changed, as they were; none where a deletion took some of them.
    fn previous(&self, before: &Customer, now: &Customer) -> Map<String, Value> {
        if self.world.erased.lessened.contains_key(&now.id) {
            return Map::new();
        }
        previous(before, now)
    }

    /// A claim that moved a reference between two external_ids that both stand.
    fn conflicts(&mut self, touched: &Touched, settled: &Settled, context: &mut Context<'_>) {
        for reference in &touched.claimed {
            let Some(node) = self.world.references.get(reference) else { continue };
            let Some(old_root) = settled.roots.get(reference).copied() else { continue };
            let (new_root, customer) = (node.root, node.customer);
            let stands = |root| {
                self.world.references.get(&root).is_some_and(|n| !n.closed && n.root == root)
            };
            let between = old_root != new_root
                && *reference != old_root
                // One that stands for itself again was detached: nobody else claims it.
                && *reference != new_root
                && is_external(self.world, old_root)
                && is_external(self.world, new_root)
                && stands(old_root)
                && !node.closed;
            if between {
                let name = |id| {
                    let node = self.world.references.get(&id);
                    node.and_then(|node| node.subject.as_deref()).unwrap_or("(deleted)").to_owned()
                };
                let moved = format!(
                    "{} moved from external_id {} to {}",
                    name(*reference),
                    name(old_root),
                    name(new_root)
                );
                self.record("reference_moved", customer, None, &moved, context);
                let data = EventData { conflict: Some(moved), ..EventData::default() };
                self.tell(EventType::CustomerConflict, customer, data, Map::new());
            }
        }
    }

    fn record(
        &mut self,
        kind: &'static str,
        customer: Option<CustomerId>,
        payment: Option<PaymentId>,
        detail: &str,
        context: &mut Context<'_>,
    ) {
        self.world.conflicts.push(Conflict {
            id: (context.new_id)(),
            environment: context.environment.clone(),
            kind,
            customer,
            payment,
            detail: detail.to_owned(),
            created_at: context.now,
        });
    }

    fn payments(&mut self, touched: &Touched, context: &mut Context<'_>) {
        for (id, before) in &touched.payments {
            let Some(node) = self.world.payments.get(id).filter(|node| node.counts()) else {
                continue;
            };
            let customer = self.world.customer_of(node.owner);
            let now = node.shown(*id, customer);
            self.payment(*id, before.as_ref(), now, context);
            self.second_currency(*id, customer, context);
        }
    }

    fn payment(
        &mut self,
        id: PaymentId,
        before: Option<&Payment>,
        now: Payment,
        context: &Context<'_>,
    ) {
        let kinds = payment_kinds(before, &now);
        let Some(node) = self.world.payments.get_mut(&id).filter(|_| !kinds.is_empty()) else {
            return;
        };
        node.updated_at = context.now;
        node.is_new = false;
        node.changed = true;
        let mut previous = before.map_or_else(Map::new, |before| previous(before, &now));
        if node.impersonal {
            previous.remove("description");
            previous.remove("metadata");
        }
        let now = Payment { updated_at: context.now, ..now };
        for kind in kinds {
            let payment = Some(now.clone());
            let data = EventData { payment, ..EventData::default() };
            self.tell(kind, now.customer_id, data, previous.clone());
        }
    }

    /// A payment of which something was said in another currency, and was not before.
    fn second_currency(
        &mut self,
        id: PaymentId,
        customer: Option<CustomerId>,
        context: &mut Context<'_>,
    ) {
        let Some(node) = self.world.payments.get_mut(&id) else { return };
        let conflicting = node.figures.conflicting.iter().next().copied();
        let told = std::mem::replace(&mut node.conflict_told, conflicting.is_some());
        let Some(currency) = conflicting.filter(|_| !told) else { return };
        let now = node.shown(id, customer);
        let said = format!(
            "payment {} is in {}, and something was said of it in {currency}",
            now.payment_id,
            now.currency.map_or_else(|| "no known currency".to_owned(), |c| c.to_string()),
        );
        self.record("second_currency", customer, Some(id), &said, context);
        let data = EventData { payment: Some(now), conflict: Some(said), ..EventData::default() };
        self.tell(EventType::CustomerConflict, customer, data, Map::new());
    }

    fn subscriptions(&mut self, touched: &Touched, context: &Context<'_>) {
        for (id, before) in &touched.subscriptions {
            let Some(node) = self.world.subscriptions.get(id) else { continue };
            let customer = self.world.customer_of(node.owner);
            let now = node.shown(*id, customer);
            let kinds = subscription_kinds(before.as_ref(), &now);
            if kinds.is_empty() {
                continue;
            }
            if let Some(node) = self.world.subscriptions.get_mut(id) {
                node.updated_at = context.now;
                node.is_new = false;
                node.changed = true;
            }
            let now = Subscription { updated_at: context.now, ..now };
            for kind in kinds {
                let data = EventData { subscription: Some(now.clone()), ..EventData::default() };
                let previous =
                    before.as_ref().map_or_else(Map::new, |before| previous(before, &now));
                self.tell(kind, customer, data, previous);
            }
        }
    }

    /// A customer whose totals changed and whom no other message carries: a payment went to somebody else.
    fn totals(&mut self, settled: &Settled) {
        for (id, before) in &settled.before {
            let Some(before) = before.as_ref().filter(|_| !self.carried.contains(id)) else {
                continue;
            };
            let shown = self.world.customers.get(id).and_then(|node| node.shown.clone());
            let Some(now) = shown else { continue };
            let previous = previous(before, &now);
            if !previous.is_empty() {
                let previous = self.previous(before, &now);
                self.tell(EventType::CustomerUpdated, Some(*id), EventData::default(), previous);
            }
        }
    }
}

/// What is left to say of a customer that is gone: its ids.
fn last_seen(gone: &Customer) -> Customer {
    let person = crate::model::customer::Person {
        external_id: gone.person.external_id.clone(),
        is_anonymous: gone.person.is_anonymous,
        ..crate::model::customer::Person::default()
    };
    Customer { person, deleted: true, ..gone.clone() }
}

fn payment_kinds(before: Option<&Payment>, now: &Payment) -> Vec<EventType> {
    let own = match now.status {
        ShownStatus::Pending | ShownStatus::RequiresAction | ShownStatus::Authorized => None,
        ShownStatus::Failed => Some(EventType::PaymentFailed),
        ShownStatus::Canceled => Some(EventType::PaymentCanceled),
        ShownStatus::Succeeded => Some(EventType::PaymentSucceeded),
        ShownStatus::PartiallyRefunded | ShownStatus::Refunded => Some(EventType::PaymentRefunded),
        ShownStatus::Disputed => Some(EventType::PaymentDisputed),
    };
    let Some(before) = before else {
        return [Some(EventType::PaymentCreated), own].into_iter().flatten().collect();
    };
    if previous(before, now).is_empty() {
        return Vec::new();
    }
    // The money moves once: a dispute that was won or a refund that failed moves none.
    let own = own.filter(|kind| *kind != EventType::PaymentSucceeded || before.paid_at.is_none());
    let kind = if let Some(own) = own.filter(|_| before.status != now.status) {
        own
    } else if before.amount_refunded != now.amount_refunded {
        EventType::PaymentRefunded
    } else if before.disputed_lost != now.disputed_lost {
        EventType::PaymentDisputed
    } else if before.customer_id != now.customer_id {
        EventType::PaymentLinked
    } else {
        EventType::PaymentUpdated
    };
    vec![kind]
}

fn subscription_kinds(before: Option<&Subscription>, now: &Subscription) -> Vec<EventType> {
    let over =
        matches!(now.status, SubscriptionStatus::Canceled | SubscriptionStatus::IncompleteExpired);
    match before {
        None if over => vec![EventType::SubscriptionCreated, EventType::SubscriptionCanceled],
        None => vec![EventType::SubscriptionCreated],
        Some(before) if previous(before, now).is_empty() => Vec::new(),
        Some(before) if over && before.status != now.status => {
            vec![EventType::SubscriptionCanceled]
        }
        Some(_) => vec![EventType::SubscriptionUpdated],
    }
}

/// The values of an object that changed, as they were. Version and times of change are no news.
fn previous(before: &impl Serialize, now: &impl Serialize) -> Map<String, Value> {
    let object = |value: Result<Value, _>| match value {
        Ok(Value::Object(object)) => object,
        Ok(_) | Err(_) => Map::new(),
    };
    let now = object(serde_json::to_value(now));
    object(serde_json::to_value(before))
        .into_iter()
        .filter(|(field, _)| !matches!(field.as_str(), "version" | "updated_at"))
        .filter(|(field, value)| now.get(field) != Some(value))
        .collect()
}
