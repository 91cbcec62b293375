//! The schema's migrations: applying them, and telling how a database stands against them.

use crate::store::{Db, Result, Tx};
use sqlx::migrate::Migrator;
use std::fmt;

static POSTGRES: Migrator = sqlx::migrate!("src/store/migrations/postgres");
static SQLITE: Migrator = sqlx::migrate!("src/store/migrations/sqlite");

/// How the schema of a database stands against this program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Schema {
    /// All that this program knows is applied. What is newer, too, may be: a release leaves what the one before it needs.
    Current,
    /// There is none.
    Missing,
    /// It is older than this program: the first migration that is missing.
    Behind(i64),
    /// This migration was applied with other statements than those that this program has.
    Other(i64),
}

impl Schema {
    /// What is wrong, and what to do about it.
    pub fn fault(self) -> Option<(String, &'static str)> {
        const MIGRATE: &str = "run `customer-sync migrate`";
        let problem = self.to_string();
        match self {
            Self::Current => None,
            Self::Missing | Self::Behind(_) => Some((problem, MIGRATE)),
            Self::Other(_) => Some((problem, "use the program that made it, or another database")),
        }
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => f.write_str("the schema is up to date"),
            Self::Missing => f.write_str("the schema is missing"),
            Self::Behind(version) => {
                write!(f, "the schema is older than this program: migration {version} is missing")
            }
            Self::Other(version) => {
                write!(f, "migration {version} of the schema is not the one of this program")
            }
        }
    }
}

impl Db {
    /// Brings the schema up to date.
    ///
    /// # Errors
    /// When a migration fails, or the schema is newer than this program.
    pub async fn migrate(&self) -> Result<()> {
        match self {
            Self::Postgres { pool, .. } => POSTGRES.run(pool).await?,
            Self::Sqlite { writer, .. } => SQLITE.run(writer).await?,
        }
        Ok(())
    }
}

/// How the schema stands.
///
/// # Errors
/// When the database fails.
pub async fn schema(tx: &mut Tx) -> Result<Schema> {
    // Differs because each database lists its tables in a place of its own.
    let sql = tx.pick(
        "select to_regclass('_sqlx_migrations') is not null",
        "select exists (select 1 from sqlite_master where type = 'table' and name = '_sqlx_migrations')",
    );
    if !tx.query(sql).one::<(bool,)>().await?.0 {
        return Ok(Schema::Missing);
    }
    let sql = "select version, checksum from _sqlx_migrations where success";
    let applied = tx.query(sql).all::<(i64, Vec<u8>)>().await?;
    let known = match tx {
        Tx::Postgres(_) => &POSTGRES,
        Tx::Sqlite(_) => &SQLITE,
    };
    let up = known.iter().filter(|migration| !migration.migration_type.is_down_migration());
    for migration in up {
        match applied.iter().find(|(version, _)| *version == migration.version) {
            Some((_, checksum)) if *checksum == *migration.checksum => {}
            Some(_) => return Ok(Schema::Other(migration.version)),
            None if applied.is_empty() => return Ok(Schema::Missing),
            None => return Ok(Schema::Behind(migration.version)),
        }
    }
    Ok(Schema::Current)
}
