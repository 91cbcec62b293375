//! The HTTP API over real connections, on both databases.

use crate::support::services::TestDatabase;
use client::{Answer, Request};
use customer_sync::{
    clock::Clock,
    health::Health,
    http::{self, Settings, State},
    intake::{Ingress, embedded::Door},
    keyring::{self, Keyring},
    model::{
        authority::Authority,
        id::KeyId,
        inbound::Headers,
        key::Scope,
        reference::{Kind, Scope as Reach},
        secret::Secret,
        time::Timestamp,
    },
    pipeline::Pipeline,
    provider::{Malformed, Provider, Source, SourceSecret, about::About},
    shutdown::Shutdown,
    store::{
        Db,
        keys::{self, NewKey},
    },
    verify::{presets::STANDARD_WEBHOOKS, scheme::sign},
};
use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Notify};

mod access;
mod bad_input;
pub(crate) mod client;
mod compat;
mod conflicts;
mod connections;
mod customers;
mod errors;
mod filters;
mod inbound;
mod ingest;
mod limits;
mod openapi;
mod payments;
mod provenance;
mod records;
mod timeline;
mod top;
mod webhooks;
mod writes;

const SECRET: &str = "whsec_bWFuZHkgYmFrZXMgYSBsYXJnZSBjYWtlIGZvciBBZGE=";

/// Signs as the app does; reads nothing, since the ingress does not look inside.
static SIGNED: Provider = Provider {
    name: "canonical",
    authority: Authority::APP,
    kind: Kind::Auth,
    scheme: Some(STANDARD_WEBHOOKS),
    places: &[],
    about: About::UNLISTED,
    read: |_| Err(Malformed("nothing is read here".into())),
    objects: None,
    batch: None,
    captures_later: false,
    opens: None,
};

/// A running API with a key of each kind, in the environments `live` and `test`.
struct Api {
    address: SocketAddr,
    ingest: SocketAddr,
    db: Db,
    clock: Clock,
    keyring: Keyring,
    health: Health,
    shutdown: Shutdown,
    read: String,
    write: String,
    admin: String,
    /// Reads `test`.
    other: String,
}

impl Api {
    async fn start(database: &TestDatabase) -> Self {
        Self::start_with(database, Settings::default()).await
    }

    async fn start_with(database: &TestDatabase, settings: Settings) -> Self {
        let db = database.db.clone();
        let clock = Clock::manual(at("2026-03-01T12:00:00Z"));
        let keyring = Keyring::new(&format!("of {}", database.url));
        let sources = [source("app", "live"), source("sandbox", "test")];
        let pipeline = Pipeline {
            db: db.clone(),
            sources: Arc::new(HashMap::from(sources.map(|source| (source.name.clone(), source)))),
            keyring: keyring.clone(),
            clock: clock.clone(),
            handover: None,
        };
        let shutdown = Shutdown::new();
        let wake = Arc::new(Notify::new());
        let door = Door::new(db.clone(), clock.clone(), wake, shutdown.clone());
        let ingress = Ingress::Embedded(door);
        let health = Health::new(clock.clone());
        let render: http::RenderMetrics = Arc::new(|| "up 1\n".to_owned());
        let state =
            State::new(pipeline, ingress, health.clone(), settings, Some(render), shutdown.clone());
        let (listener, address) = listen().await;
        shutdown.spawn_role("http", http::serve(listener, state.clone(), shutdown.clone()));
        let (listener, ingest) = listen().await;
        shutdown.spawn_role("ingest", http::serve_ingest(listener, state, shutdown.clone()));
        let read = key(&db, &clock, "live", Scope::Read).await;
        let write = key(&db, &clock, "live", Scope::Write).await;
        let admin = key(&db, &clock, "live", Scope::Admin).await;
        let other = key(&db, &clock, "test", Scope::Admin).await;
        Self { address, ingest, db, clock, keyring, health, shutdown, read, write, admin, other }
    }

    /// A GET with the live environment's read key.
    async fn get(&self, path: &str) -> Answer {
        self.get_as(&self.read, path).await
    }

    async fn get_as(&self, key: &str, path: &str) -> Answer {
        Request::get(path).key(key).send(self.address).await
    }

    async fn post_as(&self, key: &str, path: &str) -> Answer {
        Request::post(path, b"").key(key).send(self.address).await
    }

    /// The headers with which the app signs a body now.
    fn signed(&self, body: &[u8]) -> Headers {
        let secret = Secret::new(SECRET);
        sign(&STANDARD_WEBHOOKS, &secret, body, "msg_1", self.clock.now(), None).expect("signed")
    }

    async fn stop(self) {
        self.shutdown.soft();
        assert!(self.shutdown.drain(Duration::from_secs(10)).await, "a server crashed");
    }
}

fn source(name: &str, environment: &str) -> Arc<Source> {
    Arc::new(Source {
        name: name.into(),
        provider: (&SIGNED).into(),
        mapping: None,
        environment: environment.into(),
        test_environment: None,
        namespace: name.into(),
        secrets: vec![SourceSecret { value: Secret::new(SECRET), from: None, until: None }],
        tolerance: None,
        url: None,
        subject_is_external_id: false,
        places: Vec::new(),
        authority: std::collections::BTreeMap::new(),
        on_delete: Reach::Auto,
        match_email: false,
        manual_capture: false,
        unsigned: false,
    })
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    (listener, address)
}

async fn key(db: &Db, clock: &Clock, environment: &str, scope: Scope) -> String {
    let mut tx = db.begin().await.expect("a transaction");
    let new = NewKey {
        id: KeyId(clock.new_id()),
        environment: environment.to_owned(),
        scope,
        name: None,
        token: Secret::new(keyring::new_token()),
        created_at: clock.now(),
    };
    let secret = keys::create(&mut tx, new).await.expect("a key is made");
    tx.commit().await.expect("committed");
    secret.expose().to_owned()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a time")
}
