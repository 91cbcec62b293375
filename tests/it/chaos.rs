//! Histories under faults: seeded traffic into real daemons while whatever they depend on, and they themselves, fail
//! again and again. In the end the state is the truth, everything was told, and readiness has said on the way how
//! things stood.
//!
//! `CHAOS_SEED` and `CHAOS_FAULTS` choose another run, 0 faults one without end: see `just chaos`. The same seed makes
//! the same traffic and the same faults; when exactly each one hits is up to the machine.

use crate::{
    daemon::Stage,
    support::{
        private::{Postgres, rabbitmq},
        services::{TestDatabase, broker_at, sqlite},
    },
};
use rig::{Borne, Fault, Rig};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

mod rig;
mod traffic;

/// Leases that end within seconds, and tries enough for whatever receivers and daemons go through.
const SETTINGS: &str = "timeout = '1s'\nlease = '2s'
breaker_pause = '200ms'\nbreaker_longest_pause = '1s'\nslow_pause = '100ms'\nslow_longest_pause = '500ms'
schedule = ['300ms', '300ms', '500ms', '500ms', '1s', '1s', '1s', '1s', '2s', '2s', '2s', '2s', '2s', '2s']";

/// How many deliveries a history has.
const EVENTS: usize = 700;

/// What a daemon may hold in memory, in KiB: several times what it needs.
const MEMORY: u64 = 300 * 1024;

/// What a daemon may hold more after many faults than after few, in KiB. What it holds goes up and down by less than
/// half of that.
const GROWTH: u64 = 64 * 1024;

/// What a run of every change has, of both kinds together.
const FAULTS: usize = 220;

/// At most so many of that many faults are restarts of a service.
const RESTARTS: usize = 10;

/// After fewer faults there is no telling whether memory grows.
const ENOUGH: usize = 60;

/// Numbers that follow from a seed (SplitMix64).
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).expect("few")).expect("few")
    }

    /// From a tenth of it to all of it.
    fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(most / 10 + self.next() % (most * 9 / 10 + 1))
    }
}

/// A run: what it is called by, and how to have it again.
struct Run {
    seed: u64,
    /// How many it bears; until it is stopped, where it is 0.
    faults: usize,
}

impl Run {
    /// The one that is asked for, else that of every change.
    #[expect(clippy::disallowed_methods, reason = "a run is chosen from outside")]
    fn chosen() -> Self {
        let number = |name: &str| {
            let text = std::env::var(name).ok()?;
            Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
        };
        let faults = number("CHAOS_FAULTS")
            .map_or(FAULTS, |faults| usize::try_from(faults).expect("not that many"));
        Self { seed: number("CHAOS_SEED").unwrap_or(1), faults }
    }

    /// How many of its faults are borne where so many of [`FAULTS`] are.
    fn share(&self, of_a_change: usize) -> usize {
        match self.faults {
            0 => usize::MAX,
            faults => (faults * of_a_change).div_ceil(FAULTS),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat it: just chaos {} {}", self.seed, self.faults);
        }
    }
}

/// That a daemon which lives through all of a round holds no more in the end than in the beginning, by the middle of what
/// it held in the first and in the last third.
fn is_flat(steady: &[u64]) -> (u64, u64) {
    let third = steady.len() / 3;
    let middle = |samples: &[u64]| {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    };
    let (first, last) = (middle(&steady[..third]), middle(&steady[steady.len() - third..]));
    assert!(last < first + GROWTH, "a daemon's memory grew from {first} to {last} KiB: {steady:?}");
    (first, last)
}

/// That no more services were restarted in all of a run so far than it may.
fn restarts_are_few(kinds: &BTreeMap<Fault, Borne>, meant: usize, of_a_change: usize) {
    let restarts = [Fault::RestartDatabase, Fault::RestartBroker];
    let restarts: usize =
        restarts.iter().filter_map(|kind| kinds.get(kind)).map(|it| it.faults).sum();
    let most = RESTARTS * meant.div_ceil(of_a_change);
    assert!(restarts <= most, "{restarts} restarts of services, and at most {most} were to be");
}

/// Bears so many faults in rounds, each with a history, databases and daemons of its own.
async fn bears(name: &str, faults: usize, at_once: usize, round: impl AsyncFn(u64, usize) -> Rig) {
    let run = Run::chosen();
    let wanted = run.share(faults);
    let goal = if wanted == usize::MAX { "no end".to_owned() } else { wanted.to_string() };
    let (begun, mut borne, mut meant, mut most) = (Instant::now(), 0, 0, 0);
    let mut kinds: BTreeMap<Fault, Borne> = BTreeMap::new();
    let mut planned = BTreeSet::new();
    while borne < wanted {
        let count = at_once.min(wanted - borne);
        let seed = run.seed + u64::try_from(meant).expect("few");
        eprintln!("chaos on {name}: seed {seed}, {count} faults ({borne} of {goal} so far)");
        let rig = round(seed, count).await;
        let report = rig.bear(seed, count).await;
        for (kind, met) in report.kinds {
            borne += met.faults;
            kinds.entry(kind).or_default().add(met);
        }
        meant += count;
        restarts_are_few(&kinds, meant, faults);
        planned.extend(report.planned);
        most = most.max(report.memory);
        assert!(most < MEMORY, "a daemon held {most} KiB");
        if report.steady.len() >= ENOUGH {
            let (first, last) = is_flat(&report.steady);
            eprintln!(
                "chaos on {name}: from {first} to {last} KiB in the daemon that lives through it"
            );
        }
        eprintln!(
            "chaos on {name}: equal to the truth; {} webhooks for {} messages, at most {} MiB of memory, {} s",
            report.requests,
            report.messages,
            most / 1024,
            begun.elapsed().as_secs()
        );
    }
    assert_eq!(kinds.values().map(|borne| borne.faults).sum::<usize>(), wanted);
    planned.retain(|kind| !kinds.contains_key(kind));
    assert!(planned.is_empty(), "nobody met {planned:?}");
    eprintln!("chaos on {name}: {borne} faults, 0 differences: {kinds:?}");
}

#[tokio::test]
async fn histories_under_faults_end_in_the_truth_on_postgres_with_rabbitmq() {
    let round = async |_, _| {
        let (rabbit, postgres) = tokio::join!(rabbitmq(), Postgres::start(&[]));
        let broker = broker_at(rabbit.url());
        let stage = Stage::new(TestDatabase::on(&postgres).await, Some(broker), SETTINGS).await;
        Rig::with_servers(stage, postgres, rabbit).await
    };
    bears("PostgreSQL and RabbitMQ", 140, 140, round).await;
}

#[tokio::test]
async fn histories_under_faults_end_in_the_truth_on_sqlite() {
    let round = async |_, _| {
        let stage = Stage::new(sqlite().await, None, SETTINGS).await;
        Rig::embedded(stage).await
    };
    bears("SQLite", 80, 80, round).await;
}

/// A kind of fault that no run ever meets tests nothing.
#[test]
fn every_kind_of_fault_is_met() {
    type Plan = fn(&mut Random) -> Vec<Fault>;
    let served: Plan = |random| rig::plan(random, rig::SERVED, 140);
    let embedded: Plan = |random| rig::embedded(random, 80);
    for (all, plan) in [(rig::SERVED, served), (rig::EMBEDDED, embedded)] {
        let made = plan(&mut Random(1));
        let missing: Vec<&Fault> =
            all.iter().map(|(fault, ..)| fault).filter(|fault| !made.contains(fault)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert_eq!(made, plan(&mut Random(1)), "a seed gives the same faults again");
    }
    let spared = &embedded(&mut Random(1))[80 - ENOUGH..];
    assert!(!spared.contains(&Fault::KillDaemon), "its memory can be judged");
}

#[test]
fn a_run_ends_with_its_faults_or_never_and_restarts_few_services() {
    let share = |faults| Run { seed: 1, faults }.share(140);
    assert_eq!([share(FAULTS), share(1_000), share(0)], [140, 637, usize::MAX]);
    let restarted = |times| BTreeMap::from([(Fault::RestartBroker, Borne::of(times))]);
    restarts_are_few(&restarted(10), 140, 140);
    restarts_are_few(&restarted(20), 150, 140);
    let many = std::panic::catch_unwind(|| restarts_are_few(&restarted(11), 140, 140));
    assert!(many.is_err(), "eleven in one run of a change");
}

#[test]
fn memory_that_grows_is_told_from_memory_that_goes_up_and_down() {
    let held = |grows: u64| -> Vec<u64> {
        (0..140).map(|n| 60_000 + n * grows + (n * 7_919) % 20_000).collect()
    };
    let (first, last) = is_flat(&held(0));
    assert!(first.abs_diff(last) < 10_000, "{first} {last}");
    let grown = std::panic::catch_unwind(|| is_flat(&held(1_000)));
    assert!(grown.is_err(), "a megabyte for each fault");
}
