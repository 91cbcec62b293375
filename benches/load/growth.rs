//! The cost of an event as the tables grow: buffers that PostgreSQL touches for it, and time.
//!
//! The rows of others are made by the database itself, in bulk, with names and ids as random or as ordered as ours
//! are, and lie among those that the events touch. No autovacuum runs meanwhile: what is counted is the events' own.
//!
//! Pain point 9 (frain-dev/convoy#1712): with the table of events the time for each of them grew.

use crate::{
    figures::{self, median, say},
    stage::{Database, ENVIRONMENT, Stage},
    traffic::{Settings, Traffic},
};
use anyhow::Context as _;
use customer_sync::model::inbound::Raw;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};
use std::time::Instant;

/// How far the tables grow.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    /// Customers in all.
    pub(crate) customers: Vec<u64>,
    /// Payments of one customer.
    pub(crate) payments: Vec<u64>,
    /// Messages that wait to be tried again.
    pub(crate) waiting: Vec<u64>,
}

/// The events of one measurement come in so many parts, and the figures are the parts' own.
const PARTS: usize = 3;

/// So many of the customers buy.
const BUYERS: usize = 2_000;

/// One kind of growth.
const PAYMENTS: &str = "payments of one customer";

/// What each payment that was there before has brought in.
const AMOUNT: i64 = 100;

/// What an event cost.
#[derive(Debug, Default)]
struct Cost {
    buffers: Vec<f64>,
    microseconds: Vec<f64>,
}

/// Measures each kind of growth for itself.
///
/// # Errors
/// When a total differs from the truth in the end.
pub(crate) async fn of_the_tables(
    stage: &Stage,
    seed: u64,
    events: usize,
    sizes: &Sizes,
) -> anyhow::Result<()> {
    let many = Settings { seed, customers: BUYERS, events, skew: 0.0 };
    let one = Settings { customers: 1, ..many };
    series(stage, many, "customers", &sizes.customers).await?;
    series(stage, one, PAYMENTS, &sizes.payments).await?;
    series(stage, many, "messages waiting", &sizes.waiting).await
}

async fn series(
    stage: &Stage,
    settings: Settings,
    what: &str,
    sizes: &[u64],
) -> anyhow::Result<()> {
    let mut costs = Vec::new();
    for size in sizes {
        say(&format!("growth: {size} {what}"));
        let traffic = Traffic::generate(stage, settings)?;
        let database = stage.postgres("growth", None).await?;
        stage.declare(&database)?;
        stage.take_in(&database, &traffic.opening).await?;
        let mut connection = database.connect().await?;
        match what {
            "customers" => {
                add_customers(&mut connection, size.saturating_sub(BUYERS as u64)).await?;
            }
            "messages waiting" => add_messages(&mut connection, *size).await?,
            _ => add_payments(&mut connection, *size).await?,
        }
        settle(&mut connection).await?;
        let cost = measure(stage, &database, &mut connection, &traffic.events).await?;
        say(&format!("{:.1} buffers, {:.0} µs", median(&cost.buffers), median(&cost.microseconds)));
        let before = if what == PAYMENTS { i64::try_from(*size)? } else { 0 };
        traffic.has_right_sums(&database, (before, before * AMOUNT)).await?;
        costs.push(cost);
        database.remove().await?;
    }
    tell(what, sizes, &costs)
}

fn tell(what: &str, sizes: &[u64], costs: &[Cost]) -> anyhow::Result<()> {
    let (Some(first), Some(last)) = (costs.first(), costs.last()) else { return Ok(()) };
    let base = median(&first.buffers);
    let ratios: Vec<f64> = last.buffers.iter().map(|buffers| buffers / base).collect();
    let of = |figures: &dyn Fn(&Cost) -> f64| -> Vec<Value> {
        costs.iter().map(|cost| figures::rounded(figures(cost))).collect()
    };
    let more = json!({
        "sizes": sizes,
        "buffers_per_event": of(&|cost| median(&cost.buffers)),
        "us_per_event": of(&|cost| median(&cost.microseconds)),
        "time_ratio": figures::rounded(median(&last.microseconds) / median(&first.microseconds)),
    });
    figures::tell(&format!("growth: {what}"), &ratios, "1.25 or less", more)
}

async fn measure(
    stage: &Stage,
    database: &Database,
    connection: &mut PgConnection,
    events: &[Raw],
) -> anyhow::Result<Cost> {
    let mut cost = Cost::default();
    for part in events.chunks(events.len().div_ceil(PARTS).max(1)) {
        let before = buffers(connection).await?;
        let begun = Instant::now();
        stage.take_in(database, part).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let touched = buffers(connection).await? - before;
        cost.buffers.push(touched / part.len() as f64);
        cost.microseconds.push(seconds / part.len() as f64 * 1e6);
    }
    Ok(cost)
}

/// Buffers that were touched in this database so far. Other backends report when they end, so theirs is awaited.
async fn buffers(connection: &mut PgConnection) -> anyhow::Result<f64> {
    let others = "select count(*) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()";
    while sqlx::query_scalar::<_, i64>(others).fetch_one(&mut *connection).await? > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let sql = "select (blks_hit + blks_read)::float8 from pg_stat_database where datname = current_database()";
    Ok(sqlx::query_scalar(sql).fetch_one(connection).await?)
}

/// A UUIDv7 of the n-th millisecond of some year.
const ORDERED: &str =
    "(lpad(to_hex(1600000000000 + n), 12, '0') || '7' || substr(md5(n::text), 1, 3)
    || '8' || substr(md5(n::text), 4, 15))::uuid";

/// Customers of one reference, one profile and one line of totals each.
async fn add_customers(connection: &mut PgConnection, count: u64) -> anyhow::Result<()> {
    if count == 0 {
        return Ok(());
    }
    run(
        connection,
        &format!(
            "create unlogged table bench_others as
         select n, {ORDERED} as customer_id, gen_random_uuid() as reference_id
         from generate_series(1, {count}) as n"
        ),
    )
    .await?;
    let rows = [
        ("customer_references", format!(
            "select reference_id, '{ENVIRONMENT}', 'payment', 'stripe', 'cus_' || n, reference_id, customer_id,
                false, false, '{{}}'::jsonb from bench_others"
        )),
        ("customers", format!(
            "select customer_id, '{ENVIRONMENT}', reference_id, 1, false, null::uuid, now(), now() from bench_others"
        )),
        ("customer_profiles", format!(
            "select customer_id, '{ENVIRONMENT}', null, 'Name ' || n, 'n' || n || '@example.org',
                'n' || n || '@example.org', null, null, false, 'none', '{{}}'::jsonb,
                'name ' || n, 'name ' || n || E'\nn' || n || '@example.org' from bench_others"
        )),
        ("reference_totals", "select reference_id, 'USD', 0, 0, 0, 0, 0, 0, null::timestamptz, null::timestamptz
            from bench_others".to_owned()),
        ("customer_totals", format!(
            "select customer_id, 'USD', '{ENVIRONMENT}', 0, 0, 0, 0, 0, 0, n, null::timestamptz, null::timestamptz
             from bench_others"
        )),
    ];
    for (table, others) in rows {
        grow(connection, table, &others).await?;
    }
    run(connection, "drop table bench_others").await
}

/// Payments of the only customer, in its own currency, each with its name and its place in the totals.
async fn add_payments(connection: &mut PgConnection, count: u64) -> anyhow::Result<()> {
    let owner: uuid::Uuid = sqlx::query_scalar(
        "select id from customer_references where kind = 'payment' order by id limit 1",
    )
    .fetch_one(&mut *connection)
    .await?;
    run(connection, &format!(
        "create unlogged table bench_others as select n, {ORDERED} as id from generate_series(1, {count}) as n"
    )).await?;
    grow(connection, "payments", &format!(
        "select id, '{ENVIRONMENT}', 'stripe', 'pi_' || n, '{owner}'::uuid, null::uuid, false, 'succeeded', {AMOUNT},
            'USD', 0, 0, to_timestamp(1600000000 + n), null,
            '{{\"status\": \"succeeded\"}}'::jsonb, now(), now() from bench_others"
    )).await?;
    grow(
        connection,
        "payment_keys",
        &format!("select '{ENVIRONMENT}', 'stripe', 'pi_' || n, id from bench_others"),
    )
    .await?;
    grow(
        connection,
        "object_references",
        &format!("select '{owner}'::uuid, id, 'payment' from bench_others"),
    )
    .await?;
    let sums = "'USD', count(*), count(*), 0, sum(amount), 0, 0";
    let span = "min(paid_at), max(paid_at) from payments having count(*) > 0";
    run(connection, &format!("insert into reference_totals select '{owner}', {sums}, {span}"))
        .await?;
    run(connection, &format!(
        "insert into customer_totals select (select id from customers), 'USD', '{ENVIRONMENT}', count(*), count(*), 0,
             sum(amount), 0, 0, sum(amount), {span}"
    )).await?;
    run(connection, &format!(
        "insert into customer_days select '{owner}', 'USD', to_char(paid_at at time zone 'UTC', 'YYYY-MM-DD'),
             '{ENVIRONMENT}', (select id from customers), count(*), sum(amount), sum(amount)
         from payments where paid_at is not null group by 3"
    )).await?;
    run(connection, "drop table bench_others").await
}

/// Messages that are to be tried again tomorrow.
async fn add_messages(connection: &mut PgConnection, count: u64) -> anyhow::Result<()> {
    let endpoint: uuid::Uuid =
        sqlx::query_scalar("select id from endpoints").fetch_one(&mut *connection).await?;
    grow(connection, "messages", &format!(
        "select {ORDERED}, gen_random_uuid(), '{endpoint}'::uuid, '{ENVIRONMENT}', gen_random_uuid(), null::bigint, false,
            false, 'pending', 1, now() + interval '1 day' + n * interval '1 millisecond', null::uuid, null::timestamptz, now(),
            null::timestamptz
         from generate_series(1, {count}) as n"
    )).await
}

/// Adds rows to a table, in any order among those that are there, and builds its indexes anew.
async fn grow(connection: &mut PgConnection, table: &str, others: &str) -> anyhow::Result<()> {
    let constraints: Vec<(String, String)> = sqlx::query_as(
        "select conname::text, pg_get_constraintdef(oid) from pg_constraint where conrelid = $1::regclass",
    )
    .bind(table.to_owned())
    .fetch_all(&mut *connection)
    .await?;
    let indexes: Vec<String> = sqlx::query_scalar(
        "select pg_get_indexdef(indexrelid) from pg_index where indrelid = $1::regclass
         and not exists (select 1 from pg_constraint where conindid = indexrelid)",
    )
    .bind(table.to_owned())
    .fetch_all(&mut *connection)
    .await?;
    let mut statements = vec![
        "set maintenance_work_mem = '512MB'".to_owned(),
        "set work_mem = '256MB'".to_owned(),
        format!("create table bench_grown (like {table} including defaults)"),
        format!(
            "insert into bench_grown select all_rows.* from (table {table} union all {others}) as all_rows
             order by hashtext(all_rows::text)"
        ),
        // The views of reports go with it.
        format!("drop table {table} cascade"),
        format!("alter table bench_grown rename to {table}"),
    ];
    for (name, definition) in &constraints {
        statements.push(format!("alter table {table} add constraint {name} {definition}"));
    }
    statements.extend(indexes);
    for statement in &statements {
        run(connection, statement).await.with_context(|| format!("{table}: {statement}"))?;
    }
    Ok(())
}

/// Leaves no work behind that would be done while something is measured.
async fn settle(connection: &mut PgConnection) -> anyhow::Result<()> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace",
    )
    .fetch_all(&mut *connection)
    .await?;
    for table in tables {
        run(connection, &format!("alter table {table} set (autovacuum_enabled = off)")).await?;
    }
    run(connection, "vacuum analyze").await?;
    run(connection, "checkpoint").await
}

async fn run(connection: &mut PgConnection, statement: &str) -> anyhow::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}
