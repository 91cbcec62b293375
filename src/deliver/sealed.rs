//! Endpoints' secrets between the database, where they are sealed, and the signature, which needs them open.

use crate::{
    keyring::Keyring,
    model::{endpoint::SealedSecret, secret::Secret, time::Timestamp},
};

/// For keeping, without an end.
pub fn seal(keyring: &Keyring, secret: &Secret) -> SealedSecret {
    SealedSecret { sealed: keyring.seal(secret.expose()), until: None }
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
