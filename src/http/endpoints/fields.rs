//! What a request says about an endpoint: every field is read strictly, and named where it is wrong.

use crate::{
    http::{
        body::{self, Fields},
        error::ApiError,
    },
    model::{
        endpoint::{EndpointSpec, SignatureStyle},
        secret::Secret,
    },
};
use serde_json::Value;
use std::sync::Arc;

/// Headers by name; one without a value is taken away.
type Headers = Vec<(String, Option<Secret>)>;

/// A change: what is absent stays.
#[derive(Debug, Default)]
pub(super) struct Change {
    url: Option<String>,
    name: Option<Option<String>>,
    description: Option<Option<String>>,
    event_types: Option<Vec<String>>,
    /// Null takes all of them away.
    headers: Option<Option<Headers>>,
    timeout_ms: Option<Option<u64>>,
    schedule: Option<Option<Vec<u64>>>,
    rate_limit: Option<Option<u32>>,
    ordered: Option<bool>,
    signature_style: Option<SignatureStyle>,
    signature_header: Option<Option<String>>,
    ed25519: Option<bool>,
    pub(super) enabled: Option<bool>,
}

/// What a new endpoint is to be, and its secret where one is given.
pub(super) fn new(
    mut fields: Fields,
    environment: &Arc<str>,
) -> Result<(EndpointSpec, Option<Secret>), ApiError> {
    let url = fields.need("url", body::text)?;
    let secret = fields.maybe("secret", secret)?;
    let change = read(&mut fields)?;
    fields.finish()?;
    let mut spec = EndpointSpec {
        environment: environment.clone(),
        url,
        event_types: vec!["*".into()],
        ..EndpointSpec::default()
    };
    change.apply(&mut spec);
    Ok((spec, secret))
}

/// What is to change of an endpoint.
pub(super) fn change(mut fields: Fields) -> Result<Change, ApiError> {
    let url = fields.maybe("url", body::text)?;
    let enabled = fields.maybe("enabled", |value| body::flag(&value))?;
    let change = Change { url, enabled, ..read(&mut fields)? };
    fields.finish()?;
    Ok(change)
}

/// A secret that the caller brings along.
pub(super) fn secret(value: Value) -> Result<Secret, &'static str> {
    match value {
        Value::String(text) => Ok(Secret::new(text)),
        _ => Err("must be a text"),
    }
}

fn read(fields: &mut Fields) -> Result<Change, ApiError> {
    let style = |value: Value| {
        let style = value.as_str().and_then(SignatureStyle::from_name);
        style.ok_or("must be standard, timestamped or sha256")
    };
    let number = |value: Value| unsigned(&value).ok_or("must be a whole number above 0");
    let rate = |value: Value| {
        let rate = unsigned(&value).and_then(|rate| rate.try_into().ok());
        rate.ok_or("must be a whole number of requests a second")
    };
    let name = |value: Value| match body::text(value) {
        Ok(name) if name.chars().count() <= 64 => Ok(name),
        Ok(_) => Err("must have at most 64 characters"),
        Err(why) => Err(why),
    };
    let description = |value: Value| match value {
        Value::String(text) if text.chars().count() <= 1_000 && !text.contains('\0') => Ok(text),
        _ => Err("must be a text of at most 1000 characters"),
    };
    Ok(Change {
        url: None,
        enabled: None,
        name: fields.said("name", name)?,
        description: fields.said("description", description)?,
        event_types: fields.maybe("event_types", |value| texts(&value))?,
        headers: fields.said("headers", headers)?,
        timeout_ms: fields.said("timeout_ms", number)?,
        schedule: fields.said("schedule", |value| delays(&value))?,
        rate_limit: fields.said("rate_limit", rate)?,
        ordered: fields.maybe("ordered", |value| body::flag(&value))?,
        signature_style: fields.maybe("signature_style", style)?,
        signature_header: fields.said("signature_header", body::text)?,
        ed25519: fields.maybe("ed25519", |value| body::flag(&value))?,
    })
}

fn unsigned(value: &Value) -> Option<u64> {
    body::whole(value).and_then(|number| number.try_into().ok())
}

fn texts(value: &Value) -> Result<Vec<String>, &'static str> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let texts = value.as_array().and_then(|all| all.iter().map(text).collect());
    texts.ok_or("must be a list of texts")
}

fn delays(value: &Value) -> Result<Vec<u64>, &'static str> {
    let delays = value.as_array().and_then(|all| all.iter().map(unsigned).collect());
    delays.ok_or("must be a list of whole numbers, the waits between tries in seconds")
}

fn headers(value: Value) -> Result<Headers, &'static str> {
    let expected = "must be an object of texts; null takes a header away";
    let Value::Object(all) = value else { return Err(expected) };
    let header = |(name, value): (String, Value)| match value {
        Value::String(text) => Ok((name, Some(Secret::new(text)))),
        Value::Null => Ok((name, None)),
        _ => Err(expected),
    };
    all.into_iter().map(header).collect()
}

impl Change {
    /// Says it of an endpoint.
    pub(super) fn apply(self, spec: &mut EndpointSpec) {
        let Self {
            url,
            name,
            description,
            event_types,
            headers,
            timeout_ms,
            schedule,
            rate_limit,
            ordered,
            signature_style,
            signature_header,
            ed25519,
            enabled: _,
        } = self;
        set(&mut spec.url, url);
        set(&mut spec.name, name);
        set(&mut spec.description, description);
        set(&mut spec.event_types, event_types);
        match headers {
            None => {}
            Some(None) => spec.headers.clear(),
            Some(Some(all)) => {
                for (name, value) in all {
                    spec.headers.retain(|known, _| !known.eq_ignore_ascii_case(&name));
                    if let Some(value) = value {
                        spec.headers.insert(name, value);
                    }
                }
            }
        }
        let settings = &mut spec.settings;
        set(&mut settings.timeout_ms, timeout_ms);
        set(&mut settings.schedule, schedule);
        set(&mut settings.rate_limit, rate_limit);
        set(&mut settings.ordered, ordered);
        set(&mut settings.signature_style, signature_style);
        set(&mut settings.signature_header, signature_header);
        set(&mut settings.ed25519, ed25519);
    }
}

fn set<T>(field: &mut T, said: Option<T>) {
    if let Some(said) = said {
        *field = said;
    }
}
