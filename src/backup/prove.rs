//! A database that was restored, compared with the manifest and proven isolated.

use std::collections::BTreeSet;

use anyhow::Context as _;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::compare::{self, Difference, Restored};
use super::content;
use super::restore::{Outcome, Plan};
use crate::audit;
use crate::catalogue::Fingerprint;
use crate::db::{Target, connect};
use crate::migrate::history;
use crate::verify;
use crate::verify::finding::Verdict;

/// Compares everything, then proves isolation anew.
pub(super) async fn prove(plan: &Plan<'_>, target: &Target) -> anyhow::Result<Outcome> {
    let mut conn = connect(target, "restore").await?;
    let state = history::read(&mut conn).await?;
    plan.cancel.set_backend(state.backend);
    let open = format!(
        "begin isolation level repeatable read read only; {}",
        content::SETTINGS
    );
    conn.execute(sqlx::raw_sql(AssertSqlSafe(open)))
        .await
        .context("cannot begin to compare")?;
    let about = content::about(&mut conn).await?;
    let mut fingerprint = content::fingerprint(&mut conn).await?;
    if plan.name.is_none() {
        reopen(&mut fingerprint, &plan.manifest.fingerprint);
    }
    let tables = content::tables(&mut conn, plan.tenant_columns, &mut |_, _| {}).await?;
    conn.execute(sqlx::raw_sql("rollback"))
        .await
        .context("cannot end the comparison")?;
    let applied: Vec<_> = state
        .applied
        .iter()
        .map(|one| (one.name.clone(), one.checksum.clone()))
        .collect();
    let mut differences = compare::compare(
        plan.manifest,
        &Restored {
            tables: &tables,
            fingerprint: &fingerprint,
            applied: &applied,
            sequences: &about.sequences,
        },
    );
    plan.cancel.check()?;
    trail(plan, &mut conn, &mut differences).await?;
    let options = verify::Options::default();
    let report = verify::verify(&mut conn, plan.isolation, &options).await?;
    let isolation = match report.verdict {
        Verdict::Isolated => "isolated",
        Verdict::Leak => "leak",
        Verdict::Unproven => "unproven",
    };
    if report.verdict != Verdict::Isolated {
        let first = report.findings.first();
        differences.push(Difference {
            kind: "isolation",
            place: first.map_or_else(
                || "the database".to_owned(),
                |one| format!("`{}`", one.object),
            ),
            detail: first.map_or_else(
                || isolation.to_owned(),
                |one| format!("{isolation}: {}", one.title),
            ),
        });
    }
    let _ = conn.close().await;
    Ok(Outcome {
        differences,
        isolation: isolation.to_owned(),
        restore_ms: 0,
        verify_ms: 0,
        rows: plan.manifest.rows(),
    })
}

/// A drill keeps the public out on purpose; that one line is no difference.
fn reopen(found: &mut Fingerprint, wanted: &Fingerprint) {
    const PUBLIC: &str = "grants to public";
    let open = |side: &Fingerprint| -> BTreeSet<String> {
        let granted = side.get("database").and_then(|one| one.get(PUBLIC));
        granted
            .map(|list| list.split(", ").map(str::to_owned).collect())
            .unwrap_or_default()
    };
    if !open(wanted).contains("connect") {
        return;
    }
    let mut granted = open(found);
    granted.insert("connect".to_owned());
    if let Some(database) = found.objects.get_mut("database") {
        let list: Vec<String> = granted.into_iter().collect();
        database
            .attributes
            .insert(PUBLIC.to_owned(), list.join(", "));
    }
}

/// The audit chains must be those that were backed up, and whole.
async fn trail(
    plan: &Plan<'_>,
    conn: &mut PgConnection,
    differences: &mut Vec<Difference>,
) -> anyhow::Result<()> {
    if plan.manifest.heads.is_empty() {
        return Ok(());
    }
    let heads = audit::heads::Heads {
        database: plan.manifest.database.name.clone(),
        taken_at: plan.manifest.taken_at.clone(),
        heads: plan.manifest.heads.clone(),
    };
    let access = audit::access::find(conn).await?;
    audit::access::begin_reading(conn, &access).await?;
    let mut problems = Vec::new();
    let whole = audit::guards::present(conn, &mut problems).await?;
    if whole {
        audit::guards::check(conn, &mut problems).await?;
    }
    if whole {
        let tenants: Vec<_> = heads.heads.iter().map(|head| head.tenant).collect();
        let wanted = audit::examine::Wanted {
            tenants: &tenants,
            heads: std::slice::from_ref(&heads),
            rows: false,
        };
        let found = audit::examine::examine(conn, None, &access, &wanted, &|_| {}).await?;
        problems.extend(found.problems);
    }
    audit::end(conn).await?;
    differences.extend(problems.into_iter().map(|problem| Difference {
        kind: "audit",
        place: problem.range.clone(),
        detail: problem.to_string(),
    }));
    Ok(())
}
