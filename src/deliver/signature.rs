//! Signs outgoing webhooks, in the style that their endpoint asks for (contract 6).

use crate::{
    keyring::Keyring,
    model::{endpoint::SignatureStyle, secret::Secret, time::Timestamp},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chacha20poly1305::aead::{OsRng, rand_core::RngCore as _};
use hmac::{Hmac, KeyInit as _, Mac};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use sha2::Sha256;
use std::{fmt, sync::Arc};

/// An endpoint's secret cannot be a key: it is empty, or not base64 after `whsec_`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an endpoint's secret is not base64 after `whsec_`: rotate it")]
pub struct BadSecret;

/// What an endpoint's messages are signed with, and how. Several secrets during a rotation: each signs, so that a
/// receiver can change over at its leisure.
#[derive(Clone, Debug, Default)]
pub struct Signer {
    /// How.
    pub style: SignatureStyle,
    /// Where, in the styles that do not say it themselves.
    pub header: Option<String>,
    /// The secrets that hold, the newest last.
    pub secrets: Vec<Secret>,
    /// The ed25519 keys beside them.
    pub keys: Vec<PrivateKey>,
}

/// An ed25519 key. Whoever has the public half can verify, and not sign.
#[derive(Clone)]
pub struct PrivateKey(Arc<Ed25519KeyPair>);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey([secret])")
    }
}

impl PrivateKey {
    /// The key that belongs to a secret. It depends on the daemon's own key too: who has the secret cannot make it.
    pub fn of(keyring: &Keyring, secret: &Secret) -> Option<Self> {
        let seed = keyring.signing_seed(secret.expose());
        Ed25519KeyPair::from_seed_unchecked(&seed).ok().map(|pair| Self(Arc::new(pair)))
    }

    /// The public half: `whpk_` and base64, as Standard Webhooks writes it.
    pub fn public(&self) -> String {
        format!("whpk_{}", STANDARD.encode(self.0.public_key()))
    }
}

impl Signer {
    /// The headers that identify and sign a message: its id (the same on every try), the time of this try, and the
    /// signatures.
    ///
    /// # Errors
    /// Where there is no secret, or one cannot be a key.
    pub fn headers(
        &self,
        id: &str,
        at: Timestamp,
        body: &[u8],
    ) -> Result<[(&str, String); 3], BadSecret> {
        let stamp = at.seconds().to_string();
        let time = stamp.as_bytes();
        // A receiver that looks at the first signature alone is to find the newest.
        let newest_first = || self.secrets.iter().rev();
        if self.secrets.is_empty() {
            return Err(BadSecret);
        }
        let all = |signatures: Result<Vec<String>, BadSecret>, separator| {
            signatures.map(|signatures| signatures.join(separator))
        };
        let (header, signature) = match self.style {
            SignatureStyle::Standard => {
                let text = [id.as_bytes(), b".", time, b".", body];
                let by_secret = newest_first().map(|secret| {
                    let key = secret.standard_webhooks_key().ok_or(BadSecret)?;
                    Ok(format!("v1,{}", STANDARD.encode(hmac(&key, &text)?)))
                });
                let by_key = self.keys.iter().rev().map(|key| {
                    let signature = key.0.sign(&text.concat());
                    Ok(format!("v1a,{}", STANDARD.encode(signature.as_ref())))
                });
                ("webhook-signature", all(by_secret.chain(by_key).collect(), " ")?)
            }
            SignatureStyle::Timestamped => {
                let signatures = newest_first().map(|secret| {
                    let key = secret.expose().as_bytes();
                    Ok(format!("v1={}", hex::encode(hmac(key, &[time, b".", body])?)))
                });
                let signatures = all(signatures.collect(), ",")?;
                (self.own_header(), format!("t={stamp},{signatures}"))
            }
            SignatureStyle::Sha256 => {
                let signatures = newest_first().map(|secret| {
                    let key = secret.expose().as_bytes();
                    Ok(format!("sha256={}", hex::encode(hmac(key, &[body])?)))
                });
                (self.own_header(), all(signatures.collect(), ",")?)
            }
        };
        Ok([("webhook-id", id.to_owned()), ("webhook-timestamp", stamp), (header, signature)])
    }

    fn own_header(&self) -> &str {
        self.header.as_deref().unwrap_or("webhook-signature")
    }
}

fn hmac(key: &[u8], text: &[&[u8]]) -> Result<[u8; 32], BadSecret> {
    if key.is_empty() {
        return Err(BadSecret);
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| BadSecret)?;
    for part in text {
        mac.update(part);
    }
    Ok(mac.finalize().into_bytes().into())
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

    fn by<const N: usize>(secrets: [Secret; N]) -> Signer {
        Signer { secrets: secrets.into(), ..Signer::default() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds).expect("a time")
    }

    #[test]
    fn the_standards_own_vector_comes_out() {
        let signer = by([Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]);
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signed = signer.headers(id, at(1_614_265_330), b"{\"test\": 2432232314}");
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
        let signer = by(secrets.clone());
        let signed = signer.headers("msg_1", at(1), b"\r\n\xff").expect("signed");
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
            let signer = Signer { secrets, ..Signer::default() };
            assert_eq!(signer.headers("msg_1", at(1), b""), Err(BadSecret));
        }
    }

    /// The expected values are those of `openssl dgst -sha256 -hmac`, which takes the secret as it is shown.
    #[test]
    fn the_other_styles_sign_in_a_header_of_their_own_with_the_secret_as_it_is_shown() {
        let secret = || Secret::new("whsec_dGVzdA==");
        let signed = |style, secrets: Vec<Secret>| {
            let header = Some("x-app-signature".to_owned());
            let signer = Signer { style, header, secrets, ..Signer::default() };
            let [id, time, signature] =
                signer.headers("msg_1", at(1_700_000_000), b"{}").expect("signed");
            assert_eq!((id.1.as_str(), time.1.as_str()), ("msg_1", "1700000000"));
            assert_eq!(signature.0, "x-app-signature");
            signature.1
        };
        let body = "a20063490e7f7034cf1bc7426852e27e5be069532996d19012ff5d01fdd06179";
        let plain = "00850923c6e3021c39db699664a5fbda4d62d6fb12a06566cda33074bfac21b1";
        assert_eq!(
            signed(SignatureStyle::Timestamped, vec![secret()]),
            format!("t=1700000000,v1={body}")
        );
        assert_eq!(signed(SignatureStyle::Sha256, vec![secret()]), format!("sha256={plain}"));
        let both = signed(SignatureStyle::Sha256, vec![secret(), Secret::new("new")]);
        assert!(both.ends_with(&format!(",sha256={plain}")) && both.starts_with("sha256="));
    }

    #[test]
    fn an_ed25519_signature_stands_beside_and_verifies_by_the_public_key_alone() {
        use ring::signature::{ED25519, UnparsedPublicKey};
        let (keyring, secret) = (Keyring::new("k"), new_secret());
        let key = PrivateKey::of(&keyring, &secret).expect("a key");
        let public = key.public();
        let other = PrivateKey::of(&Keyring::new("l"), &secret).expect("a key");
        assert_ne!(public, other.public());
        let signer = Signer { keys: vec![key], ..by([secret]) };
        let [.., (_, signatures)] = signer.headers("msg_1", at(5), b"{}").expect("signed");
        let (hmac, ed25519) = signatures.split_once(' ').expect("two signatures");
        assert!(hmac.starts_with("v1,"));
        let signature =
            STANDARD.decode(ed25519.strip_prefix("v1a,").expect("v1a")).expect("base64");
        let public = STANDARD.decode(public.strip_prefix("whpk_").expect("whpk_")).expect("base64");
        let public = UnparsedPublicKey::new(&ED25519, public);
        assert!(public.verify(b"msg_1.5.{}", &signature).is_ok());
        assert!(public.verify(b"msg_1.6.{}", &signature).is_err());
    }
}
