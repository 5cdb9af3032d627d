//! What can be told from the catalogue where the configuration is silent: the
//! column that holds the tenant, the table of tenants, the way into a context.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::brackets::closing;
use super::lexer::{Token, tokens};
use super::raw::{Reference, Snapshot};
use crate::verify::model::{Oid, Policy};

/// Column names that policies tie to the session, most frequent first.
pub(crate) fn tenant_columns(snapshot: &Snapshot, policies: &[Policy]) -> Vec<String> {
    let mut votes: BTreeMap<&str, BTreeSet<Oid>> = BTreeMap::new();
    for policy in policies {
        for predicate in policy.predicates() {
            for column in predicate
                .session_columns
                .iter()
                .filter(|column| *column != "*" && !document(snapshot, policy.relation, column))
            {
                votes.entry(column).or_default().insert(policy.relation);
            }
        }
    }
    let mut ranked: Vec<(&str, usize)> = votes
        .iter()
        .map(|(column, relations)| (*column, relations.len()))
        .collect();
    // What is compared with the user alone says who made a row, where something else says whose it is.
    let users = of_users(policies);
    // `id` and users' columns can be a key of their own table, not the name to look for everywhere.
    let weak = |column: &str| {
        column == "id"
            || column.contains("user")
            || column.contains("owner")
            || users.contains(column)
    };
    ranked.sort_by_key(|(column, votes)| (weak(column), std::cmp::Reverse(*votes), *column));
    ranked.retain(|(column, _)| *column != "id");
    let counted: BTreeMap<&str, usize> = ranked.iter().copied().collect();
    ranked.retain(|(column, own)| !leads_to_users(snapshot, policies, column, *own, &counted));
    if ranked.iter().any(|(column, _)| !users.contains(column)) {
        ranked.retain(|(column, _)| !users.contains(column));
    }
    let mut columns: Vec<&str> = ranked.iter().map(|(column, _)| *column).collect();
    if let Some(place) = told_by(snapshot, policies, &ranked) {
        columns[..=place].rotate_right(1);
    }
    if let Some(place) = better_known(snapshot, policies, &columns) {
        columns[..=place].rotate_right(1);
    }
    columns.into_iter().map(str::to_owned).collect()
}

/// The place of a column that tells whose the rows are which the first refers to, where about
/// as many relations are told by it: an account belongs to an organisation.
fn told_by(snapshot: &Snapshot, policies: &[Policy], ranked: &[(&str, usize)]) -> Option<usize> {
    let ((first, votes), rest) = ranked.split_first()?;
    let accounts = referred(snapshot, first);
    let tied = tied(policies);
    rest.iter()
        .position(|(other, own)| {
            own * 2 >= *votes
                && !accounts.is_empty()
                && accounts
                    .iter()
                    .all(|oid| tied.get(oid).is_some_and(|tied| tied.contains(*other)))
                && !referred(snapshot, other).is_empty()
                && referred(snapshot, other).is_disjoint(&accounts)
        })
        .map(|place| place + 1)
}

/// The place of a column that refers to a table, where the first refers to none, though all
/// that it is asked of has the other too: a region that one more policy asks for is not
/// whose row it is.
fn better_known(snapshot: &Snapshot, policies: &[Policy], columns: &[&str]) -> Option<usize> {
    let (first, rest) = columns.split_first()?;
    let bears = |oid: Oid, column: &str| {
        snapshot
            .relation(oid)
            .is_some_and(|relation| relation.column_named(column).is_some())
    };
    if !referred(snapshot, first).is_empty() {
        return None;
    }
    let asked: Vec<Oid> = tied(policies)
        .into_iter()
        .filter(|(_, columns)| columns.contains(*first))
        .map(|(oid, _)| oid)
        .collect();
    rest.iter()
        .position(|other| {
            let parents = referred(snapshot, other);
            !parents.is_empty()
                && !parents.iter().any(|parent| bears(*parent, first))
                && asked.iter().all(|oid| bears(*oid, other))
        })
        .map(|place| place + 1)
}

/// Columns that half of the relations which tie them to the session compare with the user:
/// a tenant's may be compared with a list of the user's tenants in some, too.
pub(crate) fn of_users(policies: &[Policy]) -> BTreeSet<&str> {
    let mut votes: BTreeMap<&str, (BTreeSet<Oid>, BTreeSet<Oid>)> = BTreeMap::new();
    for policy in policies {
        for predicate in policy.predicates() {
            for column in &predicate.session_columns {
                votes.entry(column).or_default().0.insert(policy.relation);
            }
            for column in &predicate.user_columns {
                votes.entry(column).or_default().1.insert(policy.relation);
            }
        }
    }
    votes
        .into_iter()
        .filter(|(_, (tied, users))| users.len() * 2 >= tied.len() && !users.is_empty())
        .map(|(column, _)| column)
        .collect()
}

/// A document is not the tenant, though what stands in it may be.
fn document(snapshot: &Snapshot, relation: Oid, column: &str) -> bool {
    snapshot
        .relation(relation)
        .and_then(|relation| relation.column_named(column))
        .is_some_and(|column| column.type_name.starts_with("json"))
}

/// Leaves out columns that cannot hold what the first one holds: of another type,
/// or the key of a row in a table that has a tenant of its own.
pub(crate) fn keep_alike(snapshot: &Snapshot, policies: &[Policy], columns: &mut Vec<String>) {
    let Some(first) = columns.first().cloned() else {
        return;
    };
    let family = |name: &str| -> BTreeSet<&str> {
        snapshot
            .relations
            .iter()
            .filter_map(|relation| relation.column_named(name))
            .map(|column| family(&column.type_name))
            .collect()
    };
    let wanted = family(&first);
    columns.retain(|name| {
        *name == first
            || !wanted.is_disjoint(&family(name))
                && !leads_elsewhere(snapshot, name, &first)
                && !leads_to_owned(snapshot, name, &first)
                && !joined_to_owned(snapshot, policies, name, &first)
    });
}

/// Whether a column refers to rows of other tables only than those that the first one refers to:
/// their ids are other ids.
fn leads_elsewhere(snapshot: &Snapshot, name: &str, first: &str) -> bool {
    let (own, tenants) = (referred(snapshot, name), referred(snapshot, first));
    !own.is_empty() && !tenants.is_empty() && own.is_disjoint(&tenants)
}

/// The tables that columns of this name refer to by themselves.
fn referred(snapshot: &Snapshot, name: &str) -> BTreeSet<Oid> {
    snapshot
        .references
        .iter()
        .filter(|reference| {
            let [number] = reference.columns[..] else {
                return false;
            };
            snapshot
                .relation(reference.child)
                .and_then(|child| child.column(number))
                .is_some_and(|column| column.name == name)
        })
        .map(|reference| reference.parent)
        .collect()
}

/// Whether policies find by a column rows that belong to a tenant, and not by the tenant.
fn joined_to_owned(snapshot: &Snapshot, policies: &[Policy], name: &str, first: &str) -> bool {
    let bears = |oid: Oid| {
        snapshot
            .relation(oid)
            .is_some_and(|relation| relation.column_named(first).is_some())
    };
    policies
        .iter()
        .flat_map(Policy::predicates)
        .flat_map(|predicate| predicate.joins.iter().flatten())
        .filter(|join| bears(join.relation))
        .flat_map(|join| &join.pairs)
        .any(|(own, theirs)| own == name && theirs != first && theirs != name)
}

/// Whether a column names rows that belong to users: what it refers to is shown for whose it
/// is, and as many relations are told by that as by the column.
fn leads_to_users(
    snapshot: &Snapshot,
    policies: &[Policy],
    column: &str,
    own: usize,
    counted: &BTreeMap<&str, usize>,
) -> bool {
    let parents = referred(snapshot, column);
    !parents.is_empty()
        && parents.into_iter().all(|parent| {
            policies
                .iter()
                .filter(|policy| policy.relation == parent && policy.permissive)
                .filter(|policy| matches!(policy.command, 'r' | '*'))
                .filter_map(|policy| policy.using.as_ref())
                .flat_map(|using| &using.user_columns)
                .any(|user| {
                    user != column
                        && counted
                            .get(user.as_str())
                            .is_some_and(|votes| *votes >= own)
                })
        })
}

/// What kind of type the ids of tenants are of, where all columns that hold them agree.
pub(crate) fn kind<'a>(snapshot: &'a Snapshot, columns: &[String]) -> Option<&'a str> {
    let mut kinds: BTreeSet<&str> = snapshot
        .relations
        .iter()
        .filter_map(|relation| relation.column_named(columns.first()?))
        .map(|column| family(&column.type_name))
        .collect();
    kinds.pop_first().filter(|_| kinds.is_empty())
}

/// Whether a column can hold what the tenant columns hold.
pub(crate) fn alike(snapshot: &Snapshot, columns: &[String], column: &super::raw::Column) -> bool {
    let Some(first) = columns.first() else {
        return true;
    };
    snapshot
        .relations
        .iter()
        .filter_map(|relation| relation.column_named(first))
        .any(|usual| family(&usual.type_name) == family(&column.type_name))
}

/// Types whose values can name the same tenant.
fn family(type_name: &str) -> &str {
    match type_name.split('(').next().unwrap_or_default() {
        "text" | "character varying" | "character" | "citext" | "name" => "text",
        "smallint" | "integer" | "bigint" | "numeric" => "number",
        other => other,
    }
}

/// Whether a column refers to rows that belong to a tenant, themselves or through what
/// they refer to.
fn leads_to_owned(snapshot: &Snapshot, name: &str, first: &str) -> bool {
    let named = |oid: Oid, numbers: &[i16]| -> Option<&str> {
        let [number] = numbers else { return None };
        Some(snapshot.relation(oid)?.column(*number)?.name.as_str())
    };
    let to = |column: &str| -> BTreeSet<Oid> {
        snapshot
            .references
            .iter()
            .filter(|reference| named(reference.child, &reference.columns) == Some(column))
            .filter(|reference| named(reference.parent, &reference.targets) != Some(first))
            .map(|reference| reference.parent)
            .collect()
    };
    let tenants = to(first);
    let bears = |oid: Oid| {
        snapshot
            .relation(oid)
            .is_some_and(|relation| relation.column_named(first).is_some())
    };
    let mut seen = to(name);
    let mut waiting: Vec<Oid> = seen.difference(&tenants).copied().collect();
    while let Some(oid) = waiting.pop() {
        if bears(oid) {
            return true;
        }
        for reference in &snapshot.references {
            if reference.child == oid && seen.insert(reference.parent) {
                waiting.push(reference.parent);
            }
        }
    }
    false
}

/// The columns that a relation's own policies tie to the session.
pub(crate) fn tied(policies: &[Policy]) -> HashMap<Oid, BTreeSet<String>> {
    let mut tied: HashMap<Oid, BTreeSet<String>> = HashMap::new();
    for policy in policies {
        for predicate in policy.predicates() {
            tied.entry(policy.relation)
                .or_default()
                .extend(predicate.session_columns.iter().cloned());
        }
    }
    tied
}

/// The table that most tenant columns reference alone, and its key.
pub(crate) fn tenant_table(snapshot: &Snapshot, columns: &[String]) -> Option<(Oid, String)> {
    let mut votes: BTreeMap<(Oid, i16), usize> = BTreeMap::new();
    for reference in &snapshot.references {
        if let Some(target) = single(snapshot, reference, columns) {
            *votes.entry((reference.parent, target)).or_default() += 1;
        }
    }
    let ((oid, number), _) = votes.into_iter().max_by_key(|(_, votes)| *votes)?;
    let name = snapshot.relation(oid)?.column(number)?.name.clone();
    Some((oid, name))
}

fn single(snapshot: &Snapshot, reference: &Reference, columns: &[String]) -> Option<i16> {
    let ([column], [target]) = (reference.columns.as_slice(), reference.targets.as_slice()) else {
        return None;
    };
    let name = &snapshot.relation(reference.child)?.column(*column)?.name;
    (columns.contains(name) && reference.child != reference.parent).then_some(*target)
}

/// Whether one of the settings is named for several tenants at once: `app.org_ids`, `app.clinic_list`.
pub(crate) fn holds_lists(settings: &[String]) -> bool {
    settings.iter().any(|setting| {
        let name = setting.rsplit('.').next().unwrap_or(setting);
        name.ends_with("ids")
            || name.contains("list")
            || name.ends_with('s')
                && [
                    "tenant",
                    "org",
                    "account",
                    "team",
                    "workspace",
                    "customer",
                    "compan",
                    "clinic",
                ]
                .iter()
                .any(|part| name.contains(part))
    })
}

/// The place of the part of a path that a predicate compares, from 1.
pub(crate) fn path_part(text: &str, column: &str) -> Option<u32> {
    let tokens = tokens(text);
    for (at, token) in tokens.iter().enumerate() {
        let Some(call) = token.name() else { continue };
        if !tokens.get(at + 1).is_some_and(|next| next.is("(")) {
            continue;
        }
        let Some(end) = closing(&tokens, at + 1) else {
            continue;
        };
        let inside = &tokens[at + 2..end];
        if !inside.iter().any(|token| token.name() == Some(column)) {
            continue;
        }
        let number = |token: Option<&Token>| match token {
            Some(Token::Number(number)) => number.parse().ok(),
            _ => None,
        };
        match call {
            "split_part"
                if inside
                    .iter()
                    .any(|token| matches!(token, Token::Text(text) if text == "/")) =>
            {
                return number(inside.last());
            }
            "foldername" | "string_to_array" => {
                let open = (end..tokens.len()).find(|place| tokens[*place].is("["))?;
                return number(tokens.get(open + 1));
            }
            _ => {}
        }
    }
    None
}
