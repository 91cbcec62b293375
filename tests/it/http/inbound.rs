//! Inbound events, read and replayed.

use super::{Api, Request, at};
use crate::support::services::on_both;
use customer_sync::{
    model::{id::InboundId, inbound::Headers},
    store::refusals::{BODY_KEPT, Refusal, record},
};
use serde_json::json;

#[tokio::test]
async fn inbound_events_are_shown_with_their_verdict() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let id = api
            .inbound(|event| {
                event.body = b"\xff\x00".as_slice().into();
                event.copies = 3;
            })
            .await;
        let mut whole = json!({
            "object": "inbound_event", "id": id.to_string(), "environment": "live", "live": true,
            "source": "app", "event_id": "msg_1", "type": "customer.recorded",
            "verdict": "applied", "reason": null, "notes": ["phone is no E.164 phone number"],
            "verified": true, "refused": false, "copies": 3, "resent_changed": false,
            "occurred_at": "2026-03-01T12:00:00.000Z", "received_at": "2026-03-01T12:00:00.000Z",
            "recorded_at": "2026-03-01T12:00:00.000Z",
        });
        let path = format!("/v1/inbound-events/{id}");
        assert_eq!(api.get(&path).await.ok(), whole);
        assert_eq!(api.get("/v1/inbound-events").await.ok()["data"], json!([whole]));
        let more = json!({ "headers": [["webhook-id", "msg_1"]], "body": "/wA=", "body_encoding": "base64" });
        for (name, value) in more.as_object().expect("an object") {
            whole[name] = value.clone();
        }
        assert_eq!(api.get_as(&api.admin, &path).await.ok(), whole);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn inbound_events_are_listed_by_verdict_source_and_time() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let first = api.inbound(|event| event.received_at = at("2026-01-01T00:00:00Z")).await;
        let second = api.inbound(|event| event.verdict = "rejected").await;
        let third = api
            .inbound(|event| {
                event.source = "stripe".into();
                event.verdict = "rejected";
            })
            .await;
        api.inbound(|event| event.environment = None).await;
        let ids = [first, second, third].map(|id| id.to_string());
        let [first, second, third] = [0, 1, 2].map(|place: usize| ids[place].as_str());
        let listed =
            async |query: &str| api.get(&format!("/v1/inbound-events?{query}")).await.listed("id");
        assert_eq!(listed("").await, [third, second, first]);
        assert_eq!(listed("verdict=rejected").await, [third, second]);
        assert_eq!(listed("verdict=rejected&source=app").await, [second]);
        assert_eq!(listed("since=2026-01-01T00:00:00.001Z").await, [third, second]);
        assert_eq!(listed("until=2026-01-01T00:00:00.001Z").await, [first]);
        let page = format!("verdict=rejected&limit=1&starting_after={third}");
        assert_eq!(listed(&page).await, [second]);
        let back = format!("source=app&ending_before={first}");
        assert_eq!(listed(&back).await, [second]);
        for (query, param) in [
            ("verdict=good", "verdict"),
            ("since=yesterday", "since"),
            ("until=2026-13-01T00:00:00Z", "until"),
            ("since=2026-01-01T00:00:00Z&kind=x", "kind"),
        ] {
            let (status, _, named) = api.get(&format!("/v1/inbound-events?{query}")).await.error();
            assert_eq!((status, named.as_deref()), (400, Some(param)), "{query}");
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_rejected_event_is_replayed_and_nothing_else_is() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let replay = async |id: &str| {
            api.post_as(&api.admin, &format!("/v1/inbound-events/{id}/replay")).await
        };
        let rejected = api.inbound(|event| event.verdict = "rejected").await.to_string();
        let answer = replay(&rejected).await.ok();
        assert_eq!((&answer["object"], &answer["id"]), (&json!("replay"), &json!(rejected)));
        // It is not signed, and so is rejected again.
        assert_eq!(answer["verdict"], "rejected");
        assert!(answer["reason"].is_string(), "{answer}");

        let applied = api.inbound(|_| {}).await.to_string();
        assert_eq!(replay(&applied).await.refused(409), "not_replayable");
        for source in ["import", "import:stripe", "was taken out"] {
            let id = api
                .inbound(|event| {
                    event.verdict = "ignored";
                    event.source = source.into();
                })
                .await
                .to_string();
            assert_eq!(replay(&id).await.refused(409), "not_replayable", "{source}");
            let kept = api.get(&format!("/v1/inbound-events/{id}")).await.ok();
            assert_eq!((&kept["verdict"], &kept["source"]), (&json!("ignored"), &json!(source)));
        }
        let refused = InboundId(api.clock.new_id());
        let refusal = Refusal {
            id: refused,
            environment: Some("live".into()),
            source: "app".into(),
            headers: Headers::default(),
            body: vec![b'x'; 2 * BODY_KEPT],
            reason: "the body is too large".into(),
            received_at: api.clock.now(),
        };
        let mut tx = api.db.begin().await.expect("a transaction");
        record(&mut tx, vec![refusal], api.clock.now()).await.expect("recorded");
        tx.commit().await.expect("committed");
        assert_eq!(replay(&refused.to_string()).await.refused(409), "not_replayable");
        for id in ["inb_00000000000000000000000000", "nonsense"] {
            assert_eq!(replay(id).await.refused(404), "inbound_event_not_found");
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_replay_under_an_idempotency_key_is_answered_again_though_its_event_has_another_id() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let keyed = async |path: &str, body: &[u8]| {
            let request = Request::post(path, body).key(&api.admin);
            let request = request.header("content-type", "application/json");
            let key = format!("k1-{}", api.address.port());
            request.header("idempotency-key", &key).send(api.address).await
        };
        let id = api.inbound(|event| event.verdict = "rejected").await;
        let path = format!("/v1/inbound-events/{id}/replay");
        let first = keyed(&path, b"").await;
        let plain = Request::post(&path, b"").key(&api.admin).send(api.address).await;
        assert_eq!(plain.refused(404), "inbound_event_not_found");
        let again = keyed(&path, b"").await;
        assert_eq!((again.header("idempotency-replay"), again.ok()), (Some("true"), first.ok()));
        assert_eq!(keyed(&path, b"{\"a\": 1}").await.refused(400), "unknown_parameter");
        let rejected = async || api.get("/v1/inbound-events?verdict=rejected").await.listed("id");
        let all = "/v1/inbound-events/replay";
        api.inbound(|event| event.verdict = "rejected").await;
        let first = keyed(all, b"{\"verdict\": \"rejected\"}").await;
        assert_eq!(first.ok()["replayed"], 2);
        api.inbound(|event| event.verdict = "rejected").await;
        let before = rejected().await;
        let again = keyed(all, b"{\"verdict\": \"rejected\"}").await;
        assert_eq!((again.header("idempotency-replay"), again.ok()), (Some("true"), first.ok()));
        let other = keyed(all, b"{\"verdict\": \"ignored\"}").await;
        assert_eq!(other.refused(409), "idempotency_params_mismatch");
        assert_eq!(rejected().await, before, "nothing was replayed again");
        api.stop().await;
    })
    .await;
}
