//! Views and functions whose rows bear no tenant: what a session sees or gets
//! must not change when another tenant's rows disappear, and calling must not
//! change another tenant's rows.

use std::collections::{BTreeSet, HashMap};

use sqlx::PgConnection;

use super::effects::digest_sql;
use super::report::{Cell, Report, reproduce};
use crate::db::ident::Literal;
use crate::verify::details::{Argument, FunctionDetail};
use crate::verify::finding::{Access, Action};
use crate::verify::keys;
use crate::verify::model::{
    ActAs, ActingRole, ExceptionKind, Function, Relation, RelationKind, RoleScope, TenantKey,
};
use crate::verify::script::{self, Answer, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::synth::text_of;
use crate::verify::world::{World, budget, is_view};

/// Calls of one function with different arguments.
const CALLS: usize = 32;
/// What a body must not speak of to be called: effects that a rollback does not undo.
const LASTING: [&str; 22] = [
    "nextval",
    "setval",
    "dblink",
    "pg_notify",
    "notify",
    "lo_",
    "copy ",
    "pg_sleep",
    "advisory",
    "http",
    "commit",
    "rollback",
    "pg_terminate",
    "pg_cancel",
    "pg_read",
    "pg_write",
    "pg_reload",
    "vacuum",
    "truncate",
    "alter ",
    "create ",
    "drop ",
];

/// A session in one tenant's context, and the tenant whose rows disappear.
struct Ground<'w> {
    role: &'w ActingRole,
    tenant: usize,
    other: usize,
    enter: Vec<String>,
    enter_other: Vec<String>,
    enter_second: Option<Vec<String>>,
}

fn grounds<'w>(world: &'w World<'_>) -> Vec<Ground<'w>> {
    let mut list = Vec::new();
    for (role, named) in world.acting() {
        if !named || role.scope != RoleScope::Tenant || role.act_as == ActAs::Login {
            continue;
        }
        let contexts = world.contexts_of(role);
        let Some(&tenant) = contexts.first() else {
            continue;
        };
        let Some(other) = super::write::other_than(world, tenant) else {
            continue;
        };
        let enter = |place: usize| {
            let setting = Setting::Tenant(world.id(place).to_owned());
            world.actors.enter(world.scope, role, &setting)
        };
        list.push(Ground {
            role,
            tenant,
            other,
            enter: enter(tenant),
            enter_other: enter(other),
            enter_second: contexts.get(1).map(|second| enter(*second)),
        });
    }
    list
}

/// Runs it for views, then for functions.
pub(super) async fn run(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    for ground in grounds(world) {
        views(conn, world, &ground, report).await?;
        if !world.options.read_only {
            functions(conn, world, &ground, report).await?;
        }
    }
    Ok(())
}

/// The verifier makes other tenants' rows disappear: those made for this one, and
/// all of small tables where it may put referential actions to sleep.
fn vanish(world: &World<'_>, tenant: usize, other: usize, probe: &mut Probe) {
    if world.options.read_only {
        return;
    }
    let silent = world.scope.verifier.superuser;
    if silent {
        probe.step(
            Kind::Execute,
            "set local session_replication_role = replica",
        );
        for relation in &world.scope.relations {
            // Rows that were made go below, by their place.
            if relation.kind == RelationKind::Table
                && world.focus.makes(relation.oid)
                && !world.big(relation)
                && world.may_silence(relation)
                && let Some(foreign) = keys::foreign(world.scope, relation, world.id(tenant), None)
            {
                probe.step(
                    Kind::Try,
                    format!("delete from {} where {foreign}", relation.name),
                );
            }
        }
    } else if !world.unbound() {
        world.look_as(probe, other);
    }
    for (oid, made) in world.stage.newest_first(other) {
        let Some((table, place)) = &made.place else {
            continue;
        };
        let name = world
            .scope
            .relation(*table)
            .or_else(|| world.scope.relation(oid))
            .map(|relation| relation.name.to_string());
        if let Some(name) = name {
            probe.step(
                Kind::Try,
                format!(
                    "delete from {name} where tableoid = {table} and ctid = {}::tid",
                    Literal::new(place)
                ),
            );
        }
    }
    if silent {
        probe.step(Kind::Execute, "set local session_replication_role = origin");
    }
}

async fn views(
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
        let sql = if tables.iter().any(|table| world.big(table)) {
            by_value(world, relation, &below, ground.other)
        } else {
            digest_sql(relation, grant)
        };
        match sql {
            Some(sql) => seen.push((relation, sql)),
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
    let mut probe = Probe::new();
    let look = |probe: &mut Probe, enter: &[String]| -> Vec<usize> {
        probe.all(&world.origin.back(role));
        probe.all(enter);
        seen.iter()
            .map(|(_, sql)| probe.step(Kind::Look, sql.clone()))
            .collect()
    };
    let nothing = Vec::new();
    let second = ground
        .enter_second
        .as_ref()
        .map_or(nothing, |enter| look(&mut probe, enter));
    let first = look(&mut probe, &ground.enter);
    let again = look(&mut probe, &ground.enter);
    probe.all(&world.origin.back(role));
    vanish(world, ground.tenant, ground.other, &mut probe);
    let last = look(&mut probe, &ground.enter);
    let mut theirs = Probe::new();
    let other = look(&mut theirs, &ground.enter_other);
    let answers = script::run(conn, &[probe, theirs], budget(world.options)).await?;
    let [answer, theirs] = &answers[..] else {
        return Ok(());
    };
    for (index, (relation, sql)) in seen.iter().enumerate() {
        report.outcome.probes += 1;
        let text = |places: &[usize]| places.get(index).and_then(|place| answer.text(*place));
        let cell = Cell::new(relation, role, Action::Select);
        let show = Some(reproduce(&ground.enter, sql));
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
        let exercised = other
            .get(index)
            .is_some_and(|place| rows(theirs.text(*place)) > 0);
        if exercised || rows(before) > 0 && text(&second).is_some_and(|other| Some(other) != before)
        {
            report.worked(cell);
            report.see(
                cell,
                Access::Isolated,
                "it shows own rows, and the same without another tenant's".to_owned(),
            );
        } else if !world.allows(relation, ExceptionKind::Unproven, role) {
            report.find(
                "not-exercised",
                cell,
                "it shows no tenant a row, neither of the database's nor of those made for it"
                    .to_owned(),
                show,
            );
        }
    }
    Ok(())
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

/// Whether a rollback undoes all that a call may do.
fn callable(world: &World<'_>, function: &Function, detail: &FunctionDetail) -> bool {
    if function.trigger || !matches!(function.kind, 'f' | 'p') || detail.variadic {
        return false;
    }
    if function.kind == 'f' && function.volatility != 'v' {
        return matches!(detail.language.as_str(), "sql" | "plpgsql");
    }
    let body = detail.body.to_lowercase();
    !world.options.read_only
        && matches!(detail.language.as_str(), "sql" | "plpgsql")
        && !LASTING.iter().any(|word| body.contains(word))
}

async fn functions(
    conn: &mut PgConnection,
    world: &World<'_>,
    ground: &Ground<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let role = ground.role;
    let watch = watching(world, ground.other);
    let look = |probe: &mut Probe| {
        if !world.unbound() {
            world.look_as(probe, ground.other);
        }
        watch
            .iter()
            .map(|sql| probe.step(Kind::Look, sql.clone()))
            .collect::<Vec<_>>()
    };
    // Each probe is undone, so one look before them serves all.
    let mut before = Probe::new();
    let were = look(&mut before);
    let mut probes = vec![before];
    let mut asked = Vec::new();
    for function in &world.scope.functions {
        let Some(detail) = world
            .details
            .functions
            .iter()
            .find(|detail| detail.oid == function.oid)
        else {
            continue;
        };
        let excepted = world.scope.exceptions.iter().any(|exception| {
            exception.kind == ExceptionKind::Definer
                && !exception.expired
                && (exception.object == function.label
                    || exception.object == function.name.human()
                    || format!("public.{}", exception.object) == function.label
                    || exception.object == format!("public.{}", function.label))
        });
        if excepted
            || !world.focus.function(function.oid)
            || !detail.roles.contains(&role.oid)
            || !callable(world, function, detail)
        {
            continue;
        }
        let calls = calls(world, function, detail, ground.other);
        let mut probe = Probe::new();
        probe.all(&ground.enter);
        let run = |probe: &mut Probe| {
            calls
                .iter()
                .map(|(sql, kind)| probe.step(*kind, sql.clone()))
                .collect::<Vec<_>>()
        };
        let first = run(&mut probe);
        probe.all(&world.origin.back(role));
        let are = look(&mut probe);
        // What the calls wrote is part of what the second round would see.
        let mut after = Probe::new();
        vanish(world, ground.tenant, ground.other, &mut after);
        after.all(&ground.enter);
        let last = run(&mut after);
        probes.push(probe);
        probes.push(after);
        asked.push((function, calls, are, first, last));
    }
    if asked.is_empty() {
        return Ok(());
    }
    let answers = script::run(conn, &probes, budget(world.options)).await?;
    let Some((before, answers)) = answers.split_first() else {
        return Ok(());
    };
    let were: Vec<Option<&str>> = were.iter().map(|place| before.text(*place)).collect();
    let pairs: Vec<&[Answer]> = answers.chunks_exact(2).collect();
    // Clocks and dice change answers too: what differs is asked once more, all rows there.
    let mut again = Vec::new();
    let mut repeated = HashMap::new();
    for (at, ((_, calls, _, first, last), pair)) in asked.iter().zip(&pairs).enumerate() {
        let [answer, after] = pair else { continue };
        let differs = first
            .iter()
            .zip(last)
            .any(|(before, now)| answer.text(*before) != after.text(*now));
        if differs {
            let mut probe = Probe::new();
            probe.all(&ground.enter);
            let places: Vec<usize> = calls
                .iter()
                .map(|(sql, kind)| probe.step(*kind, sql.clone()))
                .collect();
            repeated.insert(at, (again.len(), places));
            again.push(probe);
        }
    }
    let steady = script::run(conn, &again, budget(world.options)).await?;
    for (at, ((function, calls, are, first, last), pair)) in
        asked.into_iter().zip(&pairs).enumerate()
    {
        let [answer, after] = pair else { continue };
        report.outcome.probes += calls.len() as u64;
        let cell = Cell {
            object: &function.label,
            role,
            action: Action::Execute,
        };
        let unsteady: BTreeSet<usize> = repeated
            .get(&at)
            .and_then(|(probe, places)| Some((steady.get(*probe)?, places)))
            .map(|(again, places)| {
                let pairs = first.iter().zip(places).enumerate();
                pairs
                    .filter(|(_, (before, now))| answer.text(**before) != again.text(**now))
                    .map(|(call, _)| call)
                    .collect()
            })
            .unwrap_or_default();
        if !unsteady.is_empty() {
            report.outcome.residual.push(format!(
                "`{}` answers differently from call to call: whether other tenants' rows are part of that was not told",
                function.label
            ));
        }
        judge(
            ground,
            cell,
            &calls,
            (answer, after),
            (&were, &are),
            (&first, &last),
            &unsteady,
            report,
        );
    }
    Ok(())
}

#[allow(clippy::too_many_arguments)]
fn judge(
    ground: &Ground<'_>,
    cell: Cell<'_>,
    calls: &[(String, Kind)],
    (answer, after): (&Answer, &Answer),
    (were, are): (&[Option<&str>], &[usize]),
    (first, last): (&[usize], &[usize]),
    unsteady: &BTreeSet<usize>,
    report: &mut Report,
) {
    let wrote = were.iter().zip(are).any(|(before, now)| {
        let now = answer.text(*now);
        before.is_some() && now.is_some() && *before != now
    });
    let show = |at: usize| Some(reproduce(&ground.enter, &calls[at].0));
    if wrote {
        report.find(
            "function-reaches-foreign-rows",
            cell,
            "called in the context of one tenant it changes rows of another",
            show(0),
        );
        return;
    }
    let mut worked = false;
    for (at, (before, now)) in first.iter().zip(last).enumerate() {
        let (Some(before), Some(now)) = (answer.text(*before), after.text(*now)) else {
            continue;
        };
        if unsteady.contains(&at) {
            continue;
        }
        worked |= !before.starts_with('!');
        if before != now {
            report.find(
                "function-reaches-foreign-rows",
                cell,
                "what it answers in the context of one tenant depends on rows of another",
                show(at),
            );
            return;
        }
    }
    if worked {
        report.see(
            cell,
            Access::Isolated,
            format!(
                "{} calls answered the same without another tenant's rows",
                calls.len()
            ),
        );
    }
}

/// Texts of the other tenant's synthetic rows, one query a table.
fn watching(world: &World<'_>, other: usize) -> Vec<String> {
    world
        .stage
        .newest_first(other)
        .into_iter()
        .filter_map(|(oid, _)| {
            let relation = world.scope.relation(oid)?;
            let own = keys::own(world.scope, relation, world.id(other), None)?;
            (!world.big(relation)).then(|| {
                format!(
                    "select pg_catalog.md5(coalesce(pg_catalog.string_agg({0}::text, '|' order by {0}::text), '')) from {1} where {own}",
                    relation.name.name, relation.name
                )
            })
        })
        .collect()
}

/// Calls with arguments that the other tenant's rows speak of.
fn calls(
    world: &World<'_>,
    function: &Function,
    detail: &FunctionDetail,
    other: usize,
) -> Vec<(String, Kind)> {
    let lists: Vec<Vec<String>> = detail
        .arguments
        .iter()
        .map(|argument| arguments(world, argument, other))
        .collect();
    let most = lists.iter().map(Vec::len).max().unwrap_or(1).max(1);
    let mut rows: Vec<Vec<String>> = Vec::new();
    // Every argument goes through its list, each at its own pace, so that pairs differ.
    for turn in 0..most * 3 {
        let row: Vec<String> = lists
            .iter()
            .enumerate()
            .filter_map(|(place, list)| {
                let step = if place == 0 {
                    turn
                } else {
                    turn / most + turn * place
                };
                list.get(step % list.len().max(1)).cloned()
            })
            .collect();
        if row.len() == lists.len() && !rows.contains(&row) && rows.len() < CALLS {
            rows.push(row);
        }
    }
    rows.into_iter()
        .map(|row| {
            let call = format!("{}({})", function.name, row.join(", "));
            if function.kind == 'p' {
                (format!("call {call}"), Kind::Try)
            } else {
                (
                    format!(
                        "select count(*) || ' ' || coalesce(pg_catalog.md5(pg_catalog.string_agg(pg_catalog.to_jsonb(kinedb_rows)::text, '|' \
                         order by pg_catalog.to_jsonb(kinedb_rows)::text)), '') from (select {call} as kinedb_value limit 5000) as kinedb_rows"
                    ),
                    Kind::Call,
                )
            }
        })
        .collect()
}

fn arguments(world: &World<'_>, argument: &Argument, other: usize) -> Vec<String> {
    let mut texts: BTreeSet<String> = BTreeSet::new();
    let mut first: Vec<String> = Vec::new();
    let wanted = argument.base.as_str();
    let textual = matches!(wanted, "text" | "varchar" | "citext" | "bpchar" | "name");
    for (oid, made) in world.stage.newest_first(other) {
        for column in world.details.columns_of(oid) {
            let fits = column.base == wanted
                || textual && matches!(column.base.as_str(), "text" | "varchar" | "citext");
            if fits && let Some(text) = made.values.get(&column.name).and_then(text_of) {
                texts.insert(text);
            }
        }
    }
    match wanted {
        "uuid" => first.push(world.id(other).to_owned()),
        _ if textual => {
            first.extend([
                String::new(),
                "%".to_owned(),
                "kinedb".to_owned(),
                world.id(other).to_owned(),
            ]);
        }
        "int2" | "int4" | "int8" | "numeric" => {
            first.push(world.id(other).to_owned());
            first.extend(["1".to_owned(), "100".to_owned()]);
        }
        "bool" => first.extend(["true".to_owned(), "false".to_owned()]),
        "date" | "timestamp" | "timestamptz" => {
            first.extend(["-infinity".to_owned(), "infinity".to_owned()]);
        }
        "json" | "jsonb" => first.push("{}".to_owned()),
        _ => {}
    }
    let mut list: Vec<String> = first.into_iter().chain(texts).take(CALLS).collect();
    list.retain(|text| !wanted.starts_with("int") || text.parse::<i64>().is_ok());
    let mut list: Vec<String> = list
        .into_iter()
        .map(|text| format!("{}::{}", Literal::new(text), argument.type_name))
        .collect();
    if list.is_empty() {
        list.push(format!("null::{}", argument.type_name));
    }
    list
}
