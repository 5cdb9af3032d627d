//! SARIF 2.1.0, for code scanning. A database has no files, so places are
//! logical: the object's name.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Facts;
use crate::verify::Report;
use crate::verify::finding::Severity;

pub(super) fn render(report: &Report, facts: &Facts) -> anyhow::Result<String> {
    let mut rules: BTreeMap<&str, Value> = BTreeMap::new();
    let mut results = Vec::with_capacity(report.findings.len());
    for finding in &report.findings {
        rules.entry(&finding.id).or_insert_with(|| {
            let (title, why) = crate::verify::explain(&finding.id)
                .map_or_else(|| (finding.title.clone(), String::new()), |entry| (entry.title, entry.why));
            json!({ "id": finding.id, "shortDescription": { "text": title }, "fullDescription": { "text": why } })
        });
        let level = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        results.push(json!({
            "ruleId": finding.id,
            "level": level,
            "message": { "text": format!("{}: {} Fix: {}", finding.title, finding.detail, finding.fix) },
            "locations": [{ "logicalLocations": [{ "fullyQualifiedName": finding.object, "kind": "resource" }] }],
            "partialFingerprints": {
                "kinedb/v1": format!("{}|{}|{}", finding.id, finding.object, finding.role.as_deref().unwrap_or_default())
            },
        }));
    }
    let rules: Vec<Value> = rules.into_values().collect();
    let document = json!({
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [{
            "tool": { "driver": { "name": "kinedb", "semanticVersion": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "invocations": [{ "executionSuccessful": true, "endTimeUtc": facts.when }],
            "results": results,
        }],
    });
    Ok(serde_json::to_string_pretty(&document)?)
}
