//! A filter as SQL: one pure function. Values are bound, never written into the text.
//!
//! The statement around it has `customers` as `c` and `customer_profiles` as `p`.

use super::super::statement::{Statement, Value};
use crate::model::{
    filter::{Condition, Filter, Like, NumberField, Order, Place, Subject, TextField, TimeField},
    id::CustomerId,
    metadata::Scalar,
    money::Currency,
};
use serde_json::json;

/// Of which environment and currency a filter speaks.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The environment.
    pub environment: &'a str,
    /// Of money.
    pub currency: Currency,
}

/// Adds a filter to a statement, as one term.
pub fn add(statement: &mut Statement, filter: &Filter, scope: Scope<'_>) {
    match filter {
        Filter::All(all) => terms(statement, all, (" and ", "true"), scope),
        Filter::Any(any) => terms(statement, any, (" or ", "false"), scope),
        Filter::Is(condition) => add_condition(statement, condition, scope),
    }
}

fn terms(
    statement: &mut Statement,
    filters: &[Filter],
    (between, none): (&'static str, &'static str),
    scope: Scope<'_>,
) {
    match filters {
        [] => {
            statement.push(none);
        }
        [one] => add(statement, one, scope),
        [first, rest @ ..] => {
            statement.push("(");
            add(statement, first, scope);
            for filter in rest {
                statement.push(between);
                add(statement, filter, scope);
            }
            statement.push(")");
        }
    }
}

fn add_condition(statement: &mut Statement, condition: &Condition, scope: Scope<'_>) {
    match condition {
        Condition::Text(field, like, text) => add_text(statement, *field, *like, text, scope),
        Condition::Number(field, order, number) => {
            add_number(statement, *field, *order, *number, scope);
        }
        Condition::Time(field, order, time) => {
            let time = Value::Time(*time);
            match field {
                TimeField::Created => {
                    statement.push("c.created_at").push(sign(*order)).value(time);
                }
                TimeField::Updated => {
                    statement.push("c.updated_at").push(sign(*order)).value(time);
                }
                TimeField::LastPayment => {
                    statement
                        .push(
                            "(select max(t.last_payment_at) from customer_totals t
                              where t.customer_id = c.id)",
                        )
                        .push(sign(*order))
                        .value(time);
                }
            }
        }
        Condition::Tag(tag) => add_held(statement, ("$.tags", None), &Scalar::Text(tag.clone())),
        Condition::Anonymous(true) => {
            statement.push("coalesce(p.is_anonymous, true)");
        }
        Condition::Anonymous(false) => {
            statement.push("not coalesce(p.is_anonymous, true)");
        }
        Condition::Subscription(word) => {
            statement.push("coalesce(p.subscription_status, 'none') = ").text_value(word);
        }
        Condition::Metadata(key, value) => {
            add_held(statement, ("$.metadata", Some(key)), value);
        }
        Condition::Exists(subject, there) => {
            statement.push(if *there { "" } else { "not " });
            add_exists(statement, subject);
        }
        Condition::Search(text) => add_search(statement, text),
    }
}

fn sign(order: Order) -> &'static str {
    match order {
        Order::Equal => " = ",
        Order::Above => " > ",
        Order::AtLeast => " >= ",
        Order::Below => " < ",
        Order::AtMost => " <= ",
    }
}

/// Text that means itself where `like` reads it on Postgres.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '%' | '_') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Adds that all of a customer's names together hold a text, whatever its case: what the trigram index finds.
fn add_found(statement: &mut Statement, folded: &str) {
    // Differs because SQLite's `like` knows no case-sensitive form, and no index for it.
    statement.pick("p.search_key like ", "instr(p.search_key, ");
    match statement.dialect() {
        super::super::statement::Dialect::Postgres => {
            statement.text_value(format!("%{}%", literal(folded)));
        }
        super::super::statement::Dialect::Sqlite => {
            statement.text_value(folded).push(") > 0");
        }
    }
}

fn add_search(statement: &mut Statement, text: &str) {
    let id: Option<CustomerId> = text.trim().parse().ok();
    match id {
        Some(id) => {
            statement.push("c.id = ").value(Value::Customer(id));
        }
        None => add_found(statement, &text.to_lowercase()),
    }
}

fn add_text(statement: &mut Statement, field: TextField, like: Like, text: &str, scope: Scope<'_>) {
    let column = match (field, like.case_sensitive) {
        (TextField::ExternalId, _) => "p.external_id",
        (TextField::Email, false) => "p.email_key",
        (TextField::Email, true) => "p.email",
        (TextField::Name, false) => "p.name_key",
        (TextField::Name, true) => "p.name",
        (TextField::Phone, _) => "p.phone",
    };
    let folded = text.to_lowercase();
    let wanted = if column.ends_with("_key") { folded.clone() } else { text.to_owned() };
    statement.push("(");
    match (field, like.place) {
        (TextField::ExternalId | TextField::Phone, Place::Whole) => {
            statement.push("p.environment = ").text_value(scope.environment);
        }
        (TextField::Email, Place::Whole) => {
            statement.push("p.environment = ").text_value(scope.environment);
            statement.push(" and p.email_key = ").text_value(folded.trim());
        }
        _ => add_found(statement, &folded),
    }
    statement.push(" and ");
    let wanted = if (field, like.place) == (TextField::Email, Place::Whole) {
        wanted.trim().to_owned()
    } else {
        wanted
    };
    add_like(statement, column, like.place, &wanted);
    statement.push(")");
}

fn add_like(statement: &mut Statement, column: &'static str, place: Place, text: &str) {
    use super::super::statement::Dialect::{Postgres, Sqlite};
    match (statement.dialect(), place) {
        (_, Place::Whole) => {
            statement.push(column).push(" = ").text_value(text);
        }
        (Postgres, Place::Within) => {
            statement.push(column).push(" like ").text_value(format!("%{}%", literal(text)));
        }
        (Postgres, Place::Start) => {
            statement.push(column).push(" like ").text_value(format!("{}%", literal(text)));
        }
        (Postgres, Place::End) => {
            statement.push(column).push(" like ").text_value(format!("%{}", literal(text)));
        }
        // Differs because SQLite's `like` knows no case-sensitive form.
        (Sqlite, Place::Within) => {
            statement.push("instr(").push(column).push(", ").text_value(text).push(") > 0");
        }
        (Sqlite, Place::Start) => {
            statement.push("substr(").push(column).push(", 1, length(").text_value(text);
            statement.push(")) = ").text_value(text);
        }
        (Sqlite, Place::End) => {
            statement.push("substr(").push(column).push(", -length(").text_value(text);
            statement.push(")) = ").text_value(text);
        }
    }
}

fn add_number(
    statement: &mut Statement,
    field: NumberField,
    order: Order,
    number: i64,
    scope: Scope<'_>,
) {
    // Who has no payment in the currency has spent 0: such a customer has no row, unless the row says so.
    let holds_of_zero = match order {
        Order::Equal => number == 0,
        Order::Above => number < 0,
        Order::AtLeast => number <= 0,
        Order::Below => number > 0,
        Order::AtMost => number >= 0,
    };
    let column = match field {
        NumberField::TotalSpent => "t.total_spent",
        NumberField::NetSpent => "t.net_spent",
        NumberField::PaymentCount => {
            statement.push(
                "coalesce((select cast(sum(t.payment_count) as bigint) from customer_totals t
                  where t.customer_id = c.id), 0)",
            );
            statement.push(sign(order)).value(Value::Number(number));
            return;
        }
    };
    if holds_of_zero {
        statement.push("coalesce((select ").push(column);
        statement.push(" from customer_totals t where t.customer_id = c.id and t.currency = ");
        statement.text_value(scope.currency).push("), 0)");
        statement.push(sign(order)).value(Value::Number(number));
    } else {
        statement
            .push("c.id in (select t.customer_id from customer_totals t where t.environment = ");
        statement.text_value(scope.environment).push(" and t.currency = ");
        statement.text_value(scope.currency).push(" and ").push(column);
        statement.push(sign(order)).value(Value::Number(number)).push(")");
    }
}

/// Adds that a list or an object in `person` holds a value, the latter at a key.
fn add_held(statement: &mut Statement, (place, key): (&'static str, Option<&str>), value: &Scalar) {
    use super::super::statement::Dialect::{Postgres, Sqlite};
    match statement.dialect() {
        Postgres => {
            let value = serde_json::Value::from(value.clone());
            let whole = match key {
                Some(key) => json!({ "metadata": { key: value } }),
                None => json!({ "tags": [value] }),
            };
            statement.push("p.person @> ").text_value(whole.to_string()).push("::jsonb");
        }
        // Differs because SQLite asks JSON by functions.
        Sqlite => {
            statement.push("exists (select 1 from json_each(p.person, ").text_value(place);
            statement.push(") as m where ");
            if let Some(key) = key {
                statement.push("m.key = ").text_value(key).push(" and ");
            }
            match value {
                Scalar::Text(text) => {
                    statement.push("m.type = 'text' and m.value = ").text_value(text);
                }
                Scalar::Boolean(true) => {
                    statement.push("m.type = 'true'");
                }
                Scalar::Boolean(false) => {
                    statement.push("m.type = 'false'");
                }
                Scalar::Number(number) => {
                    let number = match number.as_i64() {
                        Some(number) => Value::Number(number),
                        None => Value::Real(number.as_f64().unwrap_or_default()),
                    };
                    statement.push("m.type in ('integer', 'real') and m.value = ").value(number);
                }
            }
            statement.push(")");
        }
    }
}

fn add_exists(statement: &mut Statement, subject: &Subject) {
    statement.push("(");
    match subject {
        Subject::Text(TextField::ExternalId) => {
            statement.push("p.external_id is not null");
        }
        Subject::Text(TextField::Email) => {
            statement.push("p.email is not null");
        }
        Subject::Text(TextField::Name) => {
            statement.push("p.name is not null");
        }
        Subject::Text(TextField::Phone) => {
            statement.push("p.phone is not null");
        }
        Subject::Number(_) | Subject::Time(TimeField::Created | TimeField::Updated) => {
            statement.push("true");
        }
        Subject::Time(TimeField::LastPayment) => {
            statement.push(
                "exists (select 1 from customer_totals t where t.customer_id = c.id
                     and t.last_payment_at is not null)",
            );
        }
        // Differs because the databases ask JSON by functions of other names.
        Subject::Tags => {
            statement.pick(
                "coalesce(jsonb_array_length(p.person -> 'tags'), 0) > 0",
                "coalesce(json_array_length(p.person, '$.tags'), 0) > 0",
            );
        }
        Subject::Metadata(key) => {
            statement.pick(
                "coalesce(jsonb_exists(p.person -> 'metadata', ",
                "exists (select 1 from json_each(p.person, '$.metadata') as m where m.key = ",
            );
            statement.text_value(key).pick("), false)", ")");
        }
    }
    statement.push(")");
}

#[cfg(test)]
mod tests {
    use super::super::super::statement::Dialect;
    use super::*;
    use crate::model::filter::parse;

    fn sql(dialect: Dialect, filter: &str) -> (String, Vec<Value>) {
        let mut statement = Statement::new(dialect);
        let scope = Scope { environment: "live", currency: Currency::usd() };
        add(&mut statement, &parse(filter).expect("a filter"), scope);
        statement.into_parts()
    }

    fn texts(values: &[&str]) -> Vec<Value> {
        values.iter().map(|text| Value::Text((*text).to_owned())).collect()
    }

    #[test]
    fn text_is_bound_and_what_like_reads_is_escaped() {
        let evil = r#"{"name": {"contains": "50%_\\'; drop table customers; --"}}"#;
        let (text, values) = sql(Dialect::Postgres, evil);
        assert_eq!(text, "(p.search_key like $1 and p.name_key like $2)");
        let escaped = r"%50\%\_\\'; drop table customers; --%";
        assert_eq!(values, texts(&[escaped, escaped]));
        let (text, values) = sql(Dialect::Sqlite, evil);
        assert_eq!(text, "(instr(p.search_key, $1) > 0 and instr(p.name_key, $2) > 0)");
        let plain = r"50%_\'; drop table customers; --";
        assert_eq!(values, texts(&[plain, plain]));
    }

    #[test]
    fn money_of_those_who_spent_nothing_is_zero() {
        let (text, _) = sql(Dialect::Postgres, r#"{"net_spent": {"gte": 1}}"#);
        assert!(text.starts_with("c.id in (select"), "those without a row cannot be meant: {text}");
        for zero in [r#"{"net_spent": {"lte": 1}}"#, r#"{"total_spent": 0}"#] {
            let (text, _) = sql(Dialect::Postgres, zero);
            assert!(text.starts_with("coalesce((select"), "{text}");
        }
    }

    #[test]
    fn combinations_keep_their_brackets() {
        let (text, _) = sql(
            Dialect::Sqlite,
            r#"{"is_anonymous": false, "or": [{"is_anonymous": true}, {"created_at": {"exists": false}}]}"#,
        );
        assert_eq!(
            text,
            "(not coalesce(p.is_anonymous, true) and (coalesce(p.is_anonymous, true) or not (true)))"
        );
        assert_eq!(sql(Dialect::Sqlite, "{}").0, "true");
    }
}
