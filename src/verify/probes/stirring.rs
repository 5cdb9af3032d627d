//! Writes that something may follow from, and the ordinary statements that do them.

use std::collections::{BTreeSet, HashMap};

use super::assign::neutral;
use crate::db::ident::{Ident, Literal};
use crate::verify::keys;
use crate::verify::model::{ActingRole, Function, Oid, Policy, Relation};
use crate::verify::scope::documents::paths;
use crate::verify::scope::lexer::{Token, tokens};
use crate::verify::synth::{Insert, Planner, text_of};
use crate::verify::world::World;

/// Whether writing a relation may change anything but the rows written: a trigger,
/// a rule, a referential action, or a function that a policy, check or default calls.
pub(super) fn stirs(world: &World<'_>, relation: &Relation) -> bool {
    let details = &world.details;
    let family = world
        .scope
        .relations
        .iter()
        .filter(|child| child.parents.contains(&relation.oid))
        .map(|child| child.oid)
        .chain([relation.oid]);
    let active = |action: char| !matches!(action, 'a' | 'r');
    // Functions of the system are written without a schema.
    let calls = |text: &str| text.contains('.') && text.contains('(');
    for oid in family {
        if details.triggers.contains(&oid)
            || details.uses.iter().any(|(user, _)| *user == oid)
            || details.references.iter().any(|reference| {
                reference.parent == oid
                    && (active(reference.on_delete) || active(reference.on_update))
            })
            || details
                .columns_of(oid)
                .any(|column| column.default.as_deref().is_some_and(calls))
            || details
                .checks
                .iter()
                .any(|check| check.relation == oid && calls(&check.check))
        {
            return true;
        }
    }
    Policy::on(&world.scope.policies, relation.oid).any(|predicate| !predicate.functions.is_empty())
}

/// What functions of triggers ask of the rows that wake them, read once: the texts of a
/// schema's triggers are long, and many writes are made of them.
pub(super) struct Triggers<'w> {
    /// Keys that any of them reads from a document.
    keys: BTreeSet<String>,
    /// Those that may work with more rights than whoever writes.
    definers: Vec<Trigger<'w>>,
    /// Settings that those read, and no policy: any session may set them.
    pub(super) settings: BTreeSet<String>,
    /// Values that were put into rows of the other tenant, by table and column.
    planted: HashMap<(Oid, String), String>,
}

struct Trigger<'w> {
    function: &'w Function,
    asked: BTreeSet<(String, String)>,
    looked_up: BTreeSet<(String, String)>,
    /// Columns of its row that it speaks of.
    spoken_of: BTreeSet<String>,
    /// It has an ON CONFLICT.
    meets: bool,
}

impl<'w> Triggers<'w> {
    pub(super) fn read(world: &World<'w>) -> Triggers<'w> {
        let functions = &world.scope.functions;
        let definer = |oid: &Oid| {
            functions
                .iter()
                .any(|called| called.oid == *oid && called.definer)
        };
        let woken = || functions.iter().filter(|function| function.trigger);
        let scope = world.scope;
        let definers = || {
            woken().filter(|function| function.definer || function.body.calls.iter().any(definer))
        };
        Triggers {
            planted: HashMap::new(),
            settings: definers()
                .flat_map(|function| &function.body.settings)
                .filter(|name| !scope.settings.contains(name))
                .filter(|name| !scope.context_settings.contains(name))
                .filter(|name| name.contains('.'))
                .cloned()
                .collect(),
            keys: woken()
                .flat_map(|function| paths(&function.body.text))
                .flatten()
                .collect(),
            definers: definers()
                .map(|function| Trigger {
                    function,
                    asked: asked_for(&function.body.text),
                    looked_up: looked_up(&function.body.text),
                    spoken_of: spoken_of(&function.body.text),
                    meets: function.body.text.to_lowercase().contains("conflict"),
                })
                .collect(),
        }
    }
}

impl Triggers<'_> {
    /// Those alone that read tenants' rows as somebody whom no policy binds.
    pub(super) fn loose(mut self, world: &World<'_>) -> Self {
        let functions = &world.scope.functions;
        let free = |function: &Function| {
            let mut read = function.body.reads.iter();
            function.definer
                && read.any(|oid| {
                    world.scope.relation(*oid).is_some_and(|table| {
                        let owner = function.owner;
                        keys::owned(table)
                            && (world.details.free_roles.contains(&owner)
                                || !table.rls
                                || owner == table.owner && !table.force)
                    })
                })
        };
        self.definers.retain(|trigger| {
            let called = &trigger.function.body.calls;
            free(trigger.function)
                || functions
                    .iter()
                    .any(|one| called.contains(&one.oid) && free(one))
        });
        self
    }

    /// The rows made for a tenant leave out what need not be there. What triggers find rows
    /// by is put into them, so that it can be looked for: the statements that do it.
    pub(super) fn plant(&mut self, world: &World<'_>, tenant: usize) -> Vec<String> {
        let mut list = Vec::new();
        if !world.scope.verifier.superuser {
            return list;
        }
        let definers = self.definers.iter();
        let read: BTreeSet<Oid> = definers
            .flat_map(|trigger| trigger.function.body.reads.iter().copied())
            .collect();
        for target in read {
            let made = world.stage.row(target, tenant);
            let placed = made.and_then(|made| Some((made, made.place.as_ref()?)));
            let (Some((made, (table, place))), Some(relation)) =
                (placed, world.scope.relation(target))
            else {
                continue;
            };
            let mut assigned = Vec::new();
            for column in world.details.columns_of(target) {
                let known = made.values.get(&column.name).and_then(text_of).is_some();
                let value = match column.base.as_str() {
                    _ if known || column.generated || column.not_null || column.modifier > 0 => {
                        continue;
                    }
                    "text" | "varchar" | "citext" => format!("kinedb-{}", column.name),
                    "int4" | "int8" | "numeric" => "740117".to_owned(),
                    "uuid" => "6b696e65-6462-4000-8000-000000740117".to_owned(),
                    _ => continue,
                };
                assigned.push(format!(
                    "{} = {}::{}",
                    Ident::new(&column.name),
                    Literal::new(&value),
                    column.type_name
                ));
                self.planted.insert((target, column.name.clone()), value);
            }
            if !assigned.is_empty() {
                list.push(format!(
                    "update {} set {} where tableoid = {table} and ctid = {}::tid",
                    relation.name,
                    assigned.join(", "),
                    Literal::new(place)
                ));
            }
        }
        list
    }
}

pub(super) fn writes(
    world: &World<'_>,
    triggers: &Triggers<'_>,
    relation: &Relation,
    role: &ActingRole,
    tenant: usize,
) -> Vec<String> {
    let mut list = Vec::new();
    let Some(grant) = world.grant(role, relation) else {
        return list;
    };
    if world.big(relation)
        || !keys::owned(relation)
        || !keys::has_places(relation)
        || keys::shared(relation).is_some()
    {
        return list;
    }
    list.extend(inserted(world, relation, role, tenant).map(|built| built.sql));
    list.extend(lured(world, triggers, relation, role, tenant).map(|built| built.sql));
    let bait = |turn| {
        baited(world, triggers, relation, role, tenant, turn)
            .into_iter()
            .map(|built| built.sql)
    };
    list.extend(bait(0));
    if let Some(assignment) =
        neutral(world, relation, &grant.columns('w'), world.id(tenant)).first()
    {
        list.push(format!("update {} set {assignment}", relation.name));
        // It may have changed what the first were to be found by.
        list.extend(bait(1));
    }
    list
}

/// Ordinary writes of rows that have a trigger.
pub(super) fn told(
    world: &World<'_>,
    relation: &Relation,
    role: &ActingRole,
    tenant: usize,
) -> Vec<String> {
    let mut list = Vec::new();
    if !world.details.triggers.contains(&relation.oid) || world.big(relation) {
        return list;
    }
    list.extend(inserted(world, relation, role, tenant).map(|built| built.sql));
    let columns = world.grant(role, relation).map(|grant| grant.columns('w'));
    let own = keys::owned(relation) && keys::has_places(relation);
    if let Some(columns) = columns.filter(|_| own && keys::shared(relation).is_none())
        && let Some(assignment) = neutral(world, relation, &columns, world.id(tenant)).first()
    {
        list.push(format!("update {} set {assignment}", relation.name));
    }
    list
}

/// An own row that the role may insert.
pub(super) fn inserted(
    world: &World<'_>,
    relation: &Relation,
    role: &ActingRole,
    tenant: usize,
) -> Option<Insert> {
    built(world, relation, role, tenant, 8200, Vec::new())
}

/// The same, its documents naming the other tenant wherever a trigger reads them: one that
/// takes from there whom a row is for believes whoever writes.
pub(super) fn lured(
    world: &World<'_>,
    triggers: &Triggers<'_>,
    relation: &Relation,
    role: &ActingRole,
    tenant: usize,
) -> Option<Insert> {
    if !world.details.triggers.contains(&relation.oid) {
        return None;
    }
    let other = *world.contexts.iter().take(2).find(|one| **one != tenant)?;
    let document: serde_json::Map<String, serde_json::Value> = triggers
        .keys
        .iter()
        .map(|key| (key.clone(), world.id(other).into()))
        .collect();
    let columns: Vec<(String, String)> = world
        .details
        .columns_of(relation.oid)
        .filter(|column| column.base.starts_with("json") && !column.generated)
        .map(|column| {
            let value = Literal::new(serde_json::Value::Object(document.clone()).to_string());
            (
                column.name.clone(),
                format!("{value}::{}", column.type_name),
            )
        })
        .collect();
    (!document.is_empty() && !columns.is_empty())
        .then(|| built(world, relation, role, tenant, 8300, columns))?
}

/// Own rows that name rows of the other tenant by what they are found by: a trigger that
/// works with its owner's rights, and looks a row up by a value that tells no tenant,
/// finds that of whoever has it.
pub(super) fn baited(
    world: &World<'_>,
    triggers: &Triggers<'_>,
    relation: &Relation,
    role: &ActingRole,
    tenant: usize,
    turn: u32,
) -> Vec<Insert> {
    let Some(other) = world
        .contexts
        .iter()
        .take(2)
        .find(|one| **one != tenant)
        .filter(|_| world.details.triggers.contains(&relation.oid))
    else {
        return Vec::new();
    };
    let known = keys::key(relation).map(|(column, _)| column.as_str());
    let mut list = Vec::new();
    let mut seen = BTreeSet::new();
    for trigger in &triggers.definers {
        let column = |own: &str| {
            world
                .details
                .columns_of(relation.oid)
                .find(|column| column.name == own && Some(column.name.as_str()) != known)
                .filter(|column| !column.generated)
        };
        // What it asks of a row before it does anything.
        let asked: Vec<(String, String)> = trigger
            .asked
            .iter()
            .filter_map(|(own, value)| {
                let type_name = &column(own)?.type_name;
                Some((own.clone(), format!("{}::{type_name}", Literal::new(value))))
            })
            .collect();
        let mut baits: Vec<Vec<(String, String)>> = Vec::new();
        for one in &asked {
            if seen.insert((0, one.0.clone(), one.1.clone())) {
                baits.push(vec![one.clone()]);
            }
        }
        let body = &trigger.function.body;
        // Whose a row of another table shall be may be told by any column of this one.
        let whose = keys::key(relation).and_then(|(key, _)| {
            let mut columns = world.details.columns_of(relation.oid);
            columns.find(|column| column.name == key.as_str())
        });
        for name in &trigger.spoken_of {
            let Some(detail) = column(name) else { continue };
            if whose.is_some_and(|whose| whose.base == detail.base)
                && seen.insert((1, name.clone(), String::new()))
            {
                let id = Literal::new(world.id(*other));
                baits.push(vec![(name.clone(), format!("{id}::{}", detail.type_name))]);
            }
        }
        let blank: Vec<(String, String)> = body
            .assigns
            .iter()
            .filter_map(|name| column(name))
            .filter(|column| !column.not_null)
            .map(|column| (column.name.clone(), "null".to_owned()))
            .collect();
        let pairs = trigger.looked_up.iter().cloned();
        for (theirs, own) in &pairs
            .chain(contested(world, trigger))
            .collect::<BTreeSet<_>>()
        {
            let Some(detail) = column(own) else { continue };
            for target in body.reads.iter().chain(&body.writes) {
                let found = world
                    .scope
                    .relation(*target)
                    .filter(|target| keys::has_places(target) && !world.big(target))
                    .filter(|target| {
                        let mut columns = target.columns.iter();
                        columns.any(|column| column.name.as_str() == theirs)
                    })
                    .filter(|_| seen.insert((*target, theirs.clone(), own.clone())));
                let foreign = found.and_then(|target| {
                    // What a row that was made holds is known; else it is looked up.
                    let made = world.stage.row(target.oid, *other);
                    let planted = triggers.planted.get(&(target.oid, theirs.clone()));
                    let known = planted
                        .cloned()
                        .or_else(|| made?.values.get(theirs).and_then(text_of))
                        .map(|text| format!("{}::{}", Literal::new(text), detail.type_name));
                    known.or_else(|| {
                        let owns = keys::own(world.scope, target, world.id(*other), None)?;
                        Some(format!(
                            "(select {0}.{1} from {0} where {owns} limit 1)::{2}",
                            target.name,
                            Ident::new(theirs),
                            detail.type_name
                        ))
                    })
                });
                let Some(foreign) = foreign else { continue };
                let bait = (own.clone(), foreign);
                baits.push(vec![bait.clone()]);
                let mut empty = blank.clone();
                empty.retain(|(name, _)| name != own);
                if !empty.is_empty() {
                    empty.push(bait.clone());
                    baits.push(empty);
                }
                let mut met: Vec<_> = asked.iter().filter(|(name, _)| name != own).collect();
                met.dedup_by(|a, b| a.0 == b.0);
                if !met.is_empty() {
                    baits.push(met.into_iter().cloned().chain([bait]).collect());
                }
            }
        }
        for bait in baits.into_iter().take(BAITS) {
            let salt = 8400 + turn * 200 + u32::try_from(list.len()).unwrap_or(0);
            list.extend(built(world, relation, role, tenant, salt, bait));
        }
    }
    list
}

/// Columns of a key by which ON CONFLICT meets rows that are there, beside those of the
/// row's own that bear the same name.
fn contested(world: &World<'_>, trigger: &Trigger<'_>) -> Vec<(String, String)> {
    let body = &trigger.function.body;
    if !trigger.meets {
        return Vec::new();
    }
    let uniques = world.details.uniques.iter();
    uniques
        .filter(|unique| unique.plain && body.writes.contains(&unique.relation))
        .flat_map(|unique| &unique.columns)
        .map(|column| (column.clone(), column.clone()))
        .collect()
}

/// Rows tried of one trigger's function.
const BAITS: usize = 8;

/// What a trigger asks of its own row by literals: `new.kind = 'x'`, `new.body like 'x%'`.
fn asked_for(text: &str) -> BTreeSet<(String, String)> {
    let tokens = tokens(text);
    let mut asked = BTreeSet::new();
    for window in tokens.windows(5) {
        let [row, dot, column, operator, Token::Text(value)] = window else {
            continue;
        };
        let likes = ["like", "ilike"].iter().any(|word| operator.is_word(word));
        if !(row.is_word("new") || row.is_word("old"))
            || !dot.is(".")
            || !(operator.is("=") || operator.is("~~") || likes)
        {
            continue;
        }
        if let Some(own) = column.name() {
            let value = if operator.is("=") {
                value.clone()
            } else {
                value.replace('%', "").replace('_', "x")
            };
            asked.insert((own.to_owned(), value));
        }
    }
    asked
}

/// Columns of its own row that a trigger speaks of: `new.room`.
fn spoken_of(text: &str) -> BTreeSet<String> {
    let tokens = tokens(text);
    let windows = tokens.windows(3);
    windows
        .filter(|window| {
            (window[0].is_word("new") || window[0].is_word("old")) && window[1].is(".")
        })
        .filter_map(|window| Some(window[2].name()?.to_owned()))
        .collect()
}

/// Columns that a trigger compares with those of its own row, in pairs: `no = new.room`.
fn looked_up(text: &str) -> BTreeSet<(String, String)> {
    let tokens = tokens(text);
    let own = |at: usize| {
        let row = tokens.get(at)?;
        (row.is_word("new") || row.is_word("old"))
            .then(|| tokens.get(at + 2)?.name())
            .flatten()
    };
    let mut pairs = BTreeSet::new();
    for (at, token) in tokens.iter().enumerate() {
        if !token.is("=") || at == 0 {
            continue;
        }
        let name = |place: usize| tokens.get(place).and_then(Token::name);
        // `column = new.own`, and the other way round, with or without the table's name.
        if let (Some(theirs), Some(own)) = (name(at - 1), own(at + 1)) {
            pairs.insert((theirs.to_owned(), own.to_owned()));
        }
        if let Some(own) = at.checked_sub(3).and_then(own) {
            let dotted = tokens.get(at + 2).is_some_and(|dot| dot.is("."));
            if let Some(theirs) = name(if dotted { at + 3 } else { at + 1 }) {
                pairs.insert((theirs.to_owned(), own.to_owned()));
            }
        }
    }
    pairs
}

fn built(
    world: &World<'_>,
    relation: &Relation,
    role: &ActingRole,
    tenant: usize,
    salt: u32,
    told: Vec<(String, String)>,
) -> Option<Insert> {
    let writes = keys::owned(relation)
        && keys::has_places(relation)
        && keys::shared(relation).is_none()
        && !world.big(relation)
        && world.grant(role, relation)?.insert;
    let planner = Planner {
        scope: world.scope,
        details: &world.details,
        stage: &world.stage,
    };
    if !writes {
        return None;
    }
    let mut wanted = planner.wanted(relation, tenant, tenant, salt);
    wanted.fixed.extend(told);
    let built = planner.insert(relation, wanted, None);
    built.missing.is_none().then_some(built)
}

/// Own rows under the other tenant's ids, where a key lets two tenants have the same: what
/// asks whose a row is, and then looks for the id alone, takes the one for the other.
pub(super) fn collided(
    world: &World<'_>,
    relation: &Relation,
    role: &ActingRole,
    (tenant, other): (usize, usize),
) -> Option<Insert> {
    let key = keys::key(relation).map(|(key, _)| key.as_str())?;
    let theirs = world.stage.row(relation.oid, other)?;
    let mut uniques = world.details.uniques.iter();
    let unique = uniques.find(|unique| {
        unique.relation == relation.oid
            && unique.plain
            && unique.columns.len() > 1
            && unique.columns.iter().any(|column| column == key)
    })?;
    let others = unique.columns.iter().filter(|column| *column != key);
    // Where the rest is a key by itself, no two rows have it.
    let mut uniques = world.details.uniques.iter();
    if uniques.any(|one| {
        one.relation == relation.oid
            && !one.columns.iter().any(|column| column == key)
            && one
                .columns
                .iter()
                .any(|column| unique.columns.contains(column))
    }) {
        return None;
    }
    let told: Option<Vec<(String, String)>> = others
        .map(|name| {
            let mut columns = world.details.columns_of(relation.oid);
            let column = columns.find(|column| column.name == *name && !column.generated)?;
            let value = theirs.values.get(name).and_then(text_of)?;
            let literal = format!("{}::{}", Literal::new(value), column.type_name);
            Some((name.clone(), literal))
        })
        .collect();
    built(world, relation, role, tenant, 8900, told?)
}

/// Deleting all that can be deleted, where something else may follow from it.
pub(super) fn deletes(world: &World<'_>, relation: &Relation, role: &ActingRole) -> Option<String> {
    let may = world
        .grant(role, relation)
        .is_some_and(|grant| grant.delete);
    (may && !world.big(relation)
        && keys::owned(relation)
        && keys::has_places(relation)
        && keys::shared(relation).is_none())
    .then(|| format!("delete from {}", relation.name))
}

#[cfg(test)]
mod tests {
    use super::{asked_for, looked_up, spoken_of};

    #[test]
    fn literals_that_a_trigger_asks_for() {
        let found = asked_for("if new.kind = 'move' and new.body like 'all:%' or x.y = 'z' then");
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [pair("body", "all:"), pair("kind", "move")]
        );
    }

    #[test]
    fn columns_that_a_trigger_finds_rows_by() {
        let found = looked_up(
            "begin update rooms r set busy = new.busy where r.no = new.room_no; \
             perform 1 from t where old.slug = t.name; end",
        );
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert!(found.contains(&pair("no", "room_no")) && found.contains(&pair("name", "slug")));
        assert!(looked_up("new.a := 1; if a = 1 then").is_empty());
        let spoken = spoken_of("values (coalesce(new.for_org, NEW.org), old . \"Name\", newer.x)");
        assert_eq!(
            spoken.into_iter().collect::<Vec<_>>(),
            ["Name", "for_org", "org"]
        );
    }
}
