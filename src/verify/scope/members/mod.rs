//! Who acts within a tenant: the table that says who belongs to it, and what its
//! rows must hold for the policies to let their user do everything.

use std::collections::{BTreeSet, HashMap};

mod compared;
mod preferred;

pub(super) use self::compared::{compared_by, spoken};
use self::compared::{compared_with_session, compared_with_user};
use self::preferred::{best_first, preferred};
use super::lexer::{Token, tokens};
use super::ranks::LookUps;
use super::raw::Reference;
use crate::db::ident::{Ident, Literal, Qualified};
use crate::verify::model::{Body, Oid, Policy, Preferred, Relation, TenantKey};

/// Tenants of one user that are asked for.
const MOST: usize = 100;

/// The table of memberships.
pub(crate) struct Members {
    /// Finds a user of the tenant `:tenant`: the one that policies let do most.
    pub(crate) query: String,
    /// What a row should hold so that policies let its user do most.
    pub(crate) preferred: Vec<Preferred>,
    /// Asks which tenants the user `:user` belongs to, as a list in JSON.
    pub(crate) belonging: Option<String>,
    /// Where the session names a user by the subject of a login: the key of people's rows.
    subject: Option<Subject>,
    /// The table whose rows the memberships refer to as users, and the column that they name.
    people: Option<(Oid, i16)>,
}

/// People are known to the session by one column, and to other rows by another.
struct Subject {
    people: Oid,
    column: Ident,
    keys: String,
}

impl Members {
    /// A tenant is a user.
    pub(crate) fn themselves() -> Self {
        Self {
            query: "select :tenant".to_owned(),
            preferred: Vec::new(),
            belonging: None,
            subject: None,
            people: None,
        }
    }

    /// Tenants that stand below those of the user belong to him as well.
    pub(crate) fn with_below(&mut self, table: &Qualified, key: &Ident, above: &Ident) {
        let Some(own) = &self.belonging else { return };
        self.belonging = Some(format!(
            "with recursive kinedb_mine(id) as (select pg_catalog.jsonb_array_elements_text(({own})::jsonb) union select kinedb_below.{key}::text from {table} kinedb_below join kinedb_mine on kinedb_below.{above}::text = kinedb_mine.id) select pg_catalog.to_jsonb(array(select id from kinedb_mine limit {MOST}))::text"
        ));
    }

    /// What is a user's by his key is found by the subject that the session names.
    pub(crate) fn own_by_subject(&self, relations: &mut [Relation]) {
        let Some(subject) = &self.subject else {
            return;
        };
        for relation in relations {
            let TenantKey::Owns(owns) = &mut relation.tenant else {
                continue;
            };
            let named = format!("{}.{}::text = :user", relation.name, subject.column);
            if relation.oid == subject.people && *owns == named {
                continue;
            }
            if let Some(own) = owns.strip_suffix("::text = :user")
                && !own.contains(' ')
            {
                *owns = format!("{own} in ({})", subject.keys);
            }
        }
    }

    /// Nothing else tells whose the rows of people are, and those that say more of one person
    /// each: they are the user's. Gives back the names of their tables.
    pub(crate) fn own_people(
        &self,
        relations: &mut [Relation],
        references: &[Reference],
    ) -> Vec<String> {
        let Some((people, target)) = self.people else {
            return Vec::new();
        };
        let mut named = Vec::new();
        for relation in relations.iter_mut() {
            let beside = references.iter().find(|one| {
                one.single
                    && one.child == relation.oid
                    && one.parent == people
                    && one.targets == [target]
            });
            let number = match beside {
                Some(reference) => reference.columns[0],
                None if relation.oid == people => target,
                None => continue,
            };
            let mut columns = relation.columns.iter();
            if relation.tenant == TenantKey::Unknown
                && let Some(column) = columns.find(|column| column.number == number)
            {
                let own = format!("{}.{}::text = :user", relation.name, column.name);
                relation.tenant = TenantKey::Owns(own);
                named.push(relation.label.clone());
            }
        }
        self.own_by_subject(relations);
        named
    }

    /// A table of memberships that refers to the table of people, which holds the user, and
    /// how many relations' policies read it.
    fn through(
        relations: &[Relation],
        references: &[Reference],
        users: &BTreeSet<String>,
        ground: Ground<'_>,
    ) -> Option<(usize, Self)> {
        let (policies, ..) = ground;
        let column = |relation: &Relation, numbers: &[i16]| -> Option<Ident> {
            let [number] = numbers else { return None };
            let mut all = relation.columns.iter();
            let found = all.find(|column| column.number == *number)?;
            Some(found.name.clone())
        };
        let ((read, ..), relation, key, refers, people, target, user) = references
            .iter()
            .filter_map(|reference| {
                let of = |oid: Oid| relations.iter().find(|relation| relation.oid == oid);
                let (relation, people) = (of(reference.child)?, of(reference.parent)?);
                let TenantKey::Column { column: key, .. } = &relation.tenant else {
                    return None;
                };
                let refers = column(relation, &reference.columns)?;
                let target = column(people, &reference.targets)?;
                let mut named = people.columns.iter().map(|column| &column.name);
                let user =
                    named.find(|name| name.as_str() != "id" && users.contains(name.as_str()))?;
                let read = readers(policies, relation.oid).len();
                // What belongs to a tenant by itself is no person.
                let belongs = matches!(people.tenant, TenantKey::Column { .. });
                (read > 0 && !belongs && refers != *key && user != &target).then(|| {
                    let rank = (
                        std::cmp::Reverse(read),
                        relation.columns.len(),
                        relation.oid,
                    );
                    (rank, relation, key, refers, people, target, user)
                })
            })
            .min_by_key(|(rank, ..)| *rank)?;
        let preferred = preferred(relation, ground);
        let order = best_first(&preferred);
        let members = Self::by_subject(
            (relation, key, &refers),
            (people, &target, user),
            preferred,
            &order,
        );
        Some((read.0, members))
    }

    /// Memberships name rows of people, and these hold what the session names.
    fn by_subject(
        (members, key, refers): (&Relation, &Ident, &Ident),
        (people, target, user): (&Relation, &Ident, &Ident),
        preferred: Vec<Preferred>,
        order: &str,
    ) -> Self {
        let mut columns = people.columns.iter();
        let number = columns
            .find(|column| column.name == *target)
            .map(|column| column.number);
        let (members, oid, people) = (&members.name, people.oid, &people.name);
        Self {
            query: format!(
                "select {user}::text from {people} where {target} = (select {refers} from {members} where {key}::text = :tenant{order} limit 1)"
            ),
            preferred,
            belonging: Some(format!(
                "select pg_catalog.to_jsonb(array(select {key}::text from {members} where {refers} in (select {target} from {people} where {user}::text = :user) limit {MOST}))::text"
            )),
            subject: Some(Subject {
                people: oid,
                column: user.clone(),
                keys: format!("select {target} from {people} where {user}::text = :user"),
            }),
            people: number.map(|number| (oid, number)),
        }
    }

    /// The table that holds both a tenant and a user, memberships first.
    pub(crate) fn find(
        relations: &[Relation],
        policies: &[Policy],
        bodies: &HashMap<Oid, Body>,
        columns: &[String],
        references: &[Reference],
        everywhere: &BTreeSet<String>,
        look_ups: &LookUps<'_>,
    ) -> Option<Self> {
        let texts = spoken(policies, bodies);
        let compared = |settings: bool| -> BTreeSet<String> {
            let all = texts.iter();
            all.flat_map(|text| compared_with_user(text, settings, look_ups))
                .collect()
        };
        let users = compared(false);
        // What a claim names a person by is asked for last: an address, a number of the staff.
        let claims = || -> BTreeSet<String> {
            let all = texts.iter();
            all.flat_map(|text| compared_with_session(text, look_ups))
                .collect()
        };
        let usual = |name: &str| matches!(name, "user_id" | "userId" | "uid" | "profile_id");
        let pick = |users: &BTreeSet<String>| {
            let all = relations.iter();
            let all = all.filter(|relation| relation.holds_tenants());
            all.filter_map(|relation| {
                let key = match &relation.tenant {
                    TenantKey::Column { column, .. } => column,
                    // Shown to the user whose it is alone, and what decides for others.
                    TenantKey::Owns(_) if asked_by_others(policies, relation.oid) => {
                        let named = |name: &String| {
                            let mut own = relation.columns.iter().map(|column| &column.name);
                            own.find(|own| own.as_str() == name)
                        };
                        columns.iter().find_map(named)?
                    }
                    _ => return None,
                };
                let user = relation
                    .columns
                    .iter()
                    .filter(|column| column.name != *key)
                    .find(|column| usual(column.name.as_str()))
                    .or_else(|| {
                        // Every table has an `id`: the user's only where its own policy says so.
                        let own = |name: &str| {
                            name != "id"
                                || looked_up(bodies, look_ups, relation.oid, name)
                                || Policy::on(policies, relation.oid).any(|predicate| {
                                    predicate.user_columns.iter().any(|own| own == name)
                                })
                        };
                        relation.columns.iter().find(|column| {
                            let name = column.name.as_str();
                            column.name != *key && users.contains(name) && own(name)
                        })
                    })?;
                let member = relation.name.name.as_str().contains("member");
                let readers = readers(policies, relation.oid);
                let usual = usual(user.name.as_str());
                let often = std::cmp::Reverse(readers.len());
                Some((
                    (
                        readers.is_empty(),
                        !usual,
                        !member,
                        often,
                        relation.columns.len(),
                    ),
                    relation,
                    key,
                    &user.name,
                ))
            })
            .min_by_key(|(rank, relation, ..)| (*rank, relation.oid))
        };
        let ground = (policies, &texts[..], everywhere, look_ups);
        let by_people = || {
            let users = compared(true);
            Self::through(relations, references, &users, ground)
        };
        let found = pick(&users);
        if found.is_none()
            && let Some((_, members)) = by_people()
        {
            return Some(members);
        }
        let ((.., often, _), relation, key, user) = found.or_else(|| pick(&claims()))?;
        // A device that signs in is no member, where more policies ask for people.
        if !usual(user.as_str())
            && let Some((read, members)) = by_people()
            && read > often.0
        {
            return Some(members);
        }
        let mut preferred = preferred(relation, ground);
        let mut order = best_first(&preferred);
        let lists = ranked(relations, relation.oid, ground);
        for (list, ranks) in &lists {
            let names = |name: &str| usual(name) || users.contains(name);
            let mut own = list.columns.iter().map(|column| &column.name);
            let Some(who) = own.find(|name| name.as_str() != "id" && names(name.as_str())) else {
                continue;
            };
            for rank in ranks {
                let (listed, held) = (&list.name, literals(&rank.avoid));
                let first = format!(
                    " order by exists (select from {listed} where {listed}.{who}::text = {}.{user}::text and {listed}.{}::text in ({held}))",
                    relation.name, rank.column
                );
                order = match order.strip_prefix(" order by ") {
                    Some(rest) => format!("{first}, {rest}"),
                    None => first,
                };
            }
        }
        preferred.extend(lists.into_iter().flat_map(|(_, ranks)| ranks));
        let known = known_as(relations, references, &texts, look_ups, (relation, user));
        if let Some((people, target, subject)) = known {
            return Some(Self::by_subject(
                (relation, key, user),
                (people, target, subject),
                preferred,
                &order,
            ));
        }
        Some(Self {
            query: format!(
                "select {user}::text from {} where {key}::text = :tenant{order} limit 1",
                relation.name
            ),
            preferred,
            belonging: Some(format!(
                "select pg_catalog.to_jsonb(array(select {key}::text from {} where {user} = :user limit {MOST}))::text",
                relation.name
            )),
            subject: None,
            people: of_user(references, (relation, user)).map(|one| (one.parent, one.targets[0])),
        })
    }
}

/// What is read of policies: they, with their functions as texts, the ranks that hold
/// everywhere, and the functions that look something up.
type Ground<'a> = (
    &'a [Policy],
    &'a [Vec<Token>],
    &'a BTreeSet<String>,
    &'a LookUps<'a>,
);

/// Other tables that say what rank a user has, where some of the ranks hold everywhere.
fn ranked<'r>(
    relations: &'r [Relation],
    members: Oid,
    ground: Ground<'_>,
) -> Vec<(&'r Relation, Vec<Preferred>)> {
    let (policies, _, everywhere, _) = ground;
    if everywhere.is_empty() {
        return Vec::new();
    }
    relations
        .iter()
        .filter(|relation| relation.oid != members && asked_by_others(policies, relation.oid))
        .filter_map(|relation| {
            let mut ranks = preferred(relation, ground);
            ranks.retain(|rank| !rank.avoid.is_empty());
            (!ranks.is_empty()).then_some((relation, ranks))
        })
        .collect()
}

fn literals(values: &[String]) -> String {
    let all: Vec<String> = values
        .iter()
        .map(|value| Literal::new(value).to_string())
        .collect();
    all.join(", ")
}

/// The session does not name the user whom memberships refer to, but what a table of people
/// knows him by: the subject of a login. That table, its key and the column.
fn known_as<'r>(
    relations: &'r [Relation],
    references: &[Reference],
    texts: &[Vec<Token>],
    look_ups: &LookUps<'_>,
    (members, user): (&Relation, &Ident),
) -> Option<(&'r Relation, &'r Ident, &'r Ident)> {
    let (people, target) = people_of(relations, references, (members, user))?;
    let named: BTreeSet<String> = texts
        .iter()
        .flat_map(|text| compared_with_session(text, look_ups))
        .collect();
    if named.contains(user.as_str()) || named.contains(target.as_str()) {
        return None;
    }
    let mut columns = people.columns.iter();
    let subject = columns.find(|column| named.contains(column.name.as_str()))?;
    Some((people, target, &subject.name))
}

/// The foreign key by which memberships name their user, of that column alone.
fn of_user<'r>(
    references: &'r [Reference],
    (members, user): (&Relation, &Ident),
) -> Option<&'r Reference> {
    let own = members.columns.iter().find(|column| column.name == *user)?;
    references.iter().find(|reference| {
        reference.child == members.oid
            && reference.parent != members.oid
            && reference.columns == [own.number]
            && reference.targets.len() == 1
    })
}

/// The table that a column of memberships refers to, and its key.
fn people_of<'r>(
    relations: &'r [Relation],
    references: &[Reference],
    (members, user): (&Relation, &Ident),
) -> Option<(&'r Relation, &'r Ident)> {
    let of_user = of_user(references, (members, user))?;
    let people = relations.iter().find(|one| one.oid == of_user.parent)?;
    let mut columns = people.columns.iter();
    let target = columns.find(|column| [column.number] == of_user.targets[..])?;
    Some((people, &target.name))
}

/// A function that reads this relation alone finds the user's row by this column.
fn looked_up(
    bodies: &HashMap<Oid, Body>,
    look_ups: &LookUps<'_>,
    relation: Oid,
    column: &str,
) -> bool {
    bodies.values().any(|body| {
        body.reads == [relation]
            && compared_with_user(&tokens(&body.text), false, look_ups).contains(column)
    })
}

/// The relations whose policies read it, themselves or through functions.
fn readers(policies: &[Policy], relation: Oid) -> BTreeSet<Oid> {
    policies
        .iter()
        .filter(|policy| {
            policy
                .predicates()
                .any(|predicate| predicate.reads.contains(&relation))
        })
        .map(|policy| policy.relation)
        .collect()
}

/// Policies of other relations read it, themselves or through functions.
fn asked_by_others(policies: &[Policy], relation: Oid) -> bool {
    readers(policies, relation)
        .iter()
        .any(|own| *own != relation)
}
