//! What an environment holds, read whole: what the simulator's truth is compared with.

use crate::{
    model::{customer::Customer, payment::Payment, subscription::Subscription, time::Timestamp},
    simulator::Snapshot,
    store::{
        self, Db,
        browse::{self, CustomerFilter, Page, Position, Slice},
        progress::{self, Progress},
        totals,
    },
};

/// Everything that the API would show of an environment.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) customers: Vec<Customer>,
    pub(super) payments: Vec<Payment>,
    pub(super) subscriptions: Vec<Subscription>,
    /// Stored totals that differ from a recount, in all environments.
    pub(super) drift: usize,
}

/// As many as the API gives at once.
const PAGE: u32 = 1_000;

impl State {
    /// Reads it on one snapshot.
    pub(super) async fn read(db: &Db, environment: &str, now: Timestamp) -> store::Result<Self> {
        let mut tx = db.snapshot().await?;
        let mut state = Self::default();
        let filter = CustomerFilter::default();
        let mut position = Position::Offset(0);
        loop {
            let page = Page { position, limit: PAGE };
            let slice = browse::customers(&mut tx, environment, &filter, page, now).await?;
            match take(&mut state.customers, slice) {
                Some(customer) => position = Position::After(customer.id),
                None => break,
            }
        }
        let mut position = Position::Offset(0);
        loop {
            let page = Page { position, limit: PAGE };
            match take(&mut state.payments, browse::payments(&mut tx, environment, page).await?) {
                Some(payment) => position = Position::After(payment.id),
                None => break,
            }
        }
        for customer in &state.customers {
            let page = Page::newest(PAGE);
            let slice =
                browse::subscriptions_of(&mut tx, environment, customer.id, page, now).await?;
            state.subscriptions.extend(slice.into_iter().flat_map(|slice| slice.items));
        }
        state.drift = totals::recount(&mut tx).await?.len();
        Ok(state)
    }

    /// In the form in which it is compared.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot::from_objects(&self.customers, &self.payments, &self.subscriptions)
    }
}

/// Keeps what is on a page; the last of it, where there is more behind it.
fn take<T>(all: &mut Vec<T>, slice: Option<Slice<T>>) -> Option<&T> {
    let slice = slice?;
    let has_more = slice.has_more;
    all.extend(slice.items);
    all.last().filter(|_| has_more)
}

/// How far an environment has come.
pub(super) async fn progress(db: &Db, environment: &str) -> store::Result<Progress> {
    let mut tx = db.snapshot().await?;
    progress::progress(&mut tx, environment).await
}
