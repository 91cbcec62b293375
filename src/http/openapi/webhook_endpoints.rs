//! Webhook endpoints: what can be asked of them.

use super::{
    fields::{NOT_BLANK, object},
    operation::{Operation, time},
    schema::Shape,
    webhook_messages::ABOUT_RECOVERY,
};
use crate::{
    http::endpoints::{Gone, Opened, Tested},
    model::{endpoint::Endpoint, id::EndpointId, key::Scope, message::EventType},
    store::recoveries::Recovery,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) const TAG: &str = "Webhook endpoints";

const ABOUT_ONE: &[(&str, &str)] = &[
    ("getWebhookEndpoint", "id"),
    ("updateWebhookEndpoint", "id"),
    ("deleteWebhookEndpoint", "id"),
    ("rotateWebhookSecret", "id"),
    ("testWebhookEndpoint", "id"),
    ("recoverWebhookMessages", "id"),
    ("listWebhookRecoveries", "id"),
    ("listWebhookMessages", "endpoint_id"),
];

const UNKNOWN: &[&str] = &["webhook_endpoint_not_found"];

pub(super) fn operations() -> Vec<Operation> {
    let one = "/v1/webhook-endpoints/{id}";
    vec![
        Operation::get(
            "/v1/webhook-endpoints",
            (TAG, "listWebhookEndpoints", "List webhook endpoints"),
        )
        .about("There are few: all on one page.")
        .needs(Scope::Read)
        .answers(200, "All of them.", Shape::list::<Endpoint>()),
        Operation::post(
            "/v1/webhook-endpoints",
            (TAG, "createWebhookEndpoint", "Make a webhook endpoint"),
        )
        .needs(Scope::Admin)
        .repeatable()
        .body(object(&[url(), fields(), secret()], &["url"]))
        .answers(201, "It is made. Its secret is shown this once.", Shape::of::<Opened<'static>>())
        .leads("$response.body#/id", ABOUT_ONE)
        .leads_into("$response.body#/id", ("resendWebhookMessages", "endpoint_id"))
        .refuses(409, &["endpoint_name_taken"]),
        Operation::get(one, (TAG, "getWebhookEndpoint", "One webhook endpoint"))
            .needs(Scope::Read)
            .at::<EndpointId>("id")
            .answers(200, "The endpoint.", Shape::of::<Endpoint>())
            .refuses(404, UNKNOWN),
        Operation::patch(
            one,
            (
                TAG,
                "updateWebhookEndpoint",
                "Change a webhook endpoint, or \
            switch it on or off",
            ),
        )
        .about(
            "What is absent stays, null clears. Of `headers`, those that are named are \
                set or, by null, taken away.",
        )
        .needs(Scope::Admin)
        .at::<EndpointId>("id")
        .repeatable()
        .body(object(&[url(), fields(), enabled()], &[]))
        .answers(200, "The endpoint as it is now.", Shape::of::<Endpoint>())
        .refuses(404, UNKNOWN)
        .refuses(409, &["endpoint_name_taken"]),
        Operation::delete(one, (TAG, "deleteWebhookEndpoint", "Delete a webhook endpoint"))
            .about("What waits for it is called off.")
            .needs(Scope::Admin)
            .at::<EndpointId>("id")
            .repeatable()
            .answers(200, "It is deleted.", Shape::of::<Gone>())
            .refuses(404, UNKNOWN),
    ]
    .into_iter()
    .chain(deeds())
    .collect()
}

/// What can be done with one, beside changing it.
fn deeds() -> [Operation; 4] {
    [
        Operation::post(
            "/v1/webhook-endpoints/{id}/rotate-secret",
            (TAG, "rotateWebhookSecret", "A new secret beside the old one"),
        )
        .needs(Scope::Admin)
        .at::<EndpointId>("id")
        .repeatable()
        .maybe_body(object(&[overlap(), secret()], &[]))
        .answers(
            200,
            "The endpoint with its new secret, which is shown this once.",
            Shape::of::<Opened<'static>>(),
        )
        .refuses(404, UNKNOWN)
        .refuses(409, &["too_many_secrets"]),
        Operation::post(
            "/v1/webhook-endpoints/{id}/test",
            (TAG, "testWebhookEndpoint", "Send it a `webhook.test`"),
        )
        .about(
            "Answers once the receiver has. It is sent also where the endpoint is \
                switched off, and not tried again.",
        )
        .needs(Scope::Admin)
        .at::<EndpointId>("id")
        .repeatable()
        .answers(200, "What came of it.", Shape::of::<Tested>())
        .leads(
            "$response.body#/message_id",
            &[("getWebhookMessage", "id"), ("listWebhookAttempts", "id")],
        )
        .refuses(404, UNKNOWN)
        .refuses(409, &["too_many_tests"]),
        Operation::post(
            "/v1/webhook-endpoints/{id}/recover",
            (TAG, "recoverWebhookMessages", "Send its dead messages of a span of time again"),
        )
        .about("It goes on by itself, through restarts, and takes each dead message once.")
        .needs(Scope::Admin)
        .at::<EndpointId>("id")
        .repeatable()
        .body(object(&[span()], &["since"]))
        .answers(202, "It is begun.", Shape::of::<Recovery>())
        .leads("$response.body#/id", ABOUT_RECOVERY)
        .refuses(404, UNKNOWN),
        Operation::get(
            "/v1/webhook-endpoints/{id}/recoveries",
            (TAG, "listWebhookRecoveries", "How far its recoveries are"),
        )
        .about("The last hundred, on one page.")
        .needs(Scope::Read)
        .at::<EndpointId>("id")
        .answers(200, "The recoveries.", Shape::list::<Recovery>())
        .refuses(404, UNKNOWN),
    ]
}

fn url() -> Value {
    json!({ "url": { "type": "string", "format": "uri", "pattern": "^https?://",
        "description": "Where to. Private, loopback and link-local addresses are refused, and \
            what is not https, unless the settings allow it." } })
}

fn secret() -> Value {
    json!({ "secret": { "type": "string", "pattern": SECRET,
        "description": "`whsec_` and base64 of 24 to 64 bytes; made unless given." } })
}

fn overlap() -> Value {
    json!({ "overlap_seconds": { "type": "integer", "minimum": 0, "maximum": 604_800,
        "description": "How long the old secrets sign on: 86400 unless told." } })
}

fn enabled() -> Value {
    json!({ "enabled": { "type": "boolean", "description": "What waited goes out when it is on \
        again." } })
}

fn span() -> Value {
    let since = json!({ "type": "string", "format": "date-time", "description": "Messages that \
        were written then or later." });
    let mut until = time();
    if let Some(fields) = until.as_object_mut() {
        fields.insert("description".into(), "And before: now unless told.".into());
    }
    json!({ "since": since, "until": until })
}

fn fields() -> Value {
    json!({
        "name": { "type": ["string", "null"], "maxLength": 64, "pattern": NOT_BLANK,
            "description": "Unique in its environment." },
        "description": { "type": ["string", "null"], "maxLength": 1_000, "pattern": "^[^\\x00]*$" },
        "event_types": { "type": "array", "minItems": 1,
            "items": { "type": "string", "enum": patterns() },
            "description": "What it is told: `*` (unless told), `payment.*`, or exact names." },
        "headers": { "type": ["object", "null"], "maxProperties": 20,
            "propertyNames": { "pattern": TOKEN },
            "additionalProperties": { "type": ["string", "null"], "pattern": "^[\\t -~]{0,1024}$" },
            "description": "Headers of its own, at most 20. Their values are never shown." },
        "timeout_ms": { "type": ["integer", "null"], "minimum": 100, "maximum": 30_000,
            "description": "How long one try may take." },
        "schedule": { "type": ["array", "null"], "minItems": 1, "maxItems": 20,
            "items": { "type": "integer", "minimum": 0, "maximum": 604_800 },
            "description": "How long after each failed try the next one begins, in seconds; \
                none shorter than the one before." },
        "rate_limit": { "type": ["integer", "null"], "minimum": 1, "maximum": 10_000,
            "description": "How many requests a second it is sent at most." },
        "ordered": { "type": "boolean", "description": "Whether each customer's messages come \
            in the order of its versions." },
        "signature_style": { "type": "string", "enum": ["standard", "timestamped", "sha256"],
            "description": "How its messages are signed." },
        "signature_header": { "type": ["string", "null"], "pattern": TOKEN,
            "description": "The header that `timestamped` and `sha256` sign in; needed for \
                these, and for these alone." },
        "ed25519": { "type": "boolean", "description": "Whether `standard` also signs by \
            ed25519." },
    })
}

/// `whsec_` and base64 of 24 to 64 bytes, padded or not.
const SECRET: &str = "^whsec_(([A-Za-z0-9+/]{4}){8,20}([A-Za-z0-9+/]{2}(==)?|[A-Za-z0-9+/]{3}=?)?\
    |([A-Za-z0-9+/]{4}){21}([A-Za-z0-9+/]{2}(==)?)?)$";

/// A header's name.
const TOKEN: &str = "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$";

/// All that an endpoint can ask to be told.
pub(super) fn patterns() -> Vec<String> {
    let names = EventType::ALL.map(EventType::as_str);
    let families: BTreeSet<String> =
        names.iter().filter_map(|name| Some(format!("{}.*", name.split_once('.')?.0))).collect();
    let names = names.into_iter().map(str::to_owned);
    ["*".to_owned()].into_iter().chain(families).chain(names).collect()
}
