//! A walk through the whole API, in which each operation answers once: where the description's examples come from.

use super::{
    super::{Api, Request, webhooks},
    held,
};
use crate::{
    pipeline::{event, paid, raw, stripe},
    support::{receiver::Receiver, services::TestDatabase},
};
use serde_json::{Map, Value, json};

/// The example of a name, as it is kept.
pub(super) fn example(name: &str) -> Value {
    let kept: Value =
        serde_json::from_str(include_str!("../../../../src/http/openapi/examples.json"))
            .expect("JSON");
    kept[name].clone()
}

struct Tour {
    api: Api,
    seen: Map<String, Value>,
}

/// What was asked and answered, by operation and status; of errors the first of each code.
pub(super) async fn take(database: &TestDatabase) -> Value {
    let api = webhooks::start(database).await;
    let receiver = Receiver::start().await;
    let mut tour = Tour { api, seen: Map::new() };
    tour.endpoints(&receiver).await;
    let ada = tour.customers().await;
    tour.what_hangs_on(&ada).await;
    tour.messages().await;
    tour.inbound().await;
    tour.process().await;
    tour.errors().await;
    tour.ends(&ada).await;
    let Tour { api, seen } = tour;
    api.stop().await;
    tidied(Value::Object(seen), &receiver.url(""))
}

impl Tour {
    async fn ask(&mut self, method: &'static str, target: &str, body: Value) -> Value {
        let sent = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::with_body(method, target, sent.as_bytes())
            .key(&self.api.admin)
            .header("content-type", "application/json");
        self.record(method, target, body, request).await
    }

    async fn record(
        &mut self,
        method: &'static str,
        target: &str,
        body: Value,
        request: Request,
    ) -> Value {
        // What happens at one time has no order.
        self.api.clock.advance(chrono::TimeDelta::seconds(1));
        let answer = request.send(self.api.address).await;
        let path = target.split('?').next().unwrap_or_default();
        let (id, _) = held::operation(method, path).expect("an operation");
        let told =
            serde_json::from_str(&answer.text).unwrap_or_else(|_| Value::from(answer.text.clone()));
        if answer.status < 400 {
            if !body.is_null() {
                self.seen.entry(format!("{id} request")).or_insert(body);
            }
            self.seen.entry(format!("{id} {}", answer.status)).or_insert(told.clone());
        } else {
            let code = told["error"]["code"].as_str().expect("a code").to_owned();
            self.seen.entry(code).or_insert(told.clone());
        }
        told
    }

    async fn endpoints(&mut self, receiver: &Receiver) {
        let list = "/v1/webhook-endpoints";
        let body = json!({
            "url": receiver.url("/hooks"), "name": "app", "description": "Our app",
            "event_types": ["customer.*", "payment.*"], "rate_limit": 50,
        });
        let made = self.ask("POST", list, body).await;
        let one = format!("{list}/{}", id(&made));
        self.ask("GET", list, Value::Null).await;
        self.ask("GET", &one, Value::Null).await;
        self.ask("PATCH", &one, json!({"description": null, "timeout_ms": 5_000, "ed25519": true}))
            .await;
        self.ask("POST", &format!("{one}/rotate-secret"), json!({"overlap_seconds": 3_600})).await;
        self.ask("POST", &format!("{one}/test"), Value::Null).await;
        let span = json!({"since": "2026-02-01T00:00:00Z", "until": "2026-02-02T00:00:00Z"});
        self.ask("POST", &format!("{one}/recover"), span).await;
        self.ask("GET", &format!("{one}/recoveries"), Value::Null).await;
        self.ask("POST", list, json!({"url": receiver.url("/hooks"), "name": "app"})).await;
    }

    /// The path of the customer that all the rest is about.
    async fn customers(&mut self) -> String {
        let profile = json!({
            "external_id": "user-42", "name": "Ada Lovelace", "email": "ada@example.org", "phone": "+15555550100",
            "tags": ["beta"], "metadata": {"plan": "pro", "seats": 3},
        });
        let made = self.ask("POST", "/v1/customers", profile.clone()).await;
        let ada = format!("/v1/customers/{}", id(&made));
        self.ask("POST", "/v1/customers", profile).await;
        let identify = "/v1/customers/identify";
        let known = json!({"external_id": "user-42", "provider": "clerk", "provider_uid": "user_2fXyz", "email_verified": true});
        self.ask("POST", identify, known).await;
        let moved =
            json!({"external_id": "user-43", "provider": "clerk", "provider_uid": "user_9kAbc"});
        self.ask("POST", identify, moved).await;
        // The same identity for another user: a conflict.
        let again =
            json!({"external_id": "user-44", "provider": "clerk", "provider_uid": "user_9kAbc"});
        self.ask("POST", identify, again).await;
        self.ask("PATCH", &ada, json!({"metadata": {"plan": "team", "seats": null}})).await;
        let subscription = json!({"id": "sub_1Mow", "status": "active", "plan": "price_1Mow"});
        let subscribed = json!({"external_id": "user-42", "subscription": subscription});
        let refund = json!({"id": "re_1", "payment_id": "pi_3Nx", "amount": 700, "currency": "USD", "status": "succeeded"});
        let events = [
            paid(1, "user-42", "pi_3Nx", 2_500),
            event(2, "refund.recorded", &json!({"external_id": "user-42", "refund": refund})),
            event(3, "subscription.recorded", &subscribed),
            stripe(
                4,
                "payment_intent.created",
                &json!({"id": "pi_4", "object": "payment_intent", "amount": 900,
                "currency": "usd", "status": "requires_payment_method", "created": 1_767_225_604}),
            ),
            raw("app", "no JSON"),
        ];
        for event in events {
            self.api.clock.advance(chrono::TimeDelta::seconds(1));
            self.api.events().process(&[event]).await.expect("it is applied");
        }
        ada
    }

    async fn what_hangs_on(&mut self, ada: &str) {
        let customers = "/v1/customers";
        self.ask("GET", &format!("{customers}?limit=1&include_total=true"), Value::Null).await;
        self.ask("GET", &format!("{customers}/lookup?external_id=user-42"), Value::Null).await;
        self.ask("GET", &format!("{customers}/top?limit=1"), Value::Null).await;
        self.ask("GET", ada, Value::Null).await;
        self.ask("GET", &format!("{ada}/payments"), Value::Null).await;
        self.ask("GET", &format!("{ada}/subscriptions"), Value::Null).await;
        self.ask("GET", &format!("{ada}/provenance"), Value::Null).await;
        let payments = self.ask("GET", "/v1/payments?limit=1", Value::Null).await;
        let payment = format!("/v1/payments/{}", id(&payments["data"][0]));
        self.ask("GET", &payment, Value::Null).await;
        let owner = ada.rsplit('/').next().expect("an id");
        self.ask("POST", &format!("{payment}/link"), json!({"customer_id": owner})).await;
        let conflicts = self.ask("GET", "/v1/conflicts?limit=1", Value::Null).await;
        let conflict = id(&conflicts["data"][0]);
        self.ask("POST", &format!("/v1/conflicts/{conflict}/resolve"), Value::Null).await;
        let other =
            self.ask("GET", &format!("{customers}/lookup?external_id=user-43"), Value::Null).await;
        self.ask("POST", &format!("{ada}/merge"), json!({"from": id(&other), "keep": "user-42"}))
            .await;
        self.ask("GET", &format!("{ada}/timeline"), Value::Null).await;
        self.ask("DELETE", &format!("{ada}/identities/clerk/user_2fXyz"), Value::Null).await;
    }

    async fn messages(&mut self) {
        let messages = "/v1/webhook-messages";
        let list =
            self.ask("GET", &format!("{messages}?status=pending&limit=1"), Value::Null).await;
        let one = format!("{messages}/{}", id(&list["data"][0]));
        self.ask("GET", &one, Value::Null).await;
        self.ask("POST", &format!("{one}/cancel"), Value::Null).await;
        self.ask("POST", &format!("{one}/resend"), Value::Null).await;
        // Only the test was sent.
        let sent = self.ask("GET", &format!("{messages}?status=delivered"), Value::Null).await;
        self.ask("GET", &format!("{messages}/{}/attempts", id(&sent["data"][0])), Value::Null)
            .await;
        let filter = json!({"type": "payment.*", "since": "2026-02-01T00:00:00Z"});
        let job = self.ask("POST", &format!("{messages}/resend"), filter).await;
        self.ask("GET", "/v1/webhook-recoveries", Value::Null).await;
        let job = format!("/v1/webhook-recoveries/{}", id(&job));
        self.ask("GET", &job, Value::Null).await;
        self.ask("POST", &format!("{job}/cancel"), Value::Null).await;
    }

    async fn inbound(&mut self) {
        let events = "/v1/inbound-events";
        let list =
            self.ask("GET", &format!("{events}?verdict=rejected&limit=1"), Value::Null).await;
        let one = format!("{events}/{}", id(&list["data"][0]));
        self.ask("GET", &one, Value::Null).await;
        self.ask("POST", &format!("{one}/replay"), Value::Null).await;
        self.ask(
            "POST",
            &format!("{events}/replay"),
            json!({"verdict": "rejected", "source": "app"}),
        )
        .await;
    }

    async fn process(&mut self) {
        let body = b"{\"id\":\"e9\",\"type\":\"customer.deleted\"}";
        let signed = self.api.signed(body);
        let request = Request::post("/ingest/app", body).headers(signed.iter());
        self.record("POST", "/ingest/app", Value::Null, request).await;
        let request = Request::post("/ingest/app", body);
        self.record("POST", "/ingest/app", Value::Null, request).await;
        for path in ["/healthz", "/readyz", "/metrics"] {
            self.ask("GET", path, Value::Null).await;
        }
    }

    async fn errors(&mut self) {
        let customers = "/v1/customers";
        let open = Request::get(customers);
        self.record("GET", customers, Value::Null, open).await;
        let small = Request::post(customers, b"{}").key(&self.api.read);
        self.record("POST", customers, Value::Null, small).await;
        let plain = Request::post(customers, b"name=Ada").key(&self.api.write);
        self.record("POST", customers, Value::Null, plain).await;
        let large = Request::post(customers, &vec![b' '; 1_024 * 1_024 + 1]).key(&self.api.write);
        self.record("POST", customers, Value::Null, large).await;
    }

    async fn ends(&mut self, ada: &str) {
        self.ask("DELETE", &format!("{ada}?payments=keep"), Value::Null).await;
        self.ask("GET", ada, Value::Null).await;
        let endpoints = self.ask("GET", "/v1/webhook-endpoints", Value::Null).await;
        self.ask(
            "DELETE",
            &format!("/v1/webhook-endpoints/{}", id(&endpoints["data"][0])),
            Value::Null,
        )
        .await;
    }
}

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap_or_else(|| panic!("no id: {value}")).to_owned()
}

/// Without what only this machine has: where the receiver was, and real secrets.
fn tidied(value: Value, receiver: &str) -> Value {
    match value {
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, tidied(value, receiver))).collect()
        }
        Value::Array(values) => values.into_iter().map(|value| tidied(value, receiver)).collect(),
        Value::String(text) if text.starts_with("whsec_") => {
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()
        }
        Value::String(text) => {
            text.replace(receiver.trim_end_matches('/'), "https://app.example").into()
        }
        other => other,
    }
}
