//! Payments and their names.

use crate::{
    model::{
        id::PaymentId,
        payment::{PaymentFacts, PaymentKey},
        reference::ReferenceId,
        time::Timestamp,
    },
    set,
    store::{Result, Together, Tx, codec::Key},
};
use serde::Serialize;
use sqlx::types::Json;
use std::collections::BTreeSet;
use uuid::Uuid;

/// One payment.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Ours.
    pub id: Uuid,
    /// Where it belongs.
    pub environment: String,
    /// The namespace of its source.
    pub namespace: String,
    /// The provider's id that it is shown under.
    pub provider_payment_id: String,
    /// The reference that it is counted at.
    pub owner_id: Option<Uuid>,
    /// The payment that it turned out to be another name of.
    pub absorbed_into: Option<Uuid>,
    /// Whether only its key is left.
    pub erased: bool,
    /// As shown.
    pub status: String,
    /// Minor units.
    pub amount: Option<i64>,
    /// The code.
    pub currency: Option<String>,
    /// Minor units.
    pub amount_refunded: i64,
    /// Minor units.
    pub disputed_lost: i64,
    /// Of a succeeded one.
    pub paid_at: Option<Timestamp>,
    /// The keyed hash of the payer's address, where it is matched by that.
    pub payer_address: Option<Uuid>,
    /// What is known of it.
    pub facts: PaymentFacts,
    /// When we first heard of it.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// One name of a payment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Name {
    /// Where it belongs.
    pub environment: String,
    /// The namespace of its source.
    pub namespace: String,
    /// The provider's id.
    pub provider_payment_id: String,
    /// Whose name it is; nil where that is asked for.
    pub payment_id: Uuid,
}

/// The payments that name nobody and are counted at some references.
///
/// # Errors
/// When the database fails.
pub async fn matched_at(
    tx: &mut Tx,
    owners: impl IntoIterator<Item = ReferenceId>,
) -> Result<Vec<Uuid>> {
    let found: Vec<(Key,)> = set!(
        tx,
        "select id from payments where payer_address is not null and owner_id in (select r.id from",
        [id uuid],
        ")"
    )
    .bind_ids(owners.into_iter().map(|owner| owner.0))
    .all()
    .await?;
    Ok(found.into_iter().map(|(key,)| key.0).collect())
}

#[derive(sqlx::FromRow)]
pub(super) struct Columns {
    id: Key,
    environment: String,
    namespace: String,
    provider_payment_id: String,
    owner_id: Option<Key>,
    absorbed_into: Option<Key>,
    erased: bool,
    status: String,
    amount: Option<i64>,
    currency: Option<String>,
    amount_refunded: i64,
    disputed_lost: i64,
    paid_at: Option<Timestamp>,
    payer_address: Option<Key>,
    facts: Json<PaymentFacts>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// Locks some payments in one order and reads them.
///
/// # Errors
/// When the database fails.
pub async fn lock(tx: &mut Tx, ids: &BTreeSet<Uuid>) -> Result<Vec<Row>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    // Differs because SQLite has one writer: its transaction is the lock.
    let sql = tx.pick(
        "select id, environment, namespace, provider_payment_id, owner_id, absorbed_into, erased,
             status, amount, currency, amount_refunded, disputed_lost, paid_at, payer_address, facts,
             created_at, updated_at
         from payments where id in (select r.id from jsonb_to_recordset($1::jsonb) as r(id uuid))
         order by id for update",
        "select id, environment, namespace, provider_payment_id, owner_id, absorbed_into, erased,
             status, amount, currency, amount_refunded, disputed_lost, paid_at, payer_address, facts,
             created_at, updated_at
         from payments where id in (select value->>'id' from jsonb_each($1)) order by id",
    );
    let rows: Vec<Columns> = tx.query(sql).bind_ids(ids.iter().copied()).all().await?;
    Ok(rows.into_iter().map(Row::from).collect())
}

impl From<Columns> for Row {
    fn from(row: Columns) -> Self {
        Self {
            id: row.id.0,
            environment: row.environment,
            namespace: row.namespace,
            provider_payment_id: row.provider_payment_id,
            owner_id: row.owner_id.map(|key| key.0),
            absorbed_into: row.absorbed_into.map(|key| key.0),
            erased: row.erased,
            status: row.status,
            amount: row.amount,
            currency: row.currency,
            amount_refunded: row.amount_refunded,
            disputed_lost: row.disputed_lost,
            paid_at: row.paid_at,
            payer_address: row.payer_address.map(|key| key.0),
            facts: row.facts.0,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Inserts names that have to be new: fewer say that another transaction was faster with one of them.
pub fn insert_names(writes: &mut Together, names: &[Name]) {
    if !names.is_empty() {
        set!(
            writes,
            exactly names.len(),
            "insert into payment_keys (environment, namespace, provider_payment_id, payment_id)
             select r.environment, r.namespace, r.provider_payment_id, r.payment_id from",
            [environment text, namespace text, provider_payment_id text, payment_id uuid],
            "where true order by r.environment, r.namespace, r.provider_payment_id
             on conflict do nothing returning 1"
        )
        .bind_rows(names);
    }
}

/// Gives names to other payments: those that they turned out to be names of.
pub fn move_names(writes: &mut Together, moves: &[(Uuid, Uuid)]) {
    #[derive(Serialize)]
    struct Move {
        gone: Uuid,
        kept: Uuid,
    }
    let rows: Vec<Move> =
        moves.iter().map(|(gone, kept)| Move { gone: *gone, kept: *kept }).collect();
    if !rows.is_empty() {
        set!(
            writes,
            "update payment_keys set payment_id = r.kept from",
            [gone uuid, kept uuid],
            "where payment_keys.payment_id = r.gone"
        )
        .bind_rows(&rows);
    }
}

/// Writes payments: new ones are inserted, known ones replaced.
pub fn write(writes: &mut Together, rows: &[Row]) {
    if !rows.is_empty() {
        set!(
            writes,
            "insert into payments (id, environment, namespace, provider_payment_id, owner_id,
                 absorbed_into, erased, status, amount, currency, amount_refunded, disputed_lost,
                 paid_at, payer_address, facts, created_at, updated_at)
             select r.id, r.environment, r.namespace, r.provider_payment_id, r.owner_id,
                 r.absorbed_into, r.erased, r.status, r.amount, r.currency, r.amount_refunded,
                 r.disputed_lost, r.paid_at, r.payer_address, r.facts, r.created_at, r.updated_at from",
            [
                id uuid, environment text, namespace text, provider_payment_id text, owner_id uuid,
                absorbed_into uuid, erased boolean, status text, amount bigint, currency text,
                amount_refunded bigint, disputed_lost bigint, paid_at timestamptz, payer_address uuid,
                facts jsonb, created_at timestamptz, updated_at timestamptz
            ],
            "where true on conflict (id) do update set owner_id = excluded.owner_id,
                 provider_payment_id = excluded.provider_payment_id,
                 absorbed_into = excluded.absorbed_into, erased = excluded.erased,
                 status = excluded.status, amount = excluded.amount, currency = excluded.currency,
                 amount_refunded = excluded.amount_refunded,
                 disputed_lost = excluded.disputed_lost, paid_at = excluded.paid_at,
                 payer_address = excluded.payer_address, facts = excluded.facts,
                 updated_at = excluded.updated_at"
        )
        .bind_rows(rows);
    }
}

/// The names of a payment, also by the id of one that turned out to be the same: those under which the other is
/// known now.
///
/// # Errors
/// When the database fails.
pub async fn keys(tx: &mut Tx, environment: &str, id: PaymentId) -> Result<Vec<PaymentKey>> {
    let rows: Vec<(String, String)> = tx
        .query(
            "with recursive line(id, next, steps) as (
                 select id, absorbed_into, 0 from payments where id = $1 and environment = $2
                 union all
                 select p.id, p.absorbed_into, line.steps + 1
                 from line join payments p on p.id = line.next
                 where p.environment = $2 and line.steps < 1000
             )
             select k.namespace, k.provider_payment_id
             from line join payment_keys k on k.payment_id = line.id where line.next is null",
        )
        .bind(id)
        .bind(environment.to_owned())
        .all()
        .await?;
    let key = |(namespace, id): (String, String)| PaymentKey {
        namespace: namespace.into(),
        id: id.into(),
    };
    Ok(rows.into_iter().map(key).collect())
}
