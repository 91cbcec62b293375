//! API keys. Of a key itself only its SHA-256 is kept: 32 random bytes cannot be guessed back from it.

use super::{Error, Result, Tx};
use crate::model::{
    id::KeyId,
    is_live,
    key::{ApiKey, Scope, prefix},
    secret::Secret,
    time::Timestamp,
};
use chrono::TimeDelta;
use sha2::{Digest, Sha256};

/// How often at most a key's last use is written down, in seconds.
pub const TOUCHED_EVERY: i64 = 60;

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Ours.
    pub id: KeyId,
    /// The only environment that it will see.
    pub environment: String,
    /// What it may do.
    pub scope: Scope,
    /// What its owner calls it.
    pub name: Option<String>,
    /// What makes it a secret: [`crate::keyring::new_token`].
    pub token: Secret,
    /// Now.
    pub created_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: KeyId,
    environment: String,
    scope: String,
    name: Option<String>,
    hint: String,
    created_at: Timestamp,
    last_used_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
}

/// Makes a key; its secret is to be shown once, and cannot be had again.
///
/// # Errors
/// When the database fails.
pub async fn create(tx: &mut Tx, new: NewKey) -> Result<Secret> {
    let random = new.token.expose();
    let prefix = prefix(&new.environment);
    let secret = format!("{prefix}{random}");
    let last: String = random.chars().skip(random.len().saturating_sub(4)).collect();
    tx.query(
        "insert into api_keys (id, environment, scope, name, hash, hint, created_at)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(new.id)
    .bind(new.environment)
    .bind(new.scope.as_str().to_owned())
    .bind(new.name)
    .bind(hash(&secret))
    .bind(format!("{prefix}…{last}"))
    .bind(new.created_at)
    .execute()
    .await?;
    Ok(Secret::new(secret))
}

/// Keys of one environment or of all, newest first; revoked ones too.
///
/// # Errors
/// When the database fails.
pub async fn list(tx: &mut Tx, environment: Option<&str>) -> Result<Vec<ApiKey>> {
    let rows: Vec<Row> = tx
        .query(
            "select id, environment, scope, name, hint, created_at, last_used_at, revoked_at
             from api_keys where cast($1 as text) is null or environment = $1 order by id desc",
        )
        .bind(environment.map(str::to_owned))
        .all()
        .await?;
    rows.into_iter().map(shown).collect()
}

/// Revokes a key for good; whether there was one that was not revoked yet.
///
/// # Errors
/// When the database fails.
pub async fn revoke(tx: &mut Tx, id: KeyId, now: Timestamp) -> Result<bool> {
    let touched = tx
        .query("update api_keys set revoked_at = $2 where id = $1 and revoked_at is null")
        .bind(id)
        .bind(now)
        .execute()
        .await?;
    Ok(touched > 0)
}

/// What is to be known of a key that a caller presents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// Which key.
    pub id: KeyId,
    /// The only environment that it sees.
    pub environment: String,
    /// What it may do.
    pub scope: Scope,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// The same as a statement tells it, whatever else it reads.
#[derive(sqlx::FromRow)]
#[expect(clippy::struct_field_names, reason = "columns beside those of other tables")]
pub(super) struct HeldRow {
    key_id: KeyId,
    key_environment: String,
    key_scope: String,
    key_last_used_at: Option<Timestamp>,
}

impl HeldRow {
    pub(super) fn held(self) -> Result<Held> {
        Ok(Held {
            id: self.key_id,
            environment: self.key_environment,
            scope: scope(&self.key_scope, self.key_id)?,
            last_used_at: self.key_last_used_at,
        })
    }
}

/// The key that a caller presents, unless it is unknown or revoked. A single statement.
///
/// # Errors
/// When the database fails.
pub async fn find(tx: &mut Tx, presented: &str) -> Result<Option<Held>> {
    let row: Option<HeldRow> = tx
        .query(
            "select id as key_id, environment as key_environment, scope as key_scope,
                 last_used_at as key_last_used_at
             from api_keys where hash = $1 and revoked_at is null",
        )
        .bind(hash(presented))
        .maybe()
        .await?;
    row.map(HeldRow::held).transpose()
}

/// Whether a use of a key now is to be written down: the last one is a minute old.
pub fn is_due(last_used_at: Option<Timestamp>, now: Timestamp) -> bool {
    last_used_at.is_none_or(|last| now >= last.plus(TimeDelta::seconds(TOUCHED_EVERY)))
}

/// Writes down that a key was used.
///
/// # Errors
/// When the database fails.
pub async fn touch(tx: &mut Tx, id: KeyId, now: Timestamp) -> Result<()> {
    tx.query(
        "update api_keys set last_used_at = $2
         where id = $1 and (last_used_at is null or last_used_at < $2)",
    )
    .bind(id)
    .bind(now)
    .execute()
    .await?;
    Ok(())
}

/// What is kept of a key.
pub fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

fn scope(name: &str, key: KeyId) -> Result<Scope> {
    Scope::from_name(name).ok_or_else(|| Error::Row {
        table: "api_keys",
        column: "scope",
        row: key.to_string(),
        why: "it is neither read nor write nor admin".into(),
    })
}

fn shown(row: Row) -> Result<ApiKey> {
    let scope = scope(&row.scope, row.id)?;
    Ok(ApiKey {
        object: "api_key",
        id: row.id,
        live: is_live(&row.environment),
        environment: row.environment,
        scope,
        name: row.name,
        hint: row.hint,
        created_at: row.created_at,
        last_used_at: row.last_used_at,
        revoked_at: row.revoked_at,
    })
}
