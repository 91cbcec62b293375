//! How Stripe renders what both generations of its API have in common, and customers.

use super::Customer;
use crate::simulator::{people::Contact, world::World};
use serde_json::{Value, json};

/// A charge's or payment method's billing details; Stripe shows every field, most of them null.
pub(super) fn billing_details(contact: Option<&Contact>) -> Value {
    json!({
        "address": {
            "city": null, "country": "US", "line1": null, "line2": null, "postal_code": null, "state": null,
        },
        "email": contact.and_then(|contact| contact.email.as_ref()),
        "name": contact.and_then(|contact| contact.name.as_ref()),
        "phone": contact.and_then(|contact| contact.phone.as_ref()),
    })
}

/// A price as subscriptions and lines carry it.
pub(super) fn price(id: &str, product: &str, minor: i64, currency: &str, live: bool) -> Value {
    json!({
        "id": id,
        "object": "price",
        "active": true,
        "billing_scheme": "per_unit",
        "created": 1_611_564_617,
        "currency": currency,
        "livemode": live,
        "lookup_key": null,
        "metadata": {},
        "nickname": null,
        "product": product,
        "recurring": {
            "interval": "month", "interval_count": 1, "trial_period_days": null, "usage_type": "licensed",
        },
        "tiers_mode": null,
        "transform_quantity": null,
        "type": "recurring",
        "unit_amount": minor,
        "unit_amount_decimal": minor.to_string(),
    })
}

/// The older generation's twin of a price.
pub(super) fn plan(id: &str, product: &str, minor: i64, currency: &str, live: bool) -> Value {
    json!({
        "id": id,
        "object": "plan",
        "active": true,
        "aggregate_usage": null,
        "amount": minor,
        "amount_decimal": minor.to_string(),
        "billing_scheme": "per_unit",
        "created": 1_611_564_617,
        "currency": currency,
        "interval": "month",
        "interval_count": 1,
        "livemode": live,
        "metadata": {},
        "nickname": null,
        "product": product,
        "tiers_mode": null,
        "transform_usage": null,
        "trial_period_days": null,
        "usage_type": "licensed",
    })
}

/// A list as Stripe wraps it.
pub(super) fn list(url: &str, data: &[Value]) -> Value {
    json!({
        "object": "list", "data": data, "has_more": false, "total_count": data.len(), "url": url,
    })
}

impl World {
    pub(super) fn customer_object(&self, customer: &Customer) -> Value {
        let mut object = json!({
            "id": customer.id,
            "object": "customer",
            "address": null,
            "balance": 0,
            "created": customer.created,
            "currency": null,
            "default_source": null,
            "delinquent": customer.delinquent,
            "description": null,
            "discount": null,
            "email": customer.contact.email,
            "invoice_prefix": "D78833AC",
            "invoice_settings": {
                "custom_fields": null, "default_payment_method": null, "footer": null,
            },
            "livemode": self.live,
            "metadata": customer.metadata,
            "name": customer.contact.name,
            "next_invoice_sequence": 1,
            "phone": customer.contact.phone,
            "preferred_locales": [],
            "shipping": null,
            "tax_exempt": "none",
        });
        if let Some(object) = object.as_object_mut() {
            if customer.modern {
                object.insert("test_clock".to_owned(), Value::Null);
            } else {
                let url = format!("/v1/customers/{}/sources", customer.id);
                object.insert("sources".to_owned(), list(&url, &[]));
            }
        }
        object
    }
}
