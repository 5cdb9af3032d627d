//! What is stored against what is seen: rows stamped with another tenant than
//! the row they refer to, and tables without a tenant that hold the values of one.
//!
//! Counts per tenant against what the roles see are part of the probes, which
//! compare each context with the verifier's own count. Here is what needs the
//! verifier's eyes on real rows: where RLS binds it, nothing is said.

use sqlx::PgConnection;

use super::details::{ColumnDetail, Reference};
use super::explain;
use super::finding::{Access, Action, Finding, Outcome, Severity, Source, Verdict};
use super::keys;
use super::model::{
    ActAs, ActingRole, ExceptionKind, Options, Relation, RelationKind, RoleScope, Scope, TenantKey,
};
use super::probes::report::{Cell, Report, reproduce};
use super::script::{self, Kind, Probe};
use super::session::Setting;
use super::world::{self, World};
use crate::db::ident::Ident;

/// Rows of a large table that are looked at.
const SAMPLE: u32 = 20_000;
/// An id within a text.
const UUID: &str = "'[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}'";
/// Values of a column that are looked for elsewhere.
const VALUES: u32 = 500;

/// Compares what is stored with what it says.
///
/// # Errors
/// When the connection fails.
pub async fn run(
    conn: &mut PgConnection,
    scope: &Scope,
    options: &Options,
) -> anyhow::Result<Outcome> {
    world::open(conn, options).await?;
    let outcome = async {
        let world = World::of(&mut *conn, scope, options).await?;
        let mut report = Report::default();
        compare(&mut *conn, &world, &mut report).await?;
        Ok::<_, anyhow::Error>(report.outcome)
    }
    .await;
    let closed = world::close(conn, options).await;
    let outcome = outcome?;
    closed?;
    Ok(outcome)
}

/// The same in a world that was made before.
pub(crate) async fn compare(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    if !world.unbound() {
        report
            .outcome
            .residual
            .push("real rows were not counted: row level security binds the verifier".to_owned());
        return Ok(());
    }
    stamps(conn, world, report).await?;
    values(conn, world, report).await
}

/// A table, or as much of it as is looked at.
fn bounded(world: &World<'_>, relation: &Relation) -> String {
    if world.big(relation) && relation.kind == RelationKind::Table && !world.options.exhaustive {
        let percent =
            (f64::from(SAMPLE) * 100.0 / f64::from(relation.estimate.max(1.0))).min(100.0);
        format!("{} tablesample system ({percent:.4})", relation.name)
    } else {
        relation.name.to_string()
    }
}

/// Rows that refer to a row of another tenant.
async fn stamps(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    for reference in &world.details.references {
        let (Some(child), Some(parent)) = (
            world
                .relations()
                .find(|relation| relation.oid == reference.relation),
            world.scope.relation(reference.parent),
        ) else {
            continue;
        };
        let registry = world.scope.tenants.table.as_ref().map(|(oid, _)| *oid);
        // What shares a row refers to one of another tenant on purpose.
        let shares = parent.shared.iter().any(|share| share.link == child.oid);
        if registry == Some(parent.oid) || shares || !keys::has_places(child) {
            continue;
        }
        let Some(sql) = stamped(world, reference, child, parent) else {
            continue;
        };
        let mut probe = Probe::new();
        let place = probe.step(Kind::Ask, sql.clone());
        probes.push(probe);
        asked.push((reference, child, parent, place, sql));
    }
    let answers = script::run(conn, &probes, world.budget).await?;
    for ((reference, child, parent, place, sql), answer) in asked.into_iter().zip(answers) {
        let rows = answer.number(place).unwrap_or(0);
        let Some(doc) = explain::explain("rows-stamped-apart").filter(|_| rows > 0) else {
            continue;
        };
        report.add(Finding {
            id: doc.id.to_owned(),
            severity: Severity::Error,
            verdict: Verdict::Leak,
            object: child.label.clone(),
            role: None,
            action: None,
            title: doc.title,
            detail: format!(
                "{rows} rows refer through `{}` to rows of another tenant in `{}`",
                reference.name, parent.label
            ),
            fix: doc.fix,
            reproduce: Some(format!("{sql};")),
        });
    }
    Ok(())
}

fn stamped(
    world: &World<'_>,
    reference: &Reference,
    child: &Relation,
    parent: &Relation,
) -> Option<String> {
    let (child_key, child_type) = keys::key(child)?;
    let (parent_key, _) = keys::key(parent)?;
    let pairs: Vec<(Ident, Ident)> = reference
        .columns
        .iter()
        .zip(&reference.keys)
        .map(|(own, key)| (Ident::new(own), Ident::new(key)))
        .collect();
    let tied = pairs
        .iter()
        .any(|(own, key)| own == child_key && key == parent_key);
    if tied && reference.valid {
        return None;
    }
    let nullable = child_type.is_empty();
    let join = pairs
        .iter()
        .filter(|(own, _)| !tied || own != child_key)
        .map(|(own, key)| format!("kinedb_parent.{key} = kinedb_child.{own}"))
        .collect::<Vec<_>>();
    if join.is_empty() || nullable {
        return None;
    }
    let orphan = if tied {
        // Never validated: the right parent is missing, another tenant's is there.
        let whole = pairs
            .iter()
            .map(|(own, key)| format!("kinedb_own.{key} = kinedb_child.{own}"))
            .collect::<Vec<_>>()
            .join(" and ");
        format!(
            " and not exists (select from {} as kinedb_own where {whole})",
            parent.name
        )
    } else {
        String::new()
    };
    Some(format!(
        "select count(*) from (select 1 from (select * from {}) as kinedb_child join {} as kinedb_parent on {} \
         where kinedb_child.{child_key}::text <> kinedb_parent.{parent_key}::text{orphan} limit 1000) as kinedb_rows",
        bounded(world, child),
        parent.name,
        join.join(" and ")
    ))
}

/// Values that name rows of tenants: keys and unique texts of their tables.
fn identities(world: &World<'_>, base: &str) -> Vec<String> {
    let registry = world.scope.tenants.table.as_ref().map(|(oid, _)| *oid);
    let mut list = Vec::new();
    for relation in &world.scope.relations {
        let Some((key, _)) = keys::key(relation) else {
            continue;
        };
        if !matches!(
            relation.kind,
            RelationKind::Table | RelationKind::PartitionedTable
        ) || Some(relation.oid) == registry
            || relation.parents.iter().any(|parent| {
                world
                    .scope
                    .relation(*parent)
                    .is_some_and(|parent| parent.kind == RelationKind::PartitionedTable)
            })
        {
            continue;
        }
        for column in world.details.columns_of(relation.oid) {
            let unique = world.details.uniques.iter().any(|unique| {
                unique.relation == relation.oid
                    && unique.plain
                    && unique.columns.contains(&column.name)
                    && unique
                        .columns
                        .iter()
                        .all(|name| *name == column.name || name == key.as_str())
            });
            let text = matches!(column.base.as_str(), "text" | "varchar" | "citext");
            let fits = if base == "text" {
                text
            } else {
                column.base == base
            };
            if fits && unique && column.name != key.as_str() {
                list.push(format!(
                    "select kinedb_row.{0}::text, kinedb_row.{key}::text from {1} as kinedb_row join kinedb_values on kinedb_row.{0}{2} = kinedb_values.value",
                    Ident::new(&column.name),
                    relation.name,
                    if base == "uuid" { "" } else { "::text" }
                ));
            }
        }
    }
    list
}

/// Tables that say of no row whose it is, yet hold what names rows of tenants.
async fn values(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    for base in ["uuid", "text"] {
        let identities = identities(world, base);
        if identities.is_empty() {
            continue;
        }
        for (role, named) in world.acting() {
            if !named || role.scope != RoleScope::Tenant || role.act_as == ActAs::Login {
                continue;
            }
            let Some(&tenant) = world.contexts_of(role).first() else {
                continue;
            };
            for relation in world.relations() {
                for (column, show, probe, place) in
                    searches(world, relation, role, tenant, base, &identities)
                {
                    probes.push(probe);
                    asked.push((role, relation, column, show, place));
                }
            }
        }
    }
    let answers = script::run(conn, &probes, world.budget).await?;
    report.outcome.probes += answers.len() as u64;
    for ((role, relation, column, show, place), answer) in asked.into_iter().zip(answers) {
        let Some((foreign, owners)) = answer
            .text(place)
            .and_then(|text| text.split_once(' '))
            .and_then(|(foreign, owners)| {
                Some((foreign.parse::<i64>().ok()?, owners.parse::<i64>().ok()?))
            })
        else {
            continue;
        };
        let cell = Cell::new(relation, role, Action::Select);
        if foreign > 0 {
            report.find(
                "values-of-one-tenant",
                cell,
                format!(
                    "`{column}` shows {foreign} values that name rows of {owners} other tenants"
                ),
                Some(show),
            );
        } else {
            report.see_by(
                Source::Truth,
                cell,
                Access::Isolated,
                format!("`{column}` holds no value that names a row of another tenant"),
            );
        }
    }
    Ok(())
}

/// What a column's values hold that may name a row: themselves, what documents and lists
/// hold, and ids wherever they stand in a text.
fn found_in(column: &ColumnDetail, name: &str, base: &str) -> Option<String> {
    let kind = column.base.as_str();
    let text = matches!(kind, "text" | "varchar" | "citext");
    let document = matches!(kind, "json" | "jsonb");
    let list = column.element.is_some();
    let long = "pg_catalog.length(kinedb_found) >= 6";
    let each = |source: String| format!("{source} as kinedb_each(kinedb_found)");
    Some(match base {
        "uuid" if kind == "uuid" => {
            format!("lateral (select {name} as kinedb_found) as kinedb_one")
        }
        "uuid" if text || document || list => format!(
            "lateral (select kinedb_match[1]::uuid as kinedb_found from pg_catalog.regexp_matches({name}::text, {UUID}, 'g') as kinedb_match) as kinedb_one"
        ),
        "text" if text => format!(
            "lateral (select {name}::text as kinedb_found where pg_catalog.length({name}::text) >= 6) as kinedb_one"
        ),
        "text" if list => format!(
            "lateral (select kinedb_found from {} where {long}) as kinedb_one",
            each(format!("pg_catalog.unnest({name}::text[])"))
        ),
        "text" if document => format!(
            "lateral (select kinedb_found from (select kinedb_leaf #>> '{{}}' as kinedb_found from pg_catalog.jsonb_path_query({name}::jsonb, '$.**') as kinedb_leaf \
             where pg_catalog.jsonb_typeof(kinedb_leaf) = 'string') as kinedb_leaves where {long}) as kinedb_one"
        ),
        _ => return None,
    })
}

/// One probe per column: the role tells what it sees, the verifier whose it is.
fn searches(
    world: &World<'_>,
    relation: &Relation,
    role: &ActingRole,
    tenant: usize,
    base: &str,
    identities: &[String],
) -> Vec<(String, String, Probe, usize)> {
    let mut list = Vec::new();
    let Some(grant) = world.grant(role, relation) else {
        return list;
    };
    if !matches!(relation.tenant, TenantKey::Unknown)
        || !keys::has_places(relation)
        || world.allows(relation, ExceptionKind::GlobalRead, role)
    {
        return list;
    }
    let enter = world.actors.enter(
        world.scope,
        role,
        &Setting::Tenant(world.id(tenant).to_owned()),
    );
    for column in world.details.columns_of(relation.oid) {
        if !grant.column(&column.name, 'r') {
            continue;
        }
        let name = Ident::new(&column.name);
        let Some(found) = found_in(column, &name.to_string(), base) else {
            continue;
        };
        let seen = format!(
            "select coalesce(pg_catalog.jsonb_agg(distinct kinedb_found), '[]') from (select {name} from {} where {name} is not null limit {VALUES}) as kinedb_rows, {found}",
            relation.name
        );
        let mut probe = Probe::new();
        probe.all(&enter);
        probe.step(Kind::Memo, seen.clone());
        probe.all(&world.origin.back(role));
        let place = probe.step(
            Kind::Query,
            format!(
                "with kinedb_values as materialized (select value::{base} from pg_catalog.jsonb_array_elements_text($1::jsonb) as kinedb_value(value) where value is not null), \
                 hits(value, owner) as ({}), one(value, owner) as (select value, min(owner) from hits group by value having count(distinct owner) = 1) \
                 select count(*) || ' ' || count(distinct owner) from one where owner <> {}",
                identities.join(" union all "),
                crate::db::ident::Literal::new(world.id(tenant))
            ),
        );
        list.push((
            column.name.clone(),
            reproduce(
                &enter,
                &format!("select count({name}) from {}", relation.name),
            ),
            probe,
            place,
        ));
    }
    list
}
