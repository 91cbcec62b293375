//! `run`: the daemon.

use super::Ending;
use crate::{
    config::{Config, LogFormat},
    daemon::{self, Daemon, Options, Role},
    telemetry,
};
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct Run {
    /// What this process does
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "ROLES",
        default_value = "intake,deliver,http"
    )]
    roles: Vec<Role>,
    /// Leave the database's schema as it is
    #[arg(long)]
    no_migrate: bool,
}

impl Run {
    pub(super) async fn run(self, config: Config) -> anyhow::Result<Ending> {
        let format = match config.log.format {
            LogFormat::Text => telemetry::Format::Text,
            LogFormat::Json => telemetry::Format::Json,
        };
        telemetry::log(format, &config.log.level)?;
        if !config.traces.url.is_empty() {
            telemetry::trace::start(daemon::trace_settings(&config))?;
        }
        let options =
            Options { roles: self.roles, migrate: !self.no_migrate, ..Options::default() };
        let daemon = Daemon::build(config, options).await?;
        let ended = daemon.run().await;
        telemetry::trace::finish().await;
        Ok(Ending::clean_if(ended?))
    }
}
