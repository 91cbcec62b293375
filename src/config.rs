//! Settings: the built-in defaults, a file over them, the environment over both. The only room that reads the
//! environment.
//!
//! No scalar setting has a default in the code: `config/default.toml` is the reference, and a key that is missing
//! there fails every test.

use crate::{
    model::{money::Currency, secret::Secret},
    provider::Source,
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

pub mod endpoints;
pub mod key;
mod layers;
mod proof;
mod sections;
mod show;
pub mod sources;
mod units;
mod validate;

pub use key::Key;
pub use sections::{
    Amqp, Data, Database, Environment, Http, Ingest, Intake, Log, LogFormat, Retention, Secrets,
    Shutdown, Traces, Webhooks,
};
pub(crate) use show::without_password;
pub use validate::is_environment;

/// The built-in defaults.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

const DEFAULTS_ORIGIN: &str = "default";
const FILE_VARIABLE: &str = "CUSTOMER_SYNC_CONFIG";

/// A setting cannot be used: which, why, and where it was set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason} (set by: {origin})")]
pub struct Error {
    /// The dotted key.
    pub key: String,
    /// What is wrong with it. Never holds the value of a secret.
    pub reason: String,
    /// The file or environment variable that set it.
    pub origin: String,
}

/// All settings.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the state is kept.
    pub database: Database,
    /// The broker.
    pub amqp: Amqp,
    /// How events are taken in.
    pub intake: Intake,
    /// The API.
    pub http: Http,
    /// The second ingress.
    pub ingest: Ingest,
    /// How webhooks go out.
    pub webhooks: Webhooks,
    /// How long things are kept.
    pub retention: Retention,
    /// The daemon's own key.
    pub secrets: Secrets,
    /// What the process keeps itself.
    pub data: Data,
    /// How it stops.
    pub shutdown: Shutdown,
    /// What it says on the way.
    pub log: Log,
    /// What it tells of each message's way.
    pub traces: Traces,
    /// Environments with settings of their own.
    pub environments: BTreeMap<String, Environment>,
    /// The webhooks that come in, as written.
    pub sources: Vec<sources::Entry>,
    /// The webhooks that go out and are declared, as written.
    pub endpoints: Vec<endpoints::Entry>,
    /// Secrets masked, for [`Config::show`].
    #[serde(skip)]
    shown: serde_json::Map<String, serde_json::Value>,
    /// By dotted key: what set it.
    #[serde(skip)]
    origins: BTreeMap<String, String>,
}

/// Shows what [`Config::show`] does.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.shown)
    }
}

impl Config {
    /// The settings that count for this process: the file given, else the one that `CUSTOMER_SYNC_CONFIG` names,
    /// and the environment.
    pub fn load(file: Option<&Path>) -> Result<Self, Error> {
        let variables = read_environment();
        let named = variables.get(FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        Self::from_layers(file.map(Path::to_owned).or(named).as_deref(), &variables)
    }

    /// The defaults with a text over them, and nothing of the environment: for the demo and for tests.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::from_texts(&[(DEFAULTS_ORIGIN, DEFAULTS), ("text", text)], &BTreeMap::new())
    }

    fn from_layers(file: Option<&Path>, variables: &layers::Variables) -> Result<Self, Error> {
        let Some(path) = file else {
            return Self::from_texts(&[(DEFAULTS_ORIGIN, DEFAULTS)], variables);
        };
        let origin = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Error {
            key: "configuration file".into(),
            reason: format!("it cannot be read: {error}"),
            origin: origin.clone(),
        })?;
        Self::from_texts(&[(DEFAULTS_ORIGIN, DEFAULTS), (&origin, &text)], variables)
    }

    fn from_texts(texts: &[(&str, &str)], variables: &layers::Variables) -> Result<Self, Error> {
        let layers::Layered { values, origins } = layers::layer(texts, variables)?;
        let shown = show::masked(&values);
        let figment = figment::Figment::from(figment::providers::Serialized::defaults(values));
        let mut config: Self =
            figment.extract_lossy().map_err(|error| refused(&error, &origins))?;
        config.shown = shown;
        config.origins = origins;
        config.validate()?;
        Ok(config)
    }

    /// The database's URL: the one that is set, else that of the file in the data directory.
    pub fn database_url(&self) -> String {
        if self.database.url.is_empty() {
            format!("sqlite://{}", self.data.directory.join("customer-sync.sqlite").display())
        } else {
            self.database.url.clone()
        }
    }

    /// The broker's URL, where one is set. It holds a password.
    pub fn amqp_url(&self) -> Option<Secret> {
        Some(self.amqp.url.clone()).filter(|url| !url.expose().is_empty())
    }

    /// The address of the second ingress, where one is set.
    pub fn ingest_listen(&self) -> Option<SocketAddr> {
        self.ingest.listen.parse().ok()
    }

    /// The configured sources.
    pub fn sources(&self) -> Result<Vec<Source>, Error> {
        sources::build(self)
    }

    /// Of each environment, the currency of money filters, sorts and rankings that name none.
    pub fn reporting_currencies(&self) -> BTreeMap<String, Currency> {
        let all = self.environments.iter();
        all.filter_map(|(name, set)| Some((name.clone(), set.reporting_currency.parse().ok()?)))
            .collect()
    }

    /// What set a key.
    pub fn origin_of(&self, key: &str) -> String {
        origin(&self.origins, key)
    }

    /// An error about a key of this configuration, with what set it.
    pub(crate) fn refuse(&self, key: &str, reason: impl Into<String>) -> Error {
        Error { key: key.into(), reason: reason.into(), origin: self.origin_of(key) }
    }
}

/// The system's folder for what may be lost.
pub fn temporary_folder() -> PathBuf {
    std::env::temp_dir()
}

fn read_environment() -> layers::Variables {
    std::env::vars_os()
        .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
        .collect()
}

/// What set a key: itself, else what is below it, else what is above it.
fn origin(origins: &BTreeMap<String, String>, key: &str) -> String {
    let below = || {
        origins
            .iter()
            .filter(|(known, _)| {
                known.strip_prefix(key).is_some_and(|rest| rest.starts_with(['.', '[']))
            })
            .map(|(_, origin)| origin)
            .find(|origin| *origin != DEFAULTS_ORIGIN)
    };
    if let Some(found) = origins.get(key).or_else(below) {
        return found.clone();
    }
    match key.rfind(['.', '[']).and_then(|end| key.get(..end)) {
        Some(above) => origin(origins, above),
        None => DEFAULTS_ORIGIN.to_owned(),
    }
}

/// A figment error in our words. Its own text quotes the value found, which may be a secret.
fn refused(error: &figment::Error, origins: &BTreeMap<String, String>) -> Error {
    use figment::error::Kind;
    let mut key = String::new();
    for part in &error.path {
        if part.parse::<usize>().is_ok() {
            key = format!("{key}[{part}]");
        } else if key.is_empty() {
            key.clone_from(part);
        } else {
            key = format!("{key}.{part}");
        }
    }
    let reason = match &error.kind {
        Kind::UnknownField(_, known) => format!("unknown key; known here: {}", known.join(", ")),
        Kind::UnknownVariant(_, known) => format!("expected one of {}", known.join(", ")),
        Kind::MissingField(name) => format!("the key {name} is missing"),
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
            format!("expected {expected}")
        }
        Kind::Message(text) => text.clone(),
        other => other.to_string(),
    };
    Error { origin: origin(origins, &key), key, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn load(text: &str) -> Result<Config, Error> {
        Config::parse(text)
    }

    #[test]
    fn the_defaults_alone_are_a_good_configuration() {
        let config = load("").expect("the defaults");
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.webhooks.schedule.len(), 9);
        assert!(config.database_url().ends_with("customer-sync.sqlite"));
        assert_eq!(config.ingest_listen(), None);
    }

    #[test]
    fn every_key_of_the_defaults_is_needed() {
        let defaults: toml::Table = toml::from_str(DEFAULTS).expect("TOML");
        for (section, values) in &defaults {
            let Some(values) = values.as_table().filter(|_| section != "environments") else {
                continue;
            };
            for key in values.keys() {
                let mut lacking = defaults.clone();
                let table = lacking.get_mut(section).and_then(toml::Value::as_table_mut);
                table.expect("the section").remove(key);
                let text = lacking.to_string();
                let error = Config::from_texts(&[("d", &text)], &BTreeMap::new()).expect_err(key);
                assert!(error.reason.contains(key), "{section}.{key}: {error}");
            }
        }
    }

    #[test]
    fn errors_name_the_key_the_reason_and_the_origin() {
        for (text, key, reason) in [
            ("[http]\nlisten = \"nowhere\"", "http.listen", "address"),
            ("[http]\nlistne = 1", "http.listne", "unknown key"),
            ("[htpt]\nlisten = 1", "htpt", "unknown key"),
            ("[webhooks]\ntimeout = \"soon\"", "webhooks.timeout", "`soon` is not a duration"),
            ("[webhooks]\nschedule = [\"5s\", \"x\"]", "webhooks.schedule[1]", "`x` is not"),
            ("[webhooks]\nlease = \"5s\"", "webhooks.lease", "longer than webhooks.timeout"),
            ("[log]\nformat = \"xml\"", "log.format", "text, json"),
            ("[database]\nurl = \"mysql://x\"", "database.url", "sqlite://"),
            ("[traces]\nurl = \"collector:4317\"", "traces.url", "http://"),
            ("[traces]\nsample_ratio = 1.5", "traces.sample_ratio", "from 0 to 1"),
            ("[[sources]]\nprovider = \"stripe\"", "sources[0]", "name is missing"),
            ("[database]\nconnections = \"${X}\"", "database.connections", "X is not set"),
        ] {
            let error = load(text).expect_err(text);
            assert_eq!(error.key, key, "{error}");
            assert!(error.reason.contains(reason), "{error}");
            assert_eq!(error.origin, "text", "{error}");
        }
    }

    #[test]
    fn the_environment_is_laid_over_the_file() {
        let variables = [
            ("DATABASE_URL", "postgres://short/x"),
            ("HTTP_LISTEN", "127.0.0.1:1"),
            ("CUSTOMER_SYNC__HTTP__LISTEN", "127.0.0.1:2"),
            ("CUSTOMER_SYNC__WEBHOOKS__ALLOW_HTTP", "true"),
            ("CUSTOMER_SYNC__WEBHOOKS__ALLOW_NETWORKS", "127.0.0.0/8,10.0.0.0/8"),
            ("CUSTOMER_SYNC__WEBHOOKS__TIMEOUT", "3"),
            ("CUSTOMER_SYNC__SECRETS__KEY", "123456789012345678901234567890"),
            ("CUSTOMER_SYNC__DATABASE__CONNECTIONS", "7"),
            ("CUSTOMER_SYNC__ENVIRONMENTS__STAGING__REPORTING_CURRENCY", "EUR"),
        ]
        .map(|(name, text)| (name.to_owned(), text.to_owned()));
        let config = Config::from_texts(&[("default", DEFAULTS)], &variables.into()).expect("good");
        assert_eq!(config.database_url(), "postgres://short/x");
        assert_eq!(config.http.listen.port(), 2);
        assert!(config.webhooks.allow_http);
        assert_eq!(config.webhooks.allow_networks.len(), 2);
        assert_eq!(config.webhooks.timeout, Duration::from_secs(3));
        assert_eq!(config.database.connections, 7);
        assert_eq!(config.environments["staging"].reporting_currency, "EUR");
        assert_eq!(
            config.origins["http.listen"],
            "environment variable CUSTOMER_SYNC__HTTP__LISTEN"
        );
    }
}
