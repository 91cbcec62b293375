//! What this process depends on and whether it answers: what readiness tells.
//!
//! The loops that use a dependency report it here; nothing is asked for readiness' own sake.

use crate::{clock::Clock, model::time::Timestamp};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The name under which the database is reported.
pub const DATABASE: &str = "database";
/// The name under which the connection that consumes is reported.
pub const BROKER: &str = "broker";
/// The name under which the connection that publishes is reported.
pub const PUBLISHER: &str = "broker_publisher";

/// One thing that the process depends on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Dependency {
    /// Its name.
    pub name: &'static str,
    /// Whether it answered when it was last used.
    pub ok: bool,
    /// Since when.
    #[serde(serialize_with = "crate::model::time::millis")]
    pub since: Timestamp,
    /// What is wrong; empty while nothing is.
    pub message: String,
}

/// The state of all dependencies. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Health {
    clock: Clock,
    dependencies: Arc<Mutex<BTreeMap<&'static str, Dependency>>>,
}

impl Health {
    /// Nothing is known yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, dependencies: Arc::default() }
    }

    /// Reports that a dependency answered.
    pub fn up(&self, name: &'static str) {
        if self.set(name, true, String::new()) {
            tracing::info!(dependency = name, "a dependency answers");
        }
    }

    /// Says that a dependency was not tried yet: not ready, and no news.
    pub fn untried(&self, name: &'static str, message: impl Into<String>) {
        self.set(name, false, message.into());
    }

    /// Reports that a dependency did not answer, and why. Logged when it changes, not at every try.
    pub fn down(&self, name: &'static str, message: impl Into<String>) {
        let message = message.into();
        if self.set(name, false, message.clone()) {
            tracing::warn!(dependency = name, reason = message, "a dependency does not answer");
        }
    }

    fn set(&self, name: &'static str, ok: bool, message: String) -> bool {
        let mut all = self.dependencies.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(name) {
            Some(known) if known.ok == ok => {
                known.message = message;
                false
            }
            _ => {
                metrics::gauge!("customer_sync_dependency_up", "dependency" => name).set(if ok {
                    1.0
                } else {
                    0.0
                });
                all.insert(name, Dependency { name, ok, since: self.clock.now(), message });
                true
            }
        }
    }

    /// Every dependency that was used so far, by name.
    pub fn all(&self) -> Vec<Dependency> {
        let all = self.dependencies.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().cloned().collect()
    }

    /// Whether all of them answered when they were last used.
    pub fn is_ok(&self) -> bool {
        self.all().iter().all(|dependency| dependency.ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_moves_only_when_the_state_changes() {
        let clock = Clock::manual(Timestamp::default());
        let health = Health::new(clock.clone());
        health.up(DATABASE);
        clock.advance(chrono::TimeDelta::seconds(1));
        health.up(DATABASE);
        assert_eq!(health.all()[0].since, Timestamp::default());
        health.down(DATABASE, "away");
        assert!(!health.is_ok());
        assert_eq!(health.all()[0].since, clock.now());
        assert_eq!(health.all()[0].message, "away");
        health.up(DATABASE);
        assert!(health.is_ok());
        assert_eq!(health.all()[0].message, "");
    }
}
