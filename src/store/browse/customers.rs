//! Customers as they are shown.

use super::{
    super::{Result, Tx, totals},
    Found, Page, Slice, word,
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

/// Which customers are listed. All that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct CustomerFilter {
    /// The app's own user id.
    pub external_id: Option<String>,
    /// The address, whatever its case.
    pub email: Option<String>,
}

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
    ($from:literal, $condition:literal, $order:literal) => {
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
            $condition,
            $order
        )
    };
}

/// The same statement in both directions.
macro_rules! directions {
    ($ascending:expr, $from:literal, $condition:literal) => {
        if $ascending {
            select!(
                $from,
                $condition,
                " and c.absorbed_into is null and not c.deleted and c.id > $3 and c.id < $4
                  order by c.id limit $5 offset $6"
            )
        } else {
            select!(
                $from,
                $condition,
                " and c.absorbed_into is null and not c.deleted and c.id > $3 and c.id < $4
                  order by c.id desc limit $5 offset $6"
            )
        }
    };
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
    let id = match resolve(tx, environment, id).await? {
        Found::Here(id) => id,
        Found::Deleted => return Ok(Found::Deleted),
        Found::Nothing => return Ok(Found::Nothing),
    };
    let row: Option<Row> = tx
        .query(select!(
            "customers c left join customer_profiles p on p.customer_id = c.id",
            "c.id = $3",
            ""
        ))
        .bind(environment.to_owned())
        .bind(now)
        .bind(id)
        .maybe()
        .await?;
    let shown = assemble(tx, row.into_iter().collect(), now).await?;
    Ok(shown.into_iter().next().map_or(Found::Nothing, Found::Here))
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

/// A page of customers, newest first; none where the cursor names none of this environment.
///
/// # Errors
/// When the database fails.
pub async fn customers(
    tx: &mut Tx,
    environment: &str,
    filter: &CustomerFilter,
    page: Page<CustomerId>,
    now: Timestamp,
) -> Result<Option<Slice<Customer>>> {
    if let Some(cursor) = page.cursor()
        && !exists(tx, environment, cursor).await?
    {
        return Ok(None);
    }
    let range = page.range(|id| id.0);
    let email = filter.email.as_ref().map(|address| address.trim().to_lowercase());
    let sql = match (&filter.external_id, &email) {
        (None, None) => directions!(
            range.ascending,
            "customers c left join customer_profiles p on p.customer_id = c.id",
            "true"
        ),
        (Some(_), None) => directions!(
            range.ascending,
            "customer_profiles p join customers c on c.id = p.customer_id",
            "p.environment = $1 and p.external_id = $7"
        ),
        (None, Some(_)) => directions!(
            range.ascending,
            "customer_profiles p join customers c on c.id = p.customer_id",
            "p.environment = $1 and p.email_key = $7"
        ),
        (Some(_), Some(_)) => directions!(
            range.ascending,
            "customer_profiles p join customers c on c.id = p.customer_id",
            "p.environment = $1 and p.external_id = $7 and p.email_key = $8"
        ),
    };
    let mut query = tx
        .query(sql)
        .bind(environment.to_owned())
        .bind(now)
        .bind(CustomerId(range.above))
        .bind(CustomerId(range.below))
        .bind(range.fetch)
        .bind(range.offset);
    for value in [filter.external_id.clone(), email].into_iter().flatten() {
        query = query.bind(value);
    }
    let slice = page.slice(query.all::<Row>().await?);
    let items = assemble(tx, slice.items, now).await?;
    Ok(Some(Slice { items, has_more: slice.has_more }))
}

async fn exists(tx: &mut Tx, environment: &str, id: CustomerId) -> Result<bool> {
    let known: Option<(i32,)> = tx
        .query("select 1 from customers where id = $1 and environment = $2")
        .bind(id)
        .bind(environment.to_owned())
        .maybe()
        .await?;
    Ok(known.is_some())
}

async fn assemble(tx: &mut Tx, rows: Vec<Row>, now: Timestamp) -> Result<Vec<Customer>> {
    let mut spend = totals::of_customers(tx, rows.iter().map(|row| row.id)).await?;
    let ended: Vec<CustomerId> = rows.iter().filter(|row| row.ended).map(|row| row.id).collect();
    let subscriptions = best_subscriptions(tx, &ended, now).await?;
    rows.into_iter()
        .map(|row| {
            let stored = row.subscription_status.as_deref().unwrap_or("none");
            let subscription = match subscriptions.get(&row.id) {
                Some(best) => *best,
                None => word(stored, ("customer_profiles", "subscription_status"), row.id)?,
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
