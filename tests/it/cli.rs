//! The real program: what its commands print and how they end.

use crate::{
    http::client::Request,
    support::{
        services::{broker, on_both, postgres, sqlite},
        wait::eventually,
        world::{Daemon, World, status_of},
    },
};
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Output, Stdio},
};
use tokio::net::TcpListener;

mod webhooks;

const APP_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Three sources of the environment `test`, as `simulate` needs them.
const SOURCES: &str = r#"
    [[sources]]
    name = "stripe"
    provider = "stripe"
    environment = "test"
    secrets = ["whsec_stripe-secret"]
    [[sources]]
    name = "clerk"
    provider = "clerk"
    environment = "test"
    secrets = ["whsec_AAECAwQFBgcICQoLDA0ODw=="]
    [[sources]]
    name = "app"
    provider = "canonical"
    environment = "test"
    secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
"#;

const PAYMENT: &str = r#"{"id": "evt_1", "type": "payment.recorded",
    "occurred_at": "2026-01-01T00:00:00Z",
    "data": {"external_id": "ada", "payment": {"id": "pay_1", "amount": 1200, "currency": "USD",
        "status": "succeeded", "paid_at": "2026-01-01T00:00:00Z"}}}"#;

fn text(output: &Output) -> String {
    let bytes = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The JSON that a command printed, which must have ended well.
fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Runs the program apart from any world.
fn alone(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_customer-sync"));
    command.env_clear().args(arguments).output().expect("the program runs")
}

fn file(folder: &tempfile::TempDir, content: &str) -> String {
    let path = folder.path().join("body.json");
    std::fs::write(&path, content).expect("written");
    path.display().to_string()
}

async fn send(world: &World, daemon: &Daemon, body: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let url = daemon.url("/");
    let sent =
        world.run(&["send", "app", &file(&folder, body), "--via", "http", "--url", &url]).await;
    assert!(sent.status.success(), "{}", text(&sent));
}

async fn customers(world: &World) -> Vec<Value> {
    let listed = world.run(&["customer", "list", "--environment", "test", "--json"]).await;
    json(&listed)["data"].as_array().expect("a list").clone()
}

#[test]
fn help_names_every_command_and_the_version_is_that_of_the_package() {
    let help = text(&alone(&["--help"]));
    for command in [
        "run",
        "demo",
        "simulate",
        "send",
        "explain",
        "migrate",
        "doctor",
        "config",
        "endpoint",
        "customer",
        "event",
        "key",
        "import",
        "export",
        "providers",
        "health",
        "receive",
        "completions",
        "man",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
    }
    assert!(help.contains("CUSTOMER_SYNC_CONFIG"), "{help}");
    assert_eq!(
        text(&alone(&["--version"])),
        format!("customer-sync {}\n", env!("CARGO_PKG_VERSION"))
    );
    let run = text(&alone(&["run", "--help"]));
    assert!(run.contains("--roles") && run.contains("--no-migrate"), "{run}");
}

#[test]
fn a_wrong_call_exits_2() {
    for arguments in [
        &["fly"][..],
        &[],
        &["run", "--roles", "sing"],
        &["key", "create"],
        &["simulate", "--environment", "live"],
        &["simulate", "--duplicates", "1.5"],
        &["explain", "nobody", "Cargo.toml"],
        &["explain", "stripe", "Cargo.toml"],
        &["receive", "nobody"],
        &["completions", "dos"],
    ] {
        let output = alone(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output));
    }
}

#[test]
fn explain_says_what_a_body_asserts_and_exits_1_where_it_is_rejected() {
    let folder = tempfile::tempdir().expect("a folder");
    let body = file(&folder, PAYMENT);
    let facts = alone(&["explain", "canonical", &body, "--unsigned", "--json"]);
    let facts = json(&facts);
    assert_eq!((&facts["verdict"], &facts["verified"]), (&"facts".into(), &false.into()));
    assert_eq!(facts["facts"][0]["kind"], "payment");
    assert_eq!(facts["facts"][0]["amount"], 1200);
    let shown = text(&alone(&["explain", "canonical", &body, "--unsigned"]));
    assert!(shown.contains("amount") && shown.contains("1200"), "{shown}");

    let body = file(
        &folder,
        r#"{"id": "evt_2", "object": "event", "type": "balance.available", "created": 1767225600,
            "livemode": true, "data": {"object": {"object": "balance"}}}"#,
    );
    let ignored = json(&alone(&["explain", "stripe", &body, "--unsigned", "--json"]));
    assert_eq!(ignored["verdict"], "ignored", "{ignored}");

    let body = file(&folder, "{");
    let rejected = alone(&["explain", "canonical", &body, "--unsigned", "--json"]);
    assert_eq!(rejected.status.code(), Some(1), "{}", text(&rejected));
    let rejected: Value = serde_json::from_slice(&rejected.stdout).expect("JSON");
    assert_eq!(rejected["verdict"], "rejected");
}

#[tokio::test]
async fn explain_checks_the_signature_of_a_configured_source() {
    let database = sqlite().await;
    let world = World::new(&database, SOURCES);
    let folder = tempfile::tempdir().expect("a folder");
    let body = file(&folder, PAYMENT);
    let header = "webhook-signature=v1,AAAA";
    let output = world.run(&["explain", "app", &body, "--header", header, "--json"]).await;
    assert_eq!(output.status.code(), Some(1));
    let rejected: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(rejected["verdict"], "rejected");
    assert!(!text(&output).contains(APP_SECRET));
}

#[tokio::test]
async fn an_event_that_is_sent_becomes_a_customer_and_the_daemon_stops_on_sigterm_with_0() {
    on_both(async |database| {
        let world = World::new(&database, SOURCES);
        let daemon = world.start().await;
        send(&world, &daemon, PAYMENT).await;
        let seen =
            eventually("a customer", async || customers(&world).await, |all| !all.is_empty());
        let seen = seen.await;
        assert_eq!((&seen[0]["external_id"], &seen[0]["net_spent"]), (&"ada".into(), &1200.into()));
        for id in ["ada", seen[0]["id"].as_str().expect("an id")] {
            let got = world.run(&["customer", "get", id, "--environment", "test", "--json"]).await;
            assert_eq!(json(&got), seen[0]);
        }
        let other = world.run(&["customer", "get", "ada", "--environment", "live"]).await;
        assert_eq!(other.status.code(), Some(1));

        let events = json(&world.run(&["event", "list", "--json"]).await);
        let event = &events["data"][0];
        assert_eq!((&event["verdict"], &event["event_id"]), (&"applied".into(), &"evt_1".into()));
        let id = event["id"].as_str().expect("an id");
        let shown = json(&world.run(&["event", "show", id, "--json"]).await);
        assert_eq!(shown["body"], PAYMENT);

        let doctor = world.run(&["doctor", "--json"]).await;
        assert_eq!(json(&doctor)["findings"], Value::Array(Vec::new()));
        assert_eq!(daemon.stop().await.code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn a_rejected_event_is_listed_and_replayed_once_its_cause_is_mended() {
    let (database, broker) = (postgres().await, broker());
    let key = "[secrets]\nkey = 'the same in both worlds'";
    let wrong = SOURCES.replace(APP_SECRET, "whsec_AAECAwQFBgcICQoLDA0ODw==");
    let wrong = World::new(&database, &format!("{key}\n{wrong}")).with_broker(&broker);
    let right = World::new(&database, &format!("{key}\n{SOURCES}")).with_broker(&broker);
    let daemon = wrong.start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let sent = right.run(&["send", "app", &file(&folder, PAYMENT), "--via", "amqp"]).await;
    assert!(sent.status.success(), "{}", text(&sent));

    let list = ["event", "list", "--verdict", "rejected", "--json"];
    let look = async || json(&right.run(&list).await)["data"].as_array().expect("a list").clone();
    let seen = eventually("it is rejected", look, |all| !all.is_empty()).await;
    assert!(seen[0]["reason"].as_str().is_some_and(|why| why.contains("signature")), "{seen:?}");
    let id = seen[0]["id"].as_str().expect("an id");
    let again = wrong.run(&["event", "replay", id, "--json"]).await;
    assert_eq!(again.status.code(), Some(1), "the cause is still there: {}", text(&again));

    let seen = look().await;
    let id = seen[0]["id"].as_str().expect("an id");
    let replayed = json(&right.run(&["event", "replay", id, "--json"]).await);
    assert_eq!(replayed["verdict"], "applied");
    assert_eq!(customers(&right).await.len(), 1);
    assert_eq!(daemon.stop().await.code(), Some(0));
}

#[tokio::test]
async fn totals_that_drifted_are_found_and_repaired() {
    on_both(async |database| {
        let world = World::new(&database, SOURCES);
        let daemon = world.start().await;
        send(&world, &daemon, PAYMENT).await;
        let look = async || customers(&world).await.len();
        eventually("a customer", look, |count| *count == 1).await;
        assert_eq!(daemon.stop().await.code(), Some(0));
        assert_eq!(world.run(&["doctor"]).await.status.code(), Some(0));
        for sql in [
            "update customer_totals set total_spent = total_spent + 7",
            "update reference_totals set payment_count = payment_count + 1",
            "update customer_days set total_spent = 1",
        ] {
            let mut tx = database.db.begin().await.expect("a transaction");
            tx.query(sql).execute().await.expect("a change behind the daemon's back");
            tx.commit().await.expect("committed");
        }
        let found = world.run(&["doctor", "--json"]).await;
        assert_eq!(found.status.code(), Some(1));
        assert!(text(&found).contains("doctor --repair"), "{}", text(&found));
        let repaired = json(&world.run(&["doctor", "--repair", "--json"]).await);
        assert!(repaired["repaired"].as_u64() > Some(0), "{repaired}");
        assert_eq!(customers(&world).await[0]["total_spent"], 1200);
        let top = ["customer", "top", "--environment", "test", "--metric", "total_spent", "--json"];
        let top = json(&world.run(&top).await);
        assert_eq!(
            (&top["data"][0]["external_id"], &top["data"][0]["value"]),
            (&"ada".into(), &1200.into())
        );
        assert_eq!(world.run(&["doctor"]).await.status.code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn a_daemon_whose_database_is_away_lives_is_not_ready_and_stops_when_asked() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = nobody.local_addr().expect("its address");
    drop(nobody);
    let folder = tempfile::tempdir().expect("a folder");
    let api = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let listen = api.local_addr().expect("its address").to_string();
    drop(api);
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_customer-sync"))
        .env_clear()
        .env("DATABASE_URL", format!("postgres://nobody@{address}/nothing"))
        .env("HTTP_LISTEN", &listen)
        .env("CUSTOMER_SYNC__DATA__DIRECTORY", folder.path())
        .arg("run")
        .spawn()
        .expect("the program starts");
    let listen = listen.parse().expect("an address");
    let live = async || status_of(listen, "/healthz").await;
    eventually("it lives", live, |status| *status == Some(200)).await;
    assert_eq!(status_of(listen, "/readyz").await, Some(503));
    let asked = Command::new("kill").arg(daemon.id().to_string()).status().expect("kill runs");
    assert!(asked.success());
    let ended = async || daemon.try_wait().expect("the process can be asked");
    let ended = eventually("it ends", ended, Option::is_some).await;
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
}

#[tokio::test]
async fn keys_are_made_shown_once_listed_and_revoked() {
    on_both(async |database| {
        let world = World::new(&database, "");
        let create = ["key", "create", "--environment", "live", "--scope", "read", "--json"];
        let made = json(&world.run(&create).await);
        let key = made["key"].as_str().expect("a key");
        assert!(key.starts_with("sk_live_"));
        let listed = world.run(&["key", "list", "--json"]).await;
        assert!(!text(&listed).contains(key));
        assert_eq!(json(&listed)["data"][0]["id"], made["id"]);
        let id = made["id"].as_str().expect("an id");
        let daemon = world.start().await;
        let asked = async || {
            let mut statuses = Vec::new();
            for path in ["/v1/customers", "/v1/customers/cus_00000000000000000000000000"] {
                statuses.push(Request::get(path).key(key).send(daemon.address).await.status);
            }
            statuses
        };
        assert_eq!(asked().await, [200, 404]);
        assert!(world.run(&["key", "revoke", id]).await.status.success());
        assert_eq!(asked().await, [401, 401], "no other process takes it any more");
        assert_eq!(world.run(&["key", "revoke", id]).await.status.code(), Some(1));
        assert!(daemon.stop().await.success());
    })
    .await;
}

#[tokio::test]
async fn endpoints_are_made_by_the_command_line_and_refused_where_the_guard_says_so() {
    let database = sqlite().await;
    let world = World::new(&database, "");
    let create = async |url: &str| {
        world.run(&["endpoint", "create", "--environment", "live", "--url", url, "--json"]).await
    };
    let made = json(&create("https://app.example/hook").await);
    assert!(made["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")), "{made}");
    let listed = world.run(&["endpoint", "list", "--json"]).await;
    assert!(!text(&listed).contains("whsec_"));
    assert_eq!(json(&listed)["data"][0]["url"], "https://app.example/hook");
    for url in ["http://app.example/hook", "https://127.0.0.1/", "nothing"] {
        assert_eq!(create(url).await.status.code(), Some(2), "{url}");
    }
}

#[tokio::test]
async fn declared_endpoints_are_there_after_a_start_and_only_once_after_two() {
    let database = sqlite().await;
    let config =
        "[[endpoints]]\nname = \"app\"\nurl = \"https://app.example/hook\"\nenabled = false";
    let world = World::new(&database, config);
    for _ in 0..2 {
        assert_eq!(world.start().await.stop().await.code(), Some(0));
        let listed = json(&world.run(&["endpoint", "list", "--json"]).await);
        let all = listed["data"].as_array().expect("a list");
        assert_eq!(all.len(), 1);
        assert_eq!((&all[0]["name"], &all[0]["enabled"]), (&"app".into(), &false.into()));
    }
}

#[tokio::test]
async fn a_database_of_another_key_is_left_alone_with_exit_78() {
    on_both(async |database| {
        let first = World::new(&database, "");
        assert_eq!(first.start().await.stop().await.code(), Some(0));
        // The same database, another data directory: its key is missing there.
        let other = World::new(&database, "");
        for _ in 0..2 {
            assert_eq!(other.launch().ended().await.code(), Some(78));
        }
        let doctor = other.run(&["doctor"]).await;
        assert_eq!(doctor.status.code(), Some(1));
        assert!(text(&doctor).contains("secrets.key"), "{}", text(&doctor));
        let wrong = World::new(&database, "[secrets]\nkey = 'quite another key'");
        assert_eq!(wrong.launch().ended().await.code(), Some(78));
        assert_eq!(first.start().await.stop().await.code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn doctor_tells_of_sources_that_share_a_namespace() {
    let database = sqlite().await;
    let source = |name: &str| {
        format!("[[sources]]\nname='{name}'\nprovider='stripe'\nnamespace='one'\nsecrets=['x']\n")
    };
    let world = World::new(&database, &format!("{}{}", source("a"), source("b")));
    assert!(world.run(&["migrate"]).await.status.success());
    let doctor = world.run(&["doctor", "--json"]).await;
    assert_eq!(doctor.status.code(), Some(1));
    assert!(text(&doctor).contains("share the namespace one"), "{}", text(&doctor));
}

#[tokio::test]
async fn a_second_signal_ends_the_daemon_at_once() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("its address");
    let database = sqlite().await;
    let config = format!(
        "[webhooks]\nallow_http = true\nallow_networks = ['127.0.0.0/8']\n\
         [[endpoints]]\nname = 'silent'\nenvironment = 'test'\nurl = 'http://{address}/'\n{SOURCES}"
    );
    let world = World::new(&database, &config);
    let mut daemon = world.start().await;
    send(&world, &daemon, PAYMENT).await;
    let (_held, _) = silent.accept().await.expect("a delivery is under way");
    daemon.signal("TERM");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(daemon.process_is_running(), "it waits for the delivery");
    let asked = std::time::Instant::now();
    daemon.signal("TERM");
    assert_eq!(daemon.ended().await.code(), Some(0));
    assert!(asked.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let help = text(&alone(&["--help"]));
    let listed = help.split("Commands:").nth(1).and_then(|rest| rest.split("\n\n").next());
    let lines = listed.expect("commands").lines().filter(|line| line.starts_with("  "));
    let commands: Vec<&str> = lines.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.len() > 10 && commands.contains(&"simulate"), "{commands:?}");

    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = alone(&["completions", shell]);
        assert!(script.status.success(), "{shell}: {}", text(&script));
        for command in &commands {
            assert!(text(&script).contains(command), "{shell} knows {command}");
        }
    }
    // What the shell itself thinks of it.
    let folder = tempfile::tempdir().expect("a folder");
    let script = file(&folder, &text(&alone(&["completions", "bash"])));
    let checked = Command::new("bash").args(["-n", &script]).output().expect("bash runs");
    assert!(checked.status.success(), "{}", text(&checked));

    let pages = folder.path().join("man");
    let made = alone(&["man", &pages.display().to_string()]);
    assert!(made.status.success(), "{}", text(&made));
    let page = |name: &str| std::fs::read_to_string(pages.join(name)).expect(name);
    for command in commands.iter().filter(|command| **command != "help") {
        let name = format!("customer-sync-{command}.1");
        assert!(page(&name).contains(".TH"), "{name}");
        assert!(page("customer-sync.1").contains(&command.replace('-', "\\-")), "{command}");
    }
    assert!(page("customer-sync-endpoint-create.1").contains("environment"));
}

#[tokio::test]
async fn health_says_whether_the_daemon_lives_and_whether_it_can_work() {
    let database = sqlite().await;
    let world = World::new(&database, "");
    let daemon = world.start().await;
    let world = world.with_variable("HTTP_LISTEN", daemon.address.to_string());
    for (arguments, answer) in
        [(&["health"][..], r#"{"status":"ok"}"#), (&["health", "--ready"], "database")]
    {
        let asked = world.run(arguments).await;
        assert!(asked.status.success() && text(&asked).contains(answer), "{}", text(&asked));
    }
    assert_eq!(daemon.stop().await.code(), Some(0));
    let gone = world.run(&["health"]).await;
    assert_eq!(gone.status.code(), Some(1));
    assert!(text(&gone).contains("/healthz"), "{}", text(&gone));

    // It lives, and cannot work without its database.
    let away = World::new(&database, "").with_variable("DATABASE_URL", NOWHERE.into());
    let mut daemon = away.launch();
    let away = away.with_variable("HTTP_LISTEN", daemon.address.to_string());
    let lives = async || away.run(&["health"]).await.status.success();
    eventually("it lives", lives, |lives| *lives).await;
    assert_eq!(away.run(&["health", "--ready"]).await.status.code(), Some(1));
    assert!(daemon.process_is_running());
}

/// A Postgres server that is not there.
const NOWHERE: &str = "postgres://nobody@127.0.0.1:1/nothing";

#[tokio::test]
async fn receive_prints_what_is_verified_and_refuses_the_rest() {
    let endpoint = |url: &str| {
        format!(
            "[[endpoints]]\nname = 'app'\nenvironment = 'test'\nurl = '{url}'\nsecret = '{APP_SECRET}'\n"
        )
    };
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("receiver.toml");
    std::fs::write(&config, endpoint("https://unused.example/")).expect("written");
    let mut receiver = Command::new(env!("CARGO_BIN_EXE_customer-sync"))
        .env_clear()
        .arg("--config")
        .arg(&config)
        .args(["receive", "app", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map(Killed)
        .expect("it starts");
    let mut said = BufReader::new(receiver.0.stderr.take().expect("piped"));
    let mut printed = BufReader::new(receiver.0.stdout.take().expect("piped"));
    let mut line = String::new();
    said.read_line(&mut line).expect("a line");
    let address = line.trim_end().rsplit('=').next().expect("an address").to_owned();

    let database = sqlite().await;
    let config = format!(
        "[webhooks]\nallow_http = true\nallow_networks = ['127.0.0.0/8']\n{}{SOURCES}",
        endpoint(&format!("http://{address}/"))
    );
    let world = World::new(&database, &config);
    let daemon = world.start().await;
    send(&world, &daemon, PAYMENT).await;
    let printed = tokio::task::spawn_blocking(move || {
        let mut lines = vec![];
        for _ in 0..3 {
            let mut line = String::new();
            printed.read_line(&mut line).expect("a line");
            lines.push(line);
        }
        lines
    });
    let lines = printed.await.expect("waited for");
    assert!(lines.iter().all(|line| line.starts_with("verified msg_")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("payment.succeeded")), "{lines:?}");
    let address: std::net::SocketAddr = address.parse().expect("an address");
    assert_eq!(status_of(address, "/").await, Some(401), "what is not signed is refused");
    assert_eq!(status_of(address, "/healthz").await, Some(200));
    let stopped = Command::new("kill").arg(receiver.0.id().to_string()).status();
    assert!(stopped.expect("kill runs").success());
    let ended = async || receiver.0.try_wait().expect("it can be asked");
    let status = eventually("it ends", ended, Option::is_some).await.expect("it ended");
    assert_eq!(status.code(), Some(0));
}

/// A process that ends with its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_demo_passes_its_own_checks() {
    let output =
        tokio::task::spawn_blocking(|| alone(&["demo", "--exit", "--events", "400", "--json"]));
    let output = output.await.expect("waited for");
    let summary = json(&output);
    let checks = summary["checks"].as_array().expect("checks");
    assert_eq!(checks.len(), 5);
    assert!(checks.iter().all(|check| check["found"] == Value::Array(Vec::new())), "{checks:?}");
    assert!(summary["deliveries"]["verified"].as_u64() > Some(100), "{summary}");
    assert!(summary["key"].as_str().is_some_and(|key| key.starts_with("sk_test_")));
}

#[tokio::test]
async fn customers_are_merged_and_deleted_as_by_the_api() {
    on_both(async |database| {
        let world = World::new(&database, SOURCES);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("customers.ndjson").display().to_string();
        let record = |user: &str, name: &str| {
            let record =
                serde_json::json!({"object": "customer", "external_id": user, "name": name});
            format!("{record}\n")
        };
        std::fs::write(&path, record("ada", "Ada") + &record("bob", "Bob")).expect("written");
        let run = async |arguments: &[&str]| {
            let arguments = [arguments, &["--environment", "test"]].concat();
            world.run(&arguments).await
        };
        let imported = run(&["import", &path]).await;
        assert!(imported.status.success(), "{}", text(&imported));
        let refused = run(&["customer", "merge", "ada", "bob"]).await;
        assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
        assert!(text(&refused).contains("`keep`"), "{}", text(&refused));
        let merge = ["customer", "merge", "ada", "bob", "--keep", "ada", "--json"];
        let merged = json(&run(&merge).await);
        assert_eq!(merged["external_id"], "ada");
        assert_eq!(json(&run(&["customer", "get", "bob", "--json"]).await)["id"], merged["id"]);
        let deletion = ["customer", "delete", "bob", "--payments", "erase", "--json"];
        let deleted = json(&run(&deletion).await);
        assert_eq!((&deleted["id"], &deleted["deleted"]), (&merged["id"], &Value::Bool(true)));
        assert_eq!(deleted["name"], Value::Null);
        let id = merged["id"].as_str().expect("an id");
        for gone in [id, "ada", "bob"] {
            let again = run(&["customer", "delete", gone]).await;
            assert_eq!(again.status.code(), Some(1), "{}", text(&again));
        }
        let wrong = run(&["customer", "delete", id, "--payments", "burn"]).await;
        assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong));
    })
    .await;
}
