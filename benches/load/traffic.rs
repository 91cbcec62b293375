//! The traffic, and what must come of it.

use crate::{
    receiver::Seen,
    stage::{Database, ENVIRONMENT, Stage},
};
use anyhow::{Context as _, ensure};
use customer_sync::{
    model::{inbound::Raw, time::Timestamp},
    simulator::{Delivery, Options, Shop, Snapshot, Truth, differences},
    store::{
        Tx,
        browse::{self, CustomerFilter, Page, Position},
        progress::{self, Progress},
        totals,
    },
};
use std::{collections::HashSet, time::Duration};

/// What is to be generated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) customers: usize,
    pub(crate) events: usize,
    /// The exponent of Zipf's law; 0 is uniform.
    pub(crate) skew: f64,
}

/// Generated traffic.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// Makes the customers.
    pub(crate) opening: Vec<Raw>,
    /// What is measured: each event once, in order.
    pub(crate) events: Vec<Raw>,
    last: String,
    truth: Truth,
}

/// So many events a second are simulated: the events of one purchase, some seconds apart, have a few thousand
/// others between them.
const PER_SECOND: u32 = 1_000;

impl Traffic {
    pub(crate) fn generate(stage: &Stage, settings: Settings) -> anyhow::Result<Self> {
        let shop = Shop {
            seed: settings.seed,
            customers: settings.customers,
            events: settings.events,
            skew: settings.skew,
            per_second: PER_SECOND,
            start: Options::demo().start,
            environment: ENVIRONMENT.into(),
            senders: stage.senders.clone(),
        };
        let rush = shop.rush();
        let history = rush.history;
        let last = history.deliveries.last().context("there are events")?.event_id.clone();
        Ok(Self {
            opening: rush.opening.iter().map(raw).collect(),
            events: history.deliveries.iter().map(raw).collect(),
            last,
            truth: history.truth,
        })
    }

    /// The last event, and how many there are in the end: what [`wait`] waits for.
    pub(crate) fn end(&self) -> (&str, usize) {
        (&self.last, self.opening.len() + self.events.len())
    }

    /// Fails unless the state is what truly happened, its totals included.
    pub(crate) async fn is_true_of(
        &self,
        database: &Database,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let db = database.open().await?;
        let mut tx = db.snapshot().await?;
        let state = state(&mut tx, now).await?;
        let found = differences(self.truth.snapshot(), &state);
        ensure!(found.is_empty(), "the state is not true:\n{}", found.join("\n"));
        let drift = totals::recount(&mut tx).await?;
        ensure!(drift.is_empty(), "{} totals differ from a recount", drift.len());
        let progress = progress::progress(&mut tx, ENVIRONMENT).await?;
        let expected = i64::try_from(self.opening.len() + self.events.len())?;
        ensure!(
            (progress.received, progress.queued) == (expected, 0),
            "{expected} events were sent; {progress:?}"
        );
        tx.commit().await?;
        db.close().await;
        Ok(())
    }

    /// Fails unless the events' own customers have the sums that the truth knows, where tables are too large to be
    /// read whole: their numbers of payments and what they spent, besides so much that was there before.
    pub(crate) async fn has_right_sums(
        &self,
        database: &Database,
        before: (i64, i64),
    ) -> anyhow::Result<()> {
        let mut expected = before;
        for payment in self.truth.snapshot().payments.values() {
            let of = |field: &str| payment.get(field).and_then(serde_json::Value::as_i64);
            let is_paid = payment.get("paid_at").is_some_and(|at| !at.is_null());
            expected.0 += 1;
            expected.1 += of("amount").filter(|_| is_paid).unwrap_or(0);
        }
        let db = database.open().await?;
        for table in [
            "select cast(sum(payment_count) as bigint), cast(sum(total_spent) as bigint) from customer_totals",
            "select cast(sum(payment_count) as bigint), cast(sum(total_spent) as bigint) from reference_totals",
        ] {
            let found = db.snapshot().await?.query(table).one::<(i64, i64)>().await?;
            ensure!(found == expected, "{found:?} are counted, {expected:?} should be");
        }
        db.close().await;
        Ok(())
    }
}

/// Everything of an environment, in the form in which it is compared.
async fn state(tx: &mut Tx, now: Timestamp) -> anyhow::Result<Snapshot> {
    let (mut customers, mut payments) = (Vec::new(), Vec::new());
    let mut position = Position::Offset(0);
    loop {
        let (page, filter) = (Page { position, limit: 1_000 }, CustomerFilter::default());
        let slice = browse::customers(tx, ENVIRONMENT, &filter, page, now).await?;
        let slice = slice.context("the cursor is known")?;
        customers.extend(slice.items);
        match customers.last().filter(|_| slice.has_more) {
            Some(customer) => position = Position::After(customer.id),
            None => break,
        }
    }
    let mut position = Position::Offset(0);
    loop {
        let page = Page { position, limit: 1_000 };
        let slice = browse::payments(tx, ENVIRONMENT, page).await?;
        let slice = slice.context("the cursor is known")?;
        payments.extend(slice.items);
        match payments.last().filter(|_| slice.has_more) {
            Some(payment) => position = Position::After(payment.id),
            None => break,
        }
    }
    Ok(Snapshot::from_objects(&customers, &payments, &[]))
}

/// As it arrives from a broker: received when the history says so.
fn raw(delivery: &Delivery) -> Raw {
    Raw {
        source: delivery.source.clone(),
        headers: delivery.headers.iter().cloned().collect(),
        body: delivery.body.clone(),
        received_at: Some(delivery.received_at),
        queue_id: None,
        dead: None,
    }
}

/// Fails unless every message of a database was delivered, once, and its signature was right.
pub(crate) async fn is_delivered(database: &Database, seen: &Seen) -> anyhow::Result<usize> {
    let progress = progress(database).await?;
    ensure!((progress.pending, progress.undelivered) == (0, 0), "{progress:?}");
    ensure!(seen.refused == 0, "{} signatures were wrong", seen.refused);
    ensure!(seen.at.len() == seen.verified.len(), "some messages came twice");
    let told = told(database).await?;
    ensure!(!told.is_empty() && told == seen.verified, "the receiver has other messages");
    Ok(told.len())
}

async fn progress(database: &Database) -> anyhow::Result<Progress> {
    let db = database.open().await?;
    let progress = progress::progress(&mut db.snapshot().await?, ENVIRONMENT).await?;
    db.close().await;
    Ok(progress)
}

/// The ids of all messages, as receivers see them.
async fn told(database: &Database) -> anyhow::Result<HashSet<String>> {
    use customer_sync::model::id::MessageId;
    let db = database.open().await?;
    let sql = "select id from messages";
    let ids = db.snapshot().await?.query(sql).all::<(MessageId,)>().await?;
    db.close().await;
    Ok(ids.into_iter().map(|(id,)| id.to_string()).collect())
}

/// How often to look whether a run is over.
const LOOK: Duration = Duration::from_millis(10);

/// What a run waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The last event is committed.
    Committed,
    /// And every message's delivery is recorded.
    Delivered,
}

/// Waits until a run is over: until its last event is committed, and then until all are, since those that were
/// published at the same time may come in any order. Until then each look is a look into an index.
pub(crate) async fn wait(
    database: &Database,
    (last, count): (&str, usize),
    end: End,
    program: &mut crate::program::Program,
) -> anyhow::Result<()> {
    let db = database.open().await?;
    let count = i64::try_from(count)?;
    let (mut is_last, mut committed, mut looks) = (false, false, 0_u32);
    loop {
        let mut tx = db.snapshot().await?;
        if !is_last {
            let sql =
                "select count(*) from inbound_events where source = $1 and provider_event_id = $2";
            let query = tx.query(sql).bind("stripe".to_owned()).bind(last.to_owned());
            is_last = query.one::<(i64,)>().await?.0 > 0;
        }
        if is_last && !committed {
            committed =
                tx.query("select count(*) from inbound_events").one::<(i64,)>().await?.0 >= count;
        }
        if committed {
            let sql = "select exists (select 1 from messages where endpoint_id in
                (select id from endpoints) and status = 'pending')";
            if end == End::Committed || !tx.query(sql).one::<(bool,)>().await?.0 {
                break;
            }
        }
        tx.commit().await?;
        looks += 1;
        if looks.is_multiple_of(100) {
            program.is_running()?;
        }
        tokio::time::sleep(LOOK).await;
    }
    db.close().await;
    Ok(())
}
