//! Subscriptions.

use crate::{
    model::{id::SubscriptionId, subscription::SubscriptionFacts, time::Timestamp},
    set,
    store::{Result, Together, Tx, codec::Key},
};
use serde::Serialize;
use sqlx::types::Json;
use std::collections::BTreeSet;
use uuid::Uuid;

/// One subscription.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Ours.
    pub id: Uuid,
    /// Where it belongs.
    pub environment: String,
    /// The namespace of its source.
    pub namespace: String,
    /// The provider's id.
    pub provider_subscription_id: String,
    /// The reference that it hangs on, while that is anybody's.
    pub owner_id: Option<Uuid>,
    /// As it was last told.
    pub status: String,
    /// When it ends or ended.
    pub ends_at: Option<Timestamp>,
    /// Whether its end was told.
    pub end_announced: bool,
    /// What is known of it.
    pub facts: SubscriptionFacts,
    /// When we first heard of it.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A subscription's name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Name {
    /// Where it belongs.
    pub environment: String,
    /// The namespace of its source.
    pub namespace: String,
    /// The provider's id.
    pub provider_subscription_id: String,
}

/// Subscriptions whose end has come and was not told, the earliest first.
///
/// # Errors
/// When the database fails.
pub async fn ended(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<Vec<SubscriptionId>> {
    let rows: Vec<(SubscriptionId,)> = tx
        .query(
            "select id from subscriptions
             where ends_at is not null and not end_announced and ends_at <= $1
             order by ends_at limit $2",
        )
        .bind(now)
        .bind(limit)
        .all()
        .await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

#[derive(sqlx::FromRow)]
struct Columns {
    id: Key,
    environment: String,
    namespace: String,
    provider_subscription_id: String,
    owner_id: Option<Key>,
    status: String,
    ends_at: Option<Timestamp>,
    end_announced: bool,
    facts: Json<SubscriptionFacts>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// Locks some subscriptions in one order and reads them.
///
/// # Errors
/// When the database fails.
pub async fn lock(tx: &mut Tx, ids: &BTreeSet<Uuid>) -> Result<Vec<Row>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    // Differs because SQLite has one writer: its transaction is the lock.
    let sql = tx.pick(
        "select id, environment, namespace, provider_subscription_id, owner_id, status, ends_at,
             end_announced, facts, created_at, updated_at
         from subscriptions where id in
             (select r.id from jsonb_to_recordset($1::jsonb) as r(id uuid))
         order by id for update",
        "select id, environment, namespace, provider_subscription_id, owner_id, status, ends_at,
             end_announced, facts, created_at, updated_at
         from subscriptions where id in (select value->>'id' from jsonb_each($1)) order by id",
    );
    let rows: Vec<Columns> = tx.query(sql).bind_ids(ids.iter().copied()).all().await?;
    Ok(rows
        .into_iter()
        .map(|row| Row {
            id: row.id.0,
            environment: row.environment,
            namespace: row.namespace,
            provider_subscription_id: row.provider_subscription_id,
            owner_id: row.owner_id.map(|key| key.0),
            status: row.status,
            ends_at: row.ends_at,
            end_announced: row.end_announced,
            facts: row.facts.0,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
        .collect())
}

/// Inserts subscriptions that have to be new: fewer say that another transaction was faster with one of them.
pub fn insert(writes: &mut Together, rows: &[Row]) {
    if !rows.is_empty() {
        set!(
            writes,
            exactly rows.len(),
            "insert into subscriptions (id, environment, namespace, provider_subscription_id, owner_id,
                 status, ends_at, end_announced, facts, created_at, updated_at)
             select r.id, r.environment, r.namespace, r.provider_subscription_id, r.owner_id, r.status,
                 r.ends_at, r.end_announced, r.facts, r.created_at, r.updated_at from",
            [
                id uuid, environment text, namespace text, provider_subscription_id text,
                owner_id uuid, status text, ends_at timestamptz, end_announced boolean, facts jsonb,
                created_at timestamptz, updated_at timestamptz
            ],
            "where true order by r.environment, r.namespace, r.provider_subscription_id
             on conflict do nothing returning 1"
        )
        .bind_rows(rows);
    }
}

/// Writes back subscriptions that changed.
pub fn update(writes: &mut Together, rows: &[Row]) {
    if !rows.is_empty() {
        set!(
            writes,
            "update subscriptions set owner_id = r.owner_id, status = r.status,
                 ends_at = r.ends_at, end_announced = r.end_announced, facts = r.facts,
                 updated_at = r.updated_at from",
            [
                id uuid, owner_id uuid, status text, ends_at timestamptz, end_announced boolean,
                facts jsonb, updated_at timestamptz
            ],
            "where subscriptions.id = r.id"
        )
        .bind_rows(rows);
    }
}
