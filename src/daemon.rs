//! The daemon: opens what the roles need, starts them, stops them.

use crate::{
    clock::Clock,
    config::Config,
    deliver::Deliverer,
    handover::Handover,
    health::{self, Health},
    http,
    intake::{self, Ingress, publisher::Publisher},
    pipeline::Pipeline,
    shutdown::Shutdown,
    store::Db,
    telemetry::Metrics,
};
use anyhow::Context as _;
use std::{net::SocketAddr, num::NonZeroU32, sync::Arc};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, oneshot},
};

mod housekeeping;
mod maintenance;
mod prepare;
mod settings;

pub use housekeeping::Retention;
pub use prepare::{KeyMismatch, keyring};
pub use settings::{
    DeclaredEndpoint, consumer_settings, database_limits, declared_endpoints, deliver_settings,
    guard, publisher_settings, retention, sources, trace_settings,
};

/// What a process does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Role {
    /// Takes events in and applies them.
    Intake,
    /// Sends webhooks out.
    Deliver,
    /// Serves the API and the ingress.
    Http,
}

/// How a daemon is run, beside its configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it does.
    pub roles: Vec<Role>,
    /// Whether it brings the schema up to date first.
    pub migrate: bool,
    /// What time it is.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            roles: vec![Role::Intake, Role::Deliver, Role::Http],
            migrate: true,
            clock: Clock::system(),
        }
    }
}

/// A daemon with everything opened and nothing started.
#[derive(Debug)]
pub struct Daemon {
    config: Arc<Config>,
    options: Options,
    pipeline: Pipeline,
    key_made: Option<std::path::PathBuf>,
    deliverer: Option<Deliverer>,
    listeners: Option<Listeners>,
    wake: Arc<Notify>,
    metrics: Metrics,
    health: Health,
    shutdown: Shutdown,
}

/// What HTTP is served on.
#[derive(Debug)]
struct Listeners {
    api: TcpListener,
    ingest: Option<TcpListener>,
}

impl Daemon {
    /// Opens the database, binds the addresses, reads the key. Postgres and the broker may be away.
    ///
    /// # Errors
    /// When the configuration cannot be used, an address is taken, or SQLite's file cannot be opened.
    pub async fn build(config: Config, options: Options) -> anyhow::Result<Self> {
        let has = |role| options.roles.contains(&role);
        let clock = options.clock.clone();
        let sources = Arc::new(sources(&config)?);
        declared_endpoints(&config)?;
        let key = config.key()?;
        let metrics = Metrics::collect().context("metrics cannot be collected")?;
        let listeners = if has(Role::Http) { Some(Listeners::bind(&config).await?) } else { None };
        let health = Health::new(clock.clone());
        let db = Db::open_within(&config.database_url(), database_limits(&config)).await?;
        let deliverer = has(Role::Deliver)
            .then(|| {
                let settings = deliver_settings(&config);
                let (keyring, health) = (key.keyring.clone(), health.part("deliveries"));
                Deliverer::new(db.clone(), keyring, clock.clone(), health, settings)
            })
            .transpose()?;
        let (deliverer, handover): (_, Option<Handover>) = deliverer.unzip();
        let pipeline = Pipeline { db, sources, keyring: key.keyring, clock, handover };
        if has(Role::Intake) {
            pipeline.begin_measuring();
        }
        Ok(Self {
            config: Arc::new(config),
            options,
            pipeline,
            key_made: key.made,
            deliverer,
            listeners,
            wake: Arc::default(),
            metrics,
            health,
            shutdown: Shutdown::new(),
        })
    }

    /// Where the API listens, if this process serves it.
    pub fn api_address(&self) -> Option<SocketAddr> {
        self.listeners.as_ref().and_then(|listeners| listeners.api.local_addr().ok())
    }

    /// Where the second ingress listens, if this process serves one.
    pub fn ingest_address(&self) -> Option<SocketAddr> {
        let ingest = self.listeners.as_ref().and_then(|listeners| listeners.ingest.as_ref());
        ingest.and_then(|listener| listener.local_addr().ok())
    }

    /// What stops it. Cheap to clone.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// The stages that it works with.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// How what it depends on is.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Runs until SIGTERM or SIGINT, or until somebody else asks for a shutdown; then finishes what is in hand,
    /// up to `shutdown.grace`. A second signal ends it at once. Whether it ended as it was asked to.
    ///
    /// # Errors
    /// When it cannot start: the key is not that of the database, or the schema cannot be brought up to date.
    pub async fn run(mut self) -> anyhow::Result<bool> {
        let mut signals = Signals::new()?;
        let grace = self.config.shutdown.grace;
        let shutdown = self.shutdown.clone();
        let db = self.pipeline.db.clone();
        let (failed, mut failure) = oneshot::channel();
        self.health.untried(health::SCHEMA, "not looked at yet");
        if self.config.amqp_url().is_some() {
            // Else it would be ready before it knows whether there is a broker.
            for (role, name) in [(Role::Intake, health::BROKER), (Role::Http, health::PUBLISHER)] {
                if self.options.roles.contains(&role) {
                    self.health.untried(name, "not connected yet");
                }
            }
        }
        self.serve();
        shutdown.spawn(async move {
            if let Err(error) = self.prepare_and_start().await {
                self.shutdown.soft();
                // The other end waits until everything has stopped.
                let _ = failed.send(error);
            }
        });
        let stopped = {
            let mut drained = std::pin::pin!(shutdown.drain(grace));
            loop {
                tokio::select! {
                    good = &mut drained => break good,
                    name = signals.next() => {
                        if shutdown.is_requested() {
                            tracing::warn!(signal = name, "stopping at once");
                            shutdown.hard();
                        } else {
                            tracing::info!(signal = name, grace_ms = grace.as_millis(),
                                "stopping: what is in hand is finished first");
                            shutdown.soft();
                        }
                    }
                }
            }
        };
        if let Ok(error) = failure.try_recv() {
            return Err(error);
        }
        db.close().await;
        tracing::info!("stopped");
        Ok(stopped)
    }

    /// Serves HTTP at once: liveness and readiness answer while the database is still away. All else that works on
    /// the database waits until it is prepared.
    fn serve(&mut self) {
        let Some(Listeners { api, ingest }) = self.listeners.take() else { return };
        let metrics = self.metrics.clone();
        let settings = http::Settings {
            metrics_public: self.config.http.metrics_public,
            rate_limit: NonZeroU32::new(self.config.http.rate_limit),
            cors_origins: self.config.http.cors_origins.clone(),
            reporting_currencies: self.config.reporting_currencies(),
            webhooks: deliver_settings(&self.config),
            ..http::Settings::default()
        };
        let state = http::State::new(
            self.pipeline.clone(),
            self.ingress(),
            self.health.clone(),
            settings,
            Some(Arc::new(move || metrics.render())),
            self.shutdown.clone(),
        );
        if let Ok(address) = api.local_addr() {
            tracing::info!(%address, "listening");
        }
        http::begin_measuring(&state);
        let shutdown = &self.shutdown;
        shutdown.spawn_role("http", http::serve(api, state.clone(), shutdown.clone()));
        if let Some(listener) = ingest {
            if let Ok(address) = listener.local_addr() {
                tracing::info!(%address, "listening for webhooks only");
            }
            shutdown.spawn_role("ingest", http::serve_ingest(listener, state, shutdown.clone()));
        }
    }

    /// What the HTTP ingress hands events to.
    fn ingress(&self) -> Ingress {
        match publisher_settings(&self.config) {
            Some(settings) => {
                let (health, shutdown) = (self.health.clone(), self.shutdown.clone());
                health.untried(health::PUBLISHER, "not connected to yet");
                let clock = self.pipeline.clock.clone();
                let publisher = Publisher::new(settings, clock, health, shutdown.clone());
                let kept = publisher.clone();
                shutdown.spawn_role("publisher", async move { kept.keep().await });
                Ingress::RabbitMq(publisher)
            }
            None => Ingress::Embedded(intake::embedded::Door::new(
                self.pipeline.db.clone(),
                self.pipeline.clock.clone(),
                self.wake.clone(),
                self.shutdown.clone(),
            )),
        }
    }

    /// Prepares the database for as long as it takes, then starts the roles that work on it.
    async fn prepare_and_start(&mut self) -> anyhow::Result<()> {
        let preparation = prepare::Preparation {
            config: &self.config,
            pipeline: &self.pipeline,
            migrate: self.options.migrate,
            intake: self.options.roles.contains(&Role::Intake),
            key_made: self.key_made.as_deref(),
        };
        if !preparation.run(&self.health, &self.shutdown).await? {
            return Ok(());
        }
        self.health.up(health::DATABASE);
        self.health.up(health::SCHEMA);
        let shutdown = &self.shutdown;
        if let Some(deliverer) = self.deliverer.take() {
            shutdown.spawn_role("deliver", deliverer.run(shutdown.clone()));
        }
        if self.options.roles.contains(&Role::Intake) {
            self.start_intake();
            let maintenance = maintenance::announce(self.pipeline.clone(), shutdown.clone());
            shutdown.spawn_role("maintenance", maintenance);
            let forget = maintenance::forget(self.pipeline.clone(), shutdown.clone());
            shutdown.spawn_role("forget", forget);
        }
        if self.options.roles.contains(&Role::Deliver) {
            let messages = housekeeping::messages(self.pipeline.clone(), shutdown.clone());
            shutdown.spawn_role("messages", messages);
            let kept = retention(&self.config);
            let prune = housekeeping::prune(self.pipeline.clone(), kept, shutdown.clone());
            shutdown.spawn_role("retention", prune);
        }
        shutdown.spawn_role("metrics", maintenance::tidy(self.metrics.clone(), shutdown.clone()));
        let is_embedded = self.config.amqp_url().is_none();
        let measure = maintenance::measure(self.pipeline.clone(), is_embedded, shutdown.clone());
        shutdown.spawn_role("backlog", measure);
        tracing::info!(roles = ?self.options.roles, "ready");
        Ok(())
    }

    fn start_intake(&self) {
        let (health, shutdown) = (self.health.clone(), self.shutdown.clone());
        if let Some(settings) = consumer_settings(&self.config) {
            let pipeline = self.pipeline.clone();
            let role = intake::rabbitmq::run(settings, pipeline, health, shutdown);
            self.shutdown.spawn_role("intake", role);
            return;
        }
        let reader = intake::embedded::Reader {
            db: self.pipeline.db.clone(),
            process: self.pipeline.clone(),
            settings: settings::embedded(&self.config),
            health,
            shutdown,
        };
        self.shutdown.spawn_role("intake", intake::embedded::run(reader, self.wake.clone()));
    }
}

impl Listeners {
    async fn bind(config: &Config) -> anyhow::Result<Self> {
        let bind = async |key: &str, address: SocketAddr| {
            let bound = TcpListener::bind(address).await;
            bound.with_context(|| format!("{key}: cannot listen on {address}"))
        };
        let api = bind("http.listen", config.http.listen).await?;
        let ingest = match config.ingest_listen() {
            Some(address) => Some(bind("ingest.listen", address).await?),
            None => None,
        };
        Ok(Self { api, ingest })
    }
}

/// The signals that ask for a stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
