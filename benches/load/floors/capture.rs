//! Floor D, first half: the rows that a finished run has written, by the batch in which each would have to be.
//!
//! They are taken as they are in the end. A payment that several batches change is written by each of them, and a
//! customer and its totals by each that tells of it, so that as many rows and bytes are written as the program
//! must write, though not those of a state in between.

use crate::stage::{BATCH, Database};
use anyhow::ensure;
use sqlx::AssertSqlSafe;

/// How the rows of a table are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum How {
    /// They are new.
    Insert,
    /// They are new or known by these columns.
    Upsert(&'static str),
    /// They are new, and come with the results of deliveries.
    Result,
}

/// One table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) how: How,
    /// The rows with the number of their batch before them.
    rows: &'static str,
}

/// All tables that the traffic of a shop writes to, in the order in which they are written. A message is as it is
/// before its delivery.
pub(crate) const TABLES: [Table; 12] = [
    Table {
        name: "inbound_events",
        how: How::Insert,
        rows: "select b.n, t.* from inbound_events as t join bench_batch as b on b.id = t.id",
    },
    Table {
        name: "inbound_subjects",
        how: How::Insert,
        rows: "select b.n, t.* from inbound_subjects as t join bench_batch as b on b.id = t.inbound_id",
    },
    Table {
        name: "payments",
        how: How::Upsert("id"),
        rows: "select x.n, t.* from payments as t join bench_payment as x on x.id = t.id",
    },
    Table {
        name: "payment_keys",
        how: How::Insert,
        rows: "select x.n, t.* from payment_keys as t
            join (select id, min(n) as n from bench_payment group by id) as x on x.id = t.payment_id",
    },
    Table {
        name: "object_references",
        how: How::Insert,
        rows: "select x.n, t.* from object_references as t
            join (select id, min(n) as n from bench_payment group by id) as x on x.id = t.object_id",
    },
    Table {
        name: "customers",
        how: How::Upsert("id"),
        rows: "select x.n, t.* from customers as t
            join (select distinct n, customer_id from bench_told) as x on x.customer_id = t.id",
    },
    Table {
        name: "reference_totals",
        how: How::Upsert("reference_id, currency"),
        rows: "select x.n, t.* from reference_totals as t
            join (select distinct o.n, p.owner_id, p.currency from bench_told as o
                join payments as p on p.id = o.payment_id) as x
            on x.owner_id = t.reference_id and x.currency = t.currency",
    },
    Table {
        name: "customer_totals",
        how: How::Upsert("customer_id, currency"),
        rows: "select x.n, t.* from customer_totals as t
            join (select distinct o.n, o.customer_id, p.currency from bench_told as o
                join payments as p on p.id = o.payment_id) as x
            on x.customer_id = t.customer_id and x.currency = t.currency",
    },
    Table {
        name: "customer_days",
        how: How::Upsert("reference_id, currency, day"),
        // A time begins with its day on both: as text on SQLite, and in the UTC of a session on PostgreSQL.
        rows: "select x.n, t.* from customer_days as t
            join (select distinct o.n, p.owner_id, p.currency,
                    substr(cast(p.paid_at as text), 1, 10) as day from bench_told as o
                join payments as p on p.id = o.payment_id where p.paid_at is not null) as x
            on x.owner_id = t.reference_id and x.currency = t.currency and x.day = t.day",
    },
    Table {
        name: "outgoing_events",
        how: How::Insert,
        rows: "select x.n, t.* from outgoing_events as t join bench_told as x on x.id = t.id",
    },
    Table {
        name: "messages",
        how: How::Insert,
        rows: "select x.n, t.id, t.event_id, t.endpoint_id, t.environment, t.customer_id, t.version, t.ordered, t.fresh,
                substr('pending', 1) as status, t.attempts - t.attempts as attempts, t.created_at as due_at,
                t.lease, t.leased_until, t.created_at, nullif(t.finished_at, t.finished_at) as finished_at
            from messages as t join bench_told as x on x.id = t.event_id",
    },
    Table {
        name: "attempts",
        how: How::Result,
        rows: "select x.n, t.* from attempts as t join messages as m on m.id = t.message_id
            join bench_told as x on x.id = m.event_id",
    },
];

/// The table of a table's rows.
pub(crate) fn rows_of(table: &Table) -> String {
    format!("bench_rows_{}", table.name)
}

/// Sorts the rows of a finished run into tables of their own, in the same database; how many batches there are.
///
/// # Errors
/// When the run wrote to a table that is not among these.
pub(crate) async fn capture(opening: &Database, finished: &Database) -> anyhow::Result<usize> {
    ensure!(
        untouched(opening).await? == untouched(finished).await?,
        "the traffic changes more tables than floor D writes"
    );
    let cause = match finished {
        Database::Postgres { .. } => "(o.body::jsonb #>> '{cause,event_id}')",
        Database::Sqlite(_) => "o.body->>'$.cause.event_id'",
    };
    let mut statements = vec![
        format!(
            "create table bench_batch as select id, provider_event_id,
                 (row_number() over (order by id) - 1) / {BATCH} as n
             from inbound_events where kind <> 'customer.created'"
        ),
        "create index bench_batch_id on bench_batch (id)".to_owned(),
        "create index bench_batch_event on bench_batch (provider_event_id)".to_owned(),
        "create table bench_payment as select distinct b.n, p.id from inbound_subjects as s
             join bench_batch as b on b.id = s.inbound_id join payments as p on p.id = s.subject_id"
            .to_owned(),
        format!(
            "create table bench_told as select o.id, o.customer_id, o.payment_id, b.n
             from outgoing_events as o join bench_batch as b on b.provider_event_id = {cause}"
        ),
        "create index bench_told_id on bench_told (id)".to_owned(),
    ];
    for table in &TABLES {
        let rows = rows_of(table);
        statements.push(format!("create table {rows} as {}", table.rows));
        statements.push(format!("create index {rows}_n on {rows} (n)"));
    }
    run(finished, &statements).await?;
    let db = finished.open().await?;
    let mut tx = db.snapshot().await?;
    let sql = "select count(distinct n), count(*), (select count(*) from inbound_events
        where kind <> 'customer.created') from bench_rows_inbound_events";
    let (batches, rows, events) = tx.query(sql).one::<(i64, i64, i64)>().await?;
    ensure!(rows == events, "{rows} of {events} events were captured");
    let sql = "select (select count(*) from bench_rows_messages), (select count(*) from messages)";
    let (captured, all) = tx.query(sql).one::<(i64, i64)>().await?;
    ensure!(captured == all, "{captured} of {all} messages were captured");
    tx.commit().await?;
    db.close().await;
    Ok(usize::try_from(batches)?)
}

/// What the traffic leaves as it is: how many rows and bytes.
async fn untouched(database: &Database) -> anyhow::Result<(i64, i64, i64, i64)> {
    let db = database.open().await?;
    let mut tx = db.snapshot().await?;
    let sql = "select (select count(*) from customer_references),
        (select cast(sum(length(cast(facts as text))) as bigint) from customer_references),
        (select cast(sum(length(cast(person as text))) as bigint) from customer_profiles),
        (select count(*) from subscriptions)";
    let found = tx.query(sql).one().await?;
    tx.commit().await?;
    db.close().await;
    Ok(found)
}

async fn run(database: &Database, statements: &[String]) -> anyhow::Result<()> {
    match database {
        Database::Postgres { .. } => {
            let mut connection = database.connect().await?;
            for statement in statements {
                sqlx::raw_sql(AssertSqlSafe(statement.as_str())).execute(&mut connection).await?;
            }
        }
        Database::Sqlite(_) => {
            let mut connection = super::sqlite::connect(database).await?;
            for statement in statements {
                sqlx::raw_sql(AssertSqlSafe(statement.as_str())).execute(&mut connection).await?;
            }
        }
    }
    Ok(())
}
