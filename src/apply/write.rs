//! Writes back what changed: one statement a table, however many events the batch had.

use crate::{
    apply::world::{CustomerNode, PaymentNode, ReferenceNode, SubscriptionNode, World},
    model::{
        contact::Email,
        customer::{BestSubscription, Customer},
        id::{CustomerId, PaymentId, SubscriptionId},
        reference::{Kind, ReferenceId},
        subscription::SubscriptionStatus,
        time::Timestamp,
    },
    store::{self, Result, Tx},
};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Writes a batch's changes.
///
/// # Errors
/// [`store::Error::Grew`] when another transaction was faster with a new row; else when the database fails.
pub async fn write(tx: &mut Tx, world: &World, now: Timestamp) -> Result<()> {
    write_references(tx, world).await?;
    write_payments(tx, world).await?;
    write_subscriptions(tx, world, now).await?;
    write_namings(tx, world).await?;
    write_customers(tx, world).await?;
    write_totals(tx, world).await
}

/// Erases what deletions took: from inbound events, from what was told, from conflicts.
///
/// # Errors
/// When the database fails.
pub async fn erase(tx: &mut Tx, world: &World) -> Result<()> {
    let erased = &world.erased;
    store::inbox::erase(tx, &erased.subjects).await?;
    let ids = |customers: &BTreeSet<CustomerId>| customers.iter().map(|id| id.0).collect();
    let told = store::customers::Told {
        gone: ids(&erased.customers),
        lessened: ids(&erased.lessened),
        conflicts: ids(&erased.conflicts),
        payments: erased.payments.iter().map(|id| id.0).collect(),
    };
    store::customers::erase_told(tx, &told).await
}

async fn write_references(tx: &mut Tx, world: &World) -> Result<()> {
    let changed = world.references.iter().filter(|(_, node)| node.changed);
    let (new, known): (Vec<_>, Vec<_>) = changed.partition(|(_, node)| node.is_new);
    let rows = |nodes: Vec<(&ReferenceId, &ReferenceNode)>| -> Vec<store::references::Row> {
        nodes.into_iter().map(|(id, node)| reference_row(*id, node)).collect()
    };
    store::references::insert(tx, &rows(new)).await?;
    store::references::update(tx, &rows(known)).await
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

async fn write_payments(tx: &mut Tx, world: &World) -> Result<()> {
    let changed = world.payments.iter().filter(|(_, node)| node.changed);
    let rows: Vec<_> = changed.map(|(id, node)| payment_row(*id, node)).collect();
    store::payments::write(tx, &rows).await?;
    let moves: Vec<(Uuid, Uuid)> = world
        .payments
        .iter()
        .filter(|(_, node)| node.changed)
        .filter_map(|(id, node)| Some((id.0, node.absorbed_into?.0)))
        .collect();
    store::payments::move_names(tx, &moves).await?;
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
    store::payments::insert_names(tx, &names).await
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
        match_email: node.facts.match_email.value().cloned().flatten(),
        facts: node.facts.clone(),
        created_at: node.created_at,
        updated_at: node.updated_at,
    }
}

async fn write_subscriptions(tx: &mut Tx, world: &World, now: Timestamp) -> Result<()> {
    let changed = world.subscriptions.iter().filter(|(_, node)| node.changed);
    let (new, known): (Vec<_>, Vec<_>) = changed.partition(|(_, node)| !node.stored);
    let rows =
        |nodes: Vec<(&SubscriptionId, &SubscriptionNode)>| -> Vec<store::subscriptions::Row> {
            nodes.into_iter().map(|(id, node)| subscription_row(*id, node, now)).collect()
        };
    store::subscriptions::insert(tx, &rows(new)).await?;
    store::subscriptions::update(tx, &rows(known)).await
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

async fn write_namings(tx: &mut Tx, world: &World) -> Result<()> {
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
    store::references::list_objects(tx, &namings).await
}

async fn write_customers(tx: &mut Tx, world: &World) -> Result<()> {
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
    store::customers::write(tx, &rows).await?;
    let absorbed: Vec<(CustomerId, CustomerId)> =
        changed.iter().filter_map(|(id, node)| Some((**id, node.absorbed_into?))).collect();
    store::customers::follow(tx, &absorbed).await?;
    let profiles: Vec<store::customers::Profile> = changed
        .iter()
        .filter(|(_, node)| node.profile_changed && node.is_live())
        .filter_map(|(_, node)| node.shown.as_ref().map(profile))
        .collect();
    store::customers::write_profiles(tx, &profiles).await?;
    let gone: Vec<Uuid> =
        changed.iter().filter(|(_, node)| !node.is_live()).map(|(id, _)| id.0).collect();
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

fn profile(customer: &Customer) -> store::customers::Profile {
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
        verified_email_key: key.clone().filter(|_| person.email_verified),
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

async fn write_totals(tx: &mut Tx, world: &World) -> Result<()> {
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
    store::totals::write_references(tx, &moves).await?;
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
    store::totals::write_customers(tx, &moves).await
}
