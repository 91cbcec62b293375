//! The part of loading that matches payments by e-mail address: who holds the addresses that a batch may
//! disturb. It runs only where a source sets `match_email`.
//!
//! Whoever changes the holders of an address, or the payments that wait there, has its lock. Those that the batch
//! names are locked before all rows but the inbox's; those of payments found later, without waiting; and where a
//! decision turns out to change the holders of another one, the batch begins again with it.

use super::Closure;
use crate::{
    apply::world::{AddressNode, World},
    model::contact::AddressId,
    store::{
        self, Error, Result, Tx,
        addresses::{CROWD, Holder},
    },
};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Locks the addresses that the batch names, and adds to the closure who holds those of its payers.
pub(super) async fn lock(tx: &mut Tx, closure: &mut Closure) -> Result<()> {
    store::addresses::lock(tx, &closure.addresses).await?;
    let few = few_hold(tx, &closure.payers).await?;
    let holders = store::addresses::holders(tx, &few).await?;
    closure.references.extend(holders.into_iter().map(|holder| holder.root));
    Ok(())
}

/// Those of some addresses that so few hold that one may become the only one.
async fn few_hold(tx: &mut Tx, addresses: &BTreeSet<AddressId>) -> Result<BTreeSet<AddressId>> {
    let known = store::addresses::find(tx, addresses).await?;
    let few = known.into_iter().filter(|known| known.holders <= 2);
    Ok(few.map(|known| known.address).collect())
}

/// The payments that are matched by addresses whose holder turned out to change.
pub(super) async fn payments(tx: &mut Tx, closure: &Closure) -> Result<BTreeSet<Uuid>> {
    Ok(store::addresses::payments(tx, &closure.moving).await?.into_iter().collect())
}

/// Finds out, for every address that the batch names and every one that a loaded payment is matched by, who else
/// holds it.
///
/// # Errors
/// [`Error::Grew`] where an address is another transaction's just now, or the one who holds it besides is not
/// loaded; else when the database fails.
pub(super) async fn load(tx: &mut Tx, closure: &mut Closure, world: &mut World) -> Result<()> {
    let waiting: BTreeSet<AddressId> =
        closure.payers.iter().chain(world.payments_at.keys()).copied().collect();
    let mut late: BTreeSet<AddressId> = waiting.difference(&closure.addresses).copied().collect();
    if !store::addresses::try_lock(tx, &late).await? {
        closure.addresses.append(&mut late);
        return Err(Error::Grew);
    }
    let all = closure.addresses.union(&late).copied().collect();
    let known = store::addresses::find(tx, &all).await?;
    // Who holds an address by which no payment is matched does not matter.
    let matter = known.iter().filter(|k| k.has_payments || waiting.contains(&k.address));
    let countable = matter.filter(|known| known.holders <= CROWD).map(|known| known.address);
    let mut elsewhere: BTreeMap<AddressId, Vec<Holder>> = BTreeMap::new();
    for holder in store::addresses::holders(tx, &countable.collect()).await? {
        if !world.customers.contains_key(&holder.customer) {
            elsewhere.entry(holder.address).or_default().push(holder);
        }
    }
    let mut grew = false;
    for known in known {
        let elsewhere = elsewhere.get(&known.address).map_or(&[][..], Vec::as_slice);
        if let [only] = elsewhere {
            closure.references.insert(only.root);
            grew = true;
        }
        let crowded = known.holders > CROWD || elsewhere.len() > 1;
        let has_more = known.has_payments && !closure.moving.contains(&known.address);
        world.addresses.insert(known.address, AddressNode { crowded, has_more });
    }
    if grew { Err(Error::Grew) } else { Ok(()) }
}
