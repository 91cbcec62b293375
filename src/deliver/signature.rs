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
/// each secret that holds, so that a receiver can change over at its leisure.
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
    let key = secret.standard_webhooks_key().filter(|key| !key.is_empty()).ok_or(BadSecret)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::inbound::Headers,
        verify::{
            presets::STANDARD_WEBHOOKS,
            scheme::{Input, authenticate},
        },
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds).expect("a time")
    }

    #[test]
    fn the_standards_own_vector_comes_out() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signed = headers(&[secret], id, at(1_614_265_330), b"{\"test\": 2432232314}");
        assert_eq!(
            signed,
            Ok([
                ("webhook-id", id.to_owned()),
                ("webhook-timestamp", "1614265330".to_owned()),
                ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned()),
            ])
        );
    }

    #[test]
    fn during_a_rotation_both_secrets_verify_and_no_third() {
        let secrets = [new_secret(), new_secret()];
        let signed = headers(&secrets, "msg_1", at(1), b"\r\n\xff").expect("signed");
        let signed = Headers::from_iter(signed);
        let accepts = |secret: &Secret| {
            let input = Input { headers: &signed, body: b"\r\n\xff", url: None, item: None };
            authenticate(&STANDARD_WEBHOOKS, &input, &[secret]) == Ok(Some(at(1)))
        };
        assert!(secrets.iter().all(accepts));
        assert!(!accepts(&new_secret()));
    }

    #[test]
    fn new_secrets_are_long_and_differ() {
        let (a, b) = (new_secret(), new_secret());
        assert_eq!(a.standard_webhooks_key().map(|key| key.len()), Some(32));
        assert!(a.expose().starts_with("whsec_") && a != b);
    }

    #[test]
    fn nothing_goes_out_unsigned() {
        for secrets in [vec![], vec![Secret::new("whsec_")], vec![new_secret(), Secret::new("?")]] {
            assert_eq!(headers(&secrets, "msg_1", at(1), b""), Err(BadSecret));
        }
    }
}
