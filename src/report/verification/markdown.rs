//! Markdown, for the comment on a pull request.

use std::fmt::Write as _;

use super::causes::causes;
use super::{Facts, access, scope, server, severity, standing};
use crate::verify::Report;

pub(super) fn render(report: &Report, facts: &Facts) -> String {
    let mut text = format!("## Isolation: {}\n\n", standing(report));
    let revision = report.revision.as_deref().unwrap_or("unknown");
    let _ = writeln!(
        text,
        "{}, revision `{revision}`, PostgreSQL {}, {}.\n\n{}\n",
        cell(&facts.target),
        server(report),
        facts.when,
        scope(report)
    );
    if !report.findings.is_empty() {
        text.push_str(
            "| severity | object | role | action | what | fix |\n|---|---|---|---|---|---|\n",
        );
        for cause in causes(&report.findings) {
            let finding = cause.first;
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | **{}** (`{}`): {} | {} |",
                severity(finding.severity),
                cell(&cause.objects().join(", ")),
                cell(&cause.roles().join(", ")),
                cause.actions().join(", "),
                cell(&finding.title),
                finding.id,
                cell(&cause.seen().replace('\n', "; ")),
                cell(&cause.fix()),
            );
        }
        text.push('\n');
    }
    if !report.matrix.is_empty() {
        text.push_str(
            "| object | role | select | insert | update | delete |\n|---|---|---|---|---|---|\n",
        );
        for line in &report.matrix {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                cell(&line.object),
                cell(&line.role),
                access(line.select),
                access(line.insert),
                access(line.update),
                access(line.delete),
            );
        }
        text.push('\n');
    }
    for (title, lines) in [
        ("Basis", &report.basis),
        ("Assumed", &report.assumptions),
        ("Residual channels", &report.residual),
    ] {
        if !lines.is_empty() {
            let _ = writeln!(text, "**{title}**\n");
            for line in lines {
                let _ = writeln!(text, "- {}", cell(line));
            }
            text.push('\n');
        }
    }
    text.trim_end().to_owned()
}

/// One cell: no line ends, no bars, no markup from names.
pub(crate) fn cell(text: &str) -> String {
    text.trim()
        .replace('\n', " ")
        .replace('|', "\\|")
        .replace('<', "&lt;")
}
