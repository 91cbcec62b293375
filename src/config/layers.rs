//! One layer over another: the built-in defaults, a file, the environment; then what `${…}` stands for.

use super::Error;
use figment::{
    Figment, Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};
use std::collections::BTreeMap;

/// The environment's variables, read once.
pub(crate) type Variables = BTreeMap<String, String>;

/// Environment variables with a name of their own.
const SHORT_FORMS: &[(&str, &str)] =
    &[("DATABASE_URL", "database.url"), ("AMQP_URL", "amqp.url"), ("HTTP_LISTEN", "http.listen")];

const PREFIX: &str = "CUSTOMER_SYNC__";

/// One layer of settings and where it comes from.
struct Layer {
    origin: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// All settings as they count, and where each comes from.
#[derive(Debug)]
pub(crate) struct Layered {
    /// The settings, `${…}` replaced.
    pub values: Dict,
    /// By dotted key: the file or variable that set it.
    pub origins: BTreeMap<String, String>,
}

/// Lays the texts (each with its origin) and the variables over each other, the last on top.
pub(crate) fn layer(texts: &[(&str, &str)], variables: &Variables) -> Result<Layered, Error> {
    let mut figment = Figment::new();
    for (origin, text) in texts {
        let values = from_toml(text, origin)?;
        figment = figment.merge(Layer { origin: (*origin).to_owned(), values });
    }
    let below = figment.clone();
    for (key, name, text) in overlays(variables) {
        let value = from_variable(&text, below.find_value(&key).ok().as_ref(), &key, &name)?;
        let values = nest(&key, value);
        figment = figment.merge(Layer { origin: format!("environment variable {name}"), values });
    }
    let merged = figment.find_value("").map_err(|error| Error {
        key: "configuration".into(),
        reason: error.to_string(),
        origin: "its layers".into(),
    })?;
    let mut origins = BTreeMap::new();
    let interpolated = walk(&merged, "", &mut |key, value| {
        let origin = figment.get_metadata(value.tag()).map_or("default", |found| &found.name);
        origins.insert(key.to_owned(), origin.to_owned());
        match value {
            Value::String(tag, text) => interpolate(text, variables)
                .map(|text| Value::String(*tag, text))
                .map_err(|reason| Error { key: key.into(), reason, origin: origin.into() }),
            other => Ok(other.clone()),
        }
    })?;
    Ok(Layered { values: interpolated.into_dict().unwrap_or_default(), origins })
}

/// (key, variable, text) of each variable that sets something; short forms below long ones.
fn overlays(variables: &Variables) -> Vec<(String, String, String)> {
    let short = SHORT_FORMS.iter().filter_map(|(name, key)| {
        variables.get(*name).map(|text| ((*key).to_owned(), (*name).to_owned(), text.clone()))
    });
    let long = variables.iter().filter_map(|(name, text)| {
        let path = name.strip_prefix(PREFIX)?;
        Some((path.to_ascii_lowercase().replace("__", "."), name.clone(), text.clone()))
    });
    short.chain(long).collect()
}

fn nest(key: &str, value: Value) -> Dict {
    match key.split_once('.') {
        Some((head, rest)) => Dict::from([(head.to_owned(), Value::from(nest(rest, value)))]),
        None => Dict::from([(key.to_owned(), value)]),
    }
}

/// A variable's text as a value: lists and tables as in TOML, a list of texts also with commas, all else as text.
fn from_variable(text: &str, below: Option<&Value>, key: &str, name: &str) -> Result<Value, Error> {
    let is_list = matches!(below, Some(Value::Array(..)));
    let is_text = matches!(below, Some(Value::String(..)));
    if !is_text && text.trim_start().starts_with(['[', '{']) {
        let origin = format!("environment variable {name}");
        let mut table = from_toml(&format!("value = {text}"), &origin)
            .map_err(|error| Error { key: key.into(), ..error })?;
        return Ok(table.remove("value").unwrap_or_else(|| Value::from("")));
    }
    if is_list {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        return Ok(Value::from(items.map(Value::from).collect::<Vec<_>>()));
    }
    Ok(Value::from(text))
}

/// Reads TOML. Its own error texts quote the line, which may hold a secret: only what and where is kept.
fn from_toml(text: &str, origin: &str) -> Result<Dict, Error> {
    let table: toml::Table = toml::from_str(text).map_err(|error| {
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map_or(1, |before| before.matches('\n').count() + 1);
        Error {
            key: format!("line {line}"),
            reason: error.message().trim().replace('\n', " "),
            origin: origin.to_owned(),
        }
    })?;
    Ok(table.into_iter().map(|(key, value)| (key, from_toml_value(value))).collect())
}

fn from_toml_value(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::from(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Value::from(number),
        toml::Value::Boolean(flag) => Value::from(flag),
        toml::Value::Datetime(time) => Value::from(time.to_string()),
        toml::Value::Array(items) => {
            Value::from(items.into_iter().map(from_toml_value).collect::<Vec<_>>())
        }
        toml::Value::Table(table) => {
            let dict: Dict =
                table.into_iter().map(|(key, value)| (key, from_toml_value(value))).collect();
            Value::from(dict)
        }
    }
}

/// Rebuilds a value, its leaves through a function that is told their keys.
fn walk<F: FnMut(&str, &Value) -> Result<Value, Error>>(
    value: &Value,
    key: &str,
    leaf: &mut F,
) -> Result<Value, Error> {
    match value {
        Value::Dict(tag, dict) => {
            let mut rebuilt = Dict::new();
            for (name, inner) in dict {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                rebuilt.insert(name.clone(), walk(inner, &key, leaf)?);
            }
            Ok(Value::Dict(*tag, rebuilt))
        }
        Value::Array(tag, items) if !items.is_empty() => {
            let items = items.iter().enumerate();
            let rebuilt: Result<Vec<_>, _> =
                items.map(|(index, item)| walk(item, &format!("{key}[{index}]"), leaf)).collect();
            Ok(Value::Array(*tag, rebuilt?))
        }
        other => leaf(key, other),
    }
}

/// Replaces `${NAME}` and `${file:PATH}`; `$${` stands for `${`.
fn interpolate(text: &str, variables: &Variables) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = rest.split_at(at);
        let after = after.get(2..).unwrap_or_default();
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let (name, tail) = after.split_once('}').ok_or("`${` is not closed by `}`")?;
        out.push_str(&resolve(name.trim(), variables)?);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

fn resolve(name: &str, variables: &Variables) -> Result<String, String> {
    if let Some(path) = name.strip_prefix("file:") {
        let content = std::fs::read_to_string(path)
            .map_err(|error| format!("the file {path} cannot be read: {error}"))?;
        let content = content.strip_suffix('\n').unwrap_or(&content);
        return Ok(content.strip_suffix('\r').unwrap_or(content).to_owned());
    }
    variables
        .get(name)
        .cloned()
        .ok_or_else(|| format!("the environment variable {name} is not set"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn later_layers_win_and_say_where_they_come_from() {
        let layered = layer(
            &[("below", "[a]\nx = \"1\"\ny = \"1\"\nz = []"), ("above", "[a]\ny = \"2\"")],
            &variables(&[("CUSTOMER_SYNC__A__Z", "p, q"), ("OTHER", "")]),
        )
        .expect("good layers");
        let a = layered.values["a"].as_dict().expect("a table").clone();
        assert_eq!((a["x"].as_str(), a["y"].as_str()), (Some("1"), Some("2")));
        assert_eq!(a["z"].as_array().map(<[Value]>::len), Some(2));
        assert_eq!(layered.origins["a.x"], "below");
        assert_eq!(layered.origins["a.y"], "above");
        assert_eq!(layered.origins["a.z[1]"], "environment variable CUSTOMER_SYNC__A__Z");
    }

    #[test]
    fn variables_and_files_are_put_in_and_what_is_missing_is_an_error() {
        let known = variables(&[("NAME", "ada")]);
        assert_eq!(interpolate("hi ${NAME}, $${NAME}", &known), Ok("hi ada, ${NAME}".into()));
        assert!(interpolate("${OTHER}", &known).unwrap_err().contains("OTHER is not set"));
        assert!(interpolate("${NAME", &known).is_err());
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "secret\n").expect("written");
        let text = format!("${{file:{}}}", file.path().display());
        assert_eq!(interpolate(&text, &known), Ok("secret".into()));
    }

    #[test]
    fn a_text_that_is_no_toml_is_refused_without_being_quoted() {
        let error = layer(&[("f.toml", "a = 1\nkey = whsec_hush")], &Variables::new())
            .expect_err("no TOML");
        assert_eq!(error.key, "line 2");
        assert!(!format!("{error}").contains("hush"), "{error}");
    }
}
