//! Lists as the API answers them.

use crate::store::browse::{Page, Position, Slice};
use serde::Serialize;

/// A page of a list, newest first (contract 4).
#[derive(Debug, Serialize)]
pub(super) struct List<T> {
    object: &'static str,
    data: Vec<T>,
    has_more: bool,
    /// What to give as cursor to go on in the same direction.
    next_cursor: Option<String>,
}

impl<T> List<T> {
    /// From the page that was asked for and what it held.
    pub(super) fn new<Id: Copy + ToString>(
        page: Page<Id>,
        slice: Slice<T>,
        id: impl Fn(&T) -> Id,
    ) -> Self {
        let last = match page.position {
            Position::Before(_) => slice.items.first(),
            Position::After(_) | Position::Offset(_) => slice.items.last(),
        };
        let next_cursor = last.filter(|_| slice.has_more).map(|item| id(item).to_string());
        Self { object: "list", data: slice.items, has_more: slice.has_more, next_cursor }
    }
}
