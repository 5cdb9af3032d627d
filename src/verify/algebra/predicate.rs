//! What PostgreSQL makes of a table's policies for one role and command: the
//! permissive ones joined by OR, the restrictive ones by AND.
//!
//! PostgreSQL manual, CREATE POLICY, "Policies Applied by Command Type" and
//! "Application of Multiple Policies".

use super::Usage;
use crate::verify::details::Grant;
use crate::verify::model::{Oid, Policy, Relation, Scope};

/// A command, and which of its two predicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Check {
    Select,
    Insert,
    Update,
    Restamp,
    Delete,
}

impl Check {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Select,
        Self::Insert,
        Self::Update,
        Self::Restamp,
        Self::Delete,
    ];

    /// For a report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Select => "USING for SELECT",
            Self::Insert => "WITH CHECK for INSERT",
            Self::Update => "USING for UPDATE",
            Self::Restamp => "WITH CHECK for UPDATE",
            Self::Delete => "USING for DELETE",
        }
    }

    /// It lets rows be read, not written.
    pub(crate) fn reads(self) -> bool {
        self == Self::Select
    }

    /// Whether the role holds the privilege for it.
    pub(crate) fn granted(self, grant: &Grant) -> bool {
        match self {
            Self::Select => !grant.columns('r').is_empty(),
            Self::Insert => !grant.columns('a').is_empty(),
            Self::Update | Self::Restamp => !grant.columns('w').is_empty(),
            Self::Delete => grant.delete,
        }
    }

    fn command(self) -> char {
        match self {
            Self::Select => 'r',
            Self::Insert => 'a',
            Self::Update | Self::Restamp => 'w',
            Self::Delete => 'd',
        }
    }

    /// The predicate that a policy gives for it; WITH CHECK falls back to USING.
    fn of(self, policy: &Policy) -> Option<&str> {
        let using = policy
            .using
            .as_ref()
            .map(|predicate| predicate.text.as_str());
        let check = policy
            .check
            .as_ref()
            .map(|predicate| predicate.text.as_str());
        match self {
            Self::Insert | Self::Restamp => check.or(using),
            _ => using,
        }
    }
}

/// The effective predicate; none where no permissive policy applies, so that
/// nothing passes.
pub(crate) fn effective(
    scope: &Scope,
    relation: &Relation,
    role: Oid,
    usage: &Usage,
    check: Check,
) -> Option<String> {
    let applies = |policy: &&Policy| {
        policy.relation == relation.oid
            && (policy.command == '*' || policy.command == check.command())
            && policy
                .roles
                .iter()
                .any(|of| *of == 0 || *of == role || usage.contains(&(role, *of)))
    };
    let texts = |permissive: bool| -> Vec<String> {
        scope
            .policies
            .iter()
            .filter(applies)
            .filter(|policy| policy.permissive == permissive)
            .filter_map(|policy| check.of(policy))
            .map(|text| format!("({text})"))
            .collect()
    };
    combine(&texts(true), &texts(false))
}

/// OR of the permissive, AND of the restrictive.
fn combine(permissive: &[String], restrictive: &[String]) -> Option<String> {
    if permissive.is_empty() {
        return None;
    }
    let mut parts = vec![format!("({})", permissive.join(" or "))];
    parts.extend_from_slice(restrictive);
    Some(parts.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restrictive_policies_alone_let_nothing_through() {
        assert_eq!(combine(&[], &["(a)".into()]), None);
        assert_eq!(
            combine(&["(a)".into(), "(b)".into()], &["(c)".into(), "(d)".into()]).as_deref(),
            Some("((a) or (b)) and (c) and (d)")
        );
    }
}
