//! Who paid most, as the API shows it.

use crate::model::{
    customer::Customer,
    money::Currency,
    time::{Timestamp, millis},
};
use chrono::TimeDelta;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;
use std::str::FromStr;
use utoipa::ToSchema;

/// What customers are ranked by, within one currency.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Spent less refunded less lost.
    #[default]
    NetSpent,
    /// Captured.
    TotalSpent,
    /// All payments; of a period those that were paid in it.
    PaymentCount,
}

/// Over which days.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub enum Period {
    /// All.
    #[default]
    #[serde(rename = "all")]
    All,
    /// Today (UTC) and the six days before.
    #[serde(rename = "7d")]
    Week,
    /// Today (UTC) and the 29 days before.
    #[serde(rename = "30d")]
    Month,
    /// Today (UTC) and the 89 days before.
    #[serde(rename = "90d")]
    Quarter,
}

/// A text is neither.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoSuch(&'static str);

/// What a metric may be.
pub const METRICS: &str = "must be net_spent, total_spent or payment_count";

/// What a period may be.
pub const PERIODS: &str = "must be 7d, 30d, 90d or all";

impl Metric {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NetSpent => "net_spent",
            Self::TotalSpent => "total_spent",
            Self::PaymentCount => "payment_count",
        }
    }
}

impl FromStr for Metric {
    type Err = NoSuch;

    fn from_str(text: &str) -> Result<Self, NoSuch> {
        let all = [Self::NetSpent, Self::TotalSpent, Self::PaymentCount];
        all.into_iter().find(|metric| metric.as_str() == text).ok_or(NoSuch(METRICS))
    }
}

impl FromStr for Period {
    type Err = NoSuch;

    fn from_str(text: &str) -> Result<Self, NoSuch> {
        let all = [Self::All, Self::Week, Self::Month, Self::Quarter];
        all.into_iter().find(|period| period.as_str() == text).ok_or(NoSuch(PERIODS))
    }
}

impl Period {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Week => "7d",
            Self::Month => "30d",
            Self::Quarter => "90d",
        }
    }

    /// The first day of it; none where it has none.
    pub fn first_day(self, now: Timestamp) -> Option<String> {
        let days = match self {
            Self::All => return None,
            Self::Week => 6,
            Self::Month => 29,
            Self::Quarter => 89,
        };
        Some(now.plus(-TimeDelta::days(days)).day())
    }
}

/// A customer in a ranking.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
#[schema(as = RankedCustomer)]
pub struct Ranked {
    /// From 1.
    pub rank: usize,
    /// The metric, in the ranking's currency and period. Money in minor units.
    pub value: i64,
    /// Who.
    #[serde(flatten)]
    pub customer: Customer,
}

/// By hand, since serde's `flatten` cannot read numbers of arbitrary precision.
impl<'de> Deserialize<'de> for Ranked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Place {
            rank: usize,
            value: i64,
        }
        let all = Value::deserialize(deserializer)?;
        let Place { rank, value } = Place::deserialize(&all).map_err(D::Error::custom)?;
        let customer = Customer::deserialize(all).map_err(D::Error::custom)?;
        Ok(Self { rank, value, customer })
    }
}

/// A ranking.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = CustomerRanking)]
pub struct Top {
    /// Always `list`.
    #[serde(skip_deserializing, default = "list")]
    pub object: &'static str,
    /// By what.
    pub metric: Metric,
    /// Of payments in this currency.
    pub currency: Currency,
    /// Over which days.
    pub period: Period,
    /// The time of the state that it shows.
    #[serde(serialize_with = "millis")]
    pub as_of: Timestamp,
    /// Who paid most comes first.
    pub data: Vec<Ranked>,
    /// A ranking has one page.
    pub has_more: bool,
}

fn list() -> &'static str {
    "list"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_that_are_shown() {
        for metric in [Metric::NetSpent, Metric::TotalSpent, Metric::PaymentCount] {
            assert_eq!(serde_json::to_value(metric).ok(), Some(metric.as_str().into()));
            assert_eq!(metric.as_str().parse(), Ok(metric));
        }
        for period in [Period::All, Period::Week, Period::Month, Period::Quarter] {
            assert_eq!(serde_json::to_value(period).ok(), Some(period.as_str().into()));
            assert_eq!(period.as_str().parse(), Ok(period));
        }
        assert!("7".parse::<Period>().is_err() && "spent".parse::<Metric>().is_err());
    }
}
