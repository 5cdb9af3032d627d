//! Parts of the context's document that policies read and no told context holds: whoever
//! issues it may put anything there.

use std::collections::{BTreeMap, BTreeSet};

use super::rows;
use super::settings::{VALUES, Way, reading};
use crate::db::ident::Literal;
use crate::verify::keys;
use crate::verify::model::{Policy, Relation};
use crate::verify::scope::{documents, entry};
use crate::verify::world::{World, is_view};

/// Values that rows hold, tried of one part of a document.
const COMPARED: usize = 3;

/// A part of the context's document that policies read and no told context holds.
pub(super) struct Claim<'w> {
    setting: &'w str,
    path: Vec<String>,
    /// It is compared with what rows hold, not with whose they are.
    content: bool,
    relations: Vec<&'w Relation>,
}

impl<'w> Claim<'w> {
    pub(super) fn way(&self) -> Way<'_, 'w> {
        Way {
            setting: self.setting,
            path: &self.path,
            content: self.content,
            relations: &self.relations,
        }
    }
}

/// Those that may name a tenant: they stand in policies that compare the key with the session.
/// And those that rows are compared with by what any tenant's may hold: a status, a label.
/// Who the user is, and what the token is for, names none.
pub(super) fn claims<'w>(world: &World<'w>) -> Vec<Claim<'w>> {
    let scope = world.scope;
    let contexts = || {
        let roles = scope.roles.iter().filter_map(|role| role.context.as_ref());
        scope.context.iter().chain(roles.flatten())
    };
    if !contexts().any(|statement| statement.contains("json")) {
        return Vec::new();
    }
    // Where the document names the tenant, another part that names one is a second way in.
    let named =
        contexts().any(|statement| statement.contains("json") && statement.contains(":tenant"));
    let told = |key: &String| {
        let key = Literal::new(key).to_string();
        contexts().any(|statement| statement.contains(&key))
    };
    let mut found: BTreeMap<(&str, Vec<String>, bool), Vec<&Relation>> = BTreeMap::new();
    for relation in scope
        .relations
        .iter()
        .filter(|relation| relation.rls && keys::owned(relation) && !is_view(relation))
    {
        let Some((key, _)) = keys::key(relation) else {
            continue;
        };
        for setting in &scope.context_settings {
            for policy in reading(scope, relation, setting) {
                for predicate in policy.predicates() {
                    let columns = &predicate.session_columns;
                    let tied = named && columns.iter().any(|column| column == key.as_str());
                    let content = columns.iter().any(|column| {
                        column != key.as_str()
                            && !predicate.user_columns.contains(column)
                            && is_content(world, relation, column)
                    });
                    if !tied && !content {
                        continue;
                    }
                    for path in documents::paths(&rows::spoken(world, relation, &predicate.text)) {
                        if path.len() > 2 || path.iter().all(&told) {
                            continue;
                        }
                        let user = path.last().is_some_and(|name| entry::about_user(name));
                        // A part of the row's own document is no claim, but asking costs little.
                        for content in [tied.then_some(false), (content && !user).then_some(true)] {
                            let Some(content) = content else { continue };
                            let way = (setting.as_str(), path.clone(), content);
                            let relations = found.entry(way).or_default();
                            if !relations.iter().any(|one| one.oid == relation.oid) {
                                relations.push(relation);
                            }
                        }
                    }
                }
            }
        }
    }
    found
        .into_iter()
        .take(VALUES)
        .map(|((setting, path, content), relations)| Claim {
            setting,
            path,
            content,
            relations,
        })
        .collect()
}

/// Whether rows of two tenants may hold the same in a column: it names no row, and no
/// constraint keeps it apart.
fn is_content(world: &World<'_>, relation: &Relation, column: &str) -> bool {
    let details = &world.details;
    let mut columns = details.columns_of(relation.oid);
    let Some(detail) = columns.find(|detail| detail.name == column) else {
        return false;
    };
    let words = ["text", "varchar", "citext", "bpchar", "name"].contains(&detail.base.as_str());
    let lists = detail.element.is_some() || detail.base.starts_with("json");
    (words || lists || detail.labels.is_some())
        && !details
            .uniques
            .iter()
            .any(|one| one.relation == relation.oid && one.columns == [column])
        && !details
            .references
            .iter()
            .any(|one| one.relation == relation.oid && one.columns.iter().any(|own| own == column))
}

/// What plain rows hold in columns that are compared with parts of the setting.
pub(super) fn contents(world: &World<'_>, relations: &[&Relation], setting: &str) -> Vec<String> {
    let mut held = BTreeSet::new();
    for relation in relations {
        let compared: BTreeSet<&String> = reading(world.scope, relation, setting)
            .flat_map(Policy::predicates)
            .flat_map(|predicate| &predicate.session_columns)
            .filter(|column| is_content(world, relation, column))
            .collect();
        for detail in world.details.columns_of(relation.oid) {
            if compared.contains(&detail.name) && detail.element.is_none() {
                held.insert(format!("({})::text", rows::plain(world, relation, detail)));
            }
        }
    }
    held.into_iter().take(COMPARED).collect()
}

/// Writes a value, an SQL expression, into the document that the context has set.
pub(super) fn claim(setting: &str, path: &[String], value: &str) -> String {
    let setting = Literal::new(setting);
    let document = format!("pg_catalog.current_setting({setting})::jsonb");
    let part = match path {
        [outer, inner] => {
            let (outer, inner) = (Literal::new(outer), Literal::new(inner));
            format!(
                "pg_catalog.jsonb_build_object({outer}, coalesce({document} -> {outer}, '{{}}') || pg_catalog.jsonb_build_object({inner}, {value}::text))"
            )
        }
        _ => {
            let keys: Vec<String> = path
                .iter()
                .map(|key| Literal::new(key).to_string())
                .collect();
            format!(
                "pg_catalog.jsonb_build_object({}, {value}::text)",
                keys.join(", ")
            )
        }
    };
    format!("select pg_catalog.set_config({setting}, ({document} || {part})::text, true)")
}
