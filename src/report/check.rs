//! What `check` found, in each of the forms that `verify-rls` has. Pure.

use std::fmt::Write as _;

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;
use serde_json::{Value, json};

use super::Format;
use super::verification::{cell, data, property};

/// What a finding makes of the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Informs.
    Note,
    /// Right today.
    Warning,
    /// Declared state and history differ, or a rule is broken: exit 3.
    Error,
    /// Isolation is broken or not proven: exit 4.
    Isolation,
}

/// One thing that is wrong.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// The rule or check.
    pub id: String,
    /// How much it weighs.
    pub weight: Weight,
    /// A file, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Its line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// An object, a revision or a role, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// One line.
    pub title: String,
    /// Why it matters, or what was seen.
    pub detail: String,
    /// What to do.
    pub fix: String,
}

impl Finding {
    fn place(&self) -> String {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            (Some(file), None) => file.clone(),
            (None, _) => self.object.clone().unwrap_or_else(|| "database".to_owned()),
        }
    }
}

/// The whole of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// What is wrong, worst first.
    pub findings: Vec<Finding>,
    /// What was looked at, as sentences.
    pub basis: Vec<String>,
    /// How long it took.
    pub duration_ms: u64,
}

impl Report {
    /// Worst first, then by place.
    pub fn sort(&mut self) {
        self.findings.sort_by(|a, b| {
            (b.weight, a.place(), &a.id, &a.title).cmp(&(a.weight, b.place(), &b.id, &b.title))
        });
    }

    /// The worst finding's weight.
    pub fn worst(&self) -> Option<Weight> {
        self.findings.iter().map(|one| one.weight).max()
    }

    /// One word.
    pub fn verdict(&self) -> &'static str {
        match self.worst() {
            Some(Weight::Isolation) => "not isolated",
            Some(Weight::Error) => "drift",
            _ => "clean",
        }
    }

    fn closing(&self) -> String {
        let count = |weight: Weight| {
            self.findings
                .iter()
                .filter(|one| one.weight == weight)
                .count()
        };
        format!(
            "{}: {} errors, {} warnings in {} ms",
            self.verdict(),
            count(Weight::Isolation) + count(Weight::Error),
            count(Weight::Warning),
            self.duration_ms
        )
    }
}

/// The report as text.
pub fn render(report: &Report, when: &str, format: Format) -> anyhow::Result<String> {
    Ok(match format {
        Format::Table => people(report),
        Format::Json => {
            let mut document = serde_json::to_value(report)?;
            if let Some(fields) = document.as_object_mut() {
                fields.shift_insert(0, "verdict".to_owned(), report.verdict().into());
            }
            serde_json::to_string_pretty(&document)?
        }
        Format::Junit => junit(report)?,
        Format::Sarif => sarif(report, when)?,
        Format::Github => github(report),
        Format::Html => html(report, when),
        Format::Markdown => markdown(report),
    })
}

fn word(weight: Weight) -> &'static str {
    match weight {
        Weight::Note => "note",
        Weight::Warning => "warning",
        Weight::Error | Weight::Isolation => "error",
    }
}

fn people(report: &Report) -> String {
    let mut text = String::new();
    for one in &report.findings {
        let _ = writeln!(
            text,
            "{:<8} {}: {} [{}]",
            word(one.weight),
            one.place(),
            one.title,
            one.id
        );
        for (label, body) in [("why", &one.detail), ("fix", &one.fix)] {
            if !body.is_empty() {
                let _ = writeln!(
                    text,
                    "    {label:<5} {}",
                    body.trim().replace('\n', "\n          ")
                );
            }
        }
    }
    for basis in &report.basis {
        let _ = writeln!(text, "basis    {basis}");
    }
    let _ = write!(text, "{}", report.closing());
    text
}

fn junit(report: &Report) -> anyhow::Result<String> {
    let mut suite = TestSuite::new("check");
    for one in &report.findings {
        let status = if one.weight >= Weight::Error {
            let mut failed = TestCaseStatus::non_success(NonSuccessKind::Failure);
            failed.set_message(one.title.clone());
            failed.set_type(one.id.clone());
            failed.set_description(format!("{}\nfix: {}", one.detail, one.fix));
            failed
        } else {
            TestCaseStatus::success()
        };
        let mut case = TestCase::new(format!("{} {}", one.id, one.place()), status);
        case.set_classname(one.place());
        suite.add_test_case(case);
    }
    for basis in &report.basis {
        suite.add_test_case(TestCase::new(basis.clone(), TestCaseStatus::success()));
    }
    let mut junit = Junit::new("kinedb check");
    junit.add_test_suite(suite);
    Ok(junit.to_string()?)
}

fn sarif(report: &Report, when: &str) -> anyhow::Result<String> {
    let mut rules: Vec<Value> = Vec::new();
    let mut results = Vec::new();
    for one in &report.findings {
        if !rules.iter().any(|rule| rule["id"] == one.id.as_str()) {
            rules.push(json!({ "id": one.id, "shortDescription": { "text": one.title }, "fullDescription": { "text": one.detail } }));
        }
        let location = match (&one.file, one.line) {
            (Some(file), line) => json!({ "physicalLocation": {
                "artifactLocation": { "uri": file },
                "region": { "startLine": line.unwrap_or(1) },
            }}),
            (None, _) => {
                json!({ "logicalLocations": [{ "fullyQualifiedName": one.place(), "kind": "resource" }] })
            }
        };
        results.push(json!({
            "ruleId": one.id,
            "level": word(one.weight),
            "message": { "text": format!("{}: {} Fix: {}", one.title, one.detail, one.fix) },
            "locations": [location],
        }));
    }
    let document = json!({
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [{
            "tool": { "driver": { "name": "kinedb", "semanticVersion": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "invocations": [{ "executionSuccessful": true, "endTimeUtc": when }],
            "results": results,
        }],
    });
    Ok(serde_json::to_string_pretty(&document)?)
}

fn github(report: &Report) -> String {
    let mut lines: Vec<String> = report
        .findings
        .iter()
        .map(|one| {
            let command = match one.weight {
                Weight::Note => "notice",
                Weight::Warning => "warning",
                Weight::Error | Weight::Isolation => "error",
            };
            let place = match (&one.file, one.line) {
                (Some(file), line) => {
                    format!("file={},line={},", property(file), line.unwrap_or(1))
                }
                (None, _) => String::new(),
            };
            format!(
                "::{command} {place}title={}::{}",
                property(&format!("{}: {} [{}]", one.place(), one.title, one.id)),
                data(&format!("{}\nfix: {}", one.detail, one.fix))
            )
        })
        .collect();
    lines.push(report.closing());
    lines.join("\n")
}

fn markdown(report: &Report) -> String {
    let mut text = format!("## Check: {}\n\n", report.verdict());
    if !report.findings.is_empty() {
        text.push_str("| severity | where | what | fix |\n|---|---|---|---|\n");
        for one in &report.findings {
            let _ = writeln!(
                text,
                "| {} | {} | **{}** (`{}`): {} | {} |",
                word(one.weight),
                cell(&one.place()),
                cell(&one.title),
                one.id,
                cell(&one.detail),
                cell(&one.fix)
            );
        }
        text.push('\n');
    }
    for basis in &report.basis {
        let _ = writeln!(text, "- {}", cell(basis));
    }
    let _ = write!(text, "\n{}", report.closing());
    text
}

fn html(report: &Report, when: &str) -> String {
    maud::html! {
        (maud::DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { "kinedb check: " (report.verdict()) } }
            body {
                h1 { "Check: " (report.verdict()) }
                p { (when) ", " (report.closing()) }
                @if !report.findings.is_empty() {
                    table {
                        tr { th { "severity" } th { "where" } th { "what" } th { "why" } th { "fix" } }
                        @for one in &report.findings {
                            tr {
                                td { (word(one.weight)) } td { (one.place()) }
                                td { (one.title) " [" (one.id) "]" } td { (one.detail) } td { (one.fix) }
                            }
                        }
                    }
                }
                ul { @for basis in &report.basis { li { (basis) } } }
            }
        }
    }
    .into_string()
}
