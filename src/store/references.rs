//! References: locked by whole components, read with all that is known of each, written back.

use crate::{
    model::reference::{ReferenceFacts, ReferenceId},
    set,
    store::{Result, Tx, Writes, codec::Key},
};
use serde::Serialize;
use sqlx::types::Json;
use uuid::Uuid;

/// One reference.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The keyed hash.
    pub id: Uuid,
    /// Where it belongs.
    pub environment: String,
    /// `external`, `auth`, `payment` or `self`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// The name itself, unless it was erased.
    pub subject: Option<String>,
    /// What it is joined with.
    pub component: Uuid,
    /// Whose it is.
    pub customer_id: Option<Uuid>,
    /// Whether a deletion closed it.
    pub closed: bool,
    /// Whether a deletion ever reached it.
    pub deleted_before: bool,
    /// What is known of it.
    pub facts: ReferenceFacts,
}

type Columns = (
    Key,
    String,
    String,
    String,
    Option<String>,
    Key,
    Option<Key>,
    bool,
    bool,
    Json<ReferenceFacts>,
);

/// Locks every reference of some components in one order and reads them. One that a component gains meanwhile is not
/// among them: [`held`](super::reach::held) finds that out.
///
/// # Errors
/// When the database fails.
pub async fn lock(tx: &mut Tx, components: &[Uuid]) -> Result<Vec<Row>> {
    // Differs because SQLite has one writer: its transaction is the lock.
    let sql = tx.pick(
        "select id, environment, kind, namespace, subject, component, customer_id, closed,
             deleted_before, facts
         from customer_references where component in
             (select r.id from jsonb_to_recordset($1::jsonb) as r(id uuid))
         order by id for update",
        "select id, environment, kind, namespace, subject, component, customer_id, closed,
             deleted_before, facts
         from customer_references where component in (select value->>'id' from jsonb_each($1))",
    );
    let rows: Vec<Columns> = tx.query(sql).bind_ids(components.iter().copied()).all().await?;
    Ok(rows
        .into_iter()
        .map(|row| Row {
            id: row.0.0,
            environment: row.1,
            kind: row.2,
            namespace: row.3,
            subject: row.4,
            component: row.5.0,
            customer_id: row.6.map(|key| key.0),
            closed: row.7,
            deleted_before: row.8,
            facts: row.9.0,
        })
        .collect())
}

/// Inserts references that have to be new: fewer say that another transaction was faster with one of them.
pub fn insert(writes: &mut Writes, rows: &[Row]) {
    if !rows.is_empty() {
        set!(
            writes,
            exactly rows.len(),
            "insert into customer_references (id, environment, kind, namespace, subject, component,
                 customer_id, closed, deleted_before, facts)
             select r.id, r.environment, r.kind, r.namespace, r.subject, r.component, r.customer_id,
                 r.closed, r.deleted_before, r.facts from",
            [
                id uuid, environment text, kind text, namespace text, subject text, component uuid,
                customer_id uuid, closed boolean, deleted_before boolean, facts jsonb
            ],
            "where true order by r.id on conflict do nothing returning 1"
        )
        .bind_rows(rows);
    }
}

/// Writes back references that changed.
pub fn update(writes: &mut Writes, rows: &[Row]) {
    if !rows.is_empty() {
        set!(
            writes,
            "update customer_references set subject = r.subject, component = r.component,
                 customer_id = r.customer_id, closed = r.closed,
                 deleted_before = r.deleted_before, facts = r.facts from",
            [
                id uuid, subject text, component uuid, customer_id uuid, closed boolean,
                deleted_before boolean, facts jsonb
            ],
            "where customer_references.id = r.id"
        )
        .bind_rows(rows);
    }
}

/// That a payment or subscription names a reference.
#[derive(Clone, Debug, Serialize)]
pub struct Naming {
    /// The reference.
    pub reference_id: Uuid,
    /// The payment or subscription.
    pub object_id: Uuid,
    /// `payment` or `subscription`.
    pub kind: &'static str,
}

/// Notes which references objects name.
pub fn list_objects(writes: &mut Writes, namings: &[Naming]) {
    if !namings.is_empty() {
        set!(
            writes,
            "insert into object_references (reference_id, object_id, kind)
             select r.reference_id, r.object_id, r.kind from",
            [reference_id uuid, object_id uuid, kind text],
            "where true on conflict do nothing"
        )
        .bind_rows(namings);
    }
}

/// The payments that ever named some references.
///
/// # Errors
/// When the database fails.
pub async fn payments(
    tx: &mut Tx,
    references: impl IntoIterator<Item = ReferenceId>,
) -> Result<Vec<Uuid>> {
    let found: Vec<(Key,)> = set!(
        tx,
        "select distinct object_id from object_references where reference_id in (select r.id from",
        [id uuid],
        ") and kind = 'payment'"
    )
    .bind_ids(references.into_iter().map(|reference| reference.0))
    .all()
    .await?;
    Ok(found.into_iter().map(|(key,)| key.0).collect())
}
