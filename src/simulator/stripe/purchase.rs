//! One movement of money at Stripe: a payment intent with its charges, or a charge alone, and the several
//! events that tell of each step.

use super::{Buyer, objects::billing_details, refund::RefundItem};
use crate::{
    model::payment::PaymentStatus,
    simulator::{
        ledger::{PaymentIndex, PaymentRecord, Place},
        people::Contact,
        world::{Price, World, at_second},
    },
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// How it is paid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::simulator) enum Method {
    Card,
    SepaDebit,
    UsBankAccount,
}

impl Method {
    fn word(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::SepaDebit => "sepa_debit",
            Self::UsBankAccount => "us_bank_account",
        }
    }
}

/// How far it got at Stripe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    New,
    NeedsAction,
    Processing,
    Declined,
    Held,
    Paid,
    Voided,
    /// Paid, then taken back by the payer's bank.
    Bounced,
}

/// What Stripe shows on every charge and no charge of this world has.
const NEVER_SET: [&str; 18] = [
    "application",
    "application_fee",
    "application_fee_amount",
    "description",
    "destination",
    "dispute",
    "on_behalf_of",
    "receipt_email",
    "receipt_number",
    "receipt_url",
    "review",
    "shipping",
    "source",
    "source_transfer",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_data",
    "transfer_group",
];

/// See the module. Amounts are minor units.
#[derive(Clone, Debug)]
pub(in crate::simulator) struct Purchase {
    /// None where it was made with the Charges API alone.
    pub(in crate::simulator) intent: Option<String>,
    pub(in crate::simulator) charge: String,
    pub(in crate::simulator) record: PaymentIndex,
    pub(in crate::simulator) price: Price,
    pub(in crate::simulator) buyer: Buyer,
    pub(super) modern: bool,
    pub(super) captured: i64,
    pub(super) refunds: Vec<RefundItem>,
    pub(super) disputed: bool,
    /// The older generation names the invoice on the intent and the charge.
    pub(super) invoice: Option<String>,
    pub(super) contact: Option<Contact>,
    method: Method,
    stage: Stage,
    /// Held first, taken later.
    manual: bool,
    metadata: Map<String, Value>,
    live: bool,
    created: i64,
    charged: i64,
    settled: Option<String>,
}

impl World {
    /// A payment intent is made. A guest leaves contact details on the payment itself.
    pub(in crate::simulator) fn begin(
        &mut self,
        buyer: &Buyer,
        price: Price,
        method: Method,
    ) -> Purchase {
        let purchase = self.draft(buyer, price, method, true);
        self.intent_event("payment_intent.created", &purchase);
        purchase
    }

    /// A charge is made with the Charges API alone: there is no intent, the charge is the payment.
    pub(in crate::simulator) fn charge_alone(&mut self, buyer: &Buyer, price: Price) -> Purchase {
        let mut purchase = self.draft(buyer, price, Method::Card, false);
        self.take(&mut purchase, price.minor);
        self.charge_event("charge.succeeded", &purchase, None);
        purchase
    }

    /// The books of a purchase, before anything is told.
    pub(super) fn draft(
        &mut self,
        buyer: &Buyer,
        price: Price,
        method: Method,
        with_intent: bool,
    ) -> Purchase {
        let id = self.random.text(23);
        let (intent, charge) = (format!("pi_3{id}"), format!("ch_3{}", self.random.text(23)));
        let intent = with_intent.then_some(intent);
        let modern = match &buyer.customer {
            Some(customer) => customer.modern,
            None => self.random.chance(50),
        };
        let place = Place {
            external: buyer.user.as_ref().map(|user| self.external(user)),
            auth: None,
            account: buyer.customer.as_ref().map(|customer| customer.name),
        };
        let namespace = Arc::clone(&self.senders.stripe.namespace);
        let key = intent.as_ref().unwrap_or(&charge);
        let record = PaymentRecord::new(&namespace, key, place, price.minor, price.currency);
        let key_of_user = self.random.pick(&["user_id", "external_id"]);
        let metadata =
            buyer.user.iter().map(|user| (key_of_user.to_owned(), json!(user))).collect();
        let contact = buyer.customer.is_none().then(|| {
            let human = self.human();
            human.at_a_shop(&mut self.random)
        });
        Purchase {
            intent,
            charge,
            record: self.ledger.open_payment(record),
            price,
            buyer: buyer.clone(),
            modern,
            captured: 0,
            refunds: Vec::new(),
            disputed: false,
            invoice: None,
            contact,
            method,
            stage: Stage::New,
            manual: false,
            metadata,
            live: self.live,
            created: self.second(),
            charged: self.second(),
            settled: None,
        }
    }

    /// The payer's bank wants to see them first.
    pub(in crate::simulator) fn challenge(&mut self, purchase: &mut Purchase) {
        self.moves(purchase, Stage::NeedsAction, PaymentStatus::RequiresAction);
        self.intent_event("payment_intent.requires_action", purchase);
    }

    /// A try fails: its charge is lost, the intent waits for another.
    pub(in crate::simulator) fn decline(&mut self, purchase: &mut Purchase) {
        self.charged_anew(purchase);
        self.moves(purchase, Stage::Declined, PaymentStatus::Failed);
        self.charge_event("charge.failed", purchase, None);
        self.instant();
        self.intent_event("payment_intent.payment_failed", purchase);
    }

    /// A bank debit is on its way.
    pub(in crate::simulator) fn process(&mut self, purchase: &mut Purchase) {
        self.charged_anew(purchase);
        self.moves(purchase, Stage::Processing, PaymentStatus::Pending);
        self.charge_event("charge.pending", purchase, None);
        self.instant();
        self.intent_event("payment_intent.processing", purchase);
    }

    /// The bank says no before the debit arrived.
    pub(in crate::simulator) fn process_fails(&mut self, purchase: &mut Purchase) {
        self.moves(purchase, Stage::Declined, PaymentStatus::Failed);
        self.charge_event("charge.failed", purchase, None);
        self.instant();
        self.intent_event("payment_intent.payment_failed", purchase);
    }

    /// The money moves: the charge and the intent both tell it, in either order.
    pub(in crate::simulator) fn succeed(&mut self, purchase: &mut Purchase) {
        if purchase.stage != Stage::Processing {
            self.charged_anew(purchase);
        }
        let charge_first = self.random.chance(70);
        self.take(purchase, purchase.price.minor);
        if charge_first {
            self.charge_event("charge.succeeded", purchase, None);
            self.moment();
        }
        self.intent_event("payment_intent.succeeded", purchase);
        if !charge_first {
            self.moment();
            self.charge_event("charge.succeeded", purchase, None);
        }
    }

    /// The charge is booked a moment later: an update that says nothing new about the money.
    pub(in crate::simulator) fn settle(&mut self, purchase: &mut Purchase) {
        purchase.settled = Some(self.id("txn", 24));
        let previous = json!({ "balance_transaction": null });
        self.charge_event("charge.updated", purchase, Some(previous));
    }

    /// The money is held, not taken.
    pub(in crate::simulator) fn authorize(&mut self, purchase: &mut Purchase) {
        self.charged_anew(purchase);
        purchase.manual = true;
        self.moves(purchase, Stage::Held, PaymentStatus::Authorized);
        self.charge_event("charge.succeeded", purchase, None);
        self.instant();
        self.intent_event("payment_intent.amount_capturable_updated", purchase);
    }

    /// Held money is taken: all of it or less, once.
    pub(in crate::simulator) fn capture(&mut self, purchase: &mut Purchase, amount: i64) {
        self.take(purchase, amount);
        self.charge_event("charge.captured", purchase, None);
        self.moment();
        self.intent_event("payment_intent.succeeded", purchase);
    }

    /// Held money is let go. Stripe calls the charge refunded; nothing had moved, so nothing is.
    pub(in crate::simulator) fn void(&mut self, purchase: &mut Purchase) {
        self.moves(purchase, Stage::Voided, PaymentStatus::Canceled);
        self.charge_event("charge.refunded", purchase, Some(json!({ "amount_refunded": 0 })));
        self.instant();
        self.intent_event("payment_intent.canceled", purchase);
    }

    /// Given up before any money was held.
    pub(in crate::simulator) fn abandon(&mut self, purchase: &mut Purchase) {
        self.moves(purchase, Stage::Voided, PaymentStatus::Canceled);
        self.intent_event("payment_intent.canceled", purchase);
    }

    /// A bank debit that had succeeded comes back late. The intent keeps its success; the charge fails
    /// after all, with a `failure_balance_transaction` that takes the money from the balance again. In the
    /// books that is money gone back: the whole of it.
    pub(in crate::simulator) fn bounce(&mut self, purchase: &mut Purchase) {
        purchase.stage = Stage::Bounced;
        let captured = purchase.captured;
        self.ledger.payment(purchase.record, |record| record.refunded = captured);
        self.charge_event("charge.failed", purchase, None);
    }

    fn moves(&mut self, purchase: &mut Purchase, stage: Stage, status: PaymentStatus) {
        purchase.stage = stage;
        self.ledger.payment(purchase.record, |record| record.status = status);
    }

    /// The money is taken now: this second is when it was paid, whatever is told later.
    fn take(&mut self, purchase: &mut Purchase, amount: i64) {
        purchase.stage = Stage::Paid;
        purchase.captured = amount;
        let at = at_second(self.second());
        self.ledger.payment(purchase.record, |record| record.paid(amount, at));
    }

    /// Every try makes a charge of its own.
    fn charged_anew(&mut self, purchase: &mut Purchase) {
        if purchase.stage != Stage::New {
            purchase.charge = format!("ch_3{}", self.random.text(23));
        }
        purchase.charged = self.second();
        purchase.settled = None;
    }

    pub(super) fn intent_event(&mut self, kind: &str, purchase: &Purchase) {
        let object = purchase.intent_object();
        self.stripe_tells(purchase.modern, kind, object, None);
    }

    pub(super) fn charge_event(
        &mut self,
        kind: &str,
        purchase: &Purchase,
        previous: Option<Value>,
    ) {
        let object = purchase.charge_object();
        self.stripe_tells(purchase.modern, kind, object, previous);
    }
}

impl Purchase {
    pub(super) fn customer(&self) -> Option<&str> {
        self.buyer.customer.as_ref().map(|customer| customer.id.as_str())
    }

    pub(super) fn currency(&self) -> String {
        self.price.currency.as_str().to_lowercase()
    }

    /// What has gone back and not come home again.
    pub(in crate::simulator) fn live_refunds(&self) -> i64 {
        self.refunds.iter().filter(|refund| refund.is_live()).map(|refund| refund.amount).sum()
    }

    fn error(&self) -> Value {
        if self.stage != Stage::Declined {
            return Value::Null;
        }
        json!({
            "charge": self.charge,
            "code": "card_declined",
            "decline_code": "generic_decline",
            "doc_url": "https://docs.stripe.com/error-codes#card-declined",
            "message": "Your card was declined.",
            "type": "card_error",
        })
    }

    fn intent_object(&self) -> Value {
        let status = match self.stage {
            Stage::New | Stage::Declined => "requires_payment_method",
            Stage::NeedsAction => "requires_action",
            Stage::Processing => "processing",
            Stage::Held => "requires_capture",
            Stage::Paid | Stage::Bounced => "succeeded",
            Stage::Voided => "canceled",
        };
        let held = if self.stage == Stage::Held { self.price.minor } else { 0 };
        let latest = (self.stage != Stage::New).then_some(&self.charge);
        let action =
            (self.stage == Stage::NeedsAction).then(|| json!({ "type": "use_stripe_sdk" }));
        let mut object = json!({
            "id": self.intent,
            "object": "payment_intent",
            "amount": self.price.minor,
            "amount_capturable": held,
            "amount_details": { "tip": {} },
            "amount_received": self.captured,
            "application": null,
            "application_fee_amount": null,
            "automatic_payment_methods": null,
            "canceled_at": (self.stage == Stage::Voided).then_some(self.charged),
            "cancellation_reason": null,
            "capture_method": if self.manual { "manual" } else { "automatic" },
            "confirmation_method": "automatic",
            "created": self.created,
            "currency": self.currency(),
            "customer": self.customer(),
            "description": null,
            "last_payment_error": self.error(),
            "latest_charge": latest,
            "livemode": self.live,
            "metadata": self.metadata,
            "next_action": action,
            "on_behalf_of": null,
            "payment_method": null,
            "payment_method_options": {},
            "payment_method_types": [self.method.word()],
            "processing": null,
            "receipt_email": null,
            "review": null,
            "setup_future_usage": null,
            "shipping": null,
            "statement_descriptor": null,
            "statement_descriptor_suffix": null,
            "status": status,
            "transfer_data": null,
            "transfer_group": null,
        });
        if let Some(object) = object.as_object_mut().filter(|_| !self.modern) {
            object.insert("invoice".to_owned(), json!(self.invoice));
        }
        object
    }

    fn charge_object(&self) -> Value {
        let (status, paid, captured) = match self.stage {
            Stage::New | Stage::NeedsAction | Stage::Processing => ("pending", false, false),
            Stage::Declined => ("failed", false, false),
            Stage::Held | Stage::Voided => ("succeeded", true, false),
            Stage::Paid => ("succeeded", true, true),
            Stage::Bounced => ("failed", false, true),
        };
        let refunded = match self.stage {
            Stage::Voided => self.price.minor,
            _ => self.live_refunds(),
        };
        let failed = status == "failed";
        let taken_back = (self.stage == Stage::Bounced).then(|| format!("{}_back", self.charge));
        let mut object = json!({
            "id": self.charge,
            "object": "charge",
            "amount": self.price.minor,
            "amount_captured": self.captured,
            "amount_refunded": refunded,
            "balance_transaction": self.settled,
            "billing_details": billing_details(self.contact.as_ref()),
            "calculated_statement_descriptor": "SIMULATED",
            "captured": captured,
            "created": self.charged,
            "currency": self.currency(),
            "customer": self.customer(),
            "disputed": self.disputed,
            "failure_balance_transaction": taken_back.map(|id| id.replacen("ch_", "txn_", 1)),
            "failure_code": failed.then_some("card_declined"),
            "failure_message": failed.then_some("Your card was declined."),
            "fraud_details": {},
            "livemode": self.live,
            "metadata": self.metadata,
            "outcome": {
                "network_status": if failed { "declined_by_network" } else { "approved_by_network" },
                "reason": null,
                "risk_level": "normal",
                "type": if failed { "issuer_declined" } else { "authorized" },
            },
            "paid": paid,
            "payment_intent": self.intent,
            "payment_method": null,
            "payment_method_details": {
                "type": self.method.word(),
                (self.method.word()): { "fingerprint": "oPS2CZBviZaiMQyc", "last4": "4242" },
            },
            "refunded": refunded > 0 && refunded >= self.captured,
            "status": status,
        });
        if let Some(object) = object.as_object_mut() {
            let unused = NEVER_SET.iter().map(|field| ((*field).to_owned(), Value::Null));
            object.extend(unused);
            if !self.modern {
                object.insert("invoice".to_owned(), json!(self.invoice));
                object.insert("refunds".to_owned(), self.refund_list());
            }
        }
        object
    }
}
