//! Inbound events with their verdicts. Saves work and keeps the record; no rule leans on it.

use crate::{
    model::{
        id::InboundId,
        inbound::{Headers, Raw, Verdict},
        time::Timestamp,
    },
    set,
    store::{Result, Together, Tx, codec::Key},
};
use bytes::Bytes;
use serde::Serialize;
use sqlx::types::Json;
use std::collections::{BTreeSet, HashMap, HashSet};
use uuid::Uuid;

/// One inbound event to be recorded.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// Its row.
    pub id: Uuid,
    /// Where it belongs; none for an unknown source.
    pub environment: Option<String>,
    /// The source's name.
    pub source: String,
    /// The provider's event id.
    pub provider_event_id: Option<String>,
    /// What makes two copies one.
    pub dedupe_key: String,
    /// The provider's word for what happened.
    pub kind: Option<String>,
    /// What became of it.
    pub verdict: &'static str,
    /// Why.
    pub reason: Option<String>,
    /// Fields that were dropped, each with its reason.
    pub notes: Vec<String>,
    /// Whether its signature or credential was checked.
    pub verified: bool,
    /// The headers that its scheme reads.
    pub headers: Headers,
    /// The provider's time of it.
    pub occurred_at: Option<Timestamp>,
    /// When it was received.
    pub received_at: Timestamp,
    /// How many copies of it are in the batch.
    pub copies: i64,
    /// The bytes, kept beside the row while it is written.
    #[serde(skip)]
    pub body: Bytes,
}

#[derive(Serialize)]
struct Placed<'a> {
    /// Where its bytes begin among those of all, counted from 1.
    at: usize,
    /// How many they are.
    size: usize,
    /// Whether another one of these came with the same id of the provider, and other bytes.
    has_twin: bool,
    #[serde(flatten)]
    record: &'a Record,
}

/// Records events, and counts those that are there already; the ids of the new ones. Those whose provider's id came
/// before with other bytes are marked.
///
/// # Errors
/// When the database fails.
pub async fn record(tx: &mut Tx, records: &[Record], now: Timestamp) -> Result<HashSet<Uuid>> {
    let mut writes = tx.together();
    add(&mut writes, records, now);
    let kept: Vec<(Key,)> = writes.rows(tx).await?;
    Ok(new_of(records, kept.into_iter().map(|(id,)| id.0)))
}

/// Adds the same to other statements: it returns the ids of the rows that are kept for their keys.
///
/// The rows go in sorted by their key, so that no two workers wait for each other. The bytes of all travel as one
/// value beside them: no database has to read them as text. The verdict of another copy stands in a `case` so that no
/// planner looks the copy up by it: nearly all are applied.
pub(super) fn add(writes: &mut Together, records: &[Record], now: Timestamp) {
    if records.is_empty() {
        return;
    }
    let twins = twins(records);
    let mut sorted: Vec<&Record> = records.iter().collect();
    sorted.sort_by(|a, b| a.dedupe_key.cmp(&b.dedupe_key));
    // One byte of nobody's, since of a blob without any SQLite's `substr` is null, also where it is to be empty.
    let mut bytes = vec![0];
    bytes.reserve(sorted.iter().map(|record| record.body.len()).sum());
    let rows: Vec<Placed<'_>> = sorted
        .into_iter()
        .map(|record| {
            let at = bytes.len().saturating_add(1);
            bytes.extend_from_slice(&record.body);
            let has_twin = twins.contains(&record.id);
            Placed { at, size: record.body.len(), has_twin, record }
        })
        .collect();
    set!(
        writes,
        "insert into inbound_events (id, environment, source, provider_event_id, dedupe_key, kind,
             verdict, reason, notes, verified, refused, headers, body, occurred_at, received_at,
             recorded_at, copies, resent_changed)
         select r.id, r.environment, r.source, r.provider_event_id, r.dedupe_key, r.kind,
             r.verdict, r.reason, r.notes, r.verified, false, r.headers,
             substr($2, r.at, r.size), r.occurred_at, r.received_at, $3, r.copies,
             r.has_twin or exists (select 1 from inbound_events as other
                 where other.source = r.source
                 and other.provider_event_id = r.provider_event_id
                 and other.dedupe_key <> r.dedupe_key
                 and case when other.verdict in ('applied', 'ignored') then 1 else 0 end = 1)
         from",
        [
            id uuid, environment text, source text, provider_event_id text, dedupe_key text,
            kind text, verdict text, reason text, notes jsonb, verified boolean, headers jsonb,
            occurred_at timestamptz, received_at timestamptz, copies bigint, at integer,
            size integer, has_twin boolean
        ],
        "where true
         on conflict (dedupe_key) do update set copies = inbound_events.copies + excluded.copies
         returning id"
    )
    .bind_rows(&rows)
    .bind(bytes)
    .bind(now);
}

/// Those of some events that are the ones kept for their keys.
pub(super) fn new_of(records: &[Record], kept: impl Iterator<Item = Uuid>) -> HashSet<Uuid> {
    let kept: HashSet<Uuid> = kept.collect();
    records.iter().map(|record| record.id).filter(|id| kept.contains(id)).collect()
}

/// Those of some events beside which another one has the same id of the provider, other bytes, and effect.
fn twins(records: &[Record]) -> HashSet<Uuid> {
    let has_effect = |record: &&Record| matches!(record.verdict, "applied" | "ignored");
    let name = |record: &Record| Some((record.source.clone(), record.provider_event_id.clone()?));
    let mut named: HashMap<(String, String), Vec<&Record>> = HashMap::new();
    for record in records {
        if let Some(name) = name(record) {
            named.entry(name).or_default().push(record);
        }
    }
    let with_twin = |group: Vec<&Record>| -> Vec<Uuid> {
        let other = |one: &&Record| {
            let others = group.iter().copied().filter(has_effect);
            others.into_iter().any(|other| other.dedupe_key != one.dedupe_key)
        };
        group.iter().copied().filter(other).map(|record| record.id).collect()
    };
    named.into_values().filter(|group| group.len() > 1).flat_map(with_twin).collect()
}

/// Another verdict for an event that was recorded in this transaction.
#[derive(Clone, Debug, Serialize)]
pub struct Correction {
    /// Its row.
    pub id: Uuid,
    /// What became of it after all.
    pub verdict: &'static str,
    /// Why.
    pub reason: String,
}

/// Corrects verdicts.
///
/// # Errors
/// When the database fails.
pub async fn correct(tx: &mut Tx, corrections: &[Correction]) -> Result<()> {
    if !corrections.is_empty() {
        set!(
            tx,
            "update inbound_events set verdict = r.verdict, reason = r.reason from",
            [id uuid, verdict text, reason text],
            "where inbound_events.id = r.id"
        )
        .bind_rows(corrections)
        .execute()
        .await?;
    }
    Ok(())
}

/// That an event speaks of a reference, payment or subscription.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Subject {
    /// The reference's, payment's or subscription's row.
    pub subject_id: Uuid,
    /// The event's row.
    pub inbound_id: Uuid,
}

/// Notes what events speak of.
pub fn link(writes: &mut Together, subjects: &BTreeSet<Subject>) {
    if !subjects.is_empty() {
        let rows: Vec<Subject> = subjects.iter().copied().collect();
        set!(
            writes,
            "insert into inbound_subjects (subject_id, inbound_id)
             select r.subject_id, r.inbound_id from",
            [subject_id uuid, inbound_id uuid],
            "where true on conflict do nothing"
        )
        .bind_rows(&rows);
    }
}

/// Erases the bodies of all events that speak of any of these.
///
/// # Errors
/// When the database fails.
pub async fn erase(tx: &mut Tx, subjects: &BTreeSet<Uuid>) -> Result<()> {
    if !subjects.is_empty() {
        // Differs because the empty byte string is written differently.
        let sql = tx.pick(
            "update inbound_events set body = ''::bytea, headers = '[]'::jsonb, notes = '[]'::jsonb
             where id in (select s.inbound_id from inbound_subjects as s where s.subject_id in
                 (select r.id from jsonb_to_recordset($1::jsonb) as r(id uuid)))",
            "update inbound_events set body = x'', headers = '[]', notes = '[]'
             where id in (select s.inbound_id from inbound_subjects as s where s.subject_id in
                 (select value->>'id' from jsonb_each($1)))",
        );
        tx.query(sql).bind_ids(subjects.iter().copied()).execute().await?;
    }
    Ok(())
}

/// Erases the bodies of some events.
///
/// # Errors
/// When the database fails.
pub async fn erase_events(tx: &mut Tx, events: &BTreeSet<Uuid>) -> Result<()> {
    if !events.is_empty() {
        // Differs because the empty byte string is written differently.
        let sql = tx.pick(
            "update inbound_events set body = ''::bytea, headers = '[]'::jsonb, notes = '[]'::jsonb
             where id in (select r.id from jsonb_to_recordset($1::jsonb) as r(id uuid))",
            "update inbound_events set body = x'', headers = '[]', notes = '[]'
             where id in (select value->>'id' from jsonb_each($1))",
        );
        tx.query(sql).bind_ids(events.iter().copied()).execute().await?;
    }
    Ok(())
}

/// An event that can be processed again.
#[derive(Clone, Debug)]
pub struct Replayable {
    /// As it came in.
    pub raw: Raw,
    /// Whether it passed its check then.
    pub verified: bool,
    /// Where it belongs; none for an unknown source.
    pub environment: Option<String>,
}

/// A rejected, ignored or dead event. None if there is no such event, or nothing is left of it.
///
/// # Errors
/// When the database fails.
pub async fn replayable(tx: &mut Tx, id: InboundId) -> Result<Option<Replayable>> {
    type Row = (String, Json<Headers>, Vec<u8>, Timestamp, bool, Option<String>);
    let row: Option<Row> = tx
        .query(
            "select source, headers, body, received_at, verified, environment from inbound_events
             where id = $1 and verdict in ('rejected', 'ignored', 'dead') and not refused
                 and length(body) > 0",
        )
        .bind(id)
        .maybe()
        .await?;
    Ok(row.map(|(source, Json(headers), body, received_at, verified, environment)| {
        let raw = Raw {
            source: source.into(),
            headers,
            body: body.into(),
            received_at: Some(received_at),
            queue_id: None,
            dead: None,
        };
        Replayable { raw, verified, environment }
    }))
}

/// Takes away the rows of events that are processed again.
///
/// # Errors
/// When the database fails.
pub async fn remove(tx: &mut Tx, ids: &[InboundId]) -> Result<()> {
    if !ids.is_empty() {
        set!(
            tx,
            "delete from inbound_events where id in (select r.id from",
            [id uuid],
            ")"
        )
        .bind_ids(ids.iter().map(|id| id.0))
        .execute()
        .await?;
    }
    Ok(())
}

/// How many events ended in each verdict.
///
/// # Errors
/// When the database fails.
pub async fn counts(tx: &mut Tx) -> Result<Vec<(Verdict, i64)>> {
    let rows: Vec<(String, i64)> = tx
        .query("select verdict, count(*) from inbound_events group by verdict order by verdict")
        .all()
        .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(name, count)| Some((Verdict::from_name(&name)?, count)))
        .collect())
}

/// When the sources were last heard of, as far as the newest rows tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Latest {
    /// When the newest good event of each source among them was received.
    pub received: HashMap<String, Timestamp>,
    /// When the oldest of them was recorded; none where there are no older ones.
    pub since: Option<Timestamp>,
}

/// Looks at so many of the newest rows, whatever their sources: no index is kept for this alone.
///
/// # Errors
/// When the database fails.
pub async fn latest(tx: &mut Tx, rows: i64) -> Result<Latest> {
    type Row = (String, Option<Timestamp>, Timestamp, i64);
    let found: Vec<Row> = tx
        .query(
            "select source,
                 max(case when verdict in ('applied', 'ignored') and not refused then received_at end),
                 min(recorded_at), count(*)
             from (select source, verdict, refused, received_at, recorded_at from inbound_events
                 order by id desc limit $1) as newest
             group by source",
        )
        .bind(rows)
        .all()
        .await?;
    let seen: i64 = found.iter().map(|(_, _, _, count)| count).sum();
    let since = found.iter().map(|(_, _, recorded_at, _)| *recorded_at).min();
    let good = found.into_iter().filter_map(|(source, received, _, _)| Some((source, received?)));
    Ok(Latest { received: good.collect(), since: since.filter(|_| seen >= rows) })
}

/// Whether anything came in under the name of a source.
///
/// # Errors
/// When the database fails.
pub async fn knows(tx: &mut Tx, source: &str) -> Result<bool> {
    let found: Option<(String,)> = tx
        .query("select source from inbound_events where source = $1 limit 1")
        .bind(source.to_owned())
        .maybe()
        .await?;
    Ok(found.is_some())
}
