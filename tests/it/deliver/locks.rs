//! Whoever changes several endpoints locks them in one order: two who do so never wait for each other.

use super::{Setup, breaker::stands, requests, settings};
use crate::support::{
    receiver::{Receiver, Reply},
    services::postgres,
    wait::eventually,
};
use customer_sync::model::{
    endpoint::{Breaker, EndpointSettings, Standing},
    id::EndpointId,
    message::EventType,
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// A transaction that holds rows, and one that looks who waits for it.
struct Holder {
    holding: PgConnection,
    looking: PgConnection,
    process: i32,
}

impl Holder {
    async fn of(setup: &Setup, rows: &str) -> Self {
        let url = &setup.database.url;
        let mut holding = PgConnection::connect(url).await.expect("it connects");
        let looking = PgConnection::connect(url).await.expect("it connects");
        let sql = format!("begin; select 1 from {rows} for update");
        holding.execute(AssertSqlSafe(sql)).await.expect("they are held");
        let sql = "select pg_backend_pid()";
        let process = sqlx::query_scalar(sql).fetch_one(&mut holding).await.expect("a number");
        Self { holding, looking, process }
    }

    async fn is_waited_for(&mut self) {
        let sql =
            "select exists (select 1 from pg_stat_activity where $1 = any(pg_blocking_pids(pid)))";
        let (looking, process) = (&mut self.looking, self.process);
        let look = async || {
            let waits = sqlx::query_scalar::<_, bool>(sql).bind(process);
            waits.fetch_one(&mut *looking).await.expect("processes are listed")
        };
        eventually("somebody waits", look, |waits| *waits).await;
    }

    /// Whether nobody else holds an endpoint.
    async fn is_free(&mut self, endpoint: EndpointId) -> bool {
        let sql = format!("select 1 from endpoints where id = '{}' for update nowait", endpoint.0);
        self.looking.execute(AssertSqlSafe(sql)).await.is_ok()
    }

    async fn let_go(mut self) {
        self.holding.execute("rollback").await.expect("let go");
    }
}

#[tokio::test]
async fn a_claim_waits_for_an_endpoint_and_holds_none_behind_it() {
    let (setup, receiver) = (Setup::new(postgres().await), Receiver::start().await);
    let limited = EndpointSettings { rate_limit: Some(100), ..EndpointSettings::default() };
    let (first, _) = setup.endpoint_with(&receiver.url("/first"), &["*"], limited).await;
    let (second, _) = setup.endpoint(&receiver.url("/second"), &["*"]).await;
    let paused_until = Some(setup.database_now().await);
    let open = Standing { breaker: Breaker::Open, paused_until, ..Standing::default() };
    stands(&setup, second, &open).await;
    setup.tell(1, EventType::CustomerCreated, None).await;
    let mut holder = Holder::of(&setup, &format!("endpoints where id = '{}'", first.0)).await;
    let running = setup.start(settings());
    holder.is_waited_for().await;
    assert!(holder.is_free(second).await, "the probe's endpoint comes behind the limited one");
    holder.let_go().await;
    setup.all_are(first, "delivered").await;
    setup.all_are(second, "delivered").await;
    running.stop().await;
}

#[tokio::test]
async fn results_wait_for_an_endpoint_and_hold_none_behind_it() {
    let (setup, receiver) = (Setup::new(postgres().await), Receiver::start().await);
    let (busy, _) = setup.endpoint(&receiver.url("/busy"), &["payment.*"]).await;
    let (first, _) = setup.endpoint(&receiver.url("/first"), &["customer.*"]).await;
    let (second, _) = setup.endpoint(&receiver.url("/second"), &["customer.*"]).await;
    let failing = Standing { failing_since: Some(setup.clock.now()), ..Standing::default() };
    stands(&setup, first, &failing).await;
    let gate = Arc::new(Semaphore::new(0));
    receiver.script("/busy", [Reply::Held(gate.clone(), 200)]);
    receiver.script("/second", [Reply::Status(500)]);
    let running = setup.start(settings());

    // While one result waits to be recorded, others come together.
    setup.tell(1, EventType::PaymentSucceeded, Some(&running.handover)).await;
    requests(&receiver, "/busy", 1).await;
    let mut recorder = Holder::of(&setup, "messages").await;
    gate.add_permits(1);
    recorder.is_waited_for().await;
    setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
    requests(&receiver, "/first", 1).await;
    requests(&receiver, "/second", 1).await;
    let mut holder = Holder::of(&setup, &format!("endpoints where id = '{}'", first.0)).await;
    recorder.let_go().await;
    holder.is_waited_for().await;
    assert!(holder.is_free(second).await, "the failing endpoint comes behind the one that is well");
    holder.let_go().await;
    for endpoint in [busy, first, second] {
        setup.all_are(endpoint, "delivered").await;
    }
    running.stop().await;
}
