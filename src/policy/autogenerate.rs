//! The text of a migration from head to the declared state, both ways.
//!
//! It cannot see: a column or table that was given another name (it sees one
//! gone and one new); a trigger, function, index, check or exclusion constraint
//! that a file or an entity no longer names (they may come from migrations);
//! data; and what the catalogue does not hold. What it sees and cannot write is
//! written as a comment. `docs/policies.md` has the list.

use crate::catalogue::Fingerprint;
use crate::policy::entity_changes::Change;
use crate::policy::generate::{Script, generate};

/// Both ways, and what has to be decided by hand.
#[derive(Debug, Clone)]
pub struct Generated {
    up: Script,
    down: Script,
    owner: Option<String>,
    /// Changes that would lose data, or that the server refuses: written as comments.
    pub refused: Vec<Change>,
    /// Differences that the two scripts leave, found by trying them.
    pub left: Vec<String>,
}

/// Writes both ways between head and the declared state.
pub fn write(head: &Fingerprint, declared: &Fingerprint, changes: &[Change]) -> Generated {
    Generated {
        up: generate(head, declared),
        down: generate(declared, head),
        owner: usual_owner(head),
        refused: changes
            .iter()
            .filter(|one| one.left_because().is_some())
            .cloned()
            .collect(),
        left: Vec::new(),
    }
}

/// Who owns most tables: the role that migrations act as.
fn usual_owner(head: &Fingerprint) -> Option<String> {
    let mut counts: std::collections::BTreeMap<&str, usize> = Default::default();
    for (_, table) in head.kind("table ") {
        if let Some(owner) = table.get("owner")
            && table.get("partition of").is_none()
        {
            *counts.entry(owner).or_default() += 1;
        }
    }
    counts
        .into_iter()
        .max_by_key(|(_, count)| *count)
        .map(|(owner, _)| owner.to_owned())
}

impl Generated {
    /// Head is what is declared.
    pub fn is_empty(&self) -> bool {
        self.up.is_empty() && self.refused.is_empty()
    }

    /// What no statement makes, by either way.
    pub fn unwritten(&self) -> Vec<String> {
        let mut all = self.up.unwritten.clone();
        all.extend(
            self.down
                .unwritten
                .iter()
                .map(|one| format!("on the way down: {one}")),
        );
        all.extend(self.left.iter().cloned());
        all
    }

    /// The way up, without its heading.
    pub fn up_sql(&self) -> String {
        self.up.text(self.owner.as_deref())
    }

    /// The way down, without its heading.
    pub fn down_sql(&self) -> String {
        self.down.text(self.owner.as_deref())
    }

    /// The text of the file that goes up.
    pub fn up_file(&self, message: &str) -> String {
        let mut text = format!(
            "-- {message}\n-- Written by `kinedb revision --autogenerate`; read it before it ships.\n"
        );
        for one in &self.refused {
            text.push_str(&format!(
                "\n-- Not done, because {}: {}: {}. Decide, then remove the dashes:\n",
                one.left_because().unwrap_or_default(),
                one.object,
                one.what
            ));
            for line in one.sql.lines() {
                text.push_str(&format!("-- {line}\n"));
            }
        }
        for one in self.unwritten() {
            text.push_str(&format!(
                "\n-- Not written, do it by hand: {}\n",
                one.replace('\n', " ")
            ));
        }
        let sql = self.up_sql();
        if sql.is_empty() {
            text.push_str("\nselect; -- nothing but what is said above\n");
        } else {
            text.push_str(&format!("\n{sql}"));
        }
        text
    }

    /// The text of the file that goes down.
    pub fn down_file(&self, message: &str) -> String {
        let sql = self.down_sql();
        let sql = if sql.is_empty() {
            "select;\n".to_owned()
        } else {
            sql
        };
        format!("-- The way back from: {message}\n\n{sql}")
    }
}
