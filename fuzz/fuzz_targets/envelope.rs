//! `cargo fuzz run envelope`: what it does stands beside the tests.

#![no_main]
#![allow(dead_code, reason = "one of the targets is run here")]

#[path = "../corpus.rs"]
mod corpus;
#[path = "../../tests/it/fuzz/seeds.rs"]
mod seeds;
#[path = "../../tests/it/fuzz/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(
    init: corpus::plant("envelope"),
    |bytes: &[u8]| targets::envelope(bytes)
);
