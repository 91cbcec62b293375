//! Payments that name nobody, shown at the only customer whose verified address is the payer's (semantics 3).
//! A weak link: it is worked out anew whenever the holders of the address change. Pure.

use crate::{
    apply::{
        customers::{self, Settled, note_before},
        decide::Touched,
        world::World,
    },
    model::{id::PaymentId, reference::ReferenceId},
};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Brings the owners of payments up to date whose address, or whose address's holder, changed. The components whose
/// customers gained or lost one.
pub(super) fn match_payments(
    world: &mut World,
    components: &BTreeSet<Uuid>,
    touched: &mut Touched,
    settled: &mut Settled,
) -> BTreeSet<Uuid> {
    let mut changed = BTreeSet::new();
    if !world.matching {
        return changed;
    }
    let mut ids: BTreeSet<PaymentId> = touched.payments.keys().copied().collect();
    for (address, before) in &settled.disturbed {
        if !world.addresses.contains_key(address) {
            world.unlocked.insert(*address);
        }
        if world.holder_of(*address) == *before {
            continue;
        }
        ids.extend(world.payments_at.get(address).into_iter().flatten());
        if world.addresses.get(address).is_some_and(|node| node.has_more) {
            world.unloaded.insert(*address);
        }
    }
    for id in ids {
        let Some(node) = world.payments.get(&id).filter(|node| node.counts()) else { continue };
        let Some(address) = node.facts.matched_by() else { continue };
        let (old, new) = (node.owner, world.holder_of(address));
        if old == new {
            continue;
        }
        touched.payment_shown(world, id);
        let both = [old, new].into_iter().flatten();
        for component in both.filter_map(|owner| world.component_of(owner)) {
            if changed.insert(component) && !components.contains(&component) {
                note_before(world, component, settled);
            }
        }
        set_owner(world, id, new);
        customers::scrub(world, id, false);
    }
    changed
}

fn set_owner(world: &mut World, id: PaymentId, owner: Option<ReferenceId>) {
    if let Some(node) = world.payments.get_mut(&id) {
        node.owner = owner;
        node.changed = true;
    }
    if let Some(owner) = owner {
        world.payments_of.entry(owner).or_default().insert(id);
    }
}
