//! Reading: own rows are all seen, foreign ones never, in any context.

use sqlx::PgConnection;

use super::report::{Cell, Report, reproduce};
use super::write::large::at_made;
use super::write::other_than;
use crate::db::ident::{Ident, Literal};
use crate::verify::details::Grant;
use crate::verify::finding::{Access, Action};
use crate::verify::keys;
use crate::verify::model::{
    ActAs, ActingRole, ExceptionKind, Relation, RelationKind, RoleScope, TenantKey,
};
use crate::verify::script::{self, Answer, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::world::{World, is_view};

/// What a role sees of a relation, as text "total own foreign shared", or only a total.
pub(super) fn counting(
    world: &World<'_>,
    relation: &Relation,
    grant: &Grant,
    id: &str,
) -> (String, bool) {
    let own = keys::own(world.scope, relation, id, None);
    let readable = match &relation.tenant {
        TenantKey::Column { column, .. } => grant.column(column.as_str(), 'r'),
        // Rows of a view have no place, and the verifier may not see them: whose they are is
        // asked of the row alone, by whoever sees it.
        TenantKey::Owns(text) | TenantKey::Expression(text) => {
            is_view(relation) && grant.select && !text.to_ascii_lowercase().contains("select")
        }
        _ => false,
    };
    match own.filter(|_| readable) {
        Some(own) => {
            let foreign = excused(world, relation, shown(world, relation, id));
            let shared = keys::shared(relation).unwrap_or_else(|| "false".to_owned());
            if world.big(relation) && is_view(relation) {
                return (
                    sampled(world, relation, id, [&own, &foreign, &shared]),
                    true,
                );
            }
            let within = &relation.name;
            (
                format!(
                    "select pg_catalog.concat_ws(' ', count(*), count(*) filter (where {own}), \
                     count(*) filter (where {foreign}), count(*) filter (where {shared})) from {within}"
                ),
                true,
            )
        }
        None => (format!("select count(*) from {}", relation.name), false),
    }
}

/// The same of a view over large tables: the rows that were made, found by their
/// keys; without any the first rows.
fn sampled(
    world: &World<'_>,
    relation: &Relation,
    id: &str,
    [own, foreign, shared]: [&str; 3],
) -> String {
    let name = &relation.name;
    let places = world
        .stage
        .tenants
        .iter()
        .position(|tenant| tenant.id == id);
    let made = |place: Option<usize>| at_made(world, relation, place?);
    let others = places.and_then(|place| other_than(world, place));
    if let (Some(mine), Some(theirs)) = (made(places), made(others)) {
        return format!(
            "select pg_catalog.concat_ws(' ', 0, (select count(*) from {name} where {mine} and {own}), \
             (select count(*) from {name} where {theirs} and {foreign}), 0)"
        );
    }
    format!(
        "select pg_catalog.concat_ws(' ', count(*), count(*) filter (where kinedb_own), \
         count(*) filter (where kinedb_foreign), count(*) filter (where kinedb_shared)) \
         from (select {own} as kinedb_own, {foreign} as kinedb_foreign, {shared} as kinedb_shared \
         from {name} limit 2000) as kinedb_rows"
    )
}

/// Foreign rows of a relation; a view shows those as well that its table shares.
fn shown(world: &World<'_>, relation: &Relation, id: &str) -> Option<String> {
    let mut text = keys::foreign(world.scope, relation, id, None)?;
    if !is_view(relation) {
        return Some(text);
    }
    for oid in world.details.tables_below(relation.oid, world.scope) {
        let Some(table) = world.scope.relation(oid) else {
            continue;
        };
        for share in &table.shared {
            let shows = |name: &Ident| relation.columns.iter().any(|own| own.name == *name);
            let Some(link) = world.scope.relation(share.link) else {
                continue;
            };
            if share.columns.iter().all(|(_, target)| shows(target)) {
                let join: String = share
                    .columns
                    .iter()
                    .map(|(own, target)| {
                        format!("{}.{own} = {}.{target} and ", link.name, relation.name)
                    })
                    .collect();
                text = format!(
                    "({text} and (exists (select from {0} where {join}{0}.{1}::text = {2})) is not true)",
                    link.name,
                    share.receiver,
                    Literal::new(id)
                );
            }
        }
    }
    Some(text)
}

/// Foreign rows, those left out that an exception shares.
pub(super) fn excused(world: &World<'_>, relation: &Relation, foreign: Option<String>) -> String {
    let mut text = foreign.unwrap_or_else(|| "false".to_owned());
    for exception in &world.scope.exceptions {
        if exception.kind == ExceptionKind::SharedRows
            && !exception.expired
            && crate::verify::world::names(relation, &exception.object)
        {
            match &exception.filter {
                Some(filter) => text = format!("({text} and ({filter}) is not true)"),
                None => "false".clone_into(&mut text),
            }
        }
    }
    text
}

/// Whether reading this is to be probed for a role.
pub(super) fn readable(world: &World<'_>, relation: &Relation, role: &ActingRole) -> bool {
    keys::owned(relation)
        && relation.kind != RelationKind::ForeignTable
        && role.scope != RoleScope::All
        && world
            .grant(role, relation)
            .is_some_and(|grant| !grant.columns('r').is_empty())
}

/// Own rows seen, foreign rows not, in each tenant's context.
pub(super) async fn contexts(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    for (role, named) in world.acting() {
        if role.act_as == ActAs::Login {
            continue;
        }
        let readers = world.readers.iter().copied().filter(|_| named);
        for tenant in world.contexts_of(role).into_iter().chain(readers) {
            let setting = Setting::Tenant(world.id(tenant).to_owned());
            let enter = world.actors.enter(world.scope, role, &setting);
            let mut together = Probe::new();
            together.all(&enter);
            let mut places = Vec::new();
            for relation in world.relations() {
                let Some(grant) = world.grant(role, relation) else {
                    continue;
                };
                if !readable(world, relation, role) {
                    continue;
                }
                let id = world.id(tenant);
                let whole = grant.select && keys::has_places(relation);
                let (sql, exact) = counting(world, relation, grant, id);
                if whole && (world.by_place(relation) || !exact) {
                    if let Some((probe, place)) = by_place(world, relation, &enter, role, tenant) {
                        probes.push(probe);
                        asked.push((
                            role,
                            named,
                            tenant,
                            enter.clone(),
                            vec![(place, relation, sql)],
                        ));
                    }
                } else {
                    places.push((together.step(Kind::Look, sql.clone()), relation, sql));
                }
            }
            probes.push(together);
            asked.push((role, named, tenant, enter, places));
        }
    }
    let answers = script::run(conn, &probes, world.budget).await?;
    for ((role, named, tenant, enter, places), answer) in asked.into_iter().zip(answers) {
        for (place, relation, sql) in places {
            report.outcome.probes += 1;
            let show = reproduce(&enter, &sql);
            judge(
                world, relation, role, named, tenant, &answer, place, show, report,
            );
        }
    }
    Ok(())
}

/// For keys that the role cannot read, and for large tables: the role tells the
/// places of the rows that it sees, the verifier whose they are.
fn by_place(
    world: &World<'_>,
    relation: &Relation,
    enter: &[String],
    role: &ActingRole,
    tenant: usize,
) -> Option<(Probe, usize)> {
    let id = world.id(tenant);
    let own = keys::own(world.scope, relation, id, None)?;
    let foreign = excused(
        world,
        relation,
        keys::foreign(world.scope, relation, id, None),
    );
    let shared = keys::shared(relation).unwrap_or_else(|| "false".to_owned());
    let name = &relation.name;
    let mut probe = Probe::new();
    let bound = if world.by_place(relation) {
        let made: Vec<String> = world
            .watched()
            .iter()
            .filter_map(|tenant| world.stage.row(relation.oid, *tenant)?.place.clone())
            .map(|(_, place)| format!("{}::tid", Literal::new(place)))
            .collect();
        // The first pages and the rows that were made: found by place, whatever the size.
        format!(
            "select array(select {name}.ctid from {name} where {name}.ctid < '(4,0)'::tid) || array[{}]::tid[]",
            made.join(", ")
        )
    } else {
        String::new()
    };
    let filter = if bound.is_empty() {
        String::new()
    } else {
        probe.step(Kind::Memo, format!("select ({bound})::text"));
        format!(" where {name}.ctid = any($1::tid[])")
    };
    probe.all(enter);
    probe.step(
        Kind::Memo,
        format!(
            "select coalesce(pg_catalog.jsonb_agg({name}.tableoid::bigint || ' ' || {name}.ctid::text), '[]') from {name}{filter}"
        ),
    );
    probe.all(&world.origin.back(role));
    if !world.unbound() {
        world.look_as(&mut probe, tenant);
    }
    let seen = format!(
        "({name}.tableoid::bigint || ' ' || {name}.ctid::text) in (select pg_catalog.jsonb_array_elements_text($1::jsonb))"
    );
    let again = if bound.is_empty() {
        String::new()
    } else {
        format!(
            " where {name}.ctid = any(array({bound_rows}))",
            bound_rows = bound.replacen("select array(", "select unnest(array(", 1) + ")"
        )
    };
    let place = probe.step(
        Kind::Query,
        format!(
            "select pg_catalog.concat_ws(' ', pg_catalog.jsonb_array_length($1::jsonb), \
             count(*) filter (where {seen} and {own}), count(*) filter (where {seen} and {foreign}), \
             count(*) filter (where {seen} and {shared}), count(*) filter (where {own} and ({}))) from {name}{}",
            world.visible(relation, world.id(tenant)),
            again
        ),
    );
    Some((probe, place))
}

#[allow(clippy::too_many_arguments)]
pub(super) fn judge(
    world: &World<'_>,
    relation: &Relation,
    role: &ActingRole,
    named: bool,
    tenant: usize,
    answer: &Answer,
    place: usize,
    show: String,
    report: &mut Report,
) {
    let cell = Cell::new(relation, role, Action::Select);
    let context = world.named_context(role, tenant);
    let global = world.allows(relation, ExceptionKind::GlobalRead, role);
    let cut = answer.state(place).is_some_and(script::cut_short);
    if world.readers.contains(&tenant) && stopped(answer, place).is_some() {
        return;
    }
    if cut && named && !world.allows(relation, ExceptionKind::Unproven, role) {
        let reason = stopped(answer, place).unwrap_or_default();
        report.cut(cell, &format!("reading {context}: {reason}"), Some(show));
        return;
    }
    if let Some(reason) = stopped(answer, place) {
        // A visitor's session holds no tenant's id: what fails over that shows nothing.
        if role.scope == RoleScope::Shared && !cut {
            let why = format!("reading {context} fails: {reason}");
            report.see(cell, Access::Denied, why);
        } else if named && !world.allows(relation, ExceptionKind::Unproven, role) {
            let id = if reason.starts_with("permission denied") {
                "own-rows-hidden"
            } else {
                "not-exercised"
            };
            report.find(
                id,
                cell,
                format!("reading {context} fails: {reason}"),
                Some(show),
            );
        }
        return;
    }
    let numbers: Vec<i64> = answer
        .text(place)
        .map(|text| text.split(' ').filter_map(|n| n.parse().ok()).collect())
        .unwrap_or_default();
    let count = world.counted(relation, tenant);
    let (own, foreign, shared, expected) = match numbers[..] {
        [_, own, foreign, shared, expected] => (own, foreign, shared, Some(expected)),
        [_, own, foreign, shared] => (own, foreign, shared, count.map(|count| count.visible)),
        [total] => {
            // Neither key nor place is readable: the number alone must fit.
            let Some(count) = count else {
                return;
            };
            let foreign = (total - count.own - count.shared).max(0);
            (total - foreign, foreign, 0, Some(count.visible))
        }
        _ => return,
    };
    if foreign > 0 && !global {
        report.find(
            "foreign-rows-visible",
            cell,
            format!("{foreign} rows of other tenants are visible {context}"),
            Some(show),
        );
        return;
    }
    // Nothing was made for it, and it may have no user: what is missing shows nothing.
    if world.readers.contains(&tenant) {
        return;
    }
    if role.scope == RoleScope::Shared && own > 0 {
        report.find(
            "foreign-rows-visible",
            cell,
            format!(
                "{own} rows of tenant `{}` are visible to a role that is to see no tenant's rows",
                world.id(tenant)
            ),
            Some(show),
        );
        return;
    }
    if shared > 0 && named && !declared_shared(world, relation) {
        report.find(
            "shared-rows-visible",
            cell,
            format!("{shared} rows without a tenant are visible {context}"),
            None,
        );
    }
    if role.scope == RoleScope::Shared {
        report.see(
            cell,
            Access::Isolated,
            format!("no tenant's row seen {context}"),
        );
    }
    if !named || role.scope == RoleScope::Shared {
        return;
    }
    let expected = if is_view(relation) {
        own
    } else {
        expected.unwrap_or(own)
    };
    if own < expected {
        report.find(
            "own-rows-hidden",
            cell,
            format!("{own} of {expected} own rows are visible {context}"),
            Some(show),
        );
    } else if own > 0 {
        report.worked(cell);
        let access = if global {
            Access::Excepted
        } else {
            Access::Isolated
        };
        report.see(
            cell,
            access,
            format!("{own} own rows and no foreign row seen {context}"),
        );
    }
    // Without own rows nothing is proven here; `prove` says so at the end.
}

/// Whether an exception speaks of shared rows, be it of some of them only.
fn declared_shared(world: &World<'_>, relation: &Relation) -> bool {
    world.scope.exceptions.iter().any(|exception| {
        exception.kind == ExceptionKind::SharedRows
            && !exception.expired
            && crate::verify::world::names(relation, &exception.object)
    })
}

/// Why a step gave no value.
pub(crate) fn stopped(answer: &Answer, place: usize) -> Option<String> {
    if let Some(text) = answer.text(place).and_then(|text| text.strip_prefix('!')) {
        return Some(match text.split_once(' ') {
            Some((state, message)) => format!("{message} ({state})"),
            None => script::spoken(text),
        });
    }
    if answer.values.len() > place {
        return None;
    }
    answer.failure.as_ref().map(script::Failure::sentence)
}
