//! How values that serialize by hand stand in the description of the API (OpenAPI): what a derive cannot see.

use serde_json::Value;
use utoipa::openapi::{
    RefOr, Schema,
    schema::{ObjectBuilder, SchemaType, Type},
};

/// A text of a shape. The pattern is one that ECMAScript, Python and Rust read alike.
pub(crate) fn text(description: &str, pattern: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .pattern(Some(pattern))
        .into()
}

/// One of some words.
pub(crate) fn word(
    description: &str,
    words: impl IntoIterator<Item = &'static str>,
) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .enum_values(Some(words.into_iter().map(Value::from)))
        .into()
}

/// A value of one of some types.
pub(crate) fn one_of(description: &str, types: Vec<Type>) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(SchemaType::Array(types)).description(Some(description)).into()
}
