//! Kinde: `user.*` events (docs.kinde.com/integrate/webhooks/about-webhooks).
//!
//! The body is a token signed by Kinde's RSA key, and the event is its payload. A user's own tokens are signed by the
//! same keys: they name a subject, and no event does.

use super::{
    About, Body, Item, Malformed, Provider,
    read::{Object, Said},
    user::{self, Change, Envelope, Profile, Words},
};
use crate::model::{authority::Authority, reference::Kind};

pub(crate) const PROVIDER: Provider = Provider {
    name: "kinde",
    authority: Authority::AUTH,
    kind: Kind::Auth,
    scheme: Some(crate::verify::presets::KINDE),
    places: &[],
    about: About {
        id: "`event_id`",
        time: "`event_timestamp`",
        types: &[
            (
                "user.created, user.updated",
                "name, address and phone number of the UID, and under whose external_id it hangs",
            ),
            ("user.deleted", "a deletion of the UID"),
        ],
        setup: "Settings, Webhooks. The secret is the content of `https://YOUR.kinde.com/.well-known/jwks`: renew it when Kinde rotates its keys.",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    if root.has("sub") {
        return Err(root.wrong("sub", "is there: this is a user's token, not an event"));
    }
    let kind = root.need("type", root.text("type")?)?;
    let mut envelope = Envelope::new(body, Some(user::uid(&root, "event_id")?), kind);
    envelope.at = root.time("event_timestamp")?.or(root.time("timestamp")?);
    let change = match kind {
        "user.created" => Change::Created,
        "user.updated" => Change::Updated,
        "user.deleted" => Change::Deleted,
        _ => return Ok(envelope.not_mapped()),
    };
    let data = root.need("data", root.child_at("data", "data")?)?;
    let object = data.need("user", data.child_at("user", "data.user")?)?;
    let uid = user::uid(&object, "id");
    Ok(envelope.told(change, uid, |words| Ok(profile(&object, words))))
}

/// Kinde does not say whether an address is verified.
fn profile(data: &Object<'_>, words: &mut Words<'_>) -> Profile {
    Profile {
        name: words.name(data, &["first_name", "last_name"]),
        email: words.email(data, "email", false),
        phone: words.phone(data, "phone"),
        anonymous: Said::Nothing,
        external_id: words.external_id(data),
    }
}
