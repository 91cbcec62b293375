//! Where a customer's fields come from, and what became of it: the facts of its references, read and looked at by the
//! rules that made it.

use crate::{
    apply::{facts::Member, provenance},
    model::{
        id::CustomerId,
        provenance::Sourced,
        time::Timestamp,
        timeline::{Change, Merge},
    },
    store::{
        self, Tx,
        browse::{self, export, timeline},
    },
};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What a timeline tells beside payments and subscriptions. In no order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Story {
    /// Changes of the profile, each with its time and an id of its own.
    pub changes: Vec<(Timestamp, Uuid, Change)>,
    /// Merges, each with its time.
    pub merges: Vec<(Timestamp, Merge)>,
}

/// Where each field of a customer comes from. The customer must be of the caller's environment.
///
/// # Errors
/// When the database fails.
pub async fn provenance(tx: &mut Tx, customer: CustomerId) -> store::Result<Vec<Sourced>> {
    let root = browse::root(tx, customer).await?;
    let members = export::members(tx, [customer]).await?;
    let mut tree: Vec<Member<'_>> = members.iter().map(member).collect();
    tree.sort_by_key(|member| (Some(member.id) != root, member.kind, member.id));
    Ok(provenance::provenance(&tree))
}

/// What became of a customer of this environment.
///
/// # Errors
/// When the database fails.
pub async fn story(tx: &mut Tx, environment: &str, customer: CustomerId) -> store::Result<Story> {
    let members = export::members(tx, [customer]).await?;
    let merge = |(customer_id, root, updated_at): (CustomerId, store::codec::Key, Timestamp)| {
        // The word that put its root below another reference is what made it go.
        let joined = members.iter().find(|member| member.id.0 == root.0);
        let claim = joined.and_then(|member| {
            member.facts.claims.iter().rev().find(|claim| claim.parent.is_some())
        });
        let known = claim.map(|claim| claim.stamp.at).filter(|at| *at != Timestamp::UNKNOWN);
        let source = claim.map(|claim| claim.stamp.key.source().to_owned());
        let event_id = claim.map(|claim| claim.stamp.key.event_id().to_owned());
        (known.unwrap_or(updated_at), Merge { customer_id, source, event_id })
    };
    let absorbed = timeline::absorbed(tx, environment, customer).await?;
    let merges = absorbed.into_iter().map(merge).collect();
    let mut changes: BTreeMap<(String, String), (Option<Timestamp>, Change)> = BTreeMap::new();
    for sourced in provenance(tx, customer).await? {
        let Sourced { field, value, source, event_id, occurred_at, .. } = sourced;
        let (_, change) = changes
            .entry((source.clone(), event_id.clone()))
            .or_insert_with(|| (occurred_at, Change { source, event_id, fields: BTreeMap::new() }));
        change.fields.insert(field, value);
    }
    let created = browse::created_at(tx, customer).await?.unwrap_or(Timestamp::FIRST);
    let changes = changes.into_values().map(|(at, change)| {
        (at.unwrap_or(created), id_of(&change.source, &change.event_id), change)
    });
    Ok(Story { changes: changes.collect(), merges })
}

fn member(known: &export::Member) -> Member<'_> {
    Member {
        id: known.id,
        kind: known.reference.kind,
        namespace: &known.reference.namespace,
        subject: Some(&known.reference.subject),
        facts: &known.facts,
    }
}

/// The same for the same event, so that a page can go on after it.
fn id_of(source: &str, event_id: &str) -> Uuid {
    let hash = Sha256::digest(format!("{source}\u{1f}{event_id}").as_bytes());
    let mut bytes = [0; 16];
    for (place, byte) in bytes.iter_mut().zip(hash) {
        *place = byte;
    }
    Uuid::from_bytes(bytes)
}
