//! Recoveries: dead messages that are sent again, as a job that survives restarts.
//!
//! A job goes from endpoint to endpoint of its environment, and of each from message to message. Each step moves the
//! messages and the job's own place in one transaction: none is left out, none is taken twice.

use crate::{
    model::{
        id::{EndpointId, MessageId, RecoveryId},
        message::EventType,
        time::{Timestamp, millis, millis_or_null},
    },
    store::{Result, Tx},
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// Which dead messages are meant. All that is given must hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    /// Of this environment.
    pub environment: String,
    /// To one endpoint.
    pub endpoint: Option<EndpointId>,
    /// Of one type, or of those of a family: `payment.*`.
    pub event_type: Option<String>,
    /// Written at this time or later.
    pub since: Option<Timestamp>,
    /// Written before this time.
    pub until: Timestamp,
}

/// A recovery as it is shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[schema(as = WebhookRecovery)]
pub struct Recovery {
    /// Always `webhook_recovery`.
    pub object: &'static str,
    /// Our id of it.
    pub id: RecoveryId,
    /// The environment that it belongs to.
    pub environment: String,
    /// Whose messages, where they are one endpoint's.
    pub endpoint_id: Option<EndpointId>,
    /// Of which type or family, where that was said.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// Those that were written at this time or later.
    #[serde(serialize_with = "millis_or_null")]
    pub since: Option<Timestamp>,
    /// And before this one.
    #[serde(serialize_with = "millis")]
    pub until: Timestamp,
    /// `running`, `done` or `canceled`.
    #[schema(pattern = "^(running|done|canceled)$")]
    pub status: &'static str,
    /// How many messages are due again so far.
    pub recovered: i64,
    /// When it was asked for.
    #[serde(serialize_with = "millis")]
    pub created_at: Timestamp,
    /// When it was done or called off.
    #[serde(serialize_with = "millis_or_null")]
    pub finished_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: RecoveryId,
    environment: String,
    endpoint_id: Option<EndpointId>,
    event_type: Option<String>,
    since: Option<Timestamp>,
    before: Timestamp,
    place_endpoint: EndpointId,
    place: MessageId,
    recovered: i64,
    canceled: bool,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
}

impl Row {
    fn shown(self) -> Recovery {
        Recovery {
            object: "webhook_recovery",
            id: self.id,
            environment: self.environment,
            endpoint_id: self.endpoint_id,
            event_type: self.event_type,
            since: self.since,
            until: self.before,
            status: match self.finished_at {
                None => "running",
                Some(_) if self.canceled => "canceled",
                Some(_) => "done",
            },
            recovered: self.recovered,
            created_at: self.created_at,
            finished_at: self.finished_at,
        }
    }

    /// Whether a dead message is meant. A test is not sent again, whoever asks.
    fn takes(&self, dead: &Dead) -> bool {
        let of_type = EventType::from_name(&dead.kind).is_some_and(|kind| {
            kind != EventType::WebhookTest
                && self.event_type.as_ref().is_none_or(|pattern| kind.matches(pattern))
        });
        of_type
            && self.since.is_none_or(|since| dead.created_at >= since)
            && dead.created_at < self.before
    }
}

#[derive(sqlx::FromRow)]
struct Dead {
    id: MessageId,
    kind: String,
    created_at: Timestamp,
}

/// Asks for a recovery. Some process with the role `deliver` carries it out.
///
/// # Errors
/// When the database fails.
pub async fn create(
    tx: &mut Tx,
    id: RecoveryId,
    filter: Filter,
    now: Timestamp,
) -> Result<Recovery> {
    let row = Row {
        id,
        environment: filter.environment,
        endpoint_id: filter.endpoint,
        event_type: filter.event_type,
        since: filter.since,
        before: filter.until,
        place_endpoint: EndpointId(Uuid::nil()),
        place: MessageId(Uuid::nil()),
        recovered: 0,
        canceled: false,
        created_at: now,
        finished_at: None,
    };
    tx.query(
        "insert into recoveries (id, environment, endpoint_id, event_type, since, before, place_endpoint,
            place, recovered, canceled, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, 0, false, $9)",
    )
    .bind(row.id)
    .bind(row.environment.clone())
    .bind(row.endpoint_id)
    .bind(row.event_type.clone())
    .bind(row.since)
    .bind(row.before)
    .bind(row.place_endpoint)
    .bind(row.place)
    .bind(now)
    .execute()
    .await?;
    Ok(row.shown())
}

/// An environment's recoveries, or one endpoint's of it, the newest first: the last hundred.
///
/// # Errors
/// When the database fails.
pub async fn list(
    tx: &mut Tx,
    environment: &str,
    endpoint: Option<EndpointId>,
) -> Result<Vec<Recovery>> {
    let rows = tx
        .query(
            "select * from recoveries where environment = $1 and ($2 is null or endpoint_id = $2)
             order by id desc limit 100",
        )
        .bind(environment.to_owned())
        .bind(endpoint)
        .all::<Row>()
        .await?;
    Ok(rows.into_iter().map(Row::shown).collect())
}

/// One recovery, of one environment where that is said.
///
/// # Errors
/// When the database fails.
pub async fn get(
    tx: &mut Tx,
    environment: Option<&str>,
    id: RecoveryId,
) -> Result<Option<Recovery>> {
    let sql = "select * from recoveries where id = $1 and environment = coalesce($2, environment)";
    let row = tx.query(sql).bind(id).bind(environment.map(str::to_owned)).maybe::<Row>().await?;
    Ok(row.map(Row::shown))
}

/// Calls a recovery off, of one environment where that is said; whether it still ran. What it made due stays due.
///
/// # Errors
/// When the database fails.
pub async fn cancel(
    tx: &mut Tx,
    environment: Option<&str>,
    id: RecoveryId,
    now: Timestamp,
) -> Result<bool> {
    let canceled = tx
        .query(
            "update recoveries set canceled = true, finished_at = $3
             where id = $1 and environment = coalesce($2, environment) and finished_at is null",
        )
        .bind(id)
        .bind(environment.map(str::to_owned))
        .bind(now)
        .execute()
        .await?;
    Ok(canceled > 0)
}

/// Carries the oldest recovery on by a look at so many messages at most. What became of it; none where none runs, or
/// another process is at it.
///
/// # Errors
/// When the database fails.
pub async fn step(tx: &mut Tx, most: i64, now: Timestamp) -> Result<Option<Recovery>> {
    // Differs because SQLite has one writer, and no row locks.
    let sql = tx.pick(
        "select * from recoveries where finished_at is null order by id limit 1 for update skip locked",
        "select * from recoveries where finished_at is null order by id limit 1",
    );
    let Some(mut row) = tx.query(sql).maybe::<Row>().await? else { return Ok(None) };
    if let Some(endpoint) = next_endpoint(tx, &row).await? {
        if endpoint != row.place_endpoint {
            (row.place_endpoint, row.place) = (endpoint, MessageId(Uuid::nil()));
        }
        // A message that dies again meanwhile has its place behind it.
        let looked_at = tx
            .query(
                "select m.id, e.kind, m.created_at
                 from messages as m join outgoing_events as e on e.id = m.event_id
                 where m.endpoint_id = $1 and m.status = 'dead' and m.id > $2
                 order by m.id limit $3",
            )
            .bind(endpoint)
            .bind(row.place)
            .bind(most)
            .all::<Dead>()
            .await?;
        let meant = looked_at.iter().filter(|dead| row.takes(dead)).map(|dead| dead.id.0).collect();
        let moved = revive(tx, meant, now).await?;
        row.recovered = row.recovered.saturating_add(i64::try_from(moved).unwrap_or(i64::MAX));
        row.place = looked_at.last().map_or(row.place, |dead| dead.id);
        if i64::try_from(looked_at.len()).is_ok_and(|count| count < most) {
            let behind = endpoint.0.as_u128().saturating_add(1);
            row.place_endpoint = EndpointId(Uuid::from_u128(behind));
        }
    }
    row.finished_at = next_endpoint(tx, &row).await?.is_none().then_some(now);
    tx.query(
        "update recoveries set place_endpoint = $2, place = $3, recovered = $4, finished_at = $5 where id = $1",
    )
    .bind(row.id)
    .bind(row.place_endpoint)
    .bind(row.place)
    .bind(row.recovered)
    .bind(row.finished_at)
    .execute()
    .await?;
    Ok(Some(row.shown()))
}

/// The endpoint that a recovery is at.
async fn next_endpoint(tx: &mut Tx, row: &Row) -> Result<Option<EndpointId>> {
    let found: Option<(EndpointId,)> = tx
        .query(
            "select id from endpoints
             where environment = $1 and id >= $2 and id = coalesce($3, id) and not deleted
             order by id limit 1",
        )
        .bind(row.environment.clone())
        .bind(row.place_endpoint)
        .bind(row.endpoint_id)
        .maybe()
        .await?;
    Ok(found.map(|(id,)| id))
}

/// Makes dead messages due; how many there were.
async fn revive(tx: &mut Tx, ids: Vec<Uuid>, now: Timestamp) -> Result<u64> {
    if ids.is_empty() {
        return Ok(0);
    }
    // Differs because the rows of a set are read differently.
    let sql = tx.pick(
        "update messages set status = 'pending', attempts = 0, fresh = false, due_at = $2, finished_at = null
         where id in (select id from jsonb_to_recordset($1::jsonb) as r(id uuid)) and status = 'dead'",
        "update messages set status = 'pending', attempts = 0, fresh = false, due_at = $2, finished_at = null
         where id in (select value->>'id' from jsonb_each($1)) and status = 'dead'",
    );
    Ok(tx.query(sql).bind_ids(ids).bind(now).execute().await?)
}
