//! Inbound events with their verdicts.

use super::{
    super::{Result, Tx},
    Page, Slice, word,
};
use crate::model::{
    id::InboundId,
    inbound::{Headers, Verdict},
    is_live,
    time::{Timestamp, millis, millis_or_null},
};
use serde::Serialize;
use sqlx::types::Json;
use utoipa::ToSchema;

/// Which inbound events are listed. All that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct InboundFilter {
    /// Of one environment; none lists all, also what came from unknown sources and belongs to none.
    pub environment: Option<String>,
    /// Of one verdict.
    pub verdict: Option<Verdict>,
    /// Of one source.
    pub source: Option<String>,
    /// Received at this time or later.
    pub since: Option<Timestamp>,
    /// Received before this time.
    pub until: Option<Timestamp>,
}

/// An inbound event as it is shown, without its body.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct InboundEvent {
    /// Always `inbound_event`.
    pub object: &'static str,
    /// Our id of it.
    pub id: InboundId,
    /// The environment that it belongs to; null where its source is unknown.
    pub environment: Option<String>,
    /// Whether that is `live`: real money.
    pub live: bool,
    /// The source's name.
    pub source: String,
    /// The provider's id of it.
    pub event_id: Option<String>,
    /// The provider's word for what happened.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// What became of it.
    pub verdict: Verdict,
    /// Why.
    pub reason: Option<String>,
    /// Fields that were dropped, each with its reason.
    pub notes: Vec<String>,
    /// Whether its signature or credential was checked.
    pub verified: bool,
    /// Whether the ingress answered its sender with an error, and this is only a sample of it.
    pub refused: bool,
    /// How often it came.
    pub copies: i64,
    /// Whether it came again with other bytes.
    pub resent_changed: bool,
    /// The provider's time of it.
    #[serde(serialize_with = "millis_or_null")]
    pub occurred_at: Option<Timestamp>,
    /// When it was received.
    #[serde(serialize_with = "millis")]
    pub received_at: Timestamp,
    /// When it was written down.
    #[serde(serialize_with = "millis")]
    pub recorded_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: InboundId,
    environment: Option<String>,
    source: String,
    provider_event_id: Option<String>,
    kind: Option<String>,
    verdict: String,
    reason: Option<String>,
    notes: Json<Vec<String>>,
    verified: bool,
    refused: bool,
    copies: i64,
    resent_changed: bool,
    occurred_at: Option<Timestamp>,
    received_at: Timestamp,
    recorded_at: Timestamp,
}

/// Texts of their own for what an index serves, so that the plan never depends on a value.
macro_rules! select {
    ($environment:literal, $verdict:literal, $order:literal) => {
        concat!(
            "select id, environment, source, provider_event_id, kind, verdict, reason, notes, verified,
                refused, copies, resent_changed, occurred_at, received_at, recorded_at
             from inbound_events
             where ",
            $environment,
            " and ",
            $verdict,
            " and (cast($3 as text) is null or source = $3)
              and received_at >= $4 and received_at < $5 and id > $6 and id < $7 ",
            $order,
            " limit $8 offset $9"
        )
    };
}

/// A page of inbound events, newest first; none where the cursor names none that the filter's environment holds.
///
/// # Errors
/// When the database fails.
pub async fn inbound_events(
    tx: &mut Tx,
    filter: &InboundFilter,
    page: Page<InboundId>,
) -> Result<Option<Slice<InboundEvent>>> {
    if let Some(cursor) = page.cursor()
        && inbound_event(tx, filter.environment.as_deref(), cursor).await?.is_none()
    {
        return Ok(None);
    }
    inbound_events_from(tx, filter, page).await.map(Some)
}

/// The same whether or not the cursor's event is there: one that is replayed is listed under another id from then on.
///
/// # Errors
/// When the database fails.
pub async fn inbound_events_from(
    tx: &mut Tx,
    filter: &InboundFilter,
    page: Page<InboundId>,
) -> Result<Slice<InboundEvent>> {
    let range = page.range(|id| id.0);
    let sql = match (filter.environment.is_some(), filter.verdict.is_some(), range.ascending) {
        (true, true, true) => select!("environment = $1", "verdict = $2", "order by id"),
        (true, true, false) => select!("environment = $1", "verdict = $2", "order by id desc"),
        (true, false, true) => {
            select!("environment = $1", "cast($2 as text) is null", "order by id")
        }
        (true, false, false) => {
            select!("environment = $1", "cast($2 as text) is null", "order by id desc")
        }
        (false, true, true) => select!("cast($1 as text) is null", "verdict = $2", "order by id"),
        (false, true, false) => {
            select!("cast($1 as text) is null", "verdict = $2", "order by id desc")
        }
        (false, false, true) => {
            select!("cast($1 as text) is null", "cast($2 as text) is null", "order by id")
        }
        (false, false, false) => {
            select!("cast($1 as text) is null", "cast($2 as text) is null", "order by id desc")
        }
    };
    let rows: Vec<Row> = tx
        .query(sql)
        .bind(filter.environment.clone())
        .bind(filter.verdict.map(|verdict| verdict.as_str().to_owned()))
        .bind(filter.source.clone())
        .bind(filter.since.unwrap_or(Timestamp::FIRST))
        .bind(filter.until.unwrap_or(Timestamp::LAST))
        .bind(InboundId(range.above))
        .bind(InboundId(range.below))
        .bind(range.fetch)
        .bind(range.offset)
        .all()
        .await?;
    let rows = page.slice(rows);
    let items = rows.items.into_iter().map(shown).collect::<Result<_>>()?;
    Ok(Slice { items, has_more: rows.has_more })
}

/// An inbound event by its id; of one environment, or of any where none is given.
///
/// # Errors
/// When the database fails.
pub async fn inbound_event(
    tx: &mut Tx,
    environment: Option<&str>,
    id: InboundId,
) -> Result<Option<InboundEvent>> {
    let row: Option<Row> = tx
        .query(
            "select id, environment, source, provider_event_id, kind, verdict, reason, notes, verified,
                refused, copies, resent_changed, occurred_at, received_at, recorded_at
             from inbound_events
             where id = $1 and (cast($2 as text) is null or environment = $2)",
        )
        .bind(id)
        .bind(environment.map(str::to_owned))
        .maybe()
        .await?;
    row.map(shown).transpose()
}

/// The headers that were kept of an inbound event, and its bytes.
///
/// # Errors
/// When the database fails.
pub async fn inbound_body(tx: &mut Tx, id: InboundId) -> Result<Option<(Headers, Vec<u8>)>> {
    let row: Option<(Json<Headers>, Vec<u8>)> =
        tx.query("select headers, body from inbound_events where id = $1").bind(id).maybe().await?;
    Ok(row.map(|(headers, body)| (headers.0, body)))
}

fn shown(row: Row) -> Result<InboundEvent> {
    Ok(InboundEvent {
        object: "inbound_event",
        id: row.id,
        live: row.environment.as_deref().is_some_and(is_live),
        environment: row.environment,
        source: row.source,
        event_id: row.provider_event_id,
        kind: row.kind,
        verdict: word(&row.verdict, ("inbound_events", "verdict"), row.id)?,
        reason: row.reason,
        notes: row.notes.0,
        verified: row.verified,
        refused: row.refused,
        copies: row.copies,
        resent_changed: row.resent_changed,
        occurred_at: row.occurred_at,
        received_at: row.received_at,
        recorded_at: row.recorded_at,
    })
}
