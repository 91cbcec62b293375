//! What this process depends on and whether it answers: what readiness tells.
//!
//! The loops that use a dependency report it here; nothing is asked for readiness' own sake.

use crate::{clock::Clock, model::time::Timestamp};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use utoipa::ToSchema;

/// The name under which the database is reported.
pub const DATABASE: &str = "database";
/// The name under which the connection that consumes is reported.
pub const BROKER: &str = "broker";
/// The name under which the connection that publishes is reported.
pub const PUBLISHER: &str = "broker_publisher";
/// The name under which readiness is red until the schema and the key are as they should be.
pub const SCHEMA: &str = "schema";

/// One thing that the process depends on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
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
    /// Who reports by this handle.
    part: &'static str,
    dependencies: Arc<Mutex<BTreeMap<&'static str, Known>>>,
}

/// A dependency and who misses it.
#[derive(Debug)]
struct Known {
    shown: Dependency,
    /// By part: what it says is wrong.
    missed: BTreeMap<&'static str, String>,
    /// Whether it was tried at all.
    tried: bool,
}

/// Who reports that a dependency was not tried yet: until anybody tries it.
const UNTRIED: &str = "untried";

impl Health {
    /// Nothing is known yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, part: "", dependencies: Arc::default() }
    }

    /// The same, for one part of the process to report by. A dependency answers when no part misses it: one that
    /// reads must not say that all is well while another cannot write.
    #[must_use]
    pub fn part(&self, part: &'static str) -> Self {
        Self { part, ..self.clone() }
    }

    /// Reports that a dependency answered.
    pub fn up(&self, name: &'static str) {
        if self.set(name, None, true) {
            tracing::info!(dependency = name, "a dependency answers");
        }
    }

    /// Says that a dependency was not tried yet: not ready, and no news.
    pub fn untried(&self, name: &'static str, message: impl Into<String>) {
        self.part(UNTRIED).set(name, Some(message.into()), false);
    }

    /// Reports that a dependency did not answer, and why. Logged when it changes, not at every try.
    pub fn down(&self, name: &'static str, message: impl Into<String>) {
        let message = message.into();
        if self.set(name, Some(message.clone()), true) {
            tracing::warn!(dependency = name, reason = message, "a dependency does not answer");
        }
    }

    /// Whether this part reported last that a dependency did not answer.
    pub fn misses(&self, name: &'static str) -> bool {
        let all = self.dependencies.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(name).is_some_and(|known| known.missed.contains_key(self.part))
    }

    /// Whether nobody misses it, as far as is known.
    pub fn answers(&self, name: &'static str) -> bool {
        let all = self.dependencies.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(name).is_none_or(|known| known.shown.ok)
    }

    /// Whether that is news: how the dependency stands changed, or it was tried for the first time.
    fn set(&self, name: &'static str, wrong: Option<String>, tried: bool) -> bool {
        let mut all = self.dependencies.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.get(name).map(|known| known.shown.ok);
        let known = all.entry(name).or_insert_with(|| Known {
            shown: Dependency { name, ok: true, since: self.clock.now(), message: String::new() },
            missed: BTreeMap::new(),
            tried: false,
        });
        let first_tried = tried && !known.tried;
        known.tried |= tried;
        if tried {
            known.missed.remove(UNTRIED);
        }
        match wrong {
            Some(message) => known.missed.insert(self.part, message),
            None => known.missed.remove(self.part),
        };
        known.shown.ok = known.missed.is_empty();
        known.shown.message = known.missed.values().next().cloned().unwrap_or_default();
        if before == Some(known.shown.ok) {
            return first_tried;
        }
        known.shown.since = self.clock.now();
        let up = if known.shown.ok { 1.0 } else { 0.0 };
        metrics::gauge!("customer_sync_dependency_up", "dependency" => name).set(up);
        true
    }

    /// Every dependency that was used so far, by name.
    pub fn all(&self) -> Vec<Dependency> {
        let all = self.dependencies.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().map(|known| known.shown.clone()).collect()
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

    #[test]
    fn that_it_does_not_answer_is_news_once_also_where_it_was_not_tried_before() {
        let health = Health::default();
        let fails = || health.set(BROKER, Some("refused".into()), true);
        health.untried(BROKER, "not connected to yet");
        assert!(!health.is_ok());
        assert_eq!((fails(), fails()), (true, false));
        health.up(BROKER);
        assert_eq!((fails(), fails()), (true, false));
    }

    #[test]
    fn it_answers_when_no_part_misses_it() {
        let health = Health::default();
        let (reads, writes) = (health.part("reads"), health.part("writes"));
        writes.down(DATABASE, "full");
        reads.up(DATABASE);
        assert!(!health.is_ok());
        assert!(writes.misses(DATABASE) && !reads.misses(DATABASE));
        assert_eq!(health.all()[0].message, "full");
        reads.down(DATABASE, "away");
        writes.up(DATABASE);
        assert_eq!(health.all()[0].message, "away");
        reads.up(DATABASE);
        assert!(health.is_ok());
    }
}
