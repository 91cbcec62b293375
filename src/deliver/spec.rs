//! Whether an endpoint can be as its owner wants it: asked before it is made, by whoever makes it.

use crate::{
    deliver::guard::{self, Guard},
    model::{
        endpoint::{EndpointSettings, EndpointSpec, SignatureStyle},
        message::EventType,
        secret::Secret,
    },
};

/// What is wrong, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{param}: {why}")]
pub struct Invalid {
    /// The field.
    pub param: &'static str,
    /// What is wrong with it.
    pub why: String,
}

/// The longest that one try may take: half a lease, so that no other process takes the message meanwhile.
const LONGEST_TIMEOUT_MS: u64 = 30_000;

/// The longest wait between two tries, in seconds: a week.
const LONGEST_DELAY: u64 = 7 * 24 * 60 * 60;

/// The most requests a second that a rate limit can allow: above it, none is needed.
const HIGHEST_RATE: u32 = 10_000;

/// The shortest key that Standard Webhooks allows, in bytes.
const SHORTEST_KEY: usize = 24;

/// The longest.
const LONGEST_KEY: usize = 64;

/// Whether a secret that somebody brings along can sign.
///
/// # Errors
/// When it cannot.
pub fn check_secret(secret: &Secret) -> Result<(), Invalid> {
    let key = secret.standard_webhooks_key().unwrap_or_default();
    let is_good =
        secret.expose().starts_with("whsec_") && (SHORTEST_KEY..=LONGEST_KEY).contains(&key.len());
    if is_good {
        return Ok(());
    }
    let why = format!("expected `whsec_` and base64 of {SHORTEST_KEY} to {LONGEST_KEY} bytes");
    Err(Invalid { param: "secret", why })
}

/// Whether the endpoint can be so; the first thing that is wrong.
///
/// # Errors
/// When it cannot: the field and the reason.
pub fn check(spec: &EndpointSpec, guard: &Guard) -> Result<(), Invalid> {
    let invalid = |param, why: String| Err(Invalid { param, why });
    if let Err(refused) = guard::check_url(&spec.url, guard) {
        return invalid("url", refused.to_string());
    }
    if spec.event_types.is_empty() {
        return invalid("event_types", "name at least one, or `*` for all".into());
    }
    if let Some(unknown) = spec.event_types.iter().find(|p| !EventType::is_pattern(p)) {
        return invalid("event_types", format!("`{unknown}` is no event type and no `family.*`"));
    }
    if spec.headers.len() > 20 {
        return invalid("headers", "at most 20".into());
    }
    for (name, value) in &spec.headers {
        if !is_token(name) {
            return invalid("headers", format!("`{name}` is no header name"));
        }
        if is_reserved(name) {
            return invalid("headers", format!("`{name}` is ours to set"));
        }
        let value = value.expose();
        if value.len() > 1_024 || !value.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b)) {
            return invalid("headers", format!("the value of `{name}` is too long or not ASCII"));
        }
    }
    check_settings(spec)
}

fn check_settings(spec: &EndpointSpec) -> Result<(), Invalid> {
    let invalid = |param, why: String| Err(Invalid { param, why });
    check_signature(spec)?;
    if spec.settings.rate_limit.is_some_and(|rate| !(1..=HIGHEST_RATE).contains(&rate)) {
        return invalid("rate_limit", format!("from 1 to {HIGHEST_RATE} requests a second"));
    }
    if spec.settings.timeout_ms.is_some_and(|ms| !(100..=LONGEST_TIMEOUT_MS).contains(&ms)) {
        return invalid("timeout_ms", format!("from 100 to {LONGEST_TIMEOUT_MS}"));
    }
    match &spec.settings.schedule {
        Some(delays) if delays.is_empty() || delays.len() > 20 => {
            invalid("schedule", "from 1 to 20 delays, in seconds".into())
        }
        Some(delays) if !delays.is_sorted() => {
            invalid("schedule", "each delay must be at least the one before".into())
        }
        Some(delays) if delays.last().is_some_and(|longest| *longest > LONGEST_DELAY) => {
            invalid("schedule", format!("no delay may be over {LONGEST_DELAY} seconds"))
        }
        _ => Ok(()),
    }
}

fn check_signature(spec: &EndpointSpec) -> Result<(), Invalid> {
    let invalid = |param, why: String| Err(Invalid { param, why });
    let EndpointSettings { signature_style, signature_header, ed25519, .. } = &spec.settings;
    if *signature_style == SignatureStyle::Standard {
        return match signature_header {
            Some(_) => {
                invalid("signature_header", "the style `standard` has headers of its own".into())
            }
            None => Ok(()),
        };
    }
    if *ed25519 {
        return invalid("ed25519", "only the style `standard` signs by it".into());
    }
    let Some(header) = signature_header else {
        let style = signature_style.as_str();
        return invalid("signature_header", format!("the style `{style}` needs one"));
    };
    if !is_token(header) || is_reserved(header) {
        return invalid("signature_header", format!("`{header}` cannot be used"));
    }
    if spec.headers.keys().any(|own| own.eq_ignore_ascii_case(header)) {
        return invalid("signature_header", format!("`{header}` is among the endpoint's headers"));
    }
    Ok(())
}

/// A token of RFC 9110, 5.6.2.
fn is_token(name: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.len() <= 128 && name.bytes().all(letter)
}

/// Headers that say how a message is framed, or that are signed or sent by us.
pub(super) fn is_reserved(name: &str) -> bool {
    const RESERVED: [&str; 15] = [
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    ];
    let name = name.to_ascii_lowercase();
    name.starts_with("webhook-") || RESERVED.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{endpoint::EndpointSettings, secret::Secret};

    fn good() -> EndpointSpec {
        EndpointSpec {
            environment: "live".into(),
            url: "https://example.com/hooks".into(),
            event_types: vec!["payment.*".into()],
            headers: [("x-tenant".to_owned(), Secret::new("7"))].into(),
            settings: EndpointSettings {
                timeout_ms: Some(5_000),
                schedule: Some(vec![1, 1, 60]),
                rate_limit: Some(1),
                ..EndpointSettings::default()
            },
            ..EndpointSpec::default()
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field() {
        assert_eq!(check(&good(), &Guard::default()), Ok(()));
        let header = |name: &str, value: &str| [(name.to_owned(), Secret::new(value))].into();
        let settings = |timeout_ms, schedule| EndpointSettings {
            timeout_ms,
            schedule,
            ..EndpointSettings::default()
        };
        let signed = |signature_style, header: Option<&str>, ed25519| EndpointSettings {
            signature_style,
            signature_header: header.map(str::to_owned),
            ed25519,
            ..EndpointSettings::default()
        };
        let rate = |rate| EndpointSettings { rate_limit: Some(rate), ..settings(None, None) };
        let sha256 = |header| signed(SignatureStyle::Sha256, header, false);
        let wrong = [
            ("url", EndpointSpec { url: "http://example.com".into(), ..good() }),
            ("event_types", EndpointSpec { event_types: vec![], ..good() }),
            ("event_types", EndpointSpec { event_types: vec!["payments.*".into()], ..good() }),
            ("headers", EndpointSpec { headers: header("Host", "a"), ..good() }),
            ("headers", EndpointSpec { headers: header("Webhook-Id", "a"), ..good() }),
            ("headers", EndpointSpec { headers: header("a b", "a"), ..good() }),
            ("headers", EndpointSpec { headers: header("x", "a\r\nb: c"), ..good() }),
            ("timeout_ms", EndpointSpec { settings: settings(Some(0), None), ..good() }),
            ("timeout_ms", EndpointSpec { settings: settings(Some(600_000), None), ..good() }),
            ("schedule", EndpointSpec { settings: settings(None, Some(vec![])), ..good() }),
            ("schedule", EndpointSpec { settings: settings(None, Some(vec![9, 3])), ..good() }),
            ("schedule", EndpointSpec { settings: settings(None, Some(vec![u64::MAX])), ..good() }),
        ];
        let wrong_settings = [
            ("rate_limit", rate(0)),
            ("rate_limit", rate(10_001)),
            ("signature_header", signed(SignatureStyle::Standard, Some("x-a"), false)),
            ("signature_header", signed(SignatureStyle::Timestamped, None, false)),
            ("signature_header", sha256(Some("Content-Length"))),
            ("signature_header", sha256(Some("webhook-id"))),
            ("signature_header", sha256(Some("X-Tenant"))),
            ("ed25519", signed(SignatureStyle::Sha256, Some("x-a"), true)),
        ]
        .map(|(param, settings)| (param, EndpointSpec { settings, ..good() }));
        for (param, spec) in wrong.into_iter().chain(wrong_settings) {
            let found = check(&spec, &Guard::default()).map_err(|invalid| invalid.param);
            assert_eq!(found, Err(param), "{spec:?}");
        }
        let fine = sha256(Some("x-hub-signature-256"));
        assert_eq!(check(&EndpointSpec { settings: fine, ..good() }, &Guard::default()), Ok(()));
    }

    #[test]
    fn a_secret_that_is_empty_short_or_no_base64_is_refused() {
        assert_eq!(check_secret(&crate::deliver::signature::new_secret()), Ok(()));
        for text in [
            "",
            "whsec_",
            "whsec_c2hvcnQ=",
            "whsec_?",
            "c2hvcnQtYnV0LWxvbmctZW5vdWdoLWZvci1hLWtleQ==",
        ] {
            let found = check_secret(&Secret::new(text)).map_err(|invalid| invalid.param);
            assert_eq!(found, Err("secret"), "{text}");
        }
    }
}
