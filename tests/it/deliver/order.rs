//! Order per customer, where an endpoint asks for it.
//!
//! Pain point 8 (frain-dev/convoy#1525, polarsource/polar#6751): wanted for years.

use super::{Setup, millis, settings};
use crate::support::{
    receiver::{Receiver, Reply, Request},
    services::on_both,
    wait::eventually,
};
use customer_sync::{
    deliver::Settings,
    model::{endpoint::EndpointSettings, id::EndpointId, message::EventType},
    store::messages::{self, NewEvent, NewMessage},
};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What an ordered endpoint waits between tries, in seconds.
fn ordered(schedule: &[u64]) -> EndpointSettings {
    let schedule = Some(schedule.to_vec());
    EndpointSettings { ordered: true, schedule, ..EndpointSettings::default() }
}

/// Writes messages about customers, each with a version.
async fn tell(setup: &Setup, endpoint: EndpointId, about: impl IntoIterator<Item = (Uuid, i64)>) {
    let now = setup.database_now().await;
    let (mut events, mut told) = (Vec::new(), Vec::new());
    for (customer, version) in about {
        let event = NewEvent {
            id: setup.clock.new_id(),
            environment: "live".into(),
            kind: EventType::CustomerUpdated.as_str(),
            customer_id: Some(customer),
            payment_id: None,
            subscription_id: None,
            version: Some(version),
            body: format!("{{\"customer\":\"{customer}\",\"version\":{version}}}").into(),
            traceparent: None,
        };
        told.push(NewMessage {
            id: setup.clock.new_id(),
            event_id: event.id,
            endpoint_id: endpoint.0,
            environment: "live".into(),
            customer_id: Some(customer),
            version: Some(version),
            ordered: true,
            lease: None,
            leased_until: None,
            due_at: now,
            once: false,
        });
        events.push(event);
    }
    let mut tx = setup.database.db.begin().await.expect("begins");
    messages::write(&mut tx, &events, &told, now).await.expect("written");
    tx.commit().await.expect("commits");
}

/// The versions that came, in the order of their coming, of each customer.
fn versions(came: &[Request]) -> BTreeMap<String, Vec<i64>> {
    let mut all: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for request in came {
        let body = request.json();
        let customer = body["customer"].as_str().expect("a customer").to_owned();
        all.entry(customer).or_default().push(body["version"].as_i64().expect("a version"));
    }
    all
}

#[tokio::test]
async fn each_customers_versions_come_in_order_through_retries_kills_and_several_processes() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.always("/", Reply::Slow(millis(5)));
        let failures = (0..60).map(|n| Reply::Status(if n % 3 == 0 { 500 } else { 200 }));
        receiver.script("/", failures);
        receiver.script("/", [Reply::Hang]);
        let own = ordered(&[0; 15]);
        let (endpoint, _) = setup.endpoint_with(&receiver.url("/"), &["*"], own).await;
        let customers: Vec<Uuid> = (0..8).map(|_| setup.clock.new_id()).collect();
        let short = || Settings { lease: millis(1_500), ..settings() };
        let mut processes: Vec<_> = (0..3).map(|_| setup.start(short())).collect();
        // Later versions are written first: the order is that of the versions, not that of the rows.
        let about = |versions: &[i64]| {
            let all: Vec<_> =
                versions.iter().flat_map(|v| customers.iter().map(move |c| (*c, *v))).collect();
            all
        };
        tell(&setup, endpoint, about(&[5, 4, 3, 2, 1])).await;
        let some = async || receiver.count("/");
        eventually("some have come", some, |count| *count >= 20).await;
        processes.remove(0).kill().await;
        tell(&setup, endpoint, about(&[6, 7, 8, 9, 10])).await;
        let kept = setup.all_are(endpoint, "delivered").await;
        assert_eq!(kept.len(), 80);
        for (customer, versions) in versions(&receiver.requests("/")) {
            assert!(versions.is_sorted(), "{customer}: {versions:?}");
            let mut distinct = versions;
            distinct.dedup();
            assert_eq!(distinct, (1..=10).collect::<Vec<_>>());
        }
        for process in processes {
            process.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_customer_whose_message_fails_holds_up_nobody_else_and_goes_on_after_its_death() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        let (bad, good) = (setup.clock.new_id(), setup.clock.new_id());
        let failing = format!("\"{bad}\",\"version\":1}}");
        receiver.always_about(&failing, Some(Reply::Status(400)));
        let own = ordered(&[1, 2]);
        let (endpoint, _) = setup.endpoint_with(&receiver.url("/"), &["*"], own).await;
        let running = setup.start(settings());
        tell(&setup, endpoint, (1..=20).flat_map(|v| [(bad, v), (good, v)])).await;
        let came = async || versions(&receiver.requests("/"));
        let all = |came: &BTreeMap<String, Vec<i64>>| {
            came.get(&good.to_string()).is_some_and(|versions| versions.len() == 20)
        };
        let seen = eventually("the other's all come", came, all).await;
        assert!(seen[&good.to_string()].is_sorted());
        assert!(seen[&bad.to_string()].iter().all(|version| *version == 1), "{seen:?}");

        let look = async || setup.kept(endpoint).await;
        let done = |kept: &Vec<super::Kept>| kept.iter().all(|message| message.status != "pending");
        let kept = eventually("all are done", look, done).await;
        let dead = kept.iter().filter(|message| message.status == "dead").count();
        assert_eq!(dead, 1);
        let seen = versions(&receiver.requests("/"));
        let expected: Vec<i64> = [1, 1].into_iter().chain(1..=20).collect();
        assert_eq!(seen[&bad.to_string()], expected, "three tries of the first, then the rest");
        running.stop().await;
    })
    .await;
}

/// What waits for another message is put off with it, so that nobody looks at it all the time.
#[tokio::test]
async fn what_waits_for_another_message_is_due_when_that_one_is_and_released_when_it_is_done() {
    on_both(async |database| {
        let setup = Setup::new(database);
        let own = ordered(&[60]);
        let (endpoint, _) = setup.endpoint_with("https://a.example", &["*"], own).await;
        let customer = setup.clock.new_id();
        tell(&setup, endpoint, (1..=3).map(|version| (customer, version))).await;
        let now = setup.database_now().await;
        let until = now.plus(chrono::TimeDelta::seconds(60));
        let mut tx = setup.database.db.begin().await.expect("begins");
        let wanted = [messages::Wanted { endpoint_id: endpoint.0, most: 9 }];
        let new_lease = || customer_sync::model::id::AttemptId(setup.clock.new_id());
        let leased = messages::claim(&mut tx, &wanted, new_lease, now, until).await;
        let [leased] = &leased.expect("claimed")[..] else { panic!("the first alone") };
        let put_off = messages::defer_blocked(&mut tx, [endpoint], now).await.expect("put off");
        assert_eq!(put_off, 2);
        tx.commit().await.expect("commits");
        let due: Vec<_> = setup.kept(endpoint).await.into_iter().map(|kept| kept.due_at).collect();
        assert_eq!(due, [until, until, until]);

        let mut tx = setup.database.db.begin().await.expect("begins");
        let settled = messages::Settled {
            message_id: leased.id,
            lease: leased.lease,
            next: messages::Next::Delivered,
            outcome: "delivered",
            status_code: Some(200),
            error: None,
            request_headers: None,
            response: None,
            duration_ms: Some(1),
        };
        let changed = messages::settle(&mut tx, &[settled], [], now).await.expect("settled");
        assert_eq!(changed.released, [endpoint]);
        tx.commit().await.expect("commits");
        let due: Vec<_> = setup.kept(endpoint).await.into_iter().map(|kept| kept.due_at).collect();
        assert_eq!(due, [now, now, until], "the next one is due, and not the one after");
    })
    .await;
}

/// A claim must not look at all of a backlog that cannot go.
#[tokio::test]
async fn a_long_wait_of_one_customer_costs_claims_little_and_holds_up_nobody_behind_it() {
    on_both(async |database| {
        let setup = Setup::new(database);
        let own = ordered(&[1]);
        let (endpoint, _) = setup.endpoint_with("https://app.example", &["*"], own).await;
        let (long, short) = (setup.clock.new_id(), setup.clock.new_id());
        tell(&setup, endpoint, (1..=2_500).map(|version| (long, version))).await;
        let now = setup.database_now().await;
        let later = now.plus(chrono::TimeDelta::hours(1));
        let mut tx = setup.database.db.begin().await.expect("begins");
        let put_off = "update messages set attempts = 1, due_at = $1 where version = 1";
        tx.query(put_off).bind(later).execute().await.expect("the first one failed");
        tx.commit().await.expect("commits");
        tell(&setup, endpoint, [(short, 1)]).await;

        let now = setup.database_now().await;
        let wanted = [messages::Wanted { endpoint_id: endpoint.0, most: 9 }];
        let mut came = Vec::new();
        for _ in 0..3 {
            let mut tx = setup.database.db.begin().await.expect("begins");
            let new_lease = || customer_sync::model::id::AttemptId(setup.clock.new_id());
            let leased = messages::claim(&mut tx, &wanted, new_lease, now, later).await;
            let put_off = messages::defer_blocked(&mut tx, [endpoint], now).await.expect("put off");
            tx.commit().await.expect("commits");
            came.push((leased.expect("claimed").len(), put_off));
        }
        assert_eq!(came, [(0, 1_000), (0, 1_000), (1, 499)]);
    })
    .await;
}

/// What becomes due when the one before it is done must not stand behind all that waits for it.
#[tokio::test]
async fn a_backlog_of_one_customer_that_is_longer_than_a_claim_looks_at_goes_out_in_its_order() {
    on_both(async |database| {
        let setup = Setup::new(database);
        let own = ordered(&[1]);
        let (endpoint, _) = setup.endpoint_with("https://app.example", &["*"], own).await;
        let customer = setup.clock.new_id();
        tell(&setup, endpoint, (1..=2_500).map(|version| (customer, version))).await;
        let wanted = [messages::Wanted { endpoint_id: endpoint.0, most: 9 }];
        let mut delivered = 0;
        for _ in 0..40 {
            let now = setup.database_now().await;
            let mut tx = setup.database.db.begin().await.expect("begins");
            let new_lease = || customer_sync::model::id::AttemptId(setup.clock.new_id());
            let until = now.plus(chrono::TimeDelta::minutes(1));
            let leased = messages::claim(&mut tx, &wanted, new_lease, now, until).await;
            let leased = leased.expect("claimed");
            messages::defer_blocked(&mut tx, [endpoint], now).await.expect("put off");
            tx.commit().await.expect("commits");
            assert!(leased.len() <= 1, "one at a time");
            delivered += leased.len();
            let answered = leased.iter().map(|leased| messages::Settled {
                message_id: leased.id,
                lease: leased.lease,
                next: messages::Next::Delivered,
                outcome: "delivered",
                status_code: Some(200),
                error: None,
                request_headers: None,
                response: None,
                duration_ms: Some(1),
            });
            let answered: Vec<_> = answered.collect();
            let mut tx = setup.database.db.begin().await.expect("begins");
            messages::settle(&mut tx, &answered, [], now).await.expect("settled");
            tx.commit().await.expect("commits");
        }
        assert!(delivered >= 30, "only {delivered} of 40 looks found one");
    })
    .await;
}
