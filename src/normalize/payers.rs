//! The rules that the payment providers share, and their own that no single fixture shows.

use super::fixtures::{event, fixture, lines, names, only, read, read_bytes, received_at, source};
use crate::{
    model::{
        authority::Authority,
        event::{Event, Reading},
        payment::PaymentFacts,
        reference::Scope,
        time::Timestamp,
    },
    provider::{self, On, Place, Source, Target},
};
use serde_json::{Value, json};
use url::form_urlencoded;

/// What is known of one payment by the one payment assertion of each body.
fn known(names: &[&str]) -> PaymentFacts {
    let mut facts = PaymentFacts::default();
    for name in names {
        match event(name).reading {
            Reading::Asserts(asserted) => facts.join(&asserted.payments[0].facts),
            other => panic!("{name} asserts nothing: {other:?}"),
        }
    }
    facts
}

fn batch(name: &str) -> Vec<Event> {
    let provider = name.split('/').next().expect("a provider");
    read(source(provider), &fixture(name)).expect("readable")
}

#[test]
fn what_a_browser_can_write_claims_nothing() {
    let claiming = ["stripe", "polar", "revstack"];
    let payers = provider::ALL.iter().filter(|known| known.authority == Authority::PAYMENT);
    for payer in payers.filter(|payer| !claiming.contains(&payer.name)) {
        assert!(payer.places.iter().all(|place| !place.claims), "{}", payer.name);
        let prefix = format!("{}/", payer.name);
        let own: Vec<_> = names().into_iter().filter(|name| name.starts_with(&prefix)).collect();
        assert!(!own.is_empty(), "{} has fixtures", payer.name);
        for name in own {
            let told = lines(&read(source(payer.name), &fixture(&name)));
            assert!(!told.iter().any(|line| line.starts_with("claim")), "{name}: {told:?}");
        }
    }
}

#[test]
fn a_place_of_the_customer_is_none_of_what_names_one() {
    // A payment's `externalId` is the seller's own number of it, whoever it is of.
    for (name, at, key) in [
        ("revstack/payment.processed", "/data", "externalId"),
        ("revstack/invoice.paid", "/data", "externalId"),
        ("revstack/subscription.created", "/data", "externalId"),
        ("polar/order.paid", "/data", "external_id"),
        ("polar/subscription.active", "/data", "external_id"),
    ] {
        let mut body = fixture(name);
        let provider = name.split('/').next().expect("a provider");
        let before = lines(&read(source(provider), &body));
        body.pointer_mut(at).expect(at)[key] = json!("order-118");
        assert_eq!(lines(&read(source(provider), &body)), before, "{name}");
    }
    let claimed = lines(&read(source("revstack"), &fixture("revstack/customer.created")));
    assert!(claimed.contains(&"claim payment:cus_q1 under external:user_7".into()), "{claimed:?}");
}

#[test]
fn a_place_of_the_customer_can_be_set_for_any_provider() {
    let mut set = source("chargebee");
    let at = "meta_data.user_id".into();
    set.places = vec![Place { at, target: Target::ExternalId, claims: true, on: On::Customer }];
    let told = lines(&read(set.clone(), &fixture("chargebee/customer_created")));
    assert!(told.contains(&"claim payment:cb-1 under external:user_7".into()), "{told:?}");
    let told = lines(&read(set, &fixture("chargebee/payment_succeeded")));
    assert!(!told.iter().any(|line| line.contains("user_7")), "{told:?}");
}

#[test]
fn a_place_that_only_a_server_writes_can_be_raised_to_claim() {
    let mut raised = source("paystack");
    let at = "metadata.user_id".into();
    raised.places = vec![Place { at, target: Target::ExternalId, claims: true, on: On::Any }];
    let told = lines(&read(raised, &fixture("paystack/charge.success")));
    assert_eq!(told[1], "claim payment:CUS_qada under external:user_7");
}

#[test]
fn items_of_a_batch_have_keys_of_their_own_whoever_stands_beside_them() {
    for (name, list) in [("gocardless/batch", "events"), ("adyen/batch", "notificationItems")] {
        let all = batch(name);
        let mut keys: Vec<_> = all.iter().map(|event| event.key.clone()).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all.len(), "{name}");
        let mut alone = fixture(name);
        let second = alone[list][1].clone();
        alone[list] = json!([second]);
        let provider = name.split('/').next().expect("a provider");
        assert_eq!(only(read(source(provider), &alone)), all[1], "{name}");
    }
}

#[test]
fn another_try_in_another_envelope_is_the_same_event() {
    let mut again = fixture("coinbase-commerce/charge.confirmed");
    let first = only(read(source("coinbase-commerce"), &again));
    again["id"] = json!(77);
    again["attempt_number"] = json!(4);
    assert_eq!(only(read(source("coinbase-commerce"), &again)).key, first.key);
}

#[test]
fn where_a_body_has_no_version_the_higher_state_counts_in_any_order() {
    let refunds =
        ["paystack/refund.processed", "paystack/refund.failed", "paystack/refund.processing"];
    let mut reversed = refunds;
    reversed.reverse();
    for names in [refunds, reversed] {
        let facts = known(&names);
        let refund = facts.refunds["TRF_q1"].value().expect("a refund");
        assert_eq!(refund.status, crate::model::payment::RefundStatus::Failed);
    }
    for names in [
        ["flutterwave/charge.completed.failed", "flutterwave/charge.completed"],
        ["flutterwave/charge.completed", "flutterwave/charge.completed.failed"],
    ] {
        let facts = known(&names);
        assert_eq!(facts.status, Some(crate::model::payment::PaymentStatus::Succeeded));
        assert_eq!(facts.failure_code.value(), Some(&None), "the failure is history");
    }
}

#[test]
fn a_push_and_the_confirmation_of_its_money_name_one_payment() {
    let keys = |name: &str| match event(name).reading {
        Reading::Asserts(asserted) => asserted.payments[0].keys.clone(),
        other => panic!("{name} asserts nothing: {other:?}"),
    };
    let push = keys("mpesa/stk_callback");
    assert!(push.contains(&keys("mpesa/c2b_confirmation")[0]), "{push:?}");
    assert_eq!(push[0], keys("mpesa/stk_callback.cancelled")[0]);
}

#[test]
fn each_provider_dates_an_event_by_its_own_version() {
    for (name, at) in [
        ("adyen/batch.test", Some("2024-06-10T06:13:20Z")),
        ("flutterwave-v4/charge.completed", Some("2024-06-10T06:13:22.635Z")),
        ("lemon-squeezy/order_created", Some("2024-06-10T06:13:21Z")),
        ("monnify/successful_transaction", Some("2024-06-10T06:13:20.615Z")),
        ("mpesa/stk_callback", Some("2024-06-10T06:13:20Z")),
        // The zero date is none.
        ("paddle/adjustment.created", Some("2024-06-10T06:13:21.599095Z")),
        ("paddle/transaction.paid", Some("2024-06-10T06:13:21Z")),
        ("paystack/charge.success", Some("2024-06-10T06:13:20Z")),
        ("paystack/refund.failed", None),
        // Not when it was queued.
        ("polar/order.paid", Some("2024-06-10T06:13:21.5Z")),
        ("polar/customer.deleted", Some("2024-06-10T07:00:00Z")),
        ("razorpay/payment.captured", Some("2024-06-10T06:13:30Z")),
        ("square/payment.updated", Some("2024-06-10T06:13:21.5Z")),
        ("hubtel/checkout.callback", None),
    ] {
        assert_eq!(event(name).occurred_at, at.and_then(Timestamp::parse), "{name}");
    }
    assert_eq!(event("hubtel/checkout.callback").received_at, received_at());
}

#[test]
fn an_event_id_is_the_providers_or_none() {
    for (name, id) in [
        ("coinbase-commerce/charge.created", Some("24934862-q1")),
        ("flutterwave/charge.completed", None),
        ("flutterwave-v4/charge.completed", Some("wbk_q1")),
        ("flutterwave-v4/charge.completed.mobile_money", Some("wbk_q2")),
        ("lemon-squeezy/order_refunded.old", None),
        ("paddle/transaction.paid", Some("evt_01q1")),
        ("paystack/charge.success", None),
        ("polar/order.paid", Some("evt_header")),
        ("razorpay/payment.captured", Some("evt_header")),
        ("square/payment.updated", Some("ev-sq-1")),
    ] {
        assert_eq!(event(name).provider_event_id.as_deref(), id, "{name}");
    }
}

#[test]
fn a_deletion_reaches_the_whole_customer_only_where_the_source_says_so() {
    let mut polar = source("polar");
    polar.on_delete = Scope::Customer;
    let told = lines(&read(polar, &fixture("polar/customer.deleted")));
    assert_eq!(told, ["deletion payment:c-1 customer"]);
}

#[test]
fn money_that_cannot_be_is_refused_with_its_place() {
    for (name, pointer, value, why) in [
        (
            "paystack/refund.pending",
            "/data/amount",
            json!("100.50"),
            "data.amount: is no whole number of minor units",
        ),
        ("paystack/refund.pending", "/data/amount", json!("-1"), "data.amount: is negative"),
        (
            "paystack/charge.success",
            "/data/amount",
            json!(1.5),
            "data.amount: is no whole number of minor units",
        ),
        (
            "paystack/charge.success",
            "/data/currency",
            json!("₦"),
            "data.currency: is no currency code: three to five letters or digits are expected",
        ),
        (
            "paystack/charge.success",
            "/data/status",
            json!("odd"),
            "data.status: `odd` is no status of a transaction",
        ),
        (
            "flutterwave/charge.completed",
            "/data/amount",
            json!([]),
            "data.amount: is no decimal amount",
        ),
        ("flutterwave/charge.completed", "/data/id", json!(null), "data.id: is missing"),
        (
            "razorpay/payment.captured",
            "/payload/payment/entity/amount",
            json!("1"),
            "payload.payment.entity.amount: is no whole number of minor units",
        ),
        (
            "paddle/transaction.paid",
            "/data/details/totals/grand_total",
            json!("65.21"),
            "data.details.totals.grand_total: is no whole number of minor units",
        ),
        (
            "lemon-squeezy/order_created",
            "/data/attributes/total",
            json!(null),
            "data.attributes.total: is missing",
        ),
        ("polar/order.paid", "/data/total_amount", json!(-5), "data.total_amount: is negative"),
        (
            "monnify/successful_transaction",
            "/eventData/amountPaid",
            json!("1.005"),
            "eventData.amountPaid: has more decimals than its currency",
        ),
        (
            "hubtel/checkout.callback",
            "/Data/Amount",
            json!("0,5"),
            "Data.Amount: is no decimal amount",
        ),
        (
            "square/payment.updated",
            "/data/object/payment/total_money/amount",
            json!(0.5),
            "data.object.payment.total_money.amount: is no whole number of minor units",
        ),
        (
            "coinbase-commerce/charge.confirmed",
            "/event/data/pricing/local/amount",
            json!("1.001"),
            "event.data.pricing.local.amount: has more decimals than its currency",
        ),
    ] {
        let mut body = fixture(name);
        *body.pointer_mut(pointer).unwrap_or_else(|| panic!("{name} {pointer}")) = value;
        let provider = name.split('/').next().expect("a provider");
        assert_eq!(lines(&read(source(provider), &body)), [format!("malformed {why}")], "{name}");
    }
}

#[test]
fn metadata_that_is_none_leaves_no_note() {
    for none in [json!(""), json!(0), json!([]), Value::Null] {
        let mut body = fixture("razorpay/payment.captured");
        body["payload"]["payment"]["entity"]["notes"] = none;
        assert!(only(read(source("razorpay"), &body)).notes.is_empty());
    }
}

#[test]
fn an_authorisation_of_adyen_is_paid_unless_the_account_captures_by_hand() {
    let told = |manual_capture| {
        let adyen = Source { manual_capture, ..source("adyen") };
        lines(&read(adyen, &fixture("adyen/batch")))
    };
    let (at_once, by_hand) = (told(false), told(true));
    assert!(at_once[0].starts_with("payment PSP1 2000 EUR succeeded by charge"), "{at_once:?}");
    assert_eq!(by_hand[0], "payment PSP1 2000 EUR authorized method=visa on external:user_7");
    assert!(by_hand[2].starts_with("payment PSP1 1500 EUR succeeded by intent"), "{by_hand:?}");
    // What was never captured is not given back when it is canceled.
    let back = |line: &&String| line.starts_with("refund reversal:PSP6 ");
    assert_eq!(at_once.iter().filter(back).count(), 1);
    let kept: Vec<_> = at_once.iter().filter(|line| !back(line)).skip(1).collect();
    assert_eq!(kept, by_hand.iter().skip(1).collect::<Vec<_>>(), "nothing else differs");
}

#[test]
fn each_try_of_reevit_is_the_same_event() {
    let first = event("reevit/payment.updated.succeeded");
    let mut again = fixture("reevit/payment.updated.succeeded");
    again["attempt"] = json!(2);
    again["signature_timestamp"] = json!("2024-06-10T06:14:25Z");
    assert_eq!(only(read(source("reevit"), &again)), first);
    again["data"]["status"] = json!("failed");
    assert_ne!(only(read(source("reevit"), &again)).key, first.key);
}

#[test]
fn a_form_of_braintree_says_what_its_fields_do() {
    let name = "braintree/subscription_charged_successfully";
    let fields = fixture(name);
    let field = |key: &str| fields[key].as_str().expect("a text");
    // As its libraries write it, in lines.
    let rows: Vec<_> = field("bt_payload").as_bytes().chunks(60).map(<[u8]>::to_vec).collect();
    let payload = String::from_utf8(rows.join(&b'\n')).expect("text") + "\n";
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("bt_signature", field("bt_signature"))
        .append_pair("bt_payload", &payload)
        .finish();
    let events = read_bytes(source("braintree"), form.into_bytes());
    assert_eq!(lines(&events), lines(&Ok(vec![event(name)])));
    let told = |body: &str| lines(&read_bytes(source("braintree"), body.into()));
    assert_eq!(told("bt_signature=x"), ["malformed bt_payload: is missing"]);
    assert_eq!(told("bt_payload=%FF"), ["malformed bt_payload: is no base64"]);
    assert_eq!(told("bt_payload=gA=="), ["malformed bt_payload: holds no UTF-8"]);
    let none = told("bt_payload=e30=");
    assert!(none[0].starts_with("malformed bt_payload: is no XML: "), "{none:?}");
}
