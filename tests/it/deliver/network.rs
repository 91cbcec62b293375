//! The network between us and a receiver: it refuses, cuts, swallows, holds up, and cuts in the middle of either way.

use super::{Setup, millis, requests, settings};
use crate::support::{
    proxy::{Direction, Proxy},
    receiver::{Receiver, Reply},
    services::on_both,
    wait::eventually,
};
use customer_sync::{
    deliver::{Settings, schedule::Schedule},
    model::{id::EndpointId, message::EventType},
};

/// What the network does while a message is first tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    /// Nobody listens.
    Refuse,
    /// The connection is reset while the answer is awaited.
    Cut,
    /// Everything is taken and nothing comes, as where a firewall drops what it is sent.
    BlackHole,
    /// Everything comes, later than is waited for.
    Late,
    /// What goes one way waits.
    Hold(Direction),
    /// The connection is reset when so many bytes have gone one way.
    CutAfter(Direction, usize),
}

/// Each with how the reason begins that is told of it.
const FAULTS: [(Fault, &str); 9] = [
    (Fault::Refuse, "no connection: Connection refused"),
    (Fault::Cut, "the exchange broke off: "),
    (Fault::BlackHole, "no answer within 1500 ms"),
    (Fault::Late, "no answer within 1500 ms"),
    (Fault::Hold(Direction::Up), "no answer within 1500 ms"),
    (Fault::Hold(Direction::Down), "no answer within 1500 ms"),
    // Within the request's headers, the answer's headers, and its body.
    (Fault::CutAfter(Direction::Up, 100), "the exchange broke off: "),
    (Fault::CutAfter(Direction::Down, 20), "the exchange broke off: "),
    (Fault::CutAfter(Direction::Down, 4_000), "the exchange broke off: "),
];

/// An endpoint behind a network of its own.
struct Way {
    fault: Fault,
    reason: &'static str,
    path: String,
    endpoint: EndpointId,
    proxy: Proxy,
}

impl Way {
    async fn new(setup: &Setup, receiver: &Receiver, place: usize) -> Self {
        let (fault, reason) = FAULTS[place];
        let path = format!("/{place}");
        let url = receiver.url(&path);
        let mut proxy = Proxy::before(&url).await;
        let (endpoint, _) = setup.endpoint(&proxy.url(&url), &["*"]).await;
        match fault {
            Fault::Refuse => proxy.refuse().await,
            Fault::Cut => receiver.script(&path, [Reply::Hang]),
            Fault::BlackHole => proxy.fall_silent(),
            Fault::Late => proxy.delay(millis(3_000)),
            Fault::Hold(direction) => proxy.hold(direction),
            Fault::CutAfter(direction, bytes) => {
                // Less than is read of an answer, so that its end is waited for.
                receiver.script(&path, [Reply::Huge(8_000)]);
                proxy.cut_after(direction, bytes);
            }
        }
        Self { fault, reason, path, endpoint, proxy }
    }

    /// Every try that has ended failed by this fault, and for no other reason; there is one.
    async fn fails(&self, setup: &Setup) {
        let look = async || {
            let mut tries = setup.tries(self.endpoint).await;
            tries.retain(|tried| tried.finished_at.is_some());
            tries
        };
        let what = format!("a try meets {:?}", self.fault);
        let tries = eventually(&what, look, |tries| !tries.is_empty()).await;
        let first = &tries[0];
        let error = first.error.as_deref().unwrap_or_default();
        assert!(error.starts_with(self.reason), "{:?}: {first:?}", self.fault);
        assert_eq!((first.number, first.outcome.as_deref()), (1, Some("failed")), "{first:?}");
        assert!(first.duration_ms.is_some() && !error.contains("http://"), "{first:?}");
    }

    /// It was delivered in the end, with every try before recorded with its reason.
    async fn is_delivered(&self, setup: &Setup, receiver: &Receiver) {
        let kept = setup.all_are(self.endpoint, "delivered").await;
        let tries = setup.tries(self.endpoint).await;
        let (last, before) = tries.split_last().expect("tries");
        assert_eq!(last.outcome.as_deref(), Some("delivered"), "{:?}: {tries:?}", self.fault);
        assert_eq!((last.status_code, last.error.as_deref()), (Some(200), None), "{last:?}");
        let numbers = tries.iter().map(|tried| tried.number);
        assert!(numbers.eq(1..=kept[0].attempts), "{:?}: {tries:?}", self.fault);
        for tried in before {
            let error = tried.error.as_deref().unwrap_or_default();
            assert_eq!(tried.outcome.as_deref(), Some("failed"), "{tried:?}");
            // What was held may come too late when it is let go.
            let is_told = error.starts_with(self.reason) || error.starts_with("no answer within");
            assert!(is_told, "{:?}: {tried:?}", self.fault);
        }
        let ids = receiver.requests(&self.path);
        let id = kept[0].id.to_string();
        assert!(!ids.is_empty() && ids.iter().all(|request| request.header("webhook-id") == id));
    }
}

#[tokio::test]
async fn whatever_the_network_does_every_message_arrives_and_every_try_says_what_it_was() {
    on_both(async |database| {
        let (setup, receiver) = (Setup::new(database), Receiver::start().await);
        let mut ways = Vec::new();
        for place in 0..FAULTS.len() {
            ways.push(Way::new(&setup, &receiver, place).await);
        }
        let patient = Settings {
            timeout: millis(1_500),
            schedule: Schedule::new(vec![millis(400); 30]),
            ..settings()
        };
        let running = setup.start(patient);
        setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
        for way in &ways {
            if way.fault == Fault::Cut {
                requests(&receiver, &way.path, 1).await;
                way.proxy.cut();
            }
        }
        for way in &ways {
            way.fails(&setup).await;
        }
        for way in &mut ways {
            way.proxy.mend().await;
        }
        for way in &ways {
            way.is_delivered(&setup, &receiver).await;
        }
        running.stop().await;
    })
    .await;
}
