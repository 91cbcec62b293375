//! The providers: for each one its signature scheme as data and one pure function that reads its bodies.
//!
//! To add one: a file under `provider/` with a `pub(crate) const PROVIDER`, and a line in [`ALL`]; docs/add-a-provider.md
//! shows how. One that a source describes in its settings is made by [`custom`].

use crate::{
    model::{
        authority::Authority,
        event::Reading,
        reference::{Kind, Reference, Scope},
        secret::Secret,
        stamp::EventKey,
        time::Timestamp,
    },
    verify::scheme::Scheme,
};
use about::About;
use chrono::TimeDelta;
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

pub mod about;
pub mod adyen;
pub mod auth0;
pub mod braintree;
pub mod canonical;
pub mod chargebee;
pub mod clerk;
pub mod coinbase_commerce;
pub mod creem;
pub mod custom;
pub mod descope;
pub mod dodo_payments;
pub mod firebase;
pub mod flutterwave;
pub mod fusionauth;
pub mod gocardless;
pub mod hubtel;
pub mod kinde;
pub mod lemon_squeezy;
pub mod logto;
pub mod mollie;
pub mod monnify;
pub mod mpesa;
pub mod paddle;
pub(crate) mod payment;
pub mod paystack;
pub mod polar;
pub mod propelauth;
pub mod razorpay;
pub(crate) mod read;
pub mod record;
pub mod reevit;
pub mod revstack;
pub mod square;
pub mod stripe;
pub mod stytch;
pub mod supabase;
mod user;
pub mod workos;

/// Every provider that is built in.
pub const ALL: &[&Provider] = &[
    &adyen::PROVIDER,
    &auth0::PROVIDER,
    &braintree::PROVIDER,
    &canonical::PROVIDER,
    &chargebee::PROVIDER,
    &clerk::PROVIDER,
    &coinbase_commerce::PROVIDER,
    &creem::PROVIDER,
    &descope::PROVIDER,
    &dodo_payments::PROVIDER,
    &firebase::PROVIDER,
    &flutterwave::V3,
    &flutterwave::V4,
    &fusionauth::PROVIDER,
    &gocardless::PROVIDER,
    &hubtel::PROVIDER,
    &kinde::PROVIDER,
    &lemon_squeezy::PROVIDER,
    &logto::PROVIDER,
    &mollie::PROVIDER,
    &monnify::PROVIDER,
    &mpesa::PROVIDER,
    &paddle::PROVIDER,
    &paystack::PROVIDER,
    &polar::PROVIDER,
    &propelauth::PROVIDER,
    &razorpay::PROVIDER,
    &reevit::PROVIDER,
    &revstack::PROVIDER,
    &square::PROVIDER,
    &stripe::PROVIDER,
    &stytch::PROVIDER,
    &supabase::DATABASE,
    &supabase::HOOKS,
    &workos::PROVIDER,
];

/// The provider of a name.
pub fn find(name: &str) -> Option<&'static Provider> {
    ALL.iter().copied().find(|provider| provider.name == name)
}

/// What is the same for everybody who uses a provider; or what one source says of a provider of its own.
#[derive(Clone, Debug)]
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
    /// What people want to know of it.
    pub about: About,
    /// Reads a verified event.
    ///
    /// # Errors
    /// Where nothing at all can be read: says the place and what is wrong with it.
    pub read: fn(&Body<'_>) -> Result<Item, Malformed>,
    /// Where its bodies hold several events: how these are told apart.
    pub batch: Option<Batch>,
    /// Whether its accounts capture by themselves or by hand, and only the source's settings can say which.
    pub captures_later: bool,
    /// Where its bodies are not JSON: makes JSON of one, or says why it cannot.
    pub opens: Option<Opens>,
    /// The same provider as one whose bodies are the objects of its API, each as `{"as_of", "live", "object"}`:
    /// when it was fetched and whether its mode is live, where that is known besides, and the object as the API gave
    /// it. None where they are not read.
    pub objects: Option<&'static Provider>,
}

/// Makes JSON of a body that is none, or says why it cannot.
pub type Opens = fn(&[u8]) -> Result<Value, Malformed>;

/// How a body holds several events. Each is an event of its own: verified, kept, erased and processed again alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Batch {
    /// The member of the body that lists them.
    pub list: &'static str,
    /// The members beside it that are kept with each of them.
    pub beside: &'static [&'static str],
    /// Whether a body may also be the bare list, or one event by itself.
    pub bare: bool,
}

impl From<&'static Provider> for Arc<Provider> {
    fn from(provider: &'static Provider) -> Self {
        Self::new(provider.clone())
    }
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
    /// Of which objects it is a place.
    pub on: On,
}

/// Of which of a provider's objects a place is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum On {
    /// Of all: the customer, and what names one.
    Any,
    /// Of the provider's own object of its customer alone. On another object a field of that name means something else.
    Customer,
}

impl Place {
    /// The reference that a value found there names: a text or a whole number. Nothing where it is empty or null.
    ///
    /// # Errors
    /// Says what is wrong with the value.
    pub(crate) fn reference(&self, value: &Value) -> Option<Result<Reference, &'static str>> {
        let number;
        let subject = match value {
            Value::String(text) if text.is_empty() => return None,
            Value::String(text) => text.as_str(),
            Value::Number(given) if given.is_i64() || given.is_u64() => {
                number = given.to_string();
                number.as_str()
            }
            Value::Null => return None,
            _ => return Some(Err("is no id")),
        };
        Some(match &self.target {
            Target::ExternalId => Reference::new(Kind::External, "", subject),
            Target::Namespace(namespace) => Reference::new(Kind::Auth, namespace, subject),
        })
    }
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
    pub provider: Arc<Provider>,
    /// What reads its bodies, where they are described in its settings.
    pub mapping: Option<Arc<custom::Mapping>>,
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
    /// Whether an authorised payment is only paid once a capture is reported.
    pub manual_capture: bool,
    /// Whether its bodies are taken without verification.
    pub unsigned: bool,
}

impl Source {
    /// How much its word counts for a field.
    pub fn authority_for(&self, field: &str) -> Authority {
        self.authority.get(field).copied().unwrap_or(self.provider.authority)
    }
}

/// A verified event on its way to the provider's reading function.
#[derive(Debug)]
pub struct Body<'a> {
    /// Its JSON, numbers kept as written: the body's, or of a batch the item's.
    pub json: &'a Value,
    /// What of a batch stands beside the item; null where the body is one event.
    pub beside: &'a Value,
    /// The SHA-256 of its own bytes in hex.
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

/// One event, as its provider's function reads it.
#[derive(Debug)]
pub struct Item {
    /// The provider's event id, where it gives one.
    pub id: Option<String>,
    /// The SHA-256 in hex of its own bytes, or of the part of them that is the same on every try.
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
