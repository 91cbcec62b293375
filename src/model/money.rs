//! Exact money: integer minor units of one currency. Never a float.

use crate::model::schema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

/// A currency code: three to five upper-case letters or digits (ISO 4217, and what providers add to it).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency {
    bytes: [u8; 5],
    length: u8,
}

/// A text is no currency code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no currency code: three to five letters or digits are expected")]
pub struct NoCurrency(String);

impl PartialSchema for Currency {
    fn schema() -> RefOr<Schema> {
        schema::text(
            "A currency: its ISO 4217 code, or what a provider adds to them.",
            "^[A-Z0-9]{3,5}$",
        )
    }
}

impl ToSchema for Currency {}

impl FromStr for Currency {
    type Err = NoCurrency;

    fn from_str(text: &str) -> Result<Self, NoCurrency> {
        let refused = || NoCurrency(text.chars().take(20).collect());
        let length = u8::try_from(text.len()).map_err(|_| refused())?;
        if !(3..=5).contains(&length) || !text.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(refused());
        }
        let mut bytes = [0; 5];
        for (place, byte) in bytes.iter_mut().zip(text.bytes()) {
            *place = byte.to_ascii_uppercase();
        }
        Ok(Self { bytes, length })
    }
}

impl Currency {
    /// US dollars: what an environment reports in unless it is set otherwise.
    pub fn usd() -> Self {
        Self { bytes: *b"USD\0\0", length: 3 }
    }

    /// The upper-case code.
    pub fn as_str(&self) -> &str {
        let code = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        std::str::from_utf8(code).unwrap_or_default()
    }

    /// How many decimal places a minor unit has by ISO 4217; 2 for a currency that is not in it.
    ///
    /// Providers differ from it for some currencies; their files hold what differs.
    pub fn exponent(&self) -> u32 {
        match self.as_str() {
            "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF"
            | "UGX" | "UYI" | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
            "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
            "CLF" | "UYW" => 4,
            _ => 2,
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Currency {
    type Error = NoCurrency;
    fn try_from(text: String) -> Result<Self, NoCurrency> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

/// The largest amount of minor units that one fact may state: 2^53 - 1, exact in every JSON reader,
/// and small enough that a customer's sums stay far inside 64 bits.
pub const LARGEST_AMOUNT: i64 = 9_007_199_254_740_991;

/// An amount of one currency, in its minor units.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Money {
    /// Minor units.
    pub minor: i64,
    /// Of this currency.
    pub currency: Currency,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_upper_case_and_checked() {
        let parse = |text: &str| text.parse::<Currency>().map(|c| c.to_string());
        assert_eq!(parse("usd"), Ok("USD".to_owned()));
        assert_eq!(parse("usdc"), Ok("USDC".to_owned()));
        for text in ["", "us", "us$", "longer", "ÜSD"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn exponents_are_those_of_iso_4217() {
        let exponent = |code: &str| code.parse::<Currency>().map(|c| c.exponent());
        assert_eq!(exponent("JPY"), Ok(0));
        assert_eq!(exponent("USD"), Ok(2));
        assert_eq!(exponent("KWD"), Ok(3));
    }
}
