//! What can be said in requests: fields of bodies, and parameters of several paths.

use super::operation::{Operation, TEXT, time};
use serde_json::{Value, json};

/// The names that a customer is given or asked for by.
pub(super) fn names() -> Value {
    json!({
        "external_id": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": TEXT,
            "description": "The app's own user id: opaque, kept as it is." },
        "provider": { "type": "string", "minLength": 1, "maxLength": 100, "pattern": NOT_BLANK,
            "description": "The namespace of an identity." },
        "provider_uid": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": TEXT,
            "description": "The id there." },
        "kind": { "type": "string", "enum": ["auth", "payment"],
            "description": "Of which kind the identity is; unless told the one that is known, \
                else that of the source." },
    })
}

/// What is said about the person.
pub(super) fn profile() -> Value {
    json!({
        "name": { "type": ["string", "null"], "maxLength": 200, "pattern": NOT_BLANK },
        "email": { "type": ["string", "null"], "maxLength": 320, "pattern": EMAIL },
        "email_verified": { "type": "boolean",
            "description": "Whether the app vouches for the address; unsaid, the same address \
                stays verified." },
        "phone": { "type": ["string", "null"], "pattern": PHONE, "description": "E.164; spaces, dots, hyphens and parentheses are taken out." },
        "tags": { "type": ["array", "null"], "maxItems": 50, "description": "All of them \
            together.",
            "items": { "type": "string", "maxLength": 64, "pattern": NOT_BLANK } },
        "metadata": {
            "type": ["object", "null"], "maxProperties": 50,
            "description": "50 keys at most, also together with those that are there. Null \
                takes a key away.",
            "propertyNames": { "minLength": 1, "maxLength": 40, "pattern": TEXT },
            "additionalProperties": { "type": ["string", "number", "boolean", "null"], "maxLength": 500, "pattern": LINES },
        },
        "is_anonymous": { "type": ["boolean", "null"], "description": "Whether this is nobody \
            yet." },
    })
}

/// An identity has a provider, an id there, and maybe a kind.
pub(super) fn together(mut object: Value) -> Value {
    let needs = json!({
        "provider": ["provider_uid"], "provider_uid": ["provider"], "kind": ["provider", "provider_uid"],
    });
    if let Some(fields) = object.as_object_mut() {
        fields.insert("dependentRequired".into(), needs);
    }
    object
}

/// Some name is given.
pub(super) fn by_name(mut object: Value) -> Value {
    let names = json!([
        { "required": ["external_id"] }, { "required": ["customer_id"] }, { "required": ["provider", "provider_uid"] },
    ]);
    if let Some(fields) = object.as_object_mut() {
        fields.insert("anyOf".into(), names);
    }
    object
}

/// A text without control characters that is not only spaces.
pub(super) const NOT_BLANK: &str =
    "^[^\\x00-\\x1f\\x7f-\\x9f]*[^\\s\\x00-\\x1f\\x7f-\\x9f][^\\x00-\\x1f\\x7f-\\x9f]*$";

/// A text without control characters, but for tabs and line ends.
const LINES: &str = "^[^\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f]*$";

const EMAIL: &str = "^[^\\s@\\x00-\\x1f\\x7f-\\x9f]+@[^\\s@\\x00-\\x1f\\x7f-\\x9f]+$";

/// A plus sign and 7 to 15 digits, with anything between that people write there.
const PHONE: &str = "^[ .()-]*[+][ .()-]*[1-9]([ .()-]*[0-9]){6,14}[ .()-]*$";

/// Tags with commas between.
pub(super) const TAGS: &str =
    "^[^,\\s\\x00-\\x1f\\x7f-\\x9f]{1,64}(,[^,\\s\\x00-\\x1f\\x7f-\\x9f]{1,64})*$";

pub(super) fn whole_number() -> Value {
    json!({ "type": "integer", "format": "int64", "minimum": i64::MIN, "maximum": i64::MAX })
}

pub(super) fn currency() -> Value {
    json!({ "type": "string", "pattern": "^[A-Za-z0-9]{3,5}$" })
}

/// A JSON object with these fields and no others.
pub(super) fn object(fields: &[Value], required: &[&str]) -> Value {
    let all = fields.iter().filter_map(Value::as_object).flatten();
    let properties: serde_json::Map<String, Value> =
        all.map(|(name, schema)| (name.clone(), schema.clone())).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// A span of time's ends.
pub(super) fn since_and_until(
    operation: Operation,
    since: &'static str,
    until: &'static str,
) -> Operation {
    operation.query("since", since, time()).query("until", until, time())
}
