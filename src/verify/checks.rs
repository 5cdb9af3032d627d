//! The catalogue as a source: the checks of `checks/` over one prelude, in one
//! query. Where that fails, each check runs alone, and the ones that fail are
//! findings of their own.
//!
//! Nearly all of the cost is the planner's, so a first query asks what there is
//! to look at, and checks that would look at nothing are left out of the second.

use std::collections::{HashMap, HashSet};

use anyhow::Context as _;
use serde::Deserialize;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Row as _};

use super::explain::{self, Entry};
use super::finding::{Access, Action, Evidence, Finding, Outcome, Severity, Source, Verdict};
use super::model::{Oid, Options, Relation, Scope};
use super::near;
use super::session::{PATIENT, PLAIN};
use crate::db::error;

/// What a check selects; every column but `object` may be missing.
#[derive(Debug, Deserialize)]
struct Row {
    object: String,
    role: Option<String>,
    action: Option<Action>,
    detail: Option<String>,
    fix: Option<String>,
    reproduce: Option<String>,
    severity: Option<Severity>,
    unproven: Option<bool>,
    /// Actions that the finding opens, for the matrix.
    actions: Option<Vec<Action>>,
    /// Relations whose cells it opens: labels, one per line; `*` for all of the tenants' tables.
    cells: Option<String>,
}

/// Runs every check.
///
/// # Errors
/// Only where the connection is lost.
pub async fn run(
    conn: &mut PgConnection,
    scope: &Scope,
    options: &Options,
) -> anyhow::Result<Outcome> {
    let entries: Vec<Entry> = explain::list()
        .into_iter()
        .filter(|entry| entry.catalogue)
        .filter(|entry| !options.errors_only || can_weigh(entry, scope))
        .collect();
    begin(conn, options).await?;
    let near = near::relations(conn, scope, options).await?;
    let parameter = Json(parameter(scope, options, near.as_ref())?);
    let there = there(conn, &parameter, options).await;
    if there.is_err() {
        // What cannot be counted is looked at.
        end(conn, options).await?;
        begin(conn, options).await?;
    }
    let there = there.unwrap_or_default();
    let (looking, blind): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(|entry| {
        entry
            .needs
            .iter()
            .all(|need| there.get(*need) != Some(&false))
    });
    let all: Vec<(&str, &str)> = looking
        .into_iter()
        .map(|entry| (entry.id, entry.body))
        .chain([("_grants", explain::shared("_grants.sql"))])
        .collect();
    let rows = ask(conn, &all, &parameter, options).await;
    end(conn, options).await?;
    if options.hold_needs {
        hold(conn, &blind, &parameter, options).await?;
    }
    let rows = match rows {
        // Nothing would come of asking each.
        Err(error) if error::sqlstate(&error) == Some("55P03") && !options.in_transaction => {
            return Err(anyhow::Error::from(error).context("running the checks"));
        }
        rows => rows,
    };
    let (rows, failed) = match rows {
        Ok(rows) => (rows, Vec::new()),
        Err(_) => one_by_one(conn, &all, &parameter, options).await?,
    };
    let by_id: HashMap<&str, &Entry> = entries.iter().map(|entry| (entry.id, entry)).collect();
    let mut outcome = Outcome::default();
    let mut granted = HashMap::new();
    for (id, row) in rows {
        match by_id.get(id.as_str()) {
            Some(entry) => add(&mut outcome, scope, entry, row),
            None => drop(granted.insert(
                (row.object, row.role.unwrap_or_default()),
                row.actions.unwrap_or_default(),
            )),
        }
    }
    denied(&mut outcome, scope, &granted);
    outcome.granted = granted
        .into_iter()
        .map(|((object, role), actions)| (object, role, actions))
        .collect();
    for (id, why) in failed {
        let Some(entry) = by_id.get("check-failed") else {
            continue;
        };
        let row = Row {
            object: id.to_owned(),
            role: None,
            action: None,
            detail: Some(why),
            fix: None,
            reproduce: None,
            severity: None,
            unproven: Some(true),
            actions: None,
            cells: None,
        };
        add(&mut outcome, scope, entry, row);
    }
    Ok(outcome)
}

/// It can find an error: its header says so, or its query decides, or the configuration.
fn can_weigh(entry: &Entry, scope: &Scope) -> bool {
    entry.severity == Severity::Error
        || entry.body.contains("as severity")
        || scope.strict.iter().any(|id| id == entry.id)
}

/// The scope as the prelude reads it, cut down to the relations that are `near`.
fn parameter(
    scope: &Scope,
    options: &Options,
    near: Option<&HashSet<Oid>>,
) -> anyhow::Result<serde_json::Value> {
    let mut value = serde_json::to_value(scope).context("writing the scope for the checks")?;
    if let Some(object) = value.as_object_mut() {
        for (list, key) in [("relations", "oid"), ("policies", "relation")] {
            let Some(list) = object.get_mut(list).and_then(|list| list.as_array_mut()) else {
                continue;
            };
            list.retain(|one| {
                let oid = one[key].as_u64().and_then(|oid| Oid::try_from(oid).ok());
                oid.is_none_or(|oid| {
                    near.is_none_or(|near| near.contains(&oid)) && !scope.held.relation(oid)
                })
            });
        }
        object.insert("in_transaction".to_owned(), options.in_transaction.into());
    }
    Ok(value)
}

async fn begin(conn: &mut PgConnection, options: &Options) -> anyhow::Result<()> {
    let begin = if options.in_transaction {
        "savepoint kinedb_checks".to_owned()
    } else {
        format!("begin isolation level repeatable read, read only; {PATIENT}")
    };
    let timeout = options.statement_timeout.as_millis();
    let settings = format!(
        "{begin}; {PLAIN}; set local search_path = ''; set local enable_nestloop = off; \
         set local max_parallel_workers_per_gather = 0; \
         set local plan_cache_mode = force_generic_plan; set local statement_timeout = {timeout}"
    );
    conn.execute(AssertSqlSafe(settings))
        .await
        .context("opening the transaction of the checks")?;
    Ok(())
}

async fn end(conn: &mut PgConnection, options: &Options) -> anyhow::Result<()> {
    let end = if options.in_transaction {
        "rollback to savepoint kinedb_checks; release savepoint kinedb_checks"
    } else {
        "rollback"
    };
    conn.execute(end)
        .await
        .context("closing the transaction of the checks")?;
    Ok(())
}

/// What of `_needs.sql` there is.
async fn there(
    conn: &mut PgConnection,
    parameter: &Json<serde_json::Value>,
    options: &Options,
) -> Result<HashMap<String, bool>, sqlx::Error> {
    let sql = format!(
        "with {}\nselect to_jsonb(q) from (\n{}\n) q",
        explain::shared("_prelude.sql"),
        explain::shared("_needs.sql").trim_end()
    );
    let Json(there) = sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(parameter)
        .persistent(options.keep_plans)
        .fetch_one(conn)
        .await?;
    Ok(there)
}

/// Checks that were left out find nothing.
async fn hold(
    conn: &mut PgConnection,
    blind: &[&Entry],
    parameter: &Json<serde_json::Value>,
    options: &Options,
) -> anyhow::Result<()> {
    let checks: Vec<(&str, &str)> = blind.iter().map(|entry| (entry.id, entry.body)).collect();
    if checks.is_empty() {
        return Ok(());
    }
    begin(conn, options).await?;
    let rows = ask(conn, &checks, parameter, options)
        .await
        .context("running the checks that were left out")?;
    end(conn, options).await?;
    if let Some((id, row)) = rows.first() {
        anyhow::bail!(
            "`{id}` was left out, and finds something on `{}`: its `needs` do not tell all that it looks for",
            row.object
        );
    }
    Ok(())
}

async fn ask(
    conn: &mut PgConnection,
    checks: &[(&str, &str)],
    parameter: &Json<serde_json::Value>,
    options: &Options,
) -> Result<Vec<(String, Row)>, sqlx::Error> {
    let mut sql = format!("with {}", explain::shared("_prelude.sql"));
    for (at, (id, body)) in checks.iter().enumerate() {
        let union = if at == 0 { "" } else { "union all " };
        // The planner would pull each part up into the whole and then walk all of
        // it again, which `offset 0` forbids.
        sql += &format!(
            "\n{union}(select '{id}' as id, to_jsonb(q) as row from (\n{}\n) q offset 0)",
            body.trim_end()
        );
    }
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(parameter)
        .persistent(options.keep_plans)
        .fetch_all(&mut *conn)
        .await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get::<Json<Row>, _>(1)?.0)))
        .collect()
}

type Answers = (Vec<(String, Row)>, Vec<(String, String)>);

async fn one_by_one(
    conn: &mut PgConnection,
    checks: &[(&str, &str)],
    parameter: &Json<serde_json::Value>,
    options: &Options,
) -> anyhow::Result<Answers> {
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for check in checks {
        begin(conn, options).await?;
        match ask(conn, std::slice::from_ref(check), parameter, options).await {
            Ok(more) => rows.extend(more),
            Err(error) => {
                let why = error
                    .as_database_error()
                    .map_or_else(|| error.to_string(), |error| error.message().to_owned());
                failed.push((check.0.to_owned(), why));
            }
        }
        end(conn, options).await?;
    }
    Ok((rows, failed))
}

fn add(outcome: &mut Outcome, scope: &Scope, entry: &Entry, row: Row) {
    let severity = row.severity.unwrap_or(entry.severity);
    let unproven = row.unproven.unwrap_or(false);
    let verdict = match severity {
        Severity::Error if unproven => Verdict::Unproven,
        Severity::Error => Verdict::Leak,
        _ => Verdict::Isolated,
    };
    let actions = row
        .actions
        .or_else(|| row.action.map(|action| vec![action]))
        .unwrap_or_default();
    let detail = row.detail.unwrap_or_default();
    if severity == Severity::Error {
        let access = if unproven {
            Access::Unproven
        } else {
            Access::Leak
        };
        let roles: Vec<&str> = match &row.role {
            Some(role) => vec![role.as_str()],
            None => scope.roles.iter().map(|role| role.name.as_str()).collect(),
        };
        for object in cells(scope, row.cells.as_deref(), &row.object) {
            for role in &roles {
                outcome
                    .evidence
                    .extend(actions.iter().map(|action| Evidence {
                        object: object.clone(),
                        role: (*role).to_owned(),
                        action: *action,
                        access,
                        source: Source::Catalogue,
                        detail: detail.clone(),
                    }));
            }
        }
    }
    if entry.id == "table-unclassified" && severity == Severity::Note {
        // Nothing speaks for tenants' rows in it: it is taken for a global table.
        let role = row.role.clone().unwrap_or_default();
        outcome
            .evidence
            .extend(actions.iter().map(|action| Evidence {
                object: row.object.clone(),
                role: role.clone(),
                action: *action,
                access: Access::Excepted,
                source: Source::Catalogue,
                detail: detail.clone(),
            }));
    }
    outcome.findings.push(Finding {
        id: entry.id.to_owned(),
        severity,
        verdict,
        object: row.object,
        role: row.role,
        action: row.action.or_else(|| actions.first().copied()),
        title: entry.title.clone(),
        detail,
        fix: row.fix.unwrap_or_else(|| entry.fix.clone()),
        reproduce: row.reproduce,
    });
}

fn cells(scope: &Scope, cells: Option<&str>, object: &str) -> Vec<String> {
    match cells {
        Some("*") => scope
            .relations
            .iter()
            .filter(|relation| relation.holds_tenants())
            .map(|relation| relation.label.clone())
            .collect(),
        Some(cells) => cells.lines().map(str::to_owned).collect(),
        None if scope
            .relations
            .iter()
            .any(|relation| relation.label == object) =>
        {
            vec![object.to_owned()]
        }
        None => Vec::new(),
    }
}

/// Cells that no grant opens.
fn denied(outcome: &mut Outcome, scope: &Scope, granted: &HashMap<(String, String), Vec<Action>>) {
    for role in &scope.roles {
        for relation in &scope.relations {
            let Some(actions) =
                granted.get(&(relation.label.clone(), role.name.as_str().to_owned()))
            else {
                continue;
            };
            for action in [
                Action::Select,
                Action::Insert,
                Action::Update,
                Action::Delete,
            ] {
                if !actions.contains(&action) {
                    outcome.evidence.push(Evidence {
                        object: relation.label.clone(),
                        role: role.name.as_str().to_owned(),
                        action,
                        access: Access::Denied,
                        source: Source::Catalogue,
                        detail: "no grant".to_owned(),
                    });
                } else if excepted(relation) {
                    outcome.evidence.push(Evidence {
                        object: relation.label.clone(),
                        role: role.name.as_str().to_owned(),
                        action,
                        access: Access::Excepted,
                        source: Source::Catalogue,
                        detail: "declared global".to_owned(),
                    });
                }
            }
        }
    }
}

fn excepted(relation: &Relation) -> bool {
    relation.tenant == super::model::TenantKey::Global
}
