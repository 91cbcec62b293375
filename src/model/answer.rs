//! What the API's answers have in common: the page of a list, and the body of an error (contract 4). Written by the
//! server, read by the client.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use utoipa::ToSchema;

/// A page of a list, newest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct List<T> {
    /// Always `list`.
    #[serde(skip_deserializing, default = "list")]
    pub object: &'static str,
    /// What is on the page.
    pub data: Vec<T>,
    /// Whether there is more in the direction that was asked for.
    pub has_more: bool,
    /// What to give as cursor to go on in the same direction.
    pub next_cursor: Option<String>,
    /// How many there are on all pages, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
    /// Whether there are more than `total` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_capped: Option<bool>,
}

fn list() -> &'static str {
    "list"
}

impl<T> List<T> {
    /// All there is, on one page.
    pub fn whole(data: Vec<T>) -> Self {
        Self {
            object: list(),
            data,
            has_more: false,
            next_cursor: None,
            total: None,
            total_capped: None,
        }
    }
}

/// The body of every answer from status 400 on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Error)]
pub struct ErrorBody<'a> {
    /// What is wrong.
    #[schema(inline)]
    pub error: ErrorDetail<'a>,
    /// What the log knows the request by.
    #[schema(value_type = String)]
    pub request_id: Cow<'a, str>,
}

/// What is wrong with a request, or with us.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail<'a> {
    /// The family, such as `invalid_request_error`.
    #[serde(rename = "type")]
    #[schema(
        value_type = String,
        pattern = "^(invalid_request|authentication|permission|not_found|conflict|rate_limit|api)_error$"
    )]
    pub kind: Cow<'a, str>,
    /// For programs.
    #[schema(value_type = String)]
    pub code: Cow<'a, str>,
    /// For people.
    #[schema(value_type = String)]
    pub message: Cow<'a, str>,
    /// Which parameter it is about.
    #[schema(value_type = Option<String>)]
    pub param: Option<Cow<'a, str>>,
    /// More for programs, by code.
    #[schema(value_type = Option<std::collections::BTreeMap<String, Value>>)]
    pub details: Option<Cow<'a, Value>>,
}
