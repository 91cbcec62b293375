//! References: locked by whole components, read with all that is known of each, written back.

use crate::{
    model::reference::{ReferenceFacts, ReferenceId},
    set,
    store::{Error, Result, Tx, codec::Key},
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

/// The components of some references; unknown ones have none.
///
/// # Errors
/// When the database fails.
pub async fn components(
    tx: &mut Tx,
    references: impl IntoIterator<Item = ReferenceId>,
) -> Result<Vec<Uuid>> {
    let found: Vec<(Key,)> = set!(
        tx,
        "select distinct component from customer_references where id in (select r.id from",
        [id uuid],
        ")"
    )
    .bind_ids(references.into_iter().map(|reference| reference.0))
    .all()
    .await?;
    Ok(found.into_iter().map(|(key,)| key.0).collect())
}

/// Locks every reference of some components in one order, then reads them on a fresh snapshot.
///
/// # Errors
/// [`Error::Grew`] when a component gained a reference while its locks were awaited; else when the database
/// fails.
pub async fn lock(tx: &mut Tx, components: &[Uuid]) -> Result<Vec<Row>> {
    let locked = match tx {
        // Differs because SQLite has one writer: its transaction is the lock.
        Tx::Sqlite(_) => None,
        Tx::Postgres(_) => {
            let sql = "select id from customer_references where component in
                 (select r.id from jsonb_to_recordset($1::jsonb) as r(id uuid))
                 order by id for update";
            let ids = components.iter().copied();
            Some(tx.query(sql).bind_ids(ids).all::<(ReferenceId,)>().await?.len())
        }
    };
    let read = read(tx, components).await?;
    match locked {
        Some(locked) if locked != read.len() => Err(Error::Grew),
        _ => Ok(read),
    }
}

async fn read(tx: &mut Tx, components: &[Uuid]) -> Result<Vec<Row>> {
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
    let rows: Vec<Columns> = set!(
        tx,
        "select id, environment, kind, namespace, subject, component, customer_id, closed,
             deleted_before, facts
         from customer_references where component in (select r.id from",
        [id uuid],
        ")"
    )
    .bind_ids(components.iter().copied())
    .all()
    .await?;
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

/// Inserts references that were not there.
///
/// # Errors
/// [`Error::Grew`] when another transaction was faster with one of them; else when the database fails.
pub async fn insert(tx: &mut Tx, rows: &[Row]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let inserted = set!(
        tx,
        "insert into customer_references (id, environment, kind, namespace, subject, component,
             customer_id, closed, deleted_before, facts)
         select r.id, r.environment, r.kind, r.namespace, r.subject, r.component, r.customer_id,
             r.closed, r.deleted_before, r.facts from",
        [
            id uuid, environment text, kind text, namespace text, subject text, component uuid,
            customer_id uuid, closed boolean, deleted_before boolean, facts jsonb
        ],
        "where true order by r.id on conflict do nothing"
    )
    .bind_rows(rows)
    .execute()
    .await?;
    if inserted == rows.len() as u64 { Ok(()) } else { Err(Error::Grew) }
}

/// Writes back references that changed.
///
/// # Errors
/// When the database fails.
pub async fn update(tx: &mut Tx, rows: &[Row]) -> Result<()> {
    if !rows.is_empty() {
        set!(
            tx,
            "update customer_references set subject = r.subject, component = r.component,
                 customer_id = r.customer_id, closed = r.closed,
                 deleted_before = r.deleted_before, facts = r.facts from",
            [
                id uuid, subject text, component uuid, customer_id uuid, closed boolean,
                deleted_before boolean, facts jsonb
            ],
            "where customer_references.id = r.id"
        )
        .bind_rows(rows)
        .execute()
        .await?;
    }
    Ok(())
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
///
/// # Errors
/// When the database fails.
pub async fn list_objects(tx: &mut Tx, namings: &[Naming]) -> Result<()> {
    if !namings.is_empty() {
        set!(
            tx,
            "insert into object_references (reference_id, object_id, kind)
             select r.reference_id, r.object_id, r.kind from",
            [reference_id uuid, object_id uuid, kind text],
            "where true on conflict do nothing"
        )
        .bind_rows(namings)
        .execute()
        .await?;
    }
    Ok(())
}

/// The references that some objects ever named.
///
/// # Errors
/// When the database fails.
pub async fn named_by(
    tx: &mut Tx,
    objects: impl IntoIterator<Item = Uuid>,
) -> Result<Vec<ReferenceId>> {
    let found: Vec<(ReferenceId,)> = set!(
        tx,
        "select distinct reference_id from object_references where object_id in (select r.id from",
        [id uuid],
        ")"
    )
    .bind_ids(objects)
    .all()
    .await?;
    Ok(found.into_iter().map(|(reference,)| reference).collect())
}

/// The objects of a kind that ever named some references.
///
/// # Errors
/// When the database fails.
pub async fn objects(
    tx: &mut Tx,
    references: impl IntoIterator<Item = ReferenceId>,
    kind: &'static str,
) -> Result<Vec<Uuid>> {
    let found: Vec<(Key,)> = set!(
        tx,
        "select distinct object_id from object_references where reference_id in (select r.id from",
        [id uuid],
        ") and kind = $2"
    )
    .bind_ids(references.into_iter().map(|reference| reference.0))
    .bind(kind.to_owned())
    .all()
    .await?;
    Ok(found.into_iter().map(|(key,)| key.0).collect())
}
