//! A described scheme can say what the presets say, and its mistakes are named.

use super::*;
use crate::verify::presets;

fn scheme(text: &str) -> Result<Scheme, Wrong> {
    toml::from_str::<Proof>(text).expect(text).compile()
}

#[test]
fn the_parameters_can_say_all_that_the_presets_say() {
    let hmac = |rest: &str| scheme(&format!("check = 'hmac'\n{rest}")).expect(rest);
    let timed = "stamp_key = 't'\nform = 'pairs'\nsignature_key = 'v1'";
    for (made, preset) in [
        (hmac("header = 'X-Paystack-Signature'\nalgorithm = 'sha512'"), presets::PAYSTACK),
        (
            hmac(&format!(
                "header = 'stripe-signature'\ntemplate = '{{stamp}}.{{body}}'\nseparator = ','\nstamp_both_sides = false\n{timed}"
            )),
            presets::STRIPE,
        ),
        (
            hmac(
                "header = ['webhook-signature', 'svix-signature']\nstamp_header = ['webhook-timestamp', 'svix-timestamp']\nid_header = ['webhook-id', 'svix-id']\nevent_id_header = ['webhook-id', 'svix-id']\nform = 'versions'\nencoding = 'base64'\nkey = 'base64'\ntemplate = '{id}.{stamp}.{body}'",
            ),
            presets::STANDARD_WEBHOOKS,
        ),
        (
            hmac("header = 'x-razorpay-signature'\nevent_id_header = 'x-razorpay-event-id'"),
            presets::RAZORPAY,
        ),
        (
            hmac(
                "header = 'x-square-hmacsha256-signature'\nencoding = 'base64'\ntemplate = '{url}{body}'",
            ),
            presets::SQUARE,
        ),
        (
            hmac(
                "header = 'x-anet-signature'\nform = 'prefixed'\nprefix = 'sha512='\nalgorithm = 'sha512'\nkey = 'hex'",
            ),
            presets::AUTHORIZE_NET,
        ),
        (
            hmac(
                "header = ['creem-signature', 'x-creem-signature']\nform = 'prefixed'\nprefix = 'sha256='\nprefix_optional = true\nencoding = 'either'",
            ),
            presets::CREEM,
        ),
        (
            hmac(
                "form_field = 'bt_signature'\nform = 'keyed-list'\ntemplate = '{form:bt_payload}'\nalgorithm = 'sha1'\nkey = 'sha1'\nline_feed = true",
            ),
            presets::BRAINTREE,
        ),
        (
            hmac(
                "item = { list = 'notificationItems', item = 'NotificationRequestItem', signature = 'additionalData.hmacSignature' }\nkey = 'hex'\nencoding = 'base64'\ntemplate = '{field:pspReference}:{field:originalReference}:{field:merchantAccountCode}:{field:merchantReference}:{field:amount.value}:{field:amount.currency}:{field:eventCode}:{field:success}'",
            ),
            presets::ADYEN_ITEM,
        ),
        (scheme("check = 'header'\nheader = 'verif-hash'").expect("it"), presets::FLUTTERWAVE_V3),
        (scheme("check = 'bearer'").expect("it"), presets::BEARER),
        (scheme("check = 'basic'").expect("it"), presets::BASIC),
        (scheme("check = 'jwt-body'").expect("it"), presets::KINDE),
        (
            scheme("check = 'jwt-header'\nheader = 'X-FusionAuth-Signature-JWT'").expect("it"),
            presets::FUSIONAUTH,
        ),
        (scheme("like = 'workos'").expect("it"), presets::WORKOS),
    ] {
        assert_eq!(made, preset);
    }
}

#[test]
fn what_is_read_twice_is_kept_once() {
    let read = || scheme("check = 'hmac'\nheader = 'x-once'\ntemplate = 'once{body}'");
    let (Check::Signature(a), Check::Signature(b)) =
        (read().expect("good").check, read().expect("good").check)
    else {
        panic!("signatures")
    };
    assert!(std::ptr::eq(a.signed, b.signed));
    let (Place::Header(a), Place::Header(b)) = (a.place, b.place) else { panic!("headers") };
    assert!(std::ptr::eq(a, b));
}

#[test]
fn what_cannot_work_is_refused_with_its_key() {
    for (text, key, why) in [
        ("", "check", "missing"),
        ("like = 'mpesa'", "like", "no provider with a scheme"),
        ("like = 'stripe'\nkey = 'hex'", "key", "nothing"),
        ("check = 'hmac'", "header", "missing"),
        ("check = 'hmac'\nheader = 'a b'", "header", "no header's name"),
        ("check = 'hmac'\nheader = 'a'\nform_field = 'b'", "header", "one of"),
        ("check = 'hmac'\nheader = 'a'\ntemplate = '{stamp}{body}'", "template", "stamp_key"),
        ("check = 'hmac'\nheader = 'a'\ntemplate = '{id}{body}'", "template", "id_header"),
        ("check = 'hmac'\nheader = 'a'\ntemplate = '{what}'", "template", "known are"),
        ("check = 'hmac'\nheader = 'a'\ntemplate = '{field:x}'", "template", "with `item`"),
        ("check = 'hmac'\nheader = 'a'\ntemplate = '{body'", "template", "closed"),
        ("check = 'hmac'\nheader = 'a'\ntemplate = 'fixed'", "template", "nothing of the body"),
        ("check = 'hmac'\nheader = 'a'\nform = 'pairs'", "separator", "missing"),
        ("check = 'hmac'\nheader = 'a'\nprefix = 'b'", "prefix", "does not read"),
        ("check = 'hmac'\nheader = 'a'\nstamp_unit = 'ms'", "stamp_unit", "needs"),
        ("check = 'hmac'\nheader = 'a'\nstamp_key = 't'", "stamp_key", "does not read"),
        ("check = 'bearer'\nheader = 'a'", "header", "no header"),
        ("check = 'basic'\nalgorithm = 'sha1'", "algorithm", "nothing"),
        ("check = 'header'\nheader = ['a', 'b']", "header", "one header"),
        ("check = 'jwt-header'", "header", "one header"),
    ] {
        let (found, reason) = scheme(text).expect_err(text);
        assert_eq!(found, key, "{text}: {reason}");
        assert!(reason.contains(why), "{text}: {reason}");
    }
}
