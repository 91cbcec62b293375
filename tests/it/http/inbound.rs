//! Inbound events, read and replayed.

use super::{Api, at};
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
        let applied = api.inbound(|event| event.received_at = at("2026-01-01T00:00:00Z")).await;
        let rejected = api.inbound(|event| event.verdict = "rejected").await;
        let other = api
            .inbound(|event| {
                event.source = "stripe".into();
                event.verdict = "rejected";
            })
            .await;
        api.inbound(|event| event.environment = None).await;
        let [applied, rejected, other] = [applied, rejected, other].map(|id| id.to_string());
        let listed =
            async |query: &str| api.get(&format!("/v1/inbound-events?{query}")).await.listed("id");
        assert_eq!(listed("").await, [other.clone(), rejected.clone(), applied.clone()]);
        assert_eq!(listed("verdict=rejected").await, [other.clone(), rejected.clone()]);
        assert_eq!(listed("verdict=rejected&source=app").await, [rejected.clone()]);
        assert_eq!(
            listed("since=2026-01-01T00:00:00.001Z").await,
            [other.clone(), rejected.clone()]
        );
        assert_eq!(listed("until=2026-01-01T00:00:00.001Z").await, [applied.clone()]);
        let page = format!("verdict=rejected&limit=1&starting_after={other}");
        assert_eq!(listed(&page).await, [rejected.clone()]);
        let back = format!("source=app&ending_before={applied}");
        assert_eq!(listed(&back).await, [rejected]);
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
async fn a_rejected_event_is_replayed_and_a_cut_sample_is_not() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let id = api.inbound(|event| event.verdict = "rejected").await;
        let replay = api.post_as(&api.admin, &format!("/v1/inbound-events/{id}/replay")).await.ok();
        assert_eq!((&replay["object"], &replay["id"]), (&json!("replay"), &json!(id.to_string())));
        assert!(replay["verdict"].is_string(), "{replay}");

        let cut = InboundId(api.clock.new_id());
        let refusal = Refusal {
            id: cut,
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
        let answer = api.post_as(&api.admin, &format!("/v1/inbound-events/{cut}/replay")).await;
        assert_eq!(answer.refused(409), "body_not_kept");
        for id in ["inb_00000000000000000000000000", "nonsense"] {
            let answer = api.post_as(&api.admin, &format!("/v1/inbound-events/{id}/replay")).await;
            assert_eq!(answer.refused(404), "inbound_event_not_found");
        }
        api.stop().await;
    })
    .await;
}
