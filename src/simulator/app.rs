//! The team's own application, speaking the canonical format (contract 5).

use super::{
    ledger::{
        Field, Level, NameId, PaymentIndex, PaymentRecord, Place, Reach, SubscriptionIndex,
        SubscriptionRecord,
    },
    world::{Price, World},
};
use crate::model::{payment::PaymentStatus, reference::Kind, subscription::SubscriptionStatus};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What the app says of a customer. Absent says nothing, `Some(None)` says that there is none.
#[expect(clippy::option_option, reason = "absent, null and a value are three things to say")]
#[derive(Clone, Debug, Default)]
pub(super) struct Patch {
    pub(super) name: Option<Option<String>>,
    pub(super) email: Option<Option<String>>,
    pub(super) phone: Option<Option<String>>,
    pub(super) tags: Option<Vec<String>>,
    /// Keys and values; null takes a key away.
    pub(super) metadata: Vec<(&'static str, Value)>,
    /// All metadata goes.
    pub(super) clear_metadata: bool,
    pub(super) is_anonymous: Option<bool>,
}

/// Whom an event of the app is about.
#[derive(Clone, Debug, Default)]
pub(super) struct Whom {
    pub(super) external_id: Option<String>,
    /// (kind, namespace, uid), in the event's order.
    pub(super) identities: Vec<(Kind, Arc<str>, String)>,
}

/// A payment that the app took itself, outside of any provider.
#[derive(Clone, Debug)]
pub(super) struct OwnPayment {
    pub(super) id: String,
    pub(super) whom: Whom,
    pub(super) price: Price,
    pub(super) record: PaymentIndex,
}

/// A subscription that the app keeps itself.
#[derive(Clone, Debug)]
pub(super) struct OwnSubscription {
    id: String,
    whom: Whom,
    record: SubscriptionIndex,
}

impl Whom {
    pub(super) fn external(external_id: &str) -> Self {
        Self { external_id: Some(external_id.to_owned()), identities: Vec::new() }
    }

    #[must_use]
    pub(super) fn and(mut self, kind: Kind, namespace: &Arc<str>, uid: &str) -> Self {
        self.identities.push((kind, Arc::clone(namespace), uid.to_owned()));
        self
    }

    fn data(&self) -> Map<String, Value> {
        let mut data = Map::new();
        if let Some(external_id) = &self.external_id {
            data.insert("external_id".to_owned(), json!(external_id));
        }
        if !self.identities.is_empty() {
            let identities: Vec<_> = self
                .identities
                .iter()
                .map(|(kind, namespace, uid)| {
                    json!({ "provider": namespace, "uid": uid, "kind": kind })
                })
                .collect();
            data.insert("identities".to_owned(), json!(identities));
        }
        data
    }

    /// The data of an event: whom it is about, and its one fact.
    fn with(&self, fact: &str, value: Value) -> Value {
        let mut data = self.data();
        data.insert(fact.to_owned(), value);
        data.into()
    }
}

impl World {
    /// The app records a customer: what it claims together hangs together, and its word counts most.
    pub(super) fn record_customer(&mut self, whom: &Whom, patch: &Patch) {
        let head = self.head(whom);
        self.write_patch(head, patch);
        let data = whom.with("customer", patch_object(patch));
        self.app_tells("customer.recorded", &data);
    }

    /// The app deletes a customer and all that hangs there.
    pub(super) fn app_deletes(&mut self, external_id: &str) {
        let name = self.external(external_id);
        self.ledger.delete(name, Reach::Customer);
        let data = Whom::external(external_id).data().into();
        self.app_tells("customer.deleted", &data);
    }

    /// The name that the app's words hang on (its external_id, else the first auth UID, else the first),
    /// with the others put under it.
    fn head(&mut self, whom: &Whom) -> NameId {
        let external = whom.external_id.as_ref().map(|id| self.external(id));
        if let Some(external) = external {
            self.ledger.reopen(external);
        }
        let mut names = Vec::new();
        for (kind, namespace, uid) in &whom.identities {
            names.push((*kind, self.ledger.name(*kind, namespace, uid)));
        }
        let first = |kind| names.iter().find(|(known, _)| *known == kind).map(|(_, name)| *name);
        let head = external
            .or_else(|| first(Kind::Auth))
            .or_else(|| names.first().map(|(_, name)| *name))
            .unwrap_or_else(|| self.external(""));
        for (_, name) in names.into_iter().filter(|(_, name)| *name != head) {
            self.ledger.hang(name, Some(head), Level::App);
        }
        head
    }

    fn write_patch(&mut self, name: NameId, patch: &Patch) {
        let at = self.now;
        let fields = [
            (Field::Name, &patch.name),
            (Field::Email, &patch.email),
            (Field::Phone, &patch.phone),
        ];
        for (field, value) in fields {
            if let Some(value) = value {
                self.ledger.says(name, Level::App, field, at, value.as_deref());
            }
        }
        if let Some(tags) = &patch.tags {
            self.ledger.tags(name, at, tags.clone());
        }
        if patch.clear_metadata {
            self.ledger.clear_metadata(name, at);
        }
        for (key, value) in &patch.metadata {
            let value = Some(value.clone()).filter(|value| !value.is_null());
            self.ledger.metadata(name, at, key, value);
        }
        if let Some(anonymous) = patch.is_anonymous {
            self.ledger.anonymous(name, anonymous);
        }
    }

    /// The app took money itself. Its payments claim nothing: they hang on the first name they give.
    pub(super) fn own_payment(
        &mut self,
        whom: &Whom,
        price: Price,
        status: PaymentStatus,
    ) -> OwnPayment {
        let id = format!("order-{}", self.random.text(10));
        let place = self.own_place(whom);
        let namespace = Arc::clone(&self.senders.app.namespace);
        let record = PaymentRecord::new(&namespace, &id, place, price.minor, price.currency);
        let record = self.ledger.open_payment(record);
        let payment = OwnPayment { id, whom: whom.clone(), price, record };
        self.own_payment_moves(&payment, status, None);
        payment
    }

    /// The app says how its payment stands, and perhaps how much of it went back in all.
    pub(super) fn own_payment_moves(
        &mut self,
        payment: &OwnPayment,
        status: PaymentStatus,
        refunded: Option<i64>,
    ) {
        let (at, price) = (self.now, payment.price);
        self.ledger.payment(payment.record, |record| {
            if status == PaymentStatus::Succeeded && !record.succeeded() {
                record.paid(price.minor, at);
            }
            record.status = status;
            record.refunded = refunded.unwrap_or(record.refunded);
        });
        let mut object = json!({
            "id": payment.id,
            "amount": price.minor,
            "currency": price.currency,
            "status": status,
            "method": "bank_transfer",
            "source": "payment_link",
            "description": "Invoice by hand",
        });
        if let (Some(refunded), Some(object)) = (refunded, object.as_object_mut()) {
            object.insert("amount_refunded".to_owned(), json!(refunded));
        }
        let data = payment.whom.with("payment", object);
        self.app_tells("payment.recorded", &data);
    }

    /// The app gives some of its money back. `counted` is all that is refunded from now on.
    pub(super) fn own_refund(
        &mut self,
        payment: &OwnPayment,
        (id, amount): (&str, i64),
        status: &str,
        counted: i64,
    ) {
        self.ledger.payment(payment.record, |record| record.refunded = counted);
        let object = json!({
            "id": id,
            "payment_id": payment.id,
            "amount": amount,
            "currency": payment.price.currency,
            "status": status,
        });
        let data = payment.whom.with("refund", object);
        self.app_tells("refund.recorded", &data);
    }

    /// A dispute about the app's own payment.
    pub(super) fn own_dispute(&mut self, payment: &OwnPayment, id: &str, status: &str) {
        let amount = payment.price.minor;
        self.ledger.payment(payment.record, |record| {
            record.open_disputes = u32::from(status == "open");
            record.lost = if status == "lost" { amount - record.refunded } else { 0 };
        });
        let object = json!({
            "id": id,
            "payment_id": payment.id,
            "amount": amount,
            "currency": payment.price.currency,
            "status": status,
        });
        let data = payment.whom.with("dispute", object);
        self.app_tells("dispute.recorded", &data);
    }

    /// The app keeps a subscription itself.
    pub(super) fn own_subscription(
        &mut self,
        whom: &Whom,
        status: SubscriptionStatus,
    ) -> OwnSubscription {
        let id = format!("plan-{}", self.random.text(10));
        let record = SubscriptionRecord {
            namespace: self.senders.app.namespace.to_string(),
            id: id.clone(),
            place: self.own_place(whom),
            status,
            plan: "supporter".to_owned(),
            cancel_at_period_end: false,
            orphan: false,
        };
        let record = self.ledger.open_subscription(record);
        let subscription = OwnSubscription { id, whom: whom.clone(), record };
        self.own_subscription_moves(&subscription, status);
        subscription
    }

    /// The app says how its subscription stands.
    pub(super) fn own_subscription_moves(
        &mut self,
        subscription: &OwnSubscription,
        status: SubscriptionStatus,
    ) {
        self.ledger.subscription(subscription.record, |record| record.status = status);
        let object = json!({
            "id": subscription.id,
            "status": status,
            "plan": "supporter",
            "cancel_at_period_end": false,
        });
        let data = subscription.whom.with("subscription", object);
        self.app_tells("subscription.recorded", &data);
    }

    fn own_place(&mut self, whom: &Whom) -> Place {
        let mut place = Place {
            external: whom.external_id.as_ref().map(|id| self.external(id)),
            ..Place::default()
        };
        for (kind, namespace, uid) in &whom.identities {
            let name = Some(self.ledger.name(*kind, namespace, uid));
            match kind {
                Kind::Auth => place.auth = place.auth.or(name),
                Kind::Payment => place.account = place.account.or(name),
                Kind::External | Kind::Own => {}
            }
        }
        place
    }
}

fn patch_object(patch: &Patch) -> Value {
    let mut object = Map::new();
    for (field, value) in [("name", &patch.name), ("email", &patch.email), ("phone", &patch.phone)]
    {
        if let Some(value) = value {
            object.insert(field.to_owned(), json!(value));
        }
    }
    if let Some(tags) = &patch.tags {
        object.insert("tags".to_owned(), json!(tags));
    }
    if patch.clear_metadata {
        object.insert("metadata".to_owned(), Value::Null);
    } else if !patch.metadata.is_empty() {
        let metadata: Map<_, _> =
            patch.metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        object.insert("metadata".to_owned(), metadata.into());
    }
    if let Some(anonymous) = patch.is_anonymous {
        object.insert("is_anonymous".to_owned(), json!(anonymous));
    }
    object.into()
}
