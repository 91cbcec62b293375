//! The database restarted, failed over, silent, out of connections, and out of room.

use super::{EVENTS, Faulty, all_is_done, post, publish};
use crate::{
    daemon::{HOOK, Stage},
    http::client::Request,
    pipeline::{pipeline, recorded, scalar},
    support::{
        private::Postgres,
        proxy::Proxy,
        services::{TestDatabase, broker, postgres, sqlite},
        wait::eventually,
    },
};
use customer_sync::store::{Db, Limits};
use sqlx::{Connection as _, Executor as _, PgConnection};
use std::time::{Duration, Instant};

/// Pain point 11: what waits while the database is away waits in the broker, and not in what is away.
#[tokio::test]
async fn a_database_that_is_killed_and_started_again_is_waited_for() {
    let mut server = Postgres::start(&[]).await;
    let stage = Stage::new(TestDatabase::on(&server).await, Some(broker()), super::SHORT).await;
    let history = stage.history(31, EVENTS);
    let names = stage.broker.as_ref().expect("it has one");
    let mut daemon = stage.world.start().await;
    let (before, after) = history.deliveries.split_at(EVENTS / 3);
    publish(names, before).await;
    eventually("some is told", async || stage.receiver.count(HOOK), |count| *count > 5).await;
    server.kill();
    daemon.is_ready(false).await;
    publish(names, after).await;
    server.start_again().await;
    daemon.is_ready(true).await;
    all_is_done(&stage, history.deliveries.len()).await;

    // Stopped in order, it says so to its connections: nothing of that is an event's fault.
    server.stop().await;
    daemon.is_ready(false).await;
    server.start_again().await;
    daemon.is_ready(true).await;
    stage.is_true(&history, daemon.address).await;
    assert_eq!(daemon.stop().await.code(), Some(0));
}

/// A standby that is not promoted yet answers and takes nothing: no event may be rejected for that.
#[tokio::test]
async fn a_failover_loses_nothing_and_nothing_is_blamed_on_events_while_the_standby_only_reads() {
    let names = ["synchronous_standby_names=*", "synchronous_commit=remote_apply"];
    let mut primary = Postgres::start(&names).await;
    let standby = primary.start_standby().await;
    let mut faulty = Faulty::new(TestDatabase::on(&primary).await, Some(broker())).await;
    let history = faulty.stage.history(32, EVENTS);
    let queue = faulty.stage.broker.as_ref().expect("it has one");
    let mut daemon = faulty.stage.world.start().await;
    let (before, after) = history.deliveries.split_at(EVENTS / 3);
    publish(queue, before).await;
    let told = async || faulty.stage.receiver.count(HOOK);
    eventually("some is told", told, |count| *count > 5).await;
    // The primary is gone; whoever connects now reaches the standby.
    primary.kill();
    faulty.database.redirect(standby.address());
    faulty.database.cut();
    publish(queue, after).await;
    daemon.is_ready(false).await;
    let mut operator = standby.connect().await;
    let reads = "select pg_is_in_recovery()";
    assert!(sqlx::query_scalar::<_, bool>(reads).fetch_one(&mut operator).await.expect("it reads"));
    for _ in 0..10 {
        assert_eq!(daemon.readiness().await, Some(503), "a standby takes nothing");
    }
    operator.execute("select pg_promote()").await.expect("promoted");
    daemon.is_ready(true).await;
    faulty.stage.database = TestDatabase::on(&standby).await;
    faulty.stage.world = faulty.stage.world.with_variable("DATABASE_URL", standby.url());
    all_is_done(&faulty.stage, history.deliveries.len()).await;
    faulty.stage.is_true(&history, daemon.address).await;
    assert_eq!(daemon.stop().await.code(), Some(0));
}

/// As where the machine of the database has lost its power: no reset comes, and no answer, ever.
#[tokio::test]
async fn a_database_that_falls_silent_is_given_up_and_asked_again() {
    let mut faulty = Faulty::new(postgres().await, Some(broker())).await;
    faulty.stage.world =
        faulty.stage.world.for_daemons("CUSTOMER_SYNC__DATABASE__STATEMENT_TIMEOUT", "1s".into());
    let history = faulty.stage.history(33, EVENTS);
    let names = faulty.stage.broker.as_ref().expect("it has one");
    let mut daemon = faulty.stage.world.start().await;
    let (before, after) = history.deliveries.split_at(EVENTS / 3);
    publish(names, before).await;
    let told = async || faulty.stage.receiver.count(HOOK);
    eventually("some is told", told, |count| *count > 5).await;
    faulty.database.fall_silent();
    publish(names, after).await;
    daemon.is_ready(false).await;
    // The connections that fell silent stay so; new ones are answered.
    faulty.database.answer_new_ones();
    daemon.is_ready(true).await;
    all_is_done(&faulty.stage, history.deliveries.len()).await;
    faulty.stage.is_true(&history, daemon.address).await;
    assert_eq!(daemon.stop().await.code(), Some(0));
}

/// Connections that fill a server up.
async fn fill(server: &Postgres, taken: &mut Vec<PgConnection>) {
    while let Ok(connection) = PgConnection::connect(&server.url()).await {
        taken.push(connection);
    }
}

#[tokio::test]
async fn a_database_without_a_free_connection_is_waited_for() {
    let server = Postgres::start(&["max_connections=30"]).await;
    let stage = Stage::new(TestDatabase::on(&server).await, Some(broker()), super::SHORT).await;
    let history = stage.history(34, EVENTS);
    let names = stage.broker.as_ref().expect("it has one");
    stage.database.db.close().await;
    let (mut operator, mut taken) = (server.connect().await, Vec::new());

    // None is free as it starts.
    fill(&server, &mut taken).await;
    let mut daemon = stage.world.launch();
    daemon.is_ready(false).await;
    taken.clear();
    daemon.is_ready(true).await;

    // None is free as it runs and loses its own.
    let own = "from pg_stat_activity where application_name = 'customer-sync'";
    let mut ended = async || {
        let end = sqlx::AssertSqlSafe(format!("select pg_terminate_backend(pid) {own}"));
        operator.execute(end).await.expect("its connections are ended");
        fill(&server, &mut taken).await;
        let count = sqlx::AssertSqlSafe(format!("select count(*) {own}"));
        sqlx::query_scalar::<_, i64>(count).fetch_one(&mut operator).await.expect("counted")
    };
    eventually("it has no connection left", &mut ended, |left| *left == 0).await;
    publish(names, &history.deliveries).await;
    daemon.is_ready(false).await;
    taken.clear();
    daemon.is_ready(true).await;
    let stage = Stage { database: TestDatabase::on(&server).await, ..stage };
    let progress = all_is_done(&stage, history.deliveries.len()).await;
    assert_eq!(usize::try_from(progress.received), Ok(history.deliveries.len()));
    stage.is_true(&history, daemon.address).await;
    assert_eq!(daemon.stop().await.code(), Some(0));
}

/// No file can be written, the daemon's log among them: SQLite rolls back by itself, and nothing panics.
#[tokio::test]
async fn a_full_disk_is_waited_out_on_sqlite_and_senders_are_told() {
    let mut stage = Stage::new(sqlite().await, None, super::SHORT).await;
    stage.world = stage.world.outliving_file_limits();
    let history = stage.history(35, EVENTS);
    let mut daemon = stage.world.start().await;
    let address = daemon.address;
    let mut refused = Vec::new();
    for (place, delivery) in history.deliveries.iter().enumerate() {
        if place == EVENTS / 4 {
            daemon.limit_files(Some(0));
        }
        match post(&stage.senders, address, delivery).await {
            Some(202) => {}
            answer => {
                assert_eq!(answer, Some(503));
                refused.push(delivery);
            }
        }
        if refused.len() > 20 {
            break;
        }
    }
    assert!(refused.len() > 20, "the disk was never full");
    assert_eq!(daemon.readiness().await, Some(503), "nothing can be taken in");
    daemon.limit_files(None);
    // Whoever sends only to those that are ready must not have to send for it.
    daemon.is_ready(true).await;
    let first = refused[0];
    let place =
        history.deliveries.iter().position(|delivery| delivery == first).expect("it is there");
    for delivery in &history.deliveries[place..] {
        assert_eq!(post(&stage.senders, address, delivery).await, Some(202));
    }
    all_is_done(&stage, history.deliveries.len()).await;
    stage.is_true(&history, address).await;
    let rejected = stage.world.run(&["event", "list", "--verdict", "rejected", "--json"]).await;
    let listed: serde_json::Value = serde_json::from_slice(&rejected.stdout).expect("JSON");
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(0), "{listed}");
    assert_eq!(daemon.stop().await.code(), Some(0));
}

/// Whoever was not answered gives its place back: else a pool of ten would be full of the dead after ten silences.
#[tokio::test]
async fn connections_that_fell_silent_do_not_keep_the_places_of_new_ones() {
    let database = postgres().await;
    let mut proxy = Proxy::before(&database.url).await;
    let limits = Limits { connections: 3, statement_timeout: Duration::from_millis(400) };
    let db = Db::open_within(&proxy.url(&database.url), limits).await.expect("it opens");
    let three = async || {
        let begun = [db.begin().await?, db.begin().await?, db.begin().await?];
        Ok::<_, sqlx::Error>(begun)
    };
    let begun = three().await.expect("it answers");
    proxy.fall_silent();
    for mut tx in begun {
        let answer = tx.query("select 1").one::<(i32,)>().await;
        assert!(matches!(answer, Err(sqlx::Error::Io(_))), "{answer:?}");
    }
    proxy.answer_new_ones();
    let look = async || three().await.map(drop).map_err(|error| error.to_string());
    eventually("there are three again", look, Result::is_ok).await.expect("there are");
    // Those that wait in the pool fall silent too.
    proxy.fall_silent();
    proxy.answer_new_ones();
    eventually("there are three again", look, Result::is_ok).await.expect("there are");
    let asked = Instant::now();
    db.close().await;
    assert!(asked.elapsed() < Duration::from_secs(5), "it closes in order");
    proxy.mend().await;
}

/// Requests may take all connections that they share, and batches go on.
#[tokio::test]
async fn of_six_connections_two_are_kept_for_batches_and_of_fewer_none() {
    let database = postgres().await;
    let statement_timeout = Duration::from_millis(1_500);
    for (connections, shared) in [(6, 4), (5, 5), (1, 1)] {
        let limits = Limits { connections, statement_timeout };
        let db = Db::open_within(&database.url, limits).await.expect("it opens");
        let mut taken = Vec::new();
        for _ in 0..shared {
            taken.push(db.begin().await.expect("one is free"));
        }
        assert!(db.begin().await.is_err(), "{connections}: there are {shared} for everybody");
        for _ in 0..connections - shared {
            taken.push(db.begin_batch().await.expect("one is kept"));
        }
        assert!(db.begin_batch().await.is_err(), "{connections} are taken");
        drop(taken);
        db.close().await;
    }
}

/// Whoever is beside an event whose statements take too long is not held up, and it is given more time by itself.
#[tokio::test]
async fn an_event_that_takes_too_long_holds_up_nobody_beside_it() {
    let database = postgres().await;
    let limits = Limits { connections: 5, statement_timeout: Duration::from_secs(1) };
    let db = Db::open_within(&database.url, limits).await.expect("it opens");
    let pipeline = pipeline(&db);
    let both = [recorded(1, "u1", "Ada"), recorded(2, "u2", "Bob")];
    pipeline.process(&both).await.expect("it commits");
    let mut holder = database.db.begin().await.expect("a transaction");
    let held =
        holder.query("select customer_id from customer_profiles where name = 'Ada' for update");
    held.execute().await.expect("it is held");

    let working = pipeline.clone();
    let batch = [recorded(3, "u1", "Ada Lovelace"), recorded(4, "u2", "Bob Smith")];
    let mut tasks = tokio::task::JoinSet::new();
    let work = tasks.spawn(async move { working.process(&batch).await });
    let sql = "select count(*) from customer_profiles where name = 'Bob Smith'";
    let renamed = async || scalar(&database.db, sql).await;
    eventually("the other one is committed", renamed, |count| *count == 1).await;
    // Longer than a statement may take in a batch.
    tokio::time::sleep(limits.statement_timeout * 2).await;
    assert!(!work.is_finished(), "it waits for whoever holds its row");
    drop(holder);
    let ended = tasks.join_next().await.expect("it was begun");
    ended.expect("it ends").expect("it commits");
    let sql = "select count(*) from customer_profiles where name = 'Ada Lovelace'";
    assert_eq!(scalar(&database.db, sql).await, 1);
}

/// An operator's transaction holds what a batch needs: the batch waits, and who looks after it is told why.
#[tokio::test]
async fn a_row_that_somebody_else_holds_is_told_by_readiness_and_waited_for() {
    let stage = Stage::new(postgres().await, Some(broker()), super::SHORT).await;
    let history = stage.history(37, EVENTS);
    let names = stage.broker.as_ref().expect("it has one");
    let mut daemon = stage.world.start().await;
    let mut holder = PgConnection::connect(&stage.database.url).await.expect("it connects");
    holder.execute("begin; lock table customers in exclusive mode").await.expect("locked");
    publish(names, &history.deliveries).await;
    daemon.is_ready(false).await;
    let told = Request::get("/readyz").send(daemon.address).await.text;
    assert!(told.contains("somebody else holds a row that an event needs"), "{told}");
    assert_eq!(stage.progress().await.received, 0, "and nothing is rejected for it");
    holder.execute("rollback").await.expect("unlocked");
    daemon.is_ready(true).await;
    all_is_done(&stage, history.deliveries.len()).await;
    stage.is_true(&history, daemon.address).await;
    assert_eq!(daemon.stop().await.code(), Some(0));
}
