//! Values that INSERT statements in the text of a function take from rows of other
//! tables: `insert into notices (org_id, ..) select m.org_id, .. from members m where ..`,
//! also by a loop over such a query. Told are those that nothing from outside of the text
//! determines: no equality leads to them, and none to the one row that they stand in.

use std::collections::HashMap;

use super::body::Dictionary;
use super::brackets::{closing, items};
use super::lexer::{Token, tokens};
use super::query::{Columns, Look, Query, qualified};
use crate::verify::model::{Oid, Spread};

/// The values that inserted rows take from rows which nothing determines.
pub(super) fn read(text: &str, names: &Dictionary, columns: &dyn Columns) -> Vec<Spread> {
    let lower = text.to_ascii_lowercase();
    if !lower.contains("insert") || !lower.contains("select") {
        return Vec::new();
    }
    let tokens = tokens(text);
    let look = Look { names, columns };
    let loops = loops(&tokens);
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        if tokens[at].is_word("insert") && tokens.get(at + 1).is_some_and(|t| t.is_word("into")) {
            look.insert(&tokens[at + 2..], &loops, &mut found);
        }
    }
    found.dedup();
    found
}

/// Variables of loops over queries, and the queries.
fn loops(tokens: &[Token]) -> HashMap<&str, &[Token]> {
    let mut found = HashMap::new();
    for at in 0..tokens.len() {
        if !tokens[at].is_word("for") {
            continue;
        }
        let (Some(name), Some(within), Some(select)) = (
            tokens.get(at + 1).and_then(Token::name),
            tokens.get(at + 2),
            tokens.get(at + 3),
        ) else {
            continue;
        };
        if within.is_word("in") && select.is_word("select") {
            let rest = &tokens[at + 3..];
            let end = rest.iter().position(|t| t.is_word("loop"));
            found.insert(name, &rest[..end.unwrap_or(rest.len())]);
        }
    }
    found
}

impl Look<'_> {
    /// The statement whose target begins these tokens.
    fn insert(
        &self,
        rest: &[Token],
        loops: &HashMap<&str, &[Token]>,
        found: &mut Vec<Spread>,
    ) -> Option<()> {
        let (schema, name, length) = qualified(rest)?;
        let end = rest.iter().position(|t| t.is(";")).unwrap_or(rest.len());
        let open = rest[..end].iter().position(|t| t.is("("))?;
        // Between the name and the list stands an alias at most.
        if open > length + 2 {
            return None;
        }
        let close = closing(&rest[..end], open)?;
        let list: Vec<&str> = rest[open + 1..close]
            .iter()
            .filter_map(Token::name)
            .collect();
        let body = &rest[close + 1..end];
        let starts = body
            .iter()
            .position(|t| t.is_word("select") || t.is_word("values"))?;
        let relations = Dictionary::find(&self.names.relations, schema, name);
        let mut add = |column: &str, source: Oid| {
            found.extend(relations.iter().map(|relation| Spread {
                relation: *relation,
                column: column.to_owned(),
                source,
            }));
        };
        if body[starts].is_word("select") {
            let stop = body
                .iter()
                .position(|t| t.is_word("returning") || t.is_word("conflict"));
            let query = Query::read(self, &body[starts..stop.unwrap_or(body.len())])?;
            for (column, item) in list.iter().zip(&query.items) {
                if let Some(source) = query.loose(self, item) {
                    add(column, source);
                }
            }
        } else {
            let open = starts + 1;
            let close = closing(body, open)?;
            for (column, item) in list.iter().zip(items(&body[open + 1..close])) {
                let [record, dot, field] = item else { continue };
                let (Some(record), Some(field)) = (record.name(), field.name()) else {
                    continue;
                };
                let query = loops.get(record).filter(|_| dot.is("."));
                let query = query.and_then(|tokens| Query::read(self, tokens));
                let source = query.and_then(|query| {
                    let item = query
                        .items
                        .iter()
                        .find(|item| item.last().and_then(Token::name) == Some(field))?;
                    query.loose(self, item)
                });
                if let Some(source) = source {
                    add(column, source);
                }
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known;

    impl Columns for Known {
        fn has(&self, relation: Oid, column: &str) -> bool {
            match relation {
                2 => ["org_id", "user_id"].contains(&column),
                3 => ["id", "handle"].contains(&column),
                4 => ["id", "org_id"].contains(&column),
                _ => false,
            }
        }

        fn names_row(&self, relation: Oid, column: &str) -> bool {
            column == "id" || relation == 2 && column == "user_id"
        }
    }

    fn spread(text: &str) -> Vec<(Oid, String, Oid)> {
        let name = |name: &str, oid: Oid| (name.to_owned(), vec![("app".to_owned(), oid)]);
        let names = Dictionary {
            relations: [
                name("notice", 1),
                name("member", 2),
                name("account", 3),
                name("ticket", 4),
            ]
            .into(),
            ..Dictionary::default()
        };
        read(text, &names, &Known)
            .into_iter()
            .map(|one| (one.relation, one.column, one.source))
            .collect()
    }

    #[test]
    fn values_of_rows_that_nothing_determines() {
        for text in [
            "begin insert into app.notice (org_id, body) select m.org_id, new.body from app.member m join app.account a on a.id = m.user_id where new.body like a.handle; end",
            "insert into notice (body, org_id) select 'x', org_id from member where user_id <> new.user_id",
            "begin for r in select m.org_id, m.user_id from member m loop insert into notice (org_id, body) values (r.org_id, new.body); end loop; end",
            "insert into notice (org_id) select m.org_id from member m join account a on m.user_id = a.id where a.handle = new.handle or a.handle = 'x'",
            "insert into notice (org_id) select distinct m.org_id as o from member m",
        ] {
            assert_eq!(spread(text), [(1, "org_id".to_owned(), 2)], "{text}");
        }
        for text in [
            "insert into notice (org_id, body) select m.org_id, new.body from member m where m.org_id = new.org_id",
            "insert into notice (org_id, body) select m.org_id, new.body from ticket t join member m on m.org_id = t.org_id where t.id = new.ticket_id",
            "insert into notice (org_id, body) select m.org_id, new.body from ticket t join member m using (org_id) where t.id = new.ticket_id",
            "insert into notice (org_id, body) select m.org_id, new.body from member m where m.user_id = new.user_id",
            "insert into notice (org_id) select new.org_id from account a",
            "insert into notice (org_id) values (new.org_id)",
            "insert into notice (org_id) select o from app.my_orgs() o",
            "insert into notice select * from member",
            "begin for r in select org_id from ticket where org_id = new.org_id loop insert into notice (org_id) values (r.org_id); end loop; end",
        ] {
            assert_eq!(spread(text), [], "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "(insert into |select |from |where |member|m|\\(|\\)|,|\\.|=| |for r in |loop |values ){0,30}") {
            let _ = spread(&text);
        }
    }
}
