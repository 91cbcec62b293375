//! Endpoints whose names change their addresses. What the names say is the test's own; all else is as it runs:
//! connections are made to real addresses, 127.0.0.1 to 127.0.0.3.

use super::{Setup, answers::first_try, millis, requests, settings};
use crate::support::{
    receiver::{Receiver, Reply},
    services::sqlite,
    wait::eventually,
};
use customer_sync::{
    deliver::{Settings, names::Names},
    model::message::EventType,
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
};

/// What the name means at the moment.
#[derive(Clone, Default)]
struct Zone(Arc<Mutex<Meaning>>);

#[derive(Default)]
struct Meaning {
    /// Nobody knows the name where there is none.
    addresses: Vec<IpAddr>,
    /// What it means from the next look-up on.
    then: Option<Vec<IpAddr>>,
    asked: usize,
}

impl Zone {
    fn means(&self, addresses: &[IpAddr]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Meaning { addresses: addresses.to_vec(), ..Meaning::default() };
    }

    /// The answer to one look-up, and to all that follow.
    fn means_once(&self, once: &[IpAddr], then: &[IpAddr]) {
        self.means(once);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).then = Some(then.to_vec());
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).asked
    }

    fn names(&self) -> Names {
        let zone = self.clone();
        Names::new(move |name| {
            let mut meaning = zone.0.lock().unwrap_or_else(PoisonError::into_inner);
            meaning.asked += 1;
            let answer = meaning.addresses.clone();
            if let Some(then) = meaning.then.take() {
                meaning.addresses = then;
            }
            async move {
                assert_eq!(name, "hook.example");
                if answer.is_empty() { Err(io::Error::other("no such name")) } else { Ok(answer) }
            }
        })
    }
}

fn host(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// The name's URL, on a receiver's port.
fn url(receiver: &Receiver) -> String {
    format!("http://hook.example:{}/", receiver.port())
}

/// 127.0.0.2 and 127.0.0.3 stand for the world outside, all other addresses of this machine for the inside.
fn outside(zone: &Zone) -> Settings {
    let networks = ["127.0.0.2/32", "127.0.0.3/32"].map(|net| net.parse().expect("a network"));
    Settings { names: zone.names(), ..settings() }.guarded_by(true, networks.to_vec())
}

/// Pain point 16: a name that is public when it is looked at and private when it is connected to.
#[tokio::test]
async fn a_name_that_turns_inward_between_two_looks_leads_nowhere() {
    let (setup, zone) = (Setup::new(sqlite().await), Zone::default());
    let receiver = Receiver::start_at(SocketAddr::new(host(2), 0)).await;
    let close = || Reply::With(200, "connection", "close".into());
    receiver.always("/", close());
    let inside = TcpListener::bind((host(1), receiver.port())).expect("the same port");
    inside.set_nonblocking(true).expect("it does not wait");
    let nobody_came = || inside.accept().is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock);
    let (endpoint, _) = setup.endpoint(&url(&receiver), &["*"]).await;
    let running = setup.start(outside(&zone));

    // What is checked is what is connected to: the name is not asked for again in between.
    zone.means_once(&[host(2)], &[host(1)]);
    setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
    setup.all_are(endpoint, "delivered").await;
    assert_eq!((zone.asked(), receiver.count("/")), (1, 1));

    // Of several addresses only those are tried that may be.
    zone.means(&[host(1), host(2)]);
    setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
    setup.all_are(endpoint, "delivered").await;
    assert_eq!(receiver.count("/"), 2);
    assert!(nobody_came(), "the inside was connected to");
    running.stop().await;

    zone.means(&[host(1)]);
    let (status, error, _) = first_try(&setup, &url(&receiver), outside(&zone)).await;
    assert_eq!(status, None);
    assert!(error.starts_with("hook.example has no public address"), "{error}");
    assert!(nobody_came(), "the inside was connected to");
}

/// The old address still answers, on a connection that is kept open: that must not hold the message there.
#[tokio::test]
async fn an_endpoint_whose_name_moves_is_reached_at_its_new_address_on_the_next_try() {
    let (setup, zone) = (Setup::new(sqlite().await), Zone::default());
    let old = Receiver::start_at(SocketAddr::new(host(2), 0)).await;
    let new = Receiver::start_at(SocketAddr::new(host(3), old.port())).await;
    let (endpoint, _) = setup.endpoint(&url(&old), &["*"]).await;
    let running = setup.start(outside(&zone));
    zone.means(&[host(2)]);
    setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
    setup.all_are(endpoint, "delivered").await;

    zone.means(&[host(3)]);
    old.always("/", Reply::Status(503));
    setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
    let kept = setup.all_are(endpoint, "delivered").await;
    let attempts: Vec<i64> = kept.iter().map(|message| message.attempts).collect();
    assert_eq!((old.count("/"), new.count("/")), (2, 1));
    assert_eq!(attempts, [1, 2]);
    running.stop().await;
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_a_failure_until_somebody_does() {
    let (setup, zone) = (Setup::new(sqlite().await), Zone::default());
    let receiver = Receiver::start_at(SocketAddr::new(host(2), 0)).await;
    let (endpoint, _) = setup.endpoint(&url(&receiver), &["*"]).await;
    let running = setup.start(outside(&zone));
    setup.tell(1, EventType::CustomerCreated, Some(&running.handover)).await;
    let look = async || setup.tries(endpoint).await.remove(0);
    let first = eventually("it failed", look, |tried| tried.finished_at.is_some()).await;
    assert_eq!(first.error.as_deref(), Some("no connection: no such name"));
    zone.means(&[host(2)]);
    requests(&receiver, "/", 1).await;
    setup.all_are(endpoint, "delivered").await;
    running.stop().await;
}

#[tokio::test]
async fn a_name_that_is_never_answered_for_is_given_up_at_the_deadline() {
    let setup = Setup::new(sqlite().await);
    let names = Names::new(|_| std::future::pending());
    let silent = Settings { names, timeout: millis(300), ..settings() };
    let (status, error, _) = first_try(&setup, "http://hook.example/", silent).await;
    assert_eq!((status, error.as_str()), (None, "no answer within 300 ms"));
}
