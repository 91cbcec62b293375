//! What the API really answered and was asked, for the description: `examples.json`, written by the tests of the API.

use serde_json::{Map, Value};
use std::sync::LazyLock;

static ALL: LazyLock<Map<String, Value>> =
    LazyLock::new(|| serde_json::from_str(include_str!("examples.json")).unwrap_or_default());

/// The example of a name, such as `getCustomer 200` or `createCustomer request`.
pub(super) fn named(name: &str) -> Option<&'static Value> {
    ALL.get(name)
}
