//! What became of a customer, as the API shows it.

use crate::model::{
    id::CustomerId,
    payment::Payment,
    subscription::Subscription,
    time::{Timestamp, millis},
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Something that happened.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
#[schema(as = TimelineEntry)]
pub struct Entry {
    /// Always `timeline_entry`.
    pub object: &'static str,
    /// When.
    #[serde(serialize_with = "millis")]
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum What {
    /// A payment.
    Payment {
        /// As it stands now.
        payment: Box<Payment>,
    },
    /// A subscription.
    Subscription {
        /// As it stands now.
        subscription: Box<Subscription>,
    },
    /// A change of the profile.
    Profile {
        /// Who said what.
        profile: Change,
    },
    /// Another customer went into this one.
    Merge {
        /// Which, and by whose word.
        merge: Merge,
    },
}

/// What one event said of a person and still counts.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = ProfileChange)]
pub struct Change {
    /// The source of the event.
    pub source: String,
    /// The provider's id of the event, else the hash of its body.
    pub event_id: String,
    /// The fields, as they are shown.
    pub fields: BTreeMap<String, Value>,
}

/// A customer that went into another one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = CustomerMerge)]
pub struct Merge {
    /// The one that is no more.
    pub customer_id: CustomerId,
    /// The source of the event that said so, where that is known.
    pub source: Option<String>,
    /// Its id, else the hash of its body.
    pub event_id: Option<String>,
}

impl Entry {
    /// Something that happened then.
    pub fn new(at: Timestamp, what: What) -> Self {
        Self { object: "timeline_entry", at, what }
    }
}

/// By hand, since serde's `flatten` and `tag` cannot read numbers of arbitrary precision.
impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            at: Timestamp,
            #[serde(rename = "type")]
            kind: String,
            payment: Option<Box<Payment>>,
            subscription: Option<Box<Subscription>>,
            profile: Option<Change>,
            merge: Option<Merge>,
        }
        let Fields { at, kind, payment, subscription, profile, merge } =
            Fields::deserialize(deserializer)?;
        let what = match kind.as_str() {
            "payment" => payment.map(|payment| What::Payment { payment }),
            "subscription" => subscription.map(|subscription| What::Subscription { subscription }),
            "profile" => profile.map(|profile| What::Profile { profile }),
            "merge" => merge.map(|merge| What::Merge { merge }),
            _ => None,
        };
        let what = what.ok_or_else(|| D::Error::custom("no known type of a timeline's entry"))?;
        Ok(Self::new(at, what))
    }
}
