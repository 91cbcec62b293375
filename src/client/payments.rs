//! The routes under `/v1/payments`.

use super::{
    Client, Error, Pages,
    request::{Query, Request},
};
use crate::model::{
    id::{CustomerId, PaymentId},
    payment::Payment,
};
use serde_json::json;

/// Payments. See [`Client::payments`].
#[derive(Clone, Copy, Debug)]
pub struct Payments<'c>(pub(super) &'c Client);

impl Payments<'_> {
    /// All of them.
    pub fn list(&self) -> Pages<Payment> {
        Pages::new(self.0, &["payments"], Query::new())
    }

    /// A payment; also by the id of another name of it.
    ///
    /// # Errors
    /// `payment_not_found`; as of every request.
    pub async fn get(&self, id: PaymentId) -> Result<Payment, Error> {
        self.0.send(Request::get(&["payments", &id.to_string()])).await
    }

    /// A payment is this customer's.
    ///
    /// # Errors
    /// `payment_not_found`, `customer_not_found`, `customer_deleted`, `payment_detached`; as of every request.
    pub async fn link(&self, id: PaymentId, customer: CustomerId) -> Result<Payment, Error> {
        let body = json!({ "customer_id": customer });
        self.0.send(Request::post(&["payments", &id.to_string(), "link"], body)).await
    }
}
