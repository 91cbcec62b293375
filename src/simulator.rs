//! A seeded generator of signed provider traffic that records the truth as it acts: for the demo, for
//! `simulate`, for benchmarks and for tests.
//!
//! It plays out small stories (`scenario`) in a simulated world: people sign up at Clerk, buy at Stripe,
//! are recorded by the team's own app. What happens is written into the simulator's own books at once, in
//! the order of real time, and told by the sender that would tell it. The books, not the events, are the
//! truth that a state is compared with. The simulator uses the plain types of `model` and nothing else of
//! this crate: what it checks cannot be what it was built from.

use crate::model::{is_live, secret::Secret, time::Timestamp};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use chrono::TimeDelta;
use random::Random;
use std::{collections::BTreeMap, fmt, sync::Arc};
use world::{Told, World};

mod app;
mod clerk;
mod ledger;
mod people;
mod random;
mod scenario;
pub mod shop;
pub mod signature;
pub mod snapshot;
mod stripe;
mod totals;
mod world;

#[cfg(test)]
mod tests;

pub use shop::{Rush, Shop};
pub use signature::Signing;
pub use snapshot::{Snapshot, differences};

/// How long a history lasts at most, from [`Options::start`] to the last delivery.
pub const SPAN: TimeDelta = TimeDelta::days(400);

/// Stories begin within this many seconds of the start; the longest of them lasts some months.
const BEGINNINGS: i64 = 180 * 86_400;

/// One that sends: a source as the daemon has it configured.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The source's name.
    pub name: Arc<str>,
    /// The provider's name.
    pub provider: &'static str,
    /// The namespace of its ids.
    pub namespace: Arc<str>,
    /// How it signs.
    pub signing: Signing,
    /// What it signs with.
    pub secret: Secret,
}

/// The three that send.
#[derive(Clone, Debug)]
pub struct Senders {
    /// A Stripe account.
    pub stripe: Sender,
    /// A Clerk instance.
    pub clerk: Sender,
    /// The team's own application.
    pub app: Sender,
}

/// What to generate. The same options give the same history, byte for byte.
#[derive(Clone, Debug)]
pub struct Options {
    /// Another seed, another history.
    pub seed: u64,
    /// About how many deliveries, duplicates included.
    pub events: usize,
    /// Which share of the events is delivered again, from 0 to below 1.
    pub duplicates: f64,
    /// Whether the deliveries come in any order, instead of that of real time.
    pub shuffle: bool,
    /// When it begins. It ends within [`SPAN`], so that it lies in the past where this is that long ago.
    pub start: Timestamp,
    /// The sources' environment: in `live` the objects are of live mode, elsewhere of test mode.
    pub environment: Arc<str>,
    /// Who sends.
    pub senders: Senders,
}

/// One delivery of one event.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The source's name.
    pub source: Arc<str>,
    /// Names in lower case, signature among them.
    pub headers: Vec<(String, String)>,
    /// The event's bytes: the same in every delivery of it.
    pub body: Bytes,
    /// When an ingress received it.
    pub received_at: Timestamp,
    /// The sender's id of the event.
    pub event_id: String,
}

/// What must be in the state when all deliveries were processed, in whatever order.
#[derive(Clone, PartialEq, Debug)]
pub struct Truth(Snapshot);

/// A history: what is delivered, and what is true in the end.
#[derive(Clone, Debug)]
pub struct History {
    /// In the order of real time, or shuffled.
    pub deliveries: Vec<Delivery>,
    /// What must come of it.
    pub truth: Truth,
    /// How many different events there are.
    pub events: usize,
    /// How often each story was played.
    pub scenarios: BTreeMap<&'static str, usize>,
}

/// Shows no header value.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("source", &self.source)
            .field("event_id", &self.event_id)
            .field("received_at", &self.received_at)
            .finish_non_exhaustive()
    }
}

impl Sender {
    /// The headers of one more delivery of a body, signed at a time.
    pub fn sign(&self, event_id: &str, body: &[u8], at: Timestamp) -> Vec<(String, String)> {
        signature::headers(self.signing, &self.secret, event_id, body, at)
    }
}

impl Senders {
    /// Sources called `stripe`, `clerk` and `app`, with secrets that follow from a seed.
    pub fn generated(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x7365_6372_6574_7321);
        let sender = |name: &'static str, provider, signing, secret: String| Sender {
            name: name.into(),
            provider,
            namespace: name.into(),
            signing,
            secret: Secret::new(secret),
        };
        let stripe = format!("whsec_{}", random.text(32));
        let mut encoded = || format!("whsec_{}", STANDARD.encode(random.bytes(32)));
        Self {
            stripe: sender("stripe", "stripe", Signing::Stripe, stripe),
            clerk: sender("clerk", "clerk", Signing::Svix, encoded()),
            app: sender("app", "canonical", Signing::StandardWebhooks, encoded()),
        }
    }

    /// All of them.
    pub fn all(&self) -> [&Sender; 3] {
        [&self.stripe, &self.clerk, &self.app]
    }

    /// The one of a source's name.
    pub fn find(&self, source: &str) -> Option<&Sender> {
        self.all().into_iter().find(|sender| *sender.name == *source)
    }

    /// The `[[sources]]` of a configuration file that takes this traffic. Holds the secrets.
    pub fn toml(&self, environment: &str) -> String {
        let source = |sender: &Sender| {
            let Sender { name, provider, namespace, .. } = sender;
            let secret = sender.secret.expose();
            format!(
                "[[sources]]\nname = {name:?}\nprovider = {provider:?}\n\
                 environment = {environment:?}\nnamespace = {namespace:?}\nsecrets = [{secret:?}]\n"
            )
        };
        self.all().map(source).join("\n")
    }
}

impl Options {
    /// What the demo generates: 2,000 deliveries in the environment `demo`, a fifth of them repeated,
    /// in order, from 1 January 2025 on.
    pub fn demo() -> Self {
        Self {
            seed: 1,
            events: 2_000,
            duplicates: 0.2,
            shuffle: false,
            start: Timestamp::from_seconds(1_735_689_600).unwrap_or_default(),
            environment: "demo".into(),
            senders: Senders::generated(1),
        }
    }
}

impl Truth {
    /// In the form in which it is compared.
    pub fn snapshot(&self) -> &Snapshot {
        &self.0
    }

    /// As canonical, sorted JSON.
    pub fn as_json(&self) -> serde_json::Value {
        serde_json::to_value(&self.0).unwrap_or_default()
    }
}

impl History {
    /// Plays out stories until there is enough to deliver.
    pub fn generate(options: &Options) -> Self {
        let mut world = World {
            random: Random::new(options.seed),
            now: options.start,
            ledger: ledger::Ledger::default(),
            senders: options.senders.clone(),
            live: is_live(&options.environment),
            told: Vec::new(),
        };
        let scenarios = play(&mut world, options);
        let truth = Truth(world.ledger.snapshot());
        let mut told = std::mem::take(&mut world.told);
        told.sort_by_key(|told| told.at);
        let mut deliveries: Vec<(Timestamp, Delivery)> = Vec::new();
        for told in &told {
            deliver(&mut world.random, options, told, &mut deliveries);
        }
        deliveries.sort_by_key(|(at, _)| *at);
        if options.shuffle {
            world.random.shuffle(&mut deliveries);
        }
        let deliveries = deliveries.into_iter().map(|(_, delivery)| delivery).collect();
        Self { deliveries, truth, events: told.len(), scenarios }
    }
}

/// Plays every story once, in any order, and then any of them, each beginning at a time of its own.
fn play(world: &mut World, options: &Options) -> BTreeMap<&'static str, usize> {
    let mut all = scenario::all();
    let mut played = BTreeMap::new();
    let enough = |world: &World| {
        let copies = f64::from(u32::try_from(world.told.len()).unwrap_or(u32::MAX));
        let deliveries = copies / (1.0 - options.duplicates.clamp(0.0, 0.9));
        deliveries >= f64::from(u32::try_from(options.events).unwrap_or(u32::MAX))
    };
    loop {
        world.random.shuffle(&mut all);
        for scenario in &all {
            if enough(world) {
                return played;
            }
            let second = options.start.seconds() + world.random.range(1..=BEGINNINGS);
            world.now = world::at_second(second);
            world.wait(1..=1);
            (scenario.act)(world);
            *played.entry(scenario.name).or_default() += 1;
        }
    }
}

/// Delivers an event, and now and then again: as a queue does, the same message once more; or as a sender
/// does, signed anew at a later time.
fn deliver(
    random: &mut Random,
    options: &Options,
    told: &Told,
    deliveries: &mut Vec<(Timestamp, Delivery)>,
) {
    let Some(sender) = options.senders.find(&told.source) else { return };
    let signed = |at: Timestamp| Delivery {
        source: Arc::clone(&told.source),
        headers: sender.sign(&told.event_id, &told.body, at),
        body: told.body.clone(),
        received_at: at,
        event_id: told.event_id.clone(),
    };
    let first = signed(told.at.plus(TimeDelta::milliseconds(random.range(100..=2_500))));
    deliveries.push((told.at, first.clone()));
    while random.share() < options.duplicates.clamp(0.0, 0.9) {
        let again = if random.chance(50) {
            let again = first.received_at.plus(TimeDelta::seconds(random.range(1..=60)));
            (again, first.clone())
        } else {
            let again = first.received_at.plus(TimeDelta::seconds(random.range(5..=70_000)));
            (again, signed(again))
        };
        deliveries.push(again);
    }
}
