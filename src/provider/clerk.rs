//! Clerk: `user.*` events, sent by Svix (clerk.com/docs/guides/development/webhooks/overview).
//!
//! A body has no event id: it is the `svix-id` header. A user's version is `data.updated_at`.

use super::{
    About, Body, Item, Malformed, Provider,
    read::{Object, Said},
    user::{self, Change, Envelope, Profile, Words},
};
use crate::model::{
    authority::Authority,
    contact::{self, Email},
    reference::Kind,
};

pub(crate) const PROVIDER: Provider = Provider {
    name: "clerk",
    authority: Authority::AUTH,
    kind: Kind::Auth,
    scheme: Some(crate::verify::presets::SVIX),
    places: &[user::external_id("external_id")],
    about: About {
        id: "header `svix-id`",
        time: "`data.updated_at`, of a deletion `timestamp`",
        types: &[
            (
                "user.created, user.updated",
                "name, address and phone number of the UID, and under whose external_id it hangs",
            ),
            ("user.deleted", "a deletion of the UID"),
        ],
        setup: "Configure, Webhooks: an endpoint for the three user events. The secret is its signing secret (`whsec_…`).",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let kind = root.need("type", root.text("type")?)?;
    let mut envelope = Envelope::new(body, body.header_id, kind);
    envelope.at = root.millis("timestamp")?;
    let change = match kind {
        "user.created" => Change::Created,
        "user.updated" => Change::Updated,
        "user.deleted" => Change::Deleted,
        _ => return Ok(envelope.not_mapped()),
    };
    let data = root.need("data", root.child_at("data", "data")?)?;
    if change != Change::Deleted {
        envelope.at = data.millis("updated_at")?.or(envelope.at);
    }
    Ok(envelope.told(change, user::uid(&data, "id"), |words| profile(&data, words)))
}

fn profile(data: &Object<'_>, words: &mut Words<'_>) -> Result<Profile, Malformed> {
    Ok(Profile {
        name: words.name(data, &["first_name", "last_name"]),
        email: email(data, words)?,
        phone: phone(data, words)?,
        anonymous: Said::Nothing,
        external_id: words.external_id(data),
    })
}

/// The entry of a list that is the primary one; null where there is none, nothing where the body does not tell.
fn primary<'a>(
    data: &Object<'a>,
    list: &str,
    primary: &str,
) -> Result<Said<Object<'a>>, Malformed> {
    let Some(id) = data.text(primary)? else {
        return Ok(if data.has(primary) { Said::Null } else { Said::Nothing });
    };
    let entries = data.objects(list)?;
    let found = entries.into_iter().find(|entry| entry.id("id").ok().flatten() == Some(id));
    Ok(found.map_or(Said::Nothing, Said::Value))
}

/// The primary address, with Clerk's word on whether its owner proved it.
fn email(data: &Object<'_>, words: &mut Words<'_>) -> Result<Said<Email>, Malformed> {
    let entry = match primary(data, "email_addresses", "primary_email_address_id")? {
        Said::Nothing => return Ok(Said::Nothing),
        Said::Null => return Ok(Said::Null),
        Said::Value(entry) => entry,
    };
    let status = entry.path("verification.status").and_then(|word| word.as_str());
    let address = entry.need("email_address", entry.text("email_address")?)?;
    let email = Email::parse(address, status == Some("verified"));
    Ok(words.hold(data, "email_addresses", email))
}

fn phone(data: &Object<'_>, words: &mut Words<'_>) -> Result<Said<String>, Malformed> {
    let entry = match primary(data, "phone_numbers", "primary_phone_number_id")? {
        Said::Nothing => return Ok(Said::Nothing),
        Said::Null => return Ok(Said::Null),
        Said::Value(entry) => entry,
    };
    let number = entry.need("phone_number", entry.text("phone_number")?)?;
    Ok(words.hold(data, "phone_numbers", contact::phone(number)))
}
