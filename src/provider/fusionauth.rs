//! FusionAuth: `user.*` events (fusionauth.io/docs/extend/events-and-webhooks).
//!
//! Most come twice, before the transaction and as `.complete` after it; both say the same. The version is the event's
//! `createInstant`.

use super::{
    About, Body, Item, Malformed, Provider,
    read::{Object, Said},
    user::{self, Change, Envelope, Profile, Words},
};
use crate::model::{authority::Authority, reference::Kind};

pub(crate) const PROVIDER: Provider = Provider {
    name: "fusionauth",
    authority: Authority::AUTH,
    kind: Kind::Auth,
    scheme: Some(crate::verify::presets::FUSIONAUTH),
    places: &[],
    about: About {
        id: "`event.id`",
        time: "`event.createInstant`",
        types: &[
            (
                "user.create*, user.update*, user.email.*, user.identity.*, user.deactivate*, user.reactivate*",
                "name, address and phone number of the UID, and under whose external_id it hangs",
            ),
            ("user.delete*", "a deletion of the UID"),
        ],
        setup: "A webhook with \"Sign events\" on; subscribe to the `.complete` types. The secret is the HMAC key's text, or the JWK of an RSA key.",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let event = root.need("event", root.child_at("event", "event")?)?;
    let kind = event.need("type", event.text("type")?)?;
    let mut envelope = Envelope::new(body, Some(user::uid(&event, "id")?), kind);
    envelope.at = event.millis("createInstant")?;
    let change = match kind.strip_suffix(".complete").unwrap_or(kind) {
        "user.create" => Change::Created,
        "user.update"
        | "user.email.update"
        | "user.email.verified"
        | "user.deactivate"
        | "user.reactivate"
        | "user.identity.update"
        | "user.identity.verified" => Change::Updated,
        "user.delete" => Change::Deleted,
        _ => return Ok(envelope.not_mapped()),
    };
    let data = event.need("user", event.child_at("user", "event.user")?)?;
    Ok(envelope.told(change, user::uid(&data, "id"), |words| profile(&data, words)))
}

fn profile(data: &Object<'_>, words: &mut Words<'_>) -> Result<Profile, Malformed> {
    let verified = verified(data, words)?;
    Ok(Profile {
        name: words.name(data, &["fullName"]).or(|| words.name(data, &["firstName", "lastName"])),
        email: words.email(data, "email", verified),
        phone: words.phone(data, "mobilePhone").or(|| words.phone(data, "phoneNumber")),
        anonymous: Said::Nothing,
        external_id: words.external_id(data),
    })
}

/// Whether the address is proved: of the newer bodies the identity of that address says it, of the older ones the
/// user, whose `verified` is about the address alone.
fn verified(data: &Object<'_>, words: &mut Words<'_>) -> Result<bool, Malformed> {
    let address = data.text("email")?;
    for identity in data.objects("identities")? {
        if identity.text("type")? == Some("email") && identity.text("value")? == address {
            return Ok(words.says_yes(&identity, "verified"));
        }
    }
    Ok(!data.has("identities") && words.says_yes(data, "verified"))
}
