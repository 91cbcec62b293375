//! Integration tests: one binary, real databases, a real broker, real HTTP.

// All of it is test code, helpers too: it may unwrap and panic.
#![cfg(test)]

mod architecture;
mod batches;
mod chaos;
mod cli;
mod client;
mod config;
mod custom;
mod daemon;
mod deliver;
mod erasure;
mod faults;
mod fuzz;
mod history;
mod http;
mod intake;
mod matching;
mod operations;
mod pipeline;
mod providers;
mod reporting;
mod retention;
mod schema;
mod stripe;
mod support;
mod takeover;
mod telemetry;
mod traces;
mod transfer;
