//! Findings that are known and accepted for now.

use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{Report, lower};
use crate::verify::config::bad;
use crate::verify::finding::{Action, Finding, Severity};

/// Findings that are known and accepted for now: `--baseline`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The known findings.
    #[serde(default)]
    pub known: Vec<Known>,
}

/// A known finding.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The check's id.
    pub id: String,
    /// The object.
    pub object: String,
    /// The role, where the finding has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The action, where the finding has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// Why it is accepted.
    pub reason: String,
}

impl Baseline {
    /// Reads a file of `[[known]]` entries.
    ///
    /// # Errors
    /// `BadFile` where it cannot be read, `BadConfig` where an entry is wrong or has no reason.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            crate::fault::Fault::new(
                crate::fault::Code::BadFile,
                format!("cannot read `{}`: {error}", path.display()),
            )
            .hint("name one that can be read; what there is to know shows: kinedb verify-rls --format json")
        })?;
        let baseline: Self = toml::from_str(&text)
            .map_err(|error| {
                crate::fault::Fault::new(crate::fault::Code::BadConfig, error.message().to_owned())
                    .hint("each entry is `[[known]]` with id, object and reason")
            })
            .with_context(|| format!("in `{}`", path.display()))?;
        if let Some(known) = baseline
            .known
            .iter()
            .find(|known| known.reason.trim().is_empty())
        {
            return bad(
                format!(
                    "the known finding `{}` of `{}` has no reason",
                    known.id, known.object
                ),
                "write why it is accepted",
            );
        }
        Ok(baseline)
    }

    /// A baseline of every error of a report, each with this reason.
    pub fn of(report: &Report, reason: &str) -> Self {
        let known = |finding: &Finding| Known {
            id: finding.id.clone(),
            object: finding.object.clone(),
            role: finding.role.clone(),
            action: finding.action,
            reason: reason.to_owned(),
        };
        Self {
            known: report
                .findings
                .iter()
                .filter(|finding| finding.severity == Severity::Error)
                .map(known)
                .collect(),
        }
    }
}

impl Report {
    /// Lowers the findings that a baseline knows to notes; gives back the entries that matched nothing.
    pub fn apply(&mut self, baseline: &Baseline) -> Vec<Known> {
        let mut idle = Vec::new();
        for known in &baseline.known {
            let mut found = false;
            for finding in &mut self.findings {
                if finding.id == known.id
                    && finding.object == known.object
                    && finding.role == known.role
                    && (known.action.is_none() || finding.action == known.action)
                {
                    found = true;
                    lower(finding, &format!("known: {}", known.reason));
                }
            }
            if !found {
                idle.push(known.clone());
            }
        }
        self.settle();
        idle
    }
}
