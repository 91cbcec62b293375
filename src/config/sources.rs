//! `[[sources]]`: one account at one provider each.

use super::{Config, Error, units, validate};
use crate::{
    model::{
        authority::Authority,
        reference::{Kind, Scope},
        secret::Secret,
        time::Timestamp,
    },
    provider::{self, Place, Provider, Source, SourceSecret, Target},
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

/// One source as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    name: String,
    provider: String,
    #[serde(default = "live")]
    environment: String,
    test_environment: Option<String>,
    namespace: Option<String>,
    #[serde(default)]
    secrets: SecretList,
    #[serde(default, deserialize_with = "units::maybe_duration")]
    tolerance: Option<Duration>,
    external_id: Option<ExternalId>,
    references: Option<Vec<ReferenceEntry>>,
    #[serde(default)]
    authority: BTreeMap<String, Level>,
    on_delete: Option<Reach>,
    #[serde(default)]
    match_email: bool,
    #[serde(default)]
    unsigned: bool,
    url: Option<String>,
}

pub(super) fn live() -> String {
    "live".into()
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ExternalId {
    Subject,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    App,
    Auth,
    Payment,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reach {
    Identity,
    Customer,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReferenceEntry {
    at: String,
    #[serde(rename = "as")]
    target: String,
    #[serde(default)]
    claims: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DatedSecret {
    value: Secret,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// One text, one table, or a list of either.
#[derive(Clone, Debug, Default)]
struct SecretList(Vec<DatedSecret>);

impl<'de> Deserialize<'de> for SecretList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = SecretList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("texts, or tables with value, from and until")
            }

            fn visit_str<E>(self, text: &str) -> Result<SecretList, E> {
                Ok(SecretList(vec![DatedSecret {
                    value: Secret::new(text),
                    from: None,
                    until: None,
                }]))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SecretList, A::Error> {
                let one = DatedSecret::deserialize(MapAccessDeserializer::new(map))?;
                Ok(SecretList(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<SecretList, A::Error> {
                let mut all = Vec::new();
                while let Some(SecretList(item)) = items.next_element()? {
                    all.extend(item);
                }
                Ok(SecretList(all))
            }
        }
        deserializer.deserialize_any(List)
    }
}

/// Every source, checked.
pub(super) fn build(config: &Config) -> Result<Vec<Source>, Error> {
    let mut names = BTreeSet::new();
    let mut sources = Vec::with_capacity(config.sources.len());
    for (index, entry) in config.sources.iter().enumerate() {
        let refuse = |field: &str, reason: String| {
            config.refuse(&format!("sources[{index}].{field}"), reason)
        };
        let source = entry.build().map_err(|(field, reason)| refuse(field, reason))?;
        if !names.insert(source.name.clone()) {
            return Err(refuse("name", format!("two sources are named {}", source.name)));
        }
        sources.push(source);
    }
    Ok(sources)
}

/// The field and what is wrong with it.
type Refusal = (&'static str, String);

impl Entry {
    fn build(&self) -> Result<Source, Refusal> {
        check_source_name("name", &self.name)?;
        let namespace = self.namespace.as_deref().unwrap_or(&self.name);
        check_source_name("namespace", namespace)?;
        check_environment("environment", &self.environment)?;
        if let Some(name) = &self.test_environment {
            check_environment("test_environment", name)?;
        }
        if self.match_email {
            let reason = "linking by e-mail is not available yet; leave it out";
            return Err(("match_email", reason.into()));
        }
        let provider = self.provider()?;
        let places = self.places(provider)?;
        Ok(Source {
            name: self.name.as_str().into(),
            provider,
            environment: self.environment.as_str().into(),
            test_environment: self.test_environment.as_deref().map(Into::into),
            namespace: namespace.into(),
            secrets: self.secrets()?,
            tolerance: self.tolerance()?,
            url: self.url.clone(),
            subject_is_external_id: matches!(self.external_id, Some(ExternalId::Subject)),
            places,
            authority: self.levels()?,
            on_delete: self.scope(provider),
            match_email: self.match_email,
            unsigned: self.unsigned,
        })
    }

    fn provider(&self) -> Result<&'static Provider, Refusal> {
        let provider = provider::find(&self.provider).ok_or_else(|| {
            let known: Vec<_> = provider::ALL.iter().map(|provider| provider.name).collect();
            let name = &self.provider;
            ("provider", format!("{name} is no provider; known are {}", known.join(", ")))
        })?;
        if provider.scheme.is_none() && !self.unsigned {
            let reason =
                "its bodies cannot be verified; set unsigned = true to take them as they come";
            return Err(("provider", reason.into()));
        }
        if self.secrets.0.is_empty() && !self.unsigned {
            let reason = "none is given; give what signs its bodies, or set unsigned = true";
            return Err(("secrets", reason.into()));
        }
        Ok(provider)
    }

    fn secrets(&self) -> Result<Vec<SourceSecret>, Refusal> {
        self.secrets
            .0
            .iter()
            .map(|DatedSecret { value, from, until }| {
                if value.expose().is_empty() {
                    return Err(("secrets", "one of them is empty".into()));
                }
                if from.zip(*until).is_some_and(|(from, until)| from >= until) {
                    return Err(("secrets", "`from` must be before `until`".into()));
                }
                Ok(SourceSecret { value: value.clone(), from: *from, until: *until })
            })
            .collect()
    }

    fn tolerance(&self) -> Result<Option<chrono::TimeDelta>, Refusal> {
        self.tolerance
            .map(|span| {
                chrono::TimeDelta::from_std(span)
                    .map_err(|_| ("tolerance", "it is too long".to_owned()))
            })
            .transpose()
    }

    fn places(&self, provider: &Provider) -> Result<Vec<Place>, Refusal> {
        let Some(references) = &self.references else { return Ok(provider.places.to_vec()) };
        references
            .iter()
            .map(|ReferenceEntry { at, target, claims }| {
                if at.is_empty() || at.split('.').any(str::is_empty) {
                    let reason = format!("`{at}` is no dotted path such as metadata.user_id");
                    return Err(("references", reason));
                }
                let target = match target.as_str() {
                    "external_id" => Target::ExternalId,
                    namespace => {
                        check_source_name("references", namespace)?;
                        Target::Namespace(namespace.to_owned().into())
                    }
                };
                Ok(Place { at: at.clone().into(), target, claims: *claims })
            })
            .collect()
    }

    fn levels(&self) -> Result<BTreeMap<String, Authority>, Refusal> {
        self.authority
            .iter()
            .map(|(field, level)| {
                if !FIELDS.contains(&field.as_str()) {
                    let reason = format!("{field} is no field; known are {}", FIELDS.join(", "));
                    return Err(("authority", reason));
                }
                let level = match level {
                    Level::App => Authority::APP,
                    Level::Auth => Authority::AUTH,
                    Level::Payment => Authority::PAYMENT,
                };
                Ok((field.clone(), level))
            })
            .collect()
    }

    fn scope(&self, provider: &Provider) -> Scope {
        match (self.on_delete, provider.kind) {
            (Some(Reach::Identity), _) | (None, Kind::Payment) => Scope::Identity,
            (Some(Reach::Customer), _) | (None, Kind::External | Kind::Own) => Scope::Customer,
            (None, Kind::Auth) => Scope::Auto,
        }
    }
}

/// The fields that an authority can be set for.
const FIELDS: &[&str] = &["name", "email", "phone", "tags", "metadata", "anonymous", "external_id"];

fn check_source_name(field: &'static str, name: &str) -> Result<(), Refusal> {
    if field == "name" && name == "api" {
        return Err((field, "`api` is reserved".into()));
    }
    if !validate::is_name(name, "_.-") {
        let reason = format!(
            "`{name}`: at most 64 characters a-z, 0-9, `_`, `.` and `-` are expected, beginning with a letter or digit"
        );
        return Err((field, reason));
    }
    Ok(())
}

fn check_environment(field: &'static str, name: &str) -> Result<(), Refusal> {
    if validate::is_environment(name) {
        return Ok(());
    }
    Err((field, format!("`{name}`: {}", validate::ENVIRONMENT_NAME)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> Result<Vec<Source>, Error> {
        Config::parse(text)?.sources()
    }

    #[test]
    fn a_source_is_built_from_its_table() {
        let all = sources(
            r#"
            [[sources]]
            name = "stripe-eu"
            provider = "stripe"
            environment = "live"
            test_environment = "test"
            namespace = "stripe"
            secrets = ["whsec_a", { value = "whsec_b", until = "2030-01-01T00:00:00Z" }]
            tolerance = "10m"
            references = [
                { at = "metadata.uid", as = "clerk" },
                { at = "metadata.user", as = "external_id", claims = true },
            ]
            authority = { email = "app" }
            on_delete = "customer"
            unsigned = true
            url = "https://example.com/hook"
            "#,
        )
        .expect("good");
        let [source] = all.as_slice() else { panic!("one source") };
        assert_eq!((&*source.name, &*source.namespace), ("stripe-eu", "stripe"));
        assert_eq!(source.test_environment.as_deref(), Some("test"));
        assert_eq!(source.secrets.len(), 2);
        assert_eq!(source.secrets[1].until, Timestamp::parse("2030-01-01T00:00:00Z"));
        assert_eq!(source.tolerance, Some(chrono::TimeDelta::minutes(10)));
        assert_eq!(source.places[0].target, Target::Namespace("clerk".into()));
        assert!(source.places[1].claims);
        assert_eq!(source.authority_for("email"), Authority::APP);
        assert_eq!(source.on_delete, Scope::Customer);
        assert!(source.unsigned);
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        let all =
            sources("[[sources]]\nname='clerk'\nprovider='clerk'\nunsigned=true").expect("good");
        let [source] = all.as_slice() else { panic!("one source") };
        assert_eq!((&*source.environment, &*source.namespace), ("live", "clerk"));
        assert_eq!(source.on_delete, Scope::Auto);
        assert_eq!(source.places, source.provider.places);
    }

    #[test]
    fn a_source_that_cannot_work_is_refused_with_its_field() {
        for (text, field, reason) in [
            ("name='api'\nprovider='stripe'\nunsigned=true", "name", "reserved"),
            ("name='A'\nprovider='stripe'\nunsigned=true", "name", "a-z"),
            ("name='a'\nprovider='strip'\nunsigned=true", "provider", "known are"),
            ("name='a'\nprovider='clerk'\nmatch_email=true", "match_email", "not available yet"),
            ("name='a'\nprovider='stripe'\nsecrets=[]", "", "unsigned = true"),
            ("name='a'\nprovider='stripe'\nunsigned=true\nsecrets=['']", "secrets", "empty"),
            ("name='a'\nprovider='stripe'\nunsigned=true\nsecrets=[1]", "secrets", "expected"),
            (
                "name='a'\nprovider='stripe'\nunsigned=true\non_delete='all'",
                "on_delete",
                "identity",
            ),
            (
                "name='a'\nprovider='stripe'\nunsigned=true\nexternal_id='x'",
                "external_id",
                "subject",
            ),
            ("name='a'\nprovider='stripe'\nunsigned=true\nenvironment='a b'", "environment", "a b"),
            (
                "name='a'\nprovider='stripe'\nunsigned=true\nauthority={x='app'}",
                "authority",
                "known are",
            ),
            (
                "name='a'\nprovider='stripe'\nunsigned=true\nauthority={email='x'}",
                "authority",
                "app",
            ),
            ("name='a'\nprovider='stripe'\nunsigned=true\nnmae='x'", "nmae", "unknown key"),
            (
                "name='a'\nprovider='stripe'\nunsigned=true\nreferences=[{at='x..y', as='external_id'}]",
                "references",
                "x..y",
            ),
        ] {
            let error = sources(&format!("[[sources]]\n{text}")).expect_err(text);
            assert!(error.key.starts_with(&format!("sources[0].{field}")), "{error}");
            assert!(error.reason.contains(reason), "{error}");
        }
        let twice = "[[sources]]\nname='a'\nprovider='clerk'\nunsigned=true\n".repeat(2);
        assert_eq!(sources(&twice).expect_err("two of a name").key, "sources[1].name");
    }
}
