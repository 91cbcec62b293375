//! A text that must not be shown.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// The official libraries take a secret without its padding and with idle bits set.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Shown as `[secret]` in `Debug`, and when serialized.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text from being shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for computing and for showing once, never for logs.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The key of a Standard Webhooks secret: base64 after `whsec_` (Supabase writes `v1,whsec_`), the prefix and
    /// the padding optional as in the official libraries; `None` where it is not base64.
    pub fn standard_webhooks_key(&self) -> Option<Vec<u8>> {
        let text = self.0.strip_prefix("v1,").unwrap_or(&self.0);
        LENIENT.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[secret]")
    }
}
