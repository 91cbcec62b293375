//! Endpoints and messages, managed by commands.

use super::json;
use crate::support::{
    receiver::{Receiver, Reply},
    services::on_both,
    world::World,
};
use serde_json::Value;

const LOCAL: &str = "[webhooks]\nallow_http = true\nallow_networks = ['127.0.0.0/8']";

fn id(shown: &Value) -> String {
    shown["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn endpoints_are_tested_rotated_switched_and_deleted_and_messages_sent_again() {
    on_both(async |database| {
        let (world, receiver) = (World::new(&database, LOCAL), Receiver::start().await);
        receiver.script("/", [Reply::Status(500)]);
        let url = receiver.url("/");
        let create =
            ["endpoint", "create", "--environment", "live", "--url", &url, "--ordered", "--json"];
        let made = json(&world.run(&create).await);
        let (endpoint, old) = (id(&made), made["secret"].as_str().expect("a secret").to_owned());
        assert_eq!(made["ordered"], true);
        let run = async |action: &str| world.run(&["endpoint", action, &endpoint, "--json"]).await;

        assert_eq!(run("test").await.status.code(), Some(1), "it answered 500");
        let good = json(&run("test").await);
        assert_eq!(good["attempt"]["outcome"], "delivered");
        let rotated = json(&run("rotate").await);
        let new = rotated["secret"].as_str().expect("a secret").to_owned();
        assert!(new != old && rotated["secrets"][1]["expires_at"].is_string());
        json(&run("test").await);
        let came = receiver.requests("/");
        assert!(came[2].is_signed_with(&old) && came[2].is_signed_with(&new));
        assert_eq!(json(&run("disable").await)["enabled"], false);
        assert_eq!(json(&run("enable").await)["enabled"], true);

        let list = async |status: &str| {
            let asked = ["message", "list", "--endpoint", &endpoint, "--status", status, "--json"];
            json(&world.run(&asked).await)["data"].as_array().expect("a list").clone()
        };
        let [dead] = &list("dead").await[..] else { panic!("one is dead") };
        let message = id(dead);
        assert_eq!(list("delivered").await.len(), 2);
        let shown = json(&world.run(&["message", "show", &message, "--json"]).await);
        assert_eq!(shown["attempts_made"][0]["status_code"], 500);
        assert_eq!(shown["payload"]["type"], "webhook.test");
        assert_eq!(shown["attempts_made"][0]["request_headers"]["webhook-id"], shown["id"]);
        let text = world.run(&["message", "show", &message]).await.stdout;
        assert!(String::from_utf8_lossy(&text).contains("    webhook-signature: v1,"));
        let act = async |action: &str| world.run(&["message", action, &message, "--json"]).await;
        assert_eq!(act("cancel").await.status.code(), Some(1), "it does not wait");
        assert_eq!(act("resend").await.status.code(), Some(1), "it is a test");
        let mut tx = database.db.begin().await.expect("begins");
        tx.query("update outgoing_events set kind = $1")
            .bind("customer.created".to_owned())
            .execute()
            .await
            .expect("they are none");
        tx.commit().await.expect("commits");
        assert_eq!(json(&act("resend").await)["status"], "pending");
        assert_eq!(json(&act("cancel").await)["status"], "canceled");
        let resend =
            ["message", "resend", "--environment", "live", "--type", "customer.*", "--json"];
        let job = json(&world.run(&resend).await);
        assert_eq!((&job["status"], &job["type"]), (&"running".into(), &"customer.*".into()));
        for (wrong, code) in [
            (&["message", "resend"][..], 2),
            (&["message", "resend", &message, "--environment", "live"], 2),
            (&["message", "resend", "--type", "customers.*"], 2),
            (&["message", "resend", "--type", "customer.*"], 2),
            (&["message", "resend", "--endpoint", &endpoint, "--environment", "test"], 1),
        ] {
            assert_eq!(world.run(wrong).await.status.code(), Some(code), "{wrong:?}");
        }
        let recover = ["message", "recover", "--endpoint", &endpoint, "--since"];
        let since = [&recover[..], &["2020-01-01T00:00:00Z", "--json"]].concat();
        let job = json(&world.run(&since).await);
        assert_eq!(job["status"], "running");
        let job = job["id"].as_str().expect("an id").to_owned();
        let cancel = ["message", "recover", "--cancel", &job, "--json"];
        let canceled = json(&world.run(&cancel).await);
        assert_eq!(
            (&canceled["id"], &canceled["status"]),
            (&job.as_str().into(), &"canceled".into())
        );
        for (wrong, code) in [
            (&cancel[..], 1),
            (&["message", "recover", "--cancel", "rec_00000000000000000000000000"], 1),
            (&["message", "recover", "--cancel", &endpoint], 2),
            (&[&recover[..], &["2020-01-01T00:00:00Z", "--cancel", cancel[3]]].concat(), 2),
            (&["message", "recover", "--endpoint", &endpoint], 2),
        ] {
            assert_eq!(world.run(wrong).await.status.code(), Some(code), "{wrong:?}");
        }
        let wrong = [&recover[..], &["2999-01-01T00:00:00Z"]].concat();
        assert_eq!(world.run(&wrong).await.status.code(), Some(2));

        assert_eq!(json(&run("delete").await)["deleted"], true);
        assert_eq!(run("test").await.status.code(), Some(1));
        assert_eq!(act("resend").await.status.code(), Some(1), "there is nobody to send it to");
    })
    .await;
}

/// As the API refuses them.
#[tokio::test]
async fn an_endpoint_that_cannot_be_is_a_wrong_call_that_names_its_field() {
    on_both(async |database| {
        let world = World::new(&database, "");
        for (said, field) in [
            (&["--url", "http://app.example/"][..], "url"),
            (&["--url", "https://169.254.169.254/"], "url"),
            (&["--url", "https://app.example/", "--events", "payments.*"], "event_types"),
            (&["--url", "https://app.example/", "--header", "host=a"], "headers"),
            (&["--url", "https://app.example/", "--rate-limit", "0"], "rate_limit"),
        ] {
            let create = ["endpoint", "create", "--environment", "live"];
            let output = world.run(&[&create[..], said].concat()).await;
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{said:?}: {error}");
            assert!(error.contains(field), "{said:?}: {error}");
        }
    })
    .await;
}
