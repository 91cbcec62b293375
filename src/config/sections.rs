//! The sections of scalar settings. None has a default here: `config/default.toml` is the reference.

use crate::model::secret::Secret;
use ipnet::IpNet;
use serde::Deserialize;
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

/// `[database]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Empty: a file in the data directory. See [`super::Config::database_url`].
    pub(super) url: String,
    /// To PostgreSQL, at most.
    pub connections: u32,
    /// Of PostgreSQL.
    #[serde(deserialize_with = "super::units::duration")]
    pub statement_timeout: Duration,
}

/// `[amqp]`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amqp {
    /// Empty: the embedded queue. See [`super::Config::amqp_url`].
    pub(super) url: Secret,
    /// Whether to declare what is missing.
    pub declare: bool,
    /// What is published to.
    pub exchange: String,
    /// What is consumed.
    pub queue: String,
    /// What takes what the broker gives up.
    pub dead_exchange: String,
    /// Where that waits.
    pub dead_queue: String,
    /// In messages.
    pub prefetch: u16,
}

/// `[intake]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intake {
    /// In one transaction, at most.
    pub batch_events: usize,
    /// In one transaction, at most.
    #[serde(deserialize_with = "super::units::size")]
    pub batch_bytes: usize,
}

/// `[http]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// The API, the ingress, health and metrics.
    pub listen: SocketAddr,
    /// Whether /metrics needs no key.
    pub metrics_public: bool,
    /// Requests a second of each key; 0: any number.
    pub rate_limit: u32,
    /// Whose pages may use the API from a browser.
    pub cors_origins: Vec<String>,
}

/// `[ingest]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ingest {
    /// Empty: none. See [`super::Config::ingest_listen`].
    pub(super) listen: String,
}

/// `[webhooks]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhooks {
    /// Whether endpoints may have http:// URLs.
    pub allow_http: bool,
    /// What may be reached although it is not public.
    #[serde(deserialize_with = "super::units::networks")]
    pub allow_networks: Vec<IpNet>,
    /// Over connection, headers and body.
    #[serde(deserialize_with = "super::units::duration")]
    pub timeout: Duration,
    /// Of a message to the process that sends it.
    #[serde(deserialize_with = "super::units::duration")]
    pub lease: Duration,
    /// Between one try and the next.
    #[serde(deserialize_with = "super::units::durations")]
    pub schedule: Vec<Duration>,
    /// Requests under way at once, to one endpoint.
    pub concurrency_per_endpoint: usize,
    /// Requests under way at once, in all.
    pub concurrency: usize,
    /// In the window, before a breaker can open.
    pub breaker_tries: u32,
    /// Of a hundred that failed.
    pub breaker_percent: u32,
    /// How far back tries count.
    #[serde(deserialize_with = "super::units::duration")]
    pub breaker_window: Duration,
    /// The first time that one opens.
    #[serde(deserialize_with = "super::units::duration")]
    pub breaker_pause: Duration,
    /// However often one opens.
    #[serde(deserialize_with = "super::units::duration")]
    pub breaker_longest_pause: Duration,
    /// The first time that an endpoint has too much.
    #[serde(deserialize_with = "super::units::duration")]
    pub slow_pause: Duration,
    /// However often it has.
    #[serde(deserialize_with = "super::units::duration")]
    pub slow_longest_pause: Duration,
    /// Of failing; nothing: never.
    #[serde(deserialize_with = "super::units::duration")]
    pub disable_after: Duration,
}

/// `[retention]`; nothing: for ever.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Of messages that wait no longer.
    #[serde(deserialize_with = "super::units::duration")]
    pub messages: Duration,
    /// Of tries.
    #[serde(deserialize_with = "super::units::duration")]
    pub attempts: Duration,
    /// Of inbound events.
    #[serde(deserialize_with = "super::units::duration")]
    pub inbox: Duration,
}

/// `[secrets]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// Empty: in a file of the data directory. See [`super::Config::key`].
    pub(super) key: Secret,
}

/// `[data]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The folder.
    pub directory: PathBuf,
}

/// `[shutdown]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// For what is in hand.
    #[serde(deserialize_with = "super::units::duration")]
    pub grace: Duration,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// For whom.
    pub format: LogFormat,
    /// The least level, also by module.
    pub level: String,
}

/// Who reads the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// People.
    Text,
    /// Machines.
    Json,
}

/// `[traces]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// Empty: there are none.
    pub url: String,
    /// Sent along.
    pub headers: BTreeMap<String, Secret>,
    /// From 0 to 1.
    pub sample_ratio: f64,
}

/// `[environments.NAME]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Of money filters, sorts and rankings that name none.
    #[serde(default = "Environment::usd")]
    pub reporting_currency: String,
}

impl Environment {
    fn usd() -> String {
        "USD".into()
    }
}
