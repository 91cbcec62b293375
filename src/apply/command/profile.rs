//! What a command says of a person: only what it may change, and counting after what was said before.

use super::{Planner, Refusal, Subject};
use crate::model::{
    authority::Authority,
    command::{MetadataChange, ProfileChange},
    contact::Email,
    customer::Customer,
    metadata::KEYS_SHOWN,
    reference::Profile,
    register::Register,
    stamp::Stamp,
};
use std::collections::BTreeSet;

impl<'a> Planner<'a> {
    pub(super) fn after_profile(&mut self, profile: &Profile) {
        let Profile { name, email, phone, tags, anonymous, metadata, metadata_cleared } = profile;
        self.after_register(name);
        self.after_register(email);
        self.after_register(phone);
        self.after_register(tags);
        self.after_register(anonymous);
        for register in metadata.values() {
            self.after_register(register);
        }
        self.after_register(metadata_cleared);
    }

    /// Makes the command count after all that was said of one field, and refuses it where another source's word
    /// counts more.
    fn field<T: Clone + PartialEq + 'a>(
        &mut self,
        subject: &Subject<'a>,
        field: &str,
        register: impl Fn(&'a Profile) -> Option<&'a Register<T>>,
    ) -> Result<(), Refusal> {
        for node in &subject.tree {
            let Some(said) = register(&node.facts.profile) else { continue };
            self.after_register(said);
            if let Some(winner) = said.winner().filter(|it| it.authority > Authority::APP) {
                let source_name = winner.stamp.key.source().to_owned();
                return Err(Refusal::FieldOwned { field: field.to_owned(), source_name });
            }
        }
        Ok(())
    }

    /// The registers that a profile's change sets.
    pub(super) fn facts(
        &mut self,
        subject: &Subject<'a>,
        change: &ProfileChange,
    ) -> Result<Profile, Refusal> {
        let email = email(subject.shown, change)?;
        if change.name.is_some() {
            self.field(subject, "name", |profile| Some(&profile.name))?;
        }
        if email.is_some() {
            self.field(subject, "email", |profile| Some(&profile.email))?;
        }
        if change.phone.is_some() {
            self.field(subject, "phone", |profile| Some(&profile.phone))?;
        }
        if change.tags.is_some() {
            self.field(subject, "tags", |profile| Some(&profile.tags))?;
        }
        if change.is_anonymous.is_some() {
            self.field(subject, "is_anonymous", |profile| Some(&profile.anonymous))?;
        }
        self.metadata(subject, change.metadata.as_ref())?;
        let stamp = self.stamp();
        let mut profile = Profile {
            name: register(change.name.as_ref(), &stamp),
            email: register(email.as_ref(), &stamp),
            phone: register(change.phone.as_ref(), &stamp),
            tags: register(change.tags.as_ref(), &stamp),
            anonymous: register(change.is_anonymous.as_ref(), &stamp),
            ..Profile::default()
        };
        match &change.metadata {
            None => {}
            Some(MetadataChange::Clear) => {
                profile.metadata_cleared = Register::of(Authority::APP, stamp, ());
            }
            Some(MetadataChange::Merge(keys)) => {
                let word = |value: &Option<_>| {
                    Register::of(Authority::APP, stamp.clone(), Clone::clone(value))
                };
                profile.metadata =
                    keys.iter().map(|(key, value)| (key.clone(), word(value))).collect();
            }
        }
        Ok(profile)
    }

    fn metadata(
        &mut self,
        subject: &Subject<'a>,
        change: Option<&MetadataChange>,
    ) -> Result<(), Refusal> {
        let known: BTreeSet<&String> =
            subject.tree.iter().flat_map(|node| node.facts.profile.metadata.keys()).collect();
        let keys: Vec<&String> = match change {
            None => return Ok(()),
            Some(MetadataChange::Clear) => known.into_iter().collect(),
            Some(MetadataChange::Merge(keys)) => {
                let shown = subject.shown.map(|customer| &customer.person.metadata);
                let mut live: BTreeSet<&String> =
                    shown.into_iter().flat_map(|metadata| metadata.keys()).collect();
                let before = live.len();
                for (key, value) in keys {
                    if value.is_some() {
                        live.insert(key)
                    } else {
                        live.remove(key)
                    };
                }
                if live.len() > KEYS_SHOWN.max(before) {
                    return Err(Refusal::TooMuchMetadata);
                }
                keys.keys().collect()
            }
        };
        for key in keys {
            let field = format!("metadata.{key}");
            self.field(subject, &field, |profile| profile.metadata.get(key))?;
        }
        self.field(subject, "metadata", |profile| Some(&profile.metadata_cleared))
    }
}

/// What becomes of the address: the same one stays as vouched for as it was, unless that is said.
fn email(
    shown: Option<&Customer>,
    change: &ProfileChange,
) -> Result<Option<Option<Email>>, Refusal> {
    let known = shown.and_then(|customer| {
        let person = &customer.person;
        let address = person.email.clone()?;
        Some(Email { address, verified: person.email_verified })
    });
    Ok(match (&change.email, change.email_verified) {
        (None, None) => None,
        (Some(None), _) => Some(None),
        (None, Some(verified)) => {
            let known = known.ok_or(Refusal::NoAddress)?;
            Some(Some(Email { verified, ..known }))
        }
        (Some(Some(address)), said) => {
            let new = Email { address: address.clone(), verified: false };
            let same = known.filter(|known| known.key() == new.key());
            let verified = said.unwrap_or_else(|| same.is_some_and(|known| known.verified));
            Some(Some(Email { verified, ..new }))
        }
    })
}

fn register<T: Clone + PartialEq>(said: Option<&Option<T>>, stamp: &Stamp) -> Register<Option<T>> {
    said.map_or_else(Register::default, |value| {
        Register::of(Authority::APP, stamp.clone(), value.clone())
    })
}
