//! Endpoints' secrets, and the values of their own headers, between the database, where they are sealed, and the
//! request, which needs them open.

use crate::{
    deliver::signature::{PrivateKey, Signer},
    keyring::{Keyring, Unopenable},
    model::{
        endpoint::{EndpointSettings, EndpointSpec, SealedSecret},
        secret::Secret,
        time::Timestamp,
    },
};
use chrono::TimeDelta;

/// How long a replaced secret goes on signing unless somebody says otherwise.
pub const OVERLAP: TimeDelta = TimeDelta::hours(24);

/// The longest that a replaced secret can go on signing.
pub const LONGEST_OVERLAP: TimeDelta = TimeDelta::days(7);

/// How many secrets sign at once, at most: each makes the request longer.
const MOST: usize = 5;

/// Too many secrets of an endpoint hold already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{MOST} secrets of this endpoint sign already: wait until the first of them ends, or rotate with an overlap of 0"
)]
pub struct TooMany;

/// The secrets with a new one, which signs from now on without an end. Those before go on for the overlap, or until
/// their own end if that comes first.
///
/// # Errors
/// When too many hold already.
pub fn rotated(
    keyring: &Keyring,
    kept: &[SealedSecret],
    new: &Secret,
    overlap: TimeDelta,
    now: Timestamp,
) -> Result<Vec<SealedSecret>, TooMany> {
    let end = now.plus(overlap);
    let ending = |kept: &SealedSecret| SealedSecret {
        until: Some(kept.until.map_or(end, |until| until.min(end))),
        ..kept.clone()
    };
    let mut all: Vec<SealedSecret> =
        kept.iter().map(ending).filter(|kept| kept.until > Some(now)).collect();
    if all.len() >= MOST {
        return Err(TooMany);
    }
    all.push(seal(keyring, new));
    Ok(all)
}

/// What an endpoint's messages are signed with now.
pub fn signer(
    keyring: &Keyring,
    kept: &[SealedSecret],
    settings: &EndpointSettings,
    now: Timestamp,
) -> Signer {
    let secrets = open(keyring, kept, now);
    let keys = if settings.ed25519 {
        secrets.iter().filter_map(|secret| PrivateKey::of(keyring, secret)).collect()
    } else {
        Vec::new()
    };
    Signer {
        style: settings.signature_style,
        header: settings.signature_header.clone(),
        secrets,
        keys,
    }
}

/// Why nothing can be sent to an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Mute {
    /// There is nothing to sign with.
    #[error("none of its secrets opens under this key")]
    Secret,
    /// What it is to be told would lack one of its own headers.
    #[error("a value of its headers does not open under this key")]
    Header,
}

/// What an endpoint is sent with: what signs, and what its owner says, opened.
///
/// # Errors
/// When something of it does not open under this key.
pub fn ready(
    keyring: &Keyring,
    spec: &EndpointSpec,
    kept: &[SealedSecret],
    now: Timestamp,
) -> Result<(Signer, EndpointSpec), Mute> {
    let signer = signer(keyring, kept, &spec.settings, now);
    if signer.secrets.is_empty() {
        return Err(Mute::Secret);
    }
    let spec = opened(keyring, spec).map_err(|Unopenable| Mute::Header)?;
    Ok((signer, spec))
}

/// For keeping, without an end.
pub fn seal(keyring: &Keyring, secret: &Secret) -> SealedSecret {
    SealedSecret { sealed: keyring.seal(secret.expose()), until: None }
}

/// What an endpoint's owner says, with the values of its headers sealed: for keeping.
pub fn closed(keyring: &Keyring, spec: &EndpointSpec) -> EndpointSpec {
    let mut kept = spec.clone();
    for value in kept.headers.values_mut() {
        *value = Secret::new(keyring.seal(value.expose()));
    }
    kept
}

/// The same with the values open again: for sending, and for changing it.
///
/// # Errors
/// When one of them does not open under this key.
pub fn opened(keyring: &Keyring, kept: &EndpointSpec) -> Result<EndpointSpec, Unopenable> {
    let mut spec = kept.clone();
    for value in spec.headers.values_mut() {
        *value = Secret::new(keyring.open(value.expose())?);
    }
    Ok(spec)
}

/// Those that hold now and open under this key.
pub fn open(keyring: &Keyring, kept: &[SealedSecret], now: Timestamp) -> Vec<Secret> {
    let hold = kept.iter().filter(|kept| kept.until.is_none_or(|until| now < until));
    hold.filter_map(|kept| keyring.open(&kept.sealed).ok()).map(Secret::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_secret_signs_on_for_the_overlap_and_never_beyond_its_own_end() {
        let at = |seconds| Timestamp::from_seconds(seconds).expect("a time");
        let keyring = Keyring::new("k");
        let rotate = |kept: &[SealedSecret], new: &str, overlap, now| {
            rotated(&keyring, kept, &Secret::new(new), TimeDelta::seconds(overlap), at(now))
        };
        let first = vec![seal(&keyring, &Secret::new("a"))];
        let second = rotate(&first, "b", 100, 0).expect("rotated");
        let ends = |kept: &[SealedSecret]| kept.iter().map(|kept| kept.until).collect::<Vec<_>>();
        assert_eq!(ends(&second), [Some(at(100)), None]);
        let third = rotate(&second, "c", 500, 50).expect("rotated");
        assert_eq!(ends(&third), [Some(at(100)), Some(at(550)), None]);
        let later = rotate(&third, "d", 500, 100).expect("rotated");
        assert_eq!(ends(&later), [Some(at(550)), Some(at(600)), None]);
        let at_once = rotate(&later, "e", 0, 101).expect("rotated");
        assert_eq!(open(&keyring, &at_once, at(101)), [Secret::new("e")]);
        let mut many = first;
        for place in 1..MOST {
            many = rotate(&many, &place.to_string(), 100, 0).expect("there is room");
        }
        assert_eq!(rotate(&many, "one more", 100, 0), Err(TooMany));
    }

    #[test]
    fn a_secret_holds_until_its_end_and_opens_under_its_own_key_only() {
        let at = |seconds| Timestamp::from_seconds(seconds).expect("a time");
        let keyring = Keyring::new("k");
        let old = SealedSecret { until: Some(at(10)), ..seal(&keyring, &Secret::new("old")) };
        let kept = [old, seal(&keyring, &Secret::new("new"))];
        let (old, new) = (Secret::new("old"), Secret::new("new"));
        assert_eq!(open(&keyring, &kept, at(9)), [old, new.clone()]);
        assert_eq!(open(&keyring, &kept, at(10)), [new]);
        assert_eq!(open(&Keyring::new("l"), &kept, at(9)), []);
    }
}
