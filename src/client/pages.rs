//! Lists: page by page, or as one stream.

use super::{
    Client, Error,
    request::{Query, Request},
};
use crate::model::answer::List;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use serde::de::DeserializeOwned;
use std::{collections::VecDeque, marker::PhantomData};

/// The pages of a list, newest first. Nothing is skipped or repeated, whatever arrives meanwhile.
#[derive(Debug)]
pub struct Pages<T> {
    client: Client,
    path: Vec<String>,
    query: Query,
    next: Next,
    item: PhantomData<fn() -> T>,
}

#[derive(Debug)]
enum Next {
    First,
    After(String),
    None,
}

impl<T: DeserializeOwned> Pages<T> {
    pub(super) fn new(client: &Client, path: &[&str], query: Query) -> Self {
        let path = path.iter().map(|&segment| segment.to_owned()).collect();
        Self { client: client.clone(), path, query, next: Next::First, item: PhantomData }
    }

    /// The next page; none after the last.
    ///
    /// # Errors
    /// As of every request. The same page can be asked for again.
    pub async fn next_page(&mut self) -> Result<Option<List<T>>, Error> {
        let mut query = self.query.clone();
        match &self.next {
            Next::First => {}
            Next::After(cursor) => query.push(("starting_after", cursor.clone())),
            Next::None => return Ok(None),
        }
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let page: List<T> = self.client.send(Request::get(&path).with_query(query)).await?;
        self.next = match page.next_cursor.clone().filter(|_| page.has_more) {
            Some(cursor) => Next::After(cursor),
            None => Next::None,
        };
        Ok(Some(page))
    }
}

impl<T: DeserializeOwned + Send + 'static> Pages<T> {
    /// All that is on the pages, fetched as it is read. Ends with the first error.
    pub fn items(self) -> BoxStream<'static, Result<T, Error>> {
        let unread = (self, VecDeque::new());
        stream::try_unfold(unread, async |(mut pages, mut items)| {
            while items.is_empty() {
                match pages.next_page().await? {
                    Some(page) => items = VecDeque::from(page.data),
                    None => return Ok(None),
                }
            }
            Ok(items.pop_front().map(|item| (item, (pages, items))))
        })
        .boxed()
    }
}
