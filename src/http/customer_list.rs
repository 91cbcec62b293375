//! `GET /v1/customers`: flat parameters and `filters`, all of which must hold.

use super::{
    State,
    auth::Reader,
    customers::{external, no_such_cursor},
    error::ApiError,
    query::{Query, invalid},
};
use crate::{
    model::{
        answer::List,
        customer::Customer,
        filter::{self, Condition, Filter, NumberField, Order, Times},
    },
    store::browse::{self, CustomerFilter, Sort},
};
use axum::{Json, extract};
use std::sync::Arc;

/// `GET /v1/customers`
pub(super) async fn list(
    extract::State(state): extract::State<Arc<State>>,
    caller: Reader,
    query: Query,
) -> Result<Json<List<Customer>>, ApiError> {
    listed(&state, &caller, query, Times::Text).await.map(Json)
}

/// The list that is asked for, times in `filters` being written as said.
pub(super) async fn listed(
    state: &State,
    caller: &Reader,
    mut query: Query,
    times: Times,
) -> Result<List<Customer>, ApiError> {
    // Who counts pages wants to know how many there are.
    let by_offset = query.has("offset");
    let page = query.page()?;
    let include_total = query.read("include_total", "must be true or false", boolean)?;
    let filter = filter_of(&mut query, state, caller, times)?;
    query.finish()?;
    let mut tx = state.snapshot().await?;
    let now = state.clock().now();
    let slice = browse::customers(&mut tx, &caller.environment, &filter, page, now)
        .await?
        .ok_or_else(|| no_such_cursor(page.position))?;
    let list = List::new(page, slice, |customer: &Customer| customer.id);
    if !include_total.unwrap_or(by_offset) {
        return Ok(list);
    }
    let total = browse::count_customers(&mut tx, &caller.environment, &filter).await?;
    Ok(list.with_total(total))
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn filter_of(
    query: &mut Query,
    state: &State,
    caller: &Reader,
    times: Times,
) -> Result<CustomerFilter, ApiError> {
    let external_id = query.text("external_id");
    if let Some(text) = &external_id {
        external(text)?;
    }
    let email = short(query, "email")?;
    let CustomerFilter { filter, .. } = CustomerFilter::named(external_id, email);
    let mut all = vec![filter];
    if let Some(text) = short(query, "search")? {
        all.push(Filter::Is(Condition::Search(text)));
    }
    for tag in query.text("tags").iter().flat_map(|tags| tags.split(',')) {
        let tag = tag.trim();
        if !(1..=64).contains(&tag.chars().count()) {
            return Err(invalid("tags", "must be tags of 1 to 64 characters, with commas between"));
        }
        all.push(Filter::Is(Condition::Tag(tag.to_owned())));
    }
    for (name, order) in [("min_spent", Order::AtLeast), ("max_spent", Order::AtMost)] {
        let expected = "must be a whole number of minor units";
        if let Some(amount) = query.read(name, expected, |text| text.parse().ok())? {
            all.push(Filter::Is(Condition::Number(NumberField::TotalSpent, order, amount)));
        }
    }
    let currency = query.currency(state, caller)?;
    let expected = "must be created_at, net_spent, total_spent or payment_count";
    let sort = query.read("sort_by", expected, |text| match text {
        "created_at" => Some(Sort::Created),
        "net_spent" => Some(Sort::NetSpent),
        "total_spent" => Some(Sort::TotalSpent),
        "payment_count" => Some(Sort::PaymentCount),
        _ => None,
    })?;
    if let Some(text) = query.text("filters") {
        let filter = filter::parse_with(&text, times)
            .map_err(|wrong| ApiError::param("invalid_filter", wrong.param, wrong.message))?;
        all.push(filter);
    }
    Ok(CustomerFilter { filter: Filter::All(all), sort: sort.unwrap_or_default(), currency })
}

fn short(query: &mut Query, name: &'static str) -> Result<Option<String>, ApiError> {
    query.read(name, "must be a text of 1 to 255 characters", |text| {
        Some(text.to_owned()).filter(|text| text.chars().count() <= filter::TEXT)
    })
}
