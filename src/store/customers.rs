//! Customers' rows and the people as shown.

use crate::{
    model::{
        customer::Person,
        id::{ConflictId, CustomerId},
        reference::ReferenceId,
        time::Timestamp,
    },
    set,
    store::{Result, Together, Tx, codec::Key},
};
use serde::Serialize;
use uuid::Uuid;

/// One customer's row.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Ours.
    pub id: Uuid,
    /// Where it belongs.
    pub environment: String,
    /// The reference at the top of its tree.
    pub root_id: Uuid,
    /// Grows by one with every message.
    pub version: i64,
    /// Whether it is gone.
    pub deleted: bool,
    /// The customer that it went into.
    pub absorbed_into: Option<Uuid>,
    /// When we first heard of it.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

#[derive(sqlx::FromRow)]
pub(super) struct Columns {
    id: Key,
    environment: String,
    root_id: Key,
    version: i64,
    deleted: bool,
    absorbed_into: Option<Key>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<Columns> for Row {
    fn from(row: Columns) -> Self {
        Self {
            id: row.id.0,
            environment: row.environment,
            root_id: row.root_id.0,
            version: row.version,
            deleted: row.deleted,
            absorbed_into: row.absorbed_into.map(|key| key.0),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// The reference at whose top a customer stands, or stood before it was deleted or went into another one.
///
/// # Errors
/// When the database fails.
pub async fn root(tx: &mut Tx, environment: &str, id: CustomerId) -> Result<Option<ReferenceId>> {
    let row: Option<(ReferenceId,)> = tx
        .query("select root_id from customers where id = $1 and environment = $2")
        .bind(id)
        .bind(environment.to_owned())
        .maybe()
        .await?;
    Ok(row.map(|(root,)| root))
}

/// Writes customers: new ones are inserted, known ones replaced.
pub fn write(writes: &mut Together, rows: &[Row]) {
    if !rows.is_empty() {
        set!(
            writes,
            "insert into customers (id, environment, root_id, version, deleted, absorbed_into,
                 created_at, updated_at)
             select r.id, r.environment, r.root_id, r.version, r.deleted, r.absorbed_into,
                 r.created_at, r.updated_at from",
            [
                id uuid, environment text, root_id uuid, version bigint, deleted boolean,
                absorbed_into uuid, created_at timestamptz, updated_at timestamptz
            ],
            "where true on conflict (id) do update set root_id = excluded.root_id,
                 version = excluded.version, deleted = excluded.deleted,
                 absorbed_into = excluded.absorbed_into, updated_at = excluded.updated_at"
        )
        .bind_rows(rows);
    }
}

/// Lets the aliases of customers that went into another one answer with that one too.
///
/// # Errors
/// When the database fails.
pub async fn follow(tx: &mut Tx, absorbed: &[(CustomerId, CustomerId)]) -> Result<()> {
    #[derive(Serialize)]
    struct Move {
        gone: Uuid,
        kept: Uuid,
    }
    let rows: Vec<Move> =
        absorbed.iter().map(|(gone, kept)| Move { gone: gone.0, kept: kept.0 }).collect();
    if !rows.is_empty() {
        set!(
            tx,
            "update customers set absorbed_into = r.kept from",
            [gone uuid, kept uuid],
            "where customers.absorbed_into = r.gone"
        )
        .bind_rows(&rows)
        .execute()
        .await?;
    }
    Ok(())
}

/// A person as shown.
#[derive(Clone, Debug, Serialize)]
pub struct Profile {
    /// Whose.
    pub customer_id: Uuid,
    /// Where it belongs.
    pub environment: String,
    /// The app's own user id.
    pub external_id: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// The address.
    pub email: Option<String>,
    /// What spellings of the address have in common.
    pub email_key: Option<String>,
    /// The keyed hash of the address, where an auth source or the app vouches for it.
    pub verified_address: Option<Uuid>,
    /// E.164.
    pub phone: Option<String>,
    /// Whether this is nobody yet.
    pub is_anonymous: bool,
    /// The best subscription's status, or `none`.
    pub subscription_status: String,
    /// All of it.
    pub person: Person,
}

/// A profile's row: what is shown, and what it is found by.
#[derive(Serialize)]
struct ProfileRow<'a> {
    #[serde(flatten)]
    profile: &'a Profile,
    /// The name whatever its case.
    name_key: Option<String>,
    /// All names, whatever their case, one a line.
    search_key: String,
}

impl<'a> From<&'a Profile> for ProfileRow<'a> {
    fn from(profile: &'a Profile) -> Self {
        let Profile { external_id, name, email, phone, .. } = profile;
        let all: Vec<&str> = [external_id, name, email, phone]
            .into_iter()
            .filter_map(|text| text.as_deref())
            .collect();
        let name_key = name.as_ref().map(|name| name.to_lowercase());
        Self { profile, name_key, search_key: all.join("\n").to_lowercase() }
    }
}

/// Writes profiles: new ones are inserted, known ones replaced.
pub fn write_profiles(writes: &mut Together, rows: &[Profile]) {
    let rows: Vec<ProfileRow<'_>> = rows.iter().map(ProfileRow::from).collect();
    if !rows.is_empty() {
        set!(
            writes,
            "insert into customer_profiles (customer_id, environment, external_id, name, email,
                 email_key, verified_address, phone, is_anonymous, subscription_status, person,
                 name_key, search_key)
             select r.customer_id, r.environment, r.external_id, r.name, r.email, r.email_key,
                 r.verified_address, r.phone, r.is_anonymous, r.subscription_status, r.person,
                 r.name_key, r.search_key
             from",
            [
                customer_id uuid, environment text, external_id text, name text, email text,
                email_key text, verified_address uuid, phone text, is_anonymous boolean,
                subscription_status text, person jsonb, name_key text, search_key text
            ],
            "where true on conflict (customer_id) do update set external_id = excluded.external_id,
                 name = excluded.name, email = excluded.email, email_key = excluded.email_key,
                 verified_address = excluded.verified_address, phone = excluded.phone,
                 is_anonymous = excluded.is_anonymous,
                 subscription_status = excluded.subscription_status, person = excluded.person,
                 name_key = excluded.name_key, search_key = excluded.search_key"
        )
        .bind_rows(&rows);
    }
}

/// Takes away what is shown of customers that are gone.
///
/// # Errors
/// When the database fails.
pub async fn remove_shown(tx: &mut Tx, gone: &[Uuid]) -> Result<()> {
    if !gone.is_empty() {
        set!(
            tx,
            "delete from customer_profiles where customer_id in (select r.id from",
            [id uuid],
            ")"
        )
        .bind_ids(gone.iter().copied())
        .execute()
        .await?;
        set!(
            tx,
            "delete from customer_totals where customer_id in (select r.id from",
            [id uuid],
            ")"
        )
        .bind_ids(gone.iter().copied())
        .execute()
        .await?;
    }
    Ok(())
}

/// Something that two sources say and that cannot both be true.
#[derive(Clone, Debug, Serialize)]
pub struct Conflict {
    /// Ours.
    pub id: Uuid,
    /// Where it belongs.
    pub environment: String,
    /// `reference_moved` or `second_currency`.
    pub kind: &'static str,
    /// Whose.
    pub customer_id: Option<Uuid>,
    /// Of which payment.
    pub payment_id: Option<Uuid>,
    /// What it is about.
    pub detail: String,
    /// When it was noticed.
    pub created_at: Timestamp,
}

/// Records conflicts.
///
/// # Errors
/// When the database fails.
pub async fn record_conflicts(tx: &mut Tx, conflicts: &[Conflict]) -> Result<()> {
    if !conflicts.is_empty() {
        set!(
            tx,
            "insert into conflicts (id, environment, kind, customer_id, payment_id, detail,
                 resolved_at, created_at)
             select r.id, r.environment, r.kind, r.customer_id, r.payment_id, r.detail, null,
                 r.created_at from",
            [
                id uuid, environment text, kind text, customer_id uuid, payment_id uuid,
                detail text, created_at timestamptz
            ],
            "where true"
        )
        .bind_rows(conflicts)
        .execute()
        .await?;
    }
    Ok(())
}

/// Notes that a conflict is settled; one that was keeps its time.
///
/// # Errors
/// When the database fails.
pub async fn resolve_conflict(
    tx: &mut Tx,
    environment: &str,
    id: ConflictId,
    now: Timestamp,
) -> Result<()> {
    tx.query(
        "update conflicts set resolved_at = $3
         where id = $1 and environment = $2 and resolved_at is null",
    )
    .bind(id)
    .bind(environment.to_owned())
    .bind(now)
    .execute()
    .await?;
    Ok(())
}

/// A customer, and the version since which what is told of it says nothing of who is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Retold {
    /// Who.
    pub id: Uuid,
    /// Its version.
    pub since: i64,
}

/// Whose outgoing messages and conflicts are to lose what they say of a person.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Customers that are gone: their messages go out with the id alone.
    pub gone: Vec<Uuid>,
    /// Customers that live on, and were told of with a reference that is gone: their messages lose the person.
    pub lessened: Vec<Retold>,
    /// Customers whose conflicts lose the names.
    pub conflicts: Vec<Retold>,
    /// Payments that say nothing of a person any more.
    pub payments: Vec<Uuid>,
}

/// Erases what deletions took from outgoing events, from what receivers answered, and from conflicts.
///
/// # Errors
/// When the database fails.
pub async fn erase_told(tx: &mut Tx, told: &Told) -> Result<()> {
    erase_gone(tx, &told.gone).await?;
    erase_person(tx, &told.lessened, "").await?;
    erase_person(tx, &told.conflicts, "customer.conflict").await?;
    erase_payments(tx, &told.payments).await?;
    let lessened = told.lessened.iter().map(|retold| retold.id);
    let lessened = lessened.chain(told.conflicts.iter().map(|retold| retold.id));
    let all = told.gone.iter().chain(&told.payments).copied().chain(lessened);
    erase_answers(tx, &all.collect::<Vec<_>>()).await?;
    if !told.conflicts.is_empty() {
        set!(
            tx,
            "update conflicts set detail = 'erased' where customer_id in (select r.id from",
            [id uuid],
            ")"
        )
        .bind_ids(told.conflicts.iter().map(|retold| retold.id))
        .execute()
        .await?;
    }
    Ok(())
}

async fn erase_gone(tx: &mut Tx, customers: &[Uuid]) -> Result<()> {
    if customers.is_empty() {
        return Ok(());
    }
    // Differs because the databases edit JSON by functions of other names.
    let sql = tx.pick(
        "update outgoing_events set body = (jsonb_set(jsonb_set(body::jsonb, '{data}',
                 jsonb_strip_nulls(jsonb_build_object('customer', jsonb_build_object(
                     'object', 'customer', 'id', body::jsonb #>> '{data,customer,id}',
                     'deleted', true), 'merged_from', body::jsonb #> '{data,merged_from}'))),
                 '{previous_attributes}', '{}'::jsonb))::text
         where customer_id in (select r.id from jsonb_to_recordset($1::jsonb) as r(id uuid))
             and kind <> 'customer.deleted'",
        "update outgoing_events set body = json_set(body, '$.data',
                 json_patch('{}', json_object('customer', json_object(
                     'object', 'customer', 'id', body->>'$.data.customer.id',
                     'deleted', json('true')), 'merged_from', json(body->'$.data.merged_from'))),
                 '$.previous_attributes', json('{}'))
         where customer_id in (select value->>'id' from jsonb_each($1))
             and kind <> 'customer.deleted'",
    );
    tx.query(sql).bind_ids(customers.iter().copied()).execute().await?;
    Ok(())
}

/// Leaves of the person the id alone in messages below a version, and keeps the payment or subscription. Later ones
/// lose what they say of before. `kind` is the only type of event that is touched; all, where it is empty.
async fn erase_person(tx: &mut Tx, retold: &[Retold], kind: &'static str) -> Result<()> {
    if retold.is_empty() {
        return Ok(());
    }
    // Differs because the databases edit JSON by functions of other names.
    let person = tx.pick(
        "update outgoing_events set body = (jsonb_set(jsonb_set(body::jsonb, '{data,customer}',
                 jsonb_build_object('object', 'customer', 'id',
                     body::jsonb #>> '{data,customer,id}', 'deleted', false)),
                 '{previous_attributes}', '{}'::jsonb) #- '{data,conflict}')::text
         from jsonb_to_recordset($1::jsonb) as r(id uuid, since bigint)
         where customer_id = r.id and version < r.since
             and kind <> 'customer.deleted' and ($2 = '' or kind = $2)
             and body::jsonb #> '{data,customer,created_at}' is not null",
        "update outgoing_events set body = json_remove(json_set(body, '$.data.customer',
                 json_object('object', 'customer', 'id', body->>'$.data.customer.id',
                     'deleted', json('false')),
                 '$.previous_attributes', json('{}')), '$.data.conflict')
         from (select value->>'id' as id, value->>'since' as since from jsonb_each($1)) as r
         where customer_id = r.id and version < r.since
             and kind <> 'customer.deleted' and ($2 = '' or kind = $2)
             and body->>'$.data.customer.created_at' is not null",
    );
    tx.query(person).bind_rows(retold).bind(kind.to_owned()).execute().await?;
    // Differs because the databases edit JSON by functions of other names.
    let before = tx.pick(
        "update outgoing_events set body = (jsonb_set(body::jsonb, '{previous_attributes}',
                 '{}'::jsonb) #- '{data,conflict}')::text
         from jsonb_to_recordset($1::jsonb) as r(id uuid, since bigint)
         where customer_id = r.id and version >= r.since and ($2 = '' or kind = $2)",
        "update outgoing_events set body = json_remove(json_set(body, '$.previous_attributes',
                 json('{}')), '$.data.conflict')
         from (select value->>'id' as id, value->>'since' as since from jsonb_each($1)) as r
         where customer_id = r.id and version >= r.since and ($2 = '' or kind = $2)",
    );
    tx.query(before).bind_rows(retold).bind(kind.to_owned()).execute().await?;
    Ok(())
}

async fn erase_payments(tx: &mut Tx, payments: &[Uuid]) -> Result<()> {
    if payments.is_empty() {
        return Ok(());
    }
    // Differs because the databases edit JSON by functions of other names.
    let sql = tx.pick(
        "update outgoing_events set body = (jsonb_set(jsonb_set(jsonb_set(body::jsonb,
                 '{data,payment,description}', 'null'::jsonb, false),
                 '{data,payment,metadata}', '{}'::jsonb, false),
                 '{previous_attributes}', '{}'::jsonb))::text
         where payment_id in (select r.id from jsonb_to_recordset($1::jsonb) as r(id uuid))",
        "update outgoing_events set body = json_replace(body, '$.data.payment.description', null,
                 '$.data.payment.metadata', json('{}'), '$.previous_attributes', json('{}'))
         where payment_id in (select value->>'id' from jsonb_each($1))",
    );
    tx.query(sql).bind_ids(payments.iter().copied()).execute().await?;
    Ok(())
}

/// What a receiver answered may repeat what it was told, and so may what it has yet to answer.
async fn erase_answers(tx: &mut Tx, about: &[Uuid]) -> Result<()> {
    if about.is_empty() {
        return Ok(());
    }
    // Differs because the sets are read by functions of other names.
    let sql = tx.pick(
        "with gone as (select r.id from jsonb_to_recordset($1::jsonb) as r(id uuid))
         update attempts set response = null, erased = true where message_id in (
             select m.id from messages as m where m.event_id in (
                 select e.id from gone join outgoing_events as e on e.customer_id = gone.id
                 union select e.id from gone join outgoing_events as e on e.payment_id = gone.id))",
        "with gone as (select value->>'id' as id from jsonb_each($1))
         update attempts set response = null, erased = true where message_id in (
             select m.id from messages as m where m.event_id in (
                 select e.id from gone join outgoing_events as e on e.customer_id = gone.id
                 union select e.id from gone join outgoing_events as e on e.payment_id = gone.id))",
    );
    tx.query(sql).bind_ids(about.iter().copied()).execute().await?;
    Ok(())
}
