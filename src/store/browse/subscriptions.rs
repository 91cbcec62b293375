//! Subscriptions as they are shown.

use super::{
    super::{Result, Tx},
    Page, Slice, word,
};
use crate::model::{
    id::{CustomerId, SubscriptionId},
    is_live,
    subscription::{Subscription, SubscriptionFacts, SubscriptionStatus},
    time::Timestamp,
};
use sqlx::types::Json;

#[derive(sqlx::FromRow)]
struct Row {
    id: SubscriptionId,
    environment: String,
    namespace: String,
    provider_subscription_id: String,
    status: String,
    ends_at: Option<Timestamp>,
    facts: Json<SubscriptionFacts>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// A page of a customer's subscriptions, newest first; none where the cursor names no subscription of the
/// environment. One past its `ends_at` is canceled (semantics 6).
///
/// # Errors
/// When the database fails.
pub async fn subscriptions_of(
    tx: &mut Tx,
    environment: &str,
    customer: CustomerId,
    page: Page<SubscriptionId>,
    now: Timestamp,
) -> Result<Option<Slice<Subscription>>> {
    if let Some(cursor) = page.cursor() {
        let known: Option<(i32,)> = tx
            .query("select 1 from subscriptions where id = $1 and environment = $2")
            .bind(cursor)
            .bind(environment.to_owned())
            .maybe()
            .await?;
        if known.is_none() {
            return Ok(None);
        }
    }
    let range = page.range(|id| id.0);
    let sql = if range.ascending {
        "select s.id, s.environment, s.namespace, s.provider_subscription_id, s.status, s.ends_at,
            s.facts, s.created_at, s.updated_at
         from customer_references f join subscriptions s on s.owner_id = f.id
         where s.environment = $1 and f.customer_id = $2 and s.id > $3 and s.id < $4
         order by s.id limit $5 offset $6"
    } else {
        "select s.id, s.environment, s.namespace, s.provider_subscription_id, s.status, s.ends_at,
            s.facts, s.created_at, s.updated_at
         from customer_references f join subscriptions s on s.owner_id = f.id
         where s.environment = $1 and f.customer_id = $2 and s.id > $3 and s.id < $4
         order by s.id desc limit $5 offset $6"
    };
    let rows: Vec<Row> = tx
        .query(sql)
        .bind(environment.to_owned())
        .bind(customer)
        .bind(SubscriptionId(range.above))
        .bind(SubscriptionId(range.below))
        .bind(range.fetch)
        .bind(range.offset)
        .all()
        .await?;
    let rows = page.slice(rows);
    let items =
        rows.items.into_iter().map(|row| shown(row, customer, now)).collect::<Result<_>>()?;
    Ok(Some(Slice { items, has_more: rows.has_more }))
}

fn shown(row: Row, customer: CustomerId, now: Timestamp) -> Result<Subscription> {
    let facts = row.facts.0;
    let status = match row.ends_at {
        Some(end) if end <= now => SubscriptionStatus::Canceled,
        _ => word(&row.status, ("subscriptions", "status"), row.id)?,
    };
    Ok(Subscription {
        object: "subscription",
        id: row.id,
        live: is_live(&row.environment),
        environment: row.environment.into(),
        customer_id: Some(customer),
        provider: row.namespace.into(),
        subscription_id: row.provider_subscription_id.into(),
        status,
        plan: facts.plan.value().cloned().flatten(),
        current_period_end: facts.current_period_end.value().copied().flatten(),
        cancel_at_period_end: facts.cancel_at_period_end.value().copied().unwrap_or_default(),
        ends_at: row.ends_at,
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}
