//! Static credentials: a header that holds the secret itself. Compared by their SHA-256, in constant time, so that
//! one that was kept (contract 4) is checked as one that arrived.

use super::{BadSecret, Check, Scheme, first};
use crate::{
    model::{inbound::Headers, secret::Secret},
    verify::Rejection,
};
use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whether the scheme's header holds one of the secrets.
pub(super) fn check(
    scheme: &Scheme,
    headers: &Headers,
    secrets: &[&Secret],
) -> Result<(), Rejection> {
    let check = &scheme.check;
    let name = scheme.credential().ok_or(Rejection::Missing { place: "the credential" })?;
    let presented = match (first(headers, &[name]), headers.credential(name)) {
        (Some(text), _) => presented(check, text)
            .map(|text| Sha256::digest(text).to_vec())
            .ok_or(Rejection::Malformed { place: name, what: shape(check) })?,
        (None, Some(kept)) => hex::decode(kept).unwrap_or_default(),
        (None, None) => return Err(Rejection::Missing { place: name }),
    };
    let mut bad = None;
    for secret in secrets {
        match expected(check, secret) {
            Ok(expected) if bool::from(expected.ct_eq(&presented)) => return Ok(()),
            Ok(_) => {}
            Err(why) => bad = Some(why),
        }
    }
    Err(bad.map_or(Rejection::Mismatch { place: name }, Rejection::Secret))
}

/// The SHA-256 of the header that a secret asks for.
pub(super) fn expected(check: &Check, secret: &Secret) -> Result<Vec<u8>, BadSecret> {
    header(check, secret).map(|text| Sha256::digest(text).to_vec())
}

/// The header's text that a secret asks for.
pub(super) fn header(check: &Check, secret: &Secret) -> Result<String, BadSecret> {
    let text = secret.expose();
    match check {
        _ if text.is_empty() => Err(BadSecret::Empty),
        Check::Bearer => Ok(format!("Bearer {text}")),
        Check::Basic if text.contains(':') => Ok(format!("Basic {}", BASE64.encode(text))),
        Check::Basic => Err(BadSecret::NotUserAndPassword),
        _ => Ok(text.to_owned()),
    }
}

/// What is kept of a header: the SHA-256 in hex of its text as [`header`] writes it, or as it is where it is of
/// another shape, which is never the text of a good one.
pub(super) fn digest(check: &Check, text: &str) -> String {
    hex::encode(Sha256::digest(presented(check, text).unwrap_or_else(|| text.to_owned())))
}

/// A header's text as [`header`] writes it; `None` where it is of another shape.
///
/// A user's name holds no colon, so that `user:password` as a whole is equal exactly where both its parts are,
/// split at the first colon.
fn presented(check: &Check, text: &str) -> Option<String> {
    let text = text.trim();
    let after = |scheme: &str| {
        let (word, rest) = text.split_once(' ')?;
        word.eq_ignore_ascii_case(scheme).then(|| rest.trim_start())
    };
    match check {
        Check::Bearer => after("bearer").map(|token| format!("Bearer {token}")),
        Check::Basic => BASE64
            .decode(after("basic")?)
            .ok()
            .filter(|credential| credential.contains(&b':'))
            .map(|credential| format!("Basic {}", BASE64.encode(credential))),
        _ => Some(text.to_owned()),
    }
}

fn shape(check: &Check) -> &'static str {
    match check {
        Check::Bearer => "is not of the form `Bearer TOKEN`",
        Check::Basic => "is not of the form `Basic BASE64`",
        _ => "cannot be read",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::presets::{BASIC, BEARER, FLUTTERWAVE_V3};

    fn accepts(scheme: Scheme, value: &str, secret: &str) -> Result<(), Rejection> {
        let name = scheme.credential().expect("a credential");
        let secret = Secret::new(secret);
        let arrived = Headers::from_iter([(name, value)]);
        let fresh = check(&scheme, &arrived, &[&secret]);
        let kept = check(&scheme, &scheme.kept_headers(&arrived), &[&secret]);
        assert_eq!(fresh.is_ok(), kept.is_ok(), "what was kept is judged as what arrived");
        fresh
    }

    #[test]
    fn a_scheme_without_a_credential_lets_nobody_in() {
        let secret = Secret::new("s");
        let scheme = crate::verify::presets::STRIPE;
        assert!(check(&scheme, &Headers::default(), &[&secret]).is_err());
    }

    #[test]
    fn a_header_must_equal_the_secret() {
        assert_eq!(accepts(FLUTTERWAVE_V3, "hunter2", "hunter2"), Ok(()));
        for wrong in ["hunter", "hunter22", "Hunter2"] {
            assert_eq!(
                accepts(FLUTTERWAVE_V3, wrong, "hunter2"),
                Err(Rejection::Mismatch { place: "verif-hash" })
            );
        }
        assert_eq!(
            accepts(FLUTTERWAVE_V3, "x", ""),
            Err(Rejection::Secret(BadSecret::Empty)),
            "an empty secret lets nobody in"
        );
        assert!(accepts(FLUTTERWAVE_V3, "", "hunter2").is_err());
    }

    #[test]
    fn bearer_tokens_are_read_as_rfc_6750_writes_them() {
        assert_eq!(accepts(BEARER, "Bearer t0k", "t0k"), Ok(()));
        assert_eq!(accepts(BEARER, "bearer   t0k", "t0k"), Ok(()));
        for wrong in ["t0k", "Basic t0k", "Bearer t0kk", "Bearer", "Bearer\tt0k"] {
            assert!(accepts(BEARER, wrong, "t0k").is_err());
        }
    }

    #[test]
    fn basic_passwords_may_hold_colons() {
        let basic = |credential: &str| format!("Basic {}", BASE64.encode(credential));
        assert_eq!(accepts(BASIC, &basic("ada:a:b"), "ada:a:b"), Ok(()));
        assert!(accepts(BASIC, &basic("ada:a"), "ada:a:b").is_err());
        assert!(accepts(BASIC, &basic("ada"), "ada:").is_err());
        for wrong in ["Basic ?", "Basic ada:a", "ada:a", "YWRhOmE="] {
            assert!(accepts(BASIC, wrong, "ada:a").is_err());
        }
        assert_eq!(accepts(BASIC, "basic YWRhOmE", "ada:a"), Ok(()));
        assert_eq!(
            accepts(BASIC, &basic("ada:a"), "ada"),
            Err(Rejection::Secret(BadSecret::NotUserAndPassword))
        );
    }

    #[test]
    fn the_hash_of_a_credential_does_not_pass_for_it() {
        let hash = hex::encode(Sha256::digest("hunter2"));
        assert!(accepts(FLUTTERWAVE_V3, &hash, "hunter2").is_err());
    }
}
