//! How far it is, shown to who looks on and to nobody else.

use super::{ENVIRONMENT, files::filled, text};
use crate::support::{services::on_both, world::World};
use std::process::{Command, Output};

/// What a bar is drawn with.
const DRAWN: [char; 2] = ['█', '░'];

/// Runs a command on a terminal of its own (util-linux); what the terminal was told.
fn on_a_terminal(command: &Command) -> Output {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| format!("'{}'", word.display())).collect();
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]);
    let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    script.env_clear().envs(set).env("PATH", "/usr/bin:/bin").env("TERM", "xterm");
    script.stdin(std::process::Stdio::null()).output().expect("script runs")
}

fn is_drawn(output: &Output) -> bool {
    assert!(output.status.success(), "{}", text(output));
    text(output).contains(DRAWN)
}

#[tokio::test]
async fn a_bar_is_drawn_on_a_terminal_and_never_into_a_pipe() {
    on_both(async |database| {
        let folder = tempfile::tempdir().expect("a folder");
        let (world, _kept): (World, _) = filled(database, 23).await;
        let file = folder.path().join("all.ndjson").display().to_string();
        for transfer in ["export", "import"] {
            let arguments = [transfer, &file, "--environment", ENVIRONMENT];
            assert!(!is_drawn(&world.run(&arguments).await), "{transfer} into a pipe");
            let seen = on_a_terminal(&world.command(&arguments));
            assert!(is_drawn(&seen), "{transfer} on a terminal: {}", text(&seen));
        }
    })
    .await;
}
