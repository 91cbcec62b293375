//! The verifier: one for every scheme.

use super::{
    Check, Input, Part, Place, Scheme, Signature, Stamp, StampPlace, Unit, credential, first, form,
    jwt, key,
};
use crate::{
    model::{secret::Secret, time::Timestamp},
    verify::Rejection,
};
use chrono::TimeDelta;
use serde_json::Value;
use std::borrow::Cow;
use subtle::ConstantTimeEq as _;
use url::form_urlencoded;

/// Whether one of the secrets has signed (or is presented); gives the time of signing where the scheme has one.
/// Its age is not judged here ([`Stamp::judge`]).
///
/// # Errors
/// Says where and why not. Any secret may match; one that cannot be a key is passed over while others can.
pub fn authenticate(
    scheme: &Scheme,
    input: &Input<'_>,
    secrets: &[&Secret],
) -> Result<Option<Timestamp>, Rejection> {
    let signature = match &scheme.check {
        Check::Signature(signature) => signature,
        check @ (Check::JwtBody | Check::JwtHeader(_)) => {
            return jwt::check(check, input, secrets).map(|()| None);
        }
        Check::Header(_) | Check::Bearer | Check::Basic => {
            return credential::check(scheme, input.headers, secrets).map(|()| None);
        }
    };
    let place = signature.place.name();
    let text = signature_text(signature, input)?;
    let stamp = stamp_text(signature, input, &text)?;
    let stamped_at = match (signature.stamp, stamp) {
        (Some(rule), Some(text)) => Some(rule.time(text).ok_or(Rejection::Malformed {
            place: rule.name(signature.place),
            what: "holds no whole number of seconds or milliseconds as its time",
        })?),
        _ => None,
    };
    let candidates = form::signatures(signature.form, signature.encoding, &text);
    if candidates.is_empty() {
        return Err(Rejection::Malformed { place, what: "holds no signature of a known form" });
    }
    let texts = signed(signature, input, None, stamp)?;
    matches(signature, texts, &candidates, secrets).map(|()| stamped_at)
}

/// Whether one of the candidates is the HMAC of the texts under one of the secrets.
fn matches(
    signature: &Signature,
    mut texts: Vec<Cow<'_, [u8]>>,
    candidates: &[Vec<u8>],
    secrets: &[&Secret],
) -> Result<(), Rejection> {
    let ends: &[&'static [u8]] = if signature.line_feed { &[b"", b"\n"] } else { &[b""] };
    let mut bad = None;
    for &end in ends {
        texts.push(Cow::Borrowed(end));
        for secret in secrets {
            match key::bytes(signature.key, secret) {
                Ok(key) => {
                    let expected = key::mac(signature.algorithm, &key, &texts);
                    if candidates.iter().any(|candidate| expected.ct_eq(candidate).into()) {
                        return Ok(());
                    }
                }
                Err(why) => bad = Some(why),
            }
        }
    }
    let place = signature.place.name();
    Err(bad.map_or(Rejection::Mismatch { place }, Rejection::Secret))
}

/// The text that holds the signature.
fn signature_text<'a>(signature: &Signature, input: &Input<'a>) -> Result<Cow<'a, str>, Rejection> {
    let text = match signature.place {
        Place::Header(names) => first(input.headers, names).map(Cow::Borrowed),
        Place::Item { path, .. } => {
            input.item.and_then(|item| at(item, path)).and_then(Value::as_str).map(Cow::Borrowed)
        }
        Place::FormField(field) => form_field(input.body, field),
    };
    text.ok_or(Rejection::Missing { place: signature.place.name() })
}

/// The stamp's text as it arrived.
fn stamp_text<'a>(
    signature: &Signature,
    input: &Input<'a>,
    text: &'a str,
) -> Result<Option<&'a str>, Rejection> {
    let Some(stamp) = signature.stamp else { return Ok(None) };
    let found = match stamp.place {
        StampPlace::Pair(key) => form::pair(signature.form, text, key),
        StampPlace::Header(names) => first(input.headers, names),
    };
    found.map(Some).ok_or(Rejection::Missing { place: stamp.name(signature.place) })
}

/// The signed texts in a row. The id is taken from the headers unless it is given.
pub(super) fn signed<'a>(
    signature: &Signature,
    input: &Input<'a>,
    id: Option<&'a str>,
    stamp: Option<&'a str>,
) -> Result<Vec<Cow<'a, [u8]>>, Rejection> {
    let bytes = |text: &'a str| Cow::Borrowed(text.as_bytes());
    let part = |part: &Part| match *part {
        Part::Body => Ok(Cow::Borrowed(input.body)),
        Part::Text(text) => Ok(Cow::Borrowed(text.as_bytes())),
        Part::Stamp => Ok(bytes(stamp.unwrap_or_default())),
        Part::Url => input.url.map(bytes).ok_or(Rejection::NoUrl),
        Part::Id(names) => id
            .or_else(|| first(input.headers, names))
            .map(bytes)
            .ok_or(Rejection::Missing { place: names.first().copied().unwrap_or("the id header") }),
        Part::Field(path) => {
            Ok(Cow::Owned(input.item.map(|item| field(item, path)).unwrap_or_default()))
        }
        Part::FormField(name) => {
            let text = form_field(input.body, name).ok_or(Rejection::Missing { place: name })?;
            if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=\n".contains(&byte)) {
                Ok(Cow::Owned(text.into_owned().into_bytes()))
            } else {
                Err(Rejection::Malformed { place: name, what: "is not base64" })
            }
        }
    };
    signature.signed.iter().map(part).collect()
}

/// The first value of a field of a form body, decoded.
pub(crate) fn form_field<'a>(body: &'a [u8], name: &str) -> Option<Cow<'a, str>> {
    form_urlencoded::parse(body).find_map(|(known, value)| (known == name).then_some(value))
}

/// The value at a dotted path.
fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, name| value.get(name))
}

/// A value as it is signed: text as it is, a number by its own digits, nothing where there is none.
fn field(item: &Value, path: &str) -> Vec<u8> {
    match at(item, path) {
        Some(Value::String(text)) => text.clone().into_bytes(),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string().into_bytes(),
        _ => Vec::new(),
    }
}

impl Stamp {
    /// The time that a text says; whole numbers only, as what is signed is the text.
    fn time(self, text: &str) -> Option<Timestamp> {
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let number = text.parse().ok()?;
        match self.unit {
            Unit::Seconds => Timestamp::from_seconds(number),
            Unit::Milliseconds => Timestamp::from_millis(number),
        }
    }

    /// A time as its text.
    pub(super) fn text(self, at: Timestamp) -> String {
        match self.unit {
            Unit::Seconds => at.seconds().to_string(),
            Unit::Milliseconds => at.micros().div_euclid(1_000).to_string(),
        }
    }

    /// Judges the age of a signature against the time of its receipt: as it counts, and as the envelope says it.
    /// They differ where the clock of the sender of the envelope is ahead of ours, or ours behind: which of them is
    /// wrong cannot be known, and no good signature is too old by the one or too early by the other.
    ///
    /// A tolerance given for the source replaces the scheme's; of zero or less, nothing is judged (as in Stripe's
    /// and Paddle's libraries). What is exactly as old as allowed is good.
    ///
    /// Gives whether it was judged.
    ///
    /// # Errors
    /// Where it is too old, or, if the scheme looks to both sides, too far ahead.
    pub fn judge(
        self,
        place: Place,
        stamped_at: Timestamp,
        received_at: Timestamp,
        said: Timestamp,
        tolerance: Option<TimeDelta>,
    ) -> Result<bool, Rejection> {
        let allowed = tolerance.unwrap_or(self.tolerance);
        let place = self.name(place);
        if allowed <= TimeDelta::zero() {
            return Ok(false);
        }
        if stamped_at.plus(allowed) < received_at {
            let age = seconds_between(stamped_at, received_at);
            return Err(Rejection::TooOld { place, age, allowed: allowed.num_seconds() });
        }
        if self.both_sides && said.plus(allowed) < stamped_at {
            let ahead = seconds_between(said, stamped_at);
            return Err(Rejection::TooEarly { place, ahead, allowed: allowed.num_seconds() });
        }
        Ok(true)
    }

    fn name(self, signature: Place) -> &'static str {
        match self.place {
            StampPlace::Pair(_) => signature.name(),
            StampPlace::Header(names) => names.first().copied().unwrap_or("the stamp header"),
        }
    }
}

/// Rounded up, so that what is over a limit is told as over it.
fn seconds_between(earlier: Timestamp, later: Timestamp) -> i64 {
    let micros = later.micros().saturating_sub(earlier.micros());
    micros.saturating_add(999_999).div_euclid(1_000_000)
}
