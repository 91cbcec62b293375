//! The schemes of the providers, each with the source of its rule.

use super::scheme::{
    Algorithm, Check, Encoding, Form, Key, Names, Part, Place, Scheme, Signature, Stamp,
    StampPlace, Unit,
};
use chrono::TimeDelta;

/// Standard Webhooks: `id.timestamp.body` under the decoded secret, five minutes to both sides.
///
/// Source: the specification and libraries of github.com/standard-webhooks/standard-webhooks. The names of Svix,
/// of whom it came, are taken too. Also Dodo Payments and Creem.
pub const STANDARD_WEBHOOKS: Scheme =
    standard(WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNED, Key::Base64).with_id(WEBHOOK_ID);

/// Svix (Clerk, Stytch): Standard Webhooks under Svix's names, falling back to the standard's.
///
/// Source: docs.svix.com/receiving/verifying-payloads/how-manual and the `svix` libraries.
pub const SVIX: Scheme = standard(
    &["svix-signature", "webhook-signature"],
    &["svix-timestamp", "webhook-timestamp"],
    &[Part::Id(SVIX_ID), Part::Text("."), Part::Stamp, Part::Text("."), Part::Body],
    Key::Base64,
)
.with_id(SVIX_ID);

/// Polar: Standard Webhooks whose key is the secret's text, not what it would decode to.
///
/// Source: github.com/polarsource/polar, server/polar/webhook/tasks.py.
pub const POLAR: Scheme =
    standard(WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNED, Key::Utf8).with_id(WEBHOOK_ID);

/// Supabase Auth hooks: Standard Webhooks whose `webhook-id` is new on every try, and so is no event id.
///
/// Source: github.com/supabase/auth, internal/hooks/hookshttp.
pub const SUPABASE_AUTH: Scheme =
    standard(WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNED, Key::Base64);

/// Stripe: `t.body` in `Stripe-Signature: t=…,v1=…`; the key is the whole secret with its `whsec_`. Its libraries
/// refuse what is older than 300 s and nothing for being ahead; `v0` is for tests and is passed over.
///
/// Source: docs.stripe.com/webhooks/signature; stripe-python, stripe/_webhook.py.
pub const STRIPE: Scheme = Scheme::of(Check::Signature(Signature {
    place: Place::Header(&["stripe-signature"]),
    form: Form::Pairs { separator: ",", signature: "v1" },
    signed: &[Part::Stamp, Part::Text("."), Part::Body],
    stamp: Some(Stamp {
        place: StampPlace::Pair("t"),
        unit: Unit::Seconds,
        tolerance: TimeDelta::seconds(300),
        both_sides: false,
    }),
    ..BODY
}));

/// WorkOS: as Stripe, with milliseconds, a space after the comma, and 180 s to both sides.
///
/// Source: workos-python, src/workos/webhooks/_verification.py.
pub const WORKOS: Scheme = Scheme::of(Check::Signature(Signature {
    place: Place::Header(&["workos-signature"]),
    form: Form::Pairs { separator: ", ", signature: "v1" },
    signed: &[Part::Stamp, Part::Text("."), Part::Body],
    stamp: Some(Stamp {
        place: StampPlace::Pair("t"),
        unit: Unit::Milliseconds,
        tolerance: TimeDelta::seconds(180),
        both_sides: true,
    }),
    ..BODY
}));

/// Paddle Billing: `ts:body` in `Paddle-Signature: ts=…;h1=…`, 5 s. Its Node library refuses only what is too old,
/// its Python one the future too; as only Paddle can sign the future, the milder one is followed.
///
/// Source: developer.paddle.com/webhooks/signature-verification; paddle-node-sdk, paddle-python-sdk.
pub const PADDLE: Scheme = Scheme::of(Check::Signature(Signature {
    place: Place::Header(&["paddle-signature"]),
    form: Form::Pairs { separator: ";", signature: "h1" },
    signed: &[Part::Stamp, Part::Text(":"), Part::Body],
    stamp: Some(Stamp {
        place: StampPlace::Pair("ts"),
        unit: Unit::Seconds,
        tolerance: TimeDelta::seconds(5),
        both_sides: false,
    }),
    ..BODY
}));

/// Paystack: SHA-512 of the body; the key is the API's secret key.
///
/// Source: paystack.com/docs/payments/webhooks.
pub const PAYSTACK: Scheme =
    of_body(&["x-paystack-signature"], Algorithm::Sha512, Key::Utf8, Encoding::Hex);

/// Monnify: SHA-512 of the body under the client secret. Its page's prose says otherwise, its published hash not.
///
/// Source: developers.monnify.com, "Computing Request Validation Hash".
pub const MONNIFY: Scheme =
    of_body(&["monnify-signature"], Algorithm::Sha512, Key::Utf8, Encoding::Hex);

/// Flutterwave v3: the header equals the secret hash.
///
/// Source: developer.flutterwave.com/v3.0/docs/webhooks.
pub const FLUTTERWAVE_V3: Scheme = Scheme::of(Check::Header("verif-hash"));

/// Flutterwave v4: SHA-256 of the body in base64.
///
/// Source: developer.flutterwave.com/docs/webhooks.
pub const FLUTTERWAVE_V4: Scheme =
    of_body(&["flutterwave-signature"], Algorithm::Sha256, Key::Utf8, Encoding::Base64);

/// Razorpay: SHA-256 of the body; the event's id is in a header of its own.
///
/// Source: razorpay.com/docs/webhooks/validate-test.
pub const RAZORPAY: Scheme =
    of_body(&["x-razorpay-signature"], Algorithm::Sha256, Key::Utf8, Encoding::Hex)
        .with_id(&["x-razorpay-event-id"]);

/// Lemon Squeezy: SHA-256 of the body.
///
/// Source: docs.lemonsqueezy.com/help/webhooks/signing-requests.
pub const LEMON_SQUEEZY: Scheme =
    of_body(&["x-signature"], Algorithm::Sha256, Key::Utf8, Encoding::Hex);

/// GoCardless: SHA-256 of the body.
///
/// Source: gocardless-pro-python, tests/webhooks_test.py.
pub const GOCARDLESS: Scheme =
    of_body(&["webhook-signature"], Algorithm::Sha256, Key::Utf8, Encoding::Hex);

/// Coinbase Commerce: SHA-256 of the body.
///
/// Source: coinbase-commerce-node, test/testWebhook.spec.js.
pub const COINBASE_COMMERCE: Scheme =
    of_body(&["x-cc-webhook-signature"], Algorithm::Sha256, Key::Utf8, Encoding::Hex);

/// Logto: SHA-256 of the body.
///
/// Source: docs.logto.io/developers/webhooks/secure-webhooks.
pub const LOGTO: Scheme =
    of_body(&["logto-signature-sha-256"], Algorithm::Sha256, Key::Utf8, Encoding::Hex);

/// Hubtel as Reevit's client reads it: SHA-256 of the body. Hubtel's own pages know no signature.
///
/// Source: github.com/Reevit-Platform/go-sdk.
pub const HUBTEL: Scheme =
    of_body(&["x-hubtel-signature"], Algorithm::Sha256, Key::Utf8, Encoding::Hex);

/// Descope's connectors with an HMAC secret: SHA-256 of the body, in base64 as its users' code has it; its pages do not
/// say, and hex is taken too.
///
/// Source: docs.descope.com/connectors, "Audit Webhook Connector".
pub const DESCOPE: Scheme =
    of_body(&["x-descope-webhook-s256"], Algorithm::Sha256, Key::Utf8, Encoding::HexOrBase64);

/// Convoy, a gateway that signs again what it forwards: SHA-512 of the body.
///
/// Source: github.com/frain-dev/convoy, pkg/verifier.
pub const CONVOY: Scheme =
    of_body(&["x-convoy-signature"], Algorithm::Sha512, Key::Utf8, Encoding::Hex);

/// Square: SHA-256 of the webhook's own address and the body, in base64.
///
/// Source: developer.squareup.com/docs/webhooks/step3validate.
pub const SQUARE: Scheme = Scheme::of(Check::Signature(Signature {
    place: Place::Header(&["x-square-hmacsha256-signature"]),
    encoding: Encoding::Base64,
    signed: &[Part::Url, Part::Body],
    ..BODY
}));

/// Creem: SHA-256 of the body in hex; its library also takes base64, and `sha256=` before either. (That library knows
/// Standard Webhooks too; that Creem sends them is documented nowhere.)
///
/// Source: docs.creem.io/code/webhooks; the npm package `creem`, webhooks.js.
pub const CREEM: Scheme = Scheme::of(Check::Signature(Signature {
    place: Place::Header(&["creem-signature", "x-creem-signature"]),
    form: Form::Prefixed { prefix: "sha256=", optional: true },
    encoding: Encoding::HexOrBase64,
    ..BODY
}));

/// Mollie's next-generation webhooks: SHA-256 of the body after `sha256=`.
///
/// Source: mollie-api-php, src/Webhooks/SignatureValidator.php.
pub const MOLLIE: Scheme = Scheme::of(Check::Signature(Signature {
    place: Place::Header(&["x-mollie-signature"]),
    form: Form::Prefixed { prefix: "sha256=", optional: false },
    ..BODY
}));

/// Reevit's own webhooks: SHA-256 of the body after `sha256=`. The time of signing is in the body, and is not judged: what
/// comes again is known by its key.
///
/// Source: @reevit/node, src/webhook.ts.
pub const REEVIT: Scheme = Scheme::of(Check::Signature(Signature {
    place: Place::Header(&["x-reevit-signature"]),
    form: Form::Prefixed { prefix: "sha256=", optional: false },
    ..BODY
}));

/// Revstack's own webhooks: as Stripe's, under a header of its own; 300 s, past only.
///
/// Source: @revstackhq/node, src/modules/webhooks.ts.
pub const REVSTACK: Scheme = Scheme::of(Check::Signature(Signature {
    place: Place::Header(&["revstack-signature"]),
    form: Form::Pairs { separator: ",", signature: "v1" },
    signed: &[Part::Stamp, Part::Text("."), Part::Body],
    stamp: Some(Stamp {
        place: StampPlace::Pair("t"),
        unit: Unit::Seconds,
        tolerance: TimeDelta::seconds(300),
        both_sides: false,
    }),
    ..BODY
}));

/// Authorize.Net: SHA-512 of the body after `sha512=`; the key is hex.
///
/// Source: developer.authorize.net/api/reference/features/webhooks.html.
pub const AUTHORIZE_NET: Scheme = Scheme::of(Check::Signature(Signature {
    place: Place::Header(&["x-anet-signature"]),
    form: Form::Prefixed { prefix: "sha512=", optional: false },
    algorithm: Algorithm::Sha512,
    key: Key::Hex,
    ..BODY
}));

/// Adyen's standard notifications: each item is signed by itself, over eight of its fields and nothing else.
///
/// Source: docs.adyen.com/development-resources/webhooks/verify-hmac-signatures; adyen-node-api-library.
pub const ADYEN_ITEM: Scheme = Scheme::of(Check::Signature(Signature {
    place: Place::Item {
        list: "notificationItems",
        item: "NotificationRequestItem",
        path: "additionalData.hmacSignature",
    },
    key: Key::Hex,
    encoding: Encoding::Base64,
    signed: &[
        Part::Field("pspReference"),
        Part::Text(":"),
        Part::Field("originalReference"),
        Part::Text(":"),
        Part::Field("merchantAccountCode"),
        Part::Text(":"),
        Part::Field("merchantReference"),
        Part::Text(":"),
        Part::Field("amount.value"),
        Part::Text(":"),
        Part::Field("amount.currency"),
        Part::Text(":"),
        Part::Field("eventCode"),
        Part::Text(":"),
        Part::Field("success"),
    ],
    ..BODY
}));

/// Adyen's platform and banking webhooks: SHA-256 of the body in base64; the key is hex.
///
/// Source: adyen-node-api-library, src/utils/hmacValidator.ts; its header's name is not confirmed.
pub const ADYEN_BODY: Scheme =
    of_body(&["hmacsignature"], Algorithm::Sha256, Key::Hex, Encoding::Base64);

/// Braintree: SHA-1 of a form field, with or without a line feed after it; the key is the SHA-1 of the private key.
///
/// Source: braintree_python, braintree/webhook_notification_gateway.py.
pub const BRAINTREE: Scheme = Scheme::of(Check::Signature(Signature {
    algorithm: Algorithm::Sha1,
    key: Key::Sha1,
    place: Place::FormField("bt_signature"),
    form: Form::KeyedList,
    signed: &[Part::FormField("bt_payload")],
    line_feed: true,
    ..BODY
}));

/// Kinde: the body is a token signed by one of the keys under `/.well-known/jwks` of the business.
///
/// Source: docs.kinde.com/integrate/webhooks/about-webhooks.
pub const KINDE: Scheme = Scheme::of(Check::JwtBody);

/// FusionAuth: a token in a header that names the body's hash.
///
/// Source: fusionauth.io/docs/extend/events-and-webhooks/signing.
pub const FUSIONAUTH: Scheme = Scheme::of(Check::JwtHeader("x-fusionauth-signature-jwt"));

/// A token in `Authorization: Bearer` (Auth0 event streams, Supabase's database webhooks).
///
/// Source: RFC 6750.
pub const BEARER: Scheme = Scheme::of(Check::Bearer);

/// A name and a password in `Authorization: Basic` (Chargebee, Ory Kratos).
///
/// Source: RFC 7617.
pub const BASIC: Scheme = Scheme::of(Check::Basic);

/// All of them.
pub const ALL: [Scheme; 32] = [
    STANDARD_WEBHOOKS,
    SVIX,
    POLAR,
    SUPABASE_AUTH,
    STRIPE,
    WORKOS,
    PADDLE,
    PAYSTACK,
    MONNIFY,
    FLUTTERWAVE_V3,
    FLUTTERWAVE_V4,
    RAZORPAY,
    LEMON_SQUEEZY,
    GOCARDLESS,
    COINBASE_COMMERCE,
    LOGTO,
    HUBTEL,
    DESCOPE,
    CONVOY,
    SQUARE,
    CREEM,
    MOLLIE,
    REEVIT,
    REVSTACK,
    AUTHORIZE_NET,
    ADYEN_ITEM,
    ADYEN_BODY,
    BRAINTREE,
    KINDE,
    FUSIONAUTH,
    BEARER,
    BASIC,
];

const WEBHOOK_SIGNATURE: Names = &["webhook-signature", "svix-signature"];
const WEBHOOK_TIMESTAMP: Names = &["webhook-timestamp", "svix-timestamp"];
const WEBHOOK_ID: Names = &["webhook-id", "svix-id"];
const WEBHOOK_SIGNED: &[Part] =
    &[Part::Id(WEBHOOK_ID), Part::Text("."), Part::Stamp, Part::Text("."), Part::Body];
const SVIX_ID: Names = &["svix-id", "webhook-id"];

/// What most do: SHA-256 of the body in hex, under the secret's bytes.
const BODY: Signature = Signature {
    algorithm: Algorithm::Sha256,
    key: Key::Utf8,
    place: Place::Header(&[]),
    form: Form::Whole,
    encoding: Encoding::Hex,
    signed: &[Part::Body],
    line_feed: false,
    stamp: None,
};

const fn of_body(header: Names, algorithm: Algorithm, key: Key, encoding: Encoding) -> Scheme {
    let signature = Signature { place: Place::Header(header), algorithm, key, encoding, ..BODY };
    Scheme::of(Check::Signature(signature))
}

const fn standard(signature: Names, stamp: Names, signed: &'static [Part], key: Key) -> Scheme {
    Scheme::of(Check::Signature(Signature {
        key,
        place: Place::Header(signature),
        form: Form::Versions,
        encoding: Encoding::Base64,
        signed,
        stamp: Some(Stamp {
            place: StampPlace::Header(stamp),
            unit: Unit::Seconds,
            tolerance: TimeDelta::seconds(300),
            both_sides: true,
        }),
        ..BODY
    }))
}
