//! A statement that is put together, where its shape is a caller's to choose. Pure.
//!
//! Its text is made of pieces that stand in this program, and nothing else can become part of it: whatever comes from
//! outside is a value, bound to a placeholder.

use crate::model::{id::CustomerId, time::Timestamp};
use std::fmt::Write as _;

/// Which database a statement is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// SQLite.
    Sqlite,
}

/// What a placeholder stands for.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
    /// A number that need not be whole.
    Real(f64),
    /// A time.
    Time(Timestamp),
    /// A customer.
    Customer(CustomerId),
}

/// A statement under way.
#[derive(Clone, PartialEq, Debug)]
pub struct Statement {
    dialect: Dialect,
    text: String,
    values: Vec<Value>,
}

impl Statement {
    /// An empty one.
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, text: String::new(), values: Vec::new() }
    }

    /// Which database it is for.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Adds a piece of text.
    pub fn push(&mut self, piece: &'static str) -> &mut Self {
        self.text.push_str(piece);
        self
    }

    /// Adds the piece that this database understands.
    pub fn pick(&mut self, postgres: &'static str, sqlite: &'static str) -> &mut Self {
        self.push(match self.dialect {
            Dialect::Postgres => postgres,
            Dialect::Sqlite => sqlite,
        })
    }

    /// Adds a placeholder with its value.
    pub fn value(&mut self, value: Value) -> &mut Self {
        self.values.push(value);
        // Writing to a text cannot fail.
        let _ = write!(self.text, "${}", self.values.len());
        self
    }

    /// Adds a placeholder for a text.
    pub fn text_value(&mut self, text: impl Into<String>) -> &mut Self {
        self.value(Value::Text(text.into()))
    }

    /// The statement's text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What its placeholders stand for, the first of them first.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Both.
    pub fn into_parts(self) -> (String, Vec<Value>) {
        (self.text, self.values)
    }
}
