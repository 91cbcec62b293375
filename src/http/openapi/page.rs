//! `/docs`: the description for people. One page of plain HTML, made once; it runs no script and asks for nothing else.

use super::document;
use axum::{
    http::header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
    response::{Html, IntoResponse},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::{fmt::Write as _, sync::LazyLock};

mod kind;

const STYLE: &str = include_str!("page.css");

static PAGE: LazyLock<String> = LazyLock::new(|| Page::default().of(document()));

/// Nothing but this style, known by its hash.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; \
            frame-ancestors 'none'"
    )
});

/// `GET /docs`
pub(in crate::http) async fn show() -> impl IntoResponse {
    let headers: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, Html(PAGE.as_str()))
}

/// A page while it is written.
#[derive(Default)]
struct Page {
    html: String,
}

/// The methods in the order in which they are read.
const METHODS: [&str; 4] = ["get", "post", "patch", "delete"];

impl Page {
    fn of(mut self, document: &Value) -> String {
        let title = text(document, "/info/title");
        self.put("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        self.put(
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
        );
        self.text(title);
        self.put(" API</title>\n<style>");
        self.put(STYLE);
        self.put("</style>\n</head>\n<body>\n");
        self.contents(document);
        self.put("<main>\n<h1>");
        self.text(title);
        self.put(" API</h1>\n<p class=\"faint\">Version ");
        self.text(text(document, "/info/version"));
        self.put(" · <a href=\"/openapi.json\">openapi.json</a>");
        self.put("<a class=\"jump\" href=\"#contents\">Contents</a></p>\n");
        self.prose(text(document, "/info/description"));
        self.put("<h4>Keys</h4>\n");
        for scheme in fields(document, "/components/securitySchemes").map(|(_, scheme)| scheme) {
            self.prose(text(scheme, "/description"));
        }
        for tag in list(document, "/tags") {
            let name = text(tag, "/name");
            let _ = write!(self.html, "<h2 id=\"{}\">", anchor(name));
            self.text(name);
            self.put("</h2>\n");
            self.prose(text(tag, "/description"));
            for (path, method, operation) in operations(document, name) {
                self.operation(document, path, method, operation);
            }
        }
        self.put("<h2 id=\"schemas\">Schemas</h2>\n");
        for (name, schema) in fields(document, "/components/schemas") {
            let _ = write!(self.html, "<section class=\"schema\" id=\"{}\">\n<h3>", anchor(name));
            self.text(name);
            self.put("</h3>\n");
            self.prose(text(schema, "/description"));
            self.shape(schema);
            self.put("</section>\n");
        }
        self.put("</main>\n</body>\n</html>\n");
        self.html
    }

    /// What is on the page.
    fn contents(&mut self, document: &Value) {
        self.put("<nav id=\"contents\" aria-label=\"Contents\">\n<a class=\"name\" href=\"#\">");
        self.text(text(document, "/info/title"));
        self.put("</a>\n");
        for tag in list(document, "/tags") {
            let name = text(tag, "/name");
            let _ = write!(self.html, "<strong><a href=\"#{}\">", anchor(name));
            self.text(name);
            self.put("</a></strong>\n<ul>\n");
            for (_, _, operation) in operations(document, name) {
                self.entry(text(operation, "/operationId"), text(operation, "/summary"));
            }
            self.put("</ul>\n");
        }
        self.put("<strong><a href=\"#schemas\">Schemas</a></strong>\n<ul>\n");
        for (name, _) in fields(document, "/components/schemas") {
            self.entry(name, name);
        }
        self.put("</ul>\n</nav>\n");
    }

    fn entry(&mut self, place: &str, told: &str) {
        let _ = write!(self.html, "<li><a href=\"#{}\">", anchor(place));
        self.inline(told);
        self.put("</a></li>\n");
    }

    fn operation(&mut self, document: &Value, path: &str, method: &str, operation: &Value) {
        let place = anchor(text(operation, "/operationId"));
        let _ = write!(self.html, "<section class=\"operation\" id=\"{place}\">\n<h3>");
        self.inline(text(operation, "/summary"));
        let _ = write!(
            self.html,
            "</h3>\n<p class=\"line\"><span class=\"method {method}\">{}</span> ",
            method.to_uppercase()
        );
        self.put("<span class=\"path\">");
        self.text(path);
        self.put("</span>");
        let scope = text(operation, "/x-scope");
        self.put("<span class=\"scope\">");
        self.text(if scope.is_empty() { "no key" } else { scope });
        self.put("</span></p>\n");
        self.prose(text(operation, "/description"));
        let parameters: Vec<&Value> =
            list(operation, "/parameters").iter().map(|one| resolved(document, one)).collect();
        if !parameters.is_empty() {
            self.put("<h4>Parameters</h4>\n<dl>\n");
            for one in parameters {
                let required = one.get("required") == Some(&Value::Bool(true));
                let schema = one.get("schema").unwrap_or(&Value::Null);
                let told = text(one, "/description");
                self.field((text(one, "/name"), required), schema, told, Some(text(one, "/in")));
            }
            self.put("</dl>\n");
        }
        for (kind, content) in fields(operation, "/requestBody/content") {
            self.put("<h4>Body</h4>\n");
            if kind == "application/json" {
                self.shape(content.get("schema").unwrap_or(&Value::Null));
            } else {
                self.put("<p>The bytes as the provider sent them.</p>\n");
            }
            self.example("Example", content.get("example"));
        }
        self.put("<h4>Answers</h4>\n<dl>\n");
        for (status, answer) in fields(operation, "/responses") {
            self.answer(status, resolved(document, answer));
        }
        self.put("</dl>\n</section>\n");
    }

    fn answer(&mut self, status: &str, answer: &Value) {
        self.put("<div class=\"field\"><dt class=\"status\">");
        self.text(status);
        self.put("</dt><dd><p>");
        self.inline(text(answer, "/description"));
        self.put("</p>");
        let is_error = status.starts_with(['4', '5']);
        for (_, content) in fields(answer, "/content") {
            if !is_error {
                self.put("<p class=\"kind\">");
                self.kind(content.get("schema").unwrap_or(&Value::Null));
                self.put("</p>");
                self.example("Example", content.get("example"));
            }
        }
        self.put("</dd></div>\n");
    }

    /// The fields of an object, or what else a schema allows.
    fn shape(&mut self, schema: &Value) {
        if let Some(variants) = schema.get("oneOf").and_then(Value::as_array) {
            for variant in variants {
                self.shape(variant);
            }
            return;
        }
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            self.put("<p class=\"kind\">");
            self.kind(schema);
            self.put("</p>\n");
            return;
        };
        let required: Vec<&str> =
            list(schema, "/required").iter().filter_map(Value::as_str).collect();
        self.put("<dl>\n");
        // What it is and how it is called come first, as in the answers.
        let first = ["object", "id"];
        let head = first.iter().filter_map(|name| properties.get_key_value(*name));
        let rest = properties.iter().filter(|(name, _)| !first.contains(&name.as_str()));
        for (name, schema) in head.chain(rest) {
            self.field(
                (name, required.contains(&name.as_str())),
                schema,
                text(schema, "/description"),
                None,
            );
        }
        self.put("</dl>\n");
    }

    fn field(
        &mut self,
        (name, required): (&str, bool),
        schema: &Value,
        told: &str,
        place: Option<&str>,
    ) {
        self.put("<div class=\"field\"><dt><code>");
        self.text(name);
        self.put("</code>");
        if required {
            self.put(" <span class=\"must\">required</span>");
        }
        self.put("</dt><dd>");
        if !told.is_empty() {
            self.put("<p>");
            self.inline(told);
            self.put("</p>");
        }
        self.put("<p class=\"kind\">");
        if let Some(place) = place {
            self.text(place);
            self.put(" · ");
        }
        self.kind(schema);
        self.put("</p></dd></div>\n");
    }

    fn example(&mut self, told: &str, example: Option<&Value>) {
        let Some(example) = example else { return };
        self.put("<details><summary>");
        self.text(told);
        self.put("</summary><pre>");
        self.text(&format!("{example:#}"));
        self.put("</pre></details>\n");
    }

    fn prose(&mut self, told: &str) {
        for paragraph in told.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
            self.put("<p>");
            self.inline(paragraph);
            self.put("</p>\n");
        }
    }

    /// A text in which backticks mark code.
    fn inline(&mut self, told: &str) {
        for (place, part) in told.split('`').enumerate() {
            if place % 2 == 1 { self.code(part) } else { self.text(part) }
        }
    }

    fn code(&mut self, told: &str) {
        self.put("<code>");
        self.text(told);
        self.put("</code>");
    }

    fn text(&mut self, told: &str) {
        for c in told.chars() {
            match c {
                '&' => self.put("&amp;"),
                '<' => self.put("&lt;"),
                '>' => self.put("&gt;"),
                '"' => self.put("&quot;"),
                _ => self.html.push(c),
            }
        }
    }

    fn put(&mut self, html: &str) {
        self.html.push_str(html);
    }
}

/// The operations of an area: path, method, and what is said of it.
fn operations<'a>(
    document: &'a Value,
    tag: &'a str,
) -> impl Iterator<Item = (&'a str, &'static str, &'a Value)> {
    fields(document, "/paths").flat_map(move |(path, methods)| {
        METHODS.into_iter().filter_map(move |method| {
            let operation = methods.get(method)?;
            (text(operation, "/tags/0") == tag).then_some((path, method, operation))
        })
    })
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn fields<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let all = value.pointer(pointer).and_then(Value::as_object);
    all.into_iter().flat_map(Map::iter).map(|(name, value)| (name.as_str(), value))
}

fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let pointer =
        value.get("$ref").and_then(Value::as_str).and_then(|place| place.strip_prefix('#'));
    pointer.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

/// A name as it can stand in an address.
fn anchor(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_page_has_every_operation_and_every_link_on_it_leads_somewhere() {
        let page = &*PAGE;
        for (path, methods) in fields(document(), "/paths") {
            for operation in methods.as_object().expect("methods").values() {
                let id = text(operation, "/operationId");
                assert!(page.contains(&format!("id=\"{id}\"")), "{path} {id}");
            }
        }
        for link in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(
                link.is_empty() || page.contains(&format!("id=\"{link}\"")),
                "{link} leads nowhere"
            );
        }
    }

    /// What is told is escaped, so that whatever looks like a tag is one of ours.
    #[test]
    fn the_page_asks_for_nothing_and_runs_nothing() {
        let known = ["class", "content", "href", "id", "lang", "charset", "name", "aria-label"];
        let mut seen = 0;
        for tag in PAGE.split('<').skip(1).filter_map(|rest| rest.split('>').next()) {
            assert!(
                !["script", "img", "link", "iframe", "form"]
                    .iter()
                    .any(|name| tag.starts_with(name)),
                "<{tag}>"
            );
            let parts: Vec<&str> = tag.split('"').collect();
            for pair in parts.chunks_exact(2) {
                let name =
                    pair[0].trim().trim_end_matches('=').rsplit(' ').next().unwrap_or_default();
                assert!(known.contains(&name), "<{tag}> has {name}");
                assert!(name != "href" || pair[1].starts_with(['#', '/']), "<{tag}> leads away");
                seen += 1;
            }
        }
        assert!(seen > 500, "{seen}");
        for word in ["url(", "@import"] {
            assert!(!STYLE.contains(word), "{word}");
        }
        assert!(POLICY.starts_with("default-src 'none';") && !POLICY.contains("unsafe"));
    }

    #[test]
    fn what_is_told_is_never_taken_for_html() {
        let document = json!({
            "info": { "title": "<b>\"&", "version": "1", "description": "`<i>` and <i>" },
            "components": { "schemas": { "A": { "properties": { "<x>": { "type": "string", "pattern": "<\"" } } } } },
        });
        let page = Page::default().of(&document);
        assert!(page.contains("<title>&lt;b&gt;&quot;&amp; API</title>"), "{page}");
        assert!(page.contains("<code>&lt;i&gt;</code> and &lt;i&gt;"), "{page}");
        assert!(!page.contains("<x>") && !page.contains("<i>"), "{page}");
    }
}
