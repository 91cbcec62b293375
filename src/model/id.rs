//! Public ids: TypeIDs, a prefix and a UUIDv7 in 26 characters of base32. The database holds the UUID.

use crate::model::schema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};
use uuid::Uuid;

/// A text is not an id of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form {prefix}_… with 26 characters of base32")]
pub struct Malformed {
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// What stands before the underscore.
            pub const PREFIX: &'static str = $prefix;
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}_{}", $prefix, encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = Malformed;
            fn from_str(text: &str) -> Result<Self, Malformed> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(decode)
                    .map(Self)
                    .ok_or(Malformed { prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let pattern = concat!("^", $prefix, "_[0-7][0-9a-hjkmnp-tv-z]{25}$");
                schema::text(concat!("`", $prefix, "_` and 26 characters of base32."), pattern)
            }
        }

        impl ToSchema for $name {}

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A customer of the registry.
    CustomerId, "cus"
);
id!(
    /// A payment.
    PaymentId, "pay"
);
id!(
    /// A subscription.
    SubscriptionId, "sub"
);
id!(
    /// An outgoing event: the same for all endpoints that it is sent to.
    EventId, "evt"
);
id!(
    /// An endpoint's dead messages of a span of time, sent again.
    RecoveryId, "rec"
);
id!(
    /// One outgoing event on its way to one endpoint: the `webhook-id`.
    MessageId, "msg"
);
id!(
    /// One try to deliver a message.
    AttemptId, "att"
);
id!(
    /// A webhook endpoint.
    EndpointId, "whe"
);
id!(
    /// An API key.
    KeyId, "key"
);
id!(
    /// An inbound event.
    InboundId, "inb"
);
id!(
    /// A recorded conflict.
    ConflictId, "cfl"
);

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 26 characters of Crockford's base32, lower case, most significant first (TypeID specification).
fn encode(id: Uuid) -> String {
    let value = id.as_u128();
    (0..26)
        .rev()
        .map(|place| {
            let digit = usize::try_from((value >> (place * 5)) & 31).unwrap_or(0);
            char::from(ALPHABET.get(digit).copied().unwrap_or(b'0'))
        })
        .collect()
}

fn decode(text: &str) -> Option<Uuid> {
    if text.len() != 26 || text.as_bytes().first().is_none_or(|first| *first > b'7') {
        return None;
    }
    let mut value: u128 = 0;
    for byte in text.bytes() {
        let digit = ALPHABET.iter().position(|letter| *letter == byte)?;
        value = (value << 5) | u128::try_from(digit).ok()?;
    }
    Some(Uuid::from_u128(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_from_their_text() {
        for value in [0, 1, u128::MAX, 0x0189_0f2e_7b3c_7d45_8a9b_0c1d_2e3f_4a5b] {
            let id = CustomerId(Uuid::from_u128(value));
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_eq!(CustomerId(Uuid::from_u128(0)).to_string(), "cus_00000000000000000000000000");
        // An example of the TypeID specification.
        assert_eq!(
            "0188bac7-4afa-78aa-bc3b-bd1eef28d881".parse().map(encode),
            Ok("01h2xcejqtf2nbrexx3vqjhp41".to_owned())
        );
    }

    #[test]
    fn another_kind_or_a_broken_text_is_refused() {
        for text in ["", "cus_", "pay_00000000000000000000000000", "cus_8zzzzzzzzzzzzzzzzzzzzzzzzz"]
        {
            assert!(text.parse::<CustomerId>().is_err(), "{text}");
        }
        assert!("cus_0000000000000000000000000U".parse::<CustomerId>().is_err());
    }
}
