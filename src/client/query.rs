//! Which customers are asked for.

use super::request::Query;
use crate::model::ranking::{Metric, Period};
use serde_json::Value;

/// Which customers are listed; all that is given must hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CustomerQuery {
    parameters: Query,
    tags: Vec<String>,
}

/// By what a list is sorted; newest or most first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sort {
    /// When we first heard of them.
    CreatedAt,
    /// Spent less refunded less lost, in the list's currency.
    NetSpent,
    /// Captured, in the list's currency.
    TotalSpent,
    /// Payments in the list's currency.
    PaymentCount,
}

impl CustomerQuery {
    /// All customers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Exactly this external_id.
    #[must_use]
    pub fn external_id(self, id: impl Into<String>) -> Self {
        self.with("external_id", id.into())
    }

    /// This address, whatever its case.
    #[must_use]
    pub fn email(self, address: impl Into<String>) -> Self {
        self.with("email", address.into())
    }

    /// This text somewhere in external_id, name, email or phone.
    #[must_use]
    pub fn search(self, text: impl Into<String>) -> Self {
        self.with("search", text.into())
    }

    /// Has this tag, and those that were given before. A tag with a comma is asked for by `filters`.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// `total_spent` of so much at least, in minor units.
    #[must_use]
    pub fn min_spent(self, amount: i64) -> Self {
        self.with("min_spent", amount.to_string())
    }

    /// `total_spent` of so much at most, in minor units.
    #[must_use]
    pub fn max_spent(self, amount: i64) -> Self {
        self.with("max_spent", amount.to_string())
    }

    /// Of money in this list; unless told, the environment's reporting currency.
    #[must_use]
    pub fn currency(self, code: impl Into<String>) -> Self {
        self.with("currency", code.into())
    }

    /// Conditions as docs/api.md describes them.
    #[must_use]
    pub fn filters(self, filters: &Value) -> Self {
        self.with("filters", filters.to_string())
    }

    /// By what they are sorted; by [`Sort::CreatedAt`] unless told.
    #[must_use]
    pub fn sort_by(self, sort: Sort) -> Self {
        let word = match sort {
            Sort::CreatedAt => "created_at",
            Sort::NetSpent => "net_spent",
            Sort::TotalSpent => "total_spent",
            Sort::PaymentCount => "payment_count",
        };
        self.with("sort_by", word.to_owned())
    }

    /// How many there are on a page: 1 to 1000, 50 unless told.
    #[must_use]
    pub fn limit(self, limit: u32) -> Self {
        self.with("limit", limit.to_string())
    }

    /// Counts them: each page then says how many there are in all.
    #[must_use]
    pub fn include_total(self) -> Self {
        self.with("include_total", "true".to_owned())
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        self.parameters.retain(|(known, _)| *known != name);
        self.parameters.push((name, value));
        self
    }

    pub(super) fn parameters(&self) -> Query {
        let mut all = self.parameters.clone();
        if !self.tags.is_empty() {
            all.push(("tags", self.tags.join(",")));
        }
        all
    }
}

/// What a ranking is of: by [`Metric::NetSpent`] of all time in the environment's reporting currency, the first ten,
/// unless told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TopQuery {
    /// By what.
    pub metric: Metric,
    /// Over which days.
    pub period: Period,
    /// Of payments in this currency.
    pub currency: Option<String>,
    /// How many: 1 to 100.
    pub limit: Option<u32>,
}

impl TopQuery {
    pub(super) fn parameters(&self) -> Query {
        let mut all = vec![
            ("metric", self.metric.as_str().to_owned()),
            ("period", self.period.as_str().to_owned()),
        ];
        all.extend(self.currency.clone().map(|code| ("currency", code)));
        all.extend(self.limit.map(|limit| ("limit", limit.to_string())));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_given_once_and_tags_are_gathered() {
        let query = CustomerQuery::new().tag("a").limit(5).limit(7).tag("b");
        let expected = [("limit", "7".to_owned()), ("tags", "a,b".to_owned())];
        assert_eq!(query.parameters(), expected);
    }
}
