//! Customers as they are shown.

use super::{
    super::{
        Result, Tx,
        keys::{self, HeldRow},
        totals::{self, Beside},
    },
    Found, word,
};
use crate::{
    model::{
        customer::{BestSubscription, Customer, CustomerRow, Person},
        id::CustomerId,
        reference::ReferenceId,
        subscription::SubscriptionStatus,
        time::Timestamp,
    },
    set,
};
use sqlx::types::Json;
use std::collections::BTreeMap;

#[derive(sqlx::FromRow)]
struct Row {
    id: CustomerId,
    environment: String,
    version: i64,
    deleted: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    subscription_status: Option<String>,
    person: Option<Json<Person>>,
    /// Whether a subscription is past its end and nothing has been written of that yet.
    ended: bool,
}

/// `$1` is the environment, `$2` the time; the rest follows the condition.
macro_rules! select {
    ($from:literal, $condition:literal) => {
        concat!(
            "select c.id, c.environment, c.version, c.deleted, c.created_at, c.updated_at,
                p.subscription_status, p.person,
                exists (
                    select 1 from customer_references f join subscriptions s on s.owner_id = f.id
                    where f.customer_id = c.id and s.ends_at <= $2 and not s.end_announced
                ) as ended
             from ",
            $from,
            " where c.environment = $1 and ",
            $condition
        )
    };
}

/// A customer of the environment of the key whose hash is `$1`, by its id `$2`, at the time `$3`: with everything that
/// is shown of it, a row for each currency. Where there is no such customer there is a row with the key alone, and none
/// where the key is not good.
///
/// Only a customer who has a subscription is asked whether one has ended.
pub const FOR_KEY: &str = "select k.id as key_id, k.environment as key_environment,
        k.scope as key_scope, k.last_used_at as key_last_used_at,
        c.id, c.version, c.created_at, c.updated_at, p.subscription_status, p.person,
        coalesce(p.subscription_status, 'none') <> 'none' and exists (
            select 1 from customer_references f join subscriptions s on s.owner_id = f.id
            where f.customer_id = c.id and s.ends_at <= $3 and not s.end_announced
        ) as ended,
        t.currency, t.payment_count, t.successful_payment_count, t.failed_payment_count,
        t.total_spent, t.total_refunded, t.total_disputed_lost, t.first_payment_at,
        t.last_payment_at
    from api_keys k
    left join customers c on c.id = $2 and c.environment = k.environment
        and c.absorbed_into is null and not c.deleted
    left join customer_profiles p on p.customer_id = c.id
    left join customer_totals t on t.customer_id = c.id
    where k.hash = $1 and k.revoked_at is null";

/// A row of [`FOR_KEY`].
#[derive(sqlx::FromRow)]
struct ForKey {
    #[sqlx(flatten)]
    key: HeldRow,
    #[sqlx(flatten)]
    totals: Beside,
    id: Option<CustomerId>,
    version: Option<i64>,
    created_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
    subscription_status: Option<String>,
    person: Option<Json<Person>>,
    ended: bool,
}

/// What a single statement tells to the holder of a key.
#[derive(Clone, PartialEq, Debug)]
pub enum ForHolder {
    /// The key is not known, or was revoked.
    Refused,
    /// The key is good, and this is the customer.
    Here(keys::Held, Box<Customer>),
    /// The key is good; the customer is to be looked for by [`customer`].
    Unseen(keys::Held),
}

/// A customer by its id, and the key that a caller presents, in a single statement. It finds most: those that are asked
/// for by the id that they have now, and of whose subscriptions none has ended since it was written.
///
/// # Errors
/// When the database fails.
pub async fn customer_for(
    tx: &mut Tx,
    presented: &str,
    id: CustomerId,
    now: Timestamp,
) -> Result<ForHolder> {
    let statement = tx.query(FOR_KEY).bind(keys::hash(presented)).bind(id).bind(now);
    let mut rows = statement.all::<ForKey>().await?.into_iter();
    let Some(first) = rows.next() else { return Ok(ForHolder::Refused) };
    let key = first.key.held()?;
    let (Some(id), Some(version), Some(created_at), Some(updated_at), false) =
        (first.id, first.version, first.created_at, first.updated_at, first.ended)
    else {
        return Ok(ForHolder::Unseen(key));
    };
    let lines = std::iter::once(first.totals).chain(rows.map(|row| row.totals));
    let environment = key.environment.as_str().into();
    let row = CustomerRow { id, environment, version, deleted: false, created_at, updated_at };
    let person = first.person.map(|person| person.0).unwrap_or_default();
    let subscription = stored(first.subscription_status.as_deref(), id)?;
    let spend = lines.filter_map(Beside::line).collect();
    let customer = Customer::assemble(row, person, &spend, subscription);
    Ok(ForHolder::Here(key, Box::new(customer)))
}

/// The status of the best subscription as it was written.
fn stored(status: Option<&str>, id: CustomerId) -> Result<BestSubscription> {
    word(status.unwrap_or("none"), ("customer_profiles", "subscription_status"), id)
}

/// A customer by its id, also by the id of one that went into it.
///
/// # Errors
/// When the database fails.
pub async fn customer(
    tx: &mut Tx,
    environment: &str,
    id: CustomerId,
    now: Timestamp,
) -> Result<Found<Customer>> {
    // Most are asked for by the id that they have now: a turn less.
    if let Some(customer) = one(tx, environment, id, now).await? {
        return Ok(Found::Here(customer));
    }
    let id = match resolve(tx, environment, id).await? {
        Found::Here(id) => id,
        Found::Deleted => return Ok(Found::Deleted),
        Found::Nothing => return Ok(Found::Nothing),
    };
    Ok(one(tx, environment, id, now).await?.map_or(Found::Nothing, Found::Here))
}

async fn one(
    tx: &mut Tx,
    environment: &str,
    id: CustomerId,
    now: Timestamp,
) -> Result<Option<Customer>> {
    let row: Option<Row> = tx
        .query(select!(
            "customers c left join customer_profiles p on p.customer_id = c.id",
            "c.id = $3 and c.absorbed_into is null and not c.deleted"
        ))
        .bind(environment.to_owned())
        .bind(now)
        .bind(id)
        .maybe()
        .await?;
    let shown = assemble(tx, row.into_iter().collect(), now).await?;
    Ok(shown.into_iter().next())
}

/// The customer that an id stands for: itself, or what it went into in the end.
///
/// # Errors
/// When the database fails.
pub async fn resolve(tx: &mut Tx, environment: &str, id: CustomerId) -> Result<Found<CustomerId>> {
    let last: Option<(CustomerId, bool)> = tx
        .query(
            "with recursive line(id, next, steps) as (
                 select id, absorbed_into, 0 from customers where id = $1 and environment = $2
                 union all
                 select c.id, c.absorbed_into, line.steps + 1
                 from line join customers c on c.id = line.next
                 where c.environment = $2 and line.steps < 1000
             )
             select c.id, c.deleted from line join customers c on c.id = line.id
             where line.next is null",
        )
        .bind(id)
        .bind(environment.to_owned())
        .maybe()
        .await?;
    Ok(match last {
        None => Found::Nothing,
        Some((_, true)) => Found::Deleted,
        Some((id, false)) => Found::Here(id),
    })
}

/// The reference at the top of a customer's tree.
///
/// # Errors
/// When the database fails.
pub async fn root(tx: &mut Tx, id: CustomerId) -> Result<Option<ReferenceId>> {
    let row: Option<(ReferenceId,)> =
        tx.query("select root_id from customers where id = $1").bind(id).maybe().await?;
    Ok(row.map(|(root,)| root))
}

/// When we first heard of a customer.
///
/// # Errors
/// When the database fails.
pub async fn created_at(tx: &mut Tx, id: CustomerId) -> Result<Option<Timestamp>> {
    let row: Option<(Timestamp,)> =
        tx.query("select created_at from customers where id = $1").bind(id).maybe().await?;
    Ok(row.map(|(at,)| at))
}

/// The customer of the first of these references that is known.
///
/// # Errors
/// When the database fails.
pub async fn lookup(
    tx: &mut Tx,
    environment: &str,
    references: &[ReferenceId],
    now: Timestamp,
) -> Result<Found<Customer>> {
    for reference in references {
        let known: Option<(Option<CustomerId>,)> = tx
            .query("select customer_id from customer_references where id = $1 and environment = $2")
            .bind(*reference)
            .bind(environment.to_owned())
            .maybe()
            .await?;
        if let Some((Some(id),)) = known {
            return customer(tx, environment, id, now).await;
        }
    }
    Ok(Found::Nothing)
}

/// Customers by their ids; those that are not there, or no more, are left out.
///
/// # Errors
/// When the database fails.
pub(super) async fn by_ids(
    tx: &mut Tx,
    environment: &str,
    ids: &[CustomerId],
    now: Timestamp,
) -> Result<BTreeMap<CustomerId, Customer>> {
    // Differs because the sets are read by functions of other names.
    let sql = tx.pick(
        select!(
            "customers c left join customer_profiles p on p.customer_id = c.id",
            "c.id in (select r.id from jsonb_to_recordset($3::jsonb) as r(id uuid))
                 and c.absorbed_into is null and not c.deleted"
        ),
        select!(
            "customers c left join customer_profiles p on p.customer_id = c.id",
            "c.id in (select value->>'id' from jsonb_each($3))
                 and c.absorbed_into is null and not c.deleted"
        ),
    );
    let rows = tx
        .query(sql)
        .bind(environment.to_owned())
        .bind(now)
        .bind_ids(ids.iter().map(|id| id.0))
        .all::<Row>()
        .await?;
    let shown = assemble(tx, rows, now).await?;
    Ok(shown.into_iter().map(|customer| (customer.id, customer)).collect())
}

async fn assemble(tx: &mut Tx, rows: Vec<Row>, now: Timestamp) -> Result<Vec<Customer>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut spend = totals::of_customers(tx, rows.iter().map(|row| row.id)).await?;
    let ended: Vec<CustomerId> = rows.iter().filter(|row| row.ended).map(|row| row.id).collect();
    let subscriptions = best_subscriptions(tx, &ended, now).await?;
    rows.into_iter()
        .map(|row| {
            let subscription = match subscriptions.get(&row.id) {
                Some(best) => *best,
                None => stored(row.subscription_status.as_deref(), row.id)?,
            };
            let person = row.person.map(|person| person.0).unwrap_or_default();
            let spend = spend.remove(&row.id).unwrap_or_default();
            let shown = CustomerRow {
                id: row.id,
                environment: row.environment.into(),
                version: row.version,
                deleted: row.deleted,
                created_at: row.created_at,
                updated_at: row.updated_at,
            };
            Ok(Customer::assemble(shown, person, &spend, subscription))
        })
        .collect()
}

/// The best subscription of customers one of whose subscriptions has ended since it was written
/// (semantics 6: a subscription past its `ends_at` is canceled, which is a function of the time).
async fn best_subscriptions(
    tx: &mut Tx,
    customers: &[CustomerId],
    now: Timestamp,
) -> Result<BTreeMap<CustomerId, BestSubscription>> {
    if customers.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<(CustomerId, String, Option<Timestamp>)> = set!(
        tx,
        "select f.customer_id, s.status, s.ends_at from",
        [id uuid],
        "join customer_references f on f.customer_id = r.id join subscriptions s on s.owner_id = f.id"
    )
    .bind_ids(customers.iter().map(|customer| customer.0))
    .all()
    .await?;
    let mut statuses: BTreeMap<CustomerId, Vec<SubscriptionStatus>> = BTreeMap::new();
    for (customer, status, ends_at) in rows {
        let status = match ends_at {
            Some(end) if end <= now => SubscriptionStatus::Canceled,
            _ => word(&status, ("subscriptions", "status"), customer)?,
        };
        statuses.entry(customer).or_default().push(status);
    }
    Ok(statuses.into_iter().map(|(id, all)| (id, BestSubscription::of(all.into_iter()))).collect())
}
