//! Any sequence of calls and events, against a model in memory that knows nothing of how we do it.

use super::{Api, listen};
use crate::{
    pipeline::{assert_no_drift, raw},
    support::services::on_both,
};
use chrono::TimeDelta;
use customer_sync::model::{id::CustomerId, inbound::Raw};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How many histories, and how many steps each has.
const HISTORIES: u64 = 4;
const STEPS: u32 = 50;

/// The people of a history: so few that they meet.
const USERS: [&str; 4] = ["u0", "u1", "u2", "u3"];

/// A generator whose numbers follow from its seed (Knuth's MMIX constants).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % n
    }
}

/// A key of metadata that is said, and its value.
type Key = (&'static str, Option<i64>);

/// What is known of one of the app's users.
#[derive(Clone, Debug, Default)]
struct User {
    /// Whether somebody has named it since it was deleted, or ever.
    is_open: bool,
    /// Whether it was deleted: a payment then opens it no more.
    was_deleted: bool,
    /// The user that it went into.
    under: Option<usize>,
    /// What was said last, and when.
    name: Option<(u32, Option<String>)>,
    metadata: BTreeMap<String, (u32, Option<i64>)>,
    /// The amounts of the payments that name it and that no deletion has taken.
    payments: Vec<i64>,
}

#[derive(Clone, Debug, Default)]
struct Model {
    users: [User; 4],
    /// The amounts of payments that a deletion left without customer.
    lost: Vec<i64>,
}

/// A customer as both tell of it.
#[derive(PartialEq, Debug)]
struct Shown {
    external_id: String,
    name: Option<String>,
    metadata: BTreeMap<String, i64>,
    spent: i64,
    payments: usize,
}

impl Model {
    fn root(&self, user: usize) -> usize {
        let mut user = user;
        while let Some(next) = self.users[user].under {
            user = next;
        }
        user
    }

    fn group(&self, user: usize) -> Vec<usize> {
        let root = self.root(user);
        (0..USERS.len()).filter(|u| self.users[*u].is_open && self.root(*u) == root).collect()
    }

    fn say(
        &mut self,
        user: usize,
        step: u32,
        name: Option<&Value>,
        key: Option<(&str, Option<i64>)>,
    ) {
        let user = &mut self.users[user];
        user.is_open = true;
        if let Some(name) = name {
            user.name = Some((step, name.as_str().map(str::to_owned)));
        }
        if let Some((key, value)) = key {
            user.metadata.insert(key.to_owned(), (step, value));
        }
    }

    fn delete(&mut self, user: usize) {
        for gone in self.group(user) {
            let new = User { was_deleted: true, ..User::default() };
            let gone = std::mem::replace(&mut self.users[gone], new);
            self.lost.extend(gone.payments);
        }
    }

    fn shown(&self, user: usize) -> Option<Shown> {
        if !self.users[user].is_open {
            return None;
        }
        let group: Vec<&User> =
            self.group(user).into_iter().map(|user| &self.users[user]).collect();
        let name = group.iter().filter_map(|user| user.name.clone()).max_by_key(|(step, _)| *step);
        let mut metadata: BTreeMap<String, (u32, Option<i64>)> = BTreeMap::new();
        for (key, said) in group.iter().flat_map(|user| user.metadata.clone()) {
            let known = metadata.entry(key).or_insert(said);
            *known = said.max(*known);
        }
        let payments: Vec<i64> = group.iter().flat_map(|user| user.payments.clone()).collect();
        Some(Shown {
            external_id: USERS[self.root(user)].to_owned(),
            name: name.and_then(|(_, name)| name),
            metadata: metadata.into_iter().filter_map(|(k, (_, v))| Some((k, v?))).collect(),
            spent: payments.iter().sum(),
            payments: payments.len(),
        })
    }
}

fn seen(customer: &Value) -> Shown {
    let metadata = customer["metadata"].as_object().expect("an object").iter();
    Shown {
        external_id: customer["external_id"].as_str().expect("a text").to_owned(),
        name: customer["name"].as_str().map(str::to_owned),
        metadata: metadata.map(|(k, v)| (k.clone(), v.as_i64().expect("a number"))).collect(),
        spent: customer["total_spent"].as_i64().expect("a number"),
        payments: customer["payment_count"]
            .as_u64()
            .and_then(|n| n.try_into().ok())
            .expect("a number"),
    }
}

/// One history: both sides of it.
struct History<'a> {
    api: &'a Api,
    dice: Dice,
    model: Model,
    step: u32,
    events: Vec<Raw>,
}

impl History<'_> {
    fn event(&mut self, kind: &str, data: &Value) -> Raw {
        let now = self.api.clock.now();
        let id = format!("e{}", self.step);
        let body = json!({"id": id, "type": kind, "occurred_at": now, "data": data});
        let raw = Raw { received_at: Some(now), ..raw("app", body.to_string()) };
        self.events.push(raw.clone());
        raw
    }

    async fn path(&self, user: usize) -> Option<String> {
        let path = format!("/v1/customers/lookup?external_id={}", USERS[user]);
        let answer = self.api.get(&path).await;
        (answer.status == 200)
            .then(|| format!("/v1/customers/{}", answer.json()["id"].as_str().expect("an id")))
    }

    /// A profile to be said: its body, and what it says.
    fn profile(&mut self) -> (Value, Option<Value>, Option<Key>) {
        let name = match self.dice.below(3) {
            0 => Some(json!(format!("name {}", self.step))),
            1 => Some(Value::Null),
            _ => None,
        };
        let key = (self.dice.below(2) == 0).then(|| {
            let value = (self.dice.below(3) > 0).then_some(i64::from(self.step));
            (["a", "b", "c"][self.dice.below(3)], value)
        });
        let mut body = json!({});
        if let Some(name) = &name {
            body["name"] = name.clone();
        }
        if let Some((key, value)) = key {
            body["metadata"] = json!({ key: value });
        }
        (body, name, key)
    }

    async fn act(&mut self) {
        self.api.clock.advance(TimeDelta::seconds(1));
        let user = self.dice.below(USERS.len());
        let (mut body, name, key) = self.profile();
        let was_open = self.model.users[user].is_open;
        let api = self.api;
        match self.dice.below(9) {
            0 | 1 => {
                body["external_id"] = json!(USERS[user]);
                let answer = api.post("/v1/customers/identify", &body).await;
                assert_eq!(answer.status, if was_open { 200 } else { 201 }, "{}", answer.text);
                self.model.say(user, self.step, name.as_ref(), key);
            }
            2 => {
                body["external_id"] = json!(USERS[user]);
                let answer = api.post("/v1/customers", &body).await;
                assert_eq!(answer.status, if was_open { 409 } else { 201 }, "{}", answer.text);
                if !was_open {
                    self.model.say(user, self.step, name.as_ref(), key);
                }
            }
            3 | 4 => {
                let path = self.path(user).await;
                assert_eq!(path.is_some(), was_open);
                let Some(path) = path else { return };
                assert_eq!(api.patch(&path, &body).await.status, 200);
                let root = self.model.root(user);
                self.model.say(root, self.step, name.as_ref(), key);
            }
            5 => {
                let Some(path) = self.path(user).await else { return };
                let other = self.dice.below(USERS.len());
                let Some(from) = self.path(other).await else { return };
                if path == from {
                    return;
                }
                let (root, gone) = (self.model.root(user), self.model.root(other));
                let from = from.rsplit('/').next().expect("an id");
                let asked = json!({"from": from, "keep": USERS[root]});
                let answer = api.post(&format!("{path}/merge"), &asked).await;
                assert_eq!(answer.status, 200, "{}", answer.text);
                self.model.users[gone].under = Some(root);
            }
            6 => {
                let path = self.path(user).await;
                assert_eq!(path.is_some(), was_open);
                let Some(path) = path else { return };
                assert_eq!(api.delete(&path).await.status, 200);
                assert_eq!(api.delete(&path).await.refused(404), "customer_deleted");
                self.model.delete(user);
            }
            7 => {
                let amount = i64::from(self.step) * 10;
                let payment = json!({"id": format!("p{}", self.step), "amount": amount,
                    "currency": "USD", "status": "succeeded"});
                let data = json!({"external_id": USERS[user], "payment": payment});
                let paid = self.event("payment.recorded", &data);
                api.events().process(&[paid]).await.expect("it commits");
                let user = &mut self.model.users[user];
                user.is_open |= !user.was_deleted;
                user.payments.push(amount);
            }
            _ => {
                let data = json!({"external_id": USERS[user], "customer": body});
                let said = self.event("customer.recorded", &data);
                api.events().process(&[said]).await.expect("it commits");
                self.model.say(user, self.step, name.as_ref(), key);
            }
        }
    }

    async fn compare(&self) {
        for (user, name) in USERS.iter().enumerate() {
            let path = format!("/v1/customers/lookup?external_id={name}");
            let answer = self.api.get(&path).await;
            let shown = (answer.status == 200).then(|| seen(&answer.json()));
            assert_eq!(shown, self.model.shown(user), "{name} after step {}", self.step);
        }
    }

    /// What was told of each customer: versions without a gap, and last what is so.
    async fn told(&self) {
        let mut told: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for body in self.api.bodies().await {
            if let Some(id) = body["data"]["customer"]["id"].as_str() {
                told.entry(id.to_owned()).or_default().push(body);
            }
        }
        for name in USERS {
            let path = format!("/v1/customers/lookup?external_id={name}");
            let answer = self.api.get(&path).await;
            if answer.status == 200 {
                let customer = answer.json();
                let id = customer["id"].as_str().expect("an id").to_owned();
                let last = told[&id].last().expect("it was told of");
                let mut last = last["data"]["customer"].clone();
                last["updated_at"] = customer["updated_at"].clone();
                assert_eq!(last, customer);
            }
        }
        for (id, bodies) in &told {
            id.parse::<CustomerId>().expect("an id");
            let versions: Vec<i64> =
                bodies.iter().map(|body| body["version"].as_i64().expect("a version")).collect();
            let merged = bodies.iter().any(|body| body["type"] == "customer.merged");
            // A merge goes on from the higher of two.
            let grows = versions.windows(2).all(|pair| pair[1] > pair[0]);
            let by_one = versions.windows(2).all(|pair| pair[1] == pair[0] + 1);
            assert!(grows && (by_one || merged), "{id}: {versions:?}");
        }
    }
}

#[tokio::test]
async fn any_history_of_calls_and_events_makes_what_the_model_says() {
    on_both(async |database| {
        let api = Api::start(&database).await;
        listen(&api.db).await;
        let mut seed = 7;
        let mut history = None;
        // One after the other in one database: each goes on where the one before it ended.
        for _ in 0..HISTORIES {
            seed += 1;
            let (model, step, events) = history.take().unwrap_or((Model::default(), 0, Vec::new()));
            let mut here = History { api: &api, dice: Dice(seed), model, step, events };
            for _ in 0..STEPS {
                here.step += 1;
                here.act().await;
                here.compare().await;
            }
            // Whatever comes again, in whatever order, changes nothing.
            let mut again = here.events.clone();
            again.reverse();
            here.api.events().process(&again).await.expect("it commits");
            here.compare().await;
            here.told().await;
            assert_no_drift(&api.db).await;
            history = Some((here.model, here.step, here.events));
        }
        let total = "select cast(coalesce(sum(amount), 0) as bigint) from payments
            where status = 'succeeded'";
        let (model, _, _) = history.expect("it ran");
        let of_users = model.users.iter().flat_map(|user| &user.payments);
        let all: i64 = of_users.chain(&model.lost).sum();
        assert_eq!(api.count(total).await, all, "no money is lost");
        api.stop().await;
    })
    .await;
}
