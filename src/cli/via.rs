//! The two ways into a running system, as a gateway or a provider takes them.

use super::{Context, Usage};
use crate::{
    daemon,
    deliver::{
        client::{Client, Request},
        guard::Guard,
        names::Names,
    },
    health::Health,
    intake::publisher::Publisher,
    model::inbound::Raw,
    shutdown::Shutdown,
};
use anyhow::Context as _;
use std::{fmt, time::Duration};
use url::Url;

/// A way in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Via {
    /// RabbitMQ
    Amqp,
    /// The HTTP ingress
    Http,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amqp => "amqp",
            Self::Http => "http",
        })
    }
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Puts events in by one of the ways.
#[derive(Debug)]
pub(super) enum Sender {
    /// RabbitMQ.
    Amqp(Publisher),
    /// The HTTP ingress.
    Http {
        /// What posts.
        client: Client,
        /// Where the ingress is.
        base: Url,
    },
}

impl Sender {
    /// By the way that is asked for, else RabbitMQ where one is configured, else HTTP at `http.listen`.
    pub(super) fn new(
        context: &Context,
        via: Option<Via>,
        url: Option<Url>,
    ) -> anyhow::Result<Self> {
        let amqp = daemon::publisher_settings(&context.config);
        match (via, amqp) {
            (Some(Via::Amqp) | None, Some(settings)) if url.is_none() => {
                let health = Health::new(context.clock.clone());
                let clock = context.clock.clone();
                Ok(Self::Amqp(Publisher::new(settings, clock, health, Shutdown::new())))
            }
            (Some(Via::Amqp), _) => {
                Err(Usage("--via amqp needs amqp.url, and no --url".into()).into())
            }
            (Some(Via::Http) | None, _) => {
                let listen = context.config.http.listen;
                let base = match url {
                    Some(url) => url,
                    None => Url::parse(&format!("http://{listen}"))?,
                };
                Self::http(base)
            }
        }
    }

    /// By HTTP, wherever that is: it is the operator who says so.
    pub(super) fn http(base: Url) -> anyhow::Result<Self> {
        let everywhere = ["0.0.0.0/0", "::/0"].iter().filter_map(|net| net.parse().ok()).collect();
        let guard = Guard { allow_http: true, allow_networks: everywhere };
        Ok(Self::Http { client: Client::new(guard, Names::default(), 16 * 1024, 64)?, base })
    }

    /// Puts one event in; it is kept when this returns.
    pub(super) async fn send(&self, raw: Raw) -> anyhow::Result<()> {
        match self {
            Self::Amqp(publisher) => {
                publisher.publish(raw).await.context("RabbitMQ did not keep it")
            }
            Self::Http { client, base } => {
                let url = base.join(&format!("/ingest/{}", raw.source))?;
                let body = std::str::from_utf8(&raw.body).context("the body is no UTF-8")?.into();
                let headers: Vec<(&str, String)> =
                    raw.headers.iter().map(|(name, value)| (name, value.to_owned())).collect();
                let request = Request {
                    url: url.as_str(),
                    headers: Vec::new(),
                    ours: &headers,
                    body,
                    again: false,
                };
                let answer = client.post(request, PATIENCE).await?;
                anyhow::ensure!(
                    answer.status == 202,
                    "the ingress answered {}: {}",
                    answer.status,
                    answer.body
                );
                Ok(())
            }
        }
    }

    /// Which way it is.
    pub(super) fn via(&self) -> String {
        match self {
            Self::Amqp(_) => Via::Amqp.to_string(),
            Self::Http { .. } => Via::Http.to_string(),
        }
    }

    /// Closes what is open.
    pub(super) async fn close(&self) {
        if let Self::Amqp(publisher) = self {
            publisher.close().await;
        }
    }
}
