//! Endpoints as their owners manage them: what the API and the command line have in common. Every function takes part
//! in the caller's transaction.

use crate::{
    deliver::{
        guard::Guard,
        sealed::{self, LONGEST_OVERLAP, TooMany},
        signature::{self, PrivateKey},
        spec::{self, Invalid},
    },
    keyring::{Keyring, Unopenable},
    model::{
        endpoint::{Endpoint, EndpointSpec, SealedSecret},
        id::EndpointId,
        secret::Secret,
        time::Timestamp,
    },
    store::{self, Tx, endpoints, messages},
};
use chrono::TimeDelta;

/// What an owner asks for cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A field cannot be so.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// There is none of that id, or it was deleted.
    #[error("there is no such endpoint")]
    Unknown,
    /// Its environment has another one of that name.
    #[error("another endpoint of this environment has this name")]
    NameTaken,
    /// Too many secrets sign already.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// A header was sealed under another key.
    #[error(transparent)]
    Unopenable(#[from] Unopenable),
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Makes an endpoint; its secret is given, or made here, and is to be shown this once.
///
/// # Errors
/// When it cannot be so, its name is taken, or the database fails.
pub async fn create(
    tx: &mut Tx,
    (keyring, guard): (&Keyring, &Guard),
    id: EndpointId,
    spec: &EndpointSpec,
    secret: Option<Secret>,
    now: Timestamp,
) -> Result<(Endpoint, Secret), Refused> {
    spec::check(spec, guard)?;
    let secret = new_or(secret)?;
    let kept = sealed::closed(keyring, spec);
    let made = endpoints::create(tx, id, &kept, sealed::seal(keyring, &secret), now).await?;
    let endpoint = made.ok_or(Refused::NameTaken)?;
    Ok((shown(tx, keyring, endpoint, now).await?, secret))
}

/// Changes what an endpoint's owner says about it.
///
/// # Errors
/// When there is none, it cannot be so, or the database fails.
pub async fn change<E: From<Refused>>(
    tx: &mut Tx,
    (keyring, guard): (&Keyring, &Guard),
    (environment, id): (Option<&str>, EndpointId),
    change: impl FnOnce(&mut EndpointSpec) -> Result<(), E> + Send,
    now: Timestamp,
) -> Result<Endpoint, E> {
    let refused = |error: store::Error| E::from(Refused::Store(error));
    let kept = endpoints::lock(tx, environment, id).await.map_err(refused)?;
    let (before, _) = kept.ok_or(Refused::Unknown)?;
    let said = sealed::opened(keyring, &before.spec).map_err(Refused::Unopenable)?;
    let mut spec = said.clone();
    change(&mut spec)?;
    spec::check(&spec, guard).map_err(Refused::Invalid)?;
    if let Some(name) = spec.name.as_deref().filter(|_| spec.name != said.name)
        && endpoints::named(tx, &spec.environment, name).await.map_err(refused)?
    {
        return Err(Refused::NameTaken.into());
    }
    if spec != said {
        let kept = sealed::closed(keyring, &spec);
        endpoints::change(tx, id, &said, &kept, now).await.map_err(refused)?;
    }
    let after = endpoints::get(tx, id).await.map_err(refused)?.ok_or(Refused::Unknown)?;
    shown(tx, keyring, after, now).await.map_err(refused)
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
/// `secrets` is shown what is kept (nothing, for a new endpoint) and says what replaces it, if anything; a new
/// endpoint without a secret sends nothing.
///
/// # Errors
/// When the database fails.
pub async fn declare(
    tx: &mut Tx,
    keyring: &Keyring,
    id: EndpointId,
    (name, spec): (&str, &EndpointSpec),
    secrets: impl Fn(&[SealedSecret]) -> Option<Vec<SealedSecret>> + Send,
    now: Timestamp,
) -> store::Result<Declared> {
    let sealed = sealed::closed(keyring, spec);
    let mut kept = endpoints::lock_named(tx, &spec.environment, name).await?;
    if kept.is_none()
        && let Some(secret) = secrets(&[]).and_then(|mut new| new.pop())
    {
        if endpoints::create(tx, id, &sealed, secret, now).await?.is_some() {
            return Ok(Declared::Created);
        }
        // Another process was quicker.
        kept = endpoints::lock_named(tx, &spec.environment, name).await?;
    }
    let Some((endpoint, kept)) = kept else { return Ok(Declared::Unchanged) };
    let replaced = secrets(&kept);
    let differs = !sealed::opened(keyring, &endpoint.spec).is_ok_and(|said| said == *spec);
    if let Some(secrets) = &replaced {
        endpoints::set_secrets(tx, endpoint.id, secrets, now).await?;
    }
    if differs {
        endpoints::change(tx, endpoint.id, &endpoint.spec, &sealed, now).await?;
    }
    Ok(if differs || replaced.is_some() { Declared::Updated } else { Declared::Unchanged })
}

/// Gives an endpoint a new secret, which is to be shown this once; those before it sign on for the overlap.
///
/// # Errors
/// When there is none, the secret or the overlap cannot be so, too many secrets sign already, or the database fails.
pub async fn rotate(
    tx: &mut Tx,
    keyring: &Keyring,
    (environment, id): (Option<&str>, EndpointId),
    (secret, overlap): (Option<Secret>, TimeDelta),
    now: Timestamp,
) -> Result<(Endpoint, Secret), Refused> {
    if overlap < TimeDelta::zero() || overlap > LONGEST_OVERLAP {
        let why = "from 0 to 604800 seconds, which is 7 days".into();
        return Err(Invalid { param: "overlap_seconds", why }.into());
    }
    let secret = new_or(secret)?;
    let kept = endpoints::lock(tx, environment, id).await?;
    let (_, secrets) = kept.ok_or(Refused::Unknown)?;
    let secrets = sealed::rotated(keyring, &secrets, &secret, overlap, now)?;
    endpoints::set_secrets(tx, id, &secrets, now).await?;
    let after = endpoints::get(tx, id).await?.ok_or(Refused::Unknown)?;
    Ok((shown(tx, keyring, after, now).await?, secret))
}

fn new_or(given: Option<Secret>) -> Result<Secret, Invalid> {
    let Some(given) = given else { return Ok(signature::new_secret()) };
    spec::check_secret(&given)?;
    Ok(given)
}

/// Switches an endpoint on or off. What waited for one that is switched on goes out.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn set_enabled(
    tx: &mut Tx,
    keyring: &Keyring,
    (environment, id): (Option<&str>, EndpointId),
    (enabled, reason): (bool, Option<&str>),
    now: Timestamp,
) -> Result<Endpoint, Refused> {
    endpoints::lock(tx, environment, id).await?.ok_or(Refused::Unknown)?;
    endpoints::set_enabled(tx, id, enabled, reason, now).await?;
    let after = endpoints::get(tx, id).await?.ok_or(Refused::Unknown)?;
    Ok(shown(tx, keyring, after, now).await?)
}

/// How many waiting messages of a deleted endpoint are called off in its own transaction; the daemon does the rest.
const CANCELED_AT_ONCE: i64 = 10_000;

/// Deletes an endpoint and calls off what waits for it.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn delete(
    tx: &mut Tx,
    (environment, id): (Option<&str>, EndpointId),
    now: Timestamp,
) -> Result<(), Refused> {
    if !endpoints::delete(tx, environment, id, now).await? {
        return Err(Refused::Unknown);
    }
    messages::cancel_orphans(tx, CANCELED_AT_ONCE, now).await?;
    Ok(())
}

/// An endpoint with the public keys of its secrets, where it is signed for by ed25519.
///
/// # Errors
/// When the database fails.
pub async fn shown(
    tx: &mut Tx,
    keyring: &Keyring,
    mut endpoint: Endpoint,
    now: Timestamp,
) -> store::Result<Endpoint> {
    endpoint.secrets.retain(|term| term.expires_at.is_none_or(|end| end > now));
    if endpoint.spec.settings.ed25519 {
        let kept = endpoints::secrets(tx, endpoint.id).await?;
        let holding = sealed::open(keyring, &kept, now);
        for (term, secret) in endpoint.secrets.iter_mut().zip(holding.iter().rev()) {
            term.public_key = PrivateKey::of(keyring, secret).map(|key| key.public());
        }
    }
    Ok(endpoint)
}
