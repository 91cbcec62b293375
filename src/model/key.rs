//! API keys: each of one environment, with a scope. The secret itself is shown once and kept nowhere.

use crate::model::{
    id::KeyId,
    is_live,
    time::{Timestamp, millis, millis_or_null},
};
use serde::{Deserialize, Serialize};

/// What a key may do. Each scope includes those below it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// See.
    Read,
    /// Create and change.
    Write,
    /// Delete, merge, replay, see what came in, set up endpoints.
    Admin,
}

impl Scope {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// From the word.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Read, Self::Write, Self::Admin].into_iter().find(|scope| scope.as_str() == name)
    }
}

/// An API key as it is listed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ApiKey {
    /// Always `api_key`.
    pub object: &'static str,
    /// Ours.
    pub id: KeyId,
    /// The only environment that it sees.
    pub environment: String,
    /// Whether that is real money.
    pub live: bool,
    /// What it may do.
    pub scope: Scope,
    /// What its owner calls it.
    pub name: Option<String>,
    /// Its first and last characters, to tell keys apart.
    pub hint: String,
    /// When it was made.
    #[serde(serialize_with = "millis")]
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    #[serde(serialize_with = "millis_or_null")]
    pub last_used_at: Option<Timestamp>,
    /// Since when it is refused.
    #[serde(serialize_with = "millis_or_null")]
    pub revoked_at: Option<Timestamp>,
}

/// What an environment's keys begin with.
pub fn prefix(environment: &str) -> &'static str {
    if is_live(environment) { "sk_live_" } else { "sk_test_" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_include_those_below_them() {
        assert!(Scope::Admin > Scope::Write && Scope::Write > Scope::Read);
        for scope in [Scope::Read, Scope::Write, Scope::Admin] {
            assert_eq!(Scope::from_name(scope.as_str()), Some(scope));
        }
        assert_eq!(Scope::from_name("root"), None);
    }

    #[test]
    fn only_the_live_environment_has_live_keys() {
        assert_eq!(
            [prefix("live"), prefix("test"), prefix("Live")],
            ["sk_live_", "sk_test_", "sk_test_"]
        );
    }
}
