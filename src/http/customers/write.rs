//! `/v1/customers`: writing.

use crate::{
    http::{
        State,
        auth::{Administrator, Writer},
        body::{Bare, Fields, Whole, flag, text},
        command::carry_out,
        error::ApiError,
        query::{NoQuery, Query, invalid},
    },
    model::{
        command::{Command, MetadataChange, Names, ProfileChange},
        contact::{self, Email},
        id::CustomerId,
        metadata::{KEYS_SHOWN, Scalar, is_key},
        reference::{Kind, Reference},
    },
};
use axum::{
    extract::{self, Path},
    response::Response,
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// The most tags, and the most characters of one (contract 4).
const TAGS: usize = 50;
const TAG: usize = 64;

/// The longest name of a provider's namespace.
const NAMESPACE: usize = 100;

/// `POST /v1/customers`
pub(in crate::http) async fn create(
    extract::State(state): extract::State<Arc<State>>,
    Writer(caller): Writer,
    _: NoQuery,
    request: Whole,
) -> Result<Response, ApiError> {
    let mut fields = request.fields()?;
    let names = names(&mut fields, &state, &caller.environment)?;
    let profile = profile(&mut fields)?;
    fields.finish()?;
    carry_out(&state, &caller, &request, Command::Create { names, profile }).await
}

/// `POST /v1/customers/identify`
pub(in crate::http) async fn identify(
    extract::State(state): extract::State<Arc<State>>,
    Writer(caller): Writer,
    _: NoQuery,
    request: Whole,
) -> Result<Response, ApiError> {
    let mut fields = request.fields()?;
    let alias = fields.maybe("customer_id", external)?;
    let mut names = names(&mut fields, &state, &caller.environment)?;
    if alias.is_some() && names.external_id.is_some() && alias != names.external_id {
        return Err(fields.wrong("customer_id", "is another name of external_id, and differs"));
    }
    names.external_id = names.external_id.or(alias);
    if names == Names::default() {
        let message = "is missing: give external_id, or provider and provider_uid";
        return Err(ApiError::param("missing_parameter", "external_id", message));
    }
    let profile = profile(&mut fields)?;
    fields.finish()?;
    carry_out(&state, &caller, &request, Command::Identify { names, profile }).await
}

/// `PATCH /v1/customers/{id}`
pub(in crate::http) async fn update(
    extract::State(state): extract::State<Arc<State>>,
    Writer(caller): Writer,
    Path(id): Path<String>,
    _: NoQuery,
    request: Whole,
) -> Result<Response, ApiError> {
    let mut fields = request.fields()?;
    let external_id = fields.said("external_id", external)?;
    let profile = profile(&mut fields)?;
    fields.finish()?;
    let customer = customer(&id)?;
    carry_out(&state, &caller, &request, Command::Update { customer, external_id, profile }).await
}

/// `DELETE /v1/customers/{id}`
pub(in crate::http) async fn delete(
    extract::State(state): extract::State<Arc<State>>,
    Administrator(caller): Administrator,
    Path(id): Path<String>,
    mut query: Query,
    request: Whole,
) -> Result<Response, ApiError> {
    let erase_payments = query.read("payments", "must be keep or erase", |text| match text {
        "keep" => Some(false),
        "erase" => Some(true),
        _ => None,
    })?;
    query.finish()?;
    request.nothing()?;
    let customer = customer(&id)?;
    let erase_payments = erase_payments.unwrap_or(false);
    carry_out(&state, &caller, &request, Command::Delete { customer, erase_payments }).await
}

/// `POST /v1/customers/{id}/merge`
pub(in crate::http) async fn merge(
    extract::State(state): extract::State<Arc<State>>,
    Administrator(caller): Administrator,
    Path(id): Path<String>,
    _: NoQuery,
    request: Whole,
) -> Result<Response, ApiError> {
    let mut fields = request.fields()?;
    let from = fields.need("from", text)?;
    let keep = fields.maybe("keep", text)?;
    let itself = fields.wrong("from", "is the customer itself");
    fields.finish()?;
    let into = customer(&id)?;
    let from = customer(&from).map_err(|error| error.about("from"))?;
    if into == from {
        return Err(itself);
    }
    carry_out(&state, &caller, &request, Command::Merge { into, from, keep }).await
}

/// `DELETE /v1/customers/{id}/identities/{provider}/{uid}`
pub(in crate::http) async fn detach(
    extract::State(state): extract::State<Arc<State>>,
    Administrator(caller): Administrator,
    Path((id, provider, uid)): Path<(String, String, String)>,
    _: NoQuery,
    Bare(request): Bare,
) -> Result<Response, ApiError> {
    let customer = customer(&id)?;
    let (provider, uid) = (provider.into(), uid.into());
    carry_out(&state, &caller, &request, Command::Detach { customer, provider, uid }).await
}

/// A customer's id; what is none names nothing.
pub(in crate::http) fn customer(id: &str) -> Result<CustomerId, ApiError> {
    id.parse().map_err(|_| super::unknown())
}

pub(in crate::http) fn external(value: Value) -> Result<Reference, &'static str> {
    match value {
        // Opaque: no character of it is taken away.
        Value::String(id) => Reference::new(Kind::External, "", &id),
        _ => Err("must be a text"),
    }
}

/// The names that a customer is given or asked for by.
fn names(fields: &mut Fields, state: &State, environment: &str) -> Result<Names, ApiError> {
    let external_id = fields.maybe("external_id", external)?;
    let provider = fields.maybe("provider", |value| {
        let name = text(value)?;
        if name.chars().count() > NAMESPACE {
            Err("is longer than 100 characters")
        } else {
            Ok(name)
        }
    })?;
    let uid = fields.maybe("provider_uid", |value| match value {
        Value::String(uid) => Ok(uid),
        _ => Err("must be a text"),
    })?;
    let kind = fields.maybe("kind", |value| match value.as_str() {
        Some("auth") => Ok(Kind::Auth),
        Some("payment") => Ok(Kind::Payment),
        _ => Err("must be auth or payment"),
    })?;
    let missing = |param: &'static str| {
        ApiError::param("missing_parameter", param, "is missing: it goes with the other two")
    };
    let (provider, uid) = match (provider, uid) {
        (None, None) if kind.is_none() => return Ok(Names { external_id, identity: Vec::new() }),
        (None, _) => return Err(missing("provider")),
        (Some(_), None) => return Err(missing("provider_uid")),
        (Some(provider), Some(uid)) => (provider, uid),
    };
    let kinds = match kind {
        Some(kind) => vec![kind],
        None if is_of_payments(state, environment, &provider) => vec![Kind::Payment, Kind::Auth],
        None => vec![Kind::Auth, Kind::Payment],
    };
    let name = |kind| Reference::new(kind, &provider, &uid);
    let identity = kinds.into_iter().map(name).collect::<Result<_, _>>();
    Ok(Names { external_id, identity: identity.map_err(|why| fields.wrong("provider_uid", why))? })
}

/// Whether the source of a namespace is a payment provider.
fn is_of_payments(state: &State, environment: &str, namespace: &str) -> bool {
    let mut sources = state.pipeline.sources.values();
    sources.any(|source| {
        *source.namespace == *namespace
            && *source.environment == *environment
            && source.provider.kind == Kind::Payment
    })
}

/// What is said about the person.
pub(in crate::http) fn profile(fields: &mut Fields) -> Result<ProfileChange, ApiError> {
    Ok(ProfileChange {
        name: fields.said("name", |value| contact::name(&text(value)?))?,
        email: fields
            .said("email", |value| Email::parse(&text(value)?, false).map(|email| email.address))?,
        email_verified: fields.maybe("email_verified", |value| flag(&value))?,
        phone: fields.said("phone", |value| contact::phone(&text(value)?))?,
        tags: tags(fields)?,
        is_anonymous: fields.said("is_anonymous", |value| flag(&value))?,
        metadata: metadata(fields)?,
    })
}

fn tags(fields: &mut Fields) -> Result<Option<Option<Vec<String>>>, ApiError> {
    let list = fields.said("tags", |value| match value {
        Value::Array(list) if list.len() > TAGS => Err("has more than 50 tags"),
        Value::Array(list) => Ok(list),
        _ => Err("must be a list of texts"),
    })?;
    let Some(Some(list)) = list else { return Ok(list.map(|_| None)) };
    let mut tags: Vec<String> = Vec::with_capacity(list.len());
    for (place, tag) in list.into_iter().enumerate() {
        let tag = text(tag).and_then(|tag| contact::clean(&tag, TAG));
        let tag = tag.map_err(|why| fields.wrong(&format!("tags[{place}]"), why))?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(Some(Some(tags)))
}

fn metadata(fields: &mut Fields) -> Result<Option<MetadataChange>, ApiError> {
    if fields.is_null("metadata") {
        fields.value("metadata");
        return Ok(Some(MetadataChange::Clear));
    }
    let Some(all) = fields.object("metadata")? else { return Ok(None) };
    let all = all.rest();
    if all.len() > KEYS_SHOWN {
        return Err(fields.wrong("metadata", "has more than 50 keys"));
    }
    let mut changes = BTreeMap::new();
    for (key, value) in all {
        let wrong = |why| invalid(&fields.place(&format!("metadata.{key}")), why);
        if !is_key(&key) {
            return Err(wrong("must be a key of 1 to 40 characters without control characters"));
        }
        let value = scalar(value).map_err(wrong)?;
        changes.insert(key, value);
    }
    Ok(Some(MetadataChange::Merge(changes)))
}

/// A value of metadata; null removes its key.
fn scalar(value: Value) -> Result<Option<Scalar>, &'static str> {
    match &value {
        Value::Null => return Ok(None),
        // Lines and tabs are part of a text; nothing else that cannot be seen is.
        Value::String(text)
            if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) =>
        {
            return Err("must not hold a control character");
        }
        Value::Number(number)
            if number.to_string().len() > 100 || !number.as_f64().is_some_and(f64::is_finite) =>
        {
            return Err("is a number too large to keep");
        }
        _ => {}
    }
    Scalar::try_from(value).map(Some)
}
