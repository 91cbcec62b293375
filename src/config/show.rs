//! The settings that count, secrets masked.

use super::Config;
use figment::value::{Dict, Value};
use serde_json::{Map, json};
use std::collections::BTreeMap;
use url::Url;

const MASK: &str = "***";

impl Config {
    /// The settings that count, by section. Secrets, header values and passwords in URLs are masked.
    pub fn show(&self) -> &Map<String, serde_json::Value> {
        &self.shown
    }

    /// By dotted key: the file or environment variable that set it.
    pub fn origins(&self) -> &BTreeMap<String, String> {
        &self.origins
    }
}

pub(super) fn masked(values: &Dict) -> Map<String, serde_json::Value> {
    values.iter().map(|(key, value)| (key.clone(), mask(value, key, false))).collect()
}

/// `hidden`: everything below is secret.
fn mask(value: &Value, key: &str, hidden: bool) -> serde_json::Value {
    let hidden = hidden || is_secret(key);
    match value {
        Value::String(_, text) if text.is_empty() => json!(""),
        Value::String(_, _) if hidden && !is_public(key) => json!(MASK),
        Value::String(_, text) => json!(without_password(text)),
        Value::Char(_, letter) => json!(letter),
        Value::Bool(_, flag) => json!(flag),
        Value::Num(_, _) if hidden => json!(MASK),
        number @ Value::Num(..) => serde_json::to_value(number).unwrap_or_default(),
        Value::Empty(..) => serde_json::Value::Null,
        Value::Dict(_, dict) => dict
            .iter()
            .map(|(name, inner)| (name.clone(), mask(inner, &format!("{key}.{name}"), hidden)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(_, items) => {
            items.iter().map(|item| mask(item, key, hidden)).collect::<Vec<_>>().into()
        }
    }
}

fn is_secret(key: &str) -> bool {
    matches!(
        key,
        "secrets.key"
            | "sources.secrets"
            | "endpoints.secret"
            | "endpoints.headers"
            | "traces.headers"
    )
}

/// The times of a source's secret.
fn is_public(key: &str) -> bool {
    matches!(key, "sources.secrets.from" | "sources.secrets.until")
}

/// A URL with its password masked, in the authority and in the query; any other text as it is.
pub(crate) fn without_password(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return text.to_owned() };
    let secret =
        |name: &str| name.contains("password") || name.contains("secret") || name == "token";
    let in_query = url.query_pairs().any(|(name, _)| secret(&name));
    if url.password().is_none() && !in_query {
        return text.to_owned();
    }
    if url.password().is_some() && url.set_password(Some(MASK)).is_err() {
        return MASK.to_owned();
    }
    if in_query {
        let pairs: Vec<_> = url
            .query_pairs()
            .map(|(name, text)| {
                let text = if secret(&name) { MASK.to_owned() } else { text.into_owned() };
                (name.into_owned(), text)
            })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(pairs);
    }
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_passwords_are_masked_and_nothing_else() {
        let config = Config::parse(
            r#"
            [database]
            url = "postgres://ada:hush1@db.example/x?sslmode=require&password=hush2"
            [amqp]
            url = "amqps://guest:hush3@mq.example/v"
            [secrets]
            key = "hush4hush4hush4hush4"
            [[sources]]
            name = "stripe"
            provider = "stripe"
            unsigned = true
            secrets = ["whsec_hush5", { value = "whsec_hush6", until = 2030-01-01T00:00:00Z }]
            [[endpoints]]
            name = "app"
            url = "https://u:hush7@app.example/hook"
            secret = "whsec_aHVzaDhodXNoOGh1c2g4aHVzaDhodXNoOA=="
            headers = { authorization = "Bearer hush9" }
            [traces]
            headers = { x-key = "hush10" }
            "#,
        )
        .expect("good");
        let text = serde_json::to_string(config.show()).expect("JSON");
        assert!(!text.contains("hush") && !text.contains("aHVz"), "{text}");
        assert!(text.contains("2030-01-01T00:00:00Z") && text.contains("db.example"), "{text}");
        assert!(text.contains("sslmode=require") && text.contains("ada"), "{text}");
        assert!(text.contains("\"connections\":10"), "{text}");
        assert!(!format!("{config:?}").contains("hush"));
    }
}
