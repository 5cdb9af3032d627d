//! What tells who the user is, where no name says so: it is compared with a column of the rows
//! that say who belongs to which tenant, and never with the tenant itself.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::entry::{about_bypass, about_user};
use super::lexer::tokens;
use super::members::{compared_by, spoken};
use super::raw::Snapshot;
use super::{documents, switches};
use crate::verify::model::{Body, Oid, Policy};

/// Settings and functions, by name. None where a name says so already: what else is
/// compared with such rows is a rank or a place then.
pub(super) fn told(
    snapshot: &Snapshot,
    policies: &[Policy],
    bodies: &HashMap<Oid, Body>,
    columns: &[String],
    table: Option<&(Oid, String)>,
    readers: &HashSet<String>,
) -> HashSet<String> {
    let sources = sources(snapshot, policies, bodies);
    let named = |source: &Source<'_>| {
        about_user(source.name) || source.functions.iter().any(|name| about_user(name))
    };
    if sources.is_empty() || sources.iter().any(named) {
        return HashSet::new();
    }
    let texts = spoken(policies, bodies);
    let asked: BTreeSet<Oid> = policies
        .iter()
        .flat_map(|policy| {
            let all = policy.predicates().flat_map(|predicate| &predicate.reads);
            all.filter(|read| **read != policy.relation)
        })
        .copied()
        .collect();
    let tells_members = |compared: &BTreeSet<String>| {
        snapshot.relations.iter().any(|relation| {
            let holds = |name: &String| relation.column_named(name).is_some();
            asked.contains(&relation.oid)
                && table.is_none_or(|(table, _)| *table != relation.oid)
                && columns.iter().any(holds)
                && compared.iter().any(holds)
        })
    };
    let mut found = HashSet::new();
    for source in sources {
        let setting = |name: &str| name.eq_ignore_ascii_case(source.name);
        let called = |name: &str| source.functions.contains(name);
        let compared: BTreeSet<String> = texts
            .iter()
            .flat_map(|text| compared_by(text, &setting, &called))
            .collect();
        // Policies of the table of tenants compare it with the key themselves.
        let registered = table.is_some_and(|(table, key)| {
            Policy::on(policies, *table)
                .any(|one| compared_by(&tokens(&one.text), &setting, &called).contains(key))
        });
        let tenant = registered || columns.iter().any(|column| compared.contains(column));
        let plain: Vec<&str> = source.texts.iter().map(String::as_str).collect();
        let switch = about_bypass(source.name) || switches::is_switch(&plain, source.name, readers);
        if !tenant && !switch && tells_members(&compared) {
            found.insert(source.name.to_owned());
            found.extend(source.functions.into_iter().map(str::to_owned));
        }
    }
    found
}

/// A setting that policies read, and the functions that do no more than to hand it out.
struct Source<'a> {
    name: &'a str,
    functions: BTreeSet<&'a str>,
    texts: Vec<String>,
}

fn sources<'a>(
    snapshot: &'a Snapshot,
    policies: &'a [Policy],
    bodies: &'a HashMap<Oid, Body>,
) -> Vec<Source<'a>> {
    let predicates = || policies.iter().flat_map(Policy::predicates);
    let read: BTreeSet<&str> = predicates()
        .flat_map(|predicate| &predicate.settings)
        .map(String::as_str)
        .filter(|setting| setting.contains('.'))
        .collect();
    let mut found: BTreeMap<&str, Source<'a>> = BTreeMap::new();
    for name in read {
        let texts = predicates().map(|predicate| predicate.text.clone());
        let source = Source {
            name,
            functions: BTreeSet::new(),
            texts: texts.filter(|text| text.contains(name)).collect(),
        };
        found.insert(name, source);
    }
    for function in &snapshot.functions {
        let Some(body) = bodies.get(&function.oid).filter(|one| one.reads.is_empty()) else {
            continue;
        };
        let [setting] = &body.settings[..] else {
            continue;
        };
        let Some(source) = found.get_mut(setting.as_str()) else {
            continue;
        };
        if documents::paths(&body.text).is_empty() {
            source.functions.insert(&function.name);
            source.texts.push(body.text.clone());
        } else {
            // A document is no user, though what stands in it may be.
            found.remove(setting.as_str());
        }
    }
    found.into_values().collect()
}
