//! Webhook endpoints: who is told. Their secrets come and go sealed, and so do the values of their headers.

use crate::{
    model::{
        endpoint::{
            Audience, Breaker, Endpoint, EndpointSettings, EndpointSpec, SealedSecret, SecretTerm,
            Standing, Subscription,
        },
        id::{EndpointId, MessageId},
        secret::Secret,
        time::Timestamp,
    },
    store::{Result, Tx},
};
use sqlx::types::Json;
use std::collections::BTreeMap;

/// Names the lock of who is told among the database's advisory locks: `audi` in ASCII, and the table of the endpoints,
/// whatever schema it is in.
macro_rules! audience_lock {
    () => {
        "1635083369, 'endpoints'::regclass::oid::int"
    };
}
pub(super) use audience_lock;

mod standing;

pub use standing::{Locked, locked, reserve, stand, succeeded};

#[derive(Debug, sqlx::FromRow)]
struct Row {
    id: EndpointId,
    environment: String,
    name: Option<String>,
    url: String,
    description: Option<String>,
    event_types: Json<Vec<String>>,
    headers: Json<BTreeMap<String, Secret>>,
    settings: Json<EndpointSettings>,
    secrets: Json<Vec<SealedSecret>>,
    enabled: bool,
    disabled_reason: Option<String>,
    breaker: String,
    paused_until: Option<Timestamp>,
    failing_since: Option<Timestamp>,
    failing_message: Option<MessageId>,
    pauses: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Row {
    fn with_secrets(self) -> (Endpoint, Vec<SealedSecret>) {
        let secrets = self.secrets.0.clone();
        (self.endpoint(), secrets)
    }

    fn endpoint(self) -> Endpoint {
        Endpoint {
            object: "webhook_endpoint",
            id: self.id,
            secrets: terms(&self.secrets),
            standing: Standing {
                breaker: Breaker::from_name(&self.breaker).unwrap_or_default(),
                paused_until: self.paused_until,
                failing_since: self.failing_since,
                failing_message: self.failing_message,
                pauses: self.pauses,
            },
            spec: EndpointSpec {
                environment: self.environment.into(),
                name: self.name,
                url: self.url,
                description: self.description,
                event_types: self.event_types.0,
                headers: self.headers.0,
                settings: self.settings.0,
            },
            enabled: self.enabled,
            disabled_reason: self.disabled_reason,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

/// The newest first: they are kept in the order of their making.
fn terms(kept: &[SealedSecret]) -> Vec<SecretTerm> {
    kept.iter().rev().map(|kept| SecretTerm { expires_at: kept.until, public_key: None }).collect()
}

/// A [`Secret`] hides itself when serialized: what is kept is the text.
fn exposed(headers: &BTreeMap<String, Secret>) -> Json<BTreeMap<String, String>> {
    let exposed = |(name, value): (&String, &Secret)| (name.clone(), value.expose().to_owned());
    Json(headers.iter().map(exposed).collect())
}

/// Waits until no batch and no command is under way, and keeps the next ones from beginning until this transaction ends:
/// each holds this lock shared since before it read who is told. So whatever is committed after an endpoint was made, was
/// given other types or was switched on is told to it. What begins meanwhile waits behind us: so we do not wait for long.
async fn gather(tx: &mut Tx) -> Result<()> {
    // Differs because SQLite has one writer: its transaction is the lock.
    if matches!(tx, Tx::Postgres(_)) {
        tx.query("set local lock_timeout = '2s'").execute().await?;
        let sql = concat!("select count(pg_advisory_xact_lock(", audience_lock!(), "))");
        tx.query(sql).one::<(i64,)>().await?;
        tx.query("set local lock_timeout to default").execute().await?;
    }
    Ok(())
}

/// Makes an endpoint; `None` when its environment has one of that name already.
///
/// # Errors
/// When the database fails.
pub async fn create(
    tx: &mut Tx,
    id: EndpointId,
    spec: &EndpointSpec,
    secret: SealedSecret,
    now: Timestamp,
) -> Result<Option<Endpoint>> {
    gather(tx).await?;
    let made = tx
        .query(
            "insert into endpoints (id, environment, name, url, description, event_types, headers,
                settings, secrets, enabled, disabled_reason, deleted, breaker, pauses, created_at, updated_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, null, $11, 'closed', 0, $12, $12)
             on conflict (environment, name) do nothing",
        )
        .bind(id)
        .bind(spec.environment.to_string())
        .bind(spec.name.clone())
        .bind(spec.url.clone())
        .bind(spec.description.clone())
        .bind(Json(spec.event_types.clone()))
        .bind(exposed(&spec.headers))
        .bind(Json(spec.settings.clone()))
        .bind(Json(vec![secret.clone()]))
        .bind(true)
        .bind(false)
        .bind(now)
        .execute()
        .await?;
    Ok((made == 1).then(|| Endpoint {
        object: "webhook_endpoint",
        id,
        standing: Standing::default(),
        secrets: terms(&[secret]),
        spec: spec.clone(),
        enabled: true,
        disabled_reason: None,
        created_at: now,
        updated_at: now,
    }))
}

/// The endpoint of a name in an environment with its secrets, to be changed in this transaction: another one waits.
///
/// # Errors
/// When the database fails.
pub async fn lock_named(
    tx: &mut Tx,
    environment: &str,
    name: &str,
) -> Result<Option<(Endpoint, Vec<SealedSecret>)>> {
    // Differs because SQLite has one writer, and no row locks.
    let sql = tx.pick(
        "select * from endpoints where environment = $1 and name = $2 and not deleted for update",
        "select * from endpoints where environment = $1 and name = $2 and not deleted",
    );
    let query = tx.query(sql).bind(environment.to_owned()).bind(name.to_owned());
    Ok(query.maybe::<Row>().await?.map(Row::with_secrets))
}

/// Gives an endpoint what its owner says now, in place of what was said before; its environment stays.
///
/// # Errors
/// When the database fails, or another endpoint of its environment has the name.
pub async fn change(
    tx: &mut Tx,
    id: EndpointId,
    before: &EndpointSpec,
    spec: &EndpointSpec,
    now: Timestamp,
) -> Result<()> {
    if before.event_types != spec.event_types {
        gather(tx).await?;
    }
    tx.query(
        "update endpoints set name = $2, url = $3, description = $4, event_types = $5, headers = $6,
            settings = $7, updated_at = $8
         where id = $1",
    )
    .bind(id)
    .bind(spec.name.clone())
    .bind(spec.url.clone())
    .bind(spec.description.clone())
    .bind(Json(spec.event_types.clone()))
    .bind(exposed(&spec.headers))
    .bind(Json(spec.settings.clone()))
    .bind(now)
    .execute()
    .await?;
    if before.settings.ordered != spec.settings.ordered {
        // What waits keeps the order that is asked for now.
        // Differs because SQLite has one writer, and no row locks.
        let sql = tx.pick(
            "update messages set ordered = $2 and customer_id is not null and version is not null
             where id in (
                select id from messages where endpoint_id = $1 and status = 'pending' order by id for update)",
            "update messages set ordered = $2 and customer_id is not null and version is not null
             where endpoint_id = $1 and status = 'pending'",
        );
        tx.query(sql).bind(id).bind(spec.settings.ordered).execute().await?;
    }
    Ok(())
}

/// One endpoint with its secrets, to be changed in this transaction: another one waits.
///
/// # Errors
/// When the database fails.
pub async fn lock(
    tx: &mut Tx,
    environment: Option<&str>,
    id: EndpointId,
) -> Result<Option<(Endpoint, Vec<SealedSecret>)>> {
    // Differs because SQLite has one writer, and no row locks.
    let sql = tx.pick(
        "select * from endpoints where id = $1 and environment = coalesce($2, environment) and not deleted
         for update",
        "select * from endpoints where id = $1 and environment = coalesce($2, environment) and not deleted",
    );
    let row = tx.query(sql).bind(id).bind(environment.map(str::to_owned)).maybe::<Row>().await?;
    Ok(row.map(Row::with_secrets))
}

/// An endpoint's secrets, the newest last.
///
/// # Errors
/// When the database fails.
pub async fn secrets(tx: &mut Tx, id: EndpointId) -> Result<Vec<SealedSecret>> {
    let row: Option<(Json<Vec<SealedSecret>>,)> =
        tx.query("select secrets from endpoints where id = $1").bind(id).maybe().await?;
    Ok(row.map(|(Json(secrets),)| secrets).unwrap_or_default())
}

/// Keeps these secrets of an endpoint, the newest last.
///
/// # Errors
/// When the database fails.
pub async fn set_secrets(
    tx: &mut Tx,
    id: EndpointId,
    secrets: &[SealedSecret],
    now: Timestamp,
) -> Result<()> {
    tx.query("update endpoints set secrets = $2, updated_at = $3 where id = $1")
        .bind(id)
        .bind(Json(secrets.to_vec()))
        .bind(now)
        .execute()
        .await?;
    Ok(())
}

/// Deletes an endpoint with its secrets and headers: nothing more is written for it, its name is free again. What waits for it is to be called
/// off by [`messages::cancel_orphans`](super::messages::cancel_orphans). Whether there was one.
///
/// # Errors
/// When the database fails.
pub async fn delete(
    tx: &mut Tx,
    environment: Option<&str>,
    id: EndpointId,
    now: Timestamp,
) -> Result<bool> {
    let deleted = tx
        .query(
            "update endpoints set deleted = $3, enabled = $4, name = null, secrets = $5, headers = $6,
                updated_at = $7
             where id = $1 and environment = coalesce($2, environment) and not deleted",
        )
        .bind(id)
        .bind(environment.map(str::to_owned))
        .bind(true)
        .bind(false)
        .bind(Json(Vec::<SealedSecret>::new()))
        .bind(Json(BTreeMap::<String, String>::new()))
        .bind(now)
        .execute()
        .await?;
    Ok(deleted == 1)
}

/// One endpoint.
///
/// # Errors
/// When the database fails.
pub async fn get(tx: &mut Tx, id: EndpointId) -> Result<Option<Endpoint>> {
    let sql = "select * from endpoints where id = $1 and not deleted";
    Ok(tx.query(sql).bind(id).maybe::<Row>().await?.map(Row::endpoint))
}

/// All endpoints, of one environment or of all, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn list(tx: &mut Tx, environment: Option<&str>) -> Result<Vec<Endpoint>> {
    let rows = tx
        .query(
            "select * from endpoints where not deleted and environment = coalesce($1, environment)
             order by id",
        )
        .bind(environment.map(str::to_owned))
        .all::<Row>()
        .await?;
    Ok(rows.into_iter().map(Row::endpoint).collect())
}

/// Whether an environment has an endpoint of a name.
///
/// # Errors
/// When the database fails.
pub async fn named(tx: &mut Tx, environment: &str, name: &str) -> Result<bool> {
    let sql = "select id from endpoints where environment = $1 and name = $2";
    let row: Option<(EndpointId,)> =
        tx.query(sql).bind(environment.to_owned()).bind(name.to_owned()).maybe().await?;
    Ok(row.is_some())
}

/// Switches an endpoint on, or off for a reason; whether that changed anything. One that is switched on begins anew:
/// how it answered before is forgotten, and what waited for it is due.
///
/// # Errors
/// When the database fails.
pub async fn set_enabled(
    tx: &mut Tx,
    id: EndpointId,
    enabled: bool,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<bool> {
    let sql = "select count(*) from endpoints where id = $1 and not deleted and not enabled";
    if enabled && tx.query(sql).bind(id).one::<(i64,)>().await?.0 > 0 {
        gather(tx).await?;
    }
    let changed = tx
        .query(
            "update endpoints set enabled = $2, disabled_reason = $3, updated_at = $4, breaker = 'closed',
                paused_until = null, failing_since = null, failing_message = null, pauses = 0
             where id = $1 and not deleted and enabled <> $2",
        )
        .bind(id)
        .bind(enabled)
        .bind(reason.map(str::to_owned))
        .bind(now)
        .execute()
        .await?;
    Ok(changed == 1)
}

/// The enabled endpoints with their secrets.
///
/// # Errors
/// When the database fails.
pub async fn enabled(tx: &mut Tx) -> Result<Vec<(Endpoint, Vec<SealedSecret>)>> {
    let sql = "select * from endpoints where enabled and not deleted order by id";
    let rows = tx.query(sql).all::<Row>().await?;
    Ok(rows.into_iter().map(Row::with_secrets).collect())
}

/// An enabled endpoint, and what time it is.
#[derive(sqlx::FromRow)]
pub(super) struct ListenerRow {
    id: EndpointId,
    environment: String,
    event_types: Json<Vec<String>>,
    settings: Json<EndpointSettings>,
    breaker: String,
    paused_until: Option<Timestamp>,
    now: Timestamp,
}

/// Those that listen, by their ids; what time it is there, by `clock` where nobody listens.
pub(super) fn gathered(mut listeners: Vec<ListenerRow>, clock: Timestamp) -> Audience {
    listeners.sort_by_key(|row| row.id);
    let now = listeners.first().map_or(clock, |row| row.now);
    let subscription = |row: ListenerRow| {
        let settings = row.settings.0;
        let standing = Standing {
            breaker: Breaker::from_name(&row.breaker).unwrap_or_default(),
            paused_until: row.paused_until,
            ..Standing::default()
        };
        Subscription {
            endpoint_id: row.id,
            environment: row.environment,
            event_types: row.event_types.0,
            ordered: settings.ordered,
            is_direct: !settings.ordered && settings.rate_limit.is_none() && !standing.is_held(now),
        }
    };
    Audience { subscriptions: listeners.into_iter().map(subscription).collect(), now }
}

/// Who is told what; `clock` counts where the database has no clock of its own.
///
/// # Errors
/// When the database fails.
pub async fn audience(tx: &mut Tx, clock: Timestamp) -> Result<Audience> {
    // Differs because processes share the one's clock, and not the other's.
    let sql = tx.pick(
        "select id, environment, event_types, settings, breaker, paused_until, clock_timestamp() as now
         from endpoints where enabled and not deleted and $1 is not null",
        "select id, environment, event_types, settings, breaker, paused_until, $1 as now
         from endpoints where enabled and not deleted",
    );
    Ok(gathered(tx.query(sql).bind(clock).all().await?, clock))
}
