//! A point in time, in whole microseconds UTC: what both databases keep without loss.

use crate::model::schema;
use chrono::{DateTime, NaiveDateTime, SecondsFormat, TimeZone, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

/// Microseconds since the Unix epoch, UTC.
///
/// Always inside the years 1 to 9999, so that it has an RFC 3339 text whose order is the order of time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

const MIN: i64 = -62_135_596_800_000_000;
const MAX: i64 = 253_402_300_799_999_999;

impl Timestamp {
    /// The stamp of a state whose body says no time: below every state that has one (semantics 2).
    pub const UNKNOWN: Self = Self(MIN);
    /// The earliest time there is.
    pub const FIRST: Self = Self(MIN);
    /// The latest time there is.
    pub const LAST: Self = Self(MAX);

    /// From microseconds since the epoch; `None` outside the years 1 to 9999.
    pub fn from_micros(micros: i64) -> Option<Self> {
        (MIN..=MAX).contains(&micros).then_some(Self(micros))
    }

    /// The day in UTC: `2026-01-31`.
    pub fn day(self) -> String {
        self.to_string().chars().take(10).collect()
    }

    /// From milliseconds since the epoch.
    pub fn from_millis(millis: i64) -> Option<Self> {
        millis.checked_mul(1_000).and_then(Self::from_micros)
    }

    /// From whole seconds since the epoch.
    pub fn from_seconds(seconds: i64) -> Option<Self> {
        seconds.checked_mul(1_000_000).and_then(Self::from_micros)
    }

    /// From an RFC 3339 text; finer digits than microseconds are cut off.
    pub fn parse(text: &str) -> Option<Self> {
        let time = DateTime::parse_from_rfc3339(text.trim()).ok()?;
        Self::from_micros(time.timestamp_micros())
    }

    /// From a date in one of HTTP's three forms (RFC 9110, 5.6.7).
    pub fn parse_http_date(text: &str) -> Option<Self> {
        let naive =
            |format| NaiveDateTime::parse_from_str(text, format).ok().map(|time| time.and_utc());
        let time = DateTime::parse_from_rfc2822(text)
            .map(|time| time.to_utc())
            .ok()
            .or_else(|| naive("%A, %d-%b-%y %H:%M:%S GMT"))
            .or_else(|| naive("%a %b %e %H:%M:%S %Y"))?;
        Self::from_micros(time.timestamp_micros())
    }

    /// Microseconds since the epoch.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This time and a span later (earlier when negative), held inside the range of the type.
    #[must_use]
    pub fn plus(self, span: chrono::TimeDelta) -> Self {
        let micros = span.num_microseconds().unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros).clamp(MIN, MAX))
    }

    /// RFC 3339 in UTC with milliseconds: how the API shows times.
    pub fn to_millis_text(self) -> String {
        self.to_utc().to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    /// As a calendar time.
    pub fn to_utc(self) -> DateTime<Utc> {
        Utc.timestamp_micros(self.0).single().unwrap_or(DateTime::UNIX_EPOCH)
    }
}

/// RFC 3339 in UTC with microseconds, always 27 characters: its order as text is the order of time.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_utc().to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time"))
    }
}

/// As the API shows times.
impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        let pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{3}Z$";
        schema::text("A time: RFC 3339 in UTC, with milliseconds.", pattern)
    }
}

impl ToSchema for Timestamp {}

/// For `#[serde(serialize_with)]`: RFC 3339 with milliseconds, as the API and webhooks show times.
pub fn millis<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_millis_text())
}

/// As [`millis`], with null for `None`.
pub fn millis_or_null<S: Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => millis(time, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_sorts_as_time_does_and_comes_back() {
        let times = [0, 1, 999_999, 1_000_000, 1_700_000_000_123_456, MIN, MAX]
            .map(|micros| Timestamp::from_micros(micros).expect("in range"));
        for a in times {
            assert_eq!(Timestamp::parse(&a.to_string()), Some(a));
            for b in times {
                assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
            }
        }
    }

    #[test]
    fn times_outside_the_calendar_are_refused() {
        assert_eq!(Timestamp::from_seconds(i64::MAX), None);
        assert_eq!(Timestamp::from_micros(MAX + 1), None);
        assert_eq!(Timestamp::parse("yesterday"), None);
    }
}
