//! Stage 4: load what the events name, decide by pure rules, write what changed.

pub mod changes;
pub mod claims;
mod customers;
pub mod decide;
pub mod facts;
pub mod load;
pub mod world;
pub mod write;

#[cfg(test)]
mod laws;
