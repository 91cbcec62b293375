//! Logto: `PostRegister` and the `User.*` data hooks (docs.logto.io/developers/webhooks).
//!
//! A body has no event id. The user stands in `user` or `data`; but of a change through the Management API `data` is
//! the response, which may be only a part of the user (its custom data, its profile), or nothing (a deletion): whose
//! it is, `params.userId` says. Logto says of no address that it is verified, and keeps numbers without their plus.

use super::{
    About, Body, Item, Malformed, Provider,
    read::{Object, Said},
    user::{Change, Envelope, Profile, Words},
};
use crate::model::{authority::Authority, reference::Kind};

pub(crate) const PROVIDER: Provider = Provider {
    name: "logto",
    authority: Authority::AUTH,
    kind: Kind::Auth,
    scheme: Some(crate::verify::presets::LOGTO),
    places: &[],
    about: About {
        id: "none: the body's hash",
        time: "the user's `updatedAt`, of a deletion `createdAt`",
        types: &[
            (
                "PostRegister, User.Created, User.Data.Updated",
                "name, address and phone number of the UID, and under whose external_id it hangs",
            ),
            ("User.Deleted", "a deletion of the UID"),
        ],
        setup: "Webhooks: those types. The secret is the signing key.",
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
    let mut envelope = Envelope::new(body, None, kind);
    envelope.at = root.time("createdAt")?;
    let (change, key) = match kind {
        "PostRegister" => (Change::Created, "user"),
        "User.Created" => (Change::Created, "data"),
        "User.Data.Updated" => (Change::Updated, "data"),
        "User.Deleted" => (Change::Deleted, "data"),
        _ => return Ok(envelope.not_mapped()),
    };
    let data = root.object(key)?;
    let params = root.object("params")?;
    let named = params.as_ref().map_or(Ok(None), |params| params.id("userId"))?;
    let own = data.as_ref().and_then(|data| data.id("id").ok().flatten());
    // Custom data may hold an `id` of its own: it is the user only where it is the user that was changed.
    let whole = own.is_some() && (named.is_none() || named == own);
    let Some(uid) = named.or(own) else {
        let test = root.path("data.result").and_then(|result| result.as_str()) == Some("success");
        return Ok(if test {
            envelope.ignored("a test payload of the console names no user")
        } else {
            envelope
                .told(change, Err(root.wrong(&format!("{key}.id"), "is missing")), |_| nothing())
        });
    };
    match data {
        _ if change == Change::Deleted => Ok(envelope.told(change, Ok(uid), |_| nothing())),
        Some(data) if whole => {
            envelope.at = data.millis("updatedAt")?.or(envelope.at);
            Ok(envelope.told(change, Ok(uid), |words| Ok(profile(&data, words))))
        }
        _ => Ok(envelope.ignored("the body holds a part of the user, not the user")),
    }
}

/// The profile of a user of whom nothing is read.
fn nothing() -> Result<Profile, Malformed> {
    Err(Malformed("data: is missing".into()))
}

fn profile(data: &Object<'_>, words: &mut Words<'_>) -> Profile {
    Profile {
        name: words.name(data, &["name"]),
        email: words.email(data, "primaryEmail", false),
        phone: words.digits(data, "primaryPhone"),
        anonymous: Said::Nothing,
        external_id: words.external_id(data),
    }
}
