//! Conflicts, listed and settled; and with them what `Idempotency-Key` promises of every write.

use super::{Answer, Api, Request, records::named};
use crate::support::services::on_both;
use customer_sync::{
    model::id::{ConflictId, CustomerId},
    store::{
        customers::{self, Conflict},
        idempotency::{self, Begun},
    },
};
use serde_json::{Value, json};

impl Api {
    async fn conflict(&self, customer: CustomerId, detail: &str) -> ConflictId {
        let id = ConflictId(self.clock.new_id());
        let conflict = Conflict {
            id: id.0,
            environment: "live".into(),
            kind: "reference_moved",
            customer_id: Some(customer.0),
            payment_id: None,
            detail: detail.into(),
            created_at: self.clock.now(),
        };
        let mut tx = self.db.begin().await.expect("a transaction");
        customers::record_conflicts(&mut tx, &[conflict]).await.expect("recorded");
        tx.commit().await.expect("committed");
        id
    }

    async fn resolve(&self, id: ConflictId, key: Option<&str>, body: &str) -> Answer {
        let path = format!("/v1/conflicts/{id}/resolve");
        let request = Request::post(&path, body.as_bytes()).key(&self.admin);
        let request = request.header("content-type", "application/json");
        match key {
            Some(key) => request.header("idempotency-key", key).send(self.address).await,
            None => request.send(self.address).await,
        }
    }
}

#[tokio::test]
async fn a_conflict_is_listed_until_an_administrator_resolves_it() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let (customer, _) = api.customer(named("ada")).await;
        let first = api.conflict(customer, "uid_1 moved").await;
        let second = api.conflict(customer, "uid_2 moved").await;
        let listed =
            async |query: &str| api.get(&format!("/v1/conflicts{query}")).await.listed("id");
        assert_eq!(listed("").await, [json!(second), json!(first)]);
        assert_eq!(listed("?limit=1").await, [json!(second)]);
        assert_eq!(listed(&format!("?starting_after={second}")).await, [json!(first)]);
        let whole = api.get("/v1/conflicts").await.ok()["data"][1].clone();
        let expected = json!({
            "object": "conflict", "id": first, "environment": "live", "live": true,
            "kind": "reference_moved", "customer_id": customer, "payment_id": null,
            "detail": "uid_1 moved", "resolved_at": null, "created_at": "2026-03-01T12:00:00.000Z",
        });
        assert_eq!(whole, expected);

        let path = format!("/v1/conflicts/{first}/resolve");
        for key in [&api.read, &api.write] {
            assert_eq!(api.post_as(key, &path).await.refused(403), "insufficient_scope");
        }
        assert_eq!(api.post_as(&api.other, &path).await.refused(404), "conflict_not_found");
        assert_eq!(api.get_as(&api.other, "/v1/conflicts").await.listed("id"), Vec::<Value>::new());
        let resolved = api.post_as(&api.admin, &path).await.ok();
        assert_eq!(resolved["resolved_at"], "2026-03-01T12:00:00.000Z");
        api.clock.advance(chrono::TimeDelta::hours(1));
        assert_eq!(api.post_as(&api.admin, &path).await.ok(), resolved, "it keeps its time");
        assert_eq!(listed("?resolved=false").await, [json!(second)]);
        assert_eq!(listed("?resolved=true").await, [json!(first)]);
        let wrong = api.get("/v1/conflicts?resolved=maybe").await.error();
        assert_eq!(wrong, (400, "invalid_parameter".into(), Some("resolved".into())));
        let wrong = api.resolve(first, None, "{\"why\":1}").await.error();
        assert_eq!(wrong, (400, "unknown_parameter".into(), Some("why".into())));
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_write_is_done_once_for_each_idempotency_key_for_a_day() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let (customer, _) = api.customer(named("ada")).await;
        let id = api.conflict(customer, "uid_1 moved").await;
        let first = api.resolve(id, Some("k1"), "").await;
        assert_eq!((first.status, first.header("idempotency-replay")), (200, None));
        api.clock.advance(chrono::TimeDelta::hours(23));
        let again = api.resolve(id, Some("k1"), "").await;
        assert_eq!(again.header("idempotency-replay"), Some("true"));
        assert_eq!((again.status, again.text), (first.status, first.text.clone()));
        let other = api.resolve(id, Some("k1"), "{}").await;
        assert_eq!(other.refused(409), "idempotency_params_mismatch");
        // The same key means nothing on another path, and nothing after a day.
        let second = api.conflict(customer, "uid_2 moved").await;
        let elsewhere = api.resolve(second, Some("k1"), "").await;
        assert_eq!(elsewhere.header("idempotency-replay"), None);
        api.clock.advance(chrono::TimeDelta::hours(1));
        let late = api.resolve(id, Some("k1"), "{}").await;
        assert_eq!((late.status, late.header("idempotency-replay")), (200, None));
        for unusable in ["", "a b", &"x".repeat(256)] {
            let error = api.resolve(id, Some(unusable), "").await.error();
            let named = Some("Idempotency-Key".to_owned());
            assert_eq!(error, (400, "invalid_parameter".into(), named), "{unusable}");
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_refused_write_keeps_no_answer() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let nobody = ConflictId(api.clock.new_id());
        // What the refused one held is free as soon as it is answered.
        for _ in 0..20 {
            let refused = api.resolve(nobody, Some("k1"), "").await;
            assert_eq!(refused.refused(404), "conflict_not_found");
            assert_eq!(refused.header("idempotency-replay"), None);
        }
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_key_that_another_process_works_on_is_in_use() {
    let database = crate::support::services::postgres().await;
    let api = Api::start(&database).await;
    let (customer, _) = api.customer(named("ada")).await;
    let id = api.conflict(customer, "uid_1 moved").await;
    let path = format!("/v1/conflicts/{id}/resolve");
    let slot = idempotency::Slot {
        id: api.keyring.idempotency_id("live", "POST", &path, "k1"),
        request: api.keyring.request_hash("", b""),
    };
    let mut other = api.db.begin().await.expect("a transaction");
    let begun = idempotency::begin(&mut other, slot, api.clock.now()).await.expect("begun");
    assert_eq!(begun, Begun::New);
    let refused = api.resolve(id, Some("k1"), "").await;
    assert_eq!(refused.refused(409), "idempotency_key_in_use");
    let shown = api.get("/v1/conflicts").await.ok();
    assert_eq!(shown["data"][0]["resolved_at"], Value::Null, "nothing was done");
    // That process dies: nothing was done and nothing recorded.
    drop(other);
    let answer = crate::support::wait::eventually(
        "the key is free",
        async || api.resolve(id, Some("k1"), "").await,
        |answer| answer.status == 200,
    )
    .await;
    assert_eq!(answer.header("idempotency-replay"), None);
    api.stop().await;
}

#[tokio::test]
async fn many_requests_under_one_key_are_carried_out_once() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        let (customer, _) = api.customer(named("ada")).await;
        let id = api.conflict(customer, "uid_1 moved").await;
        let sent = (0..32).map(|_| api.resolve(id, Some("k1"), ""));
        let answers = futures_util::future::join_all(sent).await;
        let done = |answer: &&Answer| {
            answer.status == 200 && answer.header("idempotency-replay").is_none()
        };
        assert_eq!(answers.iter().filter(done).count(), 1);
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            assert_eq!(answer.refused(409), "idempotency_key_in_use");
        }
        let mut tx = api.db.begin().await.expect("a transaction");
        let sql = "select count(*) from idempotency_keys";
        assert_eq!(tx.query(sql).one::<(i64,)>().await.expect("a count").0, 1);
        let later = api.clock.now().plus(idempotency::KEPT);
        assert_eq!(idempotency::forget(&mut tx, later, 10).await.expect("forgotten"), 1);
        drop(tx);
        api.stop().await;
    })
    .await;
}
