//! A mapping as written in the settings, and its check.

use super::{
    Change, Event, Mapping,
    expression::{Expression, Wrong},
    path::Path,
    section::{
        CUSTOMER, DISPUTE, Field, Fields, HEAD, PAYMENT, REFUND, SUBSCRIPTION, Section, TIME, USER,
    },
    written::Written,
};
use crate::model::{authority::Authority, reference::Kind};
use serde::Deserialize;

/// What a source's own ids of a person are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Ids {
    /// A payment provider's customer ids.
    Payment,
    /// An auth provider's UIDs.
    Auth,
}

/// What happened to a user or customer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Happened {
    Created,
    Updated,
    Deleted,
}

/// `[sources.mapping]`: from a body to facts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    kind: Ids,
    batch: Option<BatchSettings>,
    id: Option<Written>,
    #[serde(rename = "type")]
    type_: Written,
    time: Option<Written>,
    #[serde(default)]
    ordered: bool,
    live: Option<Written>,
    names_in: Option<Vec<Written>>,
    customer: Option<Fields>,
    events: Vec<EventSettings>,
}

/// How a body holds several events.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchSettings {
    list: String,
    #[serde(default)]
    bare: bool,
}

/// `[[sources.mapping.events]]`: what events of some types say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventSettings {
    types: Vec<String>,
    when: Option<String>,
    time: Option<Written>,
    names_in: Option<Vec<Written>>,
    change: Option<Happened>,
    ignore: Option<String>,
    user: Option<Fields>,
    customer: Option<Fields>,
    payment: Option<Fields>,
    refund: Option<Part>,
    dispute: Option<Part>,
    subscription: Option<Fields>,
}

/// A refund or dispute, which an event may tell of only sometimes.
#[derive(Clone, Debug, Deserialize)]
struct Part {
    when: Option<String>,
    #[serde(flatten)]
    fields: Fields,
}

impl Settings {
    /// What its ids of a person are, and how much its word counts.
    pub fn kind(&self) -> (Kind, Authority) {
        match self.kind {
            Ids::Payment => (Kind::Payment, Authority::PAYMENT),
            Ids::Auth => (Kind::Auth, Authority::AUTH),
        }
    }

    /// The member of the body that lists its events, where it holds several, and whether a body may also be the bare list
    /// or one event by itself.
    pub fn batch(&self) -> Option<(&str, bool)> {
        self.batch.as_ref().map(|batch| (batch.list.as_str(), batch.bare))
    }

    /// # Errors
    /// Names the key below `mapping` and the place in its expression, and what is wrong there.
    pub fn compile(&self) -> Result<Mapping, Wrong> {
        let fields = [
            ("id", self.id.as_ref()),
            ("type", Some(&self.type_)),
            ("time", self.time.as_ref()),
            ("live", self.live.as_ref()),
        ];
        let said = fields
            .into_iter()
            .filter_map(|(name, field)| field.map(|field| (name.to_owned(), field.clone())));
        let head = said.collect();
        let names_in = self.names_in.as_deref().map(names).transpose()?;
        if self.customer.is_some() && self.kind == Ids::Auth {
            let why = "an auth source tells of a `user` and of nothing else";
            return Err(("customer".into(), why.into()));
        }
        let customer = match &self.customer {
            Some(fields) => Section::compile("customer", CUSTOMER, fields)
                .map(Some)
                .map_err(|wrong| below("customer", wrong))?,
            None => None,
        };
        if self.events.is_empty() {
            return Err(("events".into(), "none is given: nothing would be read".into()));
        }
        let events = self.events.iter().enumerate().map(|(index, event)| {
            event
                .compile(self, customer.as_ref())
                .map_err(|wrong| below(&format!("events[{index}]"), wrong))
        });
        Ok(Mapping {
            kind: self.kind().0,
            head: Section::compile("event", HEAD, &head)?,
            ordered: self.ordered,
            names_in: match names_in {
                Some(names) => names,
                None => names(&[Written::Path("$".into())])?,
            },
            events: events.collect::<Result<_, _>>()?,
        })
    }
}

impl EventSettings {
    fn compile(&self, mapping: &Settings, customer: Option<&Section>) -> Result<Event, Wrong> {
        self.check(mapping.kind, customer.is_some())?;
        let section = |name: &'static str, known: &'static [Field], fields: Option<&Fields>| {
            let compiled = fields.map(|fields| Section::compile(name, known, fields));
            compiled.transpose().map_err(|wrong| below(name, wrong))
        };
        let part = |name: &'static str, known: &'static [Field], part: Option<&Part>| {
            let Some(part) = part else { return Ok(None) };
            let when = condition(part.when.as_deref()).map_err(|wrong| below(name, wrong))?;
            let section = Section::compile(name, known, &part.fields);
            let section = section.map_err(|wrong| below(name, wrong))?;
            if !section.has("payment") && self.payment.is_none() {
                let why = "the key is missing: no `payment` of this event says which one it is";
                return Err((format!("{name}.payment"), why.to_owned()));
            }
            Ok(Some((when, section)))
        };
        let time = self.time.as_ref().map(|time| {
            let time = Fields::from([("time".to_owned(), time.clone())]);
            Section::compile("event", TIME, &time)
        });
        Ok(Event {
            types: self.types.clone(),
            when: condition(self.when.as_deref())?,
            time: time.transpose()?,
            names_in: self.names_in.as_deref().map(names).transpose()?,
            change: self.change.map(|happened| match happened {
                Happened::Created => Change::Created,
                Happened::Updated => Change::Updated,
                Happened::Deleted => Change::Deleted,
            }),
            ignore: self.ignore.clone(),
            user: section("user", USER, self.user.as_ref())?,
            customer: match &self.customer {
                Some(_) => section("customer", CUSTOMER, self.customer.as_ref())?,
                // An event that is only ignored tells of nobody either.
                None if self.ignore.is_none() || self.speaks() => customer.cloned(),
                None => None,
            },
            payment: section("payment", PAYMENT, self.payment.as_ref())?,
            refund: part("refund", REFUND, self.refund.as_ref())?,
            dispute: part("dispute", DISPUTE, self.dispute.as_ref())?,
            subscription: section("subscription", SUBSCRIPTION, self.subscription.as_ref())?,
        })
    }

    fn money(&self) -> bool {
        let parts = [&self.refund, &self.dispute];
        self.payment.is_some()
            || self.subscription.is_some()
            || parts.iter().any(|part| part.is_some())
    }

    fn speaks(&self) -> bool {
        self.money() || self.user.is_some() || self.customer.is_some()
    }

    fn check(&self, kind: Ids, has_customer: bool) -> Result<(), Wrong> {
        let refuse = |key: &str, why: &str| Err((key.to_owned(), why.to_owned()));
        let money = self.money();
        if self.types.is_empty() || self.types.iter().any(|name| name.matches('*').count() > 1) {
            return refuse("types", "a list of types is expected, each with at most one `*`");
        }
        if !self.speaks() && !has_customer && self.ignore.is_none() {
            return refuse("ignore", "say what the event tells of, or why it is ignored");
        }
        match kind {
            Ids::Auth if money || self.customer.is_some() => {
                return refuse("user", "an auth source tells of a `user` and of nothing else");
            }
            Ids::Auth if self.user.is_some() && self.change.is_none() => {
                return refuse("change", "the key is missing: created, updated or deleted");
            }
            Ids::Payment if self.user.is_some() => {
                return refuse("user", "a payment source tells of a `customer`, not of a `user`");
            }
            Ids::Payment | Ids::Auth => {}
        }
        if self.change.is_some() && self.user.is_none() {
            let named = self.customer.as_ref().is_some_and(|fields| fields.contains_key("id"));
            if !named || money {
                let why = "it says what happened to the `customer` itself: that alone must be there, with its `id`";
                return refuse("change", why);
            }
        }
        let money = |fields: &Fields| {
            ["amount", "captured", "refunded"].iter().any(|field| fields.contains_key(*field))
                && !fields.contains_key("currency")
        };
        if self.payment.as_ref().is_some_and(money) {
            return refuse("payment.currency", "the key is missing: an amount needs its currency");
        }
        Ok(())
    }
}

fn condition(when: Option<&str>) -> Result<Option<Path>, Wrong> {
    when.map(Path::parse).transpose().map_err(|why| ("when".to_owned(), why))
}

fn names(written: &[Written]) -> Result<Vec<Expression>, Wrong> {
    let one = |(index, written)| {
        Expression::compile(written).map_err(|wrong| below(&format!("names_in[{index}]"), wrong))
    };
    written.iter().enumerate().map(one).collect()
}

fn below(key: &str, (inner, why): Wrong) -> Wrong {
    let dot = if inner.is_empty() || inner.starts_with('[') { "" } else { "." };
    (format!("{key}{dot}{inner}"), why)
}
