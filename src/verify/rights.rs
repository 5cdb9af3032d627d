//! What the verifier may not do: one finding with every GRANT to run, in the place
//! of one for each statement that failed for want of a right.

use std::collections::BTreeSet;

use anyhow::Context as _;
use sqlx::PgConnection;
use sqlx::postgres::types::Oid;

use super::explain;
use super::finding::{Finding, Outcome, Severity, Verdict};
use super::model::{RoleScope, Scope};

/// Rights named in the detail; the fix holds all.
const NAMED: usize = 12;

/// Puts the findings that a missing right explains together.
///
/// # Errors
/// Only where the connection is lost.
pub(crate) async fn explain_missing(
    conn: &mut PgConnection,
    scope: &Scope,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    // What probes could not do; a role that cannot be taken seems to see no own rows, too.
    let open = |finding: &Finding| {
        finding.verdict == Verdict::Unproven
            && explain::explain(&finding.id).is_some_and(|entry| !entry.catalogue)
    };
    if scope.verifier.superuser || !outcome.findings.iter().any(open) {
        return Ok(());
    }
    let missing = missing(conn, scope).await?;
    let lacks = |kind: &str, name: &str| {
        missing
            .iter()
            .any(|(own, object, _)| own == kind && object == name)
    };
    let mut used = BTreeSet::new();
    let mut replaced = 0;
    outcome.findings.retain(|finding| {
        if !open(finding) {
            return true;
        }
        let role = finding.role.as_deref().unwrap_or_default();
        let found = if lacks("role", role) {
            ("role", role)
        } else if finding.id == "not-exercised" && lacks("table", &finding.object) {
            ("table", finding.object.as_str())
        } else {
            return true;
        };
        used.insert((found.0.to_owned(), found.1.to_owned()));
        replaced += 1;
        false
    });
    let Some(entry) = explain::explain("verifier-lacks-rights").filter(|_| replaced > 0) else {
        return Ok(());
    };
    let grants: Vec<&str> = missing
        .iter()
        .filter(|(kind, name, _)| used.contains(&(kind.clone(), name.clone())))
        .map(|(_, _, grant)| grant.as_str())
        .collect();
    let names: Vec<String> = used
        .iter()
        .take(NAMED)
        .map(|(kind, name)| match kind.as_str() {
            "role" => format!("it cannot become `{name}`"),
            _ => format!("it cannot see and make rows in `{name}`"),
        })
        .collect();
    let more = used.len().saturating_sub(NAMED);
    let rest = if more > 0 {
        format!(", and {more} more")
    } else {
        String::new()
    };
    outcome.findings.push(Finding {
        id: entry.id.to_owned(),
        severity: Severity::Error,
        verdict: Verdict::Unproven,
        object: scope.verifier.name.clone(),
        role: None,
        action: None,
        title: entry.title,
        detail: format!(
            "{}{rest}; {replaced} cells are not proven for that",
            names.join(", ")
        ),
        fix: grants.join(" "),
        reproduce: None,
    });
    Ok(())
}

/// (kind, name, GRANT).
async fn missing(
    conn: &mut PgConnection,
    scope: &Scope,
) -> anyhow::Result<Vec<(String, String, String)>> {
    let acting = || {
        scope
            .roles
            .iter()
            .filter(|role| role.scope != RoleScope::Trusted && role.url.is_none())
    };
    let roles: Vec<&str> = acting().map(|role| role.name.as_str()).collect();
    let logins: Vec<&str> = acting()
        .map(|role| role.login.as_ref().unwrap_or(&role.name).as_str())
        .collect();
    let tables = || {
        scope
            .relations
            .iter()
            .filter(|relation| relation.holds_tenants())
    };
    let oids: Vec<Oid> = tables().map(|relation| Oid(relation.oid)).collect();
    let labels: Vec<&str> = tables().map(|relation| relation.label.as_str()).collect();
    let names: Vec<String> = tables().map(|relation| relation.name.to_string()).collect();
    sqlx::query_as(include_str!("rights.sql"))
        .bind(&roles)
        .bind(&logins)
        .bind(&oids)
        .bind(&labels)
        .bind(&names)
        .persistent(false)
        .fetch_all(conn)
        .await
        .context("asking what the verifier may do")
}
