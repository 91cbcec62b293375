//! One POST to one receiver, within one deadline. The only file that knows the HTTP client.

use crate::deliver::{
    guard::{self, Guard, Refused},
    names::Names,
    spec,
};
use bytes::Bytes;
use reqwest::{
    Body, Response,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{self, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect::Policy,
};
use std::{
    collections::BTreeMap,
    error::Error,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How we call ourselves.
const USER_AGENT: &str = concat!("customer-sync/", env!("CARGO_PKG_VERSION"));

/// What a body is.
const JSON: &str = "application/json";

/// What stands for a value that may be a credential.
const HIDDEN: &str = "[secret]";

/// How long first tries use the connections that are open: for so long the old address of a name that has moved may
/// still be sent to, if it answers.
const FIRST: Duration = Duration::from_secs(30);

/// The same for later tries. Less than the first wait of the default schedule, so that what failed goes out on a
/// connection that was opened after that, to the address that holds then.
const LATER: Duration = Duration::from_secs(4);

/// The HTTP client cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be made: are the system's root certificates installed?")]
pub struct Unusable(#[source] reqwest::Error);

/// Sends. Keeps connections open for a while; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    first: Arc<Connections>,
    later: Arc<Connections>,
    guard: Arc<Guard>,
    response_cap: usize,
}

/// Connections that are used again and again, until all of them are left for new ones.
#[derive(Debug)]
struct Connections {
    last: Duration,
    maker: Maker,
    open: Mutex<(reqwest::Client, Instant)>,
}

/// What connections are made by.
#[derive(Clone, Debug)]
struct Maker {
    guard: Arc<Guard>,
    names: Names,
    idle_per_host: usize,
}

/// What is sent.
#[derive(Debug)]
pub struct Request<'r> {
    /// Where to.
    pub url: &'r str,
    /// The endpoint's own headers; reserved names among them are left out.
    pub headers: Vec<(&'r str, &'r str)>,
    /// Those that sign it, and its place in a trace.
    pub ours: &'r [(&'r str, String)],
    /// The body: JSON.
    pub body: Arc<str>,
    /// Whether it was sent before, in vain.
    pub again: bool,
}

/// A whole answer, or as much of it as we read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header of that name.
    pub retry_after: Option<String>,
    /// The body's beginning.
    pub body: String,
}

/// There was no answer, or not all of it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{why}")]
pub struct Failure {
    /// The HTTP status, if it came so far.
    pub status: Option<u16>,
    /// What went wrong.
    pub why: String,
}

impl Request<'_> {
    /// Its headers, for keeping: of the endpoint's own the names alone, since their values may be credentials.
    pub fn shown_headers(&self) -> BTreeMap<String, String> {
        let fixed = [(CONTENT_TYPE, JSON), (header::USER_AGENT, USER_AGENT)];
        let fixed = fixed.map(|(name, value)| (name.to_string(), value.to_owned()));
        let own = self.own().map(|(name, _)| (name.to_ascii_lowercase(), HIDDEN.to_owned()));
        let ours = self.ours.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
        fixed.into_iter().chain(own).chain(ours).collect()
    }

    fn own(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().filter(|(name, _)| !spec::is_reserved(name)).copied()
    }
}

impl Client {
    /// One that keeps to these rules, and reads at most so many bytes of an answer's body.
    ///
    /// # Errors
    /// When the system has no root certificates.
    pub fn new(
        guard: Guard,
        names: Names,
        response_cap: usize,
        idle_per_host: usize,
    ) -> Result<Self, Unusable> {
        let guard = Arc::new(guard);
        let maker = Maker { guard: guard.clone(), names, idle_per_host };
        let first = Arc::new(Connections::new(maker.clone(), FIRST)?);
        let later = Arc::new(Connections::new(maker, LATER)?);
        Ok(Self { first, later, guard, response_cap })
    }

    /// Sends, and reads the answer up to the cap; all of it within the deadline.
    ///
    /// # Errors
    /// When the address is refused, or no whole answer came in time.
    pub async fn post(&self, request: Request<'_>, deadline: Duration) -> Result<Answer, Failure> {
        let mut status = None;
        let exchange = self.exchange(request, &mut status);
        let result = tokio::time::timeout(deadline, exchange).await;
        match result {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => Err(Failure { status, why }),
            Err(_) => {
                let what = if status.is_some() { "no whole answer" } else { "no answer" };
                let why = format!("{what} within {} ms", deadline.as_millis());
                Err(Failure { status, why })
            }
        }
    }

    async fn exchange(
        &self,
        request: Request<'_>,
        status: &mut Option<u16>,
    ) -> Result<Answer, String> {
        let url =
            guard::check_url(request.url, &self.guard).map_err(|refused| refused.to_string())?;
        let connections = if request.again { &self.later } else { &self.first };
        let response = connections
            .http()
            .post(url)
            .headers(headers(&request)?)
            .body(Body::from(Bytes::from_owner(Shared(request.body))))
            .send()
            .await
            .map_err(|error| told(&error))?;
        *status = Some(response.status().as_u16());
        let retry_after = response.headers().get(RETRY_AFTER);
        Ok(Answer {
            status: response.status().as_u16(),
            retry_after: retry_after.and_then(|value| value.to_str().ok()).map(str::to_owned),
            body: self.read(response).await?,
        })
    }

    /// The body up to the cap. What is beyond it is never read: the connection is closed instead.
    async fn read(&self, mut response: Response) -> Result<String, String> {
        let mut body = Vec::new();
        while body.len() < self.response_cap {
            match response.chunk().await.map_err(|error| told(&error))? {
                Some(chunk) => {
                    let room = self.response_cap.saturating_sub(body.len());
                    body.extend(chunk.iter().take(room));
                }
                None => break,
            }
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

impl Connections {
    fn new(maker: Maker, last: Duration) -> Result<Self, Unusable> {
        let open = Mutex::new((maker.http().map_err(Unusable)?, Instant::now()));
        Ok(Self { last, maker, open })
    }

    /// The client whose connections are young enough. Those of the one before close when its last answer is read.
    fn http(&self) -> reqwest::Client {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.1.elapsed() >= self.last {
            match self.maker.http() {
                Ok(new) => *open = (new, Instant::now()),
                Err(error) => {
                    tracing::warn!(%error, "the HTTP client cannot be made anew: the old connections stay in use");
                }
            }
        }
        open.0.clone()
    }
}

impl Maker {
    fn http(&self) -> reqwest::Result<reqwest::Client> {
        // The process's TLS provider; it is no error that it was installed before.
        drop(rustls::crypto::ring::default_provider().install_default());
        reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .no_proxy()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .dns_resolver(Arc::new(Resolver(self.guard.clone(), self.names.clone())))
            .pool_max_idle_per_host(self.idle_per_host)
            .pool_idle_timeout(Duration::from_secs(20))
            .build()
    }
}

/// The body of a message, shared by all its receivers.
struct Shared(Arc<str>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn headers(request: &Request<'_>) -> Result<HeaderMap, String> {
    let ours = request.ours.iter().map(|(name, value)| (*name, value.as_str()));
    let mut headers = HeaderMap::new();
    for (name, value) in request.own().chain(ours) {
        let bad = || format!("the header `{name}` cannot be sent");
        let value = HeaderValue::from_str(value).map_err(|_| bad())?;
        headers.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?, value);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    Ok(headers)
}

/// What to tell of an error: the guard's own words, else the innermost cause, without the URL.
fn told(error: &reqwest::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if innermost.is::<Refused>() {
        return innermost.to_string();
    }
    let stage = if error.is_connect() { "no connection" } else { "the exchange broke off" };
    format!("{stage}: {innermost}")
}

/// Resolves names, and leaves out the addresses that must not be connected to: the client then connects to what
/// was checked, and to nothing else.
struct Resolver(Arc<Guard>, Names);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Self(guard, names) = self;
        let (guard, names) = (guard.clone(), names.clone());
        Box::pin(async move {
            let found = names.addresses(name.as_str()).await?;
            let permitted = found.into_iter().filter(|address| guard.permits(*address));
            let permitted: Vec<SocketAddr> =
                permitted.map(|address| SocketAddr::new(address, 0)).collect();
            if permitted.is_empty() {
                return Err(Refused::Name(name.as_str().to_owned()).into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        task::JoinSet,
    };

    #[tokio::test]
    async fn a_name_that_resolves_to_no_public_address_is_refused_on_the_socket() {
        let resolver = Resolver(Arc::new(Guard::default()), Names::default());
        let Err(error) = resolver.resolve("localhost".parse().expect("a name")).await else {
            panic!("it resolved")
        };
        assert_eq!(error.downcast_ref(), Some(&Refused::Name("localhost".into())));
        let guard = Guard {
            allow_networks: vec!["127.0.0.0/8".parse().expect("a network")],
            ..Guard::default()
        };
        let resolver = Resolver(Arc::new(guard), Names::default());
        let found =
            resolver.resolve("localhost".parse().expect("a name")).await.expect("addresses");
        assert!(found.into_iter().all(|address| address.ip().is_ipv4()));
    }

    /// How many connections five requests in a row open, where connections last so long.
    async fn opened(last: Duration) -> usize {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let maker = Maker { guard: Arc::default(), names: Names::default(), idle_per_host: 4 };
        let connections = Connections::new(maker, last).expect("a client");
        let requests = async {
            for _ in 0..5 {
                let answer = connections.http().get(&url).send().await.expect("an answer");
                assert_eq!(answer.bytes().await.expect("a body"), "ok");
            }
        };
        let (mut opened, mut open) = (0, JoinSet::new());
        let accept = async {
            loop {
                let (mut socket, _) = listener.accept().await.expect("a connection");
                opened += 1;
                open.spawn(async move {
                    let mut request = [0; 4_096];
                    while socket.read(&mut request).await.is_ok_and(|length| length > 0) {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                        socket.write_all(answer).await.expect("it takes the answer");
                    }
                });
            }
        };
        tokio::select! {
            () = requests => {}
            () = accept => {}
        }
        opened
    }

    #[tokio::test]
    async fn connections_are_used_again_until_they_are_old() {
        assert_eq!(opened(Duration::from_hours(1)).await, 1);
        assert_eq!(opened(Duration::ZERO).await, 5);
    }

    #[test]
    fn an_endpoints_own_headers_never_replace_ours() {
        let signature = [("webhook-id", "msg_1".to_owned())];
        let request = Request {
            url: "https://example.com",
            headers: vec![
                ("Webhook-Id", "x"),
                ("host", "x"),
                ("content-type", "x"),
                ("x-own", "1"),
            ],
            ours: &signature,
            body: "{}".into(),
            again: false,
        };
        let headers = headers(&request).expect("headers");
        let mut shown: Vec<_> = headers.iter().map(|(k, v)| (k.as_str(), v.as_bytes())).collect();
        shown.sort_unstable();
        assert_eq!(
            shown,
            [
                ("content-type", b"application/json".as_slice()),
                ("webhook-id", b"msg_1"),
                ("x-own", b"1"),
            ]
        );
        let kept = request.shown_headers();
        let kept: Vec<_> =
            kept.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            kept,
            [
                ("content-type", "application/json"),
                ("user-agent", USER_AGENT),
                ("webhook-id", "msg_1"),
                ("x-own", "[secret]"),
            ]
        );
    }
}
