//! Facts about this database itself.

use crate::store::{Result, Tx};

/// The setting that holds the fingerprint of `secrets.key`.
pub const KEY_FINGERPRINT: &str = "secrets_key";

/// A setting's value.
///
/// # Errors
/// When the database fails.
pub async fn get(tx: &mut Tx, name: &str) -> Result<Option<String>> {
    let sql = "select value from settings where name = $1";
    Ok(tx.query(sql).bind(name.to_owned()).maybe::<(String,)>().await?.map(|(value,)| value))
}

/// Sets what is not set yet, and gives what is set then.
///
/// # Errors
/// When the database fails.
pub async fn get_or_insert(tx: &mut Tx, name: &str, value: &str) -> Result<String> {
    tx.query("insert into settings (name, value) values ($1, $2) on conflict (name) do nothing")
        .bind(name.to_owned())
        .bind(value.to_owned())
        .execute()
        .await?;
    Ok(get(tx, name).await?.unwrap_or_else(|| value.to_owned()))
}

/// Takes some room and gives it back: fails where the disk is full, once it is committed.
///
/// # Errors
/// When the database takes no writes.
pub async fn try_room(tx: &mut Tx) -> Result<()> {
    /// More than is left over in pages that are in use.
    const BYTES: usize = 64 * 1024;
    const NAME: &str = "room";
    let sql = "insert into settings (name, value) values ($1, $2)
        on conflict (name) do update set value = excluded.value";
    tx.query(sql).bind(NAME.to_owned()).bind("x".repeat(BYTES)).execute().await?;
    tx.query("delete from settings where name = $1").bind(NAME.to_owned()).execute().await?;
    Ok(())
}
