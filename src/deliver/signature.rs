//! Signs outgoing webhooks by Standard Webhooks (contract 6).

use crate::model::{secret::Secret, time::Timestamp};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chacha20poly1305::aead::{OsRng, rand_core::RngCore as _};
use hmac::{Hmac, KeyInit as _, Mac};
use sha2::Sha256;

/// An endpoint's secret cannot be a key: it is empty, or not base64 after `whsec_`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an endpoint's secret is not base64 after `whsec_`: rotate it")]
pub struct BadSecret;

/// The headers that sign a message: its id (the same on every try), the time of this try, and one signature for
/// each secret that holds.
///
/// # Errors
/// Where there is no secret, or one cannot be a key.
pub fn headers(
    secrets: &[Secret],
    id: &str,
    at: Timestamp,
    body: &[u8],
) -> Result<[(&'static str, String); 3], BadSecret> {
    let stamp = at.seconds().to_string();
    let signatures = secrets
        .iter()
        .map(|secret| signature(secret, id, &stamp, body))
        .collect::<Result<Vec<_>, _>>()?;
    if signatures.is_empty() {
        return Err(BadSecret);
    }
    Ok([
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", stamp),
        ("webhook-signature", signatures.join(" ")),
    ])
}

fn signature(secret: &Secret, id: &str, stamp: &str, body: &[u8]) -> Result<String, BadSecret> {
    let key = secret.expose().strip_prefix("whsec_").ok_or(BadSecret)?;
    let key = STANDARD.decode(key).ok().filter(|key| !key.is_empty()).ok_or(BadSecret)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| BadSecret)?;
    for text in [id.as_bytes(), b".", stamp.as_bytes(), b".", body] {
        mac.update(text);
    }
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

/// A new random secret: `whsec_` and 32 bytes in base64 (the standard asks for 24 to 64).
pub fn new_secret() -> Secret {
    let mut bytes = [0; 32];
    OsRng.fill_bytes(&mut bytes);
    Secret::new(format!("whsec_{}", STANDARD.encode(bytes)))
}
