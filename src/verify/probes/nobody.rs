//! Reading in contexts that name no tenant: none was ever set, it was taken back, or it
//! holds what is no tenant's id.

use std::collections::HashSet;

use sqlx::PgConnection;

use super::read::{excused, readable, stopped};
use super::report::{Cell, Report, reproduce};
use super::write::large::at_made;
use crate::db::ident::{Ident, Literal};
use crate::verify::details::Grant;
use crate::verify::finding::Action;
use crate::verify::keys;
use crate::verify::model::{
    ActAs, ActingRole, ExceptionKind, NoContext, Oid, Relation, RoleScope, TenantKey,
};
use crate::verify::scope::detect;
use crate::verify::script::{self, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::world::{World, is_view};

/// Contexts that name no tenant, made from the id of one.
pub(super) fn odd_settings(world: &World<'_>) -> Vec<Setting> {
    let Some(&first) = world.contexts.first() else {
        return Vec::new();
    };
    let id = world.id(first).to_owned();
    let odd = |label, value: String| Setting::Odd { label, value };
    let mut list = vec![
        Setting::Raw {
            label: "reset to the empty text",
            value: "",
        },
        odd("the empty text", String::new()),
        odd("malformed", "kinedb: no tenant".to_owned()),
        odd("a wildcard", "%".to_owned()),
    ];
    if let Ok(known) = uuid::Uuid::try_parse(&id) {
        let unknown = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, known.as_bytes());
        list.push(odd("the id of no tenant", unknown.to_string()));
    } else if id.parse::<i64>().is_ok() {
        list.push(odd("the id of no tenant", "32109".to_owned()));
    } else {
        list.push(odd("the id of no tenant", "kinedb-nobody".to_owned()));
    }
    let length = id.chars().count();
    if length > 1 {
        list.push(odd(
            "the first half of an id",
            id.chars().take(length / 2).collect(),
        ));
        let pattern: String = id
            .chars()
            .enumerate()
            .map(|(at, c)| if at == length / 2 { '_' } else { c })
            .collect();
        list.push(odd("a pattern of an id", pattern));
    }
    // A setting that is named for several tenants is meant to hold several.
    let lists = detect::holds_lists(&world.scope.context_settings);
    if let Some(&second) = world.contexts.get(1).filter(|_| !lists) {
        let other = world.id(second);
        for list_of in [format!("{id},{other}"), format!("{{{id},{other}}}")] {
            list.push(odd("a list of ids", list_of));
        }
    }
    list
}

/// Contexts that were never set, before anything sets one.
pub(super) async fn fresh(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let probes = nobody(world, &[Setting::Missing]);
    let quiet = judge_nobody(conn, world, probes, report).await?;
    if !world.origin.untouched() {
        return Ok(());
    }
    // Once a transaction has set a setting, the session reads it as '' for ever:
    // what gave no rows before must not become an error then.
    let reset = Setting::Raw {
        label: "reset to the empty text",
        value: "",
    };
    let asked = nobody(world, std::slice::from_ref(&reset));
    let probes: Vec<Probe> = asked.iter().map(|asked| asked.probe.clone()).collect();
    let answers = script::run(conn, &probes, world.budget).await?;
    for (asked, answer) in asked.iter().zip(answers) {
        for (place, relation, sql) in &asked.places {
            if answer.state(*place) == Some("22P02")
                && quiet.contains(&(asked.role.oid, relation.oid))
            {
                report.find(
                    "context-fails-after-reset",
                    Cell::new(relation, asked.role, Action::Select),
                    "no rows in a fresh session, SQLSTATE 22P02 in one that had a context before",
                    Some(reproduce(&asked.enter, sql)),
                );
            }
        }
    }
    Ok(())
}

/// All the other contexts that name no tenant.
pub(super) async fn odd(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut settings = vec![Setting::Missing];
    settings.extend(odd_settings(world));
    let probes = nobody(world, &settings);
    judge_nobody(conn, world, probes, report).await.map(|_| ())
}

struct Asked<'w> {
    role: &'w ActingRole,
    setting: Setting,
    enter: Vec<String>,
    probe: Probe,
    places: Vec<(usize, &'w Relation, String)>,
}

fn nobody<'w>(world: &'w World<'_>, settings: &[Setting]) -> Vec<Asked<'w>> {
    let mut list = Vec::new();
    if world.scope.no_context == NoContext::None {
        return list;
    }
    for (role, _) in world.acting() {
        if role.tenant.is_some() || role.scope == RoleScope::All || role.act_as == ActAs::Login {
            continue;
        }
        for setting in settings {
            let enter = world.actors.enter(world.scope, role, setting);
            let mut probe = Probe::new();
            probe.all(&enter);
            let mut places = Vec::new();
            for relation in world.relations() {
                let Some(grant) = world.grant(role, relation) else {
                    continue;
                };
                if !readable(world, relation, role)
                    || !plain(setting) && world.alike(relation)
                    || world.allows(relation, ExceptionKind::NoContext, role)
                    || world.allows(relation, ExceptionKind::GlobalRead, role)
                {
                    continue;
                }
                let sql = anybody(world, relation, grant, setting);
                places.push((probe.step(Kind::Look, sql.clone()), relation, sql));
            }
            list.push(Asked {
                role,
                setting: setting.clone(),
                enter,
                probe,
                places,
            });
        }
    }
    list
}

/// The contexts that a forgotten statement leaves: tried on every table.
fn plain(setting: &Setting) -> bool {
    matches!(setting, Setting::Missing | Setting::Raw { .. })
}

/// Counts rows that some tenant owns, but for the one whose id the context is.
pub(super) fn anybody(
    world: &World<'_>,
    relation: &Relation,
    grant: &Grant,
    setting: &Setting,
) -> String {
    let mut allowed: Vec<String> = Vec::new();
    match setting {
        Setting::Odd { value, .. } if !value.is_empty() => {
            allowed.push(Literal::new(value).to_string());
        }
        _ => {}
    }
    if let NoContext::Tenant(id) = &world.scope.no_context {
        allowed.push(Literal::new(id).to_string());
    }
    let owner = match &relation.tenant {
        TenantKey::Column { column, .. } if grant.column(column.as_str(), 'r') => {
            let key = format!("{}.{column}", relation.name);
            if allowed.is_empty() {
                format!("{key} is not null")
            } else {
                format!("{key}::text not in ({})", allowed.join(", "))
            }
        }
        _ if keys::shared(relation).is_none() && allowed.is_empty() => "true".to_owned(),
        _ => "false".to_owned(),
    };
    let owner = excused(world, relation, Some(owner));
    let column = grant
        .columns('r')
        .first()
        .map_or_else(|| "1".to_owned(), |name| Ident::new(*name).to_string());
    // Of a large table the first pages are enough: what opens it opens them.
    let owner = if world.by_place(relation) && grant.select && keys::has_places(relation) {
        format!("{}.ctid < '(20,0)'::tid and {owner}", relation.name)
    } else if world.big(relation) && is_view(relation) {
        // By the keys of rows that were made; before there are any, none is looked for.
        let made: Vec<String> = world
            .watched()
            .into_iter()
            .filter_map(|tenant| at_made(world, relation, tenant))
            .collect();
        if made.is_empty() {
            "false".to_owned()
        } else {
            format!("({}) and {owner}", made.join(" or "))
        }
    } else {
        owner
    };
    format!(
        "select count(*) from (select {column} from {} where {owner} limit 1000) as kinedb_rows",
        relation.name
    )
}

async fn judge_nobody(
    conn: &mut PgConnection,
    world: &World<'_>,
    asked: Vec<Asked<'_>>,
    report: &mut Report,
) -> anyhow::Result<HashSet<(Oid, Oid)>> {
    let probes: Vec<Probe> = asked.iter().map(|asked| asked.probe.clone()).collect();
    let answers = script::run(conn, &probes, world.budget).await?;
    let mut quiet = HashSet::new();
    for (asked, answer) in asked.into_iter().zip(answers) {
        for (place, relation, sql) in &asked.places {
            report.outcome.probes += 1;
            let rows = answer.number(*place);
            if rows == Some(0) {
                quiet.insert((asked.role.oid, relation.oid));
            }
            if answer.state(*place).is_some_and(script::cut_short) {
                let reason = stopped(&answer, *place).unwrap_or_default();
                let sentence = format!("reading {}: {reason}", asked.setting.sentence());
                let show = reproduce(&asked.enter, sql);
                report.cut(
                    Cell::new(relation, asked.role, Action::Select),
                    &sentence,
                    Some(show),
                );
                continue;
            }
            let rows = rows.unwrap_or(0);
            if rows > 0 {
                report.find(
                    "rows-visible-without-tenant",
                    Cell::new(relation, asked.role, Action::Select),
                    format!("{rows} rows are visible {}", asked.setting.sentence()),
                    Some(reproduce(&asked.enter, sql)),
                );
            }
        }
    }
    Ok(quiet)
}
