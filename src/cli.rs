//! The command line: one file a command. Operator commands go straight to the database.

use crate::{
    clock::Clock,
    config::{Config, Error as ConfigError},
    daemon,
    keyring::Keyring,
    model::time::Timestamp,
    pipeline::Pipeline,
    store::{
        self, Db,
        migrations::{self, Schema},
    },
    telemetry,
};
use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode, sync::Arc};

mod config;
mod customer;
mod demo;
mod doctor;
mod endpoint;
mod event;
mod explain;
mod generate;
mod health;
mod key;
mod message;
mod migrate;
mod output;
mod providers;
mod receive;
mod run;
mod send;
mod simulate;
mod state;
mod traffic;
mod transfer;
mod via;

/// One true record per customer, from the webhooks of payment and auth providers
#[derive(Debug, Parser)]
#[command(name = "customer-sync", version, about, max_term_width = 100)]
struct Cli {
    /// The configuration file; CUSTOMER_SYNC_CONFIG names one too
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Run(run::Run),
    /// Show everything at work in one process, with no service and nothing to set up
    Demo(demo::Demo),
    /// Send generated traffic to a running system
    Simulate(simulate::Simulate),
    /// Sign one body with its source's secret and send it
    Send(send::Send),
    /// Verify and normalize one body without applying it, and print what it asserts
    Explain(explain::Explain),
    /// Bring the database's schema up to date
    Migrate(migrate::Migrate),
    /// Check connections, settings, queues and totals
    Doctor(doctor::Doctor),
    /// Ask the running daemon how it is; exit 1 unless it is well
    Health(health::Health),
    /// Check or show the settings
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Webhook endpoints
    #[command(subcommand)]
    Endpoint(endpoint::EndpointCommand),
    /// Customers
    #[command(subcommand)]
    Customer(customer::CustomerCommand),
    /// Inbound events
    #[command(subcommand)]
    Event(event::EventCommand),
    /// Outgoing messages
    #[command(subcommand)]
    Message(message::MessageCommand),
    /// API keys
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Whose webhooks can be read: how they are verified, and what they assert
    Providers(providers::Providers),
    /// Receive webhooks as an app would: verify each and print it
    Receive(receive::Receive),
    /// Print a shell's completion script
    Completions(generate::Completions),
    /// Write the manual pages into a folder
    Man(generate::Man),
    /// Take in customers, payments and subscriptions from a file, or a provider's own objects
    Import(transfer::Import),
    /// Write customers, payments and subscriptions into a file
    Export(transfer::Export),
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    /// As it should.
    Clean,
    /// It found or was told something bad, and has said so.
    Failed,
}

impl Ending {
    fn clean_if(good: bool) -> Self {
        if good { Self::Clean } else { Self::Failed }
    }
}

/// The command was called wrongly in a way that its arguments alone do not show.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Failed.
const FAILED: u8 = 1;
/// Called wrongly; what clap exits with too.
const USAGE: u8 = 2;
/// Bad configuration: `EX_CONFIG` of sysexits.h, so that a supervisor does not start it again and again.
const BAD_CONFIGURATION: u8 = 78;

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(cli)));
    match result {
        Ok(Ending::Clean) => ExitCode::SUCCESS,
        Ok(Ending::Failed) => ExitCode::from(FAILED),
        Err(error) => {
            output::error(&error);
            ExitCode::from(exit_code(&error))
        }
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let is_url = |cause: &store::Error| matches!(cause, store::Error::Url(_));
    if error.chain().any(|cause| {
        cause.is::<ConfigError>()
            || cause.is::<daemon::KeyMismatch>()
            || cause.downcast_ref().is_some_and(is_url)
    }) {
        return BAD_CONFIGURATION;
    }
    if error.chain().any(<dyn std::error::Error>::is::<Usage>) {
        return USAGE;
    }
    FAILED
}

async fn run(cli: Cli) -> anyhow::Result<Ending> {
    // These need no configuration.
    let command = match cli.command {
        Command::Demo(demo) => return demo.run().await,
        Command::Completions(completions) => return Ok(completions.run()),
        Command::Man(man) => return man.run(),
        Command::Providers(providers) => return providers.run(),
        command => command,
    };
    let config = Config::load(cli.config.as_deref()).map_err(anyhow::Error::from);
    let config = config.map_err(|error| error.context("bad configuration"))?;
    if let Command::Run(run) = command {
        return run.run(config).await;
    }
    // A receiver stays, and says where it listens.
    let level = if matches!(command, Command::Receive(_)) { "info" } else { "error" };
    telemetry::log(telemetry::Format::Text, level)?;
    let context = Context { config, clock: Clock::system() };
    match command {
        Command::Run(_)
        | Command::Demo(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Providers(_) => Ok(Ending::Clean),
        Command::Simulate(command) => command.run(&context).await,
        Command::Send(command) => command.run(&context).await,
        Command::Explain(command) => command.run(&context),
        Command::Migrate(command) => command.run(&context).await,
        Command::Doctor(command) => command.run(&context).await,
        Command::Health(command) => command.run(&context).await,
        Command::Config(command) => command.run(&context),
        Command::Endpoint(command) => command.run(&context).await,
        Command::Customer(command) => command.run(&context).await,
        Command::Event(command) => command.run(&context).await,
        Command::Message(command) => command.run(&context).await,
        Command::Key(command) => command.run(&context).await,
        Command::Receive(command) => command.run(&context).await,
        Command::Import(command) => command.run(&context).await,
        Command::Export(command) => command.run(&context).await,
    }
}

/// For `value_parser`: an RFC 3339 time.
fn time(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse(text).ok_or("expected an RFC 3339 time such as 2026-01-31T12:00:00Z")
}

/// For `value_parser`: `NAME=VALUE`.
fn pair(text: &str) -> Result<(String, String), &'static str> {
    text.split_once('=')
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .filter(|(name, _)| !name.is_empty())
        .ok_or("expected NAME=VALUE")
}

/// What operator commands work with.
#[derive(Debug)]
struct Context {
    config: Config,
    clock: Clock,
}

impl Context {
    /// The database; an empty one is given its schema, an older one is left as it is.
    async fn db(&self) -> anyhow::Result<Db> {
        let db =
            Db::open_within(&self.config.database_url(), daemon::database_limits(&self.config))
                .await?;
        let mut tx = db.begin().await.map_err(store::Error::from)?;
        let schema = migrations::schema(&mut tx).await?;
        drop(tx);
        if schema == Schema::Missing {
            db.migrate().await?;
        }
        Ok(db)
    }

    /// The key that this database was written under.
    async fn keyring(&self, db: &Db) -> anyhow::Result<Keyring> {
        daemon::keyring(&self.config, db).await
    }

    /// The stages, without hand-over: what they tell is sent by the daemon.
    async fn pipeline(&self, db: &Db) -> anyhow::Result<Pipeline> {
        Ok(Pipeline {
            db: db.clone(),
            sources: Arc::new(daemon::sources(&self.config)?),
            keyring: self.keyring(db).await?,
            clock: self.clock.clone(),
            handover: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn verify_cli() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bad_configuration_has_an_exit_code_of_its_own() {
        let bad = Config::parse("[http]\nlisten = 1").expect_err("bad");
        assert_eq!(exit_code(&anyhow::Error::from(bad).context("outer")), BAD_CONFIGURATION);
        assert_eq!(exit_code(&anyhow::anyhow!("other")), FAILED);
        assert_eq!(exit_code(&anyhow::Error::from(Usage("so not".into()))), USAGE);
    }
}
