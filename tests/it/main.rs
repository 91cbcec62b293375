//! Integration tests: one binary, real databases, a real broker, real HTTP.

// All of it is test code, helpers too: it may unwrap and panic.
#![cfg(test)]

mod architecture;
mod cli;
mod config;
mod daemon;
mod deliver;
mod erasure;
mod history;
mod http;
mod intake;
mod pipeline;
mod schema;
mod support;
mod telemetry;
