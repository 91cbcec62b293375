//! `export` and `import` of records between databases.

use super::{ENVIRONMENT, comparable, exported, import, json, messages, same, text};
use crate::{
    history,
    support::{
        services::{TestDatabase, on_both, postgres, sqlite},
        wait::eventually,
        world::World,
    },
};
use customer_sync::simulator::{History, Options};
use serde_json::{Value, json};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
};

/// A database that holds a history.
pub(super) async fn filled(database: TestDatabase, seed: u64) -> (World, TestDatabase) {
    let environment = ENVIRONMENT.into();
    let options = Options { seed, events: 600, duplicates: 0.1, environment, ..Options::demo() };
    let history = History::generate(&options);
    let pipeline = history::pipeline(&database, &options);
    history::process(&pipeline, &history.deliveries, seed).await;
    (World::new(&database, ""), database)
}

async fn export(world: &World, file: &Path) -> Value {
    let file = file.display().to_string();
    json(&world.run(&["export", &file, "--environment", ENVIRONMENT, "--json"]).await)
}

/// From one database into an empty one of the other kind, by NDJSON; from there back, by a table.
async fn goes_and_comes_back(from: TestDatabase, there: TestDatabase, back: TestDatabase) {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, _kept) = filled(from, 21).await;
    let (there, back) = (World::new(&there, ""), World::new(&back, ""));
    let truth = comparable(exported(&from).await);

    let lines = folder.path().join("all.ndjson");
    let written = export(&from, &lines).await;
    let counts = ["customers", "payments", "subscriptions"].map(|kind| written[kind].as_u64());
    assert!(counts.iter().all(|count| *count > Some(5)), "{written}");
    let imported = json(&import(&there, &lines, &["--environment", ENVIRONMENT]).await);
    assert_eq!(imported["read"].as_u64(), counts.into_iter().sum(), "{imported}");
    assert_eq!((&imported["applied"], &imported["notes"]), (&imported["read"], &json!({})));
    same(&truth, &comparable(exported(&there).await), "by lines");
    let again = json(&import(&there, &lines, &["--environment", ENVIRONMENT]).await);
    assert_eq!((&again["applied"], &again["unchanged"]), (&json!(0), &imported["read"]));

    let table = folder.path().join("all.csv");
    assert_eq!(export(&there, &table).await["payments"], written["payments"]);
    let imported = json(&import(&back, &table, &["--environment", ENVIRONMENT]).await);
    assert_eq!((&imported["applied"], &imported["notes"]), (&imported["read"], &json!({})));
    same(&truth, &comparable(exported(&back).await), "by a table");
    for world in [&there, &back] {
        let doctor = world.run(&["doctor"]).await;
        assert!(doctor.status.success(), "{}", text(&doctor));
    }
}

#[tokio::test]
async fn an_export_from_sqlite_is_the_same_in_postgres_and_back() {
    goes_and_comes_back(sqlite().await, postgres().await, sqlite().await).await;
}

#[tokio::test]
async fn an_export_from_postgres_is_the_same_in_sqlite_and_back() {
    goes_and_comes_back(postgres().await, sqlite().await, postgres().await).await;
}

fn payment(number: usize) -> String {
    json!({
        "object": "payment", "provider": "shop", "payment_id": format!("order-{number}"),
        "external_id": format!("usr_{}", number % 300), "amount": 100 + number, "currency": "EUR",
        "status": "succeeded", "paid_at": "2025-03-01T00:00:00Z", "updated_at": "2025-03-01T00:00:00Z",
    })
    .to_string()
}

fn written(folder: &tempfile::TempDir, name: &str, lines: &[String]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, lines.join("\n")).expect("the file is written");
    path
}

async fn payments(database: &TestDatabase) -> (i64, i64) {
    let mut tx = database.db.snapshot().await.expect("a snapshot");
    tx.query("select count(*), cast(coalesce(sum(amount), 0) as bigint) from payments")
        .one()
        .await
        .expect("they are counted")
}

/// Killed while it waits for the rest of its input, with a part of it committed. Pain point 25 (stripe/sync-engine#300):
/// after a run that had failed, the next one did nothing for a week.
#[tokio::test]
async fn an_import_that_was_killed_is_run_again_and_neither_doubles_nor_skips() {
    on_both(async |database| {
        let folder = tempfile::tempdir().expect("a folder");
        let lines: Vec<String> = (0..1_400).map(payment).collect();
        let world = World::new(&database, "");
        assert!(world.run(&["migrate"]).await.status.success());
        let mut process = world
            .command(&["import", "-", "--environment", ENVIRONMENT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut input = process.stdin.take().expect("its input");
        let part = lines.get(..1_100).expect("a part").join("\n");
        let feed = std::thread::spawn(move || {
            input.write_all(part.as_bytes()).expect("it reads");
            input.flush().expect("it reads");
            input
        });
        let committed = async || payments(&database).await.0;
        eventually("a part is committed", committed, |count| *count >= 500).await;
        let _input = feed.join().expect("all of the part was read");
        process.kill().expect("it is killed");
        process.wait().expect("it ended");
        let before = payments(&database).await.0;
        assert!((500..1_100).contains(&before), "{before}");

        let file = written(&folder, "all.ndjson", &lines);
        let rest = json(&import(&world, &file, &["--environment", ENVIRONMENT]).await);
        assert_eq!(rest["applied"].as_i64(), Some(1_400 - before), "{rest}");
        assert_eq!(rest["unchanged"].as_i64(), Some(before));
        let sum: i64 = (100..1_500).sum();
        assert_eq!(payments(&database).await, (1_400, sum));
        assert!(world.run(&["doctor"]).await.status.success());
    })
    .await;
}

/// Whoever stops it while it waits for more gets what is in hand committed, and the summary.
#[tokio::test]
async fn an_interrupted_import_finishes_what_is_in_hand_and_says_so() {
    let database = sqlite().await;
    let world = World::new(&database, "");
    assert!(world.run(&["migrate"]).await.status.success());
    let mut process = world
        .command(&["import", "-", "--environment", ENVIRONMENT, "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut input = process.stdin.take().expect("its input");
    // A whole batch, to see that it has begun, and some more.
    let lines: Vec<String> = (0..503).map(|number| format!("{}\n", payment(number))).collect();
    input.write_all(lines.concat().as_bytes()).expect("it reads");
    input.flush().expect("it reads");
    let committed = async || payments(&database).await.0;
    eventually("a batch is committed", committed, |count| *count == 500).await;
    let asked =
        std::process::Command::new("kill").args(["-s", "INT", &process.id().to_string()]).status();
    assert!(asked.expect("kill runs").success());
    let output = tokio::task::spawn_blocking(move || process.wait_with_output());
    let output = output.await.expect("waited for").expect("it ends by itself");
    drop(input);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(summary["interrupted"], true);
    assert_eq!(summary["applied"].as_i64(), Some(payments(&database).await.0));
}

#[tokio::test]
async fn bad_lines_are_named_with_a_cure_and_the_rest_is_imported() {
    let database = sqlite().await;
    let world = World::new(&database, "");
    let folder = tempfile::tempdir().expect("a folder");
    let lines = [
        payment(1),
        "{\"object\": \"payment\", ".into(),
        payment(2).replace("102", "1.02"),
        payment(3).replace("EUR", "€"),
        r#"{"object": "customer", "name": "Nobody", "updated_at": "2025-01-01T00:00:00Z"}"#.into(),
        payment(4).replace("2025-03-01T00:00:00Z", "yesterday"),
        String::new(),
        payment(5).replace("payment_id", "paymentid"),
        r#"{"object": "customer", "external_id": "ada", "emial": "ada@example.com"}"#.into(),
        payment(6),
    ];
    let file = written(&folder, "all.ndjson", &lines);
    let rejected = folder.path().join("rejected.ndjson");
    let path = rejected.display().to_string();
    let arguments = ["--environment", ENVIRONMENT, "--rejected", &path];

    let dry = import(&world, &file, &["--environment", ENVIRONMENT, "--dry-run"]).await;
    let dry: Value = serde_json::from_slice(&dry.stdout).expect("JSON");
    assert_eq!((&dry["applied"], payments(&database).await.0), (&json!(3), 0));

    let output = import(&world, &file, &arguments).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    for line in [
        "line 2: the line is no JSON, at its character 21. Write one JSON object a line",
        "line 3: amount: is no whole number of minor units. Write 12.50 USD as 1250",
        "line 4: currency: is no currency code",
        "line 5: it names no customer",
        "line 6: updated_at: is no RFC 3339 time. Write it as 2026-01-31T12:00:00Z",
        "line 8: payment_id: is missing. Add the field",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&summary["read"], &summary["applied"]), (&json!(9), &json!(3)), "{summary}");
    assert_eq!(summary["rejected"], 6);
    assert_eq!(summary["errors"][1]["at"], "line 3");
    assert_eq!(summary["notes"]["emial: is no field of this record and was left out"], 1);
    assert_eq!(payments(&database).await, (2, 101 + 106));

    // What was rejected is there to be mended.
    let kept = std::fs::read_to_string(&rejected).expect("the rejected lines");
    let bad: Vec<&str> = kept.lines().collect();
    assert_eq!(bad, [1, 2, 3, 4, 5, 7].map(|line: usize| lines[line].trim()));
    let mended = kept.replace("1.02", "102").replace('€', "EUR");
    std::fs::write(&rejected, mended).expect("mended");
    let again = import(&world, &rejected, &["--environment", ENVIRONMENT]).await;
    let again: Value = serde_json::from_slice(&again.stdout).expect("JSON");
    assert_eq!((&again["applied"], &again["rejected"]), (&json!(2), &json!(4)));
    assert_eq!(payments(&database).await.0, 4);
}

#[tokio::test]
async fn a_first_line_that_is_too_long_is_kept_as_it_stood_and_the_others_are_imported() {
    let database = sqlite().await;
    let world = World::new(&database, "");
    let folder = tempfile::tempdir().expect("a folder");
    let long = payment(1).replace("EUR", &"E".repeat(5 * 1024 * 1024));
    let file = written(&folder, "all.ndjson", &[long.clone(), payment(2), payment(3)]);
    let rejected = folder.path().join("rejected.ndjson");
    let path = rejected.display().to_string();
    let output = import(&world, &file, &["--environment", ENVIRONMENT, "--rejected", &path]).await;
    let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&summary["applied"], &summary["rejected"]), (&json!(2), &json!(1)), "{summary}");
    let kept = std::fs::read_to_string(&rejected).expect("the rejected line");
    assert!(kept == format!("{long}\n"), "{} bytes", kept.len());
    assert_eq!(payments(&database).await, (2, 102 + 103));
}

#[tokio::test]
async fn a_strict_import_stops_at_the_first_bad_line_with_everything_before_it() {
    let database = sqlite().await;
    let world = World::new(&database, "");
    let folder = tempfile::tempdir().expect("a folder");
    let lines = [payment(1), payment(2), "no".into(), payment(3)];
    let file = written(&folder, "all.ndjson", &lines);
    let output = import(&world, &file, &["--environment", ENVIRONMENT, "--strict"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("line 3: the line is no JSON"), "{}", text(&output));
    assert_eq!(payments(&database).await.0, 2);
}

#[tokio::test]
async fn an_import_tells_nobody_unless_it_is_asked_to() {
    on_both(async |database| {
        let config = format!(
            "[[endpoints]]\nname='app'\nenvironment='{ENVIRONMENT}'\nurl='https://app.example/'"
        );
        let world = World::new(&database, &config);
        assert_eq!(world.start().await.stop().await.code(), Some(0));
        let folder = tempfile::tempdir().expect("a folder");
        let quiet = written(&folder, "quiet.ndjson", &[payment(1)]);
        json(&import(&world, &quiet, &["--environment", ENVIRONMENT]).await);
        assert_eq!((payments(&database).await.0, messages(&database).await), (1, 0));

        // What is told later carries the whole customer; its version shows that something went before.
        let loud = written(&folder, "loud.ndjson", &[payment(301)]);
        json(&import(&world, &loud, &["--environment", ENVIRONMENT, "--notify"]).await);
        let mut tx = database.db.snapshot().await.expect("a snapshot");
        let told: Vec<(String,)> = tx
            .query("select body from outgoing_events order by id")
            .all()
            .await
            .expect("they are read");
        let told: Vec<Value> =
            told.iter().map(|(body,)| serde_json::from_str(body).expect("JSON")).collect();
        let kinds: Vec<_> =
            told.iter().map(|told| told["type"].as_str().expect("a type")).collect();
        assert_eq!(kinds, ["payment.created", "payment.succeeded"]);
        assert_eq!(told[1]["data"]["customer"]["total_spent"], 101 + 401);
        assert_eq!(told[1]["cause"]["source"], "import");
        assert!(told[0]["version"].as_i64() > Some(1), "{told:?}");
    })
    .await;
}
