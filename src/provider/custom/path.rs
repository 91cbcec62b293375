//! JSONPath (RFC 9535), as far as one walk over the body answers it.
//!
//! What could look at a body more than once is refused when the settings are read, so that no body, however it is made,
//! takes more than time and memory in proportion to its size: descendants (`..`), several selectors in one pair of
//! brackets, functions, and in a filter other filters, wildcards and slices. Numbers are compared exactly, as the body
//! writes them: the ids of two customers may differ in the seventeenth digit.

use serde_json::Value;
use side::Side;
use std::cmp::Ordering;

mod read;
mod side;

/// A JSONPath that was checked.
#[derive(Clone, Debug)]
pub(super) struct Path {
    text: String,
    segments: Vec<Segment>,
}

/// One step of a path, from each value that was found to those it leads to.
#[derive(Clone, Debug)]
enum Segment {
    Step(Step),
    /// Start, end and step, as written.
    Slice(Option<i64>, Option<i64>, i64),
    Every,
    Filter(Filter),
}

/// A step to at most one value.
#[derive(Clone, Debug)]
enum Step {
    Name(String),
    Index(i64),
}

/// A condition on each member or element.
#[derive(Clone, Debug)]
struct Filter {
    test: Test,
    /// What it compares with that is the same for all of them.
    fixed: Vec<Fixed>,
}

#[derive(Clone, Debug)]
enum Test {
    Any(Vec<Test>),
    All(Vec<Test>),
    Not(Box<Test>),
    There(Operand),
    Compared(Operand, Operator, Operand),
}

#[derive(Clone, Debug)]
enum Operand {
    /// From the value that the filter looks at.
    Here(Vec<Step>),
    /// Its place in the filter's `fixed`.
    Fixed(usize),
}

#[derive(Clone, Debug)]
enum Fixed {
    /// From the body's root.
    Root(Vec<Step>),
    Literal(Value),
}

#[derive(Clone, Copy, Debug)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Path {
    /// # Errors
    /// Says at which character of the expression, and what is wrong there.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let segments = read::segments(text)?;
        Ok(Self { text: text.to_owned(), segments })
    }

    /// The expression as it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What it finds, in the order of the body.
    pub(super) fn all<'b>(&self, root: &'b Value) -> Vec<&'b Value> {
        let mut found = vec![root];
        for segment in &self.segments {
            match segment {
                Segment::Step(step) => {
                    found = found.into_iter().filter_map(|value| step.of(value)).collect();
                }
                Segment::Every => found = found.into_iter().flat_map(inside).collect(),
                Segment::Slice(start, end, step) => {
                    let cut = |value| slice(value, *start, *end, *step);
                    found = found.into_iter().flat_map(cut).collect();
                }
                Segment::Filter(filter) => {
                    let sides: Vec<_> = filter.fixed.iter().map(|fixed| fixed.side(root)).collect();
                    let holds = |value: &&'b Value| filter.test.holds(value, &sides);
                    found = found.into_iter().flat_map(inside).filter(holds).collect();
                }
            }
        }
        found
    }
}

impl Step {
    fn of<'b>(&self, value: &'b Value) -> Option<&'b Value> {
        match self {
            Self::Name(name) => value.as_object()?.get(name),
            Self::Index(index) => {
                let list = value.as_array()?;
                list.get(place(*index, list.len())?)
            }
        }
    }
}

/// An index as a place: below zero it counts from the end.
fn place(index: i64, length: usize) -> Option<usize> {
    let from_end = usize::try_from(index.unsigned_abs()).ok()?;
    if index < 0 { length.checked_sub(from_end) } else { Some(from_end) }
}

fn walk<'b>(steps: &[Step], from: &'b Value) -> Option<&'b Value> {
    steps.iter().try_fold(from, |value, step| step.of(value))
}

/// The members or elements of a value.
fn inside(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(list) => Box::new(list.iter()),
        Value::Object(fields) => Box::new(fields.values()),
        _ => Box::new(std::iter::empty()),
    }
}

/// A slice of a list (RFC 9535, 2.3.4.2.2).
fn slice(value: &Value, start: Option<i64>, end: Option<i64>, step: i64) -> Vec<&Value> {
    let Some(list) = value.as_array() else { return Vec::new() };
    let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
    let from_start = |index: i64| if index < 0 { length.saturating_add(index) } else { index };
    let forward = step > 0;
    let (first, last) = if forward { (0, length) } else { (-1, length.saturating_sub(1)) };
    let bound = |index: Option<i64>, otherwise| {
        index.map_or(otherwise, |index| from_start(index).clamp(first, last))
    };
    let (mut at, end) = if forward {
        (bound(start, first), bound(end, last))
    } else {
        (bound(start, last), bound(end, first))
    };
    let mut found = Vec::new();
    while step != 0 && if forward { at < end } else { at > end } {
        found.extend(usize::try_from(at).ok().and_then(|at| list.get(at)));
        at = at.saturating_add(step);
    }
    found
}

impl Fixed {
    fn side<'b>(&'b self, root: &'b Value) -> Option<Side<'b>> {
        match self {
            Self::Root(steps) => walk(steps, root).map(Side::of),
            Self::Literal(value) => Some(Side::of(value)),
        }
    }
}

impl Test {
    fn holds(&self, value: &Value, fixed: &[Option<Side<'_>>]) -> bool {
        match self {
            Self::Any(tests) => tests.iter().any(|test| test.holds(value, fixed)),
            Self::All(tests) => tests.iter().all(|test| test.holds(value, fixed)),
            Self::Not(test) => !test.holds(value, fixed),
            Self::There(operand) => operand.with(value, fixed, |side| side.is_some()),
            Self::Compared(left, operator, right) => left.with(value, fixed, |left| {
                right.with(value, fixed, |right| operator.holds(left, right))
            }),
        }
    }
}

impl Operand {
    fn with<T>(
        &self,
        value: &Value,
        fixed: &[Option<Side<'_>>],
        then: impl FnOnce(Option<&Side<'_>>) -> T,
    ) -> T {
        match self {
            Self::Here(steps) => then(walk(steps, value).map(Side::of).as_ref()),
            Self::Fixed(at) => then(fixed.get(*at).and_then(Option::as_ref)),
        }
    }
}

impl Operator {
    /// Whether it holds of two values, either of which may be absent (RFC 9535, 2.3.5.2.2).
    fn holds(self, left: Option<&Side<'_>>, right: Option<&Side<'_>>) -> bool {
        let (equal, order) = match (left, right) {
            (Some(left), Some(right)) => (left == right, left.order(right)),
            (left, right) => (left.is_none() && right.is_none(), None),
        };
        match self {
            Self::Equal => equal,
            Self::NotEqual => !equal,
            Self::Less => order == Some(Ordering::Less),
            Self::LessOrEqual => equal || order == Some(Ordering::Less),
            Self::Greater => order == Some(Ordering::Greater),
            Self::GreaterOrEqual => equal || order == Some(Ordering::Greater),
        }
    }
}

#[cfg(test)]
mod tests;
