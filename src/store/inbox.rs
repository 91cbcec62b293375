//! Inbound events with their verdicts. Saves work and keeps the record; no rule leans on it.

use crate::{
    model::{
        id::InboundId,
        inbound::{Headers, Raw, Verdict},
        time::Timestamp,
    },
    set,
    store::{Result, Tx},
};
use bytes::Bytes;
use serde::Serialize;
use sqlx::types::Json;
use std::collections::{BTreeSet, HashSet};
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
struct Numbered<'a> {
    n: usize,
    /// The bytes in hex, where the database takes them so.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(flatten)]
    record: &'a Record,
}

/// Records events, and counts those that are there already; the ids of the new ones.
///
/// # Errors
/// When the database fails.
pub async fn record(tx: &mut Tx, records: &[Record], now: Timestamp) -> Result<HashSet<Uuid>> {
    if records.is_empty() {
        return Ok(HashSet::new());
    }
    let mut sorted: Vec<&Record> = records.iter().collect();
    sorted.sort_by(|a, b| a.dedupe_key.cmp(&b.dedupe_key));
    // Differs because bytes travel beside the rows on Postgres, and in them on SQLite, which would join two
    // JSON arrays by looking through the second one for each row of the first.
    let in_rows = !matches!(tx, Tx::Postgres(_));
    let rows: Vec<Numbered<'_>> = sorted
        .iter()
        .zip(1..)
        .map(|(record, n)| {
            let body = in_rows.then(|| hex::encode(&record.body));
            Numbered { n, body, record }
        })
        .collect();
    let query = if in_rows {
        tx.query(
            "insert into inbound_events (id, environment, source, provider_event_id, dedupe_key,
                 kind, verdict, reason, notes, verified, refused, headers, body, occurred_at,
                 received_at, recorded_at, copies, resent_changed)
             select r.value->>'id', r.value->>'environment', r.value->>'source',
                 r.value->>'provider_event_id', r.value->>'dedupe_key', r.value->>'kind',
                 r.value->>'verdict', r.value->>'reason', r.value->>'notes', r.value->>'verified',
                 0, r.value->>'headers', unhex(r.value->>'body'), r.value->>'occurred_at',
                 r.value->>'received_at', $2, r.value->>'copies', 0
             from json_each($1) as r where true order by r.value->>'dedupe_key'
             on conflict (dedupe_key) do update set copies = inbound_events.copies + excluded.copies
             returning id",
        )
        .bind_rows(&rows)
        .bind(now)
    } else {
        let bodies = sorted.iter().map(|record| record.body.to_vec()).collect();
        tx.query(
            "insert into inbound_events (id, environment, source, provider_event_id, dedupe_key,
                 kind, verdict, reason, notes, verified, refused, headers, body, occurred_at,
                 received_at, recorded_at, copies, resent_changed)
             select r.id, r.environment, r.source, r.provider_event_id, r.dedupe_key, r.kind,
                 r.verdict, r.reason, r.notes, r.verified, false, r.headers, b.body, r.occurred_at,
                 r.received_at, $3, r.copies, false
             from jsonb_to_recordset($1::jsonb) as r(n bigint, id uuid, environment text,
                 source text, provider_event_id text, dedupe_key text, kind text, verdict text,
                 reason text, notes jsonb, verified boolean, headers jsonb,
                 occurred_at timestamptz, received_at timestamptz, copies bigint)
             join unnest($2::bytea[]) with ordinality as b(body, n) on b.n = r.n
             order by r.dedupe_key
             on conflict (dedupe_key) do update set copies = inbound_events.copies + excluded.copies
             returning id",
        )
        .bind_rows(&rows)
        .bind_bytes(bodies)
        .bind(now)
    };
    let kept: Vec<(InboundId,)> = query.all().await?;
    let kept: HashSet<Uuid> = kept.into_iter().map(|(id,)| id.0).collect();
    let new: HashSet<Uuid> =
        records.iter().map(|record| record.id).filter(|id| kept.contains(id)).collect();
    mark_resent(tx, records, &new).await?;
    Ok(new)
}

/// Marks new events whose provider's id came before with other bytes.
///
/// The verdict stands in a `case` so that no planner looks the other copy up by it: nearly all are applied.
async fn mark_resent(tx: &mut Tx, records: &[Record], new: &HashSet<Uuid>) -> Result<()> {
    let named = records
        .iter()
        .filter(|record| record.provider_event_id.is_some() && new.contains(&record.id));
    let named: Vec<Uuid> = named.map(|record| record.id).collect();
    if !named.is_empty() {
        set!(
            tx,
            "update inbound_events set resent_changed = true where id in (select r.id from",
            [id uuid],
            ") and exists (select 1 from inbound_events as other
                  where other.source = inbound_events.source
                  and other.provider_event_id = inbound_events.provider_event_id
                  and other.id <> inbound_events.id
                  and case when other.verdict in ('applied', 'ignored') then 1 else 0 end = 1)"
        )
        .bind_ids(named)
        .execute()
        .await?;
    }
    Ok(())
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
///
/// # Errors
/// When the database fails.
pub async fn link(tx: &mut Tx, subjects: &BTreeSet<Subject>) -> Result<()> {
    if !subjects.is_empty() {
        let rows: Vec<Subject> = subjects.iter().copied().collect();
        set!(
            tx,
            "insert into inbound_subjects (subject_id, inbound_id)
             select r.subject_id, r.inbound_id from",
            [subject_id uuid, inbound_id uuid],
            "where true on conflict do nothing"
        )
        .bind_rows(&rows)
        .execute()
        .await?;
    }
    Ok(())
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
                 (select value->>'id' from json_each($1)))",
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
             where id in (select value->>'id' from json_each($1))",
        );
        tx.query(sql).bind_ids(events.iter().copied()).execute().await?;
    }
    Ok(())
}

/// A rejected, ignored or dead event as it came in, to be processed again. None if there is no such event, or
/// nothing is left of it.
///
/// # Errors
/// When the database fails.
pub async fn replayable(tx: &mut Tx, id: InboundId) -> Result<Option<Raw>> {
    type Row = (String, Json<Headers>, Vec<u8>, Timestamp);
    let row: Option<Row> = tx
        .query(
            "select source, headers, body, received_at from inbound_events
             where id = $1 and verdict in ('rejected', 'ignored', 'dead') and not refused
                 and length(body) > 0",
        )
        .bind(id)
        .maybe()
        .await?;
    Ok(row.map(|(source, Json(headers), body, received_at)| Raw {
        source: source.into(),
        headers,
        body: body.into(),
        received_at: Some(received_at),
        queue_id: None,
        dead: None,
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
