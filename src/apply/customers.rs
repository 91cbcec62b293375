//! From the forest to customers: which row stands for which root, who owns which payment, and how each
//! customer is shown. Pure.

use crate::{
    apply::{
        claims,
        decide::{Context, Touched},
        facts::{self, Member},
        matching,
        world::{CustomerNode, Erased, Held, World},
    },
    keyring::Keyring,
    model::{
        authority::Authority,
        contact::AddressId,
        customer::{Customer, CustomerRow, Spend},
        id::{CustomerId, PaymentId},
        reference::{Kind, ReferenceFacts, ReferenceId},
    },
};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What settling changed, beside the world itself.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// The customers that may have changed, as they were shown before; none where they were not there.
    pub(super) before: BTreeMap<CustomerId, Option<Customer>>,
    /// Where each reference hung before.
    pub(super) roots: BTreeMap<ReferenceId, ReferenceId>,
    /// Customers that went into another one, with that one.
    pub(super) absorbed: Vec<(CustomerId, CustomerId)>,
    /// The addresses that other customers hold now, each with the one at whom payments were counted before.
    pub(super) disturbed: BTreeMap<AddressId, Option<ReferenceId>>,
}

impl Settled {
    fn hold(&mut self, world: &mut World, id: CustomerId, held: Option<Held>) {
        let disturbed = world.hold(id, held);
        if let Some(node) = world.customers.get_mut(&id).filter(|_| !disturbed.is_empty()) {
            // Who vouches may change while nothing is shown otherwise.
            node.changed = true;
            node.profile_changed = true;
        }
        for (address, before) in disturbed {
            self.disturbed.entry(address).or_insert(before);
        }
    }
}

/// Works out everything that follows for the components that an event touched.
pub(super) fn settle(
    world: &mut World,
    touched: &mut Touched,
    context: &mut Context<'_>,
) -> Settled {
    let mut components: BTreeSet<Uuid> =
        touched.references.iter().filter_map(|id| world.component_of(*id)).collect();
    components.extend(beyond(world, &components));
    let mut settled = Settled::default();
    for component in &components {
        note_before(world, *component, &mut settled);
        plant(world, *component);
    }
    settle_payments(world, &components, touched);
    settle_subscriptions(world, &components, touched);
    for component in &components {
        assign_rows(world, *component, &mut settled, context);
        show(world, *component, &mut settled, context);
    }
    for component in matching::match_payments(world, &components, touched, &mut settled) {
        show(world, component, &mut settled, context);
    }
    settled
}

/// Where the payments and subscriptions of components with a deletion hang besides: they may lose them.
fn beyond(world: &World, components: &BTreeSet<Uuid>) -> BTreeSet<Uuid> {
    let mut references = BTreeSet::new();
    for id in components.iter().flat_map(|component| members(world, *component)) {
        let Some(node) = world.references.get(&id) else { continue };
        let known = world.reaches.contains_key(&node.component);
        if !known && node.facts.deletions.is_empty() {
            continue;
        }
        for other in world.components.get(&node.component).into_iter().flatten() {
            let payments = world.payments_of.get(other).into_iter().flatten();
            let payments = payments.filter_map(|id| world.payments.get(id));
            references.extend(payments.flat_map(|node| node.facts.references.all()));
            let subscriptions = world.subscriptions_of.get(other).into_iter().flatten();
            let subscriptions = subscriptions.filter_map(|id| world.subscriptions.get(id));
            references.extend(subscriptions.flat_map(|node| node.facts.references.all()));
        }
    }
    references.into_iter().filter_map(|id| world.component_of(id)).collect()
}

fn members(world: &World, component: Uuid) -> Vec<ReferenceId> {
    world.components.get(&component).into_iter().flatten().copied().collect()
}

/// Notes how the customers of a component are shown and where its references hang before they change.
pub(super) fn note_before(world: &World, component: Uuid, settled: &mut Settled) {
    for id in members(world, component) {
        if let Some(node) = world.references.get(&id) {
            settled.roots.insert(id, node.root);
        }
        for customer in world.customers_of.get(&id).into_iter().flatten() {
            let shown = world.customers.get(customer).and_then(|node| node.shown.clone());
            settled.before.insert(*customer, shown);
        }
    }
}

/// Brings the standing of every reference of a component up to date, and erases what deletions took.
fn plant(world: &mut World, component: Uuid) {
    let view: claims::Component<'_> = world
        .components
        .get(&component)
        .into_iter()
        .flatten()
        .filter_map(|id| world.references.get(id).map(|node| (*id, (node.kind, &node.facts))))
        .collect();
    let forest = claims::forest(&view);
    let (mut lost, mut former) = (BTreeSet::new(), BTreeSet::new());
    for (id, standing) in forest.standings {
        let Some(node) = world.references.get_mut(&id) else { continue };
        if node.deleted_at != standing.deleted_at {
            world.erased.subjects.insert(id.0);
            lost.insert(node.customer);
            former.insert(id);
        }
        let known = (node.root, node.closed, node.deleted_at);
        node.changed |= known != (standing.root, standing.closed, standing.deleted_at);
        (node.root, node.closed, node.deleted_at) =
            (standing.root, standing.closed, standing.deleted_at);
        if let Some(at) = node.deleted_at {
            erase(&mut node.facts, at);
        }
        if node.closed && !standing.is_claimed {
            node.changed |= node.subject.is_some();
            node.subject = None;
        }
    }
    if !lost.is_empty() {
        note_told(world, component, &lost, &former);
    }
    if !forest.reaches.is_empty() {
        world.reaches.insert(component, forest.reaches);
    }
}

/// Notes whose messages may repeat what a deletion took: the customers that lose a reference, those under which it was
/// ever said to hang, and those that it may have been in conflict with.
fn note_told(
    world: &mut World,
    component: Uuid,
    lost: &BTreeSet<Option<CustomerId>>,
    former: &BTreeSet<ReferenceId>,
) {
    let former = upwards(world, former);
    let rows = |of: ReferenceId| world.customers_of.get(&of).into_iter().flatten().copied();
    let owner = |of: &ReferenceId| world.references.get(of).and_then(|node| node.customer);
    // What was told last of one that lives on says nothing of it any more.
    let last_told = |id: CustomerId| {
        let live = world.customers.get(&id).filter(|node| node.is_live());
        (id, live.map_or(i64::MAX, |node| node.version))
    };
    let mut erased = Erased::default();
    erased.conflicts.extend(members(world, component).into_iter().flat_map(rows).map(last_told));
    let former = former.iter().flat_map(|of| rows(*of).chain(owner(of)));
    erased.lessened.extend(former.map(last_told));
    for customer in lost.iter().flatten() {
        let told = world.with_absorbed(*customer);
        erased.lessened.extend(told.into_iter().map(|id| (id, i64::MAX)));
    }
    world.erased.extend(&erased);
}

/// Some references and all under which they, or those above them, were ever said to hang.
fn upwards(world: &World, from: &BTreeSet<ReferenceId>) -> BTreeSet<ReferenceId> {
    let mut all = BTreeSet::new();
    let mut open: Vec<ReferenceId> = from.iter().copied().collect();
    while let Some(id) = open.pop() {
        if all.insert(id) {
            let claims = world.references.get(&id).map(|node| node.facts.claims.iter());
            open.extend(claims.into_iter().flatten().filter_map(|claim| claim.parent));
        }
    }
    all
}

/// What was said by then is gone; afterwards only the app's own word counts (semantics 4).
fn erase(facts: &mut ReferenceFacts, at: crate::model::time::Timestamp) {
    macro_rules! each {
        ($($register:expr),*) => {$( $register.erase(at); $register.erase_below(Authority::APP.weak()); )*};
    }
    let profile = &mut facts.profile;
    each!(
        profile.name,
        profile.email,
        profile.phone,
        profile.tags,
        profile.anonymous,
        profile.metadata_cleared
    );
    for register in profile.metadata.values_mut() {
        each!(register);
    }
    profile.metadata.retain(|_, register| !register.is_empty());
}

/// The payments whose owner may have changed: those touched, and all of a component that knows a deletion.
fn settle_payments(world: &mut World, components: &BTreeSet<Uuid>, touched: &mut Touched) {
    let mut ids: BTreeSet<PaymentId> = touched.payments.keys().copied().collect();
    for component in components.iter().filter(|component| world.reaches.contains_key(component)) {
        for member in members(world, *component) {
            ids.extend(world.payments_of.get(&member).into_iter().flatten());
        }
    }
    for id in ids {
        let Some(node) = world.payments.get(&id) else { continue };
        let namings = node.facts.references.clone();
        let reaches = world.reaches_of(namings.all());
        let fate = claims::fate(&namings, node.facts.first_at, &reaches);
        // Where it names nobody, it stays at whom it was matched with until the holder of the address changes.
        let matched = node.matched_owner();
        let owner = namings
            .hangs_on()
            .filter(|_| !fate.detached)
            .or(matched)
            .filter(|_| node.counts())
            .filter(|owner| world.references.get(owner).is_some_and(|node| !node.closed));
        let is_touched = touched.payments.contains_key(&id);
        scrub(world, id, is_touched || fate.detached);
        if matched.is_some() && owner != matched {
            touched.payment_shown(world, id);
        }
        let Some(node) = world.payments.get_mut(&id) else { continue };
        if node.owner != owner {
            node.owner = owner;
            node.changed = true;
        }
        if fate.erased || node.erased {
            node.changed |= !node.erased;
            node.erased = true;
            node.owner = None;
            let references = std::mem::take(&mut node.facts.references);
            let names = std::mem::take(&mut node.facts.names);
            node.facts =
                crate::model::payment::PaymentFacts { references, names, ..Default::default() };
            node.figures = facts::figures(&node.facts);
        }
    }
}

/// Takes from a payment what says something of a person, where a deletion reached a reference that it names, or the
/// one that it is matched with since it was first heard of. `always` erases its bodies though nothing else changed.
pub(super) fn scrub(world: &mut World, id: PaymentId, always: bool) {
    let Some(node) = world.payments.get(&id) else { return };
    let was_deleted = |of: ReferenceId| world.references.get(&of)?.deleted_at;
    let deleted_since = |at| node.facts.first_at <= Some(at);
    let is_personal = !node.facts.impersonal
        && node.facts.references.all().all(|of| was_deleted(of).is_none())
        && !node.matched_owner().and_then(was_deleted).is_some_and(deleted_since);
    let Some(node) = world.payments.get_mut(&id).filter(|_| !is_personal) else { return };
    let known = node.facts.clone();
    node.facts.scrub();
    if known != node.facts || always {
        world.erased.subjects.insert(id.0);
    }
    // What is told from now on says nothing of a person.
    if !node.impersonal {
        node.impersonal = true;
        world.erased.payments.insert(id);
    }
    node.changed |= known != node.facts;
}

fn settle_subscriptions(world: &mut World, components: &BTreeSet<Uuid>, touched: &Touched) {
    let mut ids: BTreeSet<_> = touched.subscriptions.keys().copied().collect();
    for component in components.iter().filter(|component| world.reaches.contains_key(component)) {
        for member in members(world, *component) {
            ids.extend(world.subscriptions_of.get(&member).into_iter().flatten().copied());
        }
    }
    for id in ids {
        let Some(node) = world.subscriptions.get(&id) else { continue };
        let namings = &node.facts.references;
        let reaches = world.reaches_of(namings.all());
        let fate = claims::fate(namings, node.facts.first_at, &reaches);
        let owner = namings
            .hangs_on()
            .filter(|_| !fate.detached)
            .filter(|owner| world.references.get(owner).is_some_and(|reference| !reference.closed));
        if let Some(node) = world.subscriptions.get_mut(&id)
            && node.owner != owner
        {
            node.owner = owner;
            node.changed = true;
            if fate.detached {
                world.erased.subjects.insert(id.0);
            }
        }
    }
}

/// Finds the row for every open root: its own, else the oldest of what joined it, else a new one.
fn assign_rows(
    world: &mut World,
    component: Uuid,
    settled: &mut Settled,
    context: &mut Context<'_>,
) {
    let members = members(world, component);
    let rows: BTreeSet<CustomerId> = members
        .iter()
        .flat_map(|id| world.customers_of.get(id).into_iter().flatten().copied())
        .collect();
    let live: Vec<(CustomerId, ReferenceId)> = rows
        .iter()
        .filter_map(|id| world.customers.get(id).map(|node| (*id, node)))
        .filter(|(_, node)| node.is_live())
        .map(|(id, node)| (id, node.root))
        .collect();
    let standing = |world: &World, id: &ReferenceId| {
        world.references.get(id).map(|node| (node.root, node.closed))
    };
    // For each open root the row that stands for it: its own comes before any that joined it.
    let mut candidates: BTreeMap<ReferenceId, (bool, CustomerId)> = BTreeMap::new();
    for (id, of) in &live {
        if let Some((root, false)) = standing(world, of) {
            let candidate = (root != *of, *id);
            let best = candidates.entry(root).or_insert(candidate);
            *best = candidate.min(*best);
        }
    }
    let mut taken: BTreeMap<ReferenceId, CustomerId> = BTreeMap::new();
    for root in &members {
        if standing(world, root) != Some((*root, false)) {
            continue;
        }
        let row = match candidates.get(root) {
            Some((_, id)) => *id,
            None => add_row(world, *root, &rows, context),
        };
        move_root(world, row, *root);
        taken.insert(*root, row);
    }
    let kept: BTreeSet<CustomerId> = taken.values().copied().collect();
    for (id, root) in live {
        if kept.contains(&id) {
            continue;
        }
        let survivor =
            standing(world, &root).and_then(|(new_root, _)| taken.get(&new_root).copied());
        let gone = world.with_absorbed(id);
        settled.hold(world, id, None);
        let Some(node) = world.customers.get_mut(&id) else { continue };
        node.changed = true;
        node.shown = None;
        let Some(survivor) = survivor else {
            node.deleted = true;
            world.erased.customers.extend(gone);
            continue;
        };
        let version = node.version;
        // Those that went into it before follow it.
        for id in gone {
            if let Some(node) = world.customers.get_mut(&id) {
                node.absorbed_into = Some(survivor);
                node.changed = true;
            }
        }
        settled.absorbed.push((id, survivor));
        // A merge goes on from the higher version.
        if let Some(survivor) = world.customers.get_mut(&survivor) {
            survivor.version = survivor.version.max(version);
            survivor.changed = true;
        }
    }
    for id in &members {
        let Some(node) = world.references.get_mut(id) else { continue };
        let customer = taken.get(&node.root).copied().filter(|_| !node.closed);
        if node.customer != customer {
            node.customer = customer;
            node.changed = true;
        }
    }
}

/// A new row; one of a root that was deleted goes on from the version of the customer that it was deleted with.
fn add_row(
    world: &mut World,
    root: ReferenceId,
    rows: &BTreeSet<CustomerId>,
    context: &mut Context<'_>,
) -> CustomerId {
    let id = CustomerId((context.new_id)());
    let returns = world.references.get(&root).is_some_and(|node| node.deleted_at.is_some());
    let version = rows
        .iter()
        .filter_map(|row| world.customers.get(row))
        .filter(|node| returns && node.deleted)
        .map(|node| node.version)
        .max();
    let node = CustomerNode {
        environment: context.environment.clone(),
        root,
        version: version.unwrap_or(0),
        deleted: false,
        absorbed_into: None,
        created_at: context.now,
        updated_at: context.now,
        shown: None,
        changed: true,
        profile_changed: true,
        holds: None,
        stored_spend: Spend::new(),
        spend: Spend::new(),
    };
    world.add_customer(id, node);
    id
}

fn move_root(world: &mut World, id: CustomerId, root: ReferenceId) {
    let Some(node) = world.customers.get_mut(&id) else { return };
    if node.root != root {
        if let Some(rows) = world.customers_of.get_mut(&node.root) {
            rows.remove(&id);
        }
        node.root = root;
        node.changed = true;
        world.customers_of.entry(root).or_default().insert(id);
    }
}

/// Works out how each live customer of a component is shown.
fn show(world: &mut World, component: Uuid, settled: &mut Settled, context: &Context<'_>) {
    let mut trees: BTreeMap<CustomerId, Vec<ReferenceId>> = BTreeMap::new();
    for id in members(world, component) {
        if let Some(customer) = world.references.get(&id).and_then(|node| node.customer) {
            trees.entry(customer).or_default().push(id);
        }
    }
    for (id, tree) in trees {
        let Some(Shown { customer: shown, spend, holds }) =
            shown(world, id, &tree, context.keyring)
        else {
            continue;
        };
        settled.hold(world, id, holds);
        let Some(node) = world.customers.get_mut(&id) else { continue };
        settled.before.entry(id).or_insert(None);
        node.spend = spend;
        if node.shown.as_ref() != Some(&shown) {
            let person_changed = node.shown.as_ref().is_none_or(|known| {
                known.person != shown.person
                    || known.subscription_status != shown.subscription_status
            });
            node.profile_changed |= person_changed;
            node.updated_at = context.now;
            node.changed = true;
            node.shown = Some(Customer { updated_at: context.now, ..shown });
        }
    }
}

/// A customer as its tree, payments and subscriptions make it.
pub(super) struct Shown {
    pub(super) customer: Customer,
    pub(super) spend: Spend,
    pub(super) holds: Option<Held>,
}

/// Works out how a customer is shown.
pub(super) fn shown(
    world: &World,
    id: CustomerId,
    tree: &[ReferenceId],
    keyring: &Keyring,
) -> Option<Shown> {
    let node = world.customers.get(&id)?;
    let mut ordered: Vec<Member<'_>> = tree
        .iter()
        .filter_map(|id| {
            let node = world.references.get(id)?;
            let (kind, facts) = (node.kind, &node.facts);
            let (namespace, subject) = (&node.namespace, node.subject.as_ref());
            Some(Member { id: *id, kind, namespace, subject, facts })
        })
        .collect();
    ordered.sort_by_key(|member| (member.id != node.root, member.kind, member.id));
    let mut spend = Spend::new();
    for member in tree {
        for (currency, totals) in world.spend_of(*member) {
            spend.entry(currency).or_default().add(&totals);
        }
    }
    let subscriptions = tree.iter().flat_map(|member| {
        let of = world.subscriptions_of.get(member).into_iter().flatten();
        of.filter_map(|id| world.subscriptions.get(id))
            .filter(|subscription| subscription.owner == Some(*member))
            .map(|subscription| subscription.status)
    });
    let row = CustomerRow {
        id,
        environment: node.environment.clone(),
        version: node.version,
        deleted: node.deleted,
        created_at: node.created_at,
        updated_at: node.updated_at,
    };
    let customer =
        Customer::assemble(row, facts::person(&ordered), &spend, facts::best(subscriptions));
    let holds = facts::verified_address(&ordered).map(|(at, email)| Held {
        address: keyring.address_id(&node.environment, &email.key()),
        at,
    });
    Some(Shown { customer, spend, holds })
}

/// Whether a reference is an external_id.
pub(super) fn is_external(world: &World, id: ReferenceId) -> bool {
    world.references.get(&id).is_some_and(|node| node.kind == Kind::External)
}
