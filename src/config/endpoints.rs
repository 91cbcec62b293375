//! `[[endpoints]]`: webhook endpoints that are kept as declared.

use super::{Config, Error, sources::live, units, validate};
use crate::model::{endpoint::SignatureStyle, secret::Secret};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

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
    #[serde(default = "all", alias = "events")]
    pub event_types: Vec<String>,
    /// Further headers.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Its own waits.
    #[serde(default, deserialize_with = "units::maybe_durations")]
    pub schedule: Option<Vec<Duration>>,
    /// How long it has to answer.
    #[serde(default, deserialize_with = "units::maybe_duration")]
    pub timeout: Option<Duration>,
    /// Requests a second, at most.
    pub rate_limit: Option<u32>,
    /// Whether each customer's messages keep their order.
    #[serde(default)]
    pub ordered: bool,
    /// How it is signed.
    #[serde(default)]
    pub signature_style: SignatureStyle,
    /// Where, in the styles that have no header of their own.
    pub signature_header: Option<String>,
    /// Whether ed25519 signs too.
    #[serde(default)]
    pub ed25519: bool,
    /// Whether it is sent anything; left as it stands where nothing is said.
    pub enabled: Option<bool>,
}

fn all() -> Vec<String> {
    vec!["*".into()]
}

impl Config {
    /// What can be said of the endpoints without knowing how webhooks are sent.
    pub(super) fn check_endpoints(&self) -> Result<(), Error> {
        let mut names = BTreeSet::new();
        for (index, entry) in self.endpoints.iter().enumerate() {
            let refuse = |field: &str, reason: &str| {
                Err(self.refuse(&format!("endpoints[{index}].{field}"), reason))
            };
            if !validate::is_name(&entry.name, "_.-") {
                let reason = "at most 64 characters a-z, 0-9, `_`, `.` and `-` are expected";
                return refuse("name", reason);
            }
            if !validate::is_environment(&entry.environment) {
                return refuse("environment", validate::ENVIRONMENT_NAME);
            }
            if !names.insert((&entry.environment, &entry.name)) {
                return refuse("name", "another endpoint of its environment has this name");
            }
            if let Err(reason) = validate::check_schedule(entry.schedule.as_deref().unwrap_or(&[]))
            {
                return refuse("schedule", reason);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_cannot_be_is_refused_with_its_field() {
        for (text, field) in [
            ("name='a b'\nurl='https://x.example'", "[0].name"),
            ("name='a'\nenvironment='A'\nurl='https://x.example'", "[0].environment"),
            ("name='a'\nurl='https://x.example'\nschedule=['5s','1s']", "[0].schedule"),
            ("name='a'\nurl='x'\n[[endpoints]]\nname='a'\nurl='y'", "[1].name"),
            ("name='a'", "[0]"),
        ] {
            let error = Config::parse(&format!("[[endpoints]]\n{text}")).expect_err(text);
            assert_eq!(error.key, format!("endpoints{field}"), "{error}");
        }
        let good = "[[endpoints]]\nname='a'\nurl='http://x.example'\nheaders={x='hush'}";
        let config = Config::parse(good).expect("good");
        let [endpoint] = config.endpoints.as_slice() else { panic!("one endpoint") };
        assert_eq!(endpoint.event_types, ["*"]);
        assert!(!format!("{endpoint:?}").contains("hush"));
    }
}
