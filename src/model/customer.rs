//! The customer as the API and webhooks show it (contract 4).

use crate::model::{
    id::CustomerId,
    is_live,
    metadata::Scalar,
    money::Currency,
    reference::Kind,
    schema,
    subscription::SubscriptionStatus,
    time::{Timestamp, millis, millis_or_null},
};
use serde::{Deserialize, Serialize};
use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

/// One of a customer's identities at a provider.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    /// The namespace.
    pub provider: Arc<str>,
    /// The UID or customer id.
    pub uid: Arc<str>,
    /// `auth` or `payment`.
    #[schema(value_type = String, pattern = "^(auth|payment)$")]
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
        self.total_spent
            .saturating_sub(self.total_refunded)
            .saturating_sub(self.total_disputed_lost)
    }

    /// Adds another set of payments' totals in the same currency.
    pub fn add(&mut self, other: &Self) {
        self.payment_count = self.payment_count.saturating_add(other.payment_count);
        self.successful_payment_count =
            self.successful_payment_count.saturating_add(other.successful_payment_count);
        self.failed_payment_count =
            self.failed_payment_count.saturating_add(other.failed_payment_count);
        self.total_spent = self.total_spent.saturating_add(other.total_spent);
        self.total_refunded = self.total_refunded.saturating_add(other.total_refunded);
        self.total_disputed_lost =
            self.total_disputed_lost.saturating_add(other.total_disputed_lost);
        self.first_payment_at =
            [self.first_payment_at, other.first_payment_at].into_iter().flatten().min();
        self.last_payment_at = self.last_payment_at.max(other.last_payment_at);
    }

    /// Takes payments' sums and counts away again. The times are left: they cannot be subtracted.
    pub fn subtract_sums(&mut self, other: &Self) {
        self.payment_count = self.payment_count.saturating_sub(other.payment_count);
        self.successful_payment_count =
            self.successful_payment_count.saturating_sub(other.successful_payment_count);
        self.failed_payment_count =
            self.failed_payment_count.saturating_sub(other.failed_payment_count);
        self.total_spent = self.total_spent.saturating_sub(other.total_spent);
        self.total_refunded = self.total_refunded.saturating_sub(other.total_refunded);
        self.total_disputed_lost =
            self.total_disputed_lost.saturating_sub(other.total_disputed_lost);
    }
}

/// Totals by currency. Payments of which no currency is known yet stand under none.
pub type Spend = BTreeMap<Option<Currency>, Totals>;

/// One line of a customer's `spend`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
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
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
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

impl PartialSchema for BestSubscription {
    fn schema() -> RefOr<Schema> {
        // An incomplete_expired one shows as canceled.
        let shown = SubscriptionStatus::ALL.iter().map(|status| status.as_str());
        let words = shown.filter(|word| *word != "incomplete_expired");
        schema::word(
            "The status of the best subscription; `none` where there is none.",
            ["none"].into_iter().chain(words),
        )
    }
}

impl ToSchema for BestSubscription {}

impl BestSubscription {
    /// The best of some; an incomplete_expired one shows as canceled (semantics 6).
    pub fn of(statuses: impl Iterator<Item = SubscriptionStatus>) -> Self {
        match statuses.min_by_key(|status| status.preference()) {
            None => Self::None,
            Some(SubscriptionStatus::IncompleteExpired) => {
                Self::Status(SubscriptionStatus::Canceled)
            }
            Some(status) => Self::Status(status),
        }
    }
}

/// A customer (contract 4).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Customer {
    /// Always `customer`.
    #[serde(skip_deserializing, default = "customer")]
    pub object: &'static str,
    /// Our id of it.
    pub id: CustomerId,
    /// The environment that it belongs to.
    pub environment: Arc<str>,
    /// Whether that is `live`: real money.
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
    /// The status of the best subscription, or `none`.
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

fn customer() -> &'static str {
    "customer"
}

/// What a customer's own row says of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CustomerRow {
    /// Our id of it.
    pub id: CustomerId,
    /// The environment that it belongs to.
    pub environment: Arc<str>,
    /// Grows by one with every message about this customer.
    pub version: i64,
    /// Whether it is gone.
    pub deleted: bool,
    /// When we first heard of it.
    pub created_at: Timestamp,
    /// When it last changed here.
    pub updated_at: Timestamp,
}

impl Customer {
    /// The customer as it is shown, from its row, the person, its money and its subscriptions (semantics 7).
    ///
    /// Payments of unknown currency count, and add to no money. A currency without payments is not shown.
    pub fn assemble(
        row: CustomerRow,
        person: Person,
        spend: &Spend,
        subscription: BestSubscription,
    ) -> Self {
        let mut all = Totals::default();
        for totals in spend.values() {
            all.add(totals);
        }
        let by_currency = || {
            spend
                .iter()
                .filter(|(_, totals)| totals.payment_count > 0)
                .filter_map(|(currency, totals)| Some(((*currency)?, totals)))
        };
        let primary = by_currency().min_by_key(|(currency, totals)| {
            (Reverse(totals.successful_payment_count), Reverse(totals.payment_count), *currency)
        });
        let money = primary.map(|(_, totals)| totals.clone()).unwrap_or_default();
        Self {
            object: customer(),
            id: row.id,
            live: is_live(&row.environment),
            environment: row.environment,
            person,
            total_spent: money.total_spent,
            total_refunded: money.total_refunded,
            total_disputed_lost: money.total_disputed_lost,
            net_spent: money.net_spent(),
            primary_currency: primary.map(|(currency, _)| currency),
            spend: by_currency()
                .map(|(currency, totals)| SpendLine::of(currency, totals))
                .collect(),
            payment_count: all.payment_count,
            successful_payment_count: all.successful_payment_count,
            failed_payment_count: all.failed_payment_count,
            first_payment_at: all.first_payment_at,
            last_payment_at: all.last_payment_at,
            subscription_status: subscription,
            version: row.version,
            deleted: row.deleted,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl SpendLine {
    fn of(currency: Currency, totals: &Totals) -> Self {
        Self {
            currency,
            total_spent: totals.total_spent,
            total_refunded: totals.total_refunded,
            total_disputed_lost: totals.total_disputed_lost,
            net_spent: totals.net_spent(),
            payment_count: totals.payment_count,
            successful_payment_count: totals.successful_payment_count,
            failed_payment_count: totals.failed_payment_count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Currency {
        text.parse().expect("a currency")
    }

    fn totals(payments: i64, successful: i64, spent: i64) -> Totals {
        let paid_at = (successful > 0).then(|| Timestamp::from_seconds(spent)).flatten();
        Totals {
            payment_count: payments,
            successful_payment_count: successful,
            total_spent: spent,
            first_payment_at: paid_at,
            last_payment_at: paid_at,
            ..Totals::default()
        }
    }

    fn customer(spend: &Spend) -> Customer {
        let row = CustomerRow {
            id: CustomerId(uuid::Uuid::from_u128(1)),
            environment: "live".into(),
            version: 3,
            deleted: false,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        };
        Customer::assemble(row, Person::default(), spend, BestSubscription::None)
    }

    #[test]
    fn the_primary_currency_has_most_successes_then_most_payments_then_the_first_code() {
        let primary = |lines: &[(&str, i64, i64)]| {
            let spend =
                lines.iter().map(|(c, all, good)| (Some(code(c)), totals(*all, *good, 100)));
            customer(&spend.collect()).primary_currency
        };
        assert_eq!(primary(&[("EUR", 9, 1), ("USD", 2, 2)]), Some(code("USD")));
        assert_eq!(primary(&[("EUR", 2, 1), ("USD", 3, 1)]), Some(code("USD")));
        assert_eq!(primary(&[("USD", 2, 1), ("EUR", 2, 1)]), Some(code("EUR")));
        assert_eq!(primary(&[("USD", 1, 0)]), Some(code("USD")));
        assert_eq!(primary(&[("USD", 0, 0)]), None);
    }

    /// Pain point 33 (easy-digital-downloads#7947): money of several currencies was one sum.
    #[test]
    fn money_is_of_the_primary_currency_and_counts_are_of_all() {
        let mut dollars = totals(3, 2, 5_000);
        (dollars.total_refunded, dollars.total_disputed_lost) = (700, 300);
        dollars.failed_payment_count = 1;
        let spend = [
            (Some(code("USD")), dollars),
            (Some(code("EUR")), totals(1, 1, 90)),
            (None, totals(2, 0, 0)),
        ];
        let customer = customer(&spend.into());
        assert_eq!((customer.total_spent, customer.net_spent), (5_000, 4_000));
        assert_eq!((customer.payment_count, customer.successful_payment_count), (6, 3));
        assert_eq!(customer.failed_payment_count, 1);
        assert_eq!(customer.first_payment_at, Timestamp::from_seconds(90));
        assert_eq!(customer.last_payment_at, Timestamp::from_seconds(5_000));
        let shown: Vec<_> = customer.spend.iter().map(|line| line.currency.to_string()).collect();
        assert_eq!(shown, ["EUR", "USD"]);
        assert!(customer.live);
    }

    #[test]
    fn payments_of_unknown_currency_count_and_are_no_money() {
        let customer = customer(&[(None, totals(2, 0, 0))].into());
        assert_eq!((customer.payment_count, customer.total_spent), (2, 0));
        assert_eq!((customer.primary_currency, customer.spend.len()), (None, 0));
    }
}
