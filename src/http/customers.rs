//! `/v1/customers`: reading.

pub(super) mod write;

use super::{
    State,
    auth::{Presented, Reader, admit},
    error::ApiError,
    query::{Query, invalid, unknown_cursor},
};
use crate::{
    model::{
        answer::List,
        customer::Customer,
        id::CustomerId,
        key::Scope,
        payment::Payment,
        reference::{Kind, Reference, ReferenceId},
        subscription::Subscription,
    },
    store::{
        Tx,
        browse::{self, ForHolder, Found, Position},
    },
};
use axum::{
    Json,
    extract::{self, FromRequestParts, Path},
    http::request::Parts,
};
use std::sync::Arc;

/// `GET /v1/customers/lookup`
pub(super) async fn lookup(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    mut query: Query,
) -> Result<Json<Customer>, ApiError> {
    let names = (query.text("external_id"), query.text("provider"), query.text("provider_uid"));
    query.finish()?;
    let references: Vec<Reference> = match names {
        (Some(external_id), None, None) => vec![external(&external_id)?],
        (None, Some(provider), Some(uid)) => [Kind::Auth, Kind::Payment]
            .into_iter()
            .map(|kind| Reference::new(kind, &provider, &uid))
            .collect::<Result<_, _>>()
            .map_err(|wrong| invalid("provider_uid", wrong))?,
        (None, Some(_), None) => return Err(missing("provider_uid")),
        (None, None, Some(_)) => return Err(missing("provider")),
        (None, None, None) => return Err(missing("external_id")),
        (Some(_), _, _) => {
            let message = "external_id and provider exclude each other";
            return Err(invalid("external_id", message));
        }
    };
    let keyring = &state.pipeline.keyring;
    let ids: Vec<ReferenceId> = references
        .iter()
        .map(|reference| keyring.reference_id(&caller.environment, reference))
        .collect();
    let mut tx = state.snapshot().await?;
    let now = state.clock().now();
    let found = browse::lookup(&mut tx, &caller.environment, &ids, now).await?;
    here(found).map(Json)
}

/// `GET /v1/customers/{id}`. What apps ask most: the key is looked up by the statement that reads the customer.
pub(super) async fn one(
    extract::State(state): extract::State<Arc<State>>,
    Asked { key, id }: Asked,
) -> Result<Json<Customer>, ApiError> {
    let id = match id {
        Ok(id) => id,
        Err(wrong) => {
            // Nobody hears what is wrong without a good key.
            key.holder(&state, Scope::Read).await?;
            return Err(wrong);
        }
    };
    let now = state.clock().now();
    let found = browse::customer_for(&mut state.single().await?, key.as_str(), id, now).await?;
    let (held, customer) = match found {
        ForHolder::Here(held, customer) => (Some(held), Some(customer)),
        ForHolder::Unseen(held) => (Some(held), None),
        ForHolder::Refused => (None, None),
    };
    let caller = admit(&state, held, Scope::Read)?;
    match customer {
        Some(customer) => Ok(Json(*customer)),
        None => searched(&state, &caller, id).await.map(Json),
    }
}

/// Who asks for which customer; neither is known to be there yet.
#[derive(Debug)]
pub(super) struct Asked {
    key: Presented,
    id: Result<CustomerId, ApiError>,
}

impl FromRequestParts<Arc<State>> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, ApiError> {
        let key = Presented::from_request_parts(parts, state).await?;
        let query = Query::from_request_parts(parts, state).await.and_then(Query::finish);
        let id = match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) => query.and_then(|()| id.parse().map_err(|_| unknown())),
            Err(rejection) => Err(ApiError::of_status(rejection.status())),
        };
        Ok(Self { key, id })
    }
}

/// A customer by its id, also by the id of one that went into it.
pub(super) async fn searched(
    state: &State,
    caller: &Reader,
    id: CustomerId,
) -> Result<Customer, ApiError> {
    let mut tx = state.snapshot().await?;
    here(browse::customer(&mut tx, &caller.environment, id, state.clock().now()).await?)
}

/// `GET /v1/customers/{id}/payments`
pub(super) async fn payments(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Json<List<Payment>>, ApiError> {
    let page = query.page()?;
    query.finish()?;
    let mut tx = state.snapshot().await?;
    let customer = resolved(&mut tx, &caller, &id).await?;
    let slice = browse::payments_of(&mut tx, &caller.environment, customer, page)
        .await?
        .ok_or_else(|| no_such_cursor(page.position))?;
    Ok(Json(List::new(page, slice, |payment| payment.id)))
}

/// `GET /v1/customers/{id}/subscriptions`
pub(super) async fn subscriptions(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Json<List<Subscription>>, ApiError> {
    let page = query.page()?;
    query.finish()?;
    let mut tx = state.snapshot().await?;
    let customer = resolved(&mut tx, &caller, &id).await?;
    let now = state.clock().now();
    let slice = browse::subscriptions_of(&mut tx, &caller.environment, customer, page, now)
        .await?
        .ok_or_else(|| no_such_cursor(page.position))?;
    Ok(Json(List::new(page, slice, |subscription| subscription.id)))
}

/// The customer that an id of the caller's environment stands for.
pub(super) async fn resolved(
    tx: &mut Tx,
    caller: &Reader,
    id: &str,
) -> Result<CustomerId, ApiError> {
    let id = id.parse().map_err(|_| unknown())?;
    here(browse::resolve(tx, &caller.environment, id).await?)
}

fn here<T>(found: Found<T>) -> Result<T, ApiError> {
    match found {
        Found::Here(found) => Ok(found),
        Found::Deleted => Err(ApiError::not_found("customer_deleted", "this customer was deleted")),
        Found::Nothing => Err(unknown()),
    }
}

fn unknown() -> ApiError {
    ApiError::not_found("customer_not_found", "there is no such customer")
}

fn missing(param: &'static str) -> ApiError {
    let message = "is missing: give external_id, or provider and provider_uid";
    ApiError::param("missing_parameter", param, message)
}

/// An external_id, if it can be one.
pub(super) fn external(subject: &str) -> Result<Reference, ApiError> {
    Reference::new(Kind::External, "", subject).map_err(|wrong| invalid("external_id", wrong))
}

/// The error for a cursor that names nothing.
pub(super) fn no_such_cursor<Id: Copy>(position: Position<Id>) -> ApiError {
    match position {
        Position::Before(_) => unknown_cursor("ending_before"),
        Position::After(_) | Position::Offset(_) | Position::Oldest => {
            unknown_cursor("starting_after")
        }
    }
}
