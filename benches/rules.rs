//! What verify, normalize and decide cost for an event, beside the least that the first two could cost: the HMAC of
//! the same bytes, and their JSON parsed. Each group runs over the same traffic of a busy shop.

use criterion::{BatchSize, Criterion, Throughput};
use customer_sync::{
    apply::{
        decide::{self, Context},
        world::World,
    },
    clock::Clock,
    config::Config,
    daemon,
    keyring::Keyring,
    model::{
        event::{Event, Reading},
        inbound::Raw,
        secret::Secret,
        time::Timestamp,
    },
    normalize,
    pipeline::Sources,
    simulator::{Delivery, Options, Senders, Shop},
    verify::{self, Verified},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::hint::black_box;

/// Whose customers these are.
const ENVIRONMENT: &str = "test";

/// How many events a group runs over: the default size of a batch.
const EVENTS: usize = 500;

struct Material {
    sources: Sources,
    keyring: Keyring,
    now: Timestamp,
    opening: Vec<Raw>,
    events: Vec<Raw>,
}

fn main() -> anyhow::Result<()> {
    let material = Material::new()?;
    let mut criterion = Criterion::default().configure_from_args();
    first_stages(&mut criterion, &material)?;
    whole(&mut criterion, &material)?;
    described(&mut criterion)?;
    decide(&mut criterion, &material)?;
    criterion.final_summary();
    Ok(())
}

impl Material {
    fn new() -> anyhow::Result<Self> {
        let senders = Senders::generated(1);
        let text = format!(
            "[secrets]\nkey = 'the key of the micro-benchmarks'\n\n{}",
            senders.toml(ENVIRONMENT)
        );
        let config = Config::parse(&text)?;
        let shop = Shop {
            seed: 1,
            customers: 2_000,
            events: EVENTS,
            skew: 0.0,
            per_second: 1_000,
            start: Options::demo().start,
            environment: ENVIRONMENT.into(),
            senders,
        };
        let rush = shop.rush();
        Ok(Self {
            sources: daemon::sources(&config)?,
            keyring: config.key()?.keyring,
            now: Clock::system().now(),
            opening: rush.opening.iter().map(raw).collect(),
            events: rush.history.deliveries.iter().take(EVENTS).map(raw).collect(),
        })
    }

    fn verify(&self, raw: &Raw) -> anyhow::Result<Verified> {
        let source = self.sources.get(&raw.source);
        let source = source.ok_or_else(|| anyhow::anyhow!("a source is missing"))?;
        Ok(verify::verify(source, raw, self.now)?)
    }

    fn read(&self, raws: &[Raw]) -> anyhow::Result<Vec<Event>> {
        let mut events = Vec::new();
        for raw in raws {
            for part in normalize::normalize(&self.verify(raw)?) {
                events.push(part.read?);
            }
        }
        Ok(events)
    }

    fn apply(&self, world: &mut World, events: &[Event]) {
        for event in events {
            let Reading::Asserts(assertions) = &event.reading else { continue };
            let mut new_id = || Clock::system().new_id();
            let mut context = Context {
                environment: &event.environment,
                keyring: &self.keyring,
                now: self.now,
                new_id: &mut new_id,
            };
            black_box(decide::decide(world, assertions, &mut context));
        }
    }
}

fn raw(delivery: &Delivery) -> Raw {
    Raw {
        source: delivery.source.clone(),
        headers: delivery.headers.iter().cloned().collect(),
        body: delivery.body.clone(),
        received_at: Some(delivery.received_at),
        queue_id: None,
        dead: None,
    }
}

fn first_stages(criterion: &mut Criterion, material: &Material) -> anyhow::Result<()> {
    let count = Throughput::Elements(material.events.len().try_into()?);
    let verified: Vec<Verified> =
        material.events.iter().map(|raw| material.verify(raw)).collect::<Result<_, _>>()?;
    let keyed = Hmac::<Sha256>::new_from_slice(b"a key of some length")?;
    let mut group = criterion.benchmark_group("verify");
    group.throughput(count.clone());
    group.bench_function("HMAC alone", |bench| {
        bench.iter(|| {
            for raw in &material.events {
                let mut mac = keyed.clone();
                mac.update(&raw.body);
                black_box(mac.finalize());
            }
        });
    });
    group.bench_function("verify", |bench| {
        bench.iter(|| {
            for raw in &material.events {
                black_box(material.verify(raw).is_ok());
            }
        });
    });
    group.finish();
    let mut group = criterion.benchmark_group("normalize");
    group.throughput(count);
    group.bench_function("JSON alone", |bench| {
        bench.iter(|| {
            for raw in &material.events {
                black_box(serde_json::from_slice::<serde_json::Value>(&raw.body).is_ok());
            }
        });
    });
    group.bench_function("normalize", |bench| {
        bench.iter(|| {
            for verified in &verified {
                black_box(normalize::normalize(verified));
            }
        });
    });
    group.finish();
    Ok(())
}

/// A typical event of Stripe's through verify and normalize, beside the floor of both: its HMAC, and its JSON parsed.
fn whole(criterion: &mut Criterion, material: &Material) -> anyhow::Result<()> {
    let typical = |raw: &&Raw| {
        let body = serde_json::from_slice::<serde_json::Value>(&raw.body).unwrap_or_default();
        &*raw.source == "stripe"
            && body.get("type").is_some_and(|kind| kind == "payment_intent.succeeded")
    };
    let raw = material.events.iter().find(typical);
    let raw = raw.ok_or_else(|| anyhow::anyhow!("no payment of Stripe's succeeded"))?;
    let keyed = Hmac::<Sha256>::new_from_slice(b"a key of some length")?;
    let mut group = criterion.benchmark_group("stripe");
    group.throughput(Throughput::Bytes(raw.body.len().try_into()?));
    group.bench_function("HMAC and JSON alone", |bench| {
        bench.iter(|| {
            let mut mac = keyed.clone();
            mac.update(&raw.body);
            black_box(mac.finalize());
            black_box(serde_json::from_slice::<serde_json::Value>(&raw.body).is_ok());
        });
    });
    group.bench_function("verify and normalize", |bench| {
        bench.iter(|| black_box(material.read(std::slice::from_ref(raw)).is_ok()));
    });
    group.finish();
    Ok(())
}

/// An event of Paystack's by the built-in provider, and by the mapping that says the same.
fn described(criterion: &mut Criterion) -> anyhow::Result<()> {
    let body = include_str!("../tests/fixtures/paystack/charge.success.json");
    let mapping = include_str!("../config/custom/paystack.toml").replace("${PAYSTACK_SECRET}", "s");
    let built_in = "[[sources]]\nname = 'paystack'\nprovider = 'paystack'\nsecrets = ['s']";
    let now = Clock::system().now();
    let mut group = criterion.benchmark_group("paystack");
    for (name, settings) in [("built in", built_in), ("custom", &mapping)] {
        let sources = daemon::sources(&Config::parse(settings)?)?;
        let source = sources.get("paystack").ok_or_else(|| anyhow::anyhow!("no source"))?;
        let scheme = source.provider.scheme.ok_or_else(|| anyhow::anyhow!("no scheme"))?;
        let headers =
            verify::scheme::sign(&scheme, &Secret::new("s"), body.as_bytes(), "id", now, None)?;
        let raw = Raw {
            source: source.name.clone(),
            headers,
            body: body.into(),
            received_at: Some(now),
            queue_id: None,
            dead: None,
        };
        let verified = verify::verify(source, &raw, now)?;
        let parts = normalize::normalize(&verified);
        anyhow::ensure!(parts.iter().all(|part| part.read.is_ok()), "it is readable");
        group.bench_function(format!("{name}, normalize"), |bench| {
            bench.iter(|| black_box(normalize::normalize(&verified).len()));
        });
        group.bench_function(format!("{name}, verify and normalize"), |bench| {
            bench.iter(|| {
                let verified = verify::verify(source, &raw, now);
                black_box(verified.map(|verified| normalize::normalize(&verified).len()).ok());
            });
        });
    }
    group.finish();
    Ok(())
}

fn decide(criterion: &mut Criterion, material: &Material) -> anyhow::Result<()> {
    let mut world = World::default();
    material.apply(&mut world, &material.read(&material.opening)?);
    let events = material.read(&material.events)?;
    let mut group = criterion.benchmark_group("decide");
    group.throughput(Throughput::Elements(events.len().try_into()?));
    group.bench_function("decide", |bench| {
        let fresh = || world.clone();
        let decide = |mut world| {
            material.apply(&mut world, &events);
            world
        };
        bench.iter_batched(fresh, decide, BatchSize::LargeInput);
    });
    group.finish();
    Ok(())
}
