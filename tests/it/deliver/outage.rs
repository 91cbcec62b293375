//! A database that goes away while deliveries are under way.

use super::{Running, Setup, millis, requests, settings};
use crate::support::{
    proxy::Proxy,
    receiver::{Receiver, Reply},
    services::postgres,
};
use customer_sync::{
    deliver::Deliverer, health::Health, model::message::EventType, shutdown::Shutdown, store::Db,
};

// Retries that lived in what had failed were lost: Vexa-ai/vexa#520.
#[tokio::test]
async fn results_are_kept_while_the_database_is_away_and_nothing_is_sent_twice() {
    let (setup, receiver) = (Setup::new(postgres().await), Receiver::start().await);
    receiver.always("/", Reply::Slow(millis(300)));
    let (endpoint, _) = setup.endpoint(&receiver.url("/"), &["*"]).await;
    let mut proxy = Proxy::before(&setup.database.url).await;
    let db = Db::open(&proxy.url(&setup.database.url), 4).await.expect("it opens");

    let health = Health::new(setup.clock.clone());
    let (clock, keyring) = (setup.clock.clone(), setup.keyring.clone());
    let (deliverer, handover) =
        Deliverer::new(db, keyring, clock, health.clone(), settings()).expect("a deliverer");
    let shutdown = Shutdown::new();
    shutdown.spawn_role("deliver", deliverer.run(shutdown.clone()));
    let running = Running { shutdown, handover };

    setup.tell(4, EventType::CustomerCreated, Some(&running.handover)).await;
    requests(&receiver, "/", 4).await;
    proxy.refuse().await;
    tokio::time::sleep(millis(700)).await;
    assert!(setup.kept(endpoint).await.iter().all(|message| message.status == "pending"));
    proxy.mend().await;
    let kept = setup.all_are(endpoint, "delivered").await;
    assert!(kept.iter().all(|message| message.attempts == 1));
    assert_eq!(receiver.count("/"), 4);

    setup.tell(1, EventType::CustomerCreated, None).await;
    assert_eq!(setup.all_are(endpoint, "delivered").await.len(), 5);
    assert!(health.is_ok());
    running.stop().await;
}
