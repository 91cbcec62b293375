//! Histories that come and go by files: `export`, `import`, a provider's own objects, backups. All of it by the
//! built program.

use crate::support::world::World;
use serde_json::Value;
use std::{path::Path, process::Output};

mod again;
mod backup;
mod bar;
mod files;
mod objects;
mod records;
mod resume;

/// Whose customers these are.
const ENVIRONMENT: &str = "test";

/// All that a command has said.
fn text(output: &Output) -> String {
    let bytes = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The JSON that a command printed, which must have ended well.
fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Everything of the environment, as an export writes it.
async fn exported(world: &World) -> Vec<Value> {
    let output = world.run(&["export", "--environment", ENVIRONMENT]).await;
    assert!(output.status.success(), "{}", text(&output));
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    lines.lines().map(|line| serde_json::from_str(line).expect("a record")).collect()
}

/// Records without what differs between two places that know the same: our own ids, versions and times.
fn comparable(records: Vec<Value>) -> Vec<String> {
    let mut all: Vec<String> = records
        .into_iter()
        .map(|mut record| {
            let fields = record.as_object_mut().expect("an object");
            for own in ["id", "customer_id", "version", "created_at", "updated_at"] {
                fields.remove(own);
            }
            record.to_string()
        })
        .collect();
    all.sort();
    all
}

/// That two places know the same, told by the first difference.
#[track_caller]
fn same(left: &[String], right: &[String], what: &str) {
    for (left, right) in left.iter().zip(right) {
        assert_eq!(left, right, "{what}");
    }
    assert_eq!(left.len(), right.len(), "{what}");
}

async fn import(world: &World, file: &Path, more: &[&str]) -> Output {
    let file = file.display().to_string();
    let mut arguments = vec!["import", &file, "--json"];
    arguments.extend(more);
    world.run(&arguments).await
}

/// The sum of what messages there are, sent or not.
async fn messages(database: &crate::support::services::TestDatabase) -> i64 {
    let mut tx = database.db.snapshot().await.expect("a snapshot");
    let (count,): (i64,) =
        tx.query("select count(*) from messages").one().await.expect("it is counted");
    count
}
