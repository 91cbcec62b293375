//! A shop in full swing, for the load harness: known customers who buy by card, as many at a time as it takes,
//! each of them as often as the next one, or a few of them most of the time.

use super::{
    Delivery, History, Senders, Truth,
    random::Random,
    stripe::{Buyer, Customer},
    world::{Told, World, at_second, currency},
};
use crate::model::{is_live, time::Timestamp};
use chrono::TimeDelta;
use std::{collections::BTreeMap, sync::Arc};

/// What to generate. The same settings give the same traffic, byte for byte.
#[derive(Clone, Debug)]
pub struct Shop {
    /// Another seed, another traffic.
    pub seed: u64,
    /// How many customers there are before the first purchase.
    pub customers: usize,
    /// At least how many events tell of purchases: the last purchase is told to its end.
    pub events: usize,
    /// The exponent of Zipf's law, by which customers come again: 0 is all of them alike, 1 as words in a text.
    pub skew: f64,
    /// How many events happen in a second. The events of one purchase are some seconds apart: the faster it
    /// goes, the more of other purchases lies between them.
    pub per_second: u32,
    /// When the shop opens.
    pub start: Timestamp,
    /// The sources' environment.
    pub environment: Arc<str>,
    /// Who sends.
    pub senders: Senders,
}

/// What comes of it.
#[derive(Clone, Debug)]
pub struct Rush {
    /// Makes the customers.
    pub opening: Vec<Delivery>,
    /// Tells of the purchases: what is measured. In the order of real time, each once.
    pub history: History,
}

/// The customers know which money they pay with.
const CURRENCIES: [&str; 3] = ["USD", "EUR", "JPY"];

/// The events of a purchase, on average: made, paid twice over, and booked in six of ten cases.
const EVENTS_A_PURCHASE: f64 = 3.6;

/// The purchases begin so long after the shop opens, that all customers are known by then.
const OPENING: i64 = 86_400;

impl Shop {
    /// Plays it out.
    pub fn rush(&self) -> Rush {
        let mut world = World {
            random: Random::new(self.seed),
            now: self.start,
            ledger: super::ledger::Ledger::default(),
            senders: self.senders.clone(),
            live: is_live(&self.environment),
            told: Vec::new(),
        };
        let customers: Vec<Customer> = (0..self.customers).map(|_| customer(&mut world)).collect();
        let opening = std::mem::take(&mut world.told);
        let purchases = self.purchases(&mut world, &customers);
        let truth = Truth(world.ledger.snapshot());
        let mut told = std::mem::take(&mut world.told);
        told.sort_by_key(|told| told.at);
        let mut deliver = |told: &[Told]| -> Vec<Delivery> {
            told.iter().filter_map(|told| self.delivery(&mut world.random, told)).collect()
        };
        let (opening, deliveries) = (deliver(&opening), deliver(&told));
        let scenarios = BTreeMap::from([("purchase", purchases)]);
        let history = History { deliveries, truth, events: told.len(), scenarios };
        Rush { opening, history }
    }

    fn purchases(&self, world: &mut World, customers: &[Customer]) -> usize {
        let weights = weights(customers.len(), self.skew);
        let a_second = (f64::from(self.per_second) / EVENTS_A_PURCHASE).max(f64::MIN_POSITIVE);
        let mut purchases = 0_u32;
        while world.told.len() < self.events {
            let share = world.random.share() * weights.last().copied().unwrap_or_default();
            let place = weights.partition_point(|weight| *weight < share);
            let Some(customer) = customers.get(place.min(customers.len().saturating_sub(1))) else {
                break;
            };
            #[expect(clippy::cast_possible_truncation, reason = "a rush lasts some hours at most")]
            let micros = (f64::from(purchases) / a_second * 1e6) as i64;
            let opened = at_second(self.start.seconds() + OPENING);
            world.now = opened.plus(TimeDelta::microseconds(micros));
            let code = CURRENCIES.get(place % CURRENCIES.len()).copied().unwrap_or("USD");
            let price = world.price_in(currency(code));
            world.buy(&Buyer::of(customer), price);
            purchases += 1;
        }
        usize::try_from(purchases).unwrap_or(usize::MAX)
    }

    /// Received a moment after it was sent, and sent once.
    fn delivery(&self, random: &mut Random, told: &Told) -> Option<Delivery> {
        let sender = self.senders.find(&told.source)?;
        let at = told.at.plus(TimeDelta::milliseconds(random.range(100..=900)));
        Some(Delivery {
            source: Arc::clone(&told.source),
            headers: sender.sign(&told.event_id, &told.body, at),
            body: told.body.clone(),
            received_at: at,
            event_id: told.event_id.clone(),
        })
    }
}

/// Every other one is known to the app by a user id of its own.
fn customer(world: &mut World) -> Customer {
    world.instant();
    let human = world.human();
    if world.random.chance(50) {
        let external_id = world.random.external_id();
        world.stripe_customer_of(&human, &external_id)
    } else {
        let contact = human.at_a_shop(&mut world.random);
        world.stripe_customer(contact, None)
    }
}

/// The sums of the weights of the first, the first two, the first three … of some ranks by Zipf's law.
fn weights(ranks: usize, exponent: f64) -> Vec<f64> {
    let mut sum = 0.0;
    (1..=ranks)
        .map(|rank| {
            sum += f64::from(u32::try_from(rank).unwrap_or(u32::MAX)).powf(-exponent);
            sum
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::Options;
    use std::collections::HashMap;

    fn shop(skew: f64) -> Shop {
        Shop {
            seed: 1,
            customers: 200,
            events: 4_000,
            skew,
            per_second: 1_000,
            start: Options::demo().start,
            environment: "test".into(),
            senders: Senders::generated(1),
        }
    }

    /// How many purchases the busiest tenth of the customers makes, of a hundred.
    fn of_the_busiest(rush: &Rush) -> usize {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for delivery in &rush.history.deliveries {
            let body: serde_json::Value = serde_json::from_slice(&delivery.body).expect("JSON");
            if body["type"] == "payment_intent.created" {
                let customer = body["data"]["object"]["customer"].as_str().expect("a customer");
                *counts.entry(customer.to_owned()).or_default() += 1;
            }
        }
        let mut counts: Vec<usize> = counts.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts.iter().take(20).sum::<usize>() * 100 / counts.iter().sum::<usize>()
    }

    #[test]
    fn the_same_settings_give_the_same_rush_and_all_of_it_comes_in_order() {
        let (rush, again) = (shop(0.0).rush(), shop(0.0).rush());
        assert_eq!(rush.history.deliveries, again.history.deliveries);
        assert_eq!(rush.history.truth, again.history.truth);
        assert_eq!(rush.opening.len(), 200);
        assert!((4_000..4_010).contains(&rush.history.deliveries.len()));
        let last_of_opening = rush.opening.last().expect("an event").received_at;
        assert!(rush.history.deliveries.iter().all(|one| one.received_at > last_of_opening));
    }

    #[test]
    fn the_events_of_purchases_lie_between_each_other() {
        let rush = shop(0.0).rush();
        let bodies = rush.history.deliveries.iter().map(|one| &one.body);
        let kinds: Vec<bool> = bodies
            .map(|body| String::from_utf8_lossy(body).contains("payment_intent.created"))
            .collect();
        assert!(kinds.windows(3).filter(|three| three.iter().all(|made| *made)).count() > 10);
    }

    #[test]
    fn with_skew_a_few_customers_come_most_of_the_time() {
        let (even, skewed) = (of_the_busiest(&shop(0.0).rush()), of_the_busiest(&shop(1.0).rush()));
        assert!(even < 25 && skewed > 50, "{even} and {skewed}");
    }
}
