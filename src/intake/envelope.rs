//! Between a broker's message and a [`Raw`]: pure, and the only place that knows the message's shape
//! (contract 3: routing key or `x-source`, the provider's headers, `timestamp` or `x-received-at`).

use crate::model::{
    inbound::{Headers, Raw},
    time::Timestamp,
};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Names the source, where the routing key does not.
const SOURCE: &str = "x-source";
/// When the ingress received it, RFC 3339; wins over the property `timestamp`.
const RECEIVED_AT: &str = "x-received-at";
/// Where the broker writes why a message died. A sender may not write them: brokers before 4.0 believe them.
const DEATH: [&str; 4] = ["x-death", "x-first-death", "x-last-death", "x-delivery-count"];
/// A `timestamp` above this is in milliseconds (in seconds it would be the year 5138).
const MILLISECONDS_FROM: u64 = 100_000_000_000;
/// What names and routing keys may hold (AMQP 0-9-1: a short string).
const SHORT: usize = 255;
/// What all headers together may hold: they share one frame of at most 128 KiB with the other properties.
const ALL_HEADERS: usize = 64 * 1024;

/// The value of a message's header, in whatever type its sender chose.
#[derive(Clone, PartialEq, Debug)]
pub enum Field {
    /// A string or bytes; not always UTF-8.
    Text(Vec<u8>),
    /// Any integer.
    Integer(i64),
    /// Any float.
    Real(f64),
    /// A truth value.
    Flag(bool),
    /// Seconds since the epoch.
    Time(u64),
    /// An array.
    List(Vec<Field>),
    /// A table.
    Table(Vec<(String, Field)>),
    /// Nothing, or a type without a text.
    Nothing,
}

impl Field {
    /// The value as a header's text; lists and tables have none.
    fn into_text(self) -> Option<String> {
        let text = match self {
            Self::Text(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Self::Integer(number) => number.to_string(),
            Self::Real(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Time(seconds) => seconds.to_string(),
            Self::List(_) | Self::Table(_) | Self::Nothing => return None,
        };
        Some(without_nul(text))
    }
}

/// A message as the broker delivers it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Envelope {
    /// The routing key.
    pub routing_key: String,
    /// The headers.
    pub headers: Vec<(String, Field)>,
    /// The property `timestamp`.
    pub timestamp: Option<u64>,
    /// The body.
    pub body: Bytes,
}

/// Reads a message. The body is not touched; a header without a text is dropped. The time of receipt is what the sender
/// says: what it counts as is decided where the event is recorded.
pub fn open(envelope: Envelope) -> Raw {
    let mut source = without_nul(envelope.routing_key);
    let mut received_at = envelope.timestamp.and_then(read_timestamp);
    let mut headers = Headers::default();
    for (name, value) in envelope.headers {
        let name = without_nul(name).to_lowercase();
        let Some(value) = value.into_text() else { continue };
        match name.as_str() {
            SOURCE if value.is_empty() => {}
            SOURCE => source = value,
            RECEIVED_AT => received_at = Timestamp::parse(&value).or(received_at),
            _ => headers.add(&name, value),
        }
    }
    Raw {
        source: source.into(),
        headers,
        body: envelope.body,
        received_at,
        queue_id: None,
        dead: None,
    }
}

/// Reads a message from the dead letters: as [`open`], with the reason of its death.
pub fn open_dead(envelope: Envelope) -> Raw {
    let reason = death(&envelope.headers);
    Raw { dead: Some(reason), ..open(envelope) }
}

/// Why and where a message died last: the newest entry of `x-death`, which comes first.
fn death(headers: &[(String, Field)]) -> String {
    let newest = headers.iter().find_map(|(name, value)| match value {
        Field::List(deaths) if name == "x-death" => deaths.first(),
        _ => None,
    });
    let Some(Field::Table(entry)) = newest else {
        return "dead-lettered, no reason given".into();
    };
    let text = |wanted: &str| {
        let (_, value) = entry.iter().find(|(name, _)| name == wanted)?;
        value.clone().into_text().filter(|text| !text.is_empty())
    };
    let reason = text("reason").unwrap_or_else(|| "no reason given".into());
    match text("queue") {
        Some(queue) => format!("{reason}, from queue {queue}"),
        None => reason,
    }
}

fn read_timestamp(value: u64) -> Option<Timestamp> {
    let value_signed = i64::try_from(value).ok()?;
    if value > MILLISECONDS_FROM {
        Timestamp::from_millis(value_signed)
    } else {
        Timestamp::from_seconds(value_signed)
    }
}

/// Neither Postgres nor a log line can hold U+0000.
pub(crate) fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "") } else { text }
}

/// What a message carries besides its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Label {
    /// The routing key: the source's name.
    pub routing_key: String,
    /// The headers: each name once.
    pub headers: BTreeMap<String, String>,
    /// The property `timestamp`, in seconds.
    pub timestamp: Option<u64>,
}

/// An event cannot be put into a message.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unfit {
    /// The source's name is too long for a routing key.
    #[error("the source's name is longer than 255 bytes")]
    Source,
    /// The headers do not fit into one frame.
    #[error("the headers hold more than 64 KiB")]
    Headers,
}

/// Labels an event for the broker. Of a repeated header the first counts, as everywhere. Names with a meaning
/// of their own are not taken over: a provider's request could otherwise choose its source or its time.
///
/// # Errors
/// When it does not fit: it never will.
pub fn label(raw: &Raw) -> Result<Label, Unfit> {
    if raw.source.len() > SHORT {
        return Err(Unfit::Source);
    }
    let mut headers = BTreeMap::new();
    for (name, value) in raw.headers.iter() {
        let reserved = name == SOURCE
            || name == RECEIVED_AT
            || DEATH.iter().any(|reserved| name.starts_with(reserved));
        if !reserved && name.len() <= SHORT {
            headers.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    if let Some(time) = raw.received_at {
        headers.insert(RECEIVED_AT.into(), time.to_string());
    }
    if headers.iter().map(|(name, value)| name.len() + value.len() + 6).sum::<usize>() > ALL_HEADERS
    {
        return Err(Unfit::Headers);
    }
    Ok(Label {
        routing_key: raw.source.to_string(),
        headers,
        timestamp: raw.received_at.and_then(|time| u64::try_from(time.seconds()).ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: &str) -> Field {
        Field::Text(value.into())
    }

    fn opened(headers: Vec<(&str, Field)>, timestamp: Option<u64>) -> Raw {
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let body = Bytes::from_static(b"\xff\0");
        open(Envelope { routing_key: "stripe".into(), headers, timestamp, body })
    }

    #[test]
    fn odd_header_types_become_text_or_are_dropped() {
        let raw = opened(
            vec![
                ("Stripe-Signature", text("t=1,v1=ab")),
                ("int", Field::Integer(-7)),
                ("real", Field::Real(1.5)),
                ("flag", Field::Flag(true)),
                ("time", Field::Time(12)),
                ("bytes", Field::Text(b"a\xff\0b".to_vec())),
                ("list", Field::List(vec![text("x")])),
                ("table", Field::Table(vec![("a".into(), text("x"))])),
                ("void", Field::Nothing),
            ],
            None,
        );
        let all: Vec<(&str, &str)> = raw.headers.iter().collect();
        assert_eq!(
            all,
            [
                ("stripe-signature", "t=1,v1=ab"),
                ("int", "-7"),
                ("real", "1.5"),
                ("flag", "true"),
                ("time", "12"),
                ("bytes", "a\u{fffd}b"),
            ]
        );
        assert_eq!((&*raw.source, &raw.body[..]), ("stripe", &b"\xff\0"[..]));
    }

    #[test]
    fn the_header_names_the_source_before_the_routing_key() {
        assert_eq!(&*opened(vec![("X-Source", text("clerk"))], None).source, "clerk");
        assert_eq!(&*opened(vec![("x-source", text(""))], None).source, "stripe");
    }

    #[test]
    fn the_time_of_receipt_is_read_in_every_shape() {
        let check = |headers: Vec<(&str, Field)>, timestamp, expected: Option<i64>| {
            let received = opened(headers, timestamp).received_at;
            assert_eq!(received.map(Timestamp::seconds), expected);
        };
        check(vec![], None, None);
        check(vec![], Some(1_700_000_000), Some(1_700_000_000));
        check(vec![], Some(1_700_000_000_000), Some(1_700_000_000));
        check(vec![], Some(u64::MAX), None);
        check(vec![], Some(99_999_999_999), Some(99_999_999_999));
        let at = |value: &str| vec![("x-received-at", text(value))];
        check(at("2023-11-14T22:13:21Z"), Some(5), Some(1_700_000_001));
        check(at("2099-01-01T00:00:00Z"), None, Some(4_070_908_800));
        check(at("yesterday"), Some(5), Some(5));
    }

    #[test]
    fn a_dead_letter_tells_its_reason() {
        let entry = |reason: &str| {
            Field::Table(vec![
                ("count".into(), Field::Integer(1)),
                ("reason".into(), text(reason)),
                ("queue".into(), text("intake")),
            ])
        };
        let envelope = |value| Envelope {
            headers: vec![("x-death".to_owned(), value)],
            ..Envelope::default()
        };
        let dead = |value| open_dead(envelope(value)).dead.unwrap();
        let both = Field::List(vec![entry("delivery_limit"), entry("expired")]);
        assert_eq!(dead(both), "delivery_limit, from queue intake");
        assert_eq!(dead(Field::List(vec![])), "dead-lettered, no reason given");
        assert_eq!(dead(text("mine")), "dead-lettered, no reason given");
        assert_eq!(dead(Field::List(vec![entry("")])), "no reason given, from queue intake");
    }

    #[test]
    fn what_is_labelled_is_opened_as_it_was() {
        let raw = Raw {
            source: "stripe".into(),
            headers: [("stripe-signature", "t=1"), ("stripe-signature", "t=2")]
                .into_iter()
                .collect(),
            body: Bytes::from_static(b"{}"),
            received_at: Timestamp::from_micros(1_700_000_000_123_456),
            queue_id: None,
            dead: None,
        };
        let label = label(&raw).unwrap();
        let headers = label.headers.into_iter().map(|(name, value)| (name, text(&value))).collect();
        let (routing_key, timestamp) = (label.routing_key, label.timestamp);
        let back = open(Envelope { routing_key, headers, timestamp, body: raw.body.clone() });
        assert_eq!(back.received_at, raw.received_at);
        assert_eq!(back.headers, [("stripe-signature", "t=1")].into_iter().collect());
    }

    #[test]
    fn a_request_cannot_choose_its_source_its_time_or_its_death() {
        let headers = ["x-source", "x-received-at", "x-death", "x-first-death-queue"];
        let raw = Raw {
            source: "stripe".into(),
            headers: headers.map(|name| (name, "forged")).into_iter().collect(),
            body: Bytes::new(),
            received_at: None,
            queue_id: None,
            dead: None,
        };
        assert!(label(&raw).unwrap().headers.is_empty());
    }

    #[test]
    fn what_no_frame_can_hold_is_refused() {
        let raw = |source: String, value: String| Raw {
            source: source.into(),
            headers: [("a", value)].into_iter().collect(),
            body: Bytes::new(),
            received_at: None,
            queue_id: None,
            dead: None,
        };
        assert_eq!(label(&raw("s".repeat(256), String::new())), Err(Unfit::Source));
        assert_eq!(label(&raw("s".into(), "v".repeat(70_000))), Err(Unfit::Headers));
    }

    fn any_field() -> impl Strategy<Value = Field> {
        let leaf = prop_oneof![
            any::<Vec<u8>>().prop_map(Field::Text),
            any::<i64>().prop_map(Field::Integer),
            any::<f64>().prop_map(Field::Real),
            any::<bool>().prop_map(Field::Flag),
            any::<u64>().prop_map(Field::Time),
            Just(Field::Nothing),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Field::List),
                prop::collection::vec((any::<String>(), inner), 0..4).prop_map(Field::Table),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_message_opens_without_nul(
            routing_key in any::<String>(),
            headers in prop::collection::vec((any::<String>(), any_field()), 0..6),
            timestamp in any::<Option<u64>>(),
        ) {
            let raw = open_dead(Envelope { routing_key, headers, timestamp, body: Bytes::new() });
            prop_assert!(!raw.source.contains('\0'));
            prop_assert!(raw.headers.iter().all(|(n, v)| !n.contains('\0') && !v.contains('\0')));
        }
    }
}
