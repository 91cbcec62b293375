//! Schemas read off types, and made as a reader of the API would write them.

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema},
};

/// What `object` says where the derive does not see it: where it is a tag, or is not read back.
const OBJECTS: [(&str, &str); 7] = [
    ("Conflict", "conflict"),
    ("Customer", "customer"),
    ("CustomerRanking", "list"),
    ("Payment", "payment"),
    ("Provenance", "provenance"),
    ("Subscription", "subscription"),
    ("WebhookAttempt", "webhook_attempt"),
];

/// Where named schemas stand.
const PLACE: &str = "#/components/schemas/";

/// A schema, and those by name that it refers to.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    schema: Value,
    named: Vec<(String, Value)>,
}

impl Shape {
    /// Of a type that is serialized.
    pub(super) fn of<T: ToSchema>() -> Self {
        let schema = reference(&T::name());
        Self { schema, named: named::<T>() }
    }

    /// Of a page of a list: `model::answer::List`.
    pub(super) fn list<T: ToSchema>() -> Self {
        let schema = json!({
            "type": "object",
            "required": ["object", "data", "has_more", "next_cursor"],
            "properties": {
                "object": { "const": "list" },
                "data": { "type": "array", "items": reference(&T::name()) },
                "has_more": { "type": "boolean", "description": "Whether there are more in the \
                    same direction." },
                "next_cursor": {
                    "type": ["string", "null"],
                    "description": "What to give as cursor to go on in the same direction.",
                },
            },
        });
        Self { schema, named: named::<T>() }
    }

    /// Of what no type serializes, or none that says enough.
    pub(super) fn plain(schema: Value) -> Self {
        Self { schema, named: Vec::new() }
    }

    /// With one more property of an object, which is not always there.
    pub(super) fn with(mut self, name: &str, schema: Value) -> Self {
        if let Some(properties) = self.schema.get_mut("properties").and_then(Value::as_object_mut) {
            properties.insert(name.to_owned(), schema);
        }
        self
    }

    /// As it stands where it is used.
    pub(super) fn schema(&self) -> Value {
        self.schema.clone()
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("{PLACE}{name}") })
}

fn named<T: ToSchema>() -> Vec<(String, Value)> {
    let mut all: Vec<(String, RefOr<Schema>)> = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut all);
    // A schema of the library always serializes.
    all.into_iter()
        .map(|(name, schema)| (name, serde_json::to_value(schema).unwrap_or_default()))
        .collect()
}

/// The schemas that stand under a name of their own.
#[derive(Debug, Default)]
pub(super) struct Named(BTreeMap<String, Value>);

impl Named {
    /// Takes in what a shape refers to; as it stands where it is used.
    pub(super) fn take(&mut self, shape: &Shape) -> Value {
        self.0.extend(shape.named.iter().cloned());
        for (name, object) in OBJECTS {
            let tag =
                json!({ "properties": { "object": { "const": object } }, "required": ["object"] });
            if let Some(schema) = self.0.get_mut(name) {
                add(schema, &tag);
            }
        }
        shape.schema()
    }

    /// Those that something refers to, as they are shown; what was only a part of others is not among them.
    pub(super) fn described(&self, users: &[&Value]) -> Value {
        let shown: BTreeMap<&str, Value> =
            self.0.iter().map(|(name, schema)| (name.as_str(), self.shown(schema))).collect();
        let mut wanted = BTreeSet::new();
        for user in users {
            names(user, &mut wanted);
        }
        loop {
            let known = wanted.len();
            for name in wanted.clone() {
                if let Some(schema) = shown.get(name.as_str()) {
                    names(schema, &mut wanted);
                }
            }
            if wanted.len() == known {
                break;
            }
        }
        let used = shown.into_iter().filter(|(name, _)| wanted.contains(*name));
        json!(used.collect::<BTreeMap<_, _>>())
    }

    fn shown(&self, schema: &Value) -> Value {
        let mut schema = self.flat(schema);
        finish(&mut schema);
        schema
    }

    /// Without `allOf`: what Rust flattens is one object to a reader.
    fn flat(&self, schema: &Value) -> Value {
        let schema = self.resolved(schema);
        let Some(parts) = schema.get("allOf").and_then(Value::as_array) else {
            return schema.clone();
        };
        let mut whole = json!({ "type": "object", "properties": {}, "required": [] });
        let mut variants: Vec<Value> = Vec::new();
        for part in parts {
            let part = self.flat(part);
            match part.get("oneOf").and_then(Value::as_array) {
                // An optional part: null stands for its absence, so that none of its fields is required.
                Some(all) if all.iter().any(|one| one.get("type") == Some(&json!("null"))) => {
                    for one in all.iter().filter(|one| one.get("type") != Some(&json!("null"))) {
                        let mut one = self.flat(one);
                        if let Some(fields) = one.as_object_mut() {
                            fields.remove("required");
                        }
                        add(&mut whole, &one);
                    }
                }
                Some(all) => variants.extend(all.iter().map(|one| self.flat(one))),
                None => add(&mut whole, &part),
            }
        }
        // What is said of the whole, beside its parts.
        add(&mut whole, schema);
        if let (Some(description), Some(fields)) =
            (schema.get("description"), whole.as_object_mut())
        {
            fields.insert("description".into(), description.clone());
        }
        if variants.is_empty() {
            return whole;
        }
        let variants: Vec<Value> = variants
            .into_iter()
            .map(|mut variant| {
                add(&mut variant, &whole);
                variant
            })
            .collect();
        json!({ "oneOf": variants, "description": whole.get("description") })
    }

    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let name =
            schema.get("$ref").and_then(Value::as_str).and_then(|place| place.strip_prefix(PLACE));
        name.and_then(|name| self.0.get(name)).unwrap_or(schema)
    }
}

/// The names that a value refers to.
fn names(value: &Value, all: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let place = fields.get("$ref").and_then(Value::as_str);
            all.extend(place.and_then(|place| place.strip_prefix(PLACE)).map(str::to_owned));
            fields.values().for_each(|value| names(value, all));
        }
        Value::Array(values) => values.iter().for_each(|value| names(value, all)),
        _ => {}
    }
}

/// Adds the fields of one object to those of another.
fn add(whole: &mut Value, part: &Value) {
    let Some(whole) = whole.as_object_mut() else { return };
    for (name, schema) in part.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let properties = whole.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert(name.clone(), schema.clone());
        }
    }
    for name in part.get("required").and_then(Value::as_array).into_iter().flatten() {
        let required = whole.entry("required").or_insert_with(|| json!([]));
        if let Some(required) = required.as_array_mut().filter(|all| !all.contains(name)) {
            required.push(name.clone());
        }
    }
}

/// Says what the derive cannot know: a field that can be null is always there (contract 4), `Always x` is a constant,
/// and who reads the API has not read our rules.
fn finish(schema: &mut Value) {
    match schema {
        Value::Array(all) => all.iter_mut().for_each(finish),
        Value::Object(fields) => {
            tidy(fields);
            if let Some(Value::String(text)) = fields.get_mut("description") {
                *text = without_rules(text);
            }
            require_nulls(fields);
            if let Some(always) =
                fields.get("description").and_then(Value::as_str).and_then(constant)
            {
                fields.retain(|name, _| name != "description" && name != "type");
                fields.insert("const".into(), always);
            }
            fields.values_mut().for_each(finish);
        }
        _ => {}
    }
}

/// Takes out what the derive says of every type alike, and says what it says about a part of a choice about the whole.
fn tidy(fields: &mut Map<String, Value>) {
    fields.remove("default");
    if fields.get("propertyNames") == Some(&json!({ "type": "string" })) {
        fields.remove("propertyNames");
    }
    let Some(choices) = fields.get_mut("oneOf").and_then(Value::as_array_mut) else { return };
    // "A this, or null" is how people say it.
    choices.sort_by_key(|choice| choice.get("type") == Some(&json!("null")));
    let told = match choices.as_mut_slice() {
        [Value::Object(one), null] if null.get("type") == Some(&json!("null")) => {
            one.remove("description")
        }
        _ => None,
    };
    let only = match choices.as_slice() {
        [Value::Object(only)] => only.clone(),
        _ => Map::new(),
    };
    if let Some(told) = told {
        fields.insert("description".into(), told);
    }
    if !only.is_empty() {
        fields.remove("oneOf");
        let told = fields.remove("description");
        fields.extend(only);
        fields.extend(told.map(|told| ("description".to_owned(), told)));
    }
}

fn require_nulls(fields: &mut Map<String, Value>) {
    let Some(properties) = fields.get("properties").and_then(Value::as_object) else { return };
    let nullable = properties.iter().filter(|(_, schema)| admits_null(schema));
    let names: Vec<Value> = nullable.map(|(name, _)| json!(name)).collect();
    let required = fields.entry("required").or_insert_with(|| json!([]));
    if let Some(required) = required.as_array_mut() {
        required.extend(names);
        required.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        required.dedup();
    }
}

fn admits_null(schema: &Value) -> bool {
    let is_null = |kind: &Value| kind == &json!("null");
    let types = schema.get("type").and_then(Value::as_array);
    let either = schema.get("oneOf").and_then(Value::as_array);
    types.is_some_and(|types| types.iter().any(is_null))
        || either.is_some_and(|all| all.iter().any(|one| one.get("type").is_some_and(is_null)))
}

/// The value of a field whose description is "Always `x`.", or "Always true.".
fn constant(description: &str) -> Option<Value> {
    let value = description.strip_prefix("Always ")?.strip_suffix('.')?;
    match value {
        "true" => Some(json!(true)),
        word => Some(json!(word.strip_prefix('`')?.strip_suffix('`')?)),
    }
}

/// Takes out references to our own rules, such as "(contract 4)".
fn without_rules(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) =
        [" (contract ", " (semantics "].iter().filter_map(|rule| rest.find(rule)).min()
    {
        let (before, from) = rest.split_at(start);
        kept.push_str(before);
        rest = from.split_once(')').map_or("", |(_, after)| after);
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_flattened_is_one_object_whose_nulls_are_always_there() {
        let mut named = Named::default();
        named.0.insert(
            "Inner".into(),
            json!({ "type": "object", "properties": { "a": { "type": ["string", "null"] } } }),
        );
        let outer = json!({
            "allOf": [
                { "$ref": format!("{PLACE}Inner") },
                {
                    "type": "object", "required": ["b"],
                    "properties": { "b": { "type": "string", "description": "Always `x`." }, "c": { "type": "string" } },
                },
            ],
            "description": "A thing (contract 4).",
        });
        named.0.insert("Outer".into(), outer);
        let user = json!({ "$ref": format!("{PLACE}Outer") });
        let expected = json!({
            "Outer": {
                "type": "object", "description": "A thing.", "required": ["a", "b"],
                "properties": { "a": { "type": ["string", "null"] }, "b": { "const": "x" }, "c": { "type": "string" } },
            },
        });
        assert_eq!(named.described(&[&user]), expected);
    }

    #[test]
    fn a_flattened_choice_is_a_choice_of_whole_objects() {
        let mut named = Named::default();
        let variant = |kind: &str| json!({ "type": "object", "properties": { "kind": { "enum": [kind] } }, "required": ["kind"] });
        let choice = json!({
            "allOf": [
                { "oneOf": [variant("a"), variant("b")] },
                { "type": "object", "properties": { "at": { "type": "string" } }, "required": ["at"] },
            ],
        });
        named.0.insert("Choice".into(), choice);
        let described = named.described(&[&json!({ "$ref": format!("{PLACE}Choice") })]);
        for place in [0, 1] {
            let whole = &described["Choice"]["oneOf"][place];
            assert_eq!(whole["required"], json!(["at", "kind"]));
            assert_eq!(whole["properties"]["at"]["type"], "string");
        }
    }

    #[test]
    fn what_is_told_of_a_value_or_null_is_told_of_both() {
        let mut field = json!({
            "oneOf": [{ "type": "null" }, { "$ref": "#/x", "description": "Whose (contract 4)." }], "default": null,
        });
        finish(&mut field);
        let expected =
            json!({ "oneOf": [{ "$ref": "#/x" }, { "type": "null" }], "description": "Whose." });
        assert_eq!(field, expected);
        let mut only = json!({ "oneOf": [{ "type": "object", "description": "inner" }], "description": "outer" });
        finish(&mut only);
        assert_eq!(only, json!({ "type": "object", "description": "outer" }));
    }

    #[test]
    fn references_to_our_rules_are_taken_out() {
        assert_eq!(without_rules("A (contract 4). B (semantics 6.1), C"), "A. B, C");
        assert_eq!(without_rules("A (b) c"), "A (b) c");
    }
}
