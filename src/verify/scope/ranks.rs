//! Ranks that hold on the whole platform: values that policies ask a user's row for
//! instead of a tie to the tenant, throughout, and nowhere beside such a tie.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::entry::about_user;
use super::lexer::{Token, tokens};
use super::raw::{Reference, Snapshot};
use crate::verify::model::{Body, Oid, OpenKind, Policy, Relation, TenantKey};

/// Tables that a rank must open before it is taken for one of the platform. Where rows of the
/// list belong to tenants it never is: each tenant appoints its own administrators, and a
/// policy that asks for one alone has forgotten the tenant.
const OPENED: usize = 2;

/// The values, and what they open taken out of what contexts must tell.
pub(super) fn everywhere(
    looks_up: &LookUps<'_>,
    policies: &mut [Policy],
    relations: &[Relation],
    bodies: &HashMap<Oid, Body>,
) -> BTreeSet<String> {
    let mut opened: BTreeMap<String, (BTreeSet<Oid>, bool)> = BTreeMap::new();
    let mut tied: BTreeSet<String> = BTreeSet::new();
    let within = |oid: &Oid| {
        relations.iter().any(|relation| {
            relation.oid == *oid && matches!(relation.tenant, TenantKey::Column { .. })
        })
    };
    // What a restrictive policy holds to the tenant, no permissive one opens to all.
    let gated: BTreeSet<Oid> = policies
        .iter()
        .filter(|policy| !policy.permissive)
        .map(|policy| policy.relation)
        .collect();
    for policy in policies.iter() {
        let opens = policy.permissive && !gated.contains(&policy.relation);
        for predicate in policy.predicates() {
            let mut rest = Spoken::of(&predicate.text, looks_up);
            for open in predicate.open.iter().filter(|_| opens) {
                let spoken = Spoken::of(&open.text, looks_up);
                rest.less(&spoken);
                if open.kind != OpenKind::Session || !spoken.reads {
                    continue;
                }
                let own = spoken.lists(bodies, &predicate.reads).any(within);
                for value in spoken.values(bodies) {
                    let (tables, belongs) = opened.entry(value).or_default();
                    tables.insert(policy.relation);
                    *belongs |= own;
                }
            }
            tied.extend(rest.values(bodies));
        }
    }
    opened.retain(|value, (tables, belongs)| {
        !*belongs && tables.len() >= OPENED && !tied.contains(value)
    });
    let found: BTreeSet<String> = opened.into_keys().collect();
    for predicate in policies
        .iter_mut()
        .flat_map(|policy| policy.using.iter_mut().chain(&mut policy.check))
    {
        for open in &mut predicate.open {
            if open.kind == OpenKind::Session && Spoken::of(&open.text, looks_up).reads {
                open.texts.retain(|text| !found.contains(text));
            }
        }
    }
    found
}

/// Lists of who runs the platform: users, whom the policies of several tables ask for instead
/// of a tie to the tenant. Nothing else is asked of such a list, nothing refers to it, and
/// nobody puts himself there: no user of a tenant stands in it.
pub(super) fn lists(
    looks_up: &LookUps<'_>,
    policies: &[Policy],
    relations: &[Relation],
    bodies: &HashMap<Oid, Body>,
    references: &[Reference],
) -> Vec<Oid> {
    let mut opening: BTreeMap<Oid, BTreeSet<Oid>> = BTreeMap::new();
    let mut tying = BTreeSet::new();
    for policy in policies {
        for predicate in policy.predicates() {
            let mut rest = Spoken::of(&predicate.text, looks_up);
            for open in predicate.open.iter().filter(|_| policy.permissive) {
                let spoken = Spoken::of(&open.text, looks_up);
                rest.less(&spoken);
                if open.kind == OpenKind::Session {
                    for list in spoken.asked(bodies, relations, &predicate.reads) {
                        opening.entry(list).or_default().insert(policy.relation);
                    }
                }
            }
            tying.extend(rest.asked(bodies, relations, &predicate.reads));
        }
    }
    let opens = |list: Oid| opening.get(&list).is_some_and(|all| all.len() >= OPENED);
    let refers = |list: Oid| {
        let mut all = references.iter();
        all.any(|one| one.parent == list && one.child != list)
    };
    relations
        .iter()
        .filter(|one| {
            one.holds_tenants() && of_users(one, relations) && !joined_freely(one, policies)
        })
        .map(|relation| relation.oid)
        .filter(|list| opens(*list) && !tying.contains(list) && !refers(*list))
        .collect()
}

/// Its rows are users', and no tenant's: itself, or by the one table of people they refer to.
fn of_users(relation: &Relation, relations: &[Relation]) -> bool {
    let own = |relation: &Relation| {
        let TenantKey::Owns(owns) = &relation.tenant else {
            return false;
        };
        let own = owns.strip_suffix("::text = :user");
        own.is_some_and(|own| !own.contains(' '))
    };
    match &relation.tenant {
        TenantKey::Parent { parent, .. } => relations
            .iter()
            .any(|people| people.oid == *parent && own(people)),
        _ => own(relation),
    }
}

/// A policy lets users write rows of their own there.
fn joined_freely(relation: &Relation, policies: &[Policy]) -> bool {
    let written = policies.iter().filter(|policy| {
        policy.permissive && policy.relation == relation.oid && !matches!(policy.command, 'r' | 'd')
    });
    let mut checks = written.filter_map(|policy| policy.check.as_ref().or(policy.using.as_ref()));
    checks.any(|check| {
        check.open.is_empty()
            && !check.tied_columns.is_empty()
            && !check.reads.contains(&relation.oid)
    })
}

/// Functions that read tables, by name, and those that only tell who the user is.
pub(super) struct LookUps<'a> {
    reading: HashMap<&'a str, Vec<Oid>>,
    telling: BTreeSet<&'a str>,
    /// What else tells it, by any name.
    told: HashSet<String>,
}

impl<'a> LookUps<'a> {
    pub(super) fn of(
        snapshot: &'a Snapshot,
        bodies: &HashMap<Oid, Body>,
        told: &HashSet<String>,
    ) -> Self {
        let mut reading: HashMap<&str, Vec<Oid>> = HashMap::new();
        let mut telling = BTreeSet::new();
        for function in &snapshot.functions {
            let Some(body) = bodies.get(&function.oid) else {
                continue;
            };
            if !body.reads.is_empty() {
                reading
                    .entry(&function.name)
                    .or_default()
                    .push(function.oid);
            } else if !body.settings.is_empty() && body.settings.iter().all(|name| about_user(name))
            {
                telling.insert(function.name.as_str());
            }
        }
        Self {
            reading,
            telling,
            told: told.clone(),
        }
    }

    #[cfg(test)]
    pub(super) fn named(names: &[&'a str]) -> Self {
        Self {
            reading: names.iter().map(|name| (*name, Vec::new())).collect(),
            telling: BTreeSet::new(),
            told: HashSet::new(),
        }
    }

    /// One of them has this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.reading.contains_key(name)
    }

    /// What it gives is the user: its name says so, or all that it reads is a setting of such
    /// a name.
    pub(super) fn tells_user(&self, name: &str) -> bool {
        about_user(name) || self.telling.contains(name) || self.told.contains(name)
    }
}

/// What a text speaks of, how often.
#[derive(Default)]
struct Spoken {
    texts: BTreeMap<String, usize>,
    calls: BTreeMap<Oid, usize>,
    tables: BTreeMap<String, usize>,
    /// Rows of tables decide.
    reads: bool,
    /// It names them itself.
    names: bool,
}

impl Spoken {
    fn of(text: &str, looks_up: &LookUps<'_>) -> Self {
        let mut spoken = Self::default();
        let tokens = tokens(text);
        for (at, token) in tokens.iter().enumerate() {
            if let Token::Text(text) = token
                && !excluded(&tokens, at)
            {
                *spoken.texts.entry(text.clone()).or_default() += 1;
            }
            if token.is_word("from") || token.is_word("join") {
                spoken.names = true;
                let dot = tokens.get(at + 2).is_some_and(|next| next.is("."));
                let name = tokens.get(at + if dot { 3 } else { 1 });
                if let Some(name) = name.and_then(Token::name) {
                    *spoken.tables.entry(name.to_owned()).or_default() += 1;
                }
            }
            let called = tokens.get(at + 1).is_some_and(|next| next.is("("));
            for oid in token
                .name()
                .filter(|_| called)
                .and_then(|name| looks_up.reading.get(name))
                .into_iter()
                .flatten()
            {
                *spoken.calls.entry(*oid).or_default() += 1;
                spoken.reads = true;
            }
        }
        spoken.reads |= spoken.names;
        spoken
    }

    fn less(&mut self, part: &Self) {
        for (text, count) in &part.texts {
            if let Some(own) = self.texts.get_mut(text) {
                *own = own.saturating_sub(*count);
            }
        }
        for (call, count) in &part.calls {
            if let Some(own) = self.calls.get_mut(call) {
                *own = own.saturating_sub(*count);
            }
        }
        for (table, count) in &part.tables {
            if let Some(own) = self.tables.get_mut(table) {
                *own = own.saturating_sub(*count);
            }
        }
    }

    /// The tables that it asks itself, and those that the functions ask.
    fn asked(
        &self,
        bodies: &HashMap<Oid, Body>,
        relations: &[Relation],
        around: &[Oid],
    ) -> BTreeSet<Oid> {
        let called = self.calls.iter().filter(|(_, count)| **count > 0);
        let called = called.filter_map(|(oid, _)| bodies.get(oid));
        let named = |relation: &&Relation| {
            let times = self.tables.get(relation.name.name.as_str());
            around.contains(&relation.oid) && times.is_some_and(|times| *times > 0)
        };
        let itself = relations.iter().filter(named).map(|relation| relation.oid);
        called
            .flat_map(|body| body.reads.iter().copied())
            .chain(itself)
            .collect()
    }

    /// The tables whose rows decide: those that the functions read, or, where it names some
    /// itself, all that the predicate around it reads.
    fn lists<'a>(
        &'a self,
        bodies: &'a HashMap<Oid, Body>,
        around: &'a [Oid],
    ) -> impl Iterator<Item = &'a Oid> {
        let called = self.calls.iter().filter(|(_, count)| **count > 0);
        called
            .filter_map(|(oid, _)| bodies.get(oid))
            .flat_map(|body| &body.reads)
            .chain(around.iter().filter(|_| self.names))
    }

    /// The values themselves, and those in the texts of what is called.
    fn values(&self, bodies: &HashMap<Oid, Body>) -> BTreeSet<String> {
        let own = self.texts.iter().filter(|(_, count)| **count > 0);
        let mut all: BTreeSet<String> = own.map(|(text, _)| text.clone()).collect();
        let called = self.calls.iter().filter(|(_, count)| **count > 0);
        for body in called.filter_map(|(oid, _)| bodies.get(oid)) {
            all.extend(
                tokens(&body.text)
                    .into_iter()
                    .filter_map(|token| match token {
                        Token::Text(text) => Some(text),
                        _ => None,
                    }),
            );
        }
        all
    }
}

/// Whether something is to differ from the text there: `rank <> 'chief'`.
fn excluded(tokens: &[Token], at: usize) -> bool {
    let differs = |place: usize| {
        let token = tokens.get(place);
        token.is_some_and(|token| token.is("<>") || token.is("!="))
    };
    let listed = |token: &Token| {
        matches!(token, Token::Text(_) | Token::Word(_) | Token::Quoted(_))
            || ["(", "[", ",", "::", "."]
                .iter()
                .any(|punct| token.is(punct))
    };
    let mut before = (0..at).rev();
    match before.find(|place| tokens[*place].is_word("all") || !listed(&tokens[*place])) {
        Some(place) if tokens[place].is_word("all") => place > 0 && differs(place - 1),
        _ => at > 0 && differs(at - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_beside_a_tie_is_left_over() {
        let none = LookUps::named(&[]);
        let mut whole = Spoken::of(
            "(org = f('a')) or exists (select from m where r = 'b')",
            &none,
        );
        let part = Spoken::of("exists (select from m where r = 'b')", &none);
        assert!(part.reads);
        whole.less(&part);
        let left: Vec<String> = whole.values(&HashMap::new()).into_iter().collect();
        assert_eq!(left, ["a"]);
    }

    #[test]
    fn what_is_ruled_out_is_not_asked_for() {
        let none = LookUps::named(&[]);
        let values = |text: &str| {
            let all = Spoken::of(text, &none).values(&HashMap::new());
            all.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(values("r <> 'a'::t and s = 'b'"), ["b"]);
        assert_eq!(
            values("(r <> ALL (ARRAY['a'::x.t, 'b'::x.t])) and f('c')"),
            ["c"]
        );
        assert_eq!(values("r = any (array['a', 'b'])"), ["a", "b"]);
    }
}
