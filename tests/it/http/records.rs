//! Rows as the pipeline leaves them, written through the store.

use super::Api;
use customer_sync::model::{
    customer::{Identity, Person, Totals},
    id::{CustomerId, InboundId, PaymentId, SubscriptionId},
    inbound::Headers,
    payment::PaymentFacts,
    reference::{Kind, Reference, ReferenceFacts, ReferenceId},
    subscription::SubscriptionFacts,
    time::Timestamp,
};
use customer_sync::store::{customers, inbox, payments, references, subscriptions, totals};

/// A customer to be written.
#[derive(Clone, Default)]
pub(super) struct NewCustomer {
    pub(super) environment: Option<&'static str>,
    pub(super) external_id: Option<String>,
    pub(super) auth_uid: Option<String>,
    pub(super) payment_id: Option<String>,
    pub(super) email: Option<String>,
    pub(super) subscription_status: Option<&'static str>,
    pub(super) absorbed_into: Option<CustomerId>,
    pub(super) deleted: bool,
}

/// A customer with an external_id.
pub(super) fn named(external_id: &str) -> NewCustomer {
    NewCustomer { external_id: Some(external_id.to_owned()), ..NewCustomer::default() }
}

impl Api {
    /// Writes a customer with its references; its id and its root.
    pub(super) async fn customer(&self, new: NewCustomer) -> (CustomerId, ReferenceId) {
        let environment = new.environment.unwrap_or("live").to_owned();
        let id = CustomerId(self.clock.new_id());
        let now = self.clock.now();
        let names = [
            (Kind::External, "", &new.external_id),
            (Kind::Auth, "clerk", &new.auth_uid),
            (Kind::Payment, "stripe", &new.payment_id),
        ];
        let references: Vec<Reference> = names
            .iter()
            .filter_map(|(kind, namespace, name)| {
                Reference::new(*kind, namespace, name.as_deref()?).ok()
            })
            .collect();
        let ids: Vec<ReferenceId> =
            references.iter().map(|r| self.keyring.reference_id(&environment, r)).collect();
        let root = ids.first().copied().unwrap_or(ReferenceId(self.clock.new_id()));
        let rows: Vec<references::Row> = references
            .iter()
            .zip(&ids)
            .map(|(reference, reference_id)| references::Row {
                id: reference_id.0,
                environment: environment.clone(),
                kind: kind(reference.kind).to_owned(),
                namespace: reference.namespace.to_string(),
                subject: (!new.deleted).then(|| reference.subject.to_string()),
                component: root.0,
                customer_id: Some(id.0),
                closed: new.deleted,
                deleted_before: new.deleted,
                facts: ReferenceFacts::default(),
            })
            .collect();
        let row = customers::Row {
            id: id.0,
            environment: environment.clone(),
            root_id: root.0,
            version: 1,
            deleted: new.deleted,
            absorbed_into: new.absorbed_into.map(|id| id.0),
            created_at: now,
            updated_at: now,
        };
        let person = person(&new, &references);
        let profile = customers::Profile {
            customer_id: id.0,
            environment,
            external_id: new.external_id,
            name: None,
            email: new.email.clone(),
            email_key: new.email.map(|address| address.to_lowercase()),
            verified_address: None,
            phone: None,
            is_anonymous: person.is_anonymous,
            subscription_status: new.subscription_status.unwrap_or("none").to_owned(),
            person,
        };
        let mut tx = self.db.begin().await.expect("a transaction");
        let mut writes = tx.together();
        references::insert(&mut writes, &rows);
        customers::write(&mut writes, &[row]);
        writes.run(&mut tx).await.expect("a customer and its references");
        if !new.deleted && new.absorbed_into.is_none() {
            let mut writes = tx.together();
            customers::write_profiles(&mut writes, &[profile]);
            writes.run(&mut tx).await.expect("a profile");
        }
        tx.commit().await.expect("committed");
        (id, root)
    }

    /// Writes what a customer spent in one currency.
    pub(super) async fn spent(&self, customer: CustomerId, currency: &str, totals: Totals) {
        let new = [(currency.parse().ok(), totals)].into();
        let old = std::collections::BTreeMap::new();
        let row = totals::Move { holder: customer.0, environment: "live", old: &old, new: &new };
        let mut tx = self.db.begin().await.expect("a transaction");
        let mut writes = tx.together();
        totals::write_customers(&mut writes, &[row]);
        writes.run(&mut tx).await.expect("totals");
        tx.commit().await.expect("committed");
    }

    /// Writes a succeeded payment of 12.50 USD, and what a test changes about it.
    pub(super) async fn payment(
        &self,
        owner: Option<ReferenceId>,
        change: impl FnOnce(&mut payments::Row),
    ) -> PaymentId {
        let id = PaymentId(self.clock.new_id());
        let now = self.clock.now();
        let mut row = payments::Row {
            id: id.0,
            environment: "live".into(),
            namespace: "stripe".into(),
            provider_payment_id: format!("pi_{}", id.0.simple()),
            owner_id: owner.map(|owner| owner.0),
            absorbed_into: None,
            erased: false,
            status: "succeeded".into(),
            amount: Some(1_250),
            currency: Some("USD".into()),
            amount_refunded: 0,
            disputed_lost: 0,
            paid_at: Some(now),
            payer_address: None,
            facts: PaymentFacts::default(),
            created_at: now,
            updated_at: now,
        };
        change(&mut row);
        let mut tx = self.db.begin().await.expect("a transaction");
        let mut writes = tx.together();
        payments::write(&mut writes, &[row]);
        writes.run(&mut tx).await.expect("a payment");
        tx.commit().await.expect("committed");
        id
    }

    /// Writes a subscription.
    pub(super) async fn subscription(
        &self,
        owner: ReferenceId,
        status: &str,
        ends_at: Option<Timestamp>,
    ) -> SubscriptionId {
        let id = SubscriptionId(self.clock.new_id());
        let now = self.clock.now();
        let row = subscriptions::Row {
            id: id.0,
            environment: "live".into(),
            namespace: "stripe".into(),
            provider_subscription_id: format!("sub_{}", id.0.simple()),
            owner_id: Some(owner.0),
            status: status.to_owned(),
            ends_at,
            end_announced: false,
            facts: SubscriptionFacts::default(),
            created_at: now,
            updated_at: now,
        };
        let mut tx = self.db.begin().await.expect("a transaction");
        let mut writes = tx.together();
        subscriptions::insert(&mut writes, &[row]);
        writes.run(&mut tx).await.expect("a subscription");
        tx.commit().await.expect("committed");
        id
    }

    /// Writes an inbound event, and what a test changes about it.
    pub(super) async fn inbound(&self, change: impl FnOnce(&mut inbox::Record)) -> InboundId {
        let id = InboundId(self.clock.new_id());
        let mut record = inbox::Record {
            id: id.0,
            environment: Some("live".into()),
            source: "app".into(),
            provider_event_id: Some("msg_1".into()),
            dedupe_key: id.to_string(),
            kind: Some("customer.recorded".into()),
            verdict: "applied",
            reason: None,
            notes: vec!["phone is no E.164 phone number".into()],
            verified: true,
            headers: Headers::from_iter([("webhook-id", "msg_1")]),
            occurred_at: Some(self.clock.now()),
            received_at: self.clock.now(),
            copies: 1,
            body: b"{\"type\":\"customer.recorded\"}".as_slice().into(),
        };
        change(&mut record);
        let mut tx = self.db.begin().await.expect("a transaction");
        inbox::record(&mut tx, &[record], self.clock.now()).await.expect("an inbound event");
        tx.commit().await.expect("committed");
        id
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::External => "external",
        Kind::Auth => "auth",
        Kind::Payment => "payment",
        Kind::Own => "self",
    }
}

fn person(new: &NewCustomer, references: &[Reference]) -> Person {
    let identities = references
        .iter()
        .filter(|reference| reference.kind != Kind::External)
        .map(|reference| Identity {
            provider: reference.namespace.clone(),
            uid: reference.subject.clone(),
            kind: reference.kind,
        })
        .collect();
    Person {
        external_id: new.external_id.as_deref().map(Into::into),
        email: new.email.clone(),
        identities,
        is_anonymous: new.external_id.is_none(),
        ..Person::default()
    }
}
