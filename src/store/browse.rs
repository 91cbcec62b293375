//! What the API and the command line read: customers, payments, subscriptions and inbound events of one
//! environment. Nothing here writes; every function takes part in the caller's snapshot.

use super::{Error, Result};
use serde::de::{DeserializeOwned, IntoDeserializer, value::Error as WordError};

pub mod customers;
pub mod inbound;
pub mod page;
pub mod payments;
pub mod subscriptions;

pub use customers::{CustomerFilter, customer, customers, lookup, resolve};
pub use inbound::{InboundEvent, InboundFilter, inbound_body, inbound_event, inbound_events};
pub use page::{Page, Position, Slice};
pub use payments::{payment, payments, payments_of};
pub use subscriptions::subscriptions_of;

/// What an id leads to.
#[derive(Clone, PartialEq, Debug)]
pub enum Found<T> {
    /// What it names, or what that went into.
    Here(T),
    /// It was deleted.
    Deleted,
    /// Nothing of this environment.
    Nothing,
}

/// Reads a word that we wrote: a status.
fn word<T: DeserializeOwned>(
    text: &str,
    (table, column): (&'static str, &'static str),
    row: impl std::fmt::Display,
) -> Result<T> {
    T::deserialize(IntoDeserializer::<WordError>::into_deserializer(text))
        .map_err(|error| Error::Row { table, column, row: row.to_string(), why: error.to_string() })
}
