//! What PostgreSQL's own programs make of a test's database.

use std::{path::PathBuf, process::Command};
use url::Url;

/// One of PostgreSQL's programs: Debian's newest, else the one in PATH, as scripts/test looks for them.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    let found = folders.iter().rev().map(|folder| folder.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| name.into())
}

/// Runs one of them, which must end well; what it printed.
pub(crate) fn run(name: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program(name)).args(arguments).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{name}: {error}; install PostgreSQL's client programs (Debian: postgresql-client)")
    });
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The server's URL, and the schema that a test's database is.
pub(crate) fn apart(url: &str) -> (Url, String) {
    let mut server = Url::parse(url).expect("a URL");
    let option = server.query_pairs().find(|(name, _)| name == "options").expect("a schema");
    let schema = option.1.rsplit('=').next().expect("its name").to_owned();
    server.set_query(None);
    (server, schema)
}
