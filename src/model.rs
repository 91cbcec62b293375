//! Plain data: what the pipeline's stages hand to each other. No I/O, no SQL, no clock.

pub mod answer;
pub mod authority;
pub mod command;
pub mod conflict;
pub mod contact;
pub mod customer;
pub mod endpoint;
pub mod event;
pub mod filter;
pub mod id;
pub mod inbound;
pub mod key;
pub mod message;
pub mod metadata;
pub mod money;
pub mod payment;
pub mod provenance;
pub mod ranking;
pub mod reference;
pub mod register;
pub(crate) mod schema;
pub mod secret;
pub mod stamp;
pub mod subscription;
pub mod time;
pub mod timeline;

/// Whether an environment holds real money: the one called `live` does.
pub fn is_live(environment: &str) -> bool {
    environment == "live"
}
