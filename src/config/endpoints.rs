//! `[[endpoints]]`: webhook endpoints that are kept as declared.

use super::{Config, Error, sources::live, units, validate};
use crate::model::{message::EventType, secret::Secret};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use url::Url;

/// One endpoint as declared.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its name: what it is known by from start to start.
    pub name: String,
    /// Whose events it is sent.
    #[serde(default = "live")]
    pub environment: String,
    /// Where to.
    pub url: String,
    /// What signs; made at first start where none is given.
    pub secret: Option<Secret>,
    /// For people.
    pub description: Option<String>,
    /// The types it is sent: patterns.
    #[serde(default = "all")]
    pub events: Vec<String>,
    /// Further headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Its own waits.
    #[serde(default, deserialize_with = "units::maybe_durations")]
    pub schedule: Option<Vec<Duration>>,
    /// Whether it is sent anything.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn all() -> Vec<String> {
    vec!["*".into()]
}

fn yes() -> bool {
    true
}

impl Config {
    pub(super) fn check_endpoints(&self) -> Result<(), Error> {
        let mut names = BTreeSet::new();
        for (index, entry) in self.endpoints.iter().enumerate() {
            let refuse = |field: &str, reason: String| {
                self.refuse(&format!("endpoints[{index}].{field}"), reason)
            };
            entry
                .check(self.webhooks.allow_http)
                .map_err(|(field, reason)| refuse(field, reason))?;
            if !names.insert((&entry.environment, &entry.name)) {
                return Err(refuse("name", format!("two endpoints are named {}", entry.name)));
            }
        }
        Ok(())
    }
}

impl Entry {
    fn check(&self, allow_http: bool) -> Result<(), (&'static str, String)> {
        if !validate::is_name(&self.name, "_.-") {
            let reason = "at most 64 characters a-z, 0-9, `_`, `.` and `-` are expected";
            return Err(("name", reason.into()));
        }
        if !validate::is_environment(&self.environment) {
            return Err(("environment", validate::ENVIRONMENT_NAME.into()));
        }
        match Url::parse(&self.url).ok().as_ref().map(Url::scheme) {
            Some("https") => {}
            Some("http") if allow_http => {}
            Some("http") => {
                return Err(("url", "http:// needs webhooks.allow_http = true".into()));
            }
            _ => return Err(("url", "expected https://…".into())),
        }
        if let Some(pattern) = self.events.iter().find(|pattern| !EventType::is_pattern(pattern)) {
            return Err(("events", format!("`{pattern}` takes in no event type")));
        }
        if self.events.is_empty() {
            return Err(("events", "it is empty; `*` stands for all".into()));
        }
        let schedule = self.schedule.as_deref().unwrap_or_default();
        validate::check_schedule(schedule).map_err(|reason| ("schedule", reason.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_cannot_work_is_refused_with_its_field() {
        for (text, field) in [
            ("name='a b'\nurl='https://x.example'", "name"),
            ("name='a'\nurl='http://x.example'", "url"),
            ("name='a'\nurl='ftp://x.example'", "url"),
            ("name='a'\nurl='https://x.example'\nevents=['payments']", "events"),
            ("name='a'\nurl='https://x.example'\nschedule=['5s','1s']", "schedule"),
        ] {
            let error = Config::parse(&format!("[[endpoints]]\n{text}")).expect_err(text);
            assert_eq!(error.key, format!("endpoints[0].{field}"), "{error}");
        }
        let good = "[webhooks]\nallow_http=true\n[[endpoints]]\nname='a'\nurl='http://x.example'";
        let config = Config::parse(good).expect("good");
        let [endpoint] = config.endpoints() else { panic!("one endpoint") };
        assert!(endpoint.enabled && endpoint.events == ["*"]);
    }
}
