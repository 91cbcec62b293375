//! The verifier against vectors of the providers' own libraries, against its own signer, and against tampering.

use super::{Rejection, Verified, presets, scheme::*, verify};
use crate::{
    model::{
        authority::Authority,
        inbound::{Headers, Raw},
        reference::{Kind, Scope},
        secret::Secret,
        time::Timestamp,
    },
    provider::{Malformed, Provider, Source, SourceSecret, about::About},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use proptest::prelude::*;
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

const FILES: [&str; 2] = [
    include_str!("../../tests/fixtures/signature-vectors.json"),
    include_str!("../../tests/fixtures/signature-vectors-more.json"),
];

/// The names that the vectors have for our presets.
const PRESETS: [(&str, Scheme); 24] = [
    ("standard_webhooks", presets::STANDARD_WEBHOOKS),
    ("svix", presets::SVIX),
    ("polar", presets::POLAR),
    ("stripe", presets::STRIPE),
    ("workos", presets::WORKOS),
    ("paddle", presets::PADDLE),
    ("paystack", presets::PAYSTACK),
    ("monnify", presets::MONNIFY),
    ("flutterwave_v4", presets::FLUTTERWAVE_V4),
    ("razorpay", presets::RAZORPAY),
    ("lemon_squeezy", presets::LEMON_SQUEEZY),
    ("gocardless", presets::GOCARDLESS),
    ("coinbase_commerce", presets::COINBASE_COMMERCE),
    ("logto", presets::LOGTO),
    ("hubtel_reevit_claim", presets::HUBTEL),
    ("creem_legacy", presets::CREEM),
    ("mollie_v2", presets::MOLLIE),
    ("authorizedotnet", presets::AUTHORIZE_NET),
    ("reevit", presets::REEVIT),
    ("convoy", presets::CONVOY),
    ("square", presets::SQUARE),
    ("adyen_item", presets::ADYEN_ITEM),
    ("adyen_body", presets::ADYEN_BODY),
    ("braintree", presets::BRAINTREE),
];

/// Every scheme that writes headers, each with a secret of its kind.
const SIGNING: [(Scheme, &str); 29] = [
    (presets::STANDARD_WEBHOOKS, "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"),
    (presets::SVIX, "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"),
    (presets::SUPABASE_AUTH, "v1,whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"),
    (presets::POLAR, "polar_whs_s"),
    (presets::STRIPE, "whsec_s"),
    (presets::WORKOS, "s"),
    (presets::PADDLE, "pdl_ntfset_s"),
    (presets::PAYSTACK, "sk_test_s"),
    (presets::MONNIFY, "s"),
    (presets::FLUTTERWAVE_V3, "s"),
    (presets::FLUTTERWAVE_V4, "s"),
    (presets::RAZORPAY, "s"),
    (presets::LEMON_SQUEEZY, "s"),
    (presets::GOCARDLESS, "s"),
    (presets::COINBASE_COMMERCE, "s"),
    (presets::LOGTO, "s"),
    (presets::HUBTEL, "s"),
    (presets::DESCOPE, "s"),
    (presets::FUSIONAUTH, "s"),
    (presets::CREEM, "s"),
    (presets::MOLLIE, "s"),
    (presets::REEVIT, "s"),
    (presets::REVSTACK, "s"),
    (presets::AUTHORIZE_NET, "00ff"),
    (presets::CONVOY, "s"),
    (presets::SQUARE, "s"),
    (presets::ADYEN_BODY, "00ff"),
    (presets::BEARER, "s"),
    (presets::BASIC, "ada:a:b"),
];

const URL: &str = "https://example.com/ingest/square";

#[derive(Clone, Deserialize)]
struct Vector {
    name: String,
    scheme: String,
    secrets: Vec<String>,
    headers: BTreeMap<String, String>,
    expect: bool,
    body: Option<String>,
    body_base64: Option<String>,
    received_at: Option<i64>,
    url: Option<String>,
    item: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

fn vectors() -> Vec<Vector> {
    FILES
        .into_iter()
        .flat_map(|file| serde_json::from_str::<File>(file).expect("a file of vectors").vectors)
        .collect()
}

impl Vector {
    fn scheme(&self) -> Scheme {
        PRESETS.into_iter().find(|(name, _)| *name == self.scheme).expect("a preset").1
    }

    fn body(&self) -> Vec<u8> {
        match (&self.body, &self.body_base64) {
            (Some(text), _) => text.clone().into_bytes(),
            (_, Some(text)) => STANDARD.decode(text).expect("base64"),
            _ => panic!("{}: no body", self.name),
        }
    }

    fn verdict(&self, body: Vec<u8>) -> Result<Verified, Rejection> {
        let mut source = source(Some(self.scheme()), &self.secrets);
        source.url.clone_from(&self.url);
        let mut raw = raw(Headers::from_iter(self.headers.clone()), body);
        raw.received_at = self.received_at.and_then(Timestamp::from_seconds);
        // Of a batch each item is to pass.
        let verified = verify(&Arc::new(source), &raw, at(1_900_000_000))?;
        verified.refused.values().next().cloned().map_or(Ok(verified), Err)
    }
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds).expect("a time")
}

pub(super) fn raw(headers: Headers, body: impl Into<Bytes>) -> Raw {
    let body = body.into();
    Raw { source: "s".into(), headers, body, received_at: None, queue_id: None, dead: None }
}

pub(super) fn source<S: AsRef<str>>(scheme: Option<Scheme>, secrets: &[S]) -> Source {
    let provider = Arc::new(Provider {
        name: "some",
        authority: Authority::AUTH,
        kind: Kind::Payment,
        scheme,
        places: &[],
        about: About::UNLISTED,
        read: |_| Err(Malformed("nothing is read here".into())),
        objects: None,
        batch: None,
        opens: None,
        captures_later: false,
    });
    let secret =
        |text: &S| SourceSecret { value: Secret::new(text.as_ref()), from: None, until: None };
    Source {
        name: "s".into(),
        provider,
        mapping: None,
        environment: "test".into(),
        test_environment: None,
        namespace: "s".into(),
        secrets: secrets.iter().map(secret).collect(),
        tolerance: None,
        url: None,
        subject_is_external_id: false,
        places: Vec::new(),
        authority: BTreeMap::new(),
        on_delete: Scope::Identity,
        match_email: false,
        manual_capture: false,
        unsigned: false,
    }
}

/// Another character of the same alphabet, whatever the encoding.
fn other(byte: u8) -> u8 {
    if byte == b'1' { b'2' } else { b'1' }
}

fn with(text: &str, index: usize, byte: u8) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[index] = byte;
    String::from_utf8(bytes).expect("ASCII")
}

#[test]
fn every_vector_gives_its_expected_answer() {
    let vectors = vectors();
    assert!(vectors.len() >= 55, "{} vectors", vectors.len());
    for vector in vectors {
        let verdict = vector.verdict(vector.body());
        assert_eq!(verdict.is_ok(), vector.expect, "{}: {verdict:?}", vector.name);
        if let Ok(verified) = verdict {
            assert!(verified.verified(), "{}", vector.name);
        }
    }
}

#[test]
fn every_scheme_named_by_the_vectors_has_a_preset() {
    let file: serde_json::Value = serde_json::from_str(FILES[0]).expect("JSON");
    let schemes = file["schemes"].as_object().expect("schemes");
    let vectors = vectors();
    for (name, _) in PRESETS {
        let has_vector = vectors.iter().any(|vector| vector.scheme == name);
        assert!(has_vector || schemes.contains_key(name), "{name} is named by none");
    }
    for (name, rule) in schemes {
        let (_, scheme) = PRESETS.into_iter().find(|(known, _)| known == name).expect("a preset");
        for list in ["headers", "id_headers", "ts_headers"] {
            for header in rule[list].as_array().into_iter().flatten() {
                let header = header.as_str().expect("a name");
                assert!(scheme.headers().contains(&header), "{name} reads {header}");
            }
        }
    }
}

#[test]
fn one_altered_byte_of_the_body_is_refused() {
    for vector in vectors().into_iter().filter(|vector| vector.expect) {
        let body = vector.body();
        let positions: Vec<usize> = match vector.scheme.as_str() {
            // Only the signed fields are protected, and of a form only the payload.
            "adyen_item" => {
                let text = String::from_utf8(body.clone()).expect("JSON");
                ["pspReference\": \"", "merchantReference\": \"", "\"value\": ", "success\": \""]
                    .iter()
                    .map(|mark| text.find(mark).expect("the field") + mark.len())
                    .collect()
            }
            "braintree" => {
                let text = String::from_utf8(body.clone()).expect("a form");
                vec![text.find("bt_payload=").expect("the field") + "bt_payload=".len()]
            }
            _ => [0, body.len() / 2, body.len().saturating_sub(1)]
                .into_iter()
                .filter(|position| *position < body.len())
                .collect(),
        };
        for position in positions {
            let mut altered = body.clone();
            altered[position] = other(altered[position]);
            assert!(vector.verdict(altered).is_err(), "{} at {position}", vector.name);
        }
        let mut longer = body;
        longer.push(b' ');
        if !matches!(vector.scheme.as_str(), "adyen_item" | "braintree") {
            assert!(vector.verdict(longer).is_err(), "{} and a space", vector.name);
        }
    }
}

#[test]
fn one_altered_byte_of_the_signature_is_refused() {
    // While a secret rolls, the other one's signature stands there too, and may be altered at will.
    let single = |vector: &Vector| vector.expect && !vector.name.starts_with("stripe-rolling");
    for vector in vectors().into_iter().filter(single) {
        let Check::Signature(Signature { place: Place::Header(names), .. }) = vector.scheme().check
        else {
            continue;
        };
        let (name, text) = vector
            .headers
            .iter()
            .find(|(name, _)| names.contains(&name.to_ascii_lowercase().as_str()))
            .expect("a signature");
        let letters: Vec<usize> = (text.len().saturating_sub(40)..text.len() - 1)
            .filter(|index| text.as_bytes()[*index].is_ascii_alphanumeric())
            .collect();
        for index in letters {
            let mut altered = vector.clone();
            let text = with(text, index, other(text.as_bytes()[index]));
            altered.headers.insert(name.clone(), text);
            assert!(altered.verdict(vector.body()).is_err(), "{} at {index}", vector.name);
        }
    }
}

#[test]
fn one_altered_byte_of_the_secret_is_refused() {
    for vector in vectors().into_iter().filter(|vector| vector.expect) {
        let secret = &vector.secrets[0];
        let start = secret.find("whsec_").map_or(0, |index| index + "whsec_".len());
        for index in start..secret.len() - 1 {
            let mut altered = vector.clone();
            altered.secrets = vec![with(secret, index, other(secret.as_bytes()[index]))];
            assert!(altered.verdict(vector.body()).is_err(), "{} at {index}", vector.name);
        }
    }
}

#[test]
fn what_is_kept_of_the_headers_verifies_as_all_of_them() {
    for mut vector in vectors().into_iter().filter(|vector| vector.expect) {
        vector.headers.insert("Cookie".into(), "c".into());
        let all = Headers::from_iter(vector.headers.clone());
        let kept = vector.scheme().kept_headers(&all);
        assert_eq!(kept.get("cookie"), None);
        vector.headers =
            kept.iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        assert!(vector.verdict(vector.body()).is_ok(), "{}", vector.name);
    }
}

#[test]
fn an_item_given_by_itself_verifies_by_itself() {
    let vector = vectors().into_iter().find(|vector| vector.item.is_some()).expect("Adyen's");
    let secret = Secret::new(vector.secrets[0].clone());
    let headers = Headers::default();
    let mut item = vector.item.clone().expect("an item");
    let check = |item: &serde_json::Value| {
        let input = Input { headers: &headers, body: b"", url: None, item: Some(item) };
        authenticate(&presets::ADYEN_ITEM, &input, &[&secret])
    };
    assert_eq!(check(&item), Ok(None));
    item["amount"]["value"] = 1001.into();
    assert_eq!(check(&item), Err(Rejection::Mismatch { place: "additionalData.hmacSignature" }));
}

#[test]
fn schemes_that_sign_inside_the_body_say_so() {
    for scheme in [presets::ADYEN_ITEM, presets::BRAINTREE, presets::KINDE] {
        let signed = sign(&scheme, &Secret::new("00ff"), b"", "id", at(0), None);
        assert_eq!(signed, Err(Unsignable::InTheBody));
    }
    let square = sign(&presets::SQUARE, &Secret::new("s"), b"", "id", at(0), None);
    assert_eq!(square, Err(Unsignable::NoUrl));
    for id in ["", "a.b", "a\n"] {
        let secret = Secret::new("whsec_AAEC");
        let signed = sign(&presets::STANDARD_WEBHOOKS, &secret, b"", id, at(0), None);
        assert_eq!(signed, Err(Unsignable::Id));
    }
}

#[test]
fn workos_headers_are_written_with_the_space_that_its_library_wants() {
    let headers =
        sign(&presets::WORKOS, &Secret::new("s"), b"", "id", at(1), None).expect("signed");
    assert!(headers.get("workos-signature").expect("it").starts_with("t=1000, v1="));
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        Just(b"{\"a\":1}\r\n".to_vec()),
        Just(b"\xff\xfe\0".to_vec()),
        Just("{\"name\":\"Zoë 🦀\"}".as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..300),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_signed_verifies_and_altered_does_not(
        body in bodies(),
        id in "[a-zA-Z0-9_-]{1,40}",
        seconds in 0_i64..4_000_000_000,
        flip in any::<(prop::sample::Index, u8)>(),
    ) {
        for (scheme, secret) in SIGNING {
            let mut source = source(Some(scheme), &[secret]);
            source.url = Some(URL.to_owned());
            let source = Arc::new(source);
            let secret = Secret::new(secret);
            let headers = sign(&scheme, &secret, &body, &id, at(seconds), Some(URL)).expect("signed");
            let mut message = raw(headers.clone(), body.clone());
            message.received_at = Some(at(seconds));
            let verified = verify(&source, &message, at(seconds)).expect("verified");
            prop_assert!(verified.verified() && !verified.age_unchecked());
            if !scheme.event_id.is_empty() {
                prop_assert_eq!(verified.header_id(), Some(id.as_str()));
            }
            message.headers = scheme.kept_headers(&headers);
            prop_assert!(verify(&source, &message, at(seconds)).is_ok());

            if let Check::Signature(_) | Check::JwtHeader(_) = scheme.check {
                let mut altered = body.clone();
                match altered.len() {
                    0 => altered.push(flip.1),
                    length => altered[flip.0.index(length)] ^= flip.1 | 1,
                }
                message.body = altered.into();
                prop_assert!(verify(&source, &message, at(seconds)).is_err());
            }
        }
    }

    #[test]
    fn no_header_makes_it_panic_or_pass(
        text in ".*",
        odd in "[tv01sh=,;:|& \\.+/A-Fa-f0-9]{0,80}",
        body in bodies(),
    ) {
        let all = PRESETS.into_iter().map(|(_, scheme)| scheme);
        for scheme in all.chain([presets::BEARER, presets::BASIC, presets::FUSIONAUTH]) {
            let secret = if scheme == presets::BASIC { "a:b" } else { "00ff00ff" };
            let source = Arc::new(source(Some(scheme), &[secret]));
            for text in [&text, &odd] {
                let headers: Headers =
                    scheme.headers().into_iter().map(|name| (name, text.as_str())).collect();
                let mut message = raw(headers, body.clone());
                message.received_at = Some(at(0));
                let verdict = verify(&source, &message, at(0));
                prop_assert!(verdict.is_err());
                let _ = scheme.kept_headers(&message.headers);
            }
        }
    }
}
