//! Clerk: `user.*` events, sent by Svix (clerk.com/docs/guides/development/webhooks/overview).
//!
//! A body has no event id: it is the `svix-id` header. A user's version is `data.updated_at`.

use super::{
    Body, Item, Malformed, Provider,
    read::{Object, Said, kept, short},
};
use crate::model::{
    authority::Authority,
    contact::{self, Email},
    event::{Assertions, ClaimAssertion, Opening, Reading, ReferenceAssertion},
    reference::{Deletion, Kind, Reference},
    register::Register,
    stamp::{Stamp, rank},
};

pub(crate) const PROVIDER: Provider = Provider {
    name: "clerk",
    authority: Authority::AUTH,
    kind: Kind::Auth,
    scheme: Some(crate::verify::presets::SVIX),
    places: &[],
    read,
};

/// One user event, opened.
struct User<'a> {
    body: &'a Body<'a>,
    data: Object<'a>,
    stamp: Stamp,
    notes: Vec<String>,
}

fn read(body: &Body<'_>) -> Result<Vec<Item>, Malformed> {
    let envelope = Object::root(body.json)?;
    let kind = envelope.need("type", envelope.text("type")?)?;
    let sent_at = envelope.millis("timestamp")?;
    let mut item = Item {
        id: body.header_id.map(str::to_owned),
        hash: body.hash.to_owned(),
        kind: kind.to_owned(),
        occurred_at: sent_at,
        live: None,
        notes: Vec::new(),
        reading: Reading::Ignored(format!("the type `{}` is not mapped", short(kind))),
    };
    let rank = match kind {
        "user.created" => rank::CREATED,
        "user.updated" => rank::UPDATED,
        "user.deleted" => rank::DELETED,
        _ => return Ok(vec![item]),
    };
    let data = envelope.need("data", envelope.child_at("data", "data")?)?;
    if rank != rank::DELETED {
        item.occurred_at = data.millis("updated_at")?.or(sent_at);
    }
    let at = item.occurred_at.map_or(body.received_at, |at| body.counted(at));
    let stamp = Stamp { at, rank, key: body.key(body.header_id, body.hash) };
    let mut user = User { body, data, stamp, notes: Vec::new() };
    let reading = if rank == rank::DELETED { user.deleted() } else { user.changed() };
    item.notes = user.notes;
    item.reading = reading.map_or_else(
        |Malformed(why)| Reading::Malformed(why),
        |references| Reading::Asserts(Box::new(Assertions { references, ..Assertions::default() })),
    );
    Ok(vec![item])
}

impl User<'_> {
    fn uid(&self) -> Result<Reference, Malformed> {
        let id = self.data.need("id", self.data.id("id")?)?;
        let source = self.body.source;
        let kind = if source.subject_is_external_id { Kind::External } else { Kind::Auth };
        Reference::new(kind, &source.namespace, id).map_err(|why| self.data.wrong("id", why))
    }

    fn deleted(&mut self) -> Result<Vec<ReferenceAssertion>, Malformed> {
        let mut about = ReferenceAssertion::new(self.uid()?);
        about.facts.deletions.insert(Deletion {
            at: self.stamp.at,
            key: self.stamp.key.clone(),
            scope: self.body.source.on_delete,
            erase_payments: false,
        });
        about.facts.first = Some(self.stamp.clone());
        Ok(vec![about])
    }

    fn changed(&mut self) -> Result<Vec<ReferenceAssertion>, Malformed> {
        let uid = self.uid()?;
        let mut about = ReferenceAssertion::new(uid.clone());
        about.facts.first = Some(self.stamp.clone());
        let name = self.name();
        about.facts.profile.name = self.register("name", name);
        let email = self.email()?;
        about.facts.profile.email = self.register("email", email);
        let phone = self.phone()?;
        about.facts.profile.phone = self.register("phone", phone);
        let mut named = None;
        // Where the UID is the app's own user id, there is nothing above it.
        if !self.body.source.subject_is_external_id {
            (about.claim, named) = self.external_id(&uid)?;
        }
        Ok(std::iter::once(about).chain(named).collect())
    }

    fn register<T: Clone + PartialEq>(&self, field: &str, said: Said<T>) -> Register<Option<T>> {
        let authority = self.body.source.authority_for(field);
        said.register(|value| Register::of(authority, self.stamp.clone(), value))
    }

    /// The claim that `external_id` makes, and what it says of that id: a user event that names it opens it
    /// again after a deletion (semantics 4). An explicit null on an update clears the claim.
    fn external_id(
        &mut self,
        uid: &Reference,
    ) -> Result<(Option<ClaimAssertion>, Option<ReferenceAssertion>), Malformed> {
        let authority = self.body.source.authority_for("external_id");
        let claim = |under| ClaimAssertion { under, authority, stamp: self.stamp.clone() };
        let id = match self.data.text("external_id")? {
            Some("") | None => {
                let cleared = self.data.has("external_id") && self.stamp.rank == rank::UPDATED;
                return Ok((cleared.then(|| claim(None)), None));
            }
            Some(id) => id,
        };
        let reference = Reference::new(Kind::External, "", id)
            .map_err(|why| self.data.wrong("external_id", why))?;
        let mut named = ReferenceAssertion::new(reference.clone());
        named.facts.first = Some(self.stamp.clone());
        named.opening = Some(Opening { at: self.stamp.at, by: Some(uid.clone()) });
        Ok((Some(claim(Some(reference))), Some(named)))
    }

    /// First and last name; null where the user has neither.
    fn name(&mut self) -> Said<String> {
        if !self.data.has("first_name") && !self.data.has("last_name") {
            return Said::Nothing;
        }
        let parts: Vec<_> = ["first_name", "last_name"]
            .into_iter()
            .filter_map(|key| kept(self.data.text(key), &mut self.notes))
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .collect();
        if parts.is_empty() {
            return Said::Null;
        }
        self.hold("first_name", contact::name(&parts.join(" ")))
    }

    fn hold<T>(&mut self, key: &str, value: Result<T, &'static str>) -> Said<T> {
        match value {
            Ok(value) => Said::Value(value),
            Err(why) => {
                self.notes.push(self.data.wrong(key, why).0);
                Said::Nothing
            }
        }
    }

    /// The entry of a list that is the primary one; null where there is none, nothing where the body
    /// does not tell.
    fn primary(&self, list: &str, primary: &str) -> Result<Said<Object<'_>>, Malformed> {
        let Some(id) = self.data.text(primary)? else {
            return Ok(if self.data.has(primary) { Said::Null } else { Said::Nothing });
        };
        let entries = self.data.objects(list)?;
        let found = entries.into_iter().find(|entry| entry.id("id").ok().flatten() == Some(id));
        Ok(found.map_or(Said::Nothing, Said::Value))
    }

    /// The primary address, with Clerk's word on whether its owner proved it.
    fn email(&mut self) -> Result<Said<Email>, Malformed> {
        let (address, verified) =
            match self.primary("email_addresses", "primary_email_address_id")? {
                Said::Nothing => return Ok(Said::Nothing),
                Said::Null => return Ok(Said::Null),
                Said::Value(entry) => {
                    let status = entry.path("verification.status").and_then(|word| word.as_str());
                    let address = entry.need("email_address", entry.text("email_address")?)?;
                    (address.to_owned(), status == Some("verified"))
                }
            };
        Ok(self.hold("email_addresses", Email::parse(&address, verified)))
    }

    fn phone(&mut self) -> Result<Said<String>, Malformed> {
        let number = match self.primary("phone_numbers", "primary_phone_number_id")? {
            Said::Nothing => return Ok(Said::Nothing),
            Said::Null => return Ok(Said::Null),
            Said::Value(entry) => {
                entry.need("phone_number", entry.text("phone_number")?)?.to_owned()
            }
        };
        Ok(self.hold("phone_numbers", contact::phone(&number)))
    }
}
