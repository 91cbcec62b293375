//! Puts the good inputs of a target where cargo-fuzz begins, before it looks there.

use crate::seeds;
use std::{fs, path::Path};

/// Writes them into the target's corpus.
pub(crate) fn plant(target: &str) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = here.join("corpus").join(target);
    fs::create_dir_all(&corpus).expect("the corpus can be made");
    for (number, seed) in seeds::of(target, &here.join("..")).iter().enumerate() {
        fs::write(corpus.join(format!("seed-{number}")), seed).expect("a seed can be written");
    }
}
