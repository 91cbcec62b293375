//! Dead messages sent again by jobs.

use super::start;
use crate::{http::Api, support::services::on_both};
use customer_sync::store::{self, recoveries};
use serde_json::{Value, json};

impl Api {
    /// Carries the oldest job on by a look at so many messages, as a process would, and another one after a restart.
    async fn step(&self, most: i64) -> Option<(i64, &'static str)> {
        let mut tx = self.db.begin().await.expect("begins");
        let now = store::now(&mut tx, self.clock.now()).await.expect("the time");
        let step = recoveries::step(&mut tx, most, now).await.expect("a step")?;
        tx.commit().await.expect("commits");
        Some((step.recovered, step.status))
    }
}

/// Each step is a transaction of its own, as another process would make it after a restart.
#[tokio::test]
async fn a_recovery_takes_each_dead_message_of_its_span_once() {
    on_both(async |database| {
        let api = start(&database).await;
        let (id, _) = api.endpoint(json!({"url": "http://127.0.0.1:9/"})).await;
        let (other, _) = api.endpoint(json!({"url": "http://127.0.0.1:9/b"})).await;
        let dead = api.messages(&id, 7, "dead").await;
        api.messages(&id, 2, "delivered").await;
        api.messages(&other, 1, "dead").await;
        let path = format!("/v1/webhook-endpoints/{id}/recover");
        for (body, param) in [
            (json!({}), "since"),
            (json!({"since": "yesterday"}), "since"),
            (json!({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}), "until"),
            (json!({"since": "2999-01-01T00:00:00Z"}), "since"),
        ] {
            let (status, _, named) = api.ask("POST", &path, body).await.error();
            assert_eq!((status, named.as_deref()), (400, Some(param)));
        }
        api.clock.advance(chrono::TimeDelta::seconds(1));
        let asked = api.ask("POST", &path, json!({"since": "2026-01-01T00:00:00Z"})).await;
        assert_eq!((asked.status, &asked.json()["status"]), (202, &json!("running")));
        let mut steps = Vec::new();
        for _ in 0..3 {
            let step = api.step(3).await.expect("it runs");
            // What dies again while the job goes on is not taken twice.
            let mut tx = api.db.begin().await.expect("begins");
            tx.query("update messages set status = 'dead' where id = $1")
                .bind(dead[0])
                .execute()
                .await
                .expect("changed");
            tx.commit().await.expect("commits");
            steps.push(step);
        }
        assert_eq!(steps, [(3, "running"), (6, "running"), (7, "done")]);
        let list = format!("/v1/webhook-endpoints/{id}/recoveries");
        assert_eq!(api.get(&list).await.listed("recovered"), [json!(7)]);
        let pending =
            api.get(&format!("/v1/webhook-messages?endpoint_id={id}&status=pending")).await;
        assert_eq!(pending.listed("id").len(), 6);
        let untouched = api.get(&format!("/v1/webhook-messages?endpoint_id={other}")).await;
        assert_eq!(untouched.listed("status"), ["dead"]);
        assert_eq!(api.step(3).await, None);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn dead_messages_are_sent_again_by_filter_each_once() {
    on_both(async |database| {
        let api = start(&database).await;
        let (one, _) = api.endpoint(json!({"url": "http://127.0.0.1:9/a"})).await;
        let (two, _) = api.endpoint(json!({"url": "http://127.0.0.1:9/b"})).await;
        let (deleted, _) = api.endpoint(json!({"url": "http://127.0.0.1:9/c"})).await;
        let dead = api.messages(&one, 4, "dead").await;
        api.messages(&one, 1, "delivered").await;
        let others = api.messages(&two, 3, "dead").await;
        api.messages(&deleted, 2, "dead").await;
        api.ask("DELETE", &format!("/v1/webhook-endpoints/{deleted}"), Value::Null).await.ok();
        let mut tx = api.db.begin().await.expect("begins");
        let sql = "update outgoing_events set kind = $1 where id = (select event_id from messages where id = $2)";
        for (kind, message) in [("payment.failed", dead[1]), ("webhook.test", others[0])] {
            let changed = tx.query(sql).bind(kind.to_owned()).bind(message).execute().await;
            assert_eq!(changed.expect("changed"), 1);
        }
        tx.commit().await.expect("commits");

        let path = "/v1/webhook-messages/resend";
        for (body, param) in [
            (json!({}), "endpoint_id"),
            (json!({"endpoint_id": "whe_1"}), "endpoint_id"),
            (json!({"type": "payments.*"}), "type"),
            (json!({"since": "yesterday"}), "since"),
            (json!({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}), "until"),
            (json!({"since": "2999-01-01T00:00:00Z"}), "since"),
            (json!({"status": "dead"}), "status"),
        ] {
            let (status, _, named) = api.ask("POST", path, body.clone()).await.error();
            assert_eq!((status, named.as_deref()), (400, Some(param)), "{body}");
        }
        let unknown = json!({"endpoint_id": "whe_00000000000000000000000000"});
        let unknown = api.ask("POST", path, unknown).await;
        assert_eq!(unknown.refused(404), "webhook_endpoint_not_found");
        assert_eq!(api.post_as(&api.write, path).await.refused(403), "insufficient_scope");

        api.clock.advance(chrono::TimeDelta::seconds(1));
        let asked = api.ask("POST", path, json!({"type": "customer.*"})).await;
        assert_eq!(asked.status, 202, "{}", asked.text);
        let job = asked.json();
        assert_eq!(
            (&job["object"], &job["type"], &job["endpoint_id"], &job["status"]),
            (&json!("webhook_recovery"), &json!("customer.*"), &Value::Null, &json!("running"))
        );
        let mut steps = Vec::new();
        while let Some(step) = api.step(2).await {
            steps.push(step);
        }
        assert_eq!(steps.last(), Some(&(5, "done")), "{steps:?}");
        assert!(steps.is_sorted(), "{steps:?}");
        assert_eq!(api.statuses(&one).await, ["delivered", "pending", "pending", "dead", "pending"]);
        assert_eq!(api.statuses(&two).await, ["pending", "pending", "dead"], "a test stays what it is");
        assert_eq!(api.statuses(&deleted).await, ["dead", "dead"]);

        let asked = api.ask("POST", path, json!({"endpoint_id": one})).await.json();
        assert_eq!(api.step(100).await, Some((1, "done")));
        let id = asked["id"].as_str().expect("an id");
        let shown = api.get(&format!("/v1/webhook-recoveries/{id}")).await.ok();
        assert_eq!((&shown["recovered"], &shown["status"]), (&json!(1), &json!("done")));
        assert_eq!(api.get("/v1/webhook-recoveries").await.listed("recovered"), [json!(1), json!(5)]);
        let foreign = api.get_as(&api.other, &format!("/v1/webhook-recoveries/{id}")).await;
        assert_eq!(foreign.refused(404), "webhook_recovery_not_found");
        assert_eq!(api.get_as(&api.other, "/v1/webhook-recoveries").await.listed("id"), [] as [Value; 0]);
        api.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_recovery_that_is_called_off_goes_no_further() {
    on_both(async |database| {
        let api = start(&database).await;
        let (id, _) = api.endpoint(json!({"url": "http://127.0.0.1:9/"})).await;
        api.messages(&id, 5, "dead").await;
        api.clock.advance(chrono::TimeDelta::seconds(1));
        let job = api.ask("POST", "/v1/webhook-messages/resend", json!({"endpoint_id": id})).await;
        let job = format!("/v1/webhook-recoveries/{}", job.json()["id"].as_str().expect("an id"));
        let other =
            api.ask("POST", "/v1/webhook-messages/resend", json!({"endpoint_id": id})).await;
        assert_eq!(other.status, 202);
        assert_eq!(api.step(2).await, Some((2, "running")));
        let cancel = format!("{job}/cancel");
        assert_eq!(api.post_as(&api.write, &cancel).await.refused(403), "insufficient_scope");
        let foreign = api.post_as(&api.other, &cancel).await;
        assert_eq!(foreign.refused(404), "webhook_recovery_not_found");

        let ended = api.ask("POST", &cancel, Value::Null).await.ok();
        assert_eq!((&ended["status"], &ended["recovered"]), (&json!("canceled"), &json!(2)));
        assert!(ended["finished_at"].is_string());
        assert_eq!(api.get(&job).await.ok(), ended);
        assert_eq!(api.post_as(&api.admin, &cancel).await.refused(409), "recovery_not_running");
        assert_eq!(
            api.statuses(&id).await.iter().filter(|status| *status == "pending").count(),
            2,
            "what it made due stays due"
        );

        // The next one is not held up, and one that is done cannot be called off.
        assert_eq!(api.step(100).await, Some((3, "done")));
        assert_eq!(api.step(100).await, None);
        assert_eq!(api.get(&job).await.ok(), ended);
        let done = format!(
            "/v1/webhook-recoveries/{}/cancel",
            other.json()["id"].as_str().expect("an id")
        );
        assert_eq!(api.post_as(&api.admin, &done).await.refused(409), "recovery_not_running");
        api.stop().await;
    })
    .await;
}
