//! `completions` and `man`: made from the command line's own description, so that they cannot differ from it.

use super::{Cli, Ending, output};
use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// For which shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Ending {
        let mut script = Vec::new();
        let mut command = Cli::command();
        let name = command.get_name().to_owned();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        output::line(String::from_utf8_lossy(&script).trim_end());
        Ending::Clean
    }
}

#[derive(Debug, Args)]
pub(super) struct Man {
    /// Where to: the folder is made if it is missing
    directory: PathBuf,
}

impl Man {
    pub(super) fn run(&self) -> anyhow::Result<Ending> {
        let path = self.directory.display();
        std::fs::create_dir_all(&self.directory)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &self.directory))
            .with_context(|| format!("the manual pages cannot be written to {path}"))?;
        Ok(Ending::Clean)
    }
}
