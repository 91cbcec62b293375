//! Invented people: names of many scripts and lengths, addresses of the reserved domains (RFC 2606) and
//! numbers of the range that is kept for fiction.

use super::random::Random;

/// A person, as they would write themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Human {
    pub(super) first: String,
    pub(super) last: String,
    pub(super) email: String,
    pub(super) phone: Option<String>,
}

/// What one party has on file of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contact {
    pub(super) name: Option<String>,
    pub(super) email: Option<String>,
    pub(super) phone: Option<String>,
}

const FIRST: &[&str] = &[
    "Ada",
    "Grace",
    "Zoë",
    "José",
    "Mei",
    "Yuki",
    "Fatima",
    "Olu",
    "Ngozi",
    "Søren",
    "Łukasz",
    "Anaïs",
    "Priya",
    "Kwame",
    "Ingrid",
    "Dmitri",
    "陽子",
    "سارة",
    "Νίκος",
    "Björk",
    "D'Arcy",
];
const LAST: &[&str] = &[
    "Lovelace",
    "Hopper",
    "Müller",
    "García",
    "Chen",
    "Tanaka",
    "Al-Sayed",
    "Okafor",
    "Mensah",
    "Østergård",
    "Nowak",
    "Dubois",
    "Sharma",
    "O'Neill",
    "de la Cruz",
    "Иванова",
    "山田",
    "van der Berg",
    "Guðmundsdóttir",
    "Smith",
];
const HOSTS: &[&str] = &["example.org", "example.com", "example.net"];

impl Random {
    pub(super) fn human(&mut self) -> Human {
        let (first, last) = (self.pick(FIRST), self.pick(LAST));
        let phone = self.chance(60).then(|| self.phone());
        Human { email: self.email(first), first: first.into(), last: last.into(), phone }
    }

    pub(super) fn email(&mut self, first: &str) -> String {
        let letters: String = first.chars().filter(char::is_ascii_alphabetic).collect();
        let user = if letters.is_empty() { "user".to_owned() } else { letters };
        let user = if self.chance(20) { user } else { user.to_lowercase() };
        format!("{user}.{}@{}", self.range(100..=999_999), self.pick(HOSTS))
    }

    pub(super) fn phone(&mut self) -> String {
        format!("+12025550{:03}", self.range(100..=199))
    }

    pub(super) fn full_name(&mut self) -> String {
        format!("{} {}", self.pick(FIRST), self.pick(LAST))
    }

    /// A user id as applications make them: opaque to us.
    pub(super) fn external_id(&mut self) -> String {
        match self.below(4) {
            0 => format!("usr_{}", self.text(12)),
            1 => self.range(100_000_000_000..=999_999_999_999).to_string(),
            2 => format!(
                "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
                self.next() & 0xffff_ffff,
                self.next() & 0xffff,
                self.next() & 0xfff,
                self.next() & 0xfff,
                self.next() & 0xffff_ffff_ffff
            ),
            _ => format!("Acct|{}", self.text(10)),
        }
    }
}

impl Human {
    pub(super) fn full_name(&self) -> String {
        format!("{} {}", self.first, self.last)
    }

    /// What a shop's form has on file: often spelt otherwise than the account. A phone only where the
    /// account has one too: an account without a phone may mean "none", and hide the shop's.
    pub(super) fn at_a_shop(&self, random: &mut Random) -> Contact {
        let name = match random.below(3) {
            0 => self.full_name(),
            1 => format!("{}. {}", self.first.chars().next().unwrap_or('X'), self.last),
            _ => self.full_name().to_uppercase(),
        };
        let email = if random.chance(60) { self.email.clone() } else { random.email(&self.first) };
        let phone = self.phone.as_ref().filter(|_| random.chance(70)).map(|_| random.phone());
        Contact { name: Some(name), email: Some(email), phone }
    }
}
