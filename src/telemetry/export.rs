//! The way to the collector: requests of the exporter's thread, made on our runtime by our HTTP client.

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::redirect::Policy;
use std::{
    fmt,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::runtime::Handle;

/// The HTTP client cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be made: are the system's root certificates installed?")]
pub struct Unusable(#[source] reqwest::Error);

/// So much of an answer is read.
const READ: usize = 64 * 1024;

/// Sends what the exporter has made.
pub(super) struct Collector {
    http: reqwest::Client,
    runtime: Handle,
    /// Whether the last try failed: that is logged when it begins and when it ends.
    fails: AtomicBool,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

impl Collector {
    /// To be called on the runtime that sends.
    pub(super) fn new(patience: Duration) -> Result<Self, Unusable> {
        // The process's TLS provider; it is no error that it was installed before.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .timeout(patience)
            .build()
            .map_err(Unusable)?;
        Ok(Self { http, runtime: Handle::current(), fails: AtomicBool::new(false) })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        let http = self.http.clone();
        // The exporter polls us on a thread of its own, where there is no runtime.
        let sent = self.runtime.spawn(async move { exchange(&http, request).await }).await?;
        let failure = match &sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answered {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        self.report(failure);
        sent
    }

    fn report(&self, failure: Option<String>) {
        let outcome = if failure.is_some() { "failed" } else { "sent" };
        metrics::counter!("customer_sync_trace_exports_total", "outcome" => outcome).increment(1);
        let failed_before = self.fails.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(reason) if !failed_before => {
                tracing::warn!(reason, "the collector takes no traces: they are dropped meanwhile");
            }
            None if failed_before => tracing::info!("the collector takes traces again"),
            Some(_) | None => {}
        }
    }
}

async fn exchange(
    http: &reqwest::Client,
    request: reqwest::Request,
) -> Result<Response<Bytes>, HttpError> {
    let mut answer = http.execute(request).await.map_err(reqwest::Error::without_url)?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await?
        && body.len() < READ
    {
        body.extend_from_slice(&chunk);
    }
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

impl HttpClient for Collector {
    fn send_bytes<'this, 'async_trait>(
        &'this self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'this: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(self.send(request))
    }
}
