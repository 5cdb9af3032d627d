//! What policies demand of a row beside its tenant: `kind = 'file'`, `visibility = 'org'`.

use super::insert::Wanted;
use super::plan::Planner;
use crate::db::ident::{Ident, Literal};
use crate::verify::keys;
use crate::verify::model::{Policy, Relation, TenantKey};
use crate::verify::scope::lexer::{Token, split, strip, tokens};
use crate::verify::session::{fill, quoted};

/// Most ways through the policies of a relation that are looked at.
const WAYS: usize = 64;

impl Planner<'_> {
    /// What policies demand of every row, by `column = 'literal'`, and what the
    /// declared owner demands by `column = :tenant` or `column = :user`.
    pub(super) fn demanded(&self, relation: &Relation, tenant: &str, wanted: &mut Wanted) {
        let policies = self.scope.policies.iter().filter(|policy| {
            policy.relation == relation.oid
                && policy.permissive
                && matches!(policy.command, 'r' | '*')
                && self.applies(&policy.roles)
        });
        let texts: Vec<&str> = policies
            .map(|policy| {
                let text = policy
                    .using
                    .as_ref()
                    .map_or("", |using| using.text.as_str());
                let other_ways = text.contains(" OR ") || text.contains("NOT ");
                if other_ways { "" } else { text }
            })
            .collect();
        let owns = match &relation.tenant {
            TenantKey::Owns(predicate) => Some(fill(
                predicate,
                tenant,
                self.scope.users.of(tenant).as_deref(),
            )),
            _ => None,
        };
        // Told of the row alone, it is asked of the values that are chosen.
        let apart = |owns: &&String| {
            let alone = !tokens(owns).iter().any(|token| token.is_word("select"));
            alone && !owns.contains(&relation.name.to_string())
        };
        let whose = match &relation.tenant {
            TenantKey::Owns(predicate) => !predicate.contains(":user"),
            _ => false,
        };
        wanted.owns = owns
            .as_ref()
            .filter(apart)
            .filter(|_| whose || self.scope.users.of(tenant).is_some())
            .cloned();
        for column in self.details.columns_of(relation.oid) {
            let found = |text: &str| equal_to(text, &column.name);
            // Nobody is known in a tenant that is being made: its references say where the row belongs.
            let known = |value: &String| !value.is_empty() || self.scope.users.of(tenant).is_some();
            if let Some(value) = owns.as_deref().and_then(found).filter(known) {
                let value = format!("{}::{}", Literal::new(value), column.type_name);
                wanted.fixed.insert(column.name.clone(), value);
            } else if let Some(value) = texts.first().and_then(|text| found(text))
                && texts
                    .iter()
                    .all(|text| found(text).as_ref() == Some(&value))
            {
                // Only what every policy that opens rows asks for: another one's kind of row stays out.
                let refers = self.details.references.iter().any(|reference| {
                    reference.relation == relation.oid && reference.columns.contains(&column.name)
                });
                if !refers && wanted.fixed.contains_key(&column.name) {
                    continue;
                }
                let exact = format!("{}::{}", Literal::new(value), column.type_name);
                wanted.fixed.insert(column.name.clone(), exact);
            }
        }
    }

    /// Of several ways to be shown, the first that asks for the tenant: what it demands besides.
    pub(super) fn on_the_way(&self, relation: &Relation, wanted: &mut Wanted) {
        let Some((key, _)) = keys::key(relation) else {
            return;
        };
        let shown = self.scope.policies.iter().filter(|policy| {
            policy.relation == relation.oid
                && policy.permissive
                && matches!(policy.command, 'r' | '*')
                && self.applies(&policy.roles)
        });
        let asked: Vec<Vec<(String, String)>> = shown
            .filter_map(|policy: &Policy| policy.using.as_ref())
            .flat_map(|using| demands(&using.text, key.as_str()))
            .collect();
        // Where one asks for nothing else, nothing else is needed.
        if asked.iter().any(Vec::is_empty) {
            return;
        }
        for (name, value) in asked.into_iter().next().into_iter().flatten() {
            let column = self
                .details
                .columns_of(relation.oid)
                .find(|column| column.name == name && !column.generated);
            if let Some(column) = column
                && !wanted.fixed.contains_key(&name)
            {
                let exact = format!("{}::{}", Literal::new(value), column.type_name);
                wanted.fixed.insert(name, exact);
            }
        }
    }
}

/// The literal that a predicate compares a column with.
pub(crate) fn equal_to(text: &str, column: &str) -> Option<String> {
    let names = [column.to_owned(), Ident::new(column).to_string()];
    for (at, _) in text.match_indices('=') {
        let (left, right) = (text[..at].trim_end(), text[at + 1..].trim_start());
        if left.ends_with(['<', '>', '!', ':', '=']) || right.starts_with(['>', '=']) {
            continue;
        }
        // A cast of the column, as of varchar to text, leaves its value as it is.
        let left = left.strip_suffix("::text").unwrap_or(left);
        let left = left.strip_suffix(')').unwrap_or(left);
        let ends = names.iter().any(|name| {
            left.strip_suffix(name.as_str()).is_some_and(|before| {
                !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '"')
            })
        });
        if ends && right.starts_with('\'') {
            let length = quoted(right, '\'');
            let inner = right.get(1..length.saturating_sub(1))?;
            return Some(inner.replace("''", "'"));
        }
    }
    None
}

/// What each alternative of a predicate that speaks of the key compares other columns with.
fn demands(text: &str, key: &str) -> Vec<Vec<(String, String)>> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    for way in ways(&tokens) {
        if way
            .iter()
            .any(|atom| atom.iter().any(|token| token.name() == Some(key)) && !literal(atom))
        {
            found.push(way.into_iter().filter_map(equal).collect());
        }
    }
    found
}

/// It says only whether something is null.
fn literal(atom: &[Token]) -> bool {
    matches!(atom, [.., is, null] if is.is_word("is") && null.is_word("null"))
        || matches!(atom, [.., is, not, null] if is.is_word("is") && not.is_word("not") && null.is_word("null"))
}

/// The alternatives of a predicate, each as what must hold together.
fn ways(tokens: &[Token]) -> Vec<Vec<&[Token]>> {
    let tokens = strip(tokens);
    let alternatives = split(tokens, "or");
    if alternatives.len() > 1 {
        let all = alternatives.into_iter().flat_map(ways);
        return all.take(WAYS).collect();
    }
    let parts = split(tokens, "and");
    if parts.len() < 2 {
        return vec![vec![tokens]];
    }
    let mut found: Vec<Vec<&[Token]>> = vec![Vec::new()];
    for part in parts {
        let next = ways(part);
        found = found
            .iter()
            .flat_map(|so_far| next.iter().map(move |more| [&so_far[..], more].concat()))
            .take(WAYS)
            .collect();
    }
    found
}

/// `column = 'literal'`, with casts and the column's table or not.
fn equal(atom: &[Token]) -> Option<(String, String)> {
    let at = atom.iter().position(|token| token.is("="))?;
    let (left, right) = (&atom[..at], &atom[at + 1..]);
    let [Token::Text(value), cast @ ..] = right else {
        return None;
    };
    let plain = |token: &Token| token.is("::") || token.is(".") || token.name().is_some();
    if !cast.iter().all(plain) {
        return None;
    }
    let cut = left.iter().position(|token| token.is("::"));
    let left = strip(&left[..cut.unwrap_or(left.len())]);
    match left {
        [name] | [_, _, name] => Some((name.name()?.to_owned(), value.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{demands, equal_to};

    #[test]
    fn each_way_demands_its_own() {
        let text = "((flag = true) OR ((deleted = false) AND (((kind = 'own'::text) AND (who = f())) \
                    OR (((kind)::text = 'org'::text) AND (org IS NOT NULL) AND (org = ANY (g('x')))))))";
        let one = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(demands(text, "org"), [vec![one("kind", "org")]]);
        assert_eq!(demands("(org = f())", "org"), [vec![]]);
        assert!(demands("(kind = 'a'::text)", "org").is_empty());
        assert!(demands("(org IS NOT NULL)", "org").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_it(text in "[a-z()'. =orand]{0,80}") {
            let _ = demands(&text, "a");
        }
    }

    #[test]
    fn demanded_values_are_found() {
        let text = "((bucket_id = 'org-files'::text) AND member(name) AND (a_kind <> 'x'::text))";
        assert_eq!(equal_to(text, "bucket_id").as_deref(), Some("org-files"));
        assert_eq!(equal_to(text, "id"), None);
        assert_eq!(equal_to(text, "a_kind"), None);
        assert_eq!(
            equal_to("((\"Kind\")::text = 'it''s'::text)", "Kind").as_deref(),
            Some("it's")
        );
    }
}
