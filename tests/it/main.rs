//! Integration tests: one binary, real databases, a real broker, real HTTP.

mod architecture;
mod schema;
mod support;
