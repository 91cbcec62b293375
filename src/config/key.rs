//! `secrets.key`: given, or made once and kept in a file that only its owner may read.

use super::{Config, Error};
use crate::keyring::{self, Keyring};
use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// The daemon's key and whether it was made just now.
#[derive(Clone, Debug)]
pub struct Key {
    /// What it is used for.
    pub keyring: Keyring,
    /// The file that was made for it just now.
    pub made: Option<PathBuf>,
}

/// Shorter ones can be guessed.
const SHORTEST: usize = 16;

impl Config {
    /// The key that is set, else that of the file `secrets.key` in the data directory, which is made where it is
    /// missing (mode 0600).
    pub fn key(&self) -> Result<Key, Error> {
        if let Some(keyring) = self.existing_key()? {
            return Ok(Key { keyring, made: None });
        }
        let path = self.key_file();
        let made = make(&path).map_err(|error| {
            self.refuse("secrets.key", format!("{} cannot be made: {error}", path.display()))
        })?;
        let keyring = self.existing_key()?.ok_or_else(|| {
            self.refuse("secrets.key", format!("{} went away again", path.display()))
        })?;
        Ok(Key { keyring, made: made.then_some(path) })
    }

    /// The same, but none is made.
    pub fn existing_key(&self) -> Result<Option<Keyring>, Error> {
        let given = self.secrets.key.expose();
        if !given.is_empty() {
            return Ok(Some(Keyring::new(given)));
        }
        let path = self.key_file();
        match read(&path) {
            Ok(Some(text)) if text.len() >= SHORTEST => Ok(Some(Keyring::new(&text))),
            Ok(None) => Ok(None),
            Ok(Some(_)) => {
                Err(self.refuse("secrets.key", format!("{} holds no key", path.display())))
            }
            Err(error) => {
                let reason = format!("{} cannot be read: {error}", path.display());
                Err(self.refuse("secrets.key", reason))
            }
        }
    }

    /// Where the key is kept when it is not set.
    pub fn key_file(&self) -> PathBuf {
        self.data.directory.join("secrets.key")
    }

    pub(super) fn check_key(&self) -> Result<(), Error> {
        let length = self.secrets.key.expose().len();
        if length > 0 && length < SHORTEST {
            let reason = format!("it is too short: at least {SHORTEST} characters");
            return Err(self.refuse("secrets.key", reason));
        }
        Ok(())
    }
}

fn read(path: &Path) -> std::io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the file at once with its content, so that no other process reads half of it; whether it was this one.
fn make(path: &Path) -> std::io::Result<bool> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let draft = folder.join(format!("secrets.key.{}", std::process::id()));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    writeln!(file, "{}", keyring::new_key())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!("[data]\ndirectory = '{}'", folder.path().join("new").display());
        let config = Config::parse(&text).expect("good");
        let first = config.key().expect("made");
        let path = first.made.expect("made just now");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let second = config.key().expect("read");
        assert_eq!(second.made, None);
        assert_eq!(first.keyring.fingerprint(), second.keyring.fingerprint());
    }

    #[test]
    fn a_given_key_needs_no_file_and_a_short_one_is_refused() {
        let config = Config::parse("[secrets]\nkey = 'sixteen characters'").expect("good");
        assert_eq!(config.key().expect("given").made, None);
        assert!(!config.key_file().exists());
        assert_eq!(
            Config::parse("[secrets]\nkey = 'short'").expect_err("short").key,
            "secrets.key"
        );
    }
}
