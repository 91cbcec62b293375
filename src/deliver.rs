//! Stub.

pub mod signature;
