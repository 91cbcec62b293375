//! What is imported a second time: what was rejected, once it is mended; what was cut short; what says no time.

use super::{ENVIRONMENT, import, json, text};
use crate::support::{
    services::{TestDatabase, databases, on_both, sqlite},
    world::World,
};
use serde_json::{Value, json};
use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, path::Path, process::Stdio};

async fn customers(database: &TestDatabase) -> Vec<String> {
    let mut tx = database.db.snapshot().await.expect("a snapshot");
    let sql = "select email from customer_profiles order by email";
    let rows: Vec<(String,)> = tx.query(sql).all().await.expect("they are read");
    rows.into_iter().map(|(email,)| email).collect()
}

fn summary(output: &std::process::Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(output)))
}

/// An import of standard input, which is a file or what is piped.
async fn import_stdin(world: &World, input: &[u8], more: &[&str]) -> std::process::Output {
    let arguments = [&["import", "-", "--environment", ENVIRONMENT, "--json"], more].concat();
    let mut command = world.command(&arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    let run = tokio::task::spawn_blocking(move || {
        let mut process = command.spawn().expect("the program starts");
        let mut stdin = process.stdin.take().expect("its input");
        stdin.write_all(&input).expect("it reads");
        drop(stdin);
        process.wait_with_output().expect("it ends")
    });
    run.await.expect("it is waited for")
}

#[tokio::test]
async fn rejected_rows_are_a_table_that_is_imported_once_it_is_mended() {
    on_both(async |database| {
        let world = World::new(&database, "");
        let folder = tempfile::tempdir().expect("a folder");
        let (file, rejected) = (folder.path().join("all.csv"), folder.path().join("rejected.csv"));
        let head = b"external_id;email;tags;updated_at\r\n".as_slice();
        let good = b"usr_1;ada@example.com;\"vip; beta\";2026-01-01T00:00:00Z\r\n".as_slice();
        let bad = b"usr_2;bo\xff@example.com;\"a;\r\nb\";2026-01-01T00:00:00Z\r\n".as_slice();
        let late = b"usr_3;cy@example.com;;yesterday".as_slice();
        fs::write(&file, [head, good, bad, late].concat()).expect("written");
        let path = rejected.display().to_string();
        let arguments = ["--environment", ENVIRONMENT, "--rejected", &path];
        let output = import(&world, &file, &arguments).await;
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert_eq!(summary(&output)["errors"][1]["at"], "line 5");
        let kept = fs::read(&rejected).expect("the rejected rows");
        let without_end = |row: &[u8]| row.strip_suffix(b"\r\n").unwrap_or(row).to_vec();
        let rows = [head, bad, late].map(without_end);
        assert_eq!(kept, [rows.join(&b'\n'), b"\n".to_vec()].concat());
        let mode = fs::metadata(&rejected).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "it holds what is known of people");
        assert!(!folder.path().join("rejected.csv.partial").exists());

        let mended: Vec<u8> = kept.into_iter().filter(|byte| *byte != 0xff).collect();
        let mended = String::from_utf8(mended).expect("mended");
        fs::write(&rejected, mended.replace("yesterday", "2026-01-01T00:00:00Z")).expect("mended");
        let again = json(&import(&world, &rejected, &["--environment", ENVIRONMENT]).await);
        assert_eq!((&again["applied"], &again["rejected"]), (&json!(2), &json!(0)), "{again}");
        let emails = ["ada@example.com", "bo@example.com", "cy@example.com"];
        assert_eq!(customers(&database).await, emails);
    })
    .await;
}

#[tokio::test]
async fn an_import_writes_bad_lines_over_nothing_that_it_reads() {
    let database = sqlite().await;
    let world = World::new(&database, "");
    let folder = tempfile::tempdir().expect("a folder");
    let (file, link) = (folder.path().join("a.ndjson"), folder.path().join("link.ndjson"));
    let unfinished = folder.path().join("b.ndjson.partial");
    fs::write(&file, "no\n").expect("written");
    fs::write(&unfinished, "no\n").expect("written");
    std::os::unix::fs::symlink(&file, &link).expect("linked");
    let refused = async |input: &Path, rejected: &Path| {
        let rejected = rejected.display().to_string();
        let output = import(&world, input, &["--rejected", &rejected]).await;
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains("is what is read"), "{}", text(&output));
        assert_eq!(fs::read_to_string(input).expect("it is there"), "no\n");
    };
    refused(&file, &file).await;
    refused(&file, &link).await;
    refused(&link, &file).await;
    refused(&unfinished, &folder.path().join("b.ndjson")).await;
    // From standard input, where the shell has opened it.
    let path = file.display().to_string();
    let output = world
        .command(&["import", "-", "--rejected", &path])
        .stdin(fs::File::open(&file).expect("it opens"))
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert_eq!(fs::read_to_string(&file).expect("it is there"), "no\n");

    // What an earlier import left stays until there is something whole to take its place.
    let rejected = folder.path().join("c.ndjson");
    fs::write(&rejected, "of before\n").expect("written");
    let path = rejected.display().to_string();
    let missing = folder.path().join("missing.ndjson");
    assert!(!import(&world, &missing, &["--rejected", &path]).await.status.success());
    assert_eq!(fs::read_to_string(&rejected).expect("it is there"), "of before\n");
    assert_eq!(import(&world, &file, &["--rejected", &path]).await.status.code(), Some(1));
    assert_eq!(fs::read_to_string(&rejected).expect("it is there"), "no\n");
}

const UNDATED: &str =
    r#"{"object": "customer", "external_id": "usr_1", "email": "ada@example.com"}"#;

#[tokio::test]
async fn standard_input_has_no_time_and_what_says_none_is_refused_unless_one_is_given() {
    on_both(async |database| {
        let world = World::new(&database, "");
        assert!(world.run(&["migrate"]).await.status.success());
        let output = import_stdin(&world, UNDATED.as_bytes(), &[]).await;
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        let cure = "nothing says when it was so. Add updated_at to it, or give --as-of TIME";
        assert!(text(&output).contains(cure), "{}", text(&output));
        assert_eq!(customers(&database).await, [] as [&str; 0]);

        let as_of = ["--as-of", "2026-01-01T00:00:00Z"];
        let first = json(&import_stdin(&world, UNDATED.as_bytes(), &as_of).await);
        assert_eq!(
            (&first["applied"], &first["as_of"]),
            (&json!(1), &json!("2026-01-01T00:00:00.000000Z"))
        );
        let again = json(&import_stdin(&world, UNDATED.as_bytes(), &as_of).await);
        assert_eq!((&again["applied"], &again["unchanged"]), (&json!(0), &json!(1)));

        let refused = world.run(&["import", "-", "--as-of", "2930-01-01T00:00:00Z"]).await;
        assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
        assert!(text(&refused).contains("is still to come"), "{}", text(&refused));
    })
    .await;
}

/// It counts as of when its file was written; the import says so, and with that time nothing changes a second time.
#[tokio::test]
async fn what_says_no_time_is_the_same_in_a_file_that_is_written_again_with_the_time_that_was_told()
{
    for database in databases().await {
        let world = World::new(&database, "");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("all.ndjson");
        fs::write(&file, UNDATED).expect("written");
        let output = import(&world, &file, &["--environment", ENVIRONMENT]).await;
        let first = json(&output);
        let as_of = first["as_of"].as_str().expect("a time").to_owned();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            told.contains(&format!("count as of {as_of}, when the file was written")),
            "{told}"
        );
        let again = json(&import(&world, &file, &["--environment", ENVIRONMENT]).await);
        assert_eq!((&again["applied"], &again["unchanged"]), (&json!(0), &json!(1)));

        // Restored, copied or mended: another time. In the future it is none at all.
        let written = fs::File::options().append(true).open(&file).expect("it opens");
        let day = std::time::Duration::from_hours(24);
        let now = written.metadata().expect("known").modified().expect("a time");
        written.set_modified(now - day).expect("set");
        let arguments = ["--environment", ENVIRONMENT, "--as-of", &as_of];
        let again = json(&import(&world, &file, &arguments).await);
        assert_eq!((&again["applied"], &again["unchanged"]), (&json!(0), &json!(1)));
        written.set_modified(now + day).expect("set");
        let future = import(&world, &file, &["--environment", ENVIRONMENT]).await;
        assert_eq!(summary(&future)["rejected"], 1, "{}", text(&future));
    }
}

/// A record that had no effect stays where it is listed: no daemon knows its source.
#[tokio::test]
async fn a_record_of_an_import_is_not_replayed() {
    on_both(async |database| {
        let world = World::new(&database, "");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("all.ndjson");
        fs::write(&file, UNDATED).expect("written");
        json(&import(&world, &file, &["--environment", ENVIRONMENT]).await);
        let listed = async || json(&world.run(&["event", "list", "--json"]).await)["data"].clone();
        let id = listed().await[0]["id"].as_str().expect("an id").to_owned();
        // As if whom it is about had been deleted when it came.
        let mut tx = database.db.begin().await.expect("a transaction");
        let sql = "update inbound_events set verdict = 'ignored', reason = 'whom it is about was deleted'";
        tx.query(sql).execute().await.expect("set");
        tx.commit().await.expect("committed");
        let before = listed().await;
        assert_eq!((&before[0]["verdict"], &before[0]["environment"]), (&json!("ignored"), &json!(ENVIRONMENT)));

        let replayed = world.run(&["event", "replay", &id]).await;
        assert_eq!(replayed.status.code(), Some(1), "{}", text(&replayed));
        assert!(text(&replayed).contains("import is no configured source"), "{}", text(&replayed));
        assert_eq!(listed().await, before);
    })
    .await;
}
