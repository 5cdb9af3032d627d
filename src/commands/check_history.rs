//! The part of `check` that needs a server: every revision up, down, up with
//! isolation proven, and what is declared against what the last one leaves.

use std::collections::BTreeSet;

use sqlx::postgres::PgConnection;
use sqlx::{Executor as _, Row as _};

use crate::catalogue::{COLUMN_ORDER, Difference, Fingerprint};
use crate::commands::context::Context;
use crate::commands::scratch::{Place, Scratch};
use crate::fault::{Code, Fault};
use crate::migrate::cancel::Cancel;
use crate::migrate::gate::{Depth, Gate};
use crate::migrate::revision::Revision;
use crate::migrate::script::Direction;
use crate::migrate::target::Target as Goal;
use crate::policy::declared::Policies;
use crate::policy::{build, entities};
use crate::report::check::{Finding, Report, Weight};
use crate::scaffold::Project;
use crate::verify;
use crate::verify::finding::Severity;

/// Runs it all in one scratch database.
pub async fn run(
    context: &Context<'_>,
    place: &Place,
    project: Option<&Project>,
    revisions: &[Revision],
    cancel: &Cancel,
    report: &mut Report,
) -> anyhow::Result<()> {
    let scratch = Scratch::create(&place.server, None).await?;
    let outcome = async {
        let head = round_trips(context, &scratch, revisions, cancel, report).await?;
        verified(context, &scratch, report).await?;
        if context.global.migrations.is_none() {
            against_declared(&scratch, project, &head, report).await?;
        }
        Ok(())
    }
    .await;
    scratch.drop().await?;
    outcome
}

fn finding(
    id: &str,
    weight: Weight,
    object: &str,
    title: String,
    detail: &str,
    fix: &str,
) -> Finding {
    Finding {
        id: id.to_owned(),
        weight,
        file: None,
        line: None,
        object: Some(object.to_owned()),
        title,
        detail: detail.to_owned(),
        fix: fix.to_owned(),
    }
}

/// Each revision up through the gate, down, and up again.
async fn round_trips(
    context: &Context<'_>,
    scratch: &Scratch,
    revisions: &[Revision],
    cancel: &Cancel,
    report: &mut Report,
) -> anyhow::Result<Fingerprint> {
    let go = |direction, gate| {
        let goal = match direction {
            Direction::Up => Goal::Up(1),
            Direction::Down => Goal::Down(1),
        };
        async move {
            scratch
                .migrate(revisions, direction, &goal, gate, cancel)
                .await
        }
    };
    let mut now = scratch.fingerprint().await?;
    let mut there_and_back = 0;
    for one in revisions {
        let gate = Gate::new(Depth::Full, context.isolation()?);
        let mut effect = None;
        match go(Direction::Up, gate).await {
            Ok(summary) => effect = summary.done.first().and_then(|step| step.effect),
            Err(cause) => {
                let fault = Fault::of(&cause);
                if !fault.is_some_and(|fault| fault.code() == Code::GateRefused) {
                    return Err(cause);
                }
                let hint = fault.and_then(Fault::hint_text).unwrap_or_default();
                report.findings.push(finding(
                    "isolation",
                    Weight::Isolation,
                    &one.name,
                    "isolation is broken or not proven after this revision".to_owned(),
                    &format!("{cause:#}"),
                    hint,
                ));
                go(Direction::Up, None).await?;
            }
        }
        if let Some(effect) = effect {
            report.basis.push(format!("{} {}", one.name, effect.name()));
        }
        let up = scratch.fingerprint().await?;
        match go(Direction::Down, None).await {
            Ok(_) => {
                let down = scratch.fingerprint().await?;
                differs("down", one, &now.differences(&down), report);
                go(Direction::Up, None).await?;
                let again = scratch.fingerprint().await?;
                differs("up-again", one, &up.differences(&again), report);
                there_and_back += 1;
            }
            Err(cause)
                if Fault::of(&cause).is_some_and(|fault| fault.code() == Code::Irreversible) =>
            {
                report.findings.push(finding(
                    "down",
                    Weight::Note,
                    &one.name,
                    "there is no way back".to_owned(),
                    "",
                    "",
                ));
            }
            Err(cause) => return Err(cause),
        }
        now = up;
    }
    report.basis.push(format!(
        "{there_and_back} of {} revisions went up, down and up again; isolation was proven after each",
        revisions.len()
    ));
    Ok(now)
}

fn differs(id: &str, revision: &Revision, differences: &[Difference], report: &mut Report) {
    for one in differences {
        // A column that comes back stands last: nobody can put it elsewhere.
        let weight = if one.attribute.as_deref() == Some(COLUMN_ORDER) {
            Weight::Note
        } else {
            Weight::Error
        };
        let (detail, fix) = if id == "down" {
            (
                "the way down does not restore what was there before the way up",
                "complete the way down",
            )
        } else {
            (
                "after the way down, the way up gives something else",
                "complete the way down, or remove `if not exists` from the way up",
            )
        };
        report.findings.push(finding(
            id,
            weight,
            &revision.name,
            one.to_string(),
            detail,
            fix,
        ));
    }
}

/// The whole proof at head.
async fn verified(
    context: &Context<'_>,
    scratch: &Scratch,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut conn = scratch.connect().await?;
    let options = verify::Options {
        connect: Some(scratch.target().options().clone()),
        ..verify::Options::default()
    };
    let proof = verify::verify(&mut conn, &context.isolation()?, &options).await?;
    for one in &proof.findings {
        let weight = match one.severity {
            Severity::Error => Weight::Isolation,
            Severity::Warning => Weight::Warning,
            Severity::Note => continue,
        };
        let who = one
            .role
            .as_deref()
            .map_or_else(String::new, |role| format!(" as {role}"));
        report.findings.push(finding(
            &one.id,
            weight,
            &format!("{}{who}", one.object),
            one.title.clone(),
            &one.detail,
            &one.fix,
        ));
    }
    report.basis.push(format!(
        "isolation at head: {} tables, {} views, {} roles, {} probes",
        proof.checked.tables, proof.checked.views, proof.checked.roles, proof.checked.probes
    ));
    Ok(())
}

/// `policies/` and the entities against head.
async fn against_declared(
    scratch: &Scratch,
    project: Option<&Project>,
    head: &Fingerprint,
    report: &mut Report,
) -> anyhow::Result<()> {
    let policies = match project {
        Some(project) => Policies::read(&project.policies())?,
        None => Policies::embedded()?,
    };
    let tables = entities::all();
    let mut conn = scratch.connect().await?;
    let changes = build::build(&mut conn, &policies, Some(&tables)).await?;
    for one in &changes {
        report.findings.push(finding(
            "entity",
            Weight::Error,
            &one.object,
            one.what.clone(),
            "an entity in `src/entity` declares something else than the migrations make",
            "change the entity, or write the migration: `kinedb revision --autogenerate -m TEXT`",
        ));
    }
    let mut of_entities: BTreeSet<&str> = changes.iter().map(|one| one.object.as_str()).collect();
    of_entities.retain(|object| !object.is_empty());
    let declared = scratch.fingerprint().await?;
    for one in head.differences(&declared) {
        // Said above.
        if of_entities.contains(one.object.as_str()) {
            continue;
        }
        report.findings.push(finding(
            "policies",
            Weight::Error,
            &one.object,
            one.to_string()
                .split_once(": ")
                .map_or_else(String::new, |(_, rest)| rest.to_owned()),
            "left is what the migrations make, right what `policies/` declares",
            "correct the file, or write the migration: `kinedb revision --autogenerate -m TEXT`",
        ));
    }
    report.basis.push(format!(
        "{} tables of `policies/` and {} entities compared with head",
        policies
            .classes
            .values()
            .map(|class| class.tables.len())
            .sum::<usize>(),
        tables.len()
    ));
    Ok(())
}

/// Who may have installed a database: its owner, superusers, and whoever ran a
/// migration there.
pub async fn installers(conn: &mut PgConnection) -> anyhow::Result<BTreeSet<String>> {
    let history = conn
        .fetch_one(sqlx::raw_sql(
            "select pg_catalog.to_regclass('public.kinedb_history') is not null",
        ))
        .await?
        .try_get::<bool, _>(0)?;
    let mut sql = "select r.rolname::text from pg_catalog.pg_roles r where r.rolsuper \
         or r.oid = (select datdba from pg_catalog.pg_database where datname = pg_catalog.current_database())"
        .to_owned();
    if history {
        sql.push_str(" union select distinct h.database_user::text from public.kinedb_history h");
    }
    let rows = conn
        .fetch_all(sqlx::raw_sql(sqlx::AssertSqlSafe(sql)))
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// The login of a connection.
pub async fn whoami(conn: &mut PgConnection) -> anyhow::Result<String> {
    let row = conn
        .fetch_one(sqlx::raw_sql("select session_user::text"))
        .await?;
    Ok(row.try_get(0)?)
}
