//! `demo`: everything in one process with no service: generated signed traffic through the real ingress, the
//! embedded queue and store, and a receiver that verifies each delivery.

use super::{
    Ending,
    output::{self, Output, thousands},
    state::{self, State},
    traffic::{self, Traffic},
    via::Sender,
};
use crate::{
    clock::Clock,
    config::{Config, temporary_folder},
    daemon::{Daemon, Options},
    deliver::signature::new_secret,
    http::receiver::Receiver,
    keyring,
    model::{id::KeyId, key::Scope, secret::Secret, time::Timestamp},
    pipeline::Pipeline,
    shutdown::Shutdown,
    simulator::{self, History, Senders},
    store::{self, keys},
    telemetry,
};
use clap::Args;
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tally::Tally;
use tokio::{net::TcpListener, time::Instant};
use url::Url;

mod checks;
mod summary;
mod tally;

/// The environment of the demo's customers.
const ENVIRONMENT: &str = "demo";

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// About how many deliveries to generate
    #[arg(long, default_value_t = 2_000, value_name = "N")]
    events: usize,
    /// Another seed, another history
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// End after the summary; exit 1 if a check failed
    #[arg(long)]
    exit: bool,
    #[command(flatten)]
    output: Output,
}

impl Demo {
    pub(super) async fn run(self) -> anyhow::Result<Ending> {
        telemetry::log(telemetry::Format::Text, "error")?;
        let clock = Clock::system();
        let folder = Folder::make(&clock)?;
        let senders = Senders::generated(self.seed);
        let secret = new_secret();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let config = configuration(&folder, &senders, listener.local_addr()?, &secret)?;
        let options = Options { clock: clock.clone(), ..Options::default() };
        let daemon = Daemon::build(config, options).await?;
        let address = daemon.api_address().ok_or_else(|| anyhow::anyhow!("nothing listens"))?;
        let tally = Arc::new(Mutex::new(Tally::default()));
        let shutdown = daemon.shutdown().clone();
        let receiver = {
            let tally = tally.clone();
            let sink = Arc::new(move |told| {
                tally.lock().unwrap_or_else(PoisonError::into_inner).add(told);
            });
            Receiver::new(&secret, clock.clone(), sink)
                .ok_or_else(|| anyhow::anyhow!("the receiver's secret is none"))?
        };
        shutdown.spawn_role("receiver", receiver.serve(listener, shutdown.clone()));
        let stage = Stage {
            demo: &self,
            address,
            pipeline: daemon.pipeline().clone(),
            senders,
            tally,
            shutdown: shutdown.clone(),
        };
        let (ran, played) = tokio::join!(daemon.run(), async {
            let played = stage.play().await;
            if self.exit || played.is_err() {
                shutdown.soft();
            } else {
                shutdown.requested().await;
            }
            played
        });
        let (clean, passed) = (ran?, played?);
        Ok(Ending::clean_if(clean && passed))
    }
}

/// A folder that goes with the demo.
struct Folder(PathBuf);

impl Folder {
    fn make(clock: &Clock) -> anyhow::Result<Self> {
        let path =
            temporary_folder().join(format!("customer-sync-demo-{}", clock.new_id().simple()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it is in the system's folder for what may be lost.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn configuration(
    folder: &Folder,
    senders: &Senders,
    receiver: SocketAddr,
    secret: &Secret,
) -> anyhow::Result<Config> {
    let text = format!(
        "[data]\ndirectory = {:?}\n\
         [http]\nlisten = \"127.0.0.1:0\"\n\
         [webhooks]\nallow_http = true\nallow_networks = [\"127.0.0.0/8\"]\n\
         [[endpoints]]\nname = \"demo\"\nenvironment = {ENVIRONMENT:?}\nurl = \"http://{receiver}/\"\nsecret = {:?}\n{}",
        folder.0.display().to_string(),
        secret.expose(),
        senders.toml(ENVIRONMENT),
    );
    Ok(Config::parse(&text)?)
}

/// What the demo is played on.
struct Stage<'a> {
    demo: &'a Demo,
    address: SocketAddr,
    pipeline: Pipeline,
    senders: Senders,
    tally: Arc<Mutex<Tally>>,
    shutdown: Shutdown,
}

/// How often to look how far it has come.
const LOOK: Duration = Duration::from_millis(100);

impl Stage<'_> {
    /// Sends the traffic, waits for the last delivery, checks and tells; whether all checks passed.
    async fn play(&self) -> anyhow::Result<bool> {
        let begun = Instant::now();
        let history = History::generate(&simulator::Options {
            seed: self.demo.seed,
            events: self.demo.events,
            senders: self.senders.clone(),
            environment: ENVIRONMENT.into(),
            ..simulator::Options::demo()
        });
        let bar = traffic::bar(history.deliveries.len(), "sent");
        let sender = Sender::http(Url::parse(&format!("http://{}", self.address))?)?;
        let traffic = Traffic {
            sender: &sender,
            senders: &self.senders,
            clock: &self.pipeline.clock,
            rate: None,
            shutdown: &self.shutdown,
            bar: &bar,
        };
        let sent = traffic.send(&history.deliveries).await?;
        let settled = self.settle(sent, &bar).await?;
        bar.finish_and_clear();
        if !settled {
            anyhow::bail!("stopped before everything was delivered");
        }
        let elapsed = begun.elapsed();
        let now = self.pipeline.clock.now();
        let state = State::read(&self.pipeline.db, ENVIRONMENT, now).await?;
        let progress = state::progress(&self.pipeline.db, ENVIRONMENT).await?;
        let key = self.read_key(now).await?;
        let tally = std::mem::take(&mut *self.tally.lock().unwrap_or_else(PoisonError::into_inner));
        let checks = checks::all(&history, &state, progress, &tally);
        let summary = summary::Summary {
            seed: self.demo.seed,
            sent,
            history: &history,
            state: &state,
            tally: &tally,
            checks: &checks,
            elapsed,
            address: self.address,
            key: &key,
            stays: !self.demo.exit,
        };
        if self.demo.output.json {
            output::json(&summary.json());
        } else {
            output::line(summary.text());
        }
        Ok(checks.iter().all(|check| check.found.is_empty()))
    }

    /// Waits until every event has a verdict and every message is delivered; false when it was ended early.
    async fn settle(&self, sent: usize, bar: &indicatif::ProgressBar) -> anyhow::Result<bool> {
        let sent = i64::try_from(sent)?;
        while !self.shutdown.is_requested() {
            let progress = state::progress(&self.pipeline.db, ENVIRONMENT).await?;
            let done = progress.received >= sent && progress.queued == 0 && progress.pending == 0;
            bar.set_message(format!(
                "applied {}, delivered {}",
                thousands(progress.received),
                thousands(progress.delivered)
            ));
            // An end that has come is told by a timer: here and now, so that the last word is the state.
            if done && self.pipeline.announce_ended(500).await? == 0 {
                return Ok(true);
            }
            self.shutdown.sleep(LOOK).await;
        }
        Ok(false)
    }

    /// A key to look around with.
    async fn read_key(&self, now: Timestamp) -> anyhow::Result<Secret> {
        let new = keys::NewKey {
            id: KeyId(self.pipeline.clock.new_id()),
            environment: ENVIRONMENT.into(),
            scope: Scope::Read,
            name: Some("demo".into()),
            token: Secret::new(keyring::new_token()),
            created_at: now,
        };
        let mut tx = self.pipeline.db.begin().await.map_err(store::Error::from)?;
        let key = keys::create(&mut tx, new).await?;
        tx.commit().await.map_err(store::Error::from)?;
        Ok(key)
    }
}
