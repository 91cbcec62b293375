//! Records as rows: which columns a table has, and how a field becomes a cell and comes back from it. Pure.

use super::Kind;
use serde_json::{Map, Value, json};

/// The columns in which every row says what it is, whom it names and since when.
const FIRST: &[&str] = &["object", "external_id", "identities", "other_names", "named_at"];
const CUSTOMERS: &[&str] = &[
    "name",
    "email",
    "email_verified",
    "phone",
    "tags",
    "metadata",
    "is_anonymous",
    "primary_currency",
    "total_spent",
    "total_refunded",
    "total_disputed_lost",
    "net_spent",
    "spend",
    "payment_count",
    "successful_payment_count",
    "failed_payment_count",
    "first_payment_at",
    "last_payment_at",
    "subscription_status",
];
const PAYMENTS: &[&str] = &[
    "provider",
    "payment_id",
    "aliases",
    "amount",
    "currency",
    "status",
    "own_status",
    "paid_at",
    "captured_by",
    "captures",
    "amount_refunded",
    "refund_total",
    "refunds",
    "disputed_lost",
    "disputes",
    "method",
    "description",
    "failure_code",
    "subscription_id",
    "metadata",
];
const SUBSCRIPTIONS: &[&str] = &[
    "provider",
    "subscription_id",
    "status",
    "own_status",
    "plan",
    "current_period_end",
    "cancel_at_period_end",
    "ends_at",
];
const LAST: &[&str] = &["first_at", "created_at", "updated_at", "stated", "id", "customer_id"];

/// Cells that hold a list or an object.
const NESTED: &[&str] = &[
    "identities",
    "other_names",
    "named_at",
    "tags",
    "metadata",
    "spend",
    "aliases",
    "captures",
    "refund_total",
    "refunds",
    "disputes",
    "stated",
];
const AMOUNTS: &[&str] = &["amount", "amount_refunded", "disputed_lost"];
const FLAGS: &[&str] = &["email_verified", "is_anonymous", "cancel_at_period_end"];

/// The columns of a table of some kinds of record: all that any of them has, each once.
pub(super) fn columns(kinds: &[Kind]) -> Vec<&'static str> {
    let own = kinds.iter().flat_map(|kind| match kind {
        Kind::Customers => CUSTOMERS,
        Kind::Payments => PAYMENTS,
        Kind::Subscriptions => SUBSCRIPTIONS,
    });
    let mut all: Vec<&str> = Vec::new();
    for column in FIRST.iter().chain(own).chain(LAST) {
        if !all.contains(column) {
            all.push(column);
        }
    }
    all
}

/// Whether a record can have such a column.
pub(super) fn is_column(name: &str) -> bool {
    name.starts_with("metadata.") || columns(&Kind::ALL).contains(&name)
}

/// A field as a cell: text as it is, null as nothing, lists and objects as JSON.
pub(super) fn cell(record: &Value, column: &str) -> String {
    match record.get(column) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

/// A row as a record. An empty cell says nothing.
///
/// # Errors
/// Says what is wrong with a cell, naming its column.
pub(super) fn record<'a>(
    cells: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Value, String> {
    let mut fields = Map::new();
    let mut metadata = Map::new();
    for (column, text) in cells {
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        if let Some(key) = column.strip_prefix("metadata.") {
            metadata.insert(key.to_owned(), json!(text));
            continue;
        }
        let value = value(column, text).map_err(|why| format!("{column}: {why}"))?;
        fields.insert(column.to_owned(), value);
    }
    if !metadata.is_empty() {
        match fields.entry("metadata").or_insert_with(|| json!({})) {
            Value::Object(given) => given.extend(metadata),
            _ => return Err("metadata: is no object".into()),
        }
    }
    Ok(Value::Object(fields))
}

fn value(column: &str, text: &str) -> Result<Value, String> {
    if NESTED.contains(&column) {
        if text.starts_with(['[', '{']) {
            return serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}"));
        }
        let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        return match column {
            "tags" | "aliases" => Ok(parts.collect()),
            "identities" => parts.map(identity).collect(),
            _ => Err("is no JSON".into()),
        };
    }
    if AMOUNTS.contains(&column) {
        let amount: i64 = text.parse().map_err(|_| "is no whole number of minor units")?;
        return Ok(json!(amount));
    }
    if FLAGS.contains(&column) {
        return match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Ok(json!(true)),
            "false" | "no" | "0" => Ok(json!(false)),
            _ => Err("is neither true nor false".into()),
        };
    }
    Ok(json!(text))
}

/// `KIND:PROVIDER:UID`.
fn identity(text: &str) -> Result<Value, String> {
    let mut parts = text.splitn(3, ':').map(str::trim);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(kind), Some(provider), Some(uid)) => {
            Ok(json!({"kind": kind, "provider": provider, "uid": uid}))
        }
        _ => {
            Err("is no list of KIND:PROVIDER:UID such as `auth:clerk:user_1; payment:stripe:cus_1`"
                .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_from_its_row() {
        let whole = json!({
            "object": "payment", "external_id": "usr_1", "provider": "stripe", "payment_id": "pi_1",
            "identities": [{"kind": "payment", "provider": "stripe", "uid": "cus:1;2"}],
            "amount": 1250, "currency": "USD", "metadata": {"a": "=1", "n": 1.50}, "aliases": ["ch_1"],
            "stated": {"amount": "payment 2025-01-01T00:00:00.000000Z"}, "description": "a, \"b\"\nc",
        });
        let columns = columns(&[Kind::Payments]);
        let cells: Vec<_> = columns.iter().map(|column| cell(&whole, column)).collect();
        let row = columns.iter().copied().zip(cells.iter().map(String::as_str));
        assert_eq!(record(row), Ok(whole));
    }

    #[test]
    fn cells_may_be_written_as_people_do() {
        let row = [
            ("identities", "auth:clerk:user_1; payment:stripe:cus_1"),
            ("tags", "vip; beta"),
            ("email_verified", "TRUE"),
            ("metadata.plan", "pro"),
            ("name", " Ada "),
            ("phone", ""),
        ];
        let expected = json!({
            "identities": [{"kind": "auth", "provider": "clerk", "uid": "user_1"},
                {"kind": "payment", "provider": "stripe", "uid": "cus_1"}],
            "tags": ["vip", "beta"], "email_verified": true, "metadata": {"plan": "pro"}, "name": "Ada",
        });
        assert_eq!(record(row), Ok(expected));
    }

    #[test]
    fn a_wrong_cell_is_named_by_its_column() {
        let wrong = |column, text| record([(column, text)]).expect_err("wrong");
        assert_eq!(wrong("amount", "12.50"), "amount: is no whole number of minor units");
        assert_eq!(wrong("is_anonymous", "maybe"), "is_anonymous: is neither true nor false");
        assert!(wrong("identities", "cus_1").starts_with("identities: is no list of KIND"));
        assert!(wrong("refunds", "[{").starts_with("refunds: is no JSON"));
    }

    #[test]
    fn a_table_of_several_kinds_has_each_column_once() {
        let all = columns(&Kind::ALL);
        let mut once = all.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(all.len(), once.len());
        assert_eq!(all.first(), Some(&"object"));
    }
}
