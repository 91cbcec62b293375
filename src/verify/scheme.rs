//! Signature schemes as data: what a provider signs, with which key, and where it says so.
//!
//! One verifier reads them all ([`authenticate`]); [`sign`] is its inverse. The schemes themselves are in
//! [`presets`](super::presets).

use crate::model::{inbound::Headers, secret::Secret};
use chrono::TimeDelta;
use serde_json::Value;

mod check;
mod credential;
pub mod form;
pub mod jwt;
mod key;
mod sign;
mod words;

pub use check::authenticate;
pub(crate) use check::form_field;
pub use key::BadSecret;
pub use sign::{Unsignable, sign};

/// Header names in lower case, in order of preference: the first that is there and not empty is read.
pub type Names = &'static [&'static str];

/// How a provider proves that a body is its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scheme {
    /// What is checked.
    pub check: Check,
    /// The headers that hold the provider's event id, where they do: the same on every try.
    pub event_id: Names,
}

/// What is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// An HMAC of the body.
    Signature(Signature),
    /// A header that equals the secret.
    Header(&'static str),
    /// `Authorization: Bearer` with the secret (RFC 6750).
    Bearer,
    /// A body that is a compact JSON Web Signature (RFC 7515) under an RSA key; the secret is its JWK, or a set of them.
    JwtBody,
    /// A header that holds a JSON Web Token whose claim `request_body_sha256` is the body's hash; the secret is an HMAC
    /// key's text, or the JWK of an RSA key.
    JwtHeader(&'static str),
    /// `Authorization: Basic`; the secret is `user:password`, split at the first colon (RFC 7617).
    Basic,
}

/// The parameters of an HMAC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signature {
    /// The hash under the HMAC.
    pub algorithm: Algorithm,
    /// How the secret becomes the key.
    pub key: Key,
    /// Where the signature is.
    pub place: Place,
    /// How it is written there.
    pub form: Form,
    /// How its bytes are written.
    pub encoding: Encoding,
    /// What is signed, piece by piece.
    pub signed: &'static [Part],
    /// Whether the signed text may be followed by a line feed that did not arrive (Braintree).
    pub line_feed: bool,
    /// The time of signing, where there is one.
    pub stamp: Option<Stamp>,
}

/// The hash under an HMAC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

/// How a secret becomes a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// Its bytes, prefix and all.
    Utf8,
    /// Base64 after `whsec_` or `v1,whsec_` ([`Secret::standard_webhooks_key`]).
    Base64,
    /// Hex of any case.
    Hex,
    /// The SHA-1 of its bytes.
    Sha1,
}

/// Where a signature is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In a header.
    Header(Names),
    /// In each item of the body, which is signed by itself.
    Item {
        /// The member of the body that lists the items.
        list: &'static str,
        /// The member of a list's entry that is the item.
        item: &'static str,
        /// The dotted path from the item to its signature.
        path: &'static str,
    },
    /// In a field of a form (`application/x-www-form-urlencoded`).
    FormField(&'static str),
}

impl Place {
    /// Its name in rejections.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Header(names) => names.first().copied().unwrap_or("the signature header"),
            Self::Item { path, .. } => path,
            Self::FormField(field) => field,
        }
    }
}

/// How a signature is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Alone.
    Whole,
    /// After a prefix.
    Prefixed {
        /// The prefix.
        prefix: &'static str,
        /// Whether it may be missing.
        optional: bool,
    },
    /// `key=value` pairs; unknown keys are passed over, the signature's key may come again.
    Pairs {
        /// What stands between pairs; spaces around it do not count when read.
        separator: &'static str,
        /// The signature's key.
        signature: &'static str,
    },
    /// A list by spaces of `v1,signature`; other versions are passed over (Standard Webhooks).
    Versions,
    /// `public key|signature`, joined by `&` (Braintree).
    KeyedList,
}

/// How bytes are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// Hex of any case.
    Hex,
    /// Base64, its padding optional.
    Base64,
    /// Either: their lengths tell them apart.
    HexOrBase64,
}

/// A piece of what is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The body's bytes as they arrived.
    Body,
    /// The message id, from one of these headers.
    Id(Names),
    /// The stamp's text as it arrived, never a number written anew.
    Stamp,
    /// The webhook's public URL.
    Url,
    /// This text.
    Text(&'static str),
    /// The value at a dotted path of the item; what is missing is empty.
    Field(&'static str),
    /// A field of the form, which holds base64.
    FormField(&'static str),
}

/// The time of signing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Where it is.
    pub place: StampPlace,
    /// What it counts.
    pub unit: Unit,
    /// How far from the receipt it may be.
    pub tolerance: TimeDelta,
    /// Whether that holds for the future too; otherwise only what is too old is refused.
    pub both_sides: bool,
}

/// Where a stamp is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StampPlace {
    /// Under this key of the signature's own pairs.
    Pair(&'static str),
    /// In a header.
    Header(Names),
}

/// What a stamp counts since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// What a signature is held against.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The provider's headers.
    pub headers: &'a Headers,
    /// The provider's bytes.
    pub body: &'a [u8],
    /// The webhook's public URL, where it is known.
    pub url: Option<&'a str>,
    /// The item whose signature is meant, where items are signed by themselves.
    pub item: Option<&'a Value>,
}

impl Scheme {
    /// A scheme that checks no more than this, and whose headers hold no event id.
    pub const fn of(check: Check) -> Self {
        Self { check, event_id: &[] }
    }

    /// The same with headers that hold the event id.
    #[must_use]
    pub const fn with_id(self, event_id: Names) -> Self {
        Self { event_id, ..self }
    }

    /// Whether the address that the webhook is sent to is signed with the body.
    pub fn signs_url(&self) -> bool {
        match self.check {
            Check::Signature(signature) => signature.signed.contains(&Part::Url),
            _ => false,
        }
    }

    /// The member of the body that lists the items which are signed by themselves, where they are.
    pub fn list(&self) -> Option<&'static str> {
        match self.check {
            Check::Signature(Signature { place: Place::Item { list, .. }, .. }) => Some(list),
            _ => None,
        }
    }

    /// The headers that it reads, each once: all that is kept of an event's headers (contract 4).
    pub fn headers(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        match &self.check {
            Check::Signature(signature) => {
                if let Place::Header(place) = signature.place {
                    names.extend(place);
                }
                if let Some(Stamp { place: StampPlace::Header(place), .. }) = signature.stamp {
                    names.extend(place);
                }
                for part in signature.signed {
                    if let Part::Id(place) = part {
                        names.extend(*place);
                    }
                }
            }
            Check::JwtBody => {}
            Check::JwtHeader(name) => names.push(*name),
            Check::Header(_) | Check::Bearer | Check::Basic => names.extend(self.credential()),
        }
        names.extend(self.event_id);
        let mut seen = Vec::new();
        names.retain(|name| {
            let first = !seen.contains(name);
            seen.push(*name);
            first
        });
        names
    }

    /// The header that holds a credential: kept as its SHA-256 only.
    pub fn credential(&self) -> Option<&'static str> {
        match self.check {
            Check::Signature(_) | Check::JwtBody | Check::JwtHeader(_) => None,
            Check::Header(name) => Some(name),
            Check::Bearer | Check::Basic => Some("authorization"),
        }
    }

    /// What is kept of an event's headers: those that it reads, of a credential its SHA-256.
    ///
    /// What is kept verifies as what arrived did, so that an event can be replayed. U+0000 is taken out: Postgres
    /// cannot hold it, and no scheme signs it.
    pub fn kept_headers(&self, headers: &Headers) -> Headers {
        let credential = self.credential();
        let mut kept = Headers::default();
        for name in self.headers() {
            match (headers.get(name), headers.credential(name)) {
                (Some(text), _) if credential == Some(name) => {
                    kept.add_credential(name, credential::digest(&self.check, text));
                }
                (Some(text), _) => kept.add(name, text.replace('\0', "")),
                (None, Some(sha256)) => kept.add_credential(name, sha256),
                (None, None) => {}
            }
        }
        kept
    }

    /// Whether a secret is of the kind that it works with: for checking a configuration.
    ///
    /// # Errors
    /// Says of which kind it is to be.
    pub fn accepts(&self, secret: &Secret) -> Result<(), BadSecret> {
        match &self.check {
            Check::Signature(signature) => key::bytes(signature.key, secret).map(drop),
            check @ (Check::JwtBody | Check::JwtHeader(_)) => jwt::accepts(check, secret),
            check => credential::expected(check, secret).map(drop),
        }
    }

    /// The provider's event id in a message's headers.
    ///
    /// A header need not be signed: what is too long for an id, or holds a control character, is none.
    pub(crate) fn id_in<'a>(&self, headers: &'a Headers) -> Option<&'a str> {
        let id = first(headers, self.event_id)?;
        (id.chars().count() <= 255 && !id.chars().any(char::is_control)).then_some(id)
    }
}

/// The first of these headers that is there and not empty.
fn first<'a>(headers: &'a Headers, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| headers.get(name).filter(|text| !text.trim().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::super::presets;
    use super::*;

    #[test]
    fn only_the_headers_that_a_scheme_reads_are_kept() {
        let headers = Headers::from_iter([
            ("X-Razorpay-Signature", "00"),
            ("x-razorpay-event-id", "ev\0t"),
            ("authorization", "Bearer x"),
            ("cookie", "c"),
        ]);
        let kept = presets::RAZORPAY.kept_headers(&headers);
        assert_eq!(
            kept.iter().collect::<Vec<_>>(),
            [("x-razorpay-signature", "00"), ("x-razorpay-event-id", "evt")]
        );
    }

    #[test]
    fn each_header_is_named_once() {
        assert_eq!(
            presets::SVIX.headers(),
            [
                "svix-signature",
                "webhook-signature",
                "svix-timestamp",
                "webhook-timestamp",
                "svix-id",
                "webhook-id"
            ]
        );
        assert_eq!(presets::BASIC.headers(), ["authorization"]);
    }

    #[test]
    fn credentials_are_kept_as_their_hash_and_keeping_twice_changes_nothing() {
        for (scheme, header, value) in [
            (presets::FLUTTERWAVE_V3, "verif-hash", "hunter2"),
            (presets::BEARER, "authorization", "Bearer hunter2"),
            (presets::BEARER, "authorization", "hunter2"),
            (presets::BASIC, "authorization", "Basic aHVudGVyMjpodW50ZXIy"),
        ] {
            let headers = Headers::from_iter([(header, value)]);
            let kept = scheme.kept_headers(&headers);
            let text = serde_json::to_string(&kept).expect("JSON");
            assert!(!text.contains("hunter2") && !text.contains("aHVudGVy"), "{text}");
            assert!(kept.get(header).is_none() && kept.credential(header).is_some());
            assert_eq!(scheme.kept_headers(&kept), kept);
        }
    }

    #[test]
    fn an_event_id_that_no_provider_would_give_is_none() {
        let id = |text: String| {
            let headers = Headers::from_iter([("x-razorpay-event-id", text)]);
            presets::RAZORPAY.id_in(&headers).map(str::to_owned)
        };
        assert_eq!(id("evt_1".into()).as_deref(), Some("evt_1"));
        assert_eq!(id("é".repeat(255)), Some("é".repeat(255)));
        for odd in [String::new(), " ".into(), "a\0".into(), "a\nb".into(), "a".repeat(256)] {
            assert_eq!(id(odd), None);
        }
    }
}
