//! Stage 2: is it from whom it says it is? The only maker of [`Verified`].

use crate::{
    model::{inbound::Raw, time::Timestamp},
    provider::Source,
};
use bytes::Bytes;
use scheme::{BadSecret, Check, Input, Place, Scheme, authenticate};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, fmt, sync::Arc};

pub mod presets;
pub mod scheme;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

/// A body that passed its source's check, or whose source needs none. Only [`verify`] makes it.
#[derive(Clone)]
pub struct Verified {
    source: Arc<Source>,
    body: Bytes,
    received_at: Timestamp,
    checked: bool,
    age_unchecked: bool,
    header_id: Option<String>,
    hash: String,
    /// Items of a batch that did not pass, by their place.
    refused: BTreeMap<usize, Rejection>,
}

impl Verified {
    /// The source that it comes from.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// The provider's bytes.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// When the ingress received it, never later than the time of recording; that time where it did not say
    /// (semantics 1).
    pub fn received_at(&self) -> Timestamp {
        self.received_at
    }

    /// Whether a signature or credential was checked; otherwise its source is set `unsigned`.
    pub fn verified(&self) -> bool {
        self.checked
    }

    /// Whether its signature has a time that could not be held against a receipt: worth counting.
    pub fn age_unchecked(&self) -> bool {
        self.age_unchecked
    }

    /// The provider's event id, where a header gives it.
    pub fn header_id(&self) -> Option<&str> {
        self.header_id.as_deref()
    }

    /// The SHA-256 of the body in lower-case hex.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Why an item of a batch is not believed although the message is: each is signed by itself.
    pub(crate) fn refused(&self, index: usize) -> Option<&Rejection> {
        self.refused.get(&index)
    }

    /// One that nobody checked, for the tests of the stages behind this one.
    #[cfg(test)]
    pub(crate) fn for_test(
        source: Arc<Source>,
        body: Bytes,
        received_at: Timestamp,
        header_id: Option<&str>,
    ) -> Self {
        let hash = hex::encode(Sha256::digest(&body));
        let header_id = header_id.map(str::to_owned);
        Self {
            source,
            body,
            received_at,
            checked: true,
            age_unchecked: false,
            header_id,
            hash,
            refused: BTreeMap::new(),
        }
    }
}

/// Shows no body: it may be personal.
impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("source", &self.source.name)
            .field("hash", &self.hash)
            .field("received_at", &self.received_at)
            .field("verified", &self.checked)
            .finish_non_exhaustive()
    }
}

/// Why a body is not believed. Names the place and the cure, never a secret or a signature.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Rejection {
    /// Nothing to check it with.
    #[error(
        "source {0} has no secret: set its `secrets`, or `unsigned = true` to take its events unverified"
    )]
    NoSecret(Arc<str>),
    /// All were of another time.
    #[error("no secret of source {name} holds at {at}: mend `from` and `until` of its `secrets`")]
    NoSecretThen {
        /// The source.
        name: Arc<str>,
        /// When it was received.
        at: Timestamp,
    },
    /// The provider does not sign.
    #[error(
        "source {name}: events of {provider} cannot be verified: set `unsigned = true` to take them so"
    )]
    NoScheme {
        /// The source.
        name: Arc<str>,
        /// The provider.
        provider: &'static str,
    },
    /// None of them matched, and one cannot be a key.
    #[error("a secret of the source {0}: set it in `secrets` as the provider shows it")]
    Secret(BadSecret),
    /// What is to be read is not there.
    #[error(
        "{place} is missing: the gateway must pass on the provider's headers and body untouched"
    )]
    Missing {
        /// The header or the place in the body.
        place: &'static str,
    },
    /// What is there cannot be read.
    #[error("{place} {what}: the gateway must pass on the provider's headers and body untouched")]
    Malformed {
        /// The header or the place in the body.
        place: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// Another secret, or other bytes.
    #[error(
        "{place} matches no secret of the source: check its `secrets`, and that the body arrives byte for byte"
    )]
    Mismatch {
        /// The header or the place in the body.
        place: &'static str,
    },
    /// Signed long before it was received.
    #[error(
        "{place} was signed {age} s before the receipt, {allowed} s are allowed: see `tolerance` of the source, and the gateway's clock"
    )]
    TooOld {
        /// The header.
        place: &'static str,
        /// In seconds.
        age: i64,
        /// In seconds.
        allowed: i64,
    },
    /// Signed long after it was received.
    #[error(
        "{place} was signed {ahead} s after the receipt, {allowed} s are allowed: see `tolerance` of the source, and the gateway's clock"
    )]
    TooEarly {
        /// The header.
        place: &'static str,
        /// In seconds.
        ahead: i64,
        /// In seconds.
        allowed: i64,
    },
    /// The provider signs it.
    #[error("the provider signs the webhook's address: set `url` of the source to it")]
    NoUrl,
    /// No item of a batch is believed; this is the first.
    #[error("item {number}: {why}")]
    Item {
        /// From 1.
        number: usize,
        /// Its own rejection.
        why: Box<Rejection>,
    },
}

/// Checks a message against its source; `now` is the time of recording, which no receipt is later than.
///
/// Its age, and which secrets hold, are measured against the time of its receipt: a backlog rejects nothing. Without
/// such a time it counts as received now and its age is not judged. A source that is `unsigned` is taken without a
/// check where there is nothing to check it with; its secrets, if it has any, are checked.
///
/// Where each item of a batch is signed by itself, the message passes if one of them does; what is refused of the
/// others is told when they are read.
///
/// # Errors
/// Says where and why not, and what to do.
pub fn verify(source: &Arc<Source>, raw: &Raw, now: Timestamp) -> Result<Verified, Rejection> {
    let mut verified = unchecked(source, raw, now);
    let received_at = verified.received_at;
    let scheme = source.provider.scheme.as_ref();
    let scheme = match scheme {
        Some(scheme) if !source.secrets.is_empty() => scheme,
        _ if source.unsigned => return Ok(verified),
        Some(_) => return Err(Rejection::NoSecret(Arc::clone(&source.name))),
        None => {
            return Err(Rejection::NoScheme {
                name: Arc::clone(&source.name),
                provider: source.provider.name,
            });
        }
    };
    let (stamped_at, refused) = check(source, scheme, raw, received_at)?;
    verified.refused = refused;
    verified.checked = true;
    if let (Some(stamped_at), Check::Signature(signature)) = (stamped_at, &scheme.check)
        && let Some(rule) = signature.stamp
    {
        let judge =
            |said| rule.judge(signature.place, stamped_at, received_at, said, source.tolerance);
        let judged = raw.received_at.map_or(Ok(false), judge)?;
        verified.age_unchecked = !judged;
    }
    Ok(verified)
}

/// A message that passed when it was received, and is processed again from what was kept. It is not held against the
/// secrets once more: they may be others by now, and what is kept of a batch is one item of what was signed.
pub fn verified_at_receipt(source: &Arc<Source>, raw: &Raw, now: Timestamp) -> Verified {
    Verified { checked: true, ..unchecked(source, raw, now) }
}

fn unchecked(source: &Arc<Source>, raw: &Raw, now: Timestamp) -> Verified {
    let scheme = source.provider.scheme.as_ref();
    Verified {
        source: Arc::clone(source),
        body: raw.body.clone(),
        received_at: raw.received_at.map_or(now, |at| at.min(now)),
        checked: false,
        age_unchecked: false,
        header_id: scheme.and_then(|scheme| scheme.id_in(&raw.headers)).map(str::to_owned),
        hash: hex::encode(Sha256::digest(&raw.body)),
        refused: BTreeMap::new(),
    }
}

/// The time of signing, and the items that are refused.
type Checked = (Option<Timestamp>, BTreeMap<usize, Rejection>);

/// Holds the message, or each item of it, against the secrets that held at its receipt.
fn check(
    source: &Source,
    scheme: &Scheme,
    raw: &Raw,
    received_at: Timestamp,
) -> Result<Checked, Rejection> {
    let secrets: Vec<_> = source
        .secrets
        .iter()
        .filter(|secret| secret.from.is_none_or(|from| from <= received_at))
        .filter(|secret| secret.until.is_none_or(|until| received_at <= until))
        .map(|secret| &secret.value)
        .collect();
    if secrets.is_empty() {
        return Err(Rejection::NoSecretThen { name: Arc::clone(&source.name), at: received_at });
    }
    let input =
        Input { headers: &raw.headers, body: &raw.body, url: source.url.as_deref(), item: None };
    let Check::Signature(scheme::Signature { place: Place::Item { list, item, .. }, .. }) =
        scheme.check
    else {
        return authenticate(scheme, &input, &secrets).map(|at| (at, BTreeMap::new()));
    };
    let body: Value = serde_json::from_slice(&raw.body)
        .map_err(|_| Rejection::Malformed { place: "the body", what: "is not JSON" })?;
    let mut names = body.as_object().into_iter().flat_map(|fields| fields.keys());
    if names.any(|name| name.contains('\0')) {
        return Err(Rejection::Malformed { place: "the body", what: WITH_NUL });
    }
    let items = body.get(list).and_then(Value::as_array).filter(|items| !items.is_empty());
    let items = items.ok_or(Rejection::Missing { place: list })?;
    let check = |(index, entry): (usize, &Value)| {
        let checked = match entry.get(item) {
            _ if holds_nul(entry) => {
                Err(Rejection::Malformed { place: "the item", what: WITH_NUL })
            }
            Some(item) => authenticate(scheme, &Input { item: Some(item), ..input }, &secrets),
            None => Err(Rejection::Missing { place: item }),
        };
        checked.err().map(|why| (index, why))
    };
    let refused: BTreeMap<usize, Rejection> = items.iter().enumerate().filter_map(check).collect();
    match refused.first_key_value() {
        Some((index, why)) if refused.len() == items.len() => {
            Err(Rejection::Item { number: index.saturating_add(1), why: Box::new(why.clone()) })
        }
        _ => Ok((None, refused)),
    }
}

/// Why a batch with U+0000 in it is refused: it is taken out of what is read, names too, and so what is signed and what is
/// read could be two things.
const WITH_NUL: &str = "holds U+0000";

/// Whether a name or a text anywhere in it holds U+0000.
fn holds_nul(json: &Value) -> bool {
    match json {
        Value::String(text) => text.contains('\0'),
        Value::Array(list) => list.iter().any(holds_nul),
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| name.contains('\0') || holds_nul(value))
        }
        _ => false,
    }
}
