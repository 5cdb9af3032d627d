//! For people: findings, the access matrix, the verdict last.

use std::fmt::Write as _;

use super::causes::{self, Cause, causes};
use super::{access, count, scope, severity, standing};
use crate::report::table::table;
use crate::verify::Report;
use crate::verify::finding::{Action, Severity};

pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    let (notes, rest): (Vec<_>, Vec<_>) = causes(&report.findings)
        .into_iter()
        .partition(|cause| cause.first.severity == Severity::Note);
    for cause in rest {
        describe(&cause, &mut text);
    }
    for cause in notes {
        let _ = writeln!(
            text,
            "note     {} [{}]: {}",
            cause.objects().join(", "),
            cause.first.id,
            cause.seen().replace('\n', "; ")
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
    let told = causes::count(&report.findings, Severity::Error);
    let of = if told < errors {
        format!(" of {told} causes")
    } else {
        String::new()
    };
    let _ = write!(
        text,
        "\n{}: {}; {errors} errors{of}, {warnings} warnings",
        standing(report),
        scope(report)
    );
    text
}

fn describe(cause: &Cause<'_>, text: &mut String) {
    let finding = cause.first;
    let (roles, actions) = (cause.roles().join(", "), cause.actions().join(", "));
    let who = if roles.is_empty() {
        String::new()
    } else {
        format!(" as {roles}")
    };
    let what = if actions.is_empty() {
        String::new()
    } else {
        format!(" ({actions})")
    };
    let _ = writeln!(
        text,
        "{:<8} {}{who}{what}: {} [{}]",
        severity(finding.severity),
        cause.objects().join(", "),
        finding.title,
        finding.id
    );
    for (label, body) in [("seen", &cause.seen()), ("fix", &cause.fix())] {
        if !body.is_empty() {
            let _ = writeln!(text, "    {label:<5} {}", indent(body));
        }
    }
    // A remark is nothing to try.
    let tried = finding.reproduce.as_ref();
    if let Some(sql) = tried.filter(|sql| sql.lines().any(|line| !line.starts_with("--"))) {
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
    use crate::verify::finding::{Finding, Verdict};

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
        let all = causes(&findings);
        assert_eq!(all.len(), 2);
        let mut text = String::new();
        describe(&all[0], &mut text);
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
        let both = [truncate("a"), second];
        assert_eq!(
            causes(&both)[0].fix(),
            "revoke truncate on a from app;\ndrop the right"
        );
    }
}
