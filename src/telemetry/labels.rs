//! Labels whose values come from data: bounded, so that no caller can fill the process's memory or Prometheus'.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// The value that all share for which there was no room.
const OTHER: &str = "other";

/// The values that one label has had so far.
#[derive(Debug)]
pub struct Labels {
    known: Mutex<BTreeSet<String>>,
    most: usize,
}

impl Labels {
    /// At most so many different values, first come, first served.
    pub const fn new(most: usize) -> Self {
        Self { known: Mutex::new(BTreeSet::new()), most }
    }

    /// The label for a value: itself, or `other` once there are too many.
    pub fn of(&self, value: String) -> String {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(&value) {
            return value;
        }
        if known.len() >= self.most {
            return OTHER.to_owned();
        }
        known.insert(value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_values_have_labels_of_their_own_and_the_others_share_one() {
        let labels = Labels::new(2);
        let of = |value: &str| labels.of(value.to_owned());
        assert_eq!(["a", "b", "c", "a", "d"].map(of), ["a", "b", "other", "a", "other"]);
    }
}
