//! Compact JSON Web Signatures (RFC 7515): a body that is one (Kinde), and a header whose token names the body's hash
//! (FusionAuth).
//!
//! The kind of the key decides which algorithms count, never the token alone: a public key is no HMAC secret.

use super::{Algorithm, BadSecret, Check, Input, first, key};
use crate::{model::secret::Secret, verify::Rejection};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents,
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use subtle::ConstantTimeEq as _;

/// The claim of FusionAuth's token: the base64 of the body's SHA-256.
const BODY_HASH: &str = "request_body_sha256";

/// A token taken apart, its signature not checked yet.
struct Token<'a> {
    /// What is signed.
    signed: &'a str,
    payload: &'a str,
    algorithm: Jws,
    key_id: Option<String>,
    signature: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Jws {
    Hmac(Algorithm),
    Rsa(&'static RsaParameters),
}

/// What a secret stands for.
enum Keys {
    Hmac(Vec<u8>),
    Rsa(Vec<RsaKey>),
}

/// A public key of a JWK (RFC 7517, RFC 7518 section 6.3), its numbers without leading zeros.
struct RsaKey {
    id: Option<String>,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

/// Whether the token is signed under one of the secrets and, in a header, is about this body.
pub(super) fn check(
    check: &Check,
    input: &Input<'_>,
    secrets: &[&Secret],
) -> Result<(), Rejection> {
    let (place, text) = match check {
        Check::JwtHeader(name) => {
            (*name, first(input.headers, &[*name]).ok_or(Rejection::Missing { place: name })?)
        }
        _ => ("the body", std::str::from_utf8(input.body).unwrap_or_default()),
    };
    let what = "is no JSON Web Token signed by HMAC or RSA";
    let token = Token::parse(text.trim()).ok_or(Rejection::Malformed { place, what })?;
    let mut bad = None;
    let signed = secrets.iter().any(|secret| match keys(check, secret) {
        Ok(keys) => token.is_signed_by(&keys),
        Err(why) => {
            bad = Some(why);
            false
        }
    });
    if !signed {
        return Err(bad.map_or(Rejection::Mismatch { place }, Rejection::Secret));
    }
    if let Check::JwtHeader(_) = check {
        let hash = token.body_hash().ok_or(Rejection::Malformed {
            place,
            what: "is a token that names no hash of the body",
        })?;
        if !bool::from(hash.ct_eq(&Sha256::digest(input.body))) {
            return Err(Rejection::Mismatch { place });
        }
    }
    Ok(())
}

/// Whether a secret can be a key of the check.
pub(super) fn accepts(check: &Check, secret: &Secret) -> Result<(), BadSecret> {
    keys(check, secret).map(drop)
}

/// The token with which a header vouches for a body, under an HMAC secret.
pub(super) fn header(secret: &Secret, body: &[u8]) -> Result<String, BadSecret> {
    let key = key::bytes(super::Key::Utf8, secret)?;
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(&json!({"alg": "HS256", "typ": "JWT"}));
    let claims = part(&json!({BODY_HASH: STANDARD.encode(Sha256::digest(body))}));
    let signed = format!("{head}.{claims}");
    let mac = key::mac(Algorithm::Sha256, &key, &[Cow::Borrowed(signed.as_bytes())]);
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac)))
}

/// The payload of a body that is a compact token; none where it is not.
pub fn payload(body: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(body).ok()?;
    let mut parts = text.trim().split('.');
    let (head, payload) = (parts.next()?, parts.next()?);
    (parts.count() == 1).then_some(())?;
    object(head)?;
    URL_SAFE_NO_PAD.decode(payload).ok()
}

/// A part of a token that holds a JSON object.
fn object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

impl<'a> Token<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (head, payload) = signed.split_once('.')?;
        let head = object(head)?;
        // What is critical and not understood makes a token invalid (RFC 7515 section 4.1.11).
        if payload.contains('.') || head.contains_key("crit") {
            return None;
        }
        let algorithm = match head.get("alg")?.as_str()? {
            "HS256" => Jws::Hmac(Algorithm::Sha256),
            "HS384" => Jws::Hmac(Algorithm::Sha384),
            "HS512" => Jws::Hmac(Algorithm::Sha512),
            "RS256" => Jws::Rsa(&RSA_PKCS1_2048_8192_SHA256),
            "RS384" => Jws::Rsa(&RSA_PKCS1_2048_8192_SHA384),
            "RS512" => Jws::Rsa(&RSA_PKCS1_2048_8192_SHA512),
            _ => return None,
        };
        let key_id = head.get("kid").and_then(Value::as_str).map(str::to_owned);
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        Some(Self { signed, payload, algorithm, key_id, signature })
    }

    fn is_signed_by(&self, keys: &Keys) -> bool {
        let text = self.signed.as_bytes();
        match (self.algorithm, keys) {
            (Jws::Hmac(algorithm), Keys::Hmac(key)) => {
                let expected = key::mac(algorithm, key, &[Cow::Borrowed(text)]);
                expected.ct_eq(&self.signature).into()
            }
            (Jws::Rsa(rule), Keys::Rsa(keys)) => {
                let named = |key: &&RsaKey| match (&key.id, &self.key_id) {
                    (Some(known), Some(named)) => known == named,
                    _ => true,
                };
                keys.iter().filter(named).any(|key| {
                    let key = RsaPublicKeyComponents { n: &key.modulus, e: &key.exponent };
                    key.verify(rule, text, &self.signature).is_ok()
                })
            }
            _ => false,
        }
    }

    /// The hash that the token vouches for.
    fn body_hash(&self) -> Option<Vec<u8>> {
        STANDARD.decode(object(self.payload)?.get(BODY_HASH)?.as_str()?).ok()
    }
}

/// A JWK or a set of them; for a header's token also an HMAC secret.
fn keys(check: &Check, secret: &Secret) -> Result<Keys, BadSecret> {
    let text = secret.expose();
    if matches!(check, Check::JwtHeader(_)) && !text.trim_start().starts_with('{') {
        return key::bytes(super::Key::Utf8, secret).map(Keys::Hmac);
    }
    let json: Value = serde_json::from_str(text).map_err(|_| BadSecret::NotJwk)?;
    let keys: Vec<_> = match json.get("keys").and_then(Value::as_array) {
        Some(list) => list.iter().filter_map(rsa_key).collect(),
        None => rsa_key(&json).into_iter().collect(),
    };
    if keys.is_empty() { Err(BadSecret::NotJwk) } else { Ok(Keys::Rsa(keys)) }
}

fn rsa_key(jwk: &Value) -> Option<RsaKey> {
    let text = |name| jwk.get(name).and_then(Value::as_str);
    let number = |name| {
        let bytes = URL_SAFE_NO_PAD.decode(text(name)?).ok()?;
        let bytes: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
        (!bytes.is_empty()).then_some(bytes)
    };
    (text("kty")? == "RSA" && text("use").is_none_or(|used| used == "sig")).then_some(())?;
    let id = text("kid").map(str::to_owned);
    Some(RsaKey { id, modulus: number("n")?, exponent: number("e")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::inbound::Headers,
        verify::presets::{FUSIONAUTH, KINDE},
    };

    /// Tokens of RFC 7515 and of another library.
    fn tokens() -> Value {
        serde_json::from_str(include_str!("../../../tests/fixtures/tokens.json")).expect("JSON")
    }

    fn text(value: &Value) -> &str {
        value.as_str().expect("a text")
    }

    fn texts(value: &Value) -> Vec<&str> {
        value.as_array().expect("a list").iter().map(text).collect()
    }

    fn as_body(token: &str, secret: &str) -> Result<(), Rejection> {
        let headers = Headers::default();
        let input = Input { headers: &headers, body: token.as_bytes(), url: None, item: None };
        check(&KINDE.check, &input, &[&Secret::new("{}"), &Secret::new(secret)])
    }

    fn as_header(token: &str, body: &[u8], secret: &str) -> Result<(), Rejection> {
        let headers = Headers::from_iter([("X-FusionAuth-Signature-JWT", token)]);
        let headers = FUSIONAUTH.kept_headers(&headers);
        let input = Input { headers: &headers, body, url: None, item: None };
        check(&FUSIONAUTH.check, &input, &[&Secret::new("other"), &Secret::new(secret)])
    }

    #[test]
    fn a_body_is_good_under_the_key_that_it_names() {
        let tokens = tokens();
        let rfc = &tokens["rfc7515_a2"];
        assert_eq!(as_body(text(&rfc["token"]), &rfc["jwk"].to_string()), Ok(()));
        let kinde = &tokens["kinde"];
        let keys = kinde["jwks"].to_string();
        for token in texts(&kinde["good"]) {
            assert_eq!(as_body(token, &keys), Ok(()));
            assert_eq!(as_body(&format!("{token}\n"), &keys), Ok(()));
        }
        assert!(as_body(text(&rfc["token"]), &keys).is_err(), "another's key");
    }

    #[test]
    fn a_body_that_no_key_has_signed_as_the_key_allows_is_refused() {
        let tokens = tokens();
        let kinde = &tokens["kinde"];
        let keys = kinde["jwks"].to_string();
        for name in ["wrong_key", "unknown_key", "critical", "public_key_as_secret", "none"] {
            assert!(as_body(text(&kinde[name]), &keys).is_err(), "{name}");
        }
        // The first key's set as the text that somebody signed with: a public key is no secret.
        let first = json!({"keys": [kinde["jwks"]["keys"][0]]}).to_string();
        assert!(as_body(text(&kinde["public_key_as_secret"]), &first).is_err());
        let good = texts(&kinde["good"])[0];
        for index in [3, good.len() / 2, good.len() - 4] {
            let mut altered = good.as_bytes().to_vec();
            altered[index] = if altered[index] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).expect("ASCII");
            assert!(as_body(&altered, &keys).is_err(), "at {index}");
        }
        for odd in
            ["", ".", "..", "a.b.c", "{}", &good[..good.len() - 8], format!("{good}.x").as_str()]
        {
            assert!(as_body(odd, &keys).is_err(), "{odd}");
        }
        assert_eq!(as_body(good, "hunter2"), Err(Rejection::Secret(BadSecret::NotJwk)));
    }

    #[test]
    fn a_header_vouches_for_the_bytes_of_its_body_alone() {
        let tokens = tokens();
        let fusion = &tokens["fusionauth"];
        let (body, secret) = (text(&fusion["body"]).as_bytes(), text(&fusion["secret"]));
        for token in texts(&fusion["good"]) {
            assert_eq!(as_header(token, body, secret), Ok(()));
            assert!(as_header(token, &body[1..], secret).is_err());
            assert!(as_header(token, body, "another secret").is_err());
        }
        let jwk = fusion["jwk"].to_string();
        assert_eq!(as_header(text(&fusion["by_rsa"]), body, &jwk), Ok(()));
        assert!(as_header(text(&fusion["by_rsa"]), body, secret).is_err());
        for name in ["of_another_body", "of_no_body", "of_another_secret"] {
            assert!(as_header(text(&fusion[name]), body, secret).is_err(), "{name}");
        }
        assert!(as_header("", body, secret).is_err());
    }

    #[test]
    fn a_body_stands_for_its_payload_and_other_bodies_for_themselves() {
        let tokens = tokens();
        let good = texts(&tokens["kinde"]["good"])[0];
        let event = payload(good.as_bytes()).expect("a payload");
        let event: Value = serde_json::from_slice(&event).expect("JSON");
        assert_eq!(event["event_id"], "event_token");
        for other in ["{\"a\": 1.5}", "[1.2.3]", "a.b.c", "", "e30.e30", "e30.e30.e30.e30", "..."] {
            assert_eq!(payload(other.as_bytes()), None, "{other}");
        }
        assert_eq!(payload(b"\xff.e30.e30"), None);
    }
}
