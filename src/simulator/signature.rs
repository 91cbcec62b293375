//! Signs as the real senders do. Written for itself, so that it can find the verifier wrong.

use crate::model::{secret::Secret, time::Timestamp};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac};
use sha2::Sha256;

/// How a sender signs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Signing {
    /// `Stripe-Signature: t=…,v1=hex` over `t.body`, keyed by the whole secret (docs.stripe.com/webhooks).
    Stripe,
    /// `svix-id`, `svix-timestamp`, `svix-signature` (docs.svix.com): Clerk.
    Svix,
    /// `webhook-id`, `webhook-timestamp`, `webhook-signature` (Standard Webhooks): our own format.
    StandardWebhooks,
}

/// The headers that a sender puts on a body at a time: names in lower case.
pub fn headers(
    signing: Signing,
    secret: &Secret,
    event_id: &str,
    body: &[u8],
    at: Timestamp,
) -> Vec<(String, String)> {
    let seconds = at.seconds().to_string();
    let header = |name: &str, value: String| (name.to_owned(), value);
    let mut headers = vec![header("content-type", "application/json; charset=utf-8".to_owned())];
    match signing {
        Signing::Stripe => {
            let signature =
                hex::encode(mac(secret.expose().as_bytes(), &[seconds.as_bytes(), b".", body]));
            headers.push(header(
                "user-agent",
                "Stripe/1.0 (+https://stripe.com/docs/webhooks)".to_owned(),
            ));
            headers.push(header("stripe-signature", format!("t={seconds},v1={signature}")));
        }
        Signing::Svix | Signing::StandardWebhooks => {
            let family = if signing == Signing::Svix { "svix" } else { "webhook" };
            let key = STANDARD
                .decode(secret.expose().trim_start_matches("whsec_"))
                .unwrap_or_else(|_| secret.expose().as_bytes().to_vec());
            let signed = mac(&key, &[event_id.as_bytes(), b".", seconds.as_bytes(), b".", body]);
            headers.push(header(&format!("{family}-id"), event_id.to_owned()));
            headers.push(header(&format!("{family}-timestamp"), seconds));
            headers.push(header(
                &format!("{family}-signature"),
                format!("v1,{}", STANDARD.encode(signed)),
            ));
        }
    }
    headers
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::Digest as _;

    /// HMAC-SHA256 written out from RFC 2104.
    fn by_hand(key: &[u8], text: &[u8]) -> Vec<u8> {
        let mut block = [0_u8; 64];
        let key = if key.len() > 64 { Sha256::digest(key).to_vec() } else { key.to_vec() };
        block.iter_mut().zip(key).for_each(|(place, byte)| *place = byte);
        let inner = Sha256::digest([&block.map(|byte| byte ^ 0x36)[..], text].concat());
        Sha256::digest([&block.map(|byte| byte ^ 0x5c)[..], &inner[..]].concat()).to_vec()
    }

    fn value<'a>(headers: &'a [(String, String)], name: &str) -> &'a str {
        headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
    }

    #[test]
    fn stripe_signs_with_the_whole_secret() {
        let (secret, at) = ("whsec_abc", Timestamp::from_seconds(1_700_000_000).expect("a time"));
        let headers = headers(Signing::Stripe, &Secret::new(secret), "evt_1", b"{}", at);
        let expected = hex::encode(by_hand(secret.as_bytes(), b"1700000000.{}"));
        assert_eq!(value(&headers, "stripe-signature"), format!("t=1700000000,v1={expected}"));
    }

    #[test]
    fn svix_and_standard_webhooks_sign_with_the_decoded_secret() {
        let (key, at) = ([7_u8; 24], Timestamp::from_seconds(1_700_000_000).expect("a time"));
        let secret = Secret::new(format!("whsec_{}", STANDARD.encode(key)));
        let expected =
            format!("v1,{}", STANDARD.encode(by_hand(&key, b"msg_1.1700000000.{\"a\":1}")));
        for (signing, family) in [(Signing::Svix, "svix"), (Signing::StandardWebhooks, "webhook")] {
            let headers = headers(signing, &secret, "msg_1", br#"{"a":1}"#, at);
            assert_eq!(value(&headers, &format!("{family}-id")), "msg_1");
            assert_eq!(value(&headers, &format!("{family}-timestamp")), "1700000000");
            assert_eq!(value(&headers, &format!("{family}-signature")), expected);
        }
    }
}
