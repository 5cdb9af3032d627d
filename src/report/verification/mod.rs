//! The report of a verification in each of its forms. Pure: a report and its
//! facts go in, text comes out.

mod causes;
mod github;
mod html;
mod junit;
mod markdown;
mod people;
mod sarif;

pub(super) use github::{data, property};
pub(super) use markdown::cell;

use crate::report::Format;
use crate::verify::Report;
use crate::verify::finding::{Access, Severity, Verdict};

/// What the report itself does not know.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The database that was verified, without a password.
    pub target: String,
    /// When, in UTC, as ISO 8601.
    pub when: String,
    /// The command that was typed, without secrets.
    pub command: String,
}

/// The report as text.
pub fn render(report: &Report, facts: &Facts, format: Format) -> anyhow::Result<String> {
    Ok(match format {
        Format::Table => people::render(report),
        Format::Json => serde_json::to_string_pretty(report)?,
        Format::Junit => junit::render(report, facts)?,
        Format::Sarif => sarif::render(report, facts)?,
        Format::Github => github::render(report),
        Format::Html => html::render(report, facts),
        Format::Markdown => markdown::render(report, facts),
    })
}

fn access(access: Access) -> &'static str {
    match access {
        Access::Denied => "-",
        Access::Isolated => "own",
        Access::Excepted => "excepted",
        Access::Unproven => "UNPROVEN",
        Access::Leak => "LEAK",
    }
}

/// The verdict as one word.
pub fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Isolated => "isolated",
        Verdict::Unproven => "unproven",
        Verdict::Leak => "leak",
    }
}

/// The verdict of a report, and what it leaves out.
fn standing(report: &Report) -> String {
    let word = verdict(report.verdict);
    match (report.known, report.verdict) {
        (0, _) => word.to_owned(),
        (known, Verdict::Isolated) => format!("{word} but for {known} known"),
        (known, Verdict::Leak | Verdict::Unproven) => format!("{word} besides {known} known"),
    }
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// One sentence on what was looked at.
fn scope(report: &Report) -> String {
    let checked = &report.checked;
    format!(
        "{} tables, {} views, {} functions, {} roles, {} tenants; {} probes in {} ms",
        checked.tables,
        checked.views,
        checked.functions,
        checked.roles,
        checked.tenants,
        checked.probes,
        report.duration_ms
    )
}

/// Major and minor version: 150018 is 15.18.
fn server(report: &Report) -> String {
    format!(
        "{}.{}",
        report.server_version / 10_000,
        report.server_version % 10_000
    )
}

/// How many findings weigh so much.
fn count(report: &Report, severity: Severity) -> usize {
    report
        .findings
        .iter()
        .filter(|finding| finding.severity == severity)
        .count()
}
