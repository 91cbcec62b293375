//! Takes due messages under lease: retries, what found no slot, and what another process left behind.

use crate::{
    deliver::{Shared, sealed},
    handover::{Slot, Slots},
    model::{
        endpoint::Endpoint,
        id::{AttemptId, EndpointId},
        message::Leased,
        secret::Secret,
        time::Timestamp,
    },
    store::{
        self, endpoints,
        messages::{self, Wanted},
    },
};
use chrono::TimeDelta;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};

/// How many messages are leased in one transaction.
const MOST: usize = 256;

/// An enabled endpoint with all that is needed to send to it.
#[derive(Debug)]
pub(super) struct Destination {
    pub endpoint: Endpoint,
    /// Several during a rotation.
    pub secrets: Vec<Secret>,
    /// A permit for each request that may be under way.
    pub lane: Arc<Semaphore>,
}

/// The enabled endpoints, as they were a moment ago.
#[derive(Clone, Debug)]
pub(super) struct Destinations {
    pub by_id: HashMap<EndpointId, Arc<Destination>>,
    loaded: Instant,
}

/// What a claim brought.
#[derive(Debug)]
pub(super) struct Claim {
    pub destinations: Arc<Destinations>,
    /// The database's time, never behind it.
    pub now: (Timestamp, Instant),
    pub messages: Vec<(Leased, Slot)>,
    /// The endpoints that more is due for than there were slots.
    pub backlog: HashSet<EndpointId>,
    /// Whether the process had no slot left for some of them.
    pub full: bool,
    /// When the next message is due, if that is known.
    pub next: Option<Duration>,
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
    heads.retain(|(endpoint, _)| destinations.by_id.contains_key(endpoint));
    let (due, later): (Vec<_>, Vec<_>) = heads.into_iter().partition(|(_, at)| *at <= now);
    let due: Vec<EndpointId> = due.into_iter().map(|(endpoint, _)| endpoint).collect();
    let next = later.first().and_then(|(_, at)| {
        TimeDelta::microseconds(at.micros().saturating_sub(now.micros())).to_std().ok()
    });
    let mut taken = share_out(&due, &shared.slots, MOST);
    let full = due.iter().any(|endpoint| !taken.contains_key(endpoint)) && !shared.slots.has_room();
    let wanted: Vec<Wanted> = taken
        .iter()
        .map(|(endpoint, slots)| Wanted { endpoint_id: endpoint.0, most: slots.len() })
        .collect();
    let leased = if wanted.is_empty() { Vec::new() } else { lease(&shared, &wanted).await? };
    let mut messages = Vec::with_capacity(leased.len());
    for message in leased {
        if let Some(slot) = taken.get_mut(&message.endpoint_id).and_then(Vec::pop) {
            messages.push((message, slot));
        }
    }
    // Whose share was used up has more, as far as we know.
    let used_up = |endpoint: &EndpointId| taken.get(endpoint).is_none_or(Vec::is_empty);
    let backlog = due.into_iter().filter(used_up).collect();
    Ok(Claim { destinations, now: (now, begun), messages, backlog, full, next })
}

/// Those whose secrets cannot be opened are left out: their messages wait until that is put right.
async fn load(
    shared: &Shared,
    tx: &mut store::Tx,
    known: Option<&Destinations>,
    (now, loaded): (Timestamp, Instant),
) -> store::Result<Destinations> {
    let enabled = endpoints::enabled(tx).await?;
    let mut by_id = HashMap::with_capacity(enabled.len());
    for (endpoint, kept) in enabled {
        let secrets = sealed::open(&shared.keyring, &kept, now);
        if secrets.is_empty() {
            tracing::debug!(endpoint = %endpoint.id, "this endpoint has no secret that can be opened");
            continue;
        }
        let before = known.and_then(|known| known.by_id.get(&endpoint.id));
        let lane = before.map_or_else(
            || Arc::new(Semaphore::new(shared.settings.per_endpoint.max(1))),
            |before| before.lane.clone(),
        );
        by_id.insert(endpoint.id, Arc::new(Destination { endpoint, secrets, lane }));
    }
    Ok(Destinations { by_id, loaded })
}

async fn lease(shared: &Shared, wanted: &[Wanted]) -> store::Result<Vec<Leased>> {
    let mut tx = shared.db.begin().await?;
    let now = store::now(&mut tx, shared.clock.now()).await?;
    let span = TimeDelta::from_std(shared.settings.lease).unwrap_or(TimeDelta::MAX);
    let new_lease = || AttemptId(shared.clock.new_id());
    let leased = messages::claim(&mut tx, wanted, new_lease, now, now.plus(span)).await?;
    tx.commit().await?;
    Ok(leased)
}

/// Gives slots to the endpoints in turn, one by one, so that a few with much do not take them all.
fn share_out(due: &[EndpointId], slots: &Slots, most: usize) -> HashMap<EndpointId, Vec<Slot>> {
    let mut shares: HashMap<EndpointId, Vec<Slot>> = HashMap::new();
    let mut open: Vec<EndpointId> = due.to_vec();
    let mut left = most;
    while !open.is_empty() && left > 0 {
        open.retain(|endpoint| {
            let slot = if left > 0 { slots.take(*endpoint) } else { None };
            slot.is_some_and(|slot| {
                shares.entry(*endpoint).or_default().push(slot);
                left = left.saturating_sub(1);
                true
            })
        });
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_go_round_the_endpoints_in_turn() {
        let endpoint = |n| EndpointId(uuid::Uuid::from_u128(n));
        let slots = Slots::new(4, 7);
        let due = [endpoint(1), endpoint(2), endpoint(3)];
        let shares = share_out(&due, &slots, 100);
        let counts = due.map(|endpoint| shares.get(&endpoint).map_or(0, Vec::len));
        assert_eq!(counts, [3, 2, 2]);
        drop(shares);
        let counts: usize = share_out(&due, &slots, 2).values().map(Vec::len).sum();
        assert_eq!((counts, slots.in_hand()), (2, 0));
    }
}
