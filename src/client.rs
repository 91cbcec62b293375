//! A client of the HTTP API, for apps in Rust: typed, and safe to use on a bad network.
//!
//! ```no_run
//! # async fn example() -> Result<(), customer_sync::client::Error> {
//! use customer_sync::client::{Client, Details, Name};
//!
//! let client = Client::new("https://customers.example.com", "sk_live_…")?;
//! let ada = Details::new().external_id("user-42").name("Ada Lovelace").metadata("plan", "pro");
//! let customer = client.customers().identify(&ada).await?;
//! assert_eq!(customer.person.name.as_deref(), Some("Ada Lovelace"));
//!
//! let same = client.customers().lookup(&Name::external_id("user-42")).await?;
//! println!("{} has spent {} {:?}", same.id, same.net_spent, same.primary_currency);
//! # Ok(())
//! # }
//! ```
//!
//! What is answered has the types that the server writes its answers from, so that the two cannot drift apart.
//!
//! **Trying again.** A request that got no answer, or one that says "later" (408, 429, 500, 502, 503, 504, or an
//! `Idempotency-Key` in use), is sent again, after waits that double, and never before `Retry-After`. Every write
//! carries an `Idempotency-Key`, the same at each try, so that it is done once however often it is sent. A key of
//! your own makes it one also after your process has died:
//!
//! ```no_run
//! # async fn example(client: customer_sync::client::Client) -> Result<(), customer_sync::client::Error> {
//! use customer_sync::client::Details;
//!
//! let ada = Details::new().external_id("user-42").email("ada@example.org");
//! let customer = client.keyed("signup-42").customers().create(&ada).await?;
//! # drop(customer); Ok(())
//! # }
//! ```
//!
//! **Lists** are streams that fetch page after page as they are read:
//!
//! ```no_run
//! # async fn example(client: customer_sync::client::Client) -> Result<(), customer_sync::client::Error> {
//! use customer_sync::client::CustomerQuery;
//! use futures_util::TryStreamExt as _;
//!
//! let query = CustomerQuery::new().tag("beta").min_spent(5_000).currency("EUR");
//! let mut customers = client.customers().list(&query).items();
//! while let Some(customer) = customers.try_next().await? {
//!     println!("{}", customer.id);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Errors** say what the API says: [`Refusal`] has the status, the `code` for programs, the parameter and the id of the
//! request. [`webhook`] verifies what the daemon sends to your app.

mod conflicts;
mod customers;
mod details;
mod error;
mod pages;
mod payments;
mod query;
mod request;
pub mod webhook;

pub use conflicts::Conflicts;
pub use customers::{AtDeletion, Customers, Name};
pub use details::{Details, Field};
pub use error::{Error, Refusal};
pub use pages::Pages;
pub use payments::Payments;
pub use query::{CustomerQuery, Sort, TopQuery};

use crate::{clock::Clock, model::secret::Secret};
use reqwest::{Url, redirect::Policy};
use std::time::Duration;
use url::Host;

/// How we call ourselves.
const USER_AGENT: &str = concat!("customer-sync-client/", env!("CARGO_PKG_VERSION"));

/// Speaks to one daemon with one key. Keeps its connections; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    key: Secret,
    clock: Clock,
    timeout: Duration,
    retries: u32,
    patience: Duration,
    idempotency_key: Option<String>,
}

/// Whether it is this machine's own address.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl Client {
    /// A client of the API at a URL, with an API key (`sk_…`). A try has 30 s; there are four more where it fails; a
    /// `Retry-After` is waited for up to a minute. A proxy that the environment names (`HTTPS_PROXY`, `NO_PROXY`) is gone
    /// by, but not for this machine's own addresses.
    ///
    /// # Errors
    /// [`Error::Unusable`] where the URL is none of `http` or `https`, or the system has no root certificates.
    pub fn new(url: &str, key: impl Into<String>) -> Result<Self, Error> {
        let base = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let base = base.ok_or(Error::Unusable("the URL is none of http:// or https://".into()))?;
        // The process's TLS provider; it is no error that it was installed before.
        drop(rustls::crypto::ring::default_provider().install_default());
        let builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false);
        // No proxy knows what listens here.
        let builder = if is_loopback(&base) { builder.no_proxy() } else { builder };
        let http = builder.build().map_err(|error| Error::Unusable(error.into()))?;
        Ok(Self {
            http,
            base,
            key: Secret::new(key),
            clock: Clock::system(),
            timeout: Duration::from_secs(30),
            retries: 4,
            patience: Duration::from_mins(1),
            idempotency_key: None,
        })
    }

    /// How long one try may take, answer and all.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// How often a request is sent again at most; 0: never.
    #[must_use]
    pub fn with_retries(self, retries: u32) -> Self {
        Self { retries, ..self }
    }

    /// The longest `Retry-After` that is waited for; a longer one is the caller's to wait.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same client, whose writes carry this `Idempotency-Key` (1 to 255 visible ASCII characters). A key counts
    /// for a method and path: use it for one write.
    #[must_use]
    pub fn keyed(&self, idempotency_key: impl Into<String>) -> Self {
        Self { idempotency_key: Some(idempotency_key.into()), ..self.clone() }
    }

    /// Customers.
    pub fn customers(&self) -> Customers<'_> {
        Customers(self)
    }

    /// Payments.
    pub fn payments(&self) -> Payments<'_> {
        Payments(self)
    }

    /// Conflicts.
    pub fn conflicts(&self) -> Conflicts<'_> {
        Conflicts(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_asked_without_a_proxy() {
        let is_own = |url: &str| is_loopback(&Url::parse(url).expect("a URL"));
        for url in [
            "http://127.0.0.1:8080",
            "http://127.9.9.9",
            "http://[::1]:1/",
            "http://LOCALHOST",
            "http://crm.localhost",
        ] {
            assert!(is_own(url), "{url}");
        }
        for url in
            ["https://customers.example.com", "http://10.0.0.1", "http://localhost.example.com"]
        {
            assert!(!is_own(url), "{url}");
        }
    }
}
