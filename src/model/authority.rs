//! Whose word counts more: app over auth over payment (semantics 2).

use serde::{Deserialize, Serialize};

/// How much the word of a source counts for a field. Greater wins, whatever the time.
///
/// Each level has a weak half below it, for what a body repeats without having changed it:
/// it fills an absence and never moves what somebody has set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Authority(u8);

impl Authority {
    /// A payment provider.
    pub const PAYMENT: Self = Self(20);
    /// An auth provider.
    pub const AUTH: Self = Self(40);
    /// The team's own application: API, command line and canonical source.
    pub const APP: Self = Self(60);

    /// The same source, repeating a value that it did not change.
    #[must_use]
    pub fn weak(self) -> Self {
        Self(self.0.saturating_sub(10))
    }

    /// Whether it counts when it says that somebody's address is proved: an auth source's word or the app's.
    pub fn vouches(self) -> bool {
        self >= Self::AUTH.weak()
    }

    /// The word for it in configuration and provenance.
    pub fn name(self) -> &'static str {
        match self.0 {
            50.. => "app",
            30.. => "auth",
            _ => "payment",
        }
    }

    /// The word for it in exported records: a weak half has its own.
    pub fn level(self) -> &'static str {
        match self.0 {
            60.. => "app",
            50.. => "app-weak",
            40.. => "auth",
            30.. => "auth-weak",
            20.. => "payment",
            _ => "payment-weak",
        }
    }

    /// From the word in an exported record.
    pub fn from_level(level: &str) -> Option<Self> {
        match level.strip_suffix("-weak") {
            Some(level) => Self::from_name(level).map(Self::weak),
            None => Self::from_name(level),
        }
    }

    /// From the word in configuration.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "app" => Some(Self::APP),
            "auth" => Some(Self::AUTH),
            "payment" => Some(Self::PAYMENT),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_come_back_from_their_words() {
        for level in [Authority::APP, Authority::AUTH, Authority::PAYMENT] {
            for level in [level, level.weak()] {
                assert_eq!(Authority::from_level(level.level()), Some(level));
            }
        }
        assert_eq!(Authority::from_level("weak"), None);
    }
}
