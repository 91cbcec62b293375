//! What a batch reaches: from the names in it, before anything is locked, and from the references that it has locked.
//! Each in one turn to the database, since an event that comes alone waits for every turn.

use crate::{
    model::{
        customer::{Spend, Totals},
        id::SubscriptionId,
        reference::ReferenceId,
        time::Timestamp,
    },
    store::{Error, Result, Tx, codec::Key, payments, subscriptions},
};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What the events of a batch name.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Payments; whose they are is asked.
    pub payments: Vec<payments::Name>,
    /// Subscriptions.
    pub subscriptions: Vec<subscriptions::Name>,
    /// Subscriptions by their rows.
    pub subscription_ids: BTreeSet<Uuid>,
    /// References.
    pub references: BTreeSet<ReferenceId>,
}

/// What is known by these names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Named {
    /// The names of payments that are known, with whose they are.
    pub payments: Vec<payments::Name>,
    /// Subscriptions.
    pub subscriptions: Vec<SubscriptionId>,
    /// The components of the references that are named, and of those that these payments and subscriptions ever named.
    pub components: Vec<Uuid>,
}

#[derive(sqlx::FromRow)]
struct NamedRow {
    what: String,
    id: Key,
    environment: Option<String>,
    namespace: Option<String>,
    provider_payment_id: Option<String>,
}

/// Looks names up, and what hangs together with them. Nothing is locked: it may have changed by the time it is.
///
/// # Errors
/// When the database fails.
pub async fn named(tx: &mut Tx, names: &Names) -> Result<Named> {
    // Differs because the sets are read by functions of other names.
    let sql = tx.pick(
        "with payment_names as (
             select k.environment, k.namespace, k.provider_payment_id, k.payment_id
             from payment_keys as k join jsonb_to_recordset($1::jsonb)
                 as r(environment text, namespace text, provider_payment_id text)
             on k.environment = r.environment and k.namespace = r.namespace
                 and k.provider_payment_id = r.provider_payment_id
         ), subscription_names as (
             select s.id from subscriptions as s join jsonb_to_recordset($2::jsonb)
                 as r(environment text, namespace text, provider_subscription_id text)
             on s.environment = r.environment and s.namespace = r.namespace
                 and s.provider_subscription_id = r.provider_subscription_id
         ), reached as (
             select r.id from jsonb_to_recordset($4::jsonb) as r(id uuid)
             union select o.reference_id from object_references as o where o.object_id in (
                 select payment_id from payment_names union select id from subscription_names
                 union select r.id from jsonb_to_recordset($3::jsonb) as r(id uuid))
         )
         select 'payment' as what, payment_id as id, environment, namespace, provider_payment_id
         from payment_names
         union all select 'subscription', id, null, null, null from subscription_names
         union all select distinct 'component', component, cast(null as text), cast(null as text),
             cast(null as text)
         from customer_references where id in (select id from reached)",
        "with payment_names as (
             select k.environment, k.namespace, k.provider_payment_id, k.payment_id
             from payment_keys as k join (select value->>'environment' as environment,
                 value->>'namespace' as namespace, value->>'provider_payment_id' as provider_payment_id
                 from jsonb_each($1)) as r
             on k.environment = r.environment and k.namespace = r.namespace
                 and k.provider_payment_id = r.provider_payment_id
         ), subscription_names as (
             select s.id from subscriptions as s join (select value->>'environment' as environment,
                 value->>'namespace' as namespace,
                 value->>'provider_subscription_id' as provider_subscription_id from jsonb_each($2)) as r
             on s.environment = r.environment and s.namespace = r.namespace
                 and s.provider_subscription_id = r.provider_subscription_id
         ), reached as (
             select value->>'id' as id from jsonb_each($4)
             union select o.reference_id from object_references as o where o.object_id in (
                 select payment_id from payment_names union select id from subscription_names
                 union select value->>'id' from jsonb_each($3))
         )
         select 'payment' as what, payment_id as id, environment, namespace, provider_payment_id
         from payment_names
         union all select 'subscription', id, null, null, null from subscription_names
         union all select distinct 'component', component, null, null, null
         from customer_references where id in (select id from reached)",
    );
    let rows: Vec<NamedRow> = tx
        .query(sql)
        .bind_rows(&names.payments)
        .bind_rows(&names.subscriptions)
        .bind_ids(names.subscription_ids.iter().copied())
        .bind_ids(names.references.iter().map(|reference| reference.0))
        .all()
        .await?;
    let mut named = Named::default();
    for row in rows {
        match row.what.as_str() {
            "component" => named.components.push(row.id.0),
            "subscription" => named.subscriptions.push(SubscriptionId(row.id.0)),
            _ => named.payments.push(payments::Name {
                environment: row.environment.unwrap_or_default(),
                namespace: row.namespace.unwrap_or_default(),
                provider_payment_id: row.provider_payment_id.unwrap_or_default(),
                payment_id: row.id.0,
            }),
        }
    }
    Ok(named)
}

/// What hangs on locked references.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Subscriptions that ever named one of them.
    pub subscriptions: Vec<Uuid>,
    /// The references' totals.
    pub totals: BTreeMap<ReferenceId, Spend>,
}

#[derive(sqlx::FromRow)]
struct HeldRow {
    what: String,
    id: Option<Key>,
    currency: Option<String>,
    payment_count: i64,
    successful_payment_count: i64,
    failed_payment_count: i64,
    total_spent: i64,
    total_refunded: i64,
    total_disputed_lost: i64,
    first_payment_at: Option<Timestamp>,
    last_payment_at: Option<Timestamp>,
}

/// Reads what hangs on the references of some components, all of which are locked. Their totals and what names them
/// change under these locks alone.
///
/// # Errors
/// [`Error::Grew`] when a component gained a reference while the locks were awaited; else when the database fails.
pub async fn held(
    tx: &mut Tx,
    components: &[Uuid],
    locked: &BTreeSet<ReferenceId>,
) -> Result<Held> {
    // Differs because the sets are read by functions of other names, and Postgres has to be told the type of nothing.
    let sql = tx.pick(
        "select 'totals' as what, reference_id as id, currency, payment_count,
             successful_payment_count, failed_payment_count, total_spent, total_refunded,
             total_disputed_lost, first_payment_at, last_payment_at
         from reference_totals where reference_id in
             (select r.id from jsonb_to_recordset($1::jsonb) as r(id uuid))
         union all select distinct 'subscription', object_id, null, 0, 0, 0, 0, 0, 0,
             null::timestamptz, null::timestamptz
         from object_references where kind = 'subscription' and reference_id in
             (select r.id from jsonb_to_recordset($1::jsonb) as r(id uuid))
         union all select 'members', null, null, count(*), 0, 0, 0, 0, 0, null, null
         from customer_references where component in
             (select r.id from jsonb_to_recordset($2::jsonb) as r(id uuid))",
        "select 'totals' as what, reference_id as id, currency, payment_count,
             successful_payment_count, failed_payment_count, total_spent, total_refunded,
             total_disputed_lost, first_payment_at, last_payment_at
         from reference_totals where reference_id in (select value->>'id' from jsonb_each($1))
         union all select distinct 'subscription', object_id, null, 0, 0, 0, 0, 0, 0, null, null
         from object_references where kind = 'subscription'
             and reference_id in (select value->>'id' from jsonb_each($1))
         union all select 'members', null, null, count(*), 0, 0, 0, 0, 0, null, null
         from customer_references where component in (select value->>'id' from jsonb_each($2))",
    );
    let rows: Vec<HeldRow> = tx
        .query(sql)
        .bind_ids(locked.iter().map(|reference| reference.0))
        .bind_ids(components.iter().copied())
        .all()
        .await?;
    let mut held = Held::default();
    for row in rows {
        match (row.what.as_str(), row.id) {
            ("subscription", Some(id)) => held.subscriptions.push(id.0),
            ("totals", Some(id)) => {
                let totals = Totals {
                    payment_count: row.payment_count,
                    successful_payment_count: row.successful_payment_count,
                    failed_payment_count: row.failed_payment_count,
                    total_spent: row.total_spent,
                    total_refunded: row.total_refunded,
                    total_disputed_lost: row.total_disputed_lost,
                    first_payment_at: row.first_payment_at,
                    last_payment_at: row.last_payment_at,
                };
                let currency = row.currency.unwrap_or_default().parse().ok();
                if totals != Totals::default() {
                    held.totals.entry(ReferenceId(id.0)).or_default().insert(currency, totals);
                }
            }
            _ if usize::try_from(row.payment_count) != Ok(locked.len()) => return Err(Error::Grew),
            _ => {}
        }
    }
    Ok(held)
}
