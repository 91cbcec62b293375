//! Records a batch, and reads under locks the part of the state that it can touch.
//!
//! Locks are taken class by class, each in one order, so that no two workers wait for each other: e-mail addresses,
//! references by whole components, the payments that are named or matched, customers, other payments of these references,
//! subscriptions. What the locked rows name and was not known before makes the batch begin again with the larger set.

use crate::{
    apply::{
        claims, customers,
        days::Share,
        facts,
        world::{CustomerNode, PaymentNode, ReferenceNode, SubscriptionNode, World},
    },
    keyring::Keyring,
    model::{
        contact::{AddressId, Email},
        customer::{Spend, Totals},
        event::Assertions,
        id::{CustomerId, PaymentId, SubscriptionId},
        money::Currency,
        payment::PaymentKey,
        reference::{Kind, Reference, ReferenceId},
        subscription::{SubscriptionKey, SubscriptionStatus},
        time::Timestamp,
    },
    store::{
        self, Error, Result, Tx, inbox,
        reach::{Names, Reached},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};
use uuid::Uuid;

mod addresses;

/// What a batch names, and what it was found to touch beyond that.
#[derive(Clone, Debug, Default)]
pub struct Closure {
    references: BTreeSet<ReferenceId>,
    payments: BTreeSet<(Arc<str>, PaymentKey)>,
    subscriptions: BTreeSet<(Arc<str>, SubscriptionKey)>,
    subscription_ids: BTreeSet<Uuid>,
    /// References at which the batch deletes: all of their payments are needed.
    deletes: bool,
    /// Whether payments are matched by e-mail address.
    matching: bool,
    /// Addresses whose holders or payments the batch may change.
    addresses: BTreeSet<AddressId>,
    /// Those that its payments leave.
    payers: BTreeSet<AddressId>,
    /// Those whose holder changes: all payments that are matched by them are needed.
    moving: BTreeSet<AddressId>,
}

impl Closure {
    /// Nothing yet; whether payments are matched by e-mail address.
    pub fn new(matching: bool) -> Self {
        Self { matching, ..Self::default() }
    }

    /// Adds what one event names.
    pub fn add(&mut self, environment: &Arc<str>, assertions: &Assertions, keyring: &Keyring) {
        let mut names: Vec<&Reference> = Vec::new();
        for said in &assertions.references {
            names.push(&said.reference);
            names.extend(said.claim.iter().filter_map(|claim| claim.under.as_ref()));
            names.extend(said.opening.iter().filter_map(|opening| opening.by.as_ref()));
            self.deletes |= !said.facts.deletions.is_empty();
            if self.matching {
                let emails = said.facts.profile.email.assertions().iter();
                let emails = emails.filter_map(|email| email.value.as_ref());
                let emails = emails.filter(|email| email.verified);
                let address = |email: &Email| keyring.address_id(environment, &email.key());
                self.addresses.extend(emails.map(address));
            }
        }
        for payment in &assertions.payments {
            names.extend(payment.references.iter().map(|(reference, _)| reference));
            let keys = payment.keys.iter().cloned();
            self.payments.extend(keys.map(|key| (environment.clone(), key)));
            if self.matching {
                let said = payment.match_email.assertions().iter();
                let address = |address: &String| keyring.address_id(environment, address);
                self.payers.extend(said.map(|said| address(&said.value)));
            }
        }
        for subscription in &assertions.subscriptions {
            names.extend(subscription.references.iter().map(|(reference, _)| reference));
            self.subscriptions.insert((environment.clone(), subscription.key.clone()));
        }
        let ids = names.into_iter().map(|name| keyring.reference_id(environment, name));
        self.references.extend(ids);
        self.addresses.extend(&self.payers);
    }

    /// Adds references of which nothing is said.
    pub fn mention(&mut self, references: impl IntoIterator<Item = ReferenceId>) {
        self.references.extend(references);
    }

    /// Adds a payment by one of its names.
    pub fn add_payment(&mut self, environment: &Arc<str>, key: PaymentKey) {
        self.payments.insert((environment.clone(), key));
    }

    /// Notes that references are deleted: all of their payments are needed.
    pub fn delete(&mut self) {
        self.deletes = true;
    }

    /// Adds a subscription by its row.
    pub fn add_subscription(&mut self, id: SubscriptionId) {
        self.subscription_ids.insert(id.0);
    }
}

/// Loads what a batch touches.
///
/// # Errors
/// [`Error::Grew`] when it turned out to touch more: `closure` then holds it, and the batch begins again in
/// a new transaction. Else when the database fails.
pub async fn load(
    tx: &mut Tx,
    closure: &mut Closure,
    keyring: &Keyring,
    now: Timestamp,
) -> Result<World> {
    let mut payment_ids = BTreeSet::new();
    if closure.matching {
        addresses::lock(tx, closure).await?;
        payment_ids = addresses::payments(tx, closure).await?;
    }
    let names = Names { payment_ids, ..names(closure) };
    let reached = store::reach::reached(tx, &names).await?;
    load_reached(tx, reached, closure, keyring, now).await
}

/// Records the events of a batch, and loads what it touches; with the ids of the new ones.
///
/// # Errors
/// As for [`load`].
pub async fn record(
    tx: &mut Tx,
    records: &[inbox::Record],
    closure: &mut Closure,
    keyring: &Keyring,
    now: Timestamp,
) -> Result<(HashSet<Uuid>, World)> {
    if closure.matching {
        // The addresses' locks come between the inbox's rows and the look-up, which their holders add to.
        let new = inbox::record(tx, records, now).await?;
        return Ok((new, load(tx, closure, keyring, now).await?));
    }
    let (new, reached) =
        store::reach::recorded_and_reached(tx, records, now, &names(closure)).await?;
    Ok((new, load_reached(tx, reached, closure, keyring, now).await?))
}

async fn load_reached(
    tx: &mut Tx,
    reached: Reached,
    closure: &mut Closure,
    keyring: &Keyring,
    now: Timestamp,
) -> Result<World> {
    let mut world = World { matching: closure.matching, ..World::default() };
    add_references(reached.references, &mut world)?;
    if reached.components.iter().any(|component| !world.components.contains_key(component)) {
        // It went into another one while its lock was awaited.
        return Err(Error::Grew);
    }
    let members: BTreeSet<ReferenceId> = world.references.keys().copied().collect();
    let held = store::reach::held(tx, &reached.components, &members, now).await?;
    world.audience = held.audience;
    add_customers(held.customers, &mut world);
    let mut more = BTreeSet::new();
    if closure.deletes || world.references.values().any(|node| node.deleted_at.is_some()) {
        more.extend(store::references::payments(tx, members.iter().copied()).await?);
        more.extend(store::payments::matched_at(tx, members.iter().copied()).await?);
    }
    let mut payments = reached.payments;
    for payment in &payments {
        more.remove(&payment.id);
    }
    payments.extend(store::payments::lock(tx, &more).await?);
    add_payments(payments, closure, &mut world)?;
    for name in reached.names {
        // Another worker joined it into a second payment while its lock was awaited: its names are that one's.
        let joined = world.payments.get(&PaymentId(name.payment_id));
        if joined.is_some_and(|payment| payment.absorbed_into.is_some()) {
            return Err(Error::Grew);
        }
        let key =
            PaymentKey { namespace: name.namespace.into(), id: name.provider_payment_id.into() };
        let id = PaymentId(name.payment_id);
        world.payment_keys.insert((name.environment.into(), key), id);
    }
    let mut subscriptions: BTreeSet<Uuid> = reached.subscriptions.iter().map(|id| id.0).collect();
    subscriptions.extend(&closure.subscription_ids);
    subscriptions.extend(held.subscriptions);
    lock_subscriptions(tx, &subscriptions, closure, &mut world).await?;
    load_spend(tx, held.totals, &mut world).await?;
    plant(&mut world, keyring);
    if closure.matching {
        addresses::load(tx, closure, &mut world).await?;
    }
    Ok(world)
}

/// Makes sure that everything was loaded, and locked, that the decision turned out to need.
///
/// # Errors
/// [`Error::Grew`] where it was not: `closure` then holds it, and the batch begins again in a new transaction.
pub fn check(world: &World, closure: &mut Closure) -> Result<()> {
    if world.unloaded.is_empty() && world.unlocked.is_empty() {
        return Ok(());
    }
    closure.addresses.extend(world.unlocked.union(&world.unloaded));
    closure.moving.extend(&world.unloaded);
    Err(Error::Grew)
}

fn names(closure: &Closure) -> Names {
    Names {
        payments: payment_names(closure),
        subscriptions: subscription_names(closure),
        subscription_ids: closure.subscription_ids.clone(),
        references: closure.references.clone(),
        payment_ids: BTreeSet::new(),
    }
}

fn payment_names(closure: &Closure) -> Vec<store::payments::Name> {
    closure
        .payments
        .iter()
        .map(|(environment, key)| store::payments::Name {
            environment: environment.to_string(),
            namespace: key.namespace.to_string(),
            provider_payment_id: key.id.to_string(),
            payment_id: Uuid::nil(),
        })
        .collect()
}

fn subscription_names(closure: &Closure) -> Vec<store::subscriptions::Name> {
    closure
        .subscriptions
        .iter()
        .map(|(environment, key)| store::subscriptions::Name {
            environment: environment.to_string(),
            namespace: key.namespace.to_string(),
            provider_subscription_id: key.id.to_string(),
        })
        .collect()
}

fn add_references(rows: Vec<store::references::Row>, world: &mut World) -> Result<()> {
    for row in rows {
        let kind = kind_from(&row)?;
        world.add_reference(
            ReferenceId(row.id),
            ReferenceNode {
                environment: row.environment.into(),
                kind,
                namespace: row.namespace.into(),
                subject: row.subject.map(Into::into),
                facts: row.facts,
                component: row.component,
                root: ReferenceId(row.id),
                closed: row.closed,
                deleted_at: row.deleted_before.then_some(Timestamp::UNKNOWN),
                customer: row.customer_id.map(CustomerId),
                rest: Spend::new(),
                stored_customer: row.customer_id.map(CustomerId),
                stored_spend: Spend::new(),
                is_new: false,
                changed: false,
            },
        );
    }
    Ok(())
}

fn kind_from(row: &store::references::Row) -> Result<Kind> {
    match row.kind.as_str() {
        "external" => Ok(Kind::External),
        "auth" => Ok(Kind::Auth),
        "payment" => Ok(Kind::Payment),
        "self" => Ok(Kind::Own),
        other => Err(Error::Row {
            table: "customer_references",
            column: "kind",
            row: row.id.to_string(),
            why: format!("`{other}` is no kind"),
        }),
    }
}

/// Whether everything that an object names is loaded; else it is added to the closure.
fn covers(world: &World, closure: &mut Closure, names: impl Iterator<Item = ReferenceId>) -> bool {
    let mut covered = true;
    for name in names {
        if !world.references.contains_key(&name) {
            covered = false;
            closure.references.insert(name);
        }
    }
    covered
}

fn add_payments(
    rows: Vec<store::payments::Row>,
    closure: &mut Closure,
    world: &mut World,
) -> Result<()> {
    let mut grew = false;
    for row in rows {
        let owner = row.owner_id.map(ReferenceId);
        grew |= !covers(world, closure, row.facts.references.all().chain(owner));
        let figures = facts::figures(&row.facts);
        let listed: BTreeSet<ReferenceId> = row.facts.references.all().collect();
        let was_deleted = |id| world.references.get(id).is_some_and(|r| r.deleted_at.is_some());
        let impersonal = row.facts.impersonal || listed.iter().any(was_deleted);
        let mut node = PaymentNode {
            environment: row.environment.into(),
            key: PaymentKey { namespace: row.namespace.into(), id: row.provider_payment_id.into() },
            facts: row.facts,
            owner,
            erased: row.erased,
            impersonal,
            absorbed_into: row.absorbed_into.map(PaymentId),
            created_at: row.created_at,
            updated_at: row.updated_at,
            is_new: false,
            conflict_told: !figures.conflicting.is_empty(),
            figures,
            listed,
            stored_share: None,
            changed: false,
        };
        node.stored_share = Share::of(&node);
        world.add_payment(PaymentId(row.id), node);
    }
    if grew { Err(Error::Grew) } else { Ok(()) }
}

async fn lock_subscriptions(
    tx: &mut Tx,
    ids: &BTreeSet<Uuid>,
    closure: &mut Closure,
    world: &mut World,
) -> Result<()> {
    let mut grew = false;
    for row in store::subscriptions::lock(tx, ids).await? {
        grew |= !covers(world, closure, row.facts.references.all());
        let key = SubscriptionKey {
            namespace: row.namespace.into(),
            id: row.provider_subscription_id.into(),
        };
        let status = SubscriptionStatus::from_word(&row.status).ok_or_else(|| Error::Row {
            table: "subscriptions",
            column: "status",
            row: row.id.to_string(),
            why: format!("`{}` is no status", row.status),
        })?;
        let id = SubscriptionId(row.id);
        let environment: Arc<str> = row.environment.into();
        world.subscription_keys.insert((environment.clone(), key.clone()), id);
        let listed = row.facts.references.all().collect();
        world.add_subscription(
            id,
            SubscriptionNode {
                environment,
                key,
                facts: row.facts,
                status,
                owner: row.owner_id.map(ReferenceId),
                created_at: row.created_at,
                updated_at: row.updated_at,
                is_new: false,
                stored: true,
                listed,
                changed: false,
            },
        );
    }
    if grew { Err(Error::Grew) } else { Ok(()) }
}

fn add_customers(rows: Vec<store::customers::Row>, world: &mut World) {
    for row in rows {
        world.add_customer(
            CustomerId(row.id),
            CustomerNode {
                environment: row.environment.into(),
                root: ReferenceId(row.root_id),
                version: row.version,
                deleted: row.deleted,
                absorbed_into: row.absorbed_into.map(CustomerId),
                created_at: row.created_at,
                updated_at: row.updated_at,
                shown: None,
                changed: false,
                profile_changed: false,
                holds: None,
                stored_spend: Spend::new(),
                spend: Spend::new(),
            },
        );
    }
}

/// Keeps each reference's totals, and takes the loaded payments out of them: what is left are the others.
async fn load_spend(
    tx: &mut Tx,
    stored: BTreeMap<ReferenceId, Spend>,
    world: &mut World,
) -> Result<()> {
    let mut loaded: BTreeMap<ReferenceId, Spend> = BTreeMap::new();
    let counted = world.payments.values().filter(|payment| payment.counts());
    for payment in counted {
        if let Some(owner) = payment.owner {
            let (currency, totals) = facts::contribution(&payment.figures);
            loaded.entry(owner).or_default().entry(currency).or_default().add(&totals);
        }
    }
    // Where all of a reference's payments are loaded, none is left whose time would matter.
    let has_others = |owner: &ReferenceId, currency: &Option<Currency>, totals: &Totals| {
        let all = stored.get(owner).and_then(|spend| spend.get(currency));
        all.is_some_and(|all| all.payment_count > totals.payment_count)
    };
    let spans: Vec<store::totals::Span> = loaded
        .iter()
        .flat_map(|(owner, spend)| {
            spend.iter().map(move |(currency, totals)| (owner, currency, totals))
        })
        .filter(|(owner, currency, totals)| has_others(owner, currency, totals))
        .map(|(owner, currency, _)| store::totals::Span {
            owner_id: owner.0,
            currency: currency.map_or_else(String::new, String::from),
        })
        .collect();
    let ids: BTreeSet<Uuid> = world.payments.keys().map(|id| id.0).collect();
    let left = store::totals::spans_without(tx, &spans, &ids).await?;
    for (id, spend) in stored {
        let Some(node) = world.references.get_mut(&id) else { continue };
        node.stored_spend = spend.clone();
        node.rest = spend;
        for (currency, totals) in loaded.get(&id).into_iter().flatten() {
            let Some(rest) = node.rest.get_mut(currency) else { continue };
            rest.subtract_sums(totals);
            let code = currency.map_or_else(String::new, String::from);
            let (first, last) = left.get(&(id.0, code)).copied().unwrap_or_default();
            (rest.first_payment_at, rest.last_payment_at) = (first, last);
        }
        node.rest.retain(|_, totals| *totals != Totals::default());
    }
    Ok(())
}

/// Works out what the stored columns leave out: where each reference hangs, what deletions reached, and how
/// each customer is shown.
fn plant(world: &mut World, keyring: &Keyring) {
    let components: Vec<(Uuid, BTreeSet<ReferenceId>)> =
        world.components.iter().map(|(id, members)| (*id, members.clone())).collect();
    for (component, members) in components {
        let view: claims::Component<'_> = members
            .iter()
            .filter_map(|id| world.references.get(id).map(|node| (*id, (node.kind, &node.facts))))
            .collect();
        let forest = claims::forest(&view);
        for (id, standing) in forest.standings {
            if let Some(node) = world.references.get_mut(&id) {
                node.root = standing.root;
                node.deleted_at = standing.deleted_at;
            }
        }
        if !forest.reaches.is_empty() {
            world.reaches.insert(component, forest.reaches);
        }
        let mut trees: BTreeMap<CustomerId, Vec<ReferenceId>> = BTreeMap::new();
        for id in &members {
            if let Some(customer) = world.references.get(id).and_then(|node| node.customer) {
                trees.entry(customer).or_default().push(*id);
            }
        }
        for (id, tree) in trees {
            let Some(shown) = customers::shown(world, id, &tree, keyring) else { continue };
            world.hold(id, shown.holds);
            if let Some(node) = world.customers.get_mut(&id) {
                node.shown = Some(shown.customer);
                node.stored_spend = shown.spend.clone();
                node.spend = shown.spend;
            }
        }
    }
}
