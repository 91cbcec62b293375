//! From what the store read to the page of a list as the API answers it.

use crate::{
    model::answer::List,
    store::browse::{Page, Position, Slice, Total},
};

impl<T> List<T> {
    /// From the page that was asked for and what it held.
    pub(super) fn new<Id: Copy + ToString>(
        page: Page<Id>,
        slice: Slice<T>,
        id: impl Fn(&T) -> Id,
    ) -> Self {
        let last = match page.position {
            Position::Before(_) | Position::Oldest => slice.items.first(),
            Position::After(_) | Position::Offset(_) => slice.items.last(),
        };
        let next_cursor = last.filter(|_| slice.has_more).map(|item| id(item).to_string());
        Self { has_more: slice.has_more, next_cursor, ..Self::whole(slice.items) }
    }

    /// How many there are on all pages, where that was counted to the end.
    pub(super) fn exact_total(&self) -> Option<i64> {
        self.total.filter(|_| self.total_capped == Some(false))
    }

    /// With how many there are on all pages.
    pub(super) fn with_total(self, total: Total) -> Self {
        Self { total: Some(total.count), total_capped: Some(total.capped), ..self }
    }
}
