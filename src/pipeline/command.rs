//! What the app asks for, through the same rules and in one transaction with its answer: looked up, locked, decided,
//! written, told, and read again.

use super::{Applied, Pipeline, lost};
use crate::{
    apply::{
        command::{About, Asking, Plan, Refusal, plan},
        decide::{self, Context, Decision},
        load::{self, Closure},
        world::World,
    },
    handover,
    model::{
        command::{Command, SOURCE},
        customer::{Customer, Person},
        id::CustomerId,
        inbound::{Headers, Verdict},
        message::{Cause, EventType, Leased},
        payment::Payment,
        stamp::EventKey,
        time::Timestamp,
    },
    store::{
        self, Tx,
        browse::{self, Found},
        idempotency::{self, Answer, Begun, Slot},
        inbox::{self, Record, Subject},
    },
};
use std::{collections::BTreeSet, sync::Arc};

pub use crate::apply::command::Refusal as Refused;

/// What a command was answered with.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// A customer as it is now, and whether it was not there before.
    Customer(Box<Customer>, bool),
    /// A customer that is gone: its ids and its figures, and nothing about the person.
    Deleted(Box<Customer>),
    /// A payment as it is now.
    Payment(Box<Payment>),
}

/// What became of a command.
#[derive(Clone, PartialEq, Debug)]
pub enum Carried {
    /// It was carried out.
    Out(Outcome),
    /// It was refused; nothing was done.
    Refused(Refusal),
    /// Its key was used before, or is in use; nothing was done.
    Known(Begun),
}

/// Under which key a command's answer is kept, and in which form.
#[derive(Clone, Copy)]
pub struct Keep<'a> {
    /// The key.
    pub slot: Slot,
    /// Makes the answer as it is kept.
    pub answer: &'a (dyn Fn(&Outcome) -> Answer + Send + Sync),
}

impl std::fmt::Debug for Keep<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keep").field("slot", &self.slot).finish_non_exhaustive()
    }
}

/// One command on its way.
struct Order<'a> {
    environment: &'a Arc<str>,
    command: &'a Command,
    keep: Option<Keep<'a>>,
    /// Of its event. An id that is made here: never the caller's.
    key: EventKey,
    /// Names a customer that has no other name.
    subject: String,
}

impl Pipeline {
    /// Carries a command out and commits it, with its answer where that is kept.
    ///
    /// # Errors
    /// When the database fails: nothing was done, or its answer was lost and may have been done.
    pub async fn carry_out(
        &self,
        environment: &Arc<str>,
        command: &Command,
        keep: Option<Keep<'_>>,
    ) -> store::Result<Carried> {
        let event_id = self.clock.new_id().simple().to_string();
        let order = Order {
            environment,
            command,
            keep,
            key: EventKey::new(SOURCE, &event_id, ""),
            subject: self.clock.new_id().to_string(),
        };
        let mut closure = Closure::new(self.sources.values().any(|source| source.match_email));
        if matches!(command, Command::Delete { .. }) {
            closure.delete();
        }
        let names = command.references();
        let ids = names.into_iter().map(|name| self.keyring.reference_id(environment, name));
        closure.mention(ids);
        let mut conflicts = 0;
        loop {
            match self.attempt(&order, &mut closure).await {
                Ok(carried) => return Ok(carried),
                Err(error) => conflicts = lost(error, conflicts).await?,
            }
        }
    }

    async fn attempt(&self, order: &Order<'_>, closure: &mut Closure) -> store::Result<Carried> {
        let mut tx = self.db.begin_by_key().await?;
        let mut handed_over = Vec::new();
        let carried = self.attempt_in(&mut tx, order, closure, &mut handed_over).await;
        if matches!(carried, Ok(Carried::Out(_))) {
            tx.commit().await?;
            self.hand_over(handed_over);
        } else {
            // The next attempt, or the caller's next request, is not to meet the locks of this one.
            tx.roll_back().await;
        }
        carried
    }

    /// Nothing of it lasts unless it is carried out.
    async fn attempt_in(
        &self,
        tx: &mut Tx,
        order: &Order<'_>,
        closure: &mut Closure,
        handed_over: &mut Vec<(Leased, handover::Slot)>,
    ) -> store::Result<Carried> {
        let now = self.clock.now();
        if let Some(keep) = order.keep {
            match idempotency::begin(tx, keep.slot, now).await? {
                Begun::New => {}
                known => return Ok(Carried::Known(known)),
            }
        }
        if let Some(refusal) = find(tx, order, closure).await? {
            return Ok(Carried::Refused(refusal));
        }
        let mut world = load::load(tx, closure, &self.keyring, now).await?;
        let asking = Asking {
            environment: order.environment,
            keyring: &self.keyring,
            now,
            key: &order.key,
            subject: &order.subject,
        };
        let plan = match plan(&world, order.command, asking) {
            Ok(plan) => plan,
            Err(refusal) => return Ok(Carried::Refused(refusal)),
        };
        let before: BTreeSet<CustomerId> = live(&world);
        let mut gone = None;
        if !plan.assertions.is_empty() {
            let decision = self.decide(&mut world, order, &plan, now);
            load::check(&world, closure)?;
            gone = last_seen(&decision, plan.about);
            let applied = self.record(tx, order, decision, plan.at, now).await?;
            *handed_over = self.write(tx, &world, applied, now).await?;
        }
        let outcome = match (plan.about, gone) {
            (About::Gone(_), Some(customer)) => Some(Outcome::Deleted(customer)),
            (about, _) => read(tx, &world, order, about, &before, now).await?,
        };
        let Some(outcome) = outcome else {
            return Ok(Carried::Refused(Refusal::NoCustomer));
        };
        if let Some(keep) = order.keep {
            idempotency::finish(tx, keep.slot, &(keep.answer)(&outcome), now).await?;
        }
        Ok(Carried::Out(outcome))
    }

    fn decide(
        &self,
        world: &mut World,
        order: &Order<'_>,
        plan: &Plan,
        now: Timestamp,
    ) -> Decision {
        let mut new_id = || self.clock.new_id();
        let mut context = Context {
            environment: order.environment,
            keyring: &self.keyring,
            now,
            new_id: &mut new_id,
        };
        decide::decide(world, &plan.assertions, &mut context)
    }

    /// Records the command in the inbox; what is to be written and told of it.
    async fn record(
        &self,
        tx: &mut Tx,
        order: &Order<'_>,
        decision: Decision,
        at: Timestamp,
        now: Timestamp,
    ) -> store::Result<Applied> {
        let inbound_id = self.clock.new_id();
        let record = Record {
            id: inbound_id,
            environment: Some(order.environment.to_string()),
            source: SOURCE.to_owned(),
            provider_event_id: Some(order.key.event_id().to_owned()),
            dedupe_key: order.key.as_str().to_owned(),
            kind: Some(order.command.kind().to_owned()),
            verdict: Verdict::Applied.as_str(),
            reason: None,
            notes: Vec::new(),
            verified: true,
            headers: Headers::default(),
            occurred_at: Some(at),
            received_at: now,
            copies: 1,
            // Commands have text keys: they always serialize.
            body: serde_json::to_vec(order.command).unwrap_or_default().into(),
        };
        inbox::record(tx, &[record], now).await?;
        if decision.closed || decision.late {
            inbox::erase_events(tx, &BTreeSet::from([inbound_id])).await?;
        }
        let subjects = decision.subjects.iter().copied();
        let subjects = subjects.map(|subject_id| Subject { subject_id, inbound_id }).collect();
        let cause = Cause {
            source: SOURCE.into(),
            event_id: order.key.event_id().to_owned(),
            verified: true,
        };
        let outgoing = self.outgoing(decision, order.environment, &cause, None, now);
        Ok(Applied { outgoing, subjects, ..Applied::default() })
    }
}

/// Adds to the closure what the ids of a command stand for; a refusal, where one stands for nothing.
async fn find(
    tx: &mut Tx,
    order: &Order<'_>,
    closure: &mut Closure,
) -> store::Result<Option<Refusal>> {
    for id in order.command.customers() {
        match store::customers::root(tx, order.environment, id).await? {
            Some(root) => closure.mention([root]),
            None => return Ok(Some(Refusal::NoCustomer)),
        }
    }
    if let Command::Link { payment, .. } = order.command {
        let keys = store::payments::keys(tx, order.environment, *payment).await?;
        if keys.is_empty() {
            return Ok(Some(Refusal::NoPayment));
        }
        for key in keys {
            closure.add_payment(order.environment, key);
        }
    }
    Ok(None)
}

fn live(world: &World) -> BTreeSet<CustomerId> {
    let live = world.customers.iter().filter(|(_, node)| node.is_live());
    live.map(|(id, _)| *id).collect()
}

/// The customer that a deletion took, without the person.
fn last_seen(decision: &Decision, about: About) -> Option<Box<Customer>> {
    let About::Gone(id) = about else { return None };
    let told = decision.changes.iter().filter(|it| it.kind == EventType::CustomerDeleted);
    let mut seen = told.filter_map(|change| change.data.customer.as_ref());
    let seen = seen.find(|customer| customer.id == id)?;
    let person = Person { is_anonymous: seen.person.is_anonymous, ..Person::default() };
    Some(Box::new(Customer { person, ..seen.clone() }))
}

/// What a command is about, as everybody sees it once it is committed.
async fn read(
    tx: &mut Tx,
    world: &World,
    order: &Order<'_>,
    about: About,
    before: &BTreeSet<CustomerId>,
    now: Timestamp,
) -> store::Result<Option<Outcome>> {
    match about {
        About::Gone(_) => Ok(None),
        About::Reference(reference) => {
            let Some(id) = world.customer_of(Some(reference)) else { return Ok(None) };
            let found = browse::customer(tx, order.environment, id, now).await?;
            let Found::Here(customer) = found else { return Ok(None) };
            Ok(Some(Outcome::Customer(Box::new(customer), !before.contains(&id))))
        }
        About::Payment(id) => {
            let payment = browse::payment(tx, order.environment, id).await?;
            Ok(payment.map(|payment| Outcome::Payment(Box::new(payment))))
        }
    }
}
