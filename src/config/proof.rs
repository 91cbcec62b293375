//! `verify` of a source: the parameters of its signature scheme.

use crate::{
    provider,
    verify::scheme::{
        Algorithm, Check, Encoding, Form, Key, Names, Part, Place, Scheme, Signature, Stamp,
        StampPlace, Unit,
    },
};
use chrono::TimeDelta;
use serde::{Deserialize, Deserializer};
use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// How far from its receipt a signature may be, unless the source's `tolerance` says otherwise: that of Standard
/// Webhooks.
const TOLERANCE: TimeDelta = TimeDelta::seconds(300);

/// `[sources.verify]`: the signature scheme of a provider that the source describes itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Proof {
    like: Option<String>,
    check: Option<Kind>,
    #[serde(default, deserialize_with = "one_or_more")]
    header: Vec<String>,
    item: Option<Item>,
    form_field: Option<String>,
    algorithm: Option<Hash>,
    key: Option<KeyKind>,
    encoding: Option<Written>,
    form: Option<Shape>,
    prefix: Option<String>,
    prefix_optional: Option<bool>,
    separator: Option<String>,
    signature_key: Option<String>,
    template: Option<String>,
    line_feed: Option<bool>,
    stamp_key: Option<String>,
    #[serde(default, deserialize_with = "one_or_more")]
    stamp_header: Vec<String>,
    stamp_unit: Option<Count>,
    stamp_both_sides: Option<bool>,
    #[serde(default, deserialize_with = "one_or_more")]
    id_header: Vec<String>,
    #[serde(default, deserialize_with = "one_or_more")]
    event_id_header: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Hmac,
    Header,
    Bearer,
    Basic,
    JwtBody,
    JwtHeader,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeyKind {
    Utf8,
    Base64,
    Hex,
    Sha1,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Written {
    Hex,
    Base64,
    Either,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Shape {
    Whole,
    Prefixed,
    Pairs,
    Versions,
    KeyedList,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Count {
    S,
    Ms,
}

/// Where each item of a body holds its own signature.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    list: String,
    #[serde(rename = "item")]
    at: String,
    signature: String,
}

fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a header's name, or a list of them")]
    enum Either {
        One(String),
        More(Vec<String>),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::One(name) => vec![name],
        Either::More(names) => names,
    })
}

/// The key below `verify`, and what is wrong with it.
type Wrong = (&'static str, String);

impl Proof {
    /// # Errors
    /// Names the key below `verify` and what is wrong with it.
    pub(super) fn compile(&self) -> Result<Scheme, Wrong> {
        if let Some(name) = &self.like {
            return self.like(name);
        }
        let check = match self.check {
            None => {
                return Err(("check", "the key is missing: say what is checked, or `like`".into()));
            }
            Some(Kind::Hmac) => Check::Signature(self.signature()?),
            Some(kind) => {
                self.refuse_all_but(&["check", "header", "event_id_header"], "hmac")?;
                match kind {
                    Kind::Header => Check::Header(self.only_header()?),
                    Kind::JwtHeader => Check::JwtHeader(self.only_header()?),
                    Kind::Bearer => Check::Bearer,
                    Kind::Basic => Check::Basic,
                    Kind::JwtBody | Kind::Hmac => Check::JwtBody,
                }
            }
        };
        if !matches!(self.check, Some(Kind::Hmac | Kind::Header | Kind::JwtHeader))
            && !self.header.is_empty()
        {
            return Err(("header", "this check reads no header of your choice".into()));
        }
        Ok(Scheme { check, event_id: names("event_id_header", &self.event_id_header)? })
    }

    /// The scheme of a built-in provider.
    fn like(&self, name: &str) -> Result<Scheme, Wrong> {
        self.refuse_all_but(&["like", "event_id_header"], "a scheme of its own")?;
        let scheme = provider::find(name).and_then(|known| known.scheme);
        let Some(scheme) = scheme else {
            let known = provider::ALL.iter().filter(|known| known.scheme.is_some());
            let known: Vec<_> = known.map(|known| known.name).collect();
            let why =
                format!("{name} is no provider with a scheme; known are {}", known.join(", "));
            return Err(("like", why));
        };
        if self.event_id_header.is_empty() {
            return Ok(scheme);
        }
        Ok(scheme.with_id(names("event_id_header", &self.event_id_header)?))
    }

    fn signature(&self) -> Result<Signature, Wrong> {
        let place = match (self.header.as_slice(), &self.item, &self.form_field) {
            ([_, ..], None, None) => Place::Header(names("header", &self.header)?),
            ([], Some(Item { list, at, signature }), None) => {
                Place::Item { list: text(list), item: text(at), path: text(signature) }
            }
            ([], None, Some(field)) => Place::FormField(text(field)),
            ([], None, None) => {
                return Err(("header", "the key is missing: say where the signature is".into()));
            }
            _ => return Err(("header", "one of `header`, `item` and `form_field`".into())),
        };
        let signed = self.template(&place)?;
        let stamp = self.stamp()?;
        if stamp.is_none() && signed.contains(&Part::Stamp) {
            let why = "`{stamp}` needs `stamp_key` or `stamp_header`";
            return Err(("template", why.into()));
        }
        Ok(Signature {
            algorithm: match self.algorithm {
                Some(Hash::Sha1) => Algorithm::Sha1,
                Some(Hash::Sha256) | None => Algorithm::Sha256,
                Some(Hash::Sha384) => Algorithm::Sha384,
                Some(Hash::Sha512) => Algorithm::Sha512,
            },
            key: match self.key {
                Some(KeyKind::Utf8) | None => Key::Utf8,
                Some(KeyKind::Base64) => Key::Base64,
                Some(KeyKind::Hex) => Key::Hex,
                Some(KeyKind::Sha1) => Key::Sha1,
            },
            place,
            form: self.form()?,
            encoding: match self.encoding {
                Some(Written::Hex) | None => Encoding::Hex,
                Some(Written::Base64) => Encoding::Base64,
                Some(Written::Either) => Encoding::HexOrBase64,
            },
            signed,
            line_feed: self.line_feed.unwrap_or(false),
            stamp,
        })
    }

    fn form(&self) -> Result<Form, Wrong> {
        let need = |key, value: Option<&str>| {
            let value = value.filter(|value| !value.is_empty());
            value.map(text).ok_or_else(|| (key, "the key is missing for this `form`".to_owned()))
        };
        let form = self.form.unwrap_or(Shape::Whole);
        let unused = |key, unused: bool| {
            if unused { Err((key, "this `form` does not read it".to_owned())) } else { Ok(()) }
        };
        if form != Shape::Prefixed {
            unused("prefix", self.prefix.is_some())?;
            unused("prefix_optional", self.prefix_optional.is_some())?;
        }
        if form != Shape::Pairs {
            unused("separator", self.separator.is_some())?;
            unused("signature_key", self.signature_key.is_some())?;
            unused("stamp_key", self.stamp_key.is_some())?;
        }
        Ok(match form {
            Shape::Whole => Form::Whole,
            Shape::Prefixed => Form::Prefixed {
                prefix: need("prefix", self.prefix.as_deref())?,
                optional: self.prefix_optional.unwrap_or(false),
            },
            Shape::Pairs => Form::Pairs {
                separator: need("separator", self.separator.as_deref())?,
                signature: need("signature_key", self.signature_key.as_deref())?,
            },
            Shape::Versions => Form::Versions,
            Shape::KeyedList => Form::KeyedList,
        })
    }

    fn stamp(&self) -> Result<Option<Stamp>, Wrong> {
        let place = match (&self.stamp_key, self.stamp_header.is_empty()) {
            (Some(_), false) => {
                return Err(("stamp_key", "either `stamp_key` or `stamp_header`".into()));
            }
            (Some(key), true) => StampPlace::Pair(text(key)),
            (None, false) => StampPlace::Header(names("stamp_header", &self.stamp_header)?),
            (None, true) if self.stamp_unit.is_some() || self.stamp_both_sides.is_some() => {
                return Err(("stamp_unit", "it needs `stamp_key` or `stamp_header`".into()));
            }
            (None, true) => return Ok(None),
        };
        let unit = match self.stamp_unit {
            Some(Count::S) | None => Unit::Seconds,
            Some(Count::Ms) => Unit::Milliseconds,
        };
        let both_sides = self.stamp_both_sides.unwrap_or(true);
        Ok(Some(Stamp { place, unit, tolerance: TOLERANCE, both_sides }))
    }

    /// What is signed: text, with `{body}`, `{id}`, `{stamp}`, `{url}`, `{field:PATH}` and `{form:FIELD}` in it.
    fn template(&self, place: &Place) -> Result<&'static [Part], Wrong> {
        let wrong = |why: String| Err(("template", why));
        let mut parts = Vec::new();
        let mut rest = self.template.as_deref().unwrap_or("{body}");
        while let Some((before, after)) = rest.split_once('{') {
            if !before.is_empty() {
                parts.push(Part::Text(text(before)));
            }
            let Some((name, behind)) = after.split_once('}') else {
                return wrong("a `{` is not closed".into());
            };
            parts.push(match name.split_once(':').unwrap_or((name, "")) {
                ("body", "") => Part::Body,
                ("stamp", "") => Part::Stamp,
                ("url", "") => Part::Url,
                ("id", "") if self.id_header.is_empty() => {
                    return wrong("`{id}` needs `id_header`".into());
                }
                ("id", "") => Part::Id(names("id_header", &self.id_header)?),
                ("field", path) if !path.is_empty() && matches!(place, Place::Item { .. }) => {
                    Part::Field(text(path))
                }
                ("form", field) if !field.is_empty() => Part::FormField(text(field)),
                _ => {
                    return wrong(format!(
                        "`{{{name}}}` is unknown; known are {{body}}, {{id}}, {{stamp}}, {{url}}, {{form:FIELD}}, and with `item` {{field:PATH}}"
                    ));
                }
            });
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(text(rest)));
        }
        let signs = |part: &Part| matches!(part, Part::Body | Part::Field(_) | Part::FormField(_));
        if !parts.iter().any(signs) {
            return wrong("it signs nothing of the body".into());
        }
        Ok(kept(&PARTS, parts))
    }

    fn only_header(&self) -> Result<&'static str, Wrong> {
        match names("header", &self.header)? {
            [name] => Ok(name),
            _ => Err(("header", "one header is expected".into())),
        }
    }

    /// That no key is given that would do nothing.
    fn refuse_all_but(&self, known: &[&str], of: &str) -> Result<(), Wrong> {
        let given = [
            ("check", self.check.is_some()),
            ("header", !self.header.is_empty()),
            ("item", self.item.is_some()),
            ("form_field", self.form_field.is_some()),
            ("algorithm", self.algorithm.is_some()),
            ("key", self.key.is_some()),
            ("encoding", self.encoding.is_some()),
            ("form", self.form.is_some()),
            ("prefix", self.prefix.is_some()),
            ("prefix_optional", self.prefix_optional.is_some()),
            ("separator", self.separator.is_some()),
            ("signature_key", self.signature_key.is_some()),
            ("template", self.template.is_some()),
            ("line_feed", self.line_feed.is_some()),
            ("stamp_key", self.stamp_key.is_some()),
            ("stamp_header", !self.stamp_header.is_empty()),
            ("stamp_unit", self.stamp_unit.is_some()),
            ("stamp_both_sides", self.stamp_both_sides.is_some()),
            ("id_header", !self.id_header.is_empty()),
        ];
        match given.iter().find(|(key, given)| *given && !known.contains(key)) {
            Some((key, _)) => {
                Err((*key, format!("it is a key of {of}, and would do nothing here")))
            }
            None => Ok(()),
        }
    }
}

fn names(key: &'static str, given: &[String]) -> Result<Names, Wrong> {
    let good = |name: &String| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if let Some(name) = given.iter().find(|name| !good(name)) {
        return Err((key, format!("`{name}` is no header's name")));
    }
    Ok(kept(&NAMES, given.iter().map(|name| text(&name.to_ascii_lowercase())).collect()))
}

// A scheme is plain data that lives as long as the process: so do the texts of the settings in one. Each is kept once,
// however often the settings are read.
static TEXTS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
static NAMES: Mutex<Vec<Names>> = Mutex::new(Vec::new());
static PARTS: Mutex<Vec<&'static [Part]>> = Mutex::new(Vec::new());

pub(super) fn text(text: &str) -> &'static str {
    let mut known = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known.get(text) {
        return known;
    }
    let new: &'static str = String::leak(text.to_owned());
    known.insert(new);
    new
}

fn kept<T: PartialEq>(known: &Mutex<Vec<&'static [T]>>, new: Vec<T>) -> &'static [T] {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known.iter().find(|known| ***known == *new) {
        return known;
    }
    let new: &'static [T] = Vec::leak(new);
    known.push(new);
    new
}

#[cfg(test)]
mod tests;
