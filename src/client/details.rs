//! What is said of a customer when one is made or changed.

use crate::model::{metadata::Scalar, reference::Kind};
use serde_json::{Map, Value, json};

/// What is said of a customer: names of it, and its profile. What is not said stays as it is.
///
/// ```
/// use customer_sync::client::{Details, Field};
///
/// let ada = Details::new()
///     .external_id("user-42")
///     .identity("clerk", "user_2fXyz")
///     .name("Ada Lovelace")
///     .tags(["beta", "vip"])
///     .metadata("seats", 3)
///     .without_metadata("trial");
/// let nobody = Details::new().clear(Field::Phone);
/// # assert_ne!(ada, nobody);
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Details(Map<String, Value>);

/// A field that can be cleared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    /// The name.
    Name,
    /// The e-mail address.
    Email,
    /// The phone number.
    Phone,
    /// All tags.
    Tags,
    /// All metadata.
    Metadata,
    /// What was said of whether this is nobody yet.
    IsAnonymous,
}

impl Details {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The app's own user id: 1 to 255 characters, kept as it is.
    #[must_use]
    pub fn external_id(self, id: impl Into<String>) -> Self {
        self.with("external_id", id.into().into())
    }

    /// An identity: the namespace of its source, and an auth provider's UID or a payment provider's customer id there.
    #[must_use]
    pub fn identity(self, provider: impl Into<String>, uid: impl Into<String>) -> Self {
        self.with("provider", provider.into().into()).with("provider_uid", uid.into().into())
    }

    /// Which of the two the identity is; unsaid, the one that is known, else that of the source.
    #[must_use]
    pub fn kind(self, kind: Kind) -> Self {
        self.with("kind", json!(kind))
    }

    /// Up to 200 characters.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        self.with("name", name.into().into())
    }

    /// The e-mail address.
    #[must_use]
    pub fn email(self, address: impl Into<String>) -> Self {
        self.with("email", address.into().into())
    }

    /// Whether the app vouches for the address.
    #[must_use]
    pub fn email_verified(self, verified: bool) -> Self {
        self.with("email_verified", verified.into())
    }

    /// E.164: a plus sign and 7 to 15 digits.
    #[must_use]
    pub fn phone(self, number: impl Into<String>) -> Self {
        self.with("phone", number.into().into())
    }

    /// All tags together: up to 50 of 1 to 64 characters.
    #[must_use]
    pub fn tags<T: Into<String>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        self.with("tags", tags.into_iter().map(Into::into).collect::<Vec<String>>().into())
    }

    /// One key of metadata; the others stay. Up to 50 of 1 to 40 characters.
    #[must_use]
    pub fn metadata(self, key: impl Into<String>, value: impl Into<Scalar>) -> Self {
        self.with_metadata(key.into(), value.into().into())
    }

    /// Takes a key of metadata away.
    #[must_use]
    pub fn without_metadata(self, key: impl Into<String>) -> Self {
        self.with_metadata(key.into(), Value::Null)
    }

    /// Whether this is nobody yet.
    #[must_use]
    pub fn is_anonymous(self, is_anonymous: bool) -> Self {
        self.with("is_anonymous", is_anonymous.into())
    }

    /// Takes what was said away.
    #[must_use]
    pub fn clear(self, field: Field) -> Self {
        let name = match field {
            Field::Name => "name",
            Field::Email => "email",
            Field::Phone => "phone",
            Field::Tags => "tags",
            Field::Metadata => "metadata",
            Field::IsAnonymous => "is_anonymous",
        };
        self.with(name, Value::Null)
    }

    fn with(mut self, field: &str, value: Value) -> Self {
        self.0.insert(field.to_owned(), value);
        self
    }

    fn with_metadata(mut self, key: String, value: Value) -> Self {
        let metadata = self.0.entry("metadata").or_insert_with(|| json!({}));
        match metadata {
            Value::Object(keys) => {
                keys.insert(key, value);
            }
            other => *other = json!({ key: value }),
        }
        self
    }

    /// The body of a request.
    pub(super) fn body(&self) -> Value {
        Value::Object(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_null_and_a_value_are_told_apart_and_the_last_word_counts() {
        let details = Details::new()
            .name("Ada")
            .clear(Field::Name)
            .metadata("plan", "pro")
            .without_metadata("trial")
            .metadata("seats", 3)
            .metadata("beta", true);
        let metadata = json!({"plan": "pro", "trial": null, "seats": 3, "beta": true});
        assert_eq!(details.body(), json!({"name": null, "metadata": metadata}));
        let cleared = details.clear(Field::Metadata);
        assert_eq!(cleared.body()["metadata"], Value::Null);
        assert_eq!(cleared.metadata("plan", "pro").body()["metadata"], json!({"plan": "pro"}));
    }
}
