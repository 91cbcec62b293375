//! From the start of the process to `/readyz` on SQLite, with nothing to migrate.

use crate::{
    figures::{self, median, say},
    program::{Program, Run},
    stage::Stage,
};
use serde_json::json;

/// What `performance.md` allows.
const ALLOWED: f64 = 0.150;

/// Measures so many starts.
///
/// # Errors
/// When one fails.
pub(crate) async fn to_ready(stage: &Stage, starts: usize) -> anyhow::Result<()> {
    say(&format!("start to ready, {starts} times"));
    let database = stage.sqlite("start", None).await?;
    let run = Run { with_endpoint: true, ..Run::default() };
    // The first one makes what is missing.
    Program::start(stage, &database, &run)?.stop()?;
    let mut took = Vec::new();
    for _ in 0..starts {
        let program = Program::start(stage, &database, &run)?;
        took.push(program.took.as_secs_f64());
        program.stop()?;
    }
    let ratios: Vec<f64> = took.iter().map(|seconds| seconds / ALLOWED).collect();
    let more =
        json!({ "ms": figures::rounded(median(&took) * 1_000.0), "allowed_ms": ALLOWED * 1_000.0 });
    figures::tell("start to ready", &ratios, "1 or less", more)
}
