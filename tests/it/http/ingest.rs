//! Webhooks in.

use super::{Api, Request};
use crate::support::services::on_both;
use customer_sync::{
    model::{id::InboundId, inbound::Headers},
    store::{
        browse::{InboundFilter, Page, inbound_events},
        refusals::{BODY_KEPT, KEPT, Refusal, record},
    },
};
use serde_json::{Value, json};

const BODY: &[u8] = b"{\"id\":\"e1\",\"type\":\"customer.recorded\"}";

/// What waits in the embedded queue: source, headers, body.
async fn queued(api: &Api) -> Vec<(String, String, Vec<u8>)> {
    let mut tx = api.db.snapshot().await.expect("a snapshot");
    tx.query("select source, cast(headers as text), body from intake_queue order by id")
        .all()
        .await
        .expect("the queue is read")
}

#[tokio::test]
async fn a_signed_event_is_kept_with_the_headers_that_its_scheme_reads() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let signed = api.signed(BODY);
        let request = Request::post("/ingest/app", BODY)
            .headers(signed.iter())
            .header("cookie", "session=1")
            .header("x-source", "sandbox")
            .header("x-received-at", "2020-01-01T00:00:00Z");
        for address in [api.address, api.ingest] {
            let answer = request.send(address).await;
            assert_eq!((answer.status, answer.json()), (202, json!({ "received": true })));
        }
        let queued = queued(&api).await;
        assert_eq!(queued.len(), 2);
        for (source, headers, body) in queued {
            assert_eq!((source.as_str(), body.as_slice()), ("app", BODY));
            assert!(headers.contains("webhook-signature"), "{headers}");
            assert!(!headers.contains("session") && !headers.contains("x-"), "{headers}");
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_body_that_cannot_be_used_is_taken_once_it_verifies() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let body = b"\xff\x00 no JSON at all";
        let request = Request::post("/ingest/app", body).headers(api.signed(body).iter());
        assert_eq!(request.send(api.address).await.status, 202);
        assert_eq!(queued(&api).await[0].2, body);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_is_answered_sampled_and_not_queued() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let large = vec![b'x'; 1_024 * 1_024 + 1];
        let unsigned = Request::post("/ingest/app", BODY).header("webhook-id", "msg_9");
        let forged = Request::post("/ingest/app", b"{}").headers(api.signed(BODY).iter());
        let too_large = Request::post("/ingest/app", &large).headers(api.signed(&large).iter());
        let unknown = Request::post("/ingest/no%00body", BODY).header("authorization", "secret");
        let sandbox = Request::post("/ingest/sandbox", b"unsigned");
        assert_eq!(unsigned.send(api.address).await.refused(401), "invalid_signature");
        assert_eq!(forged.send(api.address).await.refused(401), "invalid_signature");
        assert_eq!(too_large.send(api.address).await.refused(413), "body_too_large");
        assert_eq!(unknown.send(api.address).await.refused(404), "unknown_source");
        assert_eq!(sandbox.send(api.address).await.refused(401), "invalid_signature");
        assert_eq!(queued(&api).await, []);

        let listed = api.get("/v1/inbound-events?verdict=rejected").await;
        assert_eq!(listed.listed("refused"), [true, true, true]);
        assert_eq!(listed.listed("source"), ["app", "app", "app"]);
        let reasons = listed.listed("reason");
        assert_eq!(reasons[0], "the body is larger than 1048576 bytes");
        assert!(reasons.iter().all(Value::is_string), "{reasons:?}");
        let ids = listed.listed("id");
        let shown = async |id: &Value| {
            let path = format!("/v1/inbound-events/{}", id.as_str().expect("an id"));
            api.get_as(&api.admin, &path).await.ok()
        };
        assert_eq!(shown(&ids[0]).await["body"].as_str().map(str::len), Some(BODY_KEPT));
        let unsigned = shown(&ids[2]).await;
        assert_eq!(unsigned["headers"], json!([["webhook-id", "msg_9"]]));
        assert_eq!(unsigned["body"].as_str().map(str::as_bytes), Some(BODY));

        // Whoever is nobody has no environment: no key sees it, the command line does.
        let mut tx = api.db.snapshot().await.expect("a snapshot");
        let all = inbound_events(&mut tx, &InboundFilter::default(), Page::newest(10)).await;
        let all = all.expect("a page").expect("no cursor").items;
        let nobody = all.iter().find(|event| event.environment.is_none()).expect("it is kept");
        assert_eq!(
            (nobody.source.as_str(), nobody.reason.as_deref()),
            ("nobody", Some("unknown source"))
        );
        assert_eq!(all.len(), 5);
        drop(tx);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_latest_thousand_refusals_of_a_source_are_kept_and_of_all_unknown_ones_together() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let more = KEPT + 5;
        let refusal = |n: i64, environment: Option<&str>, source: String| Refusal {
            id: InboundId(api.clock.new_id()),
            environment: environment.map(Into::into),
            source: source.into(),
            headers: Headers::default(),
            body: Vec::new(),
            reason: n.to_string(),
            received_at: api.clock.now(),
        };
        let mut all: Vec<Refusal> = Vec::new();
        for n in 0..more {
            all.push(refusal(n, Some("live"), "app".into()));
            all.push(refusal(n, None, format!("nobody {}", n % 2)));
        }
        all.push(refusal(0, Some("test"), "sandbox".into()));
        let mut tx = api.db.begin().await.expect("a transaction");
        record(&mut tx, all, api.clock.now()).await.expect("recorded");
        let kept: Vec<(String, i64, String)> = tx
            .query(
                "select coalesce(environment, 'none'), count(*), min(cast(reason as integer)) || ''
                 from inbound_events group by environment order by 1",
            )
            .all()
            .await
            .expect("counted");
        let kept: Vec<(&str, i64, &str)> =
            kept.iter().map(|(e, count, first)| (e.as_str(), *count, first.as_str())).collect();
        assert_eq!(kept, [("live", KEPT, "5"), ("none", KEPT, "5"), ("test", 1, "0")]);
        drop(tx);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_kept_is_to_be_sent_again() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        api.db.close().await;
        let request = Request::post("/ingest/app", BODY).headers(api.signed(BODY).iter());
        let answer = request.send(api.address).await;
        assert_eq!(answer.refused(503), "unavailable");
        assert_eq!(answer.header("retry-after"), Some("5"));
        // A forged one is still told apart, though no sample of it can be kept.
        let forged = Request::post("/ingest/app", b"{}").headers(api.signed(BODY).iter());
        assert_eq!(forged.send(api.address).await.refused(401), "invalid_signature");
        api.stop().await;
    })
    .await;
}
