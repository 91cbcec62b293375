//! The customer as the API and webhooks show it (contract 4).

use crate::model::{
    id::CustomerId,
    metadata::Scalar,
    money::Currency,
    reference::Kind,
    subscription::SubscriptionStatus,
    time::{Timestamp, millis, millis_or_null},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// One of a customer's identities at a provider.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// The namespace.
    pub provider: Arc<str>,
    /// The UID or customer id.
    pub uid: Arc<str>,
    /// `auth` or `payment`.
    pub kind: Kind,
}

/// A customer's totals in one currency, over payments that belong to it (semantics 7).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    /// All payments.
    pub payment_count: i64,
    /// The succeeded ones.
    pub successful_payment_count: i64,
    /// Those whose status is failed.
    pub failed_payment_count: i64,
    /// Captured, of succeeded ones; minor units.
    pub total_spent: i64,
    /// Minor units.
    pub total_refunded: i64,
    /// Minor units.
    pub total_disputed_lost: i64,
    /// The earliest `paid_at` of succeeded ones.
    pub first_payment_at: Option<Timestamp>,
    /// The latest `paid_at` of succeeded ones.
    pub last_payment_at: Option<Timestamp>,
}

impl Totals {
    /// Spent less refunded less lost.
    pub fn net_spent(&self) -> i64 {
        self.total_spent - self.total_refunded - self.total_disputed_lost
    }

    /// Adds another set of payments' totals in the same currency.
    pub fn add(&mut self, other: &Self) {
        self.payment_count += other.payment_count;
        self.successful_payment_count += other.successful_payment_count;
        self.failed_payment_count += other.failed_payment_count;
        self.total_spent += other.total_spent;
        self.total_refunded += other.total_refunded;
        self.total_disputed_lost += other.total_disputed_lost;
        self.first_payment_at =
            [self.first_payment_at, other.first_payment_at].into_iter().flatten().min();
        self.last_payment_at = self.last_payment_at.max(other.last_payment_at);
    }

    /// Takes payments' sums and counts away again. The times are left: they cannot be subtracted.
    pub fn subtract_sums(&mut self, other: &Self) {
        self.payment_count -= other.payment_count;
        self.successful_payment_count -= other.successful_payment_count;
        self.failed_payment_count -= other.failed_payment_count;
        self.total_spent -= other.total_spent;
        self.total_refunded -= other.total_refunded;
        self.total_disputed_lost -= other.total_disputed_lost;
    }
}

/// Totals by currency. Payments of which no currency is known yet stand under none.
pub type Spend = BTreeMap<Option<Currency>, Totals>;

/// One line of a customer's `spend`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SpendLine {
    /// The currency.
    pub currency: Currency,
    /// Minor units.
    pub total_spent: i64,
    /// Minor units.
    pub total_refunded: i64,
    /// Minor units.
    pub total_disputed_lost: i64,
    /// Minor units.
    pub net_spent: i64,
    /// All payments in it.
    pub payment_count: i64,
    /// The succeeded ones.
    pub successful_payment_count: i64,
    /// The failed ones.
    pub failed_payment_count: i64,
}

/// What is known of the person and how it hangs together: everything about a customer but its money.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Person {
    /// The app's own user id.
    pub external_id: Option<Arc<str>>,
    /// The name.
    pub name: Option<String>,
    /// The e-mail address.
    pub email: Option<String>,
    /// Whether somebody vouches for the address.
    pub email_verified: bool,
    /// E.164.
    pub phone: Option<String>,
    /// The app's tags.
    pub tags: Vec<String>,
    /// At most 50 keys.
    pub metadata: BTreeMap<String, Scalar>,
    /// UIDs and customer ids at providers.
    pub identities: Vec<Identity>,
    /// The auth UID of the lowest stamp.
    pub provider_uid: Option<Arc<str>>,
    /// The payment provider's customer id of the lowest stamp.
    pub gateway_customer_id: Option<Arc<str>>,
    /// No external_id, and no auth UID that is somebody.
    pub is_anonymous: bool,
}

/// The best of a customer's subscriptions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BestSubscription {
    /// There is none.
    None,
    /// The status of the best one.
    #[serde(untagged)]
    Status(SubscriptionStatus),
}

/// A customer (contract 4).
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Customer {
    /// Always `customer`.
    pub object: &'static str,
    /// Ours.
    pub id: CustomerId,
    /// Where it belongs.
    pub environment: Arc<str>,
    /// Whether that is real money.
    pub live: bool,
    /// What is known of the person.
    #[serde(flatten)]
    pub person: Person,
    /// In the primary currency, minor units.
    pub total_spent: i64,
    /// In the primary currency, minor units.
    pub total_refunded: i64,
    /// In the primary currency, minor units.
    pub total_disputed_lost: i64,
    /// In the primary currency, minor units.
    pub net_spent: i64,
    /// Most successful payments, then most payments, then code.
    pub primary_currency: Option<Currency>,
    /// Per currency.
    pub spend: Vec<SpendLine>,
    /// Over all currencies.
    pub payment_count: i64,
    /// Over all currencies.
    pub successful_payment_count: i64,
    /// Over all currencies.
    pub failed_payment_count: i64,
    /// Over all currencies.
    #[serde(serialize_with = "millis_or_null")]
    pub first_payment_at: Option<Timestamp>,
    /// Over all currencies.
    #[serde(serialize_with = "millis_or_null")]
    pub last_payment_at: Option<Timestamp>,
    /// Of the best subscription.
    pub subscription_status: BestSubscription,
    /// Grows by one with every message about this customer.
    pub version: i64,
    /// Whether it is gone.
    pub deleted: bool,
    /// When we first heard of it.
    #[serde(serialize_with = "millis")]
    pub created_at: Timestamp,
    /// When it last changed here.
    #[serde(serialize_with = "millis")]
    pub updated_at: Timestamp,
}
