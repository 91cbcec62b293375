//! What became of the messages of a batch.

use super::read::Entry;
use crate::store::inbox::Correction;
use std::collections::HashSet;
use uuid::Uuid;

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

/// What became of each message: the best of what became of its events.
pub(super) fn dispositions(
    messages: usize,
    entries: &[Entry],
    new: &HashSet<Uuid>,
    corrections: &[Correction],
) -> Vec<Disposition> {
    let mut all = vec![Disposition::Duplicate; messages];
    for entry in entries {
        let Some(place) = all.get_mut(entry.message) else { continue };
        let corrected = corrections.iter().find(|correction| correction.id == entry.record.id);
        let disposition = match corrected {
            Some(correction) => Disposition::Ignored(correction.reason.clone()),
            None if new.contains(&entry.record.id) => entry.disposition.clone(),
            None => match &entry.disposition {
                rejected @ Disposition::Rejected(_) => rejected.clone(),
                _ => Disposition::Duplicate,
            },
        };
        if weight(&disposition) > weight(place) {
            *place = disposition;
        }
    }
    all
}

fn weight(disposition: &Disposition) -> u8 {
    match disposition {
        Disposition::Duplicate => 0,
        Disposition::Ignored(_) => 1,
        Disposition::Rejected(_) => 2,
        Disposition::Applied => 3,
    }
}
