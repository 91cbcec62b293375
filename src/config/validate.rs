//! What the types alone do not say about settings.

use super::{Config, Error};
use crate::model::money::Currency;
use std::{net::SocketAddr, time::Duration};
use url::Url;

/// No wait between two tries is longer.
const LONGEST_WAIT: Duration = Duration::from_hours(30 * 24);
/// No schedule has more tries.
const MOST_WAITS: usize = 50;

impl Config {
    pub(super) fn validate(&self) -> Result<(), Error> {
        self.check_urls()?;
        self.check_numbers()?;
        self.check_names()?;
        self.check_webhooks()?;
        self.check_key()?;
        if let Err(error) = self.log.level.parse::<tracing_subscriber::filter::Targets>() {
            return Err(self.refuse("log.level", format!("no level or filter: {error}")));
        }
        self.sources()?;
        self.check_endpoints()
    }

    fn check_urls(&self) -> Result<(), Error> {
        let scheme = |text: &str| Url::parse(text).ok().map(|url| url.scheme().to_owned());
        let database = self.database.url.as_str();
        let postgres = matches!(scheme(database).as_deref(), Some("postgres" | "postgresql"));
        if !(database.is_empty() || database.starts_with("sqlite:") || postgres) {
            return Err(self.refuse("database.url", "expected sqlite://PATH or postgres://…"));
        }
        let broker = self.amqp.url.expose();
        if !broker.is_empty() && !matches!(scheme(broker).as_deref(), Some("amqp" | "amqps")) {
            return Err(self.refuse("amqp.url", "expected amqp://… or amqps://…, or nothing"));
        }
        let ingest = self.ingest.listen.as_str();
        if !ingest.is_empty() && ingest.parse::<SocketAddr>().is_err() {
            return Err(self.refuse("ingest.listen", "expected ADDRESS:PORT, or nothing"));
        }
        if self.http.cors_origins.iter().any(|origin| !is_origin(origin)) {
            let reason = "each is an origin as browsers write it, such as https://admin.example.com: no path, no `*`";
            return Err(self.refuse("http.cors_origins", reason));
        }
        let traces = self.traces.url.as_str();
        if !traces.is_empty() && !matches!(scheme(traces).as_deref(), Some("http" | "https")) {
            return Err(self.refuse("traces.url", "expected http://… or https://…, or nothing"));
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), Error> {
        let webhooks = &self.webhooks;
        if !(1..=100).contains(&webhooks.breaker_percent) {
            return Err(self.refuse("webhooks.breaker_percent", "expected a number from 1 to 100"));
        }
        let at_least_one: [(&str, bool); 11] = [
            ("webhooks.breaker_tries", webhooks.breaker_tries > 0),
            ("webhooks.breaker_window", !webhooks.breaker_window.is_zero()),
            ("webhooks.breaker_pause", !webhooks.breaker_pause.is_zero()),
            ("webhooks.slow_pause", !webhooks.slow_pause.is_zero()),
            ("database.connections", self.database.connections > 0),
            ("database.statement_timeout", !self.database.statement_timeout.is_zero()),
            ("amqp.prefetch", self.amqp.prefetch > 0),
            ("intake.batch_events", self.intake.batch_events > 0),
            ("intake.batch_bytes", self.intake.batch_bytes > 0),
            ("webhooks.concurrency_per_endpoint", webhooks.concurrency_per_endpoint > 0),
            ("webhooks.concurrency", webhooks.concurrency > 0),
        ];
        if !(0.0..=1.0).contains(&self.traces.sample_ratio) {
            return Err(self.refuse("traces.sample_ratio", "expected a number from 0 to 1"));
        }
        match at_least_one.iter().find(|(_, good)| !good) {
            Some((key, _)) => Err(self.refuse(key, "it must be at least 1")),
            None => Ok(()),
        }
    }

    fn check_names(&self) -> Result<(), Error> {
        let names = [
            ("amqp.exchange", &self.amqp.exchange),
            ("amqp.queue", &self.amqp.queue),
            ("amqp.dead_exchange", &self.amqp.dead_exchange),
            ("amqp.dead_queue", &self.amqp.dead_queue),
        ];
        for (key, name) in names {
            // AMQP 0-9-1: a short string of at most 255 bytes.
            if name.is_empty() || name.len() > 255 {
                return Err(self.refuse(key, "a name of 1 to 255 bytes is expected"));
            }
        }
        for (name, environment) in &self.environments {
            let key = format!("environments.{name}");
            if !is_environment(name) {
                return Err(self.refuse(&key, ENVIRONMENT_NAME));
            }
            if let Err(error) = environment.reporting_currency.parse::<Currency>() {
                return Err(self.refuse(&format!("{key}.reporting_currency"), error.to_string()));
            }
        }
        Ok(())
    }

    fn check_webhooks(&self) -> Result<(), Error> {
        let webhooks = &self.webhooks;
        if webhooks.timeout.is_zero() {
            return Err(self.refuse("webhooks.timeout", "it must be longer than nothing"));
        }
        if webhooks.lease <= webhooks.timeout {
            let reason =
                "it must be longer than webhooks.timeout, or two processes send one message";
            return Err(self.refuse("webhooks.lease", reason));
        }
        check_schedule(&webhooks.schedule)
            .map_err(|reason| self.refuse("webhooks.schedule", reason))
    }
}

/// Whether a text is an origin as browsers write it: a scheme, a host, and a port that is not the scheme's own.
fn is_origin(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
    })
}

/// A schedule neither shrinks nor goes on without end.
pub(super) fn check_schedule(waits: &[Duration]) -> Result<(), &'static str> {
    if waits.len() > MOST_WAITS {
        return Err("at most 50 waits");
    }
    if waits.iter().any(|wait| wait.is_zero() || *wait > LONGEST_WAIT) {
        return Err("each wait is longer than nothing and at most 30 days");
    }
    if !waits.is_sorted() {
        return Err("no wait is shorter than the one before it");
    }
    Ok(())
}

pub(super) const ENVIRONMENT_NAME: &str = "a name of at most 64 characters a-z, 0-9, `_` and `-` is expected, beginning with a letter or digit";

/// Whether a text can name an environment.
pub fn is_environment(name: &str) -> bool {
    is_name(name, "_-")
}

/// Lower-case letters and digits first, then also the others given; at most 64 characters.
pub(super) fn is_name(name: &str, others: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 64
        && name.starts_with(plain)
        && name.chars().all(|c| plain(c) || others.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_a_browser_calls_itself() {
        for origin in ["https://admin.example.com", "http://localhost:3000", "http://[::1]:8080"] {
            assert!(is_origin(origin), "{origin}");
        }
        for text in [
            "",
            "*",
            "null",
            "admin.example.com",
            "https://admin.example.com/",
            "https://a.com/b",
            "https://a.com:443",
            "HTTPS://a.com",
            "https://user@a.com",
            "file:///a",
        ] {
            assert!(!is_origin(text), "{text}");
        }
    }

    #[test]
    fn a_schedule_that_shrinks_or_never_ends_is_refused() {
        let seconds =
            |waits: &[u64]| -> Vec<_> { waits.iter().copied().map(Duration::from_secs).collect() };
        assert!(check_schedule(&seconds(&[5, 5, 300])).is_ok());
        assert!(check_schedule(&[]).is_ok());
        assert!(check_schedule(&seconds(&[5, 4])).is_err());
        assert!(check_schedule(&seconds(&[0])).is_err());
        assert!(check_schedule(&seconds(&[1; 51])).is_err());
        assert!(check_schedule(&seconds(&[3_000_000])).is_err());
    }
}
