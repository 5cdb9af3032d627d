//! What functions of triggers look at: the columns and literals that their texts speak of,
//! and what is put into another tenant's rows for them to find.

use std::collections::{BTreeSet, HashMap};

use crate::db::ident::{Ident, Literal};
use crate::verify::keys;
use crate::verify::model::{Function, Oid};
use crate::verify::scope::documents::paths;
use crate::verify::scope::lexer::{Token, tokens};
use crate::verify::synth::text_of;
use crate::verify::world::World;

/// What functions of triggers ask of the rows that wake them, read once: the texts of a
/// schema's triggers are long, and many writes are made of them.
pub(super) struct Triggers<'w> {
    /// Keys that any of them reads from a document.
    pub(super) keys: BTreeSet<String>,
    /// Those that may work with more rights than whoever writes.
    pub(super) definers: Vec<Trigger<'w>>,
    /// Settings that those read, and no policy: any session may set them.
    pub(super) settings: BTreeSet<String>,
    /// Values that were put into rows of the other tenant, by table and column.
    pub(super) planted: HashMap<(Oid, String), String>,
}

pub(super) struct Trigger<'w> {
    pub(super) function: &'w Function,
    pub(super) asked: BTreeSet<(String, String)>,
    pub(super) looked_up: BTreeSet<(String, String)>,
    /// Columns of its row that it speaks of.
    pub(super) spoken_of: BTreeSet<String>,
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
                            && (world.details.unbound_owners.contains(&owner)
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
        self.planted.clear();
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

/// Columns of a key by which ON CONFLICT meets rows that are there, beside those of the
/// row's own that bear the same name.
pub(super) fn contested(world: &World<'_>, trigger: &Trigger<'_>) -> Vec<(String, String)> {
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
