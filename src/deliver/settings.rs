//! How deliveries are made: what the configuration can say.

use crate::{
    deliver::{breaker::Policy, guard::Guard, names::Names, schedule::Schedule},
    handover::{Bounds, LEASE},
};
use ipnet::IpNet;
use std::time::Duration;

/// How deliveries are made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a process may work on a message before another takes it.
    pub lease: Duration,
    /// How long one try may take: connection, TLS, headers and body together. At most three quarters of
    /// the lease count.
    pub timeout: Duration,
    /// When a failed message is tried again.
    pub schedule: Schedule,
    /// How many requests may be under way to one endpoint.
    pub per_endpoint: usize,
    /// How many requests may be under way in all; half as many to endpoints that have not answered.
    pub total: usize,
    /// When an endpoint is left alone, and when it is switched off.
    pub breaker: Policy,
    /// Which addresses are sent to.
    pub guard: Guard,
    /// How their names become addresses.
    pub names: Names,
    /// How many bytes of an answer's body are read and kept.
    pub response_cap: usize,
    /// How often the database is asked for due messages while nothing else tells of them, and how long the
    /// endpoints are remembered.
    pub poll: Duration,
    /// How long a soft shutdown waits for tries in hand before it cuts them short.
    pub grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: LEASE,
            timeout: Duration::from_secs(15),
            schedule: Schedule::default(),
            per_endpoint: 32,
            total: 512,
            breaker: Policy::default(),
            guard: Guard::default(),
            names: Names::default(),
            response_cap: 16 * 1024,
            poll: Duration::from_secs(1),
            grace: Duration::from_secs(15),
        }
    }
}

/// How many messages may be in hand for each request that may be under way: beside those, the ones whose results are
/// being recorded, and the ones that go out next, so that a request need not wait for the database.
const AHEAD: usize = 4;

impl Settings {
    /// How many messages may be in hand.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            per_endpoint: self.per_endpoint.max(1).saturating_mul(AHEAD),
            strangers: (self.total / 2).max(1),
            total: self.total.max(1).saturating_mul(AHEAD),
        }
    }

    /// The same with other rules for addresses.
    #[must_use]
    pub fn guarded_by(self, allow_http: bool, allow_networks: Vec<IpNet>) -> Self {
        Self { guard: Guard { allow_http, allow_networks }, ..self }
    }
}
