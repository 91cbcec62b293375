//! The scenarios: small stories, each about people of its own. To add one: write a function and put a line
//! into the list of its file.
//!
//! Each plays in real time, from wherever the world's clock stands. A story is chosen so that the law
//! (semantics) leaves no doubt about its truth; where that needed care, the story says what was avoided.

use super::{
    app::{Patch, Whom},
    clerk::User,
    people::Human,
    random::Random,
    stripe::{Buyer, Customer, Method, Purchase},
    world::{Price, World},
};
use crate::model::reference::Kind;
use std::sync::Arc;

mod deletions;
mod disputes;
mod identities;
mod lives;
mod money;
mod noise;
mod own;
mod profiles;
mod refunds;
mod subscriptions;

/// One story.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) act: fn(&mut World),
}

/// All of them.
pub(super) fn all() -> Vec<Scenario> {
    let families = [
        deletions::ALL,
        disputes::ALL,
        identities::ALL,
        lives::ALL,
        money::ALL,
        noise::ALL,
        own::ALL,
        profiles::ALL,
        refunds::ALL,
        subscriptions::ALL,
    ];
    families.concat()
}

/// Somebody who buys: a Stripe customer, and how the app knows them.
#[derive(Clone, Debug)]
struct Shopper {
    human: Human,
    customer: Customer,
    user: Option<User>,
    external_id: Option<String>,
}

impl World {
    /// Somebody, known in any of the ways in which shops know people.
    fn shopper(&mut self) -> Shopper {
        match self.random.below(5) {
            0 => self.provisional_shopper(),
            1 => self.named_shopper(),
            2 => self.uid_shopper(),
            _ => self.signed_up_shopper(),
        }
    }

    /// A Stripe customer that nobody knows: a provisional customer.
    fn provisional_shopper(&mut self) -> Shopper {
        let human = self.human();
        let contact = human.at_a_shop(&mut self.random);
        let customer = self.stripe_customer(contact, None);
        Shopper { human, customer, user: None, external_id: None }
    }

    /// A Stripe customer whose metadata names the app's user.
    fn named_shopper(&mut self) -> Shopper {
        let human = self.human();
        let external_id = self.random.external_id();
        let customer = self.stripe_customer_of(&human, &external_id);
        Shopper { human, customer, user: None, external_id: Some(external_id) }
    }

    /// Somebody who signed up, whose user id both Clerk and Stripe name.
    fn signed_up_shopper(&mut self) -> Shopper {
        let human = self.human();
        let external_id = self.random.external_id();
        let user = self.sign_up(human.clone(), Some(&external_id));
        self.wait(1..=600);
        let customer = self.stripe_customer_of(&human, &external_id);
        Shopper { human, customer, user: Some(user), external_id: Some(external_id) }
    }

    /// Somebody whom the app knows by the auth UID alone: it links the Stripe customer to that itself.
    fn uid_shopper(&mut self) -> Shopper {
        let human = self.human();
        let user = self.sign_up(human.clone(), None);
        self.wait(1..=600);
        let contact = human.at_a_shop(&mut self.random);
        let customer = self.stripe_customer(contact, None);
        self.wait(1..=60);
        let whom = Whom::default()
            .and(Kind::Auth, &Arc::clone(&self.senders.clerk.namespace), &user.id)
            .and(Kind::Payment, &Arc::clone(&self.senders.stripe.namespace), &customer.id);
        self.record_customer(&whom, &Patch::default());
        Shopper { human, customer, user: Some(user), external_id: None }
    }

    /// A Stripe customer of a person, claimed by its metadata.
    pub(super) fn stripe_customer_of(&mut self, human: &Human, external_id: &str) -> Customer {
        let contact = human.at_a_shop(&mut self.random);
        let key = self.random.pick(&["external_id", "user_id"]);
        self.stripe_customer(contact, Some((key, external_id)))
    }

    /// One purchase by card, from its beginning to its booking.
    pub(super) fn buy(&mut self, buyer: &Buyer, price: Price) -> Purchase {
        let mut purchase = self.begin(buyer, price, Method::Card);
        self.moment();
        self.succeed(&mut purchase);
        if self.random.chance(60) {
            self.moment();
            self.settle(&mut purchase);
        }
        purchase
    }

    /// A shopper's purchase of any price.
    fn shop(&mut self, shopper: &Shopper) -> Purchase {
        let buyer = shopper.buyer(&mut self.random);
        let price = self.price();
        self.buy(&buyer, price)
    }

    /// A shopper and a purchase by card, some minutes ago.
    fn sold(&mut self) -> (Shopper, Purchase) {
        let shopper = self.shopper();
        self.minutes(1..=90);
        let purchase = self.shop(&shopper);
        self.hours(1..=40);
        (shopper, purchase)
    }
}

impl Shopper {
    /// The app puts its user's id on some of its payments too.
    fn buyer(&self, random: &mut Random) -> Buyer {
        let user = self.external_id.clone().filter(|_| random.chance(30));
        Buyer { customer: Some(self.customer.clone()), user }
    }
}
