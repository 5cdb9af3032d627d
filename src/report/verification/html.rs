//! One self-contained page that an auditor can read, print and keep: no script,
//! nothing loaded from elsewhere.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::causes::{Cause, causes};
use super::{Facts, access, count, server, severity, standing, verdict};
use crate::verify::Report;
use crate::verify::finding::{Access, Severity, Verdict};

const STYLE: &str = include_str!("report.css");

pub(super) fn render(report: &Report, facts: &Facts) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Isolation of tenants: " (standing(report)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "Isolation of tenants" }
                    p.verdict.(verdict(report.verdict)) { (headline(report.verdict, report.known)) }
                }
                (facts_table(report, facts))
                (findings(report))
                (matrix(report))
                (lines("What the verdict rests on", "How it was proven, and what was left out.", &report.basis))
                (lines("Assumptions", "Nobody declared these; they were concluded from the catalogue.", &report.assumptions))
                (exceptions(report))
                (lines("Residual channels", "No design with row level security closes these. Whether they matter is for the reader to decide.", &report.residual))
                footer { "Made by kinedb " (env!("CARGO_PKG_VERSION")) ". This report holds counts, names and types, never contents of rows." }
            }
        }
    };
    page.into_string()
}

fn headline(verdict: Verdict, known: u64) -> &'static str {
    match verdict {
        Verdict::Isolated if known > 0 => {
            "Nothing new: tenants are apart but for what the baseline knows, which is listed below as notes."
        }
        Verdict::Isolated => "Isolated: every tenant reaches its own rows, and no other tenant's.",
        Verdict::Unproven => {
            "Not proven: something could not be looked at. Nothing here may be taken as isolated on its account."
        }
        Verdict::Leak => "Leak: one tenant can reach another's data.",
    }
}

fn facts_table(report: &Report, facts: &Facts) -> Markup {
    let checked = &report.checked;
    html! {
        table.facts {
            tr { th { "Database" } td { (facts.target) } }
            tr { th { "Server" } td { "PostgreSQL " (server(report)) } }
            tr { th { "Revision" } td { (report.revision.as_deref().unwrap_or("not recorded")) } }
            tr { th { "When" } td { (facts.when) } }
            tr { th { "How" } td { code { (facts.command) } } }
            tr { th { "Looked at" } td {
                (checked.tables) " tables, " (checked.views) " views, " (checked.functions) " functions, "
                (checked.roles) " roles, " (checked.tenants) " tenants" } }
            tr { th { "Probes" } td { (checked.probes) " statements run as those roles and rolled back, in " (report.duration_ms) " ms" } }
            tr { th { "Findings" } td {
                (count(report, Severity::Error)) " errors, " (count(report, Severity::Warning)) " warnings, "
                (count(report, Severity::Note)) " notes; "
                (report.known) " errors known to the baseline, among the notes" } }
        }
    }
}

fn findings(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Findings" }
            @if report.findings.is_empty() { p { "None." } }
            @for cause in causes(&report.findings) { (one(&cause)) }
        }
    }
}

fn one(cause: &Cause<'_>) -> Markup {
    let finding = cause.first;
    let (objects, roles, actions) = (cause.objects(), cause.roles(), cause.actions());
    html! {
        article.(severity(finding.severity)) {
            h3 {
                span.weight { (severity(finding.severity)) } " " code { (finding.object) }
                @if objects.len() > 1 { " and " (objects.len() - 1) " more" }
                ": " (finding.title)
            }
            dl {
                dt { "Check" } dd { code { (finding.id) } }
                @if objects.len() > 1 { dt { "Objects" } dd { (codes(&objects)) } }
                @if !roles.is_empty() { dt { @if roles.len() > 1 { "Roles" } @else { "Role" } } dd { (codes(&roles)) } }
                @if !actions.is_empty() { dt { @if actions.len() > 1 { "Actions" } @else { "Action" } } dd { (actions.join(", ")) } }
                dt { "Seen" } dd { @for (place, line) in cause.seen().lines().enumerate() { @if place > 0 { br; } (line) } }
                @if !cause.fix().is_empty() { dt { "Repair" } dd { pre { (cause.fix()) } } }
                @if let Some(sql) = &finding.reproduce { dt { "Reproduce" } dd { pre { (sql) } } }
            }
        }
    }
}

fn codes(names: &[&str]) -> Markup {
    html! { @for (place, name) in names.iter().enumerate() { @if place > 0 { ", " } code { (name) } } }
}

fn matrix(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Access matrix" }
            p { b { "own" } ": the own tenant's rows only, proven. " b { "-" } ": no privilege. "
                b { "excepted" } ": declared with a reason, below." }
            table.matrix {
                thead { tr { th { "Object" } th { "Role" } th { "Select" } th { "Insert" } th { "Update" } th { "Delete" } } }
                tbody {
                    @for line in &report.matrix {
                        tr {
                            td { code { (line.object) } }
                            td { code { (line.role) } }
                            @for state in [line.select, line.insert, line.update, line.delete] {
                                td.(class(state)) { (access(state)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn class(state: Access) -> &'static str {
    match state {
        Access::Denied => "denied",
        Access::Isolated => "isolated",
        Access::Excepted => "excepted",
        Access::Unproven => "unproven",
        Access::Leak => "leak",
    }
}

fn exceptions(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Exceptions" }
            @if report.exceptions.is_empty() { p { "None declared." } } @else {
                table.matrix {
                    thead { tr { th { "Object" } th { "Kind" } th { "Role" } th { "Until" } th { "State" } th { "Reason" } } }
                    tbody {
                        @for exception in &report.exceptions {
                            tr {
                                td { code { (exception.object) } }
                                td { (serde_json::to_value(exception.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default()) }
                                td { (exception.role.as_deref().unwrap_or("every role")) }
                                td { (exception.until.as_deref().unwrap_or("no end")) }
                                td { (exception.state) }
                                td { (exception.reason) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn lines(title: &str, intro: &str, lines: &[String]) -> Markup {
    html! {
        @if !lines.is_empty() {
            section {
                h2 { (title) }
                p { (intro) }
                ul { @for line in lines { li { (line) } } }
            }
        }
    }
}
