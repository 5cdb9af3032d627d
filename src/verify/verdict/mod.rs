//! One verdict from all sources: exceptions applied, cells merged, the worst wins.

mod baseline;
mod sentences;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::baseline::{Baseline, Known};
use self::sentences::{basis, reproduce, residual};
use super::explain;
use super::finding::{Access, Action, Evidence, Finding, Outcome, Severity, Source, Verdict};
use super::model::{
    Depth, Exception, ExceptionKind, Options, RelationKind, RoleScope, Scope, TenantKey,
};
use super::scope::names_object;

/// The outcome of a verification, as `--format json` prints it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The verdict on the whole database.
    pub verdict: Verdict,
    /// `server_version_num`.
    pub server_version: i32,
    /// The revision that the database is at, where the caller knows it.
    pub revision: Option<String>,
    /// What was looked at.
    pub checked: Checked,
    /// What is wrong, may become wrong, or could not be proven; worst first.
    pub findings: Vec<Finding>,
    /// What each role reaches.
    pub matrix: Vec<Cells>,
    /// Channels that no RLS design closes.
    pub residual: Vec<String>,
    /// Declared exceptions and what became of them.
    pub exceptions: Vec<Excepted>,
    /// What was assumed because nothing told it.
    pub assumptions: Vec<String>,
    /// What the verdict rests on, and what was left out, as sentences.
    pub basis: Vec<String>,
    /// How long it took.
    pub duration_ms: u64,
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Tables, partitions and foreign tables.
    pub tables: u64,
    /// Views and materialised views.
    pub views: u64,
    /// Functions and procedures.
    pub functions: u64,
    /// Roles acted as.
    pub roles: u64,
    /// Tenants of the database.
    pub tenants: u64,
    /// Statements run as a role.
    pub probes: u64,
}

/// A line of the access matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cells {
    /// The relation.
    pub object: String,
    /// The role.
    pub role: String,
    /// May it read.
    pub select: Access,
    /// May it insert.
    pub insert: Access,
    /// May it update.
    pub update: Access,
    /// May it delete.
    pub delete: Access,
}

/// A declared exception in the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excepted {
    /// The object as written.
    pub object: String,
    /// What is excepted.
    pub kind: ExceptionKind,
    /// Only these rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Only for this role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Why.
    pub reason: String,
    /// The last day it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// `in-force`, `expired` or `unmatched`.
    pub state: String,
}

impl Report {
    /// Says of a report that no session was tried: what nobody contradicts is not
    /// proven by that.
    pub fn only_looked(&mut self) {
        self.verdict = self.verdict.max(Verdict::Unproven);
        self.basis
            .push("the catalogue alone was looked at; nothing was proven by sessions".to_owned());
    }

    /// Sorts the findings and takes the verdict from them.
    fn settle(&mut self) {
        self.findings.sort_by(|a, b| {
            (b.severity, b.verdict, &a.id, &a.object, &a.role, &a.detail)
                .cmp(&(a.severity, a.verdict, &b.id, &b.object, &b.role, &b.detail))
        });
        let mut seen = BTreeSet::new();
        self.findings.retain(|finding| {
            seen.insert((
                finding.id.clone(),
                finding.object.clone(),
                finding.role.clone(),
                finding.action.map(|action| action as u8),
                finding.detail.clone(),
            ))
        });
        self.verdict = self
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .map(|finding| finding.verdict)
            .max()
            .unwrap_or(Verdict::Isolated);
    }
}

/// Puts everything together.
pub(crate) fn settle(
    scope: &Scope,
    options: &Options,
    mut outcome: Outcome,
    took: Duration,
) -> Report {
    agree(&mut outcome);
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

fn exceptions(scope: &Scope, outcome: &mut Outcome) -> Vec<Excepted> {
    let mut used = vec![false; scope.exceptions.len()];
    for finding in &mut outcome.findings {
        let kinds = explain::explain(&finding.id)
            .map(|entry| entry.excepts)
            .unwrap_or_default();
        let fits = |exception: &Exception| {
            // What may be read by all may not be written by all.
            let read = exception.kind != ExceptionKind::GlobalRead
                || finding.verdict != Verdict::Leak
                || matches!(finding.action, None | Some(Action::Select));
            let kind = kinds.contains(&exception.kind) && read
                || exception.kind == ExceptionKind::Unproven
                    && finding.verdict == Verdict::Unproven;
            let whole = exception.filter.as_ref().is_none_or(|filter| {
                // Rows without a tenant that are only read are what such a filter speaks of.
                exception.kind == ExceptionKind::SharedRows
                    && finding.id == "policy-shared-rows"
                    && finding.severity != Severity::Error
                    && filter.to_lowercase().contains("is null")
            });
            kind && !exception.expired
                && whole
                && exception
                    .role
                    .as_ref()
                    .is_none_or(|role| finding.role.as_ref().is_none_or(|own| own == role))
                && speaks_of(scope, &exception.object, &finding.object)
        };
        if let Some(at) = scope.exceptions.iter().position(fits) {
            used[at] = true;
            if finding.severity != Severity::Note {
                lower(
                    finding,
                    &format!("excepted: {}", scope.exceptions[at].reason),
                );
            }
        }
    }
    let mut list = Vec::new();
    for (exception, used) in scope.exceptions.iter().zip(used) {
        let exists = used
            || scope
                .relations
                .iter()
                .any(|relation| names_object(&exception.object, &relation.name))
            || scope
                .functions
                .iter()
                .any(|function| speaks_of(scope, &exception.object, &function.label))
            || scope
                .roles
                .iter()
                .any(|role| role.name.as_str() == exception.object);
        let state = match (exception.expired, exists) {
            (true, _) => "expired",
            (false, true) => "in-force",
            (false, false) => "unmatched",
        };
        if state != "in-force"
            && let Some(entry) = explain::explain(&format!("exception-{state}"))
        {
            outcome.findings.push(Finding {
                id: entry.id.to_owned(),
                severity: entry.severity,
                verdict: Verdict::Isolated,
                object: exception.object.clone(),
                role: exception.role.clone(),
                action: None,
                title: entry.title,
                detail: match &exception.until {
                    Some(until) if exception.expired => {
                        format!("it held until {until}: {}", exception.reason)
                    }
                    _ => format!("its reason was: {}", exception.reason),
                },
                fix: entry.fix,
                reproduce: None,
            });
        }
        list.push(Excepted {
            object: exception.object.clone(),
            kind: exception.kind,
            filter: exception.filter.clone(),
            role: exception.role.clone(),
            reason: exception.reason.clone(),
            until: exception.until.clone(),
            state: state.to_owned(),
        });
    }
    list
}

/// A name as written in an exception means the object of a finding.
fn speaks_of(scope: &Scope, written: &str, object: &str) -> bool {
    let plain = |text: &str| {
        text.replace(' ', "")
            .trim_start_matches("public.")
            .to_owned()
    };
    plain(written) == plain(object)
        || scope
            .relations
            .iter()
            .any(|relation| relation.label == object && names_object(written, &relation.name))
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn finding(id: &str, severity: Severity, verdict: Verdict) -> Finding {
        Finding {
            id: id.to_owned(),
            severity,
            verdict,
            object: "notes".to_owned(),
            role: Some("app".to_owned()),
            action: Some(Action::Select),
            title: "t".to_owned(),
            detail: "d".to_owned(),
            fix: "f".to_owned(),
            reproduce: Some("select 1".to_owned()),
        }
    }

    fn report() -> Report {
        let mut report = Report {
            verdict: Verdict::Isolated,
            server_version: 150_018,
            revision: None,
            checked: Checked {
                tables: 1,
                views: 0,
                functions: 0,
                roles: 1,
                tenants: 2,
                probes: 3,
            },
            findings: vec![
                finding("a", Severity::Note, Verdict::Isolated),
                finding("b", Severity::Error, Verdict::Unproven),
                finding("c", Severity::Error, Verdict::Leak),
                finding("c", Severity::Error, Verdict::Leak),
            ],
            matrix: vec![Cells {
                object: "notes".to_owned(),
                role: "app".to_owned(),
                select: Access::Leak,
                insert: Access::Denied,
                update: Access::Isolated,
                delete: Access::Unproven,
            }],
            residual: vec!["r".to_owned()],
            exceptions: vec![Excepted {
                object: "x".to_owned(),
                kind: ExceptionKind::GlobalRead,
                filter: None,
                role: None,
                reason: "r".to_owned(),
                until: Some("2027-01-01".to_owned()),
                state: "in-force".to_owned(),
            }],
            assumptions: Vec::new(),
            basis: Vec::new(),
            duration_ms: 1,
        };
        report.settle();
        report
    }

    #[test]
    fn the_worst_finding_is_the_verdict_and_comes_first_and_once() {
        let report = report();
        let ids: Vec<&str> = report.findings.iter().map(|one| one.id.as_str()).collect();
        assert_eq!((report.verdict, ids), (Verdict::Leak, vec!["c", "b", "a"]));
    }

    #[test]
    fn a_baseline_lowers_what_it_knows_and_names_what_it_does_not_meet() {
        let mut report = report();
        let mut baseline = Baseline::of(&report, "known since March");
        assert_eq!(baseline.known.len(), 2);
        baseline.known[0].action = None;
        baseline.known.push(Known {
            id: "gone".to_owned(),
            ..baseline.known[0].clone()
        });
        let idle = report.apply(&baseline);
        assert_eq!((report.verdict, idle.len()), (Verdict::Isolated, 1));
        assert_eq!(idle[0].id, "gone");
    }

    #[test]
    fn the_report_is_what_the_schema_says() {
        let schema: Value =
            serde_json::from_str(include_str!("../../../docs/verify-rls.schema.json")).unwrap();
        fits(&schema, &schema, &json!(report()), "report");
    }

    /// As much of JSON Schema as the file uses.
    fn fits(root: &Value, schema: &Value, value: &Value, at: &str) {
        if let Some(reference) = schema["$ref"].as_str() {
            let target = root.pointer(reference.trim_start_matches('#')).unwrap();
            return fits(root, target, value, at);
        }
        let name = match value {
            Value::Null => "null",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
            _ => "integer",
        };
        let types = match &schema["type"] {
            Value::Array(types) => types.clone(),
            one => vec![one.clone()],
        };
        assert!(types.contains(&json!(name)), "{at}: {value}");
        if let Some(allowed) = schema["enum"].as_array() {
            assert!(allowed.contains(value), "{at}: {value}");
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            fits(root, &schema["items"], item, &format!("{at}[{index}]"));
        }
        for (key, item) in value.as_object().into_iter().flatten() {
            let inner = &schema["properties"][key];
            assert!(inner.is_object(), "{at}.{key} is not in the schema");
            fits(root, inner, item, &format!("{at}.{key}"));
        }
        for key in schema["required"].as_array().into_iter().flatten() {
            assert!(
                value.get(key.as_str().unwrap()).is_some(),
                "{at}.{key} is missing"
            );
        }
    }
}
