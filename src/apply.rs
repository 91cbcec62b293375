//! Stage 4: load what the events name, decide by pure rules, write what changed.

pub mod changes;
pub mod claims;
pub mod command;
mod customers;
pub mod days;
pub mod decide;
pub mod facts;
pub mod load;
mod matching;
pub mod provenance;
pub mod world;
pub mod write;

#[cfg(test)]
mod laws;
