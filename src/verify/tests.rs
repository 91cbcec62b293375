//! Tolerance, validity, unsigned sources, and what is shown.

use super::{
    scheme::sign,
    vectors::{at, raw, source},
    *,
};
use crate::model::{inbound::Headers, secret::Secret};
use chrono::TimeDelta;

const SECRET: &str = "hunter2-hunter2-hunter2";

/// A message signed at second 1000.
fn signed(scheme: &Scheme, secret: &str) -> Raw {
    let headers = sign(scheme, &Secret::new(secret), b"{}", "evt_1", at(1000), None);
    raw(headers.expect("signed"), "{}")
}

fn received(mut raw: Raw, seconds: i64) -> Raw {
    raw.received_at = Some(at(seconds));
    raw
}

#[test]
fn the_edges_of_the_tolerance_are_inside() {
    let check = |scheme: Scheme, secret: &str, received_at: i64, good: bool| {
        let source = Arc::new(source(Some(scheme), &[secret]));
        let message = received(signed(&scheme, secret), received_at);
        let verdict = verify(&source, &message, at(1_000_000));
        assert_eq!(verdict.is_ok(), good, "{scheme:?} at {received_at}: {verdict:?}");
    };
    for (scheme, secret, allowed, both) in [
        (presets::STANDARD_WEBHOOKS, "whsec_AAEC", 300, true),
        (presets::SVIX, "whsec_AAEC", 300, true),
        (presets::POLAR, SECRET, 300, true),
        (presets::WORKOS, SECRET, 180, true),
        (presets::STRIPE, SECRET, 300, false),
        (presets::PADDLE, SECRET, 5, false),
    ] {
        check(scheme, secret, 1000 + allowed, true);
        check(scheme, secret, 1000 + allowed + 1, false);
        check(scheme, secret, 1000 - allowed, true);
        check(scheme, secret, 1000 - allowed - 1, !both);
    }
}

#[test]
fn a_microsecond_past_the_tolerance_is_too_old() {
    let source = Arc::new(source(Some(presets::STRIPE), &[SECRET]));
    let mut message = signed(&presets::STRIPE, SECRET);
    message.received_at = Some(at(1300).plus(TimeDelta::microseconds(1)));
    assert_eq!(
        verify(&source, &message, at(2000)).map(|_| ()),
        Err(Rejection::TooOld { place: "stripe-signature", age: 301, allowed: 300 })
    );
}

#[test]
fn the_sources_tolerance_stands_in_for_the_schemes_and_zero_switches_it_off() {
    let mut source = source(Some(presets::PADDLE), &[SECRET]);
    let message = received(signed(&presets::PADDLE, SECRET), 1060);
    let verdict = |source: &Source| verify(&Arc::new(source.clone()), &message, at(2000));
    assert!(verdict(&source).is_err());
    source.tolerance = Some(TimeDelta::seconds(60));
    assert!(!verdict(&source).expect("inside").age_unchecked());
    source.tolerance = Some(TimeDelta::zero());
    assert!(verdict(&source).expect("off").age_unchecked());
}

#[test]
fn without_a_time_of_receipt_the_age_is_not_judged_but_told() {
    let source = Arc::new(source(Some(presets::STRIPE), &[SECRET]));
    let verified = verify(&source, &signed(&presets::STRIPE, SECRET), at(9_000_000));
    let verified = verified.expect("taken");
    assert!(verified.verified() && verified.age_unchecked());
    assert_eq!(verified.received_at(), at(9_000_000));
}

#[test]
fn a_scheme_without_a_stamp_has_no_age_to_judge() {
    let source = Arc::new(source(Some(presets::PAYSTACK), &[SECRET]));
    let verified = verify(&source, &signed(&presets::PAYSTACK, SECRET), at(1)).expect("taken");
    assert!(!verified.age_unchecked());
}

#[test]
fn a_receipt_later_than_now_counts_as_now() {
    let source = Arc::new(source(Some(presets::STRIPE), &[SECRET]));
    let message = received(signed(&presets::STRIPE, SECRET), 5000);
    let verified = verify(&source, &message, at(1001)).expect("taken");
    assert_eq!((verified.received_at(), verified.age_unchecked()), (at(1001), false));
}

#[test]
fn any_secret_that_held_at_the_receipt_may_have_signed() {
    let mut source = source(Some(presets::PAYSTACK), &["other", SECRET]);
    let message = received(signed(&presets::PAYSTACK, SECRET), 1000);
    let verdict = |source: &Source| verify(&Arc::new(source.clone()), &message, at(9000));
    assert!(verdict(&source).is_ok());
    for (from, until, good) in
        [(Some(1000), Some(1000), true), (Some(1001), None, false), (None, Some(999), false)]
    {
        source.secrets[1].from = from.map(at);
        source.secrets[1].until = until.map(at);
        assert_eq!(verdict(&source).is_ok(), good, "{from:?} {until:?}");
    }
    source.secrets.remove(0);
    assert_eq!(
        verdict(&source).map(|_| ()),
        Err(Rejection::NoSecretThen { name: "s".into(), at: at(1000) })
    );
}

#[test]
fn a_secret_that_is_no_key_does_not_shut_out_the_others() {
    let scheme = presets::STANDARD_WEBHOOKS;
    let message = signed(&scheme, "whsec_AAEC");
    let verdict = |secrets: &[&str]| {
        verify(&Arc::new(source(Some(scheme), secrets)), &message, at(1)).map(|_| ())
    };
    assert_eq!(verdict(&["???", "", "whsec_AAEC"]), Ok(()));
    assert_eq!(verdict(&["???"]), Err(Rejection::Secret(BadSecret::NotBase64)));
    assert_eq!(verdict(&[""]), Err(Rejection::Secret(BadSecret::Empty)));
}

#[test]
fn unsigned_is_said_by_the_source_and_never_guessed() {
    let verdict = |scheme: Option<Scheme>, secrets: &[&str], unsigned: bool| {
        let mut source = source(scheme, secrets);
        source.unsigned = unsigned;
        verify(&Arc::new(source), &raw(Headers::default(), "{}"), at(1)).map(|v| v.verified())
    };
    let stripe = Some(presets::STRIPE);
    assert_eq!(verdict(None, &[], true), Ok(false));
    assert_eq!(verdict(None, &[SECRET], true), Ok(false));
    assert_eq!(verdict(stripe, &[], true), Ok(false));
    assert_eq!(
        verdict(stripe, &[SECRET], true),
        Err(Rejection::Missing { place: "stripe-signature" }),
        "secrets are checked where there are any"
    );
    assert_eq!(verdict(stripe, &[], false), Err(Rejection::NoSecret("s".into())));
    for secrets in [&[][..], &[SECRET]] {
        assert!(matches!(verdict(None, secrets, false), Err(Rejection::NoScheme { .. })));
    }
}

#[test]
fn the_stamp_is_a_whole_number_and_signed_as_it_came() {
    let source = Arc::new(source(Some(presets::STRIPE), &[SECRET]));
    let signed_text = |stamp: &str| {
        use hmac::{Hmac, KeyInit as _, Mac as _};
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key");
        mac.update(format!("{stamp}.{{}}").as_bytes());
        let text = format!("t={stamp},v1={}", hex::encode(mac.finalize().into_bytes()));
        let message = raw(Headers::from_iter([("stripe-signature", text)]), "{}");
        verify(&source, &received(message, 1000), at(1000)).map(|_| ())
    };
    assert_eq!(signed_text("1000"), Ok(()));
    assert_eq!(signed_text("0001000"), Ok(()), "not written anew");
    for odd in ["", "1e3", "1000.0", "-1000", "+1000", "99999999999999999999", "99999999999999"] {
        assert!(matches!(signed_text(odd), Err(Rejection::Malformed { .. })), "{odd}");
    }
}

#[test]
fn square_asks_for_its_address() {
    let source = Arc::new(source(Some(presets::SQUARE), &[SECRET]));
    let headers = Headers::from_iter([("x-square-hmacsha256-signature", "AAEC")]);
    let verdict = verify(&source, &raw(headers, "{}"), at(1)).map(|_| ());
    assert_eq!(verdict, Err(Rejection::NoUrl));
}

#[test]
fn a_batch_that_cannot_be_read_is_refused_with_its_place() {
    let source = Arc::new(source(Some(presets::ADYEN_ITEM), &["00ff"]));
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for (body, place) in [
        ("", "the body"),
        ("\u{0}", "the body"),
        (deep.as_str(), "the body"),
        ("[]", "notificationItems"),
        (r#"{"notificationItems": {}}"#, "notificationItems"),
        (r#"{"notificationItems": []}"#, "notificationItems"),
        (r#"{"notificationItems\u0000": [1], "notificationItems": [1]}"#, "the body holds U+0000"),
        (r#"{"notificationItems": [1]}"#, "item 1: NotificationRequestItem"),
        (
            r#"{"notificationItems": [{"NotificationRequestItem": {}}]}"#,
            "item 1: additionalData.hmacSignature",
        ),
    ] {
        let verdict = verify(&source, &raw(Headers::default(), body.to_owned()), at(1));
        let why = verdict.expect_err("refused").to_string();
        assert!(why.starts_with(place), "{why}");
    }
}

#[test]
fn a_batch_passes_with_its_good_items_and_says_which_are_bad() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let item = |payment: &str, key: &[u8]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key");
        mac.update(format!("{payment}:::::::").as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        serde_json::json!({"NotificationRequestItem": {"pspReference": payment,
            "additionalData": {"hmacSignature": signature}}})
    };
    let source = Arc::new(source(Some(presets::ADYEN_ITEM), &["00ff"]));
    let verdict = |items: &[Value]| {
        let body = serde_json::json!({"notificationItems": items}).to_string();
        verify(&source, &raw(Headers::default(), body), at(1))
    };
    let (good, bad) = ([0x00, 0xff], [0xff]);
    let mut hidden = item("e", &good);
    hidden["NotificationRequestItem"]["merchant\0Reference"] = "".into();
    let text = item("f\0", &good);
    let mixed = [item("a", &good), item("b", &bad), 5.into(), item("d", &good), hidden, text];
    let verified = verdict(&mixed).expect("two of them are good");
    assert!(verified.verified());
    let refused: Vec<_> = (0..6).map(|index| verified.refused(index).cloned()).collect();
    let place = "additionalData.hmacSignature";
    assert_eq!(
        refused,
        [
            None,
            Some(Rejection::Mismatch { place }),
            Some(Rejection::Missing { place: "NotificationRequestItem" }),
            None,
            Some(Rejection::Malformed { place: "the item", what: "holds U+0000" }),
            Some(Rejection::Malformed { place: "the item", what: "holds U+0000" }),
        ]
    );
    let why = verdict(&[item("a", &bad), item("b", &bad)]).map(|_| ()).expect_err("none is good");
    let first = Box::new(Rejection::Mismatch { place });
    assert_eq!(why, Rejection::Item { number: 1, why: first });
}

#[test]
fn what_passed_at_its_receipt_is_not_held_against_other_secrets() {
    let source = Arc::new(source(Some(presets::RAZORPAY), &["another one"]));
    let message = received(signed(&presets::RAZORPAY, SECRET), 1000);
    assert!(verify(&source, &message, at(9_000)).is_err());
    let verified = verified_at_receipt(&source, &message, at(9_000));
    assert!(verified.verified() && !verified.age_unchecked());
    assert_eq!((verified.received_at(), verified.header_id()), (at(1000), Some("evt_1")));
}

#[test]
fn the_id_of_a_header_and_the_hash_of_the_body_are_given() {
    let source = Arc::new(source(Some(presets::RAZORPAY), &[SECRET]));
    let message = received(signed(&presets::RAZORPAY, SECRET), 1000);
    let verified = verify(&source, &message, at(1000)).expect("verified");
    assert_eq!(verified.header_id(), Some("evt_1"));
    assert_eq!(verified.hash(), "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    assert_eq!(verified.body().as_ref(), b"{}");
    assert_eq!(verified.source().name.as_ref(), "s");
}

#[test]
fn nothing_that_is_shown_holds_a_secret_or_a_signature() {
    let source = Arc::new(source(Some(presets::STRIPE), &[SECRET]));
    let good = signed(&presets::STRIPE, SECRET);
    let header = good.headers.get("stripe-signature").expect("it").to_owned();
    let signature = header.rsplit('=').next().expect("it").to_owned();
    let mut bad = good.clone();
    bad.body = Bytes::from_static(b"{ }");
    let rejection = verify(&source, &bad, at(1000)).expect_err("refused");
    let verified = verify(&source, &good, at(1000)).expect("verified");
    for text in [
        format!("{source:?}"),
        format!("{:?}", source.provider.scheme),
        format!("{good:?}"),
        format!("{verified:?}"),
        format!("{rejection:?}"),
        rejection.to_string(),
        Rejection::Secret(BadSecret::NotHex).to_string(),
    ] {
        assert!(!text.contains(SECRET) && !text.contains(&signature), "{text}");
    }
}
