//! What `secrets.key` is used for: it seals endpoint secrets at rest, and keys the hashes that references
//! are known by, so that a deleted person leaves nothing behind that could be guessed back.

use crate::model::{
    contact::AddressId,
    reference::{Kind, Reference, ReferenceId},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    ChaCha20Poly1305, Key, KeyInit as _, Nonce,
    aead::{Aead, AeadCore, OsRng},
};
use hmac::{Hmac, KeyInit as _, Mac};
use sha2::Sha256;
use uuid::Uuid;

/// A sealed text cannot be opened: it was sealed with another key, or is damaged.
#[derive(Debug, thiserror::Error)]
#[error("a secret cannot be opened: it was sealed under another secrets.key, or is damaged")]
pub struct Unopenable;

/// The daemon's own key. Cheap enough to clone.
#[derive(Clone)]
pub struct Keyring {
    hashing: Hmac<Sha256>,
    sealing: [u8; 32],
    signing: [u8; 32],
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring([secret])")
    }
}

impl Keyring {
    /// From the text of `secrets.key`; each use has a key of its own derived from it.
    pub fn new(key: &str) -> Self {
        let derive = |purpose: &[u8]| -> [u8; 32] {
            let mut mac = keyed(key.as_bytes());
            mac.update(purpose);
            mac.finalize().into_bytes().into()
        };
        Self {
            hashing: keyed(&derive(b"reference hashes")),
            sealing: derive(b"endpoint secrets"),
            signing: derive(b"endpoint ed25519 keys"),
        }
    }

    /// The keyed hash that a reference is known by.
    pub fn reference_id(&self, environment: &str, reference: &Reference) -> ReferenceId {
        let kind = match reference.kind {
            Kind::External => "external",
            Kind::Auth => "auth",
            Kind::Payment => "payment",
            Kind::Own => "self",
        };
        ReferenceId(self.hash([environment, kind, &reference.namespace, &reference.subject]))
    }

    /// The keyed hash that an e-mail address (as [`crate::model::contact::Email::key`] gives it) is matched by.
    pub fn address_id(&self, environment: &str, address: &str) -> AddressId {
        AddressId(self.hash([environment, "address", "", address]))
    }

    /// The keyed hash that an `Idempotency-Key` is kept under, for one environment, method and path.
    pub fn idempotency_id(&self, environment: &str, method: &str, path: &str, key: &str) -> Uuid {
        self.hash([environment, "idempotency", &format!("{method} {path}"), key])
    }

    /// The keyed hash of what a request asks for: its query and its body. Bodies name people, whom an unkeyed
    /// hash would let anybody guess back.
    pub fn request_hash(&self, query: &str, body: &[u8]) -> Uuid {
        self.hash_of([b"request".as_slice(), query.as_bytes(), body])
    }

    fn hash(&self, parts: [&str; 4]) -> Uuid {
        self.hash_of(parts.map(str::as_bytes))
    }

    fn hash_of<const N: usize>(&self, parts: [&[u8]; N]) -> Uuid {
        let mut mac = self.hashing.clone();
        for part in parts {
            mac.update(part);
            mac.update(&[0x1f]);
        }
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(mac.finalize().into_bytes()).for_each(|(place, byte)| *place = byte);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// What tells whether a database was written under this key.
    pub fn fingerprint(&self) -> String {
        let mut mac = self.hashing.clone();
        mac.update(b"fingerprint");
        hex::encode(mac.finalize().into_bytes())
    }

    /// What the ed25519 key of an endpoint's secret is made from.
    pub fn signing_seed(&self, secret: &str) -> [u8; 32] {
        let mut mac = keyed(&self.signing);
        mac.update(secret.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// Encrypts a text for keeping, as hex.
    #[expect(clippy::expect_used, reason = "a text in memory is far below the cipher's limit")]
    pub fn seal(&self, text: &str) -> String {
        let nonce = ChaCha20Poly1305::generate_nonce(&mut OsRng);
        let sealed = self.cipher().encrypt(&nonce, text.as_bytes()).expect("below the limit");
        hex::encode([nonce.as_slice(), &sealed].concat())
    }

    /// Decrypts what [`Keyring::seal`] made.
    pub fn open(&self, sealed: &str) -> Result<String, Unopenable> {
        let bytes = hex::decode(sealed).map_err(|_| Unopenable)?;
        let (nonce, sealed) = bytes.split_at_checked(12).ok_or(Unopenable)?;
        let text =
            self.cipher().decrypt(Nonce::from_slice(nonce), sealed).map_err(|_| Unopenable)?;
        String::from_utf8(text).map_err(|_| Unopenable)
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(Key::from_slice(&self.sealing))
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// A new random key, as text: 32 bytes in hex.
pub fn new_key() -> String {
    hex::encode(ChaCha20Poly1305::generate_key(&mut OsRng))
}

/// The random part of a new API key: 32 bytes in 43 characters of base64url.
pub fn new_token() -> String {
    URL_SAFE_NO_PAD.encode(ChaCha20Poly1305::generate_key(&mut OsRng))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_id_each_environment_and_none_that_is_a_references() {
        let keyring = Keyring::new("k");
        let id = keyring.address_id("live", "ada@example.org");
        assert_eq!(id, keyring.address_id("live", "ada@example.org"));
        assert_ne!(id, keyring.address_id("test", "ada@example.org"));
        let reference = Reference::new(Kind::External, "", "ada@example.org").expect("a reference");
        assert_ne!(id.0, keyring.reference_id("live", &reference).0);
    }

    #[test]
    fn references_have_one_id_each_and_another_under_another_key() {
        let reference = |kind, namespace: &str, subject: &str| {
            Reference::new(kind, namespace, subject).expect("a reference")
        };
        let keyring = Keyring::new("k");
        let id = |r: &Reference| keyring.reference_id("live", r);
        let ada = reference(Kind::Auth, "clerk", "ada");
        assert_eq!(id(&ada), id(&ada.clone()));
        assert_ne!(id(&ada), id(&reference(Kind::Payment, "clerk", "ada")));
        assert_ne!(id(&ada), keyring.reference_id("test", &ada));
        assert_ne!(id(&ada), Keyring::new("l").reference_id("live", &ada));
    }

    #[test]
    fn what_is_sealed_opens_under_the_same_key_only() {
        let sealed = Keyring::new("k").seal("whsec_x");
        assert!(!sealed.contains("whsec"));
        assert_eq!(Keyring::new("k").open(&sealed).ok().as_deref(), Some("whsec_x"));
        assert!(Keyring::new("l").open(&sealed).is_err());
        assert!(Keyring::new("k").open("00").is_err());
    }
}
