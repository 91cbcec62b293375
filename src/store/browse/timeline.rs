//! When a customer's payments were paid and its subscriptions began, in one order.

use super::{
    super::{Result, Tx, codec::Key},
    payments, subscriptions,
};
use crate::model::{
    id::{CustomerId, PaymentId, SubscriptionId},
    payment::Payment,
    subscription::Subscription,
    time::Timestamp,
};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Where an entry of a timeline stands: newest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// When it was.
    pub at: Timestamp,
    /// Orders one instant.
    pub id: Uuid,
}

/// A payment or subscription on a timeline.
#[derive(Clone, PartialEq, Debug)]
pub enum Thing {
    /// A payment, at the time when it was paid, else when we first heard of it.
    Payment(Box<Payment>),
    /// A subscription, at the time when we first heard of it.
    Subscription(Box<Subscription>),
}

/// The customers that went into another one, each with its root and the time of its last change.
pub type Absorbed = Vec<(CustomerId, Key, Timestamp)>;

/// A customer's payments and subscriptions below a place, so many at most, newest first.
///
/// # Errors
/// When the database fails.
pub async fn things(
    tx: &mut Tx,
    environment: &str,
    customer: CustomerId,
    below: Option<Place>,
    most: i64,
    now: Timestamp,
) -> Result<Vec<(Place, Thing)>> {
    let below = below.unwrap_or(Place { at: Timestamp::LAST, id: Uuid::max() });
    let rows: Vec<(bool, Key, Timestamp)> = tx
        .query(
            "select is_payment, id, at from (
                 select true as is_payment, p.id as id, coalesce(p.paid_at, p.created_at) as at
                 from customer_references f join payments p on p.owner_id = f.id
                 where f.customer_id = $2 and p.environment = $1 and not p.erased
                     and p.absorbed_into is null
                 union all
                 select false, s.id, s.created_at
                 from customer_references f join subscriptions s on s.owner_id = f.id
                 where f.customer_id = $2 and s.environment = $1
             ) as things
             where (at, id) < ($3, $4) order by at desc, id desc limit $5",
        )
        .bind(environment.to_owned())
        .bind(customer)
        .bind(below.at)
        .bind(Key(below.id))
        .bind(most)
        .all()
        .await?;
    let ids = |payments: bool| {
        rows.iter().filter(move |(kind, ..)| *kind == payments).map(|(_, key, _)| key.0)
    };
    let paid = payments::by_ids(tx, environment, ids(true).map(PaymentId)).await?;
    let mut paid: BTreeMap<Uuid, Payment> = paid.into_iter().map(|p| (p.id.0, p)).collect();
    let subscribed = ids(false).map(SubscriptionId);
    let subscribed = subscriptions::by_ids(tx, environment, subscribed, customer, now).await?;
    let mut subscribed: BTreeMap<Uuid, Subscription> =
        subscribed.into_iter().map(|s| (s.id.0, s)).collect();
    let thing = |(is_payment, key, at): (bool, Key, Timestamp)| {
        let thing = if is_payment {
            Thing::Payment(Box::new(paid.remove(&key.0)?))
        } else {
            Thing::Subscription(Box::new(subscribed.remove(&key.0)?))
        };
        Some((Place { at, id: key.0 }, thing))
    };
    Ok(rows.into_iter().filter_map(thing).collect())
}

/// The customers that went into one.
///
/// # Errors
/// When the database fails.
pub async fn absorbed(tx: &mut Tx, environment: &str, into: CustomerId) -> Result<Absorbed> {
    let rows = tx
        .query(
            "select id, root_id, updated_at from customers
             where absorbed_into = $1 and environment = $2 order by id",
        )
        .bind(into)
        .bind(environment.to_owned())
        .all()
        .await?;
    Ok(rows)
}
