//! What a function answers to one tenant must not depend on another's rows, and
//! calling it must not change them.

use std::collections::{BTreeSet, HashMap};

use sqlx::PgConnection;

use super::calls::calls;
use super::{Ground, unfinished, vanish};
use crate::verify::details::FunctionDetail;
use crate::verify::finding::{Access, Action};
use crate::verify::keys;
use crate::verify::model::{ExceptionKind, Function, Oid};
use crate::verify::probes::digest_of;
use crate::verify::probes::report::{Cell, Report, reproduce};
use crate::verify::probes::stirring::collided;
use crate::verify::script::{self, Answer, Kind, Probe};
use crate::verify::synth::{Insert, literals};
use crate::verify::world::World;

/// Calls of one function that are repeated without a context.
const BARE: usize = 16;
/// Functions that are called in one probe, where they leave nothing behind.
const TOGETHER: usize = 32;
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

/// Whether calling it leaves nothing behind that another call could see: so many can be
/// called in one probe, and the other's rows disappear once for all of them.
fn quiet(world: &World<'_>, function: &Function, seen: &mut BTreeSet<Oid>) -> bool {
    if !seen.insert(function.oid) {
        return true;
    }
    let body = &function.body;
    let silent = function.kind == 'f'
        && function.volatility != 'v'
        && !body.dynamic
        && !body.opaque
        && body.writes.is_empty()
        && body.sets.is_empty()
        && body.session_sets.is_empty();
    silent
        && world
            .scope
            .functions
            .iter()
            .filter(|called| body.calls.contains(&called.oid))
            .all(|called| quiet(world, called, seen))
}

/// A function that was called, and where the answers are.
struct Asked<'w> {
    function: &'w Function,
    detail: &'w FunctionDetail,
    calls: Vec<(String, Kind)>,
    /// How many of them are made in the tenant's context; the others without one.
    entered: usize,
    /// The probe with all rows there; the one after it is without the other's.
    probe: usize,
    /// Steps of the calls in both.
    first: Vec<usize>,
    last: Vec<usize>,
    /// Steps that looked at the other's rows after the calls.
    are: Vec<usize>,
    gone: Vec<(Oid, usize)>,
    /// Others were called in the same probe.
    shared: bool,
}

/// The two probes for functions that are called together.
fn together<'w>(
    world: &'w World<'_>,
    ground: &Ground<'_>,
    list: &[(&'w Function, &'w FunctionDetail)],
    twins: &[String],
    look: &dyn Fn(&mut Probe) -> Vec<usize>,
    probes: &mut Vec<Probe>,
) -> Vec<Asked<'w>> {
    let at = probes.len();
    let shared = list.len() > 1;
    let called: Vec<(Vec<(String, Kind)>, usize)> = list
        .iter()
        .map(|(function, detail)| {
            let tenants = (ground.tenant, ground.other);
            let mut calls = calls(world, function, detail, tenants);
            let entered = calls.len();
            // What works with the caller's rights sees what he sees in the tables.
            if function.definer && ground.bare.is_some() {
                calls.extend_from_within(..entered.min(BARE));
            }
            (calls, entered)
        })
        .collect();
    let asked: Vec<(&[(String, Kind)], usize)> = called
        .iter()
        .map(|(calls, entered)| (&calls[..], *entered))
        .collect();
    let run = |probe: &mut Probe| ask(world, ground, &asked, twins, probe);
    let mut probe = Probe::new();
    let first = run(&mut probe);
    let are = if shared {
        Vec::new()
    } else {
        probe.all(&world.origin.back(ground.role));
        look(&mut probe)
    };
    // What the calls wrote is part of what the second round would see.
    let mut after = Probe::new();
    let gone = vanish(world, ground, &mut after);
    let last = run(&mut after);
    probes.push(probe);
    probes.push(after);
    list.iter()
        .zip(called)
        .zip(first.into_iter().zip(last))
        .map(
            |(((function, detail), (calls, entered)), (first, last))| Asked {
                function,
                detail,
                calls,
                entered,
                probe: at,
                first,
                last,
                are: are.clone(),
                gone: gone.clone(),
                shared,
            },
        )
        .collect()
}

/// The calls of several functions, those without a context after all others.
fn ask(
    world: &World<'_>,
    ground: &Ground<'_>,
    list: &[(&[(String, Kind)], usize)],
    twins: &[String],
    probe: &mut Probe,
) -> Vec<Vec<usize>> {
    let add = |probe: &mut Probe, calls: &[(String, Kind)]| -> Vec<usize> {
        let steps = calls.iter();
        steps
            .map(|(sql, kind)| probe.step(*kind, sql.clone()))
            .collect()
    };
    probe.all(&ground.enter);
    for sql in twins {
        probe.step(Kind::Try, sql.clone());
    }
    let mut places: Vec<Vec<usize>> = list
        .iter()
        .map(|(calls, entered)| add(probe, &calls[..*entered]))
        .collect();
    let more = list.iter().any(|(calls, entered)| calls.len() > *entered);
    if let Some(bare) = ground.bare.as_ref().filter(|_| more) {
        probe.all(&world.origin.back(ground.role));
        probe.all(bare);
        for (places, (calls, entered)) in places.iter_mut().zip(list) {
            places.extend(add(probe, &calls[*entered..]));
        }
    }
    places
}

/// Calls each function that the role may call, with and without the other's rows.
pub(super) async fn functions(
    conn: &mut PgConnection,
    world: &World<'_>,
    ground: &Ground<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
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
    let (quiet, loud): (Vec<_>, Vec<_>) = called(world, ground)
        .into_iter()
        .partition(|(function, _)| quiet(world, function, &mut BTreeSet::new()));
    if quiet.is_empty() && loud.is_empty() {
        return Ok(());
    }
    let twins = twins(conn, world, ground, quiet.iter().chain(&loud)).await?;
    // Each probe is undone, so one look before them serves all.
    let mut before = Probe::new();
    let were = look(&mut before);
    let mut probes = vec![before];
    let mut asked = Vec::new();
    for list in quiet.chunks(TOGETHER).chain(loud.chunks(1)) {
        asked.extend(together(world, ground, list, &twins, &look, &mut probes));
    }
    let mut answers = script::run(conn, &probes, world.budget).await?;
    // One that takes too long may have cost the others their turn.
    let mut alone = Vec::new();
    for one in asked.iter_mut().filter(|one| one.shared) {
        let whole = [(one.probe, &one.first), (one.probe + 1, &one.last)]
            .into_iter()
            .all(|(probe, steps)| {
                let answer = answers.get(probe);
                answer.is_some_and(|answer| {
                    steps.iter().all(|step| unfinished(answer, *step).is_none())
                })
            });
        if !whole {
            let list = [(one.function, one.detail)];
            for mut again in together(world, ground, &list, &twins, &look, &mut alone) {
                again.probe += answers.len();
                *one = again;
            }
        }
    }
    answers.extend(script::run(conn, &alone, world.budget).await?);
    let Some(before) = answers.first() else {
        return Ok(());
    };
    let were: Vec<Option<&str>> = were.iter().map(|place| before.seen(*place)).collect();
    let pair = |one: &Asked<'_>| answers.get(one.probe).zip(answers.get(one.probe + 1));
    // Clocks and dice change answers too: what differs is asked once more, all rows there.
    let mut again = Vec::new();
    let mut repeated = HashMap::new();
    for (at, one) in asked.iter().enumerate() {
        let Some((answer, after)) = pair(one) else {
            continue;
        };
        let differs = one
            .first
            .iter()
            .zip(&one.last)
            .any(|(before, now)| answer.text(*before) != after.text(*now));
        if differs {
            let mut probe = Probe::new();
            let calls = [(&one.calls[..], one.entered)];
            let places = ask(world, ground, &calls, &twins, &mut probe).concat();
            repeated.insert(at, (again.len(), places));
            again.push(probe);
        }
    }
    let steady = script::run(conn, &again, world.budget).await?;
    for (at, one) in asked.iter().enumerate() {
        let Some((answer, after)) = pair(one) else {
            continue;
        };
        report.outcome.probes += one.calls.len() as u64;
        let unsteady: BTreeSet<usize> = repeated
            .get(&at)
            .and_then(|(probe, places)| Some((steady.get(*probe)?, places)))
            .map(|(again, places)| {
                let pairs = one.first.iter().zip(places).enumerate();
                pairs
                    .filter(|(_, (before, now))| answer.text(**before) != again.text(**now))
                    .map(|(call, _)| call)
                    .collect()
            })
            .unwrap_or_default();
        if !unsteady.is_empty() {
            report.outcome.residual.push(format!(
                "`{}` answers differently from call to call: whether other tenants' rows are part of that was not told",
                one.function.label
            ));
        }
        judge(
            world,
            ground,
            one,
            (answer, after),
            &were,
            &unsteady,
            report,
        );
    }
    Ok(())
}

/// Own rows under the ids of the other's, in tables that the functions read with more
/// rights than their caller's.
async fn twins<'w>(
    conn: &mut PgConnection,
    world: &World<'_>,
    ground: &Ground<'_>,
    called: impl Iterator<Item = &'w (&'w Function, &'w FunctionDetail)>,
) -> anyhow::Result<Vec<String>> {
    let definers =
        called.filter(|(function, detail)| function.definer && !detail.arguments.is_empty());
    let read: BTreeSet<Oid> = definers
        .flat_map(|(function, _)| function.body.reads.iter().copied())
        .collect();
    let tables = read.iter().filter_map(|oid| world.scope.relation(*oid));
    let tenants = (ground.tenant, ground.other);
    let rows: Vec<Insert> = tables
        .filter_map(|table| collided(world, table, ground.role, tenants))
        .collect();
    let known = literals(conn, world.unbound(), &rows, world.budget).await?;
    Ok(rows
        .into_iter()
        .map(|row| known.get(&row.sql).cloned().unwrap_or(row.sql))
        .collect())
}

/// The functions to call.
fn called<'w>(
    world: &'w World<'_>,
    ground: &Ground<'_>,
) -> Vec<(&'w Function, &'w FunctionDetail)> {
    let details: HashMap<Oid, &FunctionDetail> = world
        .details
        .functions
        .iter()
        .map(|detail| (detail.oid, detail))
        .collect();
    let mut list = Vec::new();
    for function in &world.scope.functions {
        let Some(detail) = details.get(&function.oid) else {
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
        // A way into the tenant that its caller names may look whether there is one.
        let settings = &world.scope.context_settings;
        let mut sets = function.body.sets.iter();
        let enters = detail.void
            && function.body.writes.is_empty()
            && sets.any(|name| settings.contains(name));
        if !excepted
            && !enters
            && world.focus.function(function.oid)
            && detail.roles.contains(&ground.role.oid)
            && callable(world, function, detail)
        {
            list.push((function, *detail));
        }
    }
    list
}

fn judge(
    world: &World<'_>,
    ground: &Ground<'_>,
    asked: &Asked<'_>,
    (answer, after): (&Answer, &Answer),
    were: &[Option<&str>],
    unsteady: &BTreeSet<usize>,
    report: &mut Report,
) {
    let Asked {
        function,
        calls,
        first,
        last,
        are,
        gone,
        ..
    } = asked;
    let cell = Cell {
        object: &function.label,
        role: ground.role,
        action: Action::Execute,
    };
    let bare = |at: usize| ground.bare.as_ref().filter(|_| at >= asked.entered);
    let show = |at: usize| {
        let enter = bare(at).unwrap_or(&ground.enter);
        Some(reproduce(enter, &calls[at].0))
    };
    let wrote = were.iter().zip(are).any(|(before, now)| {
        let now = answer.seen(*now);
        before.is_some() && now.is_some() && *before != now
    });
    if wrote {
        report.find(
            "function-reaches-foreign-rows",
            cell,
            "called in the context of one tenant it changes rows of another",
            show(0),
        );
        return;
    }
    // What works with the caller's rights changes what he may change in the tables.
    let unseen = are.iter().find_map(|place| unfinished(answer, *place));
    if let Some(reason) = unseen.filter(|_| function.definer) {
        let detail = format!("whether it changed another tenant's rows was not seen: {reason}");
        report.find("not-exercised", cell, detail, show(0));
        return;
    }
    // A new tenant's name may be taken, as may be seen wherever one signs up.
    let registry = world.scope.tenants.table.as_ref().map(|(oid, _)| oid);
    let registers = registry.is_some_and(|oid| function.body.writes.contains(oid));
    let mut worked = false;
    let went = gone
        .iter()
        .any(|(_, place)| after.number(*place).is_some_and(|rows| rows > 0));
    for (at, (before, now)) in first.iter().zip(last).enumerate() {
        let cut = unfinished(answer, *before).or_else(|| unfinished(after, *now));
        // What works with the caller's rights sees what he sees in the tables.
        if let Some(reason) = cut.as_ref().filter(|_| function.definer) {
            let detail = format!("a call was cut short: {reason}");
            report.find("not-exercised", cell, detail, show(at));
            return;
        }
        let (Some(before), Some(now)) = (answer.text(*before), after.text(*now)) else {
            continue;
        };
        if cut.is_some() || unsteady.contains(&at) {
            continue;
        }
        worked |= went && !before.starts_with('!');
        if before != now && !(registers && before.starts_with("!23505")) {
            report.find(
                "function-reaches-foreign-rows",
                cell,
                if bare(at).is_some() {
                    "what it answers without a context depends on rows of a tenant"
                } else {
                    "what it answers in the context of one tenant depends on rows of another"
                },
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
                let rows = format!("{}::text", relation.name.name);
                digest_of(&rows, &format!("{} where {own}", relation.name))
            })
        })
        .collect()
}
