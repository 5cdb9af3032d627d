//! One verdict from all sources: exceptions applied, cells merged, the worst wins.

mod baseline;
mod excepted;
mod report;
mod sentences;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

pub use self::baseline::{Applied, Baseline, Known, Renewed};
use self::excepted::exceptions;
pub use self::report::{Cells, Checked, Excepted, Report};
use self::sentences::{basis, reproduce, residual};
use super::explain;
use super::finding::{Access, Action, Evidence, Finding, Outcome, Severity, Source, Verdict};
use super::model::{Depth, Options, RelationKind, RoleScope, Scope, TenantKey};

/// Puts everything together.
pub(crate) fn settle(
    scope: &Scope,
    options: &Options,
    mut outcome: Outcome,
    took: Duration,
) -> Report {
    agree(&mut outcome);
    refused(&mut outcome);
    strict(scope, &mut outcome);
    let exceptions = exceptions(scope, &mut outcome);
    for finding in &mut outcome.findings {
        if finding.severity == Severity::Error
            && finding.verdict == Verdict::Leak
            && finding.reproduce.is_none()
        {
            finding.reproduce = reproduce(scope, finding);
        }
    }
    let stored =
        |kind: RelationKind| !matches!(kind, RelationKind::View | RelationKind::MaterializedView);
    let count = |wanted: bool| {
        scope
            .relations
            .iter()
            .filter(|relation| stored(relation.kind) == wanted)
            .count() as u64
    };
    let mut report = Report {
        verdict: Verdict::Isolated,
        server_version: scope.server_version,
        revision: None,
        checked: Checked {
            tables: count(true),
            views: count(false),
            functions: scope.functions.len() as u64,
            roles: scope.roles.len() as u64,
            tenants: scope.tenants.total,
            probes: outcome.probes,
        },
        matrix: matrix(scope, &outcome),
        residual: residual(&outcome),
        basis: [
            basis(scope, options, &outcome.findings),
            std::mem::take(&mut outcome.basis),
        ]
        .concat(),
        findings: outcome.findings,
        exceptions,
        assumptions: scope.assumptions.clone(),
        known: 0,
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    };
    report.settle();
    report
}

/// No green without proof: a cell that the grants open and no source speaks of.
pub(crate) fn without_evidence(scope: &Scope, options: &Options, outcome: &mut Outcome) {
    if options.depth != Depth::Full || options.read_only {
        return;
    }
    let Some(entry) = explain::explain("not-exercised") else {
        return;
    };
    let seen: HashSet<(&str, &str, Action)> = outcome
        .evidence
        .iter()
        .map(|evidence| {
            (
                evidence.object.as_str(),
                evidence.role.as_str(),
                evidence.action,
            )
        })
        .collect();
    let mut silent = Vec::new();
    for (object, role, actions) in &outcome.granted {
        let asked = scope
            .relations
            .iter()
            .find(|relation| relation.label == *object)
            .is_some_and(|relation| {
                let only = options.only.as_ref();
                relation.tenant != TenantKey::Global
                    && only.is_none_or(|only| only.contains(&relation.oid))
            });
        let acts = scope
            .roles
            .iter()
            .any(|acting| acting.name.as_str() == role && acting.scope == RoleScope::Tenant);
        if !asked || !acts {
            continue;
        }
        for action in actions {
            let told = |finding: &Finding| {
                finding.severity == Severity::Error
                    && finding.object == *object
                    && finding.action == Some(*action)
                    && finding.role.as_ref().is_none_or(|own| own == role)
            };
            if !seen.contains(&(object.as_str(), role.as_str(), *action))
                && !outcome.findings.iter().any(told)
            {
                silent.push((object.clone(), role.clone(), *action));
            }
        }
    }
    for (object, role, action) in silent {
        outcome.findings.push(Finding {
            id: entry.id.to_owned(),
            severity: Severity::Error,
            verdict: Verdict::Unproven,
            object,
            role: Some(role),
            action: Some(action),
            title: entry.title.clone(),
            detail:
                "the privilege is granted, and no statement could be run that proves what it opens"
                    .to_owned(),
            fix: entry.fix.clone(),
            reproduce: None,
        });
    }
}

/// A reference that leaves out the tenant, and that nobody could lead to another tenant's
/// row: what the row was refused by looks at the parent, in a way that no text told.
fn refused(outcome: &mut Outcome) {
    for finding in &mut outcome.findings {
        let tried = |(object, role, name): &&(String, String, String)| {
            finding.object == *object
                && finding.role.as_ref() == Some(role)
                && finding.detail.contains(&format!("`{name}`"))
        };
        if finding.id == "foreign-key-without-tenant"
            && finding.verdict == Verdict::Leak
            && outcome.refused.iter().any(|one| tried(&one))
        {
            let said = |evidence: &Evidence| {
                evidence.object == finding.object
                    && finding.role.as_ref() == Some(&evidence.role)
                    && evidence.access == Access::Leak
                    && evidence.source == Source::Catalogue
                    && evidence.detail == finding.detail
            };
            outcome.evidence.retain(|evidence| !said(evidence));
            lower(
                finding,
                "a row that leads to another tenant's was tried, and refused",
            );
        }
    }
}

/// What the catalogue takes for closed on purpose is no failure of a probe either.
fn agree(outcome: &mut Outcome) {
    let notes: Vec<Finding> = outcome
        .findings
        .iter()
        .filter(|finding| {
            // One cause is told once, whatever it weighs.
            finding.id == "policy-none"
                || finding.severity == Severity::Note && finding.id == "policy-empty-context"
        })
        .cloned()
        .collect();
    for finding in &mut outcome.findings {
        let meant = |note: &&Finding| {
            note.object == finding.object
                && match finding.id.as_str() {
                    "own-write-refused" | "own-rows-hidden" | "not-exercised" => {
                        note.id == "policy-none"
                            && note.role == finding.role
                            && finding.action.is_some_and(|action| {
                                let word = format!("{action:?}").to_lowercase();
                                note.detail
                                    .split_once(" by its grants")
                                    .is_some_and(|(before, _)| before.contains(&word))
                            })
                    }
                    "context-fails-after-reset" => note.id == "policy-empty-context",
                    _ => false,
                }
        };
        if let Some(note) = notes.iter().find(meant) {
            lower(finding, &format!("see `{}`", note.id));
        }
    }
}

/// Raises what this schema declares as a rule: nothing leaked, and yet it is not
/// what was promised.
fn strict(scope: &Scope, outcome: &mut Outcome) {
    for finding in &mut outcome.findings {
        if finding.severity == Severity::Error || !scope.strict.contains(&finding.id) {
            continue;
        }
        finding.severity = Severity::Error;
        finding.verdict = Verdict::Unproven;
        finding.detail = format!("{} (a rule of this schema: `strict`)", finding.detail);
        if let (Some(role), Some(action)) = (&finding.role, finding.action) {
            outcome.evidence.push(Evidence {
                object: finding.object.clone(),
                role: role.clone(),
                action,
                access: Access::Unproven,
                source: Source::Catalogue,
                detail: finding.detail.clone(),
            });
        }
    }
}

fn lower(finding: &mut Finding, why: &str) {
    finding.severity = Severity::Note;
    finding.verdict = Verdict::Isolated;
    finding.detail = format!("{} ({why})", finding.detail);
}

fn matrix(scope: &Scope, outcome: &Outcome) -> Vec<Cells> {
    let mut cells: BTreeMap<(&str, &str), BTreeMap<u8, Access>> = BTreeMap::new();
    let labels: BTreeSet<&str> = scope
        .relations
        .iter()
        .map(|relation| relation.label.as_str())
        .collect();
    for evidence in outcome
        .evidence
        .iter()
        .filter(|evidence| labels.contains(evidence.object.as_str()))
    {
        let cell = cells
            .entry((&evidence.object, &evidence.role))
            .or_default()
            .entry(evidence.action as u8)
            .or_insert(evidence.access);
        *cell = (*cell).max(evidence.access);
    }
    cells
        .into_iter()
        .map(|((object, role), actions)| {
            let of = |action: Action| {
                actions
                    .get(&(action as u8))
                    .copied()
                    .unwrap_or(Access::Unproven)
            };
            Cells {
                object: object.to_owned(),
                role: role.to_owned(),
                select: of(Action::Select),
                insert: of(Action::Insert),
                update: of(Action::Update),
                delete: of(Action::Delete),
            }
        })
        .collect()
}
