//! Webhook endpoints and messages, managed.

mod headers;
mod recoveries;

use super::{Api, Request};
use crate::support::{
    receiver::{Receiver, Reply},
    services::{TestDatabase, on_both},
};
use customer_sync::{
    deliver,
    http::Settings,
    model::{
        id::{EndpointId, MessageId},
        message::EventType,
        time::Timestamp,
    },
    store::{
        self,
        messages::{self, NewEvent, NewMessage},
    },
};
use serde_json::{Value, json};

/// An API that may send to this machine.
pub(super) async fn start(database: &TestDatabase) -> Api {
    let local = vec!["127.0.0.0/8".parse().expect("a network")];
    let webhooks = deliver::Settings::default().guarded_by(true, local);
    Api::start_with(database, Settings { webhooks, ..Settings::default() }).await
}

impl Api {
    fn request(&self, method: &'static str, path: &str, body: &Value) -> Request {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        Request::with_body(method, path, body.as_bytes())
            .key(&self.admin)
            .header("content-type", "application/json")
    }

    async fn ask(&self, method: &'static str, path: &str, body: Value) -> super::Answer {
        self.request(method, path, &body).send(self.address).await
    }

    /// Makes an endpoint; its id and secret.
    async fn endpoint(&self, body: Value) -> (String, String) {
        let made = self.ask("POST", "/v1/webhook-endpoints", body).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let text = |field: &str| made.json()[field].as_str().expect("a text").to_owned();
        (text("id"), text("secret"))
    }

    /// Writes messages to an endpoint, of a status.
    async fn messages(&self, endpoint: &str, count: usize, status: &'static str) -> Vec<MessageId> {
        let endpoint: EndpointId = endpoint.parse().expect("an id");
        let mut tx = self.db.begin().await.expect("begins");
        let now = store::now(&mut tx, self.clock.now()).await.expect("the time");
        let (mut events, mut told) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let event = NewEvent {
                id: self.clock.new_id(),
                environment: "live".into(),
                kind: EventType::CustomerCreated.as_str(),
                customer_id: None,
                payment_id: None,
                subscription_id: None,
                version: None,
                body: "{\"type\":\"customer.created\"}".into(),
                traceparent: None,
            };
            told.push(NewMessage {
                id: self.clock.new_id(),
                event_id: event.id,
                endpoint_id: endpoint.0,
                environment: "live".into(),
                customer_id: None,
                version: None,
                ordered: false,
                lease: None,
                leased_until: None,
                due_at: now,
                once: false,
            });
            events.push(event);
        }
        messages::write(&mut tx, &events, &told, now).await.expect("written");
        if status != "pending" {
            for message in &told {
                tx.query("update messages set status = $1, attempts = 10, finished_at = $2 where id = $3")
                    .bind(status.to_owned())
                    .bind(now)
                    .bind(MessageId(message.id))
                    .execute()
                    .await
                    .expect("changed");
            }
        }
        tx.commit().await.expect("commits");
        told.into_iter().map(|message| MessageId(message.id)).collect()
    }

    async fn statuses(&self, endpoint: &str) -> Vec<Value> {
        self.get(&format!("/v1/webhook-messages?endpoint_id={endpoint}")).await.listed("status")
    }
}

#[tokio::test]
async fn an_endpoint_is_made_changed_and_deleted() {
    on_both(async |database| {
        let api = start(&database).await;
        let body = json!({
            "url": "http://127.0.0.1:9/hook", "name": "app", "description": "The app",
            "event_types": ["payment.*", "customer.created"], "headers": {"X-Tenant": "hush"},
            "timeout_ms": 5_000, "schedule": [1, 2, 3], "rate_limit": 7, "ordered": true,
        });
        let create = api
            .request("POST", "/v1/webhook-endpoints", &body)
            .header("idempotency-key", "make it once");
        let create = Request::header(create, "x-request-id", "r1");
        let made = create.send(api.address).await;
        assert_eq!(made.status, 400, "a key has no spaces");
        let create = || {
            api.request("POST", "/v1/webhook-endpoints", &body).header("idempotency-key", "once-1")
        };
        let made = create().send(api.address).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let endpoint = made.json();
        let secret = endpoint["secret"].as_str().expect("a secret").to_owned();
        assert!(secret.starts_with("whsec_") && !made.text.contains("hush"));
        for (field, value) in [
            ("object", json!("webhook_endpoint")),
            ("environment", json!("live")),
            ("url", body["url"].clone()),
            ("event_types", body["event_types"].clone()),
            ("headers", json!({"X-Tenant": "[secret]"})),
            ("schedule", json!([1, 2, 3])),
            ("rate_limit", json!(7)),
            ("ordered", json!(true)),
            ("signature_style", json!("standard")),
            ("enabled", json!(true)),
            ("breaker", json!("closed")),
            ("paused_until", json!(null)),
            ("secrets", json!([{"expires_at": null}])),
        ] {
            assert_eq!(endpoint[field], value, "{field}");
        }
        let again = create().send(api.address).await;
        assert_eq!((again.status, again.header("idempotency-replay")), (201, Some("true")));
        assert!(again.json()["id"] == endpoint["id"] && again.json().get("secret").is_none());
        let taken = api.ask("POST", "/v1/webhook-endpoints", body.clone()).await;
        assert_eq!(taken.refused(409), "endpoint_name_taken");

        let id = endpoint["id"].as_str().expect("an id");
        let path = format!("/v1/webhook-endpoints/{id}");
        assert!(!api.get(&path).await.text.contains(&secret));
        assert_eq!(api.get("/v1/webhook-endpoints").await.listed("id"), [json!(id)]);
        let other = api.get_as(&api.other, &path).await;
        assert_eq!(other.refused(404), "webhook_endpoint_not_found", "of another environment");

        let change = json!({
            "url": "http://127.0.0.1:8/", "rate_limit": null, "headers": {"x-tenant": null, "a": "b"},
            "enabled": false, "ed25519": true,
        });
        let changed = api.ask("PATCH", &path, change).await.ok();
        assert_eq!(changed["url"], "http://127.0.0.1:8/");
        assert_eq!((changed.get("rate_limit"), &changed["schedule"]), (None, &json!([1, 2, 3])));
        assert_eq!(changed["headers"], json!({"a": "[secret]"}));
        assert_eq!(changed["enabled"], false);
        let key = changed["secrets"][0]["public_key"].as_str().expect("a public key");
        assert!(key.starts_with("whpk_"));
        assert_eq!(api.get(&path).await.ok(), changed);
        let (second, _) = api.endpoint(json!({"url": "http://127.0.0.1:9/"})).await;
        let second = format!("/v1/webhook-endpoints/{second}");
        let rename = api.ask("PATCH", &second, json!({"name": "app"})).await;
        assert_eq!(rename.refused(409), "endpoint_name_taken");
        api.ask("DELETE", &second, Value::Null).await.ok();

        let deleted = api.ask("DELETE", &path, Value::Null).await.ok();
        assert_eq!((&deleted["id"], &deleted["deleted"]), (&json!(id), &json!(true)));
        assert_eq!(api.get(&path).await.refused(404), "webhook_endpoint_not_found");
        assert_eq!(api.get("/v1/webhook-endpoints").await.listed("id"), [] as [Value; 0]);
        api.endpoint(body).await;
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_an_endpoint_is_named() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let path = "/v1/webhook-endpoints";
        let good = json!({"url": "https://app.example/"});
        let (id, _) = api.endpoint(good.clone()).await;
        for (field, value) in [
            ("url", json!("http://app.example/")),
            ("url", json!("https://127.0.0.1/")),
            ("url", json!("app.example")),
            ("url", json!(7)),
            ("event_types", json!(["payments.*"])),
            ("event_types", json!([])),
            ("event_types", json!("*")),
            ("schedule", json!([10, 5])),
            ("schedule", json!([1_000_000_000])),
            ("schedule", json!(vec![1; 51])),
            ("schedule", json!([])),
            ("schedule", json!(["5s"])),
            ("headers", json!({"Host": "a"})),
            ("headers", json!({"webhook-id": "a"})),
            ("headers", json!({"content-length": "1"})),
            ("headers", json!({"a": 1})),
            ("timeout_ms", json!(1)),
            ("rate_limit", json!(0)),
            ("rate_limit", json!(-1)),
            ("signature_style", json!("md5")),
            ("signature_header", json!("x-a")),
            ("ordered", json!("yes")),
            ("colour", json!("red")),
        ] {
            let mut body = good.clone();
            body[field] = value.clone();
            let (status, _, param) = api.ask("POST", path, body).await.error();
            assert_eq!((status, param.as_deref()), (400, Some(field)), "{field}: {value}");
            let patch = api.ask("PATCH", &format!("{path}/{id}"), json!({field: value})).await;
            let (status, _, param) = patch.error();
            assert_eq!((status, param.as_deref()), (400, Some(field)), "PATCH {field}: {value}");
        }
        for secret in ["", "whsec_", "whsec_c2hvcnQ=", "hunter2"] {
            let body = json!({"url": "https://app.example/", "secret": secret});
            let (status, _, param) = api.ask("POST", path, body).await.error();
            assert_eq!((status, param.as_deref()), (400, Some("secret")), "{secret}");
            let rotate = format!("{path}/{id}/rotate-secret");
            let (status, _, param) =
                api.ask("POST", &rotate, json!({"secret": secret})).await.error();
            assert_eq!((status, param.as_deref()), (400, Some("secret")), "{secret}");
        }
        let (status, _, param) = api.ask("POST", path, json!({})).await.error();
        assert_eq!((status, param.as_deref()), (400, Some("url")));
        for overlap in [json!(-1), json!(604_801), json!("1d")] {
            let rotate = format!("{path}/{id}/rotate-secret");
            let body = json!({"overlap_seconds": overlap});
            let (status, _, param) = api.ask("POST", &rotate, body).await.error();
            assert_eq!((status, param.as_deref()), (400, Some("overlap_seconds")));
        }
        let write = Request::with_body("POST", path, good.to_string().as_bytes())
            .key(&api.write)
            .header("content-type", "application/json");
        assert_eq!(write.send(api.address).await.refused(403), "insufficient_scope");
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_rotation_shows_the_new_secret_once_and_when_the_old_one_ends() {
    on_both(async |database| {
        let api = start(&database).await;
        let (id, first) = api.endpoint(json!({"url": "http://127.0.0.1:9/"})).await;
        let path = format!("/v1/webhook-endpoints/{id}/rotate-secret");
        let rotated = api.ask("POST", &path, Value::Null).await.ok();
        assert!(rotated["secret"].is_string() && rotated["secret"] != json!(first));
        assert_eq!(rotated["secrets"][0], json!({"expires_at": null}));
        let end = rotated["secrets"][1]["expires_at"].as_str().and_then(Timestamp::parse);
        let mut tx = api.db.snapshot().await.expect("begins");
        let now = store::now(&mut tx, api.clock.now()).await.expect("the time");
        let left = end.expect("a time").seconds() - now.seconds();
        assert!((86_300..=86_400).contains(&left), "{left}");
        drop(tx);
        let rotated = api.ask("POST", &path, json!({"overlap_seconds": 0})).await.ok();
        assert_eq!(rotated["secrets"], json!([{"expires_at": null}]));
        for _ in 0..4 {
            api.ask("POST", &path, Value::Null).await.ok();
        }
        assert_eq!(api.ask("POST", &path, Value::Null).await.refused(409), "too_many_secrets");
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_test_is_sent_at_once_and_answered_with_its_try() {
    on_both(async |database| {
        let (api, receiver) = (start(&database).await, Receiver::start().await);
        receiver.script("/", [Reply::Status(503)]);
        let (id, secret) =
            api.endpoint(json!({"url": receiver.url("/"), "event_types": ["payment.*"]})).await;
        let path = format!("/v1/webhook-endpoints/{id}");
        let failed = api.ask("POST", &format!("{path}/test"), Value::Null).await.ok();
        assert_eq!(failed["delivered"], false);
        assert_eq!(failed["attempt"]["status_code"], 503);
        assert_eq!(failed["attempt"]["object"], "webhook_attempt");
        api.ask("PATCH", &path, json!({"enabled": false})).await.ok();
        let good = api.ask("POST", &format!("{path}/test"), Value::Null).await.ok();
        assert_eq!(
            (&good["delivered"], &good["attempt"]["outcome"]),
            (&json!(true), &json!("delivered"))
        );
        let came = receiver.requests("/");
        assert_eq!(came.len(), 2);
        assert_eq!(came[1].json()["type"], "webhook.test");
        assert_eq!(came[1].header("webhook-id"), good["message_id"]);
        assert!(came[1].is_signed_with(&secret));
        assert_eq!(api.statuses(&id).await, ["delivered", "dead"], "it is not tried again");
        let again = format!(
            "/v1/webhook-messages/{}/resend",
            failed["message_id"].as_str().expect("an id")
        );
        assert_eq!(api.ask("POST", &again, Value::Null).await.refused(409), "message_is_test");
        let none = "/v1/webhook-endpoints/whe_00000000000000000000000000/test";
        let unknown = api.ask("POST", none, Value::Null).await;
        assert_eq!(unknown.refused(404), "webhook_endpoint_not_found");
        api.stop().await;
    })
    .await;
}

/// Pain point 14 (getlago/lago-api#4686): in development one wants to send again what was delivered.
#[tokio::test]
async fn a_test_under_an_idempotency_key_is_sent_once() {
    on_both(async |database| {
        let api = start(&database).await;
        let receiver = Receiver::start().await;
        let (id, _) = api.endpoint(json!({"url": receiver.url("/hook")})).await;
        let path = format!("/v1/webhook-endpoints/{id}/test");
        let keyed = async |key: &str| {
            let request = api.request("POST", &path, &Value::Null);
            request.header("idempotency-key", key).send(api.address).await
        };
        receiver.script("/hook", [Reply::Slow(std::time::Duration::from_millis(300))]);
        let (first, second) = tokio::join!(keyed("k1"), keyed("k1"));
        let in_use = if first.status == 409 { &first } else { &second };
        let first = if first.status == 409 { &second } else { &first };
        assert_eq!(in_use.refused(409), "idempotency_key_in_use");
        assert_eq!(
            (&first.ok()["delivered"], first.header("idempotency-replay")),
            (&json!(true), None)
        );
        let again = keyed("k1").await;
        assert_eq!(again.header("idempotency-replay"), Some("true"));
        assert_eq!(again.ok(), first.ok());
        assert_eq!(receiver.count("/hook"), 1);
        let other = api.request("POST", &format!("{path}?"), &json!({}));
        let other = other.header("idempotency-key", "k1").send(api.address).await;
        assert_eq!(other.refused(409), "idempotency_params_mismatch");
        assert_ne!(keyed("k2").await.ok()["message_id"], first.ok()["message_id"]);
        assert_eq!(receiver.count("/hook"), 2);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn messages_are_listed_read_sent_again_and_called_off() {
    on_both(async |database| {
        let api = start(&database).await;
        let (id, _) = api.endpoint(json!({"url": "http://127.0.0.1:9/"})).await;
        let (other, _) = api.endpoint(json!({"url": "http://127.0.0.1:9/b"})).await;
        let [delivered] = api.messages(&id, 1, "delivered").await[..] else { panic!("one") };
        let [dead] = api.messages(&other, 1, "dead").await[..] else { panic!("one") };
        let [waiting] = api.messages(&id, 1, "pending").await[..] else { panic!("one") };
        let all = [waiting, dead, delivered].map(|id| id.to_string());
        let listed = async |query: &str| {
            api.get(&format!("/v1/webhook-messages?{query}")).await.listed("id")
        };
        assert_eq!(listed("").await, all);
        assert_eq!(listed("status=dead").await, [all[1].clone()]);
        assert_eq!(listed(&format!("endpoint_id={id}")).await, [all[0].clone(), all[2].clone()]);
        assert_eq!(listed(&format!("limit=1&starting_after={waiting}")).await, [all[1].clone()]);
        assert_eq!(listed(&format!("ending_before={delivered}&limit=1")).await, [all[1].clone()]);
        assert_eq!(listed("limit=1&offset=2").await, [all[2].clone()]);
        assert_eq!(listed("until=2001-01-01T00:00:00Z").await, [] as [Value; 0]);
        for (query, param) in [
            ("status=lost", "status"),
            ("endpoint_id=7", "endpoint_id"),
            ("since=now", "since"),
            ("kind=x", "kind"),
            ("starting_after=msg_00000000000000000000000000", "starting_after"),
        ] {
            let wrong = api.get(&format!("/v1/webhook-messages?{query}")).await;
            let (status, _, named) = wrong.error();
            assert_eq!((status, named.as_deref()), (400, Some(param)), "{query}");
        }
        assert_eq!(
            api.get_as(&api.other, "/v1/webhook-messages").await.listed("id"),
            [] as [Value; 0]
        );

        let path = |id: MessageId| format!("/v1/webhook-messages/{id}");
        let one = api.get(&path(delivered)).await.ok();
        assert_eq!(one["payload"], json!({"type": "customer.created"}));
        assert_eq!((&one["type"], &one["attempts"]), (&json!("customer.created"), &json!(10)));
        assert_eq!(one["next_attempt_at"], Value::Null);
        let tries = api.get(&format!("{}/attempts", path(delivered))).await;
        assert_eq!(tries.listed("id"), [] as [Value; 0]);

        let again = api.ask("POST", &format!("{}/resend", path(delivered)), Value::Null).await.ok();
        assert_eq!((&again["status"], &again["attempts"]), (&json!("pending"), &json!(0)));
        assert!(again["next_attempt_at"].is_string() && again["finished_at"].is_null());
        let off = api.ask("POST", &format!("{}/cancel", path(waiting)), Value::Null).await.ok();
        assert_eq!(off["status"], "canceled");
        let twice = api.ask("POST", &format!("{}/cancel", path(waiting)), Value::Null).await;
        assert_eq!(twice.refused(409), "message_not_pending");
        for action in ["resend", "cancel"] {
            let path = format!("{}/{action}", path(dead));
            assert_eq!(api.post_as(&api.read, &path).await.refused(403), "insufficient_scope");
            let foreign = api.post_as(&api.other, &path).await;
            assert_eq!(foreign.refused(404), "webhook_message_not_found");
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_waits_for_a_deleted_endpoint_is_called_off_visibly() {
    on_both(async |database| {
        let api = start(&database).await;
        let (id, _) = api.endpoint(json!({"url": "http://127.0.0.1:9/"})).await;
        api.messages(&id, 2, "pending").await;
        let [delivered] = api.messages(&id, 1, "delivered").await[..] else { panic!("one") };
        let path = format!("/v1/webhook-endpoints/{id}");
        api.ask("DELETE", &path, Value::Null).await.ok();
        assert_eq!(api.statuses(&id).await, ["delivered", "canceled", "canceled"]);
        let resend = format!("/v1/webhook-messages/{delivered}/resend");
        let refused = api.ask("POST", &resend, Value::Null).await;
        assert_eq!(refused.refused(409), "endpoint_deleted");
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn inbound_events_are_replayed_by_filter() {
    on_both(async |database| {
        let api = start(&database).await;
        for source in ["app", "app", "app", "sandbox"] {
            api.inbound(|event| {
                event.verdict = "rejected";
                event.source = source.into();
            })
            .await;
        }
        api.inbound(|_| {}).await;
        let path = "/v1/inbound-events/replay";
        let first = json!({"verdict": "rejected", "source": "app", "limit": 2});
        let answer = api.ask("POST", path, first.clone()).await.ok();
        assert_eq!((&answer["replayed"], &answer["has_more"]), (&json!(2), &json!(true)));
        assert_eq!(answer["verdicts"], json!({"rejected": 2}), "they are not signed");
        let mut next = first;
        next["starting_after"] = answer["next_cursor"].clone();
        let answer = api.ask("POST", path, next).await.ok();
        assert_eq!((&answer["replayed"], &answer["has_more"]), (&json!(1), &json!(false)));
        for (body, param) in [
            (json!({}), "verdict"),
            (json!({"verdict": "applied"}), "verdict"),
            (json!({"verdict": "dead", "limit": 0}), "limit"),
            (json!({"verdict": "dead", "since": 7}), "since"),
            (json!({"verdict": "dead", "all": true}), "all"),
        ] {
            let (status, _, named) = api.ask("POST", path, body).await.error();
            assert_eq!((status, named.as_deref()), (400, Some(param)));
        }
        api.stop().await;
    })
    .await;
}
