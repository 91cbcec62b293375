//! Stytch, Consumer and B2B: events of users and members, sent by Svix (stytch.com/docs/guides/webhooks).
//!
//! What happened is in three parts, `source`, `object_type` and `action`; a deletion has no object. The version is
//! the event's `timestamp`, its mode the prefix of `project_id`.

use super::{
    About, Body, Item, Malformed, Provider,
    read::{Object, Said},
    user::{self, Change, Envelope, Profile, Words},
};
use crate::model::{authority::Authority, reference::Kind};
use std::borrow::Cow;

pub(crate) const PROVIDER: Provider = Provider {
    name: "stytch",
    authority: Authority::AUTH,
    kind: Kind::Auth,
    scheme: Some(crate::verify::presets::SVIX),
    places: &[user::external_id("external_id")],
    about: About {
        id: "`event_id`",
        time: "`timestamp`",
        types: &[
            (
                "*.user.create, *.user.update, *.member.create, *.member.update",
                "name, address and phone number of the UID, and under whose external_id it hangs",
            ),
            ("*.user.delete, *.member.delete", "a deletion of the UID"),
        ],
        setup: "A webhook for users (B2B: members). The secret is its signing secret.",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let object_type = root.need("object_type", root.text("object_type")?)?;
    let action = root.need("action", root.text("action")?)?;
    let source = root.text("source")?.unwrap_or_default();
    let mut envelope = Envelope::new(body, Some(user::uid(&root, "event_id")?), "");
    envelope.kind = Cow::Owned(format!("{source}.{object_type}.{action}").to_lowercase());
    envelope.at = root.time("timestamp")?;
    envelope.live = root.text("project_id")?.and_then(is_live);
    let change = match action {
        "CREATE" => Change::Created,
        "UPDATE" => Change::Updated,
        "DELETE" => Change::Deleted,
        _ => return Ok(envelope.not_mapped()),
    };
    if !matches!(object_type, "user" | "member") {
        return Ok(envelope.not_mapped());
    }
    Ok(envelope.told(change, user::uid(&root, "id"), |words| {
        let object = root.need(object_type, root.object(object_type)?)?;
        match object_type {
            "user" => user_profile(&object, words),
            _ => Ok(member_profile(&object, words)),
        }
    }))
}

/// The mode of a project: it is told by the prefix of its id.
fn is_live(project: &str) -> Option<bool> {
    match project {
        project if project.starts_with("project-live-") => Some(true),
        project if project.starts_with("project-test-") => Some(false),
        _ => None,
    }
}

fn user_profile(data: &Object<'_>, words: &mut Words<'_>) -> Result<Profile, Malformed> {
    let name = data.object("name")?;
    let email = preferred(data, "emails")?;
    let phone = preferred(data, "phone_numbers")?;
    Ok(Profile {
        name: name.map_or(Said::Nothing, |name| words.name(&name, &["first_name", "last_name"])),
        email: email.and_then(|entry| {
            let verified = words.says_yes(&entry, "verified");
            words.email(&entry, "email", verified)
        }),
        phone: phone.and_then(|entry| words.phone(&entry, "phone_number")),
        anonymous: Said::Nothing,
        external_id: words.external_id(data),
    })
}

fn member_profile(data: &Object<'_>, words: &mut Words<'_>) -> Profile {
    let verified = words.says_yes(data, "email_address_verified");
    Profile {
        name: words.name(data, &["name"]),
        email: words.email(data, "email_address", verified),
        phone: words.phone(data, "mfa_phone_number"),
        anonymous: Said::Nothing,
        external_id: words.external_id(data),
    }
}

/// Of a list without a primary entry the first verified one, else the first; null where the list is empty.
fn preferred<'a>(data: &Object<'a>, list: &str) -> Result<Said<Object<'a>>, Malformed> {
    if !data.has(list) {
        return Ok(Said::Nothing);
    }
    let entries = data.objects(list)?;
    let verified =
        entries.iter().find(|entry| entry.flag("verified").ok().flatten() == Some(true)).cloned();
    Ok(verified.or_else(|| entries.into_iter().next()).map_or(Said::Null, Said::Value))
}
