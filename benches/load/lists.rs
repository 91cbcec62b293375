//! Lists of customers and rankings at a size: the plan that PostgreSQL chooses for each, and how long it takes.
//!
//! The customers are made by the database itself, in bulk. The statements are the program's own.

use crate::{
    figures::{self, median, percentile, say},
    stage::{ENVIRONMENT, Stage},
};
use anyhow::Context as _;
use customer_sync::{
    model::{
        filter,
        money::Currency,
        ranking::{Metric, Period},
    },
    store::{
        Db,
        browse::{
            CustomerFilter, Page, Sort, customers, list,
            top::{Ranking, top},
        },
        statement::{Dialect, Statement, Value},
    },
};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use std::time::Instant;

/// Each list is asked for so many times.
const TRIES: usize = 20;

/// What is allowed, in milliseconds.
const ALLOWED: f64 = 50.0;

/// Lists with an index: a name, an order, a filter.
const LISTS: [(&str, Sort, &str); 22] = [
    ("all", Sort::Created, "{}"),
    ("external_id", Sort::Created, r#"{"external_id": "user-777777"}"#),
    ("email", Sort::Created, r#"{"email": "NOBODY@example.org"}"#),
    ("search, one", Sort::Created, r#"{"name": {"contains": "user-777777"}}"#),
    ("name contains, few", Sort::Created, r#"{"name": {"contains": "abc"}}"#),
    ("name contains, half of all", Sort::Created, r#"{"name": {"contains": "a"}}"#),
    ("name contains, none", Sort::Created, r#"{"name": {"contains": "zzzzqx"}}"#),
    ("name starts with, a tenth", Sort::Created, r#"{"name": {"starts_with": "ada "}}"#),
    ("email ends with, a third", Sort::Created, r#"{"email": {"ends_with": "@example.org"}}"#),
    ("phone", Sort::Created, r#"{"phone": "+15550777777"}"#),
    ("tag, one in 20", Sort::Created, r#"{"tags": "beta"}"#),
    ("tag, one in 5,000", Sort::Created, r#"{"tags": "vip"}"#),
    ("tag, nobody", Sort::Created, r#"{"tags": "none"}"#),
    ("metadata, a third", Sort::Created, r#"{"metadata.plan": "pro"}"#),
    ("metadata, ten", Sort::Created, r#"{"metadata.account": 4242}"#),
    (
        "created in a month long ago",
        Sort::Created,
        r#"{"created_at": {"gte": "2024-02-01T00:00:00Z", "lt": "2024-03-01T00:00:00Z"}}"#,
    ),
    ("min_spent, half of all", Sort::Created, r#"{"total_spent": {"gte": 500000}}"#),
    ("min_spent, few", Sort::Created, r#"{"total_spent": {"gte": 999950}}"#),
    ("max_spent, three quarters", Sort::Created, r#"{"total_spent": {"lte": 700000}}"#),
    ("by net_spent", Sort::NetSpent, "{}"),
    ("by payment_count", Sort::PaymentCount, "{}"),
    (
        "one of two names",
        Sort::Created,
        r#"{"or": [{"phone": "+15550777777"}, {"name": {"contains": "abcd"}}]}"#,
    ),
];

/// Makes so many customers, and asks for each list.
///
/// # Errors
/// When a list takes longer than it may.
pub(crate) async fn at(stage: &Stage, count: u64) -> anyhow::Result<()> {
    let database = stage.postgres("lists", None).await?;
    let mut connection = database.connect().await?;
    say(&format!("lists: making {count} customers"));
    fill(&mut connection, count).await?;
    let db = database.open().await?;
    let mut slow = Vec::new();
    for (name, sort, text) in LISTS {
        let filter = filter::parse(text).context("a filter")?;
        let filter = CustomerFilter { filter, sort, ..CustomerFilter::default() };
        let plan = explained(&mut connection, &filter).await?;
        let mut took = Vec::new();
        for _ in 0..TRIES {
            let begun = Instant::now();
            let mut tx = db.snapshot().await?;
            customers(&mut tx, ENVIRONMENT, &filter, Page::newest(50), stage.clock.now()).await?;
            took.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        tell(name, &took, &plan, &mut slow)?;
    }
    for (name, metric, period) in [
        ("top by net_spent", Metric::NetSpent, Period::All),
        ("top by payment_count", Metric::PaymentCount, Period::All),
    ] {
        let took = ranked(stage, &db, metric, period).await?;
        tell(name, &took, "", &mut slow)?;
    }
    let took = ranked(stage, &db, Metric::NetSpent, Period::Month).await?;
    figures::tell(
        "lists: top of 30 days",
        &took,
        "told",
        json!({"ms": figures::rounded(median(&took))}),
    )?;
    db.close().await;
    drop(connection);
    database.remove().await?;
    anyhow::ensure!(slow.is_empty(), "slower than {ALLOWED} ms: {}", slow.join(", "));
    Ok(())
}

async fn ranked(
    stage: &Stage,
    db: &Db,
    metric: Metric,
    period: Period,
) -> anyhow::Result<Vec<f64>> {
    let ranking = Ranking { metric, currency: Currency::usd(), period, limit: 10 };
    let mut took = Vec::new();
    for _ in 0..TRIES {
        let begun = Instant::now();
        let mut tx = db.snapshot().await?;
        top(&mut tx, ENVIRONMENT, &ranking, stage.clock.now()).await?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(took)
}

fn tell(name: &str, took: &[f64], plan: &str, slow: &mut Vec<String>) -> anyhow::Result<()> {
    if median(took) > ALLOWED {
        slow.push(name.to_owned());
    }
    let more = json!({
        "p50_ms": figures::rounded(median(took)),
        "p95_ms": figures::rounded(percentile(took, 95)),
        "plan": plan,
    });
    let ratios: Vec<f64> = took.iter().map(|took| took / ALLOWED).collect();
    figures::tell(&format!("lists: {name}"), &ratios, "1 or less", more)
}

/// The plan of a list's statement, with its values as they are bound.
async fn explained(
    connection: &mut PgConnection,
    filter: &CustomerFilter,
) -> anyhow::Result<String> {
    let page = Page::newest(50);
    let empty = Statement::new(Dialect::Postgres);
    let statement = list::statement_of(empty, ENVIRONMENT, filter, page);
    let (sql, values) = statement.into_parts();
    let mut query =
        sqlx::query(AssertSqlSafe(format!("explain (analyze, costs off) {sql}"))).persistent(false);
    for value in values {
        query = match value {
            Value::Text(text) => query.bind(text),
            Value::Number(number) => query.bind(number),
            Value::Real(number) => query.bind(number),
            Value::Time(time) => query.bind(time),
            Value::Customer(id) => query.bind(id),
        };
    }
    let rows = query.fetch_all(connection).await?;
    let lines: Vec<String> = rows.iter().map(|row| row.get::<String, _>(0)).collect();
    Ok(lines.join("\n"))
}

async fn fill(connection: &mut PgConnection, count: u64) -> anyhow::Result<()> {
    let indexes: Vec<(String, String)> = sqlx::query_as(
        "select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index
         where indrelid in ('customer_profiles'::regclass, 'customer_totals'::regclass)
             and not indisprimary",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut statements = vec![
        "set maintenance_work_mem = '512MB'".to_owned(),
        "set work_mem = '256MB'".to_owned(),
        "set synchronous_commit = off".to_owned(),
    ];
    statements.extend(indexes.iter().map(|(name, _)| format!("drop index {name}")));
    statements.push(format!(
        "create unlogged table bench_people as
         select n, (lpad(to_hex(1600000000000 + n * 60000), 12, '0') || '7' || substr(md5(n::text), 1, 3)
             || '8' || substr(md5(n::text), 4, 15))::uuid as id,
             timestamptz '2024-01-01' + n * interval '1 minute' as at,
             (array['Ada','Bob','Cyd','Dan','Eve','Fay','Gus','Hal','Ivy','Jon'])[(1 + n % 10)::int] || ' '
                 || initcap(translate(substr(md5('x' || n), 1, 9), '0123456789', 'ghijklmnop')) as name,
             'user-' || n as external_id,
             substr(md5('m' || n), 1, 10) || n || '@'
                 || (array['example.org','example.com','example.net'])[(1 + n % 3)::int] as email,
             '+1555' || lpad(n::text, 7, '0') as phone,
             case when n % 20 = 0 then '[\"beta\"]' when n % 5000 = 7 then '[\"vip\"]' else '[]' end::jsonb as tags,
             jsonb_build_object('plan', (array['free','pro','team'])[(1 + n % 3)::int], 'account', n / 10) as metadata
         from generate_series(1::bigint, {count}) as n"
    ));
    for rows in [
        format!("customers select id, '{ENVIRONMENT}', gen_random_uuid(), 1, false, null, at, at"),
        format!(
            "customer_profiles select id, '{ENVIRONMENT}', external_id, name, email, lower(email), null, phone,
             false, case when n % 10 = 0 then 'active' else 'none' end,
             jsonb_build_object('external_id', external_id, 'name', name, 'email', email, 'email_verified', true,
                 'phone', phone, 'tags', tags, 'metadata', metadata, 'identities', '[]'::jsonb,
                 'is_anonymous', false),
             lower(name), lower(external_id || E'\\n' || name || E'\\n' || email || E'\\n' || phone)"
        ),
        format!(
            "customer_totals select id, 'USD', '{ENVIRONMENT}', 1 + n % 20, 1 + n % 20, 0, n * 7919 % 1000003, 0, 0,
             n * 7919 % 1000003, at, at + interval '30 days'"
        ),
        format!(
            "customer_days select id, 'USD', to_char(now() - n * 7919 % 690 * interval '1 day', 'YYYY-MM-DD'),
             '{ENVIRONMENT}', id, 1, 100 + n % 1000, 100 + n % 1000"
        ),
    ] {
        statements.push(format!("insert into {rows} from bench_people"));
    }
    statements.push("drop table bench_people".to_owned());
    statements.extend(indexes.into_iter().map(|(_, definition)| definition));
    statements.push("vacuum analyze".to_owned());
    for statement in &statements {
        sqlx::raw_sql(AssertSqlSafe(statement.as_str()))
            .execute(&mut *connection)
            .await
            .with_context(|| statement.clone())?;
    }
    Ok(())
}
