//! What really happened, kept as it happens: plain assignments in the order of real time, no folding of
//! events. It knows the names that people go by, what each party has on file of them, and where money went.

use super::{snapshot::Snapshot, totals::Totals};
use crate::model::{
    money::Currency,
    payment::{PaymentStatus, ShownStatus},
    reference::Kind,
    subscription::SubscriptionStatus,
    time::Timestamp,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Whose word it is. The greater counts more, whatever the time (semantics 2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Level {
    Payment,
    Auth,
    App,
}

/// What can be known of a person in one text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Field {
    Name,
    Email,
    Phone,
}

/// How far a deletion reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reach {
    /// The name itself.
    Identity,
    /// Everything that hangs together with it.
    Customer,
    /// The name itself while the person has another sign-in that is open, else everything.
    Auto,
}

/// One name of a person.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct NameId(usize);

/// One movement of money.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PaymentIndex(usize);

/// One subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SubscriptionIndex(usize);

/// A thing said at a time.
type Said<T> = (Timestamp, T);

/// An external_id, a sign-in, or a payment provider's customer.
#[derive(Debug)]
struct Name {
    kind: Kind,
    namespace: String,
    subject: String,
    /// Under which name it hangs, and by whose word.
    under: Option<(Level, Option<NameId>)>,
    words: BTreeMap<(Field, Level), Said<Option<String>>>,
    tags: Option<Said<Vec<String>>>,
    metadata: BTreeMap<String, Said<Option<Value>>>,
    metadata_cleared: Option<Timestamp>,
    anonymous: Option<bool>,
    /// Deleted and not opened again.
    gone: bool,
    /// Deleted at some time.
    deleted_before: bool,
}

/// Where a payment or subscription hangs: the first that is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) external: Option<NameId>,
    pub(super) auth: Option<NameId>,
    pub(super) account: Option<NameId>,
}

impl Place {
    fn name(self) -> Option<NameId> {
        self.external.or(self.auth).or(self.account)
    }
}

/// The truth of one movement of money. Amounts are minor units.
#[derive(Clone, Debug)]
pub(super) struct PaymentRecord {
    pub(super) namespace: String,
    pub(super) id: String,
    pub(super) place: Place,
    pub(super) status: PaymentStatus,
    pub(super) asked: i64,
    pub(super) captured: i64,
    pub(super) currency: Currency,
    pub(super) refunded: i64,
    pub(super) lost: i64,
    pub(super) open_disputes: u32,
    pub(super) paid_at: Option<Timestamp>,
    /// Its person was deleted: it is nobody's, for good.
    orphan: bool,
}

impl PaymentRecord {
    pub(super) fn new(
        namespace: &str,
        id: &str,
        place: Place,
        asked: i64,
        currency: Currency,
    ) -> Self {
        Self {
            namespace: namespace.to_owned(),
            id: id.to_owned(),
            place,
            status: PaymentStatus::Pending,
            asked,
            captured: 0,
            currency,
            refunded: 0,
            lost: 0,
            open_disputes: 0,
            paid_at: None,
            orphan: false,
        }
    }

    /// The money moved.
    pub(super) fn paid(&mut self, captured: i64, at: Timestamp) {
        self.status = PaymentStatus::Succeeded;
        self.captured = captured;
        self.paid_at = Some(at);
    }

    pub(super) fn succeeded(&self) -> bool {
        self.status == PaymentStatus::Succeeded
    }

    fn shown(&self) -> ShownStatus {
        if self.open_disputes > 0 {
            ShownStatus::Disputed
        } else if self.refunded > 0 && self.refunded >= self.captured {
            ShownStatus::Refunded
        } else if self.refunded > 0 {
            ShownStatus::PartiallyRefunded
        } else {
            self.status.into()
        }
    }

    fn form(&self, customer: Option<&str>) -> Value {
        json!({
            "status": self.shown(),
            "amount": if self.succeeded() { self.captured } else { self.asked },
            "currency": self.currency,
            "amount_refunded": self.refunded,
            "disputed_lost": self.lost,
            "paid_at": self.paid_at.map(Timestamp::to_millis_text),
            "customer": customer,
        })
    }
}

/// The truth of one subscription.
#[derive(Clone, Debug)]
pub(super) struct SubscriptionRecord {
    pub(super) namespace: String,
    pub(super) id: String,
    pub(super) place: Place,
    pub(super) status: SubscriptionStatus,
    pub(super) plan: String,
    pub(super) cancel_at_period_end: bool,
    /// Its person was deleted: it is nobody's, for good.
    pub(super) orphan: bool,
}

/// The simulator's own books.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    names: Vec<Name>,
    index: BTreeMap<(Kind, String, String), NameId>,
    payments: Vec<PaymentRecord>,
    subscriptions: Vec<SubscriptionRecord>,
}

impl Ledger {
    /// A name that somebody has used: from then on it exists.
    pub(super) fn name(&mut self, kind: Kind, namespace: &str, subject: &str) -> NameId {
        let namespace = if kind == Kind::External { "" } else { namespace };
        let key = (kind, namespace.to_owned(), subject.to_owned());
        if let Some(known) = self.index.get(&key) {
            return *known;
        }
        let id = NameId(self.names.len());
        self.names.push(Name {
            kind,
            namespace: key.1.clone(),
            subject: key.2.clone(),
            under: None,
            words: BTreeMap::new(),
            tags: None,
            metadata: BTreeMap::new(),
            metadata_cleared: None,
            anonymous: None,
            gone: false,
            deleted_before: false,
        });
        self.index.insert(key, id);
        id
    }

    /// The app's own user id.
    pub(super) fn external(&mut self, external_id: &str) -> NameId {
        self.name(Kind::External, "", external_id)
    }

    /// A party now has this on file.
    pub(super) fn says(
        &mut self,
        name: NameId,
        level: Level,
        field: Field,
        at: Timestamp,
        value: Option<&str>,
    ) {
        if let Some(name) = self.listening(name, level) {
            name.words.insert((field, level), (at, value.map(ToOwned::to_owned)));
        }
    }

    /// The app's tags.
    pub(super) fn tags(&mut self, name: NameId, at: Timestamp, tags: Vec<String>) {
        if let Some(name) = self.listening(name, Level::App) {
            name.tags = Some((at, tags));
        }
    }

    /// One key of the app's metadata; none: the key is taken away.
    pub(super) fn metadata(
        &mut self,
        name: NameId,
        at: Timestamp,
        key: &str,
        value: Option<Value>,
    ) {
        if let Some(name) = self.listening(name, Level::App) {
            name.metadata.insert(key.to_owned(), (at, value));
        }
    }

    /// The app takes all metadata away.
    pub(super) fn clear_metadata(&mut self, name: NameId, at: Timestamp) {
        if let Some(name) = self.listening(name, Level::App) {
            name.metadata_cleared = Some(at);
        }
    }

    /// The app says whether this is somebody.
    pub(super) fn anonymous(&mut self, name: NameId, anonymous: bool) {
        if let Some(name) = self.listening(name, Level::App) {
            name.anonymous = Some(anonymous);
        }
    }

    /// A name that takes what this party says: a deleted one takes nothing, one that was deleted and came
    /// back only what the app itself says (semantics 4).
    fn listening(&mut self, name: NameId, level: Level) -> Option<&mut Name> {
        let name = self.names.get_mut(name.0)?;
        (!name.gone && (level == Level::App || !name.deleted_before)).then_some(name)
    }

    /// A name hangs under another from now on, or stands for itself; a lesser word changes nothing.
    pub(super) fn hang(&mut self, child: NameId, parent: Option<NameId>, level: Level) {
        if let Some(name) = self.names.get_mut(child.0)
            && !name.gone
            && name.under.is_none_or(|(known, _)| known <= level)
        {
            name.under = Some((level, parent));
        }
    }

    /// A person, or one of their names, is deleted. What hung there stays without customer for good.
    pub(super) fn delete(&mut self, name: NameId, reach: Reach) {
        let together: BTreeSet<NameId> =
            self.ids().filter(|other| self.root(*other) == self.root(name)).collect();
        let other_sign_in = together
            .iter()
            .any(|other| *other != name && self.is(*other, |n| n.kind == Kind::Auth && !n.gone));
        let reached = match reach {
            Reach::Identity => BTreeSet::from([name]),
            Reach::Auto if other_sign_in => BTreeSet::from([name]),
            Reach::Auto | Reach::Customer => together,
        };
        for id in &reached {
            if let Some(name) = self.names.get_mut(id.0).filter(|name| !name.gone) {
                name.words.clear();
                name.tags = None;
                name.metadata.clear();
                name.metadata_cleared = None;
                name.anonymous = None;
                name.under = None;
                name.gone = true;
                name.deleted_before = true;
            }
        }
        let hung = |place: Place| place.name().is_some_and(|name| reached.contains(&name));
        for payment in self.payments.iter_mut().filter(|payment| hung(payment.place)) {
            payment.orphan = true;
        }
        for subscription in self.subscriptions.iter_mut().filter(|one| hung(one.place)) {
            subscription.orphan = true;
        }
    }

    /// The app, or a new sign-in, brings a deleted external_id back.
    pub(super) fn reopen(&mut self, name: NameId) {
        if let Some(name) = self.names.get_mut(name.0) {
            name.gone = false;
        }
    }

    /// Whether a name was deleted and is not open again.
    pub(super) fn is_gone(&self, name: NameId) -> bool {
        self.is(name, |name| name.gone)
    }

    /// Opens the books of a payment.
    pub(super) fn open_payment(&mut self, record: PaymentRecord) -> PaymentIndex {
        self.payments.push(record);
        PaymentIndex(self.payments.len() - 1)
    }

    /// Writes in them.
    pub(super) fn payment(&mut self, index: PaymentIndex, change: impl FnOnce(&mut PaymentRecord)) {
        if let Some(record) = self.payments.get_mut(index.0) {
            change(record);
        }
    }

    /// Opens the books of a subscription.
    pub(super) fn open_subscription(&mut self, record: SubscriptionRecord) -> SubscriptionIndex {
        self.subscriptions.push(record);
        SubscriptionIndex(self.subscriptions.len() - 1)
    }

    /// Writes in them.
    pub(super) fn subscription(
        &mut self,
        index: SubscriptionIndex,
        change: impl FnOnce(&mut SubscriptionRecord),
    ) {
        if let Some(record) = self.subscriptions.get_mut(index.0) {
            change(record);
        }
    }

    fn ids(&self) -> impl Iterator<Item = NameId> + use<> {
        (0..self.names.len()).map(NameId)
    }

    fn is(&self, id: NameId, what: impl Fn(&Name) -> bool) -> bool {
        self.names.get(id.0).is_some_and(what)
    }

    /// The name that everything hangs under. A deleted name carries nothing.
    fn root(&self, mut id: NameId) -> NameId {
        // No scenario makes a circle; the bound only makes that plain.
        for _ in 0..self.names.len() {
            match self.names.get(id.0).and_then(|name| name.under) {
                Some((_, Some(parent))) if self.is(parent, |name| !name.gone) => id = parent,
                _ => break,
            }
        }
        id
    }

    /// What must be in the state now.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut groups: BTreeMap<NameId, Vec<&Name>> = BTreeMap::new();
        for id in self.ids() {
            if let Some(name) = self.names.get(id.0).filter(|name| !name.gone) {
                groups.entry(self.root(id)).or_default().push(name);
            }
        }
        let keys: BTreeMap<NameId, String> =
            groups.iter().map(|(root, names)| (*root, key(names))).collect();
        let customer = |place: Place, orphan: bool| {
            let name = place.name().filter(|name| !orphan && self.is(*name, |name| !name.gone))?;
            keys.get(&self.root(name)).map(String::as_str)
        };
        let mut snapshot = Snapshot::default();
        let mut totals: BTreeMap<&str, Totals> = BTreeMap::new();
        let mut best: BTreeMap<&str, SubscriptionStatus> = BTreeMap::new();
        for payment in &self.payments {
            let customer = customer(payment.place, payment.orphan);
            if let Some(customer) = customer {
                totals.entry(customer).or_default().count(payment);
            }
            let name = format!("{} {}", payment.namespace, payment.id);
            snapshot.payments.insert(name, payment.form(customer));
        }
        for one in &self.subscriptions {
            // Nobody's subscriptions are not shown anywhere.
            let Some(customer) = customer(one.place, one.orphan) else { continue };
            let best = best.entry(customer).or_insert(one.status);
            if one.status.preference() < best.preference() {
                *best = one.status;
            }
            let form = json!({
                "status": one.status,
                "plan": one.plan,
                "cancel_at_period_end": one.cancel_at_period_end,
                "customer": customer,
            });
            snapshot.subscriptions.insert(format!("{} {}", one.namespace, one.id), form);
        }
        for (root, names) in &groups {
            if let Some(key) = keys.get(root) {
                let none = Totals::default();
                let totals = totals.get(key.as_str()).unwrap_or(&none);
                let form = person(names, totals, best.get(key.as_str()).copied());
                snapshot.customers.insert(key.clone(), form);
            }
        }
        snapshot
    }
}

/// What a customer is called in a snapshot.
fn key(names: &[&Name]) -> String {
    let identities: Vec<_> =
        names.iter().map(|n| (n.kind, n.namespace.as_str(), n.subject.as_str())).collect();
    Snapshot::customer_key(&identities)
}

/// A customer in a snapshot: of each field the word of the highest party, of one party the latest.
fn person(names: &[&Name], totals: &Totals, best: Option<SubscriptionStatus>) -> Value {
    let word = |field: Field| {
        let words = names.iter().flat_map(|name| &name.words);
        let said = words.filter(|((known, _), _)| *known == field);
        said.max_by_key(|((_, level), (at, _))| (*level, *at)).and_then(|(_, (_, v))| v.clone())
    };
    let identities: BTreeSet<_> = names
        .iter()
        .filter_map(|name| Snapshot::identity(name.kind, &name.namespace, &name.subject))
        .collect();
    let external_id = names.iter().find(|n| n.kind == Kind::External).map(|n| &n.subject);
    let mut sign_ins = names.iter().filter(|name| name.kind == Kind::Auth);
    let nobody = external_id.is_none() && sign_ins.all(|name| name.anonymous == Some(true));
    let mut form = json!({
        "external_id": external_id,
        "name": word(Field::Name),
        "email": word(Field::Email),
        "phone": word(Field::Phone),
        "tags": tags(names),
        "metadata": metadata(names),
        "identities": identities,
        "is_anonymous": nobody,
        "subscription_status": best.map_or(json!("none"), |status| match status {
            SubscriptionStatus::IncompleteExpired => json!(SubscriptionStatus::Canceled),
            status => json!(status),
        }),
    });
    if let (Some(form), Value::Object(totals)) = (form.as_object_mut(), totals.form()) {
        form.extend(totals);
    }
    form
}

fn tags(names: &[&Name]) -> BTreeSet<String> {
    let latest = names.iter().filter_map(|name| name.tags.as_ref()).max_by_key(|(at, _)| *at);
    latest.map(|(_, tags)| tags.iter().cloned().collect()).unwrap_or_default()
}

fn metadata(names: &[&Name]) -> BTreeMap<String, Value> {
    let cleared = names.iter().filter_map(|name| name.metadata_cleared).max();
    let mut latest: BTreeMap<&str, &Said<Option<Value>>> = BTreeMap::new();
    for (key, said) in names.iter().flat_map(|name| &name.metadata) {
        let known = latest.entry(key).or_insert(said);
        if known.0 < said.0 {
            *known = said;
        }
    }
    let kept = latest.into_iter().filter(|(_, (at, _))| Some(*at) > cleared);
    kept.filter_map(|(key, (_, value))| Some((key.to_owned(), value.clone()?))).collect()
}
