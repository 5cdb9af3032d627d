//! Two references to one table that a check holds apart: `buyer_id <> seller_id`.

use super::Planner;
use super::insert::Wanted;
use crate::verify::details::Reference;
use crate::verify::keys;
use crate::verify::model::Relation;
use crate::verify::scope::lexer::{Token, split, strip, tokens};

impl Planner<'_> {
    /// The one that is not the row's key leads to another tenant's row.
    pub(super) fn apart(&self, relation: &Relation, tenant: usize, wanted: &mut Wanted) {
        let Some(other) = (0..self.stage.tenants.len()).find(|place| *place != tenant) else {
            return;
        };
        let key = keys::key(relation).map(|(column, _)| column.as_str());
        let alone = |column: &str| -> Option<&Reference> {
            let mut all = self.details.references.iter();
            all.find(|one| one.relation == relation.oid && one.columns == [column])
        };
        for check in &self.details.checks {
            if check.relation != relation.oid {
                continue;
            }
            for (first, second) in unequal(&check.check) {
                let (Some(one), Some(two)) = (alone(&first), alone(&second)) else {
                    continue;
                };
                if one.parent == two.parent && one.parent != relation.oid {
                    let moved = if key == Some(&second) { one } else { two };
                    wanted.fixed.extend(self.keys(moved, other, false));
                }
            }
        }
    }
}

/// Pairs of columns that a check demands to differ.
fn unequal(check: &str) -> Vec<(String, String)> {
    let tokens = tokens(check);
    let parts = split(strip(&tokens), "and");
    let pair = |part: &[Token]| match strip(part) {
        [first, differs, second] if differs.is("<>") => {
            Some((first.name()?.to_owned(), second.name()?.to_owned()))
        }
        _ => None,
    };
    parts.into_iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::unequal;

    #[test]
    fn columns_that_must_differ() {
        let pair = |a: &str, b: &str| vec![(a.to_owned(), b.to_owned())];
        assert_eq!(unequal("(buyer <> seller)"), pair("buyer", "seller"));
        assert_eq!(
            unequal("((a > 1) AND (\"From\" <> \"To\"))"),
            pair("From", "To")
        );
        assert!(unequal("(state <> 'x'::text) or (a <> b)").is_empty());
    }
}
