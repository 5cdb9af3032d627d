//! The statements of a way, in the order that runs, and their text.

use crate::migrate::lex;

/// When a statement runs. The order of the variants is the order of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    DropEventTriggers,
    DropPublications,
    Schemas,
    Extensions,
    DropViews,
    DropBehaviour,
    Detach,
    DropReferences,
    DropKeys,
    Types,
    Sequences,
    Functions,
    Tables,
    Columns,
    DropColumns,
    Attach,
    Keys,
    References,
    Indexes,
    RowSecurity,
    Policies,
    Triggers,
    Views,
    Owners,
    Comments,
    Revokes,
    Grants,
    Publications,
    DropFunctions,
    DropTables,
    DropExtensions,
    EventTriggers,
}

/// One statement.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub(super) phase: Phase,
    /// Within its phase.
    pub(super) order: usize,
    /// The role that runs it: the owner of what it is about. None: the installer.
    pub(super) role: Option<String>,
    /// What it is about, for the comment above it.
    pub(super) about: String,
    pub(super) sql: String,
}

/// A way from one description to another.
#[derive(Debug, Clone, Default)]
pub struct Script {
    pub(super) statements: Vec<Statement>,
    /// Differences that no statement here makes, one line each.
    pub unwritten: Vec<String>,
}

impl Script {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty() && self.unwritten.is_empty()
    }

    /// Something of it is about this object, and nothing about it is left unwritten.
    pub fn writes(&self, object: &str) -> bool {
        let left = format!("{object}: ");
        self.statements.iter().any(|one| one.about == object)
            && !self.unwritten.iter().any(|one| one.starts_with(&left))
    }

    /// The statements as text. Those of `owner` run as that role, the others as
    /// the login that migrates.
    pub fn text(&self, owner: Option<&str>) -> String {
        let mut text = String::new();
        let mut acting = false;
        let mut about = "";
        // What the owner makes is the owner's.
        let made = |one: &Statement| {
            one.phase == Phase::Owners
                && owner
                    .is_some_and(|owner| one.sql == format!("alter {} owner to {owner}", one.about))
                && self.statements.iter().any(|other| {
                    other.about == one.about
                        && other.role.as_deref() == owner
                        && other.sql.starts_with("create ")
                })
        };
        for one in self.statements.iter().filter(|one| !made(one)) {
            let act = owner.is_some() && one.role.as_deref() == owner;
            if act != acting {
                let line = if act {
                    format!("set local role {};\n", owner.unwrap_or_default())
                } else {
                    "reset role;\n".to_owned()
                };
                text.push_str(&format!("\n{line}"));
                acting = act;
                about = "";
            }
            if one.about != about {
                text.push_str(&format!("\n-- {}\n", one.about.replace('\n', " ")));
                about = &one.about;
            }
            if one.sql.starts_with("create index ") || one.sql.starts_with("create unique index ") {
                text.push_str("-- It blocks writes while it is built: for a large table, move it to a migration of its own that\n-- begins with `-- kinedb: no-transaction`, and write `concurrently`.\n");
            }
            text.push_str(one.sql.trim_end().trim_end_matches(';'));
            text.push_str(";\n");
        }
        if acting {
            text.push_str("\nreset role;\n");
        }
        text.trim_start().to_owned()
    }
}

/// Keywords in lower case, as the project writes them. What the server deparses
/// quotes every name that has capitals.
pub(super) fn tidy(sql: &str) -> String {
    let mut text = String::with_capacity(sql.len());
    let mut end = 0;
    for (word, range) in lex::tokens(sql) {
        text.push_str(&sql[end..range.start]);
        end = range.end;
        if word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            text.push_str(&word.to_lowercase());
        } else {
            text.push_str(word);
        }
    }
    text.push_str(&sql[end..]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_lowered_and_nothing_else() {
        assert_eq!(
            tidy("CREATE INDEX \"A\" ON t (lower(B)) WHERE x = 'Y' AND $$Z$$ = E'Q'"),
            "create index \"A\" on t (lower(b)) where x = 'Y' and $$Z$$ = E'Q'"
        );
    }
}
