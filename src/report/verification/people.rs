//! For people: findings, the access matrix, the verdict last.

use std::fmt::Write as _;

use super::{access, count, scope, severity, standing};
use crate::report::table::table;
use crate::verify::Report;
use crate::verify::finding::{Action, Finding, Severity};

pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    for group in alike(&report.findings) {
        let Some(first) = group.first() else { continue };
        if first.severity > Severity::Note {
            describe(first, &group, &mut text);
        } else {
            let _ = writeln!(
                text,
                "note     {} [{}]: {}",
                objects(&group).join(", "),
                first.id,
                first.detail
            );
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    if !report.matrix.is_empty() {
        let rows = report.matrix.iter().map(|line| {
            [
                line.object.clone(),
                line.role.clone(),
                access(line.select).to_owned(),
                access(line.insert).to_owned(),
                access(line.update).to_owned(),
                access(line.delete).to_owned(),
            ]
        });
        text.push_str(&table(
            ["OBJECT", "ROLE", "SELECT", "INSERT", "UPDATE", "DELETE"],
            rows,
        ));
        text.push_str("\n\nown: own tenant's rows only, proven; -: no privilege; excepted: declared with a reason\n\n");
    }
    for assumption in &report.assumptions {
        let _ = writeln!(text, "assumed   {assumption}");
    }
    for basis in &report.basis {
        let _ = writeln!(text, "basis     {basis}");
    }
    for exception in &report.exceptions {
        let _ = writeln!(
            text,
            "exception {} ({}): {}",
            exception.object, exception.state, exception.reason
        );
    }
    for channel in &report.residual {
        let _ = writeln!(text, "residual  {channel}");
    }
    let (errors, warnings) = (
        count(report, Severity::Error),
        count(report, Severity::Warning),
    );
    let _ = write!(
        text,
        "\n{}: {}; {errors} errors, {warnings} warnings",
        standing(report),
        scope(report)
    );
    text
}

/// Findings of one cause, told of many objects, notes last: the same was seen of each.
fn alike(findings: &[Finding]) -> Vec<Vec<&Finding>> {
    let mut groups: Vec<Vec<&Finding>> = Vec::new();
    for finding in findings {
        let note = finding.severity == Severity::Note;
        let same = |other: &&Finding| {
            (other.severity, &other.id, &other.role, &other.detail)
                == (
                    finding.severity,
                    &finding.id,
                    &finding.role,
                    &finding.detail,
                )
                && (note || other.action == finding.action)
        };
        match groups
            .iter_mut()
            .find(|group| group.first().is_some_and(same))
        {
            Some(group) => group.push(finding),
            None => groups.push(vec![finding]),
        }
    }
    let (notes, rest): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group| {
        group
            .first()
            .is_some_and(|first| first.severity == Severity::Note)
    });
    [rest, notes].concat()
}

/// The objects of a group, each once.
fn objects<'a>(group: &[&'a Finding]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for finding in group {
        if !names.contains(&finding.object.as_str()) {
            names.push(&finding.object);
        }
    }
    names
}

/// What mends all of a group: one REVOKE of all its tables, else a line for each.
fn fix(group: &[&Finding]) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for finding in group {
        if !lines.contains(&finding.fix.as_str()) {
            lines.push(&finding.fix);
        }
    }
    if let [first, .., _] = group {
        let parted = |finding: &&Finding| {
            let (before, after) = finding
                .fix
                .split_once(&format!(" on {} from ", finding.object))?;
            (before.starts_with("revoke ") && !after.contains(" from "))
                .then(|| (before.to_owned(), after.to_owned()))
        };
        if let Some((before, after)) = parted(first)
            && group
                .iter()
                .all(|finding| parted(finding) == Some((before.clone(), after.clone())))
        {
            return format!("{before} on {} from {after}", objects(group).join(", "));
        }
    }
    lines.join("\n")
}

fn describe(finding: &Finding, group: &[&Finding], text: &mut String) {
    let who = finding
        .role
        .as_deref()
        .map_or_else(String::new, |role| format!(" as {role}"));
    let what = finding
        .action
        .map_or_else(String::new, |action| format!(" ({})", name(action)));
    let _ = writeln!(
        text,
        "{:<8} {}{who}{what}: {} [{}]",
        severity(finding.severity),
        objects(group).join(", "),
        finding.title,
        finding.id
    );
    for (label, body) in [("seen", &finding.detail), ("fix", &fix(group))] {
        if !body.is_empty() {
            let _ = writeln!(text, "    {label:<5} {}", indent(body));
        }
    }
    if let Some(sql) = &finding.reproduce {
        let _ = writeln!(text, "    try   {}", indent(sql));
    }
}

fn indent(text: &str) -> String {
    text.trim().replace('\n', "\n          ")
}

pub(super) fn name(action: Action) -> &'static str {
    match action {
        Action::Select => "select",
        Action::Insert => "insert",
        Action::Update => "update",
        Action::Delete => "delete",
        Action::Truncate => "truncate",
        Action::Execute => "execute",
        Action::Other => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::finding::Verdict;

    fn truncate(object: &str) -> Finding {
        Finding {
            id: "grant-truncate".to_owned(),
            severity: Severity::Error,
            verdict: Verdict::Leak,
            object: object.to_owned(),
            role: Some("app".to_owned()),
            action: Some(Action::Truncate),
            title: "the application may truncate a table of tenants".to_owned(),
            detail: "`app` has TRUNCATE".to_owned(),
            fix: format!("revoke truncate on {object} from app;"),
            reproduce: None,
        }
    }

    #[test]
    fn one_cause_is_told_once() {
        let mut other = truncate("c");
        other.detail = "`app` has TRUNCATE; the trigger `t` stands in the way".to_owned();
        let findings = [truncate("a"), other, truncate("b")];
        let groups = alike(&findings);
        assert_eq!(groups.len(), 2);
        let mut text = String::new();
        describe(groups[0][0], &groups[0], &mut text);
        assert!(
            text.starts_with("error    a, b as app (truncate): "),
            "{text}"
        );
        assert!(
            text.contains("revoke truncate on a, b from app;\n"),
            "{text}"
        );
        let mut second = truncate("b");
        second.fix = "drop the right".to_owned();
        let fixes = fix(&[&truncate("a"), &second]);
        assert_eq!(fixes, "revoke truncate on a from app;\ndrop the right");
    }
}
