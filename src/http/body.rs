//! Bodies of requests that write: JSON objects, read strictly. An unknown field, a wrong type or a value over its
//! limit is 400 and named.

use super::{State, error::ApiError};
use axum::{
    body::Body,
    extract::{FromRequest, Request},
    http::{HeaderMap, Method, Uri, header},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use serde_json::{Map, Value};
use std::sync::Arc;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// The largest body that is taken (contract 4).
pub(super) const LIMIT: usize = 1_024 * 1_024;

/// So much more than that is still read and thrown away, so that its sender gets to read our answer.
const DRAINED: usize = 4 * LIMIT;

/// How many bytes of bodies are in hand at once, at most, over all connections: strangers may send them too.
pub(super) const IN_HAND: usize = 256 * 1_024 * 1_024;

/// A body: whole, or how one that is too large begins.
pub(super) enum Read {
    Whole(Held),
    TooLarge(Held),
}

/// Bytes, and the room that they take while they are in hand.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _room: Room,
}

/// One permit a byte.
type Room = Option<OwnedSemaphorePermit>;

/// Reads a body up to a limit, which is at most [`LIMIT`].
///
/// # Errors
/// When its sender breaks off or takes too long, or too much is in hand.
pub(super) async fn read(state: &State, body: Body, limit: usize) -> Result<Read, ApiError> {
    timeout(state.settings.body_timeout, read_all(body, limit, &state.bodies))
        .await
        .map_err(|_| ApiError::slow())?
}

async fn read_all(body: Body, limit: usize, room: &Arc<Semaphore>) -> Result<Read, ApiError> {
    let mut stream = body.into_data_stream();
    let mut whole = BytesMut::new();
    let mut length = 0_usize;
    let mut held: Room = None;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| ApiError::unreadable("the body broke off"))?;
        length = length.saturating_add(chunk.len());
        let kept = chunk.len().min(limit.saturating_sub(whole.len()));
        let size = u32::try_from(kept).unwrap_or(u32::MAX);
        let more = room.clone().try_acquire_many_owned(size);
        let more = more.map_err(|_| ApiError::unavailable("too many bodies arrive at once"))?;
        match &mut held {
            Some(held) => held.merge(more),
            None => held = Some(more),
        }
        whole.extend_from_slice(chunk.get(..kept).unwrap_or_default());
        if length > DRAINED {
            break;
        }
    }
    let held = Held { bytes: whole.freeze(), _room: held };
    Ok(if length <= limit { Read::Whole(held) } else { Read::TooLarge(held) })
}

/// A request that writes, read whole. Comes last among a handler's arguments, after who asks.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Held,
}

impl FromRequest<Arc<State>> for Whole {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Arc<State>) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        match read(state, body, LIMIT).await? {
            Read::TooLarge(_) => Err(ApiError::too_large(LIMIT)),
            Read::Whole(body) => {
                Ok(Self { method: parts.method, uri: parts.uri, headers: parts.headers, body })
            }
        }
    }
}

/// The same of which all is said by its path: it has no body.
#[derive(Debug)]
pub(super) struct Bare(pub(super) Whole);

impl FromRequest<Arc<State>> for Bare {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Arc<State>) -> Result<Self, ApiError> {
        let whole = Whole::from_request(request, state).await?;
        whole.nothing()?;
        Ok(Self(whole))
    }
}

impl Whole {
    /// The fields of its JSON object.
    ///
    /// # Errors
    /// 415 where it is not said to be JSON, 400 where it is no JSON object.
    pub(super) fn fields(&self) -> Result<Fields, ApiError> {
        if !is_json(&self.headers) {
            return Err(ApiError::unsupported_media_type());
        }
        let json = serde_json::from_slice(&self.body.bytes)
            .map_err(|error| ApiError::unreadable_body(format!("the body is no JSON: {error}")))?;
        match json {
            Value::Object(all) => Ok(Fields { all, place: String::new() }),
            _ => Err(ApiError::unreadable_body("the body is no JSON object".into())),
        }
    }

    /// Refuses a body: nothing is asked for beside the path. An empty object is nothing.
    ///
    /// # Errors
    /// 400 and 415, as of [`Whole::fields`].
    pub(super) fn nothing(&self) -> Result<(), ApiError> {
        if self.body.bytes.is_empty() { Ok(()) } else { self.fields()?.finish() }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

/// The fields of an object that no handler has taken yet.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Fields {
    all: Map<String, Value>,
    /// Where the object stands in the body: empty, or a path that ends with a dot.
    place: String,
}

/// The longest part of a caller's name for something that is told back to it.
const NAMED: usize = 100;

impl Fields {
    /// A field's place in the body.
    pub(super) fn place(&self, name: &str) -> String {
        format!("{}{}", self.place, name.chars().take(NAMED).collect::<String>())
    }

    /// 400: a field cannot be used; `why` begins with a verb.
    pub(super) fn wrong(&self, name: &str, why: &'static str) -> ApiError {
        ApiError::param("invalid_parameter", self.place(name), why)
    }

    /// Whether a field is there, and null.
    pub(super) fn is_null(&self, name: &str) -> bool {
        self.all.get(name).is_some_and(Value::is_null)
    }

    /// Refuses null where one of these fields is given.
    pub(super) fn not_null(&self, names: &[&str]) -> Result<(), ApiError> {
        match names.iter().find(|name| self.is_null(name)) {
            None => Ok(()),
            Some(name) => Err(self.wrong(name, "must not be null")),
        }
    }

    /// Takes a field as it is.
    pub(super) fn value(&mut self, name: &str) -> Option<Value> {
        self.all.remove(name)
    }

    /// Takes a field that may be absent, null, or something that a function can read.
    pub(super) fn said<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(Value) -> Result<T, &'static str>,
    ) -> Result<Option<Option<T>>, ApiError> {
        match self.all.remove(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(value) => {
                read(value).map(|it| Some(Some(it))).map_err(|why| self.wrong(name, why))
            }
        }
    }

    /// Takes a field that may be absent, or something that a function can read; null is refused.
    pub(super) fn maybe<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(Value) -> Result<T, &'static str>,
    ) -> Result<Option<T>, ApiError> {
        match self.said(name, read)? {
            None => Ok(None),
            Some(Some(value)) => Ok(Some(value)),
            Some(None) => Err(self.wrong(name, "must not be null")),
        }
    }

    /// Takes a field that must be there.
    pub(super) fn need<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Value) -> Result<T, &'static str>,
    ) -> Result<T, ApiError> {
        let missing = ApiError::param("missing_parameter", self.place(name), "is missing");
        self.maybe(name, read)?.ok_or(missing)
    }

    /// Takes an object that may be absent.
    pub(super) fn object(&mut self, name: &str) -> Result<Option<Self>, ApiError> {
        let place = format!("{}.", self.place(name));
        let all = self.maybe(name, |value| match value {
            Value::Object(all) => Ok(all),
            _ => Err("must be an object"),
        })?;
        Ok(all.map(|all| Self { all, place }))
    }

    /// All that are left, taken without looking.
    pub(super) fn rest(self) -> Map<String, Value> {
        self.all
    }

    /// Refuses what is left.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        self.only(&[])
    }

    /// Refuses all fields but these.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        match self.all.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let place = self.place(name);
                Err(ApiError::param("unknown_parameter", place, "is no field of this object"))
            }
        }
    }
}

/// A text without control characters, and not empty.
pub(super) fn text(value: Value) -> Result<String, &'static str> {
    match value {
        Value::String(text) if text.trim().is_empty() => Err("must not be empty"),
        Value::String(text) if text.chars().any(char::is_control) => {
            Err("must not hold a control character")
        }
        Value::String(text) => Ok(text),
        _ => Err("must be a text"),
    }
}

/// A whole number, also where it is written as `50.0`: JSON knows no other numbers.
pub(super) fn whole(value: &Value) -> Option<i64> {
    let exactly = |number: f64| {
        // Above that, not every whole number has a float of its own.
        let is_whole = number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0;
        is_whole.then(|| format!("{number:.0}").parse().ok()).flatten()
    };
    value.as_i64().or_else(|| value.as_f64().and_then(exactly))
}

/// True or false.
pub(super) fn flag(value: &Value) -> Result<bool, &'static str> {
    value.as_bool().ok_or("must be true or false")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Fields {
        let Value::Object(all) = value else { panic!("an object") };
        Fields { all, place: String::new() }
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_point() {
        for (text, number) in [
            ("50", Some(50)),
            ("50.0", Some(50)),
            ("5e1", Some(50)),
            ("-1.0", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("50.5", None),
            ("1e300", None),
            ("\"50\"", None),
            ("true", None),
        ] {
            assert_eq!(whole(&serde_json::from_str(text).expect("JSON")), number, "{text}");
        }
    }

    #[test]
    fn absent_null_and_a_value_are_told_apart() {
        let mut all = fields(json!({"a": null, "b": "x"}));
        assert_eq!(all.said("a", text).ok(), Some(Some(None)));
        assert_eq!(all.said("b", text).ok(), Some(Some(Some("x".to_owned()))));
        assert_eq!(all.said("c", text).ok(), Some(None));
        assert!(all.finish().is_ok());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let named = |value: Value| {
            let mut all = fields(value);
            let read = |all: &mut Fields| -> Result<(), ApiError> {
                all.need("id", text)?;
                let inner = all.object("inner")?;
                if let Some(mut inner) = inner {
                    inner.maybe("on", |value| flag(&value))?;
                    inner.finish()?;
                }
                all.clone().finish()
            };
            read(&mut all).expect_err("refused").named()
        };
        for (body, param) in [
            (json!({}), "id"),
            (json!({"id": null}), "id"),
            (json!({"id": 7}), "id"),
            (json!({"id": " "}), "id"),
            (json!({"id": "a\u{0}"}), "id"),
            (json!({"id": "a", "colour": 1}), "colour"),
            (json!({"id": "a", "inner": []}), "inner"),
            (json!({"id": "a", "inner": {"on": "yes"}}), "inner.on"),
            (json!({"id": "a", "inner": {"off": true}}), "inner.off"),
        ] {
            assert_eq!(named(body.clone()), param, "{body}");
        }
    }
}
