//! What the store keeps of endpoints and messages: the contract of its functions.

use super::Setup;
use crate::support::services::on_both;
use chrono::TimeDelta;
use customer_sync::{
    deliver::{
        manage::{self, Declared},
        sealed,
    },
    model::{
        endpoint::{EndpointSpec, SealedSecret},
        id::{AttemptId, EndpointId},
        message::{EventType, Leased},
        secret::Secret,
    },
    store::{
        Tx, endpoints,
        messages::{self, Next, Settled, Wanted},
    },
};

fn spec(url: &str) -> EndpointSpec {
    EndpointSpec {
        environment: "live".into(),
        name: Some("main".into()),
        url: url.into(),
        description: Some("the app".into()),
        event_types: vec!["*".into()],
        headers: [("x-key".to_owned(), Secret::new("hush"))].into(),
        ..EndpointSpec::default()
    }
}

#[tokio::test]
async fn an_endpoint_comes_back_as_it_was_made_and_its_secret_is_kept_sealed() {
    on_both(async |database| {
        let setup = Setup::new(database);
        let (id, now) = (EndpointId(setup.clock.new_id()), setup.clock.now());
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let mut tx = setup.database.db.begin().await.expect("begins");
        let sealed = || sealed::seal(&setup.keyring, &secret);
        let made = endpoints::create(&mut tx, id, &spec("https://a.example"), sealed(), now).await;
        let made = made.expect("made").expect("the name is free");
        let taken = EndpointId(setup.clock.new_id());
        let again =
            endpoints::create(&mut tx, taken, &spec("https://b.example"), sealed(), now).await;
        assert_eq!(again.expect("asked"), None);
        assert_eq!(endpoints::get(&mut tx, id).await.expect("read"), Some(made.clone()));
        let listed = endpoints::list(&mut tx, Some("live")).await.expect("listed");
        assert_eq!(listed, [made]);
        assert_eq!(endpoints::list(&mut tx, Some("test")).await.expect("listed"), []);
        assert_eq!(endpoints::list(&mut tx, None).await.expect("listed").len(), 1);
        let enabled = endpoints::enabled(&mut tx).await.expect("read");
        assert_eq!(sealed::open(&setup.keyring, &enabled[0].1, now), [secret]);
        assert!(!format!("{:?}", enabled[0].1).contains("MfKQ9r8"));

        let off = endpoints::set_enabled(&mut tx, id, false, Some("why"), now).await;
        assert!(off.expect("switched"));
        assert!(!endpoints::set_enabled(&mut tx, id, false, Some("x"), now).await.expect("asked"));
        let kept = endpoints::get(&mut tx, id).await.expect("read").expect("it is there");
        assert_eq!((kept.enabled, kept.disabled_reason.as_deref()), (false, Some("why")));
        assert!(endpoints::enabled(&mut tx).await.expect("read").is_empty());
        let subscriptions = endpoints::audience(&mut tx, now).await.expect("read").subscriptions;
        assert!(subscriptions.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_declared_endpoint_is_made_once_and_follows_its_declaration() {
    on_both(async |database| {
        let setup = Setup::new(database);
        let now = setup.clock.now();
        let mut tx = setup.database.db.begin().await.expect("begins");
        let given = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let keep_or = |secret: Secret| {
            let keyring = setup.keyring.clone();
            move |kept: &[SealedSecret]| {
                let same = sealed::open(&keyring, kept, now) == [secret.clone()];
                (!same).then(|| vec![sealed::seal(&keyring, &secret)])
            }
        };
        let mut declare = async |url: &str, secret: Secret| {
            let id = EndpointId(setup.clock.new_id());
            let (spec, secrets) = (spec(url), keep_or(secret));
            let said = ("main", &spec);
            let done = manage::declare(&mut tx, &setup.keyring, id, said, secrets, now).await;
            done.expect("declared")
        };
        assert_eq!(declare("https://a.example", given.clone()).await, Declared::Created);
        assert_eq!(declare("https://a.example", given.clone()).await, Declared::Unchanged);
        assert_eq!(declare("https://b.example", given).await, Declared::Updated);
        let other = Secret::new("whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0");
        assert_eq!(declare("https://b.example", other.clone()).await, Declared::Updated);
        let kept = endpoints::enabled(&mut tx).await.expect("read");
        assert_eq!(kept.len(), 1);
        assert!(!format!("{:?}", kept[0].0.spec.headers["x-key"].expose()).contains("hush"));
        let opened = sealed::opened(&setup.keyring, &kept[0].0.spec).expect("they open");
        assert_eq!(opened, spec("https://b.example"));
        assert_eq!(sealed::open(&setup.keyring, &kept[0].1, now), [other]);
    })
    .await;
}

fn wanted(endpoint: EndpointId, most: usize) -> Wanted {
    Wanted { endpoint_id: endpoint.0, most }
}

async fn claim(tx: &mut Tx, setup: &Setup, wanted: &[Wanted], seconds: i64) -> Vec<Leased> {
    let now = setup.clock.now().plus(TimeDelta::seconds(seconds));
    let new_lease = || AttemptId(setup.clock.new_id());
    let until = now.plus(TimeDelta::seconds(60));
    messages::claim(tx, wanted, new_lease, now, until).await.expect("claimed")
}

fn settled(leased: &Leased, next: Next) -> Settled {
    Settled {
        message_id: leased.id,
        lease: leased.lease,
        next,
        outcome: "delivered",
        status_code: Some(204),
        error: None,
        request_headers: None,
        response: None,
        duration_ms: Some(1),
    }
}

#[tokio::test]
async fn a_claim_takes_what_is_due_and_no_more_than_is_wanted_of_each_endpoint() {
    on_both(async |database| {
        let setup = Setup::new(database);
        let (a, _) = setup.endpoint("https://a.example", &["*"]).await;
        let (b, _) = setup.endpoint("https://b.example", &["*"]).await;
        let (off, _) = setup.endpoint("https://off.example", &["*"]).await;
        setup.tell(3, EventType::CustomerCreated, None).await;
        let mut tx = setup.database.db.begin().await.expect("begins");
        let now = setup.clock.now();
        assert!(endpoints::set_enabled(&mut tx, off, false, None, now).await.expect("off"));
        let heads = messages::heads(&mut tx).await.expect("heads");
        assert_eq!(heads.iter().map(|head| head.endpoint_id).collect::<Vec<_>>(), [a, b]);
        let early = claim(&mut tx, &setup, &[wanted(a, 9)], -3_600).await;
        assert!(early.is_empty());
        let all = [wanted(a, 2), wanted(b, 9), wanted(off, 9)];
        let first = claim(&mut tx, &setup, &all, 1).await;
        let count = |leased: &[Leased], id| leased.iter().filter(|l| l.endpoint_id == id).count();
        assert_eq!((count(&first, a), count(&first, b), first.len()), (2, 3, 5));
        assert!(
            first.iter().all(|leased| leased.attempt == 1 && leased.body.starts_with("{\"id\""))
        );
        let rest = claim(&mut tx, &setup, &all, 2).await;
        assert_eq!((count(&rest, a), rest.len()), (1, 1));
        assert!(claim(&mut tx, &setup, &all, 3).await.is_empty());
        let overdue = claim(&mut tx, &setup, &[wanted(a, 9), wanted(b, 9)], 70).await;
        assert_eq!(overdue.len(), 6, "leases run out");
    })
    .await;
}

#[tokio::test]
async fn only_the_holder_of_the_lease_settles_a_message() {
    on_both(async |database| {
        let setup = Setup::new(database);
        let (endpoint, _) = setup.endpoint("https://a.example", &["*"]).await;
        setup.tell(1, EventType::CustomerCreated, None).await;
        let mut tx = setup.database.db.begin().await.expect("begins");
        let slow = claim(&mut tx, &setup, &[wanted(endpoint, 1)], 0).await.remove(0);
        let quick = claim(&mut tx, &setup, &[wanted(endpoint, 1)], 61).await.remove(0);
        assert_eq!(slow.id, quick.id);
        let now = setup.clock.now();
        let late = messages::settle(&mut tx, &[settled(&slow, Next::Dead)], [], now).await;
        assert_eq!(late.expect("asked").messages, []);
        let kept = messages::get(&mut tx, slow.id).await.expect("read").expect("it is there");
        assert_eq!((kept.status.as_str(), kept.attempts), ("pending", 0));
        let done =
            messages::settle(&mut tx, &[settled(&quick, Next::Delivered)], [endpoint], now).await;
        assert_eq!(done.expect("settled").messages, [quick.id]);
        let kept = messages::get(&mut tx, slow.id).await.expect("read").expect("it is there");
        assert_eq!((kept.status.as_str(), kept.attempts), ("delivered", 1));
        assert_eq!((kept.finished_at, kept.leased_until), (Some(now), None));
        let tries = messages::attempts(&mut tx, slow.id).await.expect("tries");
        assert!(tries.iter().all(|tried| tried.status_code == Some(204)), "both were made");
        assert_eq!(tries.len(), 2);
    })
    .await;
}
