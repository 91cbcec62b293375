//! What a receiver is sent, and what becomes of a message by its answer.

use super::{Setup, millis, requests, settings};
use crate::support::{
    receiver::{Receiver, Reply, raw},
    services::on_both,
    wait::eventually,
};
use customer_sync::{
    deliver::Settings,
    model::{endpoint::EndpointSettings, id::EndpointId, message::EventType, time::Timestamp},
    store::endpoints,
};
use std::{collections::HashSet, time::Duration};

#[tokio::test]
async fn a_delivery_is_signed_and_carries_the_event() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        let (first, secret) = setup.endpoint(&receiver.url("/a"), &["*"]).await;
        let (second, other) = setup.endpoint(&receiver.url("/b"), &["payment.*"]).await;
        let (stranger, _) = setup.endpoint(&receiver.url("/c"), &["customer.*"]).await;
        let running = setup.start(settings());
        setup.tell(1, EventType::PaymentSucceeded, Some(&running.handover)).await;
        setup.all_are(first, "delivered").await;
        setup.all_are(second, "delivered").await;
        let (a, b) = (&receiver.requests("/a")[0], &receiver.requests("/b")[0]);
        assert!(a.is_signed_with(secret.expose()) && !a.is_signed_with(other.expose()));
        assert!(b.is_signed_with(other.expose()));
        assert_eq!(a.body, b.body);
        assert_eq!(a.json()["type"], "payment.succeeded");
        assert!(a.json()["id"].as_str().is_some_and(|id| id.starts_with("evt_")));
        assert_eq!(a.header("webhook-id"), setup.kept(first).await[0].id.to_string());
        assert_ne!(a.header("webhook-id"), b.header("webhook-id"));
        assert_eq!(a.header("content-type"), "application/json");
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(a.header("user-agent"), format!("customer-sync/{version}"));
        let tries = setup.tries(first).await;
        let seen = tries.iter().map(|t| (t.number, t.outcome.as_deref(), t.status_code));
        assert_eq!(seen.collect::<Vec<_>>(), [(1, Some("delivered"), Some(200))]);
        assert_eq!(tries[0].response.as_deref(), Some("thanks"));
        assert!(tries[0].finished_at >= Some(tries[0].started_at));
        assert!(setup.kept(stranger).await.is_empty() && receiver.requests("/c").is_empty());
        running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_failed_delivery_is_tried_again_under_the_same_webhook_id() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.script("/", [Reply::Status(500), Reply::Status(404)]);
        let (endpoint, secret) = setup.endpoint(&receiver.url("/"), &["*"]).await;
        let running = setup.start(settings());
        setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
        let kept = setup.all_are(endpoint, "delivered").await;
        assert_eq!(kept[0].attempts, 3);
        let came = receiver.requests("/");
        let ids: HashSet<&str> = came.iter().map(|request| request.header("webhook-id")).collect();
        assert_eq!((came.len(), ids.len()), (3, 1));
        assert!(came.iter().all(|request| request.is_signed_with(secret.expose())));
        let tries = setup.tries(endpoint).await;
        let seen: Vec<_> = tries
            .iter()
            .map(|t| (t.number, t.outcome.as_deref().unwrap_or_default(), t.status_code))
            .collect();
        assert_eq!(
            seen,
            [(1, "failed", Some(500)), (2, "failed", Some(404)), (3, "delivered", Some(200))]
        );
        running.stop().await;
    })
    .await;
}

/// Pain point 7 (frain-dev/convoy#1833): tries went on for ever, and were not counted.
#[tokio::test]
async fn after_the_last_try_a_message_is_dead() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.always("/", Reply::Status(500));
        let own = EndpointSettings { schedule: Some(vec![0]), ..EndpointSettings::default() };
        let (endpoint, _) = setup.endpoint_with(&receiver.url("/"), &["*"], own).await;
        let running = setup.start(settings());
        setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
        let kept = setup.all_are(endpoint, "dead").await;
        assert_eq!((kept[0].attempts, receiver.count("/")), (2, 2));
        running.stop().await;
    })
    .await;
}

/// Pain point 15 (bullet-train-co/bullet_train-core#24): one bad message switched its endpoint off.
#[tokio::test]
async fn a_message_that_is_given_up_leaves_its_endpoint_on() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.script("/", [Reply::Status(500), Reply::Status(400)]);
        let own = EndpointSettings { schedule: Some(vec![0]), ..EndpointSettings::default() };
        let (endpoint, _) = setup.endpoint_with(&receiver.url("/"), &["*"], own).await;
        let running = setup.start(settings());
        setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
        setup.all_are(endpoint, "dead").await;
        setup.tell(1, EventType::CustomerUpdated, Some(&running.handover)).await;
        let look = async || setup.kept(endpoint).await;
        let kept = eventually("the next one arrives", look, |kept| kept[1].status == "delivered");
        assert_eq!(kept.await[0].status, "dead");
        let mut tx = setup.database.db.snapshot().await.expect("begins");
        let endpoint = endpoints::get(&mut tx, endpoint).await.expect("read").expect("it is there");
        assert!(endpoint.enabled && endpoint.disabled_reason.is_none());
        running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn retry_after_puts_the_next_try_off() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.script("/", [Reply::With(503, "retry-after", "1".into())]);
        let (endpoint, _) = setup.endpoint(&receiver.url("/"), &["*"]).await;
        let running = setup.start(settings());
        setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
        setup.all_are(endpoint, "delivered").await;
        let came = receiver.requests("/");
        assert!(came[1].at - came[0].at >= millis(1_000));
        running.stop().await;
    })
    .await;
}

/// Pain point 5 (hookdeck/outpost#596): what was to be switched off stayed on.
#[tokio::test]
async fn an_endpoint_that_is_gone_is_disabled_and_the_others_are_told() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.script("/gone", [Reply::Status(410)]);
        let (gone, _) = setup.endpoint(&receiver.url("/gone"), &["*"]).await;
        let (other, secret) = setup.endpoint(&receiver.url("/other"), &["endpoint.*"]).await;
        let running = setup.start(settings());
        setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
        let told = requests(&receiver, "/other", 1).await;
        let body = told[0].json();
        assert!(told[0].is_signed_with(secret.expose()));
        assert_eq!(body["type"], "endpoint.disabled");
        // Its URL and its headers are nobody else's business.
        let named = serde_json::json!({"object": "webhook_endpoint", "id": gone, "name": null});
        assert_eq!(body["data"]["endpoint"], named);
        assert_eq!(body["data"]["customer"], serde_json::Value::Null);
        assert_eq!(setup.kept(gone).await[0].status, "dead");
        setup.all_are(other, "delivered").await;

        // What comes for it now is not even written; it has a message that waits from before.
        let mut tx = setup.database.db.begin().await.expect("begins");
        let endpoint = endpoints::get(&mut tx, gone).await.expect("read").expect("it is there");
        assert_eq!(endpoint.disabled_reason.as_deref(), Some("it answered 410 Gone"));
        tx.query("update messages set status = 'pending' where endpoint_id = $1")
            .bind(gone)
            .execute()
            .await
            .expect("it waits");
        tx.commit().await.expect("commits");
        setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
        tokio::time::sleep(millis(150)).await;
        assert_eq!((receiver.count("/gone"), setup.kept(gone).await.len()), (1, 1));

        enable(&setup, gone).await;
        setup.all_are(gone, "delivered").await;
        assert_eq!(receiver.count("/gone"), 2);
        running.stop().await;
    })
    .await;
}

async fn enable(setup: &Setup, endpoint: EndpointId) {
    let mut tx = setup.database.db.begin().await.expect("begins");
    let changed = endpoints::set_enabled(&mut tx, endpoint, true, None, setup.clock.now()).await;
    assert!(changed.expect("the endpoint is enabled"));
    tx.commit().await.expect("commits");
}

/// Pain point 16: a redirect leads inside.
#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        let elsewhere = receiver.url("/elsewhere");
        receiver.script("/", [Reply::With(307, "location", elsewhere)]);
        let (endpoint, _) = setup.endpoint(&receiver.url("/"), &["*"]).await;
        let running = setup.start(settings());
        setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
        setup.all_are(endpoint, "delivered").await;
        let codes = setup.tries(endpoint).await.into_iter().map(|tried| tried.status_code);
        assert_eq!(codes.collect::<Vec<_>>(), [Some(307), Some(200)]);
        assert!(receiver.requests("/elsewhere").is_empty());
        running.stop().await;
    })
    .await;
}

/// What the first try of a message to this URL came to: (status code, error, how long it took).
pub(super) async fn first_try(
    setup: &Setup,
    url: &str,
    settings: Settings,
) -> (Option<i64>, String, Duration) {
    let (endpoint, _) = setup.endpoint(url, &["*"]).await;
    let running = setup.start(settings);
    setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
    let look = async || setup.tries(endpoint).await.remove(0);
    let tried = eventually("it failed", look, |tried| tried.finished_at.is_some()).await;
    running.kill().await;
    assert_eq!(tried.outcome.as_deref(), Some("failed"), "{tried:?}");
    let took = u64::try_from(tried.duration_ms.expect("a duration")).expect("a duration");
    (tried.status_code, tried.error.clone().unwrap_or_default(), millis(took))
}

/// Fault 3 of Svix: it never cut such a connection, sent the message again beside it, and recorded no try.
#[tokio::test]
async fn one_deadline_is_over_headers_and_body() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.always("/drip", Reply::Drip(millis(20)));
        receiver.always("/hang", Reply::Hang);
        let quick = || Settings { timeout: millis(300), ..settings() };
        let (status, error, took) = first_try(&setup, &receiver.url("/drip"), quick()).await;
        assert_eq!((status, error.as_str()), (Some(200), "no whole answer within 300 ms"));
        assert!(took >= millis(300) && took < millis(1_200), "{took:?}");
        assert_eq!(receiver.count("/drip"), 1);
        let (setup, own) = (Setup::new(fresh(&setup).await), receiver.url("/hang"));
        let (status, error, _) = first_try(&setup, &own, quick()).await;
        assert_eq!((status, error.as_str()), (None, "no answer within 300 ms"));
    })
    .await;
}

/// Another database of the same kind.
async fn fresh(setup: &Setup) -> crate::support::services::TestDatabase {
    use crate::support::services::{postgres, sqlite};
    if setup.database.db.is_shared() { postgres().await } else { sqlite().await }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_failure() {
    on_both(async |database| {
        let setup = Setup::new(database);
        let (url, _server) = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort").await;
        let (status, error, _) = first_try(&setup, &url, settings()).await;
        assert_eq!(status, Some(200));
        assert!(error.starts_with("the exchange broke off: "), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_a_failure() {
    on_both(async |database| {
        let setup = Setup::new(database);
        let (status, error, _) = first_try(&setup, "http://127.0.0.1:1/", settings()).await;
        assert_eq!(status, None);
        assert!(error.starts_with("no connection: ") && !error.contains("http://"), "{error}");
    })
    .await;
}

/// Pain point 16: an address of the inside.
#[tokio::test]
async fn private_addresses_are_not_connected_to() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        let closed = settings().guarded_by(true, Vec::new());
        let (_, error, _) = first_try(&setup, &receiver.url("/"), closed).await;
        assert!(error.starts_with("127.0.0.1 is not a public address"), "{error}");
        assert!(receiver.requests("/").is_empty());
    })
    .await;
}

/// Fault 4 of Svix: it held the whole of it in memory. What is not read here is not even sent: the receiver fills the
/// sockets' buffers and is cut off.
#[tokio::test]
async fn of_a_huge_answer_only_the_beginning_is_read_and_kept() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.always("/", Reply::Huge(300 << 20));
        let (endpoint, _) = setup.endpoint(&receiver.url("/"), &["*"]).await;
        let running = setup.start(settings());
        setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
        setup.all_are(endpoint, "delivered").await;
        let tries = setup.tries(endpoint).await;
        assert_eq!(tries[0].response.as_deref().map(str::len), Some(16 * 1024));
        running.stop().await;
        tokio::time::sleep(millis(50)).await;
        assert!(receiver.served() < 32 << 20, "{} bytes were taken", receiver.served());
    })
    .await;
}

/// Pain point 18 (hookdeck/outpost): an answer that could not be recorded made the message go out without end.
#[tokio::test]
async fn an_answer_of_odd_bytes_is_recorded() {
    on_both(async |database| {
        let setup = Setup::new(database);
        let (url, _server) = raw(b"HTTP/1.0 200 OK\r\n\r\na\0b\xff\"\\u0000").await;
        let (endpoint, _) = setup.endpoint(&url, &["*"]).await;
        let running = setup.start(settings());
        setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
        setup.all_are(endpoint, "delivered").await;
        let tries = setup.tries(endpoint).await;
        assert_eq!(tries[0].response.as_deref(), Some("a\u{fffd}b\u{fffd}\"\\u0000"));
        running.stop().await;
    })
    .await;
}

/// Pain point 10 (keygen-sh/keygen-api#771): one dead endpoint with long timeouts starved everybody.
#[tokio::test]
async fn an_endpoint_that_hangs_holds_up_nobody_else() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.always("/dead", Reply::Hang);
        let (dead, _) = setup.endpoint(&receiver.url("/dead"), &["*"]).await;
        let (healthy, _) = setup.endpoint(&receiver.url("/healthy"), &["*"]).await;
        let few = Settings {
            per_endpoint: 4,
            total: 8,
            timeout: Duration::from_secs(20),
            grace: Duration::ZERO,
            ..settings()
        };
        let running = setup.start(few);
        setup.tell(60, EventType::CustomerCreated, Some(&running.handover)).await;
        setup.tell(60, EventType::CustomerCreated, None).await;
        let kept = setup.all_are(healthy, "delivered").await;
        assert_eq!(kept.len(), 120);
        assert!(setup.kept(dead).await.iter().all(|message| message.status == "pending"));
        let held = receiver.count("/dead");
        assert!((1..=4).contains(&held), "as many as it began with, and no more: {held}");
        running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_time_that_is_signed_is_that_of_the_try() {
    let (setup, receiver) =
        (Setup::new(crate::support::services::sqlite().await), Receiver::start().await);
    let start = Timestamp::parse("2026-01-01T00:00:00Z").expect("a time");
    let setup = Setup { clock: customer_sync::clock::Clock::manual(start), ..setup };
    receiver.script("/", [Reply::Status(500)]);
    let own = EndpointSettings { schedule: Some(vec![7_200]), ..EndpointSettings::default() };
    let (endpoint, _) = setup.endpoint_with(&receiver.url("/"), &["*"], own).await;
    let running = setup.start(settings());
    setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
    let look = async || setup.kept(endpoint).await;
    let failed = eventually("it failed", look, |kept| kept[0].attempts == 1).await;
    let wait = failed[0].due_at.seconds() - start.seconds();
    assert!((6_480..=7_920).contains(&wait), "two hours, and a tenth of it: {wait} s");
    setup.clock.advance(chrono::TimeDelta::seconds(wait - 1));
    tokio::time::sleep(millis(100)).await;
    assert_eq!(receiver.count("/"), 1);
    setup.clock.advance(chrono::TimeDelta::seconds(2));
    setup.all_are(endpoint, "delivered").await;
    let stamps: Vec<i64> = receiver
        .requests("/")
        .iter()
        .map(|request| request.header("webhook-timestamp").parse().expect("seconds"))
        .collect();
    assert_eq!(stamps, [start.seconds(), start.seconds() + wait + 1]);
    running.stop().await;
}
