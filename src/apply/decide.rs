//! One event over the loaded state: joins its facts, works out what follows, and says what changed.
//!
//! Pure: the same world and event give the same changes, whoever asks and when. Ids come from the caller.

use crate::{
    apply::{
        changes::{Change, changes},
        customers, facts,
        world::{Erased, PaymentNode, ReferenceNode, SubscriptionNode, World},
    },
    keyring::Keyring,
    model::{
        event::{
            Assertions, PaymentAssertion, PaymentLink, ReferenceAssertion, SubscriptionAssertion,
        },
        id::{PaymentId, SubscriptionId},
        payment::{Namings, Payment, PaymentFacts, PaymentKey},
        reference::{Claim, Reference, ReferenceFacts, ReferenceId},
        stamp::Stamp,
        subscription::{Subscription, SubscriptionFacts, SubscriptionKey},
        time::Timestamp,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use uuid::Uuid;

/// What deciding needs beside the world and the event.
pub struct Context<'a> {
    /// Where the event belongs.
    pub environment: &'a Arc<str>,
    /// What references are hashed with.
    pub keyring: &'a Keyring,
    /// When the batch is applied.
    pub now: Timestamp,
    /// Makes ids whose order is the order of making.
    pub new_id: &'a mut dyn FnMut() -> Uuid,
}

impl Context<'_> {
    /// The hash that a reference is known by.
    pub fn id(&self, reference: &Reference) -> ReferenceId {
        self.keyring.reference_id(self.environment, reference)
    }
}

/// What one event touched and changed.
#[derive(Debug, Default)]
pub struct Decision {
    /// What is to be told, in order.
    pub changes: Vec<Change>,
    /// The references, payments and subscriptions that the event speaks of.
    pub subjects: BTreeSet<Uuid>,
    /// Whether all it speaks of is closed by a deletion: nothing of it may be kept.
    pub closed: bool,
    /// Whether it is about deleted people alone, and so of no effect.
    pub unheard: bool,
    /// Whether some of it is closed, or said before a deletion: its body may not be kept either.
    pub late: bool,
    /// What deletions took by this event.
    pub erased: Erased,
}

/// What an event touches while it is being joined, and how it was shown before.
#[derive(Default)]
pub(super) struct Touched {
    pub(super) references: BTreeSet<ReferenceId>,
    pub(super) claimed: BTreeSet<ReferenceId>,
    pub(super) payments: BTreeMap<PaymentId, Option<Payment>>,
    pub(super) subscriptions: BTreeMap<SubscriptionId, Option<Subscription>>,
}

impl Touched {
    /// Notes a payment, as it is before the event changes it, and every reference that it ever named: its
    /// old customer loses what its new one gains.
    fn payment(&mut self, world: &World, id: PaymentId) {
        let Some(node) = world.payments.get(&id) else { return };
        self.references.extend(node.facts.references.all().chain(node.owner));
        self.payment_shown(world, id);
    }

    /// Notes a payment as it is shown before it is counted elsewhere.
    pub(super) fn payment_shown(&mut self, world: &World, id: PaymentId) {
        let Some(node) = world.payments.get(&id) else { return };
        self.payments.entry(id).or_insert_with(|| {
            (!node.is_new).then(|| node.shown(id, world.customer_of(node.owner)))
        });
    }

    fn subscription(&mut self, world: &World, id: SubscriptionId) {
        let Some(node) = world.subscriptions.get(&id) else { return };
        self.references.extend(node.facts.references.all());
        self.subscriptions.entry(id).or_insert_with(|| {
            (!node.is_new).then(|| node.shown(id, world.customer_of(node.owner)))
        });
    }
}

/// Joins one event's assertions into the world.
pub fn decide(world: &mut World, assertions: &Assertions, context: &mut Context<'_>) -> Decision {
    let mut touched = Touched::default();
    for assertion in &assertions.references {
        join_reference(world, assertion, context, &mut touched);
    }
    for assertion in &assertions.payments {
        join_payment(world, assertion, context, &mut touched);
    }
    for assertion in &assertions.subscriptions {
        join_subscription(world, assertion, context, &mut touched);
    }
    for link in &assertions.links {
        join_link(world, link, context, &mut touched);
    }
    let mut decision = conclude(world, touched, context);
    decision.late = is_late(world, assertions, context);
    decision.unheard = decision.changes.is_empty() && is_unheard(world, assertions, context);
    decision
}

/// Whether an event asserts something of a reference that was deleted since, or is closed.
fn is_late(world: &World, assertions: &Assertions, context: &Context<'_>) -> bool {
    let was_deleted = |reference: &Reference, at: Option<Timestamp>| {
        let node = world.references.get(&context.id(reference));
        node.and_then(|node| node.deleted_at)
            .is_some_and(|deleted_at| at.is_none_or(|at| at <= deleted_at))
    };
    let is_closed = |reference: &Reference| {
        world.references.get(&context.id(reference)).is_some_and(|node| node.closed)
    };
    let of_references = assertions.references.iter().any(|said| {
        let at = said.facts.first.as_ref().map(|stamp| stamp.at);
        is_closed(&said.reference) || was_deleted(&said.reference, at)
    });
    let of_payments = assertions
        .payments
        .iter()
        .any(|said| said.references.iter().any(|(name, stamp)| was_deleted(name, Some(stamp.at))));
    of_references || of_payments
}

/// Whether an event says something of people alone, and each of them is closed. An external_id that a user event
/// names is not whom it is about.
fn is_unheard(world: &World, assertions: &Assertions, context: &Context<'_>) -> bool {
    let named_by_uid =
        |said: &&ReferenceAssertion| said.opening.as_ref().is_some_and(|o| o.by.is_some());
    let mut about = assertions.references.iter().filter(|said| !named_by_uid(said)).peekable();
    let speaks_of_people = assertions.payments.is_empty()
        && assertions.subscriptions.is_empty()
        && about.peek().is_some();
    speaks_of_people
        && about.all(|said| {
            let node = world.references.get(&context.id(&said.reference));
            node.is_some_and(|node| node.closed) && said.facts.deletions.is_empty()
        })
}

/// Looks at subscriptions again whose end has come: the time alone changed them.
pub fn end(
    world: &mut World,
    subscriptions: impl IntoIterator<Item = SubscriptionId>,
    context: &mut Context<'_>,
) -> Decision {
    let mut touched = Touched::default();
    for id in subscriptions {
        touched.subscription(world, id);
        if let Some(node) = world.subscriptions.get_mut(&id) {
            node.status = facts::subscription_status(&node.facts, context.now);
            node.changed = true;
        }
    }
    conclude(world, touched, context)
}

fn conclude(world: &mut World, mut touched: Touched, context: &mut Context<'_>) -> Decision {
    let earlier = std::mem::take(&mut world.erased);
    let subjects = touched
        .references
        .iter()
        .map(|reference| reference.0)
        .chain(touched.payments.keys().map(|payment| payment.0))
        .chain(touched.subscriptions.keys().map(|subscription| subscription.0))
        .collect();
    let settled = customers::settle(world, &mut touched, context);
    let closed = !touched.references.is_empty()
        && touched
            .references
            .iter()
            .all(|id| world.references.get(id).is_some_and(|node| node.closed));
    let changes = changes(world, &touched, &settled, context);
    let erased = std::mem::replace(&mut world.erased, earlier);
    world.erased.extend(&erased);
    Decision { changes, subjects, closed, unheard: false, late: false, erased }
}

/// Makes sure that a reference is there, and that its name is known if it is anybody's.
fn named(
    world: &mut World,
    reference: &Reference,
    context: &Context<'_>,
    touched: &mut Touched,
) -> ReferenceId {
    let id = context.id(reference);
    touched.references.insert(id);
    match world.references.get_mut(&id) {
        Some(node) => {
            if node.subject.is_none() {
                // Kept only if it is open or may be: `settle` takes it away again from a closed one.
                node.subject = Some(reference.subject.clone());
                node.changed = true;
            }
        }
        None => world.add_reference(
            id,
            ReferenceNode {
                environment: context.environment.clone(),
                kind: reference.kind,
                namespace: reference.namespace.clone(),
                subject: Some(reference.subject.clone()),
                facts: ReferenceFacts::default(),
                component: id.0,
                root: id,
                closed: false,
                deleted_at: None,
                customer: None,
                rest: BTreeMap::new(),
                stored_customer: None,
                stored_spend: BTreeMap::new(),
                is_new: true,
                changed: true,
            },
        ),
    }
    id
}

fn join_reference(
    world: &mut World,
    assertion: &ReferenceAssertion,
    context: &Context<'_>,
    touched: &mut Touched,
) {
    let id = named(world, &assertion.reference, context, touched);
    let mut said = assertion.facts.clone();
    if let Some(claim) = &assertion.claim {
        let parent = claim.under.as_ref().map(|parent| named(world, parent, context, touched));
        let (authority, stamp) = (claim.authority, claim.stamp.clone());
        said.claims.insert(Claim { authority, stamp, parent });
        touched.claimed.insert(id);
        if let Some(parent) = parent {
            world.join_components(id, parent);
        }
    }
    if let Some(opening) = &assertion.opening {
        let by = opening.by.as_ref().map(|uid| named(world, uid, context, touched));
        said.openings.insert((opening.at, by));
        if let Some(by) = by {
            world.join_components(id, by);
        }
    }
    if let Some(node) = world.references.get_mut(&id) {
        let known = node.facts.clone();
        node.facts.join(&said);
        node.changed |= node.facts != known;
    }
}

/// Notes the references that an object was said to hang on.
fn name_all(
    world: &mut World,
    references: &[(Reference, Stamp)],
    context: &Context<'_>,
    touched: &mut Touched,
) -> Namings {
    let mut namings = Namings::default();
    for (reference, stamp) in references {
        let id = named(world, reference, context, touched);
        namings.name(reference.kind, id, stamp);
        if let Some(node) = world.references.get_mut(&id) {
            let first = ReferenceFacts { first: Some(stamp.clone()), ..ReferenceFacts::default() };
            let known = node.facts.first.clone();
            node.facts.join(&first);
            node.changed |= node.facts.first != known;
        }
    }
    namings
}

fn join_payment(
    world: &mut World,
    assertion: &PaymentAssertion,
    context: &mut Context<'_>,
    touched: &mut Touched,
) {
    let Some(id) = payment_of(world, assertion, context, touched) else { return };
    touched.payment(world, id);
    let namings = name_all(world, &assertion.references, context, touched);
    let Some(node) = world.payments.get_mut(&id) else { return };
    if node.erased {
        return;
    }
    let known = node.facts.clone();
    node.facts.join(&assertion.facts);
    node.facts.references.join(&namings);
    let address = |address: &String| context.keyring.address_id(context.environment, address);
    node.facts.payer.join(&assertion.match_email.map(address));
    for (key, place) in assertion.keys.iter().zip(0_u8..) {
        node.facts.name(&key.id, place);
    }
    if let Some(name) = node.facts.shown_name() {
        node.key.id = name.clone();
    }
    if node.facts != known {
        node.figures = facts::figures(&node.facts);
        node.changed = true;
    }
    if let Some(address) = node.facts.matched_by() {
        world.payments_at.entry(address).or_default().insert(id);
    }
    for reference in namings.all() {
        world.payments_of.entry(reference).or_default().insert(id);
    }
}

fn join_link(world: &mut World, link: &PaymentLink, context: &Context<'_>, touched: &mut Touched) {
    let name = (context.environment.clone(), link.key.clone());
    let Some(id) = world.payment_keys.get(&name).copied() else { return };
    touched.payment(world, id);
    let under = named(world, &link.under, context, touched);
    let Some(node) = world.payments.get_mut(&id).filter(|node| !node.erased) else { return };
    node.facts.references.link(under, &link.stamp);
    node.changed = true;
    world.payments_of.entry(under).or_default().insert(id);
}

/// The payment that an assertion's names stand for. Several known ones turn out to be one: the oldest stays.
fn payment_of(
    world: &mut World,
    assertion: &PaymentAssertion,
    context: &mut Context<'_>,
    touched: &mut Touched,
) -> Option<PaymentId> {
    let preferred = assertion.keys.first()?.clone();
    let name = |key: &_| (context.environment.clone(), Clone::clone(key));
    let known: BTreeSet<PaymentId> = assertion
        .keys
        .iter()
        .filter_map(|key| world.payment_keys.get(&name(key)).copied())
        .collect();
    let mut known = known.into_iter();
    let id = match known.next() {
        Some(oldest) => oldest,
        None => add_payment(world, preferred, context),
    };
    for other in known {
        touched.payment(world, id);
        absorb_payment(world, other, id, touched);
    }
    for key in &assertion.keys {
        if world.payment_keys.insert(name(key), id).is_none() {
            world.new_payment_keys.insert(name(key));
        }
    }
    Some(id)
}

fn add_payment(world: &mut World, key: PaymentKey, context: &mut Context<'_>) -> PaymentId {
    let id = PaymentId((context.new_id)());
    let facts = PaymentFacts::default();
    world.add_payment(
        id,
        PaymentNode {
            environment: context.environment.clone(),
            key,
            figures: facts::figures(&facts),
            facts,
            owner: None,
            erased: false,
            impersonal: false,
            absorbed_into: None,
            created_at: context.now,
            updated_at: context.now,
            is_new: true,
            conflict_told: false,
            listed: BTreeSet::new(),
            stored_share: None,
            changed: true,
        },
    );
    id
}

/// Joins one payment's row into an older one; it stays as another name of it.
fn absorb_payment(world: &mut World, from: PaymentId, into: PaymentId, touched: &mut Touched) {
    touched.payment(world, from);
    let Some(gone) = world.payments.get_mut(&from) else { return };
    gone.absorbed_into = Some(into);
    gone.changed = true;
    gone.owner = None;
    let facts = std::mem::take(&mut gone.facts);
    let (erased, references) = (gone.erased, facts.references.all().collect::<Vec<_>>());
    let conflict_told = gone.conflict_told;
    gone.figures = facts::figures(&gone.facts);
    if let Some(kept) = world.payments.get_mut(&into) {
        kept.facts.join(&facts);
        if let Some(name) = kept.facts.shown_name() {
            kept.key.id = name.clone();
        }
        kept.erased |= erased;
        kept.conflict_told |= conflict_told;
        kept.figures = facts::figures(&kept.facts);
        kept.changed = true;
        if let Some(address) = kept.facts.matched_by() {
            world.payments_at.entry(address).or_default().insert(into);
        }
    }
    for reference in references {
        world.payments_of.entry(reference).or_default().insert(into);
    }
    for id in world.payment_keys.values_mut().filter(|id| **id == from) {
        *id = into;
    }
}

fn join_subscription(
    world: &mut World,
    assertion: &SubscriptionAssertion,
    context: &mut Context<'_>,
    touched: &mut Touched,
) {
    let name = (context.environment.clone(), assertion.key.clone());
    let id = match world.subscription_keys.get(&name) {
        Some(id) => *id,
        None => add_subscription(world, name, context),
    };
    touched.subscription(world, id);
    let namings = name_all(world, &assertion.references, context, touched);
    let Some(node) = world.subscriptions.get_mut(&id) else { return };
    let known = node.facts.clone();
    node.facts.join(&assertion.facts);
    node.facts.references.join(&namings);
    let status = facts::subscription_status(&node.facts, context.now);
    node.changed |= node.facts != known || node.status != status;
    node.status = status;
    for reference in namings.all() {
        world.subscriptions_of.entry(reference).or_default().insert(id);
    }
}

fn add_subscription(
    world: &mut World,
    name: (Arc<str>, SubscriptionKey),
    context: &mut Context<'_>,
) -> SubscriptionId {
    let id = SubscriptionId((context.new_id)());
    let facts = SubscriptionFacts::default();
    let node = SubscriptionNode {
        environment: name.0.clone(),
        key: name.1.clone(),
        status: facts::subscription_status(&facts, context.now),
        facts,
        owner: None,
        created_at: context.now,
        updated_at: context.now,
        is_new: true,
        stored: false,
        listed: BTreeSet::new(),
        changed: true,
    };
    world.add_subscription(id, node);
    world.subscription_keys.insert(name, id);
    id
}
