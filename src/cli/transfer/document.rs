//! JSON that may be too large to hold: lists as an API returns them (`{"object": "list", "data": […]}`), arrays, and
//! objects, one behind the other. Gives their elements one by one.

use serde::de::{
    DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer,
};
use serde_json::{Map, Value};
use std::{fmt, io::Read};

/// Whether whoever takes the elements wants more of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    More,
    Enough,
}

/// One page of an API's list, by what stands beside its elements.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Page {
    /// What it is a list of: the path that it was fetched from. Empty where it does not say.
    pub(super) url: String,
    /// What the next page is asked for by, where it says that there is one.
    pub(super) next: Option<String>,
}

impl Page {
    /// What an API's list says of itself; none where it does not say whether there is more of it.
    fn of(fields: &Map<String, Value>, last: Option<&str>) -> Option<Self> {
        let word = |field: &str| fields.get(field).and_then(Value::as_str);
        let has_more = fields.get("has_more")?.as_bool()?;
        let next = || match (word("next_page"), last) {
            // The results of a search.
            (Some(page), _) => format!("page={page}"),
            (None, Some(last)) => format!("starting_after={last}"),
            (None, None) => "starting_after=the id of its last element".to_owned(),
        };
        let url = word("url").unwrap_or_default().to_owned();
        Some(Self { url, next: has_more.then(next) })
    }
}

/// What documents give.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Part {
    Element(Value),
    /// Behind its elements.
    Page(Page),
}

/// Reads documents to the end of what they stand in.
///
/// # Errors
/// Says where it cannot be read on; what was before that was given.
pub(super) fn read(
    reader: impl Read,
    each: &mut dyn FnMut(Part) -> Next,
) -> Result<(), serde_json::Error> {
    let mut enough = false;
    let mut each = |part: Part| {
        enough = each(part) == Next::Enough;
        if enough { Next::Enough } else { Next::More }
    };
    let mut json = serde_json::Deserializer::from_reader(reader);
    let read = loop {
        match json.end() {
            // There is something behind the one before.
            Err(error) if error.is_syntax() => {}
            ended => break ended,
        }
        if let Err(error) = (Elements { each: &mut each, inside: false }).deserialize(&mut json) {
            break Err(error);
        }
    };
    if enough { Ok(()) } else { read }
}

/// What a value that is in memory gives.
pub(super) fn parts(value: Value) -> Vec<Part> {
    let (elements, page) = match value {
        Value::Array(all) => (all, None),
        Value::Object(mut fields) => match fields.get_mut("data") {
            Some(Value::Array(all)) => {
                let all = std::mem::take(all);
                let page = Page::of(&fields, all.last().and_then(id));
                (all, page)
            }
            _ => (vec![Value::Object(fields)], None),
        },
        other => (vec![other], None),
    };
    elements.into_iter().map(Part::Element).chain(page.map(Part::Page)).collect()
}

fn id(element: &Value) -> Option<&str> {
    element.get("id")?.as_str()
}

/// What became of a value.
enum Met {
    /// It was given: itself, or its elements, of which the last had this id.
    Given { last: Option<String> },
    /// It stands under `data` and is no list.
    Kept(Value),
}

/// Gives the elements of a list; of another value, itself. What is no list inside of an object comes back.
struct Elements<'e> {
    each: &'e mut dyn FnMut(Part) -> Next,
    /// Whether it stands under `data`.
    inside: bool,
}

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = Met;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Met, D::Error> {
        json.deserialize_any(self)
    }
}

impl Elements<'_> {
    fn give<E: serde::de::Error>(&mut self, part: Part) -> Result<(), E> {
        match (self.each)(part) {
            Next::More => Ok(()),
            Next::Enough => Err(E::custom("enough")),
        }
    }

    fn whole<E: serde::de::Error>(mut self, value: Value) -> Result<Met, E> {
        if self.inside {
            return Ok(Met::Kept(value));
        }
        self.give(Part::Element(value))?;
        Ok(Met::Given { last: None })
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = Met;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Met, A::Error> {
        let mut last = None;
        while let Some(element) = list.next_element::<Value>()? {
            last = id(&element).map(str::to_owned);
            self.give(Part::Element(element))?;
        }
        Ok(Met::Given { last })
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Met, A::Error> {
        if self.inside {
            let value = serde::Deserialize::deserialize(MapAccessDeserializer::new(map))?;
            return Ok(Met::Kept(value));
        }
        let mut fields = Map::new();
        let mut list = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == "data" {
                let inside = Elements { each: &mut *self.each, inside: true };
                match map.next_value_seed(inside)? {
                    Met::Kept(value) => {
                        fields.insert(key, value);
                    }
                    Met::Given { last } => list = Some(last),
                }
            } else {
                fields.insert(key, map.next_value()?);
            }
        }
        let Some(last) = list else { return self.whole(Value::Object(fields)) };
        if let Some(page) = Page::of(&fields, last.as_deref()) {
            self.give(Part::Page(page))?;
        }
        Ok(Met::Given { last })
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Met, E> {
        self.whole(Value::Bool(value))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Met, E> {
        self.whole(Value::String(text.to_owned()))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Met, E> {
        self.whole(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn all(text: &str) -> (Vec<Part>, Option<String>) {
        let mut given = Vec::new();
        let read = read(text.as_bytes(), &mut |part| {
            given.push(part);
            Next::More
        });
        (given, read.err().map(|error| error.to_string()))
    }

    fn page(url: &str, next: Option<&str>) -> Part {
        Part::Page(Page { url: url.into(), next: next.map(str::to_owned) })
    }

    #[test]
    fn a_list_an_array_and_an_object_give_their_elements() {
        let list = r#"{"object": "list", "url": "/v1/charges", "data": [{"id": "a"}, {"id": "b"}], "has_more": true}"#;
        let elements = [json!({"id": "a"}), json!({"id": "b"})].map(Part::Element).to_vec();
        let whole =
            [elements.clone(), vec![page("/v1/charges", Some("starting_after=b"))]].concat();
        assert_eq!(all(list), (whole.clone(), None));
        assert_eq!(all(r#" [{"id": "a"}, {"id": "b"}] "#), (elements, None));
        assert_eq!(parts(serde_json::from_str(list).expect("JSON")), whole);
        let event = json!({"id": "evt", "data": {"object": {"id": "a", "n": 1.50}}, "none": null});
        let given = vec![Part::Element(event.clone())];
        assert_eq!((all(&event.to_string()), parts(event)), ((given.clone(), None), given));
    }

    #[test]
    fn documents_stand_one_behind_the_other() {
        let text = "{\"has_more\": false,\n \"data\": [1]}\n{\"url\": \"/v1/x/search\", \"next_page\": \"p2\",\n\"data\": [2],\n\"has_more\": true}\n[3]\"4\" \n";
        let [one, two, three, four] = [json!(1), json!(2), json!(3), json!("4")].map(Part::Element);
        let given =
            vec![one, page("", None), two, page("/v1/x/search", Some("page=p2")), three, four];
        assert_eq!(all(text), (given, None));
    }

    #[test]
    fn what_is_cut_gives_what_was_before_and_says_where() {
        let (given, why) = all("{\"data\": [{\"id\": \"a\"},\n {\"id\": ");
        assert_eq!(given, [Part::Element(json!({"id": "a"}))]);
        assert!(why.expect("cut").contains("line 2"));
        let (given, why) = all("[1]\n[2]]");
        assert_eq!(given.len(), 2);
        assert!(why.expect("one bracket too many").contains("line 2 column 4"));
    }

    #[test]
    fn reading_ends_when_it_is_enough() {
        let mut seen = 0;
        let read = read(&b"[1, 2, oops"[..], &mut |_| {
            seen += 1;
            Next::Enough
        });
        assert!(read.is_ok());
        assert_eq!(seen, 1);
    }
}
