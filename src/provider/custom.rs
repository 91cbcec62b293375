//! Custom: a provider that a source describes in its settings. How its bodies are verified stands under `verify`
//! (`config`), what they say under `mapping`: JSONPath (RFC 9535) with a fixed list of transforms
//! (docs/add-a-provider.md). What is found is told to the same builders as that of the built-in providers, so
//! that no rule of the model is written twice.

use super::{
    Body, Item, Malformed, Provider,
    about::{About, is_of},
    payment::{self, Head},
    user::Change,
};
use crate::model::{authority::Authority, event::Reading, reference::Kind, stamp::rank};
use expression::{Expression, Found};
use path::Path;
use section::Section;
use serde_json::Value;
use std::borrow::Cow;

mod expression;
mod facts;
mod path;
mod section;
mod settings;
mod written;

pub use settings::Settings;

/// What is the same for all sources that describe their provider themselves.
pub const UNDESCRIBED: Provider = Provider {
    name: "custom",
    authority: Authority::PAYMENT,
    kind: Kind::Payment,
    scheme: None,
    places: &[],
    about: About {
        id: "the mapping's `id`, else the header that `verify` names",
        time: "the mapping's `time`",
        types: &[("*", "what the mapping says")],
        setup: "Describe it in the source's settings: docs/add-a-provider.md.",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

/// A mapping that was checked: from a body to facts.
#[derive(Clone, Debug)]
pub struct Mapping {
    kind: Kind,
    head: Section,
    ordered: bool,
    names_in: Vec<Expression>,
    events: Vec<Event>,
}

/// A part of an event, and the condition under which it is there.
type Sometimes = (Option<Path>, Section);

/// What events of some types say.
#[derive(Clone, Debug)]
struct Event {
    types: Vec<String>,
    when: Option<Path>,
    /// Instead of the mapping's.
    time: Option<Section>,
    names_in: Option<Vec<Expression>>,
    change: Option<Change>,
    ignore: Option<String>,
    user: Option<Section>,
    customer: Option<Section>,
    payment: Option<Section>,
    refund: Option<Sometimes>,
    dispute: Option<Sometimes>,
    subscription: Option<Section>,
}

/// Whether a condition holds: it finds something that is neither null nor empty.
fn holds(when: Option<&Path>, root: &Value) -> bool {
    let said = |value: &&Value| !(value.is_null() || value.as_str().is_some_and(str::is_empty));
    when.is_none_or(|when| when.all(root).iter().any(said))
}

impl Event {
    fn takes(&self, kind: &str, root: &Value) -> bool {
        self.types.iter().any(|pattern| is_of(kind, pattern)) && holds(self.when.as_ref(), root)
    }

    fn sections(&self) -> impl Iterator<Item = &Section> {
        let parts = [&self.refund, &self.dispute].into_iter().flatten().map(|(_, part)| part);
        [&self.user, &self.customer, &self.payment, &self.subscription]
            .into_iter()
            .flatten()
            .chain(parts)
    }
}

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    match body.source.mapping.as_deref() {
        Some(mapping) => mapping.read(body),
        None => Err(Malformed("the source has no mapping".into())),
    }
}

impl Mapping {
    fn read(&self, body: &Body<'_>) -> Result<Item, Malformed> {
        let root = body.json;
        let said = self.head.find(root).map_err(|why| explained(&self.head, why))?;
        let opened = facts::Part::of(&self.head, &said)?;
        let kind = opened.need("type").map_err(|why| explained(&self.head, why))?.into_owned();
        let event = self.events.iter().find(|event| event.takes(&kind, root));
        let at = match event.and_then(|event| event.time.as_ref()) {
            None => opened.time("time"),
            Some(time) => facts::Part::of(time, &time.find(root)?)?.time("time"),
        };
        let mut head = Head::of(kind);
        head.id = match opened.text("id").map_err(|why| explained(&self.head, why))? {
            Some(id) => Some(id),
            None if self.head.has("id") => None,
            None => body.header_id.map(Into::into),
        };
        let timed = event.and_then(|event| event.time.as_ref()).unwrap_or(&self.head);
        head.at = at.map_err(|why| explained(timed, why))?;
        head.ordered = self.ordered;
        head.live = opened.flag("live").map_err(|why| explained(&self.head, why))?;
        head.rank = match event.and_then(|event| event.change) {
            Some(Change::Created) => rank::CREATED,
            Some(Change::Deleted) => rank::DELETED,
            Some(Change::Updated) | None => rank::UPDATED,
        };
        let Some(event) = event else {
            let kind = head.kind.clone();
            return Ok(payment::item(body, head, |told| {
                told.not_mapped(&kind);
                Ok(())
            }));
        };
        let names = event.names_in.as_ref().unwrap_or(&self.names_in);
        let names: Vec<Cow<'_, Value>> = names
            .iter()
            .filter_map(|expression| match expression.find(root) {
                Found::Value(value) if value.is_object() => Some(value),
                _ => None,
            })
            .collect();
        let mut item = match self.kind {
            Kind::Auth => facts::of_user(body, event, head, root, &names),
            Kind::Payment | Kind::External | Kind::Own => {
                facts::of_payer(body, event, head, root, &names)
            }
        };
        for note in &mut item.notes {
            *note = event.explain(note);
        }
        if let Reading::Malformed(why) = &mut item.reading {
            *why = event.explain(why);
        }
        Ok(item)
    }
}

impl Event {
    /// A message that begins with a field of the mapping, with the place in the body that it looks at.
    fn explain(&self, message: &str) -> String {
        let found = self.sections().find_map(|section| explain(section, message));
        found.unwrap_or_else(|| message.to_owned())
    }
}

fn explained(section: &Section, Malformed(why): Malformed) -> Malformed {
    Malformed(explain(section, &why).unwrap_or(why))
}

fn explain(section: &Section, message: &str) -> Option<String> {
    let (place, why) = message.split_once(": ")?;
    let field = place.strip_prefix(section.name)?.strip_prefix('.')?;
    let looks_at = section.looks_at(field.split('.').next()?)?;
    Some(format!("{place} (`{looks_at}`): {why}"))
}
