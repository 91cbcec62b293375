//! The providers: for each one its signature scheme as data and one pure function that reads its bodies.
//!
//! To add one: a file under `provider/` with a `pub(crate) const PROVIDER`, and a line in [`ALL`].

use crate::{
    model::{
        authority::Authority,
        event::Reading,
        reference::{Kind, Scope},
        secret::Secret,
        stamp::EventKey,
        time::Timestamp,
    },
    verify::scheme::Scheme,
};
use chrono::TimeDelta;
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

pub mod canonical;
pub mod clerk;
pub(crate) mod read;
pub mod stripe;

/// Every provider that is built in.
pub const ALL: &[&Provider] = &[&canonical::PROVIDER, &clerk::PROVIDER, &stripe::PROVIDER];

/// The provider of a name.
pub fn find(name: &str) -> Option<&'static Provider> {
    ALL.iter().copied().find(|provider| provider.name == name)
}

/// What is the same for everybody who uses a provider.
#[derive(Debug)]
pub struct Provider {
    /// Its name in configuration.
    pub name: &'static str,
    /// How much its word counts.
    pub authority: Authority,
    /// What its own ids of a person are.
    pub kind: Kind,
    /// How its bodies are verified; none where they cannot be.
    pub scheme: Option<Scheme>,
    /// Where its bodies name the app's user, in order of preference.
    pub places: &'static [Place],
    /// Reads a verified body: one item an event.
    ///
    /// # Errors
    /// Where nothing at all can be read: says the place and what is wrong with it.
    pub read: fn(&Body<'_>) -> Result<Vec<Item>, Malformed>,
}

/// Where a body names the app's user, and what that name is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// A dotted path, from the provider's object: `metadata.user_id`.
    pub at: Cow<'static, str>,
    /// What is found there.
    pub target: Target,
    /// Whether only the team's server writes it, so that it may say under whom the provider's customer hangs.
    pub claims: bool,
}

/// What a name found in a body is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// The app's own user id.
    ExternalId,
    /// An auth UID of a namespace.
    Namespace(Cow<'static, str>),
}

/// One secret of a source, and when it holds.
#[derive(Clone, Debug)]
pub struct SourceSecret {
    /// The secret.
    pub value: Secret,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
}

/// A configured source: one account at one provider.
#[derive(Clone, Debug)]
pub struct Source {
    /// Routing key and ingress path.
    pub name: Arc<str>,
    /// Whose bodies these are.
    pub provider: &'static Provider,
    /// Where its events belong.
    pub environment: Arc<str>,
    /// Where events of the other mode belong; without one they are ignored.
    pub test_environment: Option<Arc<str>>,
    /// The namespace of its ids.
    pub namespace: Arc<str>,
    /// Any of them may have signed.
    pub secrets: Vec<SourceSecret>,
    /// How old a signature may be when it is received; the scheme's own where none is given.
    pub tolerance: Option<TimeDelta>,
    /// The public URL of the webhook, where the provider signs it.
    pub url: Option<String>,
    /// Whether its UID is the app's own user id.
    pub subject_is_external_id: bool,
    /// Where its bodies name the app's user; the provider's own list where none is given.
    pub places: Vec<Place>,
    /// How much its word counts, by field, where that differs from the provider's.
    pub authority: BTreeMap<String, Authority>,
    /// How far a deletion that it reports reaches.
    pub on_delete: Scope,
    /// Whether a payment without reference is shown at the only customer with a verified address equal to the payer's.
    pub match_email: bool,
    /// Whether its bodies are taken without verification.
    pub unsigned: bool,
}

impl Source {
    /// How much its word counts for a field.
    pub fn authority_for(&self, field: &str) -> Authority {
        self.authority.get(field).copied().unwrap_or(self.provider.authority)
    }
}

/// A verified body on its way to the provider's reading function.
#[derive(Debug)]
pub struct Body<'a> {
    /// The JSON, numbers kept as written.
    pub json: &'a Value,
    /// The bytes' SHA-256 in hex.
    pub hash: &'a str,
    /// The event id that the scheme's header gives, if any.
    pub header_id: Option<&'a str>,
    /// The configured source.
    pub source: &'a Source,
    /// When it was received.
    pub received_at: Timestamp,
}

/// A provider's time may run ahead of the receipt by so much before it is taken for a mistake.
const AHEAD: TimeDelta = TimeDelta::minutes(5);

impl Body<'_> {
    /// The key of one of its events: `hash` is that of the event's own bytes.
    pub fn key(&self, id: Option<&str>, hash: &str) -> EventKey {
        EventKey::new(&self.source.name, id.unwrap_or_default(), hash)
    }

    /// A provider's time as it counts: later than five minutes after the receipt it counts as the
    /// receipt (semantics 2), so that one bogus time cannot freeze a field for ever.
    pub fn counted(&self, at: Timestamp) -> Timestamp {
        if at > self.received_at.plus(AHEAD) { self.received_at } else { at }
    }
}

/// One event of a body, as its provider's function reads it.
#[derive(Debug)]
pub struct Item {
    /// The provider's event id, where it gives one.
    pub id: Option<String>,
    /// The SHA-256 of the item's own bytes in hex (of the whole body, where that is one event).
    pub hash: String,
    /// The provider's word for what happened.
    pub kind: String,
    /// The provider's time of it.
    pub occurred_at: Option<Timestamp>,
    /// What the body says of its mode: live or not.
    pub live: Option<bool>,
    /// Fields that were dropped, each with its reason.
    pub notes: Vec<String>,
    /// What it says.
    pub reading: Reading,
}

/// A body cannot be used; the text names the place and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);
