//! What a batch loaded and is changing: the part of the state that its events can touch, in memory.

use crate::{
    apply::{claims::Reach, days::Share, facts::Figures},
    model::{
        contact::AddressId,
        customer::{Customer, Spend, Totals},
        endpoint::Audience,
        id::{CustomerId, PaymentId, SubscriptionId},
        is_live,
        payment::{Payment, PaymentFacts, PaymentKey},
        reference::{Kind, ReferenceFacts, ReferenceId},
        subscription::{Subscription, SubscriptionFacts, SubscriptionKey, SubscriptionStatus},
        time::Timestamp,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use uuid::Uuid;

/// One reference.
#[derive(Clone, Debug)]
pub struct ReferenceNode {
    /// Where it belongs.
    pub environment: Arc<str>,
    /// What it names.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// The name itself; none once it was deleted.
    pub subject: Option<Arc<str>>,
    /// What is known of it.
    pub facts: ReferenceFacts,
    /// The references that any claim ever joined it with.
    pub component: Uuid,
    /// The top of its tree.
    pub root: ReferenceId,
    /// Whether a deletion closed it.
    pub closed: bool,
    /// The time of the latest deletion that reached it.
    pub deleted_at: Option<Timestamp>,
    /// Whose it is.
    pub customer: Option<CustomerId>,
    /// Totals of those of its payments that are not loaded.
    pub rest: Spend,
    /// Whose it is, as stored.
    pub stored_customer: Option<CustomerId>,
    /// Its totals as stored.
    pub stored_spend: Spend,
    /// Whether it has no row yet.
    pub is_new: bool,
    /// Whether its row is to be written.
    pub changed: bool,
}

/// One payment.
#[derive(Clone, Debug)]
pub struct PaymentNode {
    /// Where it belongs.
    pub environment: Arc<str>,
    /// The name that it is shown under.
    pub key: PaymentKey,
    /// What is known of it.
    pub facts: PaymentFacts,
    /// What follows from that.
    pub figures: Figures,
    /// The reference that it is counted at.
    pub owner: Option<ReferenceId>,
    /// Whether only its key is left.
    pub erased: bool,
    /// Whether a deletion reached a reference that it names: it says nothing of a person any more.
    pub impersonal: bool,
    /// The payment that it turned out to be another name of.
    pub absorbed_into: Option<PaymentId>,
    /// When we first heard of it.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Whether nobody was told of it yet.
    pub is_new: bool,
    /// Whether its second currency was told.
    pub conflict_told: bool,
    /// The references that it is already listed under.
    pub listed: BTreeSet<ReferenceId>,
    /// What it adds to a day, as stored.
    pub stored_share: Option<Share>,
    /// Whether its row is to be written.
    pub changed: bool,
}

/// One subscription.
#[derive(Clone, Debug)]
pub struct SubscriptionNode {
    /// Where it belongs.
    pub environment: Arc<str>,
    /// Its name.
    pub key: SubscriptionKey,
    /// What is known of it.
    pub facts: SubscriptionFacts,
    /// Its status as it was last told.
    pub status: SubscriptionStatus,
    /// The reference that it hangs on, while that is anybody's.
    pub owner: Option<ReferenceId>,
    /// When we first heard of it.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Whether nobody was told of it yet.
    pub is_new: bool,
    /// Whether it has a row.
    pub stored: bool,
    /// The references that it is already listed under.
    pub listed: BTreeSet<ReferenceId>,
    /// Whether its row is to be written.
    pub changed: bool,
}

/// One customer's row.
#[derive(Clone, Debug)]
pub struct CustomerNode {
    /// Where it belongs.
    pub environment: Arc<str>,
    /// The reference at the top of its tree.
    pub root: ReferenceId,
    /// Grows by one with every message.
    pub version: i64,
    /// Whether it is gone.
    pub deleted: bool,
    /// The customer that it went into.
    pub absorbed_into: Option<CustomerId>,
    /// When we first heard of it.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// As it is shown; none before the first time and once it is gone.
    pub shown: Option<Customer>,
    /// Whether its row is to be written.
    pub changed: bool,
    /// Whether its profile is to be written.
    pub profile_changed: bool,
    /// The verified address by which payments are matched with it.
    pub holds: Option<Held>,
    /// Its totals as stored.
    pub stored_spend: Spend,
    /// Its totals.
    pub spend: Spend,
}

/// An address that an auth source or the app vouches for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// Which.
    pub address: AddressId,
    /// The reference that gives it: what is matched by it is counted there.
    pub at: ReferenceId,
}

/// What the database holds, beside what is loaded, at an address that the batch may disturb.
#[derive(Clone, Copy, Debug)]
pub struct AddressNode {
    /// Whether several other customers hold it: it is nobody's.
    pub crowded: bool,
    /// Whether payments may be matched by it that are not loaded.
    pub has_more: bool,
}

impl CustomerNode {
    /// Whether it is there to be shown.
    pub fn is_live(&self) -> bool {
        !self.deleted && self.absorbed_into.is_none()
    }
}

/// The part of the state that a batch can touch.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// References, whole components of them.
    pub references: BTreeMap<ReferenceId, ReferenceNode>,
    /// The references of each component.
    pub components: BTreeMap<Uuid, BTreeSet<ReferenceId>>,
    /// What deletions reached in each component that has any.
    pub reaches: BTreeMap<Uuid, Vec<Reach>>,
    /// Payments that the batch names; where a component knows a deletion, all of its payments.
    pub payments: BTreeMap<PaymentId, PaymentNode>,
    /// Their names.
    pub payment_keys: BTreeMap<(Arc<str>, PaymentKey), PaymentId>,
    /// Those of their names that have no row yet.
    pub new_payment_keys: BTreeSet<(Arc<str>, PaymentKey)>,
    /// The loaded payments that ever named a reference.
    pub payments_of: BTreeMap<ReferenceId, BTreeSet<PaymentId>>,
    /// Subscriptions that the batch names, and all of the loaded references.
    pub subscriptions: BTreeMap<SubscriptionId, SubscriptionNode>,
    /// Their names.
    pub subscription_keys: BTreeMap<(Arc<str>, SubscriptionKey), SubscriptionId>,
    /// The loaded subscriptions that ever named a reference.
    pub subscriptions_of: BTreeMap<ReferenceId, BTreeSet<SubscriptionId>>,
    /// Customers whose root is or was one of the references.
    pub customers: BTreeMap<CustomerId, CustomerNode>,
    /// The customers of each root, gone ones too.
    pub customers_of: BTreeMap<ReferenceId, BTreeSet<CustomerId>>,
    /// Whether payments are matched by address.
    pub matching: bool,
    /// What else there is at the addresses that are locked.
    pub addresses: BTreeMap<AddressId, AddressNode>,
    /// The loaded customers that hold an address, each with the reference that gives it.
    pub holders: BTreeMap<AddressId, BTreeMap<CustomerId, ReferenceId>>,
    /// The loaded payments that are, or once were, matched by an address.
    pub payments_at: BTreeMap<AddressId, BTreeSet<PaymentId>>,
    /// Addresses whose holders changed and that are not locked.
    pub unlocked: BTreeSet<AddressId>,
    /// Addresses whose holder changed while not all payments that are matched by them are loaded.
    pub unloaded: BTreeSet<AddressId>,
    /// What deletions took: everything that was kept of these is to be erased.
    pub erased: Erased,
    /// What two sources say and cannot both be true.
    pub conflicts: Vec<Conflict>,
    /// Who is told of what becomes of it.
    pub audience: Audience,
}

/// Something that two sources say and that cannot both be true.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// Its row.
    pub id: Uuid,
    /// Where it belongs.
    pub environment: Arc<str>,
    /// `reference_moved` or `second_currency`.
    pub kind: &'static str,
    /// Whose.
    pub customer: Option<CustomerId>,
    /// Of which payment.
    pub payment: Option<PaymentId>,
    /// What it is about.
    pub detail: String,
    /// When it was noticed.
    pub created_at: Timestamp,
}

/// What deletions took.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Erased {
    /// References, payments and subscriptions whose inbound events are to lose their bodies.
    pub subjects: BTreeSet<Uuid>,
    /// Customers that are gone, and those that went into them: their outgoing messages keep the id alone.
    pub customers: BTreeSet<CustomerId>,
    /// Customers that live on, and were told of with a reference that is gone: their outgoing messages lose the
    /// person, those since this version what they say of before.
    pub lessened: BTreeMap<CustomerId, i64>,
    /// Customers that a deleted reference may have been in conflict with: their conflicts lose the names, with the
    /// person where they are older than this version.
    pub conflicts: BTreeMap<CustomerId, i64>,
    /// Payments whose outgoing messages are to lose what they say of the person.
    pub payments: BTreeSet<PaymentId>,
}

impl Erased {
    /// Takes in what another event's deletions took.
    pub fn extend(&mut self, other: &Self) {
        let Self { subjects, customers, lessened, conflicts, payments } = other;
        self.subjects.extend(subjects);
        self.customers.extend(customers);
        for (all, new) in [(&mut self.lessened, lessened), (&mut self.conflicts, conflicts)] {
            for (id, since) in new {
                let known = all.entry(*id).or_insert(*since);
                *known = (*since).max(*known);
            }
        }
        self.payments.extend(payments);
    }
}

impl World {
    /// Adds a reference that is not there yet.
    pub fn add_reference(&mut self, id: ReferenceId, node: ReferenceNode) {
        self.components.entry(node.component).or_default().insert(id);
        self.references.insert(id, node);
    }

    /// Adds a payment and notes where it was named.
    pub fn add_payment(&mut self, id: PaymentId, node: PaymentNode) {
        for reference in node.facts.references.all().chain(node.owner) {
            self.payments_of.entry(reference).or_default().insert(id);
        }
        if let Some(address) = node.facts.matched_by() {
            self.payments_at.entry(address).or_default().insert(id);
        }
        self.payments.insert(id, node);
    }

    /// Adds a subscription and notes where it was named.
    pub fn add_subscription(&mut self, id: SubscriptionId, node: SubscriptionNode) {
        for reference in node.facts.references.all() {
            self.subscriptions_of.entry(reference).or_default().insert(id);
        }
        self.subscriptions.insert(id, node);
    }

    /// Adds a customer.
    pub fn add_customer(&mut self, id: CustomerId, node: CustomerNode) {
        self.customers_of.entry(node.root).or_default().insert(id);
        self.customers.insert(id, node);
    }

    /// Notes the address that a customer holds from now on. Those that it held and holds, each with the one at whom
    /// payments were counted before; none where nothing changed.
    pub fn hold(
        &mut self,
        id: CustomerId,
        held: Option<Held>,
    ) -> Vec<(AddressId, Option<ReferenceId>)> {
        let Some(node) = self.customers.get_mut(&id).filter(|node| node.holds != held) else {
            return Vec::new();
        };
        let old = std::mem::replace(&mut node.holds, held);
        let addresses: BTreeSet<_> = [old, held].into_iter().flatten().map(|h| h.address).collect();
        let before = addresses.into_iter().map(|a| (a, self.holder_of(a))).collect();
        if let Some(holders) = old.and_then(|old| self.holders.get_mut(&old.address)) {
            holders.remove(&id);
        }
        if let Some(held) = held {
            self.holders.entry(held.address).or_default().insert(id, held.at);
        }
        before
    }

    /// The reference of the only customer that holds an address.
    pub fn holder_of(&self, address: AddressId) -> Option<ReferenceId> {
        if self.addresses.get(&address).is_some_and(|node| node.crowded) {
            return None;
        }
        let mut holders = self.holders.get(&address)?.values();
        holders.next().copied().filter(|_| holders.next().is_none())
    }

    /// Makes two references' components one.
    pub fn join_components(&mut self, a: ReferenceId, b: ReferenceId) {
        let component = |id| self.references.get(id).map(|node| node.component);
        let (Some(a), Some(b)) = (component(&a), component(&b)) else { return };
        if a == b {
            return;
        }
        let (kept, gone) = (a.min(b), a.max(b));
        let moved = self.components.remove(&gone).unwrap_or_default();
        for id in &moved {
            if let Some(node) = self.references.get_mut(id) {
                node.component = kept;
                node.changed = true;
            }
        }
        self.components.entry(kept).or_default().extend(moved);
        let reaches = self.reaches.remove(&gone).unwrap_or_default();
        if !reaches.is_empty() {
            self.reaches.entry(kept).or_default().extend(reaches);
        }
    }

    /// The component of a reference.
    pub fn component_of(&self, reference: ReferenceId) -> Option<Uuid> {
        self.references.get(&reference).map(|node| node.component)
    }

    /// What deletions reached in the components of some references.
    pub fn reaches_of(&self, references: impl Iterator<Item = ReferenceId>) -> Vec<Reach> {
        let components: BTreeSet<Uuid> =
            references.filter_map(|reference| self.component_of(reference)).collect();
        components
            .iter()
            .filter_map(|component| self.reaches.get(component))
            .flatten()
            .cloned()
            .collect()
    }

    /// A customer and all that went into it.
    pub fn with_absorbed(&self, id: CustomerId) -> BTreeSet<CustomerId> {
        let went = |node: &CustomerNode| node.absorbed_into == Some(id);
        let absorbed = self.customers.iter().filter(|(_, node)| went(node)).map(|(id, _)| *id);
        absorbed.chain([id]).collect()
    }

    /// The customer that a payment or subscription with this owner belongs to.
    pub fn customer_of(&self, owner: Option<ReferenceId>) -> Option<CustomerId> {
        self.references.get(&owner?)?.customer
    }

    /// The totals of the payments that are counted at a reference.
    pub fn spend_of(&self, reference: ReferenceId) -> Spend {
        let mut spend =
            self.references.get(&reference).map(|node| node.rest.clone()).unwrap_or_default();
        let loaded = self.payments_of.get(&reference).into_iter().flatten();
        for payment in loaded.filter_map(|id| self.payments.get(id)) {
            if payment.owner == Some(reference) && payment.counts() {
                let (currency, totals) = crate::apply::facts::contribution(&payment.figures);
                spend.entry(currency).or_default().add(&totals);
            }
        }
        spend.retain(|_, totals| *totals != Totals::default());
        spend
    }
}

impl PaymentNode {
    /// The reference that it is counted at though it names nobody.
    pub fn matched_owner(&self) -> Option<ReferenceId> {
        self.owner.filter(|_| self.facts.matched_by().is_some())
    }

    /// Whether it is a payment of its own, and still one.
    pub fn counts(&self) -> bool {
        self.absorbed_into.is_none() && !self.erased
    }

    /// The payment as it is shown.
    pub fn shown(&self, id: PaymentId, customer_id: Option<CustomerId>) -> Payment {
        Payment {
            object: "payment",
            id,
            live: is_live(&self.environment),
            environment: self.environment.clone(),
            customer_id,
            provider: self.key.namespace.clone(),
            payment_id: self.key.id.clone(),
            amount: self.figures.amount,
            currency: self.figures.currency,
            amount_refunded: self.figures.refunded,
            disputed_lost: self.figures.disputed_lost,
            status: self.figures.shown,
            method: self.facts.method.value().cloned().flatten(),
            description: self.facts.description.value().cloned().flatten(),
            failure_code: self.facts.failure_code.value().cloned().flatten(),
            subscription_id: self.facts.subscription.value().cloned().flatten(),
            metadata: self.facts.shown_metadata(),
            paid_at: self.figures.paid_at,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

impl SubscriptionNode {
    /// The subscription as it is shown.
    pub fn shown(&self, id: SubscriptionId, customer_id: Option<CustomerId>) -> Subscription {
        Subscription {
            object: "subscription",
            id,
            live: is_live(&self.environment),
            environment: self.environment.clone(),
            customer_id,
            provider: self.key.namespace.clone(),
            subscription_id: self.key.id.clone(),
            status: self.status,
            plan: self.facts.plan.value().cloned().flatten(),
            current_period_end: self.facts.current_period_end.value().copied().flatten(),
            cancel_at_period_end: self.facts.cancel_at_period_end.value().copied().unwrap_or(false),
            ends_at: self.facts.ends_at.value().copied().flatten(),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}
