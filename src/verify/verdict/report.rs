//! The report of a verification, as `--format json` prints it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::verify::finding::{Access, Finding, Severity, Verdict};
use crate::verify::model::ExceptionKind;

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
    /// Errors that a baseline accepts. Where there are any, `isolated` means: but for them.
    #[serde(default)]
    pub known: u64,
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

/// Rows of others that were read or written come before what lets that happen.
const REACHED: [&str; 10] = [
    "foreign-rows-visible",
    "foreign-rows-updated",
    "foreign-rows-deleted",
    "foreign-rows-taken-over",
    "foreign-row-inserted",
    "own-rows-given-away",
    "view-shows-foreign-rows",
    "function-reaches-foreign-rows",
    "rows-visible-without-tenant",
    "write-without-tenant",
];
/// What needs a key of another tenant's row, or a right that an interface seldom passes on.
const REMOTE: [&str; 5] = [
    "foreign-key-tenant-cascade",
    "foreign-key-without-tenant",
    "foreign-row-referenced",
    "grant-truncate",
    "unique-without-tenant",
];

/// How far a finding is from another tenant's rows: the nearest is read first.
fn distance(id: &str) -> u8 {
    if REACHED.contains(&id) {
        0
    } else if REMOTE.contains(&id) {
        2
    } else {
        1
    }
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
    pub(super) fn settle(&mut self) {
        self.findings.sort_by(|a, b| {
            (b.severity, b.verdict, distance(&a.id), &a.id)
                .cmp(&(a.severity, a.verdict, distance(&b.id), &b.id))
                .then_with(|| (&a.object, &a.role, &a.detail).cmp(&(&b.object, &b.role, &b.detail)))
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::verify::finding::Action;
    use crate::verify::verdict::{Baseline, Known};

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
            known: 0,
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
        let mut baseline = Baseline::default()
            .renewed(&report, Severity::Error, "in March")
            .baseline;
        assert_eq!(baseline.known.len(), 2);
        baseline.known[0].action = None;
        baseline.known.push(Known {
            id: "gone".to_owned(),
            ..baseline.known[0].clone()
        });
        let applied = report.apply(&baseline, Severity::Error);
        assert_eq!((report.verdict, report.known), (Verdict::Isolated, 2));
        let idle: Vec<&str> = applied.idle.iter().map(|known| known.id.as_str()).collect();
        assert_eq!(idle, ["gone"]);
        assert!(applied.more.is_empty() && applied.fewer.is_empty());
    }

    #[test]
    fn one_finding_more_than_a_baseline_knows_is_new() {
        let mut known = report();
        let baseline = Baseline::default()
            .renewed(&known, Severity::Error, "in March")
            .baseline;
        let mut second = finding("c", Severity::Error, Verdict::Leak);
        second.detail = "another policy".to_owned();
        known.findings.push(second);
        let applied = known.apply(&baseline, Severity::Error);
        assert_eq!((applied.more.len(), applied.more[0].1), (1, 2));
        assert_eq!((known.verdict, known.known), (Verdict::Leak, 1));
    }

    #[test]
    fn an_entry_of_any_action_takes_what_the_exact_ones_leave() {
        let mut report = report();
        let mut other = finding("c", Severity::Error, Verdict::Leak);
        other.action = Some(Action::Delete);
        report.findings.push(other);
        let entry = |action, reason: &str| Known {
            id: "c".to_owned(),
            object: "notes".to_owned(),
            role: Some("app".to_owned()),
            action,
            count: Some(1),
            reason: reason.to_owned(),
        };
        let baseline = Baseline {
            known: vec![entry(None, "any"), entry(Some(Action::Select), "exact")],
        };
        let applied = report.apply(&baseline, Severity::Error);
        assert!(applied.idle.is_empty() && applied.more.is_empty());
        for (action, reason) in [(Action::Select, "exact"), (Action::Delete, "any")] {
            assert!(
                report.findings.iter().any(|one| one.action == Some(action)
                    && one.detail == format!("d (known: {reason})"))
            );
        }
    }

    #[test]
    fn a_renewed_baseline_keeps_reasons_and_drops_what_was_mended() {
        let report = report();
        let entry = |id: &str, count| Known {
            id: id.to_owned(),
            object: "notes".to_owned(),
            role: Some("app".to_owned()),
            action: None,
            count,
            reason: "ours".to_owned(),
        };
        let old = Baseline {
            known: vec![entry("mended", None), entry("c", Some(3))],
        };
        let renewed = old.renewed(&report, Severity::Error, "in March");
        assert_eq!((renewed.added, renewed.kept, renewed.dropped), (1, 1, 1));
        let text = renewed.baseline.text().unwrap();
        let again: Baseline = toml::from_str(&text).unwrap();
        assert_eq!(again.known, renewed.baseline.known);
        let told: Vec<_> = again
            .known
            .iter()
            .map(|one| (one.id.as_str(), one.count, one.reason.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (
                    "b",
                    Some(1),
                    "not proven when this baseline was written in March"
                ),
                ("c", Some(1), "ours"),
            ]
        );
    }

    #[test]
    fn what_says_that_nothing_was_looked_at_is_never_written() {
        let mut report = report();
        report.findings = vec![finding("no-role", Severity::Error, Verdict::Unproven)];
        let renewed = Baseline::default().renewed(&report, Severity::Error, "in March");
        assert_eq!((renewed.blind, renewed.added), (1, 0));
        assert!(toml::from_str::<Baseline>(&renewed.baseline.text().unwrap()).is_ok());
    }

    #[test]
    fn the_document_shows_a_baseline_that_can_be_read() {
        let (_, rest) = include_str!("../../../docs/configuration.md")
            .split_once("```toml\n[[known]]")
            .unwrap();
        let (block, _) = rest.split_once("```").unwrap();
        let known: Baseline = toml::from_str(&format!("[[known]]{block}")).unwrap();
        assert_eq!(known.known.len(), 1);
        assert_eq!(known.known[0].count, Some(1));
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
