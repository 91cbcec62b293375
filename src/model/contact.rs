//! Texts about a person, checked and cleaned once, where they come in.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An e-mail address and whether somebody vouches for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Email {
    /// The address as it was given, trimmed.
    pub address: String,
    /// Whether the auth provider or the app says that its owner proved it.
    pub verified: bool,
}

impl Email {
    /// Checks and trims an address.
    ///
    /// # Errors
    /// Says what is wrong with it, for the note in the verdict.
    pub fn parse(text: &str, verified: bool) -> Result<Self, &'static str> {
        let address = clean(text, 320)?;
        let shaped = address.split_once('@').is_some_and(|(user, host)| {
            !user.is_empty() && !host.is_empty() && !host.contains('@')
        });
        if !shaped || address.contains(char::is_whitespace) {
            return Err("is no e-mail address");
        }
        Ok(Self { address, verified })
    }

    /// What two spellings of one address have in common: lower case.
    pub fn key(&self) -> String {
        self.address.to_lowercase()
    }
}

/// The keyed hash of (environment, address): what payments are matched by, and what tells nobody the address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AddressId(pub Uuid);

/// Trims a text, takes out U+0000 (Postgres cannot hold it), and refuses it empty or over a length.
///
/// # Errors
/// Says what is wrong with it.
pub fn clean(text: &str, longest: usize) -> Result<String, &'static str> {
    let text = text.replace('\0', "");
    let text = text.trim();
    if text.is_empty() {
        return Err("is empty");
    }
    if text.chars().count() > longest {
        return Err("is too long");
    }
    Ok(text.to_owned())
}

/// A name: 1 to 200 characters.
///
/// # Errors
/// Says what is wrong with it.
pub fn name(text: &str) -> Result<String, &'static str> {
    clean(text, 200)
}

/// A phone number in E.164: a plus sign and 7 to 15 digits. Spaces, dots, hyphens and parentheses are taken out.
///
/// # Errors
/// Says what is wrong with it.
pub fn phone(text: &str) -> Result<String, &'static str> {
    let number: String =
        text.chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')')).collect();
    let digits = number.strip_prefix('+').ok_or("is no E.164 phone number")?;
    let shaped = (7..=15).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.starts_with('0');
    if shaped { Ok(number) } else { Err("is no E.164 phone number") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_compared_without_case() {
        let email = Email::parse(" Ada@Example.ORG ", true).expect("an address");
        assert_eq!(
            (email.address.as_str(), email.key()),
            ("Ada@Example.ORG", "ada@example.org".into())
        );
        for text in ["", "ada", "@example.org", "ada@", "a b@c", "a@b@c"] {
            assert!(Email::parse(text, true).is_err(), "{text}");
        }
    }

    #[test]
    fn phones_are_e164() {
        assert_eq!(phone("+1 (555) 555-0100"), Ok("+15555550100".to_owned()));
        for text in ["5555550100", "+12", "+0123456789", "+1234567890123456", "+12345678x"] {
            assert!(phone(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nul_is_taken_out_and_length_counts_characters() {
        assert_eq!(name("A\0da "), Ok("Ada".to_owned()));
        assert_eq!(name(&"é".repeat(200)).map(|n| n.chars().count()), Ok(200));
        assert!(name(&"é".repeat(201)).is_err());
    }
}
