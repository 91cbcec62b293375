//! What must be so before the daemon works: the schema, the key, the declared endpoints.

use super::settings::declared_endpoints;
use crate::{
    clock::Clock,
    config::Config,
    deliver::{manage, sealed, signature::new_secret},
    health::{self, Health},
    keyring::Keyring,
    model::{endpoint::SealedSecret, id::EndpointId, secret::Secret, time::Timestamp},
    pipeline::Pipeline,
    retry::Backoff,
    shutdown::Shutdown,
    store::{self, Db, endpoints, migrations, settings},
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// The database was written under another `secrets.key`: its endpoint secrets cannot be opened, and the hashes of
/// deleted references would not be recognized.
#[derive(Debug, thiserror::Error)]
pub enum KeyMismatch {
    /// The key that is set or in the file is another one.
    #[error(
        "secrets.key is not the key that this database was written under: set the one that it was, or restore {}",
        .0.display()
    )]
    Other(PathBuf),
    /// There was none.
    #[error(
        "secrets.key is not set and {} is missing, but this database was written under a key: restore that file, or set secrets.key",
        .0.display()
    )]
    Missing(PathBuf),
}

/// The key that a database was written under; a database without one is written under this key from now on.
///
/// # Errors
/// When the key cannot be had, is another one, or the database is away.
pub async fn keyring(config: &Config, db: &Db) -> anyhow::Result<Keyring> {
    let key = config.key()?;
    check_fingerprint(config, db, &key.keyring, key.made.as_deref()).await?;
    Ok(key.keyring)
}

async fn check_fingerprint(
    config: &Config,
    db: &Db,
    keyring: &Keyring,
    made: Option<&Path>,
) -> anyhow::Result<()> {
    let ours = keyring.fingerprint();
    let mut tx = db.begin().await.map_err(store::Error::from)?;
    let known = settings::get_or_insert(&mut tx, settings::KEY_FINGERPRINT, &ours).await?;
    tx.commit().await.map_err(store::Error::from)?;
    if known == ours {
        return Ok(());
    }
    let Some(made) = made else { return Err(KeyMismatch::Other(config.key_file()).into()) };
    // Made a moment ago and good for nothing: the next start must not take it for the key.
    if let Err(error) = std::fs::remove_file(made) {
        tracing::warn!(path = %made.display(), %error, "the new key could not be removed again");
    }
    Err(KeyMismatch::Missing(made.to_owned()).into())
}

/// What a start prepares.
pub(super) struct Preparation<'a> {
    pub(super) config: &'a Config,
    pub(super) pipeline: &'a Pipeline,
    pub(super) migrate: bool,
    /// Whether events are taken in, and so when the last one was is of interest.
    pub(super) intake: bool,
    pub(super) key_made: Option<&'a Path>,
}

impl Preparation<'_> {
    /// Prepares, again and again while the database is away; false when a stop was asked for meanwhile.
    ///
    /// # Errors
    /// When trying again cannot help.
    pub(super) async fn run(&self, health: &Health, shutdown: &Shutdown) -> anyhow::Result<bool> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        loop {
            match self.once().await {
                Ok(None) => return Ok(true),
                Ok(Some((problem, cure))) => {
                    health.up(health::DATABASE);
                    health.down(health::SCHEMA, format!("{problem}: {cure}"));
                }
                Err(error) if is_transient(&error) => {
                    health.down(health::DATABASE, format!("{error:#}"));
                }
                Err(error) => return Err(error),
            }
            if !shutdown.sleep(backoff.next()).await {
                return Ok(false);
            }
        }
    }

    /// What is wrong with the schema, and what to do about it, where that is not ours to do.
    async fn once(&self) -> anyhow::Result<Option<(String, &'static str)>> {
        let Pipeline { db, keyring, clock, .. } = self.pipeline;
        if self.migrate {
            db.migrate().await?;
        } else {
            let mut tx = db.snapshot().await.map_err(store::Error::from)?;
            let schema = migrations::schema(&mut tx).await?;
            if let Some(fault) = schema.fault() {
                return Ok(Some(fault));
            }
        }
        check_fingerprint(self.config, db, keyring, self.key_made).await?;
        declare_endpoints(self.config, db, keyring, clock).await?;
        if self.intake {
            self.pipeline.recall_last_events().await?;
        }
        Ok(None)
    }
}

fn is_transient(error: &anyhow::Error) -> bool {
    error.downcast_ref::<store::Error>().is_some_and(store::Error::is_transient)
}

/// Makes the declared endpoints what they are declared to be.
async fn declare_endpoints(
    config: &Config,
    db: &Db,
    keyring: &Keyring,
    clock: &Clock,
) -> anyhow::Result<()> {
    for endpoint in declared_endpoints(config)? {
        // Each by itself: who holds several endpoints has to lock them in the order of their ids.
        let mut tx = db.begin().await.map_err(store::Error::from)?;
        let now = clock.now();
        let id = EndpointId(clock.new_id());
        let given = endpoint.secret.as_ref();
        let secrets = |kept: &[SealedSecret]| secrets(keyring, given, kept, now);
        let name = endpoint.spec.name.as_deref().unwrap_or_default();
        let said = (name, &endpoint.spec);
        let became = manage::declare(&mut tx, keyring, id, said, secrets, now).await?;
        if let Some(enabled) = endpoint.enabled {
            let environment = Some(&*endpoint.spec.environment);
            for known in endpoints::list(&mut tx, environment).await? {
                if known.spec.name == endpoint.spec.name {
                    let reason = (!enabled).then_some("disabled by configuration");
                    endpoints::set_enabled(&mut tx, known.id, enabled, reason, now).await?;
                }
            }
        }
        tx.commit().await.map_err(store::Error::from)?;
        tracing::info!(endpoint.name = name, ?became, "declared endpoint");
    }
    Ok(())
}

/// What replaces the secrets that are kept, if anything does: one that is given and does not sign yet joins those that
/// do, for as long as a rotation lasts; a new one is made where there is none at all.
fn secrets(
    keyring: &Keyring,
    given: Option<&Secret>,
    kept: &[SealedSecret],
    now: Timestamp,
) -> Option<Vec<SealedSecret>> {
    let newest = kept.last().map(std::slice::from_ref).unwrap_or_default();
    match given {
        Some(given) if sealed::open(keyring, newest, now) == [given.clone()] => None,
        // What the configuration says holds: where too many sign already, the oldest make room.
        Some(given) => (0..=kept.len()).find_map(|skipped| {
            let kept = kept.get(skipped..).unwrap_or_default();
            sealed::rotated(keyring, kept, given, sealed::OVERLAP, now).ok()
        }),
        None if kept.is_empty() => Some(vec![sealed::seal(keyring, &new_secret())]),
        None => None,
    }
}
