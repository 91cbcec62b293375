//! Checkout sessions: Stripe's own payment page.

use super::{Customer, Purchase, Subscription};
use crate::simulator::{
    ledger::Level,
    people::Contact,
    world::{World, at_second},
};
use serde_json::{Value, json};

/// What a session led to.
#[derive(Clone, Copy, Debug)]
pub(in crate::simulator) enum Paid<'a> {
    /// One payment.
    Once(&'a Purchase),
    /// A subscription, with its first invoice, which may be free.
    Subscribed(&'a Subscription, i64),
}

impl World {
    /// The page was completed. `reference` is what the app's page wrote into `client_reference_id`: it
    /// says where the payment hangs and claims nothing, since a browser can write it.
    pub(in crate::simulator) fn session_event(
        &mut self,
        kind: &str,
        paid: Paid<'_>,
        status: &str,
        customer: Option<&Customer>,
        reference: Option<&str>,
    ) {
        if let (Paid::Once(purchase), Some(user)) = (paid, reference) {
            let external = self.external(user);
            self.ledger.payment(purchase.record, |record| record.place.external = Some(external));
        }
        if let Some(customer) = customer {
            let at = at_second(self.second());
            self.on_file(customer.name, Level::Payment, at, &customer.contact);
        }
        let guest = match paid {
            Paid::Once(purchase) => purchase.contact.as_ref(),
            Paid::Subscribed(..) => None,
        };
        let contact = customer.map(|customer| &customer.contact).or(guest);
        let modern = match paid {
            Paid::Once(purchase) => purchase.modern,
            Paid::Subscribed(subscription, _) => subscription.modern(),
        };
        let object = self.session_object(paid, status, customer, contact, reference);
        self.stripe_tells(modern, kind, object, None);
    }

    fn session_object(
        &mut self,
        paid: Paid<'_>,
        status: &str,
        customer: Option<&Customer>,
        contact: Option<&Contact>,
        reference: Option<&str>,
    ) -> Value {
        let (amount, currency) = match paid {
            Paid::Once(purchase) => (purchase.price.minor, purchase.currency()),
            Paid::Subscribed(subscription, amount) => (amount, subscription.currency()),
        };
        let (intent, subscription) = match paid {
            Paid::Once(purchase) => (purchase.intent.as_deref(), None),
            Paid::Subscribed(subscription, _) => (None, Some(subscription.id())),
        };
        let prefix = if self.live { "cs_live" } else { "cs_test" };
        json!({
            "id": self.id(prefix, 58),
            "object": "checkout.session",
            "after_expiration": null,
            "allow_promotion_codes": null,
            "amount_subtotal": amount,
            "amount_total": amount,
            "automatic_tax": { "enabled": false, "liability": null, "provider": null, "status": null },
            "billing_address_collection": null,
            "cancel_url": null,
            "client_reference_id": reference,
            "created": self.second() - 90,
            "currency": currency,
            "custom_fields": [],
            "customer": customer.map(|customer| &customer.id),
            "customer_creation": "if_required",
            "customer_details": {
                "address": null,
                "email": contact.and_then(|contact| contact.email.as_ref()),
                "name": contact.and_then(|contact| contact.name.as_ref()),
                "phone": contact.and_then(|contact| contact.phone.as_ref()),
                "tax_exempt": "none",
                "tax_ids": [],
            },
            "customer_email": null,
            "expires_at": self.second() + 86_000,
            "invoice": null,
            "livemode": self.live,
            "locale": null,
            "metadata": {},
            "mode": if subscription.is_some() { "subscription" } else { "payment" },
            "payment_intent": intent,
            "payment_link": null,
            "payment_method_types": ["card"],
            "payment_status": status,
            "setup_intent": null,
            "status": "complete",
            "submit_type": null,
            "subscription": subscription,
            "success_url": "https://shop.example.org/thanks",
            "total_details": { "amount_discount": 0, "amount_shipping": 0, "amount_tax": 0 },
            "ui_mode": "hosted",
            "url": null,
        })
    }
}
