//! A webhook receiver as an app would have one: it keeps every request, checks signatures with code of its
//! own, and answers as the script says.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::stream;
use hmac::{Hmac, KeyInit as _, Mac as _};
use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::Semaphore,
    task::JoinSet,
    time::Instant,
};

/// How the receiver answers one request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// With a status and a short body.
    Status(u16),
    /// With a status and one header.
    With(u16, &'static str, String),
    /// With a status, and what it was sent.
    Echo(u16),
    /// Never.
    Hang,
    /// 200 at once, then one byte of the body at a time, without end.
    Drip(Duration),
    /// 200 with so many bytes.
    Huge(usize),
    /// 200, after a while.
    Slow(Duration),
    /// With a status, once there is a permit, which it uses up.
    Held(Arc<Semaphore>, u16),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) at: Instant,
}

impl Request {
    /// A header's text; empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("headers are text"))
    }

    /// The body, parsed.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// Whether one of the signatures is that of this secret, by the text of Standard Webhooks.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let key =
            STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).expect("any length");
        mac.update(self.header("webhook-id").as_bytes());
        mac.update(b".");
        mac.update(self.header("webhook-timestamp").as_bytes());
        mac.update(b".");
        mac.update(&self.body);
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        self.header("webhook-signature").split(' ').any(|signature| signature == expected)
    }
}

#[derive(Debug, Default)]
struct Seen {
    requests: Mutex<Vec<Request>>,
    scripts: Mutex<HashMap<String, VecDeque<Reply>>>,
    always: Mutex<HashMap<String, Reply>>,
    about: Mutex<Vec<(String, Reply)>>,
    served: AtomicUsize,
    under_way: AtomicUsize,
    most_at_once: AtomicUsize,
}

/// A running receiver; it ends with the test.
#[derive(Debug)]
pub(crate) struct Receiver {
    port: u16,
    seen: Arc<Seen>,
    _server: JoinSet<()>,
}

impl Receiver {
    /// Starts one that answers 200 to everything.
    pub(crate) async fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// The same at an address; a port of 0 is any that is free.
    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::new(Seen::default());
        let app = Router::new().fallback(answer).with_state(seen.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self { port, seen, _server: server }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where a path is.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Answers the next requests to a path so, one after the other.
    pub(crate) fn script(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        lock(&self.seen.scripts).entry(path.into()).or_default().extend(replies);
    }

    /// How many answers of a path's script were not given yet.
    pub(crate) fn scripted(&self, path: &str) -> usize {
        lock(&self.seen.scripts).get(path).map_or(0, VecDeque::len)
    }

    /// Answers every request to a path so, once its script is over.
    pub(crate) fn always(&self, path: &str, reply: Reply) {
        lock(&self.seen.always).insert(path.into(), reply);
    }

    /// Answers every request so whose body has this in it, whatever its path; `None` takes that back.
    pub(crate) fn always_about(&self, text: &str, reply: Option<Reply>) {
        let mut about = lock(&self.seen.about);
        about.retain(|(known, _)| known != text);
        about.extend(reply.map(|reply| (text.to_owned(), reply)));
    }

    /// What came to a path so far.
    pub(crate) fn requests(&self, path: &str) -> Vec<Request> {
        let all = lock(&self.seen.requests);
        all.iter().filter(|request| request.path == path).cloned().collect()
    }

    /// How many requests came to a path so far.
    pub(crate) fn count(&self, path: &str) -> usize {
        lock(&self.seen.requests).iter().filter(|request| request.path == path).count()
    }

    /// How many requests it was answering at once, at most.
    pub(crate) fn most_at_once(&self) -> usize {
        self.seen.most_at_once.load(Ordering::SeqCst)
    }

    /// How many bytes of bodies were asked of it so far.
    pub(crate) fn served(&self) -> usize {
        self.seen.served.load(Ordering::SeqCst)
    }
}

/// A request that is being answered.
struct UnderWay(Arc<Seen>);

impl UnderWay {
    fn begin(seen: &Arc<Seen>) -> Self {
        let now = seen.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_at_once.fetch_max(now, Ordering::SeqCst);
        Self(seen.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(
    State(seen): State<Arc<Seen>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let _under_way = UnderWay::begin(&seen);
    let path = uri.path().to_owned();
    let text = String::from_utf8_lossy(&body).into_owned();
    let about = lock(&seen.about)
        .iter()
        .find(|(known, _)| text.contains(known))
        .map(|(_, reply)| reply.clone());
    let request = Request { path: path.clone(), headers, body, at: Instant::now() };
    lock(&seen.requests).push(request);
    let scripted = lock(&seen.scripts).get_mut(&path).and_then(VecDeque::pop_front);
    let reply = about.or(scripted).or_else(|| lock(&seen.always).get(&path).cloned());
    match reply.unwrap_or(Reply::Status(200)) {
        Reply::Status(code) => (status(code), "thanks").into_response(),
        Reply::With(code, name, value) => (status(code), [(name, value)], "").into_response(),
        Reply::Echo(code) => (status(code), text).into_response(),
        Reply::Hang => std::future::pending().await,
        Reply::Drip(pause) => {
            let drops = stream::unfold((), move |()| async move {
                tokio::time::sleep(pause).await;
                Some((Ok::<_, Infallible>(Bytes::from_static(b".")), ()))
            });
            Body::from_stream(drops).into_response()
        }
        Reply::Huge(bytes) => {
            let chunks = stream::unfold(bytes, move |left| {
                let chunk = left.min(64 * 1024);
                seen.served.fetch_add(chunk, Ordering::SeqCst);
                async move {
                    (left > 0).then(|| {
                        (Ok::<_, Infallible>(Bytes::from(vec![b'x'; chunk])), left - chunk)
                    })
                }
            });
            Body::from_stream(chunks).into_response()
        }
        Reply::Slow(pause) => {
            tokio::time::sleep(pause).await;
            status(200).into_response()
        }
        Reply::Held(gate, code) => {
            gate.acquire().await.expect("the gate stays").forget();
            status(code).into_response()
        }
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).expect("a status")
}

/// A listener that answers every connection with these bytes and closes it; its URL.
pub(crate) async fn raw(bytes: &'static [u8]) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let mut server = JoinSet::new();
    server.spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 16 * 1024];
            assert!(socket.read(&mut request).await.is_ok(), "the request comes");
            socket.write_all(bytes).await.expect("it takes the bytes");
        }
    });
    (url, server)
}
