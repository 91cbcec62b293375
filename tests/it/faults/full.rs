//! A database file that may not grow: SQLite's own word for a full disk (code 13). Beside it stand the file limits of
//! `database`, which it takes for an error of the disk (code 10).

use super::{EVENTS, SHORT, all_is_done, post};
use crate::{
    daemon::{ENVIRONMENT, Stage},
    history,
    http::client::Request,
    support::{services::sqlite, wait::eventually},
};
use customer_sync::{
    clock::Clock,
    health::Health,
    http::{self, Settings, State},
    intake::{
        Ingress,
        embedded::{self, Door, Reader},
    },
    pipeline::Pipeline,
    shutdown::Shutdown,
    simulator::Options,
    store::{self, Db, settings},
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Notify};

/// As which key the daemon of the stage and [`takes_in`] know each other's rows by.
const KEY: &str = "[secrets]\nkey = 'a key of the tests, long enough'";

/// What of a daemon takes in, on the test's own connections: the limit is a connection's, and no other process could
/// set it.
async fn takes_in(stage: &Stage) -> (SocketAddr, Shutdown) {
    let options = Options {
        environment: ENVIRONMENT.into(),
        senders: stage.senders.clone(),
        ..Options::demo()
    };
    let clock = Clock::system();
    let pipeline =
        Pipeline { clock: clock.clone(), ..history::pipeline(&stage.database, &options) };
    let (db, shutdown) = (pipeline.db.clone(), Shutdown::new());
    let (health, wake) = (Health::new(clock.clone()), Arc::new(Notify::new()));
    let door = Door::new(db.clone(), clock, wake.clone(), shutdown.clone());
    let (ingress, settings) = (Ingress::Embedded(door), Settings::default());
    let state =
        State::new(pipeline.clone(), ingress, health.clone(), settings, None, shutdown.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    shutdown.spawn_role("http", http::serve(listener, state, shutdown.clone()));
    let settings = embedded::Settings::default();
    let reader = Reader { db, process: pipeline, settings, health, shutdown: shutdown.clone() };
    shutdown.spawn_role("intake", embedded::run(reader, wake));
    (address, shutdown)
}

/// Lets the file have no more pages than it has. SQLite may end a transaction by itself where it meets the limit; the
/// pool then opens another connection, which knows of none.
async fn may_not_grow(db: &Db) {
    limit(db, "pragma max_page_count = 1").await;
}

async fn limit(db: &Db, pragma: &'static str) {
    let mut tx = db.begin().await.expect("begins");
    tx.query(pragma).one::<(i64,)>().await.expect("it is set");
}

/// With which code SQLite refuses what needs more room.
async fn refusal(db: &Db) -> Option<String> {
    may_not_grow(db).await;
    let mut tx = db.begin().await.expect("begins");
    match settings::try_room(&mut tx).await.expect_err("there is no room") {
        store::Error::Sql(sqlx::Error::Database(error)) => error.code().map(Into::into),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_that_may_not_grow_is_waited_out_on_sqlite_and_senders_are_told() {
    let stage = Stage::new(sqlite().await, None, &format!("{SHORT}\n{KEY}")).await;
    let db = &stage.database.db;
    let history = stage.history(36, EVENTS);
    // It declares the endpoint.
    assert_eq!(stage.world.start().await.stop().await.code(), Some(0));
    let (address, shutdown) = takes_in(&stage).await;
    let (mut refused, mut first) = (0, None);
    for (place, delivery) in history.deliveries.iter().enumerate() {
        let is_full = place >= EVENTS / 4;
        if is_full {
            may_not_grow(db).await;
        }
        match post(&stage.senders, address, delivery).await {
            Some(202) => {}
            answer => {
                assert_eq!((answer, is_full), (Some(503), true));
                refused += 1;
                first.get_or_insert(place);
            }
        }
        if refused > 20 {
            break;
        }
    }
    let first = first.filter(|_| refused > 20).expect("the file is full");
    assert_eq!(refusal(db).await.as_deref(), Some("13"));
    let ready = async || Request::get("/readyz").send(address).await.status;
    let look = async || {
        may_not_grow(db).await;
        ready().await
    };
    eventually("readiness says that nothing can be taken in", look, |status| *status == 503).await;

    limit(db, "pragma max_page_count = 1000000").await;
    // Whoever sends only to those that are ready must not have to send for it.
    eventually("readiness says that it goes on", ready, |status| *status == 200).await;
    for delivery in &history.deliveries[first..] {
        assert_eq!(post(&stage.senders, address, delivery).await, Some(202));
    }
    let copies = i64::try_from(history.deliveries.len()).expect("few");
    let look = async || stage.progress().await;
    eventually("all has a verdict", look, |seen| seen.queued == 0 && seen.received >= copies).await;
    shutdown.soft();
    assert!(shutdown.drain(Duration::from_secs(10)).await, "nothing crashed");

    let daemon = stage.world.start().await;
    all_is_done(&stage, history.deliveries.len()).await;
    stage.is_true(&history, daemon.address).await;
    let rejected = stage.world.run(&["event", "list", "--verdict", "rejected", "--json"]).await;
    let listed: serde_json::Value = serde_json::from_slice(&rejected.stdout).expect("JSON");
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(0), "{listed}");
    assert_eq!(daemon.stop().await.code(), Some(0));
}
