//! Views that read tables as their owner: the owner's policies bind them, evaluated
//! in the context of the role that uses the view, which is the current user there.
//!
//! They tell of cells that no probe could tell of that no foreign row is among them;
//! that one is among them is left to the probes, as a view's own condition counts too.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::predicate::{Check, effective};
use super::{Asked, Usage, rows};
use crate::verify::details::Details;
use crate::verify::finding::{Access, Action, Source};
use crate::verify::keys;
use crate::verify::model::{ActAs, ActingRole, ExceptionKind, Oid, Policy, Relation};
use crate::verify::probes::report::{Cell, Report, reproduce};
use crate::verify::scope::strays::{self, Dictionary};
use crate::verify::script::{self, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::world::{World, is_view};

/// Whom views work as.
pub(super) fn owners(world: &World<'_>) -> Vec<Oid> {
    world
        .relations()
        .filter(|relation| is_view(relation) && !world.details.invokes(relation.oid))
        .map(|relation| relation.owner)
        .collect()
}

/// The predicates of the tables below a view; none for a command that some table
/// of tenants below has no predicate for that can be evaluated.
pub(super) fn predicates<'w>(
    world: &'w World<'_>,
    usage: &Usage,
    role: &'w ActingRole,
    view: &'w Relation,
    tenant: usize,
) -> Vec<Asked<'w>> {
    let mut asked: Vec<Asked<'w>> = Vec::new();
    let (Some(grant), Some(below)) = (
        world.grant(role, view),
        world.details.reached_as(view.oid, world.scope),
    ) else {
        return asked;
    };
    // The tables' own cells tell all of a view that works with its user's rights.
    if below.iter().all(|(_, owner)| owner.is_none()) {
        return asked;
    }
    let tables: Vec<(&Relation, Oid)> = below
        .iter()
        .filter_map(|(table, owner)| {
            Some((world.scope.relation(*table)?, owner.unwrap_or(role.oid)))
        })
        .filter(|(table, _)| keys::owned(table))
        .collect();
    if tables.is_empty()
        || !tables
            .iter()
            .all(|(table, user)| bound(world, usage, table, *user))
    {
        return asked;
    }
    for check in Check::ALL.into_iter().filter(|check| check.granted(grant)) {
        let told: Option<Vec<(&Relation, String, String)>> = tables
            .iter()
            .map(|(table, user)| {
                let text = effective(world.scope, table, *user, usage, check)?;
                let sql = rows::query(world, table, tenant, &text, rows::Values::Wide)?;
                Some((*table, text, sql))
            })
            .collect();
        for (table, text, sql) in told.into_iter().flatten() {
            let same = |one: &&mut Asked<'_>| one.relation.oid == table.oid && one.text == text;
            if let Some(same) = asked.iter_mut().find(same) {
                same.checks.push(check);
            } else {
                asked.push(Asked {
                    view: Some(view),
                    ..Asked::new(role, table, tenant, check, text, sql)
                });
            }
        }
    }
    asked
}

/// Whether policies bind who reads the table, and say the same whoever asks: what
/// they read themselves is read with the rights of the view's owner.
fn bound(world: &World<'_>, usage: &Usage, table: &Relation, user: Oid) -> bool {
    let owner = user == table.owner || usage.contains(&(user, table.owner));
    table.rls
        && (table.force || !owner)
        && !world.details.unbound_owners.contains(&user)
        && Policy::on(&world.scope.policies, table.oid).all(|predicate| predicate.reads.is_empty())
}

/// What the catalogue says of columns.
struct Layout<'a>(&'a Details);

impl strays::Columns for Layout<'_> {
    fn has(&self, relation: Oid, column: &str) -> bool {
        self.0
            .columns_of(relation)
            .any(|detail| detail.name == column)
    }

    fn names_row(&self, relation: Oid, column: &str) -> bool {
        let named = |names: &[String]| names.iter().any(|name| name == column);
        self.0.references.iter().any(|one| {
            one.relation == relation && named(&one.columns)
                || one.parent == relation && named(&one.keys)
        })
    }
}

/// Views that no policy binds and that ask for the tenant of one table, but join another one
/// by what rows of two tenants may both hold.
pub(super) fn joins(world: &World<'_>, report: &mut Report) {
    if world.details.definitions.is_empty() {
        return;
    }
    let mut names = Dictionary::default();
    for relation in world.scope.relations.iter().chain(&world.scope.outside) {
        let name = &relation.name;
        names
            .relations
            .entry(name.name.as_str().to_owned())
            .or_default()
            .push((name.schema.as_str().to_owned(), relation.oid));
    }
    for (view, text) in &world.details.definitions {
        let Some(view) = world.relations().find(|relation| relation.oid == *view) else {
            continue;
        };
        let stray = strays::read(text, &names, &Layout(&world.details))
            .into_iter()
            .find_map(|stray| {
                let table = world.scope.relation(stray.relation)?;
                let (key, _) = keys::key(table)?;
                let one = world.details.uniques.iter().any(|unique| {
                    let covered = unique.columns.iter().all(|name| stray.by.contains(name));
                    unique.relation == table.oid && unique.plain && covered
                });
                let told = stray.speaks.iter().any(|name| name == key.as_str());
                (!one && !told).then_some((table, stray.by))
            });
        let Some((table, by)) = stray else { continue };
        let by: Vec<String> = by.iter().map(|name| format!("`{name}`")).collect();
        for (role, _) in world.acting() {
            if !in_question(world, report, role, view) {
                continue;
            }
            report.find(
                "predicate-admits-by-content",
                Cell::new(view, role, Action::Select),
                format!(
                    "no policy binds its owner, and it joins rows of `{}` by {}, which rows of two tenants may both hold",
                    table.label,
                    by.join(", ")
                ),
                None,
            );
        }
    }
}

/// Whether a role reads a view of which nothing worse is known, and nothing else is declared.
fn in_question(world: &World<'_>, report: &Report, role: &ActingRole, view: &Relation) -> bool {
    let grant = world.grant(role, view);
    grant.is_some_and(|grant| Check::Select.granted(grant))
        && !report.leaks(&view.label)
        && !world.allows(view, ExceptionKind::Definer, role)
}

/// Evaluates what views that no policy binds ask of a row themselves: where it admits one
/// of another tenant, they show it once there is one.
pub(super) async fn conditions(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    for (role, _) in world.acting() {
        let Some(&tenant) = world.contexts_of(role).first() else {
            continue;
        };
        if role.act_as == ActAs::Login {
            continue;
        }
        let setting = Setting::Tenant(world.id(tenant).to_owned());
        for (view, text) in &world.details.definitions {
            let mut below = world.details.uses.iter().filter(|(user, _)| user == view);
            let table = below
                .next()
                .filter(|_| below.next().is_none())
                .and_then(|(_, table)| world.scope.relation(*table))
                .filter(|table| keys::has_places(table));
            let view = world.relations().find(|relation| relation.oid == *view);
            let (Some(table), Some(view), Some(condition)) = (table, view, condition(text)) else {
                continue;
            };
            if !in_question(world, report, role, view) {
                continue;
            }
            if let Some(sql) = rows::query(world, table, tenant, condition, rows::Values::Wide) {
                let enter = world.actors.enter(world.scope, role, &setting);
                let mut probe = Probe::new();
                probe.all(&enter);
                let place = probe.step(Kind::Look, sql.clone());
                probes.push(probe);
                asked.push((role, view, place, reproduce(&enter, &sql)));
            }
        }
    }
    let answers = script::run(conn, &probes, world.budget).await?;
    for ((role, view, place, show), answer) in asked.into_iter().zip(answers) {
        report.outcome.probes += 1;
        let rows = answer.number(place).unwrap_or(0);
        if rows > 0 {
            report.find(
                "predicate-admits-by-content",
                Cell::new(view, role, Action::Select),
                format!("no policy binds its owner, and its own condition is true for a row of another tenant ({rows} of the rows tried)"),
                Some(show),
            );
        }
    }
    Ok(())
}

/// The condition of a view over rows of one table, as they stand there.
fn condition(text: &str) -> Option<&str> {
    let (before, condition) = text.split_once("\n  WHERE ")?;
    let plain = |part: &str| {
        let upper = part.to_uppercase();
        ![
            " JOIN ",
            "GROUP BY",
            "UNION",
            "INTERSECT",
            "EXCEPT",
            "LIMIT",
            "WITH ",
        ]
        .iter()
        .any(|word| upper.contains(word))
    };
    let rows = plain(before) && plain(condition) && !condition.to_uppercase().contains("SELECT ");
    rows.then(|| condition.trim_end().trim_end_matches(';'))
}

/// Evidence for the commands that no table below admits a foreign row for.
pub(super) fn judge(asked: &[Asked<'_>], report: &mut Report) {
    let mut shut: HashMap<(Oid, Oid, Check), (Cell<'_>, bool)> = HashMap::new();
    for one in asked {
        let Some(view) = one.view else { continue };
        for check in &one.checks {
            let cell = Cell::new(view, one.role, check.action());
            shut.entry((view.oid, one.role.oid, *check))
                .or_insert((cell, true))
                .1 &= one.wide == Some(0);
        }
    }
    let open: Vec<_> = shut
        .values()
        .filter(|(_, shut)| !shut)
        .map(|(cell, _)| (cell.object, cell.role.oid, cell.action))
        .collect();
    let mut list: Vec<_> = shut.iter().filter(|(_, (_, shut))| *shut).collect();
    list.sort_by_key(|((view, role, check), _)| (*view, *role, check.name()));
    for ((_, _, check), (cell, _)) in list {
        // An UPDATE has two predicates, and both count.
        if !open.contains(&(cell.object, cell.role.oid, cell.action)) {
            report.see_by(
                Source::Algebra,
                *cell,
                Access::Isolated,
                format!(
                    "{} of the tables below, as the view's owner, is true for no foreign row tried",
                    check.name()
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::condition;

    #[test]
    fn conditions_of_views_over_one_table() {
        assert_eq!(
            condition(" SELECT id,\n    body\n   FROM public.notes\n  WHERE ((a = b) OR c);"),
            Some("((a = b) OR c)")
        );
        for text in [
            " SELECT id\n   FROM public.notes;",
            " SELECT n.id\n   FROM (public.notes n\n     JOIN public.b ON (true))\n  WHERE (a = b);",
            " SELECT id\n   FROM public.notes\n  WHERE (a IN ( SELECT x.y\n           FROM public.x));",
            " SELECT count(*) AS n\n   FROM public.notes\n  WHERE (a = b)\n  GROUP BY c;",
        ] {
            assert_eq!(condition(text), None, "{text}");
        }
    }
}
