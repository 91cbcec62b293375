//! What the tests stand on: real services, isolated for each test; the real program; waiting without guessing.

pub(crate) mod dump;
pub(crate) mod private;
pub(crate) mod proxy;
pub(crate) mod receiver;
pub(crate) mod services;
pub(crate) mod wait;
pub(crate) mod world;
