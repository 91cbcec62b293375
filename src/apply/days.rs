//! What payments add to the days on which they were paid: before a batch, and after it. Pure.

use crate::{
    apply::world::{PaymentNode, World},
    model::{money::Currency, reference::ReferenceId, time::Timestamp},
    store::days::{Added, Moved},
};
use std::{collections::BTreeMap, sync::Arc};

/// What a succeeded payment adds to a day of the reference that it is counted at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    owner: ReferenceId,
    currency: Option<Currency>,
    paid_at: Timestamp,
    spent: i64,
    net: i64,
}

impl Share {
    /// What a payment adds now; nothing while it is not paid, or nobody's.
    pub fn of(payment: &PaymentNode) -> Option<Self> {
        let figures = &payment.figures;
        let spent = figures.amount.unwrap_or(0);
        Some(Self {
            owner: payment.owner.filter(|_| payment.counts())?,
            currency: figures.currency,
            paid_at: figures.paid_at?,
            spent,
            net: spent.saturating_sub(figures.refunded).saturating_sub(figures.disputed_lost),
        })
    }
}

/// References that went to another customer, with their days.
pub(super) fn moved(world: &World) -> Vec<Moved> {
    let went = world
        .references
        .iter()
        .filter(|(_, node)| node.customer != node.stored_customer && !node.stored_spend.is_empty());
    went.map(|(id, node)| Moved {
        reference_id: id.0,
        customer_id: node.customer.map(|customer| customer.0),
    })
    .collect()
}

/// What the days gain and lose by what changed: of each payment its share now, less its share before.
pub(super) fn added(world: &World) -> Vec<Added> {
    let mut days: BTreeMap<(ReferenceId, Option<Currency>, String), Added> = BTreeMap::new();
    for node in world.payments.values().filter(|node| node.changed) {
        let now = Share::of(node);
        if now == node.stored_share {
            continue;
        }
        for (share, sign) in [(node.stored_share, -1), (now, 1)] {
            let Some(share) = share else { continue };
            let day = share.paid_at.day();
            let row = days
                .entry((share.owner, share.currency, day.clone()))
                .or_insert_with(|| added_to(world, &node.environment, &share, day));
            row.payment_count = row.payment_count.saturating_add(sign);
            row.total_spent = row.total_spent.saturating_add(share.spent.saturating_mul(sign));
            row.net_spent = row.net_spent.saturating_add(share.net.saturating_mul(sign));
        }
    }
    let changes = |row: &Added| (row.payment_count, row.total_spent, row.net_spent) != (0, 0, 0);
    days.into_values().filter(changes).collect()
}

fn added_to(world: &World, environment: &Arc<str>, share: &Share, day: String) -> Added {
    Added {
        reference_id: share.owner.0,
        customer_id: world.customer_of(Some(share.owner)).map(|customer| customer.0),
        environment: environment.to_string(),
        currency: share.currency.map_or_else(String::new, String::from),
        day,
        payment_count: 0,
        total_spent: 0,
        net_spent: 0,
    }
}
