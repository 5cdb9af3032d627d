//! Tables that a query in the text of a function joins by what rows of two tenants may
//! both hold: `from leases l join people p on p.email = l.email where l.agency = ..`.
//!
//! Told is a table only beside another one of the same query that is tied, and only where
//! the conditions speak of no column of it by which rows refer to each other.

pub(crate) use super::body::Dictionary;
use super::brackets::keyword;
use super::lexer::{Token, tokens};
pub(crate) use super::query::Columns;
use super::query::{Look, Query, unbracketed};
use crate::verify::model::Stray;

/// The tables that are joined like this.
pub(crate) fn read(text: &str, names: &Dictionary, columns: &dyn Columns) -> Vec<Stray> {
    let lower = text.to_ascii_lowercase();
    if !lower.contains("join") && !lower.contains(',') || !lower.contains("select") {
        return Vec::new();
    }
    let tokens = unbracketed(tokens(text));
    let look = Look { names, columns };
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        if tokens[at].is_word("select")
            && let Some(query) = Query::read(&look, until(&tokens[at..]))
        {
            strays(&look, &query, until(&tokens[at..]), &mut found);
        }
    }
    found
}

/// The statement, or what stands within the bracket, that begins here.
fn until(tokens: &[Token]) -> &[Token] {
    let mut depth = 0;
    let end = tokens.iter().position(|token| {
        depth += token.nesting();
        depth < 0 || token.is(";") || depth == 0 && token.is_word("loop")
    });
    &tokens[..end.unwrap_or(tokens.len())]
}

fn strays(look: &Look<'_>, query: &Query<'_>, tokens: &[Token], found: &mut Vec<Stray>) {
    let Some(from) = keyword(tokens, &["from"]) else {
        return;
    };
    for source in &query.sources {
        let known = |alias: &str| {
            query.rows.contains(alias) || query.columns.iter().any(|(own, _)| *own == alias)
        };
        let beside = query
            .sources
            .iter()
            .any(|other| other.alias != source.alias && known(other.alias));
        let by: Vec<String> = query
            .columns
            .iter()
            .filter(|(alias, _)| *alias == source.alias)
            .map(|(_, column)| (*column).to_owned())
            .collect();
        if by.is_empty() || query.rows.contains(source.alias) || !beside {
            continue;
        }
        let mut speaks: Vec<String> = Vec::new();
        let rest = &tokens[from..];
        for (at, token) in rest.iter().enumerate() {
            let Some(name) = token.name() else { continue };
            let dotted = at >= 2 && rest[at - 1].is(".");
            let here = if dotted {
                rest[at - 2].name() == Some(source.alias)
            } else {
                look.columns.has(source.relation, name)
            };
            // The whole row: `may_see(p)`.
            let whole = name == source.alias
                && at > 0
                && rest[at - 1].is("(")
                && !rest.get(at + 1).is_some_and(|next| next.is("."));
            if whole || here && look.columns.names_row(source.relation, name) {
                speaks.clear();
                speaks.push("*".to_owned());
                break;
            }
            if here && !speaks.iter().any(|own| own == name) {
                speaks.push(name.to_owned());
            }
        }
        let stray = Stray {
            relation: source.relation,
            by,
            speaks,
        };
        if stray.speaks != ["*"] && !found.contains(&stray) {
            found.push(stray);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::model::Oid;

    struct Known;

    impl Columns for Known {
        fn has(&self, _: Oid, column: &str) -> bool {
            ["id", "agency", "email", "name", "person_id"].contains(&column)
        }

        fn names_row(&self, _: Oid, column: &str) -> bool {
            ["id", "agency", "person_id"].contains(&column)
        }
    }

    fn stray(text: &str) -> Vec<Oid> {
        let name = |name: &str, oid: Oid| (name.to_owned(), vec![("app".to_owned(), oid)]);
        let names = Dictionary {
            relations: [name("lease", 1), name("person", 2)].into(),
            ..Dictionary::default()
        };
        let found = read(text, &names, &Known);
        found.into_iter().map(|one| one.relation).collect()
    }

    #[test]
    fn tables_joined_by_what_two_tenants_may_have() {
        for text in [
            "select l.id, p.name from app.lease l join app.person p on p.email = l.email where l.agency = current_setting('a')",
            "begin return query select p.name from lease l, person p where l.email = p.email and l.agency = mine(); end",
            " SELECT l.id, p.name FROM (app.lease l LEFT JOIN app.person p ON (((p.email)::text = (l.email)::text))) WHERE ((l.agency)::text = mine());",
            "select (select p.name from lease l left join person p using (email) where l.id = x limit 1)",
        ] {
            assert_eq!(stray(text), [2], "{text}");
        }
        for text in [
            "select p.name from lease l join person p on p.email = l.email and p.agency = l.agency where l.agency = mine()",
            "select p.name from lease l join person p on p.id = l.person_id where l.agency = mine()",
            "select p.name from lease l join person p on p.email = l.email where l.agency = mine() and may_see(p.id)",
            "select p.name from lease l join person p on p.email = l.email where l.agency = mine() and may_see(p)",
            "select p.name from person p where p.email = given",
            "SELECT p.name FROM (app.lease l JOIN app.person p ON (((p.email = l.email) AND (p.agency = l.agency)))) WHERE (l.agency = mine())",
            "select p.name from lease l join person p on lower(p.email) = lower(l.email) where l.agency = mine()",
        ] {
            assert_eq!(stray(text), [] as [Oid; 0], "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "(select |from |join |on |where |lease|person|p|l|email|\\(|\\)|,|\\.|=| ){0,30}") {
            let _ = stray(&text);
        }
    }
}
