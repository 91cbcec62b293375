//! What a batch reaches: from the names in it, and then from the references that are locked. Each in one turn to the
//! database, since an event that comes alone waits for every turn.

use crate::{
    model::{
        customer::{Spend, Totals},
        endpoint::Audience,
        id::SubscriptionId,
        reference::ReferenceId,
        time::Timestamp,
    },
    store::{
        Error, Result, Together, Tx,
        codec::Key,
        customers,
        endpoints::{self, ListenerRow, audience_lock},
        inbox, payments, references,
        statement::Dialect,
        subscriptions,
    },
};
use sqlx::{ColumnIndex, Decode, FromRow, Row, Type};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use uuid::Uuid;

/// What the events of a batch name.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Payments; whose they are is asked.
    pub payments: Vec<payments::Name>,
    /// Subscriptions.
    pub subscriptions: Vec<subscriptions::Name>,
    /// Subscriptions by their rows.
    pub subscription_ids: BTreeSet<Uuid>,
    /// References.
    pub references: BTreeSet<ReferenceId>,
    /// Payments by their rows.
    pub payment_ids: BTreeSet<Uuid>,
}

/// What is known by these names.
#[derive(Debug, Default)]
pub struct Reached {
    /// The names of payments that are known, with whose they are.
    pub names: Vec<payments::Name>,
    /// Subscriptions.
    pub subscriptions: Vec<SubscriptionId>,
    /// The components of the references that are named, and of those that these payments and subscriptions ever named.
    pub components: Vec<Uuid>,
    /// The references of these components, locked. One that a component gains meanwhile is not among them: [`held`] finds
    /// that out.
    pub references: Vec<references::Row>,
    /// The payments of these names and ids, locked.
    pub payments: Vec<payments::Row>,
}

#[derive(FromRow)]
struct NameRow {
    id: Key,
    environment: String,
    namespace: String,
    provider_payment_id: String,
}

enum ReachedRow {
    /// The row of an event that was recorded just now.
    Event(Key),
    Name(NameRow),
    Subscription(Key),
    Component(Key),
    Reference(Box<references::Columns>),
    Payment(Box<payments::Columns>),
}

impl<'r, R: Row> FromRow<'r, R> for ReachedRow
where
    &'static str: ColumnIndex<R>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    Key: Decode<'r, R::Database> + Type<R::Database>,
    NameRow: FromRow<'r, R>,
    references::Columns: FromRow<'r, R>,
    payments::Columns: FromRow<'r, R>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        Ok(match row.try_get::<String, _>("what")?.as_str() {
            "event" => Self::Event(row.try_get("id")?),
            "name" => Self::Name(NameRow::from_row(row)?),
            "subscription" => Self::Subscription(row.try_get("id")?),
            "component" => Self::Component(row.try_get("id")?),
            "reference" => Self::Reference(Box::new(references::Columns::from_row(row)?)),
            "payment" => Self::Payment(Box::new(payments::Columns::from_row(row)?)),
            other => return Err(unknown(other)),
        })
    }
}

fn unknown(kind: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("`{kind}` is no kind of row").into())
}

macro_rules! no_payment {
    () => {
        "null, null, false, null, null, null, 0, 0, null, null, null, null"
    };
}

macro_rules! no_reference {
    () => {
        "null, null, null, null, false, false"
    };
}

/// The rows that the first of the statements run together has returned: read before all others here, and so done before
/// anything is locked.
macro_rules! events {
    (none) => {
        ""
    };
    (first) => {
        concat!(
            "union all select 'event', id, null, null, null, null, ",
            no_payment!(),
            ", ",
            no_reference!(),
            " from w0 "
        )
    };
}

/// What sets of names reach, in rows of several kinds, whose columns stand side by side: the names and types of these come
/// first, without a row. References are locked before payments, each in one order.
macro_rules! reached {
    ($events:ident, $payments:literal, $subscriptions:literal, $subscription_ids:literal, $references:literal,
        $payment_ids:literal, $lock:literal, $nothing:expr) => {
        concat!(
            "with name as (
                select k.environment, k.namespace, k.provider_payment_id, k.payment_id as id
                from payment_keys as k join ",
            $payments,
            "   on k.environment = r.environment and k.namespace = r.namespace
                    and k.provider_payment_id = r.provider_payment_id
             ), subscription as (
                select s.id from subscriptions as s join ",
            $subscriptions,
            "   on s.environment = r.environment and s.namespace = r.namespace
                    and s.provider_subscription_id = r.provider_subscription_id
             ), component as (
                select distinct component as id from customer_references where id in (",
            $references,
            "       union select o.reference_id from object_references as o where o.object_id in (
                        select id from name union select id from subscription union ",
            $subscription_ids,
            "       )
                )
             ), reference as (
                select id, environment, kind, namespace, subject, component, customer_id, closed,
                    deleted_before, facts
                from customer_references where component in (select id from component) order by id",
            $lock,
            "), payment as (
                select id, environment, namespace, provider_payment_id, owner_id, absorbed_into, erased,
                    status, amount, currency, amount_refunded, disputed_lost, paid_at, payer_address,
                    facts, created_at, updated_at
                from payments where id in (select id from name union ",
            $payment_ids,
            ") order by id",
            $lock,
            ")
             select '' as what, cast(null as uuid) as id, cast(null as text) as environment,
                cast(null as text) as namespace, cast(null as text) as provider_payment_id,
                cast(null as jsonb) as facts,
                cast(null as uuid) as owner_id, cast(null as uuid) as absorbed_into, false as erased,
                cast(null as text) as status, cast(null as bigint) as amount,
                cast(null as text) as currency, cast(0 as bigint) as amount_refunded,
                cast(0 as bigint) as disputed_lost, cast(null as timestamptz) as paid_at,
                cast(null as uuid) as payer_address, cast(null as timestamptz) as created_at,
                cast(null as timestamptz) as updated_at,
                cast(null as text) as kind, cast(null as text) as subject, cast(null as uuid) as component,
                cast(null as uuid) as customer_id, false as closed, false as deleted_before ",
            $nothing,
            events!($events),
            "union all select 'name', id, environment, namespace, provider_payment_id, null, ",
            no_payment!(),
            ", ",
            no_reference!(),
            " from name
             union all select 'subscription', id, null, null, null, null, ",
            no_payment!(),
            ", ",
            no_reference!(),
            " from subscription
             union all select 'component', id, null, null, null, null, ",
            no_payment!(),
            ", ",
            no_reference!(),
            " from component
             union all select 'reference', id, environment, namespace, null, facts, ",
            no_payment!(),
            ", kind, subject, component, customer_id, closed, deleted_before from reference
             union all select 'payment', id, environment, namespace, provider_payment_id, facts,
                owner_id, absorbed_into, erased, status, amount, currency, amount_refunded,
                disputed_lost, paid_at, payer_address, created_at, updated_at, ",
            no_reference!(),
            " from payment"
        )
    };
}

macro_rules! reached_on_postgres {
    ($events:ident) => {
        reached!(
            $events,
            "jsonb_to_recordset($1::jsonb)
                as r(environment text, namespace text, provider_payment_id text) ",
            "jsonb_to_recordset($2::jsonb)
                as r(environment text, namespace text, provider_subscription_id text) ",
            "select r.id from jsonb_to_recordset($3::jsonb) as r(id uuid)",
            "select r.id from jsonb_to_recordset($4::jsonb) as r(id uuid)",
            "select r.id from jsonb_to_recordset($5::jsonb) as r(id uuid)",
            " for update",
            // First of all, so that who is told stays as it is. That its value is looked at makes the planner keep it.
            concat!(
                "from pg_advisory_xact_lock_shared(",
                audience_lock!(),
                ") as told(held) where held::text = 'never' "
            )
        )
    };
}

/// Looks names up, and locks what hangs together with them. What is named may be another's by the time its lock is had.
///
/// # Errors
/// When the database fails.
pub async fn reached(tx: &mut Tx, names: &Names) -> Result<Reached> {
    let mut asked = tx.together();
    // Differs because the sets are read by functions of other names, and SQLite's transaction is the lock.
    let sql = asked.pick(
        reached_on_postgres!(none),
        reached!(
            none,
            "(select value->>'environment' as environment, value->>'namespace' as namespace,
                value->>'provider_payment_id' as provider_payment_id from jsonb_each($1)) as r ",
            "(select value->>'environment' as environment, value->>'namespace' as namespace,
                value->>'provider_subscription_id' as provider_subscription_id
                from jsonb_each($2)) as r ",
            "select value->>'id' from jsonb_each($3)",
            "select value->>'id' as id from jsonb_each($4)",
            "select value->>'id' from jsonb_each($5)",
            "",
            "where false "
        ),
    );
    ask(&mut asked, sql, names);
    Ok(read(asked.rows(tx).await?).1)
}

/// Records events as [`inbox::record`] does, and then does what [`reached`] does.
///
/// # Errors
/// When the database fails.
pub async fn recorded_and_reached(
    tx: &mut Tx,
    records: &[inbox::Record],
    now: Timestamp,
    names: &Names,
) -> Result<(HashSet<Uuid>, Reached)> {
    // Differs because an insert is no part of another statement on SQLite, where a turn costs nothing.
    if records.is_empty() || tx.dialect() == Dialect::Sqlite {
        let new = inbox::record(tx, records, now).await?;
        return Ok((new, reached(tx, names).await?));
    }
    let mut asked = tx.together();
    inbox::add(&mut asked, records, now);
    ask(&mut asked, reached_on_postgres!(first), names);
    let (kept, reached_before) = read(asked.rows(tx).await?);
    let new = inbox::new_of(records, kept.iter().copied());
    if new.len() < kept.len() {
        // It may have waited for whoever recorded the other copy, and looked up what was there before. More than that is
        // locked in its order, from the beginning.
        let now = reached(tx, names).await?;
        let known = |component| reached_before.components.contains(component);
        return if now.components.iter().all(known) { Ok((new, now)) } else { Err(Error::Grew) };
    }
    Ok((new, reached_before))
}

fn ask(asked: &mut Together, sql: &'static str, names: &Names) {
    asked
        .query(sql)
        .bind_rows(&names.payments)
        .bind_rows(&names.subscriptions)
        .bind_ids(names.subscription_ids.iter().copied())
        .bind_ids(names.references.iter().map(|reference| reference.0))
        .bind_ids(names.payment_ids.iter().copied());
}

/// The ids of events, and what else there is.
fn read(rows: Vec<ReachedRow>) -> (Vec<Uuid>, Reached) {
    let mut events = Vec::new();
    let mut reached = Reached::default();
    for row in rows {
        match row {
            ReachedRow::Event(id) => events.push(id.0),
            ReachedRow::Name(row) => reached.names.push(payments::Name {
                environment: row.environment,
                namespace: row.namespace,
                provider_payment_id: row.provider_payment_id,
                payment_id: row.id.0,
            }),
            ReachedRow::Subscription(id) => reached.subscriptions.push(SubscriptionId(id.0)),
            ReachedRow::Component(id) => reached.components.push(id.0),
            ReachedRow::Reference(row) => reached.references.push((*row).into()),
            ReachedRow::Payment(row) => reached.payments.push((*row).into()),
        }
    }
    (events, reached)
}

/// What hangs on locked references, and who is told of what becomes of it.
#[derive(Debug, Default)]
pub struct Held {
    /// Subscriptions that ever named one of them.
    pub subscriptions: Vec<Uuid>,
    /// The references' totals.
    pub totals: BTreeMap<ReferenceId, Spend>,
    /// The customers at whose top they stand or stood, gone ones too.
    pub customers: Vec<customers::Row>,
    /// The endpoints that are told.
    pub audience: Audience,
}

#[derive(FromRow)]
struct TotalsRow {
    id: Key,
    currency: String,
    payment_count: i64,
    successful_payment_count: i64,
    failed_payment_count: i64,
    total_spent: i64,
    total_refunded: i64,
    total_disputed_lost: i64,
    first_payment_at: Option<Timestamp>,
    last_payment_at: Option<Timestamp>,
}

enum HeldRow {
    Totals(TotalsRow),
    Subscription(Key),
    Customer(customers::Columns),
    Endpoint(ListenerRow),
    /// How many references the components have.
    Members(i64),
}

impl<'r, R: Row> FromRow<'r, R> for HeldRow
where
    &'static str: ColumnIndex<R>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    Key: Decode<'r, R::Database> + Type<R::Database>,
    TotalsRow: FromRow<'r, R>,
    customers::Columns: FromRow<'r, R>,
    ListenerRow: FromRow<'r, R>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        Ok(match row.try_get::<String, _>("what")?.as_str() {
            "totals" => Self::Totals(TotalsRow::from_row(row)?),
            "subscription" => Self::Subscription(row.try_get("id")?),
            "customer" => Self::Customer(customers::Columns::from_row(row)?),
            "endpoint" => Self::Endpoint(ListenerRow::from_row(row)?),
            "members" => Self::Members(row.try_get("payment_count")?),
            other => return Err(unknown(other)),
        })
    }
}

/// Of rows of several kinds, whose columns stand side by side.
macro_rules! held {
    ($references:literal, $components:literal, $lock:literal, $now:literal) => {
        concat!(
            "with customer as (
                select id, environment, root_id, version, deleted, absorbed_into, created_at, updated_at
                from customers where root_id in (",
            $references,
            ") order by id",
            $lock,
            ")
             select 'totals' as what, reference_id as id, currency, payment_count,
                successful_payment_count, failed_payment_count, total_spent, total_refunded,
                total_disputed_lost, first_payment_at, last_payment_at,
                cast(null as text) as environment, cast(null as uuid) as root_id, 0 as version,
                false as deleted, cast(null as uuid) as absorbed_into,
                cast(null as timestamptz) as created_at, cast(null as timestamptz) as updated_at,
                cast(null as jsonb) as event_types, cast(null as jsonb) as settings,
                cast(null as text) as breaker, cast(null as timestamptz) as paused_until,
                cast(null as timestamptz) as now
             from reference_totals where reference_id in (",
            $references,
            ")
             union all select 'subscription', object_id, null, 0, 0, 0, 0, 0, 0, null, null,
                null, null, 0, false, null, null, null, null, null, null, null, null
             from (select distinct object_id from object_references
                where kind = 'subscription' and reference_id in (",
            $references,
            ")) as named
             union all select 'customer', id, null, 0, 0, 0, 0, 0, 0, null, null,
                environment, root_id, version, deleted, absorbed_into, created_at, updated_at,
                null, null, null, null, null
             from customer
             union all select 'endpoint', id, null, 0, 0, 0, 0, 0, 0, null, null,
                environment, null, 0, false, null, null, null,
                event_types, settings, breaker, paused_until, ",
            $now,
            " from endpoints where enabled and not deleted
             union all select 'members', null, null, count(*), 0, 0, 0, 0, 0, null, null,
                null, null, 0, false, null, null, null, null, null, null, null, null
             from customer_references where component in (",
            $components,
            ")"
        )
    };
}

/// Reads what hangs on the references of some components, all of which are locked, and locks their customers in one
/// order. The totals and what names the references change under their locks alone. `clock` counts where the database has
/// no clock of its own.
///
/// # Errors
/// [`Error::Grew`] when a component gained a reference while the locks were awaited; else when the database fails.
pub async fn held(
    tx: &mut Tx,
    components: &[Uuid],
    locked: &BTreeSet<ReferenceId>,
    clock: Timestamp,
) -> Result<Held> {
    // Differs because the sets are read by functions of other names, SQLite's transaction is the lock, and processes
    // share the one's clock and not the other's.
    let sql = tx.pick(
        held!(
            "select r.id from jsonb_to_recordset($1::jsonb) as r(id uuid)",
            "select r.id from jsonb_to_recordset($2::jsonb) as r(id uuid)",
            " for update",
            "case when $3::timestamptz is not null then clock_timestamp() end"
        ),
        held!(
            "select value->>'id' from jsonb_each($1)",
            "select value->>'id' from jsonb_each($2)",
            "",
            "$3"
        ),
    );
    let rows: Vec<HeldRow> = tx
        .query(sql)
        .bind_ids(locked.iter().map(|reference| reference.0))
        .bind_ids(components.iter().copied())
        .bind(clock)
        .all()
        .await?;
    let mut held = Held::default();
    let mut listeners = Vec::new();
    for row in rows {
        match row {
            HeldRow::Totals(row) => held.add_totals(&row),
            HeldRow::Subscription(id) => held.subscriptions.push(id.0),
            HeldRow::Customer(row) => held.customers.push(row.into()),
            HeldRow::Endpoint(row) => listeners.push(row),
            HeldRow::Members(members) => {
                if usize::try_from(members) != Ok(locked.len()) {
                    return Err(Error::Grew);
                }
            }
        }
    }
    held.audience = endpoints::gathered(listeners, clock);
    Ok(held)
}

impl Held {
    fn add_totals(&mut self, row: &TotalsRow) {
        let totals = Totals {
            payment_count: row.payment_count,
            successful_payment_count: row.successful_payment_count,
            failed_payment_count: row.failed_payment_count,
            total_spent: row.total_spent,
            total_refunded: row.total_refunded,
            total_disputed_lost: row.total_disputed_lost,
            first_payment_at: row.first_payment_at,
            last_payment_at: row.last_payment_at,
        };
        let currency = row.currency.parse().ok();
        if totals != Totals::default() {
            self.totals.entry(ReferenceId(row.id.0)).or_default().insert(currency, totals);
        }
    }
}
