//! What the SQL of a migration may not say: rules on its text, before any
//! database is asked.
//!
//! Blocking DDL is judged by squawk's rules; what opens a tenant's rows to
//! others by rules of our own. A statement that means it says so in a comment
//! before or inside it, with a reason:
//!
//! ```sql
//! -- kinedb: allow unique-tenant: a slug is an address, and addresses are global
//! create unique index tenants_by_slug on public.tenants (slug);
//! ```
//!
//! The proof of isolation does not rest on this: what hides in dynamic SQL is
//! found by `verify-rls`. A rule names file and line, and names it early.

mod allow;
mod keys;
mod names;
mod own;
mod rules;
mod squawk;
mod text;

use std::collections::BTreeSet;

pub use names::{Pair, names};

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Right today; worth a look.
    Warning,
    /// Opens rows, blocks the application, or breaks the list.
    Error,
}

/// One place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The rule's id.
    pub rule: String,
    /// How much it weighs.
    pub weight: Weight,
    /// The file as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is there.
    pub title: String,
    /// Why it matters.
    pub why: String,
    /// What to write instead.
    pub fix: String,
}

/// A rule of our own.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its id: what `allow` names.
    pub id: &'static str,
    /// How much it weighs.
    pub weight: Weight,
    /// One line.
    pub title: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// What to write instead.
    pub fix: &'static str,
}

/// What the rules are told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The columns that hold a row's tenant, exact names.
    pub tenant_columns: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tenant_columns: vec!["tenant_id".to_owned()],
        }
    }
}

/// Every rule of our own, and the names of those taken from squawk.
pub fn rules() -> (Vec<Rule>, Vec<String>) {
    let mut own = own::RULES.to_vec();
    own.extend_from_slice(names::RULES);
    own.extend_from_slice(allow::RULES);
    (own, squawk::names())
}

/// Everything that one way up says and should not.
pub fn up(file: &str, sql: &str, settings: &Settings) -> Vec<Finding> {
    let mut found = rules::up(file, sql, settings);
    found.extend(squawk::up(file, sql));
    let known: BTreeSet<String> = own::RULES
        .iter()
        .map(|rule| rule.id.to_owned())
        .chain(squawk::names())
        .collect();
    let mut found = allow::apply(file, sql, found, &known);
    sort(&mut found);
    found
}

/// The same for a way down, where dropping is the purpose.
pub fn down(file: &str, sql: &str, settings: &Settings) -> Vec<Finding> {
    let mut found = rules::down(file, sql, settings);
    sort(&mut found);
    found
}

fn sort(found: &mut Vec<Finding>) {
    found.sort_by(|a, b| (a.line, &a.rule, &a.title).cmp(&(b.line, &b.rule, &b.title)));
    found.dedup();
}
