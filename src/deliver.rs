//! Stage 6: sends messages to their endpoints and records what came of it.
//!
//! Work comes from two sides: handed over by the pipeline as it commits, already leased; and claimed from the
//! database, which serves retries, restarts and other processes. Whatever is in hand holds a slot until its
//! result is recorded: that bounds everything here. No try happens inside a transaction, and none holds up
//! another.

use crate::{
    clock::Clock,
    handover::{Handover, Slot, Slots},
    health::{DATABASE, Health},
    keyring::Keyring,
    model::{id::EndpointId, message::Leased, time::Timestamp},
    shutdown::Shutdown,
    store::{self, Db},
};
use chrono::TimeDelta;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::{JoinError, JoinSet},
    time::Instant,
};

use access::Access;
use attempt::{Finished, Limits, Stop};
use breaker::Window;
use claim::{Claim, Claimed, Destination, Destinations, Turn};
use client::Client;
use record::Recorded;

mod access;
mod attempt;
pub mod breaker;
mod claim;
pub mod client;
pub mod guard;
pub mod manage;
pub mod names;
mod record;
pub mod schedule;
pub mod sealed;
mod settings;
pub mod signature;
pub mod spec;
pub mod trial;

pub use settings::Settings;

/// Deliveries cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to send with.
    #[error(transparent)]
    Client(#[from] client::Unusable),
    /// A bug of ours.
    #[error("a task of the deliveries panicked")]
    Panicked(#[from] JoinError),
}

/// What every task of the deliveries needs.
#[derive(Debug)]
struct Shared {
    db: Db,
    keyring: Keyring,
    clock: Clock,
    settings: Settings,
    client: Client,
    slots: Slots,
    /// A permit for each request that may be under way, to whatever endpoint.
    requests: Semaphore,
    windows: Mutex<HashMap<EndpointId, Window>>,
    begun: Instant,
}

impl Shared {
    /// Notes a try in its endpoint's window; whether the breaker is to open.
    fn note(&self, endpoint: EndpointId, failed: bool) -> bool {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.entry(endpoint).or_default();
        window.note(self.begun.elapsed(), failed, &self.settings.breaker)
    }
}

/// A task that has ended.
#[derive(Debug)]
enum Done {
    Tried(Finished),
    Recorded(Recorded),
    Claimed(store::Result<Claim>),
}

/// What a step saw to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A message came from the pipeline.
    HandedOver,
    /// A message found no slot and waits in the database.
    Refused,
    /// A try is over.
    Tried,
    /// So many results are recorded.
    Recorded(usize),
    /// So many messages were claimed.
    Claimed(usize),
    /// Only time passed.
    Waited,
}

/// How soon to look again for what is known to come into the database.
const SOON: Duration = Duration::from_millis(25);

/// The least time from one claim, or recording, to the next while deliveries are under way: so that each commit is for many.
const PACE: Duration = Duration::from_millis(25);

/// How long after a message found no slot its transaction may still be under way.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// How many results are recorded in one transaction.
const BATCH: usize = 500;

/// The role that delivers.
#[derive(Debug)]
pub struct Deliverer {
    shared: Arc<Shared>,
    handover: mpsc::Receiver<(Leased, Slot)>,
    /// Everything that takes time. Dropped with the deliverer, and then what it held comes again.
    tasks: JoinSet<Done>,
    stop: Stop,
    destinations: Option<Arc<Destinations>>,
    /// The database's time, and when it was that.
    database_time: Option<(Timestamp, Instant)>,
    /// Handed over to an endpoint that is not known yet.
    unknown: Vec<(Leased, Slot)>,
    /// How many of them the look under way will have an answer for.
    asked_for: usize,
    finished: Vec<Finished>,
    backlog: HashSet<EndpointId>,
    health: Health,
    claims: Access,
    records: Access,
    claim_at: Instant,
    /// Whether somebody waits for the next claim.
    hurry: bool,
    look_often_until: Instant,
    claimed_at: Option<Instant>,
    recorded_at: Option<Instant>,
    claiming: bool,
    recording: bool,
}

impl Deliverer {
    /// The role, and the pipeline's end of the hand-over.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(
        db: Db,
        keyring: Keyring,
        clock: Clock,
        health: Health,
        settings: Settings,
    ) -> Result<(Self, Handover), Error> {
        let slots = Slots::new(settings.bounds());
        let (handover, receiver) = Handover::new(slots.clone());
        let handover = handover.leasing_for(settings.lease);
        let (guard, names) = (settings.guard.clone(), settings.names.clone());
        let client = Client::new(guard, names, settings.response_cap, settings.per_endpoint)?;
        let now = Instant::now();
        let windows = Mutex::default();
        let begun = now;
        let requests = Semaphore::new(settings.total.max(1));
        let shared =
            Shared { db, keyring, clock, settings, client, slots, requests, windows, begun };
        let this = Self {
            shared: Arc::new(shared),
            handover: receiver,
            tasks: JoinSet::new(),
            stop: Stop::default(),
            destinations: None,
            database_time: None,
            unknown: Vec::new(),
            asked_for: 0,
            finished: Vec::new(),
            backlog: HashSet::new(),
            health,
            claims: Access::new(),
            records: Access::new(),
            claim_at: now,
            hurry: false,
            look_often_until: now,
            claimed_at: None,
            recorded_at: None,
            claiming: false,
            recording: false,
        };
        Ok((this, handover))
    }

    /// Delivers until a shutdown is asked for; then finishes the tries in hand and records them.
    ///
    /// # Errors
    /// When a task panicked: a bug of ours.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<(), Error> {
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => break,
                step = self.step() => step?,
            };
        }
        self.close().await
    }

    /// Waits for the next thing to happen and sees to it, and to whatever else has happened. Loses nothing
    /// when it is dropped while it waits.
    ///
    /// # Errors
    /// When a task panicked: a bug of ours.
    pub async fn step(&mut self) -> Result<Step, Error> {
        self.begin();
        let wake_at = self.wake_at();
        let step = tokio::select! {
            Some(done) = self.tasks.join_next() => self.see_to(done?),
            Some((leased, slot)) = self.handover.recv() => self.take_over(leased, slot),
            () = self.shared.slots.refused(), if !self.is_closing() => self.look_often(),
            () = tokio::time::sleep_until(wake_at) => Step::Waited,
        };
        while let Some(done) = self.tasks.try_join_next() {
            self.see_to(done?);
        }
        while let Ok((leased, slot)) = self.handover.try_recv() {
            self.take_over(leased, slot);
        }
        let in_hand = u32::try_from(self.shared.slots.in_hand()).unwrap_or(u32::MAX);
        metrics::gauge!("customer_sync_deliveries_in_hand").set(in_hand);
        Ok(step)
    }

    /// Stops taking messages, finishes those in hand or after the grace cuts them short, records them.
    ///
    /// A batch that is being committed may hold slots and still hand its messages over: they are given back like
    /// all that was not sent. Without that nobody could send them until their leases end.
    async fn close(mut self) -> Result<(), Error> {
        self.stop.closing.cancel();
        self.shared.slots.close();
        for (leased, slot) in std::mem::take(&mut self.unknown) {
            let turn = Turn::default();
            self.put_back(Claimed { leased, slot, turn }, "a shutdown came before it was sent");
        }
        let cut_at = Instant::now() + self.shared.settings.grace;
        while !self.tasks.is_empty() || self.shared.slots.in_hand() > 0 {
            tokio::select! {
                step = self.step() => { step?; }
                () = tokio::time::sleep_until(cut_at), if !self.stop.cut.is_cancelled() => self.stop.cut.cancel(),
            }
        }
        Ok(())
    }

    /// Begins what is due to be asked of the database: at most one claim and one recording at a time.
    fn begin(&mut self) {
        let now = Instant::now();
        if self.record_at().is_some_and(|at| at <= now) {
            self.recording = true;
            self.recorded_at = Some(now);
            let batch = self.finished.drain(..self.finished.len().min(BATCH)).collect();
            let recording = record::record(self.shared.clone(), batch);
            self.tasks.spawn(async move { Done::Recorded(recording.await) });
        }
        if self.look_at().is_some_and(|at| at <= now) {
            self.claiming = true;
            self.claimed_at = Some(now);
            self.hurry = false;
            self.asked_for = self.unknown.len();
            let (known, reload) = (self.destinations.clone(), !self.unknown.is_empty());
            let claiming = claim::claim(self.shared.clone(), known, reload);
            self.tasks.spawn(async move { Done::Claimed(claiming.await) });
        }
    }

    /// When results can be recorded, if there are any and none are being recorded.
    fn record_at(&self) -> Option<Instant> {
        let is_full = self.finished.len() >= BATCH;
        let others = self.shared.slots.in_hand() > self.finished.len();
        let paced = self.recorded_at.filter(|_| others && !is_full).map(|at| at + PACE);
        let at = self.records.ready_at;
        (!self.recording && !self.finished.is_empty())
            .then_some(paced.map_or(at, |paced| at.max(paced)))
    }

    /// When to look for due messages, unless that is under way.
    fn look_at(&self) -> Option<Instant> {
        let waits = !self.hurry && self.shared.slots.in_hand() > 0;
        let paced = self.claimed_at.filter(|_| waits).map(|at| at + PACE);
        let at = self.claim_at.max(self.claims.ready_at);
        (!self.claiming && !self.is_closing()).then_some(paced.map_or(at, |paced| at.max(paced)))
    }

    /// When [`Deliverer::begin`] has something to do, if nothing happens before.
    fn wake_at(&self) -> Instant {
        let poll = if self.is_closing() { SOON } else { self.shared.settings.poll };
        let idle = Instant::now() + poll;
        self.record_at().into_iter().chain(self.look_at()).min().unwrap_or(idle)
    }

    fn see_to(&mut self, done: Done) -> Step {
        match done {
            Done::Tried(finished) => {
                self.finished.push(finished);
                Step::Tried
            }
            Done::Recorded(recorded) => self.recorded(recorded),
            Done::Claimed(claimed) => self.claimed(claimed),
        }
    }

    fn recorded(&mut self, recorded: Recorded) -> Step {
        self.recording = false;
        match &recorded.error {
            Some(error) => self.records.failed(&self.health, error),
            None => self.records.succeeded(),
        }
        self.report();
        self.finished.extend(recorded.kept);
        if !recorded.gone.is_empty() {
            // Nothing more goes there: what is handed over meanwhile waits for the next look.
            self.destinations = self.destinations.take().map(|known| {
                let mut known = Destinations::clone(&known);
                known.by_id.retain(|endpoint, _| !recorded.gone.contains(endpoint));
                Arc::new(known)
            });
        }
        for endpoint in &recorded.paused {
            self.shared.slots.hold(*endpoint);
        }
        self.hurry |= recorded.released;
        // Whoever's slots these were: what is free may be another's now.
        if recorded.released
            || self.backlog.iter().any(|endpoint| self.shared.slots.free(*endpoint) > 0)
        {
            self.claim_at = Instant::now();
        }
        Step::Recorded(recorded.freed)
    }

    fn claimed(&mut self, claimed: store::Result<Claim>) -> Step {
        self.claiming = false;
        let claim = match claimed {
            Ok(claim) => claim,
            Err(error) => {
                self.claims.failed(&self.health, &error);
                return Step::Claimed(0);
            }
        };
        self.claims.succeeded();
        self.report();
        self.plan_next_look(&claim);
        self.destinations = Some(claim.destinations);
        self.database_time = Some(claim.now);
        self.backlog = claim.backlog;
        let asked_for = std::mem::take(&mut self.asked_for);
        for (place, (leased, slot)) in std::mem::take(&mut self.unknown).into_iter().enumerate() {
            let turn = Turn::default();
            if let Some(destination) = self.destination(leased.endpoint_id) {
                self.start(destination, Claimed { leased, slot, turn });
            } else if place < asked_for {
                let claimed = Claimed { leased, slot, turn };
                self.put_back(claimed, "its endpoint takes no messages now");
            } else {
                self.await_destination(leased, slot);
            }
        }
        let count = claim.messages.len();
        for claimed in claim.messages {
            match self.destination(claimed.leased.endpoint_id) {
                Some(destination) if !self.is_closing() => self.start(destination, claimed),
                _ => self.put_back(claimed, "a shutdown came before it was sent"),
            }
        }
        Step::Claimed(count)
    }

    fn report(&self) {
        if !self.claims.fails && !self.records.fails {
            self.health.up(DATABASE);
        }
    }

    fn plan_next_look(&mut self, claim: &Claim) {
        let now = Instant::now();
        let poll = self.shared.settings.poll;
        let more = claim.backlog.iter().any(|endpoint| self.shared.slots.free(*endpoint) > 0);
        // What is asked for while the claim was under way, it may not have seen.
        let pause = if self.hurry || (more && !claim.messages.is_empty()) {
            Duration::ZERO
        } else if now < self.look_often_until || more {
            SOON
        } else {
            claim.next.unwrap_or(poll).clamp(SOON.min(poll), poll)
        };
        self.claim_at = now + pause;
    }

    fn look_often(&mut self) -> Step {
        let now = Instant::now();
        self.look_often_until = now + UNDER_WAY;
        self.claim_at = self.claim_at.min(now + SOON);
        Step::Refused
    }

    fn take_over(&mut self, leased: Leased, slot: Slot) -> Step {
        let turn = Turn::default();
        if self.is_closing() {
            self.put_back(Claimed { leased, slot, turn }, "a shutdown came before it was sent");
        } else if let Some(destination) = self.destination(leased.endpoint_id) {
            self.start(destination, Claimed { leased, slot, turn });
        } else {
            self.await_destination(leased, slot);
        }
        Step::HandedOver
    }

    fn await_destination(&mut self, leased: Leased, slot: Slot) {
        self.unknown.push((leased, slot));
        self.claim_at = Instant::now();
        self.hurry = true;
    }

    fn destination(&self, endpoint: EndpointId) -> Option<Arc<Destination>> {
        self.destinations.as_ref()?.by_id.get(&endpoint).cloned()
    }

    /// Starts a try, if its lease lasts long enough for it.
    fn start(&mut self, destination: Arc<Destination>, claimed: Claimed) {
        let settings = &self.shared.settings;
        let wanted = destination.endpoint.spec.settings.timeout().unwrap_or(settings.timeout);
        let deadline = wanted.min(settings.lease * 3 / 4);
        let left =
            claimed.leased.leased_until.micros().saturating_sub(self.database_now().micros());
        let spare =
            TimeDelta::microseconds(left).to_std().ok().and_then(|left| left.checked_sub(deadline));
        let Some(spare) = spare else {
            self.put_back(claimed, "its lease had all but run out before it could be sent");
            return;
        };
        let limits = Limits { deadline, begin_by: Instant::now() + spare };
        let (shared, stop) = (self.shared.clone(), self.stop.clone());
        let attempt = attempt::attempt(shared, destination, claimed, limits, stop);
        self.tasks.spawn(async move { Done::Tried(attempt.await) });
    }

    fn is_closing(&self) -> bool {
        self.stop.closing.is_cancelled()
    }

    /// Gives a message back unsent.
    fn put_back(&mut self, claimed: Claimed, why: &str) {
        self.finished.push(Finished::interrupted(claimed, why));
    }

    /// The time that leases compare with: processes' clocks differ, and the database's is asked seldom.
    fn database_now(&self) -> Timestamp {
        match self.database_time {
            Some((time, at)) if self.shared.db.is_shared() => {
                time.plus(TimeDelta::from_std(at.elapsed()).unwrap_or(TimeDelta::MAX))
            }
            _ => self.shared.clock.now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The claim may have looked before it was there.
    #[tokio::test]
    async fn what_becomes_due_while_a_claim_is_under_way_is_looked_for_after_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}/state.sqlite", folder.path().display());
        let db = Db::open(&url, 1).await.expect("it opens");
        let (keyring, clock) = (Keyring::new("a test's key"), Clock::system());
        let (health, settings) = (Health::new(clock.clone()), Settings::default());
        let poll = settings.poll;
        let made = Deliverer::new(db, keyring, clock, health, settings);
        let (mut deliverer, _handover) = made.expect("there is something to send with");
        let wait = |deliverer: &Deliverer| {
            deliverer.look_at().map(|at| at.saturating_duration_since(Instant::now()))
        };
        deliverer.claimed(Ok(Claim::nothing()));
        assert!(wait(&deliverer).is_some_and(|wait| wait > poll / 2), "nothing is known of");
        deliverer.claiming = true;
        deliverer.recorded(Recorded { released: true, ..Recorded::default() });
        assert_eq!(wait(&deliverer), None, "one claim is under way");
        deliverer.claimed(Ok(Claim::nothing()));
        assert_eq!(wait(&deliverer), Some(Duration::ZERO));
    }
}
