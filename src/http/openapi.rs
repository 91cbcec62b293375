//! The API described by itself, in OpenAPI 3.1: `/openapi.json`, and `/docs` for people.
//!
//! Each area has a file that says of its operations what a type cannot: what they are for, what can be asked, how they
//! can be refused. What they answer is read off the types that are serialized. Nothing here runs when a request is
//! answered; tests hold the real routes and every answer of the API's tests against it.

use axum::http::header;
use operation::Operation;
use schema::Named;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

mod conflicts;
mod customers;
mod errors;
mod examples;
mod fields;
mod inbound_events;
mod operation;
pub(super) mod page;
mod payments;
mod process;
mod schema;
mod webhook_endpoints;
mod webhook_messages;

static DOCUMENT: LazyLock<Value> = LazyLock::new(build);

/// The description as JSON.
pub fn document() -> &'static Value {
    &DOCUMENT
}

/// `GET /openapi.json`
pub(super) async fn serve() -> ([(header::HeaderName, &'static str); 1], String) {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.to_string())
}

/// The areas, in the order in which they are read, each with what it is about.
const TAGS: [(&str, &str); 7] = [
    (customers::TAG, "People, each with all identities, totals, and how it came to be known."),
    (payments::TAG, "What was paid, as the payment providers tell it."),
    (conflicts::TAG, "What two sources said and cannot both be true."),
    (webhook_endpoints::TAG, "Who is told about changes."),
    (webhook_messages::TAG, "What was told, how far it got, and once more by hand."),
    (inbound_events::TAG, "What came in, what became of it, and once more from the start."),
    (process::TAG, "The way in for providers, health and metrics."),
];

const ABOUT: &str = "customer-sync keeps one record per customer from the webhooks of payment and auth providers.\n\n\
    Times are RFC 3339 in UTC with milliseconds. Money is a whole number of the currency's minor units. A field without \
    a value is `null`, never absent, unless it is not marked as required. Bodies are JSON of at most 1 MiB. An unknown \
    parameter or field is an error.\n\n\
    Lists are newest first. Page by cursor (`starting_after`, `ending_before`), or by `offset`; only one of them at a \
    time.\n\n\
    `Idempotency-Key` makes a write safe to send again: for 24 hours the same request under the same key is carried out \
    once. Once a customer is deleted, the answers about it are repeated as their `object` and `id` alone.\n\n\
    Every answer has an `X-Request-Id`, and every status from 400 on a body of the same shape. Any path answers 404 \
    `route_not_found` where there is nothing, and 405 `method_not_allowed` to a method that it does not know. \
    A head that is too large is answered 431, without a body.";

fn build() -> Value {
    let areas = [
        customers::operations(),
        payments::operations(),
        conflicts::operations(),
        webhook_endpoints::operations(),
        webhook_messages::operations(),
        inbound_events::operations(),
        process::operations(),
    ];
    let operations: Vec<Operation> = areas.into_iter().flatten().collect();
    let mut named = Named::default();
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Some(methods) = path.as_object_mut() {
            methods.insert(operation.method.to_owned(), operation.describe(&mut named));
        }
    }
    let tags: Vec<Value> = TAGS
        .iter()
        .map(|(name, description)| json!({ "name": name, "description": description }))
        .collect();
    let error = named.take(&errors::shape());
    let paths = Value::Object(paths);
    let schemas = named.described(&[&paths, &error]);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "customer-sync",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": tags,
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key: `sk_live_…` or `sk_test_…`. It belongs to one environment, and has a \
                        scope: `write` includes `read`, and `admin` includes both.",
                },
                "header": {
                    "type": "apiKey", "in": "header", "name": "X-API-Key",
                    "description": "The same key, for who cannot set `Authorization`.",
                },
            },
            "headers": operation::headers(),
            "parameters": operation::parameters(),
            "responses": errors::responses(),
            "schemas": schemas,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_has_an_id_of_its_own() {
        fn references<'a>(value: &'a Value, all: &mut BTreeSet<&'a str>) {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(place)) = fields.get("$ref") {
                        all.insert(place);
                    }
                    fields.values().for_each(|value| references(value, all));
                }
                Value::Array(values) => values.iter().for_each(|value| references(value, all)),
                _ => {}
            }
        }
        let mut all = BTreeSet::new();
        references(document(), &mut all);
        assert!(all.len() > 20, "{all:?}");
        for place in all {
            let there = place.strip_prefix('#').and_then(|pointer| document().pointer(pointer));
            assert!(there.is_some(), "{place} leads nowhere");
        }
        let paths = document()["paths"].as_object().expect("paths");
        let mut ids = BTreeSet::new();
        for operation in paths.values().flat_map(|path| path.as_object().expect("methods").values())
        {
            let id = operation["operationId"].as_str().expect("an id");
            assert!(ids.insert(id), "{id} is there twice");
        }
        for answer in paths
            .values()
            .flat_map(|path| path.as_object().expect("methods").values())
            .flat_map(|operation| operation["responses"].as_object().expect("answers").values())
        {
            for link in answer["links"].as_object().into_iter().flat_map(Map::values) {
                let id = link["operationId"].as_str().expect("an id");
                assert!(ids.contains(id), "a link leads to {id}, which is nowhere");
            }
        }
    }
}
