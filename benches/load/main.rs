//! The load harness: how fast the released program is, by what the machine and its services allow.
//!
//! Every figure is a ratio taken side by side in one run: the machine is small and noisy, and others work on it. It
//! tells one JSON line for each measurement, and fails where a run ended in another state than the truth. How to run
//! it, and what was found: `docs/performance.md`.

#![expect(clippy::cast_precision_loss, reason = "figures are told with four digits")]

use clap::{Parser, ValueEnum};
use std::process::ExitCode;

mod broker;
mod deliveries;
mod figures;
mod floors;
mod growth;
mod latency;
mod lists;
mod machine;
mod memory;
mod mix;
mod program;
mod receiver;
mod requests;
mod stage;
mod start;
mod throughput;
mod traffic;

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Measurement {
    /// RabbitMQ to the commit in PostgreSQL, uniform customers
    Inbound,
    /// The same one event at a time
    Single,
    /// The same with customers by Zipf's law
    Zipf,
    /// RabbitMQ over PostgreSQL to the app
    Whole,
    /// HTTP over SQLite to the app
    Embedded,
    /// From publishing to the app while nothing else happens
    Latency,
    /// From the start to readiness
    Start,
    /// While a backlog waits
    Memory,
    /// As the tables grow
    Growth,
    /// Lists of customers and rankings
    Lists,
    /// Messages that wait to the app: by plain HTTP, beside dead endpoints, behind a backlog
    Deliveries,
    /// The API under requests of all kinds
    Mixed,
    /// A customer by its id
    Read,
}

#[derive(Debug, Parser)]
struct Arguments {
    /// What is measured; all of it where nothing is named
    #[arg(value_name = "MEASUREMENT")]
    only: Vec<Measurement>,
    /// How many interleaved rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Events of a run
    #[arg(long, default_value_t = 20_000)]
    events: usize,
    /// Customers that are there before
    #[arg(long, default_value_t = 10_000)]
    customers: usize,
    /// Another seed, another traffic
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The exponent of Zipf's law
    #[arg(long, default_value_t = 1.0)]
    skew: f64,
    /// Single events whose latency is measured
    #[arg(long, default_value_t = 500)]
    tries: usize,
    /// Starts that are measured
    #[arg(long, default_value_t = 20)]
    starts: usize,
    /// Messages of 4 KiB that wait
    #[arg(long, default_value_t = 1_000_000)]
    backlog: usize,
    /// Messages of 1 MiB that wait
    #[arg(long, default_value_t = 1_000)]
    large_backlog: usize,
    /// Customers that the tables grow to, one size after the other
    #[arg(long, value_delimiter = ',', default_value = "10000,1000000")]
    grow_customers: Vec<u64>,
    /// Customers of whom lists are asked for
    #[arg(long, default_value_t = 1_000_000)]
    list_customers: u64,
    /// Payments of one customer
    #[arg(long, value_delimiter = ',', default_value = "0,1000000")]
    grow_payments: Vec<u64>,
    /// Messages that wait to be tried again
    #[arg(long, value_delimiter = ',', default_value = "0,1000000")]
    grow_waiting: Vec<u64>,
    /// Messages whose delivery is measured
    #[arg(long, default_value_t = 20_000)]
    deliveries: usize,
    /// Messages to be tried again that wait beside them
    #[arg(long, default_value_t = 1_000_000)]
    waiting: u64,
    /// Events by which growth is measured
    #[arg(long, default_value_t = 6_000)]
    grow_events: usize,
    /// Requests of a mix
    #[arg(long, default_value_t = 10_000)]
    requests: usize,
    /// What `cargo bench` says to every harness
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    fn wants(&self, one: Measurement) -> bool {
        self.only.is_empty() || self.only.contains(&one)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            figures::say(&format!("there is no runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(measure(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            figures::say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let stage = stage::Stage::new().await?;
    let measured = measure_on(&stage, arguments).await;
    let closed = stage.close().await;
    measured.and(closed)
}

async fn measure_on(stage: &stage::Stage, arguments: &Arguments) -> anyhow::Result<()> {
    let wants = |one| arguments.wants(one);
    let settings = traffic::Settings {
        seed: arguments.seed,
        customers: arguments.customers,
        events: arguments.events,
        skew: 0.0,
    };
    let rounds = arguments.rounds;
    let single = wants(Measurement::Single);
    let wanted = throughput::Wanted {
        inbound: wants(Measurement::Inbound) || single,
        single,
        whole: wants(Measurement::Whole),
    };
    let mut networked = None;
    if wanted.inbound || wanted.whole {
        networked = Some(throughput::networked(stage, settings, rounds, wanted).await?);
    }
    if wants(Measurement::Zipf) {
        let settings = traffic::Settings { skew: arguments.skew, ..settings };
        let wanted = throughput::Wanted { inbound: true, ..throughput::Wanted::default() };
        throughput::networked(stage, settings, rounds, wanted).await?;
    }
    if wants(Measurement::Embedded) {
        throughput::embedded(stage, settings, rounds, networked.as_ref()).await?;
    }
    if wants(Measurement::Latency) {
        let settings = traffic::Settings { events: arguments.tries, ..settings };
        latency::idle(stage, settings).await?;
    }
    if wants(Measurement::Start) {
        start::to_ready(stage, arguments.starts).await?;
    }
    if wants(Measurement::Memory) {
        let (messages, large) = (arguments.backlog, arguments.large_backlog);
        let small = memory::Backlog { messages, bytes: 4 * 1024, allowed: 64.0 };
        let large = memory::Backlog { messages: large, bytes: 1024 * 1024, allowed: 256.0 };
        memory::under(stage, arguments.seed, small).await?;
        memory::under(stage, arguments.seed, large).await?;
    }
    if wants(Measurement::Growth) {
        let sizes = growth::Sizes {
            customers: arguments.grow_customers.clone(),
            payments: arguments.grow_payments.clone(),
            waiting: arguments.grow_waiting.clone(),
        };
        growth::of_the_tables(stage, arguments.seed, arguments.grow_events, &sizes).await?;
    }
    if wants(Measurement::Deliveries) {
        deliveries::rates(stage, rounds, arguments.deliveries, arguments.waiting).await?;
    }
    if wants(Measurement::Lists) {
        lists::at(stage, arguments.list_customers).await?;
    }
    if wants(Measurement::Mixed) {
        requests::mixed(stage, settings, arguments.requests).await?;
    }
    if wants(Measurement::Read) {
        requests::read(stage, settings, rounds).await?;
    }
    Ok(())
}
