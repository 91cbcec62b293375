//! The metrics' catalogue against what the code measures.

use customer_sync::telemetry::CATALOGUE;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    entries
        .map(|entry| entry.expect("an entry").path())
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}

#[test]
fn every_metric_that_is_measured_is_in_the_catalogue_and_the_other_way_round() {
    let mut measured = BTreeSet::new();
    for file in files(Path::new("src")) {
        if file.ends_with("catalogue.rs") {
            continue;
        }
        let text = std::fs::read_to_string(file).expect("a source file can be read");
        for metric in ["counter!(", "gauge!(", "histogram!("] {
            for (_, rest) in text.split(metric).skip(1).filter_map(|rest| rest.split_once('"')) {
                let name = rest.split('"').next().unwrap_or_default();
                measured.extend(name.starts_with("customer_sync_").then(|| name.to_owned()));
            }
        }
    }
    let described: BTreeSet<_> = CATALOGUE.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(measured, described);
    assert_eq!(described.len(), CATALOGUE.len(), "none twice");
}
