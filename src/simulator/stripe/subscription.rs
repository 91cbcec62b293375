//! Subscriptions at Stripe. The newer generation keeps the period on the items, the older on top.

use super::{
    Buyer, Customer, Method, Purchase,
    objects::{list, plan, price},
};
use crate::{
    model::subscription::SubscriptionStatus,
    simulator::{
        ledger::{Place, SubscriptionIndex, SubscriptionRecord},
        world::{Price, World},
    },
};
use serde_json::{Map, Value, json};

/// One subscription.
#[derive(Clone, Debug)]
pub(in crate::simulator) struct Subscription {
    id: String,
    customer: Customer,
    record: SubscriptionIndex,
    pub(in crate::simulator) price: Price,
    plan: String,
    product: String,
    status: SubscriptionStatus,
    cancel_at_period_end: bool,
    created: i64,
    period_start: i64,
    period_end: i64,
    over_at: Option<i64>,
    metadata: Map<String, Value>,
}

const MONTH: i64 = 30 * 86_400;

impl World {
    /// A subscription is made. Its own metadata may name a user: says where it hangs, claims nothing.
    pub(in crate::simulator) fn subscribe(
        &mut self,
        customer: &Customer,
        status: SubscriptionStatus,
        user: Option<&str>,
    ) -> Subscription {
        let (id, plan) = (self.id("sub", 24), self.id("price", 24));
        let place = Place {
            external: user.map(|user| self.external(user)),
            auth: None,
            account: Some(customer.name),
        };
        let record = SubscriptionRecord {
            namespace: self.senders.stripe.namespace.to_string(),
            id: id.clone(),
            place,
            status,
            plan: plan.clone(),
            cancel_at_period_end: false,
            orphan: false,
        };
        let subscription = Subscription {
            id,
            customer: customer.clone(),
            record: self.ledger.open_subscription(record),
            price: self.price(),
            plan,
            product: self.id("prod", 14),
            status,
            cancel_at_period_end: false,
            created: self.second(),
            period_start: self.second(),
            period_end: self.second() + MONTH,
            over_at: None,
            metadata: user.iter().map(|user| ("user_id".to_owned(), json!(user))).collect(),
        };
        self.subscription_event("customer.subscription.created", &subscription, None);
        subscription
    }

    /// The status changes: told with what it was before.
    pub(in crate::simulator) fn subscription_moves(
        &mut self,
        subscription: &mut Subscription,
        status: SubscriptionStatus,
    ) {
        let previous = json!({ "status": subscription.status });
        subscription.status = status;
        self.ledger.subscription(subscription.record, |record| record.status = status);
        let kind = match status {
            SubscriptionStatus::Paused => "customer.subscription.paused",
            _ => "customer.subscription.updated",
        };
        self.subscription_event(kind, subscription, Some(previous));
    }

    /// It is not to be renewed, or to be renewed after all. That alone ends nothing.
    pub(in crate::simulator) fn subscription_ends_with_period(
        &mut self,
        subscription: &mut Subscription,
        ends: bool,
    ) {
        let previous = json!({ "cancel_at_period_end": subscription.cancel_at_period_end });
        subscription.cancel_at_period_end = ends;
        self.ledger.subscription(subscription.record, |record| record.cancel_at_period_end = ends);
        self.subscription_event("customer.subscription.updated", subscription, Some(previous));
    }

    /// It is over.
    pub(in crate::simulator) fn subscription_canceled(&mut self, subscription: &mut Subscription) {
        let status = SubscriptionStatus::Canceled;
        subscription.status = status;
        subscription.over_at = Some(self.second());
        self.ledger.subscription(subscription.record, |record| record.status = status);
        self.subscription_event("customer.subscription.deleted", subscription, None);
    }

    /// The trial is about to end: a subscription event that changes nothing.
    pub(in crate::simulator) fn trial_ends_soon(&mut self, subscription: &Subscription) {
        self.subscription_event("customer.subscription.trial_will_end", subscription, None);
    }

    /// The period's invoice is paid by card: intent, charge, invoice and link in one go.
    pub(in crate::simulator) fn pay_period(
        &mut self,
        subscription: &Subscription,
        reason: &'static str,
    ) -> Purchase {
        let (mut invoice, mut purchase) = self.bill(subscription, reason);
        self.moment();
        let paid_at = self.second();
        self.succeed(&mut purchase);
        self.moment();
        self.invoice_paid(&mut invoice, &subscription.customer, &purchase, paid_at);
        purchase
    }

    /// The period's invoice and its intent are made.
    pub(in crate::simulator) fn bill(
        &mut self,
        subscription: &Subscription,
        reason: &'static str,
    ) -> (super::Invoice, Purchase) {
        let invoice = self.invoice(subscription.price, Some(&subscription.id), reason);
        let buyer = Buyer::of(&subscription.customer);
        let mut purchase = self.draft(&buyer, subscription.price, Method::Card, true);
        purchase.invoice = Some(invoice.id.clone());
        self.intent_event("payment_intent.created", &purchase);
        (invoice, purchase)
    }

    fn subscription_event(
        &mut self,
        kind: &str,
        subscription: &Subscription,
        previous: Option<Value>,
    ) {
        let object = subscription.object(self.live);
        self.stripe_tells(subscription.modern(), kind, object, previous);
    }
}

impl Subscription {
    pub(in crate::simulator) fn id(&self) -> &str {
        &self.id
    }

    pub(in crate::simulator) fn status(&self) -> SubscriptionStatus {
        self.status
    }

    pub(super) fn modern(&self) -> bool {
        self.customer.modern
    }

    pub(super) fn currency(&self) -> String {
        self.price.currency.as_str().to_lowercase()
    }

    fn object(&self, live: bool) -> Value {
        let (minor, currency) = (self.price.minor, self.currency());
        let mut item = json!({
            "id": self.id.replacen("sub_", "si_", 1),
            "object": "subscription_item",
            "created": self.created,
            "metadata": {},
            "plan": plan(&self.plan, &self.product, minor, &currency, live),
            "price": price(&self.plan, &self.product, minor, &currency, live),
            "quantity": 1,
            "subscription": self.id,
            "tax_rates": [],
        });
        let mut object = json!({
            "id": self.id,
            "object": "subscription",
            "application_fee_percent": null,
            "billing_cycle_anchor": self.created,
            "billing_thresholds": null,
            "cancel_at": null,
            "cancel_at_period_end": self.cancel_at_period_end,
            "canceled_at": self.over_at,
            "collection_method": "charge_automatically",
            "created": self.created,
            "currency": currency,
            "customer": self.customer.id,
            "days_until_due": null,
            "default_payment_method": null,
            "default_source": null,
            "default_tax_rates": [],
            "ended_at": self.over_at,
            "latest_invoice": null,
            "livemode": live,
            "metadata": self.metadata,
            "next_pending_invoice_item_invoice": null,
            "pause_collection": null,
            "pending_setup_intent": null,
            "pending_update": null,
            "schedule": null,
            "start_date": self.created,
            "status": self.status,
            "transfer_data": null,
            "trial_end": null,
            "trial_start": null,
        });
        let whole = &mut object;
        let period = if self.modern() { &mut item } else { &mut *whole };
        if let Some(period) = period.as_object_mut() {
            period.insert("current_period_start".to_owned(), json!(self.period_start));
            period.insert("current_period_end".to_owned(), json!(self.period_end));
        }
        if let Some(whole) = whole.as_object_mut() {
            let url = format!("/v1/subscription_items?subscription={}", self.id);
            whole.insert("items".to_owned(), list(&url, &[item]));
            if !self.customer.modern {
                let plan = plan(&self.plan, &self.product, minor, &currency, live);
                whole.insert("plan".to_owned(), plan);
                whole.insert("quantity".to_owned(), json!(1));
            }
        }
        object
    }
}
