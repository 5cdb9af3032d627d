//! What a view shows to one tenant must not depend on another's rows.

use sqlx::PgConnection;

use super::{Ground, unfinished, vanish};
use crate::db::ident::Literal;
use crate::verify::finding::{Access, Action};
use crate::verify::keys;
use crate::verify::model::{ExceptionKind, Oid, Relation, RelationKind, TenantKey};
use crate::verify::probes::effects::digest_sql;
use crate::verify::probes::filtered::{self, Changes};
use crate::verify::probes::report::{Cell, Report, reproduce};
use crate::verify::script::{self, Kind, Probe};
use crate::verify::synth::text_of;
use crate::verify::world::{World, is_view};

/// A view, and how it is looked at.
#[derive(Clone)]
struct Seen<'w> {
    relation: &'w Relation,
    sql: String,
    /// Of large tables only the other's own values are looked for.
    sought: bool,
    /// The tables below it.
    below: Vec<Oid>,
}

/// Compares what each view shows before and after the other's rows are gone.
pub(super) async fn views(
    conn: &mut PgConnection,
    world: &World<'_>,
    ground: &Ground<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let role = ground.role;
    let mut seen = Vec::new();
    for relation in world.relations() {
        let below = world.details.tables_below(relation.oid, world.scope);
        let tables: Vec<&Relation> = below
            .iter()
            .filter_map(|oid| world.scope.relation(*oid))
            .collect();
        let Some(grant) = world.grant(role, relation) else {
            continue;
        };
        if !is_view(relation)
            || keys::owned(relation)
            || matches!(relation.tenant, TenantKey::Global)
            || world.allows(relation, ExceptionKind::GlobalRead, role)
            || !tables.iter().any(|table| keys::owned(table))
        {
            continue;
        }
        let sought = tables.iter().any(|table| world.big(table));
        let sql = if sought {
            by_value(world, relation, &below, ground.other)
        } else {
            digest_sql(relation, grant)
        };
        match sql {
            Some(sql) => seen.push(Seen {
                relation,
                sql,
                sought,
                below,
            }),
            None if !world.allows(relation, ExceptionKind::Unproven, role) => report.find(
                "not-exercised",
                Cell::new(relation, role, Action::Select),
                "it reads tables too large to compare, and shows no key to look for",
                None,
            ),
            None => {}
        }
    }
    if seen.is_empty() {
        return Ok(());
    }
    let unseen = compare(conn, world, ground, &seen, None, report).await?;
    let relations: Vec<&Relation> = unseen.iter().map(|one| one.relation).collect();
    let changes = filtered::changes(conn, world, &relations).await?;
    for (one, changes) in unseen.into_iter().zip(changes) {
        compare(conn, world, ground, &[one], Some(&changes), report).await?;
    }
    Ok(())
}

/// The same of these. Gives back those that show no row, and says so of them where the rows
/// were brought into the state that they ask for.
async fn compare<'w>(
    conn: &mut PgConnection,
    world: &World<'_>,
    ground: &Ground<'_>,
    seen: &[Seen<'w>],
    changes: Option<&Changes>,
    report: &mut Report,
) -> anyhow::Result<Vec<Seen<'w>>> {
    let role = ground.role;
    let mut unseen = Vec::new();
    let mut probe = Probe::new();
    let mut theirs = Probe::new();
    if let Some(changes) = changes {
        filtered::bring(world, changes, &mut probe);
        filtered::bring(world, changes, &mut theirs);
    }
    let look = |probe: &mut Probe, enter: &[String]| -> Vec<usize> {
        probe.all(&world.origin.back(role));
        probe.all(enter);
        seen.iter()
            .map(|one| probe.step(Kind::Look, one.sql.clone()))
            .collect()
    };
    let nothing = Vec::new();
    let second = ground
        .enter_second
        .as_ref()
        .map_or(nothing, |enter| look(&mut probe, enter));
    let first = look(&mut probe, &ground.enter);
    let again = look(&mut probe, &ground.enter);
    let look_bare = |probe: &mut Probe| -> Vec<usize> {
        let bare = ground.bare.as_ref();
        bare.map_or_else(Vec::new, |enter| look(probe, enter))
    };
    let bare = [look_bare(&mut probe), look_bare(&mut probe)];
    probe.all(&world.origin.back(role));
    let gone = vanish(world, ground, &mut probe);
    let last = look(&mut probe, &ground.enter);
    let bare_last = look_bare(&mut probe);
    let other = look(&mut theirs, &ground.enter_other);
    let answers = script::run(conn, &[probe, theirs], world.budget).await?;
    let [answer, theirs] = &answers[..] else {
        return Ok(unseen);
    };
    for (index, one) in seen.iter().enumerate() {
        let relation = one.relation;
        report.outcome.probes += 1;
        let text = |places: &[usize]| places.get(index).and_then(|place| answer.text(*place));
        let cell = Cell::new(relation, role, Action::Select);
        let show = Some(reproduce(&ground.enter, &one.sql));
        let (before, steady, after) = (text(&first), text(&again), text(&last));
        let rows = |text: Option<&str>| -> i64 {
            text.and_then(|text| text.split(' ').next()?.parse().ok())
                .unwrap_or(0)
        };
        if let Some(reason) = before.is_none().then_some("no answer").or_else(|| {
            before
                .filter(|text| text.starts_with('!'))
                .map(|text| &text[1..])
        }) {
            if !world.allows(relation, ExceptionKind::Unproven, role) {
                let id = if reason.starts_with("42501") {
                    "own-rows-hidden"
                } else {
                    "not-exercised"
                };
                report.find(id, cell, format!("reading it fails: {reason}"), show);
            }
            continue;
        }
        // A look that was cut short, or that was never come to, is no other answer.
        let cut = [&first, &again, &last]
            .iter()
            .filter_map(|places| places.get(index))
            .find_map(|place| unfinished(answer, *place));
        if let Some(reason) = cut {
            if !world.allows(relation, ExceptionKind::Unproven, role) {
                report.cut(cell, &format!("reading it again: {reason}"), show);
            }
            continue;
        }
        let frozen = relation.kind == RelationKind::MaterializedView;
        if before == steady && after != before
            || frozen && rows(before) > 0 && text(&second) == before
        {
            report.find(
                "view-shows-foreign-rows",
                cell,
                "what it shows to one tenant depends on the rows of another".to_owned(),
                show,
            );
            continue;
        }
        let seen = |places: &[usize]| places.get(index).and_then(|place| answer.seen(*place));
        let [bare, bare_again] = [&bare[0], &bare[1]].map(|places| seen(places));
        let opened = bare.is_some_and(|text| !text.starts_with('!')) && bare == bare_again;
        if let Some(enter) = ground.bare.as_ref().filter(|_| {
            opened
                && seen(&bare_last).is_some_and(|after| Some(after) != bare)
                && !world.allows(relation, ExceptionKind::NoContext, role)
        }) {
            report.find(
                "rows-visible-without-tenant",
                cell,
                "what it shows without a context depends on the rows of a tenant",
                Some(reproduce(enter, &one.sql)),
            );
            continue;
        }
        // Where none of the rows below it went away, only sessions can be compared.
        let went = gone.iter().any(|(table, place)| {
            one.below.contains(table) && answer.number(*place).is_some_and(|rows| rows > 0)
        });
        let theirs_seen = other
            .get(index)
            .is_some_and(|place| rows(theirs.text(*place)) > 0);
        let differs = rows(before) > 0 && text(&second).is_some_and(|other| Some(other) != before);
        // Not to find what its owner sees needs nothing taken away.
        let hidden = one.sought && rows(before) == 0;
        if (went || hidden) && theirs_seen || differs {
            report.worked(cell);
            report.see(
                cell,
                Access::Isolated,
                if hidden && !went {
                    "it does not show another tenant's row, which that one sees"
                } else if went {
                    "it shows own rows, and the same without another tenant's"
                } else {
                    "it shows each tenant other rows"
                }
                .to_owned(),
            );
        } else if changes.is_none() && !theirs_seen && rows(before) == 0 {
            unseen.push(one.clone());
        } else if !world.allows(relation, ExceptionKind::Unproven, role) {
            report.find(
                "not-exercised",
                cell,
                if theirs_seen || rows(before) > 0 {
                    "no row of another tenant could be taken away to see what it shows without it"
                } else {
                    "it shows no tenant a row, neither of the database's nor of those made for it"
                }
                .to_owned(),
                show,
            );
        }
    }
    Ok(unseen)
}

/// Looks for the other tenant's own values in columns of the same name.
fn by_value(world: &World<'_>, relation: &Relation, below: &[u32], other: usize) -> Option<String> {
    let mut conditions = Vec::new();
    for oid in below {
        let Some(made) = world.stage.row(*oid, other) else {
            continue;
        };
        let equal = |name: &String| {
            let shown = world
                .details
                .columns_of(relation.oid)
                .any(|column| &column.name == name);
            let value = made.values.get(name).and_then(text_of)?;
            shown.then(|| {
                format!(
                    "{} = {}",
                    crate::db::ident::Ident::new(name),
                    Literal::new(value)
                )
            })
        };
        for unique in &world.details.uniques {
            if unique.relation == *oid
                && unique.plain
                && let Some(parts) = unique.columns.iter().map(equal).collect::<Option<Vec<_>>>()
            {
                conditions.push(format!("({})", parts.join(" and ")));
            }
        }
        for column in world.details.columns_of(relation.oid) {
            if column.base != "uuid" {
                continue;
            }
            if let Some(value) = made.values.get(&column.name).and_then(text_of) {
                conditions.push(format!(
                    "{} = {}",
                    crate::db::ident::Ident::new(&column.name),
                    Literal::new(value)
                ));
            }
        }
    }
    (!conditions.is_empty()).then(|| {
        format!(
            "select count(*) from (select 1 from {} where {} limit 1) as kinedb_rows",
            relation.name,
            conditions.join(" or ")
        )
    })
}
