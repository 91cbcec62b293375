//! Disputes at Stripe: opened with the money withdrawn, closed as won or lost.

use super::Purchase;
use crate::simulator::world::World;
use serde_json::{Value, json};

/// One dispute. Amounts are minor units.
#[derive(Clone, Debug)]
pub(in crate::simulator) struct Dispute {
    id: String,
    amount: i64,
    status: &'static str,
    created: i64,
    /// Whether Stripe names the intent too, or the charge alone.
    names_intent: bool,
}

impl World {
    /// The payer's bank opens a dispute about so much. An inquiry takes no money.
    pub(in crate::simulator) fn dispute(
        &mut self,
        purchase: &mut Purchase,
        amount: i64,
        status: &'static str,
        names_intent: bool,
    ) -> Dispute {
        let dispute =
            Dispute { id: self.id("dp", 24), amount, status, created: self.second(), names_intent };
        purchase.disputed = true;
        self.count_dispute(purchase, &dispute);
        self.dispute_event("charge.dispute.created", purchase, &dispute, None);
        if !status.starts_with("warning") {
            self.instant();
            self.dispute_event("charge.dispute.funds_withdrawn", purchase, &dispute, None);
            self.instant();
            let previous = json!({ "disputed": false });
            self.charge_event("charge.updated", purchase, Some(previous));
        }
        dispute
    }

    /// Evidence is handed in.
    pub(in crate::simulator) fn dispute_reviewed(
        &mut self,
        purchase: &Purchase,
        dispute: &mut Dispute,
    ) {
        let previous = json!({ "status": dispute.status });
        dispute.status = "under_review";
        self.dispute_event("charge.dispute.updated", purchase, dispute, Some(previous));
    }

    /// The bank decides: `won`, `lost`, or `warning_closed` for an inquiry.
    pub(in crate::simulator) fn dispute_closed(
        &mut self,
        purchase: &Purchase,
        dispute: &mut Dispute,
        status: &'static str,
    ) {
        dispute.status = status;
        self.count_dispute(purchase, dispute);
        self.dispute_event("charge.dispute.closed", purchase, dispute, None);
        if status == "won" {
            self.instant();
            self.dispute_event("charge.dispute.funds_reinstated", purchase, dispute, None);
        }
    }

    /// There is one dispute a payment in this world.
    fn count_dispute(&mut self, purchase: &Purchase, dispute: &Dispute) {
        self.ledger.payment(purchase.record, |record| {
            let over = matches!(dispute.status, "won" | "lost" | "warning_closed");
            record.open_disputes = u32::from(!over);
            let left = record.captured - record.refunded;
            record.lost = if dispute.status == "lost" { dispute.amount.min(left) } else { 0 };
        });
    }

    fn dispute_event(
        &mut self,
        kind: &str,
        purchase: &Purchase,
        dispute: &Dispute,
        previous: Option<Value>,
    ) {
        let intent = purchase.intent.as_ref().filter(|_| dispute.names_intent);
        let object = json!({
            "id": dispute.id,
            "object": "dispute",
            "amount": dispute.amount,
            "balance_transactions": [],
            "charge": purchase.charge,
            "created": dispute.created,
            "currency": purchase.currency(),
            "evidence": {},
            "evidence_details": {
                "due_by": dispute.created + 1_000_000,
                "has_evidence": dispute.status == "under_review",
                "past_due": false,
                "submission_count": 0,
            },
            "is_charge_refundable": dispute.status.starts_with("warning"),
            "livemode": self.live,
            "metadata": {},
            "payment_intent": intent,
            "payment_method_details": { "card": { "brand": "visa" }, "type": "card" },
            "reason": "fraudulent",
            "status": dispute.status,
        });
        self.stripe_tells(purchase.modern, kind, object, previous);
    }
}
