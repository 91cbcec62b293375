//! Invoices: the older generation names the intent on them; the newer tells of the link by `invoice_payment`.

use super::{Customer, Purchase, objects::list};
use crate::simulator::{
    ledger::Level,
    world::{Price, World, at_second},
};
use serde_json::{Value, json};

/// One invoice. Amounts are minor units.
#[derive(Clone, Debug)]
pub(in crate::simulator) struct Invoice {
    pub(super) id: String,
    price: Price,
    subscription: Option<String>,
    reason: &'static str,
    created: i64,
    attempts: i64,
    /// The customer's credit when it was made; Stripe counts it below zero.
    credit: i64,
}

impl World {
    /// An invoice over so much, for a subscription or none.
    pub(in crate::simulator) fn invoice(
        &mut self,
        price: Price,
        subscription: Option<&str>,
        reason: &'static str,
    ) -> Invoice {
        Invoice {
            id: self.id("in", 24),
            price,
            subscription: subscription.map(ToOwned::to_owned),
            reason,
            created: self.second(),
            attempts: 0,
            credit: 0,
        }
    }

    /// The invoice was paid by a payment: three objects tell of one movement of money.
    pub(in crate::simulator) fn invoice_paid(
        &mut self,
        invoice: &mut Invoice,
        customer: &Customer,
        purchase: &Purchase,
        paid_at: i64,
    ) {
        invoice.attempts += 1;
        let object = self.invoice_object(invoice, customer, Some(purchase), "paid", Some(paid_at));
        for kind in ["invoice.paid", "invoice.payment_succeeded"] {
            self.stripe_tells(customer.modern, kind, object.clone(), None);
            self.instant();
        }
        if customer.modern {
            self.tell_invoice_payment(invoice, purchase, paid_at);
        }
    }

    /// A try to pay the invoice failed.
    pub(in crate::simulator) fn invoice_failed(
        &mut self,
        invoice: &mut Invoice,
        customer: &Customer,
        purchase: &Purchase,
    ) {
        invoice.attempts += 1;
        let object = self.invoice_object(invoice, customer, Some(purchase), "open", None);
        self.stripe_tells(customer.modern, "invoice.payment_failed", object, None);
    }

    /// The invoice was paid wholly from the customer's credit, or was over nothing: no money moved.
    pub(in crate::simulator) fn invoice_without_money(
        &mut self,
        invoice: &mut Invoice,
        customer: &Customer,
    ) {
        invoice.credit = invoice.price.minor * 2;
        let paid_at = Some(self.second());
        let object = self.invoice_object(invoice, customer, None, "paid", paid_at);
        for kind in ["invoice.paid", "invoice.payment_succeeded"] {
            self.stripe_tells(customer.modern, kind, object.clone(), None);
            self.instant();
        }
    }

    fn tell_invoice_payment(&mut self, invoice: &Invoice, purchase: &Purchase, paid_at: i64) {
        let object = json!({
            "id": self.id("inpay", 24),
            "object": "invoice_payment",
            "amount_paid": invoice.price.minor,
            "amount_requested": invoice.price.minor,
            "created": invoice.created,
            "currency": purchase.currency(),
            "invoice": invoice.id,
            "is_default": true,
            "livemode": self.live,
            "payment": { "type": "payment_intent", "payment_intent": purchase.intent },
            "status": "paid",
            "status_transitions": { "canceled_at": null, "paid_at": paid_at },
        });
        self.stripe_tells(true, "invoice_payment.paid", object, None);
    }

    /// The customer's contact is on it, and so on file.
    fn invoice_object(
        &mut self,
        invoice: &Invoice,
        customer: &Customer,
        purchase: Option<&Purchase>,
        status: &str,
        paid_at: Option<i64>,
    ) -> Value {
        let at = at_second(self.second());
        self.on_file(customer.name, Level::Payment, at, &customer.contact);
        let total = invoice.price.minor;
        let due = if purchase.is_some() { total } else { 0 };
        let paid = if paid_at.is_some() { due } else { 0 };
        let mut object = json!({
            "id": invoice.id,
            "object": "invoice",
            "account_country": "US",
            "account_name": "Simulated",
            "amount_due": due,
            "amount_paid": paid,
            "amount_remaining": due - paid,
            "amount_shipping": 0,
            "application": null,
            "attempt_count": invoice.attempts,
            "attempted": true,
            "auto_advance": paid_at.is_none(),
            "billing_reason": invoice.reason,
            "collection_method": "charge_automatically",
            "created": invoice.created,
            "currency": invoice.price.currency.as_str().to_lowercase(),
            "customer": customer.id,
            "customer_address": null,
            "customer_email": customer.contact.email,
            "customer_name": customer.contact.name,
            "customer_phone": customer.contact.phone,
            "customer_tax_exempt": "none",
            "description": null,
            "due_date": null,
            "ending_balance": total - due - invoice.credit,
            "hosted_invoice_url": null,
            "lines": list(&format!("/v1/invoices/{}/lines", invoice.id), &[]),
            "livemode": self.live,
            "metadata": {},
            "next_payment_attempt": null,
            "number": "F612594F-0002",
            "period_end": invoice.created,
            "period_start": invoice.created,
            "starting_balance": -invoice.credit,
            "status": status,
            "status_transitions": {
                "finalized_at": invoice.created,
                "marked_uncollectible_at": null,
                "paid_at": paid_at,
                "voided_at": null,
            },
            "subtotal": total,
            "total": total,
        });
        if let Some(object) = object.as_object_mut() {
            let subscription = &invoice.subscription;
            if customer.modern {
                let parent = subscription.as_ref().map(|id| {
                    json!({
                        "quote_details": null,
                        "subscription_details": { "metadata": {}, "subscription": id },
                        "type": "subscription_details",
                    })
                });
                object.insert("parent".to_owned(), json!(parent));
            } else {
                let intent = purchase.and_then(|purchase| purchase.intent.as_ref());
                object.insert("subscription".to_owned(), json!(subscription));
                object.insert("payment_intent".to_owned(), json!(intent));
                object.insert("charge".to_owned(), json!(purchase.map(|one| &one.charge)));
                object.insert("paid".to_owned(), json!(paid_at.is_some()));
                object.insert("paid_out_of_band".to_owned(), json!(false));
            }
        }
        object
    }
}
