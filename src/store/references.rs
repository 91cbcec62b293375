//! References, with all that is known of each: [`reach`](super::reach) locks and reads them by whole components.

use crate::{
    model::reference::{ReferenceFacts, ReferenceId},
    set,
    store::{Result, Together, Tx, codec::Key},
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

#[derive(sqlx::FromRow)]
pub(super) struct Columns {
    id: Key,
    environment: String,
    kind: String,
    namespace: String,
    subject: Option<String>,
    component: Key,
    customer_id: Option<Key>,
    closed: bool,
    deleted_before: bool,
    facts: Json<ReferenceFacts>,
}

impl From<Columns> for Row {
    fn from(row: Columns) -> Self {
        Self {
            id: row.id.0,
            environment: row.environment,
            kind: row.kind,
            namespace: row.namespace,
            subject: row.subject,
            component: row.component.0,
            customer_id: row.customer_id.map(|key| key.0),
            closed: row.closed,
            deleted_before: row.deleted_before,
            facts: row.facts.0,
        }
    }
}

/// Inserts references that have to be new: fewer say that another transaction was faster with one of them.
pub fn insert(writes: &mut Together, rows: &[Row]) {
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
pub fn update(writes: &mut Together, rows: &[Row]) {
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
pub fn list_objects(writes: &mut Together, namings: &[Naming]) {
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
