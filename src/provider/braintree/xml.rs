//! An XML document of Braintree's as JSON, as its own libraries read it: an element of elements is an object, one of
//! type `array` a list of its children, one with `nil` null, any other its text. Dashes of names become underscores.

use crate::provider::Malformed;
use roxmltree::{Document, Node};
use serde_json::{Map, Value, map::Entry};

/// Elements stand in one another at most so deep, as in JSON.
const DEEPEST: usize = 128;

/// Between two elements' beginnings stand at most so many bytes: a tag with its attributes, or a text. No notification
/// has more, and the parser compares each attribute of an element with all others.
const LONGEST: usize = 8 * 1024;

/// The document as an object with its root element.
///
/// # Errors
/// Where it is no XML, has a document type or namespaces (with which a small document grows large), or is of a size in
/// which no notification comes.
pub(super) fn json(text: &str) -> Result<Value, Malformed> {
    if text.contains("xmlns") {
        return Err(Malformed("has namespaces, which no notification has".into()));
    }
    if text.split('<').any(|piece| piece.len() > LONGEST) {
        return Err(Malformed(format!("holds a tag or a text of more than {LONGEST} bytes")));
    }
    let document =
        Document::parse(text).map_err(|error| Malformed(format!("is no XML: {error}")))?;
    let root = document.root_element();
    Ok(Value::Object(Map::from_iter([(name(root), value(root, 1)?)])))
}

fn name(element: Node<'_, '_>) -> String {
    element.tag_name().name().replace('-', "_")
}

fn value(element: Node<'_, '_>, depth: usize) -> Result<Value, Malformed> {
    if depth > DEEPEST {
        return Err(Malformed(format!("is nested deeper than {DEEPEST} levels")));
    }
    let kind = element.attribute("type");
    let mut children = element.children().filter(Node::is_element).peekable();
    if kind == Some("array") {
        let items = children.map(|child| value(child, depth.saturating_add(1)));
        return Ok(Value::Array(items.collect::<Result<_, _>>()?));
    }
    if children.peek().is_some() {
        let mut fields = Map::new();
        for child in children {
            // Of two of one name the first counts.
            if let Entry::Vacant(place) = fields.entry(name(child)) {
                place.insert(value(child, depth.saturating_add(1))?);
            }
        }
        return Ok(Value::Object(fields));
    }
    if element.attribute("nil") == Some("true") {
        return Ok(Value::Null);
    }
    let text = element.text().unwrap_or_default().trim();
    Ok(match kind {
        Some("boolean") => Value::Bool(matches!(text, "true" | "1")),
        _ => Value::from(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn why(text: &str) -> String {
        json(text).expect_err("malformed").0
    }

    #[test]
    fn elements_become_what_braintrees_libraries_make_of_them() {
        let text = "<?xml version=\"1.0\"?>
            <notification><kind>check</kind><!-- a comment --><subject>
              <sub-merchant nil=\"true\"/><empty></empty><yes type=\"boolean\">true</yes>
              <name>A &amp; B &#233;</name><name>second</name>
              <add-ons type=\"array\"/><list type=\"array\"><item>a</item><item><id>b</id></item></list>
            </subject></notification>";
        assert_eq!(
            json(text).expect("XML"),
            json!({"notification": {"kind": "check", "subject": {"sub_merchant": null, "empty": "",
                "yes": true, "name": "A & B é", "add_ons": [], "list": ["a", {"id": "b"}]}}})
        );
    }

    #[test]
    fn what_is_no_document_or_would_grow_is_refused() {
        for text in ["", "{}", "<a>", "<a></b>", "<a/><b/>", "<a>&unknown;</a>"] {
            assert!(why(text).starts_with("is no XML: "), "{text}");
        }
        let bomb = "<!DOCTYPE a [<!ENTITY b \"cccccccc\"><!ENTITY d \"&b;&b;&b;\">]><a>&d;</a>";
        assert!(why(bomb).starts_with("is no XML: "), "{}", why(bomb));
        let deep = format!("{}{}", "<a>".repeat(200_000), "</a>".repeat(200_000));
        assert_eq!(why(&deep), "is nested deeper than 128 levels");
        let many = " a='>'".repeat(100_000);
        assert_eq!(why(&format!("<a{many}/>")), "holds a tag or a text of more than 8192 bytes");
        assert!(why("<a xmlns:b='c'/>").starts_with("has namespaces"));
        let wide = format!("<a>{}</a>", "<b/>".repeat(50_000));
        assert!(json(&wide).is_ok());
        let level = format!("{}{}", "<a>".repeat(128), "</a>".repeat(128));
        assert!(json(&level).is_ok());
    }
}
