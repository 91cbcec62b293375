//! Writes back what changed: one statement a table, however many events the batch had.

use crate::{
    apply::{
        days,
        world::{CustomerNode, Erased, Held, PaymentNode, ReferenceNode, SubscriptionNode, World},
    },
    model::{
        contact::Email,
        customer::{BestSubscription, Customer},
        id::{CustomerId, PaymentId, SubscriptionId},
        reference::{Kind, ReferenceId},
        subscription::SubscriptionStatus,
        time::Timestamp,
    },
    store::{self, Result, Together, Tx, customers::Retold, inbox::Subject},
};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Writes a batch's changes, and what its events speak of. That another transaction was faster with a new row is
/// found when they are run.
///
/// # Errors
/// When the database fails.
pub async fn write(
    tx: &mut Tx,
    writes: &mut Together,
    world: &World,
    subjects: &BTreeSet<Subject>,
    now: Timestamp,
) -> Result<()> {
    // Comes before what adds to the same days.
    store::days::move_to(tx, &days::moved(world)).await?;
    write_references(writes, world);
    write_payment_names(writes, world);
    write_subscriptions(writes, world, now);
    store::inbox::link(writes, subjects);
    write_payments(writes, world);
    write_namings(writes, world);
    write_customers(writes, world);
    write_totals(writes, world);
    store::days::add(writes, &days::added(world));
    Ok(())
}

/// Whether [`conclude`] has anything to do: only where customers ended, were in conflict or were deleted.
pub fn concludes(world: &World) -> bool {
    let ended = |node: &CustomerNode| node.changed && !node.is_live();
    !world.conflicts.is_empty()
        || world.erased != Erased::default()
        || world.customers.values().any(ended)
}

/// What looks at the rows that [`write()`] wrote: the fates of customers, and what deletions erase from inbound events,
/// from what was told and answered, from conflicts.
///
/// # Errors
/// When the database fails.
pub async fn conclude(tx: &mut Tx, world: &World) -> Result<()> {
    write_fates(tx, world).await?;
    let erased = &world.erased;
    store::inbox::erase(tx, &erased.subjects).await?;
    let ids = |customers: &BTreeSet<CustomerId>| customers.iter().map(|id| id.0).collect();
    let retold = |customers: &BTreeMap<CustomerId, i64>| {
        let retold = |(id, since): (&CustomerId, &i64)| Retold { id: id.0, since: *since };
        customers.iter().map(retold).collect()
    };
    let told = store::customers::Told {
        gone: ids(&erased.customers),
        lessened: retold(&erased.lessened),
        conflicts: retold(&erased.conflicts),
        payments: erased.payments.iter().map(|id| id.0).collect(),
    };
    let answered = &erased.customers;
    let lessened = erased.lessened.keys().chain(erased.conflicts.keys());
    let customers = answered.iter().chain(lessened).map(|id| id.0).collect();
    let payments = erased.payments.iter().map(|id| id.0).collect();
    // Answers come last: one about a conflict may be kept while we wait for that conflict's row.
    store::customers::erase_told(tx, &told).await?;
    store::idempotency::erase(tx, &customers, &payments).await
}

fn write_references(writes: &mut Together, world: &World) {
    let changed = world.references.iter().filter(|(_, node)| node.changed);
    let (new, known): (Vec<_>, Vec<_>) = changed.partition(|(_, node)| node.is_new);
    let rows = |nodes: Vec<(&ReferenceId, &ReferenceNode)>| -> Vec<store::references::Row> {
        nodes.into_iter().map(|(id, node)| reference_row(*id, node)).collect()
    };
    store::references::insert(writes, &rows(new));
    store::references::update(writes, &rows(known));
}

fn reference_row(id: ReferenceId, node: &ReferenceNode) -> store::references::Row {
    let kind = match node.kind {
        Kind::External => "external",
        Kind::Auth => "auth",
        Kind::Payment => "payment",
        Kind::Own => "self",
    };
    store::references::Row {
        id: id.0,
        environment: node.environment.to_string(),
        kind: kind.to_owned(),
        namespace: node.namespace.to_string(),
        subject: node.subject.as_ref().map(ToString::to_string),
        component: node.component,
        customer_id: node.customer.map(|customer| customer.0),
        closed: node.closed,
        deleted_before: node.deleted_at.is_some(),
        facts: node.facts.clone(),
    }
}

fn write_payments(writes: &mut Together, world: &World) {
    let changed = world.payments.iter().filter(|(_, node)| node.changed);
    let rows: Vec<_> = changed.map(|(id, node)| payment_row(*id, node)).collect();
    store::payments::write(writes, &rows);
}

fn write_payment_names(writes: &mut Together, world: &World) {
    let moves: Vec<(Uuid, Uuid)> = world
        .payments
        .iter()
        .filter(|(_, node)| node.changed)
        .filter_map(|(id, node)| Some((id.0, node.absorbed_into?.0)))
        .collect();
    store::payments::move_names(writes, &moves);
    let names: Vec<store::payments::Name> = world
        .new_payment_keys
        .iter()
        .filter_map(|name| {
            let payment_id = world.payment_keys.get(name)?.0;
            let (environment, key) = name;
            Some(store::payments::Name {
                environment: environment.to_string(),
                namespace: key.namespace.to_string(),
                provider_payment_id: key.id.to_string(),
                payment_id,
            })
        })
        .collect();
    store::payments::insert_names(writes, &names);
}

fn payment_row(id: PaymentId, node: &PaymentNode) -> store::payments::Row {
    let figures = &node.figures;
    store::payments::Row {
        id: id.0,
        environment: node.environment.to_string(),
        namespace: node.key.namespace.to_string(),
        provider_payment_id: node.key.id.to_string(),
        owner_id: node.owner.map(|owner| owner.0),
        absorbed_into: node.absorbed_into.map(|into| into.0),
        erased: node.erased,
        status: figures.shown.as_str().to_owned(),
        amount: figures.amount,
        currency: figures.currency.map(String::from),
        amount_refunded: figures.refunded,
        disputed_lost: figures.disputed_lost,
        paid_at: figures.paid_at,
        payer_address: node.facts.matched_by().filter(|_| node.counts()).map(|address| address.0),
        facts: node.facts.clone(),
        created_at: node.created_at,
        updated_at: node.updated_at,
    }
}

fn write_subscriptions(writes: &mut Together, world: &World, now: Timestamp) {
    let changed = world.subscriptions.iter().filter(|(_, node)| node.changed);
    let (new, known): (Vec<_>, Vec<_>) = changed.partition(|(_, node)| !node.stored);
    let rows =
        |nodes: Vec<(&SubscriptionId, &SubscriptionNode)>| -> Vec<store::subscriptions::Row> {
            nodes.into_iter().map(|(id, node)| subscription_row(*id, node, now)).collect()
        };
    store::subscriptions::insert(writes, &rows(new));
    store::subscriptions::update(writes, &rows(known));
}

fn subscription_row(
    id: SubscriptionId,
    node: &SubscriptionNode,
    now: Timestamp,
) -> store::subscriptions::Row {
    let ends_at = node.facts.ends_at.value().copied().flatten();
    let over =
        matches!(node.status, SubscriptionStatus::Canceled | SubscriptionStatus::IncompleteExpired);
    store::subscriptions::Row {
        id: id.0,
        environment: node.environment.to_string(),
        namespace: node.key.namespace.to_string(),
        provider_subscription_id: node.key.id.to_string(),
        owner_id: node.owner.map(|owner| owner.0),
        status: node.status.as_str().to_owned(),
        ends_at,
        end_announced: over && ends_at.is_none_or(|at| at <= now),
        facts: node.facts.clone(),
        created_at: node.created_at,
        updated_at: node.updated_at,
    }
}

fn write_namings(writes: &mut Together, world: &World) {
    let naming = |object: Uuid, kind| {
        move |reference: ReferenceId| store::references::Naming {
            reference_id: reference.0,
            object_id: object,
            kind,
        }
    };
    let mut namings = Vec::new();
    for (id, node) in world.payments.iter().filter(|(_, node)| node.changed) {
        let new = node.facts.references.all().filter(|name| !node.listed.contains(name));
        namings.extend(new.map(naming(id.0, "payment")));
    }
    for (id, node) in world.subscriptions.iter().filter(|(_, node)| node.changed) {
        let new = node.facts.references.all().filter(|name| !node.listed.contains(name));
        namings.extend(new.map(naming(id.0, "subscription")));
    }
    store::references::list_objects(writes, &namings);
}

fn write_customers(writes: &mut Together, world: &World) {
    let changed: Vec<(&CustomerId, &CustomerNode)> =
        world.customers.iter().filter(|(_, node)| node.changed).collect();
    let rows: Vec<store::customers::Row> = changed
        .iter()
        .map(|(id, node)| store::customers::Row {
            id: id.0,
            environment: node.environment.to_string(),
            root_id: node.root.0,
            version: node.version,
            deleted: node.deleted,
            absorbed_into: node.absorbed_into.map(|into| into.0),
            created_at: node.created_at,
            updated_at: node.updated_at,
        })
        .collect();
    store::customers::write(writes, &rows);
    let profiles: Vec<store::customers::Profile> = changed
        .iter()
        .filter(|(_, node)| node.profile_changed && node.is_live())
        .filter_map(|(_, node)| Some(profile(node.shown.as_ref()?, node.holds)))
        .collect();
    store::customers::write_profiles(writes, &profiles);
}

/// What became of customers that are no more, and what two sources say of any.
async fn write_fates(tx: &mut Tx, world: &World) -> Result<()> {
    let changed = || world.customers.iter().filter(|(_, node)| node.changed);
    let absorbed: Vec<(CustomerId, CustomerId)> =
        changed().filter_map(|(id, node)| Some((*id, node.absorbed_into?))).collect();
    store::customers::follow(tx, &absorbed).await?;
    let gone: Vec<Uuid> =
        changed().filter(|(_, node)| !node.is_live()).map(|(id, _)| id.0).collect();
    store::customers::remove_shown(tx, &gone).await?;
    let conflicts: Vec<store::customers::Conflict> = world
        .conflicts
        .iter()
        .map(|conflict| store::customers::Conflict {
            id: conflict.id,
            environment: conflict.environment.to_string(),
            kind: conflict.kind,
            customer_id: conflict.customer.map(|id| id.0),
            payment_id: conflict.payment.map(|id| id.0),
            detail: conflict.detail.clone(),
            created_at: conflict.created_at,
        })
        .collect();
    store::customers::record_conflicts(tx, &conflicts).await
}

fn profile(customer: &Customer, holds: Option<Held>) -> store::customers::Profile {
    let person = &customer.person;
    let key = person
        .email
        .as_ref()
        .map(|address| Email { address: address.clone(), verified: person.email_verified }.key());
    store::customers::Profile {
        customer_id: customer.id.0,
        environment: customer.environment.to_string(),
        external_id: person.external_id.as_ref().map(ToString::to_string),
        name: person.name.clone(),
        email: person.email.clone(),
        verified_address: holds.map(|held| held.address.0),
        email_key: key,
        phone: person.phone.clone(),
        is_anonymous: person.is_anonymous,
        subscription_status: match customer.subscription_status {
            BestSubscription::None => "none".to_owned(),
            BestSubscription::Status(status) => status.as_str().to_owned(),
        },
        person: person.clone(),
    }
}

fn write_totals(writes: &mut Together, world: &World) {
    let spends: Vec<_> = world
        .references
        .iter()
        .map(|(id, node)| (id.0, &node.environment, &node.stored_spend, world.spend_of(*id)))
        .collect();
    let moves: Vec<store::totals::Move<'_>> = spends
        .iter()
        .filter(|(_, _, old, new)| *old != new)
        .map(|(holder, environment, old, new)| store::totals::Move {
            holder: *holder,
            environment,
            old,
            new,
        })
        .collect();
    store::totals::write_references(writes, &moves);
    let live = world.customers.iter().filter(|(_, node)| node.is_live());
    let moves: Vec<store::totals::Move<'_>> = live
        .filter(|(_, node)| node.stored_spend != node.spend)
        .map(|(id, node)| store::totals::Move {
            holder: id.0,
            environment: &node.environment,
            old: &node.stored_spend,
            new: &node.spend,
        })
        .collect();
    store::totals::write_customers(writes, &moves);
}
