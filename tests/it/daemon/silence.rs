//! What a daemon logs, and what it must not.

use super::{ENDPOINT_SECRET, ENVIRONMENT, HOOK, Stage, api::Api, is_clean, text};
use crate::{
    http::client::Request,
    support::{
        receiver::Reply,
        services::{broker, postgres, sqlite},
        wait::eventually,
        world::World,
    },
};
use customer_sync::simulator::Senders;

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
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).expect("JSON");
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
