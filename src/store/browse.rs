//! What the API and the command line read: customers, payments, subscriptions and inbound events of one
//! environment. Nothing here writes; every function takes part in the caller's snapshot, or is a single statement.

use super::{Error, Result};
use serde::de::{DeserializeOwned, IntoDeserializer, value::Error as WordError};

pub mod condition;
pub mod conflicts;
pub mod customers;
pub mod export;
pub mod inbound;
pub mod list;
pub mod messages;
pub mod page;
pub mod payments;
pub mod subscriptions;
pub mod timeline;
pub mod top;

pub use conflicts::{conflict, conflicts};
pub use customers::{
    FOR_KEY, ForHolder, created_at, customer, customer_for, lookup, resolve, root,
};
pub use inbound::{
    InboundEvent, InboundFilter, inbound_body, inbound_event, inbound_events, inbound_events_from,
};
pub use list::{CustomerFilter, Sort, Total, count_customers, customers};
pub use messages::{MessageFilter, ShownMessage, message, message_body, messages};
pub use page::{Page, Position, Slice};
pub use payments::{payment, payments, payments_of, payments_with_facts};
pub use subscriptions::{subscriptions_of, subscriptions_with_facts};

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
