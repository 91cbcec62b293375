//! Pages of lists whose order is that of their ids, newest first: ids are UUIDv7.

use uuid::Uuid;

/// Where a page begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Position<Id> {
    /// At the newest, after so many.
    Offset(u32),
    /// At the oldest.
    Oldest,
    /// With what is next older than this one.
    After(Id),
    /// With what is next newer than this one.
    Before(Id),
}

/// A page to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page<Id> {
    /// Where it begins.
    pub position: Position<Id>,
    /// How many there may be on it.
    pub limit: u32,
}

/// A page as read, newest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slice<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Whether there is more in the direction it was read.
    pub has_more: bool,
}

/// A page as a statement takes it: ids between two bounds, neither of them included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    /// Above this one.
    pub(super) above: Uuid,
    /// Below this one.
    pub(super) below: Uuid,
    /// Whether it is read from the oldest on.
    pub(super) ascending: bool,
    /// One more than the page holds, to know whether there is more.
    pub(super) fetch: i64,
    /// How many are passed over.
    pub(super) offset: i64,
}

impl<Id: Copy> Page<Id> {
    /// The newest.
    pub fn newest(limit: u32) -> Self {
        Self { position: Position::Offset(0), limit }
    }

    /// The row that the page is counted from, if it is counted from one.
    pub fn cursor(&self) -> Option<Id> {
        match self.position {
            Position::Offset(_) | Position::Oldest => None,
            Position::After(id) | Position::Before(id) => Some(id),
        }
    }

    pub(super) fn range(&self, uuid: impl Fn(Id) -> Uuid) -> Range {
        let whole = Range {
            above: Uuid::nil(),
            below: Uuid::max(),
            ascending: false,
            fetch: i64::from(self.limit) + 1,
            offset: 0,
        };
        match self.position {
            Position::Offset(offset) => Range { offset: i64::from(offset), ..whole },
            Position::Oldest => Range { ascending: true, ..whole },
            Position::After(id) => Range { below: uuid(id), ..whole },
            Position::Before(id) => Range { above: uuid(id), ascending: true, ..whole },
        }
    }

    /// The page, from the rows that its range gave.
    pub(super) fn slice<T>(&self, mut rows: Vec<T>) -> Slice<T> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        if matches!(self.position, Position::Before(_) | Position::Oldest) {
            rows.reverse();
        }
        Slice { items: rows, has_more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_more_than_the_page_holds_tells_that_there_is_more() {
        let page = Page { position: Position::After(Uuid::from_u128(9)), limit: 2 };
        assert_eq!(page.range(|id| id).fetch, 3);
        assert_eq!(page.slice(vec![8, 7, 6]), Slice { items: vec![8, 7], has_more: true });
        assert_eq!(page.slice(vec![8, 7]), Slice { items: vec![8, 7], has_more: false });
    }

    #[test]
    fn the_oldest_page_is_shown_newest_first_too() {
        let page = Page { position: Position::<Uuid>::Oldest, limit: 2 };
        assert!(page.range(|id| id).ascending && page.cursor().is_none());
        assert_eq!(page.slice(vec![1, 2, 3]), Slice { items: vec![2, 1], has_more: true });
    }

    #[test]
    fn a_page_before_a_cursor_is_read_from_the_oldest_and_shown_newest_first() {
        let page = Page { position: Position::Before(Uuid::from_u128(3)), limit: 2 };
        assert!(page.range(|id| id).ascending);
        assert_eq!(page.slice(vec![4, 5, 6]), Slice { items: vec![5, 4], has_more: true });
    }
}
