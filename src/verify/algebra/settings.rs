//! What a session can open for itself: settings that policies read beside the context.
//! Every session sets its own, so that what one of them opens is open.

use std::collections::BTreeSet;

use sqlx::PgConnection;

use super::claims::{Claim, claim, claims, contents};
use super::predicate::{Check, effective};
use super::{Usage, rows};
use crate::db::ident::Literal;
use crate::verify::finding::Action;
use crate::verify::keys;
use crate::verify::model::{ActAs, ActingRole, ExceptionKind, OpenKind, Policy, Relation, Scope};
use crate::verify::probes::report::{Cell, Report, reproduce};
use crate::verify::script::{self, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::synth::Harvest;
use crate::verify::world::{World, is_view};

/// Values tried of one setting.
pub(super) const VALUES: usize = 10;

/// A predicate of a relation in a session that holds a value.
struct Asked<'w> {
    role: &'w ActingRole,
    relation: &'w Relation,
    action: Action,
    what: &'static str,
    reads: String,
    setting: &'w str,
    enter: Vec<String>,
    sql: String,
}

/// Tries each of these settings with the values that the policies speak of.
pub(super) async fn evaluate(
    conn: &mut PgConnection,
    world: &World<'_>,
    usage: &Usage,
    report: &mut Report,
) -> anyhow::Result<()> {
    let settings = beside(world.scope);
    let claims = claims(world);
    if settings.is_empty() && claims.is_empty() {
        return Ok(());
    }
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    for (role, _) in world.acting() {
        let Some(&tenant) = world.contexts_of(role).first() else {
            continue;
        };
        if role.act_as == ActAs::Login || role.bypasses && role.reach.len() == 1 {
            continue;
        }
        let context = world.actors.enter(
            world.scope,
            role,
            &Setting::Tenant(world.id(tenant).to_owned()),
        );
        let told = settings.iter().map(|(setting, relations)| Way {
            setting,
            path: &[],
            content: false,
            relations,
        });
        for way in told.chain(claims.iter().map(Claim::way)) {
            let Way { setting, path, .. } = way;
            let open: Vec<&Relation> = way
                .relations
                .iter()
                .copied()
                .filter(|relation| !report.leaks(&relation.label))
                .collect();
            let statements: Vec<String> = if path.is_empty() {
                let set = |value: String| {
                    let name = Literal::new(setting);
                    format!("select pg_catalog.set_config({name}, {value}, true)")
                };
                let mut values = values(world, &open, tenant, setting);
                // A list may hold any of the texts.
                if open.iter().any(|relation| lists(world, relation, setting)) {
                    values.push(Literal::new(setting).to_string());
                }
                values.into_iter().map(set).collect()
            } else if way.content {
                let held = contents(world, &open, setting);
                let values = path.last().map(String::as_str).into_iter();
                values
                    .chain([world.id(tenant)])
                    .map(|text| Literal::new(text).to_string())
                    .chain(held)
                    .map(|value| claim(setting, path, &value))
                    .collect()
            } else {
                let other = rows::others(world, tenant).first().copied();
                other
                    .map(|id| claim(setting, path, &Literal::new(id).to_string()))
                    .into_iter()
                    .collect()
            };
            for statement in statements {
                let mut enter = context.clone();
                enter.push(statement);
                let mut probe = Probe::new();
                probe.all(&enter);
                let mut places = Vec::new();
                for relation in &open {
                    let wide = way.content || path.is_empty() && lists(world, relation, setting);
                    let kind = if wide {
                        rows::Values::Wide
                    } else {
                        rows::Values::Plain
                    };
                    for (action, what, sql) in queries(world, usage, role, relation, tenant, kind) {
                        places.push(probe.step(Kind::Look, sql.clone()));
                        asked.push((
                            probes.len(),
                            *places.last().unwrap_or(&0),
                            Asked {
                                role,
                                relation,
                                action,
                                what,
                                reads: if path.is_empty() {
                                    format!("`{setting}`, which every session may set")
                                } else {
                                    format!(
                                        "`{}` of `{setting}`, which no told context holds",
                                        path.join(".")
                                    )
                                },
                                setting,
                                enter: enter.clone(),
                                sql,
                            },
                        ));
                    }
                }
                probes.push(probe);
            }
        }
    }
    let answers = script::run(conn, &probes, world.budget).await?;
    for (probe, place, one) in asked {
        report.outcome.probes += 1;
        let rows = answers.get(probe).and_then(|answer| answer.number(place));
        if rows.is_none_or(|rows| rows == 0) {
            continue;
        }
        let names: Vec<String> = reading(world.scope, one.relation, one.setting)
            .map(|policy| format!("`{}`", policy.name.as_str()))
            .collect();
        report.find(
            "policy-opened-by-setting",
            Cell::new(one.relation, one.role, one.action),
            format!(
                "policy {} reads {}: with a value that it speaks of, {} is true for rows of another tenant",
                names.join(", "),
                one.reads,
                one.what
            ),
            Some(reproduce(&one.enter, &one.sql)),
        );
    }
    Ok(())
}

/// A setting, or a part of one that is a document, and the relations where it may open something.
pub(super) struct Way<'a, 'w> {
    pub(super) setting: &'a str,
    pub(super) path: &'a [String],
    pub(super) content: bool,
    pub(super) relations: &'a [&'w Relation],
}

/// Whether policies compare a setting with a list that rows hold.
fn lists(world: &World<'_>, relation: &Relation, setting: &str) -> bool {
    let key = keys::key(relation).map(|(column, _)| column.as_str());
    reading(world.scope, relation, setting)
        .flat_map(Policy::predicates)
        .filter(|predicate| predicate.settings.iter().any(|name| name == setting))
        .flat_map(|predicate| &predicate.session_columns)
        .any(|column| {
            let mut columns = world.details.columns_of(relation.oid);
            Some(column.as_str()) != key
                && columns.any(|detail| detail.name == *column && detail.element.is_some())
        })
}

/// Settings of users' own that policies read and no context sets, with the relations
/// where they may open something. What looks at the session alone the catalogue tells.
fn beside(scope: &Scope) -> Vec<(&str, Vec<&Relation>)> {
    let own = |name: &&String| name.contains('.') && !scope.context_settings.contains(name);
    scope
        .settings
        .iter()
        .filter(own)
        .filter_map(|name| {
            let relations: Vec<&Relation> = scope
                .relations
                .iter()
                .filter(|relation| relation.rls && keys::owned(relation) && !is_view(relation))
                .filter(|relation| reading(scope, relation, name).next().is_some())
                .filter(|relation| {
                    !Policy::on(&scope.policies, relation.oid)
                        .flat_map(|predicate| &predicate.open)
                        .any(|open| open.kind == OpenKind::Session && open.settings.contains(name))
                })
                .collect();
            (!relations.is_empty()).then_some((name.as_str(), relations))
        })
        .collect()
}

/// The policies of a relation that widen what is seen and read a setting.
pub(super) fn reading<'a>(
    scope: &'a Scope,
    relation: &'a Relation,
    setting: &'a str,
) -> impl Iterator<Item = &'a Policy> {
    scope.policies.iter().filter(move |policy| {
        policy.relation == relation.oid
            && policy.permissive
            && policy
                .predicates()
                .any(|predicate| predicate.settings.iter().any(|name| name == setting))
    })
}

/// The literals of the policies and their functions, and what stands for yes, as SQL.
/// And another tenant's id: a second setting may name one as well as the first.
/// And what the rows that are asked hold in a column that is compared with the setting.
fn values(world: &World<'_>, relations: &[&Relation], tenant: usize, name: &str) -> Vec<String> {
    let mut values = BTreeSet::new();
    for relation in relations {
        for predicate in Policy::on(&world.scope.policies, relation.oid) {
            let harvest = Harvest::of(&rows::spoken(world, relation, &predicate.text));
            values.extend(harvest.strings);
            values.extend(harvest.numbers.iter().map(ToString::to_string));
        }
    }
    let setting = |text: &String| world.scope.settings.contains(&text.to_lowercase());
    values.retain(|text| !text.is_empty() && text.len() < 40 && !setting(text));
    let mut values: Vec<String> = values.into_iter().take(VALUES).collect();
    let mut held = Vec::new();
    for relation in relations {
        let key = keys::key(relation).map(|(column, _)| column.as_str());
        // Who the user is opens that user's rows: who may say so is another matter.
        let pairs = Policy::on(&world.scope.policies, relation.oid).flat_map(|predicate| {
            let user = |column: &String| predicate.user_columns.contains(column);
            predicate.pairs.iter().filter(move |pair| !user(&pair.0))
        });
        for (column, _) in pairs
            .filter(|(column, compared)| compared.as_str() == name && Some(column.as_str()) != key)
        {
            let mut columns = world.details.columns_of(relation.oid);
            held.extend(
                columns
                    .find(|detail| detail.name == *column)
                    .map(|detail| format!("({})::text", rows::plain(world, relation, detail))),
            );
        }
    }
    if !relations.is_empty() {
        values.extend(["true".to_owned(), "1".to_owned()]);
        // The one whose rows are tried first.
        values.extend(rows::others(world, tenant).first().map(ToString::to_string));
    }
    values.dedup();
    held.sort_unstable();
    held.dedup();
    values
        .iter()
        .map(|value| Literal::new(value).to_string())
        .chain(held)
        .collect()
}

/// How each predicate is asked for; for rows whose key is no column, what is seen.
fn queries(
    world: &World<'_>,
    usage: &Usage,
    role: &ActingRole,
    relation: &Relation,
    tenant: usize,
    kind: rows::Values,
) -> Vec<(Action, &'static str, String)> {
    let Some(grant) = world.grant(role, relation) else {
        return Vec::new();
    };
    if world.allows(relation, ExceptionKind::BypassSetting, role)
        || world.allows(relation, ExceptionKind::GlobalRead, role)
    {
        return Vec::new();
    }
    if keys::key(relation).is_none() {
        let foreign = keys::foreign(world.scope, relation, world.id(tenant), None);
        return foreign
            .filter(|_| grant.select && !world.big(relation))
            .map(|foreign| {
                let name = &relation.name;
                let sql = format!(
                    "select count(*) from (select 1 from {name} where {foreign} limit 1) as kinedb_rows"
                );
                (Action::Select, Check::Select.name(), sql)
            })
            .into_iter()
            .collect();
    }
    Check::ALL
        .into_iter()
        .filter(|check| check.granted(grant))
        .filter(|check| *check != Check::Insert || !world.scope.registers(relation))
        .filter_map(|check| {
            let text = effective(world.scope, relation, role.oid, usage, check)?;
            let sql = rows::query(world, relation, tenant, &text, kind)?;
            Some((check.action(), check.name(), sql))
        })
        .collect()
}
