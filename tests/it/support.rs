//! What the tests stand on: real services, isolated for each test; the real program; waiting without guessing.

pub(crate) mod services;
pub(crate) mod wait;
#[expect(dead_code, reason = "goes with the first test that starts the whole daemon")]
pub(crate) mod world;
