//! WorkOS AuthKit: `user.*` events (workos.com/docs/events/user).
//!
//! A user's version is `data.updated_at`; a deletion carries the last one before it, so there the event's own time
//! holds. Only a server can set `external_id`.

use super::{
    About, Body, Item, Malformed, Provider,
    read::{Object, Said},
    user::{self, Change, Envelope, Profile, Words},
};
use crate::model::{authority::Authority, reference::Kind};

pub(crate) const PROVIDER: Provider = Provider {
    name: "workos",
    authority: Authority::AUTH,
    kind: Kind::Auth,
    scheme: Some(crate::verify::presets::WORKOS),
    places: &[user::external_id("external_id")],
    about: About {
        id: "`id`",
        time: "`data.updated_at`, of a deletion `created_at`",
        types: &[
            (
                "user.created, user.updated",
                "name, address and phone number of the UID, and under whose external_id it hangs",
            ),
            ("user.deleted", "a deletion of the UID"),
        ],
        setup: "Webhooks: an endpoint for the three user events. The secret is its signing secret.",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let kind = root.need("event", root.text("event")?)?;
    let mut envelope = Envelope::new(body, Some(user::uid(&root, "id")?), kind);
    envelope.at = root.time("created_at")?;
    let change = match kind {
        "user.created" => Change::Created,
        "user.updated" => Change::Updated,
        "user.deleted" => Change::Deleted,
        _ => return Ok(envelope.not_mapped()),
    };
    let data = root.need("data", root.child_at("data", "data")?)?;
    if change != Change::Deleted {
        envelope.at = data.time("updated_at")?.or(envelope.at);
    }
    Ok(envelope.told(change, user::uid(&data, "id"), |words| Ok(profile(&data, words))))
}

fn profile(data: &Object<'_>, words: &mut Words<'_>) -> Profile {
    let verified = words.says_yes(data, "email_verified");
    Profile {
        name: words.name(data, &["first_name", "last_name"]).or(|| words.name(data, &["name"])),
        email: words.email(data, "email", verified),
        phone: Said::Nothing,
        anonymous: Said::Nothing,
        external_id: words.external_id(data),
    }
}
