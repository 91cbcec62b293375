//! What stage 3 refuses: a field that carries the fact and cannot be used, named by its place.

use super::{
    fixtures::source,
    rules::{told, with},
};
use serde_json::{Value, json};

/// Checks what each changed body is refused with: (fixture, pointer, value, reason).
fn refused(cases: &[(&str, &str, Value, &str)]) {
    for (name, pointer, value, why) in cases {
        let provider = name.split('/').next().expect("a provider");
        let body = with(name, pointer, value.clone());
        assert_eq!(told(source(provider), &body), [format!("malformed {why}")], "{name}");
    }
}

#[test]
fn impossible_money_is_refused_with_its_place() {
    let whole = "is no whole number of minor units";
    for (value, why) in [
        (json!(42.5), whole),
        (json!(42.0), whole),
        (json!("4200"), whole),
        (json!([]), whole),
        (json!(-1), "is negative"),
        (json!(1u64 << 60), "is larger than 9007199254740991"),
        (json!(null), "is missing"),
    ] {
        let places = [
            ("stripe/charge.succeeded", "/data/object/amount"),
            ("stripe/payment_intent.succeeded", "/data/object/amount"),
            ("stripe/refund.created", "/data/object/amount"),
            ("stripe/charge.dispute.created", "/data/object/amount"),
            ("stripe/invoice.paid.2020", "/data/object/amount_paid"),
            ("canonical/payment.recorded", "/data/payment/amount"),
        ];
        for (name, pointer) in places {
            let place = pointer.trim_start_matches('/').replace('/', ".");
            refused(&[(name, pointer, value.clone(), &format!("{place}: {why}"))]);
        }
    }
    let code = "is no currency code: three to five letters or digits are expected";
    refused(&[
        (
            "stripe/charge.succeeded",
            "/data/object/currency",
            json!("US$"),
            &format!("data.object.currency: {code}"),
        ),
        (
            "stripe/charge.succeeded",
            "/data/object/currency",
            json!(null),
            "data.object.currency: is missing",
        ),
        (
            "stripe/charge.succeeded",
            "/data/object/amount_captured",
            json!(1.5),
            &format!("data.object.amount_captured: {whole}"),
        ),
        (
            "stripe/payment_intent.succeeded",
            "/data/object/amount_received",
            json!(1.0),
            &format!("data.object.amount_received: {whole}"),
        ),
        (
            "stripe/charge.refunded.2020",
            "/data/object/refunds",
            json!({"data": [5]}),
            "data.object.refunds.data[0]: is no object",
        ),
    ]);
}

#[test]
fn a_stripe_object_without_its_id_or_with_an_unknown_status_is_refused() {
    let id = "data.object.id: is missing";
    refused(&[
        ("stripe/charge.succeeded", "/data/object/-id", json!(null), id),
        ("stripe/payment_intent.succeeded", "/data/object/-id", json!(null), id),
        ("stripe/customer.created", "/data/object/-id", json!(null), id),
        ("stripe/refund.created", "/data/object/-id", json!(null), id),
        (
            "stripe/charge.succeeded",
            "/data/object/id",
            json!(7),
            "data.object.id: is neither an id nor an object with one",
        ),
        (
            "stripe/charge.succeeded",
            "/data/object/customer",
            json!(7),
            "data.object.customer: is neither an id nor an object with one",
        ),
        (
            "stripe/charge.succeeded",
            "/data/object/status",
            json!("melted"),
            "data.object.status: `melted` is no status of a charge",
        ),
        (
            "stripe/charge.succeeded",
            "/data/object/object",
            json!("refund"),
            "data.object.object: is `refund`, not `charge`",
        ),
        (
            "stripe/refund.created",
            "/data/object/status",
            json!("lost"),
            "data.object.status: `lost` is no status of a refund",
        ),
        (
            "stripe/charge.dispute.created",
            "/data/object/status",
            json!(null),
            "data.object.status: is missing",
        ),
        (
            "stripe/customer.subscription.updated",
            "/data/object/status",
            json!("gone"),
            "data.object.status: `gone` is no status of a subscription",
        ),
        ("stripe/charge.succeeded", "/-id", json!(null), "id: is missing"),
        (
            "stripe/charge.succeeded",
            "/created",
            json!("now"),
            "created: is no time in whole seconds since 1970",
        ),
        ("stripe/charge.succeeded", "/data", json!([]), "data: is no object"),
        (
            "stripe/charge.succeeded",
            "/livemode",
            json!("true"),
            "livemode: is neither true nor false",
        ),
    ]);
    assert_eq!(told(source("stripe"), &json!([1])), ["malformed the body is no object"]);
}

#[test]
fn a_clerk_or_canonical_body_is_refused_with_its_place() {
    refused(&[
        ("clerk/user.created", "/data/-id", json!(null), "data.id: is missing"),
        ("clerk/user.deleted", "/data/-id", json!(null), "data.id: is missing"),
        (
            "canonical/payment.recorded",
            "/data/payment/status",
            json!("done"),
            "data.payment.status: `done` is not known; known are pending, requires_action, failed, authorized, canceled, succeeded, cancelled",
        ),
        (
            "canonical/payment.recorded",
            "/data/external_id",
            json!(7),
            "data.external_id: is no text",
        ),
        (
            "canonical/payment.recorded",
            "/data/external_id",
            json!(""),
            "data.external_id: is empty",
        ),
        (
            "canonical/customer.recorded",
            "/data/identities",
            json!([{"provider": "x", "uid": "y", "kind": "z"}]),
            "data.identities[0].kind: `z` is neither `auth` nor `payment`",
        ),
        (
            "canonical/customer.recorded",
            "/data/-customer",
            json!(null),
            "data.customer: is missing",
        ),
        (
            "canonical/customer.recorded.alone",
            "/data/identities",
            json!([]),
            "data: names no customer: external_id or identities must be there",
        ),
        (
            "canonical/refund.recorded",
            "/data/refund/-payment_id",
            json!(null),
            "data.refund.payment_id: is missing",
        ),
        (
            "canonical/customer.deleted",
            "/type",
            json!("customer.erased"),
            "type: `customer.erased` is not known; known are customer.recorded, customer.deleted, payment.recorded, refund.recorded, dispute.recorded, subscription.recorded",
        ),
        (
            "canonical/customer.deleted",
            "/occurred_at",
            json!("today"),
            "occurred_at: is no RFC 3339 time",
        ),
    ]);
}
