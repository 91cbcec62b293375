//! One true record per customer, from the webhooks of payment and auth providers.
//!
//! A message walks through the house once; each stage has its own room, its own type and its own error:
//!
//! ```text
//! intake → verify → normalize → apply → outbox │ commit │ → deliver
//! Raw      Verified  Event       Decision  Message            Attempt
//! ```
//!
//! The rules are pure functions of data; everything with I/O stands around them.

pub mod apply;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod deliver;
pub mod handover;
pub mod health;
pub mod http;
pub mod intake;
pub mod keyring;
pub mod model;
pub mod normalize;
pub mod outbox;
pub mod pipeline;
pub mod provider;
pub mod retry;
pub mod shutdown;
pub mod simulator;
pub mod store;
pub mod telemetry;
pub mod verify;
