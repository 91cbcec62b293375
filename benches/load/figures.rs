//! Figures as they are told: ratios over rounds, and one JSON line for each measurement.

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use std::io::Write as _;

/// The middle of some figures; of an even number the mean of the two in the middle.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let sorted = sorted(figures);
    let middle = sorted.len() / 2;
    let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
    if sorted.len() % 2 == 1 {
        at(middle)
    } else {
        f64::midpoint(at(middle.wrapping_sub(1)), at(middle))
    }
}

/// The figure that so many of a hundred do not exceed.
pub(crate) fn percentile(figures: &[f64], percent: usize) -> f64 {
    let sorted = sorted(figures);
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

fn sorted(figures: &[f64]) -> Vec<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// How many a second.
pub(crate) fn rate(count: usize, seconds: f64) -> f64 {
    count as f64 / seconds
}

/// What several stages that share one machine allow together: the time of each adds up.
pub(crate) fn limit(rates: &[f64]) -> f64 {
    1.0 / rates.iter().map(|rate| 1.0 / rate).sum::<f64>()
}

/// The figures of one name, one for each round.
#[derive(Debug, Default)]
pub(crate) struct Series(Vec<(&'static str, Vec<f64>)>);

impl Series {
    /// Adds a round's figure.
    pub(crate) fn add(&mut self, name: &'static str, figure: f64) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, figures)) => figures.push(figure),
            None => self.0.push((name, vec![figure])),
        }
    }

    /// One name's figures, in the order of the rounds.
    pub(crate) fn of(&self, name: &str) -> &[f64] {
        self.0.iter().find(|(known, _)| *known == name).map_or(&[], |(_, figures)| figures)
    }

    /// Round by round, one name's figure by the limit that others set in the same round.
    pub(crate) fn by_limit(&self, name: &str, floors: &[&str]) -> Vec<f64> {
        let figures = self.of(name).iter().enumerate();
        figures
            .map(|(round, figure)| {
                let at = |floor: &&str| self.of(floor).get(round).copied().unwrap_or(f64::NAN);
                figure / limit(&floors.iter().map(at).collect::<Vec<_>>())
            })
            .collect()
    }

    /// Round by round, one name's figure by another's.
    pub(crate) fn by(&self, name: &str, other: &str) -> Vec<f64> {
        self.of(name).iter().zip(self.of(other)).map(|(a, b)| a / b).collect()
    }

    /// All medians, rounded.
    pub(crate) fn medians(&self) -> Value {
        let of = |(name, figures): &(&'static str, Vec<f64>)| {
            ((*name).to_owned(), rounded(median(figures)))
        };
        Value::Object(self.0.iter().map(of).collect())
    }
}

/// Four digits are more than a noisy machine can tell.
pub(crate) fn rounded(figure: f64) -> Value {
    if !figure.is_finite() || figure == 0.0 {
        return json!(if figure == 0.0 { Some(0.0) } else { None });
    }
    let scale = 10_f64.powf(3.0 - figure.abs().log10().floor());
    json!((figure * scale).round() / scale)
}

/// Tells one measurement: a ratio for each round, with whatever explains it.
///
/// # Errors
/// When standard output is closed.
pub(crate) fn tell(name: &str, ratios: &[f64], goal: &str, more: Value) -> anyhow::Result<()> {
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut line = Map::from_iter([
        ("measurement".to_owned(), json!(name)),
        ("ratio".to_owned(), rounded(median(ratios))),
        ("spread".to_owned(), json!([rounded(least), rounded(most)])),
        ("goal".to_owned(), json!(goal)),
        ("runs".to_owned(), json!(ratios.len())),
    ]);
    if let Value::Object(more) = more {
        line.extend(more);
    }
    line.insert("machine".to_owned(), crate::machine::describe());
    writeln!(std::io::stdout(), "{}", Value::Object(line)).context("standard output is closed")
}

/// Tells how far it is, to the person who waits.
pub(crate) fn say(text: &str) {
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stderr(), "load: {text}");
}
