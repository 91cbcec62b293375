//! What the app itself asks for, by the API or the command line: checked where it came in, and carried out as an
//! event of the source [`SOURCE`].

use crate::model::{
    id::{CustomerId, PaymentId},
    metadata::Scalar,
    reference::Reference,
};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};

/// The name of the source that writes of the API and the command line come from. No configuration may use it.
pub const SOURCE: &str = "api";

/// What stands for a provider's name where an external_id is to be detached.
pub const EXTERNAL_ID: &str = "external_id";

/// What is to become of metadata.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MetadataChange {
    /// All keys go.
    Clear,
    /// These are set, those that are null go, and the rest stays.
    Merge(BTreeMap<String, Option<Scalar>>),
}

/// What is said about a person: absent keeps, null clears.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ProfileChange {
    /// The name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Option<String>>,
    /// The e-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<Option<String>>,
    /// Whether the app vouches for the address; without it the same address stays as it is, and another one is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<bool>,
    /// E.164.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<Option<String>>,
    /// All tags together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Option<Vec<String>>>,
    /// Whether this is nobody yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_anonymous: Option<Option<bool>>,
    /// Key by key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<MetadataChange>,
}

/// Under which names a customer is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Names {
    /// The app's own user id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<Reference>,
    /// What an id at a provider may be, the likeliest first: an auth UID, a payment provider's customer id. The first
    /// that is known is meant; where none is, the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identity: Vec<Reference>,
}

/// One thing that is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// A customer that is not there yet.
    Create {
        /// Its names; none makes a customer that only its id names.
        names: Names,
        /// What is known of it.
        profile: ProfileChange,
    },
    /// The customer of some names, made where there is none.
    Identify {
        /// One at least.
        names: Names,
        /// What is known of it.
        profile: ProfileChange,
    },
    /// Another profile.
    Update {
        /// Whose.
        customer: CustomerId,
        /// The app's own user id, once: where it has none yet.
        #[serde(skip_serializing_if = "Option::is_none")]
        external_id: Option<Option<Reference>>,
        /// What changes.
        profile: ProfileChange,
    },
    /// A deletion for good.
    Delete {
        /// Whose.
        customer: CustomerId,
        /// Whether the payments go too, or stay without customer.
        erase_payments: bool,
    },
    /// Two customers are one.
    Merge {
        /// The one that the other goes into.
        into: CustomerId,
        /// The other one.
        from: CustomerId,
        /// The external_id that stays where both have one.
        #[serde(skip_serializing_if = "Option::is_none")]
        keep: Option<String>,
    },
    /// One identity is not this customer's.
    Detach {
        /// Whose it was.
        customer: CustomerId,
        /// Its namespace, or [`EXTERNAL_ID`].
        provider: Arc<str>,
        /// The UID, the customer id, or the external_id.
        uid: Arc<str>,
    },
    /// A payment is this customer's.
    Link {
        /// Which.
        payment: PaymentId,
        /// Whose.
        customer: CustomerId,
    },
}

impl Command {
    /// Its name as the type of an inbound event.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Create { .. } => "customer.create",
            Self::Identify { .. } => "customer.identify",
            Self::Update { .. } => "customer.update",
            Self::Delete { .. } => "customer.delete",
            Self::Merge { .. } => "customer.merge",
            Self::Detach { .. } => "customer.detach",
            Self::Link { .. } => "payment.link",
        }
    }

    /// The customers that it names by their ids.
    pub fn customers(&self) -> Vec<CustomerId> {
        match self {
            Self::Create { .. } | Self::Identify { .. } => Vec::new(),
            Self::Update { customer, .. }
            | Self::Delete { customer, .. }
            | Self::Detach { customer, .. }
            | Self::Link { customer, .. } => vec![*customer],
            Self::Merge { into, from, .. } => vec![*into, *from],
        }
    }

    /// The references that it names.
    pub fn references(&self) -> Vec<&Reference> {
        match self {
            Self::Create { names, .. } | Self::Identify { names, .. } => {
                names.external_id.iter().chain(&names.identity).collect()
            }
            Self::Update { external_id, .. } => external_id.iter().flatten().collect(),
            Self::Delete { .. } | Self::Merge { .. } | Self::Detach { .. } | Self::Link { .. } => {
                Vec::new()
            }
        }
    }
}
