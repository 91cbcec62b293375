//! `[[sources]]`: one account at one provider each.

use super::{
    Config, Error,
    proof::{self, Proof},
    units, validate,
};
use crate::{
    model::{
        authority::Authority,
        command,
        reference::{Kind, Scope},
        secret::Secret,
        time::Timestamp,
    },
    provider::{self, Batch, On, Place, Provider, Source, SourceSecret, Target, custom},
    verify::scheme::Scheme,
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
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
    manual_capture: bool,
    #[serde(default)]
    unsigned: bool,
    url: Option<String>,
    verify: Option<Proof>,
    mapping: Option<custom::Settings>,
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
    #[serde(default)]
    on: Objects,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Objects {
    #[default]
    Any,
    Customer,
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
        let described = entry.described().map_err(|(field, reason)| refuse(&field, reason))?;
        let source = entry.build(described).map_err(|(field, reason)| refuse(field, reason))?;
        if !names.insert(source.name.clone()) {
            return Err(refuse("name", format!("two sources are named {}", source.name)));
        }
        sources.push(source);
    }
    Ok(sources)
}

/// The field and what is wrong with it.
type Refusal = (&'static str, String);

/// A provider and its mapping, as a source describes them.
type Described = (Provider, custom::Mapping);

impl Entry {
    /// The provider that the source describes itself, if it does.
    fn described(&self) -> Result<Option<Described>, (String, String)> {
        let refuse = |key: &str, why: &str| Err((key.to_owned(), why.to_owned()));
        if self.provider != custom::UNDESCRIBED.name {
            let only = "only a source with provider = \"custom\" has it; this one's is built in";
            return match (&self.verify, &self.mapping) {
                (Some(_), _) => refuse("verify", only),
                (None, Some(_)) => refuse("mapping", only),
                (None, None) => Ok(None),
            };
        }
        let Some(mapping) = &self.mapping else {
            return refuse("mapping", "the key is missing: say what its bodies mean");
        };
        if self.verify.is_none() && !self.unsigned {
            let why = "the key is missing: say how its bodies are verified, or set unsigned = true";
            return refuse("verify", why);
        }
        let scheme = self.verify.as_ref().map(Proof::compile).transpose();
        let scheme = scheme.map_err(|(key, why)| (format!("verify.{key}"), why))?;
        let (kind, authority) = mapping.kind();
        let batch = mapping.batch().map(|(list, bare)| {
            let list = proof::text(list);
            Batch { list, beside: &[], bare }
        });
        let signed = scheme.as_ref().and_then(Scheme::list);
        if signed.is_some() && signed != batch.map(|batch| batch.list) {
            return refuse("mapping.batch", "its list must be that of `verify.item`");
        }
        let mapping = mapping.compile().map_err(|(key, why)| (format!("mapping.{key}"), why))?;
        Ok(Some((Provider { authority, kind, scheme, batch, ..custom::UNDESCRIBED }, mapping)))
    }

    fn build(&self, described: Option<Described>) -> Result<Source, Refusal> {
        check_source_name("name", &self.name)?;
        let namespace = self.namespace.as_deref().unwrap_or(&self.name);
        check_source_name("namespace", namespace)?;
        check_environment("environment", &self.environment)?;
        if let Some(name) = &self.test_environment {
            check_environment("test_environment", name)?;
        }
        let (provider, mapping): (Arc<Provider>, _) = match described {
            Some((provider, mapping)) => (Arc::new(provider), Some(Arc::new(mapping))),
            None => (self.built_in()?.into(), None),
        };
        if self.secrets.0.is_empty() && !self.unsigned {
            let reason = "none is given; give what signs its bodies, or set unsigned = true";
            return Err(("secrets", reason.into()));
        }
        if self.match_email && provider.authority != Authority::PAYMENT {
            let reason =
                "only payments are linked by e-mail, and this is no payment provider; leave it out";
            return Err(("match_email", reason.into()));
        }
        if self.manual_capture && !provider.captures_later {
            let reason = format!(
                "the events of {} say themselves whether a payment is captured; leave it out",
                provider.name
            );
            return Err(("manual_capture", reason));
        }
        if self.external_id.is_some() && provider.kind != Kind::Auth {
            let reason = format!(
                "only an auth provider's UID can be the app's own user id, and {} is none; leave it out",
                provider.name
            );
            return Err(("external_id", reason));
        }
        if self.url.is_none() && !self.unsigned && provider.scheme.is_some_and(|it| it.signs_url())
        {
            let reason = "the key is missing: the provider signs the address too; give the one that it sends to";
            return Err(("url", reason.into()));
        }
        let places = self.places(&provider)?;
        let on_delete = self.scope(&provider);
        let secrets = self.secrets(&provider)?;
        Ok(Source {
            name: self.name.as_str().into(),
            provider,
            mapping,
            environment: self.environment.as_str().into(),
            test_environment: self.test_environment.as_deref().map(Into::into),
            namespace: namespace.into(),
            secrets,
            tolerance: self.tolerance()?,
            url: self.url.clone(),
            subject_is_external_id: matches!(self.external_id, Some(ExternalId::Subject)),
            places,
            authority: self.levels()?,
            on_delete,
            match_email: self.match_email,
            manual_capture: self.manual_capture,
            unsigned: self.unsigned,
        })
    }

    fn built_in(&self) -> Result<&'static Provider, Refusal> {
        let provider = provider::find(&self.provider).ok_or_else(|| {
            let known: Vec<_> = provider::ALL.iter().map(|provider| provider.name).collect();
            let name = &self.provider;
            let known = format!("{}, {}", known.join(", "), custom::UNDESCRIBED.name);
            ("provider", format!("{name} is no provider; known are {known}"))
        })?;
        if provider.scheme.is_none() && !self.unsigned {
            let reason =
                "its bodies cannot be verified; set unsigned = true to take them as they come";
            return Err(("provider", reason.into()));
        }
        Ok(provider)
    }

    fn secrets(&self, provider: &Provider) -> Result<Vec<SourceSecret>, Refusal> {
        self.secrets
            .0
            .iter()
            .map(|DatedSecret { value, from, until }| {
                if value.expose().is_empty() {
                    return Err(("secrets", "one of them is empty".into()));
                }
                if let Some(Err(why)) = provider.scheme.map(|scheme| scheme.accepts(value)) {
                    let name = provider.name;
                    return Err((
                        "secrets",
                        format!("one of them {why}: set it as {name} shows it"),
                    ));
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
            .map(|ReferenceEntry { at, target, claims, on }| {
                if at.is_empty() || at.split('.').any(str::is_empty) {
                    let reason = format!("`{at}` is no dotted path such as metadata.user_id");
                    return Err(("references", reason));
                }
                if provider.kind == Kind::Auth && !(*claims && target == "external_id") {
                    let reason = format!(
                        "`{at}`: of an auth source's user only an external_id is read, and it claims; set as = \"external_id\" and claims = true, where only your server writes it"
                    );
                    return Err(("references", reason));
                }
                let target = match target.as_str() {
                    "external_id" => Target::ExternalId,
                    namespace => {
                        check_source_name("references", namespace)?;
                        Target::Namespace(namespace.to_owned().into())
                    }
                };
                let on = match on {
                    Objects::Any => On::Any,
                    Objects::Customer => On::Customer,
                };
                Ok(Place { at: at.clone().into(), target, claims: *claims, on })
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
    if field == "name" && [command::SOURCE, provider::record::SOURCE].contains(&name) {
        return Err((field, format!("`{name}` is reserved")));
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
                { at = "metadata.user", as = "external_id", claims = true, on = "customer" },
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
        assert_eq!((source.places[0].on, source.places[1].on), (On::Any, On::Customer));
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
            ("name='import'\nprovider='stripe'\nunsigned=true", "name", "reserved"),
            ("name='A'\nprovider='stripe'\nunsigned=true", "name", "a-z"),
            ("name='a'\nprovider='strip'\nunsigned=true", "provider", "known are"),
            (
                "name='a'\nprovider='clerk'\nsecrets='s'\nmatch_email=true",
                "match_email",
                "no payment provider",
            ),
            (
                "name='a'\nprovider='stripe'\nsecrets='s'\nmanual_capture=true",
                "manual_capture",
                "say themselves",
            ),
            ("name='a'\nprovider='stripe'\nsecrets=[]", "", "unsigned = true"),
            ("name='a'\nprovider='stripe'\nunsigned=true\nsecrets=['']", "secrets", "empty"),
            ("name='a'\nprovider='adyen'\nsecrets=['00ff','xyz']", "secrets", "is not hex"),
            ("name='a'\nprovider='chargebee'\nsecrets='user'", "secrets", "user:password"),
            ("name='a'\nprovider='kinde'\nsecrets='{}'", "secrets", "no JWK"),
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
            (
                "name='a'\nprovider='stripe'\nunsigned=true\nexternal_id='subject'",
                "external_id",
                "stripe is none",
            ),
            ("name='a'\nprovider='square'\nsecrets='s'", "url", "signs the address"),
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
            (
                "name='a'\nprovider='auth0'\nsecrets='s'\nreferences=[{at='user_metadata.id', as='external_id'}]",
                "references",
                "claims = true",
            ),
            (
                "name='a'\nprovider='auth0'\nsecrets='s'\nreferences=[{at='app_metadata.id', as='clerk', claims=true}]",
                "references",
                "only an external_id",
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
