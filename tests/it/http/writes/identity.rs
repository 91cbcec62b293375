//! Identify, merge and detach: who is who.

use super::{Api, id, in_the_way, listen};
use crate::{
    pipeline::{assert_no_drift, event, paid},
    support::services::on_both,
};
use serde_json::{Value, json};

#[tokio::test]
async fn identify_makes_a_customer_once_and_tells_nothing_where_nothing_changed() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        listen(&api.db).await;
        let path = "/v1/customers/identify";
        let body = json!({"external_id": "u1", "email": "ada@example.org", "metadata": {"a": 1}});
        let new = api.send_as(&api.write, "POST", path, &body).await;
        assert_eq!(new.status, 201, "{}", new.text);
        let again = api.post(path, &body).await;
        assert_eq!((again.status, again.json()), (200, new.json()));
        let alias = json!({"customer_id": "u1", "metadata": {"b": 2}});
        let merged = api.post(path, &alias).await.ok();
        assert_eq!(merged["id"], new.json()["id"]);
        assert_eq!(merged["metadata"], json!({"a": 1, "b": 2}));
        assert_eq!(api.told().await, ["customer.created", "customer.updated"]);
        for (body, param) in [
            (json!({}), "external_id"),
            (json!({"name": "Ada"}), "external_id"),
            (json!({"provider": "clerk"}), "provider_uid"),
            (json!({"provider_uid": "user_1"}), "provider"),
            (json!({"kind": "auth"}), "provider"),
        ] {
            let expected = (400, "missing_parameter".to_owned(), Some(param.to_owned()));
            assert_eq!(api.post(path, &body).await.error(), expected, "{body}");
        }
        let both = json!({"customer_id": "u1", "external_id": "u2"});
        let expected = (400, "invalid_parameter".to_owned(), Some("customer_id".to_owned()));
        assert_eq!(api.post(path, &both).await.error(), expected);
        api.stop().await;
    })
    .await;
}

/// Pain point 32 (hercycle-ai#459): those who made one user at once got errors, or two users.
#[tokio::test]
async fn sixty_four_at_once_make_one_customer_and_tell_of_it_once() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        listen(&api.db).await;
        for body in [
            json!({"external_id": "u1", "name": "Ada"}),
            json!({"provider": "clerk", "provider_uid": "user_2", "external_id": "u2"}),
        ] {
            let sent = (0..64).map(|_| api.post("/v1/customers/identify", &body));
            let answers = futures_util::future::join_all(sent).await;
            let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
            statuses.sort_unstable();
            assert_eq!((statuses[63], &statuses[..63]), (201, &[200; 63][..]));
            let ids: Vec<Value> = answers.iter().map(|it| it.json()["id"].clone()).collect();
            assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        }
        assert_eq!(api.count("select count(*) from customers").await, 2);
        assert_eq!(api.told().await, ["customer.created", "customer.created"]);
        api.stop().await;
    })
    .await;
}

/// Pain point 30 (polar-adapters#381): who a customer is becomes known after the customer.
#[tokio::test]
async fn a_guest_who_signs_up_stays_the_same_customer() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        listen(&api.db).await;
        let path = "/v1/customers/identify";
        let guest = json!({"provider": "firebase", "provider_uid": "anon-1", "is_anonymous": true});
        let guest_answer = api.post(path, &guest).await;
        assert_eq!(guest_answer.status, 201);
        assert_eq!(guest_answer.json()["is_anonymous"], true);
        let known = json!({"provider": "firebase", "provider_uid": "anon-1", "external_id": "u1"});
        let known = api.post(path, &known).await.ok();
        assert_eq!(known["id"], guest_answer.json()["id"]);
        assert_eq!((&known["external_id"], &known["is_anonymous"]), (&json!("u1"), &json!(false)));
        // A guest of somebody who is known already goes into that customer.
        let second = json!({"provider": "firebase", "provider_uid": "anon-2"});
        let second = api.post(path, &second).await.json()["id"].clone();
        let signed_in =
            json!({"provider": "firebase", "provider_uid": "anon-2", "customer_id": "u1"});
        assert_eq!(api.post(path, &signed_in).await.ok()["id"], known["id"]);
        let old = format!("/v1/customers/{}", second.as_str().expect("an id"));
        assert_eq!(api.get(&old).await.ok()["id"], known["id"]);
        let told =
            ["customer.created", "customer.identified", "customer.created", "customer.merged"];
        assert_eq!(api.told().await, told);
        api.stop().await;
    })
    .await;
}

/// Pain point 31 (polar-adapters#194, get-convex/polar#27): an identity could not be linked anew.
#[tokio::test]
async fn an_identity_that_is_anothers_moves_and_is_told_as_a_conflict() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        listen(&api.db).await;
        let path = "/v1/customers/identify";
        let of =
            |user: &str| json!({"external_id": user, "provider": "clerk", "provider_uid": "uid"});
        assert_eq!(api.post(path, &of("u1")).await.status, 201);
        assert_eq!(api.post(path, &of("u2")).await.status, 201);
        let owner = api.get("/v1/customers/lookup?provider=clerk&provider_uid=uid").await.ok();
        assert_eq!(owner["external_id"], "u2");
        assert!(api.told().await.contains(&"customer.conflict".to_owned()));
        let conflicts = api.get("/v1/conflicts").await;
        assert_eq!(conflicts.listed("kind"), [json!("reference_moved")]);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_payment_providers_id_is_meant_where_it_is_known_or_its_kind_is_said() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let identities = json!([{"provider": "stripe", "uid": "cus_1", "kind": "payment"}]);
        let data = json!({"identities": identities, "customer": {"name": "Ada"}});
        let told = event(1, "customer.recorded", &data);
        api.events().process(&[told]).await.expect("it commits");
        let path = "/v1/customers/identify";
        let known = api.post(path, &json!({"provider": "stripe", "provider_uid": "cus_1"})).await;
        assert_eq!((known.status, &known.json()["name"]), (200, &json!("Ada")));
        let new = json!({"provider": "stripe", "provider_uid": "cus_2", "kind": "payment"});
        let new = api.post(path, &new).await;
        assert_eq!((new.status, &new.json()["identities"][0]["kind"]), (201, &json!("payment")));
        let new = json!({"provider": "clerk", "provider_uid": "user_2"});
        let new = api.post(path, &new).await;
        assert_eq!((new.status, &new.json()["identities"][0]["kind"]), (201, &json!("auth")));
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_merge_moves_payments_and_leaves_the_other_id_as_an_alias() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        listen(&api.db).await;
        let events = [paid(1, "u1", "p1", 500), paid(2, "u2", "p2", 700)];
        api.events().process(&events).await.expect("it commits");
        let of = async |user: &str| {
            let path = format!("/v1/customers/lookup?external_id={user}");
            format!("/v1/customers/{}", api.get(&path).await.ok()["id"].as_str().expect("an id"))
        };
        let (one, two) = (of("u1").await, of("u2").await);
        let merge = format!("{one}/merge");
        let refused = api.post(&merge, &json!({"from": id(&two)})).await;
        assert_eq!(refused.refused(409), "external_ids_differ");
        assert_eq!(refused.error().2.as_deref(), Some("keep"));
        let details = &refused.json()["error"]["details"];
        assert_eq!(details["external_ids"], json!(["u1", "u2"]));
        let neither = api.post(&merge, &json!({"from": id(&two), "keep": "u3"})).await;
        assert_eq!(neither.error(), (400, "invalid_parameter".into(), Some("keep".into())));

        let body = json!({"from": id(&two), "keep": "u1"});
        let merged = api.post(&merge, &body).await.ok();
        assert_eq!((&merged["id"], &merged["external_id"]), (&json!(id(&one)), &json!("u1")));
        assert_eq!((&merged["total_spent"], &merged["payment_count"]), (&json!(1_200), &json!(2)));
        assert_eq!(api.get(&two).await.ok()["id"], id(&one));
        assert_eq!(of("u2").await, one);
        assert_eq!(api.told().await.last().map(String::as_str), Some("customer.merged"));
        // Asked for again it is so already.
        let told = api.told().await.len();
        assert_eq!(api.post(&merge, &body).await.ok(), merged);
        assert_eq!(api.told().await.len(), told);
        let taken = api.post("/v1/customers", &json!({"external_id": "u2"})).await;
        assert_eq!(in_the_way(&taken), ("external_id_taken".into(), json!(id(&one))));

        // And back.
        let parted = api.delete(&format!("{one}/identities/external_id/u2")).await.ok();
        assert_eq!((&parted["id"], &parted["total_spent"]), (&json!(id(&one)), &json!(500)));
        let back = of("u2").await;
        assert_ne!(back, one);
        assert_eq!(api.get(&back).await.ok()["total_spent"], 700);
        assert_no_drift(&api.db).await;
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn whoever_has_the_external_id_is_left_of_a_merge() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let guest = api.made(&json!({"name": "Guest", "phone": "+15555550100"})).await;
        let known = api.made(&json!({"external_id": "u1", "email": "ada@example.org"})).await;
        let merged = api.post(&format!("{guest}/merge"), &json!({"from": id(&known)})).await.ok();
        assert_eq!((&merged["id"], &merged["external_id"]), (&json!(id(&known)), &json!("u1")));
        assert_eq!(
            (&merged["name"], &merged["email"]),
            (&json!("Guest"), &json!("ada@example.org"))
        );
        assert_eq!(api.get(&guest).await.ok(), merged);
        // An absorbed id is written to as well as read.
        let patched = api.patch(&guest, &json!({"name": "Ada"})).await.ok();
        assert_eq!((&patched["id"], &patched["name"]), (&json!(id(&known)), &json!("Ada")));
        let (a, b) = (api.made(&json!({})).await, api.made(&json!({"name": "B"})).await);
        let merged = api.post(&format!("{a}/merge"), &json!({"from": id(&b)})).await.ok();
        assert_eq!((&merged["id"], &merged["name"]), (&json!(id(&a)), &json!("B")));
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_detached_identity_is_a_customer_of_its_own_and_stays_one() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        listen(&api.db).await;
        let body = json!({"external_id": "u1", "provider": "clerk", "provider_uid": "a/b c"});
        let path = api.made(&body).await;
        let wrong = api.delete(&format!("{path}/identities/clerk/nobody")).await;
        assert_eq!(wrong.refused(404), "identity_not_found");
        let parted = api.delete(&format!("{path}/identities/clerk/a%2Fb%20c")).await.ok();
        assert_eq!((&parted["id"], &parted["identities"]), (&json!(id(&path)), &json!([])));
        let own = api.get("/v1/customers/lookup?provider=clerk&provider_uid=a/b%20c").await.ok();
        assert_ne!(own["id"], parted["id"]);
        // It is all that this customer is.
        let own = format!("/v1/customers/{}", own["id"].as_str().expect("an id"));
        let root = api.delete(&format!("{own}/identities/clerk/a%2Fb%20c")).await;
        assert_eq!(root.refused(409), "identity_is_root");
        let told = ["customer.created", "customer.created", "customer.updated"];
        let mut seen = api.told().await;
        seen.sort();
        assert_eq!(seen, told);
        api.stop().await;
    })
    .await;
}
