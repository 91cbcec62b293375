//! Where each field of a customer comes from: the assertion that counts, with who made it. Pure.

use crate::{
    apply::facts::{self, Member, winner},
    model::{
        provenance::Sourced, reference::Kind, register::Assertion, stamp::Stamp, time::Timestamp,
    },
};
use serde_json::Value;

/// Where all that is known of the person comes from; the root of the tree comes first.
pub fn provenance(tree: &[Member<'_>]) -> Vec<Sourced> {
    let mut all = Vec::new();
    let person = facts::person(tree);
    if let (Some(name), Some(root)) = (&person.external_id, tree.first())
        && let Some(first) = &root.facts.first
    {
        all.push(sourced("external_id", name.as_ref().into(), None, first));
    }
    let named = tree.iter().filter(|member| matches!(member.kind, Kind::Auth | Kind::Payment));
    for member in named {
        if let (Some(subject), Some(first)) = (member.subject, &member.facts.first) {
            let field = format!("identities.{}", member.namespace);
            all.push(sourced(&field, subject.as_ref().into(), None, first));
        }
    }
    if let Some(said) = winner(tree, |profile| Some(&profile.name)) {
        all.push(asserted("name", said.value.clone().into(), said));
    }
    if let Some(said) = winner(tree, |profile| Some(&profile.email)) {
        let address = said.value.as_ref().map(|email| email.address.clone());
        all.push(asserted("email", address.into(), said));
        all.push(asserted("email_verified", person.email_verified.into(), said));
    }
    if let Some(said) = winner(tree, |profile| Some(&profile.phone)) {
        all.push(asserted("phone", said.value.clone().into(), said));
    }
    if let Some(said) = winner(tree, |profile| Some(&profile.tags)) {
        all.push(asserted("tags", said.value.clone().unwrap_or_default().into(), said));
    }
    if let Some(said) = winner(tree, |profile| Some(&profile.anonymous)) {
        all.push(asserted("is_anonymous", person.is_anonymous.into(), said));
    }
    for (key, value) in person.metadata {
        if let Some(said) = winner(tree, |profile| profile.metadata.get(&key)) {
            all.push(asserted(&format!("metadata.{key}"), value.into(), said));
        }
    }
    all
}

fn asserted<T>(field: &str, value: Value, said: &Assertion<T>) -> Sourced {
    sourced(field, value, Some(said.authority.name()), &said.stamp)
}

fn sourced(field: &str, value: Value, authority: Option<&'static str>, stamp: &Stamp) -> Sourced {
    Sourced {
        field: field.to_owned(),
        value,
        authority: authority.map(Into::into),
        source: stamp.key.source().to_owned(),
        event_id: stamp.key.event_id().to_owned(),
        occurred_at: Some(stamp.at).filter(|at| *at != Timestamp::UNKNOWN),
    }
}
