//! An endpoint that gets another URL while messages are under way to the old one.

use super::{Setup, requests, settings};
use crate::support::{
    receiver::{Receiver, Reply},
    services::on_both,
};
use customer_sync::{model::message::EventType, store::endpoints};
use std::sync::Arc;
use tokio::sync::Semaphore;

#[tokio::test]
async fn a_410_from_a_url_that_was_left_meanwhile_switches_nothing_off() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        let gate = Arc::new(Semaphore::new(0));
        receiver.always("/old", Reply::Held(gate.clone(), 410));
        let (moved, _) = setup.endpoint(&receiver.url("/old"), &["customer.*"]).await;
        let (other, _) = setup.endpoint(&receiver.url("/other"), &["endpoint.disabled"]).await;
        let running = setup.start(settings());
        setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
        requests(&receiver, "/old", 1).await;
        let mut tx = setup.database.db.begin().await.expect("begins");
        let before = endpoints::get(&mut tx, moved).await.expect("read").expect("there").spec;
        let mut after = before.clone();
        after.url = receiver.url("/new");
        let now = setup.clock.now();
        endpoints::change(&mut tx, moved, &before, &after, now).await.expect("changed");
        tx.commit().await.expect("commits");
        gate.add_permits(1);

        setup.all_are(moved, "delivered").await;
        assert_eq!((receiver.count("/old"), receiver.count("/new")), (1, 1));
        let outcomes = setup.tries(moved).await.into_iter().map(|tried| tried.outcome);
        let outcomes: Vec<String> = outcomes.flatten().collect();
        assert_eq!(outcomes, ["gone", "delivered"]);
        let endpoint = setup.standing(moved).await;
        assert!(endpoint.enabled && endpoint.disabled_reason.is_none());
        assert!(setup.kept(other).await.is_empty(), "nobody is told that it is off");
        running.stop().await;
    })
    .await;
}
