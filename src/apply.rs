//! Stage 4: load what the events name, decide by pure rules, write what changed.

pub mod claims;
pub mod facts;
