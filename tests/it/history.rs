//! Seeded histories of signed traffic through verify, normalize, apply and outbox, on both databases: what
//! the store shows in the end must be what the simulator knows to be true, in whatever order, however
//! often and in whatever batches the events come (semantics 9, laws 1 to 3 and 5).

use crate::support::services::{TestDatabase, databases};
use chrono::TimeDelta;
use customer_sync::{
    clock::Clock,
    keyring::Keyring,
    model::{
        customer::Customer,
        inbound::Raw,
        payment::Payment,
        reference::{Kind, Scope},
        subscription::Subscription,
        time::Timestamp,
    },
    pipeline::{Disposition, Pipeline, Sources},
    provider::{self, Source, SourceSecret},
    simulator::{self, Delivery, History, Options, Sender, Snapshot, differences},
    store::browse::{self, CustomerFilter, Page, Position},
};
use std::{collections::BTreeMap, sync::Arc};

fn options(seed: u64) -> Options {
    Options { seed, events: 1_500, duplicates: 0.3, shuffle: true, ..Options::demo() }
}

pub(crate) fn source(sender: &Sender, environment: &Arc<str>) -> Source {
    let provider = provider::find(sender.provider).expect("a built-in provider");
    let secret = SourceSecret { value: sender.secret.clone(), from: None, until: None };
    Source {
        name: Arc::clone(&sender.name),
        provider: provider.into(),
        mapping: None,
        environment: Arc::clone(environment),
        test_environment: None,
        namespace: Arc::clone(&sender.namespace),
        secrets: vec![secret],
        tolerance: None,
        url: None,
        subject_is_external_id: false,
        places: provider.places.to_vec(),
        authority: BTreeMap::new(),
        on_delete: if provider.kind == Kind::Payment { Scope::Identity } else { Scope::Auto },
        match_email: false,
        manual_capture: false,
        unsigned: false,
    }
}

/// The stages on a database, at a time when all of the history is past.
pub(crate) fn pipeline(database: &TestDatabase, options: &Options) -> Pipeline {
    let sources: Sources = options
        .senders
        .all()
        .into_iter()
        .map(|sender| (Arc::clone(&sender.name), Arc::new(source(sender, &options.environment))))
        .collect();
    Pipeline {
        db: database.db.clone(),
        sources: Arc::new(sources),
        keyring: Keyring::new("a key of the tests, long enough"),
        clock: Clock::manual(options.start.plus(simulator::SPAN)),
        handover: None,
    }
}

pub(crate) fn raw(delivery: &Delivery) -> Raw {
    Raw {
        source: Arc::clone(&delivery.source),
        headers: delivery.headers.iter().cloned().collect(),
        body: delivery.body.clone(),
        received_at: Some(delivery.received_at),
        queue_id: None,
        dead: None,
    }
}

/// Splits as workers do that take what has arrived: into pieces of many sizes, by a seed.
fn batches(deliveries: &[Delivery], seed: u64) -> Vec<Vec<Raw>> {
    let mut rest = deliveries;
    let mut state = seed;
    let mut batches = Vec::new();
    while !rest.is_empty() {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let largest = if state >> 62 == 0 { 5 } else { 200 };
        let size = usize::try_from(state >> 33).expect("31 bits") % largest + 1;
        let (batch, left) = rest.split_at(size.min(rest.len()));
        batches.push(batch.iter().map(raw).collect());
        rest = left;
    }
    batches
}

pub(crate) async fn process(
    pipeline: &Pipeline,
    deliveries: &[Delivery],
    seed: u64,
) -> Vec<Disposition> {
    let mut dispositions = Vec::new();
    for batch in batches(deliveries, seed) {
        dispositions.extend(pipeline.process(&batch).await.expect("the batch is committed"));
    }
    dispositions
}

/// Everything that the store shows, as a snapshot.
pub(crate) async fn shown(database: &TestDatabase, environment: &str, now: Timestamp) -> Snapshot {
    let (customers, payments, subscriptions) = objects(database, environment, now).await;
    Snapshot::from_objects(&customers, &payments, &subscriptions)
}

/// Everything that the store shows of an environment.
pub(crate) async fn objects(
    database: &TestDatabase,
    environment: &str,
    now: Timestamp,
) -> (Vec<Customer>, Vec<Payment>, Vec<Subscription>) {
    let mut tx = database.db.snapshot().await.expect("a snapshot");
    let (mut customers, mut payments, mut subscriptions) = (Vec::new(), Vec::new(), Vec::new());
    let mut page = Page::newest(500);
    loop {
        let slice = browse::customers(&mut tx, environment, &CustomerFilter::default(), page, now)
            .await
            .expect("customers are read")
            .expect("the cursor is known");
        customers.extend(slice.items);
        match customers.last() {
            Some(last) if slice.has_more => page.position = Position::After(last.id),
            _ => break,
        }
    }
    let mut page = Page::newest(500);
    loop {
        let slice = browse::payments(&mut tx, environment, page)
            .await
            .expect("payments are read")
            .expect("the cursor is known");
        payments.extend(slice.items);
        match payments.last() {
            Some(last) if slice.has_more => page.position = Position::After(last.id),
            _ => break,
        }
    }
    for customer in &customers {
        let page = Page::newest(500);
        let slice = browse::subscriptions_of(&mut tx, environment, customer.id, page, now)
            .await
            .expect("subscriptions are read")
            .expect("the cursor is known");
        subscriptions.extend(slice.items);
    }
    (customers, payments, subscriptions)
}

fn hold_against_truth(history: &History, state: &Snapshot, what: &str) {
    let wrong = differences(history.truth.snapshot(), state);
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
}

/// Nothing that a real sender signed may be refused, and nothing else may be passed over than what the
/// scenarios mean to be.
fn nothing_is_refused(history: &History, dispositions: &[Disposition]) {
    for (delivery, disposition) in history.deliveries.iter().zip(dispositions) {
        if let Disposition::Rejected(why) = disposition {
            panic!("{delivery:?} was rejected: {why}");
        }
    }
    let duplicates = dispositions.iter().filter(|one| **one == Disposition::Duplicate).count();
    assert_eq!(duplicates, history.deliveries.len() - history.events);
}

#[tokio::test]
async fn a_shuffled_and_repeated_history_ends_in_the_truth() {
    for database in databases().await {
        for seed in 1..=2 {
            // One environment each: nothing crosses it.
            let environment = format!("seed-{seed}").into();
            let options = Options { environment, ..options(seed) };
            let history = History::generate(&options);
            let pipeline = pipeline(&database, &options);
            let dispositions = process(&pipeline, &history.deliveries, seed).await;
            nothing_is_refused(&history, &dispositions);
            let state = shown(&database, &options.environment, pipeline.clock.now()).await;
            hold_against_truth(&history, &state, &format!("seed {seed}"));
        }
    }
}

#[tokio::test]
async fn a_history_in_order_ends_in_the_same_truth() {
    for database in databases().await {
        let options = Options { shuffle: false, ..options(4) };
        let history = History::generate(&options);
        let pipeline = pipeline(&database, &options);
        let dispositions = process(&pipeline, &history.deliveries, 4).await;
        nothing_is_refused(&history, &dispositions);
        let state = shown(&database, &options.environment, pipeline.clock.now()).await;
        hold_against_truth(&history, &state, "in order");
        // Everything once more, in another split: nothing changes.
        let again = process(&pipeline, &history.deliveries, 5).await;
        assert!(again.iter().all(|one| *one == Disposition::Duplicate));
        pipeline.clock.advance(TimeDelta::days(1));
        let state = shown(&database, &options.environment, pipeline.clock.now()).await;
        hold_against_truth(&history, &state, "repeated");
    }
}

/// Two workers on one database, each with half of the shuffled deliveries, in batches that cross.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_at_once_end_in_the_truth() {
    for database in databases().await {
        let options = options(6);
        let history = History::generate(&options);
        let pipeline = pipeline(&database, &options);
        let (left, right): (Vec<_>, Vec<_>) =
            history.deliveries.iter().cloned().enumerate().partition(|(place, _)| place % 2 == 0);
        let half = |part: Vec<(usize, Delivery)>| -> Vec<Delivery> {
            part.into_iter().map(|(_, delivery)| delivery).collect()
        };
        let (left, right) = (half(left), half(right));
        tokio::join!(process(&pipeline, &left, 7), process(&pipeline, &right, 8));
        let state = shown(&database, &options.environment, pipeline.clock.now()).await;
        hold_against_truth(&history, &state, "two workers");
    }
}

#[tokio::test]
async fn a_live_history_ignores_what_is_of_test_mode() {
    for database in databases().await {
        let environment = "live".into();
        let options = Options { environment, events: 1_200, ..options(9) };
        let history = History::generate(&options);
        let pipeline = pipeline(&database, &options);
        let dispositions = process(&pipeline, &history.deliveries, 9).await;
        nothing_is_refused(&history, &dispositions);
        let strangers = history.deliveries.iter().zip(&dispositions).filter(|(delivery, _)| {
            &*delivery.source == "stripe"
                && String::from_utf8_lossy(&delivery.body).contains("\"livemode\": false")
        });
        let mut ignored = 0;
        for (delivery, disposition) in strangers {
            ignored += usize::from(matches!(disposition, Disposition::Ignored(_)));
            assert_ne!(*disposition, Disposition::Applied, "{delivery:?}");
        }
        assert!(ignored > 0);
        let state = shown(&database, &options.environment, pipeline.clock.now()).await;
        hold_against_truth(&history, &state, "live");
    }
}
