//! Descope: the audit webhook connector (docs.descope.com/connectors, "Audit Webhook").
//!
//! One body is a list of audit records, each an event of its own without an id. A record tells what was done to whom
//! and when (`action`, `userId`, `occurred` in milliseconds); which profile fields it carries is not confirmed: they
//! are read where they stand as in the user object of Descope's API.

use super::{
    About, Batch, Body, Item, Malformed, Provider,
    read::{Object, Said},
    user::{self, Change, Envelope, Profile, Words},
};
use crate::model::{authority::Authority, reference::Kind};

pub(crate) const PROVIDER: Provider = Provider {
    name: "descope",
    authority: Authority::AUTH,
    kind: Kind::Auth,
    scheme: Some(crate::verify::presets::DESCOPE),
    places: &[],
    about: About {
        id: "none: the record's hash",
        time: "`occurred`",
        types: &[
            (
                "UserCreated, UserModified, UserUpdated",
                "name, address and phone number of the UID, and under whose external_id it hangs",
            ),
            ("UserDeleted", "a deletion of the UID"),
        ],
        setup: "An audit webhook connector with an HMAC secret, which is the secret here. How it is encoded is not confirmed: hex and base64 are taken.",
    },
    read,
    objects: None,
    batch: Some(Batch { list: "events", beside: &[], bare: true }),
    opens: None,
    captures_later: false,
};

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let record = Object::root(body.json)?;
    let kind = record.need("action", record.text("action")?)?;
    let mut envelope = Envelope::new(body, None, kind);
    envelope.at = record.millis("occurred")?;
    let change = match kind {
        "UserCreated" => Change::Created,
        "UserModified" | "UserUpdated" => Change::Updated,
        "UserDeleted" => Change::Deleted,
        _ => return Ok(envelope.not_mapped()),
    };
    Ok(envelope.told(change, user::uid(&record, "userId"), |words| profile(&record, words)))
}

fn profile(record: &Object<'_>, words: &mut Words<'_>) -> Result<Profile, Malformed> {
    let data = record.object("data")?;
    let user = data.as_ref().map_or(Ok(None), |data| data.object("user"))?;
    let Some(user) = user.or(data) else {
        return Ok(Profile {
            name: Said::Nothing,
            email: Said::Nothing,
            phone: Said::Nothing,
            anonymous: Said::Nothing,
            external_id: Said::Nothing,
        });
    };
    let verified = words.says_yes(&user, "verifiedEmail");
    Ok(Profile {
        name: words.name(&user, &["name"]).or(|| words.name(&user, &["givenName", "familyName"])),
        email: words.email(&user, "email", verified),
        phone: words.phone(&user, "phone"),
        anonymous: Said::Nothing,
        external_id: words.external_id(&user),
    })
}
