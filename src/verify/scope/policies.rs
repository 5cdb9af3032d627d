//! What policies and functions say, with the names in them looked up.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use super::body::{self, Dictionary};
use super::lexer::{Token, tokens};
use super::predicate::{self, Callee, Names, Own};
use super::raw::{Function, Snapshot};
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
    let columns = Layout::of(snapshot);
    for function in snapshot
        .functions
        .iter()
        .filter(|one| !one.arguments.is_empty())
    {
        let source = function.source.as_deref().unwrap_or_default();
        if body::hands_out_settings(source) {
            names.settings.insert(function.name.clone());
        }
    }
    let mut bodies = HashMap::new();
    for function in &snapshot.functions {
        let source = function.source.as_deref().unwrap_or_default();
        let mut body = body::read(&function.language, source, &names);
        body.session_sets.extend(body::set_statements(source));
        body.calls.retain(|callee| *callee != function.oid);
        body.changes = super::changes::read(source, &names);
        if function.definer {
            if function.language == "plpgsql" {
                body.spliced = super::commands::spliced(source, &function.parameters);
            }
            body.unguards = super::commands::unguards(source);
            body.spreads = super::spreads::read(source, &names, &columns);
            body.strays = super::strays::read(source, &names, &columns);
        }
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
    admits(snapshot, &names, &columns, &mut bodies);
    (names, bodies)
}

/// What SECURITY DEFINER functions find whoever asks, once it is known which functions ask for the session.
fn admits(
    snapshot: &Snapshot,
    names: &Dictionary,
    columns: &Layout<'_>,
    bodies: &mut HashMap<Oid, Body>,
) {
    let ties = |all: &[Token], at: usize| asks(names, bodies, all, at);
    let look = super::admits::Look {
        names,
        columns,
        ties: &ties,
    };
    let found: Vec<_> = snapshot
        .functions
        .iter()
        .filter(|function| function.definer)
        .filter(|function| bodies.get(&function.oid).is_some_and(|body| body.session))
        .filter_map(|function| {
            let found = super::admits::read(function.source.as_deref()?, &look);
            Some((function.oid, found))
        })
        .collect();
    for (oid, list) in found {
        if let Some(body) = bodies.get_mut(&oid) {
            body.admits = list;
        }
    }
}

/// Whether a place of a text asks for the session: a setting, who is connected, or a function that does.
fn asks(names: &Dictionary, bodies: &HashMap<Oid, Body>, all: &[Token], at: usize) -> bool {
    let Some(name) = all[at].name() else {
        return false;
    };
    let schema = (at >= 2 && all[at - 1].is("."))
        .then(|| all[at - 2].name())
        .flatten();
    let called = all.get(at + 1).is_some_and(|next| next.is("("));
    [
        "current_setting",
        "current_user",
        "session_user",
        "current_role",
        "pg_has_role",
    ]
    .contains(&name.to_lowercase().as_str())
        || called
            && Dictionary::find(&names.functions, schema, name)
                .iter()
                .filter_map(|oid| bodies.get(oid))
                .any(|body| body.session)
}

/// The columns of all relations, and those by which rows refer to each other.
struct Layout<'a> {
    columns: HashSet<(Oid, &'a str)>,
    names_row: HashSet<(Oid, &'a str)>,
}

impl<'a> Layout<'a> {
    fn of(snapshot: &'a Snapshot) -> Self {
        let mut columns = HashMap::new();
        for relation in &snapshot.relations {
            for column in &relation.columns {
                columns.insert((relation.oid, column.number), column.name.as_str());
            }
        }
        let names = |oid: Oid, numbers: &[i16]| -> Vec<(Oid, &'a str)> {
            let one = |number: &i16| columns.get(&(oid, *number)).map(|name| (oid, *name));
            numbers.iter().filter_map(one).collect()
        };
        let ends = snapshot.references.iter().flat_map(|one| {
            let mut all = names(one.child, &one.columns);
            all.extend(names(one.parent, &one.targets));
            all
        });
        let names_row = ends.collect();
        Self {
            columns: columns
                .iter()
                .map(|((oid, _), name)| (*oid, *name))
                .collect(),
            names_row,
        }
    }
}

impl super::query::Columns for Layout<'_> {
    fn has(&self, relation: Oid, column: &str) -> bool {
        self.columns.contains(&(relation, column))
    }

    fn names_row(&self, relation: Oid, column: &str) -> bool {
        self.names_row.contains(&(relation, column))
    }
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
    /// What was found of each function; many policies call the same few.
    loose: RefCell<HashMap<Oid, Option<String>>>,
}

impl Known<'_> {
    /// Whether policies bind whoever a function runs as on a relation: then what it reads there
    /// is held to the session already.
    fn binds(&self, function: &Function, relation: Oid) -> bool {
        let unbound = |relation: &super::raw::Relation| {
            function.definer
                && (relation.owner == function.owner && !relation.force
                    || self
                        .snapshot
                        .role(function.owner)
                        .is_some_and(|owner| owner.superuser || owner.bypass))
        };
        let relation = self.snapshot.relation(relation);
        relation.is_some_and(|relation| relation.rls && !unbound(relation))
    }

    /// The texts of a function, and of those that it calls, that take documents apart.
    fn documents<'b>(&'b self, oid: Oid, body: &'b Body) -> impl Iterator<Item = &'b str> {
        std::iter::once(oid)
            .chain(body.calls.iter().copied())
            .filter_map(|oid| self.bodies.get(&oid))
            .map(|body| body.text.as_str())
            .filter(|text| text.contains("->"))
    }

    /// An alternative of a function's text that shows rows whoever asks.
    fn loose(&self, oid: Oid, body: &Body) -> Option<String> {
        let function = self.snapshot.function(oid)?;
        if !body.session || body.opaque {
            return None;
        }
        let bound = |relation: &Oid| self.binds(function, *relation);
        let (held, open): (Vec<&Oid>, Vec<&Oid>) = body.reads.iter().partition(|one| bound(one));
        if open.is_empty() && !held.is_empty() {
            return None;
        }
        let held: Vec<&str> = held
            .iter()
            .filter_map(|oid| Some(self.snapshot.relation(**oid)?.name.as_str()))
            .collect();
        super::loose::alternative(&body.text, &|tokens, at| {
            tokens[at].name().is_some_and(|name| held.contains(&name))
                || asks(self.dictionary, self.bodies, tokens, at)
        })
    }
}

impl Names for Known<'_> {
    fn about_user(&self, name: &str) -> bool {
        self.dictionary.about_user(name)
    }

    fn functions(&self, schema: Option<&str>, name: &str) -> Vec<Callee> {
        let bound = |oid: &Oid, relation: &Oid| {
            let function = self.snapshot.function(*oid);
            function.is_some_and(|function| self.binds(function, *relation))
        };
        Dictionary::find(&self.dictionary.functions, schema, name)
            .into_iter()
            .filter_map(|oid| self.bodies.get(&oid).map(|body| (oid, body)))
            .map(|(oid, body)| Callee {
                oid,
                session: body.session || body.reads.iter().any(|one| bound(&oid, one)),
                opaque: body.opaque || body.dynamic,
                document: self.documents(oid, body).next().is_some(),
                texts: self.documents(oid, body).flat_map(literals).collect(),
                settings: body.settings.clone(),
                reads: body.reads.clone(),
                loose: self
                    .loose
                    .borrow_mut()
                    .entry(oid)
                    .or_insert_with(|| self.loose(oid, body))
                    .clone(),
            })
            .collect()
    }

    fn hands_out_settings(&self, name: &str) -> bool {
        self.dictionary.hands_out_settings(name)
    }

    fn relation(&self, schema: Option<&str>, name: &str) -> Option<(Oid, bool)> {
        let oid = *Dictionary::find(&self.dictionary.relations, schema, name).first()?;
        Some((oid, self.snapshot.relation(oid)?.rls))
    }
}

fn literals(text: &str) -> Vec<String> {
    let texts = tokens(text).into_iter().filter_map(|token| match token {
        Token::Text(text) => Some(text),
        _ => None,
    });
    texts.collect()
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
        loose: RefCell::default(),
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
