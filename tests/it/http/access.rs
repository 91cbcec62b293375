//! Who may see what.

use super::{Api, Request, records::named};
use crate::support::{services::on_both, wait::eventually};
use customer_sync::{health::SCHEMA, http::openapi, store::keys};
use serde_json::{Value, json};

/// Every path that needs a key.
const PATHS: [&str; 11] = [
    "/v1/customers",
    "/v1/customers/lookup?external_id=ada",
    "/v1/customers/cus_00000000000000000000000000",
    "/v1/customers/cus_00000000000000000000000000/payments",
    "/v1/customers/cus_00000000000000000000000000/subscriptions",
    "/v1/payments",
    "/v1/payments/pay_00000000000000000000000000",
    "/v1/conflicts",
    "/v1/inbound-events",
    "/v1/inbound-events/inb_00000000000000000000000000",
    "/metrics",
];

#[tokio::test]
async fn without_a_good_key_every_path_answers_401_and_nothing_else() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let unknown = format!("sk_live_{}", "x".repeat(43));
        for path in PATHS {
            let none = Request::get(path).send(api.address).await;
            assert_eq!(none.refused(401), "missing_api_key", "{path}");
            assert_eq!(none.header("www-authenticate"), Some("Bearer realm=\"customer-sync\""));
            for wrong in [unknown.as_str(), "sk_live_short", "hunter2"] {
                assert_eq!(api.get_as(wrong, path).await.refused(401), "invalid_api_key", "{path}");
            }
        }
        // Nor does it tell what else is wrong.
        for wrong in ["cus_00000000000000000000000000?color=red", "nobody", "%ff", "x?a=1&a=1"] {
            let path = format!("/v1/customers/{wrong}");
            assert_eq!(api.get_as(&unknown, &path).await.refused(401), "invalid_api_key", "{path}");
            assert!([400, 404].contains(&api.get(&path).await.status), "{path}");
        }
        let replay = "/v1/inbound-events/inb_00000000000000000000000000/replay";
        assert_eq!(
            Request::post(replay, b"").send(api.address).await.refused(401),
            "missing_api_key"
        );
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_key_is_taken_as_bearer_token_and_as_header_until_it_is_revoked() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let own = Request::get("/v1/customers").header("x-api-key", &api.read);
        assert_eq!(own.send(api.address).await.status, 200);
        let lower =
            Request::get("/v1/customers").header("Authorization", &format!("bearer {}", api.read));
        assert_eq!(lower.send(api.address).await.status, 200);
        // One customer is read by a statement of its own, which finds the key too.
        let (customer, _) = api.customer(named("ada")).await;
        let one = Request::get(&format!("/v1/customers/{customer}")).key(&api.read);
        assert_eq!(one.send(api.address).await.status, 200);

        let mut tx = api.db.begin().await.expect("a transaction");
        let key = keys::find(&mut tx, &api.read).await.expect("found").expect("known");
        assert!(keys::revoke(&mut tx, key.id, api.clock.now()).await.expect("revoked"));
        assert!(!keys::revoke(&mut tx, key.id, api.clock.now()).await.expect("only once"));
        tx.commit().await.expect("committed");
        for asked in [&own, &one] {
            assert_eq!(asked.send(api.address).await.refused(401), "invalid_api_key");
        }
        assert_eq!(api.get_as(&api.write, "/v1/customers").await.status, 200, "one key alone");
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_key_is_kept_as_a_hash_and_listed_by_its_hint_and_last_use() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let listed = async |api: &Api| {
            let mut tx = api.db.snapshot().await.expect("a snapshot");
            keys::list(&mut tx, Some("test")).await.expect("a list")
        };
        let before = listed(&api).await;
        let [key] = before.as_slice() else { panic!("one key of `test`: {before:?}") };
        let last: String = api.other.chars().skip(api.other.len() - 4).collect();
        assert_eq!(key.hint, format!("sk_test_…{last}"));
        assert_eq!((key.live, key.last_used_at), (false, None));
        let one = "/v1/customers/cus_00000000000000000000000000";
        assert_eq!(api.get_as(&api.other, one).await.status, 404);
        let used = eventually(
            "the use is written down",
            async || listed(&api).await[0].last_used_at,
            Option::is_some,
        )
        .await;
        assert_eq!(used, Some(api.clock.now()));
        let mut tx = api.db.snapshot().await.expect("a snapshot");
        let hashes: Vec<(String,)> =
            tx.query("select hash from api_keys").all().await.expect("hashes");
        assert!(hashes.iter().all(|(hash,)| hash.len() == 64 && !api.other.contains(hash)));
        drop(tx);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn only_an_admin_key_sees_bodies_and_replays() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let id = api.inbound(|event| event.verdict = "rejected").await;
        let path = format!("/v1/inbound-events/{id}");
        for key in [&api.read, &api.write] {
            let shown = api.get_as(key, &path).await.ok();
            assert!(shown.get("body").is_none() && shown.get("headers").is_none(), "{shown}");
            let replay = api.post_as(key, &format!("{path}/replay")).await;
            assert_eq!(replay.refused(403), "insufficient_scope");
        }
        let shown = api.get_as(&api.admin, &path).await.ok();
        assert_eq!(shown["body"], "{\"type\":\"customer.recorded\"}");
        assert_eq!(shown["headers"][0][1], "msg_1");
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_key_of_another_environment_cannot_tell_what_is_there_from_what_is_not() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let (customer, root) = api.customer(named("ada")).await;
        let payment = api.payment(Some(root), |_| {}).await;
        let event = api.inbound(|_| {}).await;
        let none = "00000000000000000000000000";
        let pairs = [
            (format!("/v1/customers/{customer}"), format!("/v1/customers/cus_{none}")),
            (
                format!("/v1/customers/{customer}/payments"),
                format!("/v1/customers/cus_{none}/payments"),
            ),
            (
                format!("/v1/customers/{customer}/subscriptions"),
                format!("/v1/customers/cus_{none}/subscriptions"),
            ),
            (
                "/v1/customers/lookup?external_id=ada".into(),
                "/v1/customers/lookup?external_id=nobody".into(),
            ),
            (format!("/v1/payments/{payment}"), format!("/v1/payments/pay_{none}")),
            (format!("/v1/inbound-events/{event}"), format!("/v1/inbound-events/inb_{none}")),
            (
                format!("/v1/customers?starting_after={customer}"),
                format!("/v1/customers?starting_after=cus_{none}"),
            ),
            (
                format!("/v1/payments?ending_before={payment}"),
                format!("/v1/payments?ending_before=pay_{none}"),
            ),
            (
                format!("/v1/inbound-events?starting_after={event}"),
                format!("/v1/inbound-events?starting_after=inb_{none}"),
            ),
            ("/v1/customers?external_id=ada".into(), "/v1/customers?external_id=nobody".into()),
        ];
        for (there, not_there) in &pairs {
            assert_eq!(api.get(there).await.status, 200, "{there}");
            let answers =
                [api.get_as(&api.other, there).await, api.get_as(&api.other, not_there).await];
            assert_eq!(answers[0].status, answers[1].status, "{there}");
            let [a, b] = answers.map(|answer| without_request_id(answer.json()));
            assert_eq!(a, b, "{there}");
        }
        for list in ["/v1/customers", "/v1/payments", "/v1/inbound-events"] {
            assert_eq!(api.get_as(&api.other, list).await.listed("id"), Vec::<Value>::new());
        }
        let replay = api.post_as(&api.other, &format!("/v1/inbound-events/{event}/replay")).await;
        assert_eq!(replay.refused(404), "inbound_event_not_found");
        api.stop().await;
    })
    .await;
}

fn without_request_id(mut body: Value) -> Value {
    body.as_object_mut().expect("an object").remove("request_id");
    body
}

/// Every operation that asks for a key, by the description of the API.
#[tokio::test]
async fn nothing_is_read_or_written_before_the_database_is_prepared() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        api.health.untried(SCHEMA, "not looked at yet");
        let paths = openapi::document()["paths"].as_object().expect("paths");
        let mut asked = 0;
        for (path, methods) in paths {
            for (method, operation) in methods.as_object().expect("methods") {
                let method = ["GET", "POST", "PATCH", "DELETE"]
                    .into_iter()
                    .find(|known| known.eq_ignore_ascii_case(method))
                    .expect("a method");
                // How the process is, is told all the same.
                if operation["security"] != json!([]) && path != "/metrics" {
                    let answer = Request::new(method, &path.replace(['{', '}'], "x"))
                        .key(&api.admin)
                        .send(api.address)
                        .await;
                    assert_eq!(answer.refused(503), "unavailable", "{method} {path}");
                    assert_eq!(answer.header("retry-after"), Some("5"));
                    asked += 1;
                }
            }
        }
        assert!(asked > 30, "{asked}");
        assert_eq!(Request::get("/healthz").send(api.address).await.status, 200);
        api.health.up(SCHEMA);
        api.get("/v1/customers").await.ok();
        api.stop().await;
    })
    .await;
}
