//! Messages that somebody sends again, and tests, which nobody does.

use super::{Setup, requests, settings};
use crate::support::{
    receiver::{Receiver, Reply},
    services::on_both,
    wait::eventually,
};
use chrono::TimeDelta;
use customer_sync::{
    model::{
        endpoint::EndpointSettings,
        id::{MessageId, RecoveryId},
        message::EventType,
    },
    store::{
        messages::{self, NewEvent, NewMessage},
        recoveries::{self, Filter},
    },
};

async fn resend(setup: &Setup, message: MessageId) {
    let mut tx = setup.database.db.begin().await.expect("begins");
    let now = customer_sync::store::now(&mut tx, setup.clock.now()).await.expect("the time");
    assert!(messages::resend(&mut tx, None, message, now).await.expect("due again"));
    tx.commit().await.expect("commits");
}

#[tokio::test]
async fn a_try_by_hand_that_fails_goes_on_with_the_schedule() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.always("/", Reply::Status(500));
        let hours =
            EndpointSettings { schedule: Some(vec![3_600, 7_200]), ..EndpointSettings::default() };
        let (endpoint, _) = setup.endpoint_with(&receiver.url("/"), &["*"], hours).await;
        let running = setup.start(settings());
        setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
        let tried = async |attempts: i64| {
            let look = async || setup.kept(endpoint).await;
            let is_recorded = |kept: &Vec<super::Kept>| kept[0].attempts == attempts;
            let kept = eventually("it is tried", look, is_recorded).await.remove(0);
            let wait = kept.due_at.seconds() - setup.database_now().await.seconds();
            (kept.status, wait)
        };
        let message = setup.kept(endpoint).await[0].id;
        let (status, wait) = tried(1).await;
        assert!(status == "pending" && (3_200..=4_000).contains(&wait), "{status} {wait}");
        resend(&setup, message).await;
        let (status, wait) = tried(2).await;
        assert!(status == "pending" && (6_400..=8_000).contains(&wait), "{status} {wait}");
        resend(&setup, message).await;
        assert_eq!(tried(3).await.0, "dead", "that was the last one");
        resend(&setup, message).await;
        let (status, wait) = tried(1).await;
        assert!(status == "pending" && (3_200..=4_000).contains(&wait), "{status} {wait}");
        running.stop().await;
    })
    .await;
}

/// The process that sent it was killed meanwhile, and a recovery came by.
#[tokio::test]
async fn a_test_is_sent_once_whatever_happens_to_it() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        let (endpoint, _) = setup.endpoint(&receiver.url("/"), &["*"]).await;
        let now = setup.database_now().await;
        let event = NewEvent {
            id: setup.clock.new_id(),
            environment: "live".into(),
            kind: EventType::WebhookTest.as_str(),
            customer_id: None,
            payment_id: None,
            subscription_id: None,
            version: None,
            body: r#"{"type": "webhook.test"}"#.into(),
            traceparent: None,
        };
        let ended = now.plus(TimeDelta::seconds(-1));
        let test = NewMessage {
            id: setup.clock.new_id(),
            event_id: event.id,
            endpoint_id: endpoint.0,
            environment: "live".into(),
            customer_id: None,
            version: None,
            ordered: false,
            lease: Some(setup.clock.new_id()),
            leased_until: Some(ended),
            due_at: ended,
            once: true,
        };
        let mut tx = setup.database.db.begin().await.expect("begins");
        messages::write(&mut tx, &[event], &[test], now).await.expect("written");
        let job = RecoveryId(setup.clock.new_id());
        let until = now.plus(TimeDelta::seconds(60));
        let filter = Filter {
            environment: "live".into(),
            endpoint: Some(endpoint),
            event_type: None,
            since: None,
            until,
        };
        recoveries::create(&mut tx, job, filter, now).await.expect("asked for");
        let done = recoveries::step(&mut tx, 10, now).await.expect("a step").expect("it runs");
        assert_eq!((done.status, done.recovered), ("done", 0));
        tx.commit().await.expect("commits");

        let running = setup.start(settings());
        setup.tell(1, EventType::CustomerCreated, None).await;
        let came = requests(&receiver, "/", 1).await;
        assert_eq!(came[0].json()["type"], "customer.created");
        let look = async || setup.kept(endpoint).await;
        let is_done = |kept: &Vec<super::Kept>| kept[1].status == "delivered";
        let kept = eventually("the other one arrives", look, is_done).await;
        assert_eq!((kept[0].status.as_str(), receiver.count("/")), ("dead", 1));
        running.stop().await;
    })
    .await;
}
