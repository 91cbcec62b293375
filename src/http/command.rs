//! From a request to a command, and from what became of it to an answer.

use super::{
    State,
    auth::Reader,
    body::Whole,
    error::ApiError,
    idempotency::{self, Done},
};
use crate::{
    model::{command::Command, customer::Customer},
    pipeline::command::{Carried, Keep, Outcome, Refused},
};
use axum::{http::StatusCode, response::Response};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::ToSchema;

/// How customers are shown to whom a write is answered: as our own API shows them, or as a dialect does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// One as it is now.
    pub(super) customer: fn(&Customer) -> Value,
    /// One that was deleted.
    pub(super) gone: fn(&Customer) -> (StatusCode, Value),
}

/// Our own (contract 4).
const OWN: Shape = Shape {
    // The model's structs have text keys: they always serialize.
    customer: |customer| serde_json::to_value(customer).unwrap_or_default(),
    gone: |customer| {
        let gone = Gone { customer, success: true };
        (StatusCode::OK, serde_json::to_value(gone).unwrap_or_default())
    },
};

/// Carries a command out and answers with what it is about. It goes on though the client goes away.
///
/// # Errors
/// Why it is refused.
pub(super) async fn carry_out(
    state: &Arc<State>,
    caller: &Reader,
    request: &Whole,
    command: Command,
) -> Result<Response, ApiError> {
    carry_out_as(state, caller, request, command, OWN).await
}

/// As [`carry_out`], answered in a shape. What is kept under an `Idempotency-Key` has it too.
///
/// # Errors
/// As of [`carry_out`].
pub(super) async fn carry_out_as(
    state: &Arc<State>,
    caller: &Reader,
    request: &Whole,
    command: Command,
    shape: Shape,
) -> Result<Response, ApiError> {
    let held = idempotency::hold(state, caller, request)?;
    let (pipeline, environment) = (state.pipeline.clone(), caller.environment.clone());
    let carried = state
        .uncut(async move {
            let answer = |outcome: &Outcome| done(outcome, shape).kept();
            let keep = held.as_ref().map(|held| Keep { slot: held.slot, answer: &answer });
            pipeline.carry_out(&environment, &command, keep).await
        })
        .await??;
    match carried {
        Carried::Out(outcome) => Ok(done(&outcome, shape).response()),
        Carried::Refused(refused) => Err(refusal(refused)),
        Carried::Known(begun) => idempotency::known(begun)?.ok_or_else(ApiError::internal),
    }
}

/// A customer that was deleted (contract 4): its id and figures.
#[derive(Serialize, ToSchema)]
#[schema(as = DeletedCustomer)]
pub(super) struct Gone<'a> {
    #[serde(flatten)]
    #[schema(value_type = Customer)]
    customer: &'a Customer,
    /// Always true.
    success: bool,
}

fn done(outcome: &Outcome, shape: Shape) -> Done {
    match outcome {
        Outcome::Customer(customer, is_new) => {
            let status = if *is_new { StatusCode::CREATED } else { StatusCode::OK };
            let shown = (shape.customer)(customer);
            Done { customer: Some(customer.id.0), ..Done::new(status, &shown) }
        }
        // Nothing of it is about the person: it is kept though the customer is gone.
        Outcome::Deleted(customer) => {
            let (status, gone) = (shape.gone)(customer);
            Done::new(status, &gone)
        }
        Outcome::Payment(payment) => Done {
            customer: payment.customer_id.map(|id| id.0),
            payment: Some(payment.id.0),
            ..Done::new(StatusCode::OK, payment)
        },
    }
}

fn refusal(refused: Refused) -> ApiError {
    let message = refused.to_string();
    match refused {
        Refused::NoCustomer => ApiError::not_found("customer_not_found", message),
        Refused::DeletedCustomer => ApiError::not_found("customer_deleted", message),
        Refused::NoPayment => ApiError::not_found("payment_not_found", message),
        Refused::NoIdentity => ApiError::not_found("identity_not_found", message),
        Refused::ExternalIdTaken(id) => ApiError::conflict("external_id_taken", message)
            .about("external_id")
            .with_details(json!({ "customer_id": id })),
        Refused::IdentityTaken(id) => ApiError::conflict("identity_taken", message)
            .about("provider_uid")
            .with_details(json!({ "customer_id": id })),
        Refused::ExternalIdStands => {
            ApiError::conflict("external_id_immutable", message).about("external_id")
        }
        Refused::FieldOwned { field, source_name } => ApiError::conflict("field_owned", message)
            .about(field)
            .with_details(json!({ "source": source_name })),
        Refused::KeepMissing(external_ids) => ApiError::conflict("external_ids_differ", message)
            .about("keep")
            .with_details(json!({ "external_ids": external_ids })),
        Refused::IdentityIsRoot => ApiError::conflict("identity_is_root", message),
        Refused::DetachedPayment => ApiError::conflict("payment_detached", message),
        Refused::KeepUnknown => ApiError::param("invalid_parameter", "keep", message),
        Refused::NoAddress => ApiError::param("invalid_parameter", "email_verified", message),
        Refused::TooMuchMetadata => ApiError::param("invalid_parameter", "metadata", message),
    }
}
