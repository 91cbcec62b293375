//! Endpoints that are left alone for a while, or switched off.

use super::{Setup, millis, requests, settings};
use crate::support::{
    receiver::{Receiver, Reply},
    services::on_both,
    wait::eventually,
};
use chrono::TimeDelta;
use customer_sync::{
    deliver::{Settings, breaker::Policy},
    model::{
        endpoint::{Breaker, Standing},
        id::{EndpointId, MessageId},
        message::EventType,
    },
    store::endpoints,
};
use std::time::Duration;

/// Opens after five tries, for a second each time.
fn touchy() -> Settings {
    let breaker = Policy {
        tries: 5,
        pause: Duration::from_secs(1),
        longest_pause: Duration::from_secs(1),
        ..Policy::default()
    };
    Settings { breaker, per_endpoint: 4, ..settings() }
}

pub(super) async fn stands(setup: &Setup, endpoint: EndpointId, standing: &Standing) {
    let mut tx = setup.database.db.begin().await.expect("begins");
    endpoints::stand(&mut tx, endpoint, standing).await.expect("written");
    tx.commit().await.expect("commits");
}

/// An outage of two probes costs no message more than a few of its tries, though the schedule is over within 400 ms.
#[tokio::test]
async fn an_open_breaker_delays_and_burns_no_tries() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.always("/", Reply::Status(500));
        let (endpoint, _) = setup.endpoint(&receiver.url("/"), &["*"]).await;
        let running = setup.start(touchy());
        setup.tell(40, EventType::CustomerCreated, Some(&running.handover)).await;
        let look = async || setup.standing(endpoint).await.standing;
        eventually("two probes failed", look, |it| it.pauses >= 3).await;
        assert_ne!(setup.standing(endpoint).await.standing.breaker, Breaker::Closed);
        let failed = receiver.count("/");
        receiver.always("/", Reply::Status(200));
        let kept = setup.all_are(endpoint, "delivered").await;
        let tries: i64 = kept.iter().map(|message| message.attempts).sum();
        let came = receiver.requests("/");
        assert_eq!(usize::try_from(tries).expect("a count"), came.len());
        assert!(kept.iter().all(|message| message.attempts <= 4), "{kept:?}");
        assert!(
            failed <= 5 + 8 + 3,
            "five open it, some are under way, and three probes: {failed}"
        );
        let [.., one, two] = &came[..failed] else { panic!("there were probes") };
        assert!(two.at - one.at >= millis(900), "a probe at a time");
        let standing = setup.standing(endpoint).await.standing;
        assert_eq!(standing, Standing::default());
        running.stop().await;
    })
    .await;
}

/// Another process, or this one before a restart, opened it.
#[tokio::test]
async fn every_process_keeps_to_the_breaker_and_one_probe_goes_first() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.always("/", Reply::Slow(millis(300)));
        let (endpoint, _) = setup.endpoint(&receiver.url("/"), &["*"]).await;
        let until = setup.database_now().await.plus(TimeDelta::milliseconds(1_200));
        let open =
            Standing { breaker: Breaker::Open, paused_until: Some(until), ..Standing::default() };
        stands(&setup, endpoint, &open).await;
        let begun = tokio::time::Instant::now();
        let processes = [setup.start(touchy()), setup.start(touchy())];
        setup.tell(6, EventType::CustomerCreated, Some(&processes[0].handover)).await;
        setup.tell(6, EventType::CustomerUpdated, None).await;
        setup.all_are(endpoint, "delivered").await;
        let came = receiver.requests("/");
        assert!(came[0].at - begun >= millis(1_000), "nothing before its time");
        assert!(came[1].at - came[0].at >= millis(250), "the probe has answered");
        assert_eq!(came.len(), 12);
        assert_eq!(setup.standing(endpoint).await.standing, Standing::default());
        for process in processes {
            process.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_has_too_much_is_left_alone_as_a_whole() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.script("/", [Reply::With(429, "retry-after", "1".into())]);
        let (endpoint, _) = setup.endpoint(&receiver.url("/"), &["*"]).await;
        let running = setup.start(Settings { per_endpoint: 1, ..settings() });
        setup.tell(5, EventType::CustomerCreated, None).await;
        let kept = setup.all_are(endpoint, "delivered").await;
        let came = receiver.requests("/");
        assert!(came[1].at - came[0].at >= millis(950), "all of them wait");
        let mut tries: Vec<i64> = kept.iter().map(|message| message.attempts).collect();
        tries.sort_unstable();
        assert_eq!(tries, [1, 1, 1, 1, 2], "and none of the others lost a try");
        running.stop().await;
    })
    .await;
}

/// Pain points 5 and 15 (hookdeck/outpost#596, bullet-train-co/bullet_train-core#24): what was to be switched off stayed
/// on, and one bad message switched an endpoint off.
#[tokio::test]
async fn days_of_failing_switch_an_endpoint_off_and_its_messages_wait() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        receiver.always("/bad", Reply::Status(500));
        let (bad, _) = setup.endpoint(&receiver.url("/bad"), &["customer.*"]).await;
        let (other, _) = setup.endpoint(&receiver.url("/other"), &["endpoint.disabled"]).await;
        let running = setup.start(settings());
        setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
        let look = async || setup.standing(bad).await.standing;
        let failing = eventually("it fails", look, |it| it.failing_since.is_some()).await;
        let first = setup.kept(bad).await[0].id;
        assert_eq!(failing.failing_message, Some(first));

        let long_ago = failing.failing_since.map(|since| since.plus(TimeDelta::days(-6)));
        stands(&setup, bad, &Standing { failing_since: long_ago, ..failing }).await;
        setup.all_are(bad, "dead").await;
        assert!(setup.standing(bad).await.enabled, "one message alone is not enough");

        setup.tell(1, EventType::CustomerUpdated, Some(&running.handover)).await;
        let told = requests(&receiver, "/other", 1).await;
        assert_eq!(told[0].json()["type"], "endpoint.disabled");
        assert_eq!(told[0].json()["data"]["endpoint"]["id"], bad.to_string());
        let endpoint = setup.standing(bad).await;
        let reason = endpoint.disabled_reason.expect("a reason");
        assert!(!endpoint.enabled && reason.starts_with("every try failed since "), "{reason}");
        let waiting = setup.kept(bad).await;
        assert_eq!((waiting.len(), waiting[1].status.as_str()), (2, "pending"));
        setup.all_are(other, "delivered").await;

        receiver.always("/bad", Reply::Status(200));
        let mut tx = setup.database.db.begin().await.expect("begins");
        let now = setup.clock.now();
        assert!(endpoints::set_enabled(&mut tx, bad, true, None, now).await.expect("enabled"));
        tx.commit().await.expect("commits");
        let look = async || setup.kept(bad).await[1].status.clone();
        eventually("what waited goes out", look, |status| status == "delivered").await;
        running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_success_forgets_the_failures_before_it() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        let (endpoint, _) = setup.endpoint(&receiver.url("/"), &["*"]).await;
        let failing = Standing {
            failing_since: Some(setup.clock.now()),
            failing_message: Some(MessageId(setup.clock.new_id())),
            pauses: 2,
            ..Standing::default()
        };
        stands(&setup, endpoint, &failing).await;
        let running = setup.start(settings());
        setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
        setup.all_are(endpoint, "delivered").await;
        assert_eq!(setup.standing(endpoint).await.standing, Standing::default());
        running.stop().await;
    })
    .await;
}
