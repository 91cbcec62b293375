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

/// Whether the database has a schema of ours at all, of whatever age.
///
/// # Errors
/// When the database fails.
pub async fn has_schema(tx: &mut Tx) -> Result<bool> {
    // Differs because each database lists its tables in a place of its own.
    let sql = tx.pick(
        "select to_regclass('settings') is not null",
        "select exists (select 1 from sqlite_master where type = 'table' and name = 'settings')",
    );
    Ok(tx.query(sql).one::<(bool,)>().await?.0)
}
