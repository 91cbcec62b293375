//! Supabase: auth hooks (supabase.com/docs/guides/auth/auth-hooks) and database webhooks of the table `auth.users`
//! (supabase.com/docs/guides/database/webhooks), which alone tell of changes and deletions.
//!
//! The two are sent and secured apart, so each is a provider of its own; both read either body. A hook's `webhook-id`
//! is new on every try: its event id is `metadata.uuid`. Its user has no times yet (they are the year 1), so that
//! `metadata.time` holds. A row's version is `updated_at`; of a deleted row none is told, and the receipt counts.

use super::{
    About, Body, Item, Malformed, Place, Provider,
    read::{Object, Said},
    user::{self, Change, Envelope, Profile, Words},
};
use crate::model::{authority::Authority, reference::Kind, time::Timestamp};
use std::borrow::Cow;

/// The auth hooks, by Standard Webhooks.
pub(crate) const HOOKS: Provider = Provider {
    name: "supabase",
    authority: Authority::AUTH,
    kind: Kind::Auth,
    scheme: Some(crate::verify::presets::SUPABASE_AUTH),
    places: PLACES,
    about: About {
        id: "`metadata.uuid`",
        time: "`metadata.time`",
        types: &[
            (
                "before-user-created, after-user-created",
                "name, address and phone number of the UID, and under whose external_id it hangs",
            ),
            (
                "auth.users.INSERT, auth.users.UPDATE",
                "name, address and phone number of the UID, and under whose external_id it hangs",
            ),
            ("auth.users.DELETE", "a deletion of the UID"),
        ],
        setup: "Authentication, Hooks: an HTTPS hook. The secret is the hook's (`v1,whsec_…`). It tells of creations alone: see `supabase-db`.",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

/// The database webhooks, by a token in `Authorization`.
pub(crate) const DATABASE: Provider = Provider {
    name: "supabase-db",
    authority: Authority::AUTH,
    kind: Kind::Auth,
    scheme: Some(crate::verify::presets::BEARER),
    places: PLACES,
    about: About {
        id: "none: the body's hash",
        time: "the row's `updated_at`, of a soft deletion `deleted_at`, of a deletion the receipt",
        types: &[
            (
                "auth.users.INSERT, auth.users.UPDATE",
                "name, address and phone number of the UID, and under whose external_id it hangs",
            ),
            ("auth.users.DELETE", "a deletion of the UID"),
            (
                "before-user-created, after-user-created",
                "name, address and phone number of the UID, and under whose external_id it hangs",
            ),
        ],
        setup: "Database, Webhooks on `auth.users` for all three events, with a header `Authorization: Bearer SECRET` of your choice. Give it the `namespace` of the source `supabase`.",
    },
    read,
    objects: None,
    batch: None,
    opens: None,
    captures_later: false,
};

/// Only a server writes the app's metadata; the user's own is theirs to write, and names nobody.
const PLACES: &[Place] = &[
    user::external_id("app_metadata.external_id"),
    user::external_id("app_metadata.user_id"),
    user::external_id("raw_app_meta_data.external_id"),
    user::external_id("raw_app_meta_data.user_id"),
];

fn read(body: &Body<'_>) -> Result<Item, Malformed> {
    let root = Object::root(body.json)?;
    let item = match root.object("metadata")? {
        Some(metadata) => hook(body, &root, &metadata)?,
        None if root.has("table") => row(body, &root)?,
        // Hooks that ask for something (a token's claims, a message to send) tell of no change.
        None if root.has("user") || root.has("user_id") => {
            Envelope::new(body, None, "hook").ignored("the hook tells of no user's creation")
        }
        None => return Err(root.wrong("metadata", "is missing")),
    };
    Ok(item)
}

fn hook<'a>(
    body: &'a Body<'a>,
    root: &Object<'a>,
    metadata: &Object<'a>,
) -> Result<Item, Malformed> {
    let kind = metadata.need("name", metadata.text("name")?)?;
    let mut envelope = Envelope::new(body, Some(user::uid(metadata, "uuid")?), kind);
    envelope.at = time(metadata, "time")?;
    if !matches!(kind, "before-user-created" | "after-user-created") {
        return Ok(envelope.not_mapped());
    }
    let data = root.need("user", root.object("user")?)?;
    Ok(envelope.told(Change::Created, user::uid(&data, "id"), |words| {
        profile(&data, "user_metadata", words)
    }))
}

fn row<'a>(body: &'a Body<'a>, root: &Object<'a>) -> Result<Item, Malformed> {
    let action = root.need("type", root.text("type")?)?;
    let table = root.need("table", root.text("table")?)?;
    let schema = root.text("schema")?.unwrap_or("public");
    let mut envelope = Envelope::new(body, None, "");
    envelope.kind = Cow::Owned(format!("{schema}.{table}.{action}"));
    if (schema, table) != ("auth", "users") {
        return Ok(envelope.ignored("only the table auth.users tells of users"));
    }
    let (mut change, key) = match action {
        "INSERT" => (Change::Created, "record"),
        "UPDATE" => (Change::Updated, "record"),
        "DELETE" => (Change::Deleted, "old_record"),
        _ => return Ok(envelope.not_mapped()),
    };
    let data = root.need(key, root.object(key)?)?;
    // A user deleted softly keeps the row.
    let deleted_at = time(&data, "deleted_at")?;
    if change == Change::Updated && deleted_at.is_some() {
        change = Change::Deleted;
        envelope.at = deleted_at;
    } else if change != Change::Deleted {
        envelope.at = time(&data, "updated_at")?.or(time(&data, "created_at")?);
    }
    Ok(envelope
        .told(change, user::uid(&data, "id"), |words| profile(&data, "raw_user_meta_data", words)))
}

/// A time that is one: a time not set yet is written as the year 1.
fn time(object: &Object<'_>, key: &str) -> Result<Option<Timestamp>, Malformed> {
    Ok(object.time(key)?.filter(|at| at.micros() > 0))
}

fn profile(data: &Object<'_>, metadata: &str, words: &mut Words<'_>) -> Result<Profile, Malformed> {
    let verified = time(data, "email_confirmed_at")?.is_some();
    let own = data.object(metadata)?;
    let name = own.map_or(Said::Nothing, |own| {
        words.name(&own, &["full_name"]).or(|| words.name(&own, &["name"]))
    });
    Ok(Profile {
        name,
        email: words.email(data, "email", verified),
        phone: words.digits(data, "phone"),
        anonymous: words.flag(data, "is_anonymous"),
        external_id: words.external_id(data),
    })
}
