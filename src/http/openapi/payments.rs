//! Payments: what can be asked of them.

use super::{fields::object, operation::Operation, schema::Shape};
use crate::model::{
    id::{CustomerId, PaymentId},
    key::Scope,
    payment::Payment,
};
use serde_json::json;
use utoipa::PartialSchema as _;

pub(super) const TAG: &str = "Payments";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/v1/payments", (TAG, "listPayments", "List payments"))
            .needs(Scope::Read)
            .paged::<PaymentId>()
            .answers(200, "A page.", Shape::list::<Payment>()),
        Operation::get("/v1/payments/{id}", (TAG, "getPayment", "One payment"))
            .about("Also by the id of another name of it.")
            .needs(Scope::Read)
            .at::<PaymentId>("id")
            .answers(200, "The payment.", Shape::of::<Payment>())
            .refuses(404, &["payment_not_found"]),
        Operation::post("/v1/payments/{id}/link", (TAG, "linkPayment", "Whose a payment is"))
            .about("It is that customer's, whatever the provider says of it, now or later.")
            .needs(Scope::Write)
            .at::<PaymentId>("id")
            .repeatable()
            .body(object(&[json!({ "customer_id": CustomerId::schema() })], &["customer_id"]))
            .answers(200, "The payment as it is now.", Shape::of::<Payment>())
            .refuses(404, &["payment_not_found", "customer_not_found", "customer_deleted"])
            .refuses(409, &["payment_detached"]),
    ]
}
