//! Who goes first where more waits than can go.

use super::{Setup, millis, requests, settings};
use crate::support::{
    receiver::{Receiver, Reply},
    services::on_both,
    wait::eventually,
};
use chrono::TimeDelta;
use customer_sync::{
    clock::Clock,
    deliver::Settings,
    model::{
        id::{AttemptId, EndpointId, RecoveryId},
        message::EventType,
    },
    store::{
        messages::{self, Wanted},
        recoveries,
    },
};

/// So many messages that failed before, due for a long time.
async fn failed_before(setup: &Setup, endpoint: EndpointId, count: usize) {
    setup.tell(count, EventType::CustomerCreated, None).await;
    let long_ago = setup.clock.now().plus(TimeDelta::hours(-1));
    let mut tx = setup.database.db.begin().await.expect("begins");
    let sql = "update messages set attempts = 1, fresh = false, due_at = $1 where endpoint_id = $2";
    let changed = tx.query(sql).bind(long_ago).bind(endpoint).execute().await.expect("changed");
    assert_eq!(usize::try_from(changed), Ok(count));
    tx.commit().await.expect("commits");
}

/// Claims so many at once, so often; how many of them were tried before.
async fn claimed(
    setup: &Setup,
    clock: &Clock,
    endpoint: EndpointId,
    most: usize,
    times: usize,
) -> (usize, usize) {
    let (mut again, mut all) = (0, 0);
    for _ in 0..times {
        let mut tx = setup.database.db.begin().await.expect("begins");
        let (now, wanted) = (clock.now(), [Wanted { endpoint_id: endpoint.0, most }]);
        let until = now.plus(TimeDelta::hours(1));
        let lease = || AttemptId(clock.new_id());
        let leased = messages::claim(&mut tx, &wanted, lease, now, until).await.expect("claimed");
        tx.commit().await.expect("commits");
        all += leased.len();
        again += leased.iter().filter(|leased| leased.attempt > 1).count();
        clock.advance(TimeDelta::microseconds(1));
    }
    (again, all)
}

#[tokio::test]
async fn a_quarter_of_what_goes_was_tried_before_where_both_wait_and_all_of_it_where_nothing_else_does()
 {
    on_both(async |database| {
        let setup = Setup::new(database);
        let (endpoint, _) = setup.endpoint("https://app.example", &["*"]).await;
        failed_before(&setup, endpoint, 100).await;
        setup.tell(100, EventType::CustomerUpdated, None).await;
        let clock = Clock::manual(setup.database_now().await.plus(TimeDelta::seconds(1)));
        assert_eq!(claimed(&setup, &clock, endpoint, 1, 40).await, (10, 40), "one at a time");
        assert_eq!(claimed(&setup, &clock, endpoint, 16, 4).await, (16, 64), "many at a time");
        assert_eq!(
            claimed(&setup, &clock, endpoint, 16, 2).await,
            (10, 32),
            "what is new runs out"
        );
        assert_eq!(claimed(&setup, &clock, endpoint, 16, 4).await, (64, 64), "and the rest goes");
        assert_eq!(claimed(&setup, &clock, endpoint, 16, 1).await, (0, 0), "all are leased");
    })
    .await;
}

/// A job gives dead messages back faster than any endpoint takes them.
#[tokio::test]
async fn what_is_new_does_not_wait_for_the_end_of_what_is_sent_again() {
    on_both(async |database| {
        let setup = Setup::new(database);
        let (endpoint, _) = setup.endpoint("https://app.example", &["*"]).await;
        setup.tell(40, EventType::CustomerCreated, None).await;
        let now = setup.database_now().await;
        let mut tx = setup.database.db.begin().await.expect("begins");
        let sql = "update messages set status = 'dead', attempts = 8, fresh = false";
        tx.query(sql).execute().await.expect("changed");
        let filter = recoveries::Filter {
            environment: "live".into(),
            endpoint: Some(endpoint),
            event_type: None,
            since: None,
            until: now.plus(TimeDelta::seconds(1)),
        };
        let id = RecoveryId(setup.clock.new_id());
        recoveries::create(&mut tx, id, filter, now).await.expect("asked for");
        while recoveries::step(&mut tx, 100, now).await.expect("a step").is_some() {}
        tx.commit().await.expect("commits");
        setup.tell(10, EventType::PaymentSucceeded, None).await;
        let clock = Clock::manual(setup.database_now().await.plus(TimeDelta::seconds(1)));
        let mut tx = setup.database.db.begin().await.expect("begins");
        let (now, wanted) = (clock.now(), [Wanted { endpoint_id: endpoint.0, most: 16 }]);
        let until = now.plus(TimeDelta::hours(1));
        let lease = || AttemptId(clock.new_id());
        let leased = messages::claim(&mut tx, &wanted, lease, now, until).await.expect("claimed");
        let new = leased.iter().filter(|one| one.body.contains("payment.succeeded")).count();
        assert_eq!((new, leased.len()), (10, 16));
    })
    .await;
}

#[tokio::test]
async fn what_is_new_does_not_wait_for_the_end_of_what_failed_before() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.always("/", Reply::Slow(millis(5)));
        let (endpoint, _) = setup.endpoint(&receiver.url("/"), &["*"]).await;
        failed_before(&setup, endpoint, 150).await;
        let running = setup.start(Settings { per_endpoint: 1, ..settings() });
        requests(&receiver, "/", 10).await;
        setup.tell(1, EventType::PaymentSucceeded, Some(&running.handover)).await;
        let is_new = |request: &crate::support::receiver::Request| {
            request.json()["type"] == "payment.succeeded"
        };
        let look = async || receiver.requests("/").iter().position(is_new);
        let place = eventually("it is sent", look, Option::is_some).await.expect("it is there");
        assert!(place < 75, "{place} of 150 were sent before it");
        setup.all_are(endpoint, "delivered").await;
        running.stop().await;
    })
    .await;
}
