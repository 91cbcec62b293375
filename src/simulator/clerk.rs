//! A simulated Clerk instance: users who sign up, change and leave (clerk.com/docs, webhook payloads).

use super::{
    ledger::{Field, Level, NameId, Reach},
    people::Human,
    world::{World, millis},
};
use serde_json::{Value, json};

/// One user.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) id: String,
    pub(super) name: NameId,
    pub(super) human: Human,
    pub(super) external_id: Option<String>,
    created: i64,
    email_id: String,
    /// An address that is on file and not the primary one.
    second_email: Option<String>,
    phone_id: String,
}

impl World {
    /// Somebody signs up.
    pub(super) fn sign_up(&mut self, human: Human, external_id: Option<&str>) -> User {
        let id = self.id("user", 27);
        let second_email = self.random.chance(30).then(|| self.random.email("other"));
        let user = User {
            name: self.clerk_name(&id),
            id,
            human,
            external_id: external_id.map(ToOwned::to_owned),
            created: millis(self.now),
            email_id: self.id("idn", 27),
            second_email,
            phone_id: self.id("idn", 27),
        };
        self.tell_user("user.created", &user);
        user
    }

    /// A user's account changes: the whole of it is told, as it is from now on.
    pub(super) fn change_user(&mut self, user: &mut User, change: impl FnOnce(&mut User)) {
        change(user);
        self.tell_user("user.updated", user);
    }

    /// A user's account is deleted: all of the person goes with it, unless another sign-in is left.
    pub(super) fn delete_user(&mut self, user: &User) {
        self.ledger.delete(user.name, Reach::Auto);
        let data = json!({ "deleted": true, "id": user.id, "object": "user" });
        self.clerk_tells("user.deleted", &data);
    }

    fn tell_user(&mut self, kind: &str, user: &User) {
        let full_name = user.human.full_name();
        let words = [
            (Field::Name, Some(full_name.as_str())),
            (Field::Email, Some(user.human.email.as_str())),
            (Field::Phone, user.human.phone.as_deref()),
        ];
        for (field, value) in words {
            self.ledger.says(user.name, Level::Auth, field, self.now, value);
        }
        if let Some(external_id) = &user.external_id {
            let above = self.external(external_id);
            // An undeleted sign-in that names a deleted user id brings it back (semantics 4).
            if !self.ledger.is_gone(user.name) {
                self.ledger.reopen(above);
            }
            self.ledger.hang(user.name, Some(above), Level::Auth);
        }
        let data = self.user_object(user);
        self.clerk_tells(kind, &data);
    }

    fn user_object(&self, user: &User) -> Value {
        let address = |id: &str, address: &str| {
            json!({
                "email_address": address,
                "id": id,
                "linked_to": [],
                "object": "email_address",
                "reserved": false,
                "verification": { "attempts": 1, "expire_at": null, "status": "verified", "strategy": "email_code" },
            })
        };
        let mut emails = vec![address(&user.email_id, &user.human.email)];
        if let Some(second) = &user.second_email {
            emails.insert(0, address(&format!("{}2", user.email_id), second));
        }
        let phones: Vec<_> = user.human.phone.iter().map(|number| {
            json!({
                "default_second_factor": false,
                "id": user.phone_id,
                "linked_to": [],
                "object": "phone_number",
                "phone_number": number,
                "reserved_for_second_factor": false,
                "verification": { "attempts": 1, "expire_at": null, "status": "verified", "strategy": "phone_code" },
            })
        }).collect();
        json!({
            "backup_code_enabled": false,
            "banned": false,
            "created_at": user.created,
            "email_addresses": emails,
            "external_accounts": [],
            "external_id": user.external_id,
            "first_name": user.human.first,
            "has_image": false,
            "id": user.id,
            "image_url": "https://img.clerk.com/simulated",
            "last_name": user.human.last,
            "last_sign_in_at": null,
            "locked": false,
            "object": "user",
            "password_enabled": true,
            "phone_numbers": phones,
            "primary_email_address_id": user.email_id,
            "primary_phone_number_id": user.human.phone.as_ref().map(|_| &user.phone_id),
            "primary_web3_wallet_id": null,
            "private_metadata": {},
            "public_metadata": {},
            "two_factor_enabled": false,
            "unsafe_metadata": {},
            "updated_at": millis(self.now),
            "username": null,
            "web3_wallets": [],
        })
    }
}
