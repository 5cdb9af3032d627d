//! From what a probe saw to findings and evidence, each said once.

use std::collections::{HashMap, HashSet};

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
    hints: HashMap<(String, String, Action), (Access, String)>,
    reasons: HashMap<(String, String, Action), String>,
    held: HashMap<(String, String, Action), String>,
    wrong: HashSet<(String, String, Action)>,
    leaking: HashSet<String>,
    stuck: HashSet<String>,
    /// Cells with evidence, and whether algebra gave some.
    known: HashMap<(String, String, Action), bool>,
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

impl Cell<'_> {
    fn key(self) -> (String, String, Action) {
        (
            self.object.to_owned(),
            self.role.name.as_str().to_owned(),
            self.action,
        )
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
        if doc.severity == Severity::Error {
            self.wrong.insert(cell.key());
        }
        if verdict == Verdict::Leak {
            self.leaking.insert(cell.object.to_owned());
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

    /// Adds a finding about what is stored, whoever acts.
    pub(crate) fn add(&mut self, finding: Finding) {
        if finding.verdict == Verdict::Leak {
            self.leaking.insert(finding.object.clone());
        }
        self.outcome.findings.push(finding);
    }

    /// Says that a statement was cut short, and remembers the object for what comes.
    pub(crate) fn cut(&mut self, cell: Cell<'_>, sentence: &str, reproduce: Option<String>) {
        self.stuck.insert(cell.object.to_owned());
        let detail = format!("the probe was cut short: {sentence}");
        self.find("not-exercised", cell, detail, reproduce);
    }

    /// Whether statements on this object were cut short before.
    pub(crate) fn stuck(&self, object: &str) -> bool {
        self.stuck.contains(object)
    }

    /// Remembers that own rows were reached: the positive control of a cell.
    pub(crate) fn worked(&mut self, cell: Cell<'_>) {
        self.worked.insert(cell.key());
    }

    /// Whether own rows were reached.
    pub(crate) fn has_worked(&self, cell: Cell<'_>) -> bool {
        self.worked.contains(&cell.key())
    }

    /// Whether there is any evidence of a cell.
    pub(crate) fn seen(&self, cell: Cell<'_>) -> bool {
        self.known.contains_key(&cell.key())
    }

    /// Whether something is known to hold the rows of a cell.
    pub(crate) fn is_held(&self, cell: Cell<'_>) -> bool {
        self.held.contains_key(&cell.key())
    }

    /// Whether algebra found the predicate of a cell true for no foreign row.
    pub(crate) fn evaluated(&self, cell: Cell<'_>) -> bool {
        self.known.get(&cell.key()).copied().unwrap_or(false)
    }

    /// Remembers that rows passed the policies and something else held them: that
    /// own ones are among them, not whether others are.
    pub(crate) fn held(&mut self, cell: Cell<'_>, detail: impl Into<String>) {
        self.held.insert(cell.key(), detail.into());
    }

    /// Remembers what a cell's state is where nothing better is seen.
    pub(crate) fn hint(&mut self, cell: Cell<'_>, access: Access, detail: impl Into<String>) {
        let known = self
            .hints
            .entry(cell.key())
            .or_insert_with(|| (access, detail.into()));
        known.0 = known.0.max(access);
    }

    /// Takes the best that is known of a cell for its state; false where nothing is.
    /// `evaluated` tells whether its predicate is known to admit no foreign row.
    pub(crate) fn settle(&mut self, cell: Cell<'_>, evaluated: bool) -> bool {
        if self.settled(cell) {
            return true;
        }
        // Of rows that a reference holds the predicate tells whose they are.
        if let Some(detail) = self.held.remove(&cell.key()) {
            if evaluated {
                self.worked(cell);
                self.see(
                    cell,
                    Access::Isolated,
                    format!("{detail}; its predicate is true for no foreign row tried"),
                );
                return true;
            }
            self.because(
                cell,
                format!("{detail}, and whose they are could not be told"),
            );
        }
        let Some((access, detail)) = self.hints.remove(&cell.key()) else {
            return false;
        };
        self.worked(cell);
        self.see(cell, access, detail);
        true
    }

    /// Remembers why a cell was not exercised.
    pub(crate) fn because(&mut self, cell: Cell<'_>, reason: impl Into<String>) {
        self.reasons.insert(cell.key(), reason.into());
    }

    /// Why a cell was not exercised, where a probe said so.
    pub(crate) fn reason(&self, cell: Cell<'_>) -> Option<&str> {
        self.reasons.get(&cell.key()).map(String::as_str)
    }

    /// Whether a cell was exercised, or has been found wanting already.
    pub(crate) fn settled(&self, cell: Cell<'_>) -> bool {
        self.worked.contains(&cell.key()) || self.wrong.contains(&cell.key())
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
        let algebra = source == Source::Algebra && access == Access::Isolated;
        *self.known.entry(cell.key()).or_default() |= algebra;
        self.outcome.evidence.push(Evidence {
            object: cell.object.to_owned(),
            role: cell.role.name.as_str().to_owned(),
            action: cell.action,
            access,
            source,
            detail: detail.into(),
        });
    }

    /// Whether another tenant's rows of this object were reached.
    pub(crate) fn leaks(&self, object: &str) -> bool {
        self.leaking.contains(object)
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
