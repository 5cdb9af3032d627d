//! For people: findings, the access matrix, the verdict last.

use std::fmt::Write as _;

use super::{access, count, scope, severity, verdict};
use crate::report::table::table;
use crate::verify::Report;
use crate::verify::finding::{Action, Finding, Severity};

pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    for finding in report
        .findings
        .iter()
        .filter(|finding| finding.severity > Severity::Note)
    {
        describe(finding, &mut text);
    }
    for finding in report
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Note)
    {
        let _ = writeln!(
            text,
            "note     {} [{}]: {}",
            finding.object, finding.id, finding.detail
        );
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
        verdict(report.verdict),
        scope(report)
    );
    text
}

fn describe(finding: &Finding, text: &mut String) {
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
        finding.object,
        finding.title,
        finding.id
    );
    for (label, body) in [("seen", &finding.detail), ("fix", &finding.fix)] {
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
