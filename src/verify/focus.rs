//! What a verification that was asked about a few objects must look at: they,
//! what shows or holds their rows, and what their rows refer to.

use std::collections::HashSet;

use super::details::Details;
use super::keys;
use super::model::{Oid, Policy, Scope, TenantKey};
use super::scope::lexer::tokens;

/// The objects to probe, and the tables that rows are made in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Focus {
    /// Relations to probe; all where none.
    relations: Option<HashSet<Oid>>,
    /// Functions to call; all where none.
    functions: Option<HashSet<Oid>>,
    /// Tables whose rows are needed.
    made: HashSet<Oid>,
    /// What another session holds: neither.
    held: HashSet<Oid>,
}

impl Focus {
    /// Everything, or what depends on `only`.
    pub(crate) fn of(scope: &Scope, details: &Details, only: Option<&[Oid]>) -> Self {
        let relations = only.map(|only| around(scope, details, only));
        let functions = only
            .zip(relations.as_ref())
            .map(|(only, relations)| callers(scope, only, relations));
        let made = needed(scope, details, relations.as_ref());
        let held = scope.relations.iter().map(|relation| relation.oid);
        Self {
            relations,
            functions,
            made,
            held: held.filter(|oid| scope.held.relation(*oid)).collect(),
        }
    }

    /// Whether a relation is to be probed.
    pub(crate) fn relation(&self, oid: Oid) -> bool {
        let list = self.relations.as_ref();
        list.is_none_or(|list| list.contains(&oid)) && !self.held.contains(&oid)
    }

    /// What is probed or made, and more.
    pub(crate) fn and(&self, mut more: HashSet<Oid>) -> HashSet<Oid> {
        more.extend(self.relations.iter().flatten().chain(&self.made));
        more
    }

    /// Whether a function is to be called.
    pub(crate) fn function(&self, oid: Oid) -> bool {
        self.functions
            .as_ref()
            .is_none_or(|list| list.contains(&oid))
    }

    /// Whether rows of a table are needed.
    pub(crate) fn makes(&self, oid: Oid) -> bool {
        self.made.contains(&oid) && !self.held.contains(&oid)
    }
}

/// Adds until nothing new comes.
fn grow(set: &mut HashSet<Oid>, mut more: impl FnMut(&HashSet<Oid>) -> Vec<Oid>) {
    loop {
        let before = set.len();
        let found = more(set);
        set.extend(found);
        if set.len() == before {
            return;
        }
    }
}

/// Partitions and parents of the relations asked for, views over them, tables whose
/// policies call a function that was asked for or read such a table, what functions
/// that were asked for read and write, and whose deletions change such a table.
fn around(scope: &Scope, details: &Details, only: &[Oid]) -> HashSet<Oid> {
    let mut set: HashSet<Oid> = only.iter().copied().collect();
    for policy in &scope.policies {
        let called = policy.predicates().any(|predicate| {
            predicate
                .functions
                .iter()
                .chain(&predicate.reads)
                .any(|oid| only.contains(oid))
        });
        if called {
            set.insert(policy.relation);
        }
    }
    for function in &scope.functions {
        if only.contains(&function.oid) {
            set.extend(function.body.reads.iter().chain(&function.body.writes));
        }
    }
    let cascading = details
        .references
        .iter()
        .filter(|reference| reference.cascades() && set.contains(&reference.relation));
    let parents: Vec<Oid> = cascading.map(|reference| reference.parent).collect();
    set.extend(parents);
    grow(&mut set, |set| {
        let views = details
            .uses
            .iter()
            .filter(|(_, below)| set.contains(below))
            .map(|(view, _)| *view);
        let family = scope.relations.iter().filter_map(|relation| {
            let child = relation.parents.iter().any(|parent| set.contains(parent));
            child.then_some(relation.oid)
        });
        let above = scope
            .relations
            .iter()
            .filter(|relation| set.contains(&relation.oid))
            .flat_map(|relation| relation.parents.iter().copied());
        views.chain(family).chain(above).collect()
    });
    set
}

/// The functions asked for, those that read or write the relations, and who calls them.
fn callers(scope: &Scope, only: &[Oid], relations: &HashSet<Oid>) -> HashSet<Oid> {
    let mut set: HashSet<Oid> = only.iter().copied().collect();
    set.extend(
        scope
            .functions
            .iter()
            .filter(|function| {
                let body = &function.body;
                body.reads
                    .iter()
                    .chain(&body.writes)
                    .any(|oid| relations.contains(oid))
            })
            .map(|function| function.oid),
    );
    grow(&mut set, |set| {
        scope
            .functions
            .iter()
            .filter(|function| function.body.calls.iter().any(|oid| set.contains(oid)))
            .map(|function| function.oid)
            .collect()
    });
    set
}

/// The tables below what is probed, with all that their rows refer to. Tables that
/// belong to nobody and that nobody can reach need no rows.
fn needed(scope: &Scope, details: &Details, relations: Option<&HashSet<Oid>>) -> HashSet<Oid> {
    let mut set: HashSet<Oid> = match relations {
        Some(list) => list.clone(),
        None => scope
            .relations
            .iter()
            .filter(|relation| keys::owned(relation) || details.granted(relation.oid))
            .map(|relation| relation.oid)
            .collect(),
    };
    if relations.is_some() {
        // The tenants themselves, and those who act for them.
        set.extend(scope.tenants.table.as_ref().map(|(oid, _)| *oid));
        set.extend(users(scope));
    }
    grow(&mut set, |set| {
        let parents = details
            .references
            .iter()
            .filter(|reference| set.contains(&reference.relation))
            .map(|reference| reference.parent);
        let below = details
            .uses
            .iter()
            .filter(|(view, _)| set.contains(view))
            .map(|(_, below)| *below);
        let read = scope
            .policies
            .iter()
            .filter(|policy| set.contains(&policy.relation))
            .flat_map(Policy::predicates)
            .flat_map(|predicate| predicate.reads.iter().copied());
        let above = scope
            .relations
            .iter()
            .filter(|relation| set.contains(&relation.oid))
            .flat_map(|relation| relation.parents.iter().copied());
        parents.chain(below).chain(read).chain(above).collect()
    });
    let appointing: Vec<Oid> = set
        .iter()
        .copied()
        .filter(|oid| appoints(scope, details, *oid))
        .collect();
    for oid in appointing {
        set.remove(&oid);
    }
    set
}

/// Tables that are asked who acts for a tenant.
fn users(scope: &Scope) -> impl Iterator<Item = Oid> {
    let queries = scope.roles.iter().filter_map(|role| role.user.as_deref());
    let names: HashSet<String> = queries
        .chain(scope.memberships.as_deref())
        .flat_map(tokens)
        .filter_map(|token| token.name().map(str::to_owned))
        .collect();
    scope
        .relations
        .iter()
        .filter(move |relation| names.contains(relation.name.name.as_str()))
        .map(|relation| relation.oid)
}

/// A list of users that policies look up and nobody sees: `admins (user_id primary key)`. A
/// row in it says nothing of whose it is; it would make a tenant's user one who may do more.
fn appoints(scope: &Scope, details: &Details, oid: Oid) -> bool {
    let Some(relation) = scope.relation(oid) else {
        return false;
    };
    let refers = |columns: &[String]| {
        details
            .references
            .iter()
            .any(|reference| reference.relation == oid && reference.columns == columns)
    };
    let listed = details
        .uniques
        .iter()
        .filter(|unique| unique.relation == oid && unique.columns.len() == 1)
        .any(|unique| refers(&unique.columns));
    let shown = details.granted(oid)
        && (!relation.rls
            || scope
                .policies
                .iter()
                .any(|policy| policy.relation == oid && policy.permissive));
    let asked = scope
        .policies
        .iter()
        .filter(|policy| policy.relation != oid)
        .flat_map(Policy::predicates)
        .any(|predicate| predicate.reads.contains(&oid));
    let told = matches!(
        relation.tenant,
        TenantKey::Column { .. } | TenantKey::Expression(_)
    );
    listed
        && asked
        && !shown
        && !told
        && !details
            .references
            .iter()
            .any(|reference| reference.parent == oid && reference.relation != oid)
}
