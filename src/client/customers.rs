//! The routes under `/v1/customers`.

use super::{
    Client, CustomerQuery, Details, Error, Pages, TopQuery,
    request::{Query, Request},
};
use crate::model::{
    customer::Customer, id::CustomerId, payment::Payment, provenance::Provenance, ranking::Top,
    subscription::Subscription, timeline::Entry,
};
use reqwest::Method;
use serde_json::{Map, Value, json};

/// Customers. See [`Client::customers`].
#[derive(Clone, Copy, Debug)]
pub struct Customers<'c>(pub(super) &'c Client);

/// A name of a customer's, to look it up by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Name {
    /// The app's own user id.
    ExternalId(String),
    /// An auth provider's UID, or a payment provider's customer id.
    Identity {
        /// The namespace of its source.
        provider: String,
        /// The id there.
        uid: String,
    },
}

impl Name {
    /// The app's own user id.
    pub fn external_id(id: impl Into<String>) -> Self {
        Self::ExternalId(id.into())
    }

    /// An auth provider's UID, or a payment provider's customer id.
    pub fn identity(provider: impl Into<String>, uid: impl Into<String>) -> Self {
        Self::Identity { provider: provider.into(), uid: uid.into() }
    }

    fn query(&self) -> Query {
        match self {
            Self::ExternalId(id) => vec![("external_id", id.clone())],
            Self::Identity { provider, uid } => {
                vec![("provider", provider.clone()), ("provider_uid", uid.clone())]
            }
        }
    }
}

/// What becomes of a deleted customer's payments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AtDeletion {
    /// They stay, and are nobody's.
    KeepPayments,
    /// They go too.
    ErasePayments,
}

impl Customers<'_> {
    /// Makes a customer.
    ///
    /// # Errors
    /// `external_id_taken` and `identity_taken`, with the `customer_id` in the details; as of every request.
    pub async fn create(&self, details: &Details) -> Result<Customer, Error> {
        self.0.send(Request::post(&["customers"], details.body())).await
    }

    /// The customer of a name in the details, made where there is none, with what they say.
    ///
    /// # Errors
    /// `missing_parameter` where they hold no name; as of every request.
    pub async fn identify(&self, details: &Details) -> Result<Customer, Error> {
        self.0.send(Request::post(&["customers", "identify"], details.body())).await
    }

    /// A customer; also by the id of one that went into it.
    ///
    /// # Errors
    /// `customer_not_found`, `customer_deleted`; as of every request.
    pub async fn get(&self, id: CustomerId) -> Result<Customer, Error> {
        self.0.send(Request::get(&["customers", &id.to_string()])).await
    }

    /// The customer of a name.
    ///
    /// # Errors
    /// `customer_not_found`, `customer_deleted`; as of every request.
    pub async fn lookup(&self, name: &Name) -> Result<Customer, Error> {
        self.0.send(Request::get(&["customers", "lookup"]).with_query(name.query())).await
    }

    /// Customers of a kind.
    pub fn list(&self, query: &CustomerQuery) -> Pages<Customer> {
        Pages::new(self.0, &["customers"], query.parameters())
    }

    /// Who paid most.
    ///
    /// # Errors
    /// As of every request.
    pub async fn top(&self, query: &TopQuery) -> Result<Top, Error> {
        self.0.send(Request::get(&["customers", "top"]).with_query(query.parameters())).await
    }

    /// Changes what the details say, and leaves the rest.
    ///
    /// # Errors
    /// `field_owned`, `external_id_immutable`; as of every request.
    pub async fn update(&self, id: CustomerId, details: &Details) -> Result<Customer, Error> {
        let (id, body) = (id.to_string(), details.body());
        self.0.send(Request::new(Method::PATCH, &["customers", &id]).with_body(body)).await
    }

    /// Deletes a customer for good.
    ///
    /// # Errors
    /// `customer_not_found`, `customer_deleted`; as of every request.
    pub async fn delete(&self, id: CustomerId, how: AtDeletion) -> Result<Customer, Error> {
        let payments = match how {
            AtDeletion::KeepPayments => "keep",
            AtDeletion::ErasePayments => "erase",
        };
        let query = vec![("payments", payments.to_owned())];
        let path = ["customers", &id.to_string()];
        self.0.send(Request::new(Method::DELETE, &path).with_query(query)).await
    }

    /// Another customer goes into this one; `keep` is the external_id that stays, where both have one.
    ///
    /// # Errors
    /// `external_ids_differ` where both have one and none is kept; as of every request.
    pub async fn merge(
        &self,
        into: CustomerId,
        from: CustomerId,
        keep: Option<&str>,
    ) -> Result<Customer, Error> {
        let mut body = Map::from_iter([("from".to_owned(), json!(from))]);
        body.extend(keep.map(|keep| ("keep".to_owned(), json!(keep))));
        let path = ["customers", &into.to_string(), "merge"];
        self.0.send(Request::post(&path, Value::Object(body))).await
    }

    /// One identity is not this customer's: the customer without it.
    ///
    /// # Errors
    /// `identity_not_found`, `identity_is_root`; as of every request.
    pub async fn detach(
        &self,
        id: CustomerId,
        provider: &str,
        uid: &str,
    ) -> Result<Customer, Error> {
        let path = ["customers", &id.to_string(), "identities", provider, uid];
        self.0.send(Request::new(Method::DELETE, &path)).await
    }

    /// A customer's payments.
    pub fn payments(&self, id: CustomerId) -> Pages<Payment> {
        Pages::new(self.0, &["customers", &id.to_string(), "payments"], Query::new())
    }

    /// A customer's subscriptions.
    pub fn subscriptions(&self, id: CustomerId) -> Pages<Subscription> {
        Pages::new(self.0, &["customers", &id.to_string(), "subscriptions"], Query::new())
    }

    /// What became of a customer: payments, subscriptions, changes of the profile and merges.
    pub fn timeline(&self, id: CustomerId) -> Pages<Entry> {
        Pages::new(self.0, &["customers", &id.to_string(), "timeline"], Query::new())
    }

    /// Whose word each field is.
    ///
    /// # Errors
    /// `customer_not_found`, `customer_deleted`; as of every request.
    pub async fn provenance(&self, id: CustomerId) -> Result<Provenance, Error> {
        self.0.send(Request::get(&["customers", &id.to_string(), "provenance"])).await
    }
}
