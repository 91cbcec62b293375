//! A simulated Stripe account: customers that use one of the two generations of its API each, and the
//! events that Stripe sends about them, in the shapes of docs.stripe.com/api.

use super::{
    ledger::{Field, Level, NameId, Reach},
    people::Contact,
    world::{World, at_second},
};
use serde_json::{Map, Value, json};

mod dispute;
mod invoice;
mod objects;
mod purchase;
mod refund;
mod session;
mod subscription;

pub(super) use invoice::Invoice;
pub(super) use purchase::{Method, Purchase};
pub(super) use refund::Form;
pub(super) use session::Paid;
pub(super) use subscription::Subscription;

/// One Stripe customer.
#[derive(Clone, Debug)]
pub(super) struct Customer {
    pub(super) id: String,
    pub(super) name: NameId,
    /// Which generation of the API its objects are rendered in: the newer of the two, or the older.
    pub(super) modern: bool,
    pub(super) contact: Contact,
    pub(super) metadata: Map<String, Value>,
    created: i64,
    pub(super) delinquent: bool,
}

/// Who pays: a Stripe customer or a guest, and perhaps the app's user that the payment names.
#[derive(Clone, Debug, Default)]
pub(super) struct Buyer {
    pub(super) customer: Option<Customer>,
    /// Put into the payment's own metadata: says where the payment hangs, claims nothing.
    pub(super) user: Option<String>,
}

impl Buyer {
    pub(super) fn of(customer: &Customer) -> Self {
        Self { customer: Some(customer.clone()), user: None }
    }
}

/// What changes on a customer, all in one update.
#[expect(clippy::option_option, reason = "unchanged, cleared and changed are three things")]
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    pub(super) name: Option<Option<String>>,
    pub(super) email: Option<Option<String>>,
    pub(super) phone: Option<Option<String>>,
    /// The metadata key and the user that it names from now on; none: the key is taken away.
    pub(super) user: Option<(&'static str, Option<String>)>,
}

impl World {
    /// A customer that Stripe has and that nobody was told of yet.
    pub(super) fn unseen_stripe_customer(&mut self, contact: Contact) -> Customer {
        let id = self.id("cus", 14);
        Customer {
            name: self.stripe_name(&id),
            id,
            modern: self.random.chance(50),
            contact,
            metadata: Map::new(),
            created: self.second(),
            delinquent: false,
        }
    }

    /// A customer is made; its metadata may name the app's user, which claims it (semantics 3).
    pub(super) fn stripe_customer(
        &mut self,
        contact: Contact,
        user: Option<(&str, &str)>,
    ) -> Customer {
        let mut customer = self.unseen_stripe_customer(contact);
        if let Some((key, external_id)) = user {
            customer.metadata.insert(key.to_owned(), json!(external_id));
            let above = self.external(external_id);
            self.ledger.hang(customer.name, Some(above), Level::Payment);
        }
        self.tell_stripe_customer_made(&customer);
        customer
    }

    /// Tells that a customer was made.
    pub(super) fn tell_stripe_customer_made(&mut self, customer: &Customer) {
        let at = at_second(self.second());
        let fields = [
            (Field::Name, &customer.contact.name),
            (Field::Email, &customer.contact.email),
            (Field::Phone, &customer.contact.phone),
        ];
        for (field, value) in fields {
            self.ledger.says(customer.name, Level::Payment, field, at, value.as_deref());
        }
        let object = self.customer_object(customer);
        self.stripe_tells(customer.modern, "customer.created", object, None);
    }

    /// A customer is changed: one `customer.updated` that says what was before.
    pub(super) fn change_stripe_customer(&mut self, customer: &mut Customer, change: Change) {
        let at = at_second(self.second());
        let mut previous = Map::new();
        let mut fields = [
            ("name", Field::Name, &mut customer.contact.name, change.name),
            ("email", Field::Email, &mut customer.contact.email, change.email),
            ("phone", Field::Phone, &mut customer.contact.phone, change.phone),
        ];
        for (word, field, current, new) in &mut fields {
            if let Some(new) = new.take() {
                self.ledger.says(customer.name, Level::Payment, *field, at, new.as_deref());
                previous.insert((*word).to_owned(), json!(std::mem::replace(*current, new)));
            }
        }
        if let Some((key, user)) = change.user {
            let above = user.as_ref().map(|user| self.external(user));
            self.ledger.hang(customer.name, above, Level::Payment);
            let before = match user {
                Some(user) => customer.metadata.insert(key.to_owned(), json!(user)),
                None => customer.metadata.remove(key),
            };
            previous.insert("metadata".to_owned(), json!({ key: before }));
        }
        let object = self.customer_object(customer);
        self.stripe_tells(customer.modern, "customer.updated", object, Some(previous.into()));
    }

    /// Something about a customer changes that is nothing to us.
    pub(super) fn flag_stripe_customer(&mut self, customer: &mut Customer) {
        let before = customer.delinquent;
        customer.delinquent = !before;
        let object = self.customer_object(customer);
        let previous = json!({ "delinquent": before });
        self.stripe_tells(customer.modern, "customer.updated", object, Some(previous));
    }

    /// A customer is deleted at Stripe: that identity alone goes, and what hung on it is nobody's.
    pub(super) fn delete_stripe_customer(&mut self, customer: &Customer) {
        self.ledger.delete(customer.name, Reach::Identity);
        self.tell_stripe_customer_deleted(customer);
    }

    /// Tells that a customer was deleted.
    pub(super) fn tell_stripe_customer_deleted(&mut self, customer: &Customer) {
        let mut object = if customer.modern {
            json!({ "id": customer.id, "object": "customer" })
        } else {
            self.customer_object(customer)
        };
        if let Some(object) = object.as_object_mut() {
            object.insert("deleted".to_owned(), json!(true));
        }
        self.stripe_tells(customer.modern, "customer.deleted", object, None);
    }
}
