//! One answer held against the description: nothing may be answered, or taken, that is not described.

use customer_sync::http::openapi;
use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

/// The named schemas, in which no object has more than its properties.
static COMPONENTS: LazyLock<Value> = LazyLock::new(|| {
    let mut components = openapi::document()["components"].clone();
    close(&mut components["schemas"]);
    components
});

/// The schemas that were needed so far, by what they are of.
static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// What every answer can have, described or not.
const ANY_HEADER: [&str; 6] =
    ["allow", "cache-control", "connection", "content-length", "content-type", "date"];

/// Whether an answer can have a header by what it is sent over, and by whom it may be read.
fn is_any(name: &str) -> bool {
    ANY_HEADER.contains(&name) || name == "vary" || name.starts_with("access-control-")
}

/// What is wrong with an answer by the description, if anything is.
pub(in crate::http) fn wrong(
    method: &str,
    target: &str,
    body: &[u8],
    status: u16,
    headers: &[(String, String)],
    text: &str,
) -> Option<String> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let told = |what: String| Some(format!("{method} {target} answered {status}: {what}\n{text}"));
    let code = serde_json::from_str::<Value>(text)
        .ok()
        .and_then(|body| Some(body["error"]["code"].as_str()?.to_owned()));
    if matches!(
        (status, code.as_deref()),
        (404, Some("route_not_found")) | (405, Some("method_not_allowed"))
    ) {
        return None;
    }
    // Refused before anybody saw which request it is.
    if status == 431 && text.is_empty() {
        return None;
    }
    let Some((id, operation)) = operation(method, path) else {
        let is_ours = path.starts_with("/v1") && !["HEAD", "OPTIONS"].contains(&method);
        return is_ours.then(|| told("the operation is not described".into())).flatten();
    };
    let Some(answer) = operation["responses"].get(status.to_string()) else {
        return told("the status is not described".into());
    };
    let answer = resolved(answer);
    let known = answer["headers"].as_object();
    let known = |name: &str| {
        known.is_some_and(|all| all.keys().any(|known| known.eq_ignore_ascii_case(name)))
    };
    if let Some((name, _)) = headers.iter().find(|(name, _)| !is_any(name) && !known(name)) {
        return told(format!("the header {name} is not described"));
    }
    let is_replayed = headers.iter().any(|(name, _)| name == "idempotency-replay");
    let mut wrongs = Vec::new();
    if let Some(content) = answer["content"].get("application/json") {
        match serde_json::from_str::<Value>(text) {
            // What is left of an answer about a deleted customer.
            Ok(Value::Object(fields)) if is_replayed && fields.keys().eq(["id", "object"]) => {}
            Ok(body) => wrongs = differences(&format!("{id} {status}"), &content["schema"], &body),
            Err(error) => return told(format!("it is no JSON: {error}")),
        }
    }
    if (200..300).contains(&status) {
        for (name, _) in url::form_urlencoded::parse(query.as_bytes()) {
            let takes = |one: &Value| one["in"] == "query" && one["name"] == name.as_ref();
            if !operation["parameters"].as_array().is_some_and(|all| all.iter().any(takes)) {
                wrongs.push(format!("the parameter {name} is not described"));
            }
        }
        let content = &operation["requestBody"]["content"];
        match (content.get("application/json"), serde_json::from_slice::<Value>(body)) {
            (Some(content), Ok(body)) => {
                wrongs.extend(differences(&format!("{id} request"), &content["schema"], &body));
            }
            (None, Ok(body)) if content.is_null() && body != json!({}) => {
                wrongs.push("it took a body that is not described".into());
            }
            _ => {}
        }
    }
    if wrongs.is_empty() { None } else { told(wrongs.join("\n")) }
}

/// Each operation's id with each status of success that has a JSON body.
pub(super) fn successes() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for methods in openapi::document()["paths"].as_object().expect("paths").values() {
        for operation in methods.as_object().expect("methods").values() {
            for (status, answer) in operation["responses"].as_object().expect("answers") {
                if status.starts_with('2') && answer["content"].get("application/json").is_some() {
                    let id = operation["operationId"].as_str().expect("an id");
                    all.push((id.to_owned(), status.clone()));
                }
            }
        }
    }
    all
}

/// The operation that a request asks for, with its id. A path without parameters comes before one with.
pub(super) fn operation(method: &str, path: &str) -> Option<(&'static str, &'static Value)> {
    let paths = openapi::document()["paths"].as_object()?;
    let fits = |template: &str| {
        let (mut there, mut asked) = (template.split('/'), path.split('/'));
        loop {
            match (there.next(), asked.next()) {
                (None, None) => return true,
                (Some(there), Some(asked))
                    if there == asked || there.starts_with('{') && !asked.is_empty() => {}
                _ => return false,
            }
        }
    };
    let found = paths
        .iter()
        .filter(|(template, _)| fits(template))
        .min_by_key(|(template, _)| template.contains('{'));
    let operation = found?.1.get(method.to_lowercase())?;
    Some((operation["operationId"].as_str()?, operation))
}

fn resolved(value: &'static Value) -> &'static Value {
    let place = value["$ref"].as_str().and_then(|place| place.strip_prefix('#'));
    place.and_then(|place| openapi::document().pointer(place)).unwrap_or(value)
}

fn differences(name: &str, schema: &Value, body: &Value) -> Vec<String> {
    let mut validators = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
    let validator = validators.entry(name.to_owned()).or_insert_with(|| {
        let mut schema = schema.clone();
        close(&mut schema);
        let whole = json!({ "allOf": [schema], "components": *COMPONENTS });
        let built = jsonschema::options().with_draft(Draft::Draft202012).build(&whole);
        Arc::new(built.unwrap_or_else(|error| panic!("{name}: {error}")))
    });
    let validator = validator.clone();
    drop(validators);
    validator
        .iter_errors(body)
        .map(|error| format!("at `{}`: {error}", error.instance_path()))
        .collect()
}

/// Lets no object have more than its properties.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("type") == Some(&json!("object")) && fields.contains_key("properties") {
                fields.entry("additionalProperties").or_insert(Value::Bool(false));
            }
            Map::values_mut(fields).for_each(close);
        }
        Value::Array(values) => values.iter_mut().for_each(close),
        _ => {}
    }
}
