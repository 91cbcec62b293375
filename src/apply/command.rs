//! What a command of the app comes to, over the loaded state and under its locks: assertions as of any other event,
//! or a refusal. Pure.
//!
//! Its stamp is the later of now and one microsecond past all that it competes with, so that what was answered is
//! not lost to something that was said before (semantics 2).

use crate::{
    apply::{
        claims,
        world::{PaymentNode, ReferenceNode, World},
    },
    keyring::Keyring,
    model::{
        authority::Authority,
        command::{Command, EXTERNAL_ID, Names, ProfileChange, SOURCE},
        customer::Customer,
        event::{Assertions, ClaimAssertion, Opening, PaymentLink, ReferenceAssertion},
        id::{CustomerId, PaymentId},
        payment::Namings,
        reference::{Deletion, Kind, Reference, ReferenceFacts, ReferenceId, Scope},
        register::Register,
        stamp::{EventKey, Stamp, rank},
        time::Timestamp,
    },
};
use chrono::TimeDelta;
use std::{collections::BTreeSet, sync::Arc};

mod profile;

/// Why a command is not carried out. Nothing was done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Nobody of this environment.
    #[error("there is no such customer")]
    NoCustomer,
    /// It was deleted.
    #[error("this customer was deleted")]
    DeletedCustomer,
    /// Nothing of this environment.
    #[error("there is no such payment")]
    NoPayment,
    /// The payment lost its customer for good to a deletion.
    #[error("this payment's customer was deleted: it stays without one")]
    DetachedPayment,
    /// The external_id is another customer's.
    #[error("the external_id is that of another customer, {0}")]
    ExternalIdTaken(CustomerId),
    /// The identity is another customer's.
    #[error("the identity is that of another customer, {0}")]
    IdentityTaken(CustomerId),
    /// The customer has an external_id: it stays.
    #[error("this customer has an external_id, which stays; to make two customers one, merge them")]
    ExternalIdStands,
    /// A source's word counts more for a field than the app's.
    #[error("the source {source_name} counts more for {field} than the app")]
    FieldOwned {
        /// Which.
        field: String,
        /// Whose word counts.
        source_name: String,
    },
    /// Both customers have an external_id, and it is not said which one stays.
    #[error("both customers have an external_id, {} and {}: say in `keep` which one stays", .0[0], .0[1])]
    KeepMissing([String; 2]),
    /// The external_id that is to stay is neither's.
    #[error("must be the external_id of one of the two customers")]
    KeepUnknown,
    /// The customer has no such identity.
    #[error("this customer has no such identity")]
    NoIdentity,
    /// All else hangs under this identity.
    #[error("all else of this customer hangs on this identity: detach the others from it")]
    IdentityIsRoot,
    /// There is no address to vouch for.
    #[error("needs an e-mail address, and this customer has none")]
    NoAddress,
    /// More keys than are shown.
    #[error("would have more than 50 keys")]
    TooMuchMetadata,
}

/// What deciding on a command needs beside the world.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Where it belongs.
    pub environment: &'a Arc<str>,
    /// What references are hashed with.
    pub keyring: &'a Keyring,
    /// When it is carried out.
    pub now: Timestamp,
    /// The key of its event.
    pub key: &'a EventKey,
    /// The subject of a customer without any name.
    pub subject: &'a str,
}

/// Whom a command is about once it is carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum About {
    /// The customer of a reference.
    Reference(ReferenceId),
    /// A customer that is gone.
    Gone(CustomerId),
    /// A payment.
    Payment(PaymentId),
}

/// What a command comes to.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// What it asserts; nothing, where all is as it asks already.
    pub assertions: Assertions,
    /// When it counts.
    pub at: Timestamp,
    /// Whom it is about.
    pub about: About,
}

/// Works out what a command comes to.
///
/// # Errors
/// Where it is refused.
pub fn plan(world: &World, command: &Command, asking: Asking<'_>) -> Result<Plan, Refusal> {
    let planner = Planner { world, asking, above: asking.now };
    match command {
        Command::Create { names, profile } => planner.create(names, profile),
        Command::Identify { names, profile } => planner.identify(names, profile),
        Command::Update { customer, external_id, profile } => {
            planner.update(*customer, external_id.as_ref(), profile)
        }
        Command::Delete { customer, erase_payments } => planner.delete(*customer, *erase_payments),
        Command::Merge { into, from, keep } => planner.merge(*into, *from, keep.as_deref()),
        Command::Detach { customer, provider, uid } => planner.detach(*customer, provider, uid),
        Command::Link { payment, customer } => planner.link(*payment, *customer),
    }
}

/// The customer that an id stands for now, and the reference at the top of its tree.
///
/// # Errors
/// Where there is none.
pub fn resolve(world: &World, id: CustomerId) -> Result<(CustomerId, ReferenceId), Refusal> {
    let mut id = id;
    let mut seen = BTreeSet::new();
    while seen.insert(id) {
        let node = world.customers.get(&id).ok_or(Refusal::NoCustomer)?;
        match node.absorbed_into {
            Some(next) => id = next,
            None if node.deleted => return Err(Refusal::DeletedCustomer),
            None => return Ok((id, node.root)),
        }
    }
    Err(Refusal::NoCustomer)
}

struct Planner<'a> {
    world: &'a World,
    asking: Asking<'a>,
    /// The latest time that the command's stamp must not be before.
    above: Timestamp,
}

/// Whose profile is changed: all that is said of it, and the customer as it is shown.
struct Subject<'a> {
    tree: Vec<&'a ReferenceNode>,
    shown: Option<&'a Customer>,
}

impl<'a> Planner<'a> {
    fn id(&self, reference: &Reference) -> ReferenceId {
        self.asking.keyring.reference_id(self.asking.environment, reference)
    }

    /// Makes the command count after a time.
    fn after(&mut self, at: Timestamp) {
        self.above = self.above.max(at.plus(TimeDelta::microseconds(1)));
    }

    fn after_register<T: Clone + PartialEq>(&mut self, register: &Register<T>) {
        for said in register.assertions() {
            self.after(said.stamp.at);
        }
    }

    /// Makes it count after whatever was said of where a reference hangs and whether it is open.
    fn after_standing(&mut self, node: &ReferenceNode) {
        let facts = &node.facts;
        let claims = facts.claims.iter().map(|claim| claim.stamp.at);
        let deletions = facts.deletions.iter().map(|deletion| deletion.at);
        for at in claims.chain(deletions).chain(node.deleted_at) {
            self.after(at);
        }
    }

    fn stamp(&self) -> Stamp {
        Stamp { at: self.above, rank: rank::UPDATED, key: self.asking.key.clone() }
    }

    /// A reference that is there and anybody's.
    fn open(&self, reference: &Reference) -> Option<&'a ReferenceNode> {
        self.world.references.get(&self.id(reference)).filter(|node| !node.closed)
    }

    fn is_external(&self, id: ReferenceId) -> bool {
        self.world.references.get(&id).is_some_and(|node| node.kind == Kind::External)
    }

    /// The open references of one tree.
    fn tree(&self, root: ReferenceId) -> Vec<&'a ReferenceNode> {
        let component = self.world.component_of(root);
        let members = component.and_then(|component| self.world.components.get(&component));
        let nodes = members.into_iter().flatten().filter_map(|id| self.world.references.get(id));
        nodes.filter(|node| node.root == root && !node.closed).collect()
    }

    fn reference(&self, id: ReferenceId) -> Result<Reference, Refusal> {
        let node = self.world.references.get(&id).ok_or(Refusal::NoCustomer)?;
        let subject = node.subject.clone().ok_or(Refusal::DeletedCustomer)?;
        Ok(Reference { kind: node.kind, namespace: node.namespace.clone(), subject })
    }

    fn shown(&self, customer: Option<CustomerId>) -> Option<&'a Customer> {
        self.world.customers.get(&customer?)?.shown.as_ref()
    }

    fn finish(&self, references: Vec<ReferenceAssertion>, about: About) -> Plan {
        let assertions = Assertions { references, ..Assertions::default() };
        Plan { assertions, at: self.above, about }
    }

    fn create(self, names: &Names, profile: &ProfileChange) -> Result<Plan, Refusal> {
        let owner = |node: &ReferenceNode| node.customer.ok_or(Refusal::NoCustomer);
        if let Some(node) = names.external_id.as_ref().and_then(|name| self.open(name)) {
            return Err(Refusal::ExternalIdTaken(owner(node)?));
        }
        if let Some(node) = names.identity.iter().find_map(|name| self.open(name)) {
            return Err(Refusal::IdentityTaken(owner(node)?));
        }
        self.record(names, profile)
    }

    fn identify(self, names: &Names, profile: &ProfileChange) -> Result<Plan, Refusal> {
        self.record(names, profile)
    }

    /// As `customer.recorded`: all names hang under the external_id, and the profile on it; else on the only one.
    fn record(mut self, names: &Names, profile: &ProfileChange) -> Result<Plan, Refusal> {
        let known = names.identity.iter().find(|name| self.open(name).is_some());
        let identity = known.or(names.identity.first()).cloned();
        let own = || Reference {
            kind: Kind::Own,
            namespace: SOURCE.into(),
            subject: self.asking.subject.into(),
        };
        let mut all: Vec<Reference> = names.external_id.iter().cloned().chain(identity).collect();
        if all.is_empty() {
            all.push(own());
        }
        let Some(head) = all.first().cloned() else { return Err(Refusal::NoCustomer) };
        let mut tree = Vec::new();
        for name in &all {
            let node = self.world.references.get(&self.id(name));
            if let Some(node) = node {
                self.after_standing(node);
                tree.extend(self.tree(node.root));
            }
        }
        let customer = self.open(&head).and_then(|node| node.customer);
        let customer = customer.or_else(|| {
            // A guest who becomes somebody keeps what is known of it.
            let guest = all.iter().find_map(|name| self.open(name));
            guest.filter(|node| !self.is_external(node.root)).and_then(|node| node.customer)
        });
        let subject = Subject { tree, shown: self.shown(customer) };
        let facts = self.facts(&subject, profile)?;
        let alone = all.len() == 1;
        let stamp = self.stamp();
        let references = all
            .into_iter()
            .map(|name| {
                let mut about = named(&name, &stamp);
                about.claim = (name != head).then(|| claim(Some(head.clone()), &stamp));
                let opens = name.kind == Kind::External || alone;
                about.opening = opens.then_some(Opening { at: stamp.at, by: None });
                if name == head {
                    about.facts.profile = facts.clone();
                }
                about
            })
            .collect();
        let about = About::Reference(self.id(&head));
        Ok(self.finish(references, about))
    }

    fn update(
        mut self,
        customer: CustomerId,
        external_id: Option<&Option<Reference>>,
        profile: &ProfileChange,
    ) -> Result<Plan, Refusal> {
        let (customer, root) = resolve(self.world, customer)?;
        let top = self.reference(root)?;
        let mut name = None;
        match external_id {
            None => {}
            Some(Some(wanted)) if *wanted == top => {}
            Some(None) if top.kind != Kind::External => {}
            Some(Some(wanted)) if top.kind != Kind::External => {
                let taken = self.open(wanted).and_then(|node| node.customer);
                match taken.filter(|owner| *owner != customer) {
                    Some(owner) => return Err(Refusal::ExternalIdTaken(owner)),
                    None => name = Some(wanted.clone()),
                }
            }
            Some(_) => return Err(Refusal::ExternalIdStands),
        }
        let head = name.clone().unwrap_or_else(|| top.clone());
        for reference in [&head, &top] {
            if let Some(node) = self.world.references.get(&self.id(reference)) {
                self.after_standing(node);
            }
        }
        let shown = self.shown(Some(customer));
        let subject = Subject { tree: self.tree(root), shown };
        let facts = self.facts(&subject, profile)?;
        let stamp = self.stamp();
        let mut about = named(&head, &stamp);
        about.facts.profile = facts;
        about.opening = Some(Opening { at: stamp.at, by: None });
        let mut references = vec![about];
        if name.is_some() {
            let mut below = named(&top, &stamp);
            below.claim = Some(claim(Some(head), &stamp));
            references.push(below);
        }
        Ok(self.finish(references, About::Reference(root)))
    }

    fn delete(mut self, customer: CustomerId, erase_payments: bool) -> Result<Plan, Refusal> {
        let (customer, root) = resolve(self.world, customer)?;
        let top = self.reference(root)?;
        for node in self.tree(root) {
            self.after_standing(node);
            self.after_profile(&node.facts.profile);
            let openings = node.facts.openings.iter().map(|(at, _)| *at);
            let first = node.facts.first.as_ref().map(|stamp| stamp.at);
            for at in openings.chain(first) {
                self.after(at);
            }
        }
        let payments = self.world.payments.values();
        let subscriptions = self.world.subscriptions.values();
        let objects = payments
            .map(|node| (&node.facts.references, node.facts.first_at))
            .chain(subscriptions.map(|node| (&node.facts.references, node.facts.first_at)));
        for (namings, first_at) in objects {
            let here = namings.hangs_on().and_then(|on| self.world.references.get(&on));
            if here.is_some_and(|node| node.root == root) {
                let said = namings.stamps().map(|stamp| stamp.at);
                for at in said.chain(first_at).collect::<Vec<_>>() {
                    self.after(at);
                }
            }
        }
        let stamp = self.stamp();
        let mut about = named(&top, &stamp);
        about.facts.deletions.insert(Deletion {
            at: stamp.at,
            key: stamp.key.clone(),
            scope: Scope::Customer,
            erase_payments,
        });
        Ok(self.finish(vec![about], About::Gone(customer)))
    }

    fn merge(
        mut self,
        into: CustomerId,
        from: CustomerId,
        keep: Option<&str>,
    ) -> Result<Plan, Refusal> {
        let (_, into) = resolve(self.world, into)?;
        let (_, from) = resolve(self.world, from)?;
        if into == from {
            return Ok(self.finish(Vec::new(), About::Reference(into)));
        }
        let (upper, lower) = (self.reference(into)?, self.reference(from)?);
        let external =
            |name: &Reference| (name.kind == Kind::External).then(|| name.subject.to_string());
        let turned = match (external(&upper), external(&lower), keep) {
            (Some(a), Some(b), None) => return Err(Refusal::KeepMissing([a, b])),
            (Some(a), _, Some(keep)) if a == keep => false,
            (_, Some(b), Some(keep)) if b == keep => true,
            (_, _, Some(_)) => return Err(Refusal::KeepUnknown),
            (a, b, None) => a.is_none() && b.is_some(),
        };
        let (head, below) = if turned { (lower, upper) } else { (upper, lower) };
        for name in [&head, &below] {
            if let Some(node) = self.world.references.get(&self.id(name)) {
                self.after_standing(node);
            }
        }
        let stamp = self.stamp();
        let mut about = named(&below, &stamp);
        about.claim = Some(claim(Some(head.clone()), &stamp));
        Ok(self.finish(vec![about], About::Reference(self.id(&head))))
    }

    fn detach(mut self, customer: CustomerId, provider: &str, uid: &str) -> Result<Plan, Refusal> {
        let (_, root) = resolve(self.world, customer)?;
        let is_it = |node: &&ReferenceNode| {
            let namespace = match node.kind {
                Kind::External => EXTERNAL_ID,
                Kind::Auth | Kind::Payment => &*node.namespace,
                Kind::Own => return false,
            };
            namespace == provider && node.subject.as_deref() == Some(uid)
        };
        let found = self.tree(root).into_iter().filter(is_it).min_by_key(|node| node.kind);
        let node = found.ok_or(Refusal::NoIdentity)?;
        let name =
            Reference { kind: node.kind, namespace: node.namespace.clone(), subject: uid.into() };
        if self.id(&name) == root {
            return Err(Refusal::IdentityIsRoot);
        }
        self.after_standing(node);
        let stamp = self.stamp();
        let mut about = named(&name, &stamp);
        about.claim = Some(claim(None, &stamp));
        about.opening = Some(Opening { at: stamp.at, by: None });
        Ok(self.finish(vec![about], About::Reference(root)))
    }

    fn link(mut self, payment: PaymentId, customer: CustomerId) -> Result<Plan, Refusal> {
        let (_, root) = resolve(self.world, customer)?;
        let top = self.reference(root)?;
        let (id, node) = self.payment(payment)?;
        for stamp in node.facts.references.stamps() {
            self.above = self.above.max(stamp.at.plus(TimeDelta::microseconds(1)));
        }
        // It comes after the deletions that the payment lived through: they saw nothing of it.
        let known = node.facts.references.all().chain([root]);
        for reach in self.world.reaches_of(known) {
            self.after(reach.at);
        }
        let stamp = self.stamp();
        let mut namings: Namings = node.facts.references.clone();
        namings.link(root, &stamp);
        let reaches = self.world.reaches_of(namings.all());
        if claims::fate(&namings, node.facts.first_at, &reaches).detached {
            return Err(Refusal::DetachedPayment);
        }
        let link = PaymentLink { key: node.key.clone(), under: top, stamp };
        let assertions = Assertions { links: vec![link], ..Assertions::default() };
        Ok(Plan { assertions, at: self.above, about: About::Payment(id) })
    }

    /// The payment that an id stands for now.
    fn payment(&self, id: PaymentId) -> Result<(PaymentId, &'a PaymentNode), Refusal> {
        let mut id = id;
        let mut seen = BTreeSet::new();
        while seen.insert(id) {
            let node = self.world.payments.get(&id).ok_or(Refusal::NoPayment)?;
            match node.absorbed_into {
                Some(next) => id = next,
                None if node.erased => return Err(Refusal::NoPayment),
                None => return Ok((id, node)),
            }
        }
        Err(Refusal::NoPayment)
    }
}

/// That a reference is named.
fn named(name: &Reference, stamp: &Stamp) -> ReferenceAssertion {
    let mut about = ReferenceAssertion::new(name.clone());
    about.facts = ReferenceFacts { first: Some(stamp.clone()), ..ReferenceFacts::default() };
    about
}

fn claim(under: Option<Reference>, stamp: &Stamp) -> ClaimAssertion {
    ClaimAssertion { under, authority: Authority::APP, stamp: stamp.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::decide::{Context, decide};

    struct Registry {
        world: World,
        environment: Arc<str>,
        keyring: Keyring,
        made: u128,
    }

    impl Registry {
        fn new() -> Self {
            let keyring = Keyring::new("k");
            Self { world: World::default(), environment: "live".into(), keyring, made: 0 }
        }

        fn ask(&mut self, command: &Command, second: i64) -> Result<Plan, Refusal> {
            let key = EventKey::new(SOURCE, &second.to_string(), "");
            let asking = Asking {
                environment: &self.environment,
                keyring: &self.keyring,
                now: at(second),
                key: &key,
                subject: "nobody",
            };
            let plan = plan(&self.world, command, asking)?;
            let mut new_id = || {
                self.made += 1;
                uuid::Uuid::from_u128(self.made)
            };
            let mut context = Context {
                environment: &self.environment,
                keyring: &self.keyring,
                now: at(second),
                new_id: &mut new_id,
            };
            decide(&mut self.world, &plan.assertions, &mut context);
            Ok(plan)
        }

        fn create(&mut self, user: &str, name: &str) -> CustomerId {
            let names = Names { external_id: Some(external(user)), identity: Vec::new() };
            let plan = self.ask(&Command::Create { names, profile: called(name) }, 10);
            let About::Reference(id) = plan.expect("it is made").about else { panic!("whose?") };
            self.world.customer_of(Some(id)).expect("it is there")
        }

        /// What somebody said of a user's name.
        fn said(&mut self, user: &str, authority: Authority, second: i64) {
            let key = EventKey::new("crm", "1", "");
            let stamp = Stamp { at: at(second), rank: rank::UPDATED, key };
            let id = self.keyring.reference_id(&self.environment, &external(user));
            let node = self.world.references.get_mut(&id).expect("it is there");
            let said = Register::of(authority, stamp, Some("Theirs".to_owned()));
            node.facts.profile.name.join(&said);
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_seconds(second).expect("in range")
    }

    fn external(user: &str) -> Reference {
        Reference::new(Kind::External, "", user).expect("a name")
    }

    fn called(name: &str) -> ProfileChange {
        ProfileChange { name: Some(Some(name.to_owned())), ..ProfileChange::default() }
    }

    fn update(customer: CustomerId, profile: ProfileChange) -> Command {
        Command::Update { customer, external_id: None, profile }
    }

    #[test]
    fn a_command_counts_just_after_what_it_changes_and_no_later_than_it_must() {
        let mut registry = Registry::new();
        let ada = registry.create("ada", "Ada");
        registry.said("ada", Authority::APP, 300);
        let tags = ProfileChange { tags: Some(None), ..ProfileChange::default() };
        let other_field = registry.ask(&update(ada, tags), 20).expect("carried out");
        assert_eq!(other_field.at, at(20));
        let same_field = registry.ask(&update(ada, called("Ours")), 21).expect("carried out");
        assert_eq!(same_field.at, at(300).plus(TimeDelta::microseconds(1)));
        let shown = registry.world.customers[&ada].shown.as_ref().expect("shown");
        assert_eq!(shown.person.name.as_deref(), Some("Ours"));
        let delete = Command::Delete { customer: ada, erase_payments: false };
        let deleted = registry.ask(&delete, 22).expect("carried out");
        assert!(deleted.at > same_field.at, "it reaches what was said ahead of it");
    }

    #[test]
    fn a_field_that_another_source_owns_is_refused_and_named() {
        let mut registry = Registry::new();
        let ada = registry.create("ada", "Ada");
        let above_the_app: Authority = serde_json::from_str("80").expect("a level");
        registry.said("ada", above_the_app, 5);
        let refused = registry.ask(&update(ada, called("Ours")), 20).expect_err("refused");
        let expected = Refusal::FieldOwned { field: "name".into(), source_name: "crm".into() };
        assert_eq!(refused, expected);
        let phone = ProfileChange { phone: Some(None), ..ProfileChange::default() };
        assert!(registry.ask(&update(ada, phone), 21).is_ok());
    }

    #[test]
    fn two_external_ids_are_joined_only_where_it_is_said_which_one_stays() {
        let mut registry = Registry::new();
        let (ada, bob) = (registry.create("ada", "Ada"), registry.create("bob", "Bob"));
        let mut merge = |keep: Option<&str>| {
            let keep = keep.map(str::to_owned);
            registry.ask(&Command::Merge { into: ada, from: bob, keep }, 20)
        };
        let missing = Refusal::KeepMissing(["ada".into(), "bob".into()]);
        assert_eq!(missing.to_string().matches("bob").count(), 1);
        assert_eq!(merge(None), Err(missing));
        assert_eq!(merge(Some("eve")), Err(Refusal::KeepUnknown));
        assert!(merge(Some("bob")).is_ok());
        let kept = resolve(&registry.world, ada).expect("it went into the other");
        assert_eq!(kept.0, bob);
    }
}
