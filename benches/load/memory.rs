//! The program's memory while a backlog waits in the queue and it works on it.

use crate::{
    broker,
    figures::{self, say},
    machine,
    program::{Program, Run},
    stage::Stage,
    traffic::{Settings, Traffic},
};
use customer_sync::{clock::Clock, model::inbound::Raw, simulator::Sender};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What is to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backlog {
    pub(crate) messages: usize,
    /// The size of a body.
    pub(crate) bytes: usize,
    /// How much memory it may take, in MiB.
    pub(crate) allowed: f64,
}

/// How long the program is watched at most. Its memory is bounded by what it has in hand, which is the same from the
/// first second on.
const WATCHED: Duration = Duration::from_secs(45);

/// How often to look.
const LOOK: Duration = Duration::from_millis(50);

/// So many are made and published at a time: the harness has a memory, too.
const CHUNK: usize = 2_000;

/// Measures one backlog.
///
/// # Errors
/// When the program stops working on it.
pub(crate) async fn under(stage: &Stage, seed: u64, backlog: Backlog) -> anyhow::Result<()> {
    say(&format!("memory: {backlog:?}"));
    let settings = Settings { seed, customers: 1_000, events: CHUNK, skew: 0.0 };
    let traffic = Traffic::generate(stage, settings)?;
    let database = stage.postgres("memory", None).await?;
    stage.take_in(&database, &traffic.opening).await?;
    broker::empty(stage).await?;
    let (mut published, mut round) = (0, 0_usize);
    while published < backlog.messages {
        let count = CHUNK.min(backlog.messages - published).min(64 * 1024 * 1024 / backlog.bytes);
        let events =
            traffic.events.iter().take(count).map(|raw| padded(stage, raw, round, backlog.bytes));
        stage.publish(&events.collect::<anyhow::Result<Vec<_>>>()?).await?;
        published += count;
        round += 1;
    }
    stage.receiver.forget();
    let run = Run { from_broker: true, with_endpoint: true, ..Run::default() };
    let mut program = Program::start(stage, &database, &run)?;
    let begun = Instant::now();
    let db = database.open().await?;
    let (mut resident, mut taken) = (Vec::new(), 0);
    // What the broker has sent ahead is the program's, so that the queue's length says nothing.
    while begun.elapsed() < WATCHED && taken < backlog.messages {
        tokio::time::sleep(LOOK).await;
        program.is_running()?;
        resident.push(machine::memory(program.id())?.0);
        if resident.len() % 20 == 0 {
            let sql = "select count(*) from inbound_events where kind <> 'customer.created'";
            let count = db.snapshot().await?.query(sql).one::<(i64,)>().await?.0;
            taken = usize::try_from(count)?;
        }
    }
    db.close().await;
    let (_, highest) = machine::memory(program.id())?;
    let more = json!({
        "highest_mib": figures::rounded(highest), "median_mib": figures::rounded(figures::median(&resident)),
        "allowed_mib": backlog.allowed, "messages": published, "bytes": backlog.bytes,
        "taken": taken, "seconds": figures::rounded(begun.elapsed().as_secs_f64()),
    });
    program.stop()?;
    broker::empty(stage).await?;
    anyhow::ensure!(taken > 0, "the program took nothing");
    figures::tell("memory under a backlog", &[highest / backlog.allowed], "1 or less", more)
}

/// The same event once more under another id, as large as it should be, and signed.
fn padded(stage: &Stage, raw: &Raw, round: usize, bytes: usize) -> anyhow::Result<Raw> {
    let mut body: Value = serde_json::from_slice(&raw.body)?;
    let id = format!("{}_{round}", body.get("id").and_then(Value::as_str).unwrap_or_default());
    let fields = body.as_object_mut().ok_or_else(|| anyhow::anyhow!("the body is an object"))?;
    fields.insert("id".into(), json!(id));
    fields.insert("padding".into(), json!(""));
    let size = serde_json::to_vec(&body)?.len();
    let padding = "x".repeat(bytes.saturating_sub(size));
    if let Some(fields) = body.as_object_mut() {
        fields.insert("padding".into(), json!(padding));
    }
    let body = serde_json::to_vec(&body)?;
    let received_at = raw.received_at.unwrap_or_else(|| Clock::system().now());
    let sign = |sender: &Sender| sender.sign(&id, &body, received_at);
    let headers = stage.senders.find(&raw.source).map(sign).unwrap_or_default();
    Ok(Raw { headers: headers.into_iter().collect(), body: body.into(), ..raw.clone() })
}
