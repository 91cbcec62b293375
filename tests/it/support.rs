//! What the tests stand on: real services, isolated for each test; the real program; waiting without guessing.

pub(crate) mod receiver;
pub(crate) mod services;
pub(crate) mod wait;
pub(crate) mod world;
