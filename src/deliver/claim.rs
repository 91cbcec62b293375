//! Takes due messages under lease: retries, what found no slot, and what another process left behind.

use crate::{
    deliver::{Shared, attempt, sealed, signature::Signer},
    handover::{Slot, Slots},
    model::{
        endpoint::{Breaker, Endpoint},
        id::{AttemptId, EndpointId},
        message::Leased,
        time::Timestamp,
    },
    store::{
        self, Tx,
        endpoints::{self, Locked},
        messages::{self, Head, Wanted},
    },
};
use chrono::TimeDelta;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};

/// How many messages are leased in one transaction.
const MOST: usize = 500;

/// An enabled endpoint with all that is needed to send to it.
#[derive(Debug)]
pub(super) struct Destination {
    pub endpoint: Endpoint,
    pub signer: Signer,
    /// A permit for each request that may be under way.
    pub lane: Arc<Semaphore>,
}

/// The enabled endpoints, as they were a moment ago.
#[derive(Clone, Debug)]
pub(super) struct Destinations {
    pub by_id: HashMap<EndpointId, Arc<Destination>>,
    /// Those that nothing can be sent to.
    mute: HashSet<EndpointId>,
    loaded: Instant,
}

/// A message that is to be sent now, or in its turn.
#[derive(Debug)]
pub(super) struct Claimed {
    pub leased: Leased,
    pub slot: Slot,
    pub turn: Turn,
}

/// When a message is sent, and what for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    /// Whether it shows if its endpoint is well again.
    pub probe: bool,
    /// How long after the claim its rate lets it go.
    pub wait: Duration,
}

/// How far ahead the rate of an endpoint is given out: its messages wait for their turn in this process.
const AHEAD: TimeDelta = TimeDelta::seconds(1);

/// What a claim brought.
#[derive(Debug)]
pub(super) struct Claim {
    pub destinations: Arc<Destinations>,
    /// The database's time, never behind it.
    pub now: (Timestamp, Instant),
    pub messages: Vec<Claimed>,
    /// The endpoints that more is due for than there were slots.
    pub backlog: HashSet<EndpointId>,
    /// When the next message is due, if that is known.
    pub next: Option<Duration>,
}

#[cfg(test)]
impl Claim {
    /// There are no endpoints.
    pub(super) fn nothing() -> Self {
        let loaded = Instant::now();
        let destinations = Destinations { by_id: HashMap::new(), mute: HashSet::new(), loaded };
        Self {
            destinations: Arc::new(destinations),
            now: (Timestamp::default(), loaded),
            messages: Vec::new(),
            backlog: HashSet::new(),
            next: None,
        }
    }
}

/// Looks what is due, and leases as much of it as there are slots. The endpoints are read again when asked for,
/// and when those that are known are no longer fresh.
///
/// # Errors
/// When the database fails.
pub(super) async fn claim(
    shared: Arc<Shared>,
    known: Option<Arc<Destinations>>,
    reload: bool,
) -> store::Result<Claim> {
    let begun = Instant::now();
    let mut tx = shared.db.snapshot().await?;
    let now = store::now(&mut tx, shared.clock.now()).await?;
    let destinations = match known {
        Some(known) if !reload && known.loaded.elapsed() < shared.settings.poll => known,
        known => Arc::new(load(&shared, &mut tx, known.as_deref(), (now, begun)).await?),
    };
    let mut heads = messages::heads(&mut tx).await?;
    tx.commit().await?;
    heads.retain(|head| destinations.by_id.contains_key(&head.endpoint_id));
    hold(&shared, &heads, now, begun);
    let waiting = heads.iter().filter_map(|head| Some((head, head.ready_at()?)));
    let (due, later): (Vec<_>, Vec<_>) = waiting.partition(|(_, at)| *at <= now);
    let due: Vec<&Head> = due.into_iter().map(|(head, _)| head).collect();
    let next = later.first().and_then(|(_, at)| until(*at, now));
    let rate = |endpoint| destinations.by_id.get(&endpoint)?.endpoint.spec.settings.rate_limit;
    let mut taken = share_out(&due, &shared.slots, MOST, rate);
    let wanted = Claiming {
        probes: due
            .iter()
            .filter(|head| head.breaker != Breaker::Closed)
            .map(|head| head.endpoint_id)
            .collect(),
        destinations: &destinations,
        wanted: taken.iter().map(|(endpoint, slots)| (*endpoint, slots.len())).collect(),
    };
    let leased = if taken.is_empty() { Won::default() } else { lease(&shared, wanted).await? };
    let mut messages = Vec::with_capacity(leased.messages.len());
    for (leased, turn) in leased.messages {
        if let Some(slot) = taken.get_mut(&leased.endpoint_id).and_then(Vec::pop) {
            messages.push(Claimed { leased, slot, turn });
        }
    }
    // Whose share was used up has more, as far as we know; unless its rate is.
    let used_up = |endpoint: &EndpointId| {
        taken.get(endpoint).is_none_or(Vec::is_empty) && !leased.limited.contains(endpoint)
    };
    let backlog = due.into_iter().map(|head| head.endpoint_id).filter(used_up).collect();
    let next = next.into_iter().chain(leased.next).min();
    Ok(Claim { destinations, now: (now, begun), messages, backlog, next })
}

fn until(at: Timestamp, now: Timestamp) -> Option<Duration> {
    TimeDelta::microseconds(at.micros().saturating_sub(now.micros())).to_std().ok()
}

/// Tells the slots which endpoints are left alone, and the metrics how their breakers are.
fn hold(shared: &Shared, heads: &[Head], now: Timestamp, begun: Instant) {
    let is_held = |head: &&Head| {
        head.breaker != Breaker::Closed || head.paused_until.is_some_and(|until| until > now)
    };
    let held = heads.iter().filter(is_held).map(|head| head.endpoint_id).collect();
    shared.slots.hold_only(&held, begun);
    for head in heads {
        attempt::show_breaker(head.endpoint_id, head.breaker);
    }
}

/// Those whose secrets or headers cannot be opened are left out: their messages wait until that is put right.
async fn load(
    shared: &Shared,
    tx: &mut Tx,
    known: Option<&Destinations>,
    (now, loaded): (Timestamp, Instant),
) -> store::Result<Destinations> {
    let enabled = endpoints::enabled(tx).await?;
    let mut by_id = HashMap::with_capacity(enabled.len());
    let mut mute = HashSet::new();
    for (mut endpoint, kept) in enabled {
        let was_mute = known.is_some_and(|known| known.mute.contains(&endpoint.id));
        let signer = match sealed::ready(&shared.keyring, &endpoint.spec, &kept, now) {
            Ok((signer, spec)) => {
                endpoint.spec = spec;
                signer
            }
            Err(why) => {
                mute.insert(endpoint.id);
                if !was_mute {
                    let endpoint = endpoint.id;
                    tracing::warn!(%endpoint, %why, "nothing can be sent to an endpoint: its messages wait");
                }
                continue;
            }
        };
        if was_mute {
            tracing::info!(endpoint = %endpoint.id, "an endpoint can be sent to again");
        }
        let before = known.and_then(|known| known.by_id.get(&endpoint.id));
        if before.is_none() {
            attempt::begin_counting(endpoint.id);
        }
        let lane = before.map_or_else(
            || Arc::new(Semaphore::new(shared.settings.per_endpoint.max(1))),
            |before| before.lane.clone(),
        );
        by_id.insert(endpoint.id, Arc::new(Destination { endpoint, signer, lane }));
    }
    Ok(Destinations { by_id, mute, loaded })
}

/// What is to be leased: of each endpoint at most so many.
struct Claiming<'c> {
    destinations: &'c Destinations,
    wanted: HashMap<EndpointId, usize>,
    /// Those whose breaker is not closed.
    probes: HashSet<EndpointId>,
}

impl Claiming<'_> {
    /// The endpoints that have a rate, and how many requests a second it lets go.
    fn limits(&self) -> HashMap<EndpointId, u32> {
        let limit = |endpoint: &EndpointId| {
            let known = self.destinations.by_id.get(endpoint)?;
            Some((*endpoint, known.endpoint.spec.settings.rate_limit?))
        };
        self.wanted.keys().filter_map(limit).collect()
    }
}

/// What was leased.
#[derive(Default)]
struct Won {
    messages: Vec<(Leased, Turn)>,
    /// The endpoints whose rate is used up for now.
    limited: HashSet<EndpointId>,
    /// When the first of them may have more.
    next: Option<Duration>,
}

/// What one endpoint's rate lets go, and when.
struct Rate {
    interval: TimeDelta,
    next_at: Timestamp,
}

/// Locks endpoints before messages, all at once, as everybody does.
async fn lease(shared: &Shared, mut claiming: Claiming<'_>) -> store::Result<Won> {
    let mut tx = shared.db.begin().await?;
    let now = store::now(&mut tx, shared.clock.now()).await?;
    let mut won = Won::default();
    let limits = claiming.limits();
    let held: HashSet<EndpointId> = limits.keys().chain(&claiming.probes).copied().collect();
    let mut locked = BTreeMap::new();
    if !held.is_empty() {
        locked = endpoints::locked(&mut tx, held.iter().copied(), []).await?;
        claiming.wanted.retain(|endpoint, _| {
            let may_go = |it: &Locked| !claiming.probes.contains(endpoint) || it.is_probeable(now);
            !held.contains(endpoint) || locked.get(endpoint).is_some_and(may_go)
        });
    }
    let mut rates = rates(&mut claiming, &limits, &locked, now, &mut won);
    let wanted: Vec<Wanted> = claiming
        .wanted
        .iter()
        .map(|(endpoint, most)| Wanted { endpoint_id: endpoint.0, most: *most })
        .collect();
    let span = TimeDelta::from_std(shared.settings.lease).unwrap_or(TimeDelta::MAX);
    let new_lease = || AttemptId(shared.clock.new_id());
    let leased = messages::claim(&mut tx, &wanted, new_lease, now, now.plus(span)).await?;
    for leased in leased {
        let endpoint = leased.endpoint_id;
        let wait = rates.get_mut(&endpoint).map(|rate| {
            let at = rate.next_at;
            rate.next_at = at.plus(rate.interval);
            until(at, now).unwrap_or_default()
        });
        let probe = claiming.probes.contains(&endpoint);
        if probe && let Some(Locked { standing, .. }) = locked.get_mut(&endpoint) {
            // Nobody else sends to it until it has answered, or this process is gone.
            standing.breaker = Breaker::HalfOpen;
            standing.paused_until = Some(now.plus(span));
            endpoints::stand(&mut tx, endpoint, standing).await?;
        }
        won.messages.push((leased, Turn { probe, wait: wait.unwrap_or_default() }));
    }
    for (endpoint, rate) in &rates {
        endpoints::reserve(&mut tx, *endpoint, rate.next_at).await?;
    }
    let ordered = claiming.wanted.keys().filter(|endpoint| {
        let destination = claiming.destinations.by_id.get(endpoint);
        destination.is_some_and(|known| known.endpoint.spec.settings.ordered)
    });
    let ordered: Vec<EndpointId> = ordered.copied().collect();
    if !ordered.is_empty() {
        messages::defer_blocked(&mut tx, ordered, now).await?;
    }
    tx.commit().await?;
    Ok(won)
}

/// Looks how much of their rates is left, and wants no more than that.
fn rates(
    claiming: &mut Claiming<'_>,
    limits: &HashMap<EndpointId, u32>,
    locked: &BTreeMap<EndpointId, Locked>,
    now: Timestamp,
    won: &mut Won,
) -> HashMap<EndpointId, Rate> {
    let mut rates = HashMap::new();
    for (endpoint, limit) in limits {
        let (endpoint, Some(held)) = (*endpoint, locked.get(endpoint)) else { continue };
        let interval = 1_000_000_u64.div_ceil(u64::from((*limit).max(1)));
        let next_at = held.rate_at.unwrap_or(now).max(now);
        let room = now.plus(AHEAD).micros().saturating_sub(next_at.micros());
        let room = u64::try_from(room).unwrap_or(0);
        let most = usize::try_from(room.div_ceil(interval)).unwrap_or(usize::MAX);
        if let Some(wanted) = claiming.wanted.get_mut(&endpoint)
            && most <= *wanted
        {
            *wanted = most;
            won.limited.insert(endpoint);
            let soon = until(next_at, now).unwrap_or_default() / 2;
            won.next = won.next.into_iter().chain([soon]).min();
        }
        let interval = TimeDelta::microseconds(i64::try_from(interval).unwrap_or(i64::MAX));
        rates.insert(endpoint, Rate { interval, next_at });
    }
    claiming.wanted.retain(|_, most| *most > 0);
    rates
}

/// Gives slots to the endpoints in turn, one by one, so that a few with much do not take them all: no more than its rate
/// lets go to one that has one, and to one whose breaker is not closed a single one, to see whether it is well again.
fn share_out(
    due: &[&Head],
    slots: &Slots,
    most: usize,
    rate: impl Fn(EndpointId) -> Option<u32>,
) -> HashMap<EndpointId, Vec<Slot>> {
    let mut shares: HashMap<EndpointId, Vec<Slot>> = HashMap::new();
    let mut open: Vec<&Head> = due.to_vec();
    let mut left = most;
    while !open.is_empty() && left > 0 {
        open.retain(|head| {
            let (endpoint, is_well) = (head.endpoint_id, head.breaker == Breaker::Closed);
            let slot = match (left > 0, is_well) {
                (false, _) => None,
                (true, true) => slots.take(endpoint),
                (true, false) => slots.take_for_probe(endpoint),
            };
            slot.is_some_and(|slot| {
                let share = shares.entry(endpoint).or_default();
                share.push(slot);
                left = left.saturating_sub(1);
                let within_rate = rate(endpoint)
                    .is_none_or(|rate| usize::try_from(rate).is_ok_and(|most| share.len() < most));
                is_well && within_rate
            })
        });
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::{Bounds, PROMPT};

    #[test]
    fn slots_go_round_the_endpoints_in_turn() {
        let endpoint = |n| EndpointId(uuid::Uuid::from_u128(n));
        let slots = Slots::new(Bounds { per_endpoint: 4, strangers: 7, total: 7 });
        (1..=3).for_each(|n| slots.answered(endpoint(n), PROMPT));
        let no_rate = |_| None;
        let head = |n, breaker| Head {
            endpoint_id: endpoint(n),
            due_at: Some(Timestamp::default()),
            breaker,
            paused_until: None,
        };
        let due = [1, 2, 3].map(|n| head(n, Breaker::Closed));
        let due = due.each_ref();
        let shares = share_out(&due, &slots, 100, no_rate);
        let counts = due.map(|head| shares.get(&head.endpoint_id).map_or(0, Vec::len));
        assert_eq!(counts, [3, 2, 2]);
        drop(shares);
        let counts: usize = share_out(&due, &slots, 2, no_rate).values().map(Vec::len).sum();
        assert_eq!((counts, slots.in_hand()), (2, 0));
        let rate = |id| (id == endpoint(1)).then_some(1);
        let shares = share_out(&due, &slots, 100, rate);
        let counts = due.map(|head| shares.get(&head.endpoint_id).map_or(0, Vec::len));
        assert_eq!(counts, [1, 3, 3]);
        drop(shares);
        slots.hold(endpoint(1));
        let due = [head(1, Breaker::Open), head(2, Breaker::Closed)];
        let shares = share_out(&due.each_ref(), &slots, 100, no_rate);
        let counts = due.map(|head| shares.get(&head.endpoint_id).map_or(0, Vec::len));
        assert_eq!(counts, [1, 4]);
    }
}
