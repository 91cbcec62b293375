//! Integration tests: one binary, real databases, a real broker, real HTTP.

mod intake;
mod support;
