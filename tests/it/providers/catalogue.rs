//! Holds each history, and the bodies that its provider sends, against what `tests/histories/catalogue` says that the
//! provider can tell: so that a history with a gap fails, and so does a new body that no history tells of.

use super::script::{self, Script};
use customer_sync::{
    model::{
        event::{Assertions, Reading},
        inbound::{Headers, Raw},
        payment::{PaymentKey, PaymentStatus, RefundKind, RefundStatus},
        reference::Kind,
        subscription::SubscriptionStatus,
        time::Timestamp,
    },
    normalize::normalize,
    provider::Source,
    verify::verify,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::Arc,
};

const OF_PEOPLE: &[&str] = &["person", "deletes"];
const OF_MONEY: &[&str] =
    &["pays", "fails", "recovers", "part", "full", "withdrawn", "disputes", "subscribes", "ends"];

type Words = BTreeSet<String>;

/// What the catalogue says of one history: what it can tell, and what not.
#[derive(Default, Debug)]
struct Said {
    can: Words,
    cannot: Words,
}

fn catalogue() -> BTreeMap<String, Said> {
    let text = fs::read_to_string(tests().join("histories/catalogue")).expect("the catalogue");
    let mut all: BTreeMap<String, Said> = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (head, tail) = line.split_once(':').expect(line);
        if let Some(words) = head.strip_prefix("  no ") {
            assert!(!tail.trim().is_empty(), "{line}: a reason is missing");
            let words = words.split(", ").map(str::to_owned);
            all.get_mut(&last).expect("a history").cannot.extend(words);
        } else {
            head.clone_into(&mut last);
            let can = tail.split_whitespace().map(str::to_owned).collect();
            all.insert(last.clone(), Said { can, ..Said::default() });
        }
    }
    all
}

fn tests() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// What some events have told.
#[derive(Default)]
struct Told {
    words: Words,
    failed: BTreeSet<PaymentKey>,
    /// The payments of which money went back by a refund.
    refunded: BTreeSet<PaymentKey>,
    /// The names that one event gave to one payment.
    names: Vec<Vec<PaymentKey>>,
}

impl Told {
    fn say(&mut self, word: &str) {
        self.words.insert(word.to_owned());
    }

    fn note(&mut self, asserted: &Assertions) {
        for about in &asserted.references {
            let profile = &about.facts.profile;
            let told =
                !(profile.name.is_empty() && profile.email.is_empty() && profile.phone.is_empty());
            if told {
                self.say("person");
            }
            if !about.facts.deletions.is_empty() {
                self.say("deletes");
            }
        }
        for payment in &asserted.payments {
            let facts = &payment.facts;
            self.names.push(payment.keys.clone());
            match facts.status {
                Some(PaymentStatus::Succeeded) => {
                    self.say("pays");
                    if payment.keys.iter().any(|key| self.failed.contains(key)) {
                        self.say("recovers");
                    }
                }
                Some(PaymentStatus::Failed) => {
                    self.say("fails");
                    self.failed.extend(payment.keys.iter().cloned());
                }
                Some(PaymentStatus::Canceled) => self.say("ends"),
                _ => {}
            }
            let refunds = facts.refunds.values().chain(facts.unnamed_refunds.values());
            let refunds: Vec<_> = refunds.filter_map(|refund| refund.value()).collect();
            let failed = RefundStatus::Failed;
            let alone = facts.refund_statuses.values().any(|said| said.value() == Some(&failed));
            if alone || refunds.iter().any(|refund| refund.status == failed) {
                self.say("withdrawn");
            }
            let own = |refund: &&_| is_refund(refund);
            let sum = facts.cumulative.is_some_and(|sum| sum.money.minor > 0);
            if sum || refunds.iter().any(own) {
                self.refunded.extend(payment.keys.iter().cloned());
            }
            if !facts.disputes.is_empty() {
                self.say("disputes");
            }
        }
        for subscription in &asserted.subscriptions {
            if let Some(status) = subscription.facts.status.value() {
                self.say("subscribes");
                if *status == SubscriptionStatus::Canceled {
                    self.say("ends");
                }
            }
        }
    }
}

fn is_refund(refund: &customer_sync::model::payment::Refund) -> bool {
    refund.kind == RefundKind::Refund && refund.status != RefundStatus::Failed
}

fn told_by(source: &Arc<Source>, raw: &Raw, told: &mut Told) {
    let now = Timestamp::parse(super::NOW).expect("a time");
    let verified = verify(source, raw, now).expect("its bodies are believed");
    for part in normalize(&verified) {
        if let Ok(event) = part.read
            && let Reading::Asserts(asserted) = &event.reading
        {
            told.note(asserted);
        }
    }
}

/// What a history tells: in the order in which it happened, and by what must be known in the end.
fn by_history(script: &Script) -> Words {
    let sources = script.sources(0);
    let sources: BTreeMap<_, _> =
        sources.into_iter().map(|source| (source.name.clone(), Arc::new(source))).collect();
    let mut told = Told::default();
    for step in &script.steps {
        let raw = script.raw(step, 0);
        told_by(&sources[&raw.source], &raw, &mut told);
    }
    for line in &script.expected {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["payment", id, fields @ ..] = words.as_slice() else { continue };
        let called = |names: &&Vec<PaymentKey>| names.iter().any(|key| *key.id == **id);
        let mut names = told.names.iter().filter(called).flatten();
        let by_refund = names.any(|key| told.refunded.contains(key));
        for (status, word) in [("status=partially_refunded", "part"), ("status=refunded", "full")] {
            if by_refund && fields.contains(&status) {
                told.say(word);
            }
        }
    }
    told.words
}

/// What the bodies of its providers tell, each by itself; whether some of it is a refund.
fn by_bodies(script: &Script) -> (Words, bool) {
    let mut told = Told::default();
    for mut source in script.sources(0) {
        source.environment = "live".into();
        source.secrets.clear();
        source.unsigned = true;
        let source = Arc::new(source);
        let name = source.provider.name;
        let folder = tests().join("fixtures").join(name.strip_suffix("-db").unwrap_or(name));
        for file in fs::read_dir(folder).expect("bodies") {
            let path = file.expect("a file").path();
            let body = fs::read(&path).expect("a body");
            let body = if path.extension().is_some_and(|it| it == "xml") {
                script::form_of(&String::from_utf8(body).expect("text"), source.provider.name)
            } else {
                body
            };
            let raw = Raw {
                source: source.name.clone(),
                headers: Headers::default(),
                body: body.into(),
                received_at: None,
                queue_id: None,
                dead: None,
            };
            told_by(&source, &raw, &mut told);
        }
    }
    let refunds = !told.refunded.is_empty();
    told.words.remove("recovers");
    (told.words, refunds)
}

#[test]
fn each_history_tells_all_that_its_provider_can() {
    let catalogue = catalogue();
    let scripts = script::all();
    let names: BTreeSet<_> = scripts.iter().map(|script| &script.name).collect();
    assert_eq!(
        catalogue.keys().collect::<BTreeSet<_>>(),
        names,
        "the catalogue beside the histories"
    );
    for script in &scripts {
        let Said { can, cannot } = &catalogue[&script.name];
        let of_money = script.providers.iter().any(|provider| provider.kind == Kind::Payment);
        let words = OF_PEOPLE.iter().chain(of_money.then_some(OF_MONEY).into_iter().flatten());
        let words: Words = words.map(|word| (*word).to_owned()).collect();
        let both: Words = can.intersection(cannot).cloned().collect();
        assert_eq!(both, Words::new(), "{}: told and not told", script.name);
        let all: Words = can.union(cannot).cloned().collect();
        assert_eq!(all, words, "{}: what its lines of the catalogue speak of", script.name);
        assert_eq!(&by_history(script), can, "{}: what its history tells", script.name);
        let (bodies, refunds) = by_bodies(script);
        let more: Vec<_> = bodies.difference(can).collect();
        assert_eq!(more, Vec::<&String>::new(), "{}: what its bodies tell beside", script.name);
        let parts = can.contains("part") || can.contains("full");
        assert!(parts || !refunds, "{}: its bodies tell of refunds", script.name);
    }
}
