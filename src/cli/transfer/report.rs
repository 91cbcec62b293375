//! What became of an import: told line by line as it goes, and summed up at its end.

use super::{document::Page, file::Entry, target::Target};
use crate::{
    cli::output::{self, Output, thousands},
    model::time::Timestamp,
};
use anyhow::Context as _;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, io::Write as _, path::Path, time::Duration};

/// So many bad lines are told of one by one.
const TOLD: usize = 1_000;

/// A line that was not imported.
#[derive(Clone, Debug, Serialize)]
struct Bad {
    at: String,
    reason: String,
    cure: &'static str,
}

/// Where bad lines are kept.
struct Rejected {
    target: Target,
    /// What has to stand before the first of a table's rows.
    header: Option<Vec<u8>>,
    /// Whether the last line has its end.
    is_ended: bool,
}

impl Rejected {
    fn begin(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if let Some(header) = self.header.take() {
            self.go_on(&header)?;
        }
        self.end()?;
        self.go_on(bytes)
    }

    fn go_on(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.is_ended = bytes.last().map_or(self.is_ended, |last| *last == b'\n');
        self.target.write_all(bytes)
    }

    fn end(&mut self) -> std::io::Result<()> {
        if self.is_ended { Ok(()) } else { self.go_on(b"\n") }
    }
}

/// Since when a record counts that does not say it.
#[derive(Clone, Copy, Debug)]
pub(super) struct AsOf {
    pub(super) at: Timestamp,
    /// Whether it is the time at which the file was written.
    pub(super) is_files: bool,
}

/// What cannot be done where bad lines are kept.
const NOT_KEPT: &str = "rejected lines cannot be written";

/// See the module.
pub(super) struct Report {
    bar: ProgressBar,
    rejected: Option<Rejected>,
    /// The time that records without one were given.
    as_of: Option<AsOf>,
    bad: Vec<Bad>,
    /// Why something valid says nothing, and how often.
    ignored: BTreeMap<String, u64>,
    /// Fields that were left out, and how often.
    notes: BTreeMap<String, u64>,
    applied: BTreeMap<String, u64>,
    /// By what the next page is asked for of lists whose last page is not here.
    unfinished: BTreeMap<String, String>,
    pub(super) read: u64,
    pub(super) unchanged: u64,
    rejections: u64,
}

impl Report {
    /// `rejected` is the file that bad lines are written into.
    pub(super) fn new(bar: ProgressBar, rejected: Option<&Path>) -> anyhow::Result<Self> {
        let rejected = rejected.map(|path| {
            Ok::<_, anyhow::Error>(Rejected {
                target: Target::open(path)?,
                header: None,
                is_ended: true,
            })
        });
        Ok(Self {
            bar,
            rejected: rejected.transpose()?,
            as_of: None,
            bad: Vec::new(),
            ignored: BTreeMap::new(),
            notes: BTreeMap::new(),
            applied: BTreeMap::new(),
            unfinished: BTreeMap::new(),
            read: 0,
            unchanged: 0,
            rejections: 0,
        })
    }

    /// Whether something was not imported that should have been.
    pub(super) fn has_bad(&self) -> bool {
        self.rejections > 0
    }

    pub(super) fn applied(&mut self, kind: &str) {
        *self.applied.entry(kind.to_owned()).or_default() += 1;
    }

    pub(super) fn ignored(&mut self, why: &str) {
        *self.ignored.entry(why.to_owned()).or_default() += 1;
    }

    pub(super) fn notes(&mut self, notes: &[String]) {
        for note in notes {
            // Of many different ones the first are enough.
            if self.notes.len() < TOLD || self.notes.contains_key(note) {
                *self.notes.entry(note.clone()).or_default() += 1;
            }
        }
    }

    /// What a list says of its further pages: what its last page here says counts.
    pub(super) fn page(&mut self, page: Page) {
        let Page { url, next } = page;
        match next {
            None => drop(self.unfinished.remove(&url)),
            Some(next) if self.unfinished.len() < TOLD => drop(self.unfinished.insert(url, next)),
            Some(_) => {}
        }
    }

    /// Tells of a bad line at once, and keeps it for the file of rejected ones.
    pub(super) fn bad(&mut self, entry: &Entry, reason: &str) -> anyhow::Result<()> {
        self.rejections += 1;
        let cure = cure(reason);
        if self.bad.len() < TOLD {
            let bad = Bad { at: entry.place.to_string(), reason: reason.to_owned(), cure };
            self.bar.suspend(|| output::note(format!("{}: {reason}. {cure}", bad.at)));
            self.bad.push(bad);
        }
        if let Some(rejected) = self.rejected.as_mut().filter(|_| !entry.original.is_empty()) {
            rejected.begin(&entry.original).context(NOT_KEPT)?;
        }
        Ok(())
    }

    /// Keeps more of the bad line that was told last.
    pub(super) fn bad_goes_on(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        if let Some(rejected) = &mut self.rejected {
            rejected.go_on(bytes).context(NOT_KEPT)?;
        }
        Ok(())
    }

    /// Which row names the columns of those that are to be kept.
    pub(super) fn header(&mut self, row: Vec<u8>) {
        if let Some(rejected) = &mut self.rejected {
            rejected.header = Some(row);
        }
    }

    /// That a record was given a time; told once, where nobody asked for that one.
    pub(super) fn dated(&mut self, as_of: AsOf) {
        if as_of.is_files && self.as_of.is_none() {
            let at = as_of.at;
            self.bar.suspend(|| {
                output::note(format!(
                    "records without updated_at count as of {at}, when the file was written; where it is written \
                     anew, --as-of {at} keeps that"
                ));
            });
        }
        self.as_of = Some(as_of);
    }

    /// The closing summary.
    pub(super) fn close(mut self, facts: &Facts<'_>, output: Output) -> anyhow::Result<()> {
        self.bar.finish_and_clear();
        if let Some(mut rejected) = self.rejected.take() {
            rejected.end().context(NOT_KEPT)?;
            rejected.target.keep()?;
        }
        let sum = |of: &BTreeMap<String, u64>| of.values().sum::<u64>();
        let (applied, ignored) = (sum(&self.applied), sum(&self.ignored));
        let unfinished =
            self.unfinished.iter().map(|(url, next)| json!({"url": url, "next": next}));
        let shown = json!({
            "file": facts.file.display().to_string(), "environment": facts.environment,
            "as_of": self.as_of.map(|as_of| as_of.at.to_string()),
            "read": self.read, "applied": applied, "by_kind": self.applied,
            "unchanged": self.unchanged, "ignored": self.ignored, "notes": self.notes,
            "rejected": self.rejections, "errors": self.bad, "dry_run": facts.dry_run,
            "has_more": unfinished.collect::<Vec<_>>(), "notified": facts.notify, "interrupted": facts.interrupted,
            "seconds": facts.took.as_secs_f64(),
        });
        output.thing(&shown, |_: &Value| {
            let listed = |of: &BTreeMap<String, u64>| {
                let lines = of.iter().take(10).map(|(what, n)| format!("{} {what}", thousands(n)));
                lines.collect::<Vec<_>>().join("; ")
            };
            let what = if facts.dry_run { "would apply" } else { "applied" };
            let rate = if facts.took.is_zero() {
                String::new()
            } else {
                format!(" in {:.1} s", facts.took.as_secs_f64())
            };
            let mut text = output::fields(&[
                ("environment", facts.environment.to_owned()),
                ("as of", self.as_of.map(|as_of| as_of.at.to_string()).unwrap_or_default()),
                ("read", format!("{}{rate}", thousands(self.read))),
                (
                    what,
                    match applied {
                        0 => "0".into(),
                        _ => listed(&self.applied),
                    },
                ),
                ("in already", thousands(self.unchanged)),
                ("ignored", if ignored == 0 { String::new() } else { listed(&self.ignored) }),
                ("left out", listed(&self.notes)),
                ("rejected", thousands(self.rejections)),
                ("webhooks", if facts.notify { "told" } else { "none" }.into()),
            ]);
            if self.has_bad() || facts.interrupted {
                let why = if facts.interrupted { "It was interrupted. " } else { "" };
                let as_of = self.as_of.filter(|as_of| as_of.is_files);
                let as_of = as_of.map(|it| format!(" with --as-of {}", it.at)).unwrap_or_default();
                let again = "Run the same command again";
                text = format!("{text}\n\n{why}{again}{as_of}: what is in already stays as it is.");
            }
            for (url, next) in self.unfinished.iter().take(10) {
                text = format!(
                    "{text}\n\nThe list {url} has more than this file: fetch {next}, and import that too \
                     (docs/import.md)."
                );
            }
            text
        });
        Ok(())
    }
}

/// What the summary says besides what was counted.
pub(super) struct Facts<'a> {
    pub(super) file: &'a Path,
    pub(super) environment: &'a str,
    pub(super) dry_run: bool,
    pub(super) notify: bool,
    pub(super) interrupted: bool,
    pub(super) took: Duration,
}

/// What to do about a bad line.
fn cure(reason: &str) -> &'static str {
    let cures = [
        (
            "cannot be read on",
            "Was the file cut off? Lists, arrays and objects are read one behind the other, or one object a line",
        ),
        ("is no JSON", "Write one JSON object a line, or give --format csv for a table"),
        ("is no object of the API", "Give lists or objects as the provider's API returns them"),
        ("names no customer", "Add an external_id, or identities with kind, provider and uid"),
        ("is no whole number of minor units", "Write 12.50 USD as 1250"),
        ("is no RFC 3339 time", "Write it as 2026-01-31T12:00:00Z"),
        ("is no currency code", "Write an ISO 4217 code such as USD"),
        ("neither true nor false", "Write true or false"),
        ("nothing says when it was so", "Add updated_at to it, or give --as-of TIME"),
        ("the header is missing", "Name the columns in the first row"),
        (
            "whether its mode is live or test",
            "Give --mode live or --mode test, as the key was that it was fetched by",
        ),
        ("is missing", "Add the field"),
        ("is not known", "Use one of those"),
        (
            "cells, and the header",
            "Quote cells that hold the delimiter, and give each row every column",
        ),
        ("without its second one", "Close it, or write it twice where it is part of the text"),
        ("more than", "Split it into smaller ones"),
    ];
    let known = cures.iter().find(|(part, _)| reason.contains(part));
    known.map_or("Mend it and import the file again", |(_, cure)| cure)
}
