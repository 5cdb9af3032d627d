//! Who acts within a tenant: the table that says who belongs to it, and what its
//! rows must hold for the policies to let their user do everything.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::entry;
use super::lexer::{Token, tokens};
use super::ranks::LookUps;
use super::raw::Reference;
use crate::db::ident::{Ident, Literal, Qualified};
use crate::verify::model::{Body, Oid, Policy, Preferred, Relation, TenantKey};

/// Last words of types that are not of somebody's own making.
const BUILT_IN: [&str; 14] = [
    "text",
    "varying",
    "uuid",
    "integer",
    "bigint",
    "smallint",
    "boolean",
    "jsonb",
    "json",
    "date",
    "zone",
    "numeric",
    "citext",
    "character",
];
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
            all.flat_map(|text| compared_with_user(text, settings))
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
                                || looked_up(bodies, relation.oid, name)
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

/// An order that puts rows first which hold what policies ask for.
fn best_first(preferred: &[Preferred]) -> String {
    let mut order = String::new();
    for one in preferred.iter().filter(|one| !one.list) {
        let separator = if order.is_empty() { " order by " } else { ", " };
        let cases: String = one
            .values
            .iter()
            .enumerate()
            .map(|(place, value)| format!(" when {} then {place}", Literal::new(value)))
            .chain(one.avoid.iter().map(|value| {
                let last = one.values.len() + 1;
                format!(" when {} then {last}", Literal::new(value))
            }))
            .collect();
        order.push_str(&format!(
            "{separator}case {}::text{cases} else {} end",
            one.column,
            one.values.len()
        ));
    }
    order
}

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
    let own = members.columns.iter().find(|column| column.name == *user)?;
    let of_user = references.iter().find(|reference| {
        reference.child == members.oid
            && reference.columns == [own.number]
            && reference.targets.len() == 1
    })?;
    let people = relations.iter().find(|one| one.oid == of_user.parent)?;
    let mut columns = people.columns.iter();
    let target = columns.find(|column| [column.number] == of_user.targets[..])?;
    let named: BTreeSet<String> = texts
        .iter()
        .flat_map(|text| compared_with_session(text, look_ups))
        .collect();
    if named.contains(user.as_str()) || named.contains(target.name.as_str()) {
        return None;
    }
    let mut columns = people.columns.iter();
    let subject = columns.find(|column| named.contains(column.name.as_str()))?;
    Some((people, &target.name, &subject.name))
}

/// A function that reads this relation alone finds the user's row by this column.
fn looked_up(bodies: &HashMap<Oid, Body>, relation: Oid, column: &str) -> bool {
    bodies.values().any(|body| {
        body.reads == [relation] && compared_with_user(&tokens(&body.text), false).contains(column)
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

/// The column that ends here, with or without a cast: `m.user_id`, `(m.user_id)::text`.
fn column_before(text: &[Token], end: usize) -> Option<String> {
    let mut at = end.checked_sub(1)?;
    if at >= 2 && text[at - 1].is("::") {
        at -= 2;
    }
    if text[at].is(")") {
        at = at.checked_sub(1)?;
        let open = path_start(text, at).checked_sub(1)?;
        text[open].is("(").then_some(())?;
    }
    text[at].name().map(str::to_owned)
}

/// Every predicate with the functions that it calls, as one text.
fn spoken(policies: &[Policy], bodies: &HashMap<Oid, Body>) -> Vec<Vec<Token>> {
    policies
        .iter()
        .flat_map(Policy::predicates)
        .map(|predicate| {
            let mut all = tokens(&predicate.text);
            let called = predicate.functions.iter();
            let called = called
                .filter_map(|oid| bodies.get(oid))
                .flat_map(|body| &body.calls);
            let all_of: BTreeSet<&Oid> = predicate.functions.iter().chain(called).collect();
            for body in all_of.into_iter().filter_map(|oid| bodies.get(oid)) {
                all.push(Token::Punct(";".to_owned()));
                all.extend(tokens(&body.text));
            }
            all
        })
        .collect()
}

/// Columns that a text compares with the user: `user_id = auth.uid()`, either way round;
/// with `settings` also those that it compares with a setting of such a name, which are often
/// the authors of rows.
fn compared_with_user(text: &[Token], settings: bool) -> BTreeSet<String> {
    compared_by(text, settings, &entry::about_user)
}

/// Columns that a text compares with what the session itself says of the user: by functions
/// that look nothing up, by settings and by claims.
fn compared_with_session(text: &[Token], look_ups: &LookUps<'_>) -> BTreeSet<String> {
    let told = |name: &str| entry::about_user(name) && !look_ups.has(name);
    let mut found = compared_by(text, true, &told);
    for (at, token) in text.iter().enumerate() {
        let claim = matches!(text.get(at + 1), Some(Token::Text(name)) if entry::about_user(name));
        if !token.is("->>") || !claim {
            continue;
        }
        // `(auth.jwt() ->> 'sub') = subject`, `subject = (auth.jwt() ->> 'sub')`
        let ends = |token: &Token| token.is_word("and") || token.is_word("or") || token.is(";");
        let mut before = text[..at].iter().enumerate().rev().take(24);
        let equal = before.find(|(_, token)| token.is("=") || ends(token));
        if let Some((equal, token)) = equal
            && token.is("=")
        {
            found.extend(column_before(text, equal));
        }
        let mut after = text[at + 2..]
            .iter()
            .take(6)
            .skip_while(|token| !token.is("="));
        if after.next().is_some() {
            let path: Vec<&Token> = after
                .take_while(|token| token.name().is_some() || token.is(".") || token.is("("))
                .collect();
            found.extend(
                path.last()
                    .and_then(|token| token.name())
                    .map(str::to_owned),
            );
        }
    }
    found
}

fn compared_by(text: &[Token], settings: bool, names: &dyn Fn(&str) -> bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, token) in text.iter().enumerate() {
        if !token.is("=") {
            continue;
        }
        let after = text[at + 1..]
            .iter()
            .take_while(|token| !(token.is("=") || token.is_word("and") || token.is_word("or")))
            .take(8);
        let before = text[..at]
            .iter()
            .rev()
            .take_while(|token| !(token.is("=") || token.is_word("and") || token.is_word("or")))
            .take(8);
        let user = |side: &mut dyn Iterator<Item = &Token>| {
            let side: Vec<&Token> = side.collect();
            let read = |window: &[&Token]| {
                let setting =
                    |token: &Token| matches!(token, Token::Text(text) if entry::about_user(text));
                let (first, last) = (window[0], window[2]);
                first.is_word("current_setting") && setting(last)
                    || last.is_word("current_setting") && setting(first)
            };
            side.windows(2).any(|pair| {
                let called =
                    |name: &Token, open: &Token| open.is("(") && name.name().is_some_and(names);
                called(pair[0], pair[1]) || called(pair[1], pair[0])
            }) || settings && side.windows(3).any(read)
        };
        let name = |token: Option<&Token>| token.and_then(Token::name).map(str::to_owned);
        if user(&mut after.clone()) {
            found.extend(column_before(text, at));
        }
        if user(&mut before.clone()) {
            let mut own = text[at + 1..].iter().skip_while(|token| token.is("("));
            let mut last = own.next();
            while let Some(dot) = own.next().filter(|token| token.is(".")) {
                debug_assert!(dot.is("."));
                last = own.next();
            }
            found.extend(name(last));
        }
    }
    found
}

/// For each column that texts compare with literals, those that most texts ask for, best first.
/// What holds on the whole platform is left for last: whoever has it belongs to no tenant alone.
fn preferred(
    relation: &Relation,
    (policies, texts, everywhere, look_ups): Ground<'_>,
) -> Vec<Preferred> {
    // What its own policies ask for counts twice: a row of it is judged by that.
    let own: Vec<Vec<Token>> = Policy::on(policies, relation.oid)
        .map(|predicate| tokens(&predicate.text))
        .collect();
    let key = crate::verify::keys::key(relation).map(|(column, _)| column);
    relation
        .columns
        .iter()
        .filter(|column| Some(&column.name) != key)
        .filter_map(|column| {
            let mut votes: BTreeMap<String, usize> = BTreeMap::new();
            for text in texts.iter().chain(&own) {
                let name = column.name.as_str();
                for value in asked(text, name)
                    .union(&answered(text, name, look_ups))
                    .cloned()
                {
                    *votes.entry(value).or_default() += 1;
                }
                for value in enumerated(text, &column.type_name) {
                    *votes.entry(value).or_default() += 1;
                }
                if column.type_name == "boolean" {
                    for value in switched(text, name) {
                        *votes.entry(value.to_string()).or_default() += 1;
                    }
                }
            }
            let mut values: Vec<(String, usize)> = votes.into_iter().collect();
            values.sort_by_key(|(_, votes)| std::cmp::Reverse(*votes));
            let (avoid, values): (Vec<String>, Vec<String>) = values
                .into_iter()
                .map(|(value, _)| value)
                .partition(|value| everywhere.contains(value));
            let asked = !values.is_empty() || !avoid.is_empty();
            (asked && !column.type_name.starts_with("json")).then(|| Preferred {
                relation: relation.oid,
                column: column.name.clone(),
                list: column.type_name.ends_with("[]"),
                values,
                avoid,
            })
        })
        .collect()
}

/// Where the name that ends there begins: `schema.table.column`.
fn path_start(text: &[Token], end: usize) -> usize {
    let mut start = end;
    while start >= 2 && text[start - 1].is(".") {
        start -= 2;
    }
    start
}

/// The literals that a text compares a column with: `role = 'owner'`, `role in ('owner', 'admin')`,
/// `role = any (array['owner'])`, `'write' = any (scopes)`.
fn asked(text: &[Token], column: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, token) in text.iter().enumerate() {
        if token.name() != Some(column) || text.get(at + 1).is_some_and(|next| next.is("(")) {
            continue;
        }
        let start = path_start(text, at);
        // As it is printed: `(m.role)::text = ..`; not the end of a call's arguments.
        let alone = start >= 1
            && text[start - 1].is("(")
            && start
                .checked_sub(2)
                .and_then(|before| text[before].name())
                .is_none_or(|word| matches!(word, "and" | "or" | "not" | "where"));
        if let [value, equal, any, open] = &text[start.saturating_sub(4)..start]
            && equal.is("=")
            && any.is_word("any")
            && open.is("(")
            && let Token::Text(value) = value
        {
            found.insert(value.clone());
        } else if let [Token::Text(value), cast, _, equal, any, open] =
            &text[start.saturating_sub(6)..start]
            && cast.is("::")
            && equal.is("=")
            && any.is_word("any")
            && open.is("(")
        {
            found.insert(value.clone());
        }
        let closed = usize::from(alone && text.get(at + 1).is_some_and(|next| next.is(")")));
        found.extend(compared(&text[at + 1 + closed..]));
    }
    found
}

/// The labels of a type of its own that a text speaks of: `is_authorized(org, 'ADMIN'::public.rank)`,
/// whose function compares them with the column.
fn enumerated(text: &[Token], type_name: &str) -> BTreeSet<String> {
    let parts: Vec<Token> = tokens(type_name);
    let own = parts
        .last()
        .and_then(Token::name)
        .filter(|name| !BUILT_IN.contains(name));
    let Some(own) = own else {
        return BTreeSet::new();
    };
    let mut found = BTreeSet::new();
    for (at, token) in text.iter().enumerate() {
        let (Token::Text(value), Some(cast)) = (token, text.get(at + 1)) else {
            continue;
        };
        let mut named = at + 2;
        while text.get(named + 1).is_some_and(|next| next.is(".")) {
            named += 2;
        }
        if cast.is("::") && text.get(named).and_then(Token::name) == Some(own) {
            found.insert(value.clone());
        }
    }
    found
}

/// What a text asks of a column that is true or false: `m.is_owner`, `is_owner is true`,
/// `not m.suspended`.
fn switched(text: &[Token], column: &str) -> BTreeSet<bool> {
    let mut found = BTreeSet::new();
    for (at, token) in text.iter().enumerate() {
        if token.name() != Some(column) || text.get(at + 1).is_some_and(|next| next.is("(")) {
            continue;
        }
        let start = path_start(text, at);
        let before = text[..start].iter().rev().find(|token| !token.is("("));
        let mut after = text[at + 1..].iter().filter(|token| !token.is(")"));
        let not = before.is_some_and(|token| token.is_word("not"));
        let value = match (after.next(), after.next(), after.next()) {
            (Some(is), Some(no), Some(value)) if is.is_word("is") && no.is_word("not") => {
                value.is_word("false")
            }
            (Some(is), Some(value), _) if is.is_word("is") || is.is("=") => value.is_word("true"),
            (Some(next), ..) if !next.is_word("and") && !next.is_word("or") && !next.is(";") => {
                continue;
            }
            // In a list of columns nothing is asked of it.
            _ if !before.is_some_and(|token| {
                ["and", "or", "not", "where"]
                    .iter()
                    .any(|word| token.is_word(word))
            }) =>
            {
                continue;
            }
            _ => true,
        };
        found.insert(value != not);
    }
    found
}

/// The literals that what stands before is compared with.
fn compared(text: &[Token]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = text.iter().peekable();
    while rest
        .next_if(|token| {
            token.is("::")
                || token.is_word("text")
                || token.is_word("character")
                || token.is_word("varying")
        })
        .is_some()
    {}
    if !rest
        .next()
        .is_some_and(|operator| operator.is("=") || operator.is_word("in"))
    {
        return found;
    }
    let mut open = 0_usize;
    let mut cast = false;
    for token in rest {
        // A name that is no type is a call or a column.
        let named = cast || token.is_word("any") || token.is_word("array");
        if token.name().is_some() && !named {
            break;
        }
        cast = token.is("::") || cast && token.is(".") || cast && token.name().is_some();
        match token {
            Token::Text(value) => {
                match value
                    .strip_prefix('{')
                    .and_then(|list| list.strip_suffix('}'))
                {
                    Some(list) => {
                        let one = |one: &str| one.trim_matches('"').to_owned();
                        found.extend(list.split(',').map(one));
                    }
                    None => drop(found.insert(value.clone())),
                }
                if open == 0 {
                    break;
                }
            }
            Token::Punct(punct) => match punct.as_str() {
                "(" | "[" => open += 1,
                ")" | "]" if open > 0 => open -= 1,
                "::" | "," | "." if open > 0 => {}
                _ => break,
            },
            Token::Word(_) | Token::Quoted(_) => {}
            Token::Number(_) => break,
        }
    }
    found
}

/// The literals that a text compares the answer of functions with which hand out a
/// column: `my_role(org_id) = 'owner'`.
fn answered(text: &[Token], column: &str, look_ups: &LookUps<'_>) -> BTreeSet<String> {
    let hands_out = text.windows(2).enumerate().any(|(at, pair)| {
        let next = text.get(at + 2);
        pair[0].is_word("select")
            && (pair[1].name() == Some(column) && !next.is_some_and(|next| next.is("."))
                || next.is_some_and(|next| next.is("."))
                    && text.get(at + 3).and_then(Token::name) == Some(column))
    });
    let mut found = BTreeSet::new();
    let mut depth = 0_usize;
    let mut calls = Vec::new(); // open calls, by depth
    let mut own = true; // the policy's own text, which functions' texts follow
    for (at, token) in text.iter().enumerate() {
        if !hands_out {
            break;
        }
        own &= !token.is(";");
        if token.is("(") {
            depth += 1;
            let called = at
                .checked_sub(1)
                .and_then(|before| text[before].name())
                .filter(|word| !matches!(*word, "and" | "or" | "not" | "where" | "any" | "in"))
                .is_some_and(|word| own || look_ups.has(word));
            if called {
                calls.push(depth);
            }
        } else if token.is(")") {
            if calls.last() == Some(&depth) {
                calls.pop();
                found.extend(compared(&text[at + 1..]));
            }
            depth = depth.saturating_sub(1);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        asked(&tokens(text), "role").into_iter().collect()
    }

    #[test]
    fn literals_that_a_column_is_compared_with() {
        assert_eq!(of("m.role = 'owner' and m.user_id = f('x')"), ["owner"]);
        assert_eq!(of("((m.role)::text = 'owner'::text)"), ["owner"]);
        assert_eq!(
            of("(m.role = ANY (ARRAY['owner'::public.r, 'admin'::public.r])) and x = 'y'"),
            ["admin", "owner"]
        );
        assert_eq!(of("role in ('owner', 'admin')"), ["admin", "owner"]);
        assert_eq!(of("role = any ('{owner,admin}')"), ["admin", "owner"]);
        assert_eq!(
            of("('write'::text = ANY (m.role)) or 'x' = any (m.y)"),
            ["write"]
        );
        assert!(of("role <> 'viewer' and role = other and role('x')").is_empty());
        assert!(of("(g(auth.uid(), role) = 'owner'::text)").is_empty());
        assert!(of("(role = (NULLIF(current_setting('a.b'::text), ''::text))::uuid)").is_empty());
        let answered = |text: &str| {
            answered(&tokens(text), "role", &LookUps::named(&["g"]))
                .into_iter()
                .collect::<Vec<_>>()
        };
        assert_eq!(
            answered("(g(auth.uid(), id) = 'owner'::text); select m.role from m where m.x = 'y'"),
            ["owner"]
        );
        assert!(answered("(g(id) = 'owner'); select 1 from m").is_empty());
        // One function asks another.
        assert_eq!(
            answered("k(); select h(x) = 'z' and g(y) in ('a', 'b'); select m.role from m"),
            ["a", "b"]
        );
    }

    #[test]
    fn labels_of_a_type_of_its_own() {
        let found = |text: &str, of: &str| {
            enumerated(&tokens(text), of)
                .into_iter()
                .collect::<Vec<_>>()
        };
        let text = "may(org, 'ADMIN'::public.rank) and x = 'y'::text and 'a'::other.kind = k";
        assert_eq!(found(text, "rank"), ["ADMIN"]);
        assert_eq!(found(text, "public.rank"), ["ADMIN"]);
        assert!(found(text, "text").is_empty());
        assert!(found("'x'::character varying", "character varying").is_empty());
    }

    #[test]
    fn what_is_asked_of_a_column_that_is_true_or_false() {
        let found = |text: &str| {
            switched(&tokens(text), "own")
                .into_iter()
                .collect::<Vec<_>>()
        };
        assert_eq!(found("(m.x = y) AND (m.own IS TRUE)"), [true]);
        assert_eq!(found("((x = y) AND own)"), [true]);
        assert_eq!(found("where m.own and m.x = f()"), [true]);
        assert_eq!(found("a = b and not m.own"), [false]);
        assert_eq!(
            found("(m.own = false) or m.own is not false"),
            [false, true]
        );
        assert!(found("select own from m where m.own <> x and own(m)").is_empty());
        assert!(found("insert into m (x, own) values (y, true)").is_empty());
    }

    #[test]
    fn columns_that_are_compared_with_the_user() {
        let found = |text: &str| {
            compared_with_user(&tokens(text), false)
                .into_iter()
                .collect::<Vec<_>>()
        };
        assert_eq!(found("m.person = ( SELECT auth.uid() AS uid)"), ["person"]);
        assert_eq!(found("auth.uid() = m.person and m.org = x"), ["person"]);
        assert!(found("m.org = f(m.x) and uid = 3").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[a-z()'. =,]{0,80}") {
            let tokens = tokens(&text);
            let _ = (asked(&tokens, "a"), compared_with_user(&tokens, true));
            let _ = switched(&tokens, "a");
        }
    }
}
