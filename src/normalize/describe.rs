//! An event in readable JSON: what `explain --json` prints. `docs/events.md` describes the shape.

use crate::{
    model::{
        authority::Authority,
        event::{
            Assertions, ClaimAssertion, Event, PaymentAssertion, Reading, ReferenceAssertion,
            SubscriptionAssertion,
        },
        metadata::Scalar,
        payment::{PaymentFacts, PaymentKey},
        reference::{Profile, Reference},
        register::Register,
        stamp::Stamp,
        time::Timestamp,
    },
    provider::Source,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What an event says. `provider` is the name of the source's provider.
pub fn describe(event: &Event, provider: &str) -> Value {
    let (verdict, reason, facts) = match &event.reading {
        Reading::Asserts(assertions) => ("facts", None, facts(assertions)),
        Reading::Ignored(why) => ("ignored", Some(why), Vec::new()),
        Reading::Malformed(why) => ("rejected", Some(why), Vec::new()),
    };
    json!({
        "source": event.key.source(),
        "provider": provider,
        "environment": event.environment,
        "event_id": event.provider_event_id,
        "event_key": event.key.event_id(),
        "type": event.kind,
        "occurred_at": event.occurred_at.map(Timestamp::to_millis_text),
        "received_at": event.received_at.to_millis_text(),
        "verified": event.verified,
        "verdict": verdict,
        "reason": reason,
        "notes": event.notes,
        "facts": facts,
    })
}

/// The same shape for a body that did not get so far as to be an event: a wrong signature, no JSON.
pub fn describe_rejection(
    source: &Source,
    received_at: Timestamp,
    verified: bool,
    reason: &str,
) -> Value {
    json!({
        "source": source.name,
        "provider": source.provider.name,
        "environment": source.environment,
        "event_id": null,
        "event_key": null,
        "type": null,
        "occurred_at": null,
        "received_at": received_at.to_millis_text(),
        "verified": verified,
        "verdict": "rejected",
        "reason": reason,
        "notes": [],
        "facts": [],
    })
}

/// One fact on its way: its fields, and which of them only fill an absence.
struct Fact {
    fields: Map<String, Value>,
    repeated: Vec<String>,
}

impl Fact {
    fn of(kind: &str) -> Self {
        let fields = Map::from_iter([("kind".to_owned(), Value::from(kind))]);
        Self { fields, repeated: Vec::new() }
    }

    /// A field, null where there is none.
    fn put(&mut self, name: &str, value: impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or_default();
        self.fields.insert(name.to_owned(), value);
    }

    /// A field that is left out where nothing was said of it.
    fn said<T: Clone + PartialEq + Serialize>(&mut self, name: &str, register: &Register<T>) {
        let Some(assertion) = register.assertions().first() else { return };
        self.put(name, &assertion.value);
        if is_weak(assertion.authority) {
            self.repeated.push(name.to_owned());
        }
    }

    fn said_time(&mut self, name: &str, register: &Register<Option<Timestamp>>) {
        self.said(name, register);
        let Some(assertion) = register.assertions().first() else { return };
        self.put(name, assertion.value.map(Timestamp::to_millis_text));
    }

    fn metadata(&mut self, metadata: &BTreeMap<String, Register<Option<Scalar>>>) {
        if metadata.is_empty() {
            return;
        }
        let mut values = Map::new();
        for (key, register) in metadata {
            let Some(assertion) = register.assertions().first() else { continue };
            values.insert(key.clone(), assertion.value.clone().map_or(Value::Null, Value::from));
            if is_weak(assertion.authority) {
                self.repeated.push(format!("metadata.{key}"));
            }
        }
        self.put("metadata", values);
    }

    fn references(&mut self, references: &[(Reference, Stamp)]) {
        let named: Vec<_> = references.iter().map(|(reference, _)| reference).collect();
        self.put("references", named);
    }

    fn done(mut self) -> Value {
        if !self.repeated.is_empty() {
            let repeated = std::mem::take(&mut self.repeated);
            self.put("repeated", repeated);
        }
        Value::Object(self.fields)
    }
}

/// Whether a word only fills an absence.
fn is_weak(authority: Authority) -> bool {
    [Authority::PAYMENT, Authority::AUTH, Authority::APP]
        .into_iter()
        .any(|level| level.weak() == authority)
}

fn facts(assertions: &Assertions) -> Vec<Value> {
    let mut facts = Vec::new();
    for about in &assertions.references {
        customer(about, &mut facts);
    }
    for assertion in &assertions.payments {
        payment(assertion, &mut facts);
    }
    facts.extend(assertions.subscriptions.iter().map(subscription));
    facts
}

/// What is said of one reference: who it is, under whom it hangs, that it is gone or back.
fn customer(about: &ReferenceAssertion, facts: &mut Vec<Value>) {
    let ReferenceAssertion { reference, facts: said, claim, opening } = about;
    if said.deletions.is_empty() {
        facts.push(profile(reference, &said.profile));
    }
    if let Some(ClaimAssertion { under, authority, stamp: _ }) = claim {
        let mut fact = Fact::of("claim");
        fact.put("reference", reference);
        fact.put("under", under);
        fact.put("authority", authority.name());
        if is_weak(*authority) {
            fact.repeated.push("under".into());
        }
        facts.push(fact.done());
    }
    if let Some(opening) = opening {
        let mut fact = Fact::of("opening");
        fact.put("reference", reference);
        fact.put("by", &opening.by);
        facts.push(fact.done());
    }
    for deletion in &said.deletions {
        let mut fact = Fact::of("deletion");
        fact.put("reference", reference);
        fact.put("scope", deletion.scope);
        fact.put("erase_payments", deletion.erase_payments);
        facts.push(fact.done());
    }
}

fn profile(reference: &Reference, said: &Profile) -> Value {
    let Profile { name, email, phone, tags, anonymous, metadata, metadata_cleared } = said;
    let mut fact = Fact::of("customer");
    fact.put("reference", reference);
    fact.said("name", name);
    if let Some(assertion) = email.assertions().first() {
        fact.said("email", email);
        let address = assertion.value.as_ref();
        fact.put("email", address.map(|email| &email.address));
        fact.put("email_verified", address.is_some_and(|email| email.verified));
    }
    fact.said("phone", phone);
    fact.said("tags", tags);
    fact.said("is_anonymous", anonymous);
    fact.metadata(metadata);
    if !metadata_cleared.is_empty() {
        fact.put("metadata_cleared", true);
    }
    fact.done()
}

fn ids(keys: &[PaymentKey]) -> Vec<&str> {
    keys.iter().map(|key| &*key.id).collect()
}

/// The payment itself, then each of its refunds and disputes.
fn payment(assertion: &PaymentAssertion, facts: &mut Vec<Value>) {
    let PaymentAssertion { keys, facts: said, references, match_email } = assertion;
    let ids = ids(keys);
    let provider = keys.first().map(|key| &key.namespace);
    let begun = |kind: &str| {
        let mut fact = Fact::of(kind);
        fact.put("provider", provider);
        fact
    };
    let part = |kind: &str, key: Option<&str>| {
        let mut fact = begun(kind);
        fact.put("key", key);
        fact.put("payment", ids.first());
        fact.put("keys", &ids);
        fact
    };
    if says_of_itself(said) || !references.is_empty() || !match_email.is_empty() {
        let mut fact = begun("payment");
        fact.put("key", ids.first());
        fact.put("keys", &ids);
        money(&mut fact, said);
        fact.put("status", said.status);
        fact.put("paid_at", said.paid_at.map(Timestamp::to_millis_text));
        fact.said("method", &said.method);
        fact.said("description", &said.description);
        fact.said("failure_code", &said.failure_code);
        fact.said("subscription_id", &said.subscription);
        fact.said("match_email", match_email);
        fact.metadata(&said.metadata);
        fact.references(references);
        facts.push(fact.done());
    }
    let named = said.refunds.iter().map(|(id, refund)| (Some(id.as_str()), refund));
    let unnamed = said.unnamed_refunds.values().map(|refund| (None, refund));
    for (id, register) in named.chain(unnamed) {
        let Some(refund) = register.assertions().first() else { continue };
        let mut fact = part("refund", id);
        fact.put("amount", refund.value.money.minor);
        fact.put("currency", refund.value.money.currency);
        fact.said("status", register);
        fact.put("status", refund.value.status);
        fact.put("cause", refund.value.kind);
        fact.put("created_at", refund.value.created_at.map(Timestamp::to_millis_text));
        facts.push(fact.done());
    }
    for (id, register) in &said.refund_statuses {
        let Some(status) = register.value() else { continue };
        let mut fact = part("refund", Some(id));
        fact.put("amount", None::<i64>);
        fact.put("status", status);
        facts.push(fact.done());
    }
    for (id, register) in &said.disputes {
        let Some(dispute) = register.assertions().first() else { continue };
        let mut fact = part("dispute", Some(id));
        fact.put("amount", dispute.value.money.minor);
        fact.put("currency", dispute.value.money.currency);
        fact.said("status", register);
        fact.put("status", dispute.value.status);
        facts.push(fact.done());
    }
}

/// Whether more is said of a payment than its refunds and disputes.
fn says_of_itself(said: &PaymentFacts) -> bool {
    let only_back = PaymentFacts {
        refunds: said.refunds.clone(),
        refund_statuses: said.refund_statuses.clone(),
        unnamed_refunds: said.unnamed_refunds.clone(),
        disputes: said.disputes.clone(),
        first_at: said.first_at,
        ..PaymentFacts::default()
    };
    *said != only_back
}

/// Amount (captured, else asked) and currency, and the provider's own sum of refunds.
fn money(fact: &mut Fact, said: &PaymentFacts) {
    let captured = said.captured.iter().next_back().and_then(|(class, by_currency)| {
        let (currency, figure) = by_currency.iter().next()?;
        Some((*class, *currency, figure.sum()))
    });
    let asked = said.asked.value();
    let currency = captured.map(|(_, currency, _)| currency).or(asked.map(|asked| asked.currency));
    fact.put("amount", captured.map(|(_, _, minor)| minor).or(asked.map(|asked| asked.minor)));
    fact.put("currency", currency);
    fact.put("captured_by", captured.map(|(class, _, _)| class));
    let figures = said.captured.values().flat_map(BTreeMap::values);
    if let Some(capture) = figures.flat_map(|figure| figure.parts.keys()).next() {
        fact.put("capture", capture);
    }
    if let Some(sum) = said.cumulative {
        fact.put("amount_refunded", sum.money.minor);
    }
}

fn subscription(assertion: &SubscriptionAssertion) -> Value {
    let SubscriptionAssertion { key, facts, references } = assertion;
    let mut fact = Fact::of("subscription");
    fact.put("provider", &key.namespace);
    fact.put("key", &key.id);
    fact.put("status", None::<&str>);
    fact.said("status", &facts.status);
    fact.said("plan", &facts.plan);
    fact.said_time("current_period_end", &facts.current_period_end);
    fact.said("cancel_at_period_end", &facts.cancel_at_period_end);
    fact.said_time("ends_at", &facts.ends_at);
    fact.references(references);
    fact.done()
}

#[cfg(test)]
mod tests {
    use super::{
        super::fixtures::{event, received_at, source},
        *,
    };

    #[test]
    fn an_event_is_told_with_its_origin_and_its_facts() {
        let event = event("stripe/refund.created");
        let told = describe(&event, "stripe");
        let expected = json!({
            "source": "stripe",
            "provider": "stripe",
            "environment": "live",
            "event_id": event.provider_event_id,
            "event_key": event.provider_event_id,
            "type": "refund.created",
            "occurred_at": "2024-06-10T06:15:00.000Z",
            "received_at": "2024-08-01T00:00:00.000Z",
            "verified": true,
            "verdict": "facts",
            "reason": null,
            "notes": [],
            "facts": [{
                "kind": "refund",
                "provider": "stripe",
                "key": "re_3QA1",
                "payment": "pi_3QA",
                "keys": ["pi_3QA", "ch_3QA"],
                "amount": 1500,
                "currency": "USD",
                "status": "pending",
                "cause": "refund",
                "created_at": "2024-06-10T06:15:00.000Z",
            }],
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn a_payment_is_told_with_where_it_hangs_and_what_is_only_repeated() {
        let told = describe(&event("stripe/payment_intent.succeeded.jpy"), "stripe");
        let payment = &told["facts"][0];
        assert_eq!(payment["amount"], 1200);
        assert_eq!(payment["paid_at"], "2024-06-10T06:13:20.000Z");
        assert_eq!(payment["repeated"], json!(["method"]));
        let reference = |kind: &str, namespace: &str, subject: &str| json!({"kind": kind, "namespace": namespace, "subject": subject});
        let expected =
            [reference("payment", "stripe", "cus_QAda"), reference("external", "", "user_7")];
        assert_eq!(payment["references"], json!(expected));
    }

    #[test]
    fn what_is_no_event_is_told_in_the_same_shape() {
        let refused = describe_rejection(&source("clerk"), received_at(), false, "no signature");
        let told = describe(&event("clerk/session.created"), "clerk");
        let keys = |value: &Value| -> Vec<String> {
            value.as_object().expect("an object").keys().cloned().collect()
        };
        assert_eq!(keys(&refused), keys(&told));
        assert_eq!(
            (&refused["verdict"], &told["verdict"]),
            (&json!("rejected"), &json!("ignored"))
        );
        assert_eq!(refused["reason"], "no signature");
    }
}
