//! Query parameters, read strictly: an unknown one, a repeated one or a wrong value is 400 and named.

use super::{State, auth::Reader, error::ApiError};
use crate::{
    model::{money::Currency, time::Timestamp},
    store::browse::{Page, Position},
};
use axum::{extract::FromRequestParts, http::request::Parts};
use std::{collections::BTreeMap, str::FromStr, sync::Arc};

/// How many a list shows unless told, by cursor and by offset.
const LIMITS: (u32, u32) = (50, 100);

/// How many a list shows at most.
const MOST: u32 = 1_000;

/// The parameters that no handler has taken yet.
#[derive(Debug)]
pub(super) struct Query(BTreeMap<String, String>);

impl FromRequestParts<Arc<State>> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<State>) -> Result<Self, ApiError> {
        Self::parse(parts.uri.query().unwrap_or_default())
    }
}

/// A request to a path that takes no parameter.
#[derive(Debug)]
pub(super) struct NoQuery;

impl FromRequestParts<Arc<State>> for NoQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, ApiError> {
        Query::from_request_parts(parts, state).await?.finish()?;
        Ok(Self)
    }
}

impl Query {
    fn parse(text: &str) -> Result<Self, ApiError> {
        let mut all = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            let name: String = name.chars().take(100).collect();
            if value.is_empty() || value.chars().any(char::is_control) {
                let message = "must be a text without control characters, and not empty";
                return Err(invalid(&name, message));
            }
            if all.insert(name.clone(), value.into_owned()).is_some() {
                return Err(ApiError::param("repeated_parameter", name, "is given twice"));
            }
        }
        Ok(Self(all))
    }

    /// Refuses all parameters but these.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        let mut names = self.0.keys();
        match names.find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(unknown_parameter(name.clone())),
        }
    }

    /// Gives a parameter another name.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        if let Some(value) = self.0.remove(from) {
            self.0.insert(to.to_owned(), value);
        }
    }

    /// Sets a parameter that is not given.
    pub(super) fn unless_told(&mut self, name: &str, value: &str) {
        self.0.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }

    /// Whether a parameter is given and not taken yet.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Takes a text.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.0.remove(name)
    }

    /// Takes a value that a function can read; `expected` says what it looks like.
    pub(super) fn read<T>(
        &mut self,
        name: &'static str,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.0.remove(name) else { return Ok(None) };
        read(&text).map(Some).ok_or_else(|| invalid(name, expected))
    }

    /// Takes a time.
    pub(super) fn time(&mut self, name: &'static str) -> Result<Option<Timestamp>, ApiError> {
        self.read(name, "must be a time like 2026-01-31T12:00:00Z", Timestamp::parse)
    }

    /// Takes a currency; the environment's reporting currency where none is named.
    pub(super) fn currency(
        &mut self,
        state: &State,
        caller: &Reader,
    ) -> Result<Currency, ApiError> {
        let expected = "must be a currency code of three to five letters or digits";
        let named = self.read("currency", expected, |text| text.parse().ok())?;
        Ok(named.unwrap_or_else(|| state.reporting_currency(&caller.environment)))
    }

    /// Takes how many a list is to show.
    pub(super) fn limit(&mut self) -> Result<u32, ApiError> {
        Ok(self.size()?.unwrap_or(LIMITS.0))
    }

    fn size(&mut self) -> Result<Option<u32>, ApiError> {
        self.read("limit", "must be a whole number from 1 to 1000", |text| {
            text.parse().ok().filter(|limit| (1..=MOST).contains(limit))
        })
    }

    /// Takes what says which page of a list is asked for.
    pub(super) fn page<Id: FromStr>(&mut self) -> Result<Page<Id>, ApiError> {
        let limit = self.size()?;
        let offset =
            self.read("offset", "must be a whole number from 0 to 4294967295", |text| {
                text.parse().ok()
            })?;
        let after = self.text("starting_after");
        let before = self.text("ending_before");
        let cursor = |name, text: String| text.parse().map_err(|_| unknown_cursor(name));
        let both = |name| {
            let message = "offset, starting_after and ending_before exclude each other";
            Err(ApiError::param("paging_conflict", name, message))
        };
        let position = match (offset, after, before) {
            (None, Some(after), None) => Position::After(cursor("starting_after", after)?),
            (None, None, Some(before)) => Position::Before(cursor("ending_before", before)?),
            (offset, None, None) => Position::Offset(offset.unwrap_or(0)),
            (Some(_), _, _) => return both("offset"),
            (None, Some(_), Some(_)) => return both("ending_before"),
        };
        let unless_told = if offset.is_some() { LIMITS.1 } else { LIMITS.0 };
        Ok(Page { position, limit: limit.unwrap_or(unless_told) })
    }

    /// Refuses what is left.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(unknown_parameter(name)),
        }
    }
}

fn unknown_parameter(name: String) -> ApiError {
    ApiError::param("unknown_parameter", name, "is no parameter of this path")
}

/// 400: a value cannot be used.
pub(super) fn invalid(param: &str, message: &'static str) -> ApiError {
    ApiError::param("invalid_parameter", param.to_owned(), message)
}

/// 400: the cursor names nothing that this caller may see.
pub(super) fn unknown_cursor(param: &'static str) -> ApiError {
    ApiError::param("unknown_cursor", param, "names nothing that this list is ordered by")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::CustomerId;

    fn page(text: &str) -> Result<Page<CustomerId>, String> {
        let mut query = Query::parse(text).map_err(|error| error.named())?;
        let page = query.page().map_err(|error| error.named())?;
        query.finish().map_err(|error| error.named())?;
        Ok(page)
    }

    #[test]
    fn pages_have_their_own_size_by_cursor_and_by_offset() {
        assert_eq!(page(""), Ok(Page { position: Position::Offset(0), limit: 50 }));
        assert_eq!(page("offset=0"), Ok(Page { position: Position::Offset(0), limit: 100 }));
        assert_eq!(page("offset=7&limit=1000").map(|page| page.limit), Ok(1_000));
        let id = CustomerId(uuid::Uuid::from_u128(7));
        assert_eq!(
            page(&format!("starting_after={id}")).map(|page| page.position),
            Ok(Position::After(id))
        );
    }

    #[test]
    fn whatever_is_wrong_is_named() {
        for (text, named) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=ten", "limit"),
            ("limit=", "limit"),
            ("offset=-1", "offset"),
            ("limit=1&limit=2", "limit"),
            ("starting_after=pay_00000000000000000000000000", "starting_after"),
            ("ending_before=x", "ending_before"),
            ("offset=1&starting_after=x", "offset"),
            ("starting_after=x&ending_before=y", "ending_before"),
            ("color=red", "color"),
            ("external_id=%00", "external_id"),
        ] {
            assert_eq!(page(text), Err(named.to_owned()), "{text}");
        }
    }
}
