//! PropelAuth: `user.*` events, sent by Svix (docs.propelauth.com, "Webhooks").
//!
//! The body is flat and has neither an event id nor a time: the id is the `svix-id` header, and everything counts from
//! the receipt. That Svix sends them, and the fields' names, are as its users' code has them, not confirmed by a page.

use super::{
    About, Body, Item, Malformed, Provider,
    read::{Object, Said},
    user::{self, Change, Envelope, Profile, Words},
};
use crate::model::{authority::Authority, reference::Kind};

pub(crate) const PROVIDER: Provider = Provider {
    name: "propelauth",
    authority: Authority::AUTH,
    kind: Kind::Auth,
    scheme: Some(crate::verify::presets::SVIX),
    places: &[],
    about: About {
        id: "header `svix-id`",
        time: "the receipt",
        types: &[
            (
                "user.created, user.updated",
                "name, address and phone number of the UID, and under whose external_id it hangs",
            ),
            ("user.deleted", "a deletion of the UID"),
        ],
        setup: "A webhook for the user events. The secret is its signing secret. That Svix sends them is not confirmed.",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let kind = root.need("event_type", root.text("event_type")?)?;
    let envelope = Envelope::new(body, body.header_id, kind);
    let change = match kind {
        "user.created" => Change::Created,
        "user.updated" => Change::Updated,
        "user.deleted" => Change::Deleted,
        _ => return Ok(envelope.not_mapped()),
    };
    let uid = user::uid(&root, "user_id");
    Ok(envelope.told(change, uid, |words| Ok(profile(&root, words))))
}

fn profile(data: &Object<'_>, words: &mut Words<'_>) -> Profile {
    let verified = words.says_yes(data, "email_confirmed");
    Profile {
        name: words.name(data, &["first_name", "last_name"]),
        email: words.email(data, "email", verified),
        phone: Said::Nothing,
        anonymous: Said::Nothing,
        external_id: words.external_id(data),
    }
}
