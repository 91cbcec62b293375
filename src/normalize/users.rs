//! The rules of auth sources that no single fixture shows: versions, ids, and who may say whose a UID is.

use super::{
    fixtures::{event, fixture, lines, names, read, read_bytes, source},
    rules::{told, with},
};
use crate::{
    model::{
        event::{Event, Reading},
        reference::Kind,
        stamp::{Stamp, rank},
        time::Timestamp,
    },
    provider::{self, On, Place, Target},
};
use serde_json::json;

/// The stamp of what an event says of its first reference.
fn stamp(event: &Event) -> Stamp {
    match &event.reading {
        Reading::Asserts(assertions) => {
            assertions.references[0].facts.first.clone().expect("a stamp")
        }
        other => panic!("asserts nothing: {other:?}"),
    }
}

#[test]
fn the_version_of_a_user_is_the_field_that_the_provider_versions_by() {
    for (name, at) in [
        ("clerk/user.created", "2024-06-10T06:13:19.990Z"),
        ("workos/user.created", "2024-06-10T06:13:20Z"),
        ("workos/user.deleted", "2024-06-12T08:00:00Z"),
        ("stytch/user.create", "2024-06-10T06:13:20.555247Z"),
        ("stytch/user.delete", "2024-06-12T06:13:20.555247Z"),
        ("logto/User.Data.Updated", "2024-06-11T10:00:00Z"),
        ("logto/User.Deleted", "2024-06-10T06:13:20.250Z"),
        ("supabase/before-user-created", "2024-06-10T06:13:20.755552Z"),
        ("supabase/users.update", "2024-06-10T06:20:00.500Z"),
        ("supabase/users.update.deleted", "2024-06-12T06:13:20Z"),
        ("auth0/user.deleted", "2024-06-12T06:13:20.100Z"),
        ("firebase/updated", "2024-06-11T06:13:20.100Z"),
        ("descope/single", "2024-06-10T06:13:24Z"),
        ("fusionauth/user.create.complete", "2024-06-10T06:13:20Z"),
        ("kinde/user.created", "2024-06-10T06:13:20Z"),
        // No body of these says when: the receipt counts.
        ("supabase/users.delete", "2024-08-01T00:00:00Z"),
        ("propelauth/user.updated", "2024-08-01T00:00:00Z"),
    ] {
        let at = Timestamp::parse(at).expect("a time");
        assert_eq!(stamp(&event(name)).at, at, "{name}");
    }
}

#[test]
fn the_id_of_an_event_is_the_one_that_retries_keep() {
    for (name, id) in [
        ("workos/user.created", Some("event_01J0ADA1")),
        ("stytch/user.create", Some("webhook-event-live-1")),
        ("supabase/before-user-created", Some("8b34dcdd-0000-4c10-850a-ada000000001")),
        ("auth0/user.created", Some("evt_1ada")),
        ("firebase/created", Some("ce-1")),
        ("fusionauth/user.create.complete", Some("e502168a-0000-0000-0000-ada000000001")),
        ("kinde/user.created", Some("event_1ada")),
        ("propelauth/user.created", Some("msg_2QHeader")),
        ("logto/User.Created", None),
        ("supabase/users.insert", None),
        ("descope/single", None),
    ] {
        assert_eq!(event(name).provider_event_id.as_deref(), id, "{name}");
    }
}

#[test]
fn items_of_a_batch_have_keys_of_their_own_that_do_not_depend_on_their_neighbours() {
    let keys = |body| -> Vec<_> {
        let events = read(source("descope"), &body).expect("readable");
        events.into_iter().map(|event| event.key).collect()
    };
    let batch = fixture("descope/batch");
    let all = keys(batch.clone());
    let mut different = all.clone();
    different.sort();
    different.dedup();
    // One of its five items is none.
    assert_eq!(different.len(), 4);
    assert_eq!(keys(json!([batch[4], batch[0]])), [all[3].clone(), all[0].clone()]);
}

#[test]
fn of_one_instant_a_deletion_stands_above_an_update_and_that_above_the_creation() {
    for [created, updated, deleted] in [
        ["clerk/user.created", "clerk/user.updated", "clerk/user.deleted"],
        ["workos/user.created", "workos/user.updated.empty", "workos/user.deleted"],
        ["stytch/user.create", "stytch/user.update", "stytch/user.delete"],
        ["logto/PostRegister", "logto/User.Data.Updated", "logto/User.Deleted"],
        ["supabase/users.insert", "supabase/users.update", "supabase/users.delete"],
        ["auth0/user.created", "auth0/user.updated", "auth0/user.deleted"],
        ["firebase/created", "firebase/updated", "firebase/deleted"],
        ["fusionauth/user.create.complete", "fusionauth/user.update", "fusionauth/user.delete"],
        ["kinde/user.created", "kinde/user.updated", "kinde/user.deleted"],
        ["propelauth/user.created", "propelauth/user.updated", "propelauth/user.deleted"],
    ] {
        let ranks = [created, updated, deleted].map(|name| stamp(&event(name)).rank);
        assert_eq!(ranks, [rank::CREATED, rank::UPDATED, rank::DELETED], "{created}");
    }
}

#[test]
fn what_a_user_can_write_takes_over_nobody() {
    // Each body names another user's external_id at a place that the user's own browser can write.
    for (name, pointer) in [
        ("clerk/user.created", "/data/unsafe_metadata"),
        ("stytch/user.create", "/user/untrusted_metadata"),
        ("logto/PostRegister", "/user/customData"),
        ("supabase/users.update", "/record/raw_user_meta_data"),
        ("supabase/before-user-created", "/user/user_metadata"),
        ("auth0/user.created", "/data/object/user_metadata"),
        ("fusionauth/user.create.complete", "/event/user/data"),
        ("propelauth/user.created", "/properties"),
    ] {
        let victim = json!({"external_id": "victim", "user_id": "victim"});
        let body = with(name, pointer, victim);
        let provider = name.split('/').next().expect("a provider");
        let told = told(source(provider), &body);
        assert!(told[0].starts_with("customer auth:"), "{name}: {told:?}");
        assert!(told.iter().all(|line| !line.contains("victim")), "{name}: {told:?}");
    }
}

#[test]
fn a_place_that_the_teams_server_writes_can_be_made_to_claim() {
    let mut logto = source("logto");
    let place = Place {
        at: "customData.external_id".into(),
        target: Target::ExternalId,
        claims: true,
        on: On::Any,
    };
    logto.places = vec![place];
    let claimed = told(logto.clone(), &fixture("logto/PostRegister"));
    assert_eq!(claimed[1], "claim auth:u3xada under external:user_1");
    let long = with("logto/PostRegister", "/user/customData/external_id", json!("x".repeat(256)));
    let told = told(logto, &long);
    assert_eq!(told[1..], ["note user.customData.external_id: is longer than 255 characters"]);
}

#[test]
fn an_unverified_address_is_nobodys_proof() {
    for (name, pointer) in [
        ("workos/user.created", "/data/-email_verified"),
        ("stytch/member.create", "/member/-email_address_verified"),
        ("auth0/user.created", "/data/object/-email_verified"),
        ("firebase/created", "/data/-emailVerified"),
        ("propelauth/user.created", "/-email_confirmed"),
        ("supabase/users.update", "/record/-email_confirmed_at"),
    ] {
        let provider = name.split('/').next().expect("a provider");
        let verified = told(source(provider), &fixture(name));
        assert!(verified[0].contains("email=ada@example.org email_verified"), "{name}");
        let unsaid = told(source(provider), &with(name, pointer, json!(null)));
        assert!(unsaid[0].contains("email=ada@example.org"), "{name}: {unsaid:?}");
        assert!(!unsaid[0].contains("email_verified"), "{name}: {unsaid:?}");
    }
}

#[test]
fn a_deletion_needs_no_more_than_the_uid() {
    for (name, pointer) in [
        ("workos/user.deleted", "/data/email"),
        ("supabase/users.delete", "/old_record/raw_user_meta_data"),
        ("auth0/user.deleted", "/data/object/app_metadata"),
        ("firebase/deleted", "/data/providerData"),
        ("propelauth/user.deleted", "/email"),
    ] {
        let provider = name.split('/').next().expect("a provider");
        let told = told(source(provider), &with(name, pointer, json!(7)));
        assert!(matches!(told.as_slice(), [one] if one.starts_with("deletion auth:")), "{told:?}");
    }
}

#[test]
fn a_user_without_its_id_is_refused_with_the_place() {
    for (name, pointer, why) in [
        ("workos/user.created", "/data/-id", "data.id: is missing"),
        ("workos/user.created", "/-id", "id: is missing"),
        ("workos/user.created", "/-data", "data: is missing"),
        ("stytch/user.delete", "/-id", "id: is missing"),
        ("stytch/user.create", "/-user", "user: is missing"),
        ("logto/PostRegister", "/user/-id", "user.id: is missing"),
        ("logto/User.Created", "/data/-id", "data.id: is missing"),
        ("supabase/users.insert", "/record/-id", "record.id: is missing"),
        ("supabase/before-user-created", "/-user", "user: is missing"),
        ("auth0/user.created", "/data/object/-user_id", "data.object.user_id: is missing"),
        ("auth0/user.created", "/time", "time: is no RFC 3339 time"),
        ("firebase/deleted", "/data/-uid", "data.uid: is missing"),
        ("fusionauth/user.delete", "/event/user/-id", "event.user.id: is missing"),
        ("kinde/user.created", "/data/user/-id", "data.user.id: is missing"),
        ("propelauth/user.deleted", "/-user_id", "user_id: is missing"),
        ("descope/single", "/-userId", "userId: is missing"),
    ] {
        let provider = name.split('/').next().expect("a provider");
        let value = if pointer == "/time" { json!("soon") } else { json!(null) };
        let told = told(source(provider), &with(name, pointer, value));
        assert_eq!(told, [format!("malformed {why}")], "{name}");
    }
}

/// Fault of a system that took any configured place: whoever writes their own metadata takes over a customer.
#[test]
fn a_place_that_does_not_claim_is_not_read_of_a_user() {
    let mut user_writes = source("auth0");
    let place = |at: &'static str, claims| Place {
        at: at.into(),
        target: Target::ExternalId,
        claims,
        on: On::Any,
    };
    user_writes.places = vec![place("user_metadata.external_id", false)];
    let mut body = fixture("auth0/user.created");
    body["data"]["object"]["user_metadata"] = json!({"external_id": "user_of_somebody_else"});
    body["data"]["object"]["app_metadata"] = json!({"external_id": "user_7"});
    let uid = body["data"]["object"]["user_id"].as_str().expect("a UID").to_owned();
    let claim = |source| told(source, &body).into_iter().find(|line| line.starts_with("claim"));
    assert_eq!(claim(user_writes.clone()), None);
    user_writes.places.push(place("app_metadata.external_id", true));
    assert_eq!(claim(user_writes), Some(format!("claim auth:{uid} under external:user_7")));
}

#[test]
fn both_of_supabases_sources_read_every_body_of_supabase() {
    for name in names().iter().filter(|name| name.starts_with("supabase/")) {
        let body = fixture(name);
        assert_eq!(told(source("supabase-db"), &body), told(source("supabase"), &body), "{name}");
    }
    let refused = told(source("supabase"), &json!({"some": "thing"}));
    assert_eq!(refused, ["malformed metadata: is missing"]);
}

#[test]
fn every_auth_provider_may_be_told_that_its_uid_is_the_external_id() {
    for name in names() {
        let provider = name.split('/').next().expect("a provider");
        if provider::find(provider).is_none_or(|provider| provider.kind != Kind::Auth) {
            continue;
        }
        let mut subject = source(provider);
        subject.subject_is_external_id = true;
        let told = told(subject, &fixture(&name));
        assert!(
            told.iter().all(|line| !line.contains("auth:") && !line.starts_with("claim")),
            "{name}: {told:?}"
        );
    }
}

#[test]
fn a_token_of_kinde_is_read_as_its_payload_and_a_users_own_token_is_no_event() {
    let tokens = fixture("tokens");
    let token = tokens["kinde"]["good"][1].as_str().expect("a token");
    let told = |body: &str| lines(&read_bytes(source("kinde"), body.as_bytes().to_vec()));
    let created = ["customer auth:kp_ada name=Ada Lovelace email=ada@example.org phone=null"];
    assert_eq!(told(token), created);
    assert_eq!(told(&format!(" {token}\n")), created);
    let own = with("kinde/user.created", "/sub", json!("kp_ada"));
    let refused = ["malformed sub: is there: this is a user's token, not an event"];
    assert_eq!(lines(&read(source("kinde"), &own)), refused);
}

#[test]
fn of_fusionauths_address_the_identity_says_whether_it_is_proved() {
    let told = |pointer, value| {
        told(source("fusionauth"), &with("fusionauth/user.update", pointer, value))[0].clone()
    };
    assert!(!told("/event/user/verified", json!(true)).contains("email_verified"));
    let proved = json!([{"type": "email", "value": "ada@example.org", "verified": true}]);
    assert!(told("/event/user/identities", proved).contains("email_verified"));
    let another = json!([{"type": "email", "value": "eve@example.org", "verified": true}]);
    assert!(!told("/event/user/identities", another).contains("email_verified"));
}
