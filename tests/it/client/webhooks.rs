//! Each webhook that a daemon sends is verified and read by the client, also one about somebody deleted meanwhile.

use super::{ENDPOINT_SECRET, HOOK, Rig};
use crate::support::{receiver::Reply, services::on_both, wait::eventually};
use customer_sync::{
    client::{
        AtDeletion, Details,
        webhook::{Told, Verifier, Webhook},
    },
    model::message::EventType,
};
use serde_json::json;
use std::collections::BTreeSet;

#[tokio::test]
async fn what_the_daemon_sends_is_verified_and_read() {
    on_both(async |database| {
        let rig = Rig::new(database).await;
        let client = rig.client();
        let ada = Details::new().external_id("user-42").name("Ada");
        let ada = client.customers().create(&ada).await.expect("made");
        rig.pay("user-42", "p1", 500).await;
        let subscription = json!({"id": "s1", "status": "active"});
        let data = json!({"external_id": "user-42", "subscription": subscription});
        rig.say("e1", "subscription.recorded", &data).await;
        let bob = client.customers().create(&Details::new().name("Bob")).await.expect("made");
        client.customers().merge(ada.id, bob.id, None).await.expect("merged");

        let verifier = Verifier::new(ENDPOINT_SECRET).expect("a secret");
        let read = || -> Vec<Webhook> {
            let requests = rig.stage.receiver.requests(HOOK);
            let read = requests.iter().map(|one| verifier.verify(&one.headers, &one.body));
            read.collect::<Result<_, _>>().expect("each is verified and read")
        };
        let kinds = || read().iter().filter_map(Webhook::kind).collect::<BTreeSet<EventType>>();
        let expected = BTreeSet::from([
            EventType::CustomerCreated,
            EventType::CustomerMerged,
            EventType::PaymentCreated,
            EventType::PaymentSucceeded,
            EventType::SubscriptionCreated,
        ]);
        eventually("all is told", async || kinds(), |seen| seen.is_superset(&expected)).await;
        let merged = read().into_iter().find(|one| one.kind() == Some(EventType::CustomerMerged));
        let merged = merged.expect("it was told");
        assert_eq!(merged.data.merged_from, [bob.id]);
        let Some(Told::Whole(customer)) = &merged.data.customer else { panic!("{merged:?}") };
        assert_eq!((customer.id, Some(customer.version)), (ada.id, merged.version));
        let paid = read().into_iter().find(|one| one.kind() == Some(EventType::PaymentSucceeded));
        assert_eq!(paid.expect("told").data.payment.expect("a payment").amount, Some(500));

        // One that waited while its customer was deleted.
        let before = rig.stage.receiver.count(HOOK);
        rig.stage.receiver.script(HOOK, [Reply::Status(500)]);
        let eve = client.customers().create(&Details::new().name("Eve")).await.expect("made");
        let count = async || rig.stage.receiver.count(HOOK);
        eventually("it was tried", count, |count| *count > before).await;
        client.customers().delete(eve.id, AtDeletion::ErasePayments).await.expect("deleted");
        let cut = || {
            read()
                .into_iter()
                .filter(|one| one.kind() == Some(EventType::CustomerCreated))
                .any(|one| one.data.customer == Some(Told::Cut { id: eve.id, deleted: true }))
        };
        eventually("it is told what is left", async || cut(), |cut| *cut).await;
        assert!(rig.daemon.stop().await.success());
    })
    .await;
}
