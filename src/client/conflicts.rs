//! The routes under `/v1/conflicts`.

use super::{Client, Error, Pages, request::Request};
use crate::model::{conflict::Conflict, id::ConflictId};
use reqwest::Method;

/// Conflicts. See [`Client::conflicts`].
#[derive(Clone, Copy, Debug)]
pub struct Conflicts<'c>(pub(super) &'c Client);

impl Conflicts<'_> {
    /// Those that are settled, those that are not, or all.
    pub fn list(&self, resolved: Option<bool>) -> Pages<Conflict> {
        let query = resolved.map(|resolved| ("resolved", resolved.to_string()));
        Pages::new(self.0, &["conflicts"], query.into_iter().collect())
    }

    /// Says that one is settled.
    ///
    /// # Errors
    /// `conflict_not_found`; as of every request.
    pub async fn resolve(&self, id: ConflictId) -> Result<Conflict, Error> {
        let path = ["conflicts", &id.to_string(), "resolve"];
        self.0.send(Request::new(Method::POST, &path)).await
    }
}
