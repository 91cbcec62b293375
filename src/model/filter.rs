//! Which customers are meant: a tree of conditions, and the one reader of the JSON that it is written in.
//!
//! Strict: whatever is not understood is refused and named, so that nobody takes a filter that was half ignored for
//! one that was applied.

use crate::model::{metadata::Scalar, time::Timestamp};

mod read;

pub use read::{Wrong, parse, parse_with};

/// How deep `and` and `or` may be nested.
pub const DEPTH: usize = 5;

/// How many conditions there may be in one filter.
pub const CONDITIONS: usize = 50;

/// How many characters a text may have.
pub const TEXT: usize = 255;

/// How times are written in a filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Times {
    /// RFC 3339.
    Text,
    /// Whole milliseconds since 1970; each means all that is in that millisecond.
    Millis,
}

/// Conditions and how they go together.
#[derive(Clone, PartialEq, Debug)]
pub enum Filter {
    /// All must hold. None: always.
    All(Vec<Filter>),
    /// One must hold.
    Any(Vec<Filter>),
    /// This must hold.
    Is(Condition),
}

/// Something that holds of a customer or does not.
#[derive(Clone, PartialEq, Debug)]
pub enum Condition {
    /// A text is like another one.
    Text(TextField, Like, String),
    /// A number compares so.
    Number(NumberField, Order, i64),
    /// A time compares so.
    Time(TimeField, Order, Timestamp),
    /// It has this tag.
    Tag(String),
    /// It is anonymous, or not.
    Anonymous(bool),
    /// Its best subscription has this status; `none`: there is none.
    Subscription(String),
    /// Its metadata has this value at this key.
    Metadata(String, Scalar),
    /// There is something, or there is not.
    Exists(Subject, bool),
    /// One of its names holds this text, whatever its case: external_id, name, email or phone.
    Search(String),
}

/// A field that is a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TextField {
    /// The app's own user id. Always case-sensitive.
    ExternalId,
    /// The address.
    Email,
    /// The name.
    Name,
    /// E.164.
    Phone,
}

/// A field that is a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NumberField {
    /// In the list's currency, minor units.
    TotalSpent,
    /// In the list's currency, minor units.
    NetSpent,
    /// Over all currencies.
    PaymentCount,
}

/// A field that is a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeField {
    /// When we first heard of it.
    Created,
    /// When it last changed here.
    Updated,
    /// Over all currencies.
    LastPayment,
}

/// What there may be or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// A text.
    Text(TextField),
    /// A number: always there.
    Number(NumberField),
    /// A time.
    Time(TimeField),
    /// Any tag.
    Tags,
    /// A value at this key.
    Metadata(String),
}

/// How a text is like another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Like {
    /// Where it stands.
    pub place: Place,
    /// Whether case matters.
    pub case_sensitive: bool,
}

/// Where a text stands in another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// It is the whole.
    Whole,
    /// Anywhere.
    Within,
    /// At its start.
    Start,
    /// At its end.
    End,
}

/// How a value compares with the one that is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Equal.
    Equal,
    /// Above.
    Above,
    /// Above or equal.
    AtLeast,
    /// Below.
    Below,
    /// Below or equal.
    AtMost,
}

impl Filter {
    /// Whether it says nothing: whether everybody is meant.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::All(all) if all.iter().all(Self::is_empty))
    }
}
