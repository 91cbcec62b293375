//! Records: one customer, payment or subscription as `export` writes it and `import` takes it (docs/import.md).
//!
//! A record says how things stood at its `updated_at`. Who is who by it is the team's own word; about a field
//! it speaks at the lowest level, so that whoever tells of that field by events counts more. An exported record
//! says of each field by whom it was set, and when (`stated`): of such a record only those fields are asserted,
//! each with its own level and time.

use super::{
    About, Body, Item, Malformed, Provider,
    canonical::names,
    read::{Object, Said, short},
};
use crate::model::{
    authority::Authority,
    event::{Assertions, Reading},
    metadata::Scalar,
    reference::{Kind, Reference},
    register::Register,
    stamp::{Stamp, rank},
    time::Timestamp,
};
use serde_json::Value;
use std::collections::BTreeMap;

mod customer;
mod money;
mod subscription;

/// The source of records, as no configuration can name one.
pub const SOURCE: &str = "import";

/// Not in the list of providers: no source of a configuration is one.
pub const PROVIDER: Provider = Provider {
    name: "record",
    authority: Authority::PAYMENT,
    kind: Kind::External,
    scheme: None,
    places: &[],
    about: About::UNLISTED,
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

/// The kinds of record: `object`, the name of the event that one is taken as, and the fields that it may have.
const KINDS: &[(&str, &str, &[&str])] = &[
    ("customer", "customer.imported", customer::FIELDS),
    ("payment", "payment.imported", money::FIELDS),
    ("subscription", "subscription.imported", subscription::FIELDS),
];

/// What every record may have: what it is, whom it names, when it was so; and what an export tells besides.
const COMMON: &[&str] = &[
    "object",
    "external_id",
    "identities",
    "other_names",
    "named_at",
    "stated",
    "first_at",
    "created_at",
    "updated_at",
    "id",
    "environment",
    "live",
    "customer_id",
];

/// By whom and when each field was set.
type Statements<'a> = BTreeMap<&'a str, (Authority, Timestamp)>;

/// One record, opened.
struct Record<'a> {
    body: &'a Body<'a>,
    fields: Object<'a>,
    /// Whom it names, in the order in which it names them.
    names: Vec<Reference>,
    /// The fields that it says something of, where it says so.
    stated: Option<Statements<'a>>,
    /// By what it says of itself, of everything that has no word of its own.
    stamp: Stamp,
    notes: Vec<String>,
}

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let fields = Object::root(body.json)?;
    let object = fields.need("object", fields.text("object")?)?;
    let Some((_, kind, known)) = KINDS.iter().find(|(name, _, _)| *name == object) else {
        let kinds: Vec<_> = KINDS.iter().map(|(name, _, _)| *name).collect();
        let what = format!("`{}` is not known; known are {}", short(object), kinds.join(", "));
        return Err(fields.wrong("object", what));
    };
    let updated_at = fields.time("updated_at")?.unwrap_or(body.received_at);
    let at = body.counted(updated_at);
    let stamp = Stamp { at, rank: rank::UPDATED, key: body.key(None, body.hash) };
    let mut record = Record {
        body,
        names: all_names(&fields)?,
        stated: stated(body, &fields)?,
        fields,
        stamp,
        notes: Vec::new(),
    };
    record.note_unknown(known);
    let assertions = match object {
        "customer" => record.customer()?,
        "payment" => record.payment()?,
        _ => record.subscription()?,
    };
    let reading = if assertions.is_empty() {
        Reading::Ignored("a movement of 0 is no payment".into())
    } else {
        Reading::Asserts(Box::new(assertions))
    };
    Ok(Item {
        id: None,
        hash: body.hash.to_owned(),
        kind: (*kind).to_owned(),
        occurred_at: Some(updated_at),
        live: None,
        notes: record.notes,
        reading,
    })
}

/// The external_id and the identities; then other names that an export gives: external_ids that were merged into
/// this one, and the name of a customer that has none outside.
fn all_names(fields: &Object<'_>) -> Result<Vec<Reference>, Malformed> {
    let mut all = names(fields)?;
    for name in fields.objects("other_names")? {
        let kind = match name.need("kind", name.text("kind")?)? {
            "external" => Kind::External,
            "self" => Kind::Own,
            other => {
                let what = format!("`{}` is neither `external` nor `self`", short(other));
                return Err(name.wrong("kind", what));
            }
        };
        let namespace = name.text("provider")?.unwrap_or_default();
        let uid = name.need("uid", name.text("uid")?)?;
        let name = Reference::new(kind, namespace, uid).map_err(|why| name.wrong("uid", why))?;
        if !all.contains(&name) {
            all.push(name);
        }
    }
    Ok(all)
}

/// `"stated": {"FIELD": "LEVEL TIME"}`.
fn stated<'a>(body: &Body<'_>, fields: &Object<'a>) -> Result<Option<Statements<'a>>, Malformed> {
    let Some(stated) = fields.object("stated")? else { return Ok(None) };
    let mut all = BTreeMap::new();
    for field in stated.keys() {
        let said = stated.need(field, stated.text(field)?)?;
        let said = said_by(body, said).ok_or_else(|| {
            stated.wrong(field, "is no level (app, auth, payment) with an RFC 3339 time behind it")
        })?;
        all.insert(field, said);
    }
    Ok(Some(all))
}

/// Who said something and when, as an export writes it: `auth 2025-01-31T12:00:00.000000Z`.
fn said_by(body: &Body<'_>, text: &str) -> Option<(Authority, Timestamp)> {
    let (level, at) = text.split_once(' ')?;
    Some((Authority::from_level(level)?, body.counted(Timestamp::parse(at)?)))
}

impl<'a> Record<'a> {
    /// A field that nobody reads is most often a typing mistake.
    fn note_unknown(&mut self, known: &[&str]) {
        for field in self.fields.keys() {
            if !known.contains(&field) && !COMMON.contains(&field) {
                self.notes
                    .push(format!("{}: is no field of this record and was left out", short(field)));
            }
        }
    }

    /// By whom and when a field was set; none where the record says nothing of it.
    fn word(&self, field: &str) -> Option<(Authority, Stamp)> {
        match &self.stated {
            None => Some((self.body.source.authority_for(field), self.stamp.clone())),
            Some(stated) => {
                let (authority, at) = stated.get(field)?;
                Some((*authority, Stamp { at: *at, ..self.stamp.clone() }))
            }
        }
    }

    /// The register of a field. One that is stated and absent is null.
    fn register<T: Clone + PartialEq>(
        &mut self,
        field: &str,
        hold: impl FnOnce(&'a Value) -> Result<T, &'static str>,
    ) -> Register<Option<T>> {
        let Some((authority, stamp)) = self.word(field) else { return Register::default() };
        let said = match self.fields.said(field, &mut self.notes, hold) {
            Said::Nothing if self.stated.is_some() && !self.fields.has(field) => Said::Null,
            said => said,
        };
        said.register(|value| Register::of(authority, stamp, value))
    }

    fn text<T: Clone + PartialEq>(
        &mut self,
        field: &str,
        hold: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Register<Option<T>> {
        self.register(field, |value| hold(value.as_str().ok_or("is no text")?))
    }

    fn time(&mut self, field: &str) -> Register<Option<Timestamp>> {
        self.register(field, |value| {
            value.as_str().and_then(Timestamp::parse).ok_or("is no RFC 3339 time")
        })
    }

    /// A register a key; of an export those keys that it states as `metadata.KEY`.
    fn metadata(&mut self) -> BTreeMap<String, Register<Option<Scalar>>> {
        let given = self.fields.metadata("metadata", &mut self.notes);
        let mut all: BTreeMap<String, Option<Scalar>> =
            given.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        for field in self.stated.iter().flat_map(BTreeMap::keys) {
            if let Some(key) = field.strip_prefix("metadata.") {
                all.entry(key.to_owned()).or_default();
            }
        }
        let register = |(key, value): (String, Option<Scalar>)| {
            let field = format!("metadata.{key}");
            let word = match &self.stated {
                None => self.word("metadata"),
                Some(_) => self.word(&field),
            };
            let (authority, stamp) = word?;
            Some((key, Register::of(authority, stamp, value)))
        };
        all.into_iter().filter_map(register).collect()
    }

    /// Where a payment or subscription hangs: the first name of each kind; where `named_at` does not say since
    /// when, since it is known.
    fn hangs_on(&self, known_at: Timestamp) -> Result<Vec<(Reference, Stamp)>, Malformed> {
        let named_at = self.fields.object("named_at")?;
        let mut hangs: Vec<(Reference, Stamp)> = Vec::new();
        for name in &self.names {
            if hangs.iter().any(|(known, _)| known.kind == name.kind) {
                continue;
            }
            let kind = match name.kind {
                Kind::External => "external",
                Kind::Auth => "auth",
                Kind::Payment => "payment",
                Kind::Own => "self",
            };
            let since = named_at.as_ref().map(|named| named.time(kind)).transpose()?.flatten();
            let at = self.body.counted(since.unwrap_or(known_at));
            hangs.push((name.clone(), Stamp { at, ..self.stamp.clone() }));
        }
        Ok(hangs)
    }

    /// The earliest time of anything that the record knows.
    fn first_at(&self) -> Result<Timestamp, Malformed> {
        let first = self.fields.time("first_at")?.or(self.fields.time("created_at")?);
        Ok(first.map_or(self.stamp.at, |at| at.min(self.stamp.at)))
    }

    /// Nothing of a payment's or subscription's own.
    fn nothing() -> Assertions {
        Assertions::default()
    }
}
