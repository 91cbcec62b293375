//! The rules of stage 3 that no single fixture shows: modes, times, and a source's settings.

use super::fixtures::{event, fixture, lines, only, read, received_at, source};
use crate::{
    model::{
        authority::Authority,
        event::{Assertions, Event, Reading},
        payment::RefundStatus,
        reference::Scope,
        stamp::rank,
        time::Timestamp,
    },
    provider::{Malformed, On, Place, Source, Target},
};
use serde_json::{Value, json};

/// A fixture with one value set (or taken out, for null under a key named `-key`).
pub(super) fn with(name: &str, pointer: &str, value: Value) -> Value {
    let mut body = fixture(name);
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let parent = body.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
    match key.strip_prefix('-') {
        Some(key) => parent.remove(key),
        None => parent.insert(key.to_owned(), value),
    };
    body
}

pub(super) fn told(source: Source, body: &Value) -> Vec<String> {
    lines(&read(source, body))
}

fn assertions(event: Event) -> Assertions {
    match event.reading {
        Reading::Asserts(assertions) => *assertions,
        other => panic!("asserts nothing: {other:?}"),
    }
}

#[test]
fn an_event_of_the_other_mode_is_ignored_or_goes_to_the_test_environment() {
    let test = with("stripe/charge.succeeded", "/livemode", json!(false));
    let ignored = only(read(source("stripe"), &test));
    assert_eq!(&*ignored.environment, "live");
    let why = "wrong_mode: a test event at a source of the environment `live`";
    assert_eq!(ignored.reading, Reading::Ignored(why.into()));

    let mut with_test = source("stripe");
    with_test.test_environment = Some("test".into());
    let moved = only(read(with_test, &test));
    assert_eq!(&*moved.environment, "test");
    assert!(matches!(moved.reading, Reading::Asserts(_)));

    let mut staging = source("stripe");
    staging.environment = "staging".into();
    assert_eq!(&*only(read(staging.clone(), &test)).environment, "staging");
    let live = only(read(staging.clone(), &fixture("stripe/charge.succeeded")));
    assert!(matches!(live.reading, Reading::Ignored(why) if why.starts_with("wrong_mode")));
    // A body without a mode belongs where its source does.
    let unsaid = with("stripe/charge.succeeded", "/-livemode", json!(null));
    let object = with("stripe/charge.succeeded", "/data/object/livemode", json!(false));
    assert!(
        matches!(only(read(staging, &unsaid)).reading, Reading::Ignored(_)),
        "its object says live"
    );
    assert!(matches!(only(read(source("stripe"), &object)).reading, Reading::Asserts(_)));
}

#[test]
fn a_time_ahead_of_the_receipt_counts_as_the_receipt() {
    let within = received_at().seconds() + 300;
    for (created, counted) in [(within, within), (within + 1, received_at().seconds())] {
        let body = with("stripe/customer.created", "/created", json!(created));
        let event = only(read(source("stripe"), &body));
        let at = Timestamp::from_seconds(counted);
        assert_eq!(event.occurred_at, at);
        assert_eq!(event.notes.is_empty(), counted == created);
        let about = &assertions(event).references[0];
        assert_eq!(about.facts.first.as_ref().map(|stamp| stamp.at), at);
    }
}

#[test]
fn without_a_time_values_count_from_the_receipt_and_states_stand_below_all_others() {
    let body = with("stripe/customer.subscription.created", "/-created", json!(null));
    let asserted = assertions(only(read(source("stripe"), &body)));
    let facts = &asserted.subscriptions[0].facts;
    let stamp = |register: &[crate::model::register::Assertion<_>]| register[0].stamp.at;
    assert_eq!(stamp(facts.status.assertions()), Timestamp::UNKNOWN);
    assert_eq!(facts.plan.assertions()[0].stamp.at, received_at());
}

#[test]
fn stamps_carry_the_rank_of_the_type_and_of_the_state() {
    let created = assertions(event("stripe/customer.created"));
    assert_eq!(created.references[0].facts.first.as_ref().map(|s| s.rank), Some(rank::CREATED));
    let deleted = assertions(event("stripe/customer.deleted"));
    assert_eq!(deleted.references[0].facts.first.as_ref().map(|s| s.rank), Some(rank::DELETED));
    let ranks =
        ["stripe/refund.created", "stripe/refund.updated", "stripe/refund.failed"].map(|name| {
            let asserted = assertions(event(name));
            asserted.payments[0].facts.refunds["re_3QA1"].assertions()[0].stamp.rank
        });
    assert!(ranks.is_sorted() && ranks[0] < ranks[1] && ranks[1] < ranks[2], "{ranks:?}");
}

#[test]
fn the_key_of_an_event_is_source_id_and_hash() {
    let one = event("stripe/customer.created");
    assert_eq!((one.key.source(), one.key.event_id()), ("stripe", "evt_1QA001"));
    assert_eq!(one.provider_event_id.as_deref(), Some("evt_1QA001"));
    assert!(one.verified);
    assert_eq!(event("clerk/user.created").key.event_id(), "msg_2QHeader");
}

#[test]
fn success_dates_from_the_event_and_refunds_from_their_making() {
    let paid = &assertions(event("stripe/payment_intent.succeeded")).payments[0];
    assert_eq!(paid.facts.paid_at, Timestamp::from_seconds(1_718_000_002));
    assert_eq!(paid.facts.first_at, paid.facts.paid_at);
    let refunded = &assertions(event("stripe/charge.refunded.2020")).payments[0];
    let refund = refunded.facts.refunds["re_3QA1"].value().expect("a refund");
    assert_eq!(refund.created_at, Timestamp::from_seconds(1_718_000_100));
    assert_eq!(refund.status, RefundStatus::Succeeded);
    let canonical = &assertions(event("canonical/payment.recorded")).payments[0];
    assert_eq!(canonical.facts.paid_at, Timestamp::parse("2024-06-10T06:13:00Z"));
}

#[test]
fn a_sum_of_refunds_that_is_only_repeated_stands_below_one_that_changed() {
    let sum = |name| assertions(event(name)).payments[0].facts.cumulative.expect("a sum");
    assert_eq!(
        sum("stripe/charge.refunded").at,
        Timestamp::from_seconds(1_718_000_100).expect("a time")
    );
    assert_eq!(sum("stripe/charge.updated").at, Timestamp::UNKNOWN);
}

#[test]
fn a_place_raised_to_claim_moves_the_payments_customer() {
    let mut raised = source("stripe");
    let place =
        |at: &'static str, target| Place { at: at.into(), target, claims: true, on: On::Any };
    raised.places = vec![place("metadata.user_id", Target::ExternalId)];
    let told = told(raised.clone(), &fixture("stripe/customer.subscription.created"));
    assert_eq!(
        told[..2],
        ["customer payment:cus_QAda", "claim payment:cus_QAda under external:user_7",]
    );
    // An update that leaves the metadata alone repeats the claim.
    let told = self::told(raised, &fixture("stripe/customer.subscription.updated"));
    assert_eq!(told[1], "claim payment:cus_QAda under external:user_7 ~under");

    let mut named = source("stripe");
    named.places = vec![place("metadata.user_id", Target::Namespace("clerk".into()))];
    let body = with("stripe/payment_intent.created", "/data/object/metadata/user_id", json!(71));
    let told = self::told(named, &body);
    assert_eq!(told[1], "claim payment:cus_QAda under auth:71");
    assert!(told[2].ends_with("on payment:cus_QAda auth:71"), "{}", told[2]);
}

#[test]
fn a_name_that_cannot_be_a_reference_is_dropped_with_a_note() {
    let long = "x".repeat(256);
    let body =
        with("stripe/checkout.session.completed", "/data/object/client_reference_id", json!(long));
    let told = told(source("stripe"), &body);
    assert!(told[1].ends_with("on payment:cus_QAda"), "{}", told[1]);
    assert_eq!(told[2], "note data.object.client_reference_id: is longer than 255 characters");
}

#[test]
fn a_source_may_say_that_its_uid_is_the_external_id() {
    let mut clerk = source("clerk");
    clerk.subject_is_external_id = true;
    let created = told(clerk.clone(), &fixture("clerk/user.created"));
    assert_eq!(created.len(), 1);
    assert!(created[0].starts_with("customer external:user_2QAda name=Ada Lovelace"));
    clerk.on_delete = Scope::Customer;
    assert_eq!(
        told(clerk, &fixture("clerk/user.deleted")),
        ["deletion external:user_2QAda customer"]
    );
    let mut stripe = source("stripe");
    stripe.on_delete = Scope::Customer;
    assert_eq!(
        told(stripe, &fixture("stripe/customer.deleted")),
        ["deletion payment:cus_QAda customer"]
    );
}

#[test]
fn a_field_takes_the_authority_that_its_source_gives_it() {
    let mut stripe = source("stripe");
    stripe.authority.insert("email".into(), Authority::APP);
    let body = fixture("stripe/customer.created");
    let about = assertions(only(read(stripe, &body))).references.remove(0);
    let profile = about.facts.profile;
    assert_eq!(profile.email.assertions()[0].authority, Authority::APP);
    assert_eq!(profile.name.assertions()[0].authority, Authority::PAYMENT);
    assert_eq!(about.claim.map(|claim| claim.authority), Some(Authority::PAYMENT));
}

#[test]
fn a_payers_address_is_kept_only_where_the_source_matches_by_it() {
    let mut quiet = source("stripe");
    quiet.match_email = false;
    let told = told(quiet, &fixture("stripe/charge.succeeded.guest"));
    assert!(!told[0].contains("match_email"), "{}", told[0]);
}

#[test]
fn a_void_authorisation_asserts_no_refund() {
    let payment = assertions(event("stripe/charge.refunded.void")).payments.remove(0);
    assert!(payment.facts.refunds.is_empty() && payment.facts.cumulative.is_none());
    assert!(payment.facts.captured.is_empty() && payment.facts.paid_at.is_none());
}

#[test]
fn a_body_that_is_no_json_is_malformed_as_a_whole() {
    let refused = super::fixtures::read_bytes(source("stripe"), b"{\"id\": \"evt".to_vec());
    assert!(matches!(refused, Err(Malformed(why)) if why.starts_with("the body is no JSON: EOF")));
}

#[test]
fn nul_does_not_reach_the_model() {
    let body = with("stripe/customer.created", "/data/object/name", json!("A\u{0}da"));
    let told = told(source("stripe"), &body);
    assert!(told[0].contains("name=Ada email"), "{}", told[0]);
}
