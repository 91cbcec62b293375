//! `simulate`: generated traffic for a running system.

use super::{
    Context, Ending, Usage,
    output::{self, Output, thousands},
    state::{self, State},
    traffic::{self, Traffic},
    via::{Sender as Way, Via},
};
use crate::{
    config::is_environment,
    model::is_live,
    provider::Source,
    shutdown::Shutdown,
    simulator::{History, Options, SPAN, Sender, Senders, Signing, Snapshot, differences},
    store::Db,
};
use clap::Args;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

#[derive(Debug, Args)]
pub(super) struct Simulate {
    /// Where the traffic belongs; its sources of the providers stripe, clerk and canonical take it. Never `live`
    #[arg(long, value_name = "NAME", default_value = "test")]
    environment: String,
    /// About how many deliveries
    #[arg(long, default_value_t = 2_000, value_name = "N")]
    events: usize,
    /// Deliveries a second; without it as fast as they are taken
    #[arg(long, value_name = "N", value_parser = positive)]
    rate: Option<f64>,
    /// Which share of the events is delivered again: from 0 to below 1
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    duplicates: f64,
    /// Deliver in any order
    #[arg(long)]
    shuffle: bool,
    /// Another seed, another history
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// Wait until all is done, compare with the truth, and exit 1 on a difference
    #[arg(long)]
    check: bool,
    /// With --check: give up when nothing has moved for so long
    #[arg(long, default_value_t = 60, value_name = "SECONDS", requires = "check")]
    patience: u64,
    /// The way in: amqp, or http; without it RabbitMQ where amqp.url is set
    #[arg(long)]
    via: Option<Via>,
    /// Where the daemon's ingress is; without it at http.listen
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    #[command(flatten)]
    output: Output,
}

fn positive(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|rate| *rate > 0.0).ok_or("expected a number above 0")
}

fn share(text: &str) -> Result<f64, &'static str> {
    let share = text.parse().ok().filter(|share| (0.0..1.0).contains(share));
    share.ok_or("expected a number from 0 to below 1")
}

impl Simulate {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<Ending> {
        if is_live(&self.environment) {
            return Err(Usage("simulate refuses the environment live".into()).into());
        }
        if !is_environment(&self.environment) {
            return Err(Usage(format!("`{}` cannot name an environment", self.environment)).into());
        }
        let senders = senders(context, &self.environment)?;
        let history = History::generate(&self.options(context, &senders));
        let before =
            if self.check { Some(Before::read(context, &self.environment).await?) } else { None };
        let way = Way::new(context, self.via, self.url.clone())?;
        let bar = traffic::bar(history.deliveries.len(), "sent");
        let shutdown = Shutdown::new();
        let traffic = Traffic {
            sender: &way,
            senders: &senders,
            clock: &context.clock,
            rate: self.rate,
            shutdown: &shutdown,
            bar: &bar,
        };
        let begun = Instant::now();
        let sent = traffic.send(&history.deliveries).await;
        way.close().await;
        let (sent, seconds) = (sent?, begun.elapsed().as_secs_f64());
        bar.finish_and_clear();
        let found = match before {
            Some(before) => before.check(context, &self, &history, sent).await?,
            None => Vec::new(),
        };
        self.tell(&history, sent, seconds, &found);
        Ok(Ending::clean_if(found.is_empty()))
    }

    /// The history begins on a fixed day, so that a seed gives the same one again.
    fn options(&self, context: &Context, senders: &Senders) -> Options {
        let demo = Options::demo();
        let latest = context.clock.now().plus(-SPAN);
        Options {
            seed: self.seed,
            events: self.events,
            duplicates: self.duplicates,
            shuffle: self.shuffle,
            start: demo.start.min(latest),
            environment: self.environment.as_str().into(),
            senders: senders.clone(),
        }
    }

    fn tell(&self, history: &History, sent: usize, seconds: f64, found: &[String]) {
        let shown = json!({
            "environment": self.environment, "seed": self.seed, "sent": sent,
            "events": history.events, "seconds": seconds, "checked": self.check,
            "differences": found,
        });
        self.output.thing(&shown, |_| {
            let verdict = match (self.check, found.is_empty()) {
                (false, _) => String::new(),
                (true, true) => "equal to the truth".into(),
                (true, false) => format!("{} differences", found.len()),
            };
            let fields = output::fields(&[
                ("environment", self.environment.clone()),
                ("seed", self.seed.to_string()),
                ("sent", format!("{} in {seconds:.1} s", thousands(sent))),
                ("events", thousands(history.events)),
                ("state", verdict),
            ]);
            [&[fields][..], found].concat().join("\n")
        });
    }
}

/// The configured sources that take the traffic.
fn senders(context: &Context, environment: &str) -> anyhow::Result<Senders> {
    let sources = context.config.sources()?;
    let sender = |provider: &'static str, signing: Signing| -> anyhow::Result<Sender> {
        let takes = |source: &&Source| {
            source.provider.name == provider && *source.environment == *environment
        };
        let source = sources.iter().find(takes).ok_or_else(|| {
            let text = format!("no source of the provider {provider} in the environment {environment}: configure one under [[sources]]");
            Usage(text)
        })?;
        let now = context.clock.now();
        let secret = super::send::secret(source, now)
            .ok_or_else(|| Usage(format!("no secret of source {} holds now", source.name)))?;
        Ok(Sender {
            name: source.name.clone(),
            provider,
            namespace: source.namespace.clone(),
            signing,
            secret: secret.clone(),
        })
    };
    Ok(Senders {
        stripe: sender("stripe", Signing::Stripe)?,
        clerk: sender("clerk", Signing::Svix)?,
        app: sender("canonical", Signing::StandardWebhooks)?,
    })
}

/// What was there before: it is not ours to judge.
struct Before {
    db: Db,
    snapshot: Snapshot,
    received: i64,
}

/// How often to look.
const LOOK: Duration = Duration::from_millis(250);

impl Before {
    async fn read(context: &Context, environment: &str) -> anyhow::Result<Self> {
        let db = context.db().await?;
        let now = context.clock.now();
        let snapshot = State::read(&db, environment, now).await?.snapshot();
        let received = state::progress(&db, environment).await?.received;
        Ok(Self { db, snapshot, received })
    }

    /// Waits until all is done; the differences from the truth.
    async fn check(
        &self,
        context: &Context,
        simulate: &Simulate,
        history: &History,
        sent: usize,
    ) -> anyhow::Result<Vec<String>> {
        let wanted = self.received + i64::try_from(sent).unwrap_or(i64::MAX);
        let bar = traffic::bar(sent, "processed");
        let patience = Duration::from_secs(simulate.patience);
        let mut last = (state::progress(&self.db, &simulate.environment).await?, Instant::now());
        let mut found = Vec::new();
        loop {
            let progress = state::progress(&self.db, &simulate.environment).await?;
            if progress != last.0 {
                last = (progress, Instant::now());
            }
            bar.set_position(u64::try_from(progress.received - self.received).unwrap_or(0));
            bar.set_message(format!("{} deliveries wait", progress.pending));
            if progress.received >= wanted && progress.queued == 0 && progress.pending == 0 {
                break;
            }
            if last.1.elapsed() > patience {
                found.push(format!(
                    "nothing has moved for {} s: {} of {sent} events have a verdict, {} deliveries wait",
                    simulate.patience,
                    progress.received - self.received,
                    progress.pending,
                ));
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        bar.finish_and_clear();
        let now = context.clock.now();
        let state = State::read(&self.db, &simulate.environment, now).await?;
        if state.drift > 0 {
            found.push(format!("{} totals differ from a recount", state.drift));
        }
        let truth = history.truth.snapshot();
        found.extend(differences(truth, &self.without_others(state.snapshot(), truth)));
        Ok(found)
    }

    /// The state without what was there before and the truth says nothing of.
    fn without_others(&self, mut state: Snapshot, truth: &Snapshot) -> Snapshot {
        let known = &self.snapshot;
        let ours = |name: &String, truth: bool, before: bool| truth || !before || name.is_empty();
        state.customers.retain(|name, _| {
            ours(name, truth.customers.contains_key(name), known.customers.contains_key(name))
        });
        state.payments.retain(|name, _| {
            ours(name, truth.payments.contains_key(name), known.payments.contains_key(name))
        });
        state.subscriptions.retain(|name, _| {
            ours(
                name,
                truth.subscriptions.contains_key(name),
                known.subscriptions.contains_key(name),
            )
        });
        state
    }
}
