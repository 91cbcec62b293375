//! The app's side: a receiver that checks every signature with code of its own, and knows which messages it has.

use anyhow::Context as _;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};

/// What signs.
pub(crate) const SECRET: &str = "whsec_bG9hZCBoYXJuZXNzIGVuZHBvaW50IHNlY3JldCAwMDE=";

#[derive(Debug)]
struct Shared {
    key: Hmac<Sha256>,
    seen: Mutex<Seen>,
    arrived: Notify,
}

/// What has arrived since the last [`Receiver::forget`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The ids of the messages whose signature was right.
    pub(crate) verified: HashSet<String>,
    /// Requests whose signature was wrong or missing.
    pub(crate) refused: usize,
    /// When each of them came.
    pub(crate) at: Vec<Instant>,
}

/// A running receiver; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// Where the app is told.
    pub(crate) url: String,
    /// Where the same is done and nothing noted.
    pub(crate) quiet_url: String,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

impl Receiver {
    /// Starts one.
    ///
    /// # Errors
    /// When there is no free port.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let key = STANDARD.decode(SECRET.trim_start_matches("whsec_")).context("a secret")?;
        let key = Hmac::new_from_slice(&key).context("a key")?;
        let shared = Arc::new(Shared { key, seen: Mutex::default(), arrived: Notify::new() });
        let app = Router::new()
            .route("/hook", post(take))
            .route(
                "/quiet",
                post(async |State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes| {
                    if shared.is_signed(&headers, &body) {
                        StatusCode::OK
                    } else {
                        StatusCode::UNAUTHORIZED
                    }
                }),
            )
            .with_state(shared.clone());
        let mut server = JoinSet::new();
        server.spawn(async move {
            // It ends with the harness.
            let _ = axum::serve(listener, app).await;
        });
        let (quiet_url, url) = (format!("{url}/quiet"), format!("{url}/hook"));
        Ok(Self { url, quiet_url, shared, _server: server })
    }

    /// Begins anew.
    pub(crate) fn forget(&self) {
        *lock(&self.shared.seen) = Seen::default();
    }

    /// What has arrived so far.
    pub(crate) fn seen(&self) -> Seen {
        lock(&self.shared.seen).clone()
    }

    /// How many requests have come so far.
    pub(crate) fn count(&self) -> usize {
        lock(&self.shared.seen).at.len()
    }

    /// Waits until more than so many have come; when the first of those did.
    pub(crate) async fn after(&self, count: usize) -> Instant {
        loop {
            let arrived = self.shared.arrived.notified();
            if let Some(at) = lock(&self.shared.seen).at.get(count) {
                return *at;
            }
            arrived.await;
        }
    }
}

impl Shared {
    fn is_signed(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let mut mac = self.key.clone();
        let (id, stamp) = (header(headers, "webhook-id"), header(headers, "webhook-timestamp"));
        for part in [id.as_bytes(), b".", stamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        let given = header(headers, "webhook-signature").strip_prefix("v1,").unwrap_or_default();
        STANDARD.decode(given).is_ok_and(|given| mac.verify_slice(&given).is_ok())
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let at = Instant::now();
    let good = shared.is_signed(&headers, &body);
    let mut seen = lock(&shared.seen);
    seen.at.push(at);
    if good {
        seen.verified.insert(header(&headers, "webhook-id").to_owned());
    } else {
        seen.refused += 1;
    }
    drop(seen);
    shared.arrived.notify_one();
    if good { StatusCode::OK } else { StatusCode::UNAUTHORIZED }
}
