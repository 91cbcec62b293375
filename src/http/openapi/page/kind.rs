//! What a value can be, told in a few words.

use super::{Page, anchor};
use serde_json::Value;
use std::fmt::Write as _;

impl Page {
    /// What a value can be, in a few words.
    pub(super) fn kind(&mut self, schema: &Value) {
        if let Some(name) =
            schema.get("$ref").and_then(Value::as_str).and_then(|place| place.rsplit('/').next())
        {
            let _ = write!(self.html, "<a href=\"#{}\">", anchor(name));
            self.text(name);
            self.put("</a>");
            return;
        }
        if let Some(value) = schema.get("const") {
            self.code(&value.to_string());
            return;
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            self.between(words, ", ", |page, word| page.code(&word.to_string()));
            return;
        }
        if let Some(variants) = schema.get("oneOf").and_then(Value::as_array) {
            self.between(variants, " or ", Self::kind);
            return;
        }
        if let Some(fields) = schema.get("properties").and_then(Value::as_object) {
            match fields.get("data").and_then(|data| data.get("items")) {
                Some(items) => {
                    self.put("list of ");
                    self.kind(items);
                }
                None => self.put("object"),
            }
            return;
        }
        if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
            self.put("array of ");
            self.kind(items);
        } else {
            let types = match schema.get("type") {
                Some(Value::String(one)) => one.clone(),
                Some(Value::Array(all)) => {
                    all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or ")
                }
                _ => "anything".to_owned(),
            };
            self.text(&types);
        }
        self.bounds(schema);
    }

    fn bounds(&mut self, schema: &Value) {
        if let Some(format) =
            schema.get("format").and_then(Value::as_str).filter(|format| !format.starts_with("int"))
        {
            self.put(", ");
            self.text(format);
        }
        self.span(schema, ("minimum", "maximum"), "");
        self.span(schema, ("minLength", "maxLength"), " characters");
        self.span(schema, ("minItems", "maxItems"), " items");
        match schema.get("pattern").and_then(Value::as_str) {
            // What cannot be seen is easier told than shown.
            Some(pattern) if pattern.contains("\\x") => self.put(", no control characters"),
            Some(pattern) => {
                self.put(", ");
                self.code(pattern);
            }
            None => {}
        }
    }

    /// From the least to the most, where a schema says either.
    fn span(&mut self, schema: &Value, (least, most): (&str, &str), unit: &str) {
        // The widest that fit into 64 bits are no bounds to a reader.
        let told = |keyword: &str| {
            let value = schema
                .get(keyword)
                .filter(|value| value.as_i64().is_some_and(|n| n != i64::MIN && n != i64::MAX));
            value.map(ToString::to_string)
        };
        let told = match (told(least), told(most)) {
            (Some(least), Some(most)) => format!(", {least} to {most}{unit}"),
            (Some(least), None) => format!(", at least {least}{unit}"),
            (None, Some(most)) => format!(", at most {most}{unit}"),
            (None, None) => return,
        };
        self.text(&told);
    }

    fn between(&mut self, all: &[Value], separator: &str, put: impl Fn(&mut Self, &Value)) {
        for (place, one) in all.iter().enumerate() {
            if place > 0 {
                self.put(separator);
            }
            put(self, one);
        }
    }
}
