//! The simulated world: a clock, the senders, and the books. Scenarios act in it; each act happens, is
//! written into the books, and is told by the sender that would tell it.

use super::{
    Sender, Senders,
    ledger::{Field, Ledger, Level, NameId},
    people::{Contact, Human},
    random::Random,
};
use crate::model::{money::Currency, reference::Kind, time::Timestamp};
use bytes::Bytes;
use chrono::TimeDelta;
use serde_json::{Map, Value, json};
use std::{ops::RangeInclusive, sync::Arc};

/// Something that a sender tells: one event with its one body.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) at: Timestamp,
    pub(super) source: Arc<str>,
    pub(super) event_id: String,
    pub(super) body: Bytes,
}

/// Money of one currency, in minor units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Price {
    pub(super) minor: i64,
    pub(super) currency: Currency,
}

/// See the module.
#[derive(Debug)]
pub(super) struct World {
    pub(super) random: Random,
    pub(super) now: Timestamp,
    pub(super) ledger: Ledger,
    pub(super) senders: Senders,
    /// Whether the objects are of live mode.
    pub(super) live: bool,
    pub(super) told: Vec<Told>,
}

/// The currencies: two with two decimals, one with none, one with three.
const CURRENCIES: [&str; 4] = ["USD", "EUR", "JPY", "KWD"];

impl World {
    /// Lets whole seconds pass: what follows is in a later second than what was before, and early enough
    /// in it for several more acts.
    pub(super) fn wait(&mut self, seconds: RangeInclusive<i64>) {
        let second = self.now.seconds() + self.random.range(seconds).max(1);
        let millis = self.random.range(1..=400);
        self.now = at_second(second).plus(TimeDelta::milliseconds(millis));
    }

    /// Lets a few milliseconds pass, and stays in the second.
    pub(super) fn instant(&mut self) {
        let millis = self.random.range(1..=12);
        self.now = self.now.plus(TimeDelta::milliseconds(millis));
    }

    /// Lets a little time pass: often so little that the second is the same.
    pub(super) fn moment(&mut self) {
        if self.random.chance(60) {
            self.instant();
        } else {
            self.wait(1..=3);
        }
    }

    pub(super) fn minutes(&mut self, minutes: RangeInclusive<i64>) {
        self.wait(minutes.start() * 60..=minutes.end() * 60);
    }

    pub(super) fn hours(&mut self, hours: RangeInclusive<i64>) {
        self.minutes(hours.start() * 60..=hours.end() * 60);
    }

    pub(super) fn days(&mut self, days: RangeInclusive<i64>) {
        self.hours(days.start() * 24..=days.end() * 24);
    }

    /// The second that it is: what Stripe's times can say.
    pub(super) fn second(&self) -> i64 {
        self.now.seconds()
    }

    /// An id of a provider's make.
    pub(super) fn id(&mut self, prefix: &str, length: usize) -> String {
        format!("{prefix}_{}", self.random.text(length))
    }

    pub(super) fn currency(&mut self) -> Currency {
        let code = self.random.pick(&CURRENCIES);
        currency(if code.is_empty() { "USD" } else { code })
    }

    /// An amount as shops ask for it: in some currency, more than nothing.
    pub(super) fn price(&mut self) -> Price {
        let currency = self.currency();
        self.price_in(currency)
    }

    /// An amount of a currency. Of three-decimal ones Stripe takes only multiples of ten.
    pub(super) fn price_in(&mut self, currency: Currency) -> Price {
        let minor = match currency.exponent() {
            0 => self.random.range(100..=60_000),
            3 => self.random.range(100..=30_000) * 10,
            _ => self.random.range(100..=80_000),
        };
        Price { minor, currency }
    }

    /// A part of an amount, less than the whole, that its currency allows.
    pub(super) fn part(&mut self, price: Price) -> i64 {
        let unit = if price.currency.exponent() == 3 { 10 } else { 1 };
        self.random.range(1..=(price.minor / unit - 1).max(1)) * unit
    }

    pub(super) fn external(&mut self, external_id: &str) -> NameId {
        self.ledger.external(external_id)
    }

    pub(super) fn stripe_name(&mut self, customer: &str) -> NameId {
        let namespace = Arc::clone(&self.senders.stripe.namespace);
        self.ledger.name(Kind::Payment, &namespace, customer)
    }

    pub(super) fn clerk_name(&mut self, uid: &str) -> NameId {
        let namespace = Arc::clone(&self.senders.clerk.namespace);
        self.ledger.name(Kind::Auth, &namespace, uid)
    }

    /// A party has a contact on file from now on; what it has not, it says nothing of.
    pub(super) fn on_file(&mut self, name: NameId, level: Level, at: Timestamp, contact: &Contact) {
        let fields = [
            (Field::Name, &contact.name),
            (Field::Email, &contact.email),
            (Field::Phone, &contact.phone),
        ];
        for (field, value) in fields {
            if let Some(value) = value {
                self.ledger.says(name, level, field, at, Some(value));
            }
        }
    }

    pub(super) fn human(&mut self) -> Human {
        self.random.human()
    }

    /// Stripe tells something: one envelope, times in whole seconds, the object as it stands.
    pub(super) fn stripe_tells(
        &mut self,
        modern: bool,
        kind: &str,
        object: Value,
        previous: Option<Value>,
    ) {
        let event_id = format!("evt_{}{}", if modern { 1 } else { 3 }, self.random.text(23));
        let request = self.random.chance(70).then(|| format!("req_{}", self.random.text(14)));
        let mut data = Map::from_iter([("object".to_owned(), object)]);
        if let Some(previous) = previous {
            data.insert("previous_attributes".to_owned(), previous);
        }
        let body = json!({
            "id": event_id,
            "object": "event",
            "api_version": if modern { "2025-03-31.basil" } else { "2020-08-27" },
            "created": self.second(),
            "data": data,
            "livemode": self.live,
            "pending_webhooks": self.random.range(1..=3),
            "request": { "id": request, "idempotency_key": null },
            "type": kind,
        });
        let bytes = serde_json::to_vec_pretty(&body).unwrap_or_default();
        let sender = self.senders.stripe.clone();
        self.tell(&sender, event_id, bytes);
    }

    /// Clerk tells something: the event's id is in the header alone, times in milliseconds.
    pub(super) fn clerk_tells(&mut self, kind: &str, data: &Value) {
        let event_id = format!("msg_{}", self.random.text(27));
        let body = json!({
            "data": data,
            "event_attributes": {
                "http_request": { "client_ip": "192.0.2.1", "user_agent": "Mozilla/5.0" }
            },
            "instance_id": "ins_2h5simulated",
            "object": "event",
            "timestamp": millis(self.now),
            "type": kind,
        });
        let sender = self.senders.clerk.clone();
        self.tell(&sender, event_id, serde_json::to_vec(&body).unwrap_or_default());
    }

    /// The team's own application tells something in the canonical format.
    pub(super) fn app_tells(&mut self, kind: &str, data: &Value) {
        let event_id = format!("app-{}", self.random.text(20));
        let body = json!({
            "id": event_id,
            "type": kind,
            "occurred_at": self.now.to_millis_text(),
            "data": data,
        });
        let sender = self.senders.app.clone();
        self.tell(&sender, event_id, serde_json::to_vec(&body).unwrap_or_default());
    }

    fn tell(&mut self, sender: &Sender, event_id: String, body: Vec<u8>) {
        let source = Arc::clone(&sender.name);
        self.told.push(Told { at: self.now, source, event_id, body: body.into() });
    }

    /// Acts in the other mode (test beside live, or live beside test). None of it is part of this
    /// environment: the books that it is written into are thrown away.
    pub(super) fn in_the_other_mode(&mut self, act: impl FnOnce(&mut Self)) {
        let books = std::mem::take(&mut self.ledger);
        self.live = !self.live;
        act(self);
        self.live = !self.live;
        self.ledger = books;
    }
}

/// A whole second as a time.
pub(super) fn at_second(second: i64) -> Timestamp {
    Timestamp::from_seconds(second).unwrap_or_default()
}

/// Milliseconds since the epoch: what Clerk's times can say.
pub(super) fn millis(at: Timestamp) -> i64 {
    at.micros().div_euclid(1_000)
}

/// A currency by its code.
pub(super) fn currency(code: &str) -> Currency {
    #[expect(clippy::expect_used, reason = "only codes of this module are given")]
    code.parse().expect("a currency code")
}
