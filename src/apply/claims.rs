//! Who is who: the forest that the claims make, and what deletions close in it (semantics 3 and 4).
//!
//! Everything here is a function of the facts of one component: of all references that any claim joins.

use crate::model::{
    authority::Authority,
    payment::Namings,
    reference::{Claim, Deletion, Kind, ReferenceFacts, ReferenceId, Scope},
    stamp::Stamp,
    time::Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// The references of a component.
pub type Component<'a> = BTreeMap<ReferenceId, (Kind, &'a ReferenceFacts)>;

/// Where a reference stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The reference at the top of its tree; itself, where it hangs under nothing.
    pub root: ReferenceId,
    /// Whether a deletion closed it and nothing opened it since.
    pub closed: bool,
    /// The time of the latest deletion that reached it.
    pub deleted_at: Option<Timestamp>,
    /// Whether a claim that counts names it since: it opens with the reference above it, and then shows its name.
    pub is_claimed: bool,
}

/// What one deletion reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reach {
    /// When.
    pub at: Timestamp,
    /// Whether the payments go too.
    pub erase_payments: bool,
    /// The references that hung under the same root then.
    pub references: BTreeSet<ReferenceId>,
}

/// The forest of a component as it stands, and what its deletions reached.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Forest {
    /// Every reference's standing.
    pub standings: BTreeMap<ReferenceId, Standing>,
    /// In order of time.
    pub reaches: Vec<Reach>,
}

/// Works out a component's forest.
pub fn forest(component: &Component<'_>) -> Forest {
    let reaches = reaches(component);
    let mut deleted = BTreeMap::new();
    for reach in &reaches {
        deleted.extend(reach.references.iter().map(|reference| (*reference, reach.at)));
    }
    let view = View::of(component, None, &deleted);
    let standings = component
        .keys()
        .map(|reference| {
            let standing = Standing {
                root: view.root(*reference),
                closed: !view.is_open(*reference),
                deleted_at: deleted.get(reference).copied(),
                is_claimed: claim_that_holds(component, *reference, None, &deleted).is_some(),
            };
            (*reference, standing)
        })
        .collect();
    Forest { standings, reaches }
}

/// Takes deletions in the order of their times; those of one time do not see each other.
fn reaches(component: &Component<'_>) -> Vec<Reach> {
    let mut by_time: BTreeMap<Timestamp, Vec<(ReferenceId, &Deletion)>> = BTreeMap::new();
    for (reference, (_, facts)) in component {
        for deletion in &facts.deletions {
            by_time.entry(deletion.at).or_default().push((*reference, deletion));
        }
    }
    let mut deleted = BTreeMap::new();
    let mut reaches = Vec::new();
    for (at, deletions) in by_time {
        let view = View::of(component, Some(at), &deleted);
        let before = reaches.len();
        for (reference, deletion) in deletions {
            let references = view.reached(component, reference, deletion.scope);
            reaches.push(Reach { at, erase_payments: deletion.erase_payments, references });
        }
        for reach in reaches.iter().skip(before) {
            deleted.extend(reach.references.iter().map(|reference| (*reference, at)));
        }
    }
    reaches
}

/// The forest by what was said until a time, given what was deleted before it.
struct View {
    roots: BTreeMap<ReferenceId, ReferenceId>,
    open: BTreeMap<ReferenceId, bool>,
}

impl View {
    fn of(
        component: &Component<'_>,
        until: Option<Timestamp>,
        deleted: &BTreeMap<ReferenceId, Timestamp>,
    ) -> Self {
        let claims: BTreeMap<ReferenceId, &Claim> = component
            .keys()
            .filter_map(|id| Some((*id, claim_that_holds(component, *id, until, deleted)?)))
            .collect();
        let mut open = BTreeMap::new();
        for reference in component.keys() {
            is_open(component, *reference, until, deleted, &claims, &mut open);
        }
        let mut parents: BTreeMap<ReferenceId, ReferenceId> = claims
            .iter()
            .filter_map(|(id, claim)| Some((*id, claim.parent?)))
            .filter(|(id, parent)| id != parent && open.get(parent).copied().unwrap_or(false))
            .collect();
        cut_circles(&mut parents, &claims);
        Self { roots: roots(&parents), open }
    }

    fn is_open(&self, reference: ReferenceId) -> bool {
        self.open.get(&reference).copied().unwrap_or(false)
    }

    fn root(&self, reference: ReferenceId) -> ReferenceId {
        self.roots.get(&reference).copied().unwrap_or(reference)
    }

    fn reached(
        &self,
        component: &Component<'_>,
        reference: ReferenceId,
        scope: Scope,
    ) -> BTreeSet<ReferenceId> {
        let root = self.root(reference);
        let tree = || component.iter().filter(|(id, _)| self.root(**id) == root);
        let another_uid = || {
            tree()
                .any(|(id, (kind, _))| *kind == Kind::Auth && *id != reference && self.is_open(*id))
        };
        match scope {
            Scope::Identity => BTreeSet::from([reference]),
            Scope::Auto if another_uid() => BTreeSet::from([reference]),
            Scope::Auto | Scope::Customer => tree().map(|(id, _)| *id).collect(),
        }
    }
}

/// Of a reference's claims, the highest (authority, stamp) among those that may count.
fn claim_that_holds<'a>(
    component: &Component<'a>,
    reference: ReferenceId,
    until: Option<Timestamp>,
    deleted: &BTreeMap<ReferenceId, Timestamp>,
) -> Option<&'a Claim> {
    let (kind, facts) = component.get(&reference)?;
    let deleted_at = deleted.get(&reference);
    facts.claims.iter().rev().find(|claim| {
        let by_app = claim.authority >= Authority::APP;
        // Kinds hang upwards; the app alone may hang anything under anything.
        let upwards = claim.parent.is_none_or(|parent| {
            component.get(&parent).is_some_and(|(parent_kind, _)| by_app || parent_kind < kind)
        });
        // Once deleted, what was said by then counts for nothing, and its own auth events never again.
        let survives =
            deleted_at.is_none_or(|at| claim.stamp.at > *at && (by_app || *kind != Kind::Auth));
        upwards && survives && until.is_none_or(|until| claim.stamp.at <= until)
    })
}

/// A reference that was never reached is open; one that was opens when it is named again in a way that
/// counts, or when a later claim leads to an open root. So all on the way to one share its answer.
fn is_open(
    component: &Component<'_>,
    reference: ReferenceId,
    until: Option<Timestamp>,
    deleted: &BTreeMap<ReferenceId, Timestamp>,
    claims: &BTreeMap<ReferenceId, &Claim>,
    known: &mut BTreeMap<ReferenceId, bool>,
) {
    let named_again = |reference: ReferenceId, deleted_at: Timestamp| {
        component.get(&reference).is_some_and(|(_, facts)| {
            facts.openings.iter().any(|(at, by)| {
                *at > deleted_at
                    && until.is_none_or(|until| *at <= until)
                    && by.is_none_or(|uid| !deleted.contains_key(&uid))
            })
        })
    };
    let mut path = Vec::new();
    let mut here = Some(reference);
    let mut open = false;
    while let Some(reference) = here {
        if let Some(answer) = known.get(&reference) {
            open = *answer;
            break;
        }
        // Until the answer is found; a circle that comes back here has none, and stays closed.
        known.insert(reference, false);
        path.push(reference);
        let Some(deleted_at) = deleted.get(&reference) else {
            open = true;
            break;
        };
        if named_again(reference, *deleted_at) {
            open = true;
            break;
        }
        here = claims.get(&reference).and_then(|claim| claim.parent);
    }
    known.extend(path.into_iter().map(|reference| (reference, open)));
}

/// Cuts every circle at its lowest claim; of equal ones, at the lowest reference.
fn cut_circles(
    parents: &mut BTreeMap<ReferenceId, ReferenceId>,
    claims: &BTreeMap<ReferenceId, &Claim>,
) {
    let mut done = BTreeSet::new();
    let starts: Vec<ReferenceId> = parents.keys().copied().collect();
    for start in starts {
        let mut path = Vec::new();
        let mut places = BTreeMap::new();
        let mut here = Some(start);
        while let Some(reference) = here.filter(|reference| !done.contains(reference)) {
            if let Some(begin) = places.insert(reference, path.len()) {
                let height = |id: &ReferenceId| -> Option<(Authority, &Stamp)> {
                    claims.get(id).map(|claim| (claim.authority, &claim.stamp))
                };
                let circle = path.iter().skip(begin);
                if let Some(lowest) = circle.min_by_key(|id| (height(id), **id)) {
                    parents.remove(lowest);
                }
                break;
            }
            path.push(reference);
            here = parents.get(&reference).copied();
        }
        done.extend(path);
    }
}

/// The root of every reference that hangs under another one. There is no circle any more.
fn roots(parents: &BTreeMap<ReferenceId, ReferenceId>) -> BTreeMap<ReferenceId, ReferenceId> {
    let mut roots: BTreeMap<ReferenceId, ReferenceId> = BTreeMap::new();
    for start in parents.keys() {
        let mut path = Vec::new();
        let mut here = *start;
        let root = loop {
            if let Some(root) = roots.get(&here) {
                break *root;
            }
            let Some(parent) = parents.get(&here) else { break here };
            path.push(here);
            here = *parent;
        };
        roots.extend(path.into_iter().map(|reference| (reference, root)));
    }
    roots
}

/// Whether a payment or subscription lost its customer for good to a deletion, and whether it is erased.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fate {
    /// It stays without customer.
    pub detached: bool,
    /// Only its key stays.
    pub erased: bool,
}

/// What deletions did to an object: it hung on a reached reference by what was said by then, or hangs
/// there now and something was said of it by then.
pub fn fate(namings: &Namings, first_at: Option<Timestamp>, reaches: &[Reach]) -> Fate {
    let now = namings.hangs_on();
    let mut fate = Fate::default();
    for reach in reaches {
        let is_reached =
            |hung: Option<ReferenceId>| hung.is_some_and(|hung| reach.references.contains(&hung));
        let known_by_then = first_at.is_some_and(|first| first <= reach.at);
        if is_reached(namings.hung_on(Some(reach.at))) || (known_by_then && is_reached(now)) {
            fate.detached = true;
            fate.erased |= reach.erase_payments;
        }
    }
    fate
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::stamp::EventKey;

    const X: u128 = 1;
    const Y: u128 = 2;
    const UID: u128 = 11;
    const OTHER_UID: u128 = 12;
    const CUS: u128 = 21;

    fn id(n: u128) -> ReferenceId {
        ReferenceId(uuid::Uuid::from_u128(n))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_seconds(second).expect("in range")
    }

    /// A small language for histories: references with their claims, deletions and openings.
    #[derive(Default)]
    struct World(BTreeMap<ReferenceId, (Kind, ReferenceFacts)>);

    impl World {
        fn node(&mut self, n: u128) -> &mut ReferenceFacts {
            let kind = match n {
                0..=10 => Kind::External,
                11..=20 => Kind::Auth,
                _ => Kind::Payment,
            };
            &mut self.0.entry(id(n)).or_insert((kind, ReferenceFacts::default())).1
        }

        fn claim(mut self, n: u128, parent: u128, authority: Authority, second: i64) -> Self {
            self.node(parent);
            let stamp =
                Stamp { at: at(second), rank: 2, key: EventKey::new("s", &second.to_string(), "") };
            self.node(n).claims.insert(Claim { authority, stamp, parent: Some(id(parent)) });
            self
        }

        fn delete(mut self, n: u128, scope: Scope, second: i64) -> Self {
            let key = EventKey::new("d", &n.to_string(), "");
            let deletion = Deletion { at: at(second), key, scope, erase_payments: false };
            self.node(n).deletions.insert(deletion);
            self
        }

        fn open(mut self, n: u128, by: Option<u128>, second: i64) -> Self {
            self.node(n).openings.insert((at(second), by.map(id)));
            self
        }

        /// `reference → root`, with `closed` for closed ones.
        fn shown(&self) -> Vec<(u128, String)> {
            let component =
                self.0.iter().map(|(id, (kind, facts))| (*id, (*kind, facts))).collect();
            forest(&component)
                .standings
                .iter()
                .map(|(id, standing)| {
                    let root = standing.root.0.as_u128().to_string();
                    (id.0.as_u128(), if standing.closed { "closed".to_owned() } else { root })
                })
                .collect()
        }

        fn check(&self, expected: &[(u128, &str)]) {
            let shown = self.shown();
            let shown: Vec<_> = shown.iter().map(|(id, text)| (*id, text.as_str())).collect();
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn references_hang_under_the_external_id_that_claims_lead_to() {
        World::default()
            .claim(UID, X, Authority::AUTH, 1)
            .claim(CUS, UID, Authority::PAYMENT, 2)
            .check(&[(X, "1"), (UID, "1"), (CUS, "1")]);
    }

    #[test]
    fn the_higher_authority_holds_and_only_the_app_hangs_things_sideways() {
        World::default()
            .claim(CUS, X, Authority::APP, 1)
            .claim(CUS, Y, Authority::PAYMENT, 9)
            .claim(Y, X, Authority::PAYMENT, 9)
            .check(&[(X, "1"), (Y, "2"), (CUS, "1")]);
        World::default().claim(Y, X, Authority::APP, 1).check(&[(X, "1"), (Y, "1")]);
    }

    #[test]
    fn a_circle_is_cut_at_its_lowest_claim() {
        World::default()
            .claim(X, Y, Authority::APP, 2)
            .claim(Y, X, Authority::APP, 1)
            .check(&[(X, "2"), (Y, "2")]);
    }

    #[test]
    fn a_deletion_reaches_all_that_hung_there_then_and_nothing_that_moved_before() {
        let history = World::default()
            .claim(UID, X, Authority::AUTH, 1)
            .claim(CUS, X, Authority::PAYMENT, 1)
            .claim(CUS, Y, Authority::PAYMENT, 3)
            .delete(UID, Scope::Auto, 5);
        history.check(&[(X, "closed"), (Y, "2"), (UID, "closed"), (CUS, "2")]);
    }

    #[test]
    fn deleting_one_of_two_uids_takes_only_that_identity() {
        World::default()
            .claim(UID, X, Authority::AUTH, 1)
            .claim(OTHER_UID, X, Authority::AUTH, 1)
            .delete(UID, Scope::Auto, 5)
            .check(&[(X, "1"), (UID, "closed"), (OTHER_UID, "1")]);
    }

    #[test]
    fn a_chain_of_any_length_is_followed_to_its_end() {
        let mut world = World::default();
        for n in 1_000..21_000 {
            world = world.claim(n, n + 1, Authority::APP, 9);
        }
        let shown = world.delete(1_000, Scope::Customer, 20).shown();
        assert!(shown.iter().all(|(_, standing)| standing == "closed"), "all hung there");
    }

    #[test]
    fn deletions_of_one_time_do_not_see_each_other() {
        // Each sees the other UID still open, so each takes its own identity only.
        World::default()
            .claim(UID, X, Authority::AUTH, 1)
            .claim(OTHER_UID, X, Authority::AUTH, 1)
            .delete(UID, Scope::Auto, 5)
            .delete(OTHER_UID, Scope::Auto, 5)
            .check(&[(X, "1"), (UID, "closed"), (OTHER_UID, "closed")]);
    }

    #[test]
    fn late_echoes_and_the_uids_own_events_do_not_bring_a_person_back() {
        World::default()
            .claim(UID, X, Authority::AUTH, 1)
            .claim(CUS, X, Authority::PAYMENT, 1)
            .delete(UID, Scope::Auto, 5)
            .claim(UID, X, Authority::AUTH, 7)
            .open(X, Some(UID), 7)
            .claim(CUS, X, Authority::PAYMENT, 8)
            .check(&[(X, "closed"), (UID, "closed"), (CUS, "closed")]);
    }

    #[test]
    fn the_app_opens_its_external_id_again_and_later_claims_follow() {
        World::default()
            .claim(CUS, X, Authority::PAYMENT, 1)
            .delete(X, Scope::Customer, 5)
            .open(X, None, 6)
            .check(&[(X, "1"), (CUS, "closed")]);
        World::default()
            .claim(CUS, X, Authority::PAYMENT, 1)
            .delete(X, Scope::Customer, 5)
            .open(X, None, 6)
            .claim(CUS, X, Authority::PAYMENT, 7)
            .check(&[(X, "1"), (CUS, "1")]);
    }

    #[test]
    fn a_claim_to_a_closed_parent_outranks_lower_ones_and_leaves_a_root() {
        World::default()
            .claim(CUS, Y, Authority::PAYMENT, 1)
            .claim(CUS, X, Authority::APP, 6)
            .delete(X, Scope::Identity, 5)
            .check(&[(X, "closed"), (Y, "2"), (CUS, "21")]);
    }
}
