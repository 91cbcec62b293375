//! The reader of filters. Pure, and bounded in depth and number by what it counts itself.

use super::{
    CONDITIONS, Condition, DEPTH, Filter, Like, NumberField, Order, Place, Subject, TEXT,
    TextField, TimeField, Times,
};
use crate::model::{
    metadata::{Scalar, is_key},
    subscription::SubscriptionStatus,
    time::Timestamp,
};
use chrono::TimeDelta;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// Why a filter cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Wrong {
    /// The place: `filters`, `filters.email.like`.
    pub param: String,
    /// What is wrong there.
    pub message: &'static str,
}

/// JSON whose members keep their order, and those of one name all of them: a name that is given twice is refused.
enum Node {
    One(Value),
    List(Vec<Node>),
    Members(Vec<(String, Node)>),
}

/// Where a reader is, and how much it may still read.
struct Reader {
    left: usize,
    times: Times,
}

enum Kind {
    Text(TextField),
    Number(NumberField),
    Time(TimeField),
    Tags,
    Anonymous,
    Subscription,
    Metadata(String),
}

/// Reads a filter: `{"email": {"ends_with": "@example.org"}, "or": [{"total_spent": {"gte": 500}}, …]}`.
///
/// # Errors
/// When anything in it is not understood, or there is too much of it.
pub fn parse(text: &str) -> Result<Filter, Wrong> {
    parse_with(text, Times::Text)
}

/// As [`parse`], with times written in another way.
///
/// # Errors
/// As of [`parse`].
pub fn parse_with(text: &str, times: Times) -> Result<Filter, Wrong> {
    let node: Node = serde_json::from_str(text).map_err(|_| wrong("filters", "is no JSON"))?;
    let Node::Members(members) = node else {
        return Err(wrong("filters", "must be a JSON object"));
    };
    Reader { left: CONDITIONS, times }.members(members, "filters", DEPTH)
}

fn wrong(param: &str, message: &'static str) -> Wrong {
    Wrong { param: param.chars().take(200).collect(), message }
}

impl Reader {
    /// An object of fields, and of `and` and `or`, whose members must all hold.
    fn members(
        &mut self,
        members: Vec<(String, Node)>,
        at: &str,
        depth: usize,
    ) -> Result<Filter, Wrong> {
        let mut all = Vec::new();
        for (name, node) in unrepeated(members, at)? {
            let at = format!("{at}.{name}");
            all.push(match name.as_str() {
                "and" | "or" => {
                    let depth = deeper(depth, &at)?;
                    let mut parts = Vec::new();
                    for node in list(node, &at)? {
                        let Node::Members(members) = node else {
                            return Err(wrong(&at, "must be a list of JSON objects"));
                        };
                        parts.push(self.members(members, &at, depth)?);
                    }
                    joined(&name, parts)
                }
                name => {
                    let kind = kind_of(name)
                        .ok_or_else(|| wrong(&at, "is no field that can be filtered by"))?;
                    self.field(&kind, node, &at, depth)?
                }
            });
        }
        Ok(Filter::All(all))
    }

    /// What is asked of one field: a value, or operators that must all hold.
    fn field(&mut self, kind: &Kind, node: Node, at: &str, depth: usize) -> Result<Filter, Wrong> {
        let members = match node {
            Node::One(value) => return self.condition(kind, "eq", &value, None, at),
            Node::List(_) => return Err(wrong(at, "must be a value or an object of operators")),
            Node::Members(members) => unrepeated(members, at)?,
        };
        let case = case_of(kind, &members, at)?;
        if members.iter().all(|(name, _)| name == "case_sensitive") {
            return Err(wrong(at, "must hold an operator"));
        }
        let mut all = Vec::new();
        for (name, node) in members {
            let at = format!("{at}.{name}");
            match (name.as_str(), node) {
                ("case_sensitive", _) => {}
                ("and" | "or", node) => {
                    let depth = deeper(depth, &at)?;
                    let mut parts = Vec::new();
                    for node in list(node, &at)? {
                        parts.push(self.field(kind, node, &at, depth)?);
                    }
                    all.push(joined(&name, parts));
                }
                (operator, Node::One(value)) => {
                    all.push(self.condition(kind, operator, &value, case, &at)?);
                }
                (_, Node::List(_) | Node::Members(_)) => {
                    return Err(wrong(&at, "must be a text, a number or a boolean"));
                }
            }
        }
        Ok(Filter::All(all))
    }

    fn condition(
        &mut self,
        kind: &Kind,
        operator: &str,
        value: &Value,
        case: Option<bool>,
        at: &str,
    ) -> Result<Filter, Wrong> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| wrong("filters", "may hold at most 50 conditions"))?;
        if operator == "exists" {
            let subject = match kind {
                Kind::Text(field) => Subject::Text(*field),
                Kind::Number(field) => Subject::Number(*field),
                Kind::Time(field) => Subject::Time(*field),
                Kind::Tags => Subject::Tags,
                Kind::Metadata(key) => Subject::Metadata(key.clone()),
                Kind::Anonymous | Kind::Subscription => return Err(no_operator(at)),
            };
            let there = value.as_bool().ok_or_else(|| wrong(at, "must be true or false"))?;
            return Ok(Filter::Is(Condition::Exists(subject, there)));
        }
        Ok(Filter::Is(match kind {
            Kind::Text(field) => {
                let place = match operator {
                    "eq" => Place::Whole,
                    "contains" => Place::Within,
                    "starts_with" => Place::Start,
                    "ends_with" => Place::End,
                    _ => return Err(no_operator(at)),
                };
                let case_sensitive = case.unwrap_or(false) || *field == TextField::ExternalId;
                Condition::Text(*field, Like { place, case_sensitive }, text(value, at)?)
            }
            Kind::Number(field) => {
                let expected = "must be a whole number of up to 64 bits";
                let number = value.as_i64().ok_or_else(|| wrong(at, expected))?;
                Condition::Number(*field, order(operator, at)?, number)
            }
            Kind::Time(field) => return time(*field, self.times, order(operator, at)?, value, at),
            _ if operator != "eq" => return Err(no_operator(at)),
            Kind::Tags => Condition::Tag(text(value, at)?),
            Kind::Anonymous => {
                let expected = wrong(at, "must be true or false");
                Condition::Anonymous(value.as_bool().ok_or(expected)?)
            }
            Kind::Subscription => {
                let word = value.as_str().filter(|word| {
                    *word == "none" || SubscriptionStatus::from_word(word).is_some()
                });
                let word =
                    word.ok_or_else(|| wrong(at, "must be a subscription's status or none"))?;
                // As it is shown (semantics 6).
                let shown = if word == "incomplete_expired" { "canceled" } else { word };
                let shown = if shown == "cancelled" { "canceled" } else { shown };
                Condition::Subscription(shown.to_owned())
            }
            Kind::Metadata(key) => {
                let expected = "must be a text of up to 500 characters, a number or a boolean";
                let value = Scalar::try_from(value.clone())
                    .ok()
                    .filter(is_comparable)
                    .ok_or_else(|| wrong(at, expected))?;
                Condition::Metadata(key.clone(), value)
            }
        }))
    }
}

fn time(
    field: TimeField,
    times: Times,
    order: Order,
    value: &Value,
    at: &str,
) -> Result<Filter, Wrong> {
    let is = |order, time| Filter::Is(Condition::Time(field, order, time));
    if times == Times::Text {
        let expected = "must be a time like 2026-01-31T12:00:00Z";
        let time = value.as_str().and_then(Timestamp::parse);
        return Ok(is(order, time.ok_or_else(|| wrong(at, expected))?));
    }
    let expected = "must be whole milliseconds since 1970";
    let first = value.as_i64().and_then(Timestamp::from_millis);
    let first = first.ok_or_else(|| wrong(at, expected))?;
    let next = first.plus(TimeDelta::milliseconds(1));
    Ok(match order {
        Order::Equal => Filter::All(vec![is(Order::AtLeast, first), is(Order::Below, next)]),
        Order::Above => is(Order::AtLeast, next),
        Order::AtMost => is(Order::Below, next),
        Order::AtLeast | Order::Below => is(order, first),
    })
}

fn deeper(depth: usize, at: &str) -> Result<usize, Wrong> {
    depth.checked_sub(1).ok_or_else(|| wrong(at, "and and or may be nested five deep"))
}

fn joined(name: &str, parts: Vec<Filter>) -> Filter {
    if name == "or" { Filter::Any(parts) } else { Filter::All(parts) }
}

fn no_operator(at: &str) -> Wrong {
    wrong(at, "is no operator of this field")
}

fn unrepeated(members: Vec<(String, Node)>, at: &str) -> Result<Vec<(String, Node)>, Wrong> {
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let twice = names.windows(2).find_map(|pair| match pair {
        [a, b] if a == b => Some(*a),
        _ => None,
    });
    match twice {
        Some(name) => Err(wrong(&format!("{at}.{name}"), "is given twice")),
        None => Ok(members),
    }
}

fn list(node: Node, at: &str) -> Result<Vec<Node>, Wrong> {
    match node {
        Node::List(nodes) if !nodes.is_empty() => Ok(nodes),
        _ => Err(wrong(at, "must be a list that is not empty")),
    }
}

fn kind_of(name: &str) -> Option<Kind> {
    Some(match name {
        "external_id" => Kind::Text(TextField::ExternalId),
        "email" => Kind::Text(TextField::Email),
        "name" => Kind::Text(TextField::Name),
        "phone" => Kind::Text(TextField::Phone),
        "tags" => Kind::Tags,
        "is_anonymous" => Kind::Anonymous,
        "subscription_status" => Kind::Subscription,
        "total_spent" => Kind::Number(NumberField::TotalSpent),
        "net_spent" => Kind::Number(NumberField::NetSpent),
        "payment_count" => Kind::Number(NumberField::PaymentCount),
        "created_at" => Kind::Time(TimeField::Created),
        "updated_at" => Kind::Time(TimeField::Updated),
        "last_payment_at" => Kind::Time(TimeField::LastPayment),
        _ => Kind::Metadata(name.strip_prefix("metadata.").filter(|key| is_key(key))?.to_owned()),
    })
}

fn case_of(kind: &Kind, members: &[(String, Node)], at: &str) -> Result<Option<bool>, Wrong> {
    let said = members.iter().find(|(name, _)| name == "case_sensitive");
    let Some((_, node)) = said else { return Ok(None) };
    let at = format!("{at}.case_sensitive");
    match (kind, node) {
        (Kind::Text(TextField::ExternalId), Node::One(Value::Bool(false))) => {
            Err(wrong(&at, "an external_id is always case-sensitive"))
        }
        (Kind::Text(_), Node::One(Value::Bool(case))) => Ok(Some(*case)),
        (Kind::Text(_), _) => Err(wrong(&at, "must be true or false")),
        _ => Err(no_operator(&at)),
    }
}

fn text(value: &Value, at: &str) -> Result<String, Wrong> {
    let usable = |text: &&str| {
        (1..=TEXT).contains(&text.chars().count()) && !text.chars().any(char::is_control)
    };
    let expected = "must be a text of 1 to 255 characters without control characters";
    let text = value.as_str().filter(usable).ok_or_else(|| wrong(at, expected))?;
    Ok(text.to_owned())
}

/// Whether a database can hold the value beside its own: not all that JSON calls a number is one to it.
fn is_comparable(value: &Scalar) -> bool {
    let Scalar::Number(number) = value else { return true };
    let text = number.to_string();
    let has_exponent = text.contains(['e', 'E']);
    let size = number.as_f64().map(f64::abs).filter(|size| size.is_finite());
    size.is_some_and(|size| text.len() <= 40 && (!has_exponent || (1e-30..1e30).contains(&size)))
}

fn order(operator: &str, at: &str) -> Result<Order, Wrong> {
    match operator {
        "eq" => Ok(Order::Equal),
        "gt" => Ok(Order::Above),
        "gte" => Ok(Order::AtLeast),
        "lt" => Ok(Order::Below),
        "lte" => Ok(Order::AtMost),
        _ => Err(no_operator(at)),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Nodes)
    }
}

struct Nodes;

/// How serde_json names the only member of what stands for a number.
const NUMBER: &str = "$serde_json::private::Number";

impl<'de> Visitor<'de> for Nodes {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::One(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::One(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::One(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::One(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::One(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::One(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut nodes: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(node) = nodes.next_element()? {
            all.push(node);
        }
        Ok(Node::List(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            if name == NUMBER {
                let digits: String = members.next_value()?;
                let number = digits.parse().map_err(serde::de::Error::custom)?;
                return Ok(Node::One(Value::Number(number)));
            }
            all.push((name, members.next_value()?));
        }
        Ok(Node::Members(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text).expect_err(text).param
    }

    #[test]
    fn fields_operators_and_combinations_are_read() {
        let like = |place, case_sensitive| Like { place, case_sensitive };
        let text = r#"{"email": "a@b.c", "name": {"starts_with": "Ad", "case_sensitive": true},
            "or": [{"total_spent": {"gte": 500, "lt": 900}}, {"metadata.plan": "pro"}],
            "tags": {"and": ["beta", {"eq": "vip"}]}, "last_payment_at": {"exists": false}}"#;
        let is = |condition| Filter::Is(condition);
        let expected = Filter::All(vec![
            is(Condition::Text(TextField::Email, like(Place::Whole, false), "a@b.c".into())),
            Filter::All(vec![is(Condition::Text(
                TextField::Name,
                like(Place::Start, true),
                "Ad".into(),
            ))]),
            Filter::Any(vec![
                Filter::All(vec![Filter::All(vec![
                    is(Condition::Number(NumberField::TotalSpent, Order::AtLeast, 500)),
                    is(Condition::Number(NumberField::TotalSpent, Order::Below, 900)),
                ])]),
                Filter::All(vec![is(Condition::Metadata(
                    "plan".into(),
                    Scalar::Text("pro".into()),
                ))]),
            ]),
            Filter::All(vec![Filter::All(vec![
                is(Condition::Tag("beta".into())),
                Filter::All(vec![is(Condition::Tag("vip".into()))]),
            ])]),
            Filter::All(vec![is(Condition::Exists(Subject::Time(TimeField::LastPayment), false))]),
        ]);
        assert_eq!(parse(text), Ok(expected));
        assert!(parse("{}").is_ok_and(|filter| filter.is_empty()));
    }

    #[test]
    fn a_millisecond_means_all_that_is_in_it() {
        let read = |text: &str| parse_with(text, Times::Millis);
        let is = |order, micros| {
            let time = Timestamp::from_micros(micros).expect("a time");
            Filter::Is(Condition::Time(TimeField::Created, order, time))
        };
        let only = |filter| Ok(Filter::All(vec![Filter::All(vec![filter])]));
        assert_eq!(
            read(r#"{"created_at": 5}"#),
            Ok(Filter::All(vec![Filter::All(vec![
                is(Order::AtLeast, 5_000),
                is(Order::Below, 6_000),
            ])]))
        );
        assert_eq!(read(r#"{"created_at": {"gt": 5}}"#), only(is(Order::AtLeast, 6_000)));
        assert_eq!(read(r#"{"created_at": {"gte": 5}}"#), only(is(Order::AtLeast, 5_000)));
        assert_eq!(read(r#"{"created_at": {"lt": 5}}"#), only(is(Order::Below, 5_000)));
        assert_eq!(read(r#"{"created_at": {"lte": 5}}"#), only(is(Order::Below, 6_000)));
        for wrong in ["5.5", "\"2026-01-31T12:00:00Z\"", "true", "9223372036854775807"] {
            let text = format!(r#"{{"created_at": {wrong}}}"#);
            assert_eq!(read(&text).expect_err(wrong).param, "filters.created_at");
        }
    }

    #[test]
    fn whatever_is_not_understood_is_named() {
        for (text, param) in [
            ("", "filters"),
            ("[]", "filters"),
            ("{\"email\":", "filters"),
            (r#"{"color": "red"}"#, "filters.color"),
            (r#"{"metadata.": 1}"#, "filters.metadata."),
            (r#"{"email": {"like": "x"}}"#, "filters.email.like"),
            (r#"{"email": {}}"#, "filters.email"),
            (r#"{"email": {"case_sensitive": true}}"#, "filters.email"),
            (r#"{"email": null}"#, "filters.email"),
            (r#"{"email": ["a"]}"#, "filters.email"),
            (r#"{"email": ""}"#, "filters.email"),
            (r#"{"email": "a", "email": "b"}"#, "filters.email"),
            (r#"{"email": {"eq": "a\u0000"}}"#, "filters.email.eq"),
            (r#"{"email": {"eq": {"eq": "a"}}}"#, "filters.email.eq"),
            (
                r#"{"external_id": {"eq": "a", "case_sensitive": false}}"#,
                "filters.external_id.case_sensitive",
            ),
            (
                r#"{"total_spent": {"gte": 1, "case_sensitive": true}}"#,
                "filters.total_spent.case_sensitive",
            ),
            (r#"{"total_spent": 1.5}"#, "filters.total_spent"),
            (r#"{"total_spent": 99999999999999999999}"#, "filters.total_spent"),
            (r#"{"total_spent": {"contains": 1}}"#, "filters.total_spent.contains"),
            (r#"{"created_at": {"gt": 1}}"#, "filters.created_at.gt"),
            (r#"{"created_at": {"gt": "soon"}}"#, "filters.created_at.gt"),
            (r#"{"is_anonymous": "yes"}"#, "filters.is_anonymous"),
            (r#"{"is_anonymous": {"exists": true}}"#, "filters.is_anonymous.exists"),
            (r#"{"subscription_status": "happy"}"#, "filters.subscription_status"),
            (r#"{"tags": {"contains": "a"}}"#, "filters.tags.contains"),
            (r#"{"metadata.a": {"gt": 1}}"#, "filters.metadata.a.gt"),
            (r#"{"metadata.a": 1e99999}"#, "filters.metadata.a"),
            (r#"{"metadata.a": 1e-99999}"#, "filters.metadata.a"),
            (r#"{"metadata.a": {"exists": 1}}"#, "filters.metadata.a.exists"),
            (r#"{"or": []}"#, "filters.or"),
            (r#"{"or": {}}"#, "filters.or"),
            (r#"{"or": ["a"]}"#, "filters.or"),
            (r#"{"or": [{"color": 1}]}"#, "filters.or.color"),
        ] {
            assert_eq!(refused(text), param, "{text}");
        }
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let nested = |depth: usize| {
            let open = r#"{"and":["#.repeat(depth);
            format!("{open}{{\"name\":\"a\"}}{}", "]}".repeat(depth))
        };
        assert!(parse(&nested(DEPTH)).is_ok());
        assert!(refused(&nested(DEPTH + 1)).starts_with("filters.and"));
        assert_eq!(refused(&nested(200)), "filters", "deeper than JSON is read");
        let many =
            |count: usize| format!(r#"{{"name": {{"or": [{}"a"]}}}}"#, "\"a\",".repeat(count - 1));
        assert!(parse(&many(CONDITIONS)).is_ok());
        assert_eq!(refused(&many(CONDITIONS + 1)), "filters");
    }
}
