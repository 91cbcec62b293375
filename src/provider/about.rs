//! What people want to know of a provider: `customer-sync providers` prints it, and docs/events.md holds it.

use super::{On, Place, Provider, Target, custom};
use crate::{model::reference::Kind, verify::scheme::Scheme};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What a provider's own data does not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct About {
    /// Where an event's id comes from.
    pub id: &'static str,
    /// Where the time, or the version, of what it says comes from.
    pub time: &'static str,
    /// The types of events that assert something, and what: names with commas between them, a `*` for the rest.
    pub types: &'static [(&'static str, &'static str)],
    /// How to point it at us, and which of its secrets is the source's.
    pub setup: &'static str,
}

impl About {
    /// Of what stands in no list.
    pub const UNLISTED: Self = Self { id: "", time: "", types: &[], setup: "" };

    /// What an event of a type asserts, by the first of the types that it is of.
    pub fn asserts(&self, kind: &str) -> Option<&'static str> {
        let of = |types: &str| types.split(", ").any(|pattern| is_of(kind, pattern));
        self.types.iter().find(|(types, _)| of(types)).map(|(_, asserts)| *asserts)
    }
}

/// Whether a type is the pattern, or begins or ends with what its one `*` leaves.
pub(crate) fn is_of(kind: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => kind == pattern,
        Some((begin, end)) => kind.strip_prefix(begin).is_some_and(|rest| rest.ends_with(end)),
    }
}

/// One provider of the list.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name in configuration.
    pub name: &'static str,
    kind: Kind,
    proof: Option<Scheme>,
    described: bool,
    places: &'static [Place],
    about: About,
}

/// Every provider that a source can name, in the order of their names.
pub fn all() -> Vec<Row> {
    let mut rows: Vec<_> = super::ALL.iter().map(|provider| Row::of(provider)).collect();
    rows.push(Row { described: true, ..Row::of(&custom::UNDESCRIBED) });
    rows.sort_by_key(|row| row.name);
    rows
}

impl Row {
    fn of(provider: &Provider) -> Self {
        let Provider { name, kind, scheme, places, about, .. } = *provider;
        Self { name, kind, proof: scheme, described: false, places, about }
    }

    /// What its own ids of a person are.
    pub fn kind(&self) -> &'static str {
        match (self.described, self.kind) {
            (true, _) => "payment or auth",
            (_, Kind::Auth) => "auth",
            (_, Kind::Payment) => "payment",
            (_, Kind::External | Kind::Own) => "app",
        }
    }

    /// How its bodies prove whose they are.
    pub fn proof(&self) -> String {
        match &self.proof {
            _ if self.described => "as the source's `verify` says".into(),
            Some(scheme) => scheme.to_string(),
            None => "none: set `unsigned = true`".into(),
        }
    }

    /// Where its events' ids come from.
    pub fn id(&self) -> &'static str {
        self.about.id
    }

    /// Where the time of what they say comes from.
    pub fn time(&self) -> &'static str {
        self.about.time
    }

    /// Its types of events, and what they assert.
    pub fn types(&self) -> &'static [(&'static str, &'static str)] {
        self.about.types
    }

    /// How to point it at us.
    pub fn setup(&self) -> &'static str {
        self.about.setup
    }

    /// Where its bodies name the app's user, unless the source says otherwise.
    pub fn places(&self) -> String {
        let place = |place: &Place| {
            let on = if place.on == On::Customer { " of the customer" } else { "" };
            let claims = if place.claims { " (claims)" } else { "" };
            format!("`{}`{on}{claims}", place.at)
        };
        self.places.iter().map(place).collect::<Vec<_>>().join(", ")
    }

    /// All of it for programs.
    pub fn json(&self) -> Value {
        let types = |(types, asserts): &(&str, &str)| json!({"types": types.split(", ").collect::<Vec<_>>(), "asserts": asserts});
        let place = |place: &Place| {
            let target = match &place.target {
                Target::ExternalId => "external_id",
                Target::Namespace(namespace) => namespace,
            };
            let on = match place.on {
                On::Any => "any",
                On::Customer => "customer",
            };
            json!({"at": place.at, "as": target, "claims": place.claims, "on": on})
        };
        json!({
            "object": "provider",
            "name": self.name,
            "kind": self.kind(),
            "proof": self.proof(),
            "verifiable": self.described || self.proof.is_some(),
            "event_id": self.about.id,
            "time": self.about.time,
            "events": self.about.types.iter().map(types).collect::<Vec<_>>(),
            "references": self.places.iter().map(place).collect::<Vec<_>>(),
            "setup": self.about.setup,
        })
    }
}

/// The list as docs/events.md holds it.
pub fn markdown() -> String {
    let mut text = String::from(
        "| provider | proof | event id; time | types: what they assert | the app's user id |\n| --- | --- | --- | --- | --- |\n",
    );
    let rows = all();
    for row in &rows {
        let types = |(types, asserts): &(&str, &str)| {
            let names: Vec<_> = types.split(", ").map(|name| format!("`{name}`")).collect();
            format!("{}: {asserts}", names.join(", "))
        };
        let types: Vec<_> = row.about.types.iter().map(types).collect();
        let (name, proof, places) = (row.name, row.proof(), row.places());
        let About { id, time, .. } = row.about;
        let types = types.join("; ");
        let _ = writeln!(text, "| `{name}` | {proof} | {id}; {time} | {types} | {places} |");
    }
    text.push('\n');
    for row in &rows {
        let _ = writeln!(text, "- `{}`: {}", row.name, row.about.setup);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = "<!-- begin: customer-sync providers --markdown -->\n";
    const END: &str = "<!-- end -->";

    #[test]
    fn the_table_of_the_documentation_is_that_of_the_code() {
        let page = include_str!("../../docs/events.md");
        let table = page.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
        let (table, _) = table.expect("the page holds the table between its marks");
        assert!(
            table == markdown(),
            "docs/events.md is not what the code says: `just docs` writes it anew"
        );
    }

    #[test]
    fn of_each_provider_everything_is_said() {
        for row in all() {
            for said in [row.id(), row.time(), row.setup(), &row.proof()] {
                assert!(!said.is_empty() && !said.contains(['|', '\n']), "{}: {said:?}", row.name);
            }
            assert!(!row.types().is_empty(), "{}", row.name);
            for (types, asserts) in row.types() {
                assert!(!types.is_empty() && !asserts.is_empty(), "{}", row.name);
                let stars = |name: &str| name.matches('*').count() <= 1;
                assert!(types.split(", ").all(stars), "{}: {types}", row.name);
            }
        }
    }

    #[test]
    fn a_pattern_has_one_star_for_the_rest() {
        assert!(
            is_of("a.b", "a.b") && is_of("a.b", "a.*") && is_of("a.b", "*.b") && is_of("a", "*")
        );
        assert!(!is_of("a.b", "a") && !is_of("a.b", "b.*") && !is_of("aba", "ab*ba"));
    }
}
