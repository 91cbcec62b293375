//! How many requests a second an endpoint is sent, by however many processes.

use super::{Setup, millis, settings};
use crate::support::{receiver::Receiver, services::on_both};
use customer_sync::model::{endpoint::EndpointSettings, message::EventType};

#[tokio::test]
async fn a_rate_limit_holds_over_all_processes_and_for_nobody_else() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        let limited = EndpointSettings { rate_limit: Some(20), ..EndpointSettings::default() };
        let (slow, _) = setup.endpoint_with(&receiver.url("/slow"), &["*"], limited).await;
        let (quick, _) = setup.endpoint(&receiver.url("/quick"), &["*"]).await;
        let processes = [setup.start(settings()), setup.start(settings())];
        setup.tell(30, EventType::CustomerCreated, Some(&processes[0].handover)).await;
        setup.tell(30, EventType::CustomerUpdated, Some(&processes[1].handover)).await;
        setup.all_are(quick, "delivered").await;
        let kept = setup.all_are(slow, "delivered").await;
        assert!(kept.iter().all(|message| message.attempts == 1), "waiting costs no try");
        let came = receiver.requests("/slow");
        let (first, last) = (came[0].at, came[came.len() - 1].at);
        assert_eq!(came.len(), 60);
        assert!(last - first >= millis(2_800), "59 waits of 50 ms: {:?}", last - first);
        let most = came
            .iter()
            .map(|one| came.iter().filter(|it| it.at >= one.at && it.at < one.at + millis(1_000)))
            .map(Iterator::count)
            .max();
        assert!(most <= Some(30), "{most:?} within a second");
        let quick_took = receiver.requests("/quick").last().expect("the last").at - first;
        assert!(quick_took < last - first, "nobody else waits");
        for process in processes {
            process.stop().await;
        }
    })
    .await;
}
