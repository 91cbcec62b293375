//! From what the store knows to the records of an export. What reads them is `provider::record`.
//!
//! A record is the object as the API shows it, and what a reader of the file needs to know it as well as its
//! writer did: the names behind it, and of each field by whom it was set and when.

use crate::{
    model::{
        authority::Authority,
        customer::Customer,
        metadata::Scalar,
        payment::{Namings, ObjectClass, Payment, PaymentFacts, Place, Refund},
        reference::{Kind, Profile, Reference, ReferenceFacts, ReferenceId},
        register::{Assertion, Register},
        subscription::{Subscription, SubscriptionFacts},
        time::Timestamp,
    },
    store::browse::export::Member,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// `LEVEL TIME`: by whom and when something was said.
fn said(authority: Authority, at: Timestamp) -> Value {
    json!(format!("{} {at}", authority.level()))
}

fn object(shown: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(shown) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    }
}

/// The fields that something was said of.
#[derive(Default)]
struct Stated(Map<String, Value>);

impl Stated {
    fn note<T>(&mut self, field: impl Into<String>, winner: Option<&Assertion<T>>) {
        if let Some(Assertion { authority, stamp, .. }) = winner {
            self.0.insert(field.into(), said(*authority, stamp.at));
        }
    }

    fn metadata(&mut self, metadata: &BTreeMap<String, Register<Option<Scalar>>>) {
        for (key, register) in metadata {
            self.note(format!("metadata.{key}"), register.winner());
        }
    }
}

/// A customer, with the names that it goes by.
pub(super) fn customer(customer: &Customer, members: &[Member]) -> Value {
    let mut fields = object(customer);
    let external_id = customer.person.external_id.as_deref();
    let (mut identities, mut others) = (Vec::new(), Vec::new());
    for Member { reference, facts, .. } in members {
        match reference.kind {
            Kind::External if Some(&*reference.subject) == external_id => {}
            Kind::External | Kind::Own => others.push(name(reference, None)),
            Kind::Auth | Kind::Payment => identities.push(name(reference, Some(facts))),
        }
    }
    identities.sort_by_key(|identity| {
        ["provider", "uid", "kind"].map(|field| identity[field].as_str().unwrap_or("").to_owned())
    });
    // The others hang under the first one of the highest kind.
    let has_external = members.iter().any(|member| member.reference.kind == Kind::External);
    let head = identities.iter_mut().min_by_key(|identity| identity["kind"] != json!(Kind::Auth));
    if let Some(head) = head.filter(|_| !has_external).and_then(Value::as_object_mut) {
        head.remove("claimed");
    }
    fields.insert("identities".to_owned(), json!(identities));
    if !others.is_empty() {
        fields.insert("other_names".to_owned(), json!(others));
    }
    let first = members.iter().filter_map(|member| member.facts.first.as_ref()).min();
    fields.insert("first_at".to_owned(), json!(first.map(|stamp| stamp.at)));
    fields.insert("stated".to_owned(), Value::Object(profile(members).0));
    Value::Object(fields)
}

fn name(reference: &Reference, facts: Option<&ReferenceFacts>) -> Value {
    let mut fields = Map::new();
    fields.insert("provider".to_owned(), json!(reference.namespace));
    fields.insert("uid".to_owned(), json!(reference.subject));
    fields.insert("kind".to_owned(), json!(reference.kind));
    let Some(facts) = facts else { return Value::Object(fields) };
    if let Some(first) = &facts.first {
        fields.insert("first_at".to_owned(), json!(first.at));
    }
    if let Some(claim) = facts.claims.iter().rev().find(|claim| claim.parent.is_some()) {
        fields.insert("claimed".to_owned(), said(claim.authority, claim.stamp.at));
    }
    Value::Object(fields)
}

/// Of each field of the person, the word that counts.
fn profile(members: &[Member]) -> Stated {
    let mut stated = Stated::default();
    stated.note("name", winner(members, |profile| Some(&profile.name)));
    stated.note("email", winner(members, |profile| Some(&profile.email)));
    stated.note("phone", winner(members, |profile| Some(&profile.phone)));
    stated.note("tags", winner(members, |profile| Some(&profile.tags)));
    stated.note("is_anonymous", winner(members, |profile| Some(&profile.anonymous)));
    stated.note("metadata", winner(members, |profile| Some(&profile.metadata_cleared)));
    let keys: BTreeSet<&String> =
        members.iter().flat_map(|member| member.facts.profile.metadata.keys()).collect();
    for key in keys {
        let winner = winner(members, |profile| profile.metadata.get(key));
        stated.note(format!("metadata.{key}"), winner);
    }
    stated
}

fn winner<'a, T: Clone + PartialEq + 'a>(
    members: &'a [Member],
    field: impl Fn(&'a Profile) -> Option<&'a Register<T>>,
) -> Option<&'a Assertion<T>> {
    members
        .iter()
        .filter_map(|member| field(&member.facts.profile)?.winner())
        .max_by_key(|assertion| (assertion.authority, &assertion.stamp))
}

/// A payment, with the names that it hangs on.
pub(super) fn payment(
    payment: &Payment,
    facts: &PaymentFacts,
    names: &BTreeMap<ReferenceId, Reference>,
) -> Value {
    let mut fields = object(payment);
    if payment.customer_id.is_some() {
        hang(&mut fields, &facts.references, names);
    }
    let aliases = facts.names.keys().filter(|name| **name != payment.payment_id);
    fields.insert("aliases".to_owned(), json!(aliases.collect::<Vec<_>>()));
    fields.insert("own_status".to_owned(), json!(facts.status));
    let class = facts.captured.last_key_value().map(|(class, _)| match class {
        ObjectClass::Session => "session",
        ObjectClass::Invoice => "invoice",
        ObjectClass::Charge => "charge",
        ObjectClass::Intent => "intent",
    });
    fields.insert("captured_by".to_owned(), json!(class));
    fields.insert("captures".to_owned(), captures(facts));
    fields.insert("refunds".to_owned(), refunds(facts));
    if let Some(total) = facts.cumulative {
        let total =
            json!({"amount": total.money.minor, "currency": total.money.currency, "at": total.at});
        fields.insert("refund_total".to_owned(), total);
    }
    let disputes = facts.disputes.iter().filter_map(|(id, register)| {
        let Assertion { authority, stamp, value, .. } = register.winner()?;
        Some(json!({
            "id": id, "amount": value.money.minor, "currency": value.money.currency,
            "status": value.status, "said": said(*authority, stamp.at),
        }))
    });
    fields.insert("disputes".to_owned(), disputes.collect());
    let mut stated = Stated::default();
    stated.note("amount", facts.asked.winner());
    stated.note("method", facts.method.winner());
    stated.note("description", facts.description.winner());
    stated.note("failure_code", facts.failure_code.winner());
    stated.note("subscription_id", facts.subscription.winner());
    stated.metadata(&facts.metadata);
    fields.insert("stated".to_owned(), Value::Object(stated.0));
    fields.insert("first_at".to_owned(), json!(facts.first_at));
    Value::Object(fields)
}

/// The parts in which a payment was captured, of the object that told of the money.
fn captures(facts: &PaymentFacts) -> Value {
    let parts = facts.captured.values().next_back().into_iter().flat_map(BTreeMap::iter);
    let parts = parts.flat_map(|(currency, captured)| {
        let part = move |(id, amount): (&String, &i64)| {
            json!({"id": id, "amount": amount, "currency": currency})
        };
        captured.parts.iter().map(part)
    });
    parts.collect()
}

fn refunds(facts: &PaymentFacts) -> Value {
    let named =
        facts.named_refunds().map(|(id, word)| refund(Some(id), &word, facts.refunds.get(id)));
    let unnamed = facts.unnamed_refunds.values();
    let unnamed = unnamed.filter_map(|said| Some(refund(None, said.winner()?, Some(said))));
    let alone = facts.refund_statuses.iter().filter(|(id, _)| !facts.refunds.contains_key(*id));
    let alone = alone.filter_map(|(id, said)| {
        let Assertion { authority, stamp, value, .. } = said.winner()?;
        Some(json!({"id": id, "status": value, "said": self::said(*authority, stamp.at)}))
    });
    named.chain(unnamed).chain(alone).collect()
}

fn refund(id: Option<&String>, word: &Assertion<Refund>, all: Option<&Register<Refund>>) -> Value {
    let Assertion { authority, stamp, value, .. } = word;
    let made = all.into_iter().flat_map(Register::assertions);
    let made = made.map(|one| one.value.created_at.unwrap_or(one.stamp.at)).min();
    json!({
        "id": id, "amount": value.money.minor, "currency": value.money.currency,
        "status": value.status, "kind": value.kind, "created_at": made,
        "said": said(*authority, stamp.at),
    })
}

/// A subscription, with the names that it hangs on.
pub(super) fn subscription(
    subscription: &Subscription,
    facts: &SubscriptionFacts,
    names: &BTreeMap<ReferenceId, Reference>,
) -> Value {
    let mut fields = object(subscription);
    if subscription.customer_id.is_some() {
        hang(&mut fields, &facts.references, names);
    }
    fields.insert("own_status".to_owned(), json!(facts.status.value()));
    let mut stated = Stated::default();
    stated.note("status", facts.status.winner());
    stated.note("plan", facts.plan.winner());
    stated.note("current_period_end", facts.current_period_end.winner());
    stated.note("cancel_at_period_end", facts.cancel_at_period_end.winner());
    stated.note("ends_at", facts.ends_at.winner());
    fields.insert("stated".to_owned(), Value::Object(stated.0));
    fields.insert("first_at".to_owned(), json!(facts.first_at));
    Value::Object(fields)
}

/// Of each kind of name the one that was given last, and since when.
fn hang(
    fields: &mut Map<String, Value>,
    namings: &Namings,
    names: &BTreeMap<ReferenceId, Reference>,
) {
    let (mut identities, mut since) = (Vec::new(), Map::new());
    // A link by the app outweighs what the object names itself: it alone says where it hangs.
    let linked = namings.0.get(&Place::Linked);
    let counting: Vec<_> = linked.map_or_else(|| namings.0.values().collect(), |it| vec![it]);
    for named in counting {
        let known = named.iter().filter_map(|(id, naming)| Some((naming, names.get(id)?)));
        let Some((naming, last)) = known.max_by_key(|(naming, _)| &naming.last) else { continue };
        if let Ok(Value::String(kind)) = serde_json::to_value(last.kind) {
            since.insert(kind, json!(naming.first.at));
        }
        match last.kind {
            Kind::External => {
                fields.insert("external_id".to_owned(), json!(last.subject));
            }
            Kind::Auth | Kind::Payment => identities.push(name(last, None)),
            Kind::Own => {
                fields.insert("other_names".to_owned(), json!([name(last, None)]));
            }
        }
    }
    fields.insert("identities".to_owned(), json!(identities));
    fields.insert("named_at".to_owned(), Value::Object(since));
}
