//! Outgoing messages with their tries.

use super::{
    super::{Result, Tx},
    Page, Slice,
};
use crate::model::{
    id::{CustomerId, EndpointId, EventId, MessageId},
    is_live,
    message::MessageStatus,
    time::{Timestamp, millis, millis_or_null},
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// Which messages are listed. All that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct MessageFilter {
    /// Of one environment; none lists all.
    pub environment: Option<String>,
    /// To one endpoint.
    pub endpoint: Option<EndpointId>,
    /// Of one status.
    pub status: Option<MessageStatus>,
    /// Written at this time or later.
    pub since: Option<Timestamp>,
    /// Written before this time.
    pub until: Option<Timestamp>,
}

/// A message as it is shown, without what it says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[schema(as = WebhookMessage)]
pub struct ShownMessage {
    /// Always `webhook_message`.
    pub object: &'static str,
    /// The `webhook-id`.
    pub id: MessageId,
    /// The environment that it belongs to.
    pub environment: String,
    /// Whether that is `live`: real money.
    pub live: bool,
    /// To whom.
    pub endpoint_id: EndpointId,
    /// What is told: the body's `id`.
    pub event_id: EventId,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whom it is about.
    pub customer_id: Option<CustomerId>,
    /// That customer's version.
    pub version: Option<i64>,
    /// `pending`, `delivered`, `dead` or `canceled`.
    #[schema(value_type = MessageStatus)]
    pub status: String,
    /// How many tries counted since its schedule began.
    pub attempts: i64,
    /// When it is tried next, if it is; while it is under way, when another process may take it.
    #[serde(serialize_with = "millis_or_null")]
    pub next_attempt_at: Option<Timestamp>,
    /// When it was written.
    #[serde(serialize_with = "millis")]
    pub created_at: Timestamp,
    /// When it was delivered, given up or called off.
    #[serde(serialize_with = "millis_or_null")]
    pub finished_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: MessageId,
    environment: String,
    endpoint_id: EndpointId,
    event_id: EventId,
    kind: String,
    customer_id: Option<CustomerId>,
    version: Option<i64>,
    status: String,
    attempts: i64,
    due_at: Timestamp,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
}

impl Row {
    fn shown(self) -> ShownMessage {
        ShownMessage {
            object: "webhook_message",
            id: self.id,
            live: is_live(&self.environment),
            environment: self.environment,
            endpoint_id: self.endpoint_id,
            event_id: self.event_id,
            kind: self.kind,
            customer_id: self.customer_id,
            version: self.version,
            next_attempt_at: (self.status == MessageStatus::Pending.as_str())
                .then_some(self.due_at),
            status: self.status,
            attempts: self.attempts,
            created_at: self.created_at,
            finished_at: self.finished_at,
        }
    }
}

/// One look into the index for each endpoint and status, whatever there is beside. `$1` are these.
macro_rules! select {
    ($order:literal) => {
        (
            concat!(
                "select m.id, m.environment, m.endpoint_id, m.event_id, e.kind, m.customer_id, m.version,
                    m.status, m.attempts, m.due_at, m.created_at, m.finished_at
                 from jsonb_to_recordset($1::jsonb) as r(endpoint_id uuid, status text)
                 cross join lateral (
                    select * from messages
                    where endpoint_id = r.endpoint_id and status = r.status and id > $2 and id < $3
                        and created_at >= $4 and created_at < $5
                    order by id ", $order, " limit $6
                 ) as m
                 join outgoing_events as e on e.id = m.event_id
                 order by m.id ", $order, " limit $6"
            ),
            concat!(
                "select m.id, m.environment, m.endpoint_id, m.event_id, e.kind, m.customer_id, m.version,
                    m.status, m.attempts, m.due_at, m.created_at, m.finished_at
                 from (
                    select value->>'endpoint_id' as endpoint_id, value->>'status' as status from jsonb_each($1)
                 ) as r
                 join messages as m on m.id in (
                    select id from messages
                    where endpoint_id = r.endpoint_id and status = r.status and id > $2 and id < $3
                        and created_at >= $4 and created_at < $5
                    order by id ", $order, " limit $6
                 )
                 join outgoing_events as e on e.id = m.event_id
                 order by m.id ", $order, " limit $6"
            ),
        )
    };
}

#[derive(Serialize)]
struct Place {
    endpoint_id: Uuid,
    status: &'static str,
}

/// A page of messages, newest first; none where the cursor names none that the filter's environment holds.
///
/// # Errors
/// When the database fails.
pub async fn messages(
    tx: &mut Tx,
    filter: &MessageFilter,
    page: Page<MessageId>,
) -> Result<Option<Slice<ShownMessage>>> {
    if let Some(cursor) = page.cursor()
        && message(tx, filter.environment.as_deref(), cursor).await?.is_none()
    {
        return Ok(None);
    }
    let endpoints = tx
        .query(
            "select id from endpoints where environment = coalesce($1, environment) and id = coalesce($2, id)",
        )
        .bind(filter.environment.clone())
        .bind(filter.endpoint)
        .all::<(EndpointId,)>()
        .await?;
    let of = |status: MessageStatus| {
        filter.status.is_none_or(|wanted| wanted == status).then_some(status.as_str())
    };
    let places: Vec<Place> = endpoints
        .into_iter()
        .flat_map(|(endpoint,)| {
            MessageStatus::ALL
                .into_iter()
                .filter_map(of)
                .map(move |status| Place { endpoint_id: endpoint.0, status })
        })
        .collect();
    let range = page.range(|id| id.0);
    // Differs because SQLite has no lateral joins.
    let (postgres, sqlite) = if range.ascending { select!("asc") } else { select!("desc") };
    let sql = tx.pick(postgres, sqlite);
    let mut rows: Vec<Row> = tx
        .query(sql)
        .bind_rows(&places)
        .bind(MessageId(range.above))
        .bind(MessageId(range.below))
        .bind(filter.since.unwrap_or(Timestamp::FIRST))
        .bind(filter.until.unwrap_or(Timestamp::LAST))
        .bind(range.fetch.saturating_add(range.offset))
        .all()
        .await?;
    let skipped = usize::try_from(range.offset).unwrap_or(usize::MAX).min(rows.len());
    rows.drain(..skipped);
    let rows = page.slice(rows);
    let items = rows.items.into_iter().map(Row::shown).collect();
    Ok(Some(Slice { items, has_more: rows.has_more }))
}

/// A message by its id; of one environment, or of any where none is given.
///
/// # Errors
/// When the database fails.
pub async fn message(
    tx: &mut Tx,
    environment: Option<&str>,
    id: MessageId,
) -> Result<Option<ShownMessage>> {
    let row: Option<Row> = tx
        .query(
            "select m.id, m.environment, m.endpoint_id, m.event_id, e.kind, m.customer_id, m.version, m.status,
                m.attempts, m.due_at, m.created_at, m.finished_at
             from messages as m join outgoing_events as e on e.id = m.event_id
             where m.id = $1 and m.environment = coalesce($2, m.environment)",
        )
        .bind(id)
        .bind(environment.map(str::to_owned))
        .maybe()
        .await?;
    Ok(row.map(Row::shown))
}

/// What a message says: the body that is sent.
///
/// # Errors
/// When the database fails.
pub async fn message_body(tx: &mut Tx, id: MessageId) -> Result<Option<String>> {
    let row: Option<(String,)> = tx
        .query(
            "select e.body from messages as m join outgoing_events as e on e.id = m.event_id where m.id = $1",
        )
        .bind(id)
        .maybe()
        .await?;
    Ok(row.map(|(body,)| body))
}
