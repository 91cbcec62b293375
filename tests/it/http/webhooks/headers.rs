//! An endpoint's own headers: sent, and seen by nobody else.

use super::start;
use crate::support::{receiver::Receiver, services::on_both};
use customer_sync::model::id::EndpointId;
use serde_json::{Value, json};

#[tokio::test]
async fn an_endpoints_headers_are_kept_sealed_and_go_with_it() {
    on_both(async |database| {
        let (api, receiver) = (start(&database).await, Receiver::start().await);
        let body =
            json!({"url": receiver.url("/"), "headers": {"X-Key": "hush", "x-old": "quiet"}});
        let (id, _) = api.endpoint(body).await;
        let path = format!("/v1/webhook-endpoints/{id}");
        let endpoint: EndpointId = id.parse().expect("an id");
        let kept = async || {
            let mut tx = api.db.snapshot().await.expect("begins");
            // As text on both.
            let sql = "select cast(headers as text) from endpoints where id = $1";
            tx.query(sql).bind(endpoint).one::<(String,)>().await.expect("it is there").0
        };
        let before = kept().await;
        assert!(before.contains("X-Key") && !before.contains("hush"), "{before}");
        let change = json!({"headers": {"x-more": "whist", "x-old": null}});
        let changed = api.ask("PATCH", &path, change).await;
        assert!(!changed.text.contains("hush") && !changed.text.contains("whist"));
        let names = json!({"X-Key": "[secret]", "x-more": "[secret]"});
        assert_eq!(changed.ok()["headers"], names);
        let after = kept().await;
        assert!(after.contains("x-more") && !after.contains("whist"), "{after}");

        let tested = api.ask("POST", &format!("{path}/test"), Value::Null).await.ok();
        let came = &receiver.requests("/")[0];
        let seen = ["x-key", "x-more", "x-old"].map(|name| came.header(name).to_owned());
        assert_eq!(seen, ["hush", "whist", ""]);
        let sent = &tested["attempt"]["request_headers"];
        for name in
            ["content-type", "user-agent", "webhook-id", "webhook-timestamp", "webhook-signature"]
        {
            assert_eq!(sent[name], came.header(name), "{name}");
        }
        assert_eq!((&sent["x-key"], &sent["x-more"]), (&json!("[secret]"), &json!("[secret]")));
        assert_eq!(sent.as_object().expect("an object").len(), 7, "{sent}");
        // A signature is good for whoever holds it.
        let message = came.header("webhook-id");
        let path_of_tries = format!("/v1/webhook-messages/{message}/attempts");
        let of_admin = api.get_as(&api.admin, &path_of_tries).await.ok();
        assert_eq!(&of_admin["data"][0]["request_headers"], sent);
        let of_reader = api.get_as(&api.read, &path_of_tries).await.ok();
        assert_eq!(of_reader["data"][0]["request_headers"], Value::Null);

        api.ask("DELETE", &path, Value::Null).await.ok();
        assert_eq!(kept().await, "{}");
        api.stop().await;
    })
    .await;
}
