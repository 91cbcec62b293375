//! What becomes of deliveries when a real process is killed or stopped at the worst of times, and when two of them
//! share one outbox. A receiver that holds its answer makes the moment last.

use super::{ENDPOINT_SECRET, HOOK, Stage};
use crate::{
    http::client::Request,
    support::{
        receiver::{self, Reply},
        services::{TestDatabase, on_both, postgres, sqlite},
        wait::eventually,
        world::Daemon,
    },
};
use customer_sync::{
    clock::Clock,
    model::{id::MessageId, time::Timestamp},
    store,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

/// One request at a time, so that of several messages in hand all but one wait. Leases outlast every test: that one
/// runs out is said, not waited for.
const ONE_AT_A_TIME: &str = "concurrency_per_endpoint = 1\ntimeout = '30s'\nlease = '60s'\n\
     [http]\nmetrics_public = true\n[secrets]\nkey = 'the key of this test, long enough to be one'";

async fn stage(database: TestDatabase, more: &str) -> Stage {
    Stage::new(database, None, more).await
}

/// A receiver's answer that waits for this gate.
fn gate(stage: &Stage) -> Arc<Semaphore> {
    let gate = Arc::new(Semaphore::new(0));
    stage.receiver.script(HOOK, [Reply::Held(gate.clone(), 200)]);
    gate
}

/// The app records a new customer, of which the endpoint is then told by one message.
async fn record(stage: &Stage, address: SocketAddr, number: usize) {
    let (app, now) = (&stage.senders.app, Clock::system().now());
    let id = format!("app-{number}");
    let body = format!(
        r#"{{"id": "{id}", "type": "customer.recorded", "occurred_at": "{}",
            "data": {{"external_id": "user_{number}", "customer": {{"name": "{number}"}}}}}}"#,
        now.to_millis_text()
    );
    let headers = app.sign(&id, body.as_bytes(), now);
    let post = Request::post(&format!("/ingest/{}", app.name), body.as_bytes())
        .headers(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    assert_eq!(post.send(address).await.status, 202);
}

/// A message as it stands in the database.
#[derive(Debug)]
struct Kept {
    id: MessageId,
    status: String,
    attempts: i64,
    leased_until: Option<Timestamp>,
}

/// The endpoint's messages, oldest first.
async fn kept(stage: &Stage) -> Vec<Kept> {
    let mut tx = stage.database.db.snapshot().await.expect("begins");
    let sql = "select id, status, attempts, leased_until from messages order by id";
    let rows = tx.query(sql).all::<(MessageId, String, i64, Option<Timestamp>)>();
    let kept = |(id, status, attempts, leased_until)| Kept { id, status, attempts, leased_until };
    rows.await.expect("messages").into_iter().map(kept).collect()
}

/// The outcomes of a message's tries, in order.
async fn outcomes(stage: &Stage, message: MessageId) -> Vec<Option<String>> {
    let mut tx = stage.database.db.snapshot().await.expect("begins");
    let tries = store::messages::attempts(&mut tx, message).await.expect("tries");
    tries.into_iter().map(|tried| tried.outcome).collect()
}

async fn all_are_delivered(stage: &Stage, count: usize) -> Vec<Kept> {
    let enough =
        |all: &Vec<Kept>| all.len() == count && all.iter().all(|one| one.status == "delivered");
    eventually("all is delivered", async || kept(stage).await, enough).await
}

/// Lets the leases of all that waits run out.
async fn leases_end(stage: &Stage) {
    let mut tx = stage.database.db.begin().await.expect("begins");
    let sql = "update messages set due_at = $1, leased_until = $1 where status = 'pending'";
    let changed = tx.query(sql).bind(Clock::system().now()).execute().await;
    assert!(changed.expect("they are changed") > 0);
    tx.commit().await.expect("commits");
}

/// How often the receiver was sent each message.
fn sent(stage: &Stage) -> BTreeMap<String, usize> {
    let mut sent = BTreeMap::new();
    for request in stage.receiver.requests(HOOK) {
        assert!(request.is_signed_with(ENDPOINT_SECRET));
        *sent.entry(request.header("webhook-id").to_owned()).or_default() += 1;
    }
    sent
}

async fn requests(stage: &Stage, count: usize) -> Vec<receiver::Request> {
    let what = format!("{count} requests");
    eventually(&what, async || stage.receiver.count(HOOK), |seen| *seen >= count).await;
    stage.receiver.requests(HOOK)
}

/// How many deliveries a process has counted as good: as the answer came, whether or not it is recorded yet.
async fn answered(daemon: &Daemon) -> u64 {
    let text = Request::get("/metrics").send(daemon.address).await.text;
    text.lines()
        .filter(|line| line.starts_with("customer_sync_deliveries_total{"))
        .filter(|line| line.contains("outcome=\"delivered\""))
        .filter_map(|line| line.rsplit(' ').next())
        .map(|count| count.parse::<u64>().expect("a number"))
        .sum()
}

/// Pain point 20 and fault 2 of Svix (after a kill some messages were never sent, others twice): only that which was
/// under way comes a second time, and what was merely in hand comes once.
#[tokio::test]
async fn what_a_killed_process_had_leased_and_not_sent_is_sent_once_when_its_lease_ends() {
    on_both(async |database| {
        let stage = stage(database, ONE_AT_A_TIME).await;
        gate(&stage);
        let killed = stage.world.start().await;
        for number in 0..3 {
            record(&stage, killed.address, number).await;
        }
        let first = requests(&stage, 1).await.remove(0);
        let leased = |all: &Vec<Kept>| all.iter().filter(|m| m.leased_until.is_some()).count();
        eventually("all are leased", async || kept(&stage).await, |all| leased(all) == 3).await;
        killed.kill();
        assert_eq!(stage.receiver.count(HOOK), 1);

        let next = stage.world.start().await;
        record(&stage, next.address, 3).await;
        requests(&stage, 2).await;
        let look = async || kept(&stage).await;
        let all = eventually("the new one is delivered", look, |all| {
            all.iter().any(|message| message.status == "delivered")
        })
        .await;
        assert_eq!(leased(&all), 3, "those of the killed process are left alone: {all:?}");
        leases_end(&stage).await;
        let all = all_are_delivered(&stage, 4).await;
        assert!(all.iter().all(|message| message.attempts == 1), "{all:?}");
        let mut sent = sent(&stage);
        assert_eq!(sent.remove(first.header("webhook-id")), Some(2));
        assert!(sent.len() == 3 && sent.values().all(|times| *times == 1), "{sent:?}");
        assert_eq!(next.stop().await.code(), Some(0));
    })
    .await;
}

/// Faults 1 and 2 of Svix (what was only in memory was lost): what nobody can know is repeated, under the same id, so
/// that the receiver can tell.
#[tokio::test]
async fn what_was_answered_and_not_recorded_when_its_process_was_killed_comes_again_under_its_id() {
    on_both(async |database| {
        let stage = stage(database, ONE_AT_A_TIME).await;
        let gate = gate(&stage);
        let killed = stage.world.start().await;
        record(&stage, killed.address, 0).await;
        requests(&stage, 1).await;
        // Nothing can be recorded while this transaction holds the message (on SQLite: the database).
        let mut tx = stage.database.db.begin().await.expect("begins");
        let sql = "update messages set attempts = attempts";
        assert_eq!(tx.query(sql).execute().await.expect("it is held"), 1);
        gate.add_permits(1);
        eventually("the answer came", async || answered(&killed).await, |n| *n == 1).await;
        killed.kill();
        drop(tx);
        let before = eventually("it waits", async || kept(&stage).await, |all| !all.is_empty());
        let before = before.await.remove(0);
        assert_eq!((before.status.as_str(), before.attempts), ("pending", 0));

        leases_end(&stage).await;
        let next = stage.world.start().await;
        let after = all_are_delivered(&stage, 1).await.remove(0);
        assert_eq!((after.id, after.attempts), (before.id, 1));
        assert_eq!(sent(&stage), [(after.id.to_string(), 2)].into());
        assert_eq!(outcomes(&stage, after.id).await, [None, Some("delivered".to_owned())]);
        assert_eq!(next.stop().await.code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn two_daemons_on_one_outbox_share_it_and_send_nothing_twice() {
    let more = "[http]\nmetrics_public = true";
    let stage = stage(postgres().await, more).await;
    stage.receiver.always(HOOK, Reply::Slow(Duration::from_millis(30)));
    let daemons = [stage.world.start().await, stage.world.start().await];
    for number in 0..60 {
        record(&stage, daemons[number % 2].address, number).await;
    }
    let all = all_are_delivered(&stage, 60).await;
    assert!(all.iter().all(|message| message.attempts == 1), "{all:?}");
    let ids: BTreeSet<String> = all.iter().map(|message| message.id.to_string()).collect();
    let sent = sent(&stage);
    assert!(sent.values().all(|times| *times == 1), "{sent:?}");
    assert_eq!(sent.into_keys().collect::<BTreeSet<_>>(), ids);
    let shares = [answered(&daemons[0]).await, answered(&daemons[1]).await];
    assert!(shares.iter().sum::<u64>() == 60 && shares.iter().all(|one| *one > 0), "{shares:?}");
    for daemon in daemons {
        assert_eq!(daemon.stop().await.code(), Some(0));
    }
}

/// How many messages of an endpoint a process hands to itself in memory: all that it may have under way at once.
const IN_MEMORY: usize = 4;

/// Each claims what neither of them handed to itself, under leases that keep the other one off.
#[tokio::test]
async fn two_daemons_claim_what_waits_in_one_outbox_and_send_nothing_twice_within_its_lease() {
    let more = format!("concurrency_per_endpoint = {IN_MEMORY}\n[http]\nmetrics_public = true");
    let stage = stage(postgres().await, &more).await;
    let gate = Arc::new(Semaphore::new(0));
    stage.receiver.always(HOOK, Reply::Held(gate.clone(), 200));
    let daemons = [stage.world.start().await, stage.world.start().await];
    for number in 0..60 {
        record(&stage, daemons[number % 2].address, number).await;
    }
    let look = async || kept(&stage).await;
    let all = eventually("all are written", look, |all| all.len() == 60).await;
    requests(&stage, IN_MEMORY).await;
    let waits = all.iter().filter(|message| message.leased_until.is_none()).count();
    assert!(waits >= 60 - 2 * IN_MEMORY, "{waits} wait to be claimed: {all:?}");

    // From now on it takes long enough for both of them to have their share.
    stage.receiver.always(HOOK, Reply::Slow(Duration::from_millis(50)));
    gate.add_permits(60);
    let all = all_are_delivered(&stage, 60).await;
    assert!(all.iter().all(|message| message.attempts == 1), "{all:?}");
    let sent = sent(&stage);
    assert!(sent.len() == 60 && sent.values().all(|times| *times == 1), "{sent:?}");
    let shares = [answered(&daemons[0]).await, answered(&daemons[1]).await];
    let in_memory = u64::try_from(IN_MEMORY).expect("few");
    assert!(shares.iter().sum::<u64>() == 60, "{shares:?}");
    assert!(shares.iter().all(|one| *one > in_memory), "each has claimed some: {shares:?}");
    for daemon in daemons {
        assert_eq!(daemon.stop().await.code(), Some(0));
    }
}

#[tokio::test]
async fn a_try_that_ends_within_the_grace_of_a_stop_is_finished_and_recorded() {
    on_both(async |database| {
        let stage = stage(database, ONE_AT_A_TIME).await;
        let gate = gate(&stage);
        let mut daemon = stage.world.start().await;
        record(&stage, daemon.address, 0).await;
        record(&stage, daemon.address, 1).await;
        requests(&stage, 1).await;
        daemon.signal("TERM");
        eventually("it stops", async || daemon.readiness().await, |s| *s != Some(200)).await;
        gate.add_permits(1);
        assert_eq!(daemon.ended().await.code(), Some(0));
        // Which of the two was sent first is nobody's business.
        let all = kept(&stage).await;
        let seen: BTreeSet<_> = all.iter().map(|m| (m.status.as_str(), m.attempts)).collect();
        assert_eq!(seen, [("delivered", 1), ("pending", 0)].into());
        let waiting = all.iter().find(|m| m.status == "pending").expect("it is there");
        assert_eq!(waiting.leased_until, None, "what was not begun is free for others");
        assert_eq!(stage.receiver.count(HOOK), 1);
    })
    .await;
}

#[tokio::test]
async fn a_try_that_outlasts_the_grace_of_a_stop_is_cut_short_and_does_not_count() {
    on_both(async |database| {
        let grace = format!("{ONE_AT_A_TIME}\n[shutdown]\ngrace = '2s'");
        let stage = stage(database, &grace).await;
        gate(&stage);
        let daemon = stage.world.start().await;
        record(&stage, daemon.address, 0).await;
        requests(&stage, 1).await;
        let asked = Instant::now();
        assert_eq!(daemon.stop().await.code(), Some(0));
        assert!(asked.elapsed() < Duration::from_secs(10), "it took {:?}", asked.elapsed());
        let cut = kept(&stage).await.remove(0);
        assert_eq!((cut.status.as_str(), cut.attempts, cut.leased_until), ("pending", 0, None));
        assert_eq!(outcomes(&stage, cut.id).await, [Some("interrupted".to_owned())]);

        let next = stage.world.start().await;
        let done = all_are_delivered(&stage, 1).await.remove(0);
        assert_eq!((done.id, done.attempts), (cut.id, 1));
        assert_eq!(next.stop().await.code(), Some(0));
    })
    .await;
}

/// Pain point 13 (juspay/hyperswitch#3408): a first delivery that failed was never made up for, as the event was
/// known already.
#[tokio::test]
async fn an_event_that_comes_again_while_its_delivery_fails_is_told_once_and_told_in_the_end() {
    let stage = stage(sqlite().await, "schedule = ['1s', '1s']").await;
    stage.receiver.script(HOOK, [Reply::Status(500)]);
    let daemon = stage.world.start().await;
    record(&stage, daemon.address, 0).await;
    requests(&stage, 1).await;
    record(&stage, daemon.address, 0).await;
    let all = all_are_delivered(&stage, 1).await;
    assert_eq!(all[0].attempts, 2);
    assert_eq!(sent(&stage), [(all[0].id.to_string(), 2)].into());
    assert_eq!(stage.progress().await.received, 2, "both came in");
    assert_eq!(daemon.stop().await.code(), Some(0));
}

/// Pain point 18 and fault 4 of Svix: one answer of 300 MB took 423 MB of memory.
#[tokio::test]
async fn an_answer_of_300_mb_takes_no_memory_to_speak_of() {
    let stage = stage(sqlite().await, "").await;
    let daemon = stage.world.start().await;
    record(&stage, daemon.address, 0).await;
    all_are_delivered(&stage, 1).await;
    let before = daemon.peak_memory();
    stage.receiver.script(HOOK, [Reply::Huge(300 << 20), Reply::Huge(300 << 20)]);
    record(&stage, daemon.address, 1).await;
    record(&stage, daemon.address, 2).await;
    all_are_delivered(&stage, 3).await;
    let grown = daemon.peak_memory() - before;
    assert!(grown < 32 << 20, "{grown} bytes more than before");
    assert_eq!(daemon.stop().await.code(), Some(0));
}
