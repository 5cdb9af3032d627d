//! What policies and functions say, with the names in them looked up.

use std::collections::{HashMap, HashSet};

use super::body::{self, Dictionary};
use super::predicate::{self, Callee, Names, Own};
use super::raw::Snapshot;
use crate::db::ident::Ident;
use crate::verify::model::{Body, Oid, OpenKind, Policy, Predicate, Relation, TenantKey};

pub(super) fn bodies(snapshot: &Snapshot) -> (Dictionary, HashMap<Oid, Body>) {
    let mut names = Dictionary::default();
    for relation in &snapshot.relations {
        names
            .relations
            .entry(relation.name.clone())
            .or_default()
            .push((relation.schema.clone(), relation.oid));
    }
    for function in &snapshot.functions {
        names
            .functions
            .entry(function.name.clone())
            .or_default()
            .push((function.schema.clone(), function.oid));
    }
    let mut bodies = HashMap::new();
    for function in &snapshot.functions {
        let source = function.source.as_deref().unwrap_or_default();
        let mut body = body::read(&function.language, source, &names);
        body.session_sets.extend(body::set_statements(source));
        body.calls.retain(|callee| *callee != function.oid);
        source.clone_into(&mut body.text);
        bodies.insert(function.oid, body);
    }
    sends(snapshot, &names, &mut bodies);
    let definers = snapshot
        .functions
        .iter()
        .filter(|function| function.definer)
        .map(|function| function.oid)
        .collect();
    body::close(&mut bodies, &definers);
    (names, bodies)
}

/// What functions notify, also through others that pass on what they are given.
fn sends(snapshot: &Snapshot, names: &Dictionary, bodies: &mut HashMap<Oid, Body>) {
    let mut senders: HashSet<Oid> = HashSet::new();
    loop {
        let before = senders.len();
        let passes_on = |schema: Option<&str>, name: &str| {
            Dictionary::find(&names.functions, schema, name)
                .iter()
                .any(|oid| senders.contains(oid))
        };
        let mut found = Vec::new();
        for function in &snapshot.functions {
            let source = function.source.as_deref().unwrap_or_default();
            let may = source.to_ascii_lowercase().contains("notify")
                || bodies
                    .get(&function.oid)
                    .is_some_and(|body| body.calls.iter().any(|callee| senders.contains(callee)));
            if may && let Some(text) = super::sends::payload(source, &passes_on) {
                found.push((function.oid, text));
            }
        }
        for (oid, text) in found {
            senders.insert(oid);
            if let Some(body) = bodies.get_mut(&oid) {
                body.payload = Some(text);
            }
        }
        if senders.len() == before {
            return;
        }
    }
}

struct Known<'a> {
    snapshot: &'a Snapshot,
    dictionary: &'a Dictionary,
    bodies: &'a HashMap<Oid, Body>,
}

impl Names for Known<'_> {
    fn functions(&self, schema: Option<&str>, name: &str) -> Vec<Callee> {
        let bound = |oid: &Oid| {
            self.snapshot
                .relation(*oid)
                .is_some_and(|relation| relation.rls)
        };
        Dictionary::find(&self.dictionary.functions, schema, name)
            .into_iter()
            .filter_map(|oid| self.bodies.get(&oid).map(|body| (oid, body)))
            .map(|(oid, body)| Callee {
                oid,
                session: body.session || body.reads.iter().any(bound),
                opaque: body.opaque || body.dynamic,
                document: std::iter::once(&oid)
                    .chain(&body.calls)
                    .filter_map(|oid| self.bodies.get(oid))
                    .any(|body| body.text.contains("->")),
                settings: body.settings.clone(),
                reads: body.reads.clone(),
            })
            .collect()
    }

    fn relation(&self, schema: Option<&str>, name: &str) -> Option<(Oid, bool)> {
        let oid = *Dictionary::find(&self.dictionary.relations, schema, name).first()?;
        Some((oid, self.snapshot.relation(oid)?.rls))
    }
}

pub(super) fn policies(
    snapshot: &Snapshot,
    dictionary: &Dictionary,
    bodies: &HashMap<Oid, Body>,
) -> Vec<Policy> {
    let known = Known {
        snapshot,
        dictionary,
        bodies,
    };
    let mut owns: HashMap<Oid, Own<'_>> = HashMap::new();
    let mut policies = Vec::new();
    for policy in &snapshot.policies {
        let Some(relation) = snapshot.relation(policy.relation) else {
            continue;
        };
        let own = owns.entry(policy.relation).or_insert_with(|| Own {
            name: &relation.name,
            columns: relation
                .columns
                .iter()
                .map(|column| column.name.as_str())
                .collect(),
        });
        let predicate = |text: &Option<String>| -> Option<Predicate> {
            text.as_deref()
                .map(|text| predicate::read(text, own, &known))
        };
        policies.push(Policy {
            oid: policy.oid,
            relation: policy.relation,
            name: Ident::new(&policy.name),
            permissive: policy.permissive,
            command: policy.command,
            roles: policy.roles.clone(),
            using: predicate(&policy.using),
            check: predicate(&policy.check),
        });
    }
    policies
}

/// `x is null` shares rows only where `x` is the relation's key; else it is a condition like any other.
pub(super) fn shared_rows(policies: &mut [Policy], relations: &[Relation]) {
    let keys: HashMap<Oid, &TenantKey> = relations
        .iter()
        .map(|relation| (relation.oid, &relation.tenant))
        .collect();
    for policy in policies {
        let (key, always) = match keys.get(&policy.relation) {
            Some(TenantKey::Column {
                column, nullable, ..
            }) => (column.as_str(), !nullable),
            _ => ("", false),
        };
        for predicate in policy.using.iter_mut().chain(policy.check.iter_mut()) {
            if always && predicate.text.to_lowercase().contains(" distinct from ") {
                let none = format!("{key} is null");
                predicate.open.retain(|open| {
                    open.kind != OpenKind::SharedRows || open.text.replace('"', "") != none
                });
            }
        }
        let opens = policy
            .using
            .iter_mut()
            .chain(policy.check.iter_mut())
            .flat_map(|predicate| predicate.open.iter_mut());
        for open in opens.filter(|open| open.kind == OpenKind::SharedRows) {
            let column = open
                .text
                .trim_end_matches(" is null")
                .trim_matches(['"', '(', ')']);
            if column != key {
                open.kind = OpenKind::Row;
            }
        }
    }
}
