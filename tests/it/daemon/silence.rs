//! What a daemon logs, and what it must not.

use super::{ENDPOINT_SECRET, ENVIRONMENT, HOOK, Stage, api::Api, is_clean, text};
use crate::{
    http::client::Request,
    support::{
        receiver::Reply,
        services::{broker, on_both, postgres, sqlite},
        wait::eventually,
        world::World,
    },
};
use customer_sync::simulator::Senders;
use serde_json::{Value, json};

/// All that a log must not show, each as it is written and as the bytes behind it.
fn secrets(senders: &Senders) -> Vec<String> {
    let own = senders.all().map(|sender| sender.secret.expose().to_owned());
    let all = own.into_iter().chain([ENDPOINT_SECRET.to_owned()]);
    all.flat_map(|secret| {
        let short = secret.trim_start_matches("whsec_").to_owned();
        [secret, short]
    })
    .collect()
}

fn shows_none_of(log: &str, secrets: &[String]) {
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(secret.as_str()));
        assert_eq!(line, None, "it shows {secret}");
    }
}

#[tokio::test]
async fn no_secret_is_ever_in_the_log() {
    let more =
        "[log]\nlevel = 'debug'\n[secrets]\nkey = 'the key of this test, long enough to be one'";
    let stage = Stage::new(postgres().await, Some(broker()), more).await;
    stage.receiver.script(HOOK, [Reply::Status(500), Reply::Status(302)]);
    let daemon = stage.world.start().await;
    let made = ["endpoint", "create", "--environment", ENVIRONMENT, "--json", "--url"];
    let made = stage.world.run(&[&made[..], &[&stage.receiver.url("/other")]].concat()).await;
    is_clean(&made);
    let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    let api = Api::open(&stage, daemon.address).await;
    is_clean(&stage.simulate(daemon.address, 9, &[]).await);
    assert_eq!(api.get("/v1/customers").await.status, 200);

    // What is refused is no reason to show it.
    let secrets = {
        let mut all = secrets(&stage.senders);
        let forged = "sk_test_0123456789abcdefghijklmnopqrstuvwxyz";
        all.extend([made["secret"].as_str().expect("a secret"), &api.key, forged].map(Into::into));
        all.extend(["the key of this test", "guest:guest"].map(Into::into));
        let answer = Request::get("/v1/customers").key(forged).send(daemon.address).await;
        assert_eq!(answer.status, 401);
        all
    };
    let stolen = stage.senders.stripe.secret.expose();
    let forged = Request::post("/ingest/stripe", b"{}").header("stripe-signature", stolen);
    assert_eq!(forged.send(daemon.address).await.status, 401);

    let log = daemon.log();
    assert!(log.contains("DEBUG"), "the level is debug");
    shows_none_of(&log, &secrets);
    let mut daemon = daemon;
    daemon.signal("TERM");
    assert_eq!(daemon.ended().await.code(), Some(0));
    shows_none_of(&daemon.log(), &secrets);
    for command in [&["doctor"][..], &["config", "show"], &["endpoint", "list"], &["key", "list"]] {
        shows_none_of(&text(&stage.world.run(command).await), &secrets);
    }
}

/// Makes an endpoint at a path; its id.
async fn endpoint(stage: &Stage, path: &str, more: &[&str]) -> String {
    let create = ["endpoint", "create", "--environment", ENVIRONMENT, "--json", "--url"];
    let url = stage.receiver.url(path);
    let made = stage.world.run(&[&create[..], &[&url], more].concat()).await;
    is_clean(&made);
    let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    made["id"].as_str().expect("an id").to_owned()
}

/// As where the key that sealed it is gone.
#[tokio::test]
async fn an_endpoint_that_nothing_can_be_sent_to_is_told_of_when_it_begins_and_when_it_ends() {
    on_both(async |database| {
        let stage = Stage::new(database, None, "").await;
        let mute = endpoint(&stage, "/mute", &["--header", "x-token=a"]).await;
        let headers = async |headers: &str| {
            let mut tx = stage.database.db.begin().await.expect("begins");
            // Differs because only one of them has a type for it.
            let sql = tx.pick(
                "update endpoints set headers = $1::jsonb where url like '%/mute'",
                "update endpoints set headers = $1 where url like '%/mute'",
            );
            let changed = tx.query(sql).bind(headers.to_owned()).execute().await;
            assert_eq!(changed.expect("changed"), 1);
            tx.commit().await.expect("commits");
        };
        headers(r#"{"x-token": "00"}"#).await;
        let daemon = stage.world.start().await;
        for n in 1..=3 {
            // One that is new makes it read all of them again.
            let path = format!("/{n}");
            endpoint(&stage, &path, &[]).await;
            let data = json!({"external_id": path, "customer": {"name": "Ada"}});
            stage.say(daemon.address, &path, "customer.recorded", &data).await;
            let count = async || stage.receiver.count(&path);
            eventually("others are told", count, |count| *count > 0).await;
        }
        let doctor = stage.world.run(&["doctor", "--json"]).await;
        let found = text(&doctor);
        assert_eq!(doctor.status.code(), Some(1), "{found}");
        assert!(found.contains(&mute) && found.contains("a value of its headers"), "{found}");
        assert_eq!(stage.receiver.count("/mute"), 0);

        headers("{}").await;
        let count = async || stage.receiver.count("/mute");
        eventually("what waited is sent", count, |count| *count == 3).await;
        is_clean(&stage.world.run(&["doctor"]).await);
        let log = daemon.log();
        let lines = |what: &str| log.lines().filter(|line| line.contains(what)).collect::<Vec<_>>();
        let [begun] = lines("nothing can be sent to an endpoint")[..] else { panic!("{log}") };
        assert!(begun.contains("WARN") && begun.contains(&mute), "{begun}");
        assert_eq!(lines("an endpoint can be sent to again").len(), 1, "{log}");
        assert_eq!(daemon.stop().await.code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn a_password_is_not_shown_when_its_server_is_away() {
    let database = sqlite().await;
    let world = World::new(&database, "[log]\nlevel = 'debug'")
        .with_variable("DATABASE_URL", "postgres://me:hunter2@127.0.0.1:1/nothing".into())
        .with_variable("AMQP_URL", "amqp://me:hunter2@127.0.0.1:1/%2f".into());
    let daemon = world.launch();
    let look = async || daemon.log();
    let log = eventually("it says that the database is away", look, |log| {
        log.contains("database") && log.contains("refused")
    })
    .await;
    shows_none_of(&log, &["hunter2".into()]);
    assert_eq!(daemon.stop().await.code(), Some(0));
    for command in [&["doctor"][..], &["config", "show"], &["migrate"], &["customer", "list"]] {
        shows_none_of(&text(&world.run(command).await), &["hunter2".into()]);
    }
}
