//! Sessions that connect for real, where a role's URL is given: what ALTER
//! ROLE, the server's files and a pooler bring along is there from the start.
//!
//! They see committed rows only, so they are compared with the verifier's count
//! before anything is made, in the snapshot that was counted in. Everything runs in a
//! transaction that is rolled back.

use std::str::FromStr as _;

use anyhow::Context as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use super::nobody::{anybody, odd_settings};
use super::read::{counting, readable};
use super::report::{Cell, Report, reproduce};
use crate::db::error::connection_lost;
use crate::verify::finding::{Access, Action};
use crate::verify::model::{ActAs, ActingRole, NoContext, Relation, RoleScope};
use crate::verify::script::{self, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::world::{self, World, is_view};

/// Connects as every role that has a URL and asks what it sees and may write.
pub(super) async fn run(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let snapshot = if world.options.in_transaction {
        String::new()
    } else {
        sqlx::query_scalar("select pg_catalog.pg_export_snapshot()")
            .persistent(false)
            .fetch_one(conn)
            .await
            .context("telling other sessions the snapshot")?
    };
    for role in &world.scope.roles {
        let Some(url) = &role.url else { continue };
        if role.scope == RoleScope::Trusted {
            continue;
        }
        // The URL may hold a password: neither it nor the driver's words about it are told.
        let connected = match PgConnectOptions::from_str(url) {
            Ok(options) => connect(options.disable_statement_logging()).await,
            Err(_) => None,
        };
        let Some(mut conn) = connected else {
            let cell = Cell {
                object: "database",
                role,
                action: Action::Other,
            };
            report.find(
                "not-exercised",
                cell,
                "the role's URL does not lead to a session",
                None,
            );
            continue;
        };
        let mut real = role.clone();
        real.act_as = ActAs::Login;
        let seen = session(&mut conn, world, &real, &snapshot, report).await;
        let _ = conn.close().await;
        seen?;
    }
    Ok(())
}

async fn connect(options: PgConnectOptions) -> Option<PgConnection> {
    let wait = std::time::Duration::from_secs(10);
    tokio::time::timeout(wait, options.connect())
        .await
        .ok()?
        .ok()
}

async fn session(
    conn: &mut PgConnection,
    world: &World<'_>,
    role: &ActingRole,
    snapshot: &str,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut options = world.options.clone();
    options.in_transaction = false;
    if let Err(cause) = world::open_in(conn, &options, snapshot).await {
        // The URL leads to a standby, or to another of two servers: its own one, then.
        if connection_lost(&cause) {
            return Err(cause);
        }
        world::close(conn, &options).await?;
        world::open(conn, &options).await?;
    }
    let done = ask(conn, world, role, report).await;
    let closed = world::close(conn, &options).await;
    done?;
    closed
}

async fn ask(
    conn: &mut PgConnection,
    world: &World<'_>,
    role: &ActingRole,
    report: &mut Report,
) -> anyhow::Result<()> {
    if role.scope == RoleScope::All {
        return Ok(());
    }
    if world.scope.no_context != NoContext::None {
        let mut settings = vec![Setting::Missing];
        settings.extend(odd_settings(world));
        for setting in &settings {
            nobody(conn, world, role, setting, report).await?;
        }
    }
    for tenant in world.contexts_of(role) {
        somebody(conn, world, role, tenant, report).await?;
    }
    Ok(())
}

async fn nobody(
    conn: &mut PgConnection,
    world: &World<'_>,
    role: &ActingRole,
    setting: &Setting,
    report: &mut Report,
) -> anyhow::Result<()> {
    let enter = world.actors.enter(world.scope, role, setting);
    let mut probe = Probe::new();
    probe.all(&enter);
    let mut asked: Vec<(usize, &Relation, String)> = Vec::new();
    for relation in world.relations() {
        if let Some(grant) = world
            .grant(role, relation)
            .filter(|_| readable(world, relation, role))
        {
            let sql = anybody(world, relation, grant, setting);
            asked.push((probe.step(Kind::Look, sql.clone()), relation, sql));
        }
    }
    let answers = script::run(conn, &[probe], world.budget.elsewhere()).await?;
    for (place, relation, sql) in asked {
        report.outcome.probes += 1;
        let rows = answers.first().and_then(|answer| answer.number(place));
        if rows.is_some_and(|rows| rows > 0) {
            report.find(
                "rows-visible-without-tenant",
                Cell::new(relation, role, Action::Select),
                format!(
                    "{} rows are visible {} to a session that connected as the role",
                    rows.unwrap_or(0),
                    setting.sentence()
                ),
                Some(reproduce(&enter, &sql)),
            );
        }
    }
    Ok(())
}

async fn somebody(
    conn: &mut PgConnection,
    world: &World<'_>,
    role: &ActingRole,
    tenant: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let id = world.id(tenant);
    let enter = world
        .actors
        .enter(world.scope, role, &Setting::Tenant(id.to_owned()));
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    for relation in world.relations() {
        let Some(grant) = world.grant(role, relation) else {
            continue;
        };
        if !readable(world, relation, role) || world.by_place(relation) {
            continue;
        }
        let (sql, exact) = counting(world, relation, grant, id);
        let mut statements = vec![(Action::Select, Kind::Query, sql, exact)];
        if !world.options.read_only && !is_view(relation) {
            let updatable = grant.columns('w');
            if let Some(assignment) =
                super::assign::neutral(world, relation, &updatable, id).first()
            {
                let sql = format!("update {} set {assignment}", relation.name);
                statements.push((Action::Update, Kind::Execute, sql, false));
            }
            if grant.delete {
                let sql = format!("delete from {}", relation.name);
                statements.push((Action::Delete, Kind::Execute, sql, false));
            }
        }
        for (action, kind, sql, exact) in statements {
            let mut probe = Probe::new();
            probe.all(&enter);
            let place = probe.step(kind, sql.clone());
            probes.push(probe);
            asked.push((relation, action, exact, place, sql));
        }
    }
    let answers = script::run(conn, &probes, world.budget.elsewhere()).await?;
    for ((relation, action, exact, place, sql), answer) in asked.into_iter().zip(answers) {
        report.outcome.probes += 1;
        let cell = Cell::new(relation, role, action);
        let show = Some(reproduce(&enter, &sql));
        let Some(count) = world.counted(relation, tenant) else {
            continue;
        };
        let numbers: Vec<i64> = answer
            .text(place)
            .map(|text| text.split(' ').filter_map(|n| n.parse().ok()).collect())
            .unwrap_or_default();
        let most = count.own + count.shared;
        let (foreign, own) = match numbers[..] {
            [_, own, foreign, _] if exact => (foreign, own),
            [rows] => ((rows - most).max(0), rows.min(most)),
            _ => continue,
        };
        if foreign > 0 {
            let id = match action {
                Action::Select => "foreign-rows-visible",
                Action::Update => "foreign-rows-updated",
                _ => "foreign-rows-deleted",
            };
            report.find(
                id,
                cell,
                format!(
                    "{foreign} rows of other tenants were reached by a session that connected as the role, in the context of tenant `{}`",
                    world.id(tenant)
                ),
                show,
            );
        } else if action == Action::Select && own < count.visible && !is_view(relation) {
            report.find(
                "own-rows-hidden",
                cell,
                format!(
                    "a session that connected as the role sees {own} of {} own rows of tenant `{}`",
                    count.visible,
                    world.id(tenant)
                ),
                show,
            );
        } else if own > 0 {
            report.worked(cell);
            report.see(
                cell,
                Access::Isolated,
                format!("{own} own rows and no foreign one reached by a session that connected as the role"),
            );
        }
    }
    Ok(())
}
