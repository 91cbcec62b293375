//! Refunds at Stripe: each an object of its own, and their sum on the charge.

use super::{Purchase, objects::list};
use crate::simulator::world::World;
use serde_json::{Value, json};

/// How a refund is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::simulator) enum Form {
    /// By its own object and by the charge's sum.
    Both,
    /// By its own object alone.
    Item,
    /// By the charge's sum alone: the account does not send `refund.*`.
    Sum,
}

/// One refund. Amounts are minor units.
#[derive(Clone, Debug)]
pub(super) struct RefundItem {
    id: String,
    pub(super) amount: i64,
    status: &'static str,
    created: i64,
}

impl RefundItem {
    pub(super) fn is_live(&self) -> bool {
        matches!(self.status, "pending" | "succeeded")
    }

    fn object(&self, purchase: &Purchase) -> Value {
        let failed = self.status == "failed";
        json!({
            "id": self.id,
            "object": "refund",
            "amount": self.amount,
            "balance_transaction": self.id.replacen("re_", "txn_", 1),
            "charge": purchase.charge,
            "created": self.created,
            "currency": purchase.currency(),
            "destination_details": { "card": { "type": "refund" }, "type": "card" },
            "failure_reason": failed.then_some("expired_or_canceled_card"),
            "metadata": {},
            "payment_intent": purchase.intent,
            "reason": "requested_by_customer",
            "receipt_number": null,
            "source_transfer_reversal": null,
            "status": self.status,
            "transfer_reversal": null,
        })
    }
}

impl World {
    /// Money is given back; the place of the refund among the purchase's is returned.
    pub(in crate::simulator) fn refund(
        &mut self,
        purchase: &mut Purchase,
        amount: i64,
        status: &'static str,
        form: Form,
    ) -> usize {
        let before = purchase.live_refunds();
        let item = RefundItem {
            id: format!("re_3{}", self.random.text(23)),
            amount,
            status,
            created: self.second(),
        };
        let object = item.object(purchase);
        purchase.refunds.push(item);
        self.count_refunds(purchase);
        if form != Form::Sum {
            self.stripe_tells(purchase.modern, "refund.created", object, None);
        }
        if form != Form::Item {
            self.instant();
            let previous = json!({ "amount_refunded": before });
            self.charge_event("charge.refunded", purchase, Some(previous));
        }
        purchase.refunds.len() - 1
    }

    /// A refund gets further: it arrives, fails, or is called off. The charge's sum falls when it fails,
    /// which only a later event of the charge would show.
    pub(in crate::simulator) fn refund_moves(
        &mut self,
        purchase: &mut Purchase,
        place: usize,
        status: &'static str,
    ) {
        let Some(item) = purchase.refunds.get_mut(place) else { return };
        let previous = json!({ "status": item.status });
        item.status = status;
        let item = item.clone();
        self.count_refunds(purchase);
        let object = item.object(purchase);
        let kind = if purchase.modern { "refund.updated" } else { "charge.refund.updated" };
        self.stripe_tells(purchase.modern, kind, object.clone(), Some(previous));
        if status == "failed" {
            self.instant();
            self.stripe_tells(purchase.modern, "refund.failed", object, None);
        }
    }

    fn count_refunds(&mut self, purchase: &Purchase) {
        let refunded = purchase.live_refunds();
        self.ledger.payment(purchase.record, |record| record.refunded = refunded);
    }
}

impl Purchase {
    /// The older generation's list of refunds on the charge.
    pub(super) fn refund_list(&self) -> Value {
        let data: Vec<_> = self.refunds.iter().rev().map(|refund| refund.object(self)).collect();
        list(&format!("/v1/charges/{}/refunds", self.charge), &data)
    }
}
