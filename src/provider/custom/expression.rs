//! An expression: a JSONPath, or several, and what is made of what it finds. The transforms are these and no others.

use super::{
    path::Path,
    written::{Constant, Table, Unit, Written},
};
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap};

/// An expression that was checked.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    take: Take,
    json: bool,
    map: Option<BTreeMap<String, Value>>,
    otherwise: Option<Value>,
    prefix: Option<String>,
    default: Option<Value>,
    /// What the number that it gives counts.
    pub(super) unit: Option<Unit>,
}

#[derive(Clone, Debug)]
enum Take {
    Path(Path),
    First(Vec<Expression>),
    Join(Vec<Path>, String),
    Sum(Vec<Path>),
    Constant(Value),
}

/// What an expression makes of a body.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Found<'b> {
    /// Nothing is there.
    Absent,
    /// Null, or an empty text.
    Null,
    /// This.
    Value(Cow<'b, Value>),
    /// A word that its `map` does not name.
    Unmapped(String),
}

/// Where in an expression something is wrong, and what: `at[1]`, or nothing for the whole.
pub(super) type Wrong = (String, String);

impl Expression {
    /// # Errors
    /// Names the place in the expression and what is wrong there.
    pub(super) fn compile(written: &Written) -> Result<Self, Wrong> {
        let of = |take| Self {
            take,
            json: false,
            map: None,
            otherwise: None,
            prefix: None,
            default: None,
            unit: None,
        };
        match written {
            Written::Path(text) => Ok(of(Take::Path(path(text, "")?))),
            Written::First(all) => Ok(of(Take::First(firsts(all, "")?))),
            Written::Table(table) => Self::with_transforms(table),
        }
    }

    fn with_transforms(table: &Table) -> Result<Self, Wrong> {
        let whole = |why: &str| Err((String::new(), why.to_owned()));
        let take = match (&table.at, &table.value) {
            (None, Some(_)) if table.join.is_some() || table.sum => {
                return whole("`join` and `sum` need `at`");
            }
            (None, Some(value)) => Take::Constant(value.into()),
            (Some(_), Some(_)) => return whole("either `at` or `value`, not both"),
            (None, None) => return whole("`at` or `value` is missing"),
            (Some(at), None) => match (&table.join, table.sum) {
                (Some(_), true) => return whole("either `join` or `sum`, not both"),
                (Some(between), false) => Take::Join(paths(at)?, between.clone()),
                (None, true) => Take::Sum(paths(at)?),
                (None, false) => match at {
                    Written::Path(text) => Take::Path(path(text, "at")?),
                    Written::First(all) => Take::First(firsts(all, "at")?),
                    Written::Table(_) => return whole("`at` is a JSONPath or a list"),
                },
            },
        };
        if table.otherwise.is_some() && table.map.is_none() {
            return whole("`otherwise` is for words that a `map` does not name");
        }
        let constants = |map: &BTreeMap<String, Constant>| {
            map.iter().map(|(word, value)| (word.clone(), value.into())).collect()
        };
        Ok(Self {
            take,
            json: table.json,
            map: table.map.as_ref().map(constants),
            otherwise: table.otherwise.as_ref().map(Into::into),
            prefix: table.prefix.clone(),
            default: table.default.as_ref().map(Into::into),
            unit: table.unit,
        })
    }

    /// Where in the body it looks, for messages: its first JSONPath, if it has one.
    pub(super) fn looks_at(&self) -> Option<&str> {
        match &self.take {
            Take::Path(path) => Some(path.text()),
            Take::First(all) => all.first().and_then(Self::looks_at),
            Take::Join(paths, _) | Take::Sum(paths) => paths.first().map(Path::text),
            Take::Constant(_) => None,
        }
    }

    /// Every value that the settings give and that may come out as it is.
    pub(super) fn constants(&self) -> Vec<&Value> {
        let mut all: Vec<&Value> = Vec::new();
        match &self.take {
            Take::First(inner) => all.extend(inner.iter().flat_map(Self::constants)),
            Take::Constant(value) if self.map.is_none() => all.push(value),
            Take::Constant(_) | Take::Path(_) | Take::Join(..) | Take::Sum(_) => {}
        }
        all.extend(self.map.iter().flat_map(BTreeMap::values));
        all.extend(&self.otherwise);
        all.extend(&self.default);
        all
    }

    /// What it makes of a body.
    pub(super) fn find<'b>(&self, root: &'b Value) -> Found<'b> {
        let found = self.take.find(root);
        let found = if self.json { of_json(found) } else { found };
        let found = match &self.map {
            Some(map) => self.mapped(map, found),
            None => found,
        };
        let found = match (&self.prefix, found) {
            (Some(prefix), Found::Value(value)) => match text_of(&value) {
                Some(text) => Found::Value(Cow::Owned(format!("{prefix}{text}").into())),
                None => Found::Absent,
            },
            (_, found) => found,
        };
        match (&self.default, found) {
            (Some(value), Found::Absent | Found::Null) => Found::Value(Cow::Owned(value.clone())),
            (_, found) => found,
        }
    }

    fn mapped<'b>(&self, map: &BTreeMap<String, Value>, found: Found<'b>) -> Found<'b> {
        let Found::Value(value) = found else { return found };
        let word = text_of(&value).unwrap_or_default();
        // A key that ends in `*` stands for all that begins so; the longest of them counts, exact keys before any.
        let begins =
            |key: &&String| key.strip_suffix('*').is_some_and(|begin| word.starts_with(begin));
        let longest = || map.keys().filter(begins).max_by_key(|key| key.len());
        let known = map.get(&*word).or_else(|| longest().and_then(|key| map.get(key)));
        match known.or(self.otherwise.as_ref()) {
            Some(value) => Found::Value(Cow::Owned(value.clone())),
            None => Found::Unmapped(word.into_owned()),
        }
    }
}

impl Take {
    fn find<'b>(&self, root: &'b Value) -> Found<'b> {
        match self {
            Self::Constant(value) => Found::Value(Cow::Owned(value.clone())),
            Self::Path(path) => first(path.all(root).into_iter().map(of)),
            Self::First(all) => first(all.iter().map(|expression| expression.find(root))),
            Self::Join(paths, between) => {
                let all: Vec<_> = paths.iter().flat_map(|path| path.all(root)).collect();
                let texts: Vec<_> = all.iter().filter_map(|value| text_of(value)).collect();
                let texts: Vec<_> =
                    texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect();
                match (all.is_empty(), texts.is_empty()) {
                    (true, _) => Found::Absent,
                    (_, true) => Found::Null,
                    _ => Found::Value(Cow::Owned(texts.join(between).into())),
                }
            }
            Self::Sum(paths) => sum(paths.iter().flat_map(|path| path.all(root))),
        }
    }
}

fn of(value: &Value) -> Found<'_> {
    match value {
        Value::Null => Found::Null,
        Value::String(text) if text.trim().is_empty() => Found::Null,
        value => Found::Value(Cow::Borrowed(value)),
    }
}

/// The first that is there; null where only that is there.
fn first<'b>(all: impl Iterator<Item = Found<'b>>) -> Found<'b> {
    let mut best = Found::Absent;
    for found in all {
        match found {
            Found::Absent => {}
            Found::Null => {
                if best == Found::Absent {
                    best = Found::Null;
                }
            }
            found => return found,
        }
    }
    best
}

/// Whole numbers added up. Where one is none, or the sum is too large, they stand as a list, which no field takes: the
/// event is rejected, and no part is ever taken for the whole.
fn sum<'b>(values: impl Iterator<Item = &'b Value>) -> Found<'b> {
    let values: Vec<&Value> = values.filter(|value| !value.is_null()).collect();
    let mut total: Option<i64> = None;
    for value in &values {
        let number = match value {
            Value::String(text) => text.parse().ok(),
            value => value.as_i64(),
        };
        match number.and_then(|number| total.unwrap_or_default().checked_add(number)) {
            Some(more) => total = Some(more),
            None => {
                return Found::Value(Cow::Owned(values.into_iter().cloned().collect()));
            }
        }
    }
    total.map_or(Found::Absent, |total| Found::Value(Cow::Owned(total.into())))
}

/// A text that is JSON as that; what is none of either is absent.
fn of_json(found: Found<'_>) -> Found<'_> {
    match found {
        Found::Value(value) => match value.as_str() {
            None => Found::Value(value),
            Some(text) => serde_json::from_str(text)
                .map_or(Found::Absent, |value| Found::Value(Cow::Owned(value))),
        },
        found => found,
    }
}

/// A text, a number or a flag as text.
fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn path(text: &str, place: &str) -> Result<Path, Wrong> {
    Path::parse(text).map_err(|why| (place.to_owned(), why))
}

fn firsts(all: &[Written], place: &str) -> Result<Vec<Expression>, Wrong> {
    if all.is_empty() {
        return Err((place.to_owned(), "the list is empty".into()));
    }
    let inner = |(index, written)| {
        let compiled = Expression::compile(written).map_err(|(inner, why)| {
            let dot = if inner.is_empty() || inner.starts_with('[') { "" } else { "." };
            (format!("{place}[{index}]{dot}{inner}"), why)
        })?;
        if compiled.unit.is_some() {
            let why = "a field has one unit: put `unit` beside the `at` that holds the list";
            return Err((format!("{place}[{index}].unit"), why.into()));
        }
        Ok(compiled)
    };
    all.iter().enumerate().map(inner).collect()
}

/// The JSONPaths of a `join` or `sum`.
fn paths(at: &Written) -> Result<Vec<Path>, Wrong> {
    match at {
        Written::Path(text) => Ok(vec![path(text, "at")?]),
        Written::First(all) if !all.is_empty() => {
            let one = |(index, written): (usize, &Written)| match written {
                Written::Path(text) => path(text, &format!("at[{index}]")),
                _ => Err((format!("at[{index}]"), "a JSONPath is expected".into())),
            };
            all.iter().enumerate().map(one).collect()
        }
        _ => Err(("at".into(), "a JSONPath or a list of them is expected".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    fn expression(text: &str) -> Result<Expression, Wrong> {
        #[derive(Deserialize)]
        struct Holder {
            x: Written,
        }
        let holder: Holder = toml::from_str(&format!("x = {text}")).expect(text);
        Expression::compile(&holder.x)
    }

    #[test]
    fn each_transform_does_what_it_says() {
        let body = json!({
            "a": "x", "n": 7, "no": null, "empty": " ", "flag": true, "text": "{\"in\": 5}",
            "first": " Ada ", "last": "Lovelace", "more": "3", "list": [{"k": 1}, {"k": 2}],
        });
        let value = |value: Value| Found::Value(Cow::Owned(value));
        for (text, expected) in [
            ("'$.a'", value(json!("x"))),
            ("'$.none'", Found::Absent),
            ("'$.no'", Found::Null),
            ("'$.empty'", Found::Null),
            ("['$.none', '$.no', '$.a', '$.n']", value(json!("x"))),
            ("['$.no', '$.none']", Found::Null),
            ("'$.list[*].k'", value(json!(1))),
            ("{ value = 'fixed' }", value(json!("fixed"))),
            ("{ at = ['$.first', '$.no', '$.last'], join = ' ' }", value(json!("Ada Lovelace"))),
            ("{ at = ['$.no', '$.empty'], join = ' ' }", Found::Null),
            ("{ at = ['$.none'], join = ' ' }", Found::Absent),
            ("{ at = ['$.n', '$.more', '$.no', '$.list[*].k'], sum = true }", value(json!(13))),
            ("{ at = ['$.n', '$.a'], sum = true }", value(json!([7, "x"]))),
            ("{ at = '$.text', json = true }", value(json!({"in": 5}))),
            ("{ at = '$.a', json = true }", Found::Absent),
            ("{ at = '$.a', map = { x = 'y' } }", value(json!("y"))),
            ("{ at = '$.flag', map = { true = 'yes' } }", value(json!("yes"))),
            ("{ at = '$.a', map = { b = 'y' } }", Found::Unmapped("x".into())),
            ("{ at = '$.a', map = { b = 'y' }, otherwise = false }", value(json!(false))),
            ("{ at = '$.last', map = { 'Love*' = 1, 'L*' = 2 } }", value(json!(1))),
            ("{ at = '$.n', prefix = 'order:' }", value(json!("order:7"))),
            ("{ at = '$.no', default = 'USD' }", value(json!("USD"))),
            ("[{ at = '$.none' }, { at = '$.a', prefix = '-' }]", value(json!("-x"))),
        ] {
            assert_eq!(expression(text).expect(text).find(&body), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_place() {
        for (text, place, why) in [
            ("'a'", "", "begins with `$`"),
            ("['$.a', '$..b']", "[1]", "at character 3"),
            ("[]", "", "empty"),
            ("{ at = ['$.a', { at = '$.b', value = 1 }] }", "at[1]", "not both"),
            ("{ at = ['$.a', ['$.b', 'c']] }", "at[1][1]", "begins with `$`"),
            ("{ join = ' ' }", "", "missing"),
            ("['$.a', { at = '$.b', unit = 'major' }]", "[1].unit", "one unit"),
            ("{ at = ['$.a', ['$.b']], join = ' ' }", "at[1]", "JSONPath is expected"),
            ("{ at = '$.a', join = ' ', sum = true }", "", "not both"),
            ("{ value = 1, sum = true }", "", "need `at`"),
            ("{ at = '$.a', otherwise = 1 }", "", "`map`"),
        ] {
            let (found, reason) = expression(text).expect_err(text);
            assert_eq!(found, place, "{text}: {reason}");
            assert!(reason.contains(why), "{text}: {reason}");
        }
    }
}
