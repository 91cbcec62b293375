//! `/v1/customers/{id}/timeline`: payments, subscriptions, profile changes and merges in one list.

use super::{
    State,
    auth::Reader,
    customers::resolved,
    error::ApiError,
    query::{Query, unknown_cursor},
};
use crate::{
    model::{
        answer::List,
        id::CustomerId,
        time::Timestamp,
        timeline::{Entry, What},
    },
    pipeline,
    store::browse::timeline::{self, Place, Thing},
};
use axum::{
    Json,
    extract::{self, Path},
};
use std::sync::Arc;
use uuid::Uuid;

/// `GET /v1/customers/{id}/timeline`
pub(super) async fn of_customer(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Json<List<Entry>>, ApiError> {
    let limit = query.limit()?;
    let below = match query.text("starting_after") {
        None => None,
        Some(text) => Some(place(&text).ok_or_else(|| unknown_cursor("starting_after"))?),
    };
    query.finish()?;
    let mut tx = state.snapshot().await?;
    let now = state.clock().now();
    let customer = resolved(&mut tx, &caller, &id).await?;
    let most = i64::from(limit) + 1;
    let things = timeline::things(&mut tx, &caller.environment, customer, below, most, now).await?;
    let mut all: Vec<(Place, What)> = things
        .into_iter()
        .map(|(place, thing)| match thing {
            Thing::Payment(payment) => (place, What::Payment { payment }),
            Thing::Subscription(subscription) => (place, What::Subscription { subscription }),
        })
        .collect();
    let story = pipeline::story(&mut tx, &caller.environment, customer).await?;
    all.extend(
        story
            .changes
            .into_iter()
            .map(|(at, id, profile)| (Place { at, id }, What::Profile { profile })),
    );
    all.extend(story.merges.into_iter().map(|(at, merge)| {
        let CustomerId(id) = merge.customer_id;
        (Place { at, id }, What::Merge { merge })
    }));
    all.retain(|(place, _)| below.is_none_or(|below| *place < below));
    all.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = all.len() > limit;
    all.truncate(limit);
    let last = all.last().map(|(place, _)| *place).filter(|_| has_more);
    let entries = all.into_iter().map(|(place, what)| Entry::new(place.at, what)).collect();
    Ok(Json(List {
        has_more,
        next_cursor: last.map(|place| format!("{}.{}", place.at.micros(), place.id.simple())),
        ..List::whole(entries)
    }))
}

fn place(text: &str) -> Option<Place> {
    let (micros, id) = text.split_once('.')?;
    let at = Timestamp::from_micros(micros.parse().ok()?)?;
    Some(Place { at, id: Uuid::try_parse(id).ok()? })
}
