//! One verdict from all sources: exceptions applied, cells merged, the worst wins.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::config::bad;
use super::explain;
use super::finding::{Access, Action, Evidence, Finding, Outcome, Severity, Source, Verdict};
use super::model::{
    Depth, Exception, ExceptionKind, Options, RelationKind, RoleScope, Scope, TenantKey,
};
use super::scope::names_object;
use crate::db::ident::Literal;

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

/// Findings that are known and accepted for now: `--baseline`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The known findings.
    #[serde(default)]
    pub known: Vec<Known>,
}

/// A known finding.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The check's id.
    pub id: String,
    /// The object.
    pub object: String,
    /// The role, where the finding has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The action, where the finding has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// Why it is accepted.
    pub reason: String,
}

impl Baseline {
    /// Reads a file of `[[known]]` entries.
    ///
    /// # Errors
    /// `BadFile` where it cannot be read, `BadConfig` where an entry is wrong or has no reason.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            crate::fault::Fault::new(
                crate::fault::Code::BadFile,
                format!("cannot read `{}`: {error}", path.display()),
            )
        })?;
        let baseline: Self = toml::from_str(&text)
            .map_err(|error| {
                crate::fault::Fault::new(crate::fault::Code::BadConfig, error.message().to_owned())
                    .hint("each entry is `[[known]]` with id, object and reason")
            })
            .with_context(|| format!("in `{}`", path.display()))?;
        if let Some(known) = baseline
            .known
            .iter()
            .find(|known| known.reason.trim().is_empty())
        {
            return bad(
                format!(
                    "the known finding `{}` of `{}` has no reason",
                    known.id, known.object
                ),
                "write why it is accepted",
            );
        }
        Ok(baseline)
    }

    /// A baseline of every error of a report, each with this reason.
    pub fn of(report: &Report, reason: &str) -> Self {
        let known = |finding: &Finding| Known {
            id: finding.id.clone(),
            object: finding.object.clone(),
            role: finding.role.clone(),
            action: finding.action,
            reason: reason.to_owned(),
        };
        Self {
            known: report
                .findings
                .iter()
                .filter(|finding| finding.severity == Severity::Error)
                .map(known)
                .collect(),
        }
    }
}

impl Report {
    /// Lowers the findings that a baseline knows to notes; gives back the entries that matched nothing.
    pub fn apply(&mut self, baseline: &Baseline) -> Vec<Known> {
        let mut idle = Vec::new();
        for known in &baseline.known {
            let mut found = false;
            for finding in &mut self.findings {
                if finding.id == known.id
                    && finding.object == known.object
                    && finding.role == known.role
                    && (known.action.is_none() || finding.action == known.action)
                {
                    found = true;
                    lower(finding, &format!("known: {}", known.reason));
                }
            }
            if !found {
                idle.push(known.clone());
            }
        }
        self.settle();
        idle
    }

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
            let kind = kinds.contains(&exception.kind)
                || exception.kind == ExceptionKind::Unproven
                    && finding.verdict == Verdict::Unproven;
            kind && !exception.expired
                && exception.filter.is_none()
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

/// SQL for psql that shows a leak which brought none of its own.
fn reproduce(scope: &Scope, finding: &Finding) -> Option<String> {
    let role = finding
        .role
        .as_deref()
        .map(crate::db::ident::plain)
        .or_else(|| {
            scope
                .roles
                .first()
                .map(|role| crate::db::ident::plain(role.name.as_str()))
        })?;
    let tenant = scope
        .tenants
        .sample
        .first()
        .map_or_else(|| "TENANT-A".to_owned(), Clone::clone);
    let context: String = scope
        .context
        .iter()
        .map(|statement| {
            format!(
                "{}; ",
                statement
                    .replace(":tenant", &Literal::new(&tenant).to_string())
                    .replace(":user", "''")
            )
        })
        .collect();
    let relation = scope
        .relations
        .iter()
        .find(|relation| relation.label == finding.object);
    let statement = match (relation, finding.action) {
        (Some(relation), Some(Action::Insert)) => format!(
            "select has_table_privilege({}, 'INSERT'); -- then insert a row of another tenant",
            Literal::new(&relation.label)
        ),
        (Some(relation), Some(Action::Update)) => format!(
            "explain (verbose, costs off) update {} set {} = {}",
            relation.name,
            first(relation),
            first(relation)
        ),
        (Some(relation), Some(Action::Delete)) => format!("delete from {}", relation.name),
        (Some(relation), _) => match &relation.tenant {
            TenantKey::Column { column, .. } => format!(
                "select count(*) from {} where {column}::text is distinct from {}",
                relation.name,
                Literal::new(&tenant)
            ),
            _ => format!("select count(*) from {}", relation.name),
        },
        (None, _) => return Some(format!("-- as a superuser, see: {}", finding.detail)),
    };
    Some(format!(
        "begin; {context}set local role {role}; {statement}; rollback;"
    ))
}

fn first(relation: &super::model::Relation) -> String {
    relation
        .columns
        .first()
        .map(|column| column.name.to_string())
        .unwrap_or_default()
}

fn residual(outcome: &Outcome) -> Vec<String> {
    let mut list: Vec<String> = [
        "EXPLAIN ANALYZE counts the rows that policies remove, so timing and counts tell whether values exist",
        "the planner's estimates and `pg_class.reltuples`, `pg_stat_user_tables` and `pg_relation_size` tell how much all tenants hold together",
        "sessions of one role see each other's statements in `pg_stat_activity`, and may cancel and end each other",
        "advisory locks and row locks are shared by all tenants: `pg_locks` shows their keys, and waiting tells of them",
        "whoever can run SQL as the application's role can set the tenant by himself: the application must not let users do so",
        "temporary tables, held cursors, prepared statements and settings of a session outlive its transaction: a pool must run DISCARD ALL or share sessions with nobody",
        "sequences and transaction ids show that others write",
    ].iter().map(|text| (*text).to_owned()).collect();
    for more in &outcome.residual {
        if !list.contains(more) {
            list.push(more.clone());
        }
    }
    list
}

fn basis(scope: &Scope, options: &Options, findings: &[Finding]) -> Vec<String> {
    let noted = findings
        .iter()
        .any(|finding| finding.id == "sensitive-column" && finding.severity == Severity::Note);
    let mut list = Vec::new();
    if options.depth == Depth::Catalogue {
        list.push(
            "only the catalogue was looked at: nothing was run as a role of the application"
                .to_owned(),
        );
    }
    if options.read_only {
        list.push("read-only: what needs a write was not tried".to_owned());
    }
    if !scope.verifier.unbound {
        let better = scope
            .verifier
            .may_become_unbound
            .as_ref()
            .map_or_else(String::new, |role| {
                format!(
                    "; verify as `{}`, which it may become, to count them",
                    role.as_str()
                )
            });
        list.push(format!(
            "`{}` is itself bound by row level security: real rows of all tenants were not counted{better}",
            scope.verifier.name
        ));
    }
    if let Some(why) = &scope.tenants.unasked {
        list.push(format!(
            "`{}` could not ask for the tenants ({why}): the proof stands on tenants and rows that were made for it",
            scope.verifier.name
        ));
    }
    if noted && !scope.strict.iter().any(|id| id == "sensitive-column") {
        list.push(
            "a role reads sensitive columns that it also writes as part of a whole table, which counts as a note: \
             `strict = [\"sensitive-column\"]` makes it an error"
                .to_owned(),
        );
    }
    let sampled = scope.tenants.sample.len() as u64;
    if sampled < scope.tenants.total {
        list.push(format!(
            "{sampled} of {} tenants were acted for; `--exhaustive` takes all",
            scope.tenants.total
        ));
    }
    list
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
            serde_json::from_str(include_str!("../../docs/verify-rls.schema.json")).unwrap();
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
