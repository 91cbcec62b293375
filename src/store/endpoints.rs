//! Webhook endpoints: who is told. Their secrets come and go sealed.

use crate::{
    model::{
        endpoint::{Endpoint, EndpointSettings, EndpointSpec, SealedSecret, Subscription},
        id::EndpointId,
        secret::Secret,
        time::Timestamp,
    },
    store::{Result, Tx},
};
use sqlx::types::Json;
use std::collections::BTreeMap;

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
    deleted: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Row {
    fn endpoint(self) -> Endpoint {
        Endpoint {
            id: self.id,
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

/// A [`Secret`] hides itself when serialized: what is kept is the text.
fn exposed(headers: &BTreeMap<String, Secret>) -> Json<BTreeMap<String, String>> {
    let exposed = |(name, value): (&String, &Secret)| (name.clone(), value.expose().to_owned());
    Json(headers.iter().map(exposed).collect())
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
    let made = tx
        .query(
            "insert into endpoints (id, environment, name, url, description, event_types, headers,
                settings, secrets, enabled, disabled_reason, deleted, created_at, updated_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, null, $11, $12, $12)
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
        .bind(Json(vec![secret]))
        .bind(true)
        .bind(false)
        .bind(now)
        .execute()
        .await?;
    Ok((made == 1).then(|| Endpoint {
        id,
        spec: spec.clone(),
        enabled: true,
        disabled_reason: None,
        created_at: now,
        updated_at: now,
    }))
}

/// What [`declare`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Declared {
    /// There was none of that name.
    Created,
    /// It differed.
    Updated,
    /// It was there just so.
    Unchanged,
}

/// Makes or updates the endpoint of a name in an environment; whether it is enabled stays as it is.
///
/// `secret` is shown what is kept (nothing, for a new endpoint) and says what replaces it, if anything; a new
/// endpoint without a secret sends nothing.
///
/// # Errors
/// When the database fails.
pub async fn declare(
    tx: &mut Tx,
    id: EndpointId,
    spec: &EndpointSpec,
    secret: impl Fn(&[SealedSecret]) -> Option<SealedSecret> + Send,
    now: Timestamp,
) -> Result<Declared> {
    // Differs because SQLite has one writer, and no row locks.
    let sql = tx.pick(
        "select * from endpoints where environment = $1 and name = $2 for update",
        "select * from endpoints where environment = $1 and name = $2",
    );
    let environment = spec.environment.to_string();
    let mut kept =
        tx.query(sql).bind(environment.clone()).bind(spec.name.clone()).maybe::<Row>().await?;
    if kept.is_none()
        && let Some(secret) = secret(&[])
    {
        if create(tx, id, spec, secret, now).await?.is_some() {
            return Ok(Declared::Created);
        }
        // Another process was quicker.
        kept = tx.query(sql).bind(environment).bind(spec.name.clone()).maybe::<Row>().await?;
    }
    let Some(kept) = kept else { return Ok(Declared::Unchanged) };
    let replaced = secret(&kept.secrets);
    let (id, deleted, secrets) = (kept.id, kept.deleted, kept.secrets.clone());
    if replaced.is_none() && !deleted && kept.endpoint().spec == *spec {
        return Ok(Declared::Unchanged);
    }
    tx.query(
        "update endpoints set url = $2, description = $3, event_types = $4, headers = $5, settings = $6,
            secrets = $7, deleted = $8, updated_at = $9
         where id = $1",
    )
    .bind(id)
    .bind(spec.url.clone())
    .bind(spec.description.clone())
    .bind(Json(spec.event_types.clone()))
    .bind(exposed(&spec.headers))
    .bind(Json(spec.settings.clone()))
    .bind(replaced.map_or(secrets, |secret| Json(vec![secret])))
    .bind(false)
    .bind(now)
    .execute()
    .await?;
    Ok(Declared::Updated)
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

/// Switches an endpoint on, or off for a reason; whether that changed anything.
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
    let changed = tx
        .query(
            "update endpoints set enabled = $2, disabled_reason = $3, updated_at = $4
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
    let mut rows = tx.query(sql).all::<Row>().await?;
    let secrets: Vec<_> = rows.iter_mut().map(|row| std::mem::take(&mut row.secrets.0)).collect();
    Ok(rows.into_iter().map(Row::endpoint).zip(secrets).collect())
}

/// Who is told what: the enabled endpoints' patterns.
///
/// # Errors
/// When the database fails.
pub async fn subscriptions(tx: &mut Tx) -> Result<Vec<Subscription>> {
    let rows = tx
        .query(
            "select id, environment, event_types from endpoints where enabled and not deleted
             order by id",
        )
        .all::<(EndpointId, String, Json<Vec<String>>)>()
        .await?;
    let subscription = |(endpoint_id, environment, Json(event_types))| Subscription {
        endpoint_id,
        environment,
        event_types,
    };
    Ok(rows.into_iter().map(subscription).collect())
}
