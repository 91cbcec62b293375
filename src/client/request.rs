//! One request: sent, sent again where that may help, and its answer read.

use super::{Client, Error, Refusal};
use crate::{
    model::{answer::ErrorBody, time::Timestamp},
    retry::Backoff,
};
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// The first wait before a request is sent again, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(8));

/// Query parameters.
pub(super) type Query = Vec<(&'static str, String)>;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Request<'r> {
    method: Method,
    path: &'r [&'r str],
    query: Query,
    body: Option<Value>,
}

impl<'r> Request<'r> {
    /// Of the segments of a path after `/v1`.
    pub(super) fn new(method: Method, path: &'r [&'r str]) -> Self {
        Self { method, path, query: Query::new(), body: None }
    }

    pub(super) fn get(path: &'r [&'r str]) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn post(path: &'r [&'r str], body: Value) -> Self {
        Self { body: Some(body), ..Self::new(Method::POST, path) }
    }

    pub(super) fn with_query(self, query: Query) -> Self {
        Self { query, ..self }
    }

    pub(super) fn with_body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }
}

/// A request as it goes out, the same at each try.
struct Prepared {
    method: Method,
    url: Url,
    idempotency_key: Option<String>,
    body: Option<String>,
}

impl Client {
    /// Sends, and reads what is answered with success.
    pub(super) async fn send<T: DeserializeOwned>(&self, request: Request<'_>) -> Result<T, Error> {
        let is_write = request.method != Method::GET;
        let own = || self.clock.new_id().simple().to_string();
        let prepared = Prepared {
            url: self.url(request.path, &request.query)?,
            idempotency_key: is_write.then(|| self.idempotency_key.clone().unwrap_or_else(own)),
            body: request.body.map(|body| body.to_string()),
            method: request.method,
        };
        let mut backoff = Backoff::new(WAITS.0, WAITS.1);
        let mut left = self.retries;
        loop {
            let error = match self.attempt(&prepared).await {
                Ok(answered) => return Ok(answered),
                Err(error) => error,
            };
            let asked = error.retry_after().unwrap_or_default();
            if left == 0 || !error.may_pass() || asked > self.patience {
                return Err(error);
            }
            left -= 1;
            tokio::time::sleep(backoff.next().max(asked)).await;
        }
    }

    /// # Errors
    /// Where a part of the path cannot stand in a URL, which would name something else without it.
    fn url(&self, path: &[&str], query: &Query) -> Result<Url, Error> {
        let is_lost = |part: &&str| matches!(*part, "." | "..") || part.contains(char::is_control);
        if let Some(part) = path.iter().find(|part| is_lost(part)) {
            return Err(Error::Unsendable((*part).to_owned()));
        }
        let mut url = self.base.clone();
        // A URL of http or https always has segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn attempt<T: DeserializeOwned>(&self, prepared: &Prepared) -> Result<T, Error> {
        let mut request = self
            .http
            .request(prepared.method.clone(), prepared.url.clone())
            .bearer_auth(self.key.expose())
            .timeout(self.timeout);
        if let Some(key) = &prepared.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = &prepared.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        let response = request.send().await.map_err(Error::unanswered)?;
        self.read(response).await
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, Error> {
        let status = response.status();
        let retry_after = retry_after(response.headers(), self.clock.now());
        let body = response.bytes().await.map_err(Error::unanswered)?;
        let unreadable =
            |source| Error::Unreadable { status: status.as_u16(), retry_after, source };
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(unreadable);
        }
        let ErrorBody { error, request_id } = serde_json::from_slice(&body).map_err(unreadable)?;
        Err(Error::Refused(Box::new(Refusal {
            status: status.as_u16(),
            kind: error.kind.into_owned(),
            code: error.code.into_owned(),
            message: error.message.into_owned(),
            param: error.param.map(Into::into),
            details: error.details.map(std::borrow::Cow::into_owned),
            request_id: request_id.into_owned(),
            retry_after,
        })))
    }
}

/// How long a `Retry-After` puts us off: seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = Timestamp::parse_http_date(value)?;
    (at.to_utc() - now.to_utc()).to_std().ok()
}

/// Whether what is answered with a status may be otherwise a little later.
pub(super) fn may_pass(status: u16) -> bool {
    let passing = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    passing.iter().any(|passing| passing.as_u16() == status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_path_is_written_so_that_it_stays_one_segment() {
        let url = |base: &str| {
            let client = Client::new(base, "sk_test_").expect("a client");
            let query = vec![("external_id", "a&b=c d".to_owned())];
            client.url(&["customers", "a/b?c#d %"], &query).expect("a URL").to_string()
        };
        let rest = "v1/customers/a%2Fb%3Fc%23d%20%25?external_id=a%26b%3Dc+d";
        assert_eq!(url("http://example.com"), format!("http://example.com/{rest}"));
        assert_eq!(url("http://example.com/"), format!("http://example.com/{rest}"));
        assert_eq!(url("https://example.com/crm/"), format!("https://example.com/crm/{rest}"));
    }

    #[test]
    fn what_a_url_would_drop_is_refused_and_names_nobody_else() {
        let client = Client::new("http://example.com", "sk_test_").expect("a client");
        for part in [".", "..", "user\n1", "a\tb", "\0"] {
            let url = client.url(&["customers", part], &Vec::new());
            assert!(matches!(url, Err(Error::Unsendable(named)) if named == part), "{part:?}");
        }
    }

    #[test]
    fn what_is_no_address_makes_no_client() {
        for url in ["", "customers.example.com", "ftp://example.com", "/v1"] {
            assert!(matches!(Client::new(url, "sk_test_"), Err(Error::Unusable(_))), "{url}");
        }
    }

    #[test]
    fn a_client_does_not_show_its_key() {
        let client = Client::new("http://example.com", "sk_live_hush").expect("a client");
        assert!(!format!("{client:?}").contains("hush"));
    }
}
