//! What a delivery costs the database as its tables grow.

use super::Setup;
use crate::support::services::postgres;
use chrono::TimeDelta;
use customer_sync::{
    model::{
        id::{AttemptId, EndpointId},
        message::EventType,
    },
    store::messages::{self, Next, Settled, Wanted},
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// How many messages go at once.
const BATCH: usize = 50;

/// Claims and records a batch; how many pages of tables and indexes PostgreSQL looked at for that.
async fn touched(setup: &Setup, endpoint: EndpointId, connection: &mut PgConnection) -> i64 {
    setup.tell(BATCH, EventType::CustomerCreated, None).await;
    let before = pages(connection).await;
    let mut tx = setup.database.db.begin().await.expect("begins");
    let now = setup.database_now().await;
    let heads = messages::heads(&mut tx).await.expect("heads");
    assert!(heads[0].ready_at().is_some_and(|at| at <= now));
    let wanted = [Wanted { endpoint_id: endpoint.0, most: BATCH }];
    let lease = || AttemptId(setup.clock.new_id());
    let until = now.plus(TimeDelta::seconds(60));
    let leased = messages::claim(&mut tx, &wanted, lease, now, until).await.expect("claimed");
    assert_eq!(leased.len(), BATCH);
    let settled: Vec<Settled> = leased
        .iter()
        .map(|leased| Settled {
            message_id: leased.id,
            lease: leased.lease,
            next: Next::Delivered,
            outcome: "delivered",
            status_code: Some(200),
            error: None,
            request_headers: None,
            response: None,
            duration_ms: Some(1),
        })
        .collect();
    messages::settle(&mut tx, &settled, [], now).await.expect("settled");
    // Else a session tells what it did once in a while.
    tx.query("select pg_stat_force_next_flush()").execute().await.expect("it is told");
    tx.commit().await.expect("commits");
    pages(connection).await - before
}

async fn pages(connection: &mut PgConnection) -> i64 {
    let sql = "select sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0))::bigint
         from pg_statio_user_tables where schemaname = current_schema()";
    sqlx::query_scalar(sql).fetch_one(connection).await.expect("pages are counted")
}

/// Messages that were delivered, each with its event and its try, and as many that are to be tried again tomorrow.
async fn grow(connection: &mut PgConnection, endpoint: EndpointId, count: usize) {
    let endpoint = endpoint.0;
    let sql = format!(
        "insert into outgoing_events (id, environment, kind, body, created_at)
            select gen_random_uuid(), 'live', 'customer.created', '{{}}', now() from generate_series(1, {count});
         insert into messages (id, event_id, endpoint_id, environment, ordered, fresh, status, attempts, due_at, created_at)
            select gen_random_uuid(), id, '{endpoint}', 'live', false, false, 'delivered', 1, now(), now() from outgoing_events
            where body = '{{}}';
         insert into attempts (id, message_id, endpoint_id, number, erased, started_at, finished_at, outcome)
            select gen_random_uuid(), id, endpoint_id, 1, false, now(), now(), status from messages;
         insert into messages (id, event_id, endpoint_id, environment, ordered, fresh, status, attempts, due_at, created_at)
            select gen_random_uuid(), id, '{endpoint}', 'live', false, false, 'pending', 1, now() + interval '1 day', now()
            from outgoing_events where body = '{{}}';
         vacuum analyze outgoing_events; vacuum analyze messages; vacuum analyze attempts"
    );
    for statement in sql.split(';') {
        connection.execute(AssertSqlSafe(statement)).await.expect("they grow");
    }
}

/// Pain point 9 (frain-dev/convoy#1712): throughput fell as the tables grew. By pages, which no neighbour changes.
#[tokio::test]
async fn a_delivery_looks_at_no_more_pages_where_twenty_times_as_much_is_kept_and_waits() {
    let setup = Setup::new(postgres().await);
    let (endpoint, _) = setup.endpoint("https://app.example", &["*"]).await;
    let mut connection = PgConnection::connect(&setup.database.url).await.expect("it connects");
    for table in ["outgoing_events", "messages", "attempts"] {
        let sql = format!("alter table {table} set (autovacuum_enabled = off)");
        connection.execute(AssertSqlSafe(sql)).await.expect("nobody else looks at it");
    }
    grow(&mut connection, endpoint, 1_000).await;
    let few = touched(&setup, endpoint, &mut connection).await;
    grow(&mut connection, endpoint, 20_000).await;
    let many = touched(&setup, endpoint, &mut connection).await;
    assert!(few > 0 && many * 2 < few * 3, "{few} pages, then {many}");
}
