//! The fuzz targets on seeded inputs: a few seconds of what `fuzz/` does for as long as one likes (docs/fuzzing.md).
//! The same inputs on every run: good ones, bent here and there, and bytes of no sense.

use std::path::Path;

mod seeds;
mod targets;

/// How many inputs each target is given: about a second's worth.
const RUNS: u64 = 3_000;

/// What tends to matter to those who read: to a JSON parser, a signature's parser, a reader of numbers and times.
const WORDS: &[&[u8]] = &[
    b"null",
    b"{}",
    b"[]",
    b"\"\"",
    b"-1",
    b"0",
    b"1e400",
    b"0.000000000000000000001",
    b"9223372036854775807",
    b"-9223372036854775809",
    b"18446744073709551616",
    b"99999999999999999999999999999999999999999",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\0",
    b"\n",
    b"\n\n",
    b"\"id\":",
    b"\"data\":{\"object\":{",
    b"\"amount\":",
    b"\"currency\":\"xyz\"",
    b"\"previous_attributes\":",
    b"0000-00-00T00:00:00Z",
    b"9999-12-31T23:59:60Z",
    b"t=",
    b"v1=",
    b"v1,",
    b"sha256=",
    b"Bearer ",
    b"Basic ",
    b",",
    b";",
    b"|",
    b"&",
    b"=",
];

/// xorshift64*, after Marsaglia and Vigna: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    /// From 0 to below a number; 0 where that is 0.
    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("it fits").max(1);
        usize::try_from(self.roll() % end).expect("it is below")
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.byte()).collect()
    }

    fn byte(&mut self) -> u8 {
        self.roll().to_le_bytes()[0]
    }

    /// Some stretch of what there is, not too long.
    fn stretch(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below((length - start).min(64) + 1)
    }

    /// Bends an input somewhere.
    fn bend(&mut self, input: &mut Vec<u8>, others: &[Vec<u8>]) {
        let range = self.stretch(input.len());
        match self.below(8) {
            0 => drop(input.drain(range)),
            1 => input.truncate(range.start),
            2 => {
                let copy = input[range.clone()].to_vec();
                input.splice(range.end..range.end, copy);
            }
            3 => {
                if let Some(byte) = input.get_mut(range.start) {
                    *byte ^= 1 << self.below(8);
                }
            }
            4 => {
                let other = &others[self.below(others.len())];
                let part = self.stretch(other.len());
                input.splice(range, other[part].to_vec());
            }
            5 => {
                let noise = self.bytes(9);
                input.splice(range, noise);
            }
            6 => replace_number(input, range.start, WORDS[self.below(WORDS.len())]),
            _ => {
                let word = WORDS[self.below(WORDS.len())];
                input.splice(range, word.to_vec());
            }
        }
    }
}

/// Puts something else in the place of the first number behind a place.
fn replace_number(input: &mut Vec<u8>, from: usize, by: &[u8]) {
    let Some(start) = (from..input.len()).find(|at| input[*at].is_ascii_digit()) else { return };
    let digits = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    input.splice(start..start + digits, by.to_vec());
}

fn is_held_against_seeded_inputs(name: &str) {
    let (_, target) = targets::ALL.iter().find(|(known, _)| *known == name).expect("a target");
    let seeds = seeds::of(name, Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(!seeds.is_empty());
    for seed in &seeds {
        target(seed);
    }
    for run in 0..RUNS {
        let mut dice = Dice((run + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut input = seeds[dice.below(seeds.len())].clone();
        match dice.below(10) {
            0 => input = dice.bytes(300),
            _ => (0..=dice.below(6)).for_each(|_| dice.bend(&mut input, &seeds)),
        }
        let result = std::panic::catch_unwind(|| target(&input));
        assert!(result.is_ok(), "{name}, run {run}: {}", String::from_utf8_lossy(&input));
    }
}

#[test]
fn no_header_and_no_body_gets_by_the_verifier_unsigned_or_stops_it() {
    is_held_against_seeded_inputs("verifier");
}

#[test]
fn no_body_stops_a_provider_and_what_is_read_of_it_can_be_kept() {
    is_held_against_seeded_inputs("normalizers");
}

#[test]
fn no_body_and_no_expression_stops_a_provider_that_the_settings_describe() {
    is_held_against_seeded_inputs("custom");
}

#[test]
fn no_message_stops_the_reader_of_envelopes() {
    is_held_against_seeded_inputs("envelope");
}

#[test]
fn no_bytes_from_a_broker_stop_the_scanner_or_grow_in_it() {
    is_held_against_seeded_inputs("wire");
}

#[test]
fn no_filter_stops_its_reader_or_becomes_part_of_a_statement() {
    is_held_against_seeded_inputs("filters");
}

/// A scheme or a target that is left out would be fuzzed by nobody.
#[test]
fn every_preset_is_fuzzed_and_every_target_is_run_by_cargo_fuzz() {
    let presets = include_str!("../../src/verify/presets.rs");
    let declared = presets.matches(": Scheme =").count();
    assert_eq!(customer_sync::verify::presets::ALL.len(), declared);
    let manifest = include_str!("../../fuzz/Cargo.toml");
    for (name, _) in targets::ALL {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
    assert_eq!(manifest.matches("fuzz_targets/").count(), targets::ALL.len());
}
