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
    if !knows_cursor(tx, environment, page).await? {
        return Ok(None);
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
    let shown = |row: Row| Ok(with_facts(row, Some(customer), now)?.0);
    let items = rows.items.into_iter().map(shown).collect::<Result<_>>()?;
    Ok(Some(Slice { items, has_more: rows.has_more }))
}

/// A customer's subscriptions by their ids, in no order.
///
/// # Errors
/// When the database fails.
pub(super) async fn by_ids(
    tx: &mut Tx,
    environment: &str,
    ids: impl Iterator<Item = SubscriptionId>,
    customer: CustomerId,
    now: Timestamp,
) -> Result<Vec<Subscription>> {
    // Differs because the sets are read by functions of other names.
    let sql = tx.pick(
        "select s.id, s.environment, s.namespace, s.provider_subscription_id, s.status, s.ends_at,
            s.facts, s.created_at, s.updated_at from subscriptions s where s.environment = $1
            and s.id in (select r.id from jsonb_to_recordset($2::jsonb) as r(id uuid))",
        "select s.id, s.environment, s.namespace, s.provider_subscription_id, s.status, s.ends_at,
            s.facts, s.created_at, s.updated_at from subscriptions s where s.environment = $1
            and s.id in (select value->>'id' from jsonb_each($2))",
    );
    let rows: Vec<Row> =
        tx.query(sql).bind(environment.to_owned()).bind_ids(ids.map(|id| id.0)).all().await?;
    rows.into_iter().map(|row| Ok(with_facts(row, Some(customer), now)?.0)).collect()
}

#[derive(sqlx::FromRow)]
struct Owned {
    #[sqlx(flatten)]
    row: Row,
    customer_id: Option<CustomerId>,
}

/// A page of an environment's subscriptions, newest first, each with all that is known of it; those that are
/// nobody's too. None where the cursor names none of the environment.
///
/// # Errors
/// When the database fails.
pub async fn subscriptions_with_facts(
    tx: &mut Tx,
    environment: &str,
    page: Page<SubscriptionId>,
    now: Timestamp,
) -> Result<Option<Slice<(Subscription, SubscriptionFacts)>>> {
    if !knows_cursor(tx, environment, page).await? {
        return Ok(None);
    }
    let range = page.range(|id| id.0);
    let sql = if range.ascending {
        "select s.id, s.environment, s.namespace, s.provider_subscription_id, s.status, s.ends_at,
            s.facts, s.created_at, s.updated_at, f.customer_id
         from subscriptions s left join customer_references f on f.id = s.owner_id
         where s.environment = $1 and s.id > $2 and s.id < $3 order by s.id limit $4 offset $5"
    } else {
        "select s.id, s.environment, s.namespace, s.provider_subscription_id, s.status, s.ends_at,
            s.facts, s.created_at, s.updated_at, f.customer_id
         from subscriptions s left join customer_references f on f.id = s.owner_id
         where s.environment = $1 and s.id > $2 and s.id < $3 order by s.id desc limit $4 offset $5"
    };
    let rows: Vec<Owned> = tx
        .query(sql)
        .bind(environment.to_owned())
        .bind(SubscriptionId(range.above))
        .bind(SubscriptionId(range.below))
        .bind(range.fetch)
        .bind(range.offset)
        .all()
        .await?;
    let rows = page.slice(rows);
    let shown = |owned: Owned| with_facts(owned.row, owned.customer_id, now);
    let items = rows.items.into_iter().map(shown).collect::<Result<_>>()?;
    Ok(Some(Slice { items, has_more: rows.has_more }))
}

async fn knows_cursor(tx: &mut Tx, environment: &str, page: Page<SubscriptionId>) -> Result<bool> {
    let Some(cursor) = page.cursor() else { return Ok(true) };
    let known: Option<(i32,)> = tx
        .query("select 1 from subscriptions where id = $1 and environment = $2")
        .bind(cursor)
        .bind(environment.to_owned())
        .maybe()
        .await?;
    Ok(known.is_some())
}

fn with_facts(
    row: Row,
    customer_id: Option<CustomerId>,
    now: Timestamp,
) -> Result<(Subscription, SubscriptionFacts)> {
    let facts = row.facts.0;
    let status = match row.ends_at {
        Some(end) if end <= now => SubscriptionStatus::Canceled,
        _ => word(&row.status, ("subscriptions", "status"), row.id)?,
    };
    let subscription = Subscription {
        object: "subscription",
        id: row.id,
        live: is_live(&row.environment),
        environment: row.environment.into(),
        customer_id,
        provider: row.namespace.into(),
        subscription_id: row.provider_subscription_id.into(),
        status,
        plan: facts.plan.value().cloned().flatten(),
        current_period_end: facts.current_period_end.value().copied().flatten(),
        cancel_at_period_end: facts.cancel_at_period_end.value().copied().unwrap_or_default(),
        ends_at: row.ends_at,
        created_at: row.created_at,
        updated_at: row.updated_at,
    };
    Ok((subscription, facts))
}
