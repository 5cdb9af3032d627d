//! From what a probe saw to findings and evidence, each said once.

use std::collections::HashSet;

use crate::verify::explain;
use crate::verify::finding::{
    Access, Action, Evidence, Finding, Outcome, Severity, Source, Verdict,
};
use crate::verify::model::{ActingRole, Relation};

/// Collects an outcome and drops what was said before.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) outcome: Outcome,
    said: HashSet<(String, String, String, Action)>,
    worked: HashSet<(String, String, Action)>,
}

/// What a finding or a piece of evidence is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell<'a> {
    pub(crate) object: &'a str,
    pub(crate) role: &'a ActingRole,
    pub(crate) action: Action,
}

impl<'a> Cell<'a> {
    pub(crate) fn new(relation: &'a Relation, role: &'a ActingRole, action: Action) -> Self {
        Self {
            object: &relation.label,
            role,
            action,
        }
    }
}

impl Report {
    /// Adds a finding of this kind, unless this cell has one.
    pub(crate) fn find(
        &mut self,
        id: &str,
        cell: Cell<'_>,
        detail: impl Into<String>,
        reproduce: Option<String>,
    ) {
        let role = cell.role.name.as_str().to_owned();
        if !self.said.insert((
            id.to_owned(),
            cell.object.to_owned(),
            role.clone(),
            cell.action,
        )) {
            return;
        }
        let Some(doc) = explain::explain(id) else {
            return;
        };
        let verdict = match id {
            "own-rows-hidden"
            | "own-write-refused"
            | "not-exercised"
            | "context-fails-after-reset" => Verdict::Unproven,
            _ if doc.severity == Severity::Error => Verdict::Leak,
            _ => Verdict::Isolated,
        };
        let access = match verdict {
            Verdict::Leak => Some(Access::Leak),
            Verdict::Unproven => Some(Access::Unproven),
            Verdict::Isolated => None,
        };
        let detail = detail.into();
        if let Some(access) = access {
            self.see(cell, access, detail.clone());
        }
        self.outcome.findings.push(Finding {
            id: id.to_owned(),
            severity: doc.severity,
            verdict,
            object: cell.object.to_owned(),
            role: Some(role),
            action: Some(cell.action),
            title: doc.title,
            detail,
            fix: doc.fix,
            reproduce: reproduce.filter(|_| verdict != Verdict::Isolated),
        });
    }

    /// Remembers that own rows were reached: the positive control of a cell.
    pub(crate) fn worked(&mut self, cell: Cell<'_>) {
        self.worked.insert((
            cell.object.to_owned(),
            cell.role.name.as_str().to_owned(),
            cell.action,
        ));
    }

    /// Whether a cell was exercised, or has been found wanting already.
    pub(crate) fn settled(&self, cell: Cell<'_>) -> bool {
        let role = cell.role.name.as_str();
        self.worked
            .contains(&(cell.object.to_owned(), role.to_owned(), cell.action))
            || self.outcome.findings.iter().any(|finding| {
                finding.object == cell.object
                    && finding.role.as_deref() == Some(role)
                    && finding.action == Some(cell.action)
                    && finding.severity == Severity::Error
            })
    }

    /// Adds evidence that a probe gave for a cell.
    pub(crate) fn see(&mut self, cell: Cell<'_>, access: Access, detail: impl Into<String>) {
        self.see_by(Source::Probe, cell, access, detail);
    }

    /// Adds evidence for a cell.
    pub(crate) fn see_by(
        &mut self,
        source: Source,
        cell: Cell<'_>,
        access: Access,
        detail: impl Into<String>,
    ) {
        self.outcome.evidence.push(Evidence {
            object: cell.object.to_owned(),
            role: cell.role.name.as_str().to_owned(),
            action: cell.action,
            access,
            source,
            detail: detail.into(),
        });
    }

    /// Whether this cell has evidence of this kind.
    pub(crate) fn leaks(&self, object: &str) -> bool {
        self.outcome
            .findings
            .iter()
            .any(|finding| finding.object == object && finding.verdict == Verdict::Leak)
    }
}

/// SQL for psql that shows it: the role, the context, the statement.
pub(crate) fn reproduce(enter: &[String], statement: &str) -> String {
    let mut text = String::from("begin;\n");
    for line in enter {
        text.push_str(line);
        text.push_str(";\n");
    }
    text.push_str(statement);
    text.push_str(";\nrollback;");
    text
}
