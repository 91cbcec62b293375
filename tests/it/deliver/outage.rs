//! A database that goes away while deliveries are under way.

use super::{Running, Setup, millis, requests, settings};
use crate::support::{
    receiver::{Receiver, Reply},
    services::postgres,
};
use customer_sync::{
    deliver::Deliverer, health::Health, model::message::EventType, shutdown::Shutdown, store::Db,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// A way to a server that can be cut and mended.
struct Way {
    port: u16,
    server: String,
    open: JoinSet<()>,
}

impl Way {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let mut way = Self { port, server, open: JoinSet::new() };
        way.serve(listener);
        way
    }

    fn serve(&mut self, listener: TcpListener) {
        let server = self.server.clone();
        self.open.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let server = server.clone();
                connections.spawn(async move {
                    let mut far = TcpStream::connect(server).await.expect("the server is there");
                    copy_bidirectional(&mut near, &mut far).await.is_ok()
                });
            }
        });
    }

    /// Breaks every connection and takes no new ones.
    async fn cut(&mut self) {
        self.open.shutdown().await;
    }

    async fn mend(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.expect("the same port");
        self.serve(listener);
    }
}

// Retries that lived in what had failed were lost: Vexa-ai/vexa#520.
#[tokio::test]
async fn results_are_kept_while_the_database_is_away_and_nothing_is_sent_twice() {
    let (setup, receiver) = (Setup::new(postgres().await), Receiver::start().await);
    receiver.always("/", Reply::Slow(millis(300)));
    let (endpoint, _) = setup.endpoint(&receiver.url("/"), &["*"]).await;
    let mut url = url::Url::parse(&setup.database.url).expect("a URL");
    let server = format!("{}:{}", url.host_str().expect("a host"), url.port().unwrap_or(5432));
    let mut way = Way::to(server).await;
    url.set_host(Some("127.0.0.1")).expect("a host");
    url.set_port(Some(way.port)).expect("a port");
    let db = Db::open(url.as_str(), 4).await.expect("it opens");

    let health = Health::new(setup.clock.clone());
    let (clock, keyring) = (setup.clock.clone(), setup.keyring.clone());
    let (deliverer, handover) =
        Deliverer::new(db, keyring, clock, health.clone(), settings()).expect("a deliverer");
    let shutdown = Shutdown::new();
    shutdown.spawn_role("deliver", deliverer.run(shutdown.clone()));
    let running = Running { shutdown, handover };

    setup.tell(4, EventType::CustomerCreated, Some(&running.handover)).await;
    requests(&receiver, "/", 4).await;
    way.cut().await;
    tokio::time::sleep(millis(700)).await;
    assert!(setup.kept(endpoint).await.iter().all(|message| message.status == "pending"));
    way.mend().await;
    let kept = setup.all_are(endpoint, "delivered").await;
    assert!(kept.iter().all(|message| message.attempts == 1));
    assert_eq!(receiver.count("/"), 4);

    setup.tell(1, EventType::CustomerCreated, None).await;
    assert_eq!(setup.all_are(endpoint, "delivered").await.len(), 5);
    assert!(health.is_ok());
    running.stop().await;
}
