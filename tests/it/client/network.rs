//! A write is done once, whatever the network does with it; what does not pass is told at once.

use super::Rig;
use crate::support::{
    proxy::{Direction, Proxy},
    receiver::{Receiver, Reply},
    services::on_both,
};
use customer_sync::{
    client::{Client, CustomerQuery, Details, Error},
    model::id::CustomerId,
};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_done_once_and_answered_all_the_same() {
    on_both(async |database| {
        let mut rig = Rig::new(database).await;
        let mut proxy = Proxy::to(rig.daemon.address).await;
        let client = rig.client_at(&format!("http://{}", proxy.address()));
        let nobody = Details::new().name("Ada");
        proxy.cut_instead_of_reply_to(&[b"POST /v1/customers", b"\"Ada\""]);
        let ada = client.customers().create(&nobody).await.expect("made");
        assert_eq!(proxy.sprung(), 1, "the first answer was lost");
        proxy.cut_instead_of(Direction::Up, b"PATCH");
        let change = Details::new().name("Ada Lovelace");
        let changed = client.customers().update(ada.id, &change).await.expect("changed");
        assert_eq!((proxy.sprung(), changed.version), (2, ada.version + 1));
        let all = rig.client().customers().list(&CustomerQuery::new()).next_page().await;
        assert_eq!(all.expect("a page").expect("one").data, [changed], "there is one customer");

        // The same write of a process that died and began again.
        let keyed = client.keyed("signup-42");
        let first = keyed.customers().create(&nobody).await.expect("made");
        let again = rig.client().keyed("signup-42").customers().create(&nobody).await;
        assert_eq!(again.expect("answered").id, first.id);
        let other = keyed.customers().create(&Details::new().name("Eve")).await;
        let other = other.expect_err("another one's key");
        assert_eq!(other.code(), Some("idempotency_params_mismatch"));

        proxy.refuse().await;
        let without = client.clone().with_retries(1);
        let away = without.customers().get(ada.id).await.expect_err("nobody answers");
        assert!(matches!(away, Error::Unanswered(_)), "{away}");
        proxy.mend().await;
        assert!(rig.daemon.process_is_running());
        assert!(rig.daemon.stop().await.success());
    })
    .await;
}

/// Tries would go on for hundreds of years.
const AT_ONCE: Duration = Duration::from_secs(20);

fn waiting(receiver: &Receiver, millis: u64) -> Client {
    let client = Client::new(&receiver.url(""), "sk_test_").expect("a client");
    client.with_timeout(Duration::from_millis(millis)).with_retries(2)
}

#[tokio::test]
async fn retry_after_is_kept_to_and_what_does_not_pass_is_sent_once() {
    let id = CustomerId(uuid::Uuid::from_u128(7));
    let path = format!("/v1/customers/{id}");
    let replies: [(&[Reply], usize, u128); 6] = [
        (&[Reply::With(429, "retry-after", "1".into()), Reply::Status(404)], 2, 1_000),
        (&[Reply::Status(503), Reply::Status(502), Reply::Status(404)], 3, 0),
        (&[Reply::Hang, Reply::Status(404)], 2, 300),
        (&[Reply::Status(400)], 1, 0),
        // Longer than anybody waits here.
        (&[Reply::With(429, "retry-after", "3600".into())], 1, 0),
        (&[Reply::Status(500), Reply::Status(500), Reply::Status(500)], 3, 0),
    ];
    for (script, sent, millis) in replies {
        let receiver = Receiver::start().await;
        receiver.script(&path, script.iter().cloned());
        let began = Instant::now();
        // Nobody but who hangs is to be given up: a busy machine may take its time.
        let hangs = script.iter().any(|reply| matches!(reply, Reply::Hang));
        let client = waiting(&receiver, if hangs { 300 } else { 20_000 });
        let error = client.customers().get(id).await.expect_err("no customer");
        assert!(matches!(error, Error::Unreadable { .. }), "{error:?}");
        assert_eq!(receiver.count(&path), sent, "{script:?}");
        assert!(began.elapsed().as_millis() >= millis, "{script:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_told_at_once() {
    let receiver = Receiver::start().await;
    let url = receiver.url("");
    let unsendable = [
        Client::new(&url, "sk_test_\n").expect("a client"),
        Client::new(&url, "sk_test_").expect("a client").keyed("signup\n42"),
    ];
    for client in unsendable {
        let client = client.with_retries(u32::MAX);
        let made = async { client.customers().create(&Details::new()).await };
        let told = tokio::time::timeout(AT_ONCE, made).await.expect("it is not tried again");
        let error = told.expect_err("nothing was made");
        assert!(matches!(error, Error::Unusable(_)), "{error:?}");
    }
    assert_eq!(receiver.count("/v1/customers"), 0);
}

#[tokio::test]
async fn each_try_of_a_write_carries_the_same_key_and_another_write_another_one() {
    let receiver = Receiver::start().await;
    let path = "/v1/customers";
    receiver.always(path, Reply::Status(503));
    let client = waiting(&receiver, 20_000);
    for _ in 0..2 {
        client.customers().create(&Details::new()).await.expect_err("no answer of the API");
    }
    let requests = receiver.requests(path);
    let keys: Vec<&str> = requests.iter().map(|one| one.header("idempotency-key")).collect();
    assert_eq!(keys.len(), 6);
    assert!(keys[..3].iter().all(|key| *key == keys[0] && key.len() == 32), "{keys:?}");
    assert!(keys[3..].iter().all(|key| *key == keys[3]) && keys[0] != keys[3], "{keys:?}");
    assert!(requests.iter().all(|one| one.header("authorization") == "Bearer sk_test_"));
}
