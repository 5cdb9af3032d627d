//! Findings that are known and accepted for now: read, matched, written, renewed.
//!
//! A detail holds counts that change with the data, so an entry names id, object, role and
//! action, and how many findings those have: one more of them is new.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{Report, lower};
use crate::verify::config::bad;
use crate::verify::finding::{Action, Finding, NOTHING_YET, Severity, Verdict};

/// What stands above the entries of a file that was written.
const HEAD: &str = "\
# Findings that are known and accepted for now: kinedb verify-rls --baseline FILE
# Write into each `reason` why it may stay. `kinedb verify-rls --baseline FILE --update-baseline`
# keeps the reasons, adds what is new, and drops what was mended.
";

/// What says that not everything could be looked at. Accepting it would make a run green
/// that proved nothing, so it is never written: who means it types the entry.
fn is_blind(id: &str) -> bool {
    NOTHING_YET.contains(&id) || matches!(id, "check-failed" | "verifier-lacks-rights")
}

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
    /// The action, where the finding has one; without it any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// How many findings these are; without it any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// Why it is accepted.
    pub reason: String,
}

/// What became of a baseline's entries.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// Entries that nothing matches.
    pub idle: Vec<Known>,
    /// Entries that know more findings than there are, with how many there are.
    pub fewer: Vec<(Known, usize)>,
    /// Entries that know fewer findings than there are, with how many there are. None of
    /// these is accepted: which of them is new, nobody can tell.
    pub more: Vec<(Known, usize)>,
}

/// A baseline that was brought up to date.
#[derive(Debug, Clone, Default)]
pub struct Renewed {
    /// As it is to be written.
    pub baseline: Baseline,
    /// How many entries were added.
    pub added: usize,
    /// How many entries stayed, with their reasons.
    pub kept: usize,
    /// How many entries went, because nothing matches them any more.
    pub dropped: usize,
    /// How many findings may not be accepted, because they say that the proof is not whole.
    pub blind: usize,
}

impl Known {
    fn fits(&self, finding: &Finding) -> bool {
        finding.severity > Severity::Note
            && finding.id == self.id
            && finding.object == self.object
            && finding.role == self.role
            && (self.action.is_none() || finding.action == self.action)
    }

    fn order(&self) -> (&str, &str, Option<&str>, Option<u8>) {
        let action = self.action.map(|action| action as u8);
        (&self.id, &self.object, self.role.as_deref(), action)
    }
}

impl Baseline {
    /// Reads a file of `[[known]]` entries.
    ///
    /// # Errors
    /// `BadFile` where it cannot be read, `BadConfig` where an entry is wrong or has no reason.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let shown = path.display();
            crate::fault::Fault::new(
                crate::fault::Code::BadFile,
                format!("cannot read `{shown}`: {error}"),
            )
            .hint("name one that can be read; a new one writes: kinedb verify-rls --write-baseline FILE")
        })?;
        let baseline: Self = toml::from_str(&text)
            .map_err(|error| {
                let line = error
                    .span()
                    .and_then(|span| text.get(..span.start))
                    .map_or(1, |before| before.matches('\n').count() + 1);
                crate::fault::Fault::new(
                    crate::fault::Code::BadConfig,
                    format!("line {line}: {}", error.message()),
                )
                .hint("each entry is `[[known]]` with id, object and reason, and where the finding has them role and action")
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

    /// The entries that still match keep their reasons, the others go, and every finding of
    /// `least` weight that none knows gets an entry. A new file is an empty one, renewed.
    pub fn renewed(&self, report: &Report, least: Severity, when: &str) -> Renewed {
        let shares = self.shares(&report.findings);
        let mut renewed = Renewed::default();
        for (place, known) in self.known.iter().enumerate() {
            let mine = mine(&report.findings, &shares, place);
            if mine.is_empty() {
                renewed.dropped += 1;
                continue;
            }
            renewed.kept += 1;
            let weighing = weighing(&mine, least);
            renewed.baseline.known.push(Known {
                count: known
                    .count
                    .map(|count| if weighing == 0 { count } else { weighing }),
                ..known.clone()
            });
        }
        let mut groups: BTreeMap<_, Vec<&Finding>> = BTreeMap::new();
        for (finding, share) in report.findings.iter().zip(&shares) {
            if share.is_some() || finding.severity < least {
                continue;
            }
            if is_blind(&finding.id) {
                renewed.blind += 1;
                continue;
            }
            let action = finding.action.map(|action| action as u8);
            groups
                .entry((&finding.id, &finding.object, &finding.role, action))
                .or_default()
                .push(finding);
        }
        for group in groups.values() {
            let Some(first) = group.first() else { continue };
            let state = match first.verdict {
                Verdict::Unproven => "not proven",
                Verdict::Leak | Verdict::Isolated => "there",
            };
            renewed.added += 1;
            renewed.baseline.known.push(Known {
                id: first.id.clone(),
                object: first.object.clone(),
                role: first.role.clone(),
                action: first.action,
                count: Some(group.len()),
                reason: format!("{state} when this baseline was written {when}"),
            });
        }
        renewed
            .baseline
            .known
            .sort_by(|a, b| a.order().cmp(&b.order()));
        renewed
    }

    /// The file that [`load`](Self::load) reads.
    ///
    /// # Errors
    /// None that is known: every entry is text and numbers.
    pub fn text(&self) -> anyhow::Result<String> {
        let entries = if self.known.is_empty() {
            "known = []\n".to_owned()
        } else {
            toml::to_string(self)?
        };
        Ok(format!("{HEAD}\n{entries}"))
    }

    /// Which entry each finding belongs to: one that names the action before one that names none.
    fn shares(&self, findings: &[Finding]) -> Vec<Option<usize>> {
        let entry = |finding: &Finding| {
            let mut fitting = (0..self.known.len()).filter(|place| {
                self.known
                    .get(*place)
                    .is_some_and(|known| known.fits(finding))
            });
            let first = fitting.next()?;
            let exact = |place: &usize| {
                self.known
                    .get(*place)
                    .is_some_and(|known| known.action.is_some())
            };
            Some(
                std::iter::once(first)
                    .chain(fitting)
                    .find(exact)
                    .unwrap_or(first),
            )
        };
        findings.iter().map(entry).collect()
    }
}

/// The findings of one entry.
fn mine<'a>(findings: &'a [Finding], shares: &[Option<usize>], place: usize) -> Vec<&'a Finding> {
    findings
        .iter()
        .zip(shares)
        .filter(|(_, share)| **share == Some(place))
        .map(|(finding, _)| finding)
        .collect()
}

fn weighing(findings: &[&Finding], least: Severity) -> usize {
    findings
        .iter()
        .filter(|finding| finding.severity >= least)
        .count()
}

impl Report {
    /// Lowers the findings that a baseline knows to notes. `least` is the weight from which
    /// findings are counted.
    pub fn apply(&mut self, baseline: &Baseline, least: Severity) -> Applied {
        let shares = baseline.shares(&self.findings);
        let mut applied = Applied::default();
        for (place, known) in baseline.known.iter().enumerate() {
            let mine = mine(&self.findings, &shares, place);
            let weighing = weighing(&mine, least);
            if !self.findings.iter().any(|finding| known.fits(finding)) {
                applied.idle.push(known.clone());
                continue;
            }
            match known.count {
                Some(count) if weighing > count => applied.more.push((known.clone(), weighing)),
                Some(count) if weighing < count => applied.fewer.push((known.clone(), weighing)),
                _ => {}
            }
        }
        for (finding, share) in self.findings.iter_mut().zip(shares) {
            let Some(known) = share.and_then(|place| baseline.known.get(place)) else {
                continue;
            };
            if applied.more.iter().any(|(more, _)| more == known) {
                continue;
            }
            self.known += u64::from(finding.severity == Severity::Error);
            lower(finding, &format!("known: {}", known.reason));
        }
        self.settle();
        applied
    }
}
