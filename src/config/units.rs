//! Durations, sizes and networks as people write them.

use ipnet::IpNet;
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use std::{fmt, time::Duration};

const DURATIONS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: &[(&str, u64)] = &[
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("B", 1),
];

/// A duration: `500ms`, `15s`, `5m`, `2h`, `1d`, or a number of seconds.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    parse(text, DURATIONS, 1_000).map(Duration::from_millis)
}

/// A size in bytes: `64KiB`, `8MiB`, `1GiB`, or a number of bytes.
fn parse_size(text: &str) -> Option<u64> {
    parse(text, SIZES, 1)
}

fn parse(text: &str, units: &[(&str, u64)], plain: u64) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim();
    let factor = match unit {
        "" => plain,
        _ => units.iter().find(|(known, _)| *known == unit)?.1,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Reads a text by a function, or a whole number as if it had been written as text.
struct Written<T>(fn(&str) -> Option<T>, &'static str);

impl<T> Visitor<'_> for Written<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).ok_or_else(|| E::custom(format_args!("`{text}` is not {}", self.1)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

const DURATION: &str = "a duration (\"500ms\", \"15s\", \"5m\", \"2h\", \"1d\", or seconds)";
const SIZE: &str = "a size (\"64KiB\", \"8MiB\", or bytes)";

/// For `#[serde(deserialize_with)]`.
pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(Written(parse_duration, DURATION))
}

/// For `#[serde(deserialize_with)]` of a field that may be absent.
pub(crate) fn maybe_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// For `#[serde(deserialize_with)]`: a size in bytes.
pub(crate) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let bytes = deserializer.deserialize_any(Written(parse_size, SIZE))?;
    usize::try_from(bytes).map_err(|_| D::Error::custom("a size beyond this machine's memory"))
}

/// For `#[serde(deserialize_with)]`: a list of durations.
pub(crate) fn durations<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Duration>, D::Error> {
    struct List;
    impl<'de> Visitor<'de> for List {
        type Value = Vec<Duration>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of durations")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Duration>, A::Error> {
            let mut all = Vec::new();
            while let Some(Item(item)) = items.next_element()? {
                all.push(item);
            }
            Ok(all)
        }
    }
    deserializer.deserialize_seq(List)
}

/// For `#[serde(deserialize_with)]` of a list that may be absent.
pub(crate) fn maybe_durations<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<Duration>>, D::Error> {
    durations(deserializer).map(Some)
}

/// For `#[serde(deserialize_with)]`: a list of networks as CIDR.
pub(crate) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let network = |text: &String| {
        text.parse().map_err(|_| D::Error::custom(format_args!("`{text}` is no network (CIDR)")))
    };
    texts.iter().map(network).collect()
}

struct Item(Duration);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        duration(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_written() {
        for (text, millis) in
            [("500ms", 500), ("15s", 15_000), ("5m", 300_000), ("2 h", 7_200_000), ("7", 7_000)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-5s", "1.5h", "5 years", "99999999999999999999s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_written() {
        for (text, bytes) in [("64KiB", 65_536), ("8MiB", 8_388_608), ("10", 10), ("2kB", 2_000)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        assert_eq!(parse_size("8 cakes"), None);
    }
}
