//! What verification says: verdicts, findings, the access matrix, the report.

use serde::{Deserialize, Serialize};

/// Ids of what says that there is nothing to prove yet.
pub const NOTHING_YET: [&str; 4] = ["no-table", "no-role", "no-reach", "no-context"];

/// The verdict on an object, a role and an action, or on the whole database.
/// Ordered: the worst one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Proven: own rows are reached, no other tenant's are.
    Isolated,
    /// It could not be proven; the finding says why.
    Unproven,
    /// Another tenant's data was, or provably can be, reached.
    Leak,
}

/// How much a finding weighs. `Error` is what makes the exit code 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Informs.
    Note,
    /// Right today, breaks at the next careless step.
    Warning,
    /// A leak, over-isolation, a broken append-only rule or sensitive column, or no proof.
    Error,
}

/// What a session does to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Select,
    Insert,
    Update,
    Delete,
    Truncate,
    Execute,
    /// Something else that the finding describes (membership, settings, ownership).
    Other,
}

/// One thing that is wrong, may become wrong, or could not be proven.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Finding {
    /// The check's id: the stem of its file in `checks/` or `probes/`.
    pub id: String,
    /// How much it weighs.
    pub severity: Severity,
    /// `Leak` or `Unproven`; `Isolated` for warnings and notes.
    pub verdict: Verdict,
    /// The object as SQL names it (`human` form), a role, or `database`.
    pub object: String,
    /// The role that acts, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The action, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// One line: what is wrong.
    pub title: String,
    /// What was seen: counts, names, keys, types. Never contents of rows.
    pub detail: String,
    /// The repair, as SQL or a sentence.
    pub fix: String,
    /// SQL that reproduces a leak, runnable with psql.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reproduce: Option<String>,
}

/// The state of one cell of the access matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// The role has no privilege for it; that it fails was seen or follows from the grants.
    Denied,
    /// Own rows reached, no others.
    Isolated,
    /// Rows of all tenants by declaration: global reference data, a trusted role, an exception.
    Excepted,
    /// It could not be proven.
    Unproven,
    /// Another tenant's rows are reached.
    Leak,
}

/// Evidence for one cell: an object, a role, an action, what was seen and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Evidence {
    /// The object as SQL names it (`human` form).
    pub object: String,
    /// The acting role.
    pub role: String,
    /// The action.
    pub action: Action,
    /// The state that this evidence supports; the worst one of a cell wins.
    pub access: Access,
    /// Which source says so.
    pub source: Source,
    /// What was seen, with counts.
    pub detail: String,
}

/// The four sources of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    Catalogue,
    Algebra,
    Probe,
    Truth,
}

/// What a stage of verification hands back.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// What is wrong or not proven.
    pub findings: Vec<Finding>,
    /// What was proven, cell by cell.
    pub evidence: Vec<Evidence>,
    /// What the grants open, as (object, role, actions): the cells that need evidence.
    pub granted: Vec<(String, String, Vec<Action>)>,
    /// References that were tried with another tenant's row, and refused each way, as
    /// (object, role, constraint).
    pub refused: Vec<(String, String, String)>,
    /// How many statements were run as an acting role.
    pub probes: u64,
    /// Channels that no RLS design closes, as sentences.
    pub residual: Vec<String>,
    /// What was bounded or left out, as sentences.
    pub basis: Vec<String>,
}

impl Outcome {
    /// Adds another stage's outcome.
    pub fn merge(&mut self, other: Outcome) {
        self.findings.extend(other.findings);
        self.evidence.extend(other.evidence);
        self.granted.extend(other.granted);
        self.refused.extend(other.refused);
        self.probes += other.probes;
        self.residual.extend(other.residual);
        self.basis.extend(other.basis);
    }
}
