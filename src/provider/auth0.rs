//! Auth0 event streams: `user.*` as CloudEvents (auth0.com/docs/customize/events).
//!
//! A log stream may come to the same source, as a list of records: it tells what was done, and not how a user is since then,
//! so that each of its records is ignored.
//!
//! At least once and in no order: the version is the CloudEvent's `time`. Only a server writes `app_metadata`;
//! `user_metadata` is the user's own and never read.

use super::{
    About, Batch, Body, Item, Malformed, Provider,
    read::{Object, Said},
    user::{self, Change, Envelope, Profile, Words},
};
use crate::model::{authority::Authority, reference::Kind};

pub(crate) const PROVIDER: Provider = Provider {
    name: "auth0",
    authority: Authority::AUTH,
    kind: Kind::Auth,
    scheme: Some(crate::verify::presets::BEARER),
    places: &[
        user::external_id("app_metadata.external_id"),
        user::external_id("app_metadata.user_id"),
    ],
    about: About {
        id: "`id`",
        time: "`time`",
        types: &[
            (
                "user.created, user.updated",
                "name, address and phone number of the UID, and under whose external_id it hangs",
            ),
            ("user.deleted", "a deletion of the UID"),
        ],
        setup: "An event stream of type webhook with the three user events, and a Bearer token of your choice: that is the secret. A log stream says what was done, not how a user is, and is ignored.",
    },
    read,
    objects: None,
    batch: Some(Batch { list: "logs", beside: &[], bare: true }),
    opens: None,
    captures_later: false,
};

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    if let Some(id) = root.id("log_id")? {
        let kind = root.path("data.type").and_then(|kind| kind.as_str()).unwrap_or("log");
        let why = "a log says what was done, not how a user is: set up an event stream";
        return Ok(Envelope::new(body, Some(id), kind).ignored(why));
    }
    let kind = root.need("type", root.text("type")?)?;
    let mut envelope = Envelope::new(body, Some(user::uid(&root, "id")?), kind);
    envelope.at = root.time("time")?;
    let change = match kind {
        "user.created" => Change::Created,
        "user.updated" => Change::Updated,
        "user.deleted" => Change::Deleted,
        _ => return Ok(envelope.not_mapped()),
    };
    if root.text("a0purpose")? == Some("test") {
        return Ok(envelope.ignored("a test event of the dashboard names no user"));
    }
    let data = root.need("data", root.child_at("data", "data")?)?;
    let object = data.need("object", data.child_at("object", "data.object")?)?;
    let uid = user::uid(&object, "user_id");
    Ok(envelope.told(change, uid, |words| Ok(profile(&object, words))))
}

fn profile(data: &Object<'_>, words: &mut Words<'_>) -> Profile {
    let verified = words.says_yes(data, "email_verified");
    Profile {
        name: words.name(data, &["name"]).or(|| words.name(data, &["given_name", "family_name"])),
        email: words.email(data, "email", verified),
        phone: words.phone(data, "phone_number"),
        anonymous: Said::Nothing,
        external_id: words.external_id(data),
    }
}
