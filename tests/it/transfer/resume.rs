//! An export that was cut off goes on where it ended.

use super::{ENVIRONMENT, comparable, exported, files::filled, import, json, same, text};
use crate::support::{
    services::{TestDatabase, on_both, sqlite},
    world::World,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The signal by which a process ends that makes a file larger than it may.
const SIGXFSZ: i32 = 25;

fn partial(file: &Path) -> PathBuf {
    PathBuf::from(format!("{}.partial", file.display()))
}

async fn export(world: &World, file: &Path, more: &[&str]) -> Output {
    let file = file.display().to_string();
    let arguments = ["export", &file, "--environment", ENVIRONMENT, "--json"];
    world.run(&[&arguments, more].concat()).await
}

/// Where a file is cut: in its first line, in the middle of others, at ends of lines, and not at all.
fn cuts(whole: &[u8]) -> Vec<usize> {
    let ends: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] == b'\n').collect();
    let some = [1, 3, ends.len() / 2, ends.len() * 4 / 5, ends.len() - 1];
    let mut cuts = vec![0, 1, ends[0], whole.len() - 1, whole.len()];
    cuts.extend(some.iter().flat_map(|n| [ends[*n] + 1, usize::midpoint(ends[*n], ends[*n - 1])]));
    cuts
}

#[tokio::test]
async fn wherever_an_export_was_cut_it_ends_as_if_it_had_not_been() {
    on_both(async |database| {
        let folder = tempfile::tempdir().expect("a folder");
        let (world, _kept) = filled(database, 22).await;
        for name in ["all.ndjson", "all.csv"] {
            let file = folder.path().join(name);
            let told = json(&export(&world, &file, &[]).await);
            let whole = fs::read(&file).expect("it is whole");
            for cut in cuts(&whole) {
                fs::remove_file(&file).expect("it was whole");
                fs::write(partial(&file), &whole[..cut]).expect("written");
                assert_eq!(json(&export(&world, &file, &["--resume"]).await), told);
                assert!(fs::read(&file).expect("it is whole") == whole, "{name} cut at {cut}");
                assert!(!partial(&file).exists());
            }
            fs::remove_file(&file).expect("it was whole");
            assert_eq!(
                json(&export(&world, &file, &["--resume"]).await),
                told,
                "nothing was begun"
            );
            let mode = fs::metadata(&file).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "it holds what is known of people");
        }
    })
    .await;
}

/// A line of a user who pays at a shop.
fn user(number: usize) -> String {
    let shop = json!([{"provider": "shop", "uid": format!("payer-{number}"), "kind": "payment"}]);
    let line = json!({"object": "customer", "external_id": format!("usr_{number}"), "identities": shop,
        "name": format!("User {number}"), "updated_at": format!("2026-01-01T{:02}:{:02}:00Z", number / 60, number % 60)});
    format!("{line}\n")
}

/// Runs a command that may make no file larger than this.
fn limited(command: &Command, bytes: usize) -> Output {
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--fsize={bytes}")).arg(command.get_program()).args(command.get_args());
    let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    limited.env_clear().envs(set).env("PATH", "/usr/bin:/bin");
    limited.output().expect("prlimit runs")
}

#[tokio::test]
async fn a_killed_export_is_gone_on_with_and_has_who_merged_meanwhile() {
    on_both(async |database: TestDatabase| {
        let folder = tempfile::tempdir().expect("a folder");
        let world = World::new(&database, "");
        let users = folder.path().join("users.ndjson");
        fs::write(&users, (0..150).map(user).collect::<String>()).expect("written");
        json(&import(&world, &users, &["--environment", ENVIRONMENT]).await);
        let file = folder.path().join("all.ndjson");
        let arguments = ["export", &file.display().to_string(), "--environment", ENVIRONMENT];
        let command = world.command(&arguments);
        let before = exported(&world).await;
        let customers: Vec<&Value> =
            before.iter().filter(|record| record["object"] == "customer").collect();
        let length = |records: &[&Value]| -> usize {
            records.iter().map(|record| record.to_string().len() + 1).sum()
        };
        // In the middle of the customers.
        let cut = length(&customers[..customers.len() / 2]) + 100;
        if database.db.is_shared() {
            let killed = limited(&command, cut);
            assert_eq!(killed.status.signal(), Some(SIGXFSZ), "{}", text(&killed));
        } else {
            // The limit would hit SQLite's own files.
            json(&export(&world, &file, &[]).await);
            fs::write(partial(&file), &fs::read(&file).expect("whole")[..cut]).expect("cut");
            fs::remove_file(&file).expect("removed");
        }
        assert!(partial(&file).exists() && !file.exists());

        // One that was not written goes into one that was.
        let id = |customer: &Value| customer["id"].as_str().expect("an id").to_owned();
        let (first, last) = (customers[0], customers[customers.len() - 1]);
        let keep = first["external_id"].as_str().expect("a name");
        let merge = ["customer", "merge", &id(first), &id(last), "--keep", keep];
        let merged =
            world.run(&[&merge[..], &["--environment", ENVIRONMENT, "--json"]].concat()).await;
        assert_eq!(json(&merged)["id"], first["id"]);

        assert!(export(&world, &file, &["--resume"]).await.status.success());
        let lines = fs::read_to_string(&file).expect("it is whole");
        let names = |records: &[Value]| -> BTreeSet<String> {
            let customers = records.iter().filter(|record| record["object"] == "customer");
            let of = |record: &Value| {
                let lists = ["identities", "other_names"].map(|list| record[list].clone());
                let named = lists.into_iter().filter_map(|list| list.as_array().cloned()).flatten();
                let uids = named.map(|name| name["uid"].to_string());
                uids.chain([record["external_id"].to_string()]).collect::<Vec<_>>()
            };
            customers.flat_map(of).collect()
        };
        let read: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).expect("a record")).collect();
        assert_eq!(names(&read), names(&before), "nobody's name is missing");

        // Elsewhere the file makes what is here.
        let there = sqlite().await;
        let there = World::new(&there, "");
        json(&import(&there, &file, &["--environment", ENVIRONMENT]).await);
        let (here, there) = (exported(&world).await, exported(&there).await);
        same(&comparable(here), &comparable(there), "the file tells all of it");
    })
    .await;
}

#[tokio::test]
async fn a_file_that_is_not_of_this_export_is_left_as_it_is() {
    on_both(async |database| {
        let folder = tempfile::tempdir().expect("a folder");
        let world = World::new(&database, "");
        let file = folder.path().join("all.ndjson");
        for (begun, why) in [
            (
                "{\"object\":\"customer\",\"id\":\"cus_00000000000000000000000000\"}\n",
                "not of the environment",
            ),
            ("{\"object\":\"customer\",\"id\":\"ada\"}\n", "not of the environment"),
            ("{\"object\":\"cat\",\"id\":\"cat_1\"}\n", "no known object"),
            ("\0\0\0\0\n", "line 1 is no record"),
        ] {
            fs::write(partial(&file), begun).expect("written");
            let refused = export(&world, &file, &["--resume"]).await;
            assert_eq!(refused.status.code(), Some(1), "{begun}");
            assert!(text(&refused).contains(why), "{}", text(&refused));
            assert!(text(&refused).contains("without --resume"), "{}", text(&refused));
            assert_eq!(fs::read_to_string(partial(&file)).expect("it is there"), begun);
        }
        let stdout = world.run(&["export", "--environment", ENVIRONMENT, "--resume"]).await;
        assert_eq!(stdout.status.code(), Some(2), "{}", text(&stdout));
    })
    .await;
}

#[tokio::test]
async fn a_file_that_another_export_writes_is_refused() {
    on_both(async |database| {
        let folder = tempfile::tempdir().expect("a folder");
        let world = World::new(&database, "");
        let file = folder.path().join("all.ndjson");
        let begun = "{\"object\":\"customer\",\"id\":\"cus_0";
        fs::write(partial(&file), begun).expect("written");
        let other = fs::File::options().append(true).open(partial(&file)).expect("opened");
        other.try_lock().expect("nobody writes it");
        for more in [&[][..], &["--resume"]] {
            let refused = export(&world, &file, more).await;
            assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
            assert!(text(&refused).contains("another process is writing"), "{}", text(&refused));
            assert_eq!(fs::read_to_string(partial(&file)).expect("it is there"), begun);
            assert!(!file.exists());
        }
        drop(other);
        assert!(export(&world, &file, &["--resume"]).await.status.success());
        assert!(file.exists() && !partial(&file).exists());
    })
    .await;
}
