//! Firebase Authentication and Identity Platform: the CloudEvents of `google.firebase.auth.user`, which the team's own
//! function forwards as one JSON object, signed by Standard Webhooks (github.com/googleapis/google-cloudevents).
//!
//! Firebase itself sends no webhooks, and of changes no event: a forwarder that learns of them another way sends
//! `google.firebase.auth.user.v1.updated`. The version is the CloudEvent's `time`.

use super::{
    About, Body, Item, Malformed, Provider,
    read::{Object, Said, kept},
    user::{self, Change, Envelope, Profile, Words},
};
use crate::model::{authority::Authority, reference::Kind};

pub(crate) const PROVIDER: Provider = Provider {
    name: "firebase",
    authority: Authority::AUTH,
    kind: Kind::Auth,
    scheme: Some(crate::verify::presets::STANDARD_WEBHOOKS),
    places: &[
        user::external_id("customClaims.external_id"),
        user::external_id("customClaims.user_id"),
    ],
    about: About {
        id: "`id`",
        time: "`time`",
        types: &[
            (
                "google.firebase.auth.user.v1.created, google.firebase.auth.user.v1.updated",
                "name, address and phone number of the UID, and under whose external_id it hangs",
            ),
            ("google.firebase.auth.user.v1.deleted", "a deletion of the UID"),
        ],
        setup: "Firebase sends no webhooks: let a function of your own forward each trigger's user as a CloudEvent in JSON, signed by Standard Webhooks with the secret.",
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
    let mut envelope = Envelope::new(body, Some(user::uid(&root, "id")?), kind);
    envelope.at = root.time("time")?;
    let change = match kind {
        "google.firebase.auth.user.v1.created" | "google.firebase.auth.user.v2.created" => {
            Change::Created
        }
        "google.firebase.auth.user.v1.updated" | "google.firebase.auth.user.v2.updated" => {
            Change::Updated
        }
        "google.firebase.auth.user.v1.deleted" | "google.firebase.auth.user.v2.deleted" => {
            Change::Deleted
        }
        _ => return Ok(envelope.not_mapped()),
    };
    let data = root.need("data", root.child_at("data", "data")?)?;
    Ok(envelope.told(change, user::uid(&data, "uid"), |words| Ok(profile(&data, words))))
}

fn profile(data: &Object<'_>, words: &mut Words<'_>) -> Profile {
    let verified = words.says_yes(data, "emailVerified");
    let email = words.email(data, "email", verified);
    let phone = words.phone(data, "phoneNumber");
    // Nobody vouches for the user: no provider, no address, no number.
    let anonymous = match kept(data.objects("providerData").map(Some), &mut words.notes) {
        Some(list) if data.has("providerData") => Said::Value(
            list.is_empty() && !matches!(email, Said::Value(_)) && !matches!(phone, Said::Value(_)),
        ),
        _ => Said::Nothing,
    };
    let name = words.name(data, &["displayName"]);
    Profile { name, email, phone, anonymous, external_id: words.external_id(data) }
}
