//! A customer's record: who it is, and what is known of the person.

use super::{Record, said_by};
use crate::{
    model::{
        authority::Authority,
        contact::{self, Email},
        event::{Assertions, ClaimAssertion, ReferenceAssertion},
        reference::{Kind, Profile, Reference},
        register::Register,
        stamp::Stamp,
        time::Timestamp,
    },
    provider::{Malformed, canonical::customer::all_tags, read::Object},
};

/// What only a customer's record has; the totals of an export follow from its payments and are left.
pub(super) const FIELDS: &[&str] = &[
    "name",
    "email",
    "email_verified",
    "phone",
    "tags",
    "metadata",
    "is_anonymous",
    "provider_uid",
    "gateway_customer_id",
    "total_spent",
    "total_refunded",
    "total_disputed_lost",
    "net_spent",
    "primary_currency",
    "spend",
    "payment_count",
    "successful_payment_count",
    "failed_payment_count",
    "first_payment_at",
    "last_payment_at",
    "subscription_status",
    "version",
    "deleted",
];

/// What an export says of an identity besides its name.
#[derive(Clone, Copy, Default)]
struct Known {
    /// By whom and when it was put where it hangs.
    claimed: Option<(Authority, Timestamp)>,
    /// When it was first heard of.
    first_at: Option<Timestamp>,
}

impl Record<'_> {
    /// A file brings nobody back who was deleted: a list is often older than it looks.
    pub(super) fn customer(&mut self) -> Result<Assertions, Malformed> {
        let head = self.names.iter().min_by_key(|name| name.kind).cloned();
        let head = head.ok_or_else(|| {
            Malformed("it names no customer: external_id or identities must be there".into())
        })?;
        let profile = self.profile();
        let anonymous = profile.anonymous.clone();
        // An export says it of each name that it knows it of.
        let first_at = match &self.stated {
            None => Some(self.first_at()?),
            Some(_) => self.fields.time("first_at")?,
        };
        let mut references = Vec::with_capacity(self.names.len());
        for name in self.names.clone() {
            let known = self.known(&name)?;
            let mut about = ReferenceAssertion::new(name.clone());
            let since = known.first_at.or(first_at);
            about.facts.first = since.map(|at| Stamp { at, ..self.stamp.clone() });
            if name == head {
                about.facts.profile = profile.clone();
            } else {
                about.claim = Some(self.claim(&name, &head, known));
                if name.kind == Kind::Auth {
                    about.facts.profile.anonymous = anonymous.clone();
                }
            }
            references.push(about);
        }
        Ok(Assertions { references, ..Self::nothing() })
    }

    /// Who is who is the team's own word, unless an export says whose it was. What does not hang upwards only the
    /// team can have put there.
    fn claim(&self, name: &Reference, head: &Reference, known: Known) -> ClaimAssertion {
        let (authority, at) = known.claimed.unwrap_or((Authority::APP, self.stamp.at));
        let authority = if head.kind < name.kind { authority } else { Authority::APP };
        let stamp = Stamp { at, ..self.stamp.clone() };
        ClaimAssertion { under: Some(head.clone()), authority, stamp }
    }

    fn known(&self, name: &Reference) -> Result<Known, Malformed> {
        let is_it = |identity: &Object<'_>| {
            identity.text("uid").ok().flatten() == Some(&*name.subject)
                && identity.id("provider").ok().flatten() == Some(&*name.namespace)
        };
        if name.kind == Kind::External {
            return Ok(Known::default());
        }
        let Some(identity) = self.fields.objects("identities")?.into_iter().find(is_it) else {
            return Ok(Known::default());
        };
        let claimed = identity.text("claimed")?.map(|text| {
            said_by(self.body, text).ok_or_else(|| {
                identity.wrong("claimed", "is no level with an RFC 3339 time behind it")
            })
        });
        Ok(Known { claimed: claimed.transpose()?, first_at: identity.time("first_at")? })
    }

    fn profile(&mut self) -> Profile {
        let verified = self.fields.flag("email_verified").ok().flatten().unwrap_or(false);
        let mut profile = Profile {
            name: self.text("name", contact::name),
            email: self.text("email", |text| Email::parse(text, verified)),
            phone: self.text("phone", contact::phone),
            anonymous: self.register("is_anonymous", |value| {
                value.as_bool().ok_or("is neither true nor false")
            }),
            ..Profile::default()
        };
        profile.tags = self.tags();
        let clears = match &self.stated {
            None => self.fields.get("metadata").is_some_and(serde_json::Value::is_null),
            Some(stated) => stated.contains_key("metadata"),
        };
        if let Some((authority, stamp)) = self.word("metadata").filter(|_| clears) {
            profile.metadata_cleared = Register::of(authority, stamp, ());
        }
        profile.metadata = self.metadata();
        profile
    }

    fn tags(&mut self) -> Register<Option<Vec<String>>> {
        let mut dropped = Vec::new();
        let tags = self.register("tags", |value| {
            let list = value.as_array().ok_or("is no list")?;
            all_tags(list, "tags", &mut dropped)
        });
        self.notes.extend(dropped);
        tags
    }
}
