//! From a secret to a key, and from a key to an HMAC.

use super::{Algorithm, Key};
use crate::model::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha1::{Digest as _, Sha1};
use sha2::{Sha256, Sha384, Sha512};
use std::borrow::Cow;

/// A secret is not of the kind that the scheme works with. The text never holds the secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadSecret {
    /// Nothing would be secret.
    #[error("is empty")]
    Empty,
    /// Of Standard Webhooks.
    #[error("is not base64 after `whsec_`")]
    NotBase64,
    /// Adyen's and Authorize.Net's.
    #[error("is not hex")]
    NotHex,
    /// Of tokens signed by an RSA key.
    #[error("is no JWK, or set of them, with an RSA key (RFC 7517)")]
    NotJwk,
    /// Of Basic authentication.
    #[error("is not of the form `user:password`")]
    NotUserAndPassword,
}

/// The key that a secret stands for.
pub(super) fn bytes(key: Key, secret: &Secret) -> Result<Vec<u8>, BadSecret> {
    let text = secret.expose();
    if text.is_empty() {
        return Err(BadSecret::Empty);
    }
    let bytes = match key {
        Key::Utf8 => text.as_bytes().to_vec(),
        Key::Base64 => secret.standard_webhooks_key().ok_or(BadSecret::NotBase64)?,
        Key::Hex => hex::decode(text).map_err(|_| BadSecret::NotHex)?,
        Key::Sha1 => Sha1::digest(text).to_vec(),
    };
    if bytes.is_empty() { Err(BadSecret::Empty) } else { Ok(bytes) }
}

/// The HMAC of texts in a row.
pub(super) fn mac(algorithm: Algorithm, key: &[u8], texts: &[Cow<'_, [u8]>]) -> Vec<u8> {
    match algorithm {
        Algorithm::Sha1 => mac_of::<Hmac<Sha1>>(key, texts),
        Algorithm::Sha256 => mac_of::<Hmac<Sha256>>(key, texts),
        Algorithm::Sha384 => mac_of::<Hmac<Sha384>>(key, texts),
        Algorithm::Sha512 => mac_of::<Hmac<Sha512>>(key, texts),
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn mac_of<M: Mac + KeyInit>(key: &[u8], texts: &[Cow<'_, [u8]>]) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    for text in texts {
        mac.update(text);
    }
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_become_keys_and_what_is_none_is_refused() {
        let key = |form, text: &str| bytes(form, &Secret::new(text));
        assert_eq!(key(Key::Utf8, "whsec_AAE="), Ok(b"whsec_AAE=".to_vec()));
        for text in ["whsec_AAE=", "whsec_AAE", "v1,whsec_AAE=", "AAE="] {
            assert_eq!(key(Key::Base64, text), Ok(vec![0, 1]));
        }
        assert_eq!(key(Key::Hex, "aBcD"), Ok(vec![0xab, 0xcd]));
        assert_eq!(key(Key::Sha1, "a").map(|bytes| bytes.len()), Ok(20));
        for form in [Key::Utf8, Key::Base64, Key::Hex, Key::Sha1] {
            assert_eq!(key(form, ""), Err(BadSecret::Empty));
        }
        assert_eq!(key(Key::Base64, "whsec_"), Err(BadSecret::Empty));
        assert_eq!(key(Key::Base64, "whsec_!"), Err(BadSecret::NotBase64));
        assert_eq!(key(Key::Hex, "abc"), Err(BadSecret::NotHex));
    }

    #[test]
    fn hmacs_agree_with_rfc_4231() {
        // Test case 2 of RFC 4231, and of RFC 2202 for SHA-1.
        let texts = [Cow::Borrowed(&b"what do ya want "[..]), Cow::Borrowed(&b"for nothing?"[..])];
        let mac = |algorithm| hex::encode(mac(algorithm, b"Jefe", &texts));
        assert_eq!(mac(Algorithm::Sha1), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        assert_eq!(
            mac(Algorithm::Sha256),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert!(mac(Algorithm::Sha512).starts_with("164b7a7bfcf819e2e395fbe73b56e0a3"));
    }
}
