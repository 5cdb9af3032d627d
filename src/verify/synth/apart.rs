//! References that must not lead to the row's own tenant, because a check holds them apart:
//! `buyer_id <> seller_id`, the two ends of a loan or of a transfer.

use super::Planner;
use super::insert::Wanted;
use crate::verify::details::Reference;
use crate::verify::keys;
use crate::verify::model::Relation;
use crate::verify::scope::brackets::outside;
use crate::verify::scope::lexer::{Token, split, strip, tokens};

impl Planner<'_> {
    /// Another tenant than this one; the same where there is no other.
    pub(super) fn beside(&self, tenant: usize) -> usize {
        let all = 0..self.stage.tenants.len();
        all.into_iter()
            .find(|place| *place != tenant)
            .unwrap_or(tenant)
    }

    /// A check wants another row there than the tenant's column names, of the same table:
    /// `check (giver <> taker)`.
    pub(super) fn set_apart(&self, relation: &Relation, column: &str) -> bool {
        let leads = |own: &str| {
            self.details
                .references
                .iter()
                .filter(|one| one.relation == relation.oid && one.columns == [own])
                .map(|one| one.parent)
                .collect::<Vec<_>>()
        };
        let tenants = self.scope.tenants.table.as_ref().map(|(oid, _)| *oid);
        let Some(tenants) = tenants.filter(|oid| leads(column).contains(oid)) else {
            return false;
        };
        let held = |name: &str| {
            name != column
                && (leads(name).contains(&tenants)
                    || self.details.references.iter().any(|one| {
                        let owned = self.scope.relation(one.parent).and_then(keys::key);
                        let place = one.columns.iter().position(|own| own == name);
                        one.relation == relation.oid
                            && owned
                                .zip(place.and_then(|place| one.keys.get(place)))
                                .is_some_and(|((key, _), theirs)| key.as_str() == theirs)
                    }))
        };
        self.details
            .checks
            .iter()
            .filter(|check| check.relation == relation.oid)
            .flat_map(|check| unequal(&check.check))
            .any(|(one, other)| one == column && held(&other) || other == column && held(&one))
    }

    /// The one that is not the row's key leads to another tenant's row.
    pub(super) fn apart(&self, relation: &Relation, tenant: usize, wanted: &mut Wanted) {
        let other = self.beside(tenant);
        if other == tenant {
            return;
        }
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
    let column = |side: &[Token]| match strip(side) {
        [column] => column.name().map(str::to_owned),
        _ => None,
    };
    // As it is printed of texts: `(a)::text <> (b)::text`.
    let uncast = |side: &[Token]| {
        let end = outside(side, |token| token.is("::")).unwrap_or(side.len());
        column(&side[..end])
    };
    let pair = |part: &[Token]| {
        let part = strip(part);
        let at = outside(part, |token| token.is("<>"))?;
        Some((uncast(&part[..at])?, uncast(&part[at + 1..])?))
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
        assert_eq!(unequal("((a)::text <> (b)::text)"), pair("a", "b"));
        assert!(unequal("(state <> 'x'::text) or (a <> b)").is_empty());
    }
}
