//! One POST to one receiver, within one deadline. The only file that knows the HTTP client.

use crate::deliver::{
    guard::{self, Guard, Refused},
    spec,
};
use bytes::Bytes;
use reqwest::{
    Body, Response,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect::Policy,
};
use std::{error::Error, net::SocketAddr, sync::Arc, time::Duration};

/// How we call ourselves.
const USER_AGENT: &str = concat!("customer-sync/", env!("CARGO_PKG_VERSION"));

/// The HTTP client cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be made: are the system's root certificates installed?")]
pub struct Unusable(#[source] reqwest::Error);

/// Sends. Keeps connections open for a while; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    guard: Arc<Guard>,
    response_cap: usize,
}

/// What is sent.
#[derive(Debug)]
pub struct Request<'r> {
    /// Where to.
    pub url: &'r str,
    /// The endpoint's own headers; reserved names among them are left out.
    pub headers: Vec<(&'r str, &'r str)>,
    /// Those that sign it.
    pub signature: &'r [(&'r str, String)],
    /// The body: JSON.
    pub body: Arc<str>,
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

impl Client {
    /// One that keeps to these rules, and reads at most so many bytes of an answer's body.
    ///
    /// # Errors
    /// When the system has no root certificates.
    pub fn new(guard: Guard, response_cap: usize, idle_per_host: usize) -> Result<Self, Unusable> {
        // The process's TLS provider; it is no error that it was installed before.
        drop(rustls::crypto::ring::default_provider().install_default());
        let guard = Arc::new(guard);
        let http = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .no_proxy()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .dns_resolver(Arc::new(Resolver(guard.clone())))
            .pool_max_idle_per_host(idle_per_host)
            .pool_idle_timeout(Duration::from_secs(20))
            .build()
            .map_err(Unusable)?;
        Ok(Self { http, guard, response_cap })
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
        let response = self
            .http
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

/// The body of a message, shared by all its receivers.
struct Shared(Arc<str>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn headers(request: &Request<'_>) -> Result<HeaderMap, String> {
    let own = request.headers.iter().filter(|(name, _)| !spec::is_reserved(name)).copied();
    let signed = request.signature.iter().map(|(name, value)| (*name, value.as_str()));
    let mut headers = HeaderMap::new();
    for (name, value) in own.chain(signed) {
        let bad = || format!("the header `{name}` cannot be sent");
        let value = HeaderValue::from_str(value).map_err(|_| bad())?;
        headers.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?, value);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
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

/// Resolves names by the system, and leaves out the addresses that must not be connected to: the client then
/// connects to what was checked, and to nothing else.
struct Resolver(Arc<Guard>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let permitted: Vec<SocketAddr> =
                found.filter(|address| guard.permits(address.ip())).collect();
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

    #[tokio::test]
    async fn a_name_that_resolves_to_no_public_address_is_refused_on_the_socket() {
        let resolver = Resolver(Arc::new(Guard::default()));
        let Err(error) = resolver.resolve("localhost".parse().expect("a name")).await else {
            panic!("it resolved")
        };
        assert_eq!(error.downcast_ref(), Some(&Refused::Name("localhost".into())));
        let guard = Guard {
            allow_networks: vec!["127.0.0.0/8".parse().expect("a network")],
            ..Guard::default()
        };
        let resolver = Resolver(Arc::new(guard));
        let found =
            resolver.resolve("localhost".parse().expect("a name")).await.expect("addresses");
        assert!(found.into_iter().all(|address| address.ip().is_ipv4()));
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
            signature: &signature,
            body: "{}".into(),
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
    }
}
