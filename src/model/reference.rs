//! References: the names under which facts about a customer arrive (semantics 3), and what is known of each.

use crate::model::{
    authority::Authority,
    contact::Email,
    metadata::Scalar,
    register::Register,
    stamp::{EventKey, Stamp},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use uuid::Uuid;

/// What a reference names. The order is the order of precedence: everything hangs under what comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The app's own user id.
    External,
    /// An auth provider's UID.
    Auth,
    /// A payment provider's customer id.
    Payment,
    /// A customer that the API made without an external_id.
    #[serde(rename = "self")]
    Own,
}

/// (environment, namespace, subject): one name of a customer.
///
/// The external_id's namespace is empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Reference {
    /// What it names.
    pub kind: Kind,
    /// The source's `namespace`; empty for an external_id.
    pub namespace: Arc<str>,
    /// The id itself: opaque, case-sensitive, 1 to 255 characters, no control characters.
    pub subject: Arc<str>,
}

impl Reference {
    /// A checked reference.
    ///
    /// # Errors
    /// Says what is wrong with the subject.
    pub fn new(kind: Kind, namespace: &str, subject: &str) -> Result<Self, &'static str> {
        if subject.is_empty() {
            return Err("is empty");
        }
        if subject.chars().count() > 255 {
            return Err("is longer than 255 characters");
        }
        if subject.chars().any(char::is_control) {
            return Err("holds a control character");
        }
        let namespace = if kind == Kind::External { "" } else { namespace };
        Ok(Self { kind, namespace: namespace.into(), subject: subject.into() })
    }
}

/// The keyed hash of (environment, reference): its row, and all that is left of it once it is deleted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReferenceId(pub Uuid);

/// Under which reference another one hangs, by one event's word.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(
    from = "(Authority, Stamp, Option<ReferenceId>)",
    into = "(Authority, Stamp, Option<ReferenceId>)"
)]
pub struct Claim {
    /// How much the word counts.
    pub authority: Authority,
    /// When it was said.
    pub stamp: Stamp,
    /// The reference above, or none: it stands for itself.
    pub parent: Option<ReferenceId>,
}

impl From<(Authority, Stamp, Option<ReferenceId>)> for Claim {
    fn from((authority, stamp, parent): (Authority, Stamp, Option<ReferenceId>)) -> Self {
        Self { authority, stamp, parent }
    }
}

impl From<Claim> for (Authority, Stamp, Option<ReferenceId>) {
    fn from(claim: Claim) -> Self {
        (claim.authority, claim.stamp, claim.parent)
    }
}

/// How far a deletion reaches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Its own reference.
    Identity,
    /// All that hung under the same root.
    Customer,
    /// `Identity` while another open auth UID hangs under the root, else `Customer`.
    Auto,
}

/// That a customer, or one of its identities, was deleted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Deletion {
    /// When.
    pub at: Timestamp,
    /// The event that said so.
    pub key: EventKey,
    /// How far it reaches.
    pub scope: Scope,
    /// Whether the payments go too, or stay without customer.
    pub erase_payments: bool,
}

/// What is said about a person, field by field.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// The name.
    #[serde(skip_serializing_if = "Register::is_empty")]
    pub name: Register<Option<String>>,
    /// The e-mail address with its verification.
    #[serde(skip_serializing_if = "Register::is_empty")]
    pub email: Register<Option<Email>>,
    /// The phone number, E.164.
    #[serde(skip_serializing_if = "Register::is_empty")]
    pub phone: Register<Option<String>>,
    /// All tags together.
    #[serde(skip_serializing_if = "Register::is_empty")]
    pub tags: Register<Option<Vec<String>>>,
    /// Whether the provider or the app says that this is nobody yet.
    #[serde(skip_serializing_if = "Register::is_empty")]
    pub anonymous: Register<Option<bool>>,
    /// One register a key; null removes the key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Register<Option<Scalar>>>,
    /// `metadata: null`: hides the keys of lower (authority, stamp).
    #[serde(skip_serializing_if = "Register::is_empty")]
    pub metadata_cleared: Register<()>,
}

impl Profile {
    /// Takes in what another profile holds.
    pub fn join(&mut self, other: &Self) {
        let Self { name, email, phone, tags, anonymous, metadata, metadata_cleared } = other;
        self.name.join(name);
        self.email.join(email);
        self.phone.join(phone);
        self.tags.join(tags);
        self.anonymous.join(anonymous);
        for (key, register) in metadata {
            self.metadata.entry(key.clone()).or_default().join(register);
        }
        self.metadata_cleared.join(metadata_cleared);
    }
}

/// All that is known of one reference. A set of facts with a join.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReferenceFacts {
    /// What is said about the person.
    pub profile: Profile,
    /// Every claim about where it hangs, lowest (authority, stamp) first.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub claims: BTreeSet<Claim>,
    /// Every deletion that names it.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub deletions: BTreeSet<Deletion>,
    /// When it was named in a way that opens it again after a deletion: by the app itself (no UID), or by
    /// a user event of the auth UID.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub openings: BTreeSet<(Timestamp, Option<ReferenceId>)>,
    /// The lowest stamp that named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Stamp>,
}

/// So many claims of one authority to one parent are kept beside the first, and so many openings.
const KEPT: usize = 64;

impl ReferenceFacts {
    /// Takes in what another set of facts holds.
    pub fn join(&mut self, other: &Self) {
        let Self { profile, claims, deletions, openings, first } = other;
        self.profile.join(profile);
        self.claims.extend(claims.iter().cloned());
        self.deletions.extend(deletions.iter().cloned());
        self.openings.extend(openings.iter().copied());
        while self.openings.len() > KEPT {
            self.openings.pop_first();
        }
        self.first = [self.first.take(), first.clone()].into_iter().flatten().min();
        self.prune_claims();
    }

    /// Of the claims of one authority to one parent, keeps the first and the latest ones.
    fn prune_claims(&mut self) {
        if self.claims.len() <= KEPT {
            return;
        }
        let mut left: BTreeMap<(Authority, Option<ReferenceId>), usize> = BTreeMap::new();
        for claim in &self.claims {
            *left.entry((claim.authority, claim.parent)).or_default() += 1;
        }
        let mut seen = BTreeSet::new();
        self.claims.retain(|claim| {
            let group = (claim.authority, claim.parent);
            let first = seen.insert(group);
            let left = left.entry(group).or_default();
            *left -= 1;
            first || *left < KEPT
        });
    }
}
